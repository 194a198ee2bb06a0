//! What the Messages API refuses, with its own words: the mistakes a client of it makes at most.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::KEY;

/// The version in which sampling parameters are gone.
const NEW_VERSION: &str = "2026-10-21";
const VERSIONS: [&str; 2] = ["2023-06-01", NEW_VERSION];

/// Models by the beginning of their name, with the most output tokens each may be asked for.
const MODELS: [(&str, u64); 10] = [
    ("claude-opus-5", 128_000),
    ("claude-fable-5", 128_000),
    ("claude-sonnet-5", 128_000),
    ("claude-opus-4-8", 128_000),
    ("claude-opus-4-7", 128_000),
    ("claude-opus-4-6", 128_000),
    ("claude-opus-4-5", 64_000),
    ("claude-sonnet-4-6", 64_000),
    ("claude-sonnet-4-5", 64_000),
    ("claude-haiku-4-5", 64_000),
];

/// Keys a request may have.
const KEYS: [&str; 20] = [
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_p",
];

/// Most blocks that may be marked for the cache.
const BREAKPOINTS: usize = 4;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error's type.
    pub kind: &'static str,
    /// The error's message.
    pub message: String,
}

impl Refusal {
    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { status: 400, kind: "invalid_request_error", message: message.into() }
    }

    /// The request is too large.
    pub fn too_large() -> Self {
        Self {
            status: 413,
            kind: "request_too_large",
            message: "Request exceeds the maximum allowed number of bytes.".to_owned(),
        }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self { status: 404, kind: "not_found_error", message: message.into() }
    }

    fn unauthorized(message: &str) -> Self {
        Self { status: 401, kind: "authentication_error", message: message.to_owned() }
    }
}

type Verdict = Result<(), Refusal>;

/// Judges a request; gives out its body when nothing is wrong with it.
pub fn judge(target: &str, headers: &[(String, String)], body: &[u8]) -> Result<Value, Refusal> {
    if !["POST /v1/messages", "POST /v1/messages/count_tokens"].contains(&target) {
        return Err(Refusal::not_found("Not Found"));
    }
    let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    credential(header("x-api-key"), header("authorization"))?;
    let version = match header("anthropic-version") {
        None => return Err(Refusal::invalid("anthropic-version: header is required")),
        Some(version) if VERSIONS.contains(&version) => version,
        Some(other) => {
            return Err(Refusal::invalid(format!("anthropic-version: \"{other}\" is not a valid version")));
        }
    };
    if !header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Refusal::invalid("content-type: must be application/json"));
    }
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("The request body is not valid JSON: {error}")))?;
    keys(&body, version)?;
    if target == "POST /v1/messages" {
        max_tokens(&body)?;
    }
    tools(&body)?;
    system(&body)?;
    breakpoints(&body)?;
    messages(&body, version)?;
    Ok(body)
}

fn credential(key: Option<&str>, bearer: Option<&str>) -> Verdict {
    match (key, bearer.and_then(|value| value.strip_prefix("Bearer "))) {
        (Some(key), _) if key == KEY => Ok(()),
        (Some(_), _) => Err(Refusal::unauthorized("invalid x-api-key")),
        (None, Some(token)) if token == KEY => Ok(()),
        (None, Some(_)) => Err(Refusal::unauthorized("Invalid bearer token")),
        (None, None) => Err(Refusal::unauthorized("x-api-key header is required")),
    }
}

