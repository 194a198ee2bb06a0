//! How a request is written for the Responses API: one JSON body, the same bytes every time.

use serde_json::{Map, Value, json};

use super::config::{Config, INFO, reasons};
use super::items;
use crate::chat::{Part, Request, ToolSpec};
use crate::http::{HeaderText, WireRequest};
use crate::id::canonical_json;
use crate::provider::dialogue::{self, Turn};
use crate::provider::{CallError, ErrorClass};

/// Writes a request.
pub fn encode(config: &Config, request: &Request) -> Result<WireRequest, CallError> {
    let body = body(config, request)?;
    let Some(key) = &config.api_key else {
        return Err(CallError::new(
            ErrorClass::Credential,
            format!("no credential for {}; set OPENAI_API_KEY or `api_key` of {}", config.host, INFO.name),
        ));
    };
    let headers = vec![
        ("content-type", HeaderText::Plain("application/json".to_owned())),
        ("accept", HeaderText::Plain("text/event-stream".to_owned())),
        ("authorization", HeaderText::Secret { prefix: "Bearer ", secret: key.clone() }),
    ];
    Ok(WireRequest { url: config.url.clone(), headers, body: canonical_json(&body).into_bytes() })
}

fn body(config: &Config, request: &Request) -> Result<Value, CallError> {
    let mut input = Vec::new();
    for turn in dialogue::turns(&request.messages)? {
        match turn {
            Turn::User(parts) => input.push(said_by_user(&parts)),
            Turn::Assistant(parts) => input.append(&mut items::write(parts)),
            Turn::Result { id, content } => {
                input.push(json!({"type": "function_call_output", "call_id": id, "output": content}));
            }
        }
    }
    if input.is_empty() {
        return Err(CallError::new(
            ErrorClass::Request,
            "there is nothing to send: no message has any content",
        ));
    }
    let mut body = json!({
        "model": config.model,
        "max_output_tokens": request.max_tokens.map_or(config.max_tokens, |most| most.min(config.max_tokens)),
        "stream": true,
        // Nothing stays with the server: what it needs of earlier turns is sent again, its reasoning sealed.
        "store": false,
    });
    // Moved, not copied through a serializer as `json!` would: this is the whole conversation.
    body["input"] = Value::Array(input);
    if reasons(&config.model) {
        body["include"] = json!(["reasoning.encrypted_content"]);
    }
    if !request.system.trim().is_empty() {
        body["instructions"] = json!(request.system);
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    if let Some(temperature) = config.temperature {
        body["temperature"] = json!(temperature);
    }
    if let Some(reasoning) = config.reasoning() {
        body["reasoning"] = reasoning;
    }
    for (key, value) in [
        ("truncation", &config.truncation),
        ("prompt_cache_key", &config.cache_key),
        ("prompt_cache_retention", &config.cache_retention),
    ] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    Ok(body)
}

fn said_by_user(parts: &[&Part]) -> Value {
    let content: Vec<Value> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text, .. } => Some(json!({"type": "input_text", "text": text})),
            Part::Other(block) => Some(block.clone()),
            _ => None,
        })
        .collect();
    Value::Object(Map::from_iter([
        ("type".to_owned(), json!("message")),
        ("role".to_owned(), json!("user")),
        ("content".to_owned(), Value::Array(content)),
    ]))
}

/// Strict schemas are the default there and forbid most of JSON Schema, so each tool says that it is not one.
fn tool(spec: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.input_schema,
        "strict": false,
    })
}

#[cfg(test)]
pub mod testing {
    //! A configuration as a test writes it.

    use serde_json::Value;

    use super::Config;
    use crate::plan::ModuleSpec;
    use crate::source::{Place, Route, SourceId};

    pub fn spec(config: &Value) -> ModuleSpec {
        ModuleSpec {
            module: "provider-openai".to_owned(),
            config: config.as_object().expect("a test writes an object").clone(),
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        }
    }

    pub fn config(config: &Value) -> Config {
        let variables = [("OPENAI_API_KEY".to_owned(), "sk-test-key".to_owned())].into();
        Config::read(&spec(config), &variables, None).expect("the test's configuration is right")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{config, spec};
    use super::*;
    use crate::chat::{Message, Speaker, ToolCall, ToolInput, ToolResult};

    fn conversation() -> Request<'static> {
        let reasoning =
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"});
        let call = ToolCall {
            id: "call_1".to_owned(),
            name: "bash".to_owned(),
            input: ToolInput::Object(Map::from_iter([("command".to_owned(), json!("ls"))])),
            extra: Map::from_iter([("id".to_owned(), json!("fc_1"))]),
        };
        let result = ToolResult { id: "call_1".to_owned(), content: "a.txt".to_owned(), is_error: false };
        let tool = ToolSpec {
            name: "bash".to_owned(),
            description: "runs".to_owned(),
            input_schema: json!({"type": "object"}),
        };
        Request {
            max_tokens: None,
            system: "You are careful.".into(),
            messages: vec![
                Message::user("go"),
                Message {
                    speaker: Speaker::Assistant,
                    parts: vec![Part::Other(reasoning), Part::ToolUse(call)],
                },
                Message::results(vec![result]),
            ]
            .into(),
            tools: vec![tool].into(),
        }
    }

    fn sent(settings: &Value, request: &Request) -> Value {
        serde_json::from_slice(&encode(&config(settings), request).unwrap().body).unwrap()
    }

    #[test]
    fn reasoning_goes_back_sealed_before_its_call_and_nothing_is_stored() {
        let body = sent(&json!({}), &conversation());
        assert_eq!(body["store"], false);
        assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
        assert_eq!(
            body["input"],
            json!([
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
                {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "bash", "arguments": "{\"command\":\"ls\"}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "a.txt"},
            ])
        );
        assert_eq!(body["tools"][0]["strict"], false);
        assert_eq!(body["instructions"], "You are careful.");
        assert!(body.get("previous_response_id").is_none());
    }

    #[test]
    fn a_model_without_reasoning_is_not_asked_for_it() {
        let body = sent(&json!({"default_model": "gpt-4.1", "temperature": 0.5}), &conversation());
        assert!(body.get("include").is_none());
        assert_eq!(body["temperature"], 0.5);
        let settings = json!({"reasoning": "high", "reasoning_summary": "auto", "prompt_cache_key": "team"});
        let body = sent(&settings, &conversation());
        assert_eq!(body["reasoning"], json!({"effort": "high", "summary": "auto"}));
        assert_eq!(body["prompt_cache_key"], "team");
    }

    #[test]
    fn the_bytes_are_the_same_every_time_and_the_key_is_no_part_of_them() {
        let wire = encode(&config(&json!({})), &conversation()).unwrap();
        assert_eq!(wire.body, encode(&config(&json!({})), &conversation()).unwrap().body);
        let text = String::from_utf8(wire.body.clone()).unwrap();
        assert_eq!(canonical_json(&serde_json::from_str(&text).unwrap()), text);
        assert!(!format!("{wire:?}").contains("sk-test-key") && !text.contains("sk-test-key"));
    }

    #[test]
    fn a_missing_key_is_reported_last_and_names_the_variable() {
        let config = Config::read(&spec(&json!({})), &[].into(), None).unwrap();
        let error = encode(&config, &conversation()).unwrap_err();
        assert_eq!(error.class, ErrorClass::Credential);
        assert!(error.message.contains("OPENAI_API_KEY"), "{error}");
        assert_eq!(encode(&config, &Request::default()).unwrap_err().class, ErrorClass::Request);
    }
}
