//! How a scenario becomes a run that can begin: its folders made, its parts put together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::launch::{Play, Scenario, shown};
use super::outside;
use super::people::{Attendants, Keyboard, Terminal, deadlines, take_away_recorded};
use super::refusal::{Granted, Refusal};
use super::secrets::{scrubber, secret_inputs};
use super::surroundings::complaint;
use crate::clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use crate::effects::{Effects, Origin, Past, Setup as GateSetup, Time};
use crate::engine::{self, Spent, Workspace};
use crate::event::{
    ENDED_WELL, EffectId, Envelope, Evidence, Hub, Listener, Mode, RECORDING_FORMAT, RecordingHead,
};
use crate::hook::cost::Costs;
use crate::hook::logging::SessionLogs;
use crate::http::{HttpTransport, Nobody};
use crate::id::{RoleId, RunId, Seed};
use crate::journal::{self, Fork, Given, Journal, Manifest, Record, RunFolder};
use crate::plan::{Isolation, Plan, RolePlan, WorkspaceStart};
use crate::provider::Script;
use crate::secret::{Scrubber, is_scrubbed};
use crate::session::{Budget, Commands, FileOrder, Lines, Modules, Stage, Stop, Validators};
use crate::store::SqliteStore;
use crate::template::Templates;
use crate::tool::mcp::Servers;
use crate::tool::workspace::Workspace as ToolWorkspace;

/// Time begins here in a scripted run, so that the same script records the same cassette.
const SCRIPT_EPOCH: &str = "2026-01-01T00:00:00Z";

/// A run that goes on.
pub(super) struct Taken {
    pub(super) folder: RunFolder,
    pub(super) manifest: Manifest,
    pub(super) record: Record,
    /// What of it no longer stands.
    pub(super) undone: Vec<EffectId>,
    /// The script that answers in place of every model, if it began with one.
    pub(super) script: Option<Arc<Script>>,
    /// What was spent in it, by phase and role, on what no longer stands too.
    pub(super) spent: Vec<Spent>,
    /// Where a recording of it goes.
    pub(super) to: Option<PathBuf>,
    /// Whether it leaves the run whose beginning it is: it goes its own way for the first time.
    pub(super) forks: bool,
}

impl Taken {
    fn past(&self, over: Arc<AtomicBool>) -> Past {
        let record = &self.record;
        Past {
            effects: record.effects.clone(),
            texts: record.texts.clone(),
            interrupted: record.interrupted.clone(),
            undone: record.undone.clone(),
            last_seq: record.last_seq,
            adopted: match &self.manifest.fork {
                Some(fork) if !self.manifest.given.changes.is_empty() => fork.effects,
                _ => 0,
            },
            over,
        }
    }

    fn head(&self, scenario: &Scenario) -> RecordingHead {
        // Its parts are looked at anew.
        RecordingHead {
            models: BTreeMap::new(),
            mcp_tools: BTreeMap::new(),
            prices: scenario.plan.prices.clone(),
            ..head_of(&self.manifest)
        }
    }

    /// The last moment that is known of it.
    fn last_moment(&self) -> Timestamp {
        let effects = self.record.effects.iter().map(|effect| effect.at);
        effects.fold(self.manifest.started, Timestamp::max)
    }
}

/// What a run goes on from.
pub(super) struct Resumed {
    pub(super) record: Record,
    pub(super) undone: Vec<EffectId>,
    /// What its beginning was taken from, if this is where it leaves it.
    pub(super) fork: Option<(Fork, Vec<String>)>,
}

/// A run that can begin.
pub(super) struct Ready {
    pub(super) setup: engine::Setup,
    pub(super) journal: Journal,
    pub(super) folder: RunFolder,
    pub(super) head: RecordingHead,
    pub(super) record: Option<PathBuf>,
    pub(super) mode: Mode,
    pub(super) place: Place,
    pub(super) workspace: Workspace,
    /// What it goes on from, if it is not new.
    pub(super) resumed: Option<Resumed>,
    /// The programs that stand beside it.
    pub(super) servers: Option<Arc<Servers>>,
    /// What people should know before it begins.
    pub(super) notices: Vec<String>,
}

