//! What will run: a scenario resolved and checked. The engine accepts nothing else, and nothing changes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::event::Policy;
use crate::fault::Fault;
use crate::id::{PhaseId, RoleId, SessionName};
use crate::issue::Takes;
use crate::price::{Prices, Usd};
use crate::source::Place;

/// The environment as resolved once at the command line: the process's variables, then those of `.env` that it lacks.
pub type Variables = BTreeMap<String, String>;

/// A checked scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Its name; the file's stem when it has none.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// The scenario file, relative to `root` where it lies below it.
    pub file: PathBuf,
    /// The project root: where every relative path of the scenario starts.
    pub root: PathBuf,
    /// Where the agents work.
    pub workspace: WorkspacePlan,
    /// Every declared input with its value.
    pub inputs: BTreeMap<String, Value>,
    /// The roles, in the order of the file.
    pub roles: IndexMap<RoleId, RolePlan>,
    /// The phases, in the order of the file.
    pub phases: Vec<PhasePlan>,
    /// The issue queue.
    pub queue: QueuePlan,
    /// What the run may spend.
    pub limits: LimitsPlan,
    /// What the models of its roles cost, as far as it is known.
    pub prices: Prices,
    /// Conditions on the final state.
    pub expect: Vec<Condition>,
    /// Where the recording is and when it is used.
    pub replay: ReplayPlan,
    /// What goes wrong on purpose when the scenario is tested.
    pub faults: Vec<Fault>,
    /// Every template a prompt may reach, by its path from `root`.
    pub prompts: BTreeMap<String, String>,
}

impl Plan {
    /// The phase of this id.
    pub fn phase(&self, id: &PhaseId) -> Option<&PhasePlan> {
        self.phases.iter().find(|phase| phase.id == *id)
    }
}

/// Where the agents work.
#[derive(Debug, Clone, Serialize)]
pub struct WorkspacePlan {
    /// The folder: as written, absolute after `~` and `root` are applied.
    pub path: PathBuf,
    /// What is done with it at the start.
    pub start: WorkspaceStart,
    /// Where the file says so.
    pub place: Option<Place>,
}

/// What is done with a workspace at the start of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceStart {
    /// Taken as it is; made if absent.
    Keep,
    /// Emptied if the runner made it, refused if somebody else did.
    Fresh,
}

/// A role: who a session is.
#[derive(Debug, Clone, Serialize)]
pub struct RolePlan {
    /// Its id.
    pub id: RoleId,
    /// What its sessions are made of.
    pub mount_plan: MountPlan,
    /// A template for its system prompt, by path from the root.
    pub system: Option<String>,
    /// Which issues it takes.
    pub takes: Takes,
    /// A model in place of the mount plan's.
    pub model: Option<String>,
    /// What all its sessions together may spend; it has no `timeout`.
    pub limits: LimitsPlan,
    /// Values for its templates.
    pub vars: Map<String, Value>,
    /// Where the file declares it.
    pub place: Place,
}

/// One phase.
#[derive(Debug, Clone, Serialize)]
pub struct PhasePlan {
    /// Its id.
    pub id: PhaseId,
    /// What it does.
    pub kind: PhaseKind,
    /// The phases that must have ended before it starts.
    pub needs: Vec<PhaseId>,
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
    /// The names of its sessions with their roles, in order.
    pub fn sessions(&self) -> Vec<(SessionName, RoleId)> {
        match &self.kind {
            PhaseKind::Session(SessionPlan { role, .. }) | PhaseKind::Monitor(MonitorPlan { role, .. }) => {
                vec![(SessionName::new(role.as_str()), role.clone())]
            }
            PhaseKind::Workers(workers) => {
                workers.workers().into_iter().map(|worker| (worker.name, worker.role)).collect()
            }
        }
    }
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
}

