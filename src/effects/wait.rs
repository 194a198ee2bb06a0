//! Who is busy, who waits, and what a wait is. Nothing here decides; it only counts truthfully.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Halt;
use super::state::Shared;

/// A token of someone who can still change something. The gate is quiet when there is none left.
pub struct Busy {
    pub(super) shared: Arc<Shared>,
}

impl Busy {
    /// Another token, for work that goes on beside this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.shared.state().busy += 1;
        Self { shared: self.shared.clone() }
    }

    /// Counts this one as idle until the guard is dropped. Whoever is waited for must hold a token of its own, and what
    /// it answers with must carry one, so that the gate is never quiet in between.
    pub fn rest(&self) -> Rest<'_> {
        self.shared.one_less();
        Rest { busy: self }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.shared.one_less();
    }
}

/// See [`Busy::rest`].
pub struct Rest<'a> {
    busy: &'a Busy,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.busy.shared.state().busy += 1;
    }
}

/// Where a ticket stands.
pub(super) enum Ticket {
    /// Not yet; whom to wake.
    Waiting(Option<Waker>),
    /// Granted or halted. The one who granted has already counted the holder as busy.
    Answered(Result<(), Halt>),
}

/// A wait of someone whose token is uncounted meanwhile.
pub(super) struct Wait<'a> {
    pub(super) shared: &'a Shared,
    pub(super) ticket: u64,
    pub(super) done: bool,
}

impl Future for Wait<'_> {
    type Output = Result<(), Halt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.state();
        match state.tickets.remove(&self.ticket).expect("a ticket stays until its wait is over") {
            Ticket::Answered(answer) => {
                drop(state);
                self.done = true;
                Poll::Ready(answer)
            }
            Ticket::Waiting(_) => {
                state.tickets.insert(self.ticket, Ticket::Waiting(Some(context.waker().clone())));
                Poll::Pending
            }
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.shared.state();
        if let Some(Ticket::Waiting(_)) = state.tickets.remove(&self.ticket) {
            // Abandoned before it was answered: its holder's token counts again, until that is dropped too.
            state.busy += 1;
        }
    }
}

/// A moment to wait for; resolves to a token, so that whoever is woken counts as busy from the first instant.
pub struct Alarm {
    shared: Arc<Shared>,
    wait: AlarmWait,
}

enum AlarmWait {
    Real(Pin<Box<tokio::time::Sleep>>),
    Virtual(u64),
    Over,
}

impl Alarm {
    pub(super) fn in_real_time(shared: Arc<Shared>, wait: Duration) -> Self {
        Self { shared, wait: AlarmWait::Real(Box::pin(tokio::time::sleep(wait))) }
    }

    pub(super) fn in_virtual_time(shared: Arc<Shared>, ticket: u64) -> Self {
        Self { shared, wait: AlarmWait::Virtual(ticket) }
    }
}

impl Future for Alarm {
    type Output = Busy;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Busy> {
        match &mut self.wait {
            AlarmWait::Real(sleep) => {
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.shared.state().busy += 1;
            }
            AlarmWait::Virtual(ticket) => {
                let ticket = *ticket;
                let mut state = self.shared.state();
                if let Some(Ticket::Waiting(waker)) = state.tickets.get_mut(&ticket) {
                    *waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
                // Whoever rang has counted the token that is handed out below.
                state.tickets.remove(&ticket);
            }
            AlarmWait::Over => return Poll::Pending,
        }
        self.wait = AlarmWait::Over;
        Poll::Ready(Busy { shared: self.shared.clone() })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let AlarmWait::Virtual(ticket) = self.wait else { return };
        let answered = matches!(self.shared.state().tickets.remove(&ticket), Some(Ticket::Answered(_)));
        if answered {
            // It rang, but nobody heard it: the token it carried is given back.
            self.shared.one_less();
        }
    }
}
