//! How a stream of the Responses API becomes a reply.
//!
//! ```text
//! response.created ─▶ ( output_item.added ─▶ … .delta* ─▶ output_item.done )* ─▶ response.completed | incomplete | failed
//!        an item counts as its `done` event gives it; `error` anywhere; events and items of other kinds may appear
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{items, refusal};
use crate::chat::{Delta, Part, Reply, StopReason, Usage};
use crate::provider::{CallError, Decode, ErrorClass};

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    id: String,
    model: String,
    created: bool,
    items: BTreeMap<u64, Item>,
    usage: Usage,
    end: Option<End>,
}

/// An item as far as it has come.
#[derive(Debug, Default)]
struct Item {
    /// As its beginning gives it.
    added: Value,
    /// As its end gives it.
    done: Option<Value>,
    text: String,
    arguments: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Completed,
    /// For this reason.
    Incomplete(String),
}

impl Decode for Decoder {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Delta>, CallError> {
        // Some gateways end these streams as those of the other API.
        if data == "[DONE]" {
            return Ok(Vec::new());
        }
        let json = match serde_json::from_str::<Value>(data) {
            Ok(json) => json,
            Err(_) if name == "error" => {
                return Err(CallError::new(
                    ErrorClass::Server,
                    format!("the provider broke off its reply ({data})"),
                ));
            }
            // A name that is not known says that nothing is lost; without any name it may be anything.
            Err(error) if name.is_empty() || is_known(name) => {
                return Err(nonsense(format!("the data of a `{name}` event is no JSON ({error})")));
            }
            Err(_) => return Ok(Vec::new()),
        };
        let kind = json["type"].as_str().unwrap_or(name);
        match kind {
            "error" => Err(refusal::read_event(&json)),
            "response.failed" | "response.cancelled" => {
                self.head(&json["response"]);
                Err(refusal::read_event(&json["response"]))
            }
            kind if !is_known(kind) => Ok(Vec::new()),
            kind if self.end.is_some() => {
                Err(nonsense(format!("a `{kind}` event comes after the end of the response")))
            }
            kind => self.take(kind, &json).map(|delta| delta.into_iter().collect()),
        }
    }

    fn is_complete(&self) -> bool {
        self.end.is_some()
    }

    fn used(&self) -> Usage {
        self.usage
    }

    fn finish(self: Box<Self>) -> Result<Reply, CallError> {
        let Some(end) = self.end else {
            return Err(CallError::new(
                ErrorClass::Transport,
                "the stream was cut: it ended before the reply did",
            ));
        };
        let mut parts = Vec::new();
        for (index, mut item) in self.items {
            match (item.done.take(), &end) {
                (Some(done), _) => parts.append(&mut items::read(done)),
                (None, End::Completed) => {
                    return Err(nonsense(format!("the response is complete while item {index} is open")));
                }
                (None, End::Incomplete(_)) => parts.append(&mut item.so_far()),
            }
        }
        let refused = items::refusal(&parts).map(|text| json!({"refusal": text}));
        let stop = match &end {
            _ if refused.is_some() => StopReason::Refusal,
            End::Completed if parts.iter().any(|part| matches!(part, Part::ToolUse(_))) => {
                StopReason::ToolUse
            }
            End::Completed => StopReason::EndTurn,
            End::Incomplete(reason) => stop_reason(reason),
        };
        Ok(Reply { id: self.id, model: self.model, parts, stop, stop_details: refused, usage: self.usage })
    }
}

impl Decoder {
    fn take(&mut self, kind: &str, json: &Value) -> Result<Option<Delta>, CallError> {
        let text = || json["delta"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match kind {
            "response.created" if self.created => {
                Err(nonsense("a second response begins in the same stream; a proxy has joined two replies"))
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                self.created |= kind == "response.created";
                self.head(&json["response"]);
                Ok(None)
            }
            "response.completed" | "response.incomplete" => {
                self.head(&json["response"]);
                self.close(&json["response"]);
                self.end = Some(match json["response"]["incomplete_details"]["reason"].as_str() {
                    None if kind == "response.completed" => End::Completed,
                    reason => End::Incomplete(reason.unwrap_or("incomplete").to_owned()),
                });
                Ok(None)
            }
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                Ok(text().map(Delta::Thinking))
            }
            _ => {
                let Some(index) = json["output_index"].as_u64() else {
                    return Err(nonsense(format!("a `{kind}` event does not say of which item it is")));
                };
                Ok(self.items.entry(index).or_default().take(kind, json))
            }
        }
    }