fn keys(body: &Value, version: &str) -> Verdict {
    let Some(fields) = body.as_object() else {
        return Err(Refusal::invalid("Input should be a valid dictionary or object to extract fields from"));
    };
    for required in ["model", "messages"] {
        if !fields.contains_key(required) {
            return Err(Refusal::invalid(format!("{required}: Field required")));
        }
    }
    if let Some(unknown) = fields.keys().find(|key| !KEYS.contains(&key.as_str()) && *key != "top_k") {
        return Err(Refusal::invalid(format!("{unknown}: Extra inputs are not permitted")));
    }
    let sampling = ["temperature", "top_p", "top_k"].into_iter().find(|key| fields.contains_key(*key));
    if let (Some(sampling), NEW_VERSION) = (sampling, version) {
        return Err(Refusal::invalid(format!("`{sampling}` is deprecated for this model.")));
    }
    if fields
        .get("temperature")
        .is_some_and(|heat| heat.as_f64().is_none_or(|heat| !(0.0..=1.0).contains(&heat)))
    {
        return Err(Refusal::invalid("temperature: range: 0..1"));
    }
    if model(body).is_none() {
        let name = body["model"].as_str().unwrap_or_default();
        return Err(Refusal::not_found(format!("model: {name}")));
    }
    Ok(())
}

fn model(body: &Value) -> Option<(&'static str, u64)> {
    let name = body["model"].as_str()?;
    MODELS.into_iter().find(|(begin, _)| {
        name.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with("-20"))
    })
}

