//! What people and tools are told of a run, in order. The screen, the journal and the summary read only this.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::EffectId;
use crate::chat::Usage;
use crate::clock::Timestamp;
use crate::id::{IssueId, PhaseId, RoleId, RunId, SessionName};
use crate::issue::Status;
use crate::price::Usd;

/// One happening with when and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The position among the happenings of the run, from 1.
    pub seq: u64,
    /// When, in the run's time: in a replay the recorded one.
    pub ts: Timestamp,
    /// The phase, when it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseId>,
    /// The session, when it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionName>,
    /// The role of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleId>,
    /// What happened.
    pub event: Happening,
}

/// How effects get their results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// From models and tools.
    Live,
    /// From a recording.
    Replay,
}

/// What made the replies of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A model.
    Recorded,
    /// A model, but for an older wording of the prompts.
    Rebased,
    /// A script; no model has said any of it.
    Scripted,
}

impl Evidence {
    /// The word in a cassette.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Rebased => "rebased",
            Self::Scripted => "scripted",
        }
    }
}

/// How a phase ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseEnd {
    /// It did what it was there for.
    Completed,
    /// Issues are left that nobody can go on with.
    Stalled,
    /// A session failed, or an expectation of the phase is false.
    Failed,
    /// A phase before it failed, or its `when` is false.
    Skipped,
    /// The run was stopped.
    Cancelled,
    /// It waits for a person, or for a phase that does; the run goes on with it when it is resumed.
    Paused,
}

impl PhaseEnd {
    /// The word people and conditions see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Stalled => "stalled",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
        }
    }
}

/// What a person answers who is asked for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Go on.
    Yes,
    /// Do not.
    No,
}

impl Decision {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
        }
    }

    /// Reads the word.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Yes, Self::No].into_iter().find(|decision| decision.as_str() == text)
    }
}

/// How a session's prompt, or the session, ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The model gave its answer.
    Completed,
    /// The limit of model calls was reached; the answer is a wrap-up.
    LimitReached,
    /// The provider declined.
    Refused {
        /// Its explanation, when it gave one.
        reason: String,
    },
    /// The model answered with nothing.
    Empty,
    /// What the run may spend is used up.
    Budget,
    /// The run was stopped.
    Cancelled,
    /// Something went wrong.
    Failed {
        /// What.
        reason: String,
    },
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Its iterations are used up.
    Iterations,
    /// Nothing is left for it.
    NoWork,
    /// What the run may spend is used up.
    Budget,
    /// Its session failed.
    Failed,
    /// The run was stopped.
    Cancelled,
}

