//! How a scenario on disk becomes a run that can begin: loaded, its mode decided, its folders made, its parts put together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::arguments::CommonArguments;
use super::exit::Exit;
use super::surroundings::{Surroundings, complain, tell};
use crate::cassette;
use crate::clock::{ManualClock, SystemClock, Timestamp};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::effects::{Effects, Replay, Setup as GateSetup, Strictness, Time};
use crate::engine::{self, Workspace};
use crate::event::{Evidence, Hub, Listener, Mode, RECORDING_FORMAT, Recording, RecordingHead};
use crate::http::{HttpTransport, Nobody};
use crate::id::{RoleId, RunId, Seed};
use crate::journal::{Journal, Manifest, RunFolder};
use crate::mount_plan::read_env_file;
use crate::plan::{Plan, ReplayWhen, Variables, WorkspaceStart};
use crate::provider::Script;
use crate::scenario::{LoadRequest, load};
use crate::secret::{Scrubber, Secret};
use crate::session::{Budget, Commands, FileOrder, Lines, Modules, Stage, Stop, Validators};
use crate::source::Sources;
use crate::store::SqliteStore;
use crate::template::Templates;
use crate::tool::workspace::Workspace as ToolWorkspace;

/// A failure that was told already; what is left is the exit code.
pub(super) type Told<T> = Result<T, Exit>;

/// A scenario that may run.
pub(super) struct Scenario {
    pub(super) plan: Arc<Plan>,
    pub(super) sources: Sources,
    pub(super) variables: Variables,
}

/// Where the replies come from, and where they go.
pub(super) enum Play {
    /// From models.
    Live {
        /// Where a recording goes.
        record: Option<PathBuf>,
    },
    /// From a script behind the mount plans' own providers.
    Scripted {
        /// The script.
        script: Arc<Script>,
        /// Where the recording goes.
        record: PathBuf,
    },
    /// From a recording.
    Replay {
        /// The recording.
        recording: Box<Recording>,
        /// How much of its order is enforced.
        strictness: Strictness,
        /// How its schedule is disturbed.
        jitter: Option<u64>,
    },
}

/// Time begins here in a scripted run, so that the same script records the same cassette.
const SCRIPT_EPOCH: &str = "2026-01-01T00:00:00Z";

/// A run that can begin.
pub(super) struct Ready {
    pub(super) setup: engine::Setup,
    pub(super) journal: Journal,
    pub(super) folder: RunFolder,
    pub(super) head: RecordingHead,
    pub(super) record: Option<PathBuf>,
    pub(super) mode: Mode,
    pub(super) workspace: Workspace,
    /// What people should know before it begins.
    pub(super) notices: Vec<String>,
}

/// Loads a scenario, and tells what is wrong with it.
pub(super) fn scenario(common: &CommonArguments, surroundings: &Surroundings) -> Told<Scenario> {
    let mut sources = Sources::new();
    let root_env = surroundings.working_dir.join(&common.file);
    let variables = variables(surroundings, common.env_file.as_deref(), &root_env)?;
    let catalogue = Modules::catalogue();
    let request = LoadRequest {
        file: common.file.clone(),
        working_dir: surroundings.working_dir.clone(),
        home: surroundings.home.clone(),
        inputs: common.input.iter().cloned().collect(),
        variables: &variables,
        catalogue: &catalogue,
        tool_names: Vec::new(),
        workspace: common.workspace.clone(),
    };
    let loaded = load(&request, &mut sources);
    show(&loaded.report, &sources, surroundings, common.json);
    match loaded.plan {
        Some(plan) => Ok(Scenario { plan: Arc::new(plan), sources, variables }),
        None => Err(exit_of(&loaded.report)),
    }
}

/// The exit code of a report with errors: 2 wins over all others.
pub(super) fn exit_of(report: &Report) -> Exit {
    let errors = report.diagnostics().iter().filter(|d| d.severity == crate::diagnostic::Severity::Error);
    Exit::from_code(errors.map(|diagnostic| diagnostic.code.exit_code()).min().unwrap_or(2))
}

/// Shows a report where it belongs: for people on standard error, for programs on standard output.
pub(super) fn show(report: &Report, sources: &Sources, surroundings: &Surroundings, json: bool) {
    if json {
        for object in report.to_json(sources) {
            surroundings.print(&format!("{object}\n"));
        }
    } else {
        tell(&report.render(sources, surroundings.look()));
    }
    if surroundings.is_github() {
        tell(&report.to_github(sources));
    }
}

