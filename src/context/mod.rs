//! What a context manager is: it keeps a conversation and says what of it the model is shown.

mod compact;
mod meter;
mod persistent;
mod settings;
mod simple;

pub use persistent::{INFO as PERSISTENT, Remembered, Sources};
pub use settings::{ConfigError, SIMPLE, Settings};
pub use simple::Simple;

use crate::chat::{Message, Usage};

/// Keeps the conversation of one session. What it shows follows from the messages and the usage it was told of, and from
/// nothing else, so that a replay and a resumed run show the same.
pub trait ContextManager: Send + Sync {
    /// Adds a message.
    fn push(&mut self, message: Message);

    /// Adds what is shown before any prompt and stays there.
    fn pin(&mut self, message: Message);

    /// Makes room for the next reply, if need be; says what was done.
    ///
    /// # Errors
    /// It would not fit whatever is done.
    fn make_room(&mut self) -> Result<Option<Compaction>, ContextFull>;

    /// What the model is shown.
    fn view(&self) -> &[Message];

    /// Everything that was said, shown or not.
    fn messages(&self) -> &[Message];

    /// Learns from a reply how many tokens the view really was.
    fn learn(&mut self, usage: Usage);

    /// The estimated size of the view. Tokens.
    fn estimate(&self) -> u64;

    /// Where it keeps what other runs are to know, if it does.
    fn sources(&self) -> Option<&Sources>;

    /// Largest tool result that is shown whole. Bytes.
    fn most_result_bytes(&self) -> usize;
}

/// How a conversation was made smaller. Nothing of it is lost: only what the model is shown has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// The estimate before. Tokens.
    pub before_tokens: u64,
    /// The estimate after. Tokens.
    pub after_tokens: u64,
    /// Messages shown before.
    pub before_messages: usize,
    /// Messages shown after.
    pub after_messages: usize,
    /// Messages with tool results that are now shown cut.
    pub messages_truncated: usize,
    /// Prompts that are now shown as their beginning.
    pub user_messages_stubbed: usize,
    /// How far it had to go, from 1 to 9.
    pub level: u8,
    /// What the view may be at most. Tokens.
    pub budget: u64,
}

/// The conversation has outgrown its bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextFull {
    /// It does not fit, and nothing more may be left out of it.
    #[error(
        "the conversation is still about {estimate} tokens after everything that may be left out of it was, above the {bound} that it may have; raise max_tokens in the mount plan's context, lower its max_tool_result_bytes or protected_recent, or give the session less to do (fewer iterations, session: fresh)"
    )]
    Outgrown {
        /// Its estimated size. Tokens.
        estimate: u64,
        /// The bound. Tokens.
        bound: u64,
    },
    /// It was made smaller twice in a row and is still nearly full: each further turn would do it again.
    #[error(
        "the conversation was made smaller in two turns in a row and is still about {estimate} of {bound} tokens; every further turn would do so again. Raise max_tokens in the mount plan's context, lower its protected_recent, protected_tool_results or max_tool_result_bytes, or give the session less to do (fewer iterations, session: fresh)"
    )]
    Thrashing {
        /// Its estimated size. Tokens.
        estimate: u64,
        /// The bound. Tokens.
        bound: u64,
    },
}
