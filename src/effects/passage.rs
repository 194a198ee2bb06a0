//! How one effect gets through the gate: it begins when it may, and what it came to is committed.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::divergence;
use super::gate::{Effects, Time};
use super::wait::{Busy, Wait};
use super::{Announce, Asked, Beginning, Halt, Ran};
use crate::clock::Timestamp;
use crate::event::{EffectId, EffectKind, EffectRecord};
use crate::journal::{Durability, Line};

/// An effect that may run.
pub(super) struct Permit {
    pub(super) asked: Asked,
    pub(super) at: Timestamp,
    pub(super) recorded: Option<usize>,
    /// What it came to, in a run that goes on and did it before.
    pub(super) known: Option<Value>,
    /// The id under which it changes shared state.
    pub(super) name: EffectId,
    pub(super) beginning: Beginning,
}

/// What a run knows of an effect that is asked for.
enum Recall {
    /// What it came to.
    Known(Permit),
    /// Nothing: it is to be done, once the ticket is answered.
    New(Asked, Option<u64>),
}

impl Permit {
    fn new(asked: Asked, at: Timestamp) -> Self {
        let name = asked.id.clone();
        Self { asked, at, recorded: None, known: None, name, beginning: Beginning::First }
    }
}
impl Effects {
    pub(super) async fn begin(&self, busy: &Busy, asked: Asked) -> Result<Permit, Halt> {
        debug_assert!(Arc::ptr_eq(&busy.shared, &self.shared), "a token is of the gate it is used at");
        if !self.shared.is_replay {
            return self.begin_live(busy, asked).await;
        }
        self.jitter(&asked.id, 0).await;
        if let Some(ticket) = self.go_beyond(&asked)? {
            // Nobody goes there: the wait is over when all of the recording has been played, or never will be.
            Wait { shared: &self.shared, ticket, done: false }.await?;
            return Err(Halt::Played);
        }
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
                    state.score().reword(at, &asked.key);
                    state.score().begun[at] = true;
                    let is_free = state.score().may_run(at);
                    if is_free && !self.shared.is_serial {
                        (at, None)
                    } else {
                        let ticket = state.new_ticket();
                        if is_free {
                            state.queue_turn(asked.id.as_str(), asked.id.as_str(), ticket);
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
        Ok(Permit { recorded: Some(at), ..Permit::new(asked, now) })
    }

    /// The ticket of somebody who asks for something that is no part of what is played.
    fn go_beyond(&self, asked: &Asked) -> Result<Option<u64>, Halt> {
        let mut state = self.shared.state();
        if let Some(halt) = &state.halted {
            return Err(halt.clone());
        }
        if !state.score().is_beyond(asked) {
            return Ok(None);
        }
        let ticket = state.new_ticket();
        state.score().beyond.push(ticket);
        state.busy -= 1;
        self.shared.settle(&mut state);
        Ok(Some(ticket))
    }

    async fn begin_live(&self, busy: &Busy, asked: Asked) -> Result<Permit, Halt> {
        let (asked, ticket) = match self.recall(asked)? {
            Recall::Known(permit) => return Ok(permit),
            Recall::New(asked, ticket) => (asked, ticket),
        };
        if let Some(ticket) = ticket {
            Wait { shared: &self.shared, ticket, done: false }.await?;
        }
        debug_assert!(Arc::ptr_eq(&busy.shared, &self.shared), "a token is of the gate it is used at");
        let mut permit = Permit::new(asked, self.shared.now());
        if let Some(memory) = &self.shared.state().memory {
            // One that was set aside must not be answered what it was then.
            permit.name = permit.asked.id.known_as(&memory.past.undone);
            if memory.past.interrupted.contains(&permit.asked.id) {
                permit.beginning = Beginning::Interrupted;
            }
        }
        if let (Announce::Intent, Beginning::First, Some(journal)) =
            (permit.asked.announce, permit.beginning, &self.shared.journal)
        {
            let line = Line::Intent { id: permit.asked.id.clone(), at: permit.at };
            let written = match journal.append(&line, Durability::Synced) {
                Ok(written) => written.await,
                Err(error) => Err(error),
            };
            written.map_err(|error| self.shared.halt(&mut self.shared.state(), error.into()))?;
        }
        Ok(permit)
    }

    /// What a run that goes on knows of an effect; if nothing, the ticket to wait with until its past is over.
    fn recall(&self, asked: Asked) -> Result<Recall, Halt> {
        let mut state = self.shared.state();
        if let Some(halt) = &state.halted {
            return Err(halt.clone());
        }
        let Some(memory) = state.memory.as_mut().filter(|memory| !memory.is_over()) else {
            return Ok(Recall::New(asked, None));
        };
        match memory.recall(&asked) {
            Err(divergence) => Err(self.shared.halt(&mut state, Halt::Diverged(Arc::from(divergence)))),
            Ok(Some(record)) => {
                let (at, known) = (record.at, Some(record.result.clone()));
                let name = asked.id.known_as(&memory.past.undone);
                Ok(Recall::Known(Permit { known, name, ..Permit::new(asked, at) }))
            }
            Ok(None) => {
                let ticket = state.new_ticket();
                let memory = state.memory.as_mut().expect("it was there a moment ago");
                memory.waiting.push((asked.id.as_str().to_owned(), ticket));
                state.busy -= 1;
                self.shared.settle(&mut state);
                Ok(Recall::New(asked, Some(ticket)))
            }
        }
    }

    pub(super) async fn commit(&self, permit: Permit, ran: Ran) -> Result<(), Halt> {
        if let Some(at) = permit.recorded {
            return self.commit_replayed(&permit, at, &ran);
        }
        let faults = &self.shared.faults;
        let (written, kills) = {
            let mut state = self.shared.state();
            if let Some(halt) = &state.halted {
                return Err(halt.clone());
            }
            let Some(journal) = &self.shared.journal else { return Ok(()) };
            let texts = state.new_texts(&permit.asked);
            let Asked { id, kind, key, footprint, policy, .. } = permit.asked;
            // Drawn under the lock that the line is queued under: numbers and lines have one order.
            let seq = ran.seq.unwrap_or_else(|| self.shared.sequence.next());
            let kills = faults.kills(&id, seq);
            let durability = match kind {
                // What was paid for, and what a person has said once.
                EffectKind::Llm | EffectKind::Answer => Durability::Synced,
                _ if kills => Durability::Synced,
                _ => Durability::Later,
            };
            let record = EffectRecord {
                seq,
                id,
                kind,
                at: ran.at.unwrap_or(permit.at),
                key,
                footprint: ran.footprint.unwrap_or(footprint),
                policy,
                result: ran.result,
            };
            match journal.append(&Line::Effect { record, texts }, durability) {
                Ok(written) => (written, kills),
                Err(error) => return Err(self.shared.halt(&mut state, error.into())),
            }
        };
        written.await.map_err(|error| self.shared.halt(&mut self.shared.state(), error.into()))?;
        if kills {
            die().await;
        }
        Ok(())
    }

    fn commit_replayed(&self, permit: &Permit, at: usize, ran: &Ran) -> Result<(), Halt> {
        let mut state = self.shared.state();
        if let Some(halt) = &state.halted {
            return Err(halt.clone());
        }
        if let Err(divergence) = divergence::check_ran(state.score(), at, &permit.asked, ran) {
            return Err(self.shared.halt(&mut state, Halt::Diverged(Arc::from(divergence))));
        }
        if state.score().record(at).result != ran.result {
            state.score().reworded.entry(at).or_default().result = Some(ran.result.clone());
        }
        for ticket in state.score().commit(at) {
            if self.shared.is_serial {
                // In the total order there is only ever one, so that its name decides nothing.
                state.queue_turn("", "", ticket);
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

/// Ends the process as a power failure would.
async fn die() {
    // Nothing is left that could be told if this failed.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    std::future::pending::<()>().await;
}