/// How a run begins.
pub(super) struct Beginning {
    /// Where its replies come from.
    pub(super) play: Play,
    /// What its ids follow from, when not from chance.
    pub(super) seed: Option<String>,
    /// Where it works.
    pub(super) place: Place,
    /// Who hears of it.
    pub(super) listeners: Vec<Box<dyn Listener>>,
    /// Whether a person can be asked.
    pub(super) terminal: Terminal,
    /// Who may stop it.
    pub(super) stop: Stop,
}

/// Where a run works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the scenario says; a replay only if that workspace is fresh, else in the run's folder.
    Scenario,
    /// In the run's folder, which nobody takes for the last run: a replay that leaves all else alone.
    OwnFolder,
}

/// Puts the parts together, and makes the folders once nothing else can be wrong. What the last run left in a fresh
/// workspace goes last of all.
pub(super) async fn prepare(scenario: &Scenario, beginning: Beginning) -> Granted<Ready> {
    let Beginning { play, seed, place, listeners, terminal, stop } = beginning;
    let plan = &scenario.plan;
    let run = match &play {
        Play::Resume(taken) => taken.manifest.run.clone(),
        Play::Live { .. } | Play::Scripted { .. } | Play::Explored { .. } | Play::Replay(_) => RunId::fresh(),
    };
    let site = Site::of(plan, &play, place, &run);
    let mut head = head(scenario, &play, &run, seed);
    let scrubber = scrubber(scenario);
    let templates = Templates::new(&plan.prompts).map_err(|errors| invalid(&errors))?;
    let (workspace, modules) = modules(scenario, &play, &site, &scrubber)?;
    let secrets = secret_inputs(scenario, site.mode).inspect_err(|_| site.leave())?;
    let parts = check_parts(&modules, plan).inspect_err(|_| site.leave())?;
    let outside = outside::open(&modules, plan, &play).await.inspect_err(|_| site.leave())?;
    let modules = modules.with_servers(outside.offered.clone(), outside.servers.clone());
    if site.mode == Mode::Live {
        head.models = parts.models;
        head.mcp_tools = outside.offered;
    }
    let budget = budget(plan, &play);
    let schedule = match &play {
        Play::Explored { schedule, .. } => Some(schedule.clone()),
        Play::Live { .. } | Play::Scripted { .. } | Play::Replay(_) | Play::Resume(_) => None,
    };
    let clock = match &play {
        // A fork lives in the time of what it has taken over, so that what was to come in a minute still does.
        Play::Resume(taken) if taken.manifest.fork.is_some() => {
            SystemClock::going_on_from(taken.last_moment())
        }
        _ => SystemClock::default(),
    };
    let books = match play {
        Play::Resume(taken) => Books::again(*taken, &workspace, scenario, listeners)?,
        play => {
            let manifest = manifest(scenario, &site, &head, &scrubber);
            let texts = scenario.texts(&scrubber);
            Books::new(play, (&manifest, &texts), &workspace, (scenario, listeners))?
        }
    };
    let Books { folder, journal, store, hub, origin, now, resumed } = books;
    let is_real = site.mode == Mode::Live && matches!(head.evidence, Evidence::Recorded | Evidence::Rebased);
    let attendants = Attendants {
        answers: scenario.answers.clone(),
        folder: folder.path().to_owned(),
        deadlines: resumed.as_ref().map(|resumed| deadlines(&resumed.record)).unwrap_or_default(),
        // Time that moves by itself has not gone on while nobody ran.
        now: if is_real { clock.now() } else { now },
        keyboard: Keyboard::of(terminal),
    };
    let Site { mode, record, workspace: path, .. } = site;
    let gate = GateSetup {
        time: if is_real {
            Time::Real(Arc::new(clock))
        } else {
            Time::Virtual(Arc::new(ManualClock::new(now)))
        },
        origin,
        seed: head.seed.clone(),
        journal: Some(journal.clone()),
        scrubber,
        faults: scenario.faults.clone(),
        halt: CancellationToken::new(),
    };
    let commands = if record.is_some() { Commands::Recorded } else { Commands::Free };
    let stage = Stage {
        effects: match schedule {
            Some(schedule) => Effects::exploring(gate, schedule),
            None => Effects::new(gate),
        },
        hub,
        validators: Validators::default(),
        policies: plan.replay.tools.clone(),
        workspace: path,
        budget,
        faults: scenario.faults.clone(),
        files: FileOrder::new(commands, modules.jobs().clone()),
        people: Arc::new(attendants),
        stop,
    };
    let setup = engine::Setup {
        plan: plan.clone(),
        run,
        modules: Arc::new(modules),
        store,
        templates,
        secrets,
        stage: Arc::new(stage),
    };
    let notices = [parts.notices, outside.notices].concat();
    Ok(Ready {
        setup,
        journal,
        folder,
        head,
        record,
        mode,
        place,
        workspace,
        resumed,
        notices,
        servers: outside.servers,
    })
}

