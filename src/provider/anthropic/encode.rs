//! How a request is written for the Messages API: one JSON body, the same bytes every time.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::config::{Caching, Config, INFO, Thinking};
use super::container;
use super::features::Lifetime;
use super::transcript;
use crate::chat::{Request, ToolSpec};
use crate::http::{HeaderText, WireRequest};
use crate::id::canonical_json;
use crate::provider::{CallError, ErrorClass};

/// Lets a model that thinks within a budget think between its tool calls too.
const INTERLEAVED_THINKING: &str = "interleaved-thinking-2025-05-14";

/// User messages whose end is marked for the cache: the one before the last is where the previous request ended.
const CACHED_MESSAGES: usize = 2;

/// Writes a request.
pub fn encode(config: &Config, request: &Request) -> Result<WireRequest, CallError> {
    let body = body(config, request)?;
    let Some(key) = &config.api_key else {
        return Err(CallError::new(
            ErrorClass::Credential,
            format!("no credential for {}; set ANTHROPIC_API_KEY or `api_key` of {}", config.host, INFO.name),
        ));
    };
    let mut headers = vec![
        ("content-type", HeaderText::Plain("application/json".to_owned())),
        ("accept", HeaderText::Plain("text/event-stream".to_owned())),
        ("anthropic-version", HeaderText::Plain(config.version.clone())),
        ("x-api-key", HeaderText::Secret { prefix: "", secret: key.clone() }),
    ];
    let betas = betas(config, request);
    if !betas.is_empty() {
        headers.push(("anthropic-beta", HeaderText::Plain(betas.join(","))));
    }
    Ok(WireRequest { url: config.url.clone(), headers, body: canonical_json(&body).into_bytes() })
}

fn betas(config: &Config, request: &Request) -> Vec<String> {
    let mut betas = config.beta_headers.clone();
    let interleaves = matches!(config.thinking, Some(Thinking::Budget(_))) && !request.tools.is_empty();
    if interleaves && !betas.iter().any(|beta| beta == INTERLEAVED_THINKING) {
        betas.push(INTERLEAVED_THINKING.to_owned());
    }
    betas
}

fn body(config: &Config, request: &Request) -> Result<Value, CallError> {
    let mut messages = transcript::write(&request.messages)?;
    if messages.is_empty() {
        return Err(CallError::new(
            ErrorClass::Request,
            "there is nothing to send: no message has any content",
        ));
    }
    let mut tools: Vec<Value> = request.tools.iter().map(tool).collect();
    let mut system = json!([{"type": "text", "text": request.system}]);
    let mut body = Map::new();
    if tools.is_empty() {
        tools = remembered_tools(&messages);
        if !tools.is_empty() {
            body.insert("tool_choice".to_owned(), json!({"type": "none"}));
        }
    }
    tools.extend(config.features.server_tools.iter().cloned());
    refuse_double(&tools)?;
    if config.caching == Caching::On {
        // Tools come before the system prompt, and both before the messages: the longer life first, as the API wants it.
        mark(tools.last_mut(), config.features.stable);
        mark(system.get_mut(0), config.features.stable);
        mark_messages(&mut messages);
    }
    if !request.system.trim().is_empty() {
        body.insert("system".to_owned(), system);
    }
    if !tools.is_empty() {
        body.insert("tools".to_owned(), Value::Array(tools));
    }
    if let Some(temperature) = config.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(thinking) = config.thinking {
        let mut thinking_json = thinking.to_json();
        if let (Some(display), Thinking::Adaptive) = (&config.features.display, thinking) {
            thinking_json["display"] = json!(display);
        }
        body.insert("thinking".to_owned(), thinking_json);
    }
    if let Some(effort) = &config.features.effort {
        body.insert("output_config".to_owned(), json!({"effort": effort}));
    }
    if let Some(id) = container::of_last_reply(&request.messages) {
        body.insert("container".to_owned(), json!(id));
    }
    body.insert("model".to_owned(), json!(config.model));
    body.insert(
        "max_tokens".to_owned(),
        json!(request.max_tokens.map_or(config.max_tokens, |most| most.min(config.max_tokens))),
    );
    body.insert("stream".to_owned(), json!(true));
    body.insert("messages".to_owned(), Value::Array(messages));
    Ok(Value::Object(body))
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"name": spec.name, "description": spec.description, "input_schema": spec.input_schema})
}

