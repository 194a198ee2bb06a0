//! The dispatcher: starts phases, owns who waits, carries out what the roster decides. One inbox, one event at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use super::desk::{Desk, Letter, Mail};
use super::roster::{MonitorOrder, Order, Outlook, Roster, Seat, WorkerOrder};
use super::scope::Scope;
use super::{Company, PhaseOutcome, PhaseScope, RunEnd, Setup, phase};
use crate::clock::{Timestamp, later};
use crate::effects::{Alarm, Asked, Busy, Halt, Ran};
use crate::event::{EffectId, EffectKind, Happening, PhaseEnd, Policy, Whereabouts};
use crate::id::{IdSource, PhaseId, RunId, Seed};
use crate::journal::holds_lock;
use crate::plan::{Condition, OnFailure, PhaseKind};
use crate::store::{Answer, Caller, Counts, Export, IssueStore, Notice, Operation, StoreError};

type PhaseTask = (usize, Result<PhaseOutcome, Halt>, Busy);

struct Dispatcher {
    company: Arc<Company>,
    inbox: mpsc::UnboundedReceiver<Letter>,
    roster: Roster,
    workers: HashMap<Seat, oneshot::Sender<(WorkerOrder, Busy)>>,
    monitors: HashMap<PhaseId, oneshot::Sender<(MonitorOrder, Busy)>>,
    tasks: JoinSet<PhaseTask>,
    states: Vec<PhaseState>,
    /// Stops what this run started, without stopping whoever started the run.
    stop: crate::session::Stop,
    alarm: Option<Alarm>,
    /// When the next lease lapses or deferral ends, as last seen.
    deadline: Option<Timestamp>,
    halt: Option<Halt>,
    broken: Option<String>,
    /// A phase has failed, or the time is up, and the rest is not to run.
    failed: bool,
    /// The run has taken as long as it may; a replay knows from the beginning.
    is_late: bool,
}

/// What became of the run's own expectations.
#[derive(Default)]
struct Expectations {
    /// Those that are false.
    wrong: Vec<Condition>,
    /// Those that are neither, and why.
    unanswered: Vec<(Condition, String)>,
}

enum PhaseState {
    Pending,
    Running,
    Ended(PhaseOutcome),
}

/// How many issues the queue holds before the run begins.
///
/// # Errors
/// The queue cannot be read.
pub async fn begin(setup: &Setup) -> Result<u64, StoreError> {
    let caller = outsider(&setup.run, "begin", setup.stage.effects.now());
    match setup.store.apply(caller, Operation::Counts).await.map_err(|refused| refused.error)?.answer {
        Answer::Counts(counts) => Ok(counts.total),
        _ => Ok(0),
    }
}

/// The whole queue, for somebody who looks at it after a run.
///
/// # Errors
/// The queue cannot be read.
pub async fn export(store: &Arc<dyn IssueStore>, run: &RunId) -> Result<Export, StoreError> {
    let caller = outsider(run, "export", Timestamp::UNIX_EPOCH);
    match store.apply(caller, Operation::Export).await.map_err(|refused| refused.error)?.answer {
        Answer::Exported(export) => Ok(*export),
        _ => Ok(Export::default()),
    }
}

/// Who looks at the queue without being an effect of the run.
fn outsider(run: &RunId, what: &str, at: Timestamp) -> Caller {
    Caller {
        run: None,
        effect: None,
        actor: "engine".to_owned(),
        holder: "engine".to_owned(),
        epochs: BTreeMap::new(),
        at,
        ids: Arc::new(IdSource::new(&Seed::new(run.as_str()), what)),
        sequence: None,
    }
}

/// The same for one of the run, whose leases are its own.
fn member(run: &RunId, what: &str, at: Timestamp) -> Caller {
    Caller { run: Some(run.clone()), ..outsider(run, what, at) }
}

