//! How a scenario on disk becomes something that can be run: loaded, and where its replies come from decided.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::CommonArguments;
use super::assembly::Taken;
use super::exit::Exit;
use super::refusal::{Granted, Refusal};
use super::surroundings::{Surroundings, tell};
use crate::cassette;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::effects::{Replay, Schedule, Strictness};
use crate::event::{Decision, Evidence, Recording};
use crate::fault::Faults;
use crate::journal::Given;
use crate::mount_plan::read_env_file;
use crate::plan::{Plan, ReplayWhen, Variables};
use crate::provider::Script;
use crate::scenario::{LoadRequest, input_variable, load, project_root};
use crate::session::Registry;
use crate::source::{Change, Sources};

/// A scenario that may run.
pub(super) struct Scenario {
    pub(super) plan: Arc<Plan>,
    pub(super) sources: Sources,
    pub(super) variables: Variables,
    /// What it was given on the command line.
    pub(super) given: Given,
    /// The texts of scripts that mount plans name for `provider-mock`.
    pub(super) scripts: Vec<(String, String)>,
    /// What goes wrong on purpose.
    pub(super) faults: Arc<Faults>,
    /// Answers to phases that ask for approval.
    pub(super) answers: BTreeMap<String, Decision>,
    /// The modules that its mount plans may name.
    pub(super) registry: Registry,
}

impl Scenario {
    /// The files that it is made of, without secrets.
    pub(super) fn texts(&self, scrubber: &crate::secret::Scrubber) -> BTreeMap<PathBuf, String> {
        let files = self.sources.read_files();
        files.map(|(file, text)| (file.to_owned(), scrubber.scrub(text))).collect()
    }
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
    /// From a script, while a schedule decides who goes on; in the run's folder.
    Explored {
        /// The script.
        script: Arc<Script>,
        /// Who goes on.
        schedule: Schedule,
    },
    /// From a recording.
    Replay(Box<Replay>),
    /// From the run's own journal as far as it goes, then as it began.
    Resume(Box<Taken>),
}

/// Loads a scenario, and tells what is wrong with it.
pub(super) fn scenario(common: &CommonArguments, surroundings: &Surroundings) -> Granted<Scenario> {
    scenario_of(common, surroundings, Sources::new())
}

/// The same, of texts that may stand for the files.
pub(super) fn scenario_of(
    common: &CommonArguments,
    surroundings: &Surroundings,
    sources: Sources,
) -> Granted<Scenario> {
    let loaded = read(common, surroundings, sources)?;
    show(&loaded.report, &loaded.sources, surroundings, common.json);
    if !common.json {
        tell(&loaded.report.pointer());
    }
    loaded.scenario()
}

/// A scenario that was read, whether or not it may run.
pub(super) struct Loaded {
    pub(super) report: Report,
    pub(super) plan: Option<Plan>,
    pub(super) sources: Sources,
    pub(super) variables: Variables,
    given: Given,
    faults: Arc<Faults>,
    registry: Registry,
}

impl Loaded {
    /// The scenario, unless its report has errors, which are for the caller to show.
    pub(super) fn scenario(self) -> Granted<Scenario> {
        let Self { report, plan, mut sources, variables, given, faults, registry } = self;
        let plan = plan.ok_or_else(|| Refusal { exit: exit_of(&report), text: String::new() })?;
        let scripts = mock_scripts(&plan, &mut sources)?;
        let answers = BTreeMap::new();
        Ok(Scenario { plan: Arc::new(plan), sources, variables, given, scripts, faults, answers, registry })
    }
}

/// Reads a scenario and all it reaches, and shows nobody what is wrong with it.
pub(super) fn read(
    common: &CommonArguments,
    surroundings: &Surroundings,
    mut sources: Sources,
) -> Granted<Loaded> {
    let root_env = surroundings.working_dir.join(&common.file);
    let variables = variables(surroundings, common.env_file.as_deref(), &root_env)?;
    let inputs = inputs(common, surroundings, &mut sources)?;
    let mut given = Given {
        working_dir: surroundings.working_dir.clone(),
        file: common.file.clone(),
        inputs: inputs.clone(),
        changes: common.set.iter().map(ToString::to_string).collect(),
        env_file: common.env_file.clone(),
        workspace: common.workspace.clone(),
        script: None,
    };
    let request = LoadRequest {
        file: common.file.clone(),
        working_dir: surroundings.working_dir.clone(),
        home: surroundings.home.clone(),
        inputs,
        variables: &variables,
        catalogue: &surroundings.registry.catalogue(),
        tool_names: Vec::new(),
        changes: common.set.clone(),
        workspace: common.workspace.clone(),
    };
    let loaded = load(&request, &mut sources);
    // What a variable sets is as much part of the run as what an argument does.
    for id in loaded.plan.iter().flat_map(|plan| plan.inputs.keys()) {
        if let Some(value) = variables.get(&input_variable(id)) {
            given.inputs.entry(id.clone()).or_insert_with(|| value.clone());
        }
    }
    let faults = Arc::new(Faults::new(common.fault.clone()));
    let registry = surroundings.registry.clone();
    let (report, plan) = (loaded.report, loaded.plan);
    Ok(Loaded { report, plan, sources, variables, given, faults, registry })
}

