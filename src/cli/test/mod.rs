//! `runner test`: every scenario that has a recording is a test of itself.

mod failure;
mod junit;
mod snapshot;
mod tell;
mod trial;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::{Id, JoinSet};

use super::arguments::{TestArguments, TestStrictness};
use super::exit::Exit;
use super::find_scenarios::{self, Found};
use super::launch::shown;
use super::refusal::{Granted, Refusal};
use super::signals::Signals;
use super::surroundings::{self, Surroundings};
use crate::clock::Stopwatch;
use crate::scenario::project_root;
use crate::secret::Scrubber;
use crate::session::Stop;
use failure::{Failure, Kind};
use snapshot::folder_of;
use tell::Total;
use trial::{How, Snapshots, Trial, Verdict};

/// `runner test`.
pub(super) async fn test(arguments: TestArguments, surroundings: Surroundings) -> Exit {
    match run(&arguments, &surroundings).await {
        Ok(Exit::Ok) => Exit::Ok,
        Ok(exit) => exit.tell(),
        Err(refusal) => refusal.tell(),
    }
}

async fn run(arguments: &TestArguments, surroundings: &Surroundings) -> Granted<Exit> {
    let watch = Stopwatch::start();
    refuse_update(arguments, surroundings)?;
    let found =
        find_scenarios::find(&arguments.paths, arguments.filter.as_deref(), &surroundings.working_dir)
            .map_err(Refusal::invalid)?;
    let tidy = Tidy::before(&found, surroundings);
    let how = How {
        surroundings: surroundings.clone(),
        input: arguments.input.clone(),
        env_file: arguments.env_file.clone(),
        strictness: arguments.strictness,
        jitter: arguments.jitter,
    };
    let stop = Stop::default();
    let signals = Signals::listen(stop.clone())
        .map_err(|error| Refusal::configuration(format!("cannot listen for signals: {error}")))?;
    let scrubber = Scrubber::new(&Scrubber::credentials_in(&surroundings.variables));
    let mut desk = Desk { arguments, surroundings, written: BTreeSet::new(), trials: Vec::new(), scrubber };
    let ((), signal) = signals.around(desk.play_all(found, Arc::new(how), stop)).await;
    tidy.after();
    let trials = desk.trials;
    let mut exits: Vec<_> = trials.iter().flat_map(|trial| &trial.failures).map(|f| f.exit).collect();
    exits.extend(signal);
    let junit =
        arguments.junit.as_ref().map(|to| write_junit(&surroundings.working_dir.join(to), &trials, watch));
    if let Some(Err(refusal)) = &junit {
        surroundings::tell(&refusal.text);
        exits.push(refusal.exit);
    }
    let exit = Exit::gravest(exits);
    let total = Total::of(&trials);
    if arguments.json {
        surroundings.print(&format!("{}\n", total.json(exit)));
    } else {
        let gap = if trials.last().is_some_and(|trial| !trial.failures.is_empty()) { "" } else { "\n" };
        surroundings.print(&format!("{gap}{}", total.line()));
    }
    Ok(exit)
}

/// Snapshots are written on purpose, by a person who looks at them.
fn refuse_update(arguments: &TestArguments, surroundings: &Surroundings) -> Granted<()> {
    if arguments.update && surroundings.is_ci() {
        return Err(Refusal::invalid(
            "--update is refused when CI is set: write the snapshots on your machine, look at the change and commit it",
        ));
    }
    if arguments.update && arguments.strictness == TestStrictness::Causal {
        return Err(Refusal::invalid(
            "--update needs the replay in the recorded order; take --strictness causal away",
        ));
    }
    Ok(())
}

fn write_junit(to: &std::path::Path, trials: &[Trial], watch: Stopwatch) -> Granted<()> {
    let refuse = |error: &dyn std::fmt::Display| {
        Refusal::configuration(format!("cannot write {}: {error}", to.display()))
    };
    let xml = junit::xml(trials, watch.elapsed()).map_err(|error| refuse(&error))?;
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(|error| refuse(&error))?;
    }
    std::fs::write(to, xml).map_err(|error| refuse(&error))
}

/// Where results arrive, are compared and told, in the order of the scenarios.
struct Desk<'a> {
    arguments: &'a TestArguments,
    surroundings: &'a Surroundings,
    /// Folders of snapshots that were written just now: a second scenario of the same recording must give the same.
    written: BTreeSet<PathBuf>,
    trials: Vec<Trial>,
    /// For reports that were made before a scenario's own credentials were known.
    scrubber: Scrubber,
}

