//! Is a part of a recording played to where it ends, or is left, and not a step further?
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use runner::effects::{Ending, Halt, Origin, Replay, Setup, Strictness};
use runner::event::{EffectId, EffectRecord, Recording};
use runner::journal::Journal;

use super::{World, live, recording_of};

/// A recording of the experiment with these workers.
async fn recorded(workers: usize) -> Recording {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.jsonl");
    let journal = Journal::open(&path).expect("a new journal");
    let world = World::new(live(Some(journal.clone())), 3);
    world.play(workers).await.expect("a live run goes to its end");
    journal.close().expect("a kept journal");
    recording_of(&path, &folder.path().join("c.cassette"))
}

async fn played(replay: Replay, workers: usize) -> (Halt, Recording, Vec<EffectId>) {
    let world = World::new(Setup { origin: Origin::Replay(Box::new(replay)), ..live(None) }, 0);
    let halt = world.play(workers).await.expect_err("it has no end");
    let (recording, left_at) = world.effects.played().expect("a replay plays a recording");
    (halt, recording, left_at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_beginning_of_a_recording_is_played_wherever_it_ends() {
    let recording = recorded(4).await;
    for end in (0..recording.effects.len()).step_by(7) {
        let beginning = Recording { effects: recording.effects[..end].to_vec(), ..recording.clone() };
        for strictness in [Strictness::Total, Strictness::Causal] {
            let replay = Replay { ending: Ending::Open, ..Replay::of(beginning.clone(), strictness) };
            let (halt, played, _) = played(replay, 4).await;
            assert!(matches!(halt, Halt::Played), "{end}, {strictness:?}: {halt}");
            assert_eq!(played.effects.len(), end, "{strictness:?}");
        }
    }
}

/// What does not follow from the effects at which a recording is left is played, and nothing else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recording_is_left_with_all_that_follows_and_no_more() {
    let recording = recorded(4).await;
    let effects = &recording.effects;
    let same_session =
        |a: &EffectRecord, b: &EffectRecord| a.id.session().is_some() && a.id.session() == b.id.session();
    for at in (0..effects.len()).step_by(5) {
        let mut follows = vec![false; effects.len()];
        follows[at] = true;
        for later in at + 1..effects.len() {
            follows[later] = (at..later).any(|earlier| {
                let (before, after) = (&effects[earlier], &effects[later]);
                follows[earlier]
                    && (same_session(before, after) || before.footprint.overlaps(&after.footprint))
            });
        }
        let kept: Vec<&EffectId> =
            effects.iter().zip(&follows).filter(|(_, gone)| !**gone).map(|(e, _)| &e.id).collect();
        let ending = Ending::Parting([effects[at].id.clone()].into());
        let replay =
            Replay { ending, jitter: Some(at as u64), ..Replay::of(recording.clone(), Strictness::Causal) };
        let (halt, played, left_at) = played(replay, 4).await;
        // The engine makes the first issues one after another: what comes after one that was left is not asked for.
        let seeds = played.effects.iter().filter(|effect| effect.id.session().is_none()).count();
        if at < 8 {
            assert_eq!(seeds, at, "{halt}");
            continue;
        }
        assert!(matches!(halt, Halt::Played), "{halt}");
        assert_eq!(played.effects.iter().map(|effect| &effect.id).collect::<Vec<_>>(), kept);
        assert_eq!(left_at, [effects[at].id.clone()]);
    }
}
