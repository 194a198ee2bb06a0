//! Which modules there are, and how a role's mount plan becomes the parts of a session.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::registry::{Registry, ToolParts};
use super::turn::{CallOrder, Deltas, LoopPolicy};
use crate::chat::Room;
use crate::context::{self, ContextManager};
use crate::hook::cost::Costing;
use crate::hook::logging::Logging;
use crate::hook::redaction::Redaction;
use crate::hook::shell::Place;
use crate::hook::{self, Hook, HookError, Hooks};
use crate::http::Transport;
use crate::id::{RoleId, RunId};
use crate::issue::Takes;
use crate::limit;
use crate::plan::{
    KeyInfo, KeyShape, ModuleInfo, ModuleKind, ModuleSpec, Plan, QueuePlan, RolePlan, Variables,
};
use crate::provider::mock::{self, Mock};
use crate::provider::{BuildError, Fallback, Line, Provider, Script, StandIns};
use crate::store::IssueStore;
use crate::tool::issue::{Audience, IssueTool, IssueToolSetup};
use crate::tool::mcp::{self, Ground, Offered, ServerPlan, Servers};
use crate::tool::sandbox::{self, Wanted};
use crate::tool::settings::SettingError;
use crate::tool::task::{self, Task};
use crate::tool::workspace::Workspace;
use crate::tool::{Built, HoldLog, JobBoard, Tool, bash, filesystem, search, todo, web};

const MAX_ITERATIONS: KeyInfo = KeyInfo {
    name: "max_iterations",
    shape: KeyShape::Integer,
    default: "50",
    doc: "model calls within one prompt; then one more without tools to sum up; -1 is unlimited",
};

/// `loop-streaming`.
pub(super) const STREAMING: ModuleInfo = ModuleInfo {
    name: "loop-streaming",
    aliases: &[],
    kind: ModuleKind::Orchestrator,
    summary: "asks, runs the calls of a message at once where they do not get in each other's way, asks again",
    keys: &[
        MAX_ITERATIONS,
        KeyInfo {
            name: "parallel_tools",
            shape: KeyShape::Flag,
            default: "true",
            doc: "whether calls of one message may run at once",
        },
    ],
    tools: &[],
    credential: None,
};

/// `loop-basic`.
pub(super) const BASIC: ModuleInfo = ModuleInfo {
    name: "loop-basic",
    aliases: &[],
    kind: ModuleKind::Orchestrator,
    summary: "asks, runs calls one after another, asks again; passes no pieces of replies on",
    keys: &[MAX_ITERATIONS],
    tools: &[],
    credential: None,
};

/// The variables of the environment that commands of hooks get; others are given by their configuration.
const HOOK_VARIABLES: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// The modules a run builds sessions from, and what they need from outside.
pub struct Modules {
    registry: Registry,
    variables: Variables,
    workspace: Arc<Workspace>,
    lines: Lines,
    /// What paths in mount plans are relative to.
    root: PathBuf,
    /// Scripts that mount plans name, by path.
    scripts: BTreeMap<String, String>,
    /// Where the commands of hooks are run, with which variables.
    hook_place: Place,
    /// The tools of other programs that each role is offered, and each agent that names servers of its own.
    offered: BTreeMap<RoleId, Offered>,
    /// Who carries those out; nobody in a replay.
    servers: Option<Arc<Servers>>,
    /// Notices already given.
    told: Mutex<BTreeSet<String>>,
}

/// What stands behind the providers.
#[derive(Clone)]
pub enum Lines {
    /// Servers.
    Http(Arc<dyn Transport>),
    /// One script behind all of them.
    Script(Arc<Script>),
}

