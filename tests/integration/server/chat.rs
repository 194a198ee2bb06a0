//! OpenAI's Chat Completions as its servers speak it: what they refuse, and the streams of their dialects.

use serde_json::{Map, Value, json};

use super::brain::{Answer, Part, text_of};
use super::chance::Chance;
use super::events::{Context, stop_reason, usage};
use super::format::{arguments, is_tool_name, judge_openai, pieces, result, say};
use super::rules::Refusal;

/// Keys a request may have.
const KEYS: [&str; 18] = [
    "frequency_penalty",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
];

/// Judges a request; gives out its body when nothing is wrong with it.
pub fn judge(target: &str, headers: &[(String, String)], body: &[u8]) -> Result<Value, Refusal> {
    if target != "POST /v1/chat/completions" {
        return Err(Refusal {
            status: 404,
            kind: "invalid_request_error",
            message: "Invalid URL".to_owned(),
        });
    }
    let (body, reasons) = judge_openai(headers, body)?;
    let unknown = body.as_object().into_iter().flat_map(Map::keys).find(|key| !KEYS.contains(&key.as_str()));
    if let Some(unknown) = unknown {
        return Err(Refusal::invalid(format!("Unrecognized request argument supplied: {unknown}")));
    }
    if reasons && !body["max_tokens"].is_null() {
        return Err(Refusal::invalid(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ));
    }
    if reasons && !body["temperature"].is_null() {
        return Err(Refusal::invalid(
            "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) value is supported.",
        ));
    }
    if body["stream"] != true {
        return Err(Refusal::invalid("this test server answers streams only"));
    }
    tools(&body)?;
    messages(&body)?;
    Ok(body)
}

fn tools(body: &Value) -> Result<(), Refusal> {
    if body["tools"].is_null() && !body["tool_choice"].is_null() {
        return Err(Refusal::invalid(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
        ));
    }
    if body["tools"].as_array().is_some_and(Vec::is_empty) {
        return Err(Refusal::invalid(
            "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ));
    }
    for (at, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        if tool["type"] != "function" {
            return Err(Refusal::invalid(format!("Missing required parameter: 'tools[{at}].type'.")));
        }
        if !is_tool_name(tool["function"]["name"].as_str().unwrap_or_default()) {
            return Err(Refusal::invalid(format!(
                "Invalid 'tools[{at}].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            )));
        }
        if tool["function"]["parameters"]["type"] != "object" {
            return Err(Refusal::invalid(
                "Invalid schema for function: schema must be a JSON Schema of 'type: \"object\"'.",
            ));
        }
    }
    Ok(())
}

fn messages(body: &Value) -> Result<(), Refusal> {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    if messages.is_empty() {
        return Err(Refusal::invalid("Invalid 'messages': empty array."));
    }
    let mut open: Vec<&Value> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            let id = &message["tool_call_id"];
            let Some(place) = open.iter().position(|call| *call == id) else {
                return Err(Refusal::invalid(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                ));
            };
            open.remove(place);
            if !message["content"].is_string() {
                return Err(Refusal::invalid(format!("Invalid type for 'messages[{at}].content'.")));
            }
            continue;
        }
        answered(&open)?;
        if !["system", "developer", "user", "assistant"].contains(&role) {
            return Err(Refusal::invalid(format!("Invalid value: '{role}' at messages[{at}].role.")));
        }
        let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
        let says = message["content"].is_string() || message["content"].is_array();
        if !says && (role != "assistant" || calls.is_empty()) {
            return Err(Refusal::invalid("Invalid value for 'content': expected a string, got null."));
        }
        for call in calls {
            if call["type"] != "function" || !call["function"]["arguments"].is_string() {
                return Err(Refusal::invalid(format!("Invalid type for 'messages[{at}].tool_calls'.")));
            }
        }
        open = calls.iter().map(|call| &call["id"]).collect();
    }
    answered(&open)
}

fn answered(open: &[&Value]) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = open.iter().filter_map(|id| id.as_str()).collect();
    Err(Refusal::invalid(format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
         The following tool_call_ids did not have response messages: {}",
        ids.join(", ")
    )))
}

/// The body in the form of the Messages API.
pub fn conversation(body: &Value) -> Value {
    let mut messages = Vec::new();
    let mut system = String::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        let text = text_of(&message["content"]);
        match message["role"].as_str() {
            Some("system") => system = text,
            Some("tool") => say(&mut messages, "user", result(&message["tool_call_id"], &text)),
            Some("assistant") => {
                if !text.is_empty() {
                    say(&mut messages, "assistant", json!({"type": "text", "text": text}));
                }
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
                    let input: Value = serde_json::from_str(arguments).unwrap_or_default();
                    let block = json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": input});
                    say(&mut messages, "assistant", block);
                }
            }
            _ => say(&mut messages, "user", json!({"type": "text", "text": text})),
        }
    }
    let tools: Vec<_> =
        body["tools"].as_array().into_iter().flatten().map(|tool| &tool["function"]).collect();
    json!({"model": body["model"], "system": system, "messages": messages, "tools": tools, "stream": true})
}

/// A way to speak the format; which one follows from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    OpenAi,
    Azure,
    OpenRouter,
    Mistral,
    Vllm,
    Ollama,
    /// No `[DONE]`, and counts in every chunk.
    Perplexity,
}

const DIALECTS: [Dialect; 7] = [
    Dialect::OpenAi,
    Dialect::Azure,
    Dialect::OpenRouter,
    Dialect::Mistral,
    Dialect::Vllm,
    Dialect::Ollama,
    Dialect::Perplexity,
];

