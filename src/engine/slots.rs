//! How many sessions may be at work at once, and who goes on when one has done.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::effects::{Busy, Effects, Halt};

/// The places of a run at which sessions work. A session takes one before it begins something and keeps it until that is
/// done; sub-agents work at the place of whoever asked them.
#[derive(Default)]
pub(super) struct Slots {
    /// How many there are; `None` is unlimited.
    most: Option<u32>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: u32,
    /// Who waits, the longest-waiting first.
    waiting: VecDeque<oneshot::Sender<Busy>>,
}

/// A place that is taken. It is given back when this is dropped.
pub(super) struct Slot<'a> {
    of: Option<(&'a Slots, &'a Busy)>,
}

impl Slots {
    pub(super) fn new(most: Option<u32>) -> Self {
        Self { most, state: Mutex::default() }
    }

    /// Takes a place, waiting for one if need be; `name` says who, where only one goes on at a time. Not an effect: a
    /// replay goes on as it was recorded, and what was done before a run went on is not held up. Who is stopped waits no
    /// more: it is about to end.
    ///
    /// # Errors
    /// Nothing goes on any more.
    pub(super) async fn take<'a>(
        &'a self,
        busy: &'a Busy,
        effects: &Effects,
        (name, stop): (&str, &CancellationToken),
    ) -> Result<Slot<'a>, Halt> {
        let Some(most) = self.most.filter(|_| !effects.is_replay()) else { return Ok(Slot { of: None }) };
        let place = {
            let mut state = self.state();
            if state.taken < most || effects.is_past() || stop.is_cancelled() {
                state.taken += 1;
                None
            } else {
                let (sender, place) = oneshot::channel();
                state.waiting.push_back(sender);
                Some(place)
            }
        };
        let slot = || Slot { of: Some((self, busy)) };
        let Some(mut place) = place else { return Ok(slot()) };
        let rest = busy.rest();
        // Whoever gives a place up hands a token over, so that the waiter counts as busy from then on.
        let token = tokio::select! {
            token = &mut place => token.ok(),
            () = stop.cancelled() => None,
        };
        drop(rest);
        place.close();
        if token.is_none() && place.try_recv().is_err() {
            self.state().taken += 1;
        }
        let slot = slot();
        drop(token);
        effects.turn(busy, name, name).await?;
        Ok(slot)
    }

    /// Hands a place over to whoever waits longest, or leaves it free.
    fn give_back(&self, busy: &Busy) {
        let mut state = self.state();
        if self.most.is_some_and(|most| state.taken <= most) {
            while let Some(waiter) = state.waiting.pop_front() {
                // A waiter that was stopped no longer listens.
                if waiter.send(busy.fork()).is_ok() {
                    return;
                }
            }
        }
        state.taken -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the places")
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some((slots, busy)) = self.of {
            slots.give_back(busy);
        }
    }
}