/// The environment, with what `.env` adds. The file lies in the project root; what is set already stays.
pub(super) fn variables(
    surroundings: &Surroundings,
    named: Option<&Path>,
    scenario: &Path,
) -> Told<Variables> {
    let path = match named {
        Some(path) => surroundings.working_dir.join(path),
        None => crate::scenario::project_root(scenario).join(".env"),
    };
    let mut variables = surroundings.variables.clone();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok(variables);
        }
        Err(error) => {
            complain(&format!("cannot read {}: {error}", path.display()));
            return Err(Exit::Configuration);
        }
    };
    match read_env_file(&text) {
        Ok(more) => {
            for (name, value) in more {
                variables.entry(name).or_insert(value);
            }
            Ok(variables)
        }
        Err(error) => {
            complain(&format!("{}: {error}", path.display()));
            Err(Exit::Configuration)
        }
    }
}

/// Reads a recording.
pub(super) fn recording(folder: &Path) -> Told<Box<Recording>> {
    cassette::read(folder).map(Box::new).map_err(|error| {
        complain(&error.to_string());
        Exit::Divergence
    })
}

/// Where the scenario's recording is: as named, else as the scenario says.
pub(super) fn cassette_folder(
    named: Option<&Path>,
    scenario: &Scenario,
    surroundings: &Surroundings,
) -> Option<PathBuf> {
    match named {
        Some(path) => Some(surroundings.working_dir.join(path)),
        None => scenario.plan.replay.cassette.clone(),
    }
}

/// How `runner FILE` gets its replies when nothing else is said.
pub(super) fn choose(scenario: &Scenario, surroundings: &Surroundings) -> Told<Play> {
    let plan = &scenario.plan;
    let cassette = plan.replay.cassette.as_ref().filter(|folder| folder.is_dir());
    let missing = Modules::missing_credentials(plan, &scenario.variables);
    let replays = match cassette {
        None => false,
        Some(_) if surroundings.is_ci() => true,
        Some(_) => plan.replay.when == ReplayWhen::NoCredentials && !missing.is_empty(),
    };
    if replays {
        let folder = cassette.expect("only a scenario with a recording replays");
        let recording = recording(folder)?;
        let why = match missing.keys().copied().collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => "CI is set".to_owned(),
            names => format!("{names} is not set"),
        };
        let kind = match recording.head.evidence {
            Evidence::Recorded => "a recording",
            Evidence::Rebased => "a rebased recording",
            Evidence::Scripted => "a scripted recording",
        };
        tell(&format!("{why}: REPLAY of {kind}, {}\n", shown(folder, &plan.root)));
        // Somebody looks at this one: in the recorded order every line stands where it stood, with its time.
        return Ok(Play::Replay { recording, strictness: Strictness::Total, jitter: None });
    }
    require_credentials(scenario)?;
    Ok(Play::Live { record: None })
}

/// Ends a live run before it begins when a credential is missing.
pub(super) fn require_credentials(scenario: &Scenario) -> Told<()> {
    let missing = Modules::missing_credentials(&scenario.plan, &scenario.variables);
    if missing.is_empty() {
        return Ok(());
    }
    for (variable, roles) in missing {
        let message =
            format!("{variable} is not set, and without it no model answers for {}", roles.join(", "));
        let cassette = match &scenario.plan.replay.cassette {
            Some(folder) if folder.is_dir() => "play its recording with --replay".to_owned(),
            Some(folder) => format!(
                "make a recording that can be played without it (there is none at {} yet)",
                shown(folder, &scenario.plan.root)
            ),
            None => "name a recording under `replay` in the scenario".to_owned(),
        };
        let help = format!(
            "set {variable} in the environment or in {}, or {cassette}",
            shown(&scenario.plan.root.join(".env"), &scenario.plan.root)
        );
        let mut report = Report::new();
        report.push(Diagnostic::error(Code::MissingCredential, message).help(help));
        tell(&report.render(&scenario.sources, crate::diagnostic::Look::Plain));
    }
    Err(Exit::Configuration)
}