/// Runs a plan from its first phase to its last expectation.
pub async fn run(setup: Setup) -> RunEnd {
    let (desk, inbox) = Desk::new();
    let Setup { plan, run, modules, store, templates, stage } = setup;
    let company =
        Arc::new(Company { plan, run, modules, store, templates, stage, desk, others_seen: Arc::default() });
    listen_to_queue(&company);
    let busy = company.stage.effects.busy();
    let states = company.plan.phases.iter().map(|_| PhaseState::Pending).collect();
    let stop = company.stage.stop.child();
    let mut roster = Roster::default();
    for phase in &company.plan.phases {
        if let PhaseKind::Monitor(monitor) = &phase.kind {
            roster.expect_watch(&phase.id, &monitor.watches);
        }
    }
    let mut dispatcher = Dispatcher {
        company: company.clone(),
        inbox,
        roster,
        workers: HashMap::new(),
        monitors: HashMap::new(),
        tasks: JoinSet::new(),
        states,
        stop,
        alarm: None,
        // What had lapsed before is seen at the first look.
        deadline: Some(Timestamp::MIN),
        halt: None,
        broken: None,
        failed: false,
        is_late: false,
    };
    dispatcher.is_late = company.stage.effects.is_recorded(&timeout_id());
    dispatcher.failed = dispatcher.is_late;
    let mut keeper = JoinSet::new();
    if !company.stage.effects.is_replay() && company.stage.effects.is_real_time() {
        keeper.spawn(keep_leases(company.clone()));
    }
    match dispatcher.free_dead_leases().await {
        Ok(()) => dispatcher.serve(busy).await,
        Err(halt) => {
            dispatcher.halt = Some(halt);
            drop(busy);
        }
    }
    keeper.abort_all();
    dispatcher.end().await
}

/// Tells the dispatcher and whoever listens of every change of the queue.
fn listen_to_queue(company: &Arc<Company>) {
    let (desk, stage, seen) = (company.desk.clone(), company.stage.clone(), company.others_seen.clone());
    company.store.subscribe(Box::new(move |notices: &[Notice]| {
        let busy = stage.effects.busy();
        if notices.iter().any(|notice| notice.foreign) {
            seen.store(true, Ordering::Relaxed);
        }
        for notice in notices {
            let event = Happening::IssueChanged {
                issue: notice.change.issue_id.clone(),
                title: stage.effects.scrubber().scrub(&notice.title),
                change: notice.change.event_type.clone(),
                status: notice.status,
                actor: notice.change.actor.clone(),
            };
            stage.hub.tell(stage.effects.now(), &Whereabouts::default(), event);
        }
        let events = notices.iter().map(|notice| notice.change.event_type.clone()).collect();
        desk.leave(Mail::QueueChanged { events }, &busy);
    }));
}

/// Renews the leases of the run's sessions, so that no model ever has to.
async fn keep_leases(company: Arc<Company>) {
    let lease = company.plan.queue.lease;
    let mut tick = tokio::time::interval(lease / 3);
    loop {
        tick.tick().await;
        let until = later(company.stage.effects.now(), lease);
        // A store that cannot be written is told to the next session that uses it, with the reason.
        let _ = company.store.renew(&company.run, until).await;
    }
}

impl Dispatcher {
    /// Gives back what runs hold whose process is gone, so that a killed run never stands in the way of the next. No
    /// effect: a recording begins with an empty queue, and a run that goes on does so again.
    async fn free_dead_leases(&self) -> Result<(), Halt> {
        let company = &self.company;
        if company.stage.effects.is_replay() {
            return Ok(());
        }
        // A queue that cannot be read is told to the first session that uses it, with the reason.
        let holding = company.store.holding_runs().await.unwrap_or_default();
        let runs: Vec<RunId> =
            holding.into_iter().filter(|run| holds_lock(&company.plan.root, run) == Some(false)).collect();
        if runs.is_empty() {
            return Ok(());
        }
        let caller = member(&company.run, "reclaim", company.stage.effects.now());
        let reclaimed = company.store.apply(caller, Operation::Reclaim { runs }).await;
        reclaimed.map(drop).map_err(|refused| Halt::Queue(refused.error))
    }