fn max_tokens(body: &Value) -> Verdict {
    let Some(asked) = body["max_tokens"].as_u64() else {
        let message =
            if body["max_tokens"].is_null() { "Field required" } else { "Input should be a valid integer" };
        return Err(Refusal::invalid(format!("max_tokens: {message}")));
    };
    let (name, most) = model(body).expect("an unknown model has been refused");
    if asked > most {
        return Err(Refusal::invalid(format!(
            "max_tokens: {asked} > {most}, which is the maximum allowed number of output tokens for {name}"
        )));
    }
    let Some(budget) = body["thinking"]["budget_tokens"].as_u64() else { return Ok(()) };
    if budget < 1024 {
        return Err(Refusal::invalid(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ));
    }
    if budget >= asked {
        return Err(Refusal::invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    Ok(())
}

fn tools(body: &Value) -> Verdict {
    let mut names = BTreeSet::new();
    for (at, tool) in list(&body["tools"]).iter().enumerate() {
        let name = tool["name"].as_str().unwrap_or_default();
        if !names.insert(name) {
            return Err(Refusal::invalid("tools: Tool names must be unique."));
        }
        // A server tool (`web_search_20250305` …) has a type of its own and no schema.
        if tool["type"].as_str().is_some_and(|kind| kind != "custom") {
            continue;
        }
        if !is_word(name) || name.len() > 128 {
            return Err(Refusal::invalid(format!(
                "tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )));
        }
        let schema = &tool["input_schema"];
        let place = format!("tools.{at}.custom.input_schema");
        if !schema.is_object() {
            return Err(Refusal::invalid(format!("{place}: Field required")));
        }
        if ["oneOf", "allOf", "anyOf"].iter().any(|combinator| !schema[*combinator].is_null()) {
            return Err(Refusal::invalid(format!(
                "{place}: input_schema does not support oneOf, allOf, or anyOf at the top level"
            )));
        }
        match schema["type"].as_str() {
            Some("object") => {}
            None => return Err(Refusal::invalid(format!("{place}.type: Field required"))),
            Some(_) => return Err(Refusal::invalid(format!("{place}.type: Input should be 'object'"))),
        }
    }
    Ok(())
}

fn system(body: &Value) -> Verdict {
    if list(&body["system"]).iter().any(|block| block["text"] == "") {
        return Err(Refusal::invalid("system: text content blocks must be non-empty"));
    }
    Ok(())
}

fn breakpoints(body: &Value) -> Verdict {
    let own = usize::from(!body["cache_control"].is_null());
    let in_messages = list(&body["messages"]).iter().flat_map(|message| list(&message["content"]));
    let inner = in_messages.clone().flat_map(|block| list(&block["content"]));
    let blocks = list(&body["tools"]).iter().chain(list(&body["system"])).chain(in_messages).chain(inner);
    let marked: Vec<_> = blocks.filter(|block| !block["cache_control"].is_null()).collect();
    if let Some(wrong) = marked.iter().find(|block| block["cache_control"]["type"] != "ephemeral") {
        let kind = wrong["cache_control"]["type"].as_str().unwrap_or_default();
        return Err(Refusal::invalid(format!("cache_control.type: '{kind}' is not 'ephemeral'")));
    }
    if marked.iter().any(|block| block["type"] == "text" && block["text"] == "") {
        return Err(Refusal::invalid("cache_control cannot be set for empty text blocks"));
    }
    let lasting: Vec<_> = marked.iter().map(|block| block["cache_control"]["ttl"] == "1h").collect();
    if lasting.windows(2).any(|pair| !pair[0] && pair[1]) {
        return Err(Refusal::invalid(
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block",
        ));
    }
    let found = marked.len() + own;
    if found > BREAKPOINTS {
        return Err(Refusal::invalid(format!(
            "A maximum of {BREAKPOINTS} blocks with cache_control may be provided. Found {found}."
        )));
    }
    Ok(())
}

fn messages(body: &Value, version: &str) -> Verdict {
    let messages = list(&body["messages"]);
    let Some(last) = messages.last() else {
        return Err(Refusal::invalid("messages: at least one message is required"));
    };
    let mut ids = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !["user", "assistant", "system"].contains(&role) {
            return Err(Refusal::invalid(format!(
                "messages: Unexpected role \"{role}\". Allowed roles are \"user\" or \"assistant\"."
            )));
        }
        if list(&message["content"]).is_empty() && message["content"].as_str().is_none_or(str::is_empty) {
            return Err(Refusal::invalid(format!(
                "messages.{at}: all messages must have non-empty content except for the optional final assistant message"
            )));
        }
        for (block_at, block) in list(&message["content"]).iter().enumerate() {
            let place = format!("messages.{at}.content.{block_at}");
            self::block(&Block { place: &place, role, block, version })?;
            if block["type"] == "tool_use" && !ids.insert(block["id"].as_str().unwrap_or_default()) {
                return Err(Refusal::invalid("messages: `tool_use` ids must be unique"));
            }
        }
        let before = at.checked_sub(1).map_or(&[][..], |before| list(&messages[before]["content"]));
        answers(at, message, before)?;
        if role == "assistant" {
            calls(at, message, messages.get(at + 1))?;
        }
    }
    if messages[0]["role"] == "assistant" {
        return Err(Refusal::invalid("messages: first message must use the \"user\" role"));
    }
    // A paused turn goes back as it is: its server tool still has to answer.
    let is_paused = || blocks(last, "server_tool_use").next().is_some();
    if last["role"] == "assistant" && !is_paused() {
        return Err(Refusal::invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    Ok(())
}

struct Block<'a> {
    place: &'a str,
    role: &'a str,
    block: &'a Value,
    version: &'a str,
}

/// Judges one block by itself.
fn block(Block { place, role, block, version }: &Block) -> Verdict {
    let invalid = |rest: &str| Err(Refusal::invalid(format!("{place}{rest}")));
    let is_text = block["type"].as_str();
    match is_text {
        None => return invalid(".type: Field required"),
        Some("text") if block["text"].as_str().is_none() => return invalid(".text.text: Field required"),
        Some("text") if block["text"] == "" => {
            return Err(Refusal::invalid("messages: text content blocks must be non-empty"));
        }
        Some("text") if block["text"].as_str().is_some_and(|text| text.trim().is_empty()) => {
            return Err(Refusal::invalid("messages: text content blocks must contain non-whitespace text"));
        }
        Some("tool_use") if !is_word(block["id"].as_str().unwrap_or_default()) => {
            return invalid(".tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'");
        }
        Some("tool_use") if !block["input"].is_object() => {
            return invalid(".tool_use.input: Input should be a valid dictionary");
        }
        Some("tool_result") if !is_word(block["tool_use_id"].as_str().unwrap_or_default()) => {
            return invalid(".tool_result.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'");
        }
        Some("tool_result") if list(&block["content"]).iter().any(|inner| inner["text"] == "") => {
            return Err(Refusal::invalid("messages: text content blocks must be non-empty"));
        }
        Some("thinking" | "redacted_thinking") if !block["cache_control"].is_null() => {
            return invalid(".thinking.cache_control: Extra inputs are not permitted");
        }
        Some("input_json_delta") => {
            return invalid(
                ": Input tag 'input_json_delta' found using 'type' does not match any of the expected tags",
            );
        }
        _ => {}
    }
    if *version == NEW_VERSION && *role == "assistant" && is_text == Some("document") {
        return invalid(": `document` blocks are not permitted in assistant messages");
    }
    if *version == NEW_VERSION
        && *role == "user"
        && is_text == Some("text")
        && !list(&block["citations"]).is_empty()
    {
        return invalid(".text.citations: citations are not permitted in user messages");
    }
    Ok(())
}

/// Judges the thinking that comes back: what the server has sealed must be as it was.
pub fn thinking(body: &Value, sealed: &BTreeMap<String, String>) -> Verdict {
    for (at, message) in list(&body["messages"]).iter().enumerate() {
        for (block_at, block) in list(&message["content"]).iter().enumerate() {
            if block["type"] != "thinking" {
                continue;
            }
            let place = format!("messages.{at}.content.{block_at}");
            match sealed.get(block["signature"].as_str().unwrap_or_default()) {
                None if sealed.is_empty() => {}
                None => {
                    return Err(Refusal::invalid(format!(
                        "{place}: Invalid `signature` in `thinking` block"
                    )));
                }
                Some(text) if block["thinking"] == text.as_str() => {}
                Some(_) => {
                    return Err(Refusal::invalid(format!(
                        "{place}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be \
                         modified. These blocks must remain as they were in the original response."
                    )));
                }
            }
        }
    }
    Ok(())
}

/// Judges the tool calls of an assistant message by the message that follows: results of all, before anything else.
fn calls(at: usize, message: &Value, next: Option<&Value>) -> Verdict {
    let called: Vec<_> = blocks(message, "tool_use").filter_map(|call| call["id"].as_str()).collect();
    if called.is_empty() || next.is_none() {
        return Ok(());
    }
    let answered: Vec<_> = next
        .into_iter()
        .filter(|next| next["role"] == "user")
        .flat_map(|next| list(&next["content"]))
        .take_while(|block| block["type"] == "tool_result")
        .filter_map(|result| result["tool_use_id"].as_str())
        .collect();
    let missing: Vec<_> = called.into_iter().filter(|id| !answered.contains(id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` \
         block must have a corresponding `tool_result` block in the next message.",
        missing.join(", ")
    )))
}

/// Judges the tool results of a message by the message before it: one for a call, none without.
fn answers(at: usize, message: &Value, before: &[Value]) -> Verdict {
    let mut seen = BTreeSet::new();
    for (block_at, block) in list(&message["content"]).iter().enumerate() {
        if block["type"] != "tool_result" {
            continue;
        }
        let id = block["tool_use_id"].as_str().unwrap_or_default();
        if !before.iter().any(|call| call["type"] == "tool_use" && call["id"] == id) {
            return Err(Refusal::invalid(format!(
                "messages.{at}.content.{block_at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each \
                 `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )));
        }
        if !seen.insert(id) {
            return Err(Refusal::invalid(format!(
                "messages.{at}.content.{block_at}: each tool_use must have a single result. Found multiple \
                 `tool_result` blocks with id: {id}"
            )));
        }
    }
    Ok(())
}

fn blocks<'a>(message: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    list(&message["content"]).iter().filter(move |block| block["type"] == kind)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
