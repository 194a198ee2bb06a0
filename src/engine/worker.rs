//! One worker of a pool: asks for work, does an iteration, and hands back what it holds before it goes.
//!
//! ```text
//!   ask ──start──▶ [engine claims] ──▶ render ──▶ prompt ──▶ [engine settles] ──▶ ask …
//!    └──stop──▶ release what it holds ──▶ gone
//! ```

use std::collections::BTreeMap;

use super::PhaseScope;
use super::conversation::{SeatPlan, goes_on};
use super::queue::Proxy;
use super::roster::{Pause, Seat, WorkerOrder};
use super::scope::Scope;
use crate::effects::{Asked, Busy, Halt, Ran};
use crate::event::{EffectId, EffectKind, Happening, Policy, SessionEnd, StopCause, Whereabouts};
use crate::id::SessionName;
use crate::issue::{Issue, Status};
use crate::plan::{ClaimBy, SessionLife, WorkerPlan, WorkersPlan};
use crate::session::{PromptEnd, Session};
use crate::store::{Answer, AttemptCount, Claim, Operation};
use crate::tool::HoldLog;

/// How a worker ended.
#[derive(Debug, Clone)]
pub(super) struct WorkerEnd {
    pub(super) name: SessionName,
    pub(super) cause: StopCause,
    /// How its last prompt ended.
    pub(super) last: PromptEnd,
}

/// Iterations in a row that may claim nothing before the worker waits for the queue to change. As many in a row as it has
/// iterations end it, but not before it has waited once.
const IDLE_ITERATIONS: u32 = 2;

struct Worker<'a> {
    phase: &'a PhaseScope,
    plan: &'a WorkersPlan,
    me: &'a WorkerPlan,
    seat: Seat,
    busy: &'a Busy,
    session: Option<Session>,
    /// The number of the session among fresh ones.
    fresh: Option<u32>,
    /// What the session holds.
    holds: HoldLog,
    /// Iterations that count.
    iterations: u32,
    /// Iterations in a row that claimed nothing.
    idle: u32,
    /// How many effects of each name there have been.
    counts: BTreeMap<&'static str, u32>,
    last: PromptEnd,
}

/// Runs a worker to its end.
pub(super) async fn run(
    phase: &PhaseScope,
    plan: &WorkersPlan,
    me: &WorkerPlan,
    at: usize,
    busy: &Busy,
) -> Result<WorkerEnd, Halt> {
    let mut worker = Worker {
        phase,
        plan,
        me,
        seat: (phase.id().clone(), at),
        busy,
        session: None,
        fresh: None,
        holds: HoldLog::default(),
        iterations: 0,
        idle: 0,
        counts: BTreeMap::new(),
        last: PromptEnd { end: SessionEnd::Completed, text: String::new(), error: None },
    };
    let cause = worker.work().await?;
    worker.hand_back(worker.attempt(cause)).await?;
    worker.tell(Happening::WorkerStopped { cause });
    Ok(WorkerEnd { name: me.name.clone(), cause, last: worker.last })
}

