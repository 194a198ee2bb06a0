//! The gate itself: what sessions and the engine ask of it, live, against a recording, or in a run that goes on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::divergence;
use super::memory::{Memory, Past};
use super::schedule::{Course, Explorer, Schedule};
use super::score::{Replay, Score, Strictness};
use super::state::{Shared, State, TimerKind};
use super::wait::{Alarm, Busy, Wait};
use super::{Asked, Grant, Halt, Kept, Ran};
use crate::clock::{Clock, ManualClock, Timestamp, later};
use crate::event::{EffectId, Policy, Recording, Sequence};
use crate::fault::Faults;
use crate::id::{IdSource, Seed};
use crate::journal::Journal;
use crate::secret::Scrubber;

/// What the gate of a run is made of.
pub struct Setup {
    /// Where results come from.
    pub origin: Origin,
    /// Which time the run lives in.
    pub time: Time,
    /// The seed of every id.
    pub seed: Seed,
    /// Where effects are kept.
    pub journal: Option<Journal>,
    /// What must never be kept or shown.
    pub scrubber: Scrubber,
    /// What goes wrong on purpose.
    pub faults: Arc<Faults>,
    /// Cancelled when the replay diverges or the run can no longer be recorded.
    pub halt: CancellationToken,
}

/// Where the results of a run come from.
pub enum Origin {
    /// From what is run.
    Live,
    /// From a recording, or from what is run and must equal it.
    Replay(Box<Replay>),
    /// From the run's own journal as far as it goes, then from what is run.
    Resume(Past),
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
    pub(super) shared: Arc<Shared>,
}

