//! What a phase of a plan does, and when it does it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Condition, InputType, LimitsPlan};
use crate::event::Decision;
use crate::id::{PhaseId, RoleId, SessionName};
use crate::issue::Takes;
use crate::source::Place;

/// One phase.
#[derive(Debug, Clone, Serialize)]
pub struct PhasePlan {
    /// Its id among the phases beside it. While it runs, a phase within another is known as `OUTER.ID`, and in the N-th
    /// round of a repetition as `OUTER.N.ID`.
    pub id: PhaseId,
    /// What it does.
    pub kind: PhaseKind,
    /// The phases beside it that must have ended before it starts.
    pub needs: Vec<PhaseId>,
    /// Whether it runs in its turn, or at the end whatever happened.
    pub turn: PhaseTurn,
    /// Does it once for each of some items.
    pub for_each: Option<ForEachPlan>,
    /// How often it is tried.
    pub retry: RetryPlan,
    /// Runs only if this holds.
    pub when: Option<Condition>,
    /// What a failure of it does to the rest.
    pub on_failure: OnFailure,
    /// What its sessions together may spend.
    pub limits: LimitsPlan,
    /// Conditions that must hold at its end.
    pub expect: Vec<Condition>,
    /// Where the file declares it.
    pub place: Place,
}

impl PhasePlan {
    /// The names of its own sessions with their roles, in order; without those of phases within it.
    pub fn sessions(&self) -> Vec<(SessionName, RoleId)> {
        match &self.kind {
            PhaseKind::Session(SessionPlan { role, .. }) | PhaseKind::Monitor(MonitorPlan { role, .. }) => {
                vec![(SessionName::new(role.local()), role.clone())]
            }
            PhaseKind::Workers(workers) => {
                workers.workers().into_iter().map(|worker| (worker.name, worker.role)).collect()
            }
            PhaseKind::Issues(_)
            | PhaseKind::Shell(_)
            | PhaseKind::Approval(_)
            | PhaseKind::Repeat(_)
            | PhaseKind::Include(_) => Vec::new(),
        }
    }

    /// The phases within it.
    pub fn inner(&self) -> &[Self] {
        match &self.kind {
            PhaseKind::Repeat(repeat) => &repeat.phases,
            PhaseKind::Include(include) => &include.phases,
            _ => &[],
        }
    }

    /// It and all phases within it, at any depth, outer ones first.
    pub fn and_inner(&self) -> Vec<&Self> {
        let mut all = vec![self];
        all.extend(self.inner().iter().flat_map(Self::and_inner));
        all
    }
}

/// Whether a phase runs in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseTurn {
    /// When what it needs has ended; never once another phase has failed.
    InOrder,
    /// When all phases beside it that run in their turn have ended, whether they failed, or the run was interrupted.
    Finally,
}

/// Does a phase once for each of some items.
#[derive(Debug, Clone, Serialize)]
pub struct ForEachPlan {
    /// The items.
    pub items: Items,
    /// The name under which templates see the item.
    pub name: String,
    /// So many at a time; at least 1.
    pub max_parallel: usize,
    /// What the failure of one does to those that have not begun.
    pub on_failure: OnFailure,
}

/// What `for_each` goes through.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Items {
    /// Values that stand in the file.
    Written(Vec<Value>),
    /// An expression whose value is a list.
    Computed(Condition),
}

/// How often a phase is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RetryPlan {
    /// Tries in all; at least 1.
    pub attempts: u32,
    /// How long to wait before the second; twice as long before each further one.
    pub backoff: Duration,
}

impl RetryPlan {
    /// Tried once.
    pub const ONCE: Self = Self { attempts: 1, backoff: Duration::ZERO };
}

/// What a phase does.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// One conversation.
    Session(SessionPlan),
    /// Concurrent sessions that work on the queue.
    Workers(WorkersPlan),
    /// A session woken by time or by the queue.
    Monitor(MonitorPlan),
    /// Issues made without a model.
    Issues(IssuesPlan),
    /// A command in the workspace.
    Shell(ShellPlan),
    /// A question to a person.
    Approval(ApprovalPlan),
    /// Phases again and again.
    Repeat(RepeatPlan),
    /// The phases of another scenario.
    Include(IncludePlan),
}

