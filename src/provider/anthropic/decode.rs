//! How a stream of the Messages API becomes a reply.
//!
//! ```text
//! message_start ─▶ ( content_block_start ─▶ content_block_delta* ─▶ content_block_stop )* ─▶ message_delta+ ─▶ message_stop
//!        ping anywhere; error anywhere, then nothing more; events, blocks and deltas of other kinds may appear
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::block::Block;
use super::container;
use super::refusal;
use crate::chat::{Delta, Reply, StopReason, Usage};
use crate::provider::{CallError, Decode, ErrorClass};

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    message: Option<Message>,
    stopped: bool,
}

/// The message as far as it has come.
#[derive(Debug, Default)]
struct Message {
    id: String,
    model: String,
    blocks: BTreeMap<u64, Block>,
    stop: Option<StopReason>,
    stop_details: Option<Value>,
    usage: Usage,
    /// Where tools ran at the server.
    container: Option<Map<String, Value>>,
}

impl Decode for Decoder {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Delta>, CallError> {
        let json = match serde_json::from_str::<Value>(data) {
            Ok(json) => json,
            Err(_) if name == "error" => {
                return Err(CallError::new(
                    ErrorClass::Server,
                    format!("the provider broke off its reply ({data})"),
                ));
            }
            Err(error) if is_known(name) => {
                return Err(nonsense(format!("the data of a `{name}` event is no JSON ({error})")));
            }
            Err(_) => return Ok(Vec::new()),
        };
        let kind = json["type"].as_str().unwrap_or(name);
        match kind {
            "error" => Err(refusal::read_event(&json)),
            "message_start" => self.start(&json),
            kind if !is_known(kind) => Ok(Vec::new()),
            kind if self.stopped => {
                Err(nonsense(format!("a `{kind}` event comes after the end of the message")))
            }
            kind => {
                let Some(message) = &mut self.message else {
                    return Err(nonsense(format!("a `{kind}` event comes before any message has begun")));
                };
                if kind == "message_stop" {
                    message.check_end()?;
                    self.stopped = true;
                    return Ok(Vec::new());
                }
                message.event(kind, &json).map(|delta| delta.into_iter().collect())
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.stopped
    }

    fn used(&self) -> Usage {
        self.message.as_ref().map(|message| message.usage).unwrap_or_default()
    }

    fn finish(self: Box<Self>) -> Result<Reply, CallError> {
        match self.message {
            Some(message) if self.stopped => message.into_reply(),
            Some(_) => Err(CallError::new(
                ErrorClass::Transport,
                "the stream was cut: it ended before the reply did",
            )),
            None => Err(CallError::new(
                ErrorClass::Transport,
                "the stream was cut: it ended before the reply began",
            )),
        }
    }
}

impl Decoder {
    fn start(&mut self, json: &Value) -> Result<Vec<Delta>, CallError> {
        if self.message.is_some() {
            return Err(nonsense(
                "a second message begins in the same stream; a proxy has joined two replies",
            ));
        }
        let start = &json["message"];
        let text = |key: &str| start[key].as_str().unwrap_or_default().to_owned();
        let mut message = Message { id: text("id"), model: text("model"), ..Message::default() };
        replace_usage(&mut message.usage, &start["usage"]);
        self.message = Some(message);
        Ok(Vec::new())
    }
}

impl Message {
    fn event(&mut self, kind: &str, json: &Value) -> Result<Option<Delta>, CallError> {
        if kind == "message_delta" {
            self.delta(json);
            return Ok(None);
        }
        let Some(index) = json["index"].as_u64() else {
            return Err(nonsense(format!("a `{kind}` event has no index")));
        };
        if kind == "content_block_start" {
            let Value::Object(content) = &json["content_block"] else {
                return Err(nonsense(format!("block {index} begins without a content block")));
            };
            if self.blocks.contains_key(&index) {
                return Err(nonsense(format!("block {index} begins twice")));
            }
            // Another model goes on in the asked one's place; the reply, and its price, are that one's.
            if json["content_block"]["type"] == "fallback"
                && let Some(model) = json["content_block"]["to"]["model"].as_str()
            {
                self.model = model.to_owned();
            }
            let (block, delta) = Block::start(content.clone());
            self.blocks.insert(index, block);
            return Ok(delta);
        }
        let block = self.blocks.get_mut(&index).filter(|block| block.is_open());
        let Some(block) = block else {
            return Err(nonsense(format!("a `{kind}` event is for block {index}, which is not open")));
        };
        if kind == "content_block_stop" {
            block.stop();
            return Ok(None);
        }
        Ok(block.delta(&json["delta"]))
    }

