//! Who is in a turn, who waits, and who goes on: the deciding half of the dispatcher. Pure; time and queue are handed in.
//!
//! A worker that waits costs nothing. It is woken for an issue that nobody else was woken for, the longest-waiting first.
//! Waiting ends for all workers of a phase together, when nothing that still runs could make an issue ready for them.
//!
//! ```text
//!   worker:   in a turn ──asks──▶ waiting ──order──▶ in a turn … ──▶ gone
//!   phase:    begun ──opens──▶ pool or watch ──▶ closed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::{Timestamp, later};
use crate::event::StopCause;
use crate::id::{IssueId, PhaseId};
use crate::issue::Takes;
use crate::plan::WhenEmpty;
use crate::store::{Deadline, Offer};

/// A worker: its phase and its place in the pool.
pub type Seat = (PhaseId, usize);

/// What a worker says when it is between iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It still holds an issue.
    Holding,
    /// It is free for another one.
    Free,
    /// Twice in a row it claimed nothing although it could: it waits for the queue to change.
    Tired,
}

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerOrder {
    /// Begin an iteration.
    Start,
    /// Go home.
    Stop(StopCause),
}

/// What a monitor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonitorOrder {
    /// See whether its condition holds; woken by this.
    Look(String),
    /// Go home.
    End,
}

/// What the dispatcher is to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Tell a worker.
    Worker(Seat, WorkerOrder),
    /// Tell a monitor.
    Monitor(PhaseId, MonitorOrder),
}

/// What the queue looks like when orders are decided.
#[derive(Debug, Clone, Default)]
pub struct Outlook {
    /// Ready issues, first to be worked first: for each that `Roster::wants` names at least so many, if there are.
    pub ready: Vec<Offer>,
    /// When leases lapse and deferrals end, earliest first.
    pub deadlines: Vec<Deadline>,
}

/// Everyone who can wait.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    pools: BTreeMap<PhaseId, Pool>,
    watches: BTreeMap<PhaseId, Watch>,
    /// Monitors that have not begun, and what they will watch.
    to_come: BTreeMap<PhaseId, PhaseId>,
    /// Phases that have begun and are neither pool nor watch, or not yet: whatever they do counts as a turn.
    begun: BTreeSet<PhaseId>,
    /// Counts changes of the queue.
    revision: u64,
    /// Counts arrivals, so that the longest-waiting is known.
    arrivals: u64,
    stopping: bool,
    /// Phases that begin and go on although everything else is stopping.
    exempt: BTreeSet<PhaseId>,
    /// Phases in which nobody begins anything any more.
    stopped: BTreeSet<PhaseId>,
}

#[derive(Debug, Clone)]
struct Pool {
    when_empty: WhenEmpty,
    seats: Vec<Worker>,
    is_closed: bool,
}

#[derive(Debug, Clone)]
struct Worker {
    takes: Takes,
    state: WorkerState,
}

#[derive(Debug, Clone, PartialEq)]
enum WorkerState {
    /// In an iteration, woken for this issue.
    InTurn(Option<IssueId>),
    Waiting {
        since: u64,
        pause: Pause,
        revision: u64,
    },
    Gone,
}