/// What the run may spend: at the prices of the recording it plays, without what was spent before it goes on.
fn budget(plan: &Plan, play: &Play) -> Budget {
    let budget = Budget::new(plan);
    match play {
        Play::Replay(replay) if !replay.recording.head.prices.is_empty() => {
            budget.priced(replay.recording.head.prices.clone())
        }
        Play::Resume(taken) => {
            for spent in &taken.spent {
                let model = taken.manifest.models.get(&spent.role).map(String::as_str).unwrap_or_default();
                let model = model.split_once('/').map_or(model, |(_, model)| model);
                let model = spent.fallback.as_deref().unwrap_or(model);
                let purse = budget.purse(&spent.phase, &spent.role, &[model]);
                budget.note_spent(&purse, purse.amount(0, spent.turns, spent.usage));
            }
            budget
        }
        Play::Replay(_) | Play::Live { .. } | Play::Scripted { .. } | Play::Explored { .. } => budget,
    }
}

/// What stands in a run folder of what the run was started with.
fn manifest(scenario: &Scenario, site: &Site, head: &RecordingHead, scrubber: &Scrubber) -> Manifest {
    let Scenario { plan, .. } = scenario;
    Manifest {
        format: RECORDING_FORMAT,
        runner: env!("CARGO_PKG_VERSION").to_owned(),
        run: site.run.clone(),
        scenario: plan.file.clone(),
        mode: site.mode,
        evidence: head.evidence,
        seed: head.seed.clone(),
        started: head.epoch,
        workspace: site.workspace.clone(),
        plan: resolved(scenario, scrubber),
        given: given(scenario, scrubber),
        files: Manifest::copies(scenario.sources.read_files().map(|(file, _)| file)),
        models: head.models.clone(),
        mcp_tools: head.mcp_tools.clone(),
        record: site.record.clone(),
        fork: None,
    }
}

/// What a run is given on the command line, without secrets.
pub(super) fn given(scenario: &Scenario, scrubber: &Scrubber) -> Given {
    let mut given = scenario.given.clone();
    given.inputs.values_mut().chain(&mut given.changes).for_each(|value| *value = scrubber.scrub(value));
    given
}

/// The plan of a run, without secrets.
pub(super) fn resolved(scenario: &Scenario, scrubber: &Scrubber) -> serde_json::Value {
    let whole = serde_json::to_value(scenario.plan.as_ref()).expect("a plan holds only plain data");
    scrubber.scrub_json(whole)
}

/// What a run writes to, and where its results come from.
struct Books {
    folder: RunFolder,
    journal: Journal,
    store: Arc<SqliteStore>,
    hub: Hub,
    origin: Origin,
    /// Where the time begins that moves by itself.
    now: Timestamp,
    resumed: Option<Resumed>,
}