impl PhaseKind {
    /// The key of the kind in a file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Workers(_) => "workers",
            Self::Monitor(_) => "monitor",
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
                    name: SessionName::new(format!("{}-{index}", entry.role)),
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

/// An expression over the run's state that is true or false.
#[derive(Debug, Clone, Serialize)]
pub struct Condition {
    /// As written.
    pub text: String,
    /// Where.
    pub place: Place,
}

/// Where a workspace keeps its queue unless the scenario says otherwise.
pub const QUEUE_FILE: &str = ".beads/issues.db";

/// The issue queue.
#[derive(Debug, Clone, Serialize)]
pub struct QueuePlan {
    /// The SQLite file, relative to the workspace.
    pub path: PathBuf,
    /// How long a claim lasts without renewal.
    pub lease: Duration,
    /// Claims without a result after which an issue is blocked.
    pub max_attempts: u32,
}

/// What a run, a phase or a role may spend; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LimitsPlan {
    /// What the calls of all sessions together may cost.
    pub max_usd: Option<Usd>,
    /// Tokens of all sessions together, in and out, cached or not.
    pub max_tokens: Option<u64>,
    /// Model calls of all sessions together.
    pub max_turns: Option<u64>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl LimitsPlan {
    /// Whether something that calls use up is limited.
    pub fn bounds_calls(&self) -> bool {
        self.max_usd.is_some() || self.max_tokens.is_some() || self.max_turns.is_some()
    }
}

/// Where the recording is and when it is used.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayPlan {
    /// The cassette's folder, absolute.
    pub cassette: Option<PathBuf>,
    /// When it is used without being asked for.
    pub when: ReplayWhen,
    /// Policies in place of the tools' own, by tool name.
    pub tools: BTreeMap<String, Policy>,
}

/// When a recording is used without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayWhen {
    /// Only by `--replay`.
    Never,
    /// When a used role's provider lacks its credential.
    NoCredentials,
}

/// What a session is made of.
#[derive(Debug, Clone, Serialize)]
pub struct MountPlan {
    /// The file, relative to the root.
    pub file: PathBuf,
    /// Who drives the loop.
    pub orchestrator: ModuleSpec,
    /// Who keeps the conversation.
    pub context: ModuleSpec,
    /// Who answers; lowest `priority` of the config first.
    pub providers: Vec<ModuleSpec>,
    /// What the model may use.
    pub tools: Vec<ModuleSpec>,
    /// Who listens.
    pub hooks: Vec<ModuleSpec>,
    /// A system prompt of the plan's own, when it has one.
    pub system: Option<String>,
    /// Sub-agents that its sessions may start, in the order of the file.
    pub agents: Vec<AgentPlan>,
}

impl MountPlan {
    /// The plan and those of its agents.
    pub fn and_agents(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.agents.iter().map(|agent| &agent.plan))
    }

    /// The provider that is used: the first, since they stand by priority.
    pub fn provider(&self) -> &ModuleSpec {
        self.providers.first().expect("a checked mount plan has a provider")
    }
}

/// A sub-agent.
#[derive(Debug, Clone, Serialize)]
pub struct AgentPlan {
    /// Its name.
    pub name: String,
    /// What it is for, told to the model; may be empty.
    pub description: String,
    /// What its sessions are made of: the plan it stands in with what it names itself. It has no agents.
    pub plan: MountPlan,
}

/// One module of a mount plan.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleSpec {
    /// The module's own name; aliases are resolved.
    pub module: String,
    /// Its configuration, `${VAR}` substituted.
    #[serde(skip)]
    pub config: Map<String, Value>,
    /// The name of this instance among several of one module.
    pub instance_id: Option<String>,
    /// Where the file names it.
    pub place: Place,
}

/// What there is to know of a module before it is built: mount plans are checked against it.
#[derive(Debug, Clone, Copy)]
pub struct ModuleInfo {
    /// Its name in mount plans.
    pub name: &'static str,
    /// Other names it answers to.
    pub aliases: &'static [&'static str],
    /// What it may be used as.
    pub kind: ModuleKind,
    /// One line for people.
    pub summary: &'static str,
    /// Its configuration keys.
    pub keys: &'static [KeyInfo],
    /// The tools it shows to the model.
    pub tools: &'static [&'static str],
    /// The environment variable with its credential, and the config key that replaces it.
    pub credential: Option<Credential>,
}

/// Where a module finds its credential.
#[derive(Debug, Clone, Copy)]
pub struct Credential {
    /// The environment variable.
    pub variable: &'static str,
    /// The config key that replaces it.
    pub key: &'static str,
    /// Whether there is no answer without it.
    pub need: Need,
}

/// Whether a module can do without its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No live call is made without it.
    Required,
    /// Only some servers ask for it.
    Optional,
}

/// What a module may be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// `session.orchestrator`.
    Orchestrator,
    /// `session.context`.
    Context,
    /// `providers[]`.
    Provider,
    /// `tools[]`.
    Tool,
    /// `hooks[]`.
    Hook,
}

/// One configuration key of a module.
#[derive(Debug, Clone, Copy)]
pub struct KeyInfo {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub shape: KeyShape,
    /// The default, as it would be written; empty for none.
    pub default: &'static str,
    /// One line for people.
    pub doc: &'static str,
}

/// What a configuration key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyShape {
    /// A string.
    Text,
    /// A string that is a credential: never printed.
    Secret,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Flag,
    /// A list of strings.
    TextList,
    /// Anything; the module checks it itself.
    Any,
}
