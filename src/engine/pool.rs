//! A phase of concurrent workers: opens the pool, joins the workers, and says what is left over.

use indexmap::IndexMap;
use tokio::task::JoinSet;

use super::desk::Mail;
use super::queue::Proxy;
use super::worker::{self, WorkerEnd};
use super::{PhaseOutcome, PhaseScope, conversation};
use crate::effects::{Busy, Halt};
use crate::event::{EffectId, PhaseEnd, StopCause};
use crate::id::IssueId;
use crate::issue::Status;
use crate::plan::{WhenEmpty, WorkersPlan};
use crate::store::{Answer, LeftIssue, Operation};

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
            let name = format!("{}/{}", phase.id(), worker.name);
            let end = match effects.turn(&token, &format!("worker {at:05}"), &name).await {
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
    judge(&ends, &mut outcome);
    if ends.iter().any(|end| end.cause == StopCause::Cancelled) && outcome.end == PhaseEnd::Completed {
        outcome.end = PhaseEnd::Cancelled;
    }
    if outcome.end == PhaseEnd::Completed {
        report_left_over(phase, plan, busy, &mut outcome).await?;
    }
    Ok(outcome)
}

/// What the ends of the workers mean for the phase. What happened to several is said once, with all their names.
fn judge(ends: &[WorkerEnd], outcome: &mut PhaseOutcome) {
    let mut failures: IndexMap<String, Vec<&str>> = IndexMap::new();
    for end in ends {
        outcome.note_end(&end.last);
        if let Some(why) = conversation::failure(&end.last.end) {
            failures.entry(why).or_default().push(end.name.as_str());
        }
    }
    for (why, names) in failures {
        outcome.fail(format!("{}: {why}", names.join(", ")));
    }
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
    let takes = plan.pool.iter().map(|entry| entry.takes.clone()).collect();
    let id = EffectId::engine(phase.id(), "left", 1);
    let left = match phase.company.queue(busy, id, &proxy, Operation::Left { takes }).await? {
        Ok((Answer::Left(left), _)) => left,
        Ok(_) => Vec::new(),
        Err(why) => {
            outcome.fail(format!("the queue could not be read at the end of the phase: {why}"));
            return Ok(());
        }
    };
    outcome.reasons.extend(left.iter().map(why_left));
    if !left.is_empty() && plan.when_empty == WhenEmpty::Wait {
        outcome.end = PhaseEnd::Stalled;
    }
    Ok(())
}

fn why_left(issue: &LeftIssue) -> String {
    let name = format!("{} \"{}\"", issue.id, issue.title);
    match issue.status {
        Status::Blocked => {
            format!("{name} is blocked: {}", issue.blocking_notes.as_deref().unwrap_or("no notes say why"))
        }
        Status::InProgress => {
            format!("{name} is held by {}", issue.holder.as_deref().unwrap_or("nobody known"))
        }
        Status::Open | Status::Closed if issue.is_ready => format!("{name} is ready, but no worker took it"),
        Status::Open | Status::Closed => {
            let waits: Vec<&str> = issue.waits_for.iter().map(IssueId::as_str).collect();
            match (&issue.defer_until, waits.is_empty()) {
                (_, false) => format!("{name} waits for {}", waits.join(", ")),
                (Some(until), true) => format!("{name} is deferred until {until}"),
                (None, true) => format!("{name} is open, but not ready"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SessionEnd;
    use crate::id::SessionName;
    use crate::session::PromptEnd;

    #[test]
    fn a_worker_that_used_up_the_budget_says_so_for_its_phase() {
        let last = PromptEnd { end: SessionEnd::Budget, text: String::new(), error: None };
        let end = WorkerEnd { name: SessionName::new("clerk-1"), cause: StopCause::Budget, last };
        let mut outcome = PhaseOutcome::completed();
        judge(&[end], &mut outcome);
        assert!(outcome.budget_used_up);
        assert_eq!(outcome.end, PhaseEnd::Failed);
    }
}