/// What a session is to be made for.
pub struct Casting<'a> {
    /// The role.
    pub role: &'a RolePlan,
    /// The session's path within the run.
    pub path: String,
    /// The path under which it holds issues: its own, or that of the session it works for.
    pub holder: String,
    /// The name shown as the one who did things.
    pub actor: String,
    /// Which issues it takes.
    pub takes: Takes,
    /// What it holds.
    pub holds: HoldLog,
    /// Its system prompt, rendered.
    pub system: String,
    /// The run.
    pub run: RunId,
    /// The queue.
    pub store: Arc<dyn IssueStore>,
    /// How the queue is used.
    pub queue: &'a QueuePlan,
    /// Where it works: the workspace of the run or a folder of it.
    pub workspace: Arc<Workspace>,
}

/// The parts of a session.
pub struct Cast {
    /// Who answers.
    pub provider: Arc<dyn Provider>,
    /// Who is asked in its place.
    pub stand_ins: StandIns,
    /// What calls go over.
    pub line: Line,
    /// What the model may use.
    pub tools: Vec<Arc<dyn Tool>>,
    /// How the loop is driven.
    pub policy: LoopPolicy,
    /// Who keeps the conversation.
    pub context: Box<dyn ContextManager>,
    /// The system prompt.
    pub system: String,
    /// Who hears of what the session does.
    pub hooks: Hooks,
    /// Where it works.
    pub workspace: Arc<Workspace>,
}

