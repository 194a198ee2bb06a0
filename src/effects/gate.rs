//! The gate itself: begins and commits effects, live or against a recording, and knows when nobody can go on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::divergence;
use super::score::{Replay, Score, Strictness};
use super::wait::{Alarm, Busy, Ticket, Wait};
use super::{Announce, Asked, Grant, Halt, Ran};
use crate::clock::{Clock, ManualClock, Timestamp, later};
use crate::event::{EffectId, EffectKind, EffectRecord, Policy, Sequence};
use crate::id::{Fingerprint, IdSource, Seed};
use crate::journal::{Durability, Journal, Line};
use crate::secret::Scrubber;

/// What the gate of a run is made of.
pub struct Setup {
    /// The recording to play; `None` is live.
    pub replay: Option<Replay>,
    /// Which time the run lives in.
    pub time: Time,
    /// The seed of every id.
    pub seed: Seed,
    /// Where effects are kept.
    pub journal: Option<Journal>,
    /// What must never be kept or shown.
    pub scrubber: Scrubber,
    /// Cancelled when the replay diverges or the run can no longer be recorded.
    pub halt: CancellationToken,
}

/// Which time a run lives in. A replay always lives in that of its recording.
#[derive(Clone)]
pub enum Time {
    /// The machine's.
    Real(Arc<dyn Clock>),
    /// One that stands still while anybody is busy and then moves to the earliest timer.
    Virtual(Arc<ManualClock>),
}

/// The gate of a run; cheap to share.
#[derive(Clone)]
pub struct Effects {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    time: Time,
    seed: Seed,
    journal: Option<Journal>,
    scrubber: Scrubber,
    halt: CancellationToken,
    sequence: Sequence,
    is_replay: bool,
    /// Whether only one goes on at a time, so that everything has one order: see [`Effects::turn`].
    is_serial: bool,
    jitter: Option<u64>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) busy: usize,
    pub(super) tickets: HashMap<u64, Ticket>,
    next_ticket: u64,
    timers: BTreeMap<(Timestamp, u64), TimerKind>,
    /// Tickets of those who wait for their turn: by round, then by name.
    turns: BTreeMap<(u64, String, u64), u64>,
    /// The round that is being played.
    round: u64,
    score: Option<Score>,
    written: HashSet<Fingerprint>,
    halted: Option<Halt>,
}

/// Whose wait a timer ends: both are counted as busy when it rings.
#[derive(Clone, Copy)]
enum TimerKind {
    Pause,
    Alarm,
}

/// An effect that may run.
struct Permit {
    asked: Asked,
    at: Timestamp,
    recorded: Option<usize>,
}