    /// Each `message_delta` replaces what it names; counts are totals, never to be added up.
    fn delta(&mut self, json: &Value) {
        let delta = &json["delta"];
        if let Some(reason) = delta["stop_reason"].as_str() {
            self.stop = Some(stop_reason(reason));
        }
        if let Some(details) = delta.get("stop_details").filter(|details| !details.is_null()) {
            self.stop_details = Some(details.clone());
        }
        if let Value::Object(container) = &delta["container"] {
            self.container = Some(container.clone());
        }
        replace_usage(&mut self.usage, &json["usage"]);
    }

    fn check_end(&self) -> Result<(), CallError> {
        if let Some((index, _)) = self.blocks.iter().find(|(_, block)| block.is_open()) {
            return Err(nonsense(format!("the message ends while block {index} is open")));
        }
        if self.stop.is_none() {
            return Err(nonsense("the message ends without a stop reason"));
        }
        Ok(())
    }

    fn into_reply(self) -> Result<Reply, CallError> {
        let stop = self.stop.ok_or_else(|| nonsense("the message ends without a stop reason"))?;
        let parts = self.blocks.into_values().map(Block::into_part);
        Ok(Reply {
            id: self.id,
            model: self.model,
            parts: parts.chain(self.container.map(container::keep)).collect(),
            stop,
            stop_details: self.stop_details,
            usage: self.usage,
        })
    }
}

fn is_known(kind: &str) -> bool {
    matches!(
        kind,
        "message_start"
            | "content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop"
    )
}

fn nonsense(what: impl std::fmt::Display) -> CallError {
    CallError::new(ErrorClass::Protocol, format!("the provider's stream makes no sense: {what}"))
}

fn replace_usage(usage: &mut Usage, json: &Value) {
    let replace = |count: &mut u64, key: &str| {
        if let Some(new) = json[key].as_u64() {
            *count = new;
        }
    };
    replace(&mut usage.input, "input_tokens");
    replace(&mut usage.output, "output_tokens");
    replace(&mut usage.cache_read, "cache_read_input_tokens");
    replace(&mut usage.cache_write, "cache_creation_input_tokens");
    if let Some(count) = json["cache_creation"]["ephemeral_1h_input_tokens"].as_u64() {
        usage.cache_write_1h = count;
    }
    if let Some(uses) = json["server_tool_use"].as_object() {
        usage.server_tool_uses = uses.values().filter_map(Value::as_u64).fold(0, u64::saturating_add);
    }
}

/// Reads a stop reason; the other way round it is `stop_word`.
fn stop_reason(word: &str) -> StopReason {
    match word {
        "end_turn" => StopReason::EndTurn,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolUse,
        "pause_turn" => StopReason::PauseTurn,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        other => StopReason::Other(other.to_owned()),
    }
}

/// The API's word for a stop reason.
pub fn stop_word(stop: &StopReason) -> &str {
    match stop {
        StopReason::EndTurn => "end_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::ToolUse => "tool_use",
        StopReason::PauseTurn => "pause_turn",
        StopReason::Refusal => "refusal",
        StopReason::ContextWindow => "model_context_window_exceeded",
        StopReason::Other(word) => word,
    }
}
