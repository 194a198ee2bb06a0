//! `runner resume RUN`: a run that was stopped, failed or was killed goes on where it was, with what it was started with.

use super::arguments::{CommonArguments, ResumeArguments};
use super::assembly::Taken;
use super::exit::Exit;
use super::find_run;
use super::launch::{self, Play, Scenario};
use super::pinned::{Anew, Pinned, pinned};
use super::refusal::{Granted, Refusal};
use super::run::play_out;
use super::surroundings::Surroundings;
use crate::engine;
use crate::event::{Evidence, Mode};
use crate::journal::{self, Record, RunFolder};

/// `runner resume RUN`.
pub(super) async fn resume(arguments: ResumeArguments, surroundings: Surroundings) -> Exit {
    match take(&arguments, &surroundings) {
        Ok((common, scenario, taken)) => {
            play_out(&common, &surroundings, &scenario, Play::Resume(Box::new(taken)), None).await
        }
        Err(refusal) => refusal.tell(),
    }
}

fn take(
    arguments: &ResumeArguments,
    surroundings: &Surroundings,
) -> Granted<(CommonArguments, Scenario, Taken)> {
    let runs = find_run::runs_folder(&surroundings.working_dir).map_err(Refusal::invalid)?;
    let path = find_run::find(&runs, arguments.run.as_deref()).map_err(Refusal::invalid)?;
    let (folder, manifest) = RunFolder::reopen(&path).map_err(Refusal::configuration)?;
    if manifest.mode == Mode::Replay {
        let run = &manifest.run;
        return Err(Refusal::invalid(format!("run {run} is a replay, and a replay is simply played again")));
    }
    let lines = journal::read(&folder.journal()).map_err(Refusal::configuration)?;
    let mut record = Record::of(lines);
    if let Some((0, _)) = record.outcome() {
        let run = &manifest.run;
        return Err(Refusal::invalid(format!(
            "run {run} has come to its end, and nothing of it is left to do"
        )));
    }
    if !manifest.workspace.is_dir() {
        let text =
            format!("the workspace of the run, {}, is gone; start a new run", manifest.workspace.display());
        return Err(Refusal::configuration(text));
    }
    let anew = Anew {
        env_file: arguments.env_file.clone(),
        set: Vec::new(),
        json: arguments.json,
        fail_on: arguments.fail_on,
        fault: arguments.fault.clone(),
    };
    let Pinned { common, scenario, script } = pinned(folder.path(), &manifest, &anew, surroundings)?;
    if manifest.evidence != Evidence::Scripted {
        launch::require_credentials(&scenario)?;
    }
    let queue = manifest.workspace.join(&scenario.plan.queue.path);
    if !queue.is_file() {
        let text =
            format!("the queue of the run, {}, is gone; put it back, or start a new run", queue.display());
        return Err(Refusal::configuration(text));
    }
    let undone = engine::undo(&scenario.plan, &record);
    record.resume(undone.clone());
    let to = manifest.record.clone();
    Ok((common, scenario, Taken { folder, manifest, record, undone, script, to, forks: false }))
}
