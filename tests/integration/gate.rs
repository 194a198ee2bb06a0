//! Whether a pool of workers racing on one queue replays exactly, and whether the gate notices at once when it does not.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use runner::cassette;
use runner::clock::{ManualClock, SystemClock, Timestamp, later};
use runner::effects::{
    Announce, Asked, Busy, Class, Divergence, Effects, Halt, Origin, Ran, Replay, Schedule, Setup,
    Strictness, Time,
};
use runner::event::{
    Access, EffectId, EffectKind, EffectRecord, Evidence, Footprint, Policy, RECORDING_FORMAT, Recording,
    RecordingHead, Segment,
};
use runner::id::{Fingerprint, IssueId, RunId, Seed, canonical_json};
use runner::issue::Snapshot;
use runner::journal::{self, Journal, Line};
use runner::secret::Scrubber;
use runner::store::{Answer, Applied, Caller, Claim, Filter, IssueStore, NewIssue, Operation, SqliteStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod part;

const TURNS: u32 = 9;

/// How often each recording is played.
const REPLAYS: u64 = 60;

// ---------------------------------------------------------------- the experiment

/// What one run of the experiment is made of.
struct World {
    effects: Effects,
    store: Arc<SqliteStore>,
    run: RunId,
    /// What the schedule of a recording follows from.
    noise: u64,
    _folder: TempDir,
}

fn dice(text: &str) -> u64 {
    u64::from_str_radix(Fingerprint::of(text.as_bytes()).as_str(), 16).expect("a fingerprint is hex")
}

/// The model: a pure function of the transcript, so that any other order of the queue's answers changes what it does.
fn model(said: &[String]) -> Value {
    let held = said.iter().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        match line["op"].as_str()? {
            "claim" => Some(line["issue"].as_str().map(str::to_owned)),
            "close" => Some(None),
            _ => None,
        }
    });
    let calls = |n: u64| match (n % 7, held.clone().flatten()) {
        (0 | 1, Some(issue)) => json!({"op": "close", "issue": issue}),
        (2..=4, None) => json!({"op": "claim"}),
        (5, _) => json!({"op": "create"}),
        _ => json!({"op": "ready"}),
    };
    let n = dice(&said.join("\n"));
    if n.is_multiple_of(3) { json!([calls(n / 3), {"op": "ready"}]) } else { json!([calls(n / 3)]) }
}

