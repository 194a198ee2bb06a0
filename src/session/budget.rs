//! What a run, its phases and its roles may spend, held under fan-out: the worst case of a call is set aside before it, and
//! settled after it.
//!
//! ```text
//!   reserve ──fits everywhere──▶ granted ──call──▶ settle (what was really used)
//!      │ does not fit, others are calling: wait for one of them to settle, look again
//!      │ does not fit, nobody is calling, a shorter reply would: granted with that
//!      └ not even then: refused
//! ```
//!
//! A session that holds issues keeps the worst case of one more call aside as long as it holds them: with it, when the budget
//! is used up, it is asked to hand them back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::chat::Usage;
use crate::effects::Busy;
use crate::id::{PhaseId, RoleId};
use crate::plan::{LimitsPlan, PhasePlan, Plan};
use crate::price::{Price, Prices, Usd};

/// The budget of a run, with what its models cost.
#[derive(Default)]
pub struct Budget {
    prices: Prices,
    /// Which account belongs to what; whoever is not limited has none.
    run: Option<usize>,
    phases: BTreeMap<PhaseId, usize>,
    roles: BTreeMap<RoleId, usize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accounts: Vec<Account>,
    waiting: Vec<oneshot::Sender<Busy>>,
}

/// What one of those who are limited has.
struct Account {
    limits: LimitsPlan,
    used: Amount,
    /// For calls under way.
    calling: Amount,
    /// For handing back.
    kept: Amount,
}

/// What a session's calls are paid from, and what they cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Purse {
    accounts: Vec<usize>,
    /// Of each model that may be asked, the session's own first.
    prices: Vec<Option<Price>>,
}

/// Model calls, tokens and money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Model calls.
    pub turns: u64,
    /// Tokens, in and out, cached or not.
    pub tokens: u64,
    /// What they cost.
    pub usd: Usd,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// At most.
    pub(super) call: Amount,
    /// To be kept for handing back, from now on.
    pub(super) keep: Amount,
    /// What was kept until now.
    pub(super) kept: Amount,
}

/// What a call needs, depending on how long its reply may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// Tokens of input, at most.
    pub(super) input: u64,
    /// Tokens of output that the provider allows.
    pub(super) most: u64,
    /// Tokens of output that make sense at least, if the reply can be trimmed.
    pub(super) least: Option<u64>,
    /// Whether it is to be kept in mind that issues are to be handed back.
    pub(super) holds: bool,
    /// What was kept for that until now.
    pub(super) kept: Amount,
}

impl Terms {
    /// What it needs for a reply of so many tokens: whoever holds issues needs the same once more, with the reply added and
    /// as short a reply as makes sense, to hand them back.
    pub(super) fn wish(&self, purse: &Purse, output: u64) -> Wish {
        let last = || purse.worst(self.input.saturating_add(output), self.least.unwrap_or(self.most));
        let keep = if self.holds { last() } else { Amount::default() };
        Wish { call: purse.worst(self.input, output), keep, kept: self.kept }
    }
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self {
            turns: self.turns.saturating_add(other.turns),
            tokens: self.tokens.saturating_add(other.tokens),
            usd: self.usd + other.usd,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            turns: self.turns.saturating_sub(other.turns),
            tokens: self.tokens.saturating_sub(other.tokens),
            usd: self.usd - other.usd,
        }
    }
}

impl Purse {
    /// Whether nothing limits it.
    pub fn is_unlimited(&self) -> bool {
        self.accounts.is_empty()
    }

    /// What tokens cost, of the model at this position; `None` if nobody knows.
    pub fn cost(&self, model: usize, usage: Usage) -> Option<Usd> {
        self.prices.get(model).copied().flatten().map(|price| usage.cost(&price))
    }

    /// So many calls of the model at this position that have used this.
    pub fn amount(&self, model: usize, turns: u64, usage: Usage) -> Amount {
        let usd = self.cost(model, usage).unwrap_or_default();
        Amount { turns, tokens: usage.total_input() + usage.output, usd }
    }

    /// The most that a call of so many tokens can use: all input written to the cache, if that is dearest, and the dearest of
    /// the models asked.
    pub(super) fn worst(&self, input: u64, output: u64) -> Amount {
        let priced =
            |price: &Price| Price::sum(input, price.dearest_input()) + Price::sum(output, price.output);
        let usd = self.prices.iter().flatten().map(priced).max().unwrap_or_default();
        Amount { turns: 1, tokens: input + output, usd }
    }
}

impl Account {
    fn new(limits: LimitsPlan) -> Self {
        let nothing = Amount::default();
        Self { limits, used: nothing, calling: nothing, kept: nothing }
    }

