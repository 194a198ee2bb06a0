//! How many calls may be under way at one server with one key: a window that widens while calls succeed and narrows when the
//! server refuses some, so that a hundred sessions find out together what it can bear, and none of them stampedes.
//!
//! ```text
//!   acquire ── room and no pause ──▶ permit ── call ──┬─ succeeded ─▶ window + 1/window (+ 1 before the first refusal)
//!      │ else: wait in line                           ├─ refused ───▶ window × 0.7, once for all calls of one window
//!      └ until those before have gone                 │               pause as long as the server asks
//!                                                     └─ dropped ───▶ nothing learnt
//! ```
//!
//! Just below where the server refused last, the window widens far more slowly: the place is known, and each look beyond it
//! costs a refused call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::clock::instant_in;
use crate::limit;

/// Calls that begin at once before anything is known of the server, unless the mount plan says how many it bears.
const FIRST_WINDOW: usize = 16;

/// What a refusal leaves of the window.
const SHRINK: f64 = 0.7;

/// How much more slowly the window widens near where the server refused last.
const CAUTION: f64 = 10.0;

/// Which calls share a window: the server's address, and a fingerprint of the credential.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Scheme, host and port.
    pub address: String,
    /// What tells credentials apart without being one.
    pub key: String,
}

/// The windows of a run, by server and key.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Mutex<BTreeMap<Lane, Arc<Limiter>>>,
}

impl Lanes {
    /// The window of a lane. With a bound it begins as wide as that; where several ask with different bounds, the smallest
    /// holds.
    pub fn limiter(&self, lane: &Lane, most: Option<usize>) -> Arc<Limiter> {
        let mut lanes = self.lanes.lock().expect("nothing panics while it holds the lanes");
        let first = most.unwrap_or(FIRST_WINDOW);
        let limiter = lanes.entry(lane.clone()).or_insert_with(|| Arc::new(Limiter::new(first))).clone();
        drop(lanes);
        if let Some(most) = most {
            limiter.bound(most);
        }
        limiter
    }
}

/// The window of one server and key.
#[derive(Debug)]
pub struct Limiter {
    state: Mutex<State>,
    /// A pause has begun, or been prolonged.
    paused: Notify,
}

#[derive(Debug)]
struct State {
    window: f64,
    most: usize,
    /// How many calls the server bore when it refused some last.
    ceiling: Option<f64>,
    active: usize,
    line: VecDeque<oneshot::Sender<Permit>>,
    /// How often the window has been narrowed.
    narrowed: u64,
    resume: Option<Instant>,
}

/// Leave for one call; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    /// How often the window had been narrowed when the call began.
    narrowed: u64,
    is_counted: bool,
}

impl Limiter {
    fn new(first: usize) -> Self {
        let state = State {
            window: first.clamp(1, limit::SESSIONS) as f64,
            most: limit::SESSIONS,
            ceiling: None,
            active: 0,
            line: VecDeque::new(),
            narrowed: 0,
            resume: None,
        };
        Self { state: Mutex::new(state), paused: Notify::new() }
    }

    fn bound(&self, most: usize) {
        let mut state = self.state();
        state.most = state.most.min(most.max(1));
        state.window = state.window.min(state.most as f64);
    }

    /// Waits until the call may begin: first come, first served. Dropping the future leaves the line.
    pub async fn acquire(self: &Arc<Self>) -> Permit {
        let mut place = {
            let (sender, place) = oneshot::channel();
            self.state().line.push_back(sender);
            place
        };
        loop {
            let paused = self.paused.notified();
            tokio::pin!(paused);
            paused.as_mut().enable();
            let now = instant_in(Duration::ZERO);
            let resume = self.let_in(now);
            let pause_ends = async {
                match resume {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                permit = &mut place => return permit.expect("a place in line is kept until it is served"),
                () = paused => {}
                () = pause_ends => {}
            }
        }
    }

    /// Lets as many in as there is room for; answers until when nobody is.
    fn let_in(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        while state.has_room(now) {
            let Some(first) = state.line.pop_front() else { break };
            let permit = Permit { limiter: self.clone(), narrowed: state.narrowed, is_counted: true };
            match first.send(permit) {
                Ok(()) => state.active += 1,
                // It has left the line.
                Err(mut unused) => unused.is_counted = false,
            }
        }
        state.resume
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the window")
    }
}

impl State {
    fn has_room(&mut self, now: Instant) -> bool {
        self.resume = self.resume.filter(|at| *at > now);
        self.resume.is_none() && self.active < self.width()
    }

    fn width(&self) -> usize {
        (self.window as usize).clamp(1, self.most)
    }

    fn widen(&mut self) {
        // A window that is not used says nothing about what the server could bear.
        if self.active < self.width() {
            return;
        }
        let step = match self.ceiling {
            None => 1.0,
            Some(ceiling) if (ceiling - 1.0..ceiling + 1.0).contains(&self.window) => {
                1.0 / (self.window * CAUTION)
            }
            Some(_) => 1.0 / self.window,
        };
        self.window = (self.window + step).min(self.most as f64);
    }

