//! How the beginning of a recording becomes a run that goes on in its own way: played with real tools in a folder of its
//! own, then written down as what that run has done.
//!
//! ```text
//!   recording ──replay, as far as it stands──▶ queue, files ──▶ journal, manifest ──resume──▶ live
//! ```
//!
//! Until the manifest is written anew the folder is that of a replay, which nobody can go on with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::assembly::{self, Beginning, Place, Ready, Taken};
use super::exit::Exit;
use super::launch::{self, Play, Scenario};
use super::outcome;
use super::people::Terminal;
use super::play;
use super::refusal::{Granted, Refusal};
use super::secrets::scrubber;
use crate::diagnostic::Look;
use crate::effects::{Divergence, Halt, Replay};
use crate::engine;
use crate::event::{EffectId, Evidence, Mode, Recording, Whereabouts};
use crate::id::Fingerprint;
use crate::journal::{self, Durability, Fork, Journal, JournalError, Line, Manifest, Record, RunFolder};
use crate::provider::Script;
use crate::session::Stop;

/// What a run is to begin with.
pub(super) struct Staging<'a> {
    /// The scenario that the beginning is played with.
    pub(super) before: &'a Scenario,
    /// The scenario that the run goes on with.
    pub(super) after: &'a Scenario,
    /// Who answers in place of every model, if a script does.
    pub(super) script: Option<Arc<Script>>,
    /// Where a recording of it goes.
    pub(super) to: Option<PathBuf>,
    /// The first effects it is to do in its own way, beside those at which it turns out to.
    pub(super) from: Vec<EffectId>,
    pub(super) look: Look,
}

/// What came of playing a beginning.
pub(super) enum Staged {
    /// A run that can go on.
    Ready(Box<Taken>),
    /// All of the recording stands, and nothing comes after it.
    Whole,
    /// What was played is not what was recorded.
    Diverged(Arc<Divergence>),
}

/// Plays the beginning of a recording, as far as `replay` says, and makes a run of it.
pub(super) async fn stage(staging: Staging<'_>, replay: Replay) -> Granted<Staged> {
    let Staging { before, after, script, to, from, look } = staging;
    let (whole, of) = (replay.recording.effects.len(), replay.recording.head.run.clone());
    let beginning = Beginning {
        play: Play::Replay(Box::new(replay)),
        seed: None,
        place: Place::OwnFolder,
        listeners: Vec::new(),
        terminal: Terminal::Nobody,
        stop: Stop::default(),
    };
    let ready = assembly::prepare(before, beginning).await?;
    let evidence = ready.head.evidence;
    let started = play::started(&ready, before, (Mode::Live, spoken(evidence)), None);
    let Ready { setup, journal, folder, .. } = ready;
    let stage = setup.stage.clone();
    stage.hub.tell(stage.effects.now(), &Whereabouts::default(), started);
    let end = engine::run(setup).await;
    let is_sound = end.broken.is_none() && !end.stopped;
    match &end.halt {
        Some(Halt::Played) | None if is_sound => {}
        Some(Halt::Diverged(divergence)) if is_sound => {
            let divergence = divergence.clone();
            folder.discard();
            return Ok(Staged::Diverged(divergence));
        }
        _ => {
            folder.discard();
            let exit = outcome::exit(&end, None, super::arguments::FailOn::Phase);
            return Err(Refusal { exit, text: outcome::failure(&end, before, look) });
        }
    }
    let (played, left_at) = stage.effects.played().expect("a replay plays a recording");
    if end.halt.is_none() && played.effects.len() == whole {
        folder.discard();
        return Ok(Staged::Whole);
    }
    let mut at = from;
    at.extend(left_at.into_iter().filter(|id| !at.contains(id)).collect::<Vec<_>>());
    let fork = Fork { of, at, effects: played.effects.len() as u64 };
    match adopt(&folder, &journal, played, (after, fork, to.clone())).await {
        Ok((manifest, record)) => {
            let undone = Vec::new();
            let spent = engine::spent(&after.plan, &record.effects);
            let taken = Taken { folder, manifest, record, undone, script, spent, to, forks: true };
            Ok(Staged::Ready(Box::new(taken)))
        }
        Err(refusal) => {
            folder.discard();
            Err(refusal)
        }
    }
}

/// What made the replies, when it was no model.
fn spoken(evidence: Evidence) -> Option<Evidence> {
    Some(evidence).filter(|evidence| *evidence != Evidence::Recorded)
}

/// Writes down what was played as what the run has done, and then what the run is.
async fn adopt(
    folder: &RunFolder,
    journal: &Journal,
    played: Recording,
    (after, fork, to): (&Scenario, Fork, Option<PathBuf>),
) -> Granted<(Manifest, Record)> {
    write(journal, played).await.map_err(Refusal::configuration)?;
    let scrubber = scrubber(after);
    let before = Manifest::read(folder.path()).map_err(Refusal::configuration)?;
    let manifest = Manifest {
        mode: Mode::Live,
        plan: assembly::resolved(after, &scrubber),
        given: assembly::given(after, &scrubber),
        files: Manifest::copies(after.sources.read_files().map(|(file, _)| file)),
        record: to,
        fork: Some(fork),
        ..before
    };
    let texts = after.texts(&scrubber);
    folder.describe_anew(&manifest, &texts).map_err(Refusal::configuration)?;
    let lines = journal::read(&folder.journal()).map_err(Refusal::configuration)?;
    Ok((manifest, Record::of(lines)))
}

/// The effects, by their recorded order, numbered anew from 1.
async fn write(journal: &Journal, played: Recording) -> Result<(), JournalError> {
    let Recording { effects, texts, .. } = played;
    let mut written: BTreeSet<Fingerprint> = BTreeSet::new();
    for (seq, mut record) in (1..).zip(effects) {
        record.seq = seq;
        let new = record.key.iter().filter(|segment| written.insert(segment.hash.clone()));
        let texts =
            new.filter_map(|segment| Some((segment.hash.clone(), texts.get(&segment.hash)?.to_string())));
        let texts = texts.collect();
        journal.append(&Line::Effect { record, texts }, Durability::Later)?.await?;
    }
    journal.sync().await?;
    journal.close()
}

/// Who may answer where a recording is left: what answered before, and a model only if it can be asked.
pub(super) fn check_answers(
    evidence: Evidence,
    script: Option<&Arc<Script>>,
    scenario: &Scenario,
) -> Granted<()> {
    match (evidence, script) {
        (Evidence::Scripted, None) => Err(Refusal::new(
            Exit::Invalid,
            "a script has made this recording, and its answers are not to stand beside a model's; name it with --script FILE, or record anew: runner record FILE",
        )),
        (Evidence::Recorded | Evidence::Rebased, Some(_)) => Err(Refusal::new(
            Exit::Invalid,
            "a model has made this recording, and a script's answers are not to stand beside its own; leave --script out",
        )),
        (Evidence::Scripted, Some(_)) => Ok(()),
        (Evidence::Recorded | Evidence::Rebased, None) => launch::require_credentials(scenario),
    }
}