/// A path for people: relative to the root where it lies below it.
pub(super) fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Puts the parts together, and makes the folders once nothing else can be wrong. What the last run left in a fresh
/// workspace goes last of all.
pub(super) fn prepare(
    scenario: &Scenario,
    play: Play,
    seed: Option<String>,
    listeners: Vec<Box<dyn Listener>>,
    stop: Stop,
) -> Told<Ready> {
    let plan = &scenario.plan;
    let run = RunId::fresh();
    let site = Site::of(plan, &play, &run);
    let mut head = head(scenario, &play, &run, seed);
    let scrubber = Scrubber::new(&secrets(plan, &scenario.variables));
    let templates = Templates::new(&plan.prompts).map_err(|errors| {
        errors.iter().for_each(|error| complain(&error.to_string()));
        Exit::Invalid
    })?;
    let (workspace, modules) = modules(scenario, &play, &site, &scrubber)?;
    let parts = check_parts(&modules, plan).inspect_err(|_| site.leave())?;
    if site.mode == Mode::Live {
        head.models = parts.models;
    }
    let manifest = Manifest {
        format: RECORDING_FORMAT,
        runner: env!("CARGO_PKG_VERSION").to_owned(),
        run: run.clone(),
        scenario: plan.file.clone(),
        mode: site.mode,
        evidence: head.evidence,
        seed: head.seed.clone(),
        started: head.epoch,
        workspace: site.workspace.clone(),
        plan: scrubber.scrub_json(serde_json::to_value(plan.as_ref()).expect("a plan holds only plain data")),
    };
    let folder = RunFolder::create(&plan.root, &manifest).map_err(|error| configuration(&error))?;
    let (journal, store) = match open(&folder, &workspace, plan, site.mode) {
        Ok(opened) => opened,
        Err(exit) => {
            folder.discard();
            return Err(exit);
        }
    };
    let Site { mode, record, workspace: path, .. } = site;
    let mut listeners = listeners;
    listeners.push(Box::new(journal.clone()));
    let stage = Stage {
        effects: effects(play, &head, &journal, scrubber),
        hub: Hub::new(listeners),
        validators: Validators::default(),
        policies: plan.replay.tools.clone(),
        workspace: path,
        budget: Budget::new(plan.limits),
        files: FileOrder::new(if record.is_some() { Commands::Recorded } else { Commands::Free }),
        stop,
    };
    let setup = engine::Setup {
        plan: plan.clone(),
        run,
        modules: Arc::new(modules),
        store,
        templates,
        stage: Arc::new(stage),
    };
    Ok(Ready { setup, journal, folder, head, record, mode, workspace, notices: parts.notices })
}

/// Where a run works, and what becomes of it.
struct Site {
    mode: Mode,
    /// Where a recording goes.
    record: Option<PathBuf>,
    workspace: PathBuf,
    start: WorkspaceStart,
    /// The folder of the run, if the workspace lies in it.
    private: Option<PathBuf>,
}

