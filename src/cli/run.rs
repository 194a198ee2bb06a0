//! `runner run`, `runner record`, `runner replay`: one way, three beginnings.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::arguments::{CommonArguments, RecordArguments, ReplayArguments, RunArguments, StrictnessChoice};
use super::assembly::{self, Ready, Resumed};
use super::exit::Exit;
use super::launch::{self, Play, Scenario, Told};
use super::outcome;
use super::signals::Signals;
use super::surroundings::{Surroundings, complain, tell};
use crate::cassette;
use crate::effects::Strictness;
use crate::engine::{self, TakeUp};
use crate::event::{Envelope, Evidence, Happening, Listener, Mode, Recording, Whereabouts};
use crate::journal::{self, Durability, Line, Record};
use crate::progress::{JsonLines, PlainLines};
use crate::provider::Script;
use crate::session::Stop;
use crate::summary::Summary;

/// `runner run FILE`.
pub(super) async fn run(arguments: RunArguments, surroundings: Surroundings) -> Exit {
    let begin = || {
        let scenario = launch::scenario(&arguments.common, &surroundings)?;
        let play = match (&arguments.replay, &arguments.record) {
            (Some(from), _) => {
                replayed(from.as_deref(), &scenario, &surroundings, (Strictness::Causal, None))?
            }
            (None, Some(to)) => {
                refuse_in_ci(&surroundings)?;
                launch::require_credentials(&scenario)?;
                Play::Live { record: Some(destination(to.as_deref(), &scenario, &surroundings)?) }
            }
            (None, None) if arguments.live => {
                launch::require_credentials(&scenario)?;
                Play::Live { record: None }
            }
            (None, None) => launch::choose(&scenario, &surroundings)?,
        };
        Ok((scenario, play))
    };
    match begin() {
        Ok((scenario, play)) => {
            play_out(&arguments.common, &surroundings, &scenario, play, arguments.seed.clone()).await
        }
        Err(exit) => told(exit),
    }
}

/// `runner record FILE`.
pub(super) async fn record(arguments: RecordArguments, surroundings: Surroundings) -> Exit {
    let begin = || {
        refuse_in_ci(&surroundings)?;
        let mut scenario = launch::scenario(&arguments.common, &surroundings)?;
        let record = destination(arguments.to.as_deref(), &scenario, &surroundings)?;
        let play = match &arguments.script {
            Some(path) => {
                let script = script(path, &mut scenario, &surroundings)?;
                Play::Scripted { script, record }
            }
            None => {
                launch::require_credentials(&scenario)?;
                Play::Live { record: Some(record) }
            }
        };
        Ok((scenario, play))
    };
    match begin() {
        Ok((scenario, play)) => {
            play_out(&arguments.common, &surroundings, &scenario, play, arguments.seed.clone()).await
        }
        Err(exit) => told(exit),
    }
}

/// `runner replay FILE`.
pub(super) async fn replay(arguments: ReplayArguments, surroundings: Surroundings) -> Exit {
    let strictness = match arguments.strictness {
        StrictnessChoice::Causal => Strictness::Causal,
        StrictnessChoice::Total => Strictness::Total,
    };
    let begin = || {
        let scenario = launch::scenario(&arguments.common, &surroundings)?;
        let how = (strictness, arguments.jitter);
        let play = replayed(arguments.from.as_deref(), &scenario, &surroundings, how)?;
        Ok((scenario, play))
    };
    match begin() {
        Ok((scenario, play)) => play_out(&arguments.common, &surroundings, &scenario, play, None).await,
        Err(exit) => told(exit),
    }
}

pub(super) fn told(exit: Exit) -> Exit {
    tell(&format!("exit {}: {}\n", exit.code(), exit.name()));
    exit
}

fn replayed(
    from: Option<&Path>,
    scenario: &Scenario,
    surroundings: &Surroundings,
    (strictness, jitter): (Strictness, Option<u64>),
) -> Told<Play> {
    let Some(folder) = launch::cassette_folder(from, scenario, surroundings) else {
        complain(
            "the scenario names no recording; add `replay: {cassette: …}` to it, or name one with --from DIR (runner replay) or --replay=DIR (runner run)",
        );
        return Err(Exit::Divergence);
    };
    Ok(Play::Replay { recording: launch::recording(&folder)?, strictness, jitter })
}

/// Recordings are made on purpose, by a person who looks at them.
fn refuse_in_ci(surroundings: &Surroundings) -> Told<()> {
    if !surroundings.is_ci() {
        return Ok(());
    }
    complain("recording is refused when CI is set: record on your machine, look at the change and commit it");
    Err(Exit::Invalid)
}

fn destination(to: Option<&Path>, scenario: &Scenario, surroundings: &Surroundings) -> Told<PathBuf> {
    let Some(folder) = launch::cassette_folder(to, scenario, surroundings) else {
        complain(
            "the scenario does not say where its recording belongs; add `replay: {cassette: …}` to it, or name a folder with --to DIR (runner record) or --record=DIR (runner run)",
        );
        return Err(Exit::Invalid);
    };
    match cassette::check_place(&folder) {
        Ok(()) => Ok(folder),
        Err(error) => {
            complain(&error.to_string());
            Err(Exit::Configuration)
        }
    }
}