impl Desk<'_> {
    async fn play_all(&mut self, found: Vec<Found>, how: Arc<How>, stop: Stop) {
        let jobs = self.arguments.jobs.or_else(|| std::thread::available_parallelism().ok());
        let jobs = jobs.map_or(1, NonZeroUsize::get);
        let mut waiting = found.into_iter().enumerate();
        let mut tasks = JoinSet::new();
        let mut places: HashMap<Id, (usize, Found)> = HashMap::new();
        let mut early: BTreeMap<usize, Trial> = BTreeMap::new();
        loop {
            while tasks.len() < jobs && !self.is_enough(&stop) {
                let Some((at, found)) = waiting.next() else { break };
                let (one, how, stop) = (found.clone(), how.clone(), stop.clone());
                let task = tasks.spawn_blocking(move || Trial::of(&one, &how, &stop));
                places.insert(task.id(), (at, found));
            }
            let Some(joined) = tasks.join_next_with_id().await else { break };
            let (id, trial) = match joined {
                Ok((id, trial)) => (id, Ok(trial)),
                Err(error) => (error.id(), Err(error.to_string())),
            };
            let (at, found) = places.remove(&id).expect("a task is noted when it begins");
            early.insert(at, trial.unwrap_or_else(|error| Trial::broken(&found, &error)));
            while let Some(trial) = early.remove(&self.trials.len()) {
                self.take(trial);
            }
        }
        for (_, found) in waiting {
            self.take(Trial::not_run(&found));
        }
    }

    /// Whether no further scenario begins.
    fn is_enough(&self, stop: &Stop) -> bool {
        let failed = || self.trials.iter().any(|trial| trial.verdict == Verdict::Failed);
        stop.soft.is_cancelled() || (self.arguments.fail_fast && failed())
    }

    fn take(&mut self, mut trial: Trial) {
        if let Some(failure) = self.compare(&mut trial) {
            trial.fail(failure);
        }
        for failure in &mut trial.failures {
            failure.text = self.scrubber.scrub(&failure.text);
            failure.annotations = self.scrubber.scrub(&failure.annotations);
        }
        if trial.verdict == Verdict::Failed {
            drop(trial.folder.take());
        } else {
            trial.discard();
        }
        if self.arguments.json {
            self.surroundings.print(&format!("{}\n", tell::json(&trial, &self.surroundings.working_dir)));
        } else {
            self.surroundings.print(&tell::lines(&trial));
        }
        if self.surroundings.is_github() {
            let annotations = trial.failures.iter().map(|failure| failure.annotations.as_str());
            surroundings::tell(&annotations.collect::<String>());
        }
        self.trials.push(trial);
    }

    /// Compares a scenario's snapshots, or writes them.
    fn compare(&mut self, trial: &mut Trial) -> Option<Failure> {
        let (Verdict::Passed, Some(pictures), Some(recording)) =
            (trial.verdict, &trial.pictures, &trial.recording)
        else {
            return None;
        };
        let folder = folder_of(recording);
        let name = shown(&folder, &self.surroundings.working_dir);
        let unusable = |error: std::io::Error| {
            let refusal = Refusal::configuration(format!("cannot use the snapshots {name}: {error}"));
            Some(Failure::refused(refusal, &trial.file))
        };
        let compared = match pictures.compare(&folder, name.as_ref()) {
            Ok(compared) => compared,
            Err(error) => return unusable(error),
        };
        let is_equal = compared.as_ref().is_some_and(Vec::is_empty);
        if self.arguments.update && !is_equal && self.written.insert(folder.clone()) {
            trial.snapshots = Snapshots::Written;
            return pictures.write(&folder).err().and_then(unusable);
        }
        self.written.insert(folder);
        let Some(differences) = compared else {
            trial.snapshots = Snapshots::Absent;
            return None;
        };
        if is_equal {
            trial.snapshots = Snapshots::Equal;
            return None;
        }
        trial.snapshots = Snapshots::Differ;
        let diffs: String = differences.iter().map(|difference| difference.diff.as_str()).collect();
        let text = format!(
            "error: the snapshots differ\n{diffs}  next: if the change is meant, write them again: runner test {} --update\n",
            trial.file
        );
        let mut failure = Failure::new(Kind::Snapshot, Exit::Expectation, text);
        for difference in &differences {
            let file = difference.file.display().to_string();
            failure = failure.at(&file, difference.line);
        }
        let kept = trial.folder.as_ref().map(|folder| shown(folder.path(), &self.surroundings.working_dir));
        Some(match kept {
            Some(kept) => failure.in_folder(&kept),
            None => failure,
        })
    }
}

/// The folders `.runner` that are not there yet: what is empty of them in the end goes again.
pub(super) struct Tidy(BTreeSet<PathBuf>);

impl Tidy {
    fn before(found: &[Found], surroundings: &Surroundings) -> Self {
        Self::of(found.iter().map(|found| project_root(&surroundings.working_dir.join(&found.file))))
    }

    /// Those of these projects.
    pub(super) fn of(roots: impl Iterator<Item = PathBuf>) -> Self {
        let folders = roots.map(|root| root.join(".runner"));
        Self(folders.filter(|folder| !folder.exists()).collect())
    }

    pub(super) fn after(self) {
        for folder in self.0 {
            // Only empty folders can be removed so.
            let _ = std::fs::remove_dir(folder.join("runs")).and_then(|()| std::fs::remove_dir(&folder));
        }
    }
}