    /// Serves until every phase has ended.
    async fn serve(&mut self, busy: Busy) {
        self.start_phases(&busy);
        drop(busy);
        let soft = self.stop.soft.clone();
        let hard = self.stop.hard.clone();
        let halted = self.company.stage.effects.halt_token().clone();
        let quiet = self.company.stage.effects.quiet_token().clone();
        let mut stopping = false;
        let effects = &self.company.stage.effects;
        let timeout = self.company.plan.limits.timeout;
        let mut time = timeout.and_then(|span| effects.alarm(later(effects.now(), span)));
        while !self.tasks.is_empty() {
            let alarm = self.alarm.as_mut();
            let time_is_up = time.as_mut();
            let busy = tokio::select! {
                biased;
                () = hard.cancelled() => break,
                () = halted.cancelled() => break,
                Some(task) = self.tasks.join_next() => self.joined(task),
                Some((mail, busy)) = self.inbox.recv() => { self.read(mail); Some(busy) }
                () = soft.cancelled(), if !stopping => {
                    stopping = true;
                    self.roster.stop();
                    if self.company.stage.effects.is_replay() {
                        self.company.stage.effects.stop();
                    }
                    Some(self.company.stage.effects.busy())
                }
                busy = async { alarm.expect("guarded").await }, if alarm.is_some() => { self.alarm = None; Some(busy) }
                busy = async { time_is_up.expect("guarded").await }, if time_is_up.is_some() => {
                    time = None;
                    self.be_late();
                    Some(busy)
                }
                () = quiet.cancelled() => {
                    let why = "the run stands still: nobody goes on, and nothing is waited for";
                    self.halt.get_or_insert(Halt::Standstill(why.to_owned()));
                    break;
                }
            };
            if let Some(busy) = busy {
                self.start_phases(&busy);
                self.carry_out(&busy).await;
                if self.tasks.is_empty() {
                    time = None;
                }
                drop(busy);
            }
        }
        self.wind_up().await;
    }

    /// Lets tasks that were stopped end what they started, then ends them.
    async fn wind_up(&mut self) {
        // Whoever waits for an order, or is about to, hears that there will be none; and a letter that nobody reads counts
        // as somebody busy.
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        if self.tasks.is_empty() {
            return;
        }
        self.stop.hard.cancel();
        self.workers.clear();
        self.monitors.clear();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // Processes get their SIGTERM and SIGKILL within this; nothing else holds a task up.
        let _ = tokio::time::timeout(crate::limit::KILL_AFTER * 4, ended).await;
        self.tasks.shutdown().await;
    }

    /// The run has taken as long as it may: who works ends its turn, and nobody begins anything.
    fn be_late(&mut self) {
        self.is_late = true;
        self.failed = true;
        self.roster.stop();
        self.stop.soft.cancel();
    }

    /// Puts on record that the run was stopped because it took too long.
    async fn tell_late(&self, busy: &Busy) -> Result<(), Halt> {
        let asked = Asked::engine(timeout_id(), EffectKind::Wake, Policy::Tape);
        let effects = &self.company.stage.effects;
        effects.perform(busy, asked, |_| async { Some(Ran::plain("late".into())) }).await.map(drop)
    }

    fn joined(&mut self, task: Result<PhaseTask, JoinError>) -> Option<Busy> {
        match task {
            Ok((at, Ok(outcome), busy)) => {
                self.ended(at, outcome);
                Some(busy)
            }
            Ok((_, Err(halt), busy)) => {
                self.halt.get_or_insert(halt);
                self.stop.hard.cancel();
                Some(busy)
            }
            Err(error) => {
                self.broken.get_or_insert(broken(error));
                self.stop.hard.cancel();
                None
            }
        }
    }