/// Writes the events of an answer, one element an event or a comment.
pub fn stream(answer: &Answer, body: &Value, context: &Context, chance: &mut Chance) -> Vec<Vec<u8>> {
    let dialect = DIALECTS[chance.below(DIALECTS.len())];
    let counts = usage(answer, context);
    let input = counts.input + counts.cache_read + counts.cache_write;
    let mut chunks = Chunks {
        dialect,
        head: json!({"id": chance.id("chatcmpl"), "object": "chat.completion.chunk", "created": 1, "model": context.model}),
        usage: json!({
            "prompt_tokens": input, "completion_tokens": counts.output, "total_tokens": input + counts.output,
            "prompt_tokens_details": {"cached_tokens": counts.cache_read},
        }),
        written: Vec::new(),
    };
    chunks.open();
    let mut late = None;
    let mut calls = 0;
    for (at, part) in answer.parts.iter().enumerate() {
        match part {
            Part::Text(text) => chunks.text("content", &pieces(text, chance)),
            Part::Thinking { text, .. } => {
                let field = if dialect == Dialect::Vllm { "reasoning_content" } else { "reasoning" };
                chunks.text(field, &pieces(text, chance));
            }
            Part::ToolUse { name, input } => {
                let call = Call { index: calls, id: chance.id("call"), name, arguments: arguments(input) };
                calls += 1;
                if dialect == Dialect::Mistral && at + 1 == answer.parts.len() {
                    late = Some(json!({"tool_calls": [call.whole(dialect)]}));
                } else {
                    chunks.call(&call, chance);
                }
            }
            Part::Whole(block) => panic!("this format has no block such as {block}"),
        }
    }
    let reason = match stop_reason(answer) {
        "end_turn" => "stop",
        "tool_use" if dialect == Dialect::Ollama => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" => "length",
        "refusal" => "content_filter",
        other => other,
    };
    chunks.close(reason, late, body["stream_options"]["include_usage"] == true);
    chunks.written
}

struct Call<'a> {
    index: usize,
    id: String,
    name: &'a str,
    arguments: String,
}

impl Call<'_> {
    fn whole(&self, dialect: Dialect) -> Value {
        let mut whole = json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}});
        match dialect {
            Dialect::Ollama => whole["index"] = json!(0),
            // Some say no index at all.
            _ if self.index % 2 == 1 => {}
            _ => whole["index"] = json!(self.index),
        }
        whole
    }
}

struct Chunks {
    dialect: Dialect,
    head: Value,
    usage: Value,
    written: Vec<Vec<u8>>,
}

impl Chunks {
    fn chunk(&mut self, choices: Value, usage: bool) {
        let mut chunk = self.head.clone();
        chunk["choices"] = choices;
        let always = matches!(self.dialect, Dialect::Perplexity | Dialect::Vllm);
        if usage || always {
            chunk["usage"] = self.usage.clone();
        } else {
            chunk["usage"] = Value::Null;
            chunk["obfuscation"] = json!("xxxxxx");
        }
        self.written.push(format!("data: {chunk}\n\n").into_bytes());
    }

    fn delta(&mut self, mut delta: Value) {
        if matches!(self.dialect, Dialect::OpenRouter | Dialect::Ollama) {
            delta["role"] = json!("assistant");
        }
        if self.dialect == Dialect::Vllm && delta["tool_calls"].is_null() {
            delta["tool_calls"] = Value::Null;
            delta["reasoning_content"] = delta["reasoning_content"].take();
        }
        self.chunk(json!([{"index": 0, "delta": delta, "finish_reason": null, "logprobs": null}]), false);
    }

    fn open(&mut self) {
        match self.dialect {
            Dialect::OpenRouter => self.written.push(b": OPENROUTER PROCESSING\n\n".to_vec()),
            Dialect::Azure => self.chunk(json!([]), false),
            _ => {}
        }
        self.delta(json!({"role": "assistant", "content": ""}));
    }

    fn text(&mut self, field: &str, pieces: &[String]) {
        for piece in pieces {
            self.delta(json!({field: piece}));
        }
    }

    fn call(&mut self, call: &Call<'_>, chance: &mut Chance) {
        if matches!(self.dialect, Dialect::Mistral | Dialect::Ollama) {
            return self.delta(json!({"tool_calls": [call.whole(self.dialect)]}));
        }
        let function = json!({"name": call.name, "arguments": ""});
        let first = json!({"index": call.index, "id": call.id, "type": "function", "function": function});
        self.delta(json!({"tool_calls": [first]}));
        for piece in pieces(&call.arguments, chance) {
            self.delta(json!({"tool_calls": [{"index": call.index, "function": {"arguments": piece}}]}));
        }
    }

    fn close(&mut self, reason: &str, late: Option<Value>, usage: bool) {
        let delta = late.unwrap_or_else(|| json!({}));
        let finish = json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
        let own = matches!(self.dialect, Dialect::OpenAi | Dialect::Azure | Dialect::Vllm);
        self.chunk(finish.clone(), usage && matches!(self.dialect, Dialect::Mistral | Dialect::Ollama));
        if usage && self.dialect == Dialect::OpenRouter {
            self.chunk(
                json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": reason}]),
                true,
            );
        }
        if usage && own {
            self.chunk(json!([]), true);
        }
        if self.dialect != Dialect::Perplexity {
            self.written.push(b"data: [DONE]\n\n".to_vec());
        }
    }
}