/// The inputs that the command line sets: those of `--input-file`, and those of `-i` in place of them.
fn inputs(
    common: &CommonArguments,
    surroundings: &Surroundings,
    sources: &mut Sources,
) -> Granted<BTreeMap<String, String>> {
    let mut inputs = BTreeMap::new();
    if let Some(path) = &common.input_file {
        let wrong = |why: String| Refusal::invalid(format!("cannot use {}: {why}", path.display()));
        let file = surroundings.working_dir.join(path);
        let source = sources.read(&file, path).map_err(|error| wrong(error.to_string()))?;
        let tree = sources.parse(source).map_err(|errors| {
            wrong(errors.first().map_or_else(String::new, |error| error.message.clone()))
        })?;
        let entries = tree.as_map().ok_or_else(|| wrong("it is no map of inputs to values".to_owned()))?;
        for entry in entries {
            let value = match entry.value.as_text() {
                Some(text) => text.to_owned(),
                None => entry.value.to_json().to_string(),
            };
            inputs.insert(entry.key.clone(), value);
        }
    }
    inputs.extend(common.input.iter().cloned());
    Ok(inputs)
}

/// The arguments with those inputs that a scenario's recording was made with and that nobody sets now, and with the values
/// that were set for it. What is wrong with the file or its recording is for others to tell.
pub(super) fn as_recorded(
    common: &CommonArguments,
    surroundings: &Surroundings,
    named: Option<&Path>,
) -> CommonArguments {
    let mut common = common.clone();
    let file = surroundings.working_dir.join(&common.file);
    let recorded = || {
        let mut sources = Sources::new();
        let source = sources.read(&file, &common.file).ok()?;
        let tree = sources.parse(source).ok()?;
        let written = || tree.get("replay")?.get("cassette")?.as_text().map(ToOwned::to_owned);
        let folder = match named {
            Some(folder) => surroundings.working_dir.join(folder),
            None => project_root(&file).join(written()?),
        };
        let is_open = |id: &String| {
            let is_set = common.input.iter().any(|(name, _)| name == id)
                || surroundings.variables.contains_key(&input_variable(id));
            !is_set && tree.get("inputs").is_some_and(|inputs| inputs.get(id).is_some())
        };
        let head = cassette::read_head(&folder).ok()?;
        let inputs = head.inputs.into_iter().filter(|(id, _)| is_open(id)).collect::<Vec<_>>();
        let changes = head.changes.iter().filter_map(|text| text.parse::<Change>().ok());
        Some((inputs, changes.collect::<Vec<_>>()))
    };
    let (inputs, changes) = recorded().unwrap_or_default();
    common.input.extend(inputs);
    // What is set now is set last.
    common.set.splice(0..0, changes);
    common
}

/// The texts of scripts that mount plans name for `provider-mock`.
fn mock_scripts(plan: &Plan, sources: &mut Sources) -> Granted<Vec<(String, String)>> {
    let mut scripts = Vec::new();
    let roles = plan.roles.values();
    for (role, spec) in
        roles.flat_map(|role| role.mount_plan.and_agents().map(move |plan| (role, plan.provider())))
    {
        let Some(path) = spec.config.get("script").and_then(serde_json::Value::as_str) else { continue };
        if spec.module != crate::provider::mock::INFO.name {
            continue;
        }
        let source = sources.read(&plan.root.join(path), Path::new(path)).map_err(|error| {
            Refusal::invalid(format!("cannot use the script of role {}: {error}", role.id))
        })?;
        scripts.push((path.to_owned(), sources.text(source).to_owned()));
    }
    Ok(scripts)
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
fn variables(surroundings: &Surroundings, named: Option<&Path>, scenario: &Path) -> Granted<Variables> {
    let path = match named {
        Some(path) => surroundings.working_dir.join(path),
        None => project_root(scenario).join(".env"),
    };
    let mut variables = surroundings.variables.clone();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok(variables);
        }
        Err(error) => {
            return Err(Refusal::configuration(format!("cannot read {}: {error}", path.display())));
        }
    };
    match read_env_file(&text) {
        Ok(more) => {
            for (name, value) in more {
                variables.entry(name).or_insert(value);
            }
            Ok(variables)
        }
        Err(error) => Err(Refusal::configuration(format!("{}: {error}", path.display()))),
    }
}

/// Reads a recording.
pub(super) fn recording(folder: &Path) -> Granted<Recording> {
    cassette::read(folder).map_err(|error| Refusal::new(Exit::Divergence, error))
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
pub(super) fn choose(scenario: &Scenario, surroundings: &Surroundings) -> Granted<Play> {
    let plan = &scenario.plan;
    let cassette = plan.replay.cassette.as_ref().filter(|folder| folder.is_dir());
    let missing = scenario.registry.missing_credentials(plan, &scenario.variables);
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
        return Ok(Play::Replay(Box::new(Replay::of(recording, Strictness::Total))));
    }
    Ok(Play::Live { record: None })
}

/// Ends a live run before it begins when a credential is missing.
pub(super) fn require_credentials(scenario: &Scenario) -> Granted<()> {
    let missing = scenario.registry.missing_credentials(&scenario.plan, &scenario.variables);
    if missing.is_empty() {
        return Ok(());
    }
    let (mut text, mut pointer) = (String::new(), String::new());
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
        text += &report.render(&scenario.sources, crate::diagnostic::Look::Plain);
        pointer = report.pointer();
    }
    Err(Refusal { exit: Exit::Configuration, text: text + &pointer })
}

/// A path for people: relative to the root where it lies below it.
pub(super) fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