/// Reads a script; its text belongs to what the run is made of.
fn script(path: &Path, scenario: &mut Scenario, surroundings: &Surroundings) -> Told<Arc<Script>> {
    let file = surroundings.working_dir.join(path);
    let source = scenario.sources.read(&file, path).map_err(|error| {
        complain(&format!("cannot use the script: {error}"));
        Exit::Invalid
    })?;
    scenario.given.script = Some(file);
    script_of(path, scenario.sources.text(source))
}

pub(super) fn script_of(path: &Path, text: &str) -> Told<Arc<Script>> {
    Script::from_text(&path.display().to_string(), text).map(Arc::new).map_err(|error| {
        complain(&error.to_string());
        Exit::Invalid
    })
}

/// Collects the summary while the run is shown.
struct Collector(Arc<Mutex<Summary>>);

impl Listener for Collector {
    fn heard(&self, event: &Envelope) {
        self.0.lock().expect("the summary does not panic").heard(event);
    }
}

/// Runs from the first event to the exit code.
pub(super) async fn play_out(
    common: &CommonArguments,
    surroundings: &Surroundings,
    scenario: &Scenario,
    play: Play,
    seed: Option<String>,
) -> Exit {
    let summary = Arc::new(Mutex::new(Summary::default()));
    let mut listeners: Vec<Box<dyn Listener>> = vec![Box::new(Collector(summary.clone()))];
    if common.json {
        listeners.push(Box::new(JsonLines::new(Box::new(std::io::stdout()))));
    } else {
        listeners.push(Box::new(PlainLines::new(Box::new(std::io::stderr()))));
    }
    let stop = Stop::default();
    let signals = match Signals::listen(stop.clone()) {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("cannot listen for signals: {error}"));
            return told(Exit::Configuration);
        }
    };
    let ready = match assembly::prepare(scenario, play, seed, listeners, stop) {
        Ok(ready) => ready,
        Err(exit) => return told(exit),
    };
    let begun = match &ready.resumed {
        None => begin(&ready, scenario).await,
        Some(resumed) => {
            if let Ok(mut summary) = summary.lock() {
                resumed.record.events.iter().for_each(|event| summary.heard(event));
            }
            go_on(&ready, resumed, scenario).await
        }
    };
    if let Err(exit) = begun {
        if ready.resumed.is_none() {
            ready.folder.discard();
        }
        return told(exit);
    }
    let Ready { setup, journal, folder, head, record, mode, workspace, .. } = ready;
    let (stage, run) = (setup.stage.clone(), setup.run.clone());
    let (end, signal) = signals.around(engine::run(setup)).await;
    // A run that cannot be looked at afterwards is not a good one, and is not announced as one.
    let lost = journal.sync().await.err();
    let exit = match outcome::exit(&end, signal, common.fail_on) {
        Exit::Ok if lost.is_some() => Exit::Failed,
        exit => exit,
    };
    let shown_folder = launch::shown(folder.path(), &scenario.plan.root);
    let finished = Happening::RunFinished {
        outcome: exit.name().to_owned(),
        exit_code: exit.code(),
        folder: Some(shown_folder.clone()),
    };
    stage.hub.tell(stage.effects.now(), &Whereabouts::default(), finished);
    if !common.json {
        let tables = summary.lock().expect("the summary does not panic").render();
        surroundings.print(&format!("\n{tables}\n"));
        let told = if mode == Mode::Replay { "REPLAY, nothing was asked of a model; " } else { "" };
        tell(&format!(
            "{told}run folder: {shown_folder}, workspace: {}\n",
            shown_workspace(&workspace, scenario)
        ));
    }
    outcome::tell_failure(&end, scenario, surroundings);
    let lost = lost.or(journal.close().err());
    if let Some(error) = lost.as_ref().filter(|_| end.halt.is_none()) {
        complain(&error.to_string());
    }
    let exit = if lost.is_some() && exit == Exit::Ok { Exit::Failed } else { exit };
    let unfit = outcome::unfit_for_recording(&end).or(lost.map(|_| "whose journal is incomplete"));
    let exit = match (record, unfit) {
        (Some(to), None) => save(&folder, head, &to, scenario).unwrap_or(exit),
        (Some(_), Some(why)) => {
            tell(&format!("no recording is kept of a run {why}\n"));
            exit
        }
        (None, _) => exit,
    };
    for fault in stage.faults.left() {
        tell(&format!("note: the fault {fault} never came: the run has no such effect\n"));
    }
    if mode == Mode::Live && may_go_on(exit) {
        tell(&format!("go on with it: runner resume {run}\n"));
    }
    if exit == Exit::Ok { exit } else { told(exit) }
}

/// Whether something of a run is left to do that ended so.
fn may_go_on(exit: Exit) -> bool {
    match exit {
        Exit::Ok | Exit::Invalid | Exit::Divergence | Exit::Expectation | Exit::IssuesLeft => false,
        Exit::Failed
        | Exit::Configuration
        | Exit::Budget
        | Exit::Bug
        | Exit::Interrupted
        | Exit::Terminated => true,
    }
}

