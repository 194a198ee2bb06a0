//! How a stream of the Chat Completions API becomes a reply.
//!
//! ```text
//! chunk* ─▶ chunk with a finish reason ─▶ (chunk)* ─▶ chunk of usage ─▶ [DONE]      an error may come in place of any
//! ```
//!
//! Every server leaves something of it out or adds something. What counts is at the end of the stream, not at the first
//! finish reason: calls and counts may follow it.

use serde_json::{Map, Value, json};

use super::calls::{Calls, Ending};
use super::encode::REASONING_DETAILS;
use crate::chat::{Delta, Part, Reply, StopReason, Usage};
use crate::provider::openai::refusal;
use crate::provider::{CallError, Decode, ErrorClass};

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    id: String,
    model: String,
    thinking: String,
    details: Vec<Value>,
    text: String,
    refusal: String,
    calls: Calls,
    finish: Option<String>,
    usage: Option<Usage>,
    any: bool,
    done: bool,
}

impl Decode for Decoder {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Delta>, CallError> {
        let data = data.trim();
        if data == "[DONE]" {
            self.done = true;
            return Ok(Vec::new());
        }
        if data.is_empty() {
            return Ok(Vec::new());
        }
        let json: Value = match serde_json::from_str(data) {
            Ok(json) => json,
            Err(_) if name == "error" => return Err(refusal::read_event(&json!({"error": data}))),
            Err(error) => return Err(nonsense(format!("a chunk is no JSON ({error})"))),
        };
        self.count(&json);
        if !json["error"].is_null() || name == "error" {
            return Err(refusal::read_event(&json));
        }
        self.chunk(&json)
    }

    fn is_complete(&self) -> bool {
        self.done || (self.finish.is_some() && self.usage.is_some())
    }

    fn used(&self) -> Usage {
        self.usage.unwrap_or_default()
    }

    fn finish(self: Box<Self>) -> Result<Reply, CallError> {
        if !self.done && self.finish.is_none() {
            return Err(CallError::new(
                ErrorClass::Transport,
                "the stream was cut: it ended before the reply did",
            ));
        }
        if !self.any {
            return Err(nonsense("it ends without a reply"));
        }
        Ok((*self).into_reply())
    }
}

impl Decoder {
    fn chunk(&mut self, json: &Value) -> Result<Vec<Delta>, CallError> {
        for (field, key) in [(&mut self.id, "id"), (&mut self.model, "model")] {
            if let Some(text) = json[key].as_str().filter(|text| !text.is_empty()) {
                text.clone_into(field);
            }
        }
        let mut deltas = Vec::new();
        // There may be none, in the first chunk as in the last. Of several answers the first is the reply.
        for choice in json["choices"].as_array().into_iter().flatten() {
            if choice["index"].as_u64().unwrap_or(0) == 0 {
                self.choice(choice, &mut deltas)?;
            }
        }
        Ok(deltas)
    }

    /// Counts come in a chunk of their own, in the last or in every one, in that of an error too. Each is from the
    /// beginning on, so the last one counts.
    fn count(&mut self, json: &Value) {
        for usage in [&json["x_groq"]["usage"], &json["usage"]] {
            if usage.is_object() {
                self.usage = Some(read_usage(usage));
            }
        }
    }