impl World {
    fn new(setup: Setup, noise: u64) -> Arc<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("issues.db");
        // As a run of its own does: a replay's queue is made again when it is lost.
        let store = match &setup.origin {
            Origin::Replay(_) => SqliteStore::open_repeatable(&file),
            Origin::Live | Origin::Resume(_) => SqliteStore::open(&file),
        };
        let store = store.expect("a new queue");
        Arc::new(Self { effects: Effects::new(setup), store, run: RunId::fresh(), noise, _folder: folder })
    }

    async fn operate(
        &self,
        busy: &Busy,
        id: EffectId,
        actor: &str,
        operation: Operation,
    ) -> Result<Value, Halt> {
        let asked = Asked {
            key: vec![Segment::new("operation", canonical_json(&serde_json::to_value(&operation).unwrap()))],
            footprint: Footprint::none().with(Access::Read, "issue:*").with(Access::Write, "issue:*"),
            ..Asked::engine(id.clone(), EffectKind::Tool, Policy::Real)
        };
        let perform = self.effects.perform(busy, asked, |grant| async move {
            let caller = Caller {
                run: Some(self.run.clone()),
                effect: Some(id),
                actor: actor.to_owned(),
                holder: actor.to_owned(),
                epochs: BTreeMap::new(),
                at: grant.at,
                ids: grant.ids,
                sequence: grant.sequence,
            };
            let (result, footprint, seq, at) = match self.store.apply(caller, operation).await {
                Ok(Applied { answer, footprint, seq, at, .. }) => (shown(&answer), footprint, seq, Some(at)),
                Err(refused) => {
                    (json!({"refused": refused.to_string()}), refused.footprint, refused.seq, None)
                }
            };
            Some(Ran { result, footprint: Some(footprint), seq, at })
        });
        perform.await
    }

    async fn work(&self, name: &str, busy: &Busy) -> Result<(), Halt> {
        let mut said = vec![format!("You are {name}.")];
        for turn in 1..=TURNS {
            let id = EffectId::turn(&format!("work/{name}"), turn);
            let key =
                said.iter().enumerate().map(|(n, text)| Segment::new(format!("prompt.{n}"), text.as_str()));
            let asked =
                Asked { key: key.collect(), ..Asked::engine(id.clone(), EffectKind::Llm, Policy::Tape) };
            let spoken = &said;
            let reply = self.effects.perform(busy, asked, |_| async move {
                let chance = dice(&format!("{}{}{turn}", self.noise, spoken[0]));
                // In virtual time the schedule is that of these waits; in real time it is that of the yields and of chance.
                if !self.effects.is_real_time() {
                    self.effects
                        .pause(busy, &EffectId::turn(name, turn), Duration::from_millis(chance % 40))
                        .await;
                }
                yields(chance >> 8).await;
                Some(Ran::plain(model(spoken)))
            });
            let reply = reply.await?;
            said.push(reply.to_string());
            for (n, call) in (1..).zip(reply.as_array().expect("the model asks for a list")) {
                let result = self.operate(busy, id.call(n), name, operation(call, name)).await?;
                let op = &call["op"];
                said.push(json!({"op": op, "issue": result["issue"], "saw": result}).to_string());
            }
        }
        Ok(())
    }

    async fn play(self: &Arc<Self>, workers: usize) -> Result<Snapshot, Halt> {
        let busy = self.effects.busy();
        for n in 1..=u32::try_from(workers).expect("a few workers") * 2 {
            let seed = Operation::Create(NewIssue { title: format!("seed {n}"), ..NewIssue::default() });
            self.operate(&busy, EffectId::run("seed", n), "engine", seed).await?;
        }
        let mut team = JoinSet::new();
        for n in 1..=workers {
            let (world, token) = (Arc::clone(self), busy.fork());
            team.spawn(async move { world.work(&format!("w-{n}"), &token).await });
        }
        drop(busy);
        while let Some(end) = team.join_next().await {
            end.expect("a worker does not panic")?;
        }
        self.effects.finish()?;
        let snapshot =
            self.store.apply(self.outsider(), Operation::Snapshot).await.expect("a readable queue");
        match snapshot.answer {
            // The run and the lease are those of this run, not part of what is played.
            Answer::Snapshot(snapshot) => Ok(Snapshot { holds: Vec::new(), ..*snapshot }),
            other => panic!("no snapshot: {other:?}"),
        }
    }

    fn outsider(&self) -> Caller {
        Caller {
            run: None,
            effect: None,
            actor: "test".to_owned(),
            holder: "test".to_owned(),
            epochs: BTreeMap::new(),
            at: Timestamp::UNIX_EPOCH,
            ids: Arc::new(runner::id::IdSource::new(&Seed::new("test"), "test")),
            sequence: None,
        }
    }
}

async fn yields(chance: u64) {
    for _ in 0..chance % 24 {
        tokio::task::yield_now().await;
    }
}

fn operation(call: &Value, name: &str) -> Operation {
    let lease = Duration::from_secs(900);
    match call["op"].as_str() {
        Some("claim") => Operation::Claim(Claim::first(lease, 3)),
        Some("close") => Operation::Close {
            id: IssueId::new(call["issue"].as_str().expect("the model names it")),
            reason: "done".to_owned(),
            force: false,
        },
        Some("create") => Operation::Create(NewIssue { title: format!("of {name}"), ..NewIssue::default() }),
        _ => Operation::Ready(Filter::default()),
    }
}

/// What the worker is shown: ids, and when the issue changed, so that order and time both enter the next prompt.
fn shown(answer: &Answer) -> Value {
    match answer {
        Answer::Issue(view) => json!({"issue": view.issue.id, "at": view.issue.updated_at}),
        Answer::Issues { issues, .. } => {
            json!({"ids": issues.iter().map(|issue| &issue.id).collect::<Vec<_>>()})
        }
        Answer::Nothing => json!({"issue": null}),
        other => panic!("the experiment asks for nothing that answers {other:?}"),
    }
}

fn epoch() -> Timestamp {
    Timestamp::from_second(1_780_000_000).expect("a moment")
}

async fn wait(effects: &Effects, busy: &Busy, span: Duration) {
    effects.pause(busy, &EffectId::run("pause", 1), span).await;
}