#[derive(Debug, Clone)]
struct Watch {
    watches: PhaseId,
    on: Vec<String>,
    every: Option<Duration>,
    next_tick: Option<Timestamp>,
    /// An event that came while it could not look.
    pending: Option<String>,
    state: WatchState,
    /// The queue's revision when it last looked, and what it found.
    looked: Option<(u64, Option<bool>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchState {
    InTurn,
    Waiting,
    Gone,
}

/// What a monitor is, for the roster.
#[derive(Debug, Clone)]
pub struct WatchSetup {
    /// The phase it watches.
    pub watches: PhaseId,
    /// Events it looks at, without `issue.`.
    pub on: Vec<String>,
    /// How often it looks.
    pub every: Option<Duration>,
}

impl Roster {
    /// A pool begins, every worker about to ask.
    pub fn open_pool(&mut self, phase: &PhaseId, when_empty: WhenEmpty, takes: Vec<Takes>) {
        let worker = |takes| Worker { takes, state: WorkerState::InTurn(None) };
        self.begun.remove(phase);
        let pool = Pool { when_empty, seats: takes.into_iter().map(worker).collect(), is_closed: false };
        self.pools.insert(phase.clone(), pool);
    }

    /// A monitor begins, about to ask.
    pub fn open_watch(&mut self, phase: &PhaseId, setup: WatchSetup, now: Timestamp) {
        self.begun.remove(phase);
        let watch = Watch {
            next_tick: setup.every.map(|every| later(now, every)),
            // Without a tick nothing else would make it look at what is already there.
            pending: setup.every.is_none().then(|| "start".to_owned()),
            watches: setup.watches,
            on: setup.on,
            every: setup.every,
            state: WatchState::InTurn,
            looked: None,
        };
        self.watches.insert(phase.clone(), watch);
    }

    /// A monitor is to begin at some time.
    pub fn expect_watch(&mut self, phase: &PhaseId, watches: &PhaseId) {
        self.to_come.insert(phase.clone(), watches.clone());
    }

    /// A phase begins. Until it opens its pool or its watch, it is in a turn.
    pub fn begin(&mut self, phase: &PhaseId) {
        self.to_come.remove(phase);
        self.begun.insert(phase.clone());
    }

    /// A phase is over, or never begins: whoever watches it need not wait for it.
    pub fn close(&mut self, phase: &PhaseId) {
        self.to_come.remove(phase);
        self.begun.remove(phase);
        if let Some(watch) = self.watches.get_mut(phase) {
            watch.state = WatchState::Gone;
        }
        let never = || Pool { when_empty: WhenEmpty::Stop, seats: Vec::new(), is_closed: true };
        let pool = self.pools.entry(phase.clone()).or_insert_with(never);
        pool.seats.iter_mut().for_each(|worker| worker.state = WorkerState::Gone);
        pool.is_closed = true;
    }

    /// A worker asks what to do.
    pub fn worker_asks(&mut self, seat: &Seat, pause: Pause) {
        self.arrivals += 1;
        let state = WorkerState::Waiting { since: self.arrivals, pause, revision: self.revision };
        self.set_worker(seat, state);
    }

    /// A worker has gone home.
    pub fn worker_gone(&mut self, seat: &Seat) {
        self.set_worker(seat, WorkerState::Gone);
    }

    fn set_worker(&mut self, (phase, at): &Seat, state: WorkerState) {
        if let Some(worker) = self.pools.get_mut(phase).and_then(|pool| pool.seats.get_mut(*at)) {
            worker.state = state;
        }
    }

    /// A monitor asks what to do; `due` is what its condition was when it looked, if it has.
    pub fn monitor_asks(&mut self, phase: &PhaseId, due: Option<bool>) {
        if let Some(watch) = self.watches.get_mut(phase) {
            watch.state = WatchState::Waiting;
            if let Some((_, found)) = &mut watch.looked {
                *found = due;
            }
        }
    }

    /// The queue has changed by these events.
    pub fn queue_changed<'a>(&mut self, events: impl Iterator<Item = &'a str>) {
        self.revision += 1;
        for event in events {
            for watch in self.watches.values_mut() {
                if watch.on.iter().any(|wanted| wanted == event) {
                    watch.pending.get_or_insert_with(|| format!("issue.{event}"));
                }
            }
        }
    }

    /// Nobody begins anything any more.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Stopping does not concern this phase.
    pub fn exempt(&mut self, phase: &PhaseId) {
        self.exempt.insert(phase.clone());
    }

    /// A phase waits for others that it has begun.
    pub fn rest(&mut self, phase: &PhaseId) {
        self.begun.remove(phase);
    }

    /// In this phase nobody begins anything any more.
    pub fn stop_phase(&mut self, phase: &PhaseId) {
        self.stopped.insert(phase.clone());
    }

    /// Whether anybody waits: only then is the queue of interest.
    pub fn has_waiting(&self) -> bool {
        let worker = self.pools.values().flat_map(|pool| &pool.seats).any(Worker::waits);
        worker || self.watches.values().any(|watch| watch.state == WatchState::Waiting)
    }

    /// What of the queue decides who goes on: which issues are welcome to those who wait, and how many of each to know.
    /// So many are enough, since each that waits takes one at most, and each in a turn was woken for one at most.
    pub fn wants(&self) -> (Vec<Takes>, usize) {
        let mut welcome: Vec<Takes> = Vec::new();
        let mut enough = 0;
        for worker in self.pools.values().flat_map(|pool| &pool.seats) {
            match &worker.state {
                WorkerState::Waiting { .. } => {
                    enough += 1;
                    if !welcome.contains(&worker.takes) {
                        welcome.push(worker.takes.clone());
                    }
                }
                WorkerState::InTurn(Some(_)) => enough += 1,
                WorkerState::InTurn(None) | WorkerState::Gone => {}
            }
        }
        (welcome, enough)
    }

    /// Who goes on, and when to decide anew if nothing happens before.
    pub fn decide(&mut self, outlook: &Outlook, now: Timestamp) -> (Vec<Order>, Option<Timestamp>) {
        let mut orders = Vec::new();
        if self.stopping {
            let exempt = self.exempt.clone();
            self.stop_waiting(|phase| !exempt.contains(phase), &mut orders);
        }
        let stopped = self.stopped.clone();
        self.stop_waiting(|phase| stopped.contains(phase), &mut orders);
        self.wake_monitors(now, &mut orders);
        self.wake_workers(&outlook.ready, &mut orders);
        self.end_waits(&outlook.deadlines, &mut orders);
        let waiting = self.pools.values().flat_map(Pool::waiting);
        let mut alarm = waiting.filter_map(|worker| worker.next_of(&outlook.deadlines)).min();
        for watch in self.watches.values().filter(|watch| watch.state == WatchState::Waiting) {
            if !self.pool_is_over(&watch.watches) {
                alarm = earliest(alarm, watch.next_tick);
            }
        }
        (orders, alarm)
    }

    /// Sends home who waits in such a phase.
    fn stop_waiting(&mut self, is_over: impl Fn(&PhaseId) -> bool, orders: &mut Vec<Order>) {
        for (phase, pool) in self.pools.iter_mut().filter(|(phase, _)| is_over(phase)) {
            for (at, worker) in pool.seats.iter_mut().enumerate().filter(|(_, worker)| worker.waits()) {
                worker.state = WorkerState::InTurn(None);
                let order = WorkerOrder::Stop(StopCause::Cancelled);
                orders.push(Order::Worker((phase.clone(), at), order));
            }
        }
        let waits = |watch: &Watch| watch.state == WatchState::Waiting;
        for (phase, watch) in self.watches.iter_mut().filter(|(phase, watch)| is_over(phase) && waits(watch))
        {
            watch.state = WatchState::InTurn;
            orders.push(Order::Monitor(phase.clone(), MonitorOrder::End));
        }
    }

    fn pool_is_over(&self, phase: &PhaseId) -> bool {
        self.pools.get(phase).is_some_and(Pool::is_over)
    }

    fn wake_monitors(&mut self, now: Timestamp, orders: &mut Vec<Order>) {
        let over: BTreeSet<PhaseId> =
            self.pools.keys().filter(|phase| self.pool_is_over(phase)).cloned().collect();
        let revision = self.revision;
        for (phase, watch) in self.watches.iter_mut().filter(|(_, watch)| watch.state == WatchState::Waiting)
        {
            if over.contains(&watch.watches) {
                watch.state = WatchState::InTurn;
                orders.push(Order::Monitor(phase.clone(), MonitorOrder::End));
                continue;
            }
            let tick = watch.next_tick.is_some_and(|tick| tick <= now);
            if tick {
                let every = watch.every.expect("only a monitor with `every` has ticks");
                watch.next_tick = Some(later(now, every));
            }
            let trigger = watch.pending.take().or_else(|| tick.then(|| "tick".to_owned()));
            if let Some(trigger) = trigger {
                orders.push(watch.look(phase, trigger, revision));
            }
        }
    }

    fn wake_workers(&mut self, ready: &[Offer], orders: &mut Vec<Order>) {
        let offered: BTreeSet<IssueId> = self
            .pools
            .values()
            .flat_map(|pool| &pool.seats)
            .filter_map(|worker| match &worker.state {
                WorkerState::InTurn(issue) => issue.clone(),
                _ => None,
            })
            .collect();
        let mut free: Vec<&Offer> = ready.iter().filter(|issue| !offered.contains(&issue.id)).collect();
        let revision = self.revision;
        let mut waiting: Vec<(u64, PhaseId, usize)> = Vec::new();
        for (phase, pool) in &self.pools {
            for (at, worker) in pool.seats.iter().enumerate() {
                if let WorkerState::Waiting { since, .. } = worker.state {
                    waiting.push((since, phase.clone(), at));
                }
            }
        }
        waiting.sort();
        for (_, phase, at) in waiting {
            let pool = self.pools.get_mut(&phase).expect("it was found there");
            let worker = &mut pool.seats[at];
            if let Some(order) = worker.order(&mut free, revision, pool.when_empty) {
                orders.push(Order::Worker((phase, at), order));
            }
        }
    }

    /// Whether nobody is in a turn who could change the queue or begin a phase.
    fn is_quiet(&self) -> bool {
        let stirs = |pool: &Pool| {
            // A pool whose workers are gone still ends its phase, and others may begin then.
            pool.seats.iter().any(|worker| matches!(worker.state, WorkerState::InTurn(_)))
                || (pool.is_over() && !pool.is_closed)
        };
        self.begun.is_empty()
            && !self.pools.values().any(stirs)
            && !self.watches.values().any(|watch| watch.state == WatchState::InTurn)
    }

    /// Ends the waiting of each pool for which nothing can become ready any more.
    fn end_waits(&mut self, deadlines: &[Deadline], orders: &mut Vec<Order>) {
        if !self.is_quiet() {
            return;
        }
        let waiting = self.pools.iter().filter(|(_, pool)| pool.waiting().next().is_some());
        let waiting: Vec<PhaseId> = waiting.map(|(phase, _)| phase.clone()).collect();
        let mut expectant = Vec::new();
        let mut goes_on = false;
        for phase in waiting {
            let pool = &self.pools[&phase];
            let patient = pool.when_empty == WhenEmpty::Wait;
            let due = pool.waiting().any(|worker| worker.next_of(deadlines).is_some());
            let helped = patient && self.ask_monitors(&phase, orders);
            let hopeful = due || self.watches.values().any(|watch| watch.may_still_help(&phase));
            if helped || (patient && hopeful) {
                goes_on = true;
            } else if patient && self.to_come.values().any(|watched| *watched == phase) {
                expectant.push(phase);
            } else {
                self.send_home(&phase, orders);
                goes_on = true;
            }
        }
        if goes_on {
            return;
        }
        // Only monitors that cannot begin before one of these pools ends could help: nobody waits for ever.
        for phase in expectant {
            self.send_home(&phase, orders);
        }
    }

    fn send_home(&mut self, phase: &PhaseId, orders: &mut Vec<Order>) {
        let pool = self.pools.get_mut(phase).expect("only a pool waits");
        for (at, worker) in pool.seats.iter_mut().enumerate().filter(|(_, worker)| worker.waits()) {
            worker.state = WorkerState::InTurn(None);
            orders.push(Order::Worker((phase.clone(), at), WorkerOrder::Stop(StopCause::NoWork)));
        }
    }

    /// Lets each monitor of the phase look that has not looked at the queue as it is now.
    fn ask_monitors(&mut self, phase: &PhaseId, orders: &mut Vec<Order>) -> bool {
        let revision = self.revision;
        let mut asked = false;
        for (id, watch) in &mut self.watches {
            let stale = watch.looked.is_none_or(|(at, _)| at != revision);
            if watch.watches == *phase && watch.state == WatchState::Waiting && stale {
                orders.push(watch.look(id, "idle".to_owned(), revision));
                asked = true;
            }
        }
        asked
    }
}

impl Pool {
    fn waiting(&self) -> impl Iterator<Item = &Worker> {
        self.seats.iter().filter(|worker| worker.waits())
    }