/// A request whose history holds tool calls must define tools, even one that offers none: the names the history has,
/// which `tool_choice: none` then keeps from being called.
fn remembered_tools(messages: &[Value]) -> Vec<Value> {
    let mut names: Vec<&str> = messages
        .iter()
        .filter_map(|message| message["content"].as_array())
        .flatten()
        .filter(|block| block["type"] == "tool_use")
        .filter_map(|block| block["name"].as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| json!({"name": name, "description": "Not available now.", "input_schema": {"type": "object"}}))
        .collect()
}

/// Two tools of one name are refused by the API; here it can be said where they come from.
fn refuse_double(tools: &[Value]) -> Result<(), CallError> {
    let mut names = BTreeSet::new();
    match tools.iter().find(|tool| !names.insert(tool["name"].as_str().unwrap_or_default())) {
        None => Ok(()),
        Some(tool) => Err(CallError::new(
            ErrorClass::Request,
            format!(
                "two tools are named {}: one of the session's and one that runs at the server; take `enable_web_search` or `server_tools` out of {}, or the module out of the mount plan",
                tool["name"], INFO.name
            ),
        )),
    }
}

fn mark(block: Option<&mut Value>, lifetime: Lifetime) {
    if let Some(block) = block {
        block["cache_control"] = lifetime.mark();
    }
}

