//! `runner cassette rerecord FILE`: what a change of the scenario leaves as it was is taken from the recording, and only
//! what follows from the change is done anew.

use std::collections::BTreeSet;

use super::RerecordArguments;
use crate::cli::arguments::CommonArguments;
use crate::cli::assembly::Taken;
use crate::cli::exit::Exit;
use crate::cli::find_effect::find_effect;
use crate::cli::launch::{self, Play, Scenario, shown};
use crate::cli::refusal::{Granted, Refusal};
use crate::cli::run::{play_out, refuse_in_ci, script};
use crate::cli::staging::{Staged, Staging, check_answers, stage};
use crate::cli::surroundings::{Surroundings, tell};
use crate::effects::{Class, Ending, Replay, Strictness};
use crate::event::EffectId;

/// `runner cassette rerecord FILE`.
pub(super) async fn rerecord(arguments: &RerecordArguments, surroundings: &Surroundings) -> Exit {
    let common = launch::as_recorded(&common(arguments), surroundings, arguments.cassette.as_deref());
    match take(&common, arguments, surroundings).await {
        Ok(Some((scenario, taken))) => {
            play_out(&common, surroundings, &scenario, Play::Resume(taken), None).await
        }
        Ok(None) => Exit::Ok,
        Err(refusal) => refusal.tell(),
    }
}

/// The run that does what is to be done anew; `None` if nothing is.
async fn take(
    common: &CommonArguments,
    arguments: &RerecordArguments,
    surroundings: &Surroundings,
) -> Granted<Option<(Scenario, Box<Taken>)>> {
    refuse_in_ci(surroundings)?;
    let mut scenario = launch::scenario(common, surroundings)?;
    let Some(folder) = launch::cassette_folder(arguments.cassette.as_deref(), &scenario, surroundings) else {
        return Err(Refusal::invalid(
            "the scenario names no recording; add `replay: {cassette: …}` to it, or name one with --cassette DIR",
        ));
    };
    let recording = launch::recording(&folder)?;
    let script = match &arguments.script {
        Some(path) => Some(script(path, &mut scenario, surroundings)?),
        None => None,
    };
    check_answers(recording.head.evidence, script.as_ref(), &scenario)?;
    let named = arguments.from.iter().map(|name| find_effect(&recording.effects, name));
    let named = named.map(|found| found.map(|effect| effect.id.clone()));
    let from: Vec<EffectId> = named.collect::<Result<_, _>>().map_err(Refusal::invalid)?;
    let mut left: BTreeSet<EffectId> = from.iter().cloned().collect();
    let count = recording.effects.len();
    // A tool that answers otherwise than recorded has done so already: what stands is played again without it.
    loop {
        let replay = Replay {
            ending: Ending::Parting(left.clone()),
            ..Replay::of(recording.clone(), Strictness::Causal)
        };
        let staging = Staging {
            before: &scenario,
            after: &scenario,
            script: script.clone(),
            to: Some(folder.clone()),
            from: left.iter().cloned().collect(),
            look: surroundings.look(),
        };
        match stage(staging, replay).await? {
            Staged::Ready(taken) => {
                let kept = taken.manifest.fork.as_ref().map_or(0, |fork| fork.effects);
                tell(&format!("{kept} of {count} recorded effects stand; what follows is done anew\n"));
                return Ok(Some((scenario, taken)));
            }
            Staged::Whole => {
                let place = shown(&folder, &scenario.plan.root);
                tell(&format!("{place} stands as it is recorded; nothing is to be done anew\n"));
                return Ok(None);
            }
            Staged::Diverged(divergence) => {
                let is_new = divergence.class == Class::Tool && left.insert(divergence.effect.clone());
                if !is_new {
                    let text = divergence.as_ref().clone().of_file(&arguments.file.display().to_string());
                    return Err(Refusal { exit: Exit::Divergence, text: format!("\n{text}") });
                }
            }
        }
    }
}

fn common(arguments: &RerecordArguments) -> CommonArguments {
    let RerecordArguments { file, input, env_file, json, .. } = arguments;
    CommonArguments { json: *json, ..CommonArguments::of_file(file, input, env_file.as_deref()) }
}
