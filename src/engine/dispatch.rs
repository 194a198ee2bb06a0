//! The dispatcher: starts phases, owns who waits, carries out what the roster decides. One inbox, one event at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use super::board::{BlockSetup, Board, Finished, Member, Start, Weather};
use super::desk::{Desk, Letter, Mail};
use super::roster::{MonitorOrder, Order, Outlook, Roster, Seat, WorkerOrder};
use super::shell::{self, Occasion};
use super::slots::Slots;
use super::{Company, PhaseOutcome, PhaseScope, RunEnd, Setup, phase, seeding};
use crate::clock::{Timestamp, later};
use crate::effects::{Alarm, Asked, Busy, Halt, Ran};
use crate::event::{EffectId, EffectKind, Happening, Policy, Whereabouts};
use crate::id::{IdSource, PhaseId, RunId, Seed};
use crate::journal::holds_lock;
use crate::plan::{PhaseKind, PhaseTurn};
use crate::session::Stop;
use crate::store::{Answer, Caller, Export, IssueStore, Notice, Operation, StoreError};

type PhaseTask = (usize, Result<PhaseOutcome, Halt>, Busy);

pub(super) struct Dispatcher {
    pub(super) company: Arc<Company>,
    inbox: mpsc::UnboundedReceiver<Letter>,
    roster: Roster,
    workers: HashMap<Seat, oneshot::Sender<(WorkerOrder, Busy)>>,
    monitors: HashMap<PhaseId, oneshot::Sender<(MonitorOrder, Busy)>>,
    tasks: JoinSet<PhaseTask>,
    pub(super) board: Board,
    /// Stops what this run started, without stopping whoever started the run.
    pub(super) stop: Stop,
    alarm: Option<Alarm>,
    /// When the next lease lapses or deferral ends, as last seen.
    deadline: Option<Timestamp>,
    pub(super) halt: Option<Halt>,
    pub(super) broken: Option<String>,
    /// The run has taken as long as it may; a replay knows from the beginning.
    pub(super) is_late: bool,
    /// Why no phase could begin, if so.
    pub(super) setup_failure: Option<String>,
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
pub(super) fn outsider(run: &RunId, what: &str, at: Timestamp) -> Caller {
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
    let Setup { plan, run, modules, store, templates, stage, secrets } = setup;
    let slots = Slots::new(plan.limits.max_sessions);
    let company = Arc::new(Company {
        plan,
        run,
        modules,
        store,
        templates,
        stage,
        secrets,
        desk,
        slots,
        others_seen: Arc::default(),
    });
    listen_to_queue(&company);
    let busy = company.stage.effects.busy();
    let stop = company.stage.stop.child();
    let mut dispatcher = Dispatcher {
        company: company.clone(),
        inbox,
        roster: Roster::default(),
        workers: HashMap::new(),
        monitors: HashMap::new(),
        tasks: JoinSet::new(),
        board: Board::default(),
        stop,
        alarm: None,
        // What had lapsed before is seen at the first look.
        deadline: Some(Timestamp::MIN),
        halt: None,
        broken: None,
        is_late: false,
        setup_failure: None,
    };
    dispatcher.is_late = company.stage.effects.is_recorded(&timeout_id());
    let mut keeper = JoinSet::new();
    if !company.stage.effects.is_replay() && company.stage.effects.is_real_time() {
        keeper.spawn(keep_leases(company.clone()));
    }
    match dispatcher.free_dead_leases().await {
        Ok(()) => match dispatcher.set_up(&busy).await {
            Ok(()) => dispatcher.serve(busy).await,
            Err(halt) => {
                dispatcher.halt = Some(halt);
                drop(busy);
            }
        },
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

    /// Does what comes before the first phase: the commands of the workspace, and the issues of the queue.
    async fn set_up(&mut self, busy: &Busy) -> Result<(), Halt> {
        let company = self.company.clone();
        let commands = &company.plan.workspace.setup;
        let work = async {
            match shell::run_all(&company, Occasion::Setup, commands, busy).await? {
                Ok(()) => seeding::begin(&company, busy).await,
                Err(reason) => Ok(Err(reason)),
            }
        };
        tokio::pin!(work);
        // What the queue tells of its changes is read meanwhile: a letter that nobody reads counts as somebody busy.
        loop {
            tokio::select! {
                done = &mut work => {
                    self.setup_failure = done?.err();
                    return Ok(());
                }
                Some((mail, _busy)) = self.inbox.recv() => self.read(mail),
            }
        }
    }

    /// Serves until every phase has ended.
    async fn serve(&mut self, busy: Busy) {
        let phases: Vec<_> = self.company.plan.phases.iter().map(|plan| Arc::new(plan.clone())).collect();
        self.add(BlockSetup {
            parent: None,
            phases: phases
                .into_iter()
                .map(|plan| Member { id: plan.id.clone(), plan, surroundings: Arc::default() })
                .collect(),
            width: usize::MAX,
            outside: Arc::default(),
            stop: self.stop.clone(),
            reply: None,
        });
        if self.is_late {
            self.board.fail_all();
        }
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

    /// Adds phases, and tells the roster of the monitors among them.
    fn add(&mut self, setup: BlockSetup) {
        for Member { id, plan, .. } in &setup.phases {
            let PhaseKind::Monitor(monitor) = &plan.kind else { continue };
            self.roster.expect_watch(id, &beside(id, &monitor.watches));
        }
        for member in setup.phases.iter().filter(|member| member.plan.turn == PhaseTurn::Finally) {
            self.roster.exempt(&member.id);
        }
        self.board.add(setup);
    }

    /// The run has taken as long as it may: who works ends its turn, and nobody begins anything.
    fn be_late(&mut self) {
        self.is_late = true;
        self.board.fail_all();
        self.roster.stop();
        self.stop.soft.cancel();
    }

    /// Puts on record that the run was stopped because it took too long.
    pub(super) async fn tell_late(&self, busy: &Busy) -> Result<(), Halt> {
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
        self.roster.close(&self.board.phase(at).id);
        self.board.end(at, outcome);
        if !self.board.stops_others(at) {
            return;
        }
        let (phases, stops) = self.board.fail_beside(at);
        phases.iter().for_each(|phase| self.roster.stop_phase(phase));
        if !self.company.stage.effects.is_replay() {
            stops.iter().for_each(|stop| stop.soft.cancel());
        }
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
            Mail::TimeIsUp { phase } => {
                let (phases, _) = self.board.be_late(&phase);
                phases.iter().for_each(|phase| self.roster.stop_phase(phase));
            }
            Mail::PhasesBegin { setup } => {
                if let Some(parent) = &setup.parent {
                    // It waits for what it began, and is in no turn meanwhile.
                    self.roster.rest(parent);
                    // A replay knows from the beginning.
                    if self.company.stage.effects.is_recorded(&phase::timeout_id(parent)) {
                        self.board.be_late(parent);
                    }
                }
                self.add(*setup);
            }
            Mail::QueueChanged { events } => self.roster.queue_changed(events.iter().map(String::as_str)),
        }
    }

    /// Starts every phase whose needs have ended; skips the rest when the run is over; tells who waits for phases that are.
    fn start_phases(&mut self, busy: &Busy) {
        loop {
            while let Some(start) = self.next_start() {
                match start {
                    Start::Begin(at) => self.begin(at, busy),
                    Start::Skip(at) => self.skip(at, busy.fork()),
                    Start::Drop(at) => {
                        let scope = self.scope(at);
                        let why = match self.setup_failure {
                            Some(_) => "what comes before the first phase failed",
                            None => "the run was stopped",
                        };
                        let outcome = phase::skipped(&scope, why).cut_short();
                        self.roster.close(&scope.id);
                        self.board.end(at, outcome);
                    }
                }
            }
            let finished = self.board.finished();
            if finished.is_empty() {
                return;
            }
            for Finished { parent, ends, reply } in finished {
                if let Some(parent) = parent {
                    self.roster.begin(&parent);
                }
                // Whoever waits may have been ended; then there is nothing to tell.
                let _ = reply.send((ends, busy.fork()));
            }
        }
    }

    fn next_start(&self) -> Option<Start> {
        let effects = &self.company.stage.effects;
        // What was done before the run went on is played to its end, whoever wants to stop.
        let wants_stop = self.company.stage.stop.soft.is_cancelled() && !effects.is_past();
        let recorded = |id: &PhaseId| effects.is_recorded(&phase::skip_id(id));
        self.board.next(&Weather {
            stopped: wants_stop,
            halted: self.halt.is_some() || self.setup_failure.is_some(),
            // Which phases had begun when another failed is chance, so a replay looks it up.
            recorded_skip: effects.is_replay().then_some(&recorded),
        })
    }

    fn begin(&mut self, at: usize, busy: &Busy) {
        let scope = self.scope(at);
        self.roster.begin(&scope.id);
        if scope.plan.when.is_none() {
            phase::announce(&scope);
        }
        let (token, order) = (busy.fork(), self.board.phase(at).order.clone());
        self.board.begin(at);
        self.tasks.spawn(async move {
            let effects = &scope.company.stage.effects;
            let outcome = match effects.turn(&token, &order, scope.id.as_str()).await {
                Ok(()) => phase::run(scope, &token).await,
                Err(halt) => Err(halt),
            };
            (at, outcome, token)
        });
    }

    /// Skips a phase because another has failed.
    fn skip(&mut self, at: usize, token: Busy) {
        let scope = self.scope(at);
        self.roster.begin(&scope.id);
        let outcome = phase::skipped(&scope, "a phase before it failed").cut_short();
        self.board.begin(at);
        self.tasks.spawn(async move {
            let outcome = phase::skip(&scope, &token).await.map(|()| outcome);
            (at, outcome, token)
        });
    }

    fn scope(&self, at: usize) -> PhaseScope {
        let live = self.board.phase(at);
        let stop = match live.plan.turn {
            PhaseTurn::InOrder => self.board.stop_of(at).child(),
            // It runs although others are stopped, but not when everything is.
            PhaseTurn::Finally => {
                Stop { soft: self.stop.hard.child_token(), hard: self.board.stop_of(at).hard.child_token() }
            }
        };
        PhaseScope {
            company: self.company.clone(),
            id: live.id.clone(),
            plan: live.plan.clone(),
            seen: Arc::new(self.board.seen(at)),
            surroundings: live.surroundings.clone(),
            stop,
        }
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
}

/// The name in the run of a phase that stands beside another.
pub(super) fn beside(id: &PhaseId, other: &PhaseId) -> PhaseId {
    id.outer().map_or_else(|| other.clone(), |outer| outer.inner(other))
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
