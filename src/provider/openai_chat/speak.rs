//! How a reply looks when a Chat Completions server streams it: what puts a script behind the real decoder.

use serde_json::{Value, json};

use super::decode::stop_word;
use super::encode::REASONING_DETAILS;
use crate::chat::{Part, Reply, ToolCall, ToolInput};
use crate::provider::pieces::pieces;

/// Characters of one piece of text.
const TEXT_PIECE: usize = 48;

/// Characters of one piece of arguments; small, so that pieces end inside escapes.
const JSON_PIECE: usize = 11;

/// Writes an error as it comes in the middle of a stream.
pub fn speak_error(kind: &str) -> Vec<u8> {
    let error = json!({"message": "this fault was asked for", "type": kind, "code": kind, "param": null});
    format!("data: {}\n\n", json!({"error": error})).into_bytes()
}

/// Writes a reply as a whole stream.
pub fn speak(reply: &Reply) -> Vec<u8> {
    let mut stream = Stream { reply, bytes: Vec::new() };
    stream.delta(&json!({"role": "assistant", "content": null}));
    let mut calls = 0;
    for part in &reply.parts {
        match part {
            Part::Text { text, .. } => stream.text("content", text),
            Part::Thinking { thinking, .. } => stream.text("reasoning_content", thinking),
            Part::Other(block) if block["type"] == REASONING_DETAILS => {
                stream.delta(&json!({REASONING_DETAILS: block[REASONING_DETAILS]}));
            }
            Part::ToolUse(call) => {
                stream.call(calls, call);
                calls += 1;
            }
            Part::ToolResult(_) | Part::Other(_) => {}
        }
    }
    let refusal = reply.stop_details.as_ref().and_then(|details| details["refusal"].as_str());
    stream.text("refusal", refusal.unwrap_or_default());
    let word = if refusal.is_some() { "stop" } else { stop_word(&reply.stop) };
    stream.chunk(&json!([{"index": 0, "delta": {}, "finish_reason": word}]), &Value::Null);
    let usage = reply.usage;
    let counts = json!({
        "prompt_tokens": usage.total_input(),
        "completion_tokens": usage.output,
        "total_tokens": usage.total_input() + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
    });
    stream.chunk(&json!([]), &counts);
    stream.bytes.extend_from_slice(b"data: [DONE]\n\n");
    stream.bytes
}

struct Stream<'a> {
    reply: &'a Reply,
    bytes: Vec<u8>,
}

impl Stream<'_> {
    fn chunk(&mut self, choices: &Value, usage: &Value) {
        let data = json!({
            "id": self.reply.id, "object": "chat.completion.chunk", "created": 0, "model": self.reply.model,
            "choices": choices, "usage": usage,
        });
        self.bytes.extend_from_slice(format!("data: {data}\n\n").as_bytes());
    }

    fn delta(&mut self, delta: &Value) {
        self.chunk(&json!([{"index": 0, "delta": delta, "finish_reason": null}]), &Value::Null);
    }

    fn text(&mut self, field: &str, text: &str) {
        for piece in pieces(text, TEXT_PIECE) {
            self.delta(&json!({field: piece}));
        }
    }

    fn call(&mut self, index: usize, call: &ToolCall) {
        let arguments = match &call.input {
            ToolInput::Object(input) => Value::Object(input.clone()).to_string(),
            ToolInput::Invalid(text) => text.clone(),
        };
        let mut first = json!({
            "index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""},
        });
        for (key, value) in &call.extra {
            first[key] = value.clone();
        }
        self.delta(&json!({"tool_calls": [first]}));
        for piece in pieces(&arguments, JSON_PIECE) {
            self.delta(&json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}));
        }
    }
}
