//! What a run was started with, read from its folder: the scenario with all its files, its inputs and its script.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::{CommonArguments, FailOn};
use super::launch::{self, Scenario};
use super::refusal::{Granted, Refusal};
use super::run::script_of;
use super::surroundings::Surroundings;
use crate::fault::Fault;
use crate::journal::Manifest;
use crate::provider::Script;
use crate::secret::{fits_scrubbed, is_scrubbed};
use crate::source::{Change, Others, Sources};

/// A run's scenario as it was.
pub(super) struct Pinned {
    /// The arguments that the run was started with, and how it is shown now.
    pub(super) common: CommonArguments,
    pub(super) scenario: Scenario,
    /// The script that answers in place of every model, if there is one.
    pub(super) script: Option<Arc<Script>>,
}

/// What the command line says of a run that was started before.
#[derive(Debug, Clone)]
pub(super) struct Anew {
    /// The file of variables in place of the one it was started with.
    pub(super) env_file: Option<PathBuf>,
    /// Values in place of those of the scenario, beside those that were set then.
    pub(super) set: Vec<Change>,
    pub(super) json: bool,
    pub(super) fail_on: FailOn,
    pub(super) fault: Vec<Fault>,
}

/// Reads what a run was started with.
pub(super) fn pinned(
    folder: &Path,
    manifest: &Manifest,
    anew: &Anew,
    surroundings: &Surroundings,
) -> Granted<Pinned> {
    let texts = manifest.texts(folder).map_err(Refusal::configuration)?;
    let script = match &manifest.given.script {
        None => None,
        Some(path) => Some(script_of(path, pinned_script(path, &texts)?)?),
    };
    let common = as_given(anew, manifest, &surroundings.working_dir)?;
    // What is set anew may name files that the run did not have.
    let others = if common.set.is_empty() { Others::Absent } else { Others::OnDisk };
    let then = Surroundings { working_dir: manifest.given.working_dir.clone(), ..surroundings.clone() };
    let mut scenario = launch::scenario_of(&common, &then, Sources::pinned(whole(texts)?, others))?;
    if let Some(path) = &manifest.given.script {
        // A copy of it belongs to what a run is made of that is made of this one.
        scenario.sources.read(path, path).map_err(Refusal::configuration)?;
        scenario.given.script = Some(path.clone());
    }
    Ok(Pinned { common, scenario, script })
}

/// The arguments that the run was started with, with those that concern only how it is shown.
fn as_given(arguments: &Anew, manifest: &Manifest, working_dir: &Path) -> Granted<CommonArguments> {
    let given = &manifest.given;
    let here = arguments.env_file.as_ref().map(|file| working_dir.join(file));
    if given.changes.iter().any(|change| is_scrubbed(change)) {
        let text = "a value that was given with --set held a secret, which is not kept; start a new run";
        return Err(Refusal::configuration(text));
    }
    if let Some((name, _)) = given.inputs.iter().find(|(_, value)| is_scrubbed(value)) {
        let text = format!(
            "input {name} held a secret, which is not kept; start a new run, and let the mount plan refer to a variable"
        );
        return Err(Refusal::configuration(text));
    }
    Ok(CommonArguments {
        file: given.file.clone(),
        input: given.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        set: changes(&given.changes)?.into_iter().chain(arguments.set.iter().cloned()).collect(),
        env_file: here.or_else(|| given.env_file.clone()),
        workspace: given.workspace.clone(),
        json: arguments.json,
        fail_on: arguments.fail_on,
        fault: arguments.fault.clone(),
        input_file: None,
    })
}

/// The values that were set when a run was started.
fn changes(texts: &[String]) -> Granted<Vec<Change>> {
    texts.iter().map(|text| text.parse().map_err(Refusal::configuration)).collect()
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
