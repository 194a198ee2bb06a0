//! What becomes of one scenario: its recording played once or twice in folders of its own, and what is wrong then.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::super::find_scenarios::{Found, Named};
use super::failure::{Failure, Kind};
use super::snapshot::{Heard, Names, Pictures, diff, queue_text};
use crate::cli::arguments::{CommonArguments, FailOn, TestStrictness};
use crate::cli::assembly::{self, Beginning, Place};
use crate::cli::exit::Exit;
use crate::cli::launch::{self, Play, Scenario};
use crate::cli::outcome;
use crate::cli::people::Terminal;
use crate::cli::play::{self, Played};
use crate::cli::refusal::Refusal;
use crate::cli::secrets::scrubber;
use crate::cli::surroundings::{Surroundings, complaint};
use crate::clock::Stopwatch;
use crate::effects::{Replay, Strictness};
use crate::engine;
use crate::event::{Envelope, Listener, Recording};
use crate::fault::Faults;
use crate::journal::RunFolder;
use crate::progress::PlainLines;
use crate::session::Stop;
use crate::source::Sources;
use crate::store::Export;
use crate::summary::Summary;

/// Threads of the causal replay: more than the one of the total replay, and the same everywhere.
const THREADS: usize = 4;

/// How scenarios are played.
pub(super) struct How {
    pub(super) surroundings: Surroundings,
    pub(super) input: Vec<(String, String)>,
    pub(super) env_file: Option<PathBuf>,
    pub(super) strictness: TestStrictness,
    pub(super) jitter: u64,
}

/// What became of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed,
    /// It has no recording, and nobody named it.
    NoRecording,
    /// Its turn did not come, or it was stopped.
    NotRun,
}

/// What became of the snapshots of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshots {
    /// Nobody looked.
    Unchecked,
    Equal,
    /// There are none.
    Absent,
    Written,
    Differ,
}

/// A scenario and what became of it.
pub(super) struct Trial {
    pub(super) file: String,
    /// The recording's folder.
    pub(super) recording: Option<PathBuf>,
    /// How the recorded run ended, by the name of its exit code.
    pub(super) ended: Option<String>,
    pub(super) verdict: Verdict,
    pub(super) snapshots: Snapshots,
    pub(super) failures: Vec<Failure>,
    /// What there is to compare.
    pub(super) pictures: Option<Pictures>,
    /// The run folder that stays if something is wrong.
    pub(super) folder: Option<RunFolder>,
    pub(super) time: Duration,
}