impl Effects {
    /// A gate. In a replay the time is that of the recording, whatever `setup.time` says.
    pub fn new(setup: Setup) -> Self {
        let time = match &setup.replay {
            Some(replay) => Time::Virtual(Arc::new(ManualClock::new(replay.recording.head.epoch))),
            None => setup.time,
        };
        let jitter = setup.replay.as_ref().and_then(|replay| replay.jitter);
        let is_serial = match &setup.replay {
            Some(replay) => replay.strictness == Strictness::Total,
            None => matches!(time, Time::Virtual(_)),
        };
        let state = State {
            busy: 0,
            tickets: HashMap::new(),
            next_ticket: 0,
            timers: BTreeMap::new(),
            turns: BTreeMap::new(),
            round: 0,
            score: setup.replay.map(Score::new),
            written: HashSet::new(),
            halted: None,
        };
        let shared = Shared {
            is_replay: state.score.is_some(),
            is_serial,
            time,
            seed: setup.seed,
            journal: setup.journal,
            scrubber: setup.scrubber,
            halt: setup.halt,
            sequence: Sequence::default(),
            jitter,
            state: Mutex::new(state),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A token for someone who can change something from now on.
    pub fn busy(&self) -> Busy {
        self.shared.state().busy += 1;
        Busy { shared: self.shared.clone() }
    }

    /// Whether results come from a recording.
    pub fn is_replay(&self) -> bool {
        self.shared.is_replay
    }

    /// Whether time moves by itself.
    pub fn is_real_time(&self) -> bool {
        matches!(self.shared.time, Time::Real(_))
    }

    /// The present moment, for what people are told. Effects are given theirs.
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// What takes secrets out of texts.
    pub fn scrubber(&self) -> &Scrubber {
        &self.shared.scrubber
    }

    /// Cancelled when nothing goes on any more.
    pub fn halt_token(&self) -> &CancellationToken {
        &self.shared.halt
    }

    /// Why nothing goes on, if so.
    pub fn halted(&self) -> Option<Halt> {
        self.shared.state().halted.clone()
    }

    /// Whether the recording that is played holds this effect: how a replay stops where the recording did. Never in a live
    /// run.
    pub fn is_recorded(&self, id: &EffectId) -> bool {
        self.shared.state().score.as_ref().is_some_and(|score| score.index.contains_key(id))
    }

    /// Ends a replay that somebody stops: it has nothing to finish.
    pub fn stop(&self) {
        self.shared.halt(&mut self.shared.state(), Halt::Stopped);
    }

    /// Performs an effect: begins it, runs it unless its result is on tape, commits it. `run` answers `None` when it
    /// was stopped half way: nothing is recorded then. Secrets are taken out of the result.
    ///
    /// # Errors
    /// The replay has diverged, the journal cannot be kept, or the effect was stopped.
    pub async fn perform<F, R>(&self, busy: &Busy, asked: Asked, run: F) -> Result<Value, Halt>
    where
        F: FnOnce(Grant) -> R,
        R: Future<Output = Option<Ran>>,
    {
        self.perform_or_restore(busy, asked, run, |_| async { Ok(()) }).await
    }

    /// The same for an effect that leaves something behind: when its result is on tape, `restore` makes what it left
    /// from the result, before anything that follows may begin.
    ///
    /// # Errors
    /// As `perform`, and when `restore` fails.
    pub async fn perform_or_restore<F, R, T, S>(
        &self,
        busy: &Busy,
        asked: Asked,
        run: F,
        restore: T,
    ) -> Result<Value, Halt>
    where
        F: FnOnce(Grant) -> R,
        R: Future<Output = Option<Ran>>,
        T: FnOnce(Value) -> S,
        S: Future<Output = Result<(), Halt>>,
    {
        let permit = self.begin(busy, asked).await?;
        if let Some(at) = permit.recorded
            && permit.asked.policy == Policy::Tape
        {
            let result = self.shared.state().score().record(at).result.clone();
            restore(result.clone()).await?;
            self.commit(permit, Ran::plain(result.clone())).await?;
            return Ok(result);
        }
        let grant = Grant {
            at: permit.at,
            ids: Arc::new(IdSource::new(&self.shared.seed, permit.asked.id.without_attempt())),
            sequence: (!self.shared.is_replay).then(|| self.shared.sequence.clone()),
        };
        let mut ran = run(grant).await.ok_or(Halt::Stopped)?;
        ran.result = self.shared.scrubber.scrub_json(ran.result);
        let result = ran.result.clone();
        if permit.recorded.is_none() {
            // Several may have come to their ends at once; their numbers follow from their names then.
            self.turn(busy, permit.asked.id.as_str()).await?;
        }
        self.commit(permit, ran).await?;
        Ok(result)
    }

    /// Waits for its turn where only one goes on at a time: in a replay of the total order, and in virtual time. A turn
    /// comes when nobody is busy, in rounds, by name within a round. Not an effect. Whoever begins something beside
    /// others takes one first, so that what it tells and asks for has one order.
    ///
    /// # Errors
    /// Nothing goes on any more.
    pub async fn turn(&self, busy: &Busy, name: &str) -> Result<(), Halt> {
        debug_assert!(Arc::ptr_eq(&busy.shared, &self.shared), "a token is of the gate it is used at");
        if !self.shared.is_serial {
            return Ok(());
        }
        let ticket = {
            let mut state = self.shared.state();
            if let Some(halt) = &state.halted {
                return Err(halt.clone());
            }
            let ticket = state.new_ticket();
            state.queue_turn(name, ticket);
            state.busy -= 1;
            self.shared.settle(&mut state);
            ticket
        };
        Wait { shared: &self.shared, ticket, done: false }.await
    }

    /// Waits, in the run's time. Not an effect: nothing may depend on how long it took. A replay does not wait.
    pub async fn pause(&self, busy: &Busy, span: Duration) {
        if self.shared.is_replay || span.is_zero() {
            return;
        }
        match &self.shared.time {
            Time::Real(_) => {
                let _rest = busy.rest();
                tokio::time::sleep(span).await;
            }
            Time::Virtual(clock) => {
                let ticket = {
                    let mut state = self.shared.state();
                    let ticket = state.new_ticket();
                    state.timers.insert((later(clock.now(), span), ticket), TimerKind::Pause);
                    state.busy -= 1;
                    self.shared.settle(&mut state);
                    ticket
                };
                // A halted run has its tasks dropped; what is left of the pause does not matter then.
                let _ = Wait { shared: &self.shared, ticket, done: false }.await;
            }
        }
    }

    /// An alarm at a moment of the run's time. `None` in a replay, where the recording says when things happen.
    pub fn alarm(&self, at: Timestamp) -> Option<Alarm> {
        if self.shared.is_replay {
            return None;
        }
        match &self.shared.time {
            Time::Real(clock) => {
                let wait = Duration::try_from(at.duration_since(clock.now())).unwrap_or_default();
                Some(Alarm::in_real_time(self.shared.clone(), wait))
            }
            Time::Virtual(_) => {
                let mut state = self.shared.state();
                let ticket = state.new_ticket();
                state.timers.insert((at, ticket), TimerKind::Alarm);
                self.shared.settle(&mut state);
                Some(Alarm::in_virtual_time(self.shared.clone(), ticket))
            }
        }
    }

    /// The end of a run: in a replay everything recorded must have happened.
    ///
    /// # Errors
    /// Something recorded was not asked for.
    pub fn finish(&self) -> Result<(), Halt> {
        let mut state = self.shared.state();
        if let Some(halt) = &state.halted {
            return Err(halt.clone());
        }
        let missing = state.score.as_ref().and_then(|score| Some((score, score.next_missing()?)));
        let Some((score, at)) = missing else { return Ok(()) };
        let divergence = divergence::missing(score, at, &[]);
        Err(self.shared.halt(&mut state, Halt::Diverged(Arc::new(divergence))))
    }

    /// Effects committed of those recorded, in a replay.
    pub fn progress(&self) -> Option<(usize, usize)> {
        let state = self.shared.state();
        let score = state.score.as_ref()?;
        Some((score.done.iter().filter(|done| **done).count(), score.done.len()))
    }

    async fn begin(&self, busy: &Busy, asked: Asked) -> Result<Permit, Halt> {
        debug_assert!(Arc::ptr_eq(&busy.shared, &self.shared), "a token is of the gate it is used at");
        if !self.shared.is_replay {
            return self.begin_live(asked).await;
        }
        self.jitter(&asked.id, 0).await;
        let (at, ticket) = {
            let mut state = self.shared.state();
            if let Some(halt) = &state.halted {
                return Err(halt.clone());
            }
            match divergence::check_asked(state.score(), &asked) {
                Err(divergence) => {
                    return Err(self.shared.halt(&mut state, Halt::Diverged(Arc::from(divergence))));
                }
                Ok(at) => {
                    state.score().begun[at] = true;
                    let is_free = state.score().may_run(at);
                    if is_free && !self.shared.is_serial {
                        (at, None)
                    } else {
                        let ticket = state.new_ticket();
                        if is_free {
                            state.queue_turn(asked.id.as_str(), ticket);
                        } else {
                            state.score().waiting.insert(at, ticket);
                        }
                        state.busy -= 1;
                        self.shared.settle(&mut state);
                        (at, Some(ticket))
                    }
                }
            }
        };
        if let Some(ticket) = ticket {
            Wait { shared: &self.shared, ticket, done: false }.await?;
        }
        self.jitter(&asked.id, 1).await;
        let now = self.shared.state().score().record(at).at;
        if let Time::Virtual(clock) = &self.shared.time {
            clock.advance_to(now);
        }
        Ok(Permit { asked, at: now, recorded: Some(at) })
    }

    async fn begin_live(&self, asked: Asked) -> Result<Permit, Halt> {
        if let Some(halt) = self.halted() {
            return Err(halt);
        }
        let at = self.shared.now();
        if let (Announce::Intent, Some(journal)) = (asked.announce, &self.shared.journal) {
            let line = Line::Intent { id: asked.id.clone(), at };
            let written = match journal.append(&line, Durability::Synced) {
                Ok(written) => written.await,
                Err(error) => Err(error),
            };
            written.map_err(|error| self.shared.halt(&mut self.shared.state(), error.into()))?;
        }
        Ok(Permit { asked, at, recorded: None })
    }

    async fn commit(&self, permit: Permit, ran: Ran) -> Result<(), Halt> {
        if let Some(at) = permit.recorded {
            return self.commit_replayed(&permit, at, &ran);
        }
        let durability = match permit.asked.kind {
            EffectKind::Llm => Durability::Synced,
            _ => Durability::Later,
        };
        let written = {
            let mut state = self.shared.state();
            if let Some(halt) = &state.halted {
                return Err(halt.clone());
            }
            let Some(journal) = &self.shared.journal else { return Ok(()) };
            let texts = state.new_texts(&permit.asked);
            let Asked { id, kind, key, footprint, policy, .. } = permit.asked;
            let record = EffectRecord {
                // Drawn under the lock that the line is queued under: numbers and lines have one order.
                seq: ran.seq.unwrap_or_else(|| self.shared.sequence.next()),
                id,
                kind,
                at: permit.at,
                key,
                footprint: ran.footprint.unwrap_or(footprint),
                policy,
                result: ran.result,
            };
            match journal.append(&Line::Effect { record, texts }, durability) {
                Ok(written) => written,
                Err(error) => return Err(self.shared.halt(&mut state, error.into())),
            }
        };
        written.await.map_err(|error| self.shared.halt(&mut self.shared.state(), error.into()))
    }

    fn commit_replayed(&self, permit: &Permit, at: usize, ran: &Ran) -> Result<(), Halt> {
        let mut state = self.shared.state();
        if let Some(halt) = &state.halted {
            return Err(halt.clone());
        }
        if let Err(divergence) = divergence::check_ran(state.score(), at, &permit.asked, ran) {
            return Err(self.shared.halt(&mut state, Halt::Diverged(Arc::from(divergence))));
        }
        for ticket in state.score().commit(at) {
            if self.shared.is_serial {
                // In the total order there is only ever one, so that its name decides nothing.
                state.queue_turn("", ticket);
            } else {
                state.answer(ticket, Ok(()));
            }
        }
        Ok(())
    }

    async fn jitter(&self, id: &EffectId, place: u8) {
        let Some(seed) = self.shared.jitter else { return };
        let digest = Sha256::digest(format!("{seed}/{id}/{place}"));
        for _ in 0..digest[0] % 24 {
            tokio::task::yield_now().await;
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the gate")
    }

    fn now(&self) -> Timestamp {
        match &self.time {
            Time::Real(clock) => clock.now(),
            Time::Virtual(clock) => clock.now(),
        }
    }

    pub(super) fn one_less(&self) {
        let mut state = self.state();
        state.busy -= 1;
        self.settle(&mut state);
    }

    /// When nobody is busy: gives the next turn, moves virtual time on, or says that a replay is stuck.
    fn settle(&self, state: &mut State) {
        if state.busy > 0 || state.halted.is_some() {
            return;
        }
        if let Some(ticket) = state.next_turn() {
            state.answer(ticket, Ok(()));
            return;
        }
        let State { score, tickets, .. } = state;
        if let Some(score) = score {
            // Waits that were abandoned have no ticket any more.
            score.waiting.retain(|_, ticket| tickets.contains_key(ticket));
            if !score.waiting.is_empty() {
                let divergence = divergence::stuck(score);
                self.halt(state, Halt::Diverged(Arc::new(divergence)));
            }
            return;
        }
        let Time::Virtual(clock) = &self.time else { return };
        while let Some(((at, ticket), _)) = state.timers.pop_first() {
            if state.tickets.contains_key(&ticket) {
                clock.advance_to(at);
                state.answer(ticket, Ok(()));
                break;
            }
        }
    }

    /// Ends everything: whoever waits is told, the first reason stays.
    fn halt(&self, state: &mut State, halt: Halt) -> Halt {
        let halt = state.halted.get_or_insert(halt).clone();
        let gate_waits: Vec<u64> = match &mut state.score {
            Some(score) => std::mem::take(&mut score.waiting).into_values().collect(),
            None => Vec::new(),
        };
        let turns = std::mem::take(&mut state.turns).into_values();
        let pauses = std::mem::take(&mut state.timers);
        let pauses = pauses.into_iter().filter(|(_, kind)| matches!(kind, TimerKind::Pause));
        for ticket in gate_waits.into_iter().chain(turns).chain(pauses.map(|((_, ticket), _)| ticket)) {
            state.answer(ticket, Err(halt.clone()));
        }
        self.halt.cancel();
        halt
    }
}

impl State {
    fn score(&mut self) -> &mut Score {
        self.score.as_mut().expect("only a replay asks for the score")
    }

    fn new_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, Ticket::Waiting(None));
        self.next_ticket
    }

    /// Whoever comes now has a turn in the next round, after all who wait already: nobody is passed over for long.
    fn queue_turn(&mut self, name: &str, ticket: u64) {
        self.turns.insert((self.round + 1, name.to_owned(), ticket), ticket);
    }

    fn next_turn(&mut self) -> Option<u64> {
        while let Some(((round, ..), ticket)) = self.turns.pop_first() {
            self.round = round;
            // Waits that were abandoned have no ticket any more.
            if self.tickets.contains_key(&ticket) {
                return Some(ticket);
            }
        }
        None
    }

    /// Answers a wait and counts its holder as busy, unless nobody waits any more.
    fn answer(&mut self, ticket: u64, answer: Result<(), Halt>) {
        let Some(entry) = self.tickets.get_mut(&ticket) else { return };
        let before = std::mem::replace(entry, Ticket::Answered(answer));
        self.busy += 1;
        if let Ticket::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }

    fn new_texts(&mut self, asked: &Asked) -> BTreeMap<Fingerprint, String> {
        let mut texts = BTreeMap::new();
        // Of a long conversation nearly every part is known already.
        for segment in asked.key.iter().filter(|segment| !self.written.contains(&segment.hash)) {
            texts.insert(segment.hash.clone(), segment.text.to_string());
        }
        self.written.extend(texts.keys().cloned());
        texts
    }
}