fn live(journal: Option<Journal>) -> Setup {
    Setup {
        origin: Origin::Live,
        time: virtual_time(),
        seed: Seed::new("experiment"),
        journal,
        scrubber: Scrubber::default(),
        faults: Arc::default(),
        halt: CancellationToken::new(),
    }
}

fn replaying(recording: &Recording, strictness: Strictness, jitter: Option<u64>) -> Setup {
    let replay = Replay { jitter, ..Replay::of(recording.clone(), strictness) };
    Setup { origin: Origin::Replay(Box::new(replay)), ..live(None) }
}

fn head() -> RecordingHead {
    RecordingHead {
        format: RECORDING_FORMAT,
        scenario: "experiment".to_owned(),
        evidence: Evidence::Scripted,
        run: RunId::from("r"),
        seed: Seed::new("experiment"),
        epoch: epoch(),
        models: BTreeMap::new(),
        prices: runner::price::Prices::default(),
        inputs: BTreeMap::new(),
        changes: Vec::new(),
        mcp_tools: BTreeMap::new(),
        ended: runner::event::ENDED_WELL.to_owned(),
    }
}

/// The recording of a journal, by way of a cassette.
fn recording_of(journal: &Path, folder: &Path) -> Recording {
    let mut recording = Recording { head: head(), effects: Vec::new(), texts: BTreeMap::new() };
    for line in journal::read(journal).expect("a whole journal") {
        if let Line::Effect { record, texts } = line {
            recording.effects.push(record);
            recording.texts.extend(texts.into_iter().map(|(hash, text)| (hash, text.into())));
        }
    }
    recording.effects.sort_by_key(|record| record.seq);
    cassette::write(&recording, folder).expect("it can be kept");
    cassette::read(folder).expect("it can be read")
}

fn virtual_time() -> Time {
    Time::Virtual(Arc::new(ManualClock::new(epoch())))
}

fn real_time() -> Time {
    Time::Real(Arc::new(SystemClock::default()))
}

async fn experiment(workers: usize, replays: u64, time: Time) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.jsonl");
    let journal = Journal::open(&path).expect("a new journal");
    let world = World::new(Setup { time, ..live(Some(journal.clone())) }, workers as u64);
    let end = world.play(workers).await.expect("a live run goes to its end");
    journal.close().expect("a kept journal");
    let recording = recording_of(&path, &folder.path().join("c.cassette"));
    let last: Vec<&str> =
        recording.effects.iter().rev().map(|record| record.id.phase()).take(workers).collect();
    // What they do follows from the moments they see, so in real time only how much is certain: each turn calls something.
    let at_least = workers * (2 + 2 * TURNS as usize);
    assert!(
        last.iter().all(|phase| *phase == "work") && recording.effects.len() >= at_least,
        "the workers did something"
    );
    for n in 0..replays {
        let strictness = if n.is_multiple_of(2) { Strictness::Total } else { Strictness::Causal };
        let jitter = (n > 1).then_some(n);
        let world = World::new(replaying(&recording, strictness, jitter), n);
        match world.play(workers).await {
            Ok(again) => assert_eq!(again, end, "{strictness:?}, jitter {jitter:?}"),
            Err(halt) => panic!("{workers} workers, {strictness:?}, jitter {jitter:?}: {halt}"),
        }
        assert_eq!(world.effects.progress(), Some((recording.effects.len(), recording.effects.len())));
    }
}