    fn is_over(&self) -> bool {
        self.seats.iter().all(|worker| worker.state == WorkerState::Gone)
    }
}

impl Worker {
    fn waits(&self) -> bool {
        matches!(self.state, WorkerState::Waiting { .. })
    }

    /// When an issue that it takes may become ready by itself.
    fn next_of(&self, deadlines: &[Deadline]) -> Option<Timestamp> {
        let ours = deadlines.iter().find(|deadline| self.takes.matches(&deadline.metadata));
        ours.map(|deadline| deadline.at)
    }

    fn order(&mut self, free: &mut Vec<&Offer>, now: u64, when_empty: WhenEmpty) -> Option<WorkerOrder> {
        let WorkerState::Waiting { pause, revision, .. } = self.state else { return None };
        let issue = free.iter().position(|issue| self.takes.matches(&issue.metadata));
        match (pause, issue) {
            (Pause::Holding, _) => {
                self.state = WorkerState::InTurn(None);
                Some(WorkerOrder::Start)
            }
            // There is something, but it did not want it: it waits for a change even where others would go home.
            (Pause::Tired, Some(_)) if revision == now => None,
            (Pause::Tired | Pause::Free, Some(at)) => {
                self.state = WorkerState::InTurn(Some(free.remove(at).id.clone()));
                Some(WorkerOrder::Start)
            }
            (Pause::Tired | Pause::Free, None) if when_empty == WhenEmpty::Stop => {
                self.state = WorkerState::InTurn(None);
                Some(WorkerOrder::Stop(StopCause::NoWork))
            }
            (Pause::Tired | Pause::Free, None) => None,
        }
    }
}

impl Watch {
    fn look(&mut self, phase: &PhaseId, trigger: String, revision: u64) -> Order {
        self.state = WatchState::InTurn;
        self.looked = Some((revision, None));
        Order::Monitor(phase.clone(), MonitorOrder::Look(trigger))
    }

    /// Whether it found something to do and will be prompted again although the queue has not changed since.
    fn may_still_help(&self, phase: &PhaseId) -> bool {
        self.watches == *phase
            && self.state == WatchState::Waiting
            && self.every.is_some()
            && matches!(self.looked, Some((_, Some(true))))
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;
