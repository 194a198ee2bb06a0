//! Whoever answers questions: a phase asks whether to go on, a hook whether a call may be run.

use std::time::Duration;

use async_trait::async_trait;

use crate::event::Decision;
use crate::id::PhaseId;

/// Whoever answers questions.
#[async_trait]
pub trait People: Send + Sync {
    /// The answer to a question; `None` if nobody is there to give one: a phase pauses then, and a hook does without.
    async fn ask(&self, question: &Question) -> Option<Given>;

    /// The answer to a question is on record, and nobody need remember it for the run any more.
    fn on_record(&self, _question: &Question) {}
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

#[async_trait]
impl People for Nobody {
    async fn ask(&self, _: &Question) -> Option<Given> {
        None
    }
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The phase in which it is asked.
    pub phase: PhaseId,
    /// What it is about.
    pub about: About,
    /// What is asked.
    pub message: String,
    /// How long an answer is waited for.
    pub timeout: Option<Duration>,
    /// The answer if none comes in time.
    pub default: Option<Decision>,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Whether the run goes on behind the phase.
    Phase,
    /// Whether a call of a tool may be run, or its result be shown: the session's path, and the tool.
    Call(String, String),
    /// Whether a prompt may be sent: the session's path.
    Prompt(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// It.
    pub answer: Decision,
    /// Who gave it, for people: `--answer`, a name, `nobody in time`.
    pub by: String,
    /// What was said with it; may be empty.
    pub note: String,
}