impl Effects {
    /// A gate. In a replay the time is that of the recording, whatever `setup.time` says.
    pub fn new(setup: Setup) -> Self {
        let (replay, past) = match setup.origin {
            Origin::Live => (None, None),
            Origin::Replay(replay) => (Some(*replay), None),
            Origin::Resume(past) => (None, Some(past)),
        };
        let time = match &replay {
            Some(replay) => Time::Virtual(Arc::new(ManualClock::new(replay.recording.head.epoch))),
            None => setup.time,
        };
        let jitter = replay.as_ref().and_then(|replay| replay.jitter);
        let is_serial = match &replay {
            Some(replay) => replay.strictness == Strictness::Total,
            None => matches!(time, Time::Virtual(_)),
        };
        let sequence = Sequence::after(past.as_ref().map_or(0, |past| past.last_seq));
        let state = State {
            busy: 0,
            tickets: HashMap::new(),
            next_ticket: 0,
            timers: BTreeMap::new(),
            turns: BTreeMap::new(),
            round: 0,
            explorer: None,
            score: replay.map(Score::new),
            written: past.iter().flat_map(|past| past.texts.keys().cloned()).collect(),
            memory: past.map(Memory::new),
            halted: None,
        };
        let shared = Shared {
            is_replay: state.score.is_some(),
            is_serial,
            time,
            seed: setup.seed,
            journal: setup.journal,
            scrubber: setup.scrubber,
            faults: setup.faults,
            halt: setup.halt,
            sequence,
            jitter,
            quiet: CancellationToken::new(),
            state: Mutex::new(state),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A gate in virtual time at which a schedule decides who goes on, instead of time: a reply may come at any moment.
    pub fn exploring(setup: Setup, schedule: Schedule) -> Self {
        debug_assert!(
            matches!((&setup.origin, &setup.time), (Origin::Live, Time::Virtual(_))),
            "nothing decides"
        );
        let effects = Self::new(setup);
        effects.shared.state().explorer = Some(Explorer::new(schedule));
        effects
    }

    /// Who went on so far, in an exploration.
    pub fn course(&self) -> Option<Course> {
        self.shared.state().explorer.as_ref().map(|explorer| explorer.course().clone())
    }

    /// Cancelled when an exploration finds that nobody goes on and nothing is waited for: at its end, or never before.
    pub fn quiet_token(&self) -> &CancellationToken {
        &self.shared.quiet
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

    /// A part of what a recorded effect came to, by its name in the result: what has to be there before it is run again.
    /// Never in a live run.
    pub fn recorded_part(&self, id: &EffectId, part: &str) -> Option<Value> {
        let state = self.shared.state();
        let score = state.score.as_ref()?;
        score.record(*score.index.get(id)?).result.get(part).cloned()
    }

    /// Whether the recording that is played, or the journal of the run that goes on, holds this effect.
    pub fn is_known(&self, id: &EffectId) -> bool {
        let state = self.shared.state();
        let is_done = state.memory.as_ref().is_some_and(|memory| memory.knows(id));
        is_done || state.score.as_ref().is_some_and(|score| score.index.contains_key(id))
    }

    /// Whether a run that goes on is still being told what it did before: nothing may be decided anew meanwhile.
    pub fn is_past(&self) -> bool {
        self.shared.state().memory.as_ref().is_some_and(|memory| !memory.is_over())
    }

    /// Gives only commit numbers after this one: a run that goes on must not use one again.
    pub fn number_after(&self, last: u64) {
        self.shared.sequence.go_beyond(last);
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
        self.perform_or_restore(busy, asked, run, |_, _| async { Ok(()) }).await
    }

    /// The same for an effect that leaves something behind: when its result is kept somewhere, `restore` makes what it
    /// left from the result, before anything that follows may begin.
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
        T: FnOnce(Kept, Value) -> S,
        S: Future<Output = Result<(), Halt>>,
    {
        let permit = self.begin(busy, asked).await?;
        if let Some(result) = permit.known {
            restore(Kept::Journal(permit.name), result.clone()).await?;
            return Ok(result);
        }
        if let Some(at) = permit.recorded
            && permit.asked.policy == Policy::Tape
        {
            let result = self.shared.state().score().record(at).result.clone();
            restore(Kept::Recording, result.clone()).await?;
            self.commit(permit, Ran::plain(result.clone())).await?;
            return Ok(result);
        }
        let grant = Grant {
            effect: permit.name.clone(),
            beginning: permit.beginning,
            at: permit.at,
            ids: Arc::new(IdSource::new(&self.shared.seed, permit.name.without_attempt())),
            sequence: (!self.shared.is_replay).then(|| self.shared.sequence.clone()),
        };
        let mut ran = run(grant).await.ok_or(Halt::Stopped)?;
        ran.result = self.shared.scrubber.scrub_json(ran.result);
        let result = ran.result.clone();
        if permit.recorded.is_none() {
            // Several may have come to their ends at once; their numbers follow from their names then.
            let name = permit.asked.id.as_str();
            self.turn(busy, name, name).await?;
        }
        self.commit(permit, ran).await?;
        Ok(result)
    }

    /// Waits for its turn where only one goes on at a time: in a replay of the total order, and in virtual time. A turn
    /// comes when nobody is busy, in rounds, by `order` within a round; an exploration chooses by `name`. Not an effect.
    /// Whoever begins something beside others takes one first, so that what it tells and asks for has one order.
    ///
    /// # Errors
    /// Nothing goes on any more.
    pub async fn turn(&self, busy: &Busy, order: &str, name: &str) -> Result<(), Halt> {
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
            state.queue_turn(order, name, ticket);
            state.busy -= 1;
            self.shared.settle(&mut state);
            ticket
        };
        Wait { shared: &self.shared, ticket, done: false }.await
    }

    /// Waits, in the run's time, within the effect of this name. Not an effect itself: nothing may depend on how long it
    /// took. A replay does not wait.
    pub async fn pause(&self, busy: &Busy, name: &EffectId, span: Duration) {
        if self.shared.is_replay || span.is_zero() || self.is_past() {
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
                    let kind = TimerKind::Pause(name.to_string());
                    state.timers.insert((later(clock.now(), span), ticket), kind);
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

    /// The end of a run: everything recorded, or done before it went on, must have happened.
    ///
    /// # Errors
    /// Something recorded was not asked for.
    pub fn finish(&self) -> Result<(), Halt> {
        let mut state = self.shared.state();
        if let Some(halt) = &state.halted {
            return Err(halt.clone());
        }
        if let Some(memory) = &state.memory {
            memory.end();
        }
        let unreached = state.memory.as_ref().and_then(Memory::missing);
        let unplayed = || {
            let score = state.score.as_ref().filter(|score| !score.is_played())?;
            Some(divergence::missing(score, score.next_missing()?, &[]))
        };
        let Some(divergence) = unreached.or_else(unplayed) else { return Ok(()) };
        Err(self.shared.halt(&mut state, Halt::Diverged(Arc::new(divergence))))
    }

    /// The recording that is played, as it reads now, and how many of its effects read otherwise. `None` in a live run.
    pub fn rewritten(&self) -> Option<(Recording, usize)> {
        self.shared.state().score.as_ref().map(Score::rewritten)
    }

    /// The recording as far as it has been played, and the effects at which it was left. `None` in a live run.
    pub fn played(&self) -> Option<(Recording, Vec<EffectId>)> {
        self.shared.state().score.as_ref().map(Score::played)
    }

    /// Effects committed of those recorded, in a replay.
    pub fn progress(&self) -> Option<(usize, usize)> {
        let state = self.shared.state();
        let score = state.score.as_ref()?;
        Some((score.done.iter().filter(|done| **done).count(), score.done.len()))
    }
}