impl PhaseKind {
    /// The key of the kind in a file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Workers(_) => "workers",
            Self::Monitor(_) => "monitor",
            Self::Issues(_) => "issues",
            Self::Shell(_) => "shell",
            Self::Approval(_) => "approval",
            Self::Repeat(_) => "repeat",
            Self::Include(_) => "include",
        }
    }
}

/// One conversation, prompts in turn.
#[derive(Debug, Clone, Serialize)]
pub struct SessionPlan {
    /// Who.
    pub role: RoleId,
    /// Templates, by path from the root; at least one.
    pub prompts: Vec<String>,
    /// What its last answer must be, if it is to be data.
    pub output: Option<OutputPlan>,
}

/// What the answer of a session must be.
#[derive(Debug, Clone, Serialize)]
pub struct OutputPlan {
    /// The file of the schema, by path from the root; none if it stands in the scenario.
    pub file: Option<String>,
    /// The JSON Schema.
    pub schema: Value,
}

/// Concurrent sessions that work on the queue.
#[derive(Debug, Clone, Serialize)]
pub struct WorkersPlan {
    /// Who, and how many.
    pub pool: Vec<PoolPlan>,
    /// The template of an iteration.
    pub prompt: String,
    /// Who claims.
    pub claim: ClaimBy,
    /// Iterations of one session; at least 1.
    pub max_iterations: u32,
    /// Whether a session goes on or starts anew for each iteration.
    pub session: SessionLife,
    /// What a worker does when nothing is ready for it.
    pub when_empty: WhenEmpty,
}

impl WorkersPlan {
    /// Every worker of the pool, in order; numbers count within a role.
    pub fn workers(&self) -> Vec<WorkerPlan> {
        let mut counts: BTreeMap<&RoleId, u32> = BTreeMap::new();
        let mut workers = Vec::new();
        for entry in &self.pool {
            for _ in 0..entry.count {
                let index = counts.entry(&entry.role).or_default();
                *index += 1;
                workers.push(WorkerPlan {
                    name: SessionName::new(format!("{}-{index}", entry.role.local())),
                    role: entry.role.clone(),
                    index: *index,
                    takes: entry.takes.clone(),
                });
            }
        }
        workers
    }
}

/// One entry of a pool.
#[derive(Debug, Clone, Serialize)]
pub struct PoolPlan {
    /// Who.
    pub role: RoleId,
    /// How many; at least 1.
    pub count: u32,
    /// Which issues they take: the entry's own, else the role's.
    pub takes: Takes,
}

/// One worker of a pool.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerPlan {
    /// `{role}-{index}`.
    pub name: SessionName,
    /// Who.
    pub role: RoleId,
    /// Its number within the role, from 1.
    pub index: u32,
    /// Which issues it takes.
    pub takes: Takes,
}

/// Who claims issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimBy {
    /// The model, through the issue tool.
    Agent,
    /// The runner, before it renders the prompt.
    Engine,
}

/// How long a worker's session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionLife {
    /// For the whole phase.
    Keep,
    /// For one iteration.
    Fresh,
}

/// What a worker does when nothing is ready for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenEmpty {
    /// It goes home.
    Stop,
    /// It waits while something may still become ready.
    Wait,
}

/// A session woken by time or by the queue.
#[derive(Debug, Clone, Serialize)]
pub struct MonitorPlan {
    /// Who.
    pub role: RoleId,
    /// The template of a check.
    pub prompt: String,
    /// The phase it watches.
    pub watches: PhaseId,
    /// Prompts only if this holds.
    pub when: Condition,
    /// Looks this often.
    pub every: Option<Duration>,
    /// Looks at each of these events: `issue.blocked` …
    pub on: Vec<String>,
    /// Prompts at most this often; at least 1.
    pub max_checks: u32,
}

/// The events of the queue a monitor may listen to, without the `issue.` before them.
pub const ISSUE_EVENTS: [&str; 7] =
    ["created", "claimed", "blocked", "unblocked", "closed", "released", "reopened"];

