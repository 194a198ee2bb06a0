//! `runner run`, `runner record`, `runner replay`: one way, three beginnings.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::arguments::{
    CommonArguments, FailOn, RecordArguments, ReplayArguments, RunArguments, StrictnessChoice,
};
use super::assembly::{self, Beginning, Place};
use super::exit::Exit;
use super::launch::{self, Play, Scenario};
use super::outcome;
use super::people::Terminal;
use super::people::answers;
use super::play::{self, Played};
use super::proof;
use super::refusal::{Granted, Refusal, Told};
use super::rehearsal::rehearse;
use super::signals::Signals;
use super::surroundings::{Surroundings, complain, tell};
use crate::cassette;
use crate::effects::{Replay, Strictness};
use crate::event::{Envelope, Listener, Mode, Recording};
use crate::journal::{self, Record};
use crate::progress::{JsonLines, PlainLines};
use crate::provider::Script;
use crate::session::Stop;
use crate::source::Sources;
use crate::summary::Summary;

/// `runner run FILE`.
pub(super) async fn run(arguments: RunArguments, surroundings: Surroundings) -> Exit {
    let begin = || -> Granted<(Scenario, Play)> {
        let common = match &arguments.replay {
            Some(from) => {
                arguments.overrides.refuse_in_replay("--replay asks none")?;
                launch::as_recorded(&arguments.common, &surroundings, from.as_deref())
            }
            None => arguments.overrides.over(&arguments.common, &surroundings)?,
        };
        let mut scenario = launch::scenario(&common, &surroundings)?;
        scenario.answers = answers(&scenario.plan, &arguments.answer)?;
        let play = match (&arguments.replay, &arguments.record) {
            (Some(from), _) => {
                replayed(from.as_deref(), &scenario, &surroundings, (Strictness::Causal, None))?
            }
            (None, Some(to)) => {
                refuse_in_ci(&surroundings)?;
                Play::Live { record: Some(destination(to.as_deref(), &scenario, &surroundings)?) }
            }
            (None, None) if arguments.live => Play::Live { record: None },
            (None, None) => launch::choose(&scenario, &surroundings)?,
        };
        if matches!(play, Play::Replay(_)) && arguments.replay.is_none() {
            arguments.overrides.refuse_in_replay("this one asks none")?;
            let recorded = launch::as_recorded(&arguments.common, &surroundings, None);
            if recorded.input != common.input || recorded.set != common.set {
                scenario = launch::read(&recorded, &surroundings, Sources::new())?.scenario()?;
            }
        }
        Ok((scenario, play))
    };
    match begin() {
        Ok((scenario, play)) if arguments.overrides.dry_run => {
            rehearse(&scenario, &play, &surroundings, &arguments.common)
        }
        Ok((scenario, play)) => {
            if let Err(refusal) = check_credentials(&scenario, &play) {
                return refusal.tell();
            }
            play_out(&arguments.common, &surroundings, &scenario, play, arguments.seed.clone()).await
        }
        Err(refusal) => refusal.tell(),
    }
}

/// `runner record FILE`.
pub(super) async fn record(arguments: RecordArguments, surroundings: Surroundings) -> Exit {
    let begin = || -> Granted<(Scenario, Play)> {
        refuse_in_ci(&surroundings)?;
        let common = arguments.overrides.over(&arguments.common, &surroundings)?;
        let mut scenario = launch::scenario(&common, &surroundings)?;
        scenario.answers = answers(&scenario.plan, &arguments.answer)?;
        let record = destination(arguments.to.as_deref(), &scenario, &surroundings)?;
        let play = match &arguments.script {
            Some(path) => {
                let script = script(path, &mut scenario, &surroundings)?;
                Play::Scripted { script, record }
            }
            None => Play::Live { record: Some(record) },
        };
        Ok((scenario, play))
    };
    match begin() {
        Ok((scenario, play)) if arguments.overrides.dry_run => {
            rehearse(&scenario, &play, &surroundings, &arguments.common)
        }
        Ok((scenario, play)) => {
            if let Err(refusal) = check_credentials(&scenario, &play) {
                return refusal.tell();
            }
            play_out(&arguments.common, &surroundings, &scenario, play, arguments.seed.clone()).await
        }
        Err(refusal) => refusal.tell(),
    }
}