    fn allows(&self, total: Amount) -> bool {
        let limits = &self.limits;
        limits.max_turns.is_none_or(|most| total.turns <= most)
            && limits.max_tokens.is_none_or(|most| total.tokens <= most)
            && limits.max_usd.is_none_or(|most| total.usd <= most)
    }

    fn fits(&self, wish: &Wish) -> bool {
        let aside = self.calling.plus(self.kept.minus(wish.kept));
        self.allows(self.used.plus(aside).plus(wish.call).plus(wish.keep))
    }

    /// Whether it may fit once the calls under way have settled.
    fn may_fit(&self, wish: &Wish) -> bool {
        self.fits(wish)
            || self.calling != Amount::default() && self.allows(self.used.plus(wish.call).plus(wish.keep))
    }
}

/// Whether a call may be made.
enum Verdict {
    /// With a reply of so many tokens.
    Granted(u64),
    /// Perhaps when others have settled.
    Later,
    Refused,
}

impl State {
    fn judge(&self, purse: &Purse, terms: &Terms) -> Verdict {
        let all = |holds: fn(&Account, &Wish) -> bool, output: u64| {
            let wish = terms.wish(purse, output);
            purse.accounts.iter().all(|at| holds(&self.accounts[*at], &wish))
        };
        if all(Account::fits, terms.most) {
            return Verdict::Granted(terms.most);
        }
        if all(Account::may_fit, terms.most) {
            return Verdict::Later;
        }
        let Some(least) = terms.least else { return Verdict::Refused };
        if !all(Account::fits, least) {
            return if all(Account::may_fit, least) { Verdict::Later } else { Verdict::Refused };
        }
        // The longest reply that fits lies between one that does and one that does not.
        let (mut fits, mut exceeds) = (least, terms.most);
        while exceeds.saturating_sub(fits) > 1 {
            let middle = fits + (exceeds - fits) / 2;
            if all(Account::fits, middle) {
                fits = middle;
            } else {
                exceeds = middle;
            }
        }
        Verdict::Granted(fits)
    }

    fn set_aside(&mut self, purse: &Purse, wish: Wish) {
        for account in &purse.accounts {
            let account = &mut self.accounts[*account];
            account.calling = account.calling.plus(wish.call);
            account.kept = account.kept.minus(wish.kept).plus(wish.keep);
        }
    }
}

impl Budget {
    /// The budget of a plan, nothing of which is used.
    pub fn new(plan: &Plan) -> Self {
        let mut budget = Self { prices: plan.prices.clone(), ..Self::default() };
        budget.run = budget.open(plan.limits);
        budget.open_phases(None, &plan.phases);
        for role in plan.roles.values() {
            if let Some(account) = budget.open(role.limits) {
                budget.roles.insert(role.id.clone(), account);
            }
        }
        budget
    }

    /// Accounts for phases within a phase, by their names in the file: rounds and items share one.
    fn open_phases(&mut self, outer: Option<&PhaseId>, phases: &[PhasePlan]) {
        for phase in phases {
            let id = outer.map_or_else(|| phase.id.clone(), |outer| outer.inner(&phase.id));
            if let Some(account) = self.open(phase.limits) {
                self.phases.insert(id.clone(), account);
            }
            self.open_phases(Some(&id), phase.inner());
        }
    }

    /// The same at other prices.
    #[must_use]
    pub fn priced(mut self, prices: Prices) -> Self {
        self.prices = prices;
        self
    }

    fn open(&self, limits: LimitsPlan) -> Option<usize> {
        if !limits.bounds_calls() {
            return None;
        }
        let mut state = self.state();
        state.accounts.push(Account::new(limits));
        Some(state.accounts.len() - 1)
    }

    /// What a session of this role pays its calls from, at the prices of these models, its own first.
    pub fn purse(&self, phase: &PhaseId, role: &RoleId, models: &[&str]) -> Purse {
        let mut accounts = Vec::from_iter(self.run);
        let mut name: Option<PhaseId> = None;
        for part in phase.names().map(PhaseId::from) {
            let id = name.map_or_else(|| part.clone(), |outer: PhaseId| outer.inner(&part));
            accounts.extend(self.phases.get(&id));
            name = Some(id);
        }
        accounts.extend(self.roles.get(role));
        Purse { accounts, prices: models.iter().map(|model| self.prices.of(model)).collect() }
    }

    /// A purse with a share of another's: what is spent from it is spent from that one too, but no more than this.
    #[must_use]
    pub fn share(&self, of: &Purse, limits: LimitsPlan) -> Purse {
        let mut purse = of.clone();
        purse.accounts.extend(self.open(limits));
        purse
    }

