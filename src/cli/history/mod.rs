//! What has happened: `runner runs`, `show`, `logs` and `clean` read the folders of runs, and change nothing of a run.

mod clean;
mod list;
mod logs;
mod show;
mod transcript;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub(super) use clean::{CleanArguments, clean};
pub(super) use list::{RunsArguments, runs};
pub(super) use logs::{LogsArguments, logs};
pub(super) use show::{ShowArguments, show};

use super::exit::Exit;
use super::find_run;
use super::refusal::Told;
use super::run::may_go_on;
use super::surroundings::{Surroundings, complain};
use crate::clock::Timestamp;
use crate::event::{Envelope, Evidence, Happening, Mode};
use crate::journal::{Manifest, holds_lock};
use crate::summary::Summary;

/// A run that was found.
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
}

impl Found {
    /// The project's root.
    pub(super) fn root(&self) -> &Path {
        root_of(&self.folder)
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.folder.join("journal.jsonl")
    }

    pub(super) fn is_running(&self) -> bool {
        holds_lock(self.root(), &self.manifest.run) == Some(true)
    }
}

/// The project's root of a run's folder, which is `ROOT/.runner/runs/ID`.
fn root_of(folder: &Path) -> &Path {
    folder.ancestors().nth(3).unwrap_or(Path::new(""))
}

/// The run that is meant; the last one if none is named.
pub(super) fn which(surroundings: &Surroundings, name: Option<&str>) -> Told<Found> {
    let folder = find_run::runs_folder(&surroundings.working_dir)
        .and_then(|runs| find_run::find(&runs, name))
        .map_err(|error| refused(Exit::Invalid, &error))?;
    let manifest = Manifest::read(&folder).map_err(|error| refused(Exit::Failed, &error))?;
    Ok(Found { folder, manifest })
}

pub(super) fn refused(exit: Exit, error: &dyn std::fmt::Display) -> Exit {
    complain(&error.to_string());
    exit
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Its process lives.
    Running,
    /// It came to an end of this name and exit code.
    Ended(String, u8),
    /// Its process ended without saying how.
    Killed,
}

impl State {
    fn name(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::Ended(name, _) => name,
            Self::Killed => "killed",
        }
    }
}

/// A run at a glance.
struct Glance {
    manifest: Manifest,
    state: State,
    summary: Summary,
    /// Between its first event and its last, in its own time.
    seconds: f64,
    /// Why no recording can be made of it, as far as its events tell.
    unfit: Option<String>,
}

impl Glance {
    fn of(found: &Found, events: &[Envelope]) -> Self {
        let mut summary = Summary::default();
        events.iter().for_each(|event| summary.heard(event));
        let seconds = match (events.first(), events.last()) {
            (Some(first), Some(last)) => last.ts.duration_since(first.ts).as_secs_f64(),
            _ => 0.0,
        };
        // Looked at last: a run that ended while its journal was read is not taken for a killed one.
        let state = if found.is_running() { State::Running } else { end_of(events) };
        let unfit = events.iter().rev().find_map(|event| match &event.event {
            Happening::RunStarted { unfit, .. } | Happening::RunFinished { unfit, .. } => unfit.clone(),
            _ => None,
        });
        Self { manifest: found.manifest.clone(), state, summary, seconds, unfit }
    }

    /// When it began in the world: a replay and a scripted run live in another time.
    fn when(&self) -> Timestamp {
        let made = self.manifest.run.made_at().and_then(|seconds| i64::try_from(seconds).ok());
        made.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(self.manifest.started)
    }

    fn evidence(&self) -> &'static str {
        match (self.manifest.mode, self.manifest.evidence) {
            (Mode::Replay, _) => "replay",
            (Mode::Live, Evidence::Scripted) => "scripted",
            (Mode::Live, _) => "live",
        }
    }

    /// Whether `runner resume` takes it up.
    fn may_go_on(&self) -> bool {
        self.manifest.mode == Mode::Live
            && match &self.state {
                State::Running => false,
                State::Ended(_, code) => may_go_on(Exit::from_code(*code)),
                State::Killed => true,
            }
    }

    fn scenario(&self) -> &str {
        self.manifest.plan.get("name").and_then(Value::as_str).unwrap_or("-")
    }

    fn to_json(&self) -> Value {
        let spent = self.summary.spent();
        let exit_code = match &self.state {
            State::Ended(_, code) => Some(*code),
            State::Running | State::Killed => None,
        };
        json!({
            "run": self.manifest.run, "scenario": self.scenario(), "file": self.manifest.scenario,
            "when": self.when(), "seconds": self.seconds, "evidence": self.evidence(),
            "outcome": self.state.name(), "exit_code": exit_code, "turns": spent.turns,
            "tokens": spent.tokens, "cost_usd": spent.cost.known(), "unpriced_calls": spent.cost.unpriced,
            "running": self.state == State::Running,
        })
    }
}

/// How a run ended that is not running.
fn end_of(events: &[Envelope]) -> State {
    let last = events.iter().rev().find_map(|event| match &event.event {
        Happening::RunFinished { outcome, exit_code, .. } => Some(State::Ended(outcome.clone(), *exit_code)),
        Happening::RunResumed { .. } | Happening::RunForked { .. } => Some(State::Killed),
        _ => None,
    });
    last.unwrap_or(State::Killed)
}

/// A moment as people read it.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
