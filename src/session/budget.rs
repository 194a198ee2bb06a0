//! What a run may spend, held under fan-out: the worst case of a call is set aside before it, and settled after it.
//!
//! ```text
//!   reserve ──fits──▶ granted ──call──▶ settle (what was really used)
//!      │ does not fit, others unsettled: wait for one of them, look again
//!      └ does not fit, nothing unsettled: refused
//! ```

use std::sync::Mutex;

use tokio::sync::oneshot;

use crate::chat::Usage;
use crate::effects::Busy;
use crate::plan::LimitsPlan;

/// The budget of a run.
pub struct Budget {
    limits: LimitsPlan,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: Amount,
    reserved: Amount,
    waiting: Vec<oneshot::Sender<Busy>>,
}

/// Model calls and tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) turns: u64,
    pub(super) tokens: u64,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Granted,
    Refused,
}

impl Amount {
    /// One call that has used this.
    pub(super) fn of(usage: Usage) -> Self {
        Self { turns: 1, tokens: usage.total_input() + usage.output }
    }

    fn plus(self, other: Self) -> Self {
        Self { turns: self.turns + other.turns, tokens: self.tokens + other.tokens }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            turns: self.turns.saturating_sub(other.turns),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }
}

impl Budget {
    /// A budget nothing of which is used. `None` when nothing is limited.
    pub fn new(limits: LimitsPlan) -> Option<Self> {
        let limited = limits.max_turns.is_some() || limits.max_tokens.is_some();
        limited.then(|| Self { limits, state: Mutex::default() })
    }

    /// Sets the worst case of a call aside, waiting for others to settle if that may help.
    pub(super) async fn reserve(&self, worst: Amount, busy: &Busy) -> Verdict {
        loop {
            let settled = {
                let mut state = self.state.lock().expect("nothing panics while it holds the budget");
                let total = state.used.plus(state.reserved).plus(worst);
                if self.allows(total) {
                    state.reserved = state.reserved.plus(worst);
                    return Verdict::Granted;
                }
                if state.reserved == Amount::default() || !self.allows(state.used.plus(worst)) {
                    return Verdict::Refused;
                }
                let (sender, settled) = oneshot::channel();
                state.waiting.push(sender);
                settled
            };
            let rest = busy.rest();
            // Whoever settles hands a token over, so that the waiter counts as busy from then on.
            let token = settled.await;
            drop(rest);
            drop(token);
        }
    }

    /// Replaces what was set aside for a call by what it used.
    pub(super) fn settle(&self, worst: Amount, used: Amount, busy: &Busy) {
        let mut state = self.state.lock().expect("nothing panics while it holds the budget");
        state.reserved = state.reserved.minus(worst);
        state.used = state.used.plus(used);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waiter in waiting {
            // A waiter that was stopped no longer listens.
            let _ = waiter.send(busy.fork());
        }
    }

    fn allows(&self, total: Amount) -> bool {
        self.limits.max_turns.is_none_or(|most| total.turns <= most)
            && self.limits.max_tokens.is_none_or(|most| total.tokens <= most)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::effects::{Effects, Origin, Setup, Time};
    use crate::id::Seed;
    use crate::secret::Scrubber;

    fn effects() -> Effects {
        Effects::new(Setup {
            origin: Origin::Live,
            time: Time::Virtual(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))),
            seed: Seed::new("s"),
            journal: None,
            scrubber: Scrubber::default(),
            faults: Arc::default(),
            halt: CancellationToken::new(),
        })
    }

    fn tokens(tokens: u64) -> Amount {
        Amount { turns: 1, tokens }
    }

    #[tokio::test]
    async fn a_call_waits_while_others_may_leave_something_and_is_refused_when_none_can() {
        let busy = effects().busy();
        let budget = Budget::new(LimitsPlan { max_turns: None, max_tokens: Some(100) }).unwrap();
        assert_eq!(budget.reserve(tokens(80), &busy).await, Verdict::Granted);
        let second = async {
            let token = busy.fork();
            budget.reserve(tokens(80), &token).await
        };
        let settle = async { budget.settle(tokens(80), tokens(15), &busy) };
        let (verdict, ()) = tokio::join!(second, settle);
        assert_eq!(verdict, Verdict::Granted);
        budget.settle(tokens(80), tokens(15), &busy);
        assert_eq!(budget.reserve(tokens(80), &busy).await, Verdict::Refused);
        assert_eq!(budget.reserve(tokens(70), &busy).await, Verdict::Granted);
    }

    #[tokio::test]
    async fn turns_do_not_overshoot_by_one_call_however_many_ask() {
        let busy = effects().busy();
        let budget = Budget::new(LimitsPlan { max_turns: Some(10), max_tokens: None }).unwrap();
        let ask = || async {
            let token = busy.fork();
            budget.reserve(tokens(1), &token).await
        };
        let verdicts = futures_util::future::join_all((0..100).map(|_| ask()));
        let settling = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
                budget.settle(tokens(1), tokens(1), &busy);
            }
        };
        let (verdicts, ()) = tokio::join!(verdicts, settling);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Granted).count(), 10);
    }
}
