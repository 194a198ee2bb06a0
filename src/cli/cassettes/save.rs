//! `runner cassette save RUN`: a run that was not recorded becomes a recording, if it can be played again.

use std::path::PathBuf;

use serde_json::Value;

use super::SaveArguments;
use crate::cassette;
use crate::cli::arguments::FailOn;
use crate::cli::assembly::head_of;
use crate::cli::exit::Exit;
use crate::cli::history::{Found, refused, which};
use crate::cli::launch::shown;
use crate::cli::pinned::{Anew, Pinned, pinned};
use crate::cli::proof;
use crate::cli::refusal::Told;
use crate::cli::run::{NOT_AGAIN, keep};
use crate::cli::surroundings::{Surroundings, tell};
use crate::event::{EffectKind, EffectRecord, Happening, Mode, Policy, Recording, RecordingHead};
use crate::journal::{self, Manifest, Record};

/// `runner cassette save RUN`.
pub(super) async fn save(arguments: &SaveArguments, surroundings: &Surroundings) -> Exit {
    let saved = async || -> Told<()> {
        let found = which(surroundings, arguments.run.as_deref())?;
        let record = read(&found)?;
        if let Some(why) = unfit(&found, &record) {
            let run = &found.manifest.run;
            return Err(refused(Exit::Invalid, &format!("no recording can be made of run {run}: {why}")));
        }
        let to = destination(arguments, &found, surroundings)?;
        cassette::check_place(&to).map_err(|error| refused(Exit::Configuration, &error))?;
        let is_broken = record.resumed > 0 || found.manifest.fork.is_some();
        let recording = recording_of(&found.manifest, record);
        if is_broken {
            prove(&found, &recording, surroundings).await?;
        }
        keep(&recording, &to, &shown(&to, found.root()))
    };
    saved().await.err().unwrap_or(Exit::Ok)
}

/// Plays a recording once before it is kept, with the scenario of its run.
async fn prove(found: &Found, recording: &Recording, surroundings: &Surroundings) -> Told<()> {
    let anew =
        Anew { env_file: None, set: Vec::new(), json: false, fail_on: FailOn::Phase, fault: Vec::new() };
    let proven = async {
        let Pinned { scenario, .. } = pinned(&found.folder, &found.manifest, &anew, surroundings)?;
        proof::unplayable(&scenario, recording).await
    };
    match proven.await {
        Ok(None) => Ok(()),
        Ok(Some(why)) => {
            let run = &found.manifest.run;
            tell(&why);
            Err(refused(Exit::Divergence, &format!("no recording can be made of run {run}: {NOT_AGAIN}")))
        }
        Err(refusal) => Err(refusal.complain()),
    }
}

/// What the journal of a run comes to.
pub(in crate::cli) fn read(found: &Found) -> Told<Record> {
    journal::read(&found.journal()).map(Record::of).map_err(|error| refused(Exit::Failed, &error))
}

/// The recording that a run's journal comes to.
pub(in crate::cli) fn recording_of(manifest: &Manifest, record: Record) -> Recording {
    let ended = record.outcome().map_or(Exit::Ok, |(code, _)| Exit::from_code(code));
    let Record { effects, texts, .. } = record;
    let head = RecordingHead {
        // Issues that are left are a failure only for who asked for it, and a test does not.
        ended: if ended == Exit::IssuesLeft { Exit::Ok } else { ended }.name().to_owned(),
        ..head_of(manifest)
    };
    Recording { head, effects, texts }
}

/// Why a replay could not play this run.
fn unfit(found: &Found, record: &Record) -> Option<String> {
    if found.manifest.mode == Mode::Replay {
        return Some("it is a replay; what it played is recorded already".to_owned());
    }
    if found.manifest.fork.is_some() && !found.manifest.given.changes.is_empty() {
        return Some("what it took over was asked with other settings than the rest; change the scenario file, and do what follows from that anew: runner cassette rerecord FILE".to_owned());
    }
    if found.is_running() {
        return Some("it still runs".to_owned());
    }
    if record.outcome().is_none() {
        return Some("it did not come to its end; go on with it: runner resume".to_owned());
    }
    for event in &record.events {
        match &event.event {
            Happening::RunStarted { unfit: Some(why), .. } => return Some(why.clone()),
            Happening::RunFinished { unfit: Some(why), .. } => return Some(format!("it is one {why}")),
            _ => {}
        }
    }
    unrecorded_command(&found.manifest, record.effects.iter())
}

/// Why these effects of a run cannot be done again: a command is among them whose changes of files were not kept.
pub(in crate::cli) fn unrecorded_command<'e>(
    manifest: &Manifest,
    mut effects: impl Iterator<Item = &'e EffectRecord>,
) -> Option<String> {
    if manifest.record.is_some() {
        return None;
    }
    let command = effects.find(|effect| {
        let is_taped = effect.kind == EffectKind::Tool && effect.policy == Policy::Tape;
        is_taped && effect.footprint.writes.iter().any(|name| name == "fs:*")
    });
    command.map(|effect| {
        format!(
            "it ran commands ({} is the first), and what they change in files is only kept when a recording is asked for at the start: runner record FILE",
            effect.id
        )
    })
}

fn destination(arguments: &SaveArguments, found: &Found, surroundings: &Surroundings) -> Told<PathBuf> {
    let named = arguments.to.as_ref().map(|folder| surroundings.working_dir.join(folder));
    let planned = found.manifest.plan.pointer("/replay/cassette").and_then(Value::as_str);
    named.or_else(|| planned.map(|folder| found.root().join(folder))).ok_or_else(|| {
        refused(
            Exit::Invalid,
            &"the scenario does not say where its recording belongs; add `replay: {cassette: …}` to it, or name a folder with --to DIR",
        )
    })
}
