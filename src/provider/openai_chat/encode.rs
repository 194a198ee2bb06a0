//! How a request is written for the Chat Completions API: one JSON body, the same bytes every time.

use serde_json::{Map, Value, json};

use super::config::{AskForUsage, Config};
use crate::chat::{Part, Request, ToolCall, ToolSpec};
use crate::http::{HeaderText, WireRequest};
use crate::id::canonical_json;
use crate::provider::dialogue::{self, Turn};
use crate::provider::{CallError, ErrorClass};

/// The kind of part that holds OpenRouter's structured reasoning, which goes back as it came.
pub const REASONING_DETAILS: &str = "reasoning_details";

/// Writes a request.
pub fn encode(config: &Config, request: &Request) -> Result<WireRequest, CallError> {
    let body = body(config, request)?;
    let mut headers = vec![
        ("content-type", HeaderText::Plain("application/json".to_owned())),
        ("accept", HeaderText::Plain("text/event-stream".to_owned())),
    ];
    if let Some(key) = &config.api_key {
        headers.push(("authorization", HeaderText::Secret { prefix: "Bearer ", secret: key.clone() }));
    }
    Ok(WireRequest { url: config.url.clone(), headers, body: canonical_json(&body).into_bytes() })
}

fn body(config: &Config, request: &Request) -> Result<Value, CallError> {
    let mut messages = Vec::new();
    if !request.system.trim().is_empty() {
        messages.push(json!({"role": "system", "content": request.system}));
    }
    let preamble = messages.len();
    for turn in dialogue::turns(&request.messages)? {
        match turn {
            Turn::User(parts) => messages.push(json!({"role": "user", "content": content(&parts)})),
            Turn::Assistant(parts) => messages.extend(said_by_model(config, parts)),
            Turn::Result { id, content } => {
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
            }
        }
    }
    if messages.len() == preamble {
        return Err(CallError::new(
            ErrorClass::Request,
            "there is nothing to send: no message has any content",
        ));
    }
    let mut body = json!({"model": config.model, "stream": true});
    // Moved, not copied through a serializer as `json!` would: this is the whole conversation.
    body["messages"] = Value::Array(messages);
    if config.usage == AskForUsage::Yes {
        body["stream_options"] = json!({"include_usage": true});
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    let most = [config.max_tokens, request.max_tokens].into_iter().flatten().min();
    if let Some(tokens) = most {
        body[config.max_tokens_field] = json!(tokens);
    }
    if let Some(temperature) = config.temperature {
        body["temperature"] = json!(temperature);
    }
    if let Some(effort) = &config.effort {
        body["reasoning_effort"] = json!(effort);
    }
    Ok(body)
}

/// What the user says: one text, which every server takes, or blocks where there is more than text.
fn content(parts: &[&Part]) -> Value {
    let has_blocks = parts.iter().any(|part| matches!(part, Part::Other(_)));
    if !has_blocks {
        return json!(texts(parts.iter().copied()));
    }
    let block = |part: &&Part| match part {
        Part::Text { text, .. } => Some(json!({"type": "text", "text": text})),
        Part::Other(block) => Some(block.clone()),
        _ => None,
    };
    parts.iter().filter_map(block).collect()
}

fn texts<'a>(parts: impl Iterator<Item = &'a Part>) -> String {
    let texts: Vec<&str> = parts
        .filter_map(|part| match part {
            Part::Text { text, .. } if !text.trim().is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n\n")
}

/// The message of the model; `None` when nothing of it can be said again.
fn said_by_model(config: &Config, parts: &[Part]) -> Option<Value> {
    let text = texts(parts.iter());
    let calls: Vec<Value> = parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolUse(call) => Some(call_json(call)),
            _ => None,
        })
        .collect();
    if text.is_empty() && calls.is_empty() {
        return None;
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    message.insert("content".to_owned(), if text.is_empty() { Value::Null } else { json!(text) });
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    for part in parts {
        match (part, &config.reasoning_field) {
            (Part::Thinking { thinking, .. }, Some(field)) => {
                message.insert(field.clone(), json!(thinking));
            }
            (Part::Other(block), _) if block["type"] == REASONING_DETAILS => {
                message.insert(REASONING_DETAILS.to_owned(), block[REASONING_DETAILS].clone());
            }
            _ => {}
        }
    }
    Some(Value::Object(message))
}

fn call_json(call: &ToolCall) -> Value {
    let mut json = call.extra.clone();
    json.insert("id".to_owned(), json!(call.id));
    json.insert("type".to_owned(), json!("function"));
    let function = json!({"name": call.name, "arguments": dialogue::arguments(call)});
    json.insert("function".to_owned(), function);
    Value::Object(json)
}

fn tool(spec: &ToolSpec) -> Value {
    let function =
        json!({"name": spec.name, "description": spec.description, "parameters": spec.input_schema});
    json!({"type": "function", "function": function})
}

#[cfg(test)]
pub mod testing {
    //! A configuration as a test writes it.

    use serde_json::Value;

    use crate::plan::ModuleSpec;
    use crate::source::{Place, Route, SourceId};

    pub fn spec(module: &str, config: &Value) -> ModuleSpec {
        ModuleSpec {
            module: module.to_owned(),
            config: config.as_object().expect("a test writes an object").clone(),
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::spec;
    use super::*;
    use crate::chat::{Message, Speaker, ToolInput, ToolResult};

    fn config(more: &Value) -> Config {
        let mut config = json!({"base_url": "http://h/v1", "api_key": "k-test-key", "default_model": "m"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Config::read(&spec("provider-openai-compatible", &config), &[].into(), None).unwrap()
    }

    fn conversation() -> Request<'static> {
        let call = |id: &str| {
            Part::ToolUse(ToolCall {
                id: id.to_owned(),
                name: "bash".to_owned(),
                input: ToolInput::Object(Map::new()),
                extra: Map::from_iter([("extra_content".to_owned(), json!({"google": {"s": "x"}}))]),
            })
        };
        let result =
            |id: &str| ToolResult { id: id.to_owned(), content: format!("{id} done"), is_error: false };
        let details = json!({"type": REASONING_DETAILS, REASONING_DETAILS: [{"type": "reasoning.text"}]});
        let thinking = Part::Thinking { thinking: "hm".to_owned(), signature: String::new() };
        Request {
            max_tokens: None,
            system: "You are careful.".into(),
            messages: vec![
                Message::user("go"),
                Message {
                    speaker: Speaker::Assistant,
                    parts: vec![thinking, Part::Other(details), call("a"), call("b")],
                },
                Message::results(vec![result("b"), result("a")]),
            ]
            .into(),
            tools: Vec::new().into(),
        }
    }

    fn sent(settings: &Value, request: &Request) -> Value {
        serde_json::from_slice(&encode(&config(settings), request).unwrap().body).unwrap()
    }

    #[test]
    fn every_call_is_answered_in_a_message_of_its_own_right_after_its_own() {
        let body = sent(&json!({}), &conversation());
        let function = json!({"name": "bash", "arguments": "{}"});
        let call = |id: &str| json!({"id": id, "type": "function", "function": function, "extra_content": {"google": {"s": "x"}}});
        assert_eq!(
            body["messages"],
            json!([
                {"role": "system", "content": "You are careful."},
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")],
                 "reasoning_details": [{"type": "reasoning.text"}]},
                {"role": "tool", "tool_call_id": "a", "content": "a done"},
                {"role": "tool", "tool_call_id": "b", "content": "b done"},
            ])
        );
        assert!(body.get("tools").is_none() && body.get("tool_choice").is_none());
        assert_eq!(body["stream_options"], json!({"include_usage": true}));
    }

    #[test]
    fn what_only_some_servers_take_is_sent_only_when_asked_for() {
        let plain = sent(&json!({}), &conversation());
        for key in ["max_tokens", "temperature", "reasoning_effort"] {
            assert!(plain.get(key).is_none(), "{key}");
        }
        let settings = json!({"max_tokens": 9, "temperature": 0.5, "reasoning_effort": "low",
            "reasoning_field": "reasoning_content", "stream_usage": false});
        let body = sent(&settings, &conversation());
        assert_eq!((&body["max_tokens"], &body["reasoning_effort"]), (&json!(9), &json!("low")));
        assert_eq!(body["messages"][2]["reasoning_content"], "hm");
        assert!(body.get("stream_options").is_none());
    }

    #[test]
    fn a_key_goes_into_the_header_and_none_is_no_failure() {
        let wire = encode(&config(&json!({})), &conversation()).unwrap();
        let authorization = wire.headers.iter().find(|(name, _)| *name == "authorization");
        assert!(
            matches!(authorization, Some((_, HeaderText::Secret { prefix: "Bearer ", secret })) if secret.expose() == "k-test-key")
        );
        assert!(!format!("{wire:?}").contains("k-test-key"));
        let open = encode(&config(&json!({"api_key": ""})), &conversation()).unwrap();
        assert!(open.headers.iter().all(|(name, _)| *name != "authorization"));
        assert_eq!(open.body, wire.body);
        let nothing = encode(&config(&json!({})), &Request::default()).unwrap_err();
        assert_eq!(nothing.class, ErrorClass::Request);
    }
}