/// Why a scenario is not played to the end.
enum Ending {
    Failure(Box<Failure>),
    Stopped,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl Trial {
    pub(super) fn not_run(found: &Found) -> Self {
        Self {
            file: found.shown(),
            recording: None,
            ended: None,
            verdict: Verdict::NotRun,
            snapshots: Snapshots::Unchecked,
            failures: Vec::new(),
            pictures: None,
            folder: None,
            time: Duration::ZERO,
        }
    }

    /// A scenario at which the program broke.
    pub(super) fn broken(found: &Found, what: &str) -> Self {
        let mut trial = Self::not_run(found);
        let text = format!("error: a part of runner broke: {what}; please report it\n");
        trial.fail(Failure::new(Kind::Bug, Exit::Bug, text).at(&found.shown(), 1));
        trial
    }

    /// Plays a scenario; blocks until that is done.
    pub(super) fn of(found: &Found, how: &How, stop: &Stop) -> Self {
        let watch = Stopwatch::start();
        let mut trial = Self::not_run(found);
        match trial.play(found, how, stop) {
            Ok(verdict) => trial.verdict = verdict,
            Err(Ending::Failure(failure)) => trial.fail(*failure),
            Err(Ending::Stopped) => trial.verdict = Verdict::NotRun,
        }
        trial.time = watch.elapsed();
        trial
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.verdict = Verdict::Failed;
        self.failures.push(failure);
    }

    /// Leaves nothing behind of what went well.
    pub(super) fn discard(&mut self) {
        if let Some(folder) = self.folder.take() {
            folder.discard();
        }
    }

    fn play(&mut self, found: &Found, how: &How, stop: &Stop) -> Result<Verdict, Ending> {
        let common = CommonArguments::of_file(&found.file, &how.input, how.env_file.as_deref());
        let common = launch::as_recorded(&common, &how.surroundings, None);
        let refused = |refusal: Refusal| Ending::from(Failure::refused(refusal, &self.file));
        let loaded = launch::read(&common, &how.surroundings, Sources::new()).map_err(refused)?;
        if loaded.plan.is_none() {
            return Err(Failure::file(&loaded.report, &loaded.sources).into());
        }
        let mut scenario = loaded.scenario().map_err(refused)?;
        let place = scenario.plan.replay.cassette.clone();
        let Some(place) = place.filter(|folder| folder.is_dir() || found.named == Named::Itself) else {
            return if found.named == Named::Itself {
                Err(Failure::no_recording(&self.file).into())
            } else {
                Ok(Verdict::NoRecording)
            };
        };
        let recording = launch::recording(&place).map_err(refused)?;
        self.recording = Some(place);
        self.ended = Some(recording.head.ended.clone());
        let wants = |one| how.strictness == TestStrictness::Both || how.strictness == one;
        let mut total = None;
        if wants(TestStrictness::Total) {
            let player = Player { scenario: &scenario, recording: &recording, file: &self.file, stop };
            let replayed = player.replay(Strictness::Total, None)?;
            let scrubber = scrubber(&scenario);
            self.pictures = Some(Pictures::of(&replayed.heard, &replayed.queue, &scrubber));
            self.folder = Some(replayed.folder);
            total = Some(replayed.queue);
        }
        if wants(TestStrictness::Causal) {
            let player = Player { scenario: &scenario, recording: &recording, file: &self.file, stop };
            let replayed = player.replay(Strictness::Causal, Some(how.jitter)).inspect_err(|_| {
                self.pictures = None;
                self.discard();
            })?;
            let differs = total.as_ref().and_then(|total| other_queue(total, &replayed.queue));
            if let Some(diff) = differs {
                self.pictures = None;
                let folder = launch::shown(replayed.folder.path(), &how.surroundings.working_dir);
                let text = format!(
                    "error: played with other threads and a disturbed schedule, the queue ends otherwise\n{diff}"
                );
                let text = scrubber(&scenario).scrub(&text);
                self.discard();
                let failure = Failure::new(Kind::Queue, Exit::Divergence, text).at(&self.file, 1);
                return Err(failure.in_folder(&folder).into());
            }
            replayed.folder.discard();
        }
        if !scenario.plan.faults.is_empty() {
            scenario.faults = Arc::new(Faults::new(scenario.plan.faults.clone()));
            let player = Player { scenario: &scenario, recording: &recording, file: &self.file, stop };
            if let Some(ending) = player.suffer() {
                self.pictures = None;
                self.discard();
                return Err(ending);
            }
        }
        Ok(Verdict::Passed)
    }
}

/// How the queue of another replay of the same differs, if it does.
fn other_queue(total: &Export, causal: &Export) -> Option<String> {
    let names = Names::of(total);
    let (kept, now) = (queue_text(total, &names), queue_text(causal, &names));
    (kept != now).then(|| diff("in the recorded order", "disturbed", &kept, &now))
}

/// Plays a recording.
struct Player<'a> {
    scenario: &'a Scenario,
    recording: &'a Recording,
    file: &'a str,
    stop: &'a Stop,
}

/// A replay that came to the recorded end.
struct Replayed {
    heard: Heard,
    queue: Export,
    folder: RunFolder,
}