impl Books {
    /// Those of a new run, in a workspace that is emptied first if it is to start fresh.
    fn new(
        play: Play,
        (manifest, texts): (&Manifest, &BTreeMap<PathBuf, String>),
        workspace: &Workspace,
        (scenario, mut listeners): (&Scenario, Vec<Box<dyn Listener>>),
    ) -> Granted<Self> {
        let plan = &scenario.plan;
        let folder = RunFolder::create(&plan.root, manifest, texts).map_err(Refusal::configuration)?;
        let opened = || {
            let journal = Journal::open(&folder.journal()).map_err(Refusal::configuration)?;
            if plan.workspace.isolation == Isolation::PerWorker {
                let checked = Workspace::check_no_workers_left(workspace.path(), plan.workspace.start);
                checked.map_err(Refusal::configuration)?;
            }
            workspace.clear().map_err(Refusal::configuration)?;
            let queue = workspace.path().join(&plan.queue.path);
            let store = match &play {
                // Its queue was empty a moment ago, and playing it again makes it again.
                Play::Replay(_) | Play::Explored { .. } => SqliteStore::open_repeatable(&queue),
                Play::Live { .. } | Play::Scripted { .. } | Play::Resume(_) => SqliteStore::open(&queue),
            };
            Ok((journal, store.map_err(Refusal::configuration)?))
        };
        let (journal, store) = match opened() {
            Ok(opened) => opened,
            Err(refusal) => {
                folder.discard();
                return Err(refusal);
            }
        };
        let origin = match play {
            Play::Replay(replay) => Origin::Replay(replay),
            Play::Live { .. } | Play::Scripted { .. } | Play::Explored { .. } | Play::Resume(_) => {
                Origin::Live
            }
        };
        listeners.push(Box::new(journal.clone()));
        listeners.extend(listening_hooks(plan, &folder, &[]));
        let (hub, now) = (Hub::new(listeners), manifest.started);
        Ok(Self { folder, journal, store, hub, origin, now, resumed: None })
    }

    /// Those of a run that goes on: nothing is made or emptied.
    fn again(
        taken: Taken,
        workspace: &Workspace,
        scenario: &Scenario,
        mut listeners: Vec<Box<dyn Listener>>,
    ) -> Granted<Self> {
        let over = Arc::<AtomicBool>::default();
        let (past, now) = (taken.past(over.clone()), taken.last_moment());
        let Taken { folder, record, undone, manifest, forks, .. } = taken;
        let fork = manifest.fork.filter(|_| forks).map(|fork| (fork, manifest.given.changes));
        let path = folder.journal();
        let journal = journal::mend(&path).and_then(|()| Journal::open(&path));
        let journal = journal.map_err(Refusal::configuration)?;
        let store = SqliteStore::open(&workspace.path().join(&scenario.plan.queue.path))
            .map_err(Refusal::configuration)?;
        listeners.push(Box::new(journal.clone()));
        listeners.extend(listening_hooks(&scenario.plan, &folder, &record.events));
        let hub = Hub::resumed(listeners, &record.events, over);
        take_away_recorded(folder.path(), &record, &undone);
        let (origin, resumed) = (Origin::Resume(past), Some(Resumed { record, undone, fork }));
        Ok(Self { folder, journal, store, hub, origin, now, resumed })
    }
}

/// The hooks of mount plans that only listen; `before` is what was told before the run went on.
fn listening_hooks(plan: &Plan, folder: &RunFolder, before: &[Envelope]) -> Vec<Box<dyn Listener>> {
    // What is wrong with them was told when the parts were looked at.
    let mut hooks: Vec<Box<dyn Listener>> = Vec::new();
    if let Some(roles) = Modules::logging(plan).ok().filter(|roles| !roles.is_empty()) {
        hooks.push(Box::new(SessionLogs::new(folder.path().join("logs"), roles)));
    }
    if let Some(roles) = Modules::costing(plan).ok().filter(|roles| !roles.is_empty()) {
        hooks.push(Box::new(Costs::new(folder.path(), roles, before)));
    }
    hooks
}

/// Where a run works, and what becomes of it.
struct Site {
    run: RunId,
    mode: Mode,
    /// Where a recording goes.
    record: Option<PathBuf>,
    workspace: PathBuf,
    start: WorkspaceStart,
    /// The folder of the run, if the workspace lies in it.
    private: Option<PathBuf>,
}