impl Site {
    fn of(plan: &Plan, play: &Play, run: &RunId) -> Self {
        let (mode, record) = match play {
            Play::Live { record } => (Mode::Live, record.clone()),
            Play::Scripted { record, .. } => (Mode::Live, Some(record.clone())),
            Play::Replay { .. } => (Mode::Replay, None),
        };
        if mode == Mode::Replay && plan.workspace.start == WorkspaceStart::Keep {
            let folder = plan.root.join(".runner").join("runs").join(run.as_str());
            let workspace = folder.join("workspace");
            Self { mode, record, workspace, start: WorkspaceStart::Fresh, private: Some(folder) }
        } else {
            let workspace = plan.workspace.path.clone();
            Self { mode, record, workspace, start: plan.workspace.start, private: None }
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
    plan.roles.values().any(|role| Modules::provider_of(role).module != crate::provider::mock::INFO.name)
}

/// Takes the workspace, and puts the modules together that work in it.
fn modules(scenario: &Scenario, play: &Play, site: &Site, scrubber: &Scrubber) -> Told<(Workspace, Modules)> {
    let lines = match play {
        Play::Scripted { script, .. } => Lines::Script(script.clone()),
        Play::Live { .. } if asks_servers(&scenario.plan) => {
            Lines::Http(Arc::new(HttpTransport::new().map_err(|error| configuration(&error))?))
        }
        // Reading the system's certificates takes a while, and they need not be there.
        Play::Live { .. } | Play::Replay { .. } => Lines::Http(Arc::new(Nobody)),
    };
    let scripts = mock_scripts(&scenario.plan)?;
    let workspace = Workspace::prepare(&site.workspace, site.start).map_err(|error| configuration(&error))?;
    let tools =
        ToolWorkspace::open(&site.workspace, scrubber.clone()).map_err(|error| configuration(&error))?;
    let mut modules = Modules::new(scenario.variables.clone(), Arc::new(tools), lines);
    for (path, text) in scripts {
        modules = modules.with_script(path, text);
    }
    Ok((workspace, modules))
}

fn effects(play: Play, head: &RecordingHead, journal: &Journal, scrubber: Scrubber) -> Effects {
    Effects::new(GateSetup {
        time: time(&play, head.epoch),
        replay: match play {
            Play::Replay { recording, strictness, jitter } => {
                Some(Replay { recording: *recording, strictness, jitter })
            }
            Play::Live { .. } | Play::Scripted { .. } => None,
        },
        seed: head.seed.clone(),
        journal: Some(journal.clone()),
        scrubber,
        halt: CancellationToken::new(),
    })
}

/// Opens what the run writes to, in a workspace that is emptied first if it is to start fresh.
fn open(
    folder: &RunFolder,
    workspace: &Workspace,
    plan: &Plan,
    mode: Mode,
) -> Told<(Journal, Arc<SqliteStore>)> {
    let journal = Journal::open(&folder.journal()).map_err(|error| configuration(&error))?;
    workspace.clear().map_err(|error| configuration(&error))?;
    let queue = workspace.path().join(&plan.queue.path);
    let store = match mode {
        Mode::Live => SqliteStore::open(&queue),
        // Its queue was empty a moment ago, and playing the recording again makes it again.
        Mode::Replay => SqliteStore::open_repeatable(&queue),
    };
    let store = store.map_err(|error| configuration(&error))?;
    Ok((journal, store))
}

/// What the roles' modules say of themselves before anything runs.
struct Parts {
    models: std::collections::BTreeMap<RoleId, String>,
    notices: Vec<String>,
}

/// Builds what can be built before anything is spent: every role's provider and tools.
fn check_parts(modules: &Modules, plan: &Plan) -> Told<Parts> {
    let mut parts = Parts { models: std::collections::BTreeMap::new(), notices: Vec::new() };
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
    }
    match modules.offstage(plan) {
        Ok(notices) => parts.notices.extend(notices.into_iter().map(|offstage| offstage.notice)),
        Err(error) => wrong.push(error.to_string()),
    }
    wrong.iter().for_each(|error| complain(error));
    if wrong.is_empty() { Ok(parts) } else { Err(Exit::Invalid) }
}

fn configuration(error: &dyn std::fmt::Display) -> Exit {
    complain(&error.to_string());
    Exit::Configuration
}

fn time(play: &Play, epoch: Timestamp) -> Time {
    match play {
        Play::Live { .. } => Time::Real(Arc::new(SystemClock::default())),
        Play::Scripted { .. } | Play::Replay { .. } => Time::Virtual(Arc::new(ManualClock::new(epoch))),
    }
}

/// What a recording of this run will say of itself; in a replay what the recording says.
fn head(scenario: &Scenario, play: &Play, run: &RunId, seed: Option<String>) -> RecordingHead {
    use crate::clock::Clock;
    let plan = &scenario.plan;
    let (evidence, epoch, default_seed) = match play {
        Play::Replay { recording, .. } => return recording.head.clone(),
        Play::Live { .. } => (Evidence::Recorded, SystemClock::default().now(), Seed::fresh()),
        Play::Scripted { .. } => {
            let epoch = SCRIPT_EPOCH.parse().expect("the constant above is a timestamp");
            (Evidence::Scripted, epoch, Seed::new(plan.name.as_str()))
        }
    };
    RecordingHead {
        format: RECORDING_FORMAT,
        scenario: plan.name.clone(),
        evidence,
        run: run.clone(),
        seed: seed.map_or(default_seed, Seed::new),
        epoch,
        models: std::collections::BTreeMap::new(),
    }
}

/// Credentials: those the providers use, whether a variable or a mount plan holds them, and whatever else the environment
/// holds that looks like one.
fn secrets(plan: &Plan, variables: &Variables) -> Vec<(String, Secret)> {
    let mut secrets = Scrubber::credentials_in(variables);
    for info in Modules::catalogue() {
        let Some(credential) = info.credential else { continue };
        let specs = plan.roles.values().flat_map(|role| &role.mount_plan.providers);
        let values = specs
            .filter(|spec| spec.module == info.name)
            .filter_map(|spec| spec.config.get(credential.key)?.as_str())
            .chain(variables.get(credential.variable).map(String::as_str));
        for value in values.map(str::trim).filter(|value| !value.is_empty()) {
            secrets.push((credential.variable.to_owned(), Secret::new(value.to_owned())));
        }
    }
    secrets
}

/// The texts of scripts that mount plans name for `provider-mock`.
fn mock_scripts(plan: &Plan) -> Told<Vec<(String, String)>> {
    let mut scripts = Vec::new();
    for role in plan.roles.values() {
        let spec = Modules::provider_of(role);
        let Some(path) = spec.config.get("script").and_then(serde_json::Value::as_str) else { continue };
        if spec.module != crate::provider::mock::INFO.name {
            continue;
        }
        let text = std::fs::read_to_string(plan.root.join(path)).map_err(|error| {
            complain(&format!("cannot read the script {path} of role {}: {error}", role.id));
            Exit::Invalid
        })?;
        scripts.push((path.to_owned(), text));
    }
    Ok(scripts)
}