    fn ended(&mut self, at: usize, outcome: PhaseOutcome) {
        let plan = &self.company.plan.phases[at];
        self.roster.close(&plan.id);
        let bad = matches!(outcome.end, PhaseEnd::Failed | PhaseEnd::Stalled);
        if bad && plan.on_failure == OnFailure::Stop {
            self.failed = true;
            self.roster.stop();
            if !self.company.stage.effects.is_replay() {
                self.stop.soft.cancel();
            }
        }
        self.states[at] = PhaseState::Ended(outcome);
    }

    fn read(&mut self, mail: Mail) {
        let now = self.company.stage.effects.now();
        match mail {
            Mail::PoolOpens { phase, when_empty, takes } => self.roster.open_pool(&phase, when_empty, takes),
            Mail::WatchOpens { phase, setup } => self.roster.open_watch(&phase, setup, now),
            Mail::WorkerAsks { seat, pause, reply } => {
                self.roster.worker_asks(&seat, pause);
                self.workers.insert(seat, reply);
            }
            Mail::WorkerGone { seat } => self.roster.worker_gone(&seat),
            Mail::MonitorAsks { phase, due, reply } => {
                self.roster.monitor_asks(&phase, due);
                self.monitors.insert(phase, reply);
            }
            Mail::TimeIsUp { phase } => self.roster.stop_phase(&phase),
            Mail::QueueChanged { events } => self.roster.queue_changed(events.iter().map(String::as_str)),
        }
    }

    /// Starts every phase whose needs have ended; skips the rest when the run is over.
    fn start_phases(&mut self, busy: &Busy) {
        loop {
            // What was done before the run went on is played to its end, whoever wants to stop.
            let wants_stop =
                self.company.stage.stop.soft.is_cancelled() && !self.company.stage.effects.is_past();
            let stopped = wants_stop || self.halt.is_some();
            let ended: BTreeMap<&PhaseId, &PhaseOutcome> = self.ended_phases();
            let ready = self.company.plan.phases.iter().enumerate().find(|(at, plan)| {
                let pending = matches!(self.states[*at], PhaseState::Pending);
                let skipped = self.is_to_be_skipped(&plan.id);
                let needs_ended = plan.needs.iter().all(|need| ended.contains_key(need));
                pending && (stopped || if skipped { self.failed } else { needs_ended })
            });
            let Some((at, _)) = ready else { return };
            let scope = self.scope(at);
            if stopped {
                let outcome = phase::skipped(&scope, "the run was stopped");
                self.roster.close(scope.id());
                self.states[at] = PhaseState::Ended(outcome);
                continue;
            }
            self.roster.begin(scope.id());
            if self.failed && self.is_to_be_skipped(scope.id()) {
                self.skip(scope, busy.fork());
                continue;
            }
            if scope.plan().when.is_none() {
                phase::announce(&scope);
            }
            let token = busy.fork();
            self.states[at] = PhaseState::Running;
            self.tasks.spawn(async move {
                let effects = &scope.company.stage.effects;
                let outcome = match effects.turn(&token, &format!("phase {at:05}"), scope.id().as_str()).await
                {
                    Ok(()) => phase::run(scope, &token).await,
                    Err(halt) => Err(halt),
                };
                (at, outcome, token)
            });
        }
    }

    /// Whether a phase that has not begun is never to begin, once another has failed. Which phases had begun by then is
    /// chance, so a replay looks it up.
    fn is_to_be_skipped(&self, id: &PhaseId) -> bool {
        let effects = &self.company.stage.effects;
        if effects.is_replay() { effects.is_recorded(&phase::skip_id(id)) } else { self.failed }
    }

    /// Skips a phase because another has failed.
    fn skip(&mut self, scope: PhaseScope, token: Busy) {
        let outcome = phase::skipped(&scope, "a phase before it failed");
        let at = scope.at;
        self.states[at] = PhaseState::Running;
        self.tasks.spawn(async move {
            let outcome = phase::skip(&scope, &token).await.map(|()| outcome);
            (at, outcome, token)
        });
    }