    /// A call was refused that began after the window had been narrowed so often.
    fn narrow(&mut self, narrowed: u64) {
        let borne = match self.ceiling {
            // It was under way when another was refused: the server bears one less than it seemed.
            Some(ceiling) if narrowed < self.narrowed => {
                if narrowed + 1 < self.narrowed {
                    return;
                }
                ceiling - 1.0
            }
            _ => {
                self.narrowed += 1;
                self.active as f64 - 1.0
            }
        };
        let borne = borne.max(1.0);
        self.ceiling = Some(borne);
        self.window = self.window.min((borne * SHRINK).max(1.0));
    }
}

impl Permit {
    /// The server answered.
    pub fn succeeded(self) {
        self.limiter.state().widen();
    }

    /// The server refused, because it is asked too much.
    pub fn refused(self) {
        self.limiter.state().narrow(self.narrowed);
    }

    /// The server wants nobody to ask for this long.
    pub fn pause(&self, span: Duration) {
        let resume = instant_in(span);
        let mut state = self.limiter.state();
        state.resume = Some(state.resume.map_or(resume, |before| before.max(resume)));
        drop(state);
        self.limiter.paused.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        self.limiter.state().active -= 1;
        self.limiter.let_in(instant_in(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lane() -> Lane {
        Lane { address: "http://server".to_owned(), key: "k".to_owned() }
    }

    fn limiter() -> Arc<Limiter> {
        Arc::new(Limiter::new(4))
    }

    /// As many permits as there are without waiting.
    fn fill(limiter: &Arc<Limiter>) -> Vec<Permit> {
        std::iter::from_fn(|| tokio::task::unconstrained(limiter.acquire()).now_or_never()).collect()
    }

    #[tokio::test]
    async fn refusals_of_one_window_tell_together_what_the_server_bears() {
        let limiter = limiter();
        let first = fill(&limiter);
        assert_eq!(first.len(), 4);
        first.into_iter().for_each(Permit::succeeded);
        // The first was answered while all were under way, the last while it was alone.
        let second = fill(&limiter);
        assert_eq!(second.len(), 5);
        let mut second = second.into_iter();
        second.by_ref().take(2).for_each(Permit::refused);
        second.for_each(Permit::succeeded);
        assert_eq!(fill(&limiter).len(), 2, "it bore three: the window is seven tenths of that");
    }

    #[tokio::test]
    async fn a_busy_window_widens_by_one_a_round_and_slowly_where_it_was_refused() {
        let limiter = limiter();
        let mut first = fill(&limiter).into_iter();
        first.by_ref().take(1).for_each(Permit::refused);
        drop(first);
        let mut held = fill(&limiter);
        assert_eq!(held.len(), 2);
        let mut rounds = |count: usize| {
            for _ in 0..count {
                let done = held.remove(0);
                done.succeeded();
                held.extend(fill(&limiter));
            }
            held.len()
        };
        assert_eq!(rounds(25), 3, "it bore three, so it is careful there");
        assert!(rounds(400) > 10, "but no wall: what lies beyond is tried");
    }

    #[tokio::test]
    async fn who_came_first_is_served_first_and_who_left_is_passed_over() {
        let limiter = limiter();
        let held = fill(&limiter);
        let mut first = Box::pin(limiter.acquire());
        let mut second = Box::pin(limiter.acquire());
        let mut third = Box::pin(limiter.acquire());
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(first);
        let mut held = held.into_iter();
        drop(held.next());
        assert!(third.as_mut().now_or_never().is_none(), "the second is before it");
        let served = second.await;
        drop(served);
        assert!(third.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_permit_that_is_given_to_one_who_leaves_is_given_on() {
        let limiter = limiter();
        let mut held = fill(&limiter);
        let mut leaves = Box::pin(limiter.acquire());
        assert!(leaves.as_mut().now_or_never().is_none());
        held.pop();
        drop(leaves);
        assert_eq!(fill(&limiter).len(), 1);
    }

    #[tokio::test]
    async fn nobody_is_let_in_during_a_pause_and_all_who_wait_go_on_after_it() {
        let limiter = limiter();
        let first = limiter.acquire().await;
        first.pause(Duration::from_millis(40));
        let clock = crate::clock::Stopwatch::start();
        let (second, third) = tokio::join!(limiter.acquire(), limiter.acquire());
        assert!(clock.elapsed() >= Duration::from_millis(40));
        drop((second, third));
    }

    #[test]
    fn the_smallest_bound_holds_and_keys_have_windows_of_their_own() {
        let lanes = Lanes::default();
        let limiter = lanes.limiter(&lane(), Some(3));
        assert!(Arc::ptr_eq(&limiter, &lanes.limiter(&lane(), Some(9))));
        assert_eq!(fill(&limiter).len(), 3);
        let other = Lane { key: "other".to_owned(), ..lane() };
        assert_eq!(fill(&lanes.limiter(&other, None)).len(), FIRST_WINDOW);
    }
}