impl Worker<'_> {
    async fn work(&mut self) -> Result<StopCause, Halt> {
        if self.plan.session == SessionLife::Keep {
            self.sit_down().await?;
        }
        loop {
            if !goes_on(&self.last.end) {
                return Ok(match self.last.end {
                    SessionEnd::Cancelled => StopCause::Cancelled,
                    SessionEnd::Budget => StopCause::Budget,
                    _ => StopCause::Failed,
                });
            }
            // Two who file issues for each other, and claim none, would otherwise go on for ever.
            let most_idle = self.plan.max_iterations.max(IDLE_ITERATIONS + 1);
            if self.iterations >= self.plan.max_iterations || self.idle >= most_idle {
                return Ok(StopCause::Iterations);
            }
            if let WorkerOrder::Stop(cause) = self.next_order().await? {
                return Ok(cause);
            }
            let (phase, busy) = (self.phase, self.busy);
            let _slot = phase.slot(self.me.name.as_str(), busy).await?;
            match self.plan.claim {
                ClaimBy::Agent => self.iterate_as_agent().await?,
                ClaimBy::Engine => self.iterate_as_engine().await?,
            }
        }
    }

    /// Makes a session; answers whether there is one. If it cannot be made, that is how the last prompt ended.
    async fn sit_down(&mut self) -> Result<bool, Halt> {
        let scope = self.scope();
        let seat = SeatPlan {
            role: &self.me.role,
            name: &self.me.name,
            takes: self.me.takes.clone(),
            fresh: self.fresh,
            holds: self.holds.clone(),
            isolation: self.phase.company.plan.workspace.isolation,
            scope,
        };
        match seat.fill(self.phase, self.busy).await? {
            Ok(session) => {
                self.session = Some(session);
                Ok(true)
            }
            Err(reason) => {
                self.last = failed(reason);
                Ok(false)
            }
        }
    }

    fn scope(&self) -> Scope {
        let next = self.iterations + 1;
        Scope::of_phase(self.phase).with_role(&self.phase.company, &self.me.role).with_worker(
            self.me,
            next,
            self.plan.max_iterations,
        )
    }

    fn path(&self) -> String {
        EffectId::session_path(self.phase.id(), &self.me.name, self.fresh)
    }

    fn proxy(&self) -> Proxy {
        Proxy { actor: self.me.name.to_string(), holder: self.path(), epochs: self.holds.epochs() }
    }

    fn id(&mut self, what: &'static str) -> EffectId {
        let count = self.counts.entry(what).or_default();
        *count += 1;
        EffectId::engine(self.phase.id(), &format!("{what}.{}", self.me.name), *count)
    }

    fn tell(&self, event: Happening) {
        let place = Whereabouts {
            phase: Some(self.phase.id().clone()),
            session: Some(self.me.name.clone()),
            role: Some(self.me.role.clone()),
        };
        let stage = &self.phase.company.stage;
        stage.hub.tell(stage.effects.now(), &place, event);
    }

    /// What the dispatcher says; in a replay what the recording says.
    async fn next_order(&mut self) -> Result<WorkerOrder, Halt> {
        let pause = if self.idle >= IDLE_ITERATIONS {
            Pause::Tired
        } else if self.holds.current().is_empty() {
            Pause::Free
        } else {
            Pause::Holding
        };
        self.tell(Happening::WorkerWaiting {});
        let id = self.id("wake");
        let asked = Asked::engine(id.clone(), EffectKind::Wake, Policy::Tape);
        let (desk, seat, busy) = (&self.phase.company.desk, &self.seat, self.busy);
        let ask = |_| async move {
            let result = match desk.ask_as_worker(seat, pause, busy).await? {
                WorkerOrder::Start => serde_json::Value::from("start"),
                WorkerOrder::Stop(cause) => serde_json::json!({ "stop": cause }),
            };
            Some(Ran::plain(result))
        };
        let result = self.phase.company.stage.effects.perform(self.busy, asked, ask).await?;
        match result.get("stop") {
            None => Ok(WorkerOrder::Start),
            Some(cause) => serde_json::from_value(cause.clone())
                .map(WorkerOrder::Stop)
                .map_err(|error| Halt::Unreadable(id, error.to_string())),
        }
    }

    /// Renders the prompt of an iteration and gives it to the session; what goes wrong is how the prompt ended.
    async fn iterate(&mut self, scope: &Scope) -> Result<(), Halt> {
        let (iteration, max_iterations) = (self.iterations + 1, self.plan.max_iterations);
        self.tell(Happening::IterationStarted { iteration, max_iterations });
        let id = self.id("prompt");
        let text = self.phase.company.render(self.busy, id, &self.plan.prompt, scope).await?;
        let session = self.session.as_mut().expect("an iteration begins with a session");
        session.set_iteration(iteration);
        self.last = match text {
            Ok(text) => session.prompt(self.busy, &text).await?,
            Err(error) => failed(error.to_string()),
        };
        Ok(())
    }

    fn end_iteration(&self) {
        self.tell(Happening::IterationEnded { iteration: self.iterations + 1, text: self.last.text.clone() });
    }

    async fn iterate_as_agent(&mut self) -> Result<(), Halt> {
        let mark = self.holds.mark();
        self.iterate(&self.scope()).await?;
        self.end_iteration();
        if self.holds.held_any_since(mark) {
            self.iterations += 1;
            self.idle = 0;
        } else {
            self.idle += 1;
        }
        Ok(())
    }

    async fn iterate_as_engine(&mut self) -> Result<(), Halt> {
        if self.plan.session == SessionLife::Fresh {
            self.fresh = Some(self.fresh.unwrap_or(0) + 1);
        }
        let Some(issue) = self.claim().await? else {
            // Somebody was faster: with nothing claimed, no iteration has begun.
            return Ok(());
        };
        if self.plan.session == SessionLife::Fresh && !self.sit_down().await? {
            return Ok(());
        }
        self.iterate(&self.scope().with_issue(&issue)).await?;
        if goes_on(&self.last.end) && self.still_holds(&issue).await? {
            let session = self.session.as_mut().expect("it was just prompted");
            self.last = session.prompt(self.busy, &reminder(&issue)).await?;
        }
        self.end_iteration();
        let attempt = match self.last.end {
            // Sent home in the middle of it: that says nothing of the issue.
            SessionEnd::Cancelled | SessionEnd::Budget => AttemptCount::Free,
            _ => AttemptCount::Counted { limit: self.phase.company.plan.queue.max_attempts },
        };
        self.hand_back(attempt).await?;
        self.iterations += 1;
        Ok(())
    }

    async fn claim(&mut self) -> Result<Option<Issue>, Halt> {
        let queue = &self.phase.company.plan.queue;
        let (lease, max_attempts) = (queue.lease, queue.max_attempts);
        let operation =
            Operation::Claim(Claim { takes: self.me.takes.clone(), ..Claim::first(lease, max_attempts) });
        let id = self.id("claim");
        match self.phase.company.queue(self.busy, id, &self.proxy(), operation).await? {
            Ok((Answer::Issue(view), change)) => {
                self.holds.apply(&change);
                Ok(Some(view.issue))
            }
            Ok(_) => Ok(None),
            Err(reason) => {
                self.last = failed(reason);
                Ok(None)
            }
        }
    }

    async fn still_holds(&mut self, issue: &Issue) -> Result<bool, Halt> {
        let id = self.id("look");
        let operation = Operation::Get { id: issue.id.clone() };
        let found = self.phase.company.queue(self.busy, id, &self.proxy(), operation).await?;
        Ok(match found {
            Ok((Answer::Issue(view), _)) => {
                view.issue.status == Status::InProgress && self.holds.current().contains(&issue.id)
            }
            _ => false,
        })
    }

    /// Whether what a worker that goes home holds was tried: not if it was sent home in the middle of it.
    fn attempt(&self, cause: StopCause) -> AttemptCount {
        match cause {
            StopCause::Cancelled | StopCause::Budget => AttemptCount::Free,
            StopCause::Iterations | StopCause::NoWork | StopCause::Failed => {
                AttemptCount::Counted { limit: self.phase.company.plan.queue.max_attempts }
            }
        }
    }

    /// Gives back what the session holds.
    async fn hand_back(&mut self, attempt: AttemptCount) -> Result<(), Halt> {
        for id in self.holds.current() {
            let operation = Operation::Release { id: id.clone(), attempt, force: false };
            let effect = self.id("release");
            let released = self.phase.company.queue(self.busy, effect, &self.proxy(), operation).await?;
            match released {
                Ok((_, change)) => self.holds.apply(&change),
                // It is another's by now, or there is nothing to give back; the worker must not believe it holds it.
                Err(_) => self.holds.ended(&id),
            }
        }
        Ok(())
    }
}

fn failed(reason: String) -> PromptEnd {
    PromptEnd { end: SessionEnd::Failed { reason }, text: String::new(), error: None }
}

fn reminder(issue: &Issue) -> String {
    format!(
        "You still hold issue {} \"{}\". If it is done, close it with the issue tool and say what was done. If it cannot \
         go on, block it and say in the notes what is missing. If you stop now without either, it is given back and \
         counts as a failed attempt.",
        issue.id, issue.title
    )
}
