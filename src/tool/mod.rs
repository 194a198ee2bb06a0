//! What a tool is: something a model may call, described by a schema, run with a deadline, answered with text.

pub mod arguments;
pub mod bash;
mod capture;
mod command_filter;
pub mod filesystem;
pub mod issue;
mod jobs;
pub mod mcp;
pub mod own_folder;
pub mod patch;
pub mod results;
pub mod sandbox;
pub mod search;
pub mod settings;
mod snapshot;
pub mod task;
pub mod todo;
pub mod web;
mod work_path;
pub mod workspace;

use std::sync::Arc;
use std::time::Duration;

pub use issue::HoldLog;
pub use jobs::{Held, JobBoard};
pub use patch::{FilePatch, FileSnapshot};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::chat::ToolSpec;
use crate::clock::Timestamp;
use crate::event::{EffectId, Footprint, Policy, Sequence};
use crate::id::IdSource;

/// A tool bound to one session. Its state (what it holds, what it has read) is that session's.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What the model is told.
    fn spec(&self) -> ToolSpec;

    /// What a replay does with its calls unless the scenario says otherwise.
    fn policy(&self) -> Policy;

    /// Whether a replay that runs the call could get the answer that was recorded.
    fn answers(&self, _input: &Map<String, Value>) -> Answers {
        Answers::ByInput
    }

    /// Whether a call does something in the world that must not happen twice: it is then announced in the journal first.
    fn repeat(&self) -> Repeat {
        Repeat::Harmless
    }

    /// How long a call with these arguments may take. `None` leaves it to the tool, which then keeps a deadline of its own.
    fn timeout(&self, input: &Map<String, Value>) -> Option<Duration>;

    /// What a call with these arguments may touch, as wide as needed.
    fn footprint(&self, input: &Map<String, Value>) -> Footprint;

    /// Runs a call. Failures are outputs: the model is told what was wrong and what to do. On cancellation the tool
    /// stops what it started and returns.
    async fn run(&self, input: Map<String, Value>, call: CallContext) -> ToolOutput;

    /// Takes note of a call that this session had made before its run was stopped, and of what came of it, so that the
    /// tool's state is what it was then. What the call did is done; nothing may be done again.
    ///
    /// # Errors
    /// What it did cannot be found any more.
    async fn recall(
        &self,
        _input: &Map<String, Value>,
        _effect: &EffectId,
        _output: &ToolOutput,
    ) -> Result<(), String> {
        Ok(())
    }
}

/// What an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// On what the tool is called with and what it then finds.
    ByInput,
    /// On how far something has come meanwhile: a replay hands out what was recorded, even where it is to run the tool.
    ByChance,
}

/// Whether doing a thing twice is worse than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Reading, or writing what the queue itself keeps from happening twice.
    Harmless,
    /// Commands, messages, payments.
    Harmful,
}

/// What a call is given besides its arguments.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The effect that the call is.
    pub effect: EffectId,
    /// The present moment.
    pub at: Timestamp,
    /// Where new ids come from.
    pub ids: Arc<IdSource>,
    /// The commit numbers of the run, for tools whose order something else decides (the queue). `None` in no run.
    pub sequence: Option<Sequence>,
    /// Resolves when the call is to stop.
    pub cancel: CancellationToken,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput {
    /// What the model is shown.
    pub content: String,
    /// Whether the call failed.
    pub is_error: bool,
    /// What was really touched; `None` leaves the footprint of before.
    pub footprint: Option<Footprint>,
    /// The commit number, if the tool drew one.
    pub seq: Option<u64>,
    /// When it happened, if not at the moment of the call: a run may have been killed before it learnt of it.
    pub at: Option<Timestamp>,
}

impl ToolOutput {
    /// A result.
    pub fn ok(content: impl Into<String>) -> Self {
        Self { content: content.into(), is_error: false, footprint: None, seq: None, at: None }
    }

    /// A failure: what was wrong, what is allowed, what to do next.
    pub fn error(content: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::ok(content) }
    }
}

/// What building a tool module gives.
pub enum Built {
    /// Its tools, for one session.
    Tools(Vec<Arc<dyn Tool>>),
    /// Some of them; a thing that the others need is not configured, which stops nothing.
    Partial {
        /// Those that are there, for one session.
        tools: Vec<Arc<dyn Tool>>,
        /// What people are told, once.
        notice: String,
    },
    /// None, which stops nothing: a thing it needs is not configured.
    Absent {
        /// What people are told, once.
        notice: String,
    },
}