/// `runner replay FILE`.
pub(super) async fn replay(arguments: ReplayArguments, surroundings: Surroundings) -> Exit {
    let strictness = match arguments.strictness {
        StrictnessChoice::Causal => Strictness::Causal,
        StrictnessChoice::Total => Strictness::Total,
    };
    let begin = || -> Granted<(Scenario, Play)> {
        let common = launch::as_recorded(&arguments.common, &surroundings, arguments.from.as_deref());
        let scenario = launch::scenario(&common, &surroundings)?;
        let how = (strictness, arguments.jitter);
        let play = replayed(arguments.from.as_deref(), &scenario, &surroundings, how)?;
        Ok((scenario, play))
    };
    match begin() {
        Ok((scenario, play)) => play_out(&arguments.common, &surroundings, &scenario, play, None).await,
        Err(refusal) => refusal.tell(),
    }
}

/// Whoever asks models needs their credentials.
fn check_credentials(scenario: &Scenario, play: &Play) -> Granted<()> {
    if matches!(play, Play::Live { .. }) { launch::require_credentials(scenario) } else { Ok(()) }
}

fn replayed(
    from: Option<&Path>,
    scenario: &Scenario,
    surroundings: &Surroundings,
    (strictness, jitter): (Strictness, Option<u64>),
) -> Granted<Play> {
    let Some(folder) = launch::cassette_folder(from, scenario, surroundings) else {
        return Err(Refusal::new(
            Exit::Divergence,
            "the scenario names no recording; add `replay: {cassette: …}` to it, or name one with --from DIR (runner replay) or --replay=DIR (runner run)",
        ));
    };
    let recording = launch::recording(&folder)?;
    Ok(Play::Replay(Box::new(Replay { jitter, ..Replay::of(recording, strictness) })))
}

/// Recordings are made on purpose, by a person who looks at them.
pub(super) fn refuse_in_ci(surroundings: &Surroundings) -> Granted<()> {
    if !surroundings.is_ci() {
        return Ok(());
    }
    Err(Refusal::invalid(
        "recording is refused when CI is set: record on your machine, look at the change and commit it",
    ))
}

fn destination(to: Option<&Path>, scenario: &Scenario, surroundings: &Surroundings) -> Granted<PathBuf> {
    let Some(folder) = launch::cassette_folder(to, scenario, surroundings) else {
        return Err(Refusal::invalid(
            "the scenario does not say where its recording belongs; add `replay: {cassette: …}` to it, or name a folder with --to DIR (runner record) or --record=DIR (runner run)",
        ));
    };
    cassette::check_place(&folder).map_err(Refusal::configuration)?;
    Ok(folder)
}

/// Reads a script; its text belongs to what the run is made of.
pub(super) fn script(
    path: &Path,
    scenario: &mut Scenario,
    surroundings: &Surroundings,
) -> Granted<Arc<Script>> {
    let file = surroundings.working_dir.join(path);
    let source = scenario
        .sources
        .read(&file, path)
        .map_err(|error| Refusal::invalid(format!("cannot use the script: {error}")))?;
    scenario.given.script = Some(file);
    script_of(path, scenario.sources.text(source))
}