impl Site {
    fn of(plan: &Plan, play: &Play, place: Place, run: &RunId) -> Self {
        let (mode, record) = match play {
            Play::Live { record } => (Mode::Live, record.clone()),
            Play::Scripted { record, .. } => (Mode::Live, Some(record.clone())),
            Play::Replay(_) => (Mode::Replay, None),
            Play::Explored { .. } => (Mode::Live, None),
            Play::Resume(taken) => (Mode::Live, taken.to.clone()),
        };
        let run = run.clone();
        let own = place == Place::OwnFolder || plan.workspace.start == WorkspaceStart::Keep;
        if (mode == Mode::Replay && own) || matches!(play, Play::Explored { .. }) {
            let folder = plan.root.join(".runner").join("runs").join(run.as_str());
            let workspace = folder.join("workspace");
            Self { run, mode, record, workspace, start: WorkspaceStart::Fresh, private: Some(folder) }
        } else {
            let workspace = match play {
                Play::Resume(taken) => taken.manifest.workspace.clone(),
                Play::Live { .. } | Play::Scripted { .. } | Play::Explored { .. } | Play::Replay(_) => {
                    plan.workspace.path.clone()
                }
            };
            Self { run, mode, record, workspace, start: plan.workspace.start, private: None }
        }
    }

