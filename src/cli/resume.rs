//! `runner resume RUN`: a run that was stopped, failed or was killed goes on where it was, with what it was started with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::{CommonArguments, ResumeArguments};
use super::assembly::Taken;
use super::exit::Exit;
use super::find_run;
use super::launch::{self, Play, Scenario};
use super::limits;
use super::refusal::{Granted, Refusal};
use super::run::{play_out, script_of};
use super::surroundings::Surroundings;
use crate::engine;
use crate::event::{Evidence, Mode};
use crate::journal::{self, Manifest, Record, RunFolder};
use crate::secret::{fits_scrubbed, is_scrubbed};
use crate::source::Sources;

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
    let mut record = Record::of(lines.clone());
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
    let texts = folder.texts(&manifest).map_err(Refusal::configuration)?;
    let script = match &manifest.given.script {
        None => None,
        Some(path) => Some(script_of(path, pinned_script(path, &texts)?)?),
    };
    let common = as_given(arguments, &manifest, &surroundings.working_dir)?;
    let then = Surroundings { working_dir: manifest.given.working_dir.clone(), ..surroundings.clone() };
    let mut scenario = launch::scenario_of(&common, &then, Sources::pinned(whole(texts)?))?;
    record.set.extend(arguments.set.iter().cloned());
    let plan = Arc::make_mut(&mut scenario.plan);
    plan.prices = manifest.prices();
    limits::set(plan, &record.set).map_err(Refusal::invalid)?;
    if manifest.evidence == Evidence::Recorded {
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
    let spent = engine::spent(&scenario.plan, &lines);
    Ok((common, scenario, Taken { folder, manifest, record, undone, script, spent }))
}

/// The arguments that the run was started with, with those that concern only how it is shown.
fn as_given(
    arguments: &ResumeArguments,
    manifest: &Manifest,
    working_dir: &Path,
) -> Granted<CommonArguments> {
    let given = &manifest.given;
    let here = arguments.env_file.as_ref().map(|file| working_dir.join(file));
    if let Some((name, _)) = given.inputs.iter().find(|(_, value)| is_scrubbed(value)) {
        let text = format!(
            "input {name} held a secret, which is not kept; start a new run, and let the mount plan refer to a variable"
        );
        return Err(Refusal::configuration(text));
    }
    Ok(CommonArguments {
        file: given.file.clone(),
        input: given.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        env_file: here.or_else(|| given.env_file.clone()),
        workspace: given.workspace.clone(),
        json: arguments.json,
        fail_on: arguments.fail_on,
        fault: arguments.fault.clone(),
    })
}

/// The texts of the files as they were. Of a file that holds a secret only the rest was kept: it must still be as it was.
fn whole(texts: BTreeMap<PathBuf, String>) -> Granted<BTreeMap<PathBuf, String>> {
    let mut whole = BTreeMap::new();
    for (file, text) in texts {
        let text = if is_scrubbed(&text) { unscrubbed(&file, &text)? } else { text };
        whole.insert(file, text);
    }
    Ok(whole)
}

fn unscrubbed(file: &Path, kept: &str) -> Granted<String> {
    let now = std::fs::read_to_string(file).unwrap_or_default().replace("\r\n", "\n");
    if fits_scrubbed(&now, kept) {
        return Ok(now);
    }
    let text = format!(
        "{} held a secret, which is not kept, and it has changed since; put it back as it was, or start a new run",
        file.display()
    );
    Err(Refusal::configuration(text))
}

fn pinned_script<'a>(path: &Path, texts: &'a BTreeMap<PathBuf, String>) -> Granted<&'a str> {
    texts.get(path).map(String::as_str).ok_or_else(|| {
        Refusal::configuration(format!("the run folder has no copy of the script {}", path.display()))
    })
}