    fn ended_phases(&self) -> BTreeMap<&PhaseId, &PhaseOutcome> {
        let ids = self.company.plan.phases.iter().map(|plan| &plan.id);
        let ended = ids.zip(&self.states).filter_map(|(id, state)| match state {
            PhaseState::Ended(outcome) => Some((id, outcome)),
            PhaseState::Pending | PhaseState::Running => None,
        });
        ended.collect()
    }

    fn scope(&self, at: usize) -> PhaseScope {
        let ended = self.ended_phases();
        let mut needed = BTreeSet::new();
        let mut open = vec![&self.company.plan.phases[at]];
        while let Some(plan) = open.pop() {
            for need in &plan.needs {
                if needed.insert(need) {
                    open.extend(self.company.plan.phase(need));
                }
            }
        }
        let seen = needed
            .into_iter()
            .filter_map(|id| ended.get(id).map(|outcome| (id.clone(), (outcome.end, outcome.text.clone()))))
            .collect();
        PhaseScope { company: self.company.clone(), at, ended: Arc::new(seen), stop: self.stop.child() }
    }

    /// Decides who goes on, and tells them.
    async fn carry_out(&mut self, busy: &Busy) {
        if !self.roster.has_waiting() {
            return;
        }
        let now = self.company.stage.effects.now();
        let outlook = match self.outlook(now).await {
            Ok(outlook) => outlook,
            Err(error) => {
                self.halt.get_or_insert(Halt::Queue(error));
                self.stop.hard.cancel();
                return;
            }
        };
        let (orders, alarm) = self.roster.decide(&outlook, now);
        self.alarm = alarm.and_then(|at| self.company.stage.effects.alarm(at));
        for order in orders {
            // Whoever is told may be gone, when its task was ended; then there is nothing to tell.
            match order {
                Order::Worker(seat, order) => {
                    if let Some(reply) = self.workers.remove(&seat) {
                        let _ = reply.send((order, busy.fork()));
                    }
                }
                Order::Monitor(phase, order) => {
                    if let Some(reply) = self.monitors.remove(&phase) {
                        let _ = reply.send((order, busy.fork()));
                    }
                }
            }
        }
    }

    /// The queue as it is now. Not an effect: what follows from it is recorded as orders.
    async fn outlook(&mut self, now: Timestamp) -> Result<Outlook, StoreError> {
        let caller = member(&self.company.run, "outlook", now);
        let store = &self.company.store;
        // What lapsed is another run's, or a person's: no recording has those in it, so this is no effect of the run. At
        // every look, since a claim may have come and lapsed while nobody waited.
        let lapsed = Operation::Reclaim { runs: Vec::new() };
        store.apply(caller, lapsed).await.map_err(|refused| refused.error)?;
        if self.deadline.take().is_some_and(|at| at <= now) {
            // The end of a deferral tells nobody of itself, yet it makes an issue ready.
            self.roster.queue_changed(std::iter::empty());
        }
        let (welcome, enough) = self.roster.wants();
        let ready = store.first_ready(&welcome, enough, now).await?;
        let deadlines = store.deadlines(&self.company.run, now).await?;
        self.deadline = deadlines.first().map(|deadline| deadline.at);
        Ok(Outlook { ready, deadlines })
    }