/// A session cannot be made of its mount plan.
#[derive(Debug, thiserror::Error)]
pub enum CastError {
    /// A provider's configuration makes no sense.
    #[error(transparent)]
    Provider(#[from] BuildError),
    /// A tool's configuration makes no sense.
    #[error(transparent)]
    Tool(#[from] SettingError),
    /// A context's configuration makes no sense.
    #[error(transparent)]
    Context(#[from] context::ConfigError),
    /// A hook's configuration makes no sense.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Two modules show the model a tool of one name.
    #[error("two tools are named {name}; take one of their modules out of the mount plan")]
    SameName {
        /// The name.
        name: String,
    },
}

/// What a mount plan names that is not there, and why that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offstage {
    /// One sentence for people.
    pub notice: String,
}

impl Modules {
    /// The modules of a run.
    pub fn new(root: &Path, variables: Variables, workspace: Arc<Workspace>, lines: Lines) -> Self {
        let few = |name: &&str| variables.get(*name).map(|value| ((*name).to_owned(), value.clone()));
        let hook_place =
            Place { folder: root.to_owned(), variables: HOOK_VARIABLES.iter().filter_map(few).collect() };
        let (root, scripts, told) = (root.to_owned(), BTreeMap::new(), Mutex::default());
        let registry = Registry::builtin();
        let (offered, servers) = (BTreeMap::new(), None);
        Self { registry, variables, workspace, lines, root, scripts, hook_place, offered, servers, told }
    }

    /// The same with modules beside those that are built in.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// The same with the text of a script that a mount plan names by this path.
    #[must_use]
    pub fn with_script(mut self, path: String, text: String) -> Self {
        self.scripts.insert(path, text);
        self
    }

    /// The same with tools of other programs: what each role is offered, and who carries it out. Nobody does in a replay.
    #[must_use]
    pub fn with_servers(mut self, offered: BTreeMap<RoleId, Offered>, servers: Option<Arc<Servers>>) -> Self {
        self.offered = offered;
        self.servers = servers;
        self
    }

    /// The workspace of the run.
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    /// The commands that go on in the workspace in the background.
    pub fn jobs(&self) -> &Arc<JobBoard> {
        self.workspace.jobs()
    }

    /// The servers that a role's mount plan names.
    ///
    /// # Errors
    /// Its configuration makes no sense.
    pub fn mcp_servers(&self, role: &RolePlan) -> Result<Vec<ServerPlan>, CastError> {
        let specs = role.mount_plan.tools.iter().filter(|spec| spec.module == mcp::INFO.name);
        let read = specs.map(|spec| mcp::read(&spec.config, self.ground()));
        Ok(read.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// What there is to say, each once, where the kernel has no sandbox for commands.
    ///
    /// # Errors
    /// A role needs one.
    pub fn without_sandbox(plan: &Plan) -> Result<BTreeSet<&'static str>, &'static str> {
        let plans = plan.roles.values().flat_map(|role| role.mount_plan.and_agents());
        let specs = plans.flat_map(|plan| &plan.tools).filter(|spec| spec.module == bash::INFO.name);
        let wanted = specs.filter_map(|spec| bash::sandbox(&spec.config).ok());
        let wanted: Vec<_> = wanted.filter(|wanted| *wanted != Wanted::Off).collect();
        if wanted.is_empty() || sandbox::is_there() {
            return Ok(BTreeSet::new());
        }
        wanted.into_iter().filter_map(|wanted| wanted.without().transpose()).collect()
    }

    /// What runs a command that the scenario itself names, given these variables; none where there is no shell.
    ///
    /// # Errors
    /// There is none.
    pub fn command(&self, own: &BTreeMap<String, String>) -> Result<Arc<dyn Tool>, String> {
        let seconds = limit::COMMAND_TIMEOUT.as_secs();
        let config = serde_json::json!({
            "safety_profile": "unrestricted", "timeout": seconds, "max_background_jobs": 0,
        });
        let config = config.as_object().expect("it is written as an object");
        match bash::build_with(config, self.workspace.clone(), &self.variables, own) {
            Ok(Built::Tools(tools) | Built::Partial { tools, .. }) => {
                Ok(tools.into_iter().next().expect("there is a tool in what was built"))
            }
            Ok(Built::Absent { notice }) => Err(notice),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What servers are started with.
    pub fn ground(&self) -> Ground<'_> {
        Ground {
            root: &self.root,
            workspace: self.workspace.root(),
            variables: &self.variables,
            scrubber: self.workspace.scrubber(),
        }
    }

    /// The credentials that tools of the plan use: what each is called, and what it is.
    pub fn tool_credentials(plan: &Plan, variables: &Variables) -> Vec<(&'static str, String)> {
        let specs = plan.roles.values().flat_map(|role| role.mount_plan.and_agents());
        let specs = specs.flat_map(|plan| &plan.tools).filter(|spec| spec.module == web::INFO.name);
        specs.flat_map(|spec| web::credentials(&spec.config, variables)).collect()
    }

    /// `provider-…/model` of a role, for heads and tables.
    ///
    /// # Errors
    /// The configuration of its provider or its context makes no sense.
    pub fn model_of(&self, role: &RolePlan) -> Result<String, CastError> {
        let (provider, _) = self.provider(role)?;
        self.context(&role.mount_plan.context, provider.room(), "check")?;
        Ok(format!("{}/{}", provider.module(), provider.model()))
    }

    /// What the mount plans name that is absent, each once.
    ///
    /// # Errors
    /// A tool's configuration makes no sense.
    pub fn offstage(&self, plan: &Plan) -> Result<Vec<Offstage>, CastError> {
        let mut notices = Vec::new();
        let plans = plan.roles.values().flat_map(|role| role.mount_plan.and_agents());
        for spec in plans.flat_map(|plan| &plan.tools) {
            if let Some(Built::Absent { notice } | Built::Partial { notice, .. }) =
                self.plain_tool(spec, "check", &self.workspace)?
                && self.told.lock().expect("nothing panics while it holds this").insert(notice.clone())
            {
                notices.push(Offstage { notice });
            }
        }
        Ok(notices)
    }

    /// Makes the parts of a session.
    ///
    /// # Errors
    /// A configuration makes no sense, or two tools have one name.
    pub fn cast(&self, casting: Casting<'_>) -> Result<Cast, CastError> {
        let plan = &casting.role.mount_plan;
        let (provider, line) = self.provider(casting.role)?;
        let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
        for spec in &plan.tools {
            match self.plain_tool(spec, &casting.path, &casting.workspace)? {
                Some(Built::Tools(built) | Built::Partial { tools: built, .. }) => tools.extend(built),
                Some(Built::Absent { .. }) => {}
                None if spec.module == task::INFO.name => {
                    task::limits(&spec.config)?;
                    tools.push(Arc::new(Task::new(&plan.agents)));
                }
                None => tools.push(Arc::new(IssueTool::new(IssueToolSetup {
                    store: casting.store.clone(),
                    run: Some(casting.run.clone()),
                    holder: casting.holder.clone(),
                    actor: casting.actor.clone(),
                    takes: casting.takes.clone(),
                    lease: casting.queue.lease,
                    max_attempts: casting.queue.max_attempts,
                    holds: casting.holds.clone(),
                    audience: Audience::Sessions,
                }))),
            }
        }
        let offered = self.offered_to(&casting.role.id);
        let plans = self.mcp_servers(casting.role)?;
        tools.extend(mcp::tools(&plans, &offered, self.servers.as_deref(), &casting.workspace));
        let mut names = BTreeSet::new();
        if let Some(same) = tools.iter().map(|tool| tool.spec().name).find(|name| !names.insert(name.clone()))
        {
            return Err(CastError::SameName { name: same });
        }
        let context = self.context(&plan.context, provider.room(), &casting.path)?;
        Ok(Cast {
            stand_ins: self.stand_ins(casting.role, provider.model())?,
            provider,
            line,
            tools,
            policy: loop_policy(&plan.orchestrator),
            context,
            system: casting.system,
            hooks: self.hooks(&plan.hooks)?,
            workspace: casting.workspace,
        })
    }

    /// The tools of servers that a role is offered; an agent for which nothing else is known has those of its role.
    fn offered_to(&self, role: &RoleId) -> Offered {
        let of_role = || self.offered.get(&RoleId::new(role.as_str().split_once('>')?.0));
        self.offered.get(role).or_else(of_role).cloned().unwrap_or_default()
    }

    fn context(
        &self,
        spec: &ModuleSpec,
        room: Option<Room>,
        session: &str,
    ) -> Result<Box<dyn ContextManager>, CastError> {
        if let Some(make) = self.registry.context(&spec.module) {
            return Ok(make(spec, room)?);
        }
        let context = context::Simple::new(context::Settings::read(spec, room)?);
        Ok(Box::new(match spec.module == context::PERSISTENT.name {
            true => context.with_sources(context::Sources::read(spec, &self.root, session)?),
            false => context,
        }))
    }

    /// The hooks that decide something.
    fn hooks(&self, specs: &[ModuleSpec]) -> Result<Hooks, CastError> {
        let mut hooks: Vec<Arc<dyn Hook>> = Vec::new();
        for spec in specs {
            match spec.module.as_str() {
                name if name == hook::shell::INFO.name => {
                    hooks.extend(hook::shell::build(&spec.config, &self.hook_place)?);
                }
                name if name == hook::approval::INFO.name => hooks.push(hook::approval::build(&spec.config)?),
                // Those that only listen belong to the run, not to a session.
                name => {
                    if let Some(make) = self.registry.hook(name) {
                        hooks.push(make(&spec.config)?);
                    }
                }
            }
        }
        Ok(Hooks::new(hooks))
    }

    /// How the sessions of each role are logged that are.
    ///
    /// # Errors
    /// A hook's configuration makes no sense.
    pub fn logging(plan: &Plan) -> Result<BTreeMap<RoleId, Logging>, CastError> {
        let mut roles = BTreeMap::new();
        for (id, role) in &plan.roles {
            let of = |name: &str| role.mount_plan.hooks.iter().find(|spec| spec.module == name);
            let redaction = match of(hook::redaction::INFO.name) {
                Some(spec) => Redaction::build(&spec.config)?,
                None => Redaction::default(),
            };
            if let Some(spec) = of(hook::logging::INFO.name) {
                roles.insert(id.clone(), Logging::build(&spec.config, redaction)?);
            }
        }
        Ok(roles)
    }

    /// How the model calls of each role are counted that are.
    ///
    /// # Errors
    /// A hook's configuration makes no sense.
    pub fn costing(plan: &Plan) -> Result<BTreeMap<RoleId, Costing>, CastError> {
        let mut roles = BTreeMap::new();
        for (id, role) in &plan.roles {
            for spec in role.mount_plan.hooks.iter().filter(|spec| spec.module == hook::cost::INFO.name) {
                roles.insert(id.clone(), Costing::build(&spec.config)?);
            }
        }
        Ok(roles)
    }

    /// Builds what hooks are made of, to find what is wrong before anything runs.
    ///
    /// # Errors
    /// A configuration makes no sense.
    pub fn check_hooks(&self, role: &RolePlan) -> Result<(), CastError> {
        self.hooks(&role.mount_plan.hooks).map(drop)
    }

    fn provider(&self, role: &RolePlan) -> Result<(Arc<dyn Provider>, Line), CastError> {
        let spec = role.mount_plan.provider();
        let model = role.model.as_deref();
        if spec.module == mock::INFO.name {
            let text = Mock::script_path(spec)?.and_then(|path| self.scripts.get(path)).map(String::as_str);
            let (provider, line) = Mock::build(spec, text, model)?;
            return Ok(match &self.lines {
                Lines::Script(script) => (provider, Line::Script(script.clone())),
                Lines::Http(_) => (provider, line),
            });
        }
        let line = match &self.lines {
            Lines::Http(transport) => Line::Http(transport.clone()),
            Lines::Script(script) => Line::Script(script.clone()),
        };
        let built = self.registry.provider(spec, &self.variables, model);
        Ok((built.expect("a checked mount plan names providers of the catalogue")?, line))
    }

    /// Who is asked in place of a role's model.
    fn stand_ins(&self, role: &RolePlan, model: &str) -> Result<StandIns, CastError> {
        let fallback = Fallback::read(role.mount_plan.provider(), model)?;
        let named = fallback.models.into_iter().map(|model| RolePlan { model: Some(model), ..role.clone() });
        let built = named.map(|role| self.provider(&role).map(|(provider, _)| provider));
        Ok(StandIns { providers: built.collect::<Result<_, _>>()?, refusals: fallback.refusals })
    }

    /// Builds a tool that knows nothing of the queue; `None` for the one that does.
    fn plain_tool(
        &self,
        spec: &ModuleSpec,
        session: &str,
        workspace: &Arc<Workspace>,
    ) -> Result<Option<Built>, CastError> {
        let config: &Map<String, Value> = &spec.config;
        Ok(Some(match spec.module.as_str() {
            name if name == filesystem::INFO.name => filesystem::build(config, workspace.clone())?,
            name if name == bash::INFO.name => bash::build(config, workspace.clone(), &self.variables)?,
            name if name == search::INFO.name => search::build(config, workspace.clone())?,
            name if name == todo::INFO.name => todo::build(session),
            name if name == web::INFO.name => web::build(config, workspace, &self.variables)?,
            name if name == mcp::INFO.name => {
                mcp::read(config, self.ground())?;
                // What they offer is known only from the servers, or from a recording.
                Built::Tools(Vec::new())
            }
            name => match self.registry.tool(name) {
                Some(make) => {
                    let variables = &self.variables;
                    make(&ToolParts { config, workspace, variables, session })?
                }
                None => return Ok(None),
            },
        }))
    }
}

pub(super) fn loop_policy(spec: &ModuleSpec) -> LoopPolicy {
    let max_calls = match spec.config.get(MAX_ITERATIONS.name).and_then(Value::as_i64) {
        None => Some(limit::MODEL_CALLS_PER_PROMPT),
        Some(most) if most < 0 => None,
        Some(most) => Some(u32::try_from(most).unwrap_or(u32::MAX)),
    };
    let in_turn = spec.module == BASIC.name || spec.config.get("parallel_tools") == Some(&Value::Bool(false));
    LoopPolicy {
        max_calls,
        calls: if in_turn { CallOrder::InTurn } else { CallOrder::Parallel },
        deltas: if spec.module == BASIC.name { Deltas::Kept } else { Deltas::PassedOn },
    }
}
