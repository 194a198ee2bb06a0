//! What the gate knows of its run: who is busy, who waits for what. And what happens when nobody is busy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use super::gate::Time;
use super::memory::Memory;
use super::schedule::Explorer;
use super::score::Score;
use super::wait::Ticket;
use super::{Asked, Halt, divergence};
use crate::clock::{Clock, Timestamp};
use crate::event::Sequence;
use crate::fault::Faults;
use crate::id::{Fingerprint, Seed};
use crate::journal::Journal;
use crate::limit;
use crate::secret::Scrubber;

pub(super) struct Shared {
    pub(super) time: Time,
    pub(super) seed: Seed,
    pub(super) journal: Option<Journal>,
    pub(super) scrubber: Scrubber,
    pub(super) faults: Arc<Faults>,
    pub(super) halt: CancellationToken,
    pub(super) sequence: Sequence,
    pub(super) is_replay: bool,
    /// Whether only one goes on at a time, so that everything has one order: see [`Effects::turn`].
    pub(super) is_serial: bool,
    pub(super) jitter: Option<u64>,
    /// Cancelled when an exploration finds that nobody can ever go on.
    pub(super) quiet: CancellationToken,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) busy: usize,
    pub(super) tickets: HashMap<u64, Ticket>,
    pub(super) next_ticket: u64,
    pub(super) timers: BTreeMap<(Timestamp, u64), TimerKind>,
    /// Tickets of those who wait for their turn: by round, then by name.
    pub(super) turns: BTreeMap<(u64, String, u64), Turn>,
    /// The round that is being played.
    pub(super) round: u64,
    /// Who chooses in an exploration.
    pub(super) explorer: Option<Explorer>,
    pub(super) score: Option<Score>,
    pub(super) memory: Option<Memory>,
    pub(super) written: HashSet<Fingerprint>,
    pub(super) halted: Option<Halt>,
}

/// Whose wait a timer ends: both are counted as busy when it rings.
pub(super) enum TimerKind {
    /// Of the effect of this name.
    Pause(String),
    Alarm,
}

/// Somebody who waits for a turn.
pub(super) struct Turn {
    pub(super) ticket: u64,
    /// Under which an exploration chooses it.
    pub(super) name: String,
}