#[tokio::test]
async fn racing_workers_replay_exactly_on_one_thread() {
    for workers in [2, 4, 8] {
        experiment(workers, REPLAYS, virtual_time()).await;
        experiment(workers, REPLAYS, real_time()).await;
    }
    experiment(32, REPLAYS, real_time()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_workers_replay_exactly_on_many_threads() {
    for workers in [2, 4, 8] {
        experiment(workers, REPLAYS, virtual_time()).await;
        experiment(workers, REPLAYS, real_time()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_racing_workers_replay_exactly() {
    experiment(32, REPLAYS, real_time()).await;
}

// ---------------------------------------------------------------- quiescence

/// A recording of effects of these sessions, each a call of its own, all touching one thing.
fn scripted(ids: &[&str]) -> Recording {
    let effects = (1..).zip(ids).map(|(seq, id)| EffectRecord {
        seq,
        id: EffectId::from_text(*id),
        kind: EffectKind::Tool,
        at: later(epoch(), Duration::from_secs(seq)),
        key: Vec::new(),
        footprint: Footprint::none().with(Access::Write, "x:1"),
        policy: Policy::Tape,
        result: Value::from(seq),
    });
    Recording { head: head(), effects: effects.collect(), texts: BTreeMap::new() }
}

fn asked(id: &str) -> Asked {
    let footprint = Footprint::none().with(Access::Write, "x:1");
    Asked { footprint, ..Asked::engine(EffectId::from_text(id), EffectKind::Tool, Policy::Tape) }
}

async fn ask(effects: &Effects, busy: &Busy, id: &str) -> Result<Value, Halt> {
    effects.perform(busy, asked(id), |_| async { Some(Ran::plain(Value::Null)) }).await
}

fn diverged(halt: &Halt) -> &Divergence {
    match halt {
        Halt::Diverged(divergence) => divergence,
        other => panic!("no divergence: {other}"),
    }
}

/// Runs a future where any timer panics: whatever it finds out, it finds out by itself.
fn without_timers<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn an_effect_that_is_left_out_is_noticed_when_nobody_can_go_on() {
    for strictness in [Strictness::Total, Strictness::Causal] {
        without_timers(async {
            let recording = scripted(&["p/a/1.1", "p/b/1.1", "p/a/2.1"]);
            let effects = Effects::new(replaying(&recording, strictness, None));
            let a = effects.busy();
            ask(&effects, &a, "p/a/1.1").await.unwrap();
            let b = effects.busy();
            let mut waits = Box::pin(ask(&effects, &a, "p/a/2.1"));
            assert!(poll(&mut waits).is_pending(), "the other may still ask for its effect");
            drop(b);
            let halt = waits.await.unwrap_err();
            assert_eq!((diverged(&halt).class, diverged(&halt).effect.as_str()), (Class::Missing, "p/b/1.1"));
            assert!(effects.halt_token().is_cancelled());
        });
    }
}

#[test]
fn an_effect_that_is_not_recorded_and_one_that_comes_twice_are_noticed_at_once() {
    without_timers(async {
        for (first, second) in [("p/a/1.1", "p/a/9.1"), ("p/a/1.1", "p/a/1.1")] {
            let effects =
                Effects::new(replaying(&scripted(&["p/a/1.1", "p/b/1.1"]), Strictness::Causal, None));
            let (a, b) = (effects.busy(), effects.busy());
            ask(&effects, &a, first).await.unwrap();
            let halt = ask(&effects, &a, second).await.unwrap_err();
            assert_eq!((diverged(&halt).class, diverged(&halt).effect.as_str()), (Class::Extra, second));
            let after = ask(&effects, &b, "p/b/1.1").await.unwrap_err();
            assert_eq!(diverged(&after), diverged(&halt), "the first difference stays the one that is told");
        }
    });
}

#[test]
fn what_nobody_asked_for_is_told_at_the_end() {
    without_timers(async {
        let effects = Effects::new(replaying(&scripted(&["p/a/1.1", "p/b/1.1"]), Strictness::Causal, None));
        ask(&effects, &effects.busy(), "p/a/1.1").await.unwrap();
        let halt = effects.finish().unwrap_err();
        assert_eq!((diverged(&halt).class, diverged(&halt).effect.as_str()), (Class::Missing, "p/b/1.1"));
    });
}

#[test]
fn an_abandoned_wait_does_not_poison_the_count() {
    without_timers(async {
        let recording = scripted(&["p/a/1.1", "p/b/1.1", "p/c/1.1"]);
        let effects = Effects::new(replaying(&recording, Strictness::Causal, None));
        let (a, b, c) = (effects.busy(), effects.busy(), effects.busy());
        let mut waits = Box::pin(ask(&effects, &b, "p/b/1.1"));
        assert!(poll(&mut waits).is_pending());
        drop(waits);
        // Its holder counts again: with the other two idle, nothing is decided yet.
        let mut last = Box::pin(ask(&effects, &c, "p/c/1.1"));
        assert!(poll(&mut last).is_pending());
        ask(&effects, &a, "p/a/1.1").await.unwrap();
        drop(a);
        assert!(poll(&mut last).is_pending() && effects.halted().is_none());
        drop(b);
        assert!(matches!(poll(&mut last), Poll::Ready(Err(Halt::Diverged(_)))));

        // One that was granted but never polled again gives back no more than it had.
        let effects = Effects::new(replaying(&scripted(&["p/a/1.1", "p/b/1.1"]), Strictness::Causal, None));
        let (a, b) = (effects.busy(), effects.busy());
        let mut waits = Box::pin(ask(&effects, &b, "p/b/1.1"));
        assert!(poll(&mut waits).is_pending());
        ask(&effects, &a, "p/a/1.1").await.unwrap();
        drop(waits);
        drop(a);
        assert!(effects.halted().is_none(), "the holder of the dropped wait still counts");
        drop(b);
    });
}

#[test]
fn tokens_count_through_forks_and_rests() {
    without_timers(async {
        let effects = Effects::new(live(None));
        let busy = effects.busy();
        let fork = busy.fork();
        let mut pause = Box::pin(wait(&effects, &busy, Duration::from_secs(5)));
        assert!(poll(&mut pause).is_pending(), "the fork may still do something");
        assert_eq!(effects.now(), epoch());
        let rest = fork.rest();
        assert!(poll(&mut pause).is_ready(), "nobody is busy");
        assert_eq!(effects.now(), later(epoch(), Duration::from_secs(5)));
        drop(rest);
    });
}

#[test]
fn virtual_time_moves_to_the_earliest_timer_and_one_at_a_time() {
    without_timers(async {
        let effects = Effects::new(live(None));
        let (a, b) = (effects.busy(), effects.busy());
        let seconds = |n: u64| later(epoch(), Duration::from_secs(n));
        let mut alarm = Box::pin(effects.alarm(seconds(20)).expect("a live run has alarms"));
        let mut long = Box::pin(wait(&effects, &a, Duration::from_secs(30)));
        let mut short = Box::pin(wait(&effects, &b, Duration::from_secs(10)));
        assert!(poll(&mut long).is_pending() && effects.now() == epoch());
        assert!(poll(&mut short).is_ready() && effects.now() == seconds(10), "nobody else is busy");
        assert!(poll(&mut alarm).is_pending() && poll(&mut long).is_pending(), "whoever woke is busy");
        drop(short);
        drop(b);
        let Poll::Ready(token) = poll(&mut alarm) else { panic!("it rings") };
        assert_eq!(effects.now(), seconds(20));
        assert!(poll(&mut long).is_pending(), "the alarm's token counts");
        drop(token);
        assert!(poll(&mut long).is_ready() && effects.now() == seconds(30));
    });
}

#[test]
fn an_exploration_chooses_and_rings_alarms_last() {
    without_timers(async {
        let schedule = Schedule::Chosen("1=p/b/1".parse().expect("a schedule"));
        let effects = Effects::exploring(live(None), schedule);
        let (a, b) = (effects.busy(), effects.busy());
        let seconds = |n: u64| later(epoch(), Duration::from_secs(n));
        let (one, two) = (EffectId::turn("p/a", 1), EffectId::turn("p/b", 1));
        let mut alarm = Box::pin(effects.alarm(seconds(5)).expect("a live run has alarms"));
        let mut early = Box::pin(effects.pause(&a, &one, Duration::from_secs(10)));
        let mut late = Box::pin(effects.pause(&b, &two, Duration::from_secs(30)));
        assert!(poll(&mut early).is_pending());
        assert!(poll(&mut late).is_ready() && effects.now() == seconds(30), "as the schedule has it");
        assert!(poll(&mut early).is_pending() && poll(&mut alarm).is_pending());
        drop(late);
        drop(b);
        assert!(poll(&mut early).is_ready() && effects.now() == seconds(30), "time does not go back");
        assert!(poll(&mut alarm).is_pending(), "somebody can go on");
        drop(early);
        drop(a);
        let Poll::Ready(token) = poll(&mut alarm) else { panic!("it rings when nobody can") };
        assert!(!effects.quiet_token().is_cancelled());
        drop(token);
        assert!(effects.quiet_token().is_cancelled(), "nothing is left that could happen");
        let names: Vec<_> = effects.course().unwrap().choices.into_iter().map(|choice| choice.name).collect();
        assert_eq!(names, ["p/b/1", "p/a/1"]);
    });
}

#[tokio::test]
async fn a_schedule_without_an_end_is_given_up() {
    let effects = Effects::exploring(live(None), Schedule::usual());
    let busy = effects.busy();
    let mut steps = 0;
    let halt = loop {
        match effects.turn(&busy, "p/a", "p/a/1").await {
            Ok(()) => steps += 1,
            Err(halt) => break halt,
        }
    };
    assert_eq!(steps, runner::limit::EXPLORED_STEPS);
    assert!(halt.to_string().contains("does not end"), "{halt}");
}

#[test]
fn an_alarm_that_nobody_hears_holds_nobody_up() {
    without_timers(async {
        let effects = Effects::new(live(None));
        let busy = effects.busy();
        let rung = effects.alarm(later(epoch(), Duration::from_secs(1))).expect("a live run has alarms");
        let unrung = effects.alarm(later(epoch(), Duration::from_secs(2))).expect("a live run has alarms");
        let mut pause = Box::pin(wait(&effects, &busy, Duration::from_secs(3)));
        assert!(poll(&mut pause).is_pending(), "the first alarm has rung and carries a token");
        drop(unrung);
        assert!(poll(&mut pause).is_pending());
        drop(rung);
        assert!(poll(&mut pause).is_ready());
        assert_eq!(effects.now(), later(epoch(), Duration::from_secs(3)));
    });
}

#[test]
fn a_halt_wakes_whoever_waits() {
    without_timers(async {
        let recording = scripted(&["p/a/1.1", "p/b/1.1", "p/c/1.1"]);
        let effects = Effects::new(replaying(&recording, Strictness::Total, None));
        let (a, b, c) = (effects.busy(), effects.busy(), effects.busy());
        let mut one = Box::pin(ask(&effects, &b, "p/b/1.1"));
        let mut two = Box::pin(ask(&effects, &c, "p/c/1.1"));
        assert!(poll(&mut one).is_pending() && poll(&mut two).is_pending());
        ask(&effects, &a, "p/x/1.1").await.unwrap_err();
        assert!(matches!(poll(&mut one), Poll::Ready(Err(Halt::Diverged(_)))));
        assert!(matches!(poll(&mut two), Poll::Ready(Err(Halt::Diverged(_)))));

        let effects = Effects::new(replaying(&recording, Strictness::Total, None));
        let (a, b) = (effects.busy(), effects.busy());
        let mut waits = Box::pin(ask(&effects, &b, "p/b/1.1"));
        assert!(poll(&mut waits).is_pending());
        effects.stop();
        assert!(matches!(poll(&mut waits), Poll::Ready(Err(Halt::Stopped))));
        assert!(matches!(ask(&effects, &a, "p/a/1.1").await, Err(Halt::Stopped)));
    });
}

#[tokio::test]
async fn a_journal_that_cannot_be_kept_ends_the_run() {
    let journal = Journal::open(Path::new("/dev/full")).expect("it opens");
    let effects = Effects::new(live(Some(journal)));
    let (a, b) = (effects.busy(), effects.busy());
    let mut pause = Box::pin(wait(&effects, &b, Duration::from_secs(5)));
    assert!(poll(&mut pause).is_pending());
    let model = Asked::engine(EffectId::turn("p/a", 1), EffectKind::Llm, Policy::Tape);
    let halt = effects.perform(&a, model, |_| async { Some(Ran::plain(Value::Null)) }).await.unwrap_err();
    assert!(matches!(halt, Halt::Journal(_)), "{halt}");
    assert!(effects.halt_token().is_cancelled());
    assert!(poll(&mut pause).is_ready(), "who pauses is woken");
    assert!(matches!(ask(&effects, &b, "p/b/1.1").await, Err(Halt::Journal(_))));

    // What must not happen twice does not happen at all when it cannot be announced.
    let effects = Effects::new(live(Some(Journal::open(Path::new("/dev/full")).expect("it opens"))));
    let harmful = Asked { announce: Announce::Intent, ..asked("p/a/1.1") };
    let ran = std::sync::atomic::AtomicBool::new(false);
    let run = |_| async { Some(Ran::plain(ran.swap(true, std::sync::atomic::Ordering::Relaxed).into())) };
    assert!(matches!(effects.perform(&effects.busy(), harmful, run).await, Err(Halt::Journal(_))));
    assert!(!ran.into_inner());
}