fn shown_workspace(workspace: &engine::Workspace, scenario: &Scenario) -> String {
    launch::shown(workspace.path(), &scenario.plan.root)
}

/// A recording begins where its replay will: with an empty queue, and with no files if anybody may read them.
async fn check_beginning(ready: &Ready) -> Told<()> {
    let refuse = |text: String| {
        complain(&text);
        Err(Exit::Configuration)
    };
    let folder = ready.workspace.path().display();
    let remedy = "use `workspace: {path: …, fresh: true}` or another folder with --workspace";
    let found = match engine::begin(&ready.setup).await {
        Ok(found) => found,
        Err(error) => return refuse(error.to_string()),
    };
    if ready.record.is_none() {
        return Ok(());
    }
    if found > 0 {
        return refuse(format!(
            "a recording must begin with an empty queue, as its replay does, but {folder} has {found} issues; {remedy}"
        ));
    }
    let tools = ready.setup.plan.roles.values().flat_map(|role| &role.mount_plan.tools);
    let mut reads_files =
        tools.filter(|tool| matches!(tool.module.as_str(), "tool-filesystem" | "tool-bash"));
    if ready.workspace.beginning() == engine::Beginning::Filled && reads_files.next().is_some() {
        return refuse(format!(
            "a recording must begin with an empty workspace, as its replay does, but {folder} has files in it; {remedy}"
        ));
    }
    Ok(())
}

/// Begins a new run: nothing is wrong with it any more, and people are told.
async fn begin(ready: &Ready, scenario: &Scenario) -> Told<()> {
    check_beginning(ready).await?;
    announce(ready)?;
    let plan = &scenario.plan;
    let sessions: usize = plan.phases.iter().map(|phase| phase.sessions().len()).sum();
    let evidence = evidence(ready);
    let started = Happening::RunStarted {
        run: ready.setup.run.clone(),
        scenario: plan.name.clone(),
        description: plan.description.clone(),
        mode: ready.mode,
        evidence,
        workspace: shown_workspace(&ready.workspace, scenario),
        sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
    };
    tell_all(ready, started);
    Ok(())
}

/// Takes a run up where it was left.
async fn go_on(ready: &Ready, resumed: &Resumed, scenario: &Scenario) -> Told<()> {
    let refuse = |error: &dyn std::fmt::Display| {
        complain(&error.to_string());
        Exit::Configuration
    };
    let (plan, setup) = (&scenario.plan, &ready.setup);
    let at = setup.stage.effects.now();
    let taken = TakeUp { run: &setup.run, record: &resumed.record, queue: &plan.queue, now: at };
    let held_again = engine::take_up(&setup.store, taken).await.map_err(|error| refuse(&error))?;
    let line = Line::Resumed { at, undone: resumed.undone.clone() };
    let written = match ready.journal.append(&line, Durability::Synced) {
        Ok(written) => written.await,
        Err(error) => Err(error),
    };
    written.map_err(|error| refuse(&error))?;
    announce(ready)?;
    let event = Happening::RunResumed {
        run: setup.run.clone(),
        scenario: plan.name.clone(),
        evidence: evidence(ready),
        workspace: shown_workspace(&ready.workspace, scenario),
        effects: resumed.record.effects.len() as u64,
        undone: resumed.undone.len() as u64,
        held_again,
    };
    tell_all(ready, event);
    Ok(())
}

fn announce(ready: &Ready) -> Told<()> {
    ready.folder.announce().map_err(|error| {
        complain(&error.to_string());
        Exit::Configuration
    })
}

/// What made the replies, when it was no model just now.
fn evidence(ready: &Ready) -> Option<Evidence> {
    match (ready.mode, ready.head.evidence) {
        (Mode::Live, Evidence::Recorded) => None,
        (_, evidence) => Some(evidence),
    }
}

fn tell_all(ready: &Ready, beginning: Happening) {
    let stage = &ready.setup.stage;
    let tell = |event| stage.hub.tell(stage.effects.now(), &Whereabouts::default(), event);
    tell(beginning);
    ready.notices.iter().for_each(|text| tell(Happening::Notice { text: text.clone() }));
}

/// Makes a cassette of the run's journal. `Some` is the exit code of a failure.
fn save(
    folder: &journal::RunFolder,
    head: crate::event::RecordingHead,
    to: &Path,
    scenario: &Scenario,
) -> Option<Exit> {
    let lines = match journal::read(&folder.journal()) {
        Ok(lines) => lines,
        Err(error) => {
            complain(&error.to_string());
            return Some(Exit::Failed);
        }
    };
    let Record { effects, texts, .. } = Record::of(lines);
    let recording = Recording { head, effects, texts };
    match cassette::write(&recording, to) {
        Ok(()) => {
            let (evidence, shown) =
                (recording.head.evidence.as_str(), launch::shown(to, &scenario.plan.root));
            tell(&format!("recording: {shown} ({evidence}, {} effects)\n", recording.effects.len()));
            None
        }
        Err(error) => {
            complain(&error.to_string());
            Some(Exit::Failed)
        }
    }
}