/// Where somebody stands whom an exploration may choose.
enum Stand {
    Turn((u64, String, u64)),
    Pause((Timestamp, u64)),
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the gate")
    }

    pub(super) fn now(&self) -> Timestamp {
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
    pub(super) fn settle(&self, state: &mut State) {
        if state.busy > 0 || state.halted.is_some() {
            return;
        }
        if state.explorer.is_some() {
            self.explore(state);
            return;
        }
        if let Some(ticket) = state.next_turn() {
            state.answer(ticket, Ok(()));
            return;
        }
        if state.memory.as_ref().is_some_and(|memory| !memory.is_over()) {
            self.end_past(state);
            return;
        }
        let State { score, tickets, .. } = state;
        if let Some(score) = score {
            // Waits that were abandoned have no ticket any more.
            score.waiting.retain(|_, ticket| tickets.contains_key(ticket));
            score.beyond.retain(|ticket| tickets.contains_key(ticket));
            if score.waiting.is_empty() && score.beyond.is_empty() {
                return;
            }
            let halt = match score.is_played() {
                true => Halt::Played,
                false => Halt::Diverged(Arc::new(divergence::stuck(score))),
            };
            self.halt(state, halt);
            return;
        }
        self.ring(state);
    }

    /// Moves virtual time to the earliest timer that somebody waits for; false when there is none.
    fn ring(&self, state: &mut State) -> bool {
        let Time::Virtual(clock) = &self.time else { return false };
        while let Some(((at, ticket), _)) = state.timers.pop_first() {
            if state.tickets.contains_key(&ticket) {
                clock.advance_to(at);
                state.answer(ticket, Ok(()));
                return true;
            }
        }
        false
    }

    /// Nobody is busy in an exploration: one of those who wait for a turn or a reply goes on, whenever the reply was due.
    /// An alarm rings when there is none of them.
    fn explore(&self, state: &mut State) {
        let (names, stands): (Vec<_>, Vec<_>) = state.explorable().into_iter().unzip();
        if names.is_empty() {
            if !self.ring(state) {
                self.quiet.cancel();
            }
            return;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let explorer = state.explorer.as_mut().expect("only an exploration comes here");
        if explorer.course().choices.len() >= limit::EXPLORED_STEPS {
            let why = format!("the run does not end: it was given up after {} steps", limit::EXPLORED_STEPS);
            self.halt(state, Halt::Standstill(why));
            return;
        }
        let ticket = match &stands[explorer.choose(&names)] {
            Stand::Turn(place) => state.turns.remove(place).map(|turn| turn.ticket),
            Stand::Pause(place) => {
                if let Time::Virtual(clock) = &self.time {
                    clock.advance_to(place.0);
                }
                state.timers.remove(place).map(|_| place.1)
            }
        };
        state.answer(ticket.expect("whoever may be chosen waits"), Ok(()));
    }

    /// Nobody is busy, so that what was done before is either played or cannot be reached.
    pub(super) fn end_past(&self, state: &mut State) {
        let State { memory, tickets, .. } = state;
        let memory = memory.as_mut().expect("only a run that goes on has a past");
        // Waits that were abandoned have no ticket any more.
        memory.waiting.retain(|(_, ticket)| tickets.contains_key(ticket));
        if memory.waiting.is_empty() {
            return;
        }
        if let Some(divergence) = memory.missing() {
            self.halt(state, Halt::Diverged(Arc::new(divergence)));
            return;
        }
        memory.end();
        for (name, ticket) in std::mem::take(&mut memory.waiting) {
            if self.is_serial {
                state.queue_turn(&name, &name, ticket);
            } else {
                state.answer(ticket, Ok(()));
            }
        }
        if self.is_serial
            && let Some(ticket) = state.next_turn()
        {
            state.answer(ticket, Ok(()));
        }
    }

    /// Ends everything: whoever waits is told, the first reason stays.
    pub(super) fn halt(&self, state: &mut State, halt: Halt) -> Halt {
        let halt = state.halted.get_or_insert(halt).clone();
        let mut gate_waits: Vec<u64> = match &mut state.score {
            Some(score) => {
                let beyond = std::mem::take(&mut score.beyond);
                std::mem::take(&mut score.waiting).into_values().chain(beyond).collect()
            }
            None => Vec::new(),
        };
        if let Some(memory) = &mut state.memory {
            gate_waits.extend(std::mem::take(&mut memory.waiting).into_iter().map(|(_, ticket)| ticket));
        }
        let turns = std::mem::take(&mut state.turns).into_values().map(|turn| turn.ticket);
        let pauses = std::mem::take(&mut state.timers);
        let pauses = pauses.into_iter().filter(|(_, kind)| matches!(kind, TimerKind::Pause(_)));
        for ticket in gate_waits.into_iter().chain(turns).chain(pauses.map(|((_, ticket), _)| ticket)) {
            state.answer(ticket, Err(halt.clone()));
        }
        self.halt.cancel();
        halt
    }
}

impl State {
    pub(super) fn score(&mut self) -> &mut Score {
        self.score.as_mut().expect("only a replay asks for the score")
    }

    pub(super) fn new_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, Ticket::Waiting(None));
        self.next_ticket
    }

    /// Whoever comes now has a turn in the next round, after all who wait already: nobody is passed over for long.
    /// Within a round `order` decides.
    pub(super) fn queue_turn(&mut self, order: &str, name: &str, ticket: u64) {
        self.turns.insert((self.round + 1, order.to_owned(), ticket), Turn { ticket, name: name.to_owned() });
    }

    /// Whom an exploration may choose, by name.
    fn explorable(&mut self) -> Vec<(String, Stand)> {
        let Self { turns, timers, tickets, .. } = self;
        // Waits that were abandoned have no ticket any more.
        turns.retain(|_, turn| tickets.contains_key(&turn.ticket));
        timers.retain(|(_, ticket), _| tickets.contains_key(ticket));
        let turns = turns.iter().map(|(place, turn)| (turn.name.clone(), Stand::Turn(place.clone())));
        let pauses = timers.iter().filter_map(|(place, kind)| match kind {
            TimerKind::Pause(name) => Some((name.clone(), Stand::Pause(*place))),
            TimerKind::Alarm => None,
        });
        let mut waiting: Vec<_> = turns.chain(pauses).collect();
        waiting.sort_by(|a, b| a.0.cmp(&b.0));
        waiting
    }

    pub(super) fn next_turn(&mut self) -> Option<u64> {
        while let Some(((round, ..), Turn { ticket, .. })) = self.turns.pop_first() {
            self.round = round;
            // Waits that were abandoned have no ticket any more.
            if self.tickets.contains_key(&ticket) {
                return Some(ticket);
            }
        }
        None
    }

    /// Answers a wait and counts its holder as busy, unless nobody waits any more.
    pub(super) fn answer(&mut self, ticket: u64, answer: Result<(), Halt>) {
        let Some(entry) = self.tickets.get_mut(&ticket) else { return };
        let before = std::mem::replace(entry, Ticket::Answered(answer));
        self.busy += 1;
        if let Ticket::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }

    pub(super) fn new_texts(&mut self, asked: &Asked) -> BTreeMap<Fingerprint, String> {
        let mut texts = BTreeMap::new();
        // Of a long conversation nearly every part is known already.
        for segment in asked.key.iter().filter(|segment| !self.written.contains(&segment.hash)) {
            texts.insert(segment.hash.clone(), segment.text.to_string());
        }
        self.written.extend(texts.keys().cloned());
        texts
    }
}
