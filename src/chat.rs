//! What is said between the runner and a model, whoever the provider: messages, tool calls, results, replies, usage.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::price::{Price, Usd};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The runner, on behalf of a person: prompts and tool results.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub speaker: Speaker,
    /// What is said, in order.
    pub parts: Vec<Part>,
}

impl Message {
    /// A user message of one text.
    pub fn user(text: impl Into<String>) -> Self {
        Self { speaker: Speaker::User, parts: vec![Part::text(text)] }
    }

    /// The message that answers tool calls, results in the order of the calls.
    pub fn results(results: Vec<ToolResult>) -> Self {
        Self { speaker: Speaker::User, parts: results.into_iter().map(Part::ToolResult).collect() }
    }

    /// All text parts, joined by blank lines.
    pub fn text(&self) -> String {
        join_text(&self.parts)
    }
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Plain text; `extra` keeps fields such as citations that must be echoed back.
    Text {
        /// The text.
        text: String,
        /// Further fields of the block, echoed back as they came.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        extra: Map<String, Value>,
    },
    /// The model's reasoning; goes back unchanged, signature included, even when the text is empty.
    Thinking {
        /// The reasoning as shown.
        thinking: String,
        /// The provider's seal on it.
        signature: String,
    },
    /// A call of a tool.
    ToolUse(ToolCall),
    /// The answer to a call.
    ToolResult(ToolResult),
    /// A block this program does not know; kept as it came and echoed back.
    Other(Value),
}

impl Part {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), extra: Map::new() }
    }
}

/// A call of a tool by the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id of the call, echoed in the result.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments.
    pub input: ToolInput,
    /// Further fields of the block (`caller` …), echoed back as they came.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// The arguments of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolInput {
    /// A JSON object, as it should be.
    Object(Map<String, Value>),
    /// Text that does not parse as a JSON object: the call is answered with an error, never run.
    Invalid(String),
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// What the model is shown.
    pub content: String,
    /// Whether the call failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// A tool as the model is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The tool's name: `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema of the input: an object, no combinator at its top.
    pub input_schema: Value,
}

/// Everything a provider is asked with in one call, apart from its own parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request<'a> {
    /// The system prompt; empty for none.
    pub system: Cow<'a, str>,
    /// The conversation so far; ends with a user message.
    pub messages: Cow<'a, [Message]>,
    /// The tools offered; empty for a call that must end in text.
    pub tools: Cow<'a, [ToolSpec]>,
    /// Most tokens of the reply, if that is less than the provider's own bound: a provider that can be trimmed keeps it.
    pub max_tokens: Option<u64>,
}

/// A complete answer of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The provider's id of the message, for asking its support; empty when it gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// What it said, in order.
    pub parts: Vec<Part>,
    /// Why it stopped.
    pub stop: StopReason,
    /// The provider's explanation of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_details: Option<Value>,
    /// Tokens used.
    pub usage: Usage,
}

impl Reply {
    /// All text parts, joined by blank lines.
    pub fn text(&self) -> String {
        join_text(&self.parts)
    }

    /// The tool calls, in order.
    pub fn calls(&self) -> Vec<ToolCall> {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolUse(call) => Some(call.clone()),
                _ => None,
            })
            .collect()
    }
}

fn join_text(parts: &[Part]) -> String {
    let texts: Vec<_> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text, .. } if !text.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n\n")
}

/// Why a reply ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model had nothing to add.
    EndTurn,
    /// The output limit was reached; tool calls of such a reply are never run.
    MaxTokens,
    /// A stop sequence was produced.
    StopSequence,
    /// The model waits for tool results.
    ToolUse,
    /// A server tool needs another request to go on.
    PauseTurn,
    /// The provider declined.
    Refusal,
    /// The context window is full; tool calls of such a reply are never run.
    ContextWindow,
    /// A reason this program does not know.
    Other(String),
}

impl StopReason {
    /// Whether tool calls in a reply that ended so are complete and meant.
    pub fn allows_tools(&self) -> bool {
        matches!(self, Self::EndTurn | Self::StopSequence | Self::ToolUse | Self::PauseTurn)
    }
}

/// Tokens of one call, or of many added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that were neither written to nor read from a cache.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Input tokens read from the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Input tokens written to the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// Those of `cache_write` that are kept for an hour, which costs more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Uses of tools that run at the server, such as web searches; they are paid for by the piece.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub server_tool_uses: u64,
}

/// Writing into the cache for an hour costs twice the input's price, for five minutes a quarter more than it.
const HOUR_FACTOR: f64 = 2.0 / 1.25;

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usage {
    /// All input tokens, cached or not.
    pub fn total_input(&self) -> u64 {
        self.input + self.cache_read + self.cache_write
    }

    /// What it costs.
    pub fn cost(&self, price: &Price) -> Usd {
        Price::sum(self.input, price.input)
            + Price::sum(self.output, price.output)
            + Price::sum(self.cache_read, price.cache_read)
            + Price::sum(self.cache_write.saturating_sub(self.cache_write_1h), price.cache_write)
            + Price::sum(self.cache_write_1h, price.cache_write * HOUR_FACTOR)
    }

    /// Whether no token is in it.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.cache_write_1h += other.cache_write_1h;
        self.server_tool_uses += other.server_tool_uses;
    }
}

/// How much a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Tokens of a request and its reply together.
    pub window: u64,
    /// Tokens of the longest reply it is asked for.
    pub reply: u64,
}

/// A piece of a reply as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// More text.
    Text(String),
    /// More reasoning.
    Thinking(String),
    /// A tool call has begun.
    Tool {
        /// The tool's name.
        name: String,
    },
}
