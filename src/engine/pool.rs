//! A phase of concurrent workers: opens the pool, joins the workers, and says what is left over.

use tokio::task::JoinSet;

use super::desk::Mail;
use super::queue::Proxy;
use super::worker::{self, WorkerEnd};
use super::{PhaseOutcome, PhaseScope, conversation};
use crate::effects::{Busy, Halt};
use crate::event::{EffectId, PhaseEnd, StopCause};
use crate::issue::{Issue, Status};
use crate::plan::{WhenEmpty, WorkersPlan};
use crate::store::{Answer, BlockedIssue, Operation, Snapshot};

/// Runs the workers until the last has gone home.
pub(super) async fn run(phase: &PhaseScope, plan: &WorkersPlan, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    let workers = plan.workers();
    phase.company.desk.leave(
        Mail::PoolOpens {
            phase: phase.id().clone(),
            when_empty: plan.when_empty,
            takes: workers.iter().map(|worker| worker.takes.clone()).collect(),
        },
        busy,
    );
    let mut team = JoinSet::new();
    for (at, worker) in workers.into_iter().enumerate() {
        let (phase, plan, token) = (phase.clone(), plan.clone(), busy.fork());
        team.spawn(async move {
            let effects = &phase.company.stage.effects;
            let end = match effects.turn(&token, &format!("worker {at:05}")).await {
                Ok(()) => worker::run(&phase, &plan, &worker, at, &token).await,
                Err(halt) => Err(halt),
            };
            // Said before the token is given back, so that nobody decides on a worker that has gone.
            phase.company.desk.leave(Mail::WorkerGone { seat: (phase.id().clone(), at) }, &token);
            (at, end, token)
        });
    }
    let ends = join(&mut team, busy).await?;
    let mut outcome = PhaseOutcome::completed();
    for end in &ends {
        conversation::judge(&end.last, end.name.as_str(), &mut outcome);
    }
    if ends.iter().any(|end| end.cause == StopCause::Cancelled) && outcome.end == PhaseEnd::Completed {
        outcome.end = PhaseEnd::Cancelled;
    }
    if outcome.end == PhaseEnd::Completed {
        report_left_over(phase, plan, busy, &mut outcome).await?;
    }
    Ok(outcome)
}

async fn join(
    team: &mut JoinSet<(usize, Result<WorkerEnd, Halt>, Busy)>,
    busy: &Busy,
) -> Result<Vec<WorkerEnd>, Halt> {
    let mut ends = Vec::new();
    let mut halt = None;
    let mut rest = Some(busy.rest());
    while let Some(joined) = team.join_next().await {
        let (at, end, token) = joined.unwrap_or_else(|broken| std::panic::resume_unwind(broken.into_panic()));
        match end {
            Ok(end) => ends.push((at, end)),
            Err(why) => halt = Some(why),
        }
        if team.is_empty() {
            rest.take();
        }
        drop(token);
    }
    if let Some(halt) = halt {
        return Err(halt);
    }
    ends.sort_by_key(|(at, _)| *at);
    Ok(ends.into_iter().map(|(_, end)| end).collect())
}

/// Names what is left of the issues that somebody in the pool takes. With `when_empty: wait` that is a stall.
async fn report_left_over(
    phase: &PhaseScope,
    plan: &WorkersPlan,
    busy: &Busy,
    outcome: &mut PhaseOutcome,
) -> Result<(), Halt> {
    let proxy = Proxy { actor: "engine".to_owned(), holder: "run".to_owned(), epochs: Default::default() };
    let id = |n| EffectId::engine(phase.id(), "left", n);
    let queue = phase.company.queue(busy, id(1), &proxy, Operation::Snapshot).await?;
    let blocked = phase.company.queue(busy, id(2), &proxy, Operation::Blocked).await?;
    let (Ok((Answer::Snapshot(queue), _)), Ok((Answer::Blocked(blocked), _))) = (queue, blocked) else {
        outcome.fail("the queue could not be read at the end of the phase".to_owned());
        return Ok(());
    };
    let ours = |issue: &&Issue| {
        issue.status != Status::Closed && plan.pool.iter().any(|entry| entry.takes.matches(&issue.metadata))
    };
    let left: Vec<&Issue> = queue.issues.iter().filter(ours).collect();
    outcome.reasons.extend(left.iter().map(|issue| why_left(issue, &queue, &blocked)));
    if !left.is_empty() && plan.when_empty == WhenEmpty::Wait {
        outcome.end = PhaseEnd::Stalled;
    }
    Ok(())
}

fn why_left(issue: &Issue, queue: &Snapshot, blocked: &[BlockedIssue]) -> String {
    let name = format!("{} \"{}\"", issue.id, issue.title);
    match issue.status {
        Status::Blocked => {
            format!("{name} is blocked: {}", issue.blocking_notes.as_deref().unwrap_or("no notes say why"))
        }
        Status::InProgress => {
            let holder = queue.holds.iter().find(|hold| hold.issue == issue.id);
            format!("{name} is held by {}", holder.map_or("nobody known", |hold| hold.holder.as_str()))
        }
        _ if queue.ready.contains(&issue.id) => {
            format!("{name} is ready, but no worker has iterations left for it")
        }
        _ => {
            let blockers = blocked.iter().find(|entry| entry.issue.id == issue.id);
            let waits: Vec<String> = blockers
                .map(|entry| entry.blockers.iter().map(|issue| issue.id.to_string()).collect())
                .unwrap_or_default();
            match (&issue.defer_until, waits.is_empty()) {
                (_, false) => format!("{name} waits for {}", waits.join(", ")),
                (Some(until), true) => format!("{name} is deferred until {until}"),
                (None, true) => format!("{name} is open, but not ready"),
            }
        }
    }
}
