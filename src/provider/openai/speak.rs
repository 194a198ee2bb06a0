//! How a reply looks when the Responses API streams it: what puts a script behind the real decoder.

use serde_json::{Value, json};

use super::decode::stop_word;
use super::items;
use crate::chat::{Part, Reply, Usage};
use crate::provider::pieces::pieces;

/// Characters of one piece of text.
const TEXT_PIECE: usize = 48;

/// Characters of one piece of arguments; small, so that pieces end inside escapes.
const JSON_PIECE: usize = 11;

/// Writes an error as it comes in the middle of a stream.
pub fn speak_error(kind: &str) -> Vec<u8> {
    let error = json!({"type": kind, "code": kind, "message": "this fault was asked for", "param": null});
    let data = json!({"type": "error", "sequence_number": 1, "error": error});
    format!("event: error\ndata: {data}\n\n").into_bytes()
}

/// Writes a reply as a whole stream.
pub fn speak(reply: &Reply) -> Vec<u8> {
    let mut stream = Stream::default();
    let mut response = json!({
        "id": reply.id, "object": "response", "model": reply.model, "status": "in_progress",
        "output": [], "incomplete_details": null, "error": null, "usage": null, "store": false,
    });
    stream.event("response.created", json!({"response": response}));
    stream.event("response.in_progress", json!({"response": response}));
    let items = spoken(&reply.parts);
    for (index, item) in items.iter().enumerate() {
        stream.item(index, item);
    }
    response["usage"] = usage(reply.usage);
    // A refusal in its own words is a complete response.
    let word = stop_word(&reply.stop).filter(|_| items::refusal(&reply.parts).is_none());
    response["status"] = json!(if word.is_some() { "incomplete" } else { "completed" });
    response["output"] = Value::Array(items);
    if let Some(word) = word {
        response["incomplete_details"] = json!({"reason": word});
        stream.event("response.incomplete", json!({"response": response}));
    } else {
        stream.event("response.completed", json!({"response": response}));
    }
    stream.bytes
}

/// The items of a reply. Reasoning of another provider is shown as a summary.
fn spoken(parts: &[Part]) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for part in parts {
        match part {
            Part::Thinking { thinking, .. } => items.push(json!({
                "type": "reasoning", "summary": [{"type": "summary_text", "text": thinking}],
            })),
            Part::Other(item) if item["type"] == "reasoning" => items.push(item.clone()),
            Part::Text { text, .. } if text.trim().is_empty() => items.push(json!({
                "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}],
            })),
            Part::ToolUse(call) => {
                let mut item = items::write(std::slice::from_ref(part)).remove(0);
                if let crate::chat::ToolInput::Invalid(text) = &call.input {
                    item["arguments"] = json!(text);
                }
                items.push(item);
            }
            other => items.append(&mut items::write(std::slice::from_ref(other))),
        }
    }
    merged(items)
}

/// Contents of one message item in that item again.
fn merged(items: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for mut item in items {
        let same = |last: &&mut Value| {
            item["type"] == "message" && item["id"].is_string() && last["id"] == item["id"]
        };
        let last = merged.last_mut().filter(same).and_then(|last| last["content"].as_array_mut());
        match (last, item["content"].as_array_mut()) {
            (Some(contents), Some(more)) => contents.append(more),
            _ => merged.push(item),
        }
    }
    merged
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.total_input(),
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "total_tokens": usage.total_input() + usage.output,
    })
}

#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    events: usize,
}

impl Stream {
    fn event(&mut self, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.events);
        self.bytes.extend_from_slice(format!("event: {kind}\ndata: {data}\n\n").as_bytes());
        self.events += 1;
    }

    fn item(&mut self, index: usize, item: &Value) {
        let mut added = item.clone();
        added["status"] = json!("in_progress");
        match item["type"].as_str() {
            Some("message") => added["content"] = json!([]),
            Some("function_call") => added["arguments"] = json!(""),
            _ => {}
        }
        self.event("response.output_item.added", json!({"output_index": index, "item": added}));
        for (at, content) in item["content"].as_array().into_iter().flatten().enumerate() {
            for piece in pieces(content["text"].as_str().unwrap_or_default(), TEXT_PIECE) {
                let data = json!({"output_index": index, "content_index": at, "delta": piece});
                self.event("response.output_text.delta", data);
            }
        }
        let arguments = item["arguments"].as_str().unwrap_or_default();
        for piece in pieces(arguments, JSON_PIECE) {
            let data = json!({"output_index": index, "delta": piece});
            self.event("response.function_call_arguments.delta", data);
        }
        if item["type"] == "function_call" {
            let data = json!({"output_index": index, "arguments": arguments});
            self.event("response.function_call_arguments.done", data);
        }
        for summary in item["summary"].as_array().into_iter().flatten() {
            for piece in pieces(summary["text"].as_str().unwrap_or_default(), TEXT_PIECE) {
                let data = json!({"output_index": index, "summary_index": 0, "delta": piece});
                self.event("response.reasoning_summary_text.delta", data);
            }
        }
        let mut done = item.clone();
        if matches!(item["type"].as_str(), Some("message" | "function_call")) {
            done["status"] = json!("completed");
        }
        self.event("response.output_item.done", json!({"output_index": index, "item": done}));
    }
}