/// What a failed phase does to the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Later phases are skipped, running ones are cancelled after their turn.
    Stop,
    /// The others go on.
    Continue,
}

/// Issues made without a model.
#[derive(Debug, Clone, Serialize)]
pub struct IssuesPlan {
    /// Issues that stand in the scenario; their texts are templates.
    pub create: Vec<SeedPlan>,
    /// Issues of a file.
    pub from: Option<IssueFile>,
}

/// An issue that a scenario makes.
#[derive(Debug, Clone, Serialize)]
pub struct SeedPlan {
    /// What the others of its list call it.
    pub key: Option<String>,
    /// One line.
    pub title: String,
    /// As long as it takes; may be empty.
    pub description: String,
    /// 0 to 4.
    pub priority: Option<u8>,
    /// `task` when absent.
    pub issue_type: Option<String>,
    /// Whatever its workers look for.
    pub metadata: Map<String, Value>,
    /// Its labels.
    pub labels: Vec<String>,
    /// Estimated work, in minutes.
    pub estimate_minutes: Option<u32>,
    /// Starts blocked, waiting for this.
    pub blocking_notes: Option<String>,
    /// The key of the issue that it is a part of.
    pub parent: Option<String>,
    /// The keys of the issues that must be closed before it is ready.
    pub depends_on: Vec<String>,
    /// Where the file says so.
    pub place: Place,
}

/// Issues of a file, as it was when the scenario was read.
#[derive(Debug, Clone, Serialize)]
pub struct IssueFile {
    /// The file, by path from the root.
    pub name: String,
    /// What it says: JSON lines in one of the formats that `runner issues import` takes.
    pub text: String,
}

/// A command in the workspace.
#[derive(Debug, Clone, Serialize)]
pub struct ShellPlan {
    /// The command, for `bash`, else for `sh`. No template: values come to it as variables.
    pub run: String,
    /// Variables for it; their values are templates.
    pub env: BTreeMap<String, String>,
    /// The exit codes that are a success; at least one.
    pub expect_exit: Vec<i32>,
    /// What becomes of what it prints.
    pub capture: Capture,
}

/// What becomes of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// `phases.ID.text`, as it is.
    Text,
    /// `phases.ID.output`, read as JSON.
    Json,
    /// It is shown in the journal only.
    None,
}

/// A question to a person.
#[derive(Debug, Clone, Serialize)]
pub struct ApprovalPlan {
    /// What is asked; a template.
    pub message: String,
    /// How long an answer is waited for.
    pub timeout: Option<Duration>,
    /// The answer if none comes in time.
    pub default: Option<Decision>,
}

/// Phases again and again.
#[derive(Debug, Clone, Serialize)]
pub struct RepeatPlan {
    /// The phases of a round.
    pub phases: Vec<PhasePlan>,
    /// Looked at after each round; once it holds, there is no further one.
    pub until: Condition,
    /// Rounds at most; at least 1.
    pub max: u32,
    /// What it means that it never held.
    pub unmet: Unmet,
}

/// What it means that the `until` of a repetition never held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmet {
    /// The phase has failed.
    Fails,
    /// The phase is completed all the same.
    Completes,
}

/// The phases of another scenario.
#[derive(Debug, Clone, Serialize)]
pub struct IncludePlan {
    /// The scenario file, relative to the root.
    pub file: PathBuf,
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// Its phases.
    pub phases: Vec<PhasePlan>,
    /// Its inputs.
    pub inputs: Vec<IncludeInput>,
    /// Its conditions on the final state: asked when its phases have ended.
    pub expect: Vec<Condition>,
}

/// An input of an included scenario.
#[derive(Debug, Clone, Serialize)]
pub struct IncludeInput {
    /// Its id.
    pub id: String,
    /// What its value must be.
    pub kind: InputType,
    /// Where its value comes from.
    pub value: InputSource,
    /// The only values allowed; empty allows all.
    pub choices: Vec<Value>,
    /// Where the value is written.
    pub place: Place,
}

/// Where the value of an input comes from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSource {
    /// It is known.
    Value(Value),
    /// It is a secret: this environment variable holds it.
    Secret(String),
    /// A template over what the including phase sees; what it renders is read as `-i` is.
    Template(String),
}
