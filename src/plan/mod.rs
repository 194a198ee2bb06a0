//! What will run: a scenario resolved and checked. The engine accepts nothing else, and nothing changes it.

mod phase;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};

pub use phase::{
    ApprovalPlan, Capture, ClaimBy, ForEachPlan, ISSUE_EVENTS, IncludeInput, IncludePlan, InputSource,
    IssueFile, IssuesPlan, Items, MonitorPlan, OnFailure, OutputPlan, PhaseKind, PhasePlan, PhaseTurn,
    PoolPlan, RepeatPlan, RetryPlan, SeedPlan, SessionLife, SessionPlan, ShellPlan, Unmet, WhenEmpty,
    WorkerPlan, WorkersPlan,
};

use crate::event::Policy;
use crate::fault::Fault;
use crate::id::{PhaseId, RoleId};
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
    /// Every declared input with its value, but for those that are secret.
    pub inputs: BTreeMap<String, Value>,
    /// Secret inputs, each with the name of the environment variable that holds its value. Only commands are given it.
    pub secrets: BTreeMap<String, String>,
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
    /// Every phase, those within others too, outer ones first.
    pub fn every_phase(&self) -> impl Iterator<Item = &PhasePlan> {
        self.phases.iter().flat_map(PhasePlan::and_inner)
    }

    /// The environment variables that hold the values of secret inputs, of included scenarios too.
    pub fn secret_variables(&self) -> BTreeSet<String> {
        let included = self.every_phase().filter_map(|phase| match &phase.kind {
            PhaseKind::Include(include) => Some(&include.inputs),
            _ => None,
        });
        let included = included.flatten().filter_map(|input| match &input.value {
            InputSource::Secret(variable) => Some(variable.clone()),
            _ => None,
        });
        self.secrets.values().cloned().chain(included).collect()
    }

    /// The phase that a running one is made from, given its full name: `fix.2.review` is phase `review` within `fix`.
    pub fn phase(&self, id: &PhaseId) -> Option<&PhasePlan> {
        let mut level = self.phases.as_slice();
        let mut found = None;
        for name in id.names() {
            let phase = level.iter().find(|phase| phase.id.as_str() == name)?;
            level = phase.inner();
            found = Some(phase);
        }
        found
    }
}

/// Where the agents work.
#[derive(Debug, Clone, Serialize)]
pub struct WorkspacePlan {
    /// The folder: as written, absolute after `~` and `root` are applied.
    pub path: PathBuf,
    /// What is done with it at the start.
    pub start: WorkspaceStart,
    /// Whether workers share it.
    pub isolation: Isolation,
    /// Commands run in it before the first phase.
    pub setup: Vec<String>,
    /// Commands run in it after the last phase, whatever happened.
    pub teardown: Vec<String>,
    /// Where the file says so.
    pub place: Option<Place>,
}

/// What an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputType {
    /// A text.
    String,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// Several values.
    List,
    /// A path inside the project.
    Path,
}

impl InputType {
    /// Every type.
    pub const ALL: [Self; 5] = [Self::String, Self::Number, Self::Boolean, Self::List, Self::Path];

    /// The word in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "list",
            Self::Path => "path",
        }
    }

    /// Reads a value of this type, as the command line and templates give it: a list as `a,b,c` or as JSON.
    pub fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::String | Self::Path => Some(Value::from(text)),
            Self::Number => match text.trim().parse::<i64>() {
                Ok(number) => Some(Value::from(number)),
                Err(_) => {
                    let number = text.trim().parse::<f64>().ok()?;
                    serde_json::Number::from_f64(number).map(Value::Number)
                }
            },
            Self::Boolean => text.trim().parse::<bool>().ok().map(Value::from),
            Self::List if text.trim_start().starts_with('[') => {
                serde_json::from_str::<Vec<Value>>(text).ok().map(Value::from)
            }
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(items.collect::<Vec<_>>().into())
            }
        }
    }
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

/// Whether the workers of a pool work in one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// All of them in the workspace itself.
    Shared,
    /// Each in a copy of its own, made when its pool begins.
    PerWorker,
}

impl Isolation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Shared, Self::PerWorker];

    /// The word in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::PerWorker => "per-worker",
        }
    }
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
    /// The folder it works in, from the top of the workspace; all of it if nothing is said.
    pub workspace: Option<String>,
    /// Where the file declares it.
    pub place: Place,
}

/// An expression over the run's state: one that is true or false, but for the items of a `for_each`.
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
    /// Issues that are made before the first phase.
    pub issues: Vec<SeedPlan>,
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
    /// How many sessions may be at work at once; only a run has it.
    pub max_sessions: Option<u32>,
}

impl LimitsPlan {
    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        Self {
            max_usd: least(self.max_usd, other.max_usd),
            max_tokens: least(self.max_tokens, other.max_tokens),
            max_turns: least(self.max_turns, other.max_turns),
            timeout: least(self.timeout, other.timeout),
            max_sessions: least(self.max_sessions, other.max_sessions),
        }
    }

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

impl RolePlan {
    /// The role as one of its agents has it. What belongs to the agent alone goes by this id.
    #[must_use]
    pub fn as_agent(&self, agent: &AgentPlan) -> Self {
        let id = RoleId::new(format!("{}>{}", self.id, agent.name));
        Self { id, mount_plan: agent.plan.clone(), ..self.clone() }
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