impl Player<'_> {
    fn replay(&self, strictness: Strictness, jitter: Option<u64>) -> Result<Replayed, Ending> {
        let broken = |error: &dyn std::fmt::Display| {
            Ending::from(Failure::refused(Refusal::configuration(error), self.file))
        };
        if self.stop.soft.is_cancelled() {
            return Err(Ending::Stopped);
        }
        let runtime = runtime(strictness).map_err(|error| broken(&error))?;
        let (events, summary) = (Page::default(), Arc::new(Mutex::new(Summary::default())));
        let beginning = Beginning {
            play: Play::Replay(Box::new(Replay { jitter, ..Replay::of(self.recording.clone(), strictness) })),
            seed: None,
            place: Place::OwnFolder,
            terminal: Terminal::Nobody,
            listeners: vec![
                Box::new(PlainLines::timeless(Box::new(events.clone()))),
                Box::new(Tables(summary.clone())),
            ],
            stop: self.stop.child(),
        };
        let played = runtime.block_on(async {
            let ready = assembly::prepare(self.scenario, beginning).await?;
            let played = play::play(ready, self.scenario, FailOn::Phase, None).await?;
            let queue = engine::export(&played.store, &played.run).await;
            Ok((played, queue.map_err(Refusal::configuration)))
        });
        runtime.shutdown_background();
        let (played, queue) =
            played.map_err(|refusal: Refusal| Ending::from(Failure::refused(refusal, self.file)))?;
        if self.stop.soft.is_cancelled() {
            played.folder.discard();
            return Err(Ending::Stopped);
        }
        if let Some(failure) = self.verdict(&played, strictness) {
            return Err(failure.into());
        }
        let queue = queue.map_err(|refusal| Ending::from(Failure::refused(refusal, self.file)))?;
        let summary = summary.lock().expect("the summary does not panic").clone();
        let heard = Heard { events: events.text(), summary, exit: played.exit };
        Ok(Replayed { heard, queue, folder: played.folder })
    }

    /// Plays it while what its file says goes wrong: it must come to the recorded end all the same. Why it does not, if so.
    fn suffer(&self) -> Option<Ending> {
        match self.replay(Strictness::Total, None) {
            Ok(replayed) => {
                replayed.folder.discard();
                let left = self.scenario.faults.left();
                let text = left.iter().map(|fault| {
                    complaint(format!("the fault {fault} never came: the recording has no such call"))
                });
                let text: String = text.collect();
                let failure = || Failure::new(Kind::Fault, Exit::Expectation, text.clone()).at(self.file, 1);
                (!text.is_empty()).then(|| failure().into())
            }
            Err(Ending::Failure(failure)) => Some(failure.among_faults().into()),
            Err(Ending::Stopped) => Some(Ending::Stopped),
        }
    }

    /// What is wrong with how it ended.
    fn verdict(&self, played: &Played, strictness: Strictness) -> Option<Failure> {
        let Played { end, exit, lost, folder, .. } = played;
        let recorded = &self.recording.head.ended;
        let is_well = end.halt.is_none() && lost.is_none();
        if is_well && exit.name() == recorded {
            return None;
        }
        let look = crate::diagnostic::Look::Plain;
        let mut text = outcome::failure(end, self.scenario, look).trim_start_matches('\n').to_owned();
        if let Some(error) = lost.as_ref().filter(|_| end.halt.is_none()) {
            text += &crate::cli::surroundings::complaint(error);
        }
        let (kind, exit) = match exit {
            Exit::Divergence => (Kind::Divergence, Exit::Divergence),
            Exit::Bug => (Kind::Bug, Exit::Bug),
            Exit::Configuration => (Kind::Configuration, Exit::Configuration),
            _ if !is_well => (Kind::Configuration, Exit::Failed),
            Exit::Expectation => (Kind::Expectation, Exit::Expectation),
            _ => (Kind::End, Exit::Expectation),
        };
        if is_well && exit == Exit::Expectation {
            text += &format!(
                "the replay ends with {}, the recording ended with {recorded}\n  next: if the change is meant, record again: runner record {}\n",
                played.exit.name(),
                self.file
            );
        }
        if strictness == Strictness::Causal {
            text += "  (played with other threads and a disturbed schedule; see --jitter)\n";
        }
        let mut failure = Failure::new(kind, exit, scrubber(self.scenario).scrub(&text));
        let conditions = outcome::conditions(end);
        failure = if end.halt.is_none() && !conditions.is_empty() {
            failure.annotated(conditions.to_github(&self.scenario.sources))
        } else {
            failure.at(self.file, 1)
        };
        Some(failure.in_folder(&launch::shown(folder.path(), &self.scenario.given.working_dir)))
    }
}

fn runtime(strictness: Strictness) -> std::io::Result<Runtime> {
    match strictness {
        Strictness::Total => Builder::new_current_thread().enable_all().build(),
        Strictness::Causal => Builder::new_multi_thread().worker_threads(THREADS).enable_all().build(),
    }
}

/// A text that a listener writes.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nothing panics while it writes")).into_owned()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nothing panics while it writes").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Folds what happens into the tables.
struct Tables(Arc<Mutex<Summary>>);

impl Listener for Tables {
    fn heard(&self, event: &Envelope) {
        self.0.lock().expect("the summary does not panic").heard(event);
    }
}