/// What happened. New kinds may be added; readers skip what they do not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Happening {
    /// The run begins.
    #[serde(rename = "run.started")]
    RunStarted {
        /// The run.
        run: RunId,
        /// The scenario's name.
        scenario: String,
        /// The scenario's description.
        description: String,
        /// Live or replay.
        mode: Mode,
        /// What made the recording, in a replay or a scripted run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
        /// Where the agents work, as a path for people.
        workspace: String,
        /// Sessions declared, by phase in order.
        sessions: u32,
        /// Why no recording can be made of it, as far as its beginning tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unfit: Option<String>,
    },
    /// The run was stopped, failed or was killed, and goes on.
    #[serde(rename = "run.resumed")]
    RunResumed {
        /// The run.
        run: RunId,
        /// The scenario's name.
        scenario: String,
        /// What made the replies, if no model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
        /// Where the agents work, as a path for people.
        workspace: String,
        /// How many effects are taken from its journal.
        effects: u64,
        /// How many were set aside, because they came of its being stopped or of its failure.
        undone: u64,
        /// Issues that were given back meanwhile and are held again by those who had them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        held_again: Vec<IssueId>,
    },
    /// The run goes another way than the one whose beginning it has taken over.
    #[serde(rename = "run.forked")]
    RunForked {
        /// The run.
        run: RunId,
        /// The scenario's name.
        scenario: String,
        /// The run whose beginning it is.
        of: RunId,
        /// The first effects that it does in its own way; at the most five of them.
        at: Vec<EffectId>,
        /// What is otherwise in the scenario, as `PATH=VALUE`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<String>,
        /// What makes the replies, if no model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
        /// Where the agents work, as a path for people.
        workspace: String,
        /// How many effects are taken over.
        effects: u64,
    },
    /// Something people should know that stops nothing.
    #[serde(rename = "notice")]
    Notice {
        /// One sentence.
        text: String,
    },
    /// A phase begins.
    #[serde(rename = "phase.started")]
    PhaseStarted {
        /// `session`, `workers` or `monitor`.
        kind: String,
        /// Its sessions.
        sessions: Vec<SessionName>,
    },
    /// A phase is over.
    #[serde(rename = "phase.ended")]
    PhaseEnded {
        /// How.
        end: PhaseEnd,
        /// Why, a line each; empty when there is nothing to say.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<String>,
    },
    /// A session begins.
    #[serde(rename = "session.started")]
    SessionStarted {
        /// The model it asks.
        model: String,
    },
    /// A session is over.
    #[serde(rename = "session.ended")]
    SessionEnded {
        /// How.
        end: SessionEnd,
        /// Its last words; empty when there are none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
    },
    /// A worker begins an iteration.
    #[serde(rename = "iteration.started")]
    IterationStarted {
        /// Which, from 1.
        iteration: u32,
        /// Of how many.
        max_iterations: u32,
    },
    /// A worker has ended an iteration.
    #[serde(rename = "iteration.ended")]
    IterationEnded {
        /// Which, from 1.
        iteration: u32,
        /// What the model said last.
        text: String,
    },
    /// A worker waits for work.
    #[serde(rename = "worker.waiting")]
    WorkerWaiting {},
    /// A worker goes home.
    #[serde(rename = "worker.stopped")]
    WorkerStopped {
        /// Why.
        cause: StopCause,
    },
    /// A monitor looks whether something is to be done.
    #[serde(rename = "monitor.checked")]
    MonitorChecked {
        /// What woke it: `tick`, an event such as `issue.blocked`, or `idle`.
        trigger: String,
        /// Whether its condition holds.
        due: bool,
    },
    /// A prompt goes to a session.
    #[serde(rename = "prompt.sent")]
    PromptSent {
        /// Its text.
        text: String,
    },
    /// A conversation has grown too large, and the model is shown less of it from now on.
    #[serde(rename = "context.compacted")]
    ContextCompacted {
        /// Its estimated size before. Tokens.
        before_tokens: u64,
        /// Its estimated size after. Tokens.
        after_tokens: u64,
        /// Messages shown before.
        before_messages: u32,
        /// Messages shown after.
        after_messages: u32,
        /// Messages with tool results that are now shown cut.
        messages_truncated: u32,
        /// Prompts that are now shown as their beginning.
        user_messages_stubbed: u32,
        /// How far it had to go, from 1 to 9.
        strategy_level: u8,
        /// What may be shown at most. Tokens.
        budget: u64,
    },
    /// A model call begins.
    #[serde(rename = "turn.started")]
    TurnStarted {
        /// Which of the session, from 1.
        turn: u32,
    },
    /// A model call is answered.
    #[serde(rename = "turn.ended")]
    TurnEnded {
        /// Which of the session, from 1.
        turn: u32,
        /// Tokens.
        usage: Usage,
        /// What they cost; absent if nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Usd>,
        /// Text the model said in it.
        text: String,
        /// Tools it called.
        calls: Vec<String>,
    },
    /// A model call may have a shorter reply than others, since the budget is nearly used up.
    #[serde(rename = "call.trimmed")]
    CallTrimmed {
        /// Which of the session, from 1.
        turn: u32,
        /// Tokens of the reply, at most.
        max_tokens: u64,
    },
    /// A model call failed and has used tokens all the same.
    #[serde(rename = "call.wasted")]
    CallWasted {
        /// Which of the session, from 1.
        turn: u32,
        /// Tokens.
        usage: Usage,
        /// What they cost; absent if nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Usd>,
    },
    /// A call failed and is tried again.
    #[serde(rename = "retry")]
    Retry {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why.
        reason: String,
        /// Wait before the next attempt. Milliseconds.
        delay_ms: u64,
    },
    /// A model cannot be had, or refused, and another is asked in its place until the prompt is answered.
    #[serde(rename = "fallback")]
    Fallback {
        /// Which turn of the session, from 1.
        turn: u32,
        /// The model that was asked.
        from: String,
        /// The model that is asked now.
        to: String,
        /// Why.
        reason: String,
    },
    /// A tool call begins.
    #[serde(rename = "tool.started")]
    ToolStarted {
        /// The tool.
        tool: String,
        /// Its arguments on one line, cut.
        input: String,
    },
    /// A tool call is answered.
    #[serde(rename = "tool.ended")]
    ToolEnded {
        /// The tool.
        tool: String,
        /// Whether it failed.
        is_error: bool,
        /// The answer's first line, cut.
        output: String,
    },
    /// A phase failed and is tried again.
    #[serde(rename = "phase.retried")]
    PhaseRetried {
        /// The try that failed, from 1.
        attempt: u32,
        /// Why.
        reasons: Vec<String>,
    },
    /// A round of a repetition begins.
    #[serde(rename = "round.started")]
    RoundStarted {
        /// Which, from 1.
        round: u32,
        /// How many there are at most.
        max: u32,
    },
    /// A person is asked.
    #[serde(rename = "approval.asked")]
    ApprovalAsked {
        /// What.
        message: String,
    },
    /// Nobody is there to answer: the run pauses.
    #[serde(rename = "approval.awaited")]
    ApprovalAwaited {
        /// What was asked.
        message: String,
        /// How long an answer is waited for, from now.
        timeout: Option<Duration>,
        /// The answer if none comes in time.
        default: Option<Decision>,
    },
    /// A person has answered.
    #[serde(rename = "approval.given")]
    ApprovalGiven {
        /// What.
        answer: Decision,
        /// Who.
        by: String,
        /// What was said with it.
        note: String,
    },
    /// An issue changed.
    #[serde(rename = "issue.changed")]
    IssueChanged {
        /// Which.
        issue: IssueId,
        /// Its title.
        title: String,
        /// What happened: `created`, `claimed`, `blocked`, `unblocked`, `closed`, `released`, …
        change: String,
        /// Where it stands now.
        status: Status,
        /// Who did it.
        actor: String,
    },
    /// An expectation was looked at.
    #[serde(rename = "expect.checked")]
    ExpectChecked {
        /// The condition.
        condition: String,
        /// Whether it holds.
        holds: bool,
    },
    /// The run is over.
    #[serde(rename = "run.finished")]
    RunFinished {
        /// The exit code's name: `ok`, `failed`, …
        outcome: String,
        /// The exit code.
        exit_code: u8,
        /// Where the run's files are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
        /// Why no recording can be made of it, as far as its end tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unfit: Option<String>,
    },
}