pub(super) fn script_of(path: &Path, text: &str) -> Granted<Arc<Script>> {
    Script::from_text(&path.display().to_string(), text).map(Arc::new).map_err(Refusal::invalid)
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
            return Refusal::configuration(format!("cannot listen for signals: {error}")).tell();
        }
    };
    let terminal = Terminal::find(surroundings.is_ci(), common.json);
    let beginning = Beginning { play, seed, place: Place::Scenario, listeners, terminal, stop };
    let ready = match assembly::prepare(scenario, beginning).await {
        Ok(ready) => ready,
        Err(refusal) => return refusal.tell(),
    };
    if let (Some(resumed), Ok(mut summary)) = (&ready.resumed, summary.lock()) {
        resumed.record.events.iter().for_each(|event| summary.heard(event));
    }
    let course = if ready.resumed.is_some() { Course::Broken } else { Course::Whole };
    let played = match play::play(ready, scenario, common.fail_on, Some(signals)).await {
        Ok(played) => played,
        Err(refusal) => return refusal.tell(),
    };
    let Played { end, exit, lost, run, folder, mut head, record, mode, workspace, .. } = played;
    outcome::exit(&end, None, FailOn::Phase).name().clone_into(&mut head.ended);
    if !common.json {
        let tables = summary.lock().expect("the summary does not panic").render();
        if !tables.is_empty() {
            surroundings.print(&format!("\n{tables}\n"));
        }
        let told = if mode == Mode::Replay { "REPLAY, nothing was asked of a model; " } else { "" };
        tell(&format!(
            "{told}run folder: {}, workspace: {}\n",
            launch::shown(folder.path(), &scenario.plan.root),
            launch::shown(workspace.path(), &scenario.plan.root)
        ));
    }
    tell(&outcome::failure(&end, scenario, surroundings.look()));
    if let Some(error) = lost.as_ref().filter(|_| end.halt.is_none()) {
        complain(&error.to_string());
    }
    let unfit = outcome::unfit_for_recording(&end).or(lost.map(|_| "whose journal is incomplete"));
    let exit = match (record, unfit) {
        (Some(to), None) => save(&folder, (head, course), &to, scenario).await.unwrap_or(exit),
        (Some(_), Some(why)) => {
            tell(&format!("no recording is kept of a run {why}\n"));
            exit
        }
        (None, _) => exit,
    };
    for fault in scenario.faults.left() {
        tell(&format!("note: the fault {fault} never came: the run has no such effect\n"));
    }
    if exit == Exit::Paused {
        tell(&format!("answer it: runner approve {run}, or runner reject {run}\n"));
    }
    if mode == Mode::Live && may_go_on(exit) {
        tell(&format!("go on with it: runner resume {run}\n"));
    }
    if exit == Exit::Ok { exit } else { exit.tell() }
}

/// Whether something of a run is left to do that ended so.
pub(super) fn may_go_on(exit: Exit) -> bool {
    match exit {
        Exit::Ok | Exit::Invalid | Exit::Divergence | Exit::Expectation | Exit::IssuesLeft => false,
        Exit::Failed
        | Exit::Configuration
        | Exit::Paused
        | Exit::Budget
        | Exit::Bug
        | Exit::Interrupted
        | Exit::Terminated => true,
    }
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// In one go.
    Whole,
    /// It was stopped or killed in between, or has taken its beginning from another run.
    Broken,
}

/// Makes a cassette of the run's journal. `Some` is the exit code of a failure.
async fn save(
    folder: &journal::RunFolder,
    (head, course): (crate::event::RecordingHead, Course),
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
    if course == Course::Broken {
        match proof::unplayable(scenario, &recording).await {
            Ok(None) => {}
            Ok(Some(why)) => {
                tell(&format!("no recording is kept: {NOT_AGAIN}\n{why}"));
                return Some(Exit::Failed);
            }
            Err(refusal) => return Some(refusal.complain()),
        }
    }
    keep(&recording, to, &launch::shown(to, &scenario.plan.root)).err()
}

/// Why a run that went on after a break may be one that no recording can be made of.
pub(super) const NOT_AGAIN: &str =
    "the run did not go through in one go, and what it did cannot be played again";

/// Writes a recording, and tells of it.
pub(super) fn keep(recording: &Recording, to: &Path, shown: &str) -> Told<()> {
    if let Err(error) = cassette::write(recording, to) {
        complain(&error.to_string());
        return Err(Exit::Failed);
    }
    let evidence = recording.head.evidence.as_str();
    tell(&format!("recording: {shown} ({evidence}, {} effects)\n", recording.effects.len()));
    Ok(())
}