    fn head(&mut self, response: &Value) {
        for (field, key) in [(&mut self.id, "id"), (&mut self.model, "model")] {
            if let Some(text) = response[key].as_str() {
                text.clone_into(field);
            }
        }
        let usage = &response["usage"];
        if usage.is_object() {
            let count = |value: &Value| value.as_u64().unwrap_or(0);
            let cached = count(&usage["input_tokens_details"]["cached_tokens"]);
            self.usage = Usage {
                input: count(&usage["input_tokens"]).saturating_sub(cached),
                output: count(&usage["output_tokens"]),
                cache_read: cached,
                cache_write: 0,
                ..Usage::default()
            };
        }
    }

    /// Fills in what came no other way from the end, whose list of items some servers leave empty.
    fn close(&mut self, response: &Value) {
        let listed = response["output"].as_array().into_iter().flatten();
        let alone = self.items.is_empty();
        for (index, item) in (0..).zip(listed) {
            match self.items.get_mut(&index) {
                Some(known) if known.done.is_none() => known.done = Some(item.clone()),
                None if alone => {
                    self.items.insert(index, Item { done: Some(item.clone()), ..Item::default() });
                }
                _ => {}
            }
        }
    }
}

impl Item {
    fn take(&mut self, kind: &str, json: &Value) -> Option<Delta> {
        let piece = json["delta"].as_str().unwrap_or_default();
        let begun = |item: &Value| {
            (item["type"] == "function_call")
                .then(|| Delta::Tool { name: item["name"].as_str().unwrap_or_default().to_owned() })
        };
        match kind {
            "response.output_item.added" => {
                self.added = json["item"].clone();
                begun(&self.added)
            }
            "response.output_item.done" => {
                self.done = Some(json["item"].clone());
                self.added.is_null().then(|| begun(&json["item"])).flatten()
            }
            "response.output_text.delta" => {
                self.text.push_str(piece);
                (!piece.is_empty()).then(|| Delta::Text(piece.to_owned()))
            }
            "response.function_call_arguments.delta" => {
                self.arguments.push_str(piece);
                None
            }
            _ => None,
        }
    }

    /// What came of an item before the response was cut off: its text, or its call, whose arguments are kept as text.
    fn so_far(self) -> Vec<Part> {
        let mut item = self.added;
        match item["type"].as_str() {
            Some("message") => {
                item["content"] = json!([{"type": "output_text", "text": self.text}]);
                items::read(item)
            }
            Some("function_call") => {
                item["arguments"] = json!(self.arguments);
                items::read(item)
            }
            _ => Vec::new(),
        }
    }
}

fn is_known(kind: &str) -> bool {
    matches!(
        kind,
        "response.created"
            | "response.queued"
            | "response.in_progress"
            | "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.output_item.added"
            | "response.output_item.done"
            | "response.output_text.delta"
            | "response.function_call_arguments.delta"
            | "response.reasoning_text.delta"
            | "response.reasoning_summary_text.delta"
    )
}

fn nonsense(what: impl std::fmt::Display) -> CallError {
    CallError::new(ErrorClass::Protocol, format!("the provider's stream makes no sense: {what}"))
}

/// Reads why a response is incomplete; the other way round it is `stop_word`.
fn stop_reason(word: &str) -> StopReason {
    match word {
        "max_output_tokens" | "max_tokens" => StopReason::MaxTokens,
        "content_filter" => StopReason::Refusal,
        "context_window" => StopReason::ContextWindow,
        "stop_sequence" => StopReason::StopSequence,
        "pause_turn" => StopReason::PauseTurn,
        other => StopReason::Other(other.to_owned()),
    }
}

/// The word for why a response is incomplete; `None` for one that is complete.
pub fn stop_word(stop: &StopReason) -> Option<&str> {
    Some(match stop {
        StopReason::EndTurn | StopReason::ToolUse => return None,
        StopReason::MaxTokens => "max_output_tokens",
        StopReason::Refusal => "content_filter",
        StopReason::ContextWindow => "context_window",
        StopReason::StopSequence => "stop_sequence",
        StopReason::PauseTurn => "pause_turn",
        StopReason::Other(word) => word,
    })
}
