//! `runner fork RUN --from EFFECT`: what a run did before an effect is taken over, and from there on it is done anew, with
//! other settings or other luck.

use std::path::Path;
use std::sync::Arc;

use super::arguments::{CommonArguments, ForkArguments};
use super::assembly::Taken;
use super::cassettes::{recording_of, unrecorded_command};
use super::exit::Exit;
use super::find_effect::find_effect;
use super::find_run;
use super::launch::{self, Play, Scenario};
use super::pinned::{Anew, Pinned, pinned};
use super::refusal::{Granted, Refusal};
use super::run::{play_out, script};
use super::staging::{Staged, Staging, check_answers, stage};
use super::surroundings::Surroundings;
use crate::effects::{Ending, Replay, Strictness};
use crate::event::{Mode, Recording};
use crate::journal::{self, Manifest, Record};
use crate::provider::Script;
use crate::source::{Change, Format, Sources};

/// `runner fork RUN --from EFFECT`.
pub(super) async fn fork(arguments: ForkArguments, surroundings: Surroundings) -> Exit {
    match take(&arguments, &surroundings).await {
        Ok((common, scenario, taken)) => {
            play_out(&common, &surroundings, &scenario, Play::Resume(taken), None).await
        }
        Err(refusal) => refusal.tell(),
    }
}

/// What is forked.
struct Origin {
    recording: Recording,
    /// The arguments it is shown with.
    common: CommonArguments,
    before: Scenario,
    after: Scenario,
    script: Option<Arc<Script>>,
}

async fn take(
    arguments: &ForkArguments,
    surroundings: &Surroundings,
) -> Granted<(CommonArguments, Scenario, Box<Taken>)> {
    let named = surroundings.working_dir.join(&arguments.what);
    let is_file = Format::of(&named).is_some() && named.is_file();
    let origin = if is_file { of_file(arguments, surroundings)? } else { of_run(arguments, surroundings)? };
    let Origin { mut recording, common, before, after, script } = origin;
    check_answers(recording.head.evidence, script.as_ref(), &after)?;
    let from = find_effect(&recording.effects, &arguments.from).map_err(Refusal::invalid)?;
    let (seq, id) = (from.seq, from.id.clone());
    recording.effects.retain(|effect| effect.seq < seq);
    let staging = Staging {
        before: &before,
        after: &after,
        script,
        to: None,
        from: vec![id],
        look: surroundings.look(),
    };
    let replay = Replay { ending: Ending::Open, ..Replay::of(recording, Strictness::Total) };
    match stage(staging, replay).await? {
        Staged::Ready(taken) => Ok((common, after, taken)),
        Staged::Whole => Err(Refusal::invalid("nothing comes after what was recorded before that effect")),
        Staged::Diverged(divergence) => {
            let file = before.given.file.display().to_string();
            let text = format!(
                "\nwhat was done before {} cannot be done again as it was:\n{}",
                arguments.from,
                divergence.as_ref().clone().of_file(&file)
            );
            Err(Refusal { exit: Exit::Divergence, text })
        }
    }
}

/// A run: its own scenario, its own ledger.
fn of_run(arguments: &ForkArguments, surroundings: &Surroundings) -> Granted<Origin> {
    if !arguments.input.is_empty() || arguments.cassette.is_some() || arguments.script.is_some() {
        return Err(Refusal::invalid(
            "a run has its inputs, its script and its ledger; --input, --script and --cassette go with a scenario file only",
        ));
    }
    let runs = find_run::runs_folder(&surroundings.working_dir).map_err(Refusal::invalid)?;
    let folder = find_run::find(&runs, Some(&arguments.what)).map_err(Refusal::invalid)?;
    let manifest = Manifest::read(&folder).map_err(Refusal::configuration)?;
    let run = &manifest.run;
    if manifest.mode == Mode::Replay {
        let text =
            format!("run {run} is a replay; fork the run it plays, or the scenario file: runner fork FILE");
        return Err(Refusal::invalid(text));
    }
    let lines = journal::read(&folder.join("journal.jsonl")).map_err(Refusal::configuration)?;
    let record = Record::of(lines);
    let from = find_effect(&record.effects, &arguments.from).map_err(Refusal::invalid)?.seq;
    if let Some(command) = unrecorded_command(&manifest, record.effects.iter().filter(|e| e.seq < from)) {
        return Err(Refusal::invalid(format!(
            "run {run} cannot be forked after {}: {command}",
            arguments.from
        )));
    }
    let read = |set: &[Change]| pinned(&folder, &manifest, &anew(arguments, set), surroundings);
    let Pinned { scenario: before, .. } = read(&[])?;
    let Pinned { common, scenario: after, script } = read(&arguments.set)?;
    Ok(Origin { recording: recording_of(&manifest, record), common, before, after, script })
}

fn anew(arguments: &ForkArguments, set: &[Change]) -> Anew {
    Anew {
        env_file: arguments.env_file.clone(),
        set: set.to_vec(),
        json: arguments.json,
        fail_on: arguments.fail_on,
        fault: arguments.fault.clone(),
    }
}

/// A scenario file: its recording.
fn of_file(arguments: &ForkArguments, surroundings: &Surroundings) -> Granted<Origin> {
    let mut common =
        CommonArguments::of_file(Path::new(&arguments.what), &arguments.input, arguments.env_file.as_deref());
    common = launch::as_recorded(&common, surroundings, arguments.cassette.as_deref());
    let before = launch::read(&common, surroundings, Sources::new())?.scenario();
    common.set.extend(arguments.set.iter().cloned());
    common.fault.clone_from(&arguments.fault);
    (common.json, common.fail_on) = (arguments.json, arguments.fail_on);
    let mut after = launch::scenario(&common, surroundings)?;
    let before =
        before.map_err(|refusal| Refusal::new(refusal.exit, "without --set the scenario has errors"))?;
    let Some(folder) = launch::cassette_folder(arguments.cassette.as_deref(), &after, surroundings) else {
        return Err(Refusal::invalid(
            "the scenario names no recording; name a run in its place, or the recording with --cassette DIR",
        ));
    };
    let recording = launch::recording(&folder)?;
    let script = match &arguments.script {
        Some(path) => Some(script(path, &mut after, surroundings)?),
        None => None,
    };
    Ok(Origin { recording, common, before, after, script })
}
