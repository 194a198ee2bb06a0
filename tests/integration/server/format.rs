//! Which wire format a request is in, and what the server does in each: judge, tell the brain, answer, fail.

use serde_json::{Value, json};

use super::brain::{Answer, error_body};
use super::chance::Chance;
use super::rules::{self, Refusal};
use super::{chat, events, responses};

/// A wire format, told by the path that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Chat Completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
}

impl Format {
    /// The format of a request line.
    pub fn of(target: &str) -> Self {
        match target.rsplit('/').next() {
            Some("completions") => Self::Chat,
            Some("responses") => Self::Responses,
            _ => Self::Messages,
        }
    }

    /// Judges a request; gives out its body when nothing is wrong with it.
    pub fn judge(self, target: &str, headers: &[(String, String)], body: &[u8]) -> Result<Value, Refusal> {
        match self {
            Self::Messages => rules::judge(target, headers, body),
            Self::Chat => chat::judge(target, headers, body),
            Self::Responses => responses::judge(target, headers, body),
        }
    }

    /// The body as a brain sees it: always in the form of the Messages API.
    pub fn conversation(self, body: Value) -> Value {
        match self {
            Self::Messages => body,
            Self::Chat => chat::conversation(&body),
            Self::Responses => responses::conversation(&body),
        }
    }

    /// The events of an answer.
    pub fn stream(
        self,
        answer: &Answer,
        body: &Value,
        context: &events::Context,
        chance: &mut Chance,
    ) -> Vec<Vec<u8>> {
        match self {
            Self::Messages => events::stream(answer, context, chance),
            Self::Chat => chat::stream(answer, body, context, chance),
            Self::Responses => responses::stream(answer, context, chance),
        }
    }

    /// An error event.
    pub fn error(self, kind: &str) -> Vec<u8> {
        let error = json!({"message": "The request could not be completed", "type": kind, "param": null, "code": kind});
        match self {
            Self::Messages => events::error(kind),
            Self::Chat => format!("data: {}\n\n", json!({"error": error})).into_bytes(),
            Self::Responses => {
                let data = json!({"type": "error", "sequence_number": 9, "error": error});
                format!("event: error\ndata: {data}\n\n").into_bytes()
            }
        }
    }

    /// The body of a refusal.
    pub fn refusal(self, refusal: &Refusal, request_id: &str) -> String {
        if self == Self::Messages {
            return error_body(refusal.kind, &refusal.message, Some(request_id));
        }
        let code = match refusal.status {
            401 => json!("invalid_api_key"),
            404 => json!("model_not_found"),
            _ => Value::Null,
        };
        json!({"error": {"message": refusal.message, "type": refusal.kind, "param": null, "code": code}})
            .to_string()
    }

    /// Headers that only this format's servers send.
    pub fn headers(self, request_id: &str) -> String {
        let mut headers = String::new();
        if self == Self::Messages {
            for kind in ["requests", "tokens", "input-tokens", "output-tokens"] {
                headers.push_str(&format!(
                    "anthropic-ratelimit-{kind}-limit: 4000000\r\nanthropic-ratelimit-{kind}-remaining: 3999000\r\n\
                     anthropic-ratelimit-{kind}-reset: 2026-11-25T12:00:00Z\r\n"
                ));
            }
            return format!(
                "request-id: {request_id}\r\nanthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n{headers}"
            );
        }
        for kind in ["requests", "tokens"] {
            headers.push_str(&format!(
                "x-ratelimit-limit-{kind}: 4000000\r\nx-ratelimit-remaining-{kind}: 3999000\r\n\
                 x-ratelimit-reset-{kind}: 6m0s\r\n"
            ));
        }
        format!("x-request-id: {request_id}\r\nopenai-organization: org-test\r\n{headers}")
    }
}

/// Models that the OpenAI formats know here, by the beginning of their name, and whether they reason.
const MODELS: [(&str, bool); 5] =
    [("gpt-5.5", true), ("o4-mini", true), ("gpt-4.1", false), ("llama3.2", false), ("mistral-small", false)];

/// What both of OpenAI's formats refuse alike: the credential, the content type, what is no JSON, an unknown model.
/// Gives out the body and whether its model reasons.
pub fn judge_openai(headers: &[(String, String)], body: &[u8]) -> Result<(Value, bool), Refusal> {
    let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let unauthorized =
        |message: &str| Refusal { status: 401, kind: "invalid_request_error", message: message.to_owned() };
    match header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
        Some(key) if key == super::KEY => {}
        Some(_) => return Err(unauthorized("Incorrect API key provided.")),
        None => return Err(unauthorized("You didn't provide an API key.")),
    }
    if !header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Refusal::invalid("Unsupported content type: the body must be application/json."));
    }
    let body: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::invalid("We could not parse the JSON body of your request."))?;
    let name = body["model"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Err(Refusal::invalid("you must provide a model parameter"));
    }
    let Some((_, reasons)) = MODELS.iter().find(|(begin, _)| name.starts_with(begin)) else {
        return Err(Refusal {
            status: 404,
            kind: "invalid_request_error",
            message: format!("The model `{name}` does not exist or you do not have access to it."),
        });
    };
    Ok((body, *reasons))
}

/// Whether a tool may have this name.
pub fn is_tool_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// Adds a block to a conversation in the form of the Messages API: results and what the model says go together.
pub fn say(messages: &mut Vec<Value>, role: &str, block: Value) {
    let joins = role == "assistant" || block["type"] == "tool_result";
    let last = messages.last_mut().filter(|last| joins && last["role"] == role);
    let fits = |content: &&mut Vec<Value>| {
        role == "assistant" || content.iter().all(|other| other["type"] == "tool_result")
    };
    if let Some(content) = last.and_then(|last| last["content"].as_array_mut()).filter(fits) {
        content.push(block);
        return;
    }
    messages.push(json!({"role": role, "content": [block]}));
}

/// A tool result: these formats have no field for failure, so the text says it.
pub fn result(id: &Value, text: &str) -> Value {
    let failed = text.strip_prefix("Error: ");
    json!({
        "type": "tool_result", "tool_use_id": id, "content": failed.unwrap_or(text), "is_error": failed.is_some(),
    })
}

/// A text in pieces that end between any two characters.
pub fn pieces(text: &str, chance: &mut Chance) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let characters = chance.piece(rest.chars().count());
        let end = rest.char_indices().nth(characters).map_or(rest.len(), |(at, _)| at);
        pieces.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    pieces
}

/// The text of a tool's input.
pub fn arguments(input: &Value) -> String {
    input.as_str().map_or_else(|| input.to_string(), str::to_owned)
}
