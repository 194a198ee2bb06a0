//! `runner cassette rebase FILE`: the recorded answers are given to prompts in new words, and a recording of both is kept.

use super::RebaseArguments;
use crate::cli::arguments::{CommonArguments, FailOn};
use crate::cli::assembly::{self, Beginning, Place};
use crate::cli::exit::Exit;
use crate::cli::launch::{self, Play, Scenario, shown};
use crate::cli::outcome;
use crate::cli::people::Terminal;
use crate::cli::play::{self, Played};
use crate::cli::refusal::{Granted, Refusal};
use crate::cli::run::{keep, refuse_in_ci};
use crate::cli::signals::Signals;
use crate::cli::surroundings::{Surroundings, tell};
use crate::effects::{Replay, Strictness, Tolerance};
use crate::event::Evidence;
use crate::session::Stop;

/// `runner cassette rebase FILE`.
pub(super) async fn rebase(arguments: &RebaseArguments, surroundings: &Surroundings) -> Exit {
    let begin = || -> Granted<_> {
        refuse_in_ci(surroundings)?;
        let common = launch::as_recorded(&common(arguments), surroundings, arguments.from.as_deref());
        let scenario = launch::scenario(&common, surroundings)?;
        let Some(folder) = launch::cassette_folder(arguments.from.as_deref(), &scenario, surroundings) else {
            return Err(Refusal::invalid(
                "the scenario names no recording; add `replay: {cassette: …}` to it, or name one with --from DIR",
            ));
        };
        Ok((launch::recording(&folder)?, folder, scenario))
    };
    let (recording, folder, scenario) = match begin() {
        Ok(begun) => begun,
        Err(refusal) => return refusal.tell(),
    };
    let replay = Replay { tolerance: Tolerance::Wording, ..Replay::of(recording, Strictness::Total) };
    let play = Play::Replay(Box::new(replay));
    let played = match play_quietly(&scenario, play).await {
        Ok(played) => played,
        Err(refusal) => return refusal.tell(),
    };
    if played.end.halt.is_some() || played.end.stopped || played.end.broken.is_some() {
        tell(&outcome::failure(&played.end, &scenario, surroundings.look()));
        tell("the recording stays as it is: more than wording has changed\n");
        return played.exit.tell();
    }
    let (mut rewritten, count) = played.effects.rewritten().expect("a replay plays a recording");
    outcome::exit(&played.end, None, FailOn::Phase).name().clone_into(&mut rewritten.head.ended);
    let place = shown(&folder, &scenario.plan.root);
    // Nobody needs the run any more: what it came to is in the recording.
    played.folder.discard();
    if count == 0 {
        tell(&format!("{place} reads as it is recorded; nothing is to be changed\n"));
        return Exit::Ok;
    }
    if rewritten.head.evidence == Evidence::Recorded {
        rewritten.head.evidence = Evidence::Rebased;
    }
    tell(&format!("{count} effects read otherwise; their answers are those to the older wording\n"));
    keep(&rewritten, &folder, &place).err().unwrap_or(Exit::Ok)
}

fn common(arguments: &RebaseArguments) -> CommonArguments {
    CommonArguments::of_file(&arguments.file, &arguments.input, arguments.env_file.as_deref())
}

async fn play_quietly(scenario: &Scenario, play: Play) -> Granted<Played> {
    let stop = Stop::default();
    let signals = Signals::listen(stop.clone())
        .map_err(|error| Refusal::configuration(format!("cannot listen for signals: {error}")))?;
    let beginning = Beginning {
        play,
        seed: None,
        place: Place::OwnFolder,
        listeners: Vec::new(),
        terminal: Terminal::Nobody,
        stop,
    };
    let ready = assembly::prepare(scenario, beginning).await?;
    play::play(ready, scenario, FailOn::Phase, Some(signals)).await
}