    fn choice(&mut self, choice: &Value, deltas: &mut Vec<Delta>) -> Result<(), CallError> {
        self.any = true;
        let delta = &choice["delta"];
        let thought = ["reasoning_content", "reasoning"].into_iter().find_map(|key| delta[key].as_str());
        deltas.extend(append(&mut self.thinking, thought).map(Delta::Thinking));
        for detail in delta[REASONING_DETAILS].as_array().into_iter().flatten() {
            add_detail(&mut self.details, detail);
        }
        match &delta["content"] {
            Value::Array(blocks) => blocks.iter().for_each(|block| self.block(block, deltas)),
            content => deltas.extend(append(&mut self.text, content.as_str()).map(Delta::Text)),
        }
        append(&mut self.refusal, delta["refusal"].as_str());
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            deltas.extend(self.calls.take(piece));
        }
        match choice["finish_reason"].as_str() {
            None | Some("") => Ok(()),
            Some("error") => Err(CallError::new(
                ErrorClass::Server,
                "the provider broke off its reply (it finishes with `error` and gives no reason)",
            )),
            Some(reason) => {
                self.finish = Some(reason.to_owned());
                Ok(())
            }
        }
    }

    /// Some servers give content as blocks: text, or thinking that holds text.
    fn block(&mut self, block: &Value, deltas: &mut Vec<Delta>) {
        match block["type"].as_str() {
            Some("text") => deltas.extend(append(&mut self.text, block["text"].as_str()).map(Delta::Text)),
            Some("thinking") => {
                for inner in block["thinking"].as_array().into_iter().flatten() {
                    let thought = append(&mut self.thinking, inner["text"].as_str());
                    deltas.extend(thought.map(Delta::Thinking));
                }
            }
            _ => {}
        }
    }

    fn into_reply(self) -> Reply {
        let finish = self.finish.as_deref();
        let refused = (!self.refusal.is_empty()).then(|| json!({"refusal": self.refusal}));
        let stop = match finish {
            _ if refused.is_some() => StopReason::Refusal,
            Some("length" | "max_tokens") => StopReason::MaxTokens,
            Some("model_length") => StopReason::ContextWindow,
            Some("content_filter") => StopReason::Refusal,
            // Whatever the reason is called: servers say `stop` after calls too.
            _ if !self.calls.is_empty() => StopReason::ToolUse,
            None | Some("stop" | "tool_calls" | "function_call" | "end_turn" | "eos") => StopReason::EndTurn,
            Some("stop_sequence") => StopReason::StopSequence,
            Some("pause_turn") => StopReason::PauseTurn,
            Some(other) => StopReason::Other(other.to_owned()),
        };
        let ending = if stop.allows_tools() { Ending::Whole } else { Ending::Cut };
        let mut parts = Vec::new();
        if !self.thinking.is_empty() {
            parts.push(Part::Thinking { thinking: self.thinking, signature: String::new() });
        }
        if !self.details.is_empty() {
            parts.push(Part::Other(json!({"type": REASONING_DETAILS, REASONING_DETAILS: self.details})));
        }
        if !self.text.is_empty() {
            parts.push(Part::text(self.text));
        }
        parts.append(&mut self.calls.into_parts(&self.id, ending));
        let usage = self.usage.unwrap_or_default();
        Reply { id: self.id, model: self.model, parts, stop, stop_details: refused, usage }
    }
}

fn append(to: &mut String, piece: Option<&str>) -> Option<String> {
    let piece = piece.filter(|piece| !piece.is_empty())?;
    to.push_str(piece);
    Some(piece.to_owned())
}

/// Adds a piece of structured reasoning: its text goes on where the entry of the same index and kind is the last.
fn add_detail(details: &mut Vec<Value>, piece: &Value) {
    let same = |last: &&mut Value| last["index"] == piece["index"] && last["type"] == piece["type"];
    let last = details.last_mut().filter(same).and_then(Value::as_object_mut);
    let (Some(last), Some(fields)) = (last, piece.as_object()) else {
        details.push(piece.clone());
        return;
    };
    for (key, value) in fields {
        add_field(last, key, value);
    }
}

fn add_field(entry: &mut Map<String, Value>, key: &str, value: &Value) {
    match (entry.get_mut(key), value) {
        (_, Value::Null) => {}
        (Some(Value::String(text)), Value::String(more)) if ["text", "summary", "data"].contains(&key) => {
            text.push_str(more);
        }
        _ => {
            entry.insert(key.to_owned(), value.clone());
        }
    }
}

fn read_usage(usage: &Value) -> Usage {
    let count = |value: &Value| value.as_u64();
    let cached = count(&usage["prompt_tokens_details"]["cached_tokens"])
        .or_else(|| count(&usage["prompt_cache_hit_tokens"]))
        .unwrap_or(0);
    Usage {
        input: count(&usage["prompt_tokens"]).unwrap_or(0).saturating_sub(cached),
        output: count(&usage["completion_tokens"]).unwrap_or(0),
        cache_read: cached,
        cache_write: 0,
        ..Usage::default()
    }
}

fn nonsense(what: impl std::fmt::Display) -> CallError {
    CallError::new(ErrorClass::Protocol, format!("the provider's stream makes no sense: {what}"))
}

/// The API's word for a stop reason.
pub fn stop_word(stop: &StopReason) -> &str {
    match stop {
        StopReason::EndTurn => "stop",
        StopReason::ToolUse => "tool_calls",
        StopReason::MaxTokens => "length",
        StopReason::StopSequence => "stop_sequence",
        StopReason::PauseTurn => "pause_turn",
        StopReason::Refusal => "content_filter",
        StopReason::ContextWindow => "model_length",
        StopReason::Other(word) => word,
    }
}