    /// Leaves nothing of a run behind that does not begin.
    fn leave(&self) {
        if let Some(folder) = &self.private {
            // What cannot be removed is in nobody's way.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Whether some role's model is behind a server.
fn asks_servers(plan: &Plan) -> bool {
    let mut plans = plan.roles.values().flat_map(|role| role.mount_plan.and_agents());
    plans.any(|plan| plan.provider().module != crate::provider::mock::INFO.name)
}

/// Takes the workspace, and puts the modules together that work in it.
fn modules(
    scenario: &Scenario,
    play: &Play,
    site: &Site,
    scrubber: &Scrubber,
) -> Granted<(Workspace, Modules)> {
    let script = match play {
        Play::Scripted { script, .. } | Play::Explored { script, .. } => Some(script),
        Play::Resume(taken) => taken.script.as_ref(),
        Play::Live { .. } | Play::Replay(_) => None,
    };
    let lines = match (script, play) {
        (Some(script), _) => Lines::Script(script.clone()),
        (None, Play::Live { .. } | Play::Resume(_)) if asks_servers(&scenario.plan) => {
            Lines::Http(Arc::new(HttpTransport::new().map_err(Refusal::configuration)?))
        }
        // Reading the system's certificates takes a while, and they need not be there.
        (None, _) => Lines::Http(Arc::new(Nobody)),
    };
    let workspace = Workspace::prepare(&site.workspace, site.start).map_err(Refusal::configuration)?;
    let tools = ToolWorkspace::open(&site.workspace, scrubber.clone()).map_err(Refusal::configuration)?;
    Ok((workspace, modules_in(scenario, tools, lines)))
}

/// The modules of a scenario that work in this folder.
pub(super) fn modules_in(scenario: &Scenario, tools: ToolWorkspace, lines: Lines) -> Modules {
    let mut modules = Modules::new(&scenario.plan.root, scenario.variables.clone(), Arc::new(tools), lines)
        .with_registry(scenario.registry.clone());
    for (path, text) in &scenario.scripts {
        modules = modules.with_script(path.clone(), text.clone());
    }
    modules
}

/// What the roles' modules say of themselves before anything runs.
pub(super) struct Parts {
    /// `provider-…/model` by role.
    pub(super) models: BTreeMap<RoleId, String>,
    notices: Vec<String>,
}

/// Builds what can be built before anything is spent: every role's provider and tools.
pub(super) fn check_parts(modules: &Modules, plan: &Plan) -> Granted<Parts> {
    let mut parts = Parts { models: BTreeMap::new(), notices: Vec::new() };
    let mut wrong = Vec::new();
    for role in plan.roles.values() {
        match modules.model_of(role) {
            Ok(model) => {
                parts.models.insert(role.id.clone(), model);
            }
            Err(error) => {
                let file = shown(&role.mount_plan.file, &plan.root);
                wrong.push(format!("role {} ({file}): {error}", role.id));
            }
        }
        if let Err(error) = modules.check_hooks(role) {
            let file = shown(&role.mount_plan.file, &plan.root);
            wrong.push(format!("role {} ({file}): {error}", role.id));
        }
        for agent in &role.mount_plan.agents {
            let itself = RolePlan { mount_plan: agent.plan.clone(), ..role.clone() };
            let checked = modules.model_of(&itself).and_then(|_| modules.check_hooks(&itself));
            if let Err(error) = checked {
                let file = shown(&role.mount_plan.file, &plan.root);
                wrong.push(format!("agent {} of role {} ({file}): {error}", agent.name, role.id));
            }
        }
    }
    for checked in [Modules::logging(plan).map(drop), Modules::costing(plan).map(drop)] {
        wrong.extend(checked.err().map(|error| error.to_string()));
    }
    match modules.offstage(plan) {
        Ok(notices) => parts.notices.extend(notices.into_iter().map(|offstage| offstage.notice)),
        Err(error) => wrong.push(error.to_string()),
    }
    if wrong.is_empty() { Ok(parts) } else { Err(invalid(&wrong)) }
}

/// All that is wrong with what a scenario reaches.
pub(super) fn invalid<E: std::fmt::Display>(errors: &[E]) -> Refusal {
    Refusal { exit: Exit::Invalid, text: errors.iter().map(complaint).collect() }
}

/// What a recording of this run will say of itself; in a replay what the recording says.
fn head(scenario: &Scenario, play: &Play, run: &RunId, seed: Option<String>) -> RecordingHead {
    let plan = &scenario.plan;
    let (evidence, epoch, default_seed) = match play {
        Play::Replay(replay) => return replay.recording.head.clone(),
        Play::Resume(taken) => return taken.head(scenario),
        Play::Live { .. } => (Evidence::Recorded, SystemClock::default().now(), Seed::fresh()),
        Play::Scripted { .. } | Play::Explored { .. } => {
            let epoch = SCRIPT_EPOCH.parse().expect("the constant above is a timestamp");
            (Evidence::Scripted, epoch, Seed::new(plan.name.as_str()))
        }
    };
    let given = given(scenario, &scrubber(scenario));
    RecordingHead {
        format: RECORDING_FORMAT,
        scenario: plan.name.clone(),
        evidence,
        run: run.clone(),
        seed: seed.map_or(default_seed, Seed::new),
        epoch,
        models: BTreeMap::new(),
        mcp_tools: BTreeMap::new(),
        prices: plan.prices.clone(),
        inputs: recordable(&given.inputs),
        changes: recordable_changes(&given.changes),
        ended: ENDED_WELL.to_owned(),
    }
}

/// What a recording says of itself that is made of this run, if the run ended well.
pub(super) fn head_of(manifest: &Manifest) -> RecordingHead {
    RecordingHead {
        format: RECORDING_FORMAT,
        scenario: manifest
            .plan
            .get("name")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        evidence: manifest.evidence,
        run: manifest.run.clone(),
        seed: manifest.seed.clone(),
        epoch: manifest.started,
        models: manifest.models.clone(),
        mcp_tools: manifest.mcp_tools.clone(),
        prices: manifest.prices(),
        inputs: recordable(&manifest.given.inputs),
        changes: recordable_changes(&manifest.given.changes),
        ended: ENDED_WELL.to_owned(),
    }
}

/// Inputs as a recording keeps them: one that holds a secret has to be set again.
fn recordable(inputs: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let kept = inputs.iter().filter(|(_, value)| !is_scrubbed(value));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Values that were set, as a recording keeps them: one that holds a secret has to be set again.
fn recordable_changes(changes: &[String]) -> Vec<String> {
    changes.iter().filter(|change| !is_scrubbed(change)).cloned().collect()
}