fn mark_messages(messages: &mut [Value]) {
    let users = messages.iter_mut().rev().filter(|message| message["role"] == "user");
    for message in users.take(CACHED_MESSAGES) {
        let blocks = message["content"].as_array_mut().into_iter().flatten();
        let last = blocks.rev().find(|block| block["type"] == "text" || block["type"] == "tool_result");
        mark(last, Lifetime::Minutes);
    }
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
            module: "provider-anthropic".to_owned(),
            config: config.as_object().expect("a test writes an object").clone(),
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        }
    }

    pub fn config(config: &Value) -> Config {
        let variables = [("ANTHROPIC_API_KEY".to_owned(), "sk-test-key".to_owned())].into();
        Config::read(&spec(config), &variables, None).expect("the test's configuration is right")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::config;
    use super::*;
    use crate::chat::{Message, Part, Speaker, ToolCall, ToolInput, ToolResult};

    fn call(id: &str, name: &str) -> Part {
        Part::ToolUse(ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            input: ToolInput::Object(Map::new()),
            extra: Map::new(),
        })
    }

    fn answered(turns: usize) -> Request<'static> {
        let mut messages = vec![Message::user("go")];
        for turn in 0..turns {
            let id = format!("toolu_{turn}");
            messages.push(Message { speaker: Speaker::Assistant, parts: vec![call(&id, "read_file")] });
            let result = ToolResult { id, content: "text".to_owned(), is_error: false };
            messages.push(Message::results(vec![result]));
        }
        let tools = ["bash", "read_file"]
            .map(|name| ToolSpec {
                name: name.to_owned(),
                description: "d".to_owned(),
                input_schema: json!({"type": "object", "properties": {"z": {}, "a": {}}}),
            })
            .to_vec();
        Request {
            system: "You are careful.".into(),
            messages: messages.into(),
            tools: tools.into(),
            max_tokens: None,
        }
    }

    fn sent(settings: &Value, request: &Request) -> Value {
        let wire = encode(&config(settings), request).unwrap();
        serde_json::from_slice(&wire.body).unwrap()
    }

    fn marks(value: &Value) -> usize {
        value.to_string().matches("cache_control").count()
    }

    #[test]
    fn the_bytes_are_the_same_every_time_and_sorted() {
        let config = config(&json!({"temperature": 0.3}));
        let request = answered(3);
        let first = encode(&config, &request).unwrap().body;
        for _ in 0..8 {
            assert_eq!(encode(&config, &request).unwrap().body, first);
        }
        let text = String::from_utf8(first).unwrap();
        assert!(text.starts_with(r#"{"max_tokens":32000,"messages":["#), "{text}");
        assert_eq!(canonical_json(&serde_json::from_str(&text).unwrap()), text);
    }

    #[test]
    fn at_most_four_stable_breakpoints() {
        for turns in [0, 1, 2, 9] {
            let body = sent(&json!({}), &answered(turns));
            assert!(marks(&body) <= 4, "{turns}");
            assert_eq!(marks(&body["system"]), 1);
            assert_eq!(marks(&body["tools"][1]), 1);
            assert_eq!(marks(&body["tools"]), 1);
        }
        let before = sent(&json!({}), &answered(2));
        let after = sent(&json!({}), &answered(3));
        let last = before["messages"].as_array().unwrap().len() - 1;
        assert_eq!(
            before["messages"][last], after["messages"][last],
            "the end of the last request is still marked"
        );
        assert_eq!(marks(&sent(&json!({"enable_prompt_caching": false}), &answered(2))), 0);
    }

    #[test]
    fn the_end_of_the_last_request_stays_marked_however_many_blocks_a_turn_has() {
        // A look-back of some 20 blocks would not reach over 11 calls and their results.
        let mut messages = vec![Message::user("go")];
        for turn in 0..3 {
            let ids: Vec<String> = (0..11).map(|call| format!("toolu_{turn}_{call}")).collect();
            let calls = ids.iter().map(|id| call(id, "read_file")).collect();
            messages.push(Message { speaker: Speaker::Assistant, parts: calls });
            let result =
                |id: &String| ToolResult { id: id.clone(), content: "x".to_owned(), is_error: false };
            messages.push(Message::results(ids.iter().map(result).collect()));
        }
        let request = |count: usize| Request { messages: messages[..count].to_vec().into(), ..answered(0) };
        let (before, after) = (sent(&json!({}), &request(5)), sent(&json!({}), &request(7)));
        let (before, after) = (before["messages"].as_array().unwrap(), after["messages"].as_array().unwrap());
        assert_eq!(marks(&after[4]), 1);
        assert_eq!(before[4], after[4]);
    }

    #[test]
    fn an_hour_is_for_what_never_changes_and_comes_first() {
        let body = sent(&json!({"cache_stable_region_ttl_1h": true}), &answered(2));
        assert_eq!(body["tools"][1]["cache_control"]["ttl"], "1h");
        assert_eq!(body["system"][0]["cache_control"]["ttl"], "1h");
        assert!(!body["messages"].to_string().contains("ttl"));
        assert_eq!(marks(&body), 4);
    }

    #[test]
    fn server_tools_and_effort_go_through_and_into_the_key() {
        let settings = json!({
            "enable_web_search": true, "reasoning_effort": "low", "extended_thinking": true, "thinking_display": "omitted",
        });
        let body = sent(&settings, &answered(0));
        assert_eq!(body["tools"][2]["name"], "web_search");
        assert_eq!(
            (marks(&body["tools"][1]), marks(&body["tools"][2])),
            (0, 1),
            "the mark is on the last tool"
        );
        assert_eq!(body["output_config"], json!({"effort": "low"}));
        assert_eq!(body["thinking"], json!({"type": "adaptive", "display": "omitted"}));
        let provider =
            crate::provider::anthropic::Anthropic::build(&testing::spec(&settings), &[].into(), None);
        let params = crate::provider::Provider::params(provider.unwrap().as_ref());
        assert_eq!(
            (&params["effort"], &params["server_tools"][0]["name"]),
            (&json!("low"), &json!("web_search"))
        );

        let twice = json!({"server_tools": [{"type": "x_1", "name": "bash"}]});
        let error = encode(&config(&twice), &answered(0)).unwrap_err();
        assert!(error.message.starts_with("two tools are named \"bash\""), "{error}");
    }

    #[test]
    fn headers_carry_version_key_and_betas() {
        let settings = json!({
            "extended_thinking": true, "thinking_budget_tokens": 2048, "beta_headers": "context-1m-2025-08-07"
        });
        let wire = encode(&config(&settings), &answered(0)).unwrap();
        let header =
            |name: &str| wire.headers.iter().find(|(key, _)| *key == name).map(|(_, text)| text.clone());
        assert!(matches!(header("anthropic-version"), Some(HeaderText::Plain(text)) if text == "2023-06-01"));
        assert!(
            matches!(header("x-api-key"), Some(HeaderText::Secret { secret, .. }) if secret.expose() == "sk-test-key")
        );
        let betas = "context-1m-2025-08-07,interleaved-thinking-2025-05-14";
        assert!(matches!(header("anthropic-beta"), Some(HeaderText::Plain(text)) if text == betas));
        assert_eq!(wire.url, "https://api.anthropic.com/v1/messages");
        assert!(!format!("{wire:?}").contains("sk-test-key"));
    }

    #[test]
    fn sampling_is_sent_only_where_the_api_takes_it() {
        let request = answered(0);
        let temperature = |settings: Value| sent(&settings, &request).get("temperature").cloned();
        assert_eq!(temperature(json!({"temperature": 0.7})), Some(json!(0.7)));
        assert_eq!(temperature(json!({})), None);
        assert_eq!(temperature(json!({"temperature": 0.7, "anthropic_version": "2026-10-21"})), None);
        assert_eq!(temperature(json!({"temperature": 0.7, "extended_thinking": true})), None);
    }

    #[test]
    fn thinking_fits_the_model() {
        let thinking = |settings: Value| sent(&settings, &answered(0))["thinking"].clone();
        let on = |model: &str| json!({"extended_thinking": true, "default_model": model});
        assert_eq!(thinking(on("claude-sonnet-5")), json!({"type": "adaptive"}));
        assert_eq!(thinking(on("claude-opus-4-5")), json!({"type": "enabled", "budget_tokens": 10_000}));
        let tight = json!({"extended_thinking": true, "thinking_budget_tokens": 4096, "max_tokens": 4096});
        let body = sent(&tight, &answered(0));
        assert_eq!((&body["max_tokens"], &body["thinking"]["budget_tokens"]), (&json!(8_192), &json!(4_096)));
    }

    #[test]
    fn a_request_without_tools_still_defines_those_of_its_history() {
        let body = sent(&json!({}), &Request { tools: Vec::new().into(), ..answered(2) });
        assert_eq!(body["tools"][0]["name"], "read_file");
        assert_eq!(body["tool_choice"], json!({"type": "none"}));
        let plain = sent(&json!({}), &Request { tools: Vec::new().into(), ..answered(0) });
        assert!(plain.get("tools").is_none() && plain.get("tool_choice").is_none());
    }

    #[test]
    fn the_container_of_the_last_reply_is_named_and_is_no_block() {
        let reply = |id: &str| {
            let place = serde_json::from_value(json!({"id": id, "expires_at": "x"})).unwrap();
            Message { speaker: Speaker::Assistant, parts: vec![Part::text(id), container::keep(place)] }
        };
        let mut request = answered(0);
        let messages =
            vec![Message::user("a"), reply("c_1"), Message::user("b"), reply("c_2"), Message::user("c")];
        request.messages = messages.into();
        let body = sent(&json!({}), &request);
        assert_eq!(body["container"], "c_2");
        assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), 1);
        assert!(sent(&json!({}), &answered(1)).get("container").is_none());
    }

    #[test]
    fn an_empty_system_prompt_is_not_sent() {
        let body = sent(&json!({}), &Request { system: " \n".into(), ..answered(0) });
        assert!(body.get("system").is_none());
    }

    #[test]
    fn a_missing_key_is_reported_last_and_names_the_variable() {
        let config = Config::read(&testing::spec(&json!({})), &[].into(), None).unwrap();
        let error = encode(&config, &answered(1)).unwrap_err();
        assert_eq!(error.class, ErrorClass::Credential);
        assert!(error.message.contains("ANTHROPIC_API_KEY"), "{error}");
        let error = encode(&config, &Request::default()).unwrap_err();
        assert_eq!(error.class, ErrorClass::Request);
    }
}
