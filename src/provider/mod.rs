//! What a provider is: how a request is written for its server and how the stream that comes back is read. No IO.

pub mod anthropic;
mod call;
mod dialogue;
mod fallback;
mod family;
pub mod mock;
pub mod openai;
pub mod openai_chat;
mod pieces;
mod retry;
mod script;
mod settings;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::{Delta, Reply, Request, Room, Usage};
use crate::http::WireRequest;

pub use call::{Answered, Attempt, Line, Occasion, call};
pub use fallback::{Fallback, Refusals, StandIns, is_unavailable};
pub use family::{Build, FAMILY, Member};
pub use retry::{Advice, asks_too_long};
pub use script::{Answer, Script, ScriptError};
pub use settings::BuildError;

/// A model behind a wire format, as one mount plan configures it.
pub trait Provider: Send + Sync {
    /// The module's name: `provider-anthropic`.
    fn module(&self) -> &'static str;

    /// The model asked for.
    fn model(&self) -> &str;

    /// Everything besides the conversation that changes the answer (limits, temperature, thinking …), for the key of a
    /// call. No credential, no address.
    fn params(&self) -> Value;

    /// How much the model takes, where that is known.
    fn room(&self) -> Option<Room> {
        None
    }

    /// Writes a request.
    ///
    /// # Errors
    /// The request cannot be said in this wire format, or the credential is missing.
    fn encode(&self, request: &Request) -> Result<WireRequest, CallError>;

    /// A reader for one response stream.
    fn decoder(&self) -> Box<dyn Decode>;

    /// What an error response means.
    fn read_error(&self, status: u16, headers: &[(String, String)], body: &[u8]) -> CallError;

    /// Writes a reply as this provider's server would stream it: what lets a script stand behind the real decoder.
    fn speak(&self, reply: &Reply) -> Vec<u8>;

    /// Writes an error as this provider's server would put it into a stream.
    fn speak_error(&self, kind: &str) -> Vec<u8>;

    /// How failures are tried again.
    fn retry(&self) -> RetryPolicy;

    /// How long to wait for what.
    fn timeouts(&self) -> Timeouts;

    /// The most tokens that a reply may have, as far as this side knows: what a budget sets aside for one.
    fn most_output(&self) -> u64;

    /// The fewest tokens of a reply that make sense, if it keeps a request's `max_tokens`; `None` if it does not.
    fn least_output(&self) -> Option<u64> {
        None
    }

    /// How many calls may be under way at once with its credential, as far as its mount plan says.
    fn max_concurrent(&self) -> Option<usize> {
        None
    }
}

/// Reads one response stream, event by event.
pub trait Decode: Send {
    /// Takes one event: its name (empty when the wire has none) and its data.
    ///
    /// # Errors
    /// The server reports an error, or the stream makes no sense.
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Delta>, CallError>;

    /// Whether everything of the reply is there, so that only the end of the stream is still awaited.
    fn is_complete(&self) -> bool {
        false
    }

    /// Tokens used so far, as far as the server has said: they are paid for even if the rest never comes.
    fn used(&self) -> Usage {
        Usage::default()
    }

    /// The stream has ended: the reply, whole.
    ///
    /// # Errors
    /// It ended before the reply was complete.
    fn finish(self: Box<Self>) -> Result<Reply, CallError>;
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the response's headers.
    pub response: Duration,
    /// Between two pieces of the stream.
    pub idle: Duration,
}

/// Which failures are tried again, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub max_retries: u32,
    /// Wait before the first of them.
    pub first_delay: Duration,
    /// Longest wait of its own choice; a server's `retry-after` may be longer.
    pub max_delay: Duration,
    /// Factor on the wait when the server is overloaded (529).
    pub overloaded_factor: f64,
}

/// Why a call gave no reply. Part of a recording, so that a replay sees the same failures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What sort of failure.
    pub class: ErrorClass,
    /// What happened and, where there is one, the remedy. Fit for people.
    pub message: String,
    /// The HTTP status, if a response came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the server asks to wait. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What the server says about trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub should_retry: Option<bool>,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Tokens that were used all the same, as far as the server has said.
    #[serde(default, skip_serializing_if = "Usage::is_none")]
    pub used: Usage,
}

/// What sort of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No, or not the right, credential (401, 403).
    Credential,
    /// The account may not: billing, quota (402).
    Billing,
    /// The request is wrong (400, 404, 413, 422).
    Request,
    /// Too many requests (429).
    RateLimit,
    /// The server has too much to do (529).
    Overloaded,
    /// The server failed (5xx).
    Server,
    /// No connection, or it broke, or the stream was cut.
    Transport,
    /// Nothing came for too long.
    Timeout,
    /// The stream makes no sense.
    Protocol,
    /// The script behind the call has no answer.
    Script,
    /// The run was stopped.
    Cancelled,
}

impl ErrorClass {
    /// What a response's status says by itself.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Credential,
            402 => Self::Billing,
            408 => Self::Timeout,
            429 => Self::RateLimit,
            529 => Self::Overloaded,
            500.. => Self::Server,
            _ => Self::Request,
        }
    }
}

impl CallError {
    /// A failure that no response goes with.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            status: None,
            retry_after_ms: None,
            should_retry: None,
            request_id: None,
            used: Usage::default(),
        }
    }
}
