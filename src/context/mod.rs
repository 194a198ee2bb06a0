//! What a context manager is: it keeps a conversation and says what of it the model is shown.

mod simple;

pub use simple::{INFO as SIMPLE, Simple};

use crate::chat::{Message, Usage};

/// Keeps the conversation of one session.
pub trait ContextManager: Send + Sync {
    /// Adds a message.
    fn push(&mut self, message: Message);

    /// What the model is shown next.
    ///
    /// # Errors
    /// It would not fit.
    fn view(&self) -> Result<&[Message], ContextFull>;

    /// Learns from a reply how many tokens the view really was.
    fn learn(&mut self, usage: Usage);

    /// The estimated size of the view. Tokens.
    fn estimate(&self) -> u64;
}

/// The conversation has outgrown its bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the conversation has grown to about {estimate} tokens, above the context's max_tokens of {bound}; raise max_tokens in the mount plan's context, or give the session less to do (fewer iterations, session: fresh)"
)]
pub struct ContextFull {
    /// Its estimated size. Tokens.
    pub estimate: u64,
    /// The bound. Tokens.
    pub bound: u64,
}