    /// Looks at the final expectations and sums up.
    async fn end(mut self) -> RunEnd {
        let busy = self.company.stage.effects.busy();
        let mut expectations = Expectations::default();
        let stopped = self.company.stage.stop.soft.is_cancelled();
        if self.halt.is_none() {
            self.halt = self.company.stage.effects.halted();
        }
        let goes_well = self.halt.is_none() && self.broken.is_none() && !stopped;
        if goes_well && self.is_late {
            self.halt = self.tell_late(&busy).await.err();
        } else if goes_well && !self.was_cut_short() {
            match self.check_expectations(&busy).await {
                Ok(found) => expectations = found,
                Err(halt) => self.halt = Some(halt),
            }
        }
        if self.halt.is_none() && self.broken.is_none() && !stopped {
            self.halt = self.company.stage.effects.finish().err();
        }
        let (counts, issues) = self.last_look().await;
        let ids = self.company.plan.phases.iter().map(|plan| plan.id.clone());
        let outcome = |state| match state {
            PhaseState::Ended(outcome) => outcome,
            PhaseState::Pending => PhaseOutcome::new(PhaseEnd::Skipped),
            PhaseState::Running => PhaseOutcome::new(PhaseEnd::Cancelled),
        };
        let phases: Vec<_> = ids.zip(self.states.into_iter().map(outcome)).collect();
        let Expectations { wrong: of_run, unanswered } = expectations;
        let of_phases = phases.iter().flat_map(|(_, outcome)| outcome.false_expectations.clone());
        let wrong = of_phases.chain(of_run).collect();
        RunEnd {
            budget_used_up: self.is_late || phases.iter().any(|(_, outcome)| outcome.budget_used_up),
            is_late: self.is_late,
            credential_refused: phases.iter().any(|(_, outcome)| outcome.credential_refused),
            call_failed: phases.iter().any(|(_, outcome)| outcome.call_failed),
            phases,
            false_expectations: wrong,
            unanswered,
            halt: self.halt,
            stopped,
            broken: self.broken,
            others_worked: self.company.others_seen.load(Ordering::Relaxed),
            counts,
            issues,
        }
    }

    /// Whether a failed phase kept others from running: what the run was to reach is then no question any more.
    fn was_cut_short(&self) -> bool {
        let plans = self.company.plan.phases.iter();
        plans.zip(&self.states).any(|(plan, state)| match state {
            PhaseState::Ended(outcome) => {
                outcome.end == PhaseEnd::Failed && plan.on_failure == OnFailure::Stop
            }
            PhaseState::Pending | PhaseState::Running => false,
        })
    }

    async fn check_expectations(&self, busy: &Busy) -> Result<Expectations, Halt> {
        let mut found = Expectations::default();
        let company = &self.company;
        let mut scope = Scope::of_run(company);
        scope.see_phases(&self.ended_phases());
        for (number, condition) in (1..).zip(&company.plan.expect) {
            let id = EffectId::run("expect", number);
            let holds = match company.holds(busy, id, condition, &scope).await? {
                Ok(holds) => holds,
                Err(error) => {
                    found.unanswered.push((condition.clone(), error.reason));
                    continue;
                }
            };
            let event = Happening::ExpectChecked { condition: condition.text.clone(), holds };
            company.stage.hub.tell(company.stage.effects.now(), &Whereabouts::default(), event);
            if !holds {
                found.wrong.push(condition.clone());
            }
        }
        Ok(found)
    }

    /// The queue at the very end, for people. What a run that could not end in order still holds is given back.
    async fn last_look(&self) -> (Counts, Vec<crate::issue::Issue>) {
        let company = &self.company;
        let caller = |what: &str| outsider(&company.run, what, company.stage.effects.now());
        if !company.stage.effects.is_replay() {
            let reclaim = Operation::Reclaim { runs: vec![company.run.clone()] };
            // A queue that cannot be written any more is what the run has already failed with.
            let _ = company.store.apply(caller("reclaim"), reclaim).await;
        }
        match company.store.apply(caller("end"), Operation::Snapshot).await.map(|applied| applied.answer) {
            Ok(Answer::Snapshot(snapshot)) => (snapshot.counts, snapshot.issues),
            _ => (Counts::default(), Vec::new()),
        }
    }
}

/// The effect that says that the run took too long.
fn timeout_id() -> EffectId {
    EffectId::run("timeout", 1)
}

fn broken(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast_ref::<&str>().map_or("a task panicked", |text| text).to_owned(),
        },
        Err(_) => "a task was ended".to_owned(),
    }
}