    /// Notes what was spent before the run went on.
    pub fn note_spent(&self, purse: &Purse, spent: Amount) {
        let mut state = self.state();
        for account in &purse.accounts {
            let account = &mut state.accounts[*account];
            account.used = account.used.plus(spent);
        }
    }

    /// Sets the worst case of a call aside, waiting for others to settle if that may help; answers how many tokens the reply
    /// may have. A reply is trimmed only when waiting for its full length cannot help.
    pub(super) async fn reserve(&self, purse: &Purse, terms: &Terms, busy: &Busy) -> Option<u64> {
        loop {
            let settled = {
                let mut state = self.state();
                match state.judge(purse, terms) {
                    Verdict::Granted(output) => {
                        state.set_aside(purse, terms.wish(purse, output));
                        return Some(output);
                    }
                    Verdict::Refused => return None,
                    Verdict::Later => {}
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

    /// Sets it aside whether or not it fits: it was granted before the run went on.
    pub(super) fn set_aside(&self, purse: &Purse, wish: Wish) {
        self.state().set_aside(purse, wish);
    }

    /// Replaces what was set aside for a call by what it used.
    pub(super) fn settle(&self, purse: &Purse, worst: Amount, used: Amount, busy: &Busy) {
        let mut state = self.state();
        for account in &purse.accounts {
            let account = &mut state.accounts[*account];
            account.calling = account.calling.minus(worst);
            account.used = account.used.plus(used);
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waiter in waiting {
            // A waiter that was stopped no longer listens.
            let _ = waiter.send(busy.fork());
        }
    }

    /// Gives back what was kept for handing back.
    pub(super) fn let_go(&self, purse: &Purse, kept: Amount) {
        let mut state = self.state();
        for account in &purse.accounts {
            let account = &mut state.accounts[*account];
            account.kept = account.kept.minus(kept);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the budget")
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

    fn max_tokens(most: u64) -> LimitsPlan {
        LimitsPlan { max_tokens: Some(most), ..LimitsPlan::default() }
    }

    /// A budget with one account for each of these limits, and a purse that pays from all.
    fn budget(limits: &[LimitsPlan]) -> (Budget, Purse) {
        let budget = Budget::default();
        let accounts = limits.iter().filter_map(|limits| budget.open(*limits)).collect();
        (budget, Purse { accounts, prices: Vec::new() })
    }

    fn tokens(tokens: u64) -> Amount {
        Amount { turns: 1, tokens, usd: Usd::ZERO }
    }

    /// A call of so many tokens, whatever it answers.
    fn terms(input: u64) -> Terms {
        Terms { input, ..Terms::default() }
    }

    const GRANTED: Option<u64> = Some(0);

    #[tokio::test]
    async fn a_call_waits_while_others_may_leave_something_and_is_refused_when_none_can() {
        let busy = effects().busy();
        let (budget, purse) = budget(&[max_tokens(100)]);
        assert_eq!(budget.reserve(&purse, &terms(80), &busy).await, GRANTED);
        let second = async {
            let token = busy.fork();
            budget.reserve(&purse, &terms(80), &token).await
        };
        let settle = async { budget.settle(&purse, tokens(80), tokens(15), &busy) };
        let (verdict, ()) = tokio::join!(second, settle);
        assert_eq!(verdict, GRANTED);
        budget.settle(&purse, tokens(80), tokens(15), &busy);
        assert_eq!(budget.reserve(&purse, &terms(80), &busy).await, None);
        assert_eq!(budget.reserve(&purse, &terms(70), &busy).await, GRANTED);
    }

    #[tokio::test]
    async fn nothing_overshoots_by_one_call_however_many_ask() {
        let busy = effects().busy();
        let price = Price { input: 1.0, output: 1.0, cache_read: 1.0, cache_write: 1.0 };
        let limits = [
            LimitsPlan { max_turns: Some(10), ..LimitsPlan::default() },
            max_tokens(10),
            LimitsPlan { max_usd: Usd::from_dollars(10e-6), ..LimitsPlan::default() },
        ];
        for limits in limits {
            let (budget, purse) = budget(&[limits]);
            let purse = Purse { prices: vec![Some(price)], ..purse };
            let one = purse.worst(1, 0);
            let ask = || async {
                let token = busy.fork();
                budget.reserve(&purse, &terms(1), &token).await
            };
            let verdicts = futures_util::future::join_all((0..100).map(|_| ask()));
            let settling = async {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                    budget.settle(&purse, one, one, &busy);
                }
            };
            let (verdicts, ()) = tokio::join!(verdicts, settling);
            let granted = verdicts.iter().filter(|verdict| **verdict == GRANTED).count();
            assert_eq!(granted, 10, "{limits:?}");
        }
    }

    #[test]
    fn the_worst_case_is_that_of_the_dearest_model_and_each_is_paid_at_its_own_price() {
        let price = |input: f64, output: f64| Price { input, output, cache_read: 0.0, cache_write: 0.0 };
        let prices = vec![Some(price(1.0, 9.0)), Some(price(5.0, 5.0)), None];
        let purse = Purse { accounts: Vec::new(), prices };
        let million = 1_000_000;
        let usd = |input: u64, output: u64| purse.worst(input * million, output * million).usd.dollars();
        assert_eq!((usd(1, 0), usd(0, 1), usd(1, 1)), (5.0, 9.0, 10.0));
        let used = Usage { input: million, output: million, ..Usage::default() };
        let cost = |model: usize| purse.cost(model, used).map(Usd::dollars);
        assert_eq!((cost(0), cost(1), cost(2)), (Some(10.0), Some(10.0), None));
        assert_eq!(purse.amount(2, 1, used).usd, Usd::ZERO);
    }

    #[tokio::test]
    async fn the_narrowest_of_all_limits_holds_and_a_share_is_spent_from_the_whole() {
        let busy = effects().busy();
        let (budget, purse) = budget(&[max_tokens(100), max_tokens(50)]);
        assert_eq!(budget.reserve(&purse, &terms(51), &busy).await, None);
        let share = budget.share(&purse, max_tokens(20));
        assert_eq!(budget.reserve(&share, &terms(21), &busy).await, None);
        assert_eq!(budget.reserve(&share, &terms(20), &busy).await, GRANTED);
        budget.settle(&share, tokens(20), tokens(20), &busy);
        assert_eq!(budget.reserve(&purse, &terms(31), &busy).await, None);
        assert_eq!(budget.reserve(&purse, &terms(30), &busy).await, GRANTED);
    }

    #[tokio::test]
    async fn what_is_kept_for_handing_back_is_there_for_that_and_nothing_else() {
        let busy = effects().busy();
        let (budget, purse) = budget(&[max_tokens(100)]);
        let held = Terms { holds: true, ..terms(30) };
        assert_eq!(budget.reserve(&purse, &held, &busy).await, GRANTED);
        budget.settle(&purse, tokens(30), tokens(30), &busy);
        assert_eq!(budget.reserve(&purse, &terms(41), &busy).await, None, "of another");
        let more = Terms { holds: true, kept: tokens(30), ..terms(41) };
        assert_eq!(budget.reserve(&purse, &more, &busy).await, None, "its own next call");
        let last = Terms { kept: tokens(30), ..terms(30) };
        assert_eq!(budget.reserve(&purse, &last, &busy).await, GRANTED, "handing back");
        budget.settle(&purse, tokens(30), tokens(30), &busy);
        assert_eq!(budget.reserve(&purse, &terms(40), &busy).await, GRANTED);
        budget.let_go(&purse, tokens(30));
    }

    #[tokio::test]
    async fn a_reply_is_trimmed_when_that_alone_helps_and_never_below_what_makes_sense() {
        let busy = effects().busy();
        let (budget, purse) = budget(&[max_tokens(100), max_tokens(90)]);
        let long = Terms { input: 10, most: 200, least: Some(20), ..Terms::default() };
        let two = Terms { most: 60, ..long };
        assert_eq!(budget.reserve(&purse, &two, &busy).await, Some(60));
        let waits = async {
            let token = busy.fork();
            budget.reserve(&purse, &two, &token).await
        };
        let settle = async { budget.settle(&purse, tokens(70), tokens(15), &busy) };
        assert_eq!(tokio::join!(waits, settle).0, Some(60), "it waits for its full length");
        budget.settle(&purse, tokens(70), tokens(15), &busy);
        assert_eq!(
            budget.reserve(&purse, &long, &busy).await,
            Some(50),
            "all that the narrower one has left"
        );
        budget.settle(&purse, tokens(60), tokens(31), &busy);
        assert_eq!(budget.reserve(&purse, &long, &busy).await, None, "29 are left, and 30 make sense");
    }

    #[tokio::test]
    async fn what_was_spent_before_the_run_went_on_counts() {
        let busy = effects().busy();
        let (budget, purse) = budget(&[max_tokens(100)]);
        budget.note_spent(&purse, tokens(60));
        assert_eq!(budget.reserve(&purse, &terms(41), &busy).await, None);
        assert_eq!(budget.reserve(&purse, &terms(40), &busy).await, GRANTED);
    }
}
