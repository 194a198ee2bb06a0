//! `runner resume RUN`: a run that was stopped, failed or was killed goes on where it was, with what it was started with.

use std::sync::Arc;

use super::arguments::{CommonArguments, ResumeArguments};
use super::assembly::{self, Taken};
use super::exit::Exit;
use super::find_run;
use super::launch::{self, Play, Scenario};
use super::people::answers;
use super::pinned::{Anew, Pinned, pinned};
use super::refusal::{Granted, Refusal};
use super::run::play_out;
use super::secrets::scrubber;
use super::surroundings::Surroundings;
use crate::engine;
use crate::event::{EffectRecord, Evidence, Mode};
use crate::journal::{self, Line, Manifest, Record, RunFolder};
use crate::source::Change;

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
    let (folder, mut manifest) = RunFolder::reopen(&path).map_err(Refusal::configuration)?;
    if manifest.mode == Mode::Replay {
        let run = &manifest.run;
        return Err(Refusal::invalid(format!("run {run} is a replay, and a replay is simply played again")));
    }
    let lines = journal::read(&folder.journal()).map_err(Refusal::configuration)?;
    let effects: Vec<EffectRecord> = lines.iter().filter_map(effect).cloned().collect();
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
        set: limits(arguments)?,
        json: arguments.json,
        fail_on: arguments.fail_on,
        fault: arguments.fault.clone(),
    };
    let Pinned { common, mut scenario, script } = pinned(folder.path(), &manifest, &anew, surroundings)?;
    scenario.answers = answers(&scenario.plan, &arguments.answer)?;
    if manifest.evidence != Evidence::Scripted {
        launch::require_credentials(&scenario)?;
    }
    let queue = manifest.workspace.join(&scenario.plan.queue.path);
    if !queue.is_file() {
        let text =
            format!("the queue of the run, {}, is gone; put it back, or start a new run", queue.display());
        return Err(Refusal::configuration(text));
    }
    if manifest.plan.get("prices").is_some() {
        Arc::make_mut(&mut scenario.plan).prices = manifest.prices();
    }
    if !arguments.set.is_empty() {
        remember(&folder, &mut manifest, &scenario)?;
    }
    let spent = engine::spent(&scenario.plan, &effects);
    let undone = engine::undo(&scenario.plan, &record);
    record.resume(undone.clone());
    let to = manifest.record.clone();
    Ok((common, scenario, Taken { folder, manifest, record, undone, script, spent, to, forks: false }))
}

fn effect(line: &Line) -> Option<&EffectRecord> {
    match line {
        Line::Effect { record, .. } => Some(record),
        _ => None,
    }
}

/// The limits that are to be others from here on. Anything else that is changed makes another run of it.
fn limits(arguments: &ResumeArguments) -> Granted<Vec<Change>> {
    for change in &arguments.set {
        let text = change.to_string();
        let path = text.split('=').next().unwrap_or_default().trim();
        if path.rsplit('.').nth(1) != Some("limits") {
            return Err(Refusal::invalid(format!(
                "`{path}` is no limit, and a run goes on as it was begun; write limits.max_usd=5, or phases.ID.limits.… or roles.ID.limits.…; for anything else, leave the run: runner fork"
            )));
        }
    }
    Ok(arguments.set.clone())
}

/// Writes down what holds from here on, so that it holds whenever the run goes on again.
fn remember(folder: &RunFolder, manifest: &mut Manifest, scenario: &Scenario) -> Granted<()> {
    let scrubber = scrubber(scenario);
    let texts = manifest.texts(folder.path()).map_err(Refusal::configuration)?;
    manifest.given.changes = assembly::given(scenario, &scrubber).changes;
    manifest.plan = assembly::resolved(scenario, &scrubber);
    folder.describe_anew(manifest, &texts).map_err(Refusal::configuration)
}
