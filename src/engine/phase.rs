//! What every phase does around its own work: its condition, its announcement, its expectations, its end.

use super::desk::Mail;
use super::scope::Scope;
use super::{PhaseOutcome, PhaseScope, approval, conversation, group, monitor, pool, seeding, shell};
use crate::clock::later;
use crate::effects::{Asked, Busy, Halt, Ran};
use crate::event::{EffectId, EffectKind, Happening, PhaseEnd, Policy};
use crate::id::PhaseId;
use crate::plan::{PhaseKind, RetryPlan};

/// Tells that a phase begins. The dispatcher does so for a phase without a condition, so that phases which start together
/// are told in the order of the file.
pub(super) fn announce(phase: &PhaseScope) {
    let plan = phase.plan();
    phase.tell(Happening::PhaseStarted {
        kind: plan.kind.as_str().to_owned(),
        sessions: plan.sessions().into_iter().map(|(name, _)| name).collect(),
    });
}

/// Runs a phase from its condition to its end, and tells of both.
pub(super) async fn run(phase: PhaseScope, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    let plan = phase.plan();
    if plan.when.is_some() {
        if let Some(outcome) = unwanted(&phase, busy).await? {
            return Ok(told(&phase, outcome));
        }
        announce(&phase);
    }
    let (mut outcome, is_late) = work_in_time(&phase, busy).await?;
    if outcome.end == PhaseEnd::Paused {
        return Ok(outcome);
    }
    if is_late {
        be_late(&phase, busy, &mut outcome).await?;
    }
    // What a phase that failed was to reach is no question any more.
    if matches!(outcome.end, PhaseEnd::Completed | PhaseEnd::Stalled) {
        check_expectations(&phase, busy, &mut outcome).await?;
    }
    Ok(told(&phase, outcome))
}

async fn work(phase: &PhaseScope, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    if let Some(each) = &phase.plan().for_each {
        return group::each(phase, each, busy).await;
    }
    match &phase.plan().kind {
        PhaseKind::Session(_) | PhaseKind::Shell(_) => retried(phase, busy).await,
        PhaseKind::Workers(workers) => pool::run(phase, workers, busy).await,
        PhaseKind::Monitor(watch) => monitor::run(phase, watch, busy).await,
        PhaseKind::Issues(issues) => seeding::run(phase, issues, busy).await,
        PhaseKind::Approval(question) => approval::run(phase, question, busy).await,
        PhaseKind::Repeat(repeat) => group::repeat(phase, repeat, busy).await,
        PhaseKind::Include(include) => group::include(phase, include, busy).await,
    }
}

/// Does the work of a phase, again while it fails and may be tried again.
async fn retried(phase: &PhaseScope, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    let RetryPlan { attempts, backoff } = phase.plan().retry;
    let mut wait = backoff;
    for attempt in 1.. {
        let outcome = match &phase.plan().kind {
            PhaseKind::Session(session) => conversation::run(phase, session, attempt, busy).await?,
            PhaseKind::Shell(command) => shell::run(phase, command, attempt, busy).await?,
            _ => unreachable!("only these two are tried again as a whole"),
        };
        // What the run may spend is no luck that changes, nor is a refused credential.
        let is_luck =
            outcome.end == PhaseEnd::Failed && !outcome.budget_used_up && !outcome.credential_refused;
        if attempt >= attempts || !is_luck {
            return Ok(outcome);
        }
        phase.tell(Happening::PhaseRetried { attempt, reasons: outcome.reasons });
        let id = EffectId::engine(phase.id(), "backoff", attempt);
        phase.company.stage.effects.pause(busy, &id, wait).await;
        wait *= 2;
    }
    unreachable!("the loop ends with the last attempt")
}

/// Does the work of a phase, and says whether that took longer than it may: its sessions are stopped then. When that met
/// them is chance, and each of them has it on record; so a replay needs no clock.
async fn work_in_time(phase: &PhaseScope, busy: &Busy) -> Result<(PhaseOutcome, bool), Halt> {
    let effects = &phase.company.stage.effects;
    let timeout = phase.plan().limits.timeout;
    let Some(alarm) = timeout.and_then(|span| effects.alarm(later(effects.now(), span))) else {
        return Ok((work(phase, busy).await?, effects.is_recorded(&timeout_id(phase.id()))));
    };
    let working = work(phase, busy);
    tokio::pin!(working);
    let token = tokio::select! {
        biased;
        outcome = &mut working => return Ok((outcome?, false)),
        token = alarm => token,
    };
    phase.stop.soft.cancel();
    phase.company.desk.leave(Mail::TimeIsUp { phase: phase.id().clone() }, &token);
    drop(token);
    Ok((working.await?, true))
}

/// Puts on record that a phase was stopped because it took too long, and fails it.
async fn be_late(phase: &PhaseScope, busy: &Busy, outcome: &mut PhaseOutcome) -> Result<(), Halt> {
    let asked = Asked::engine(timeout_id(phase.id()), EffectKind::Wake, Policy::Tape);
    let effects = &phase.company.stage.effects;
    effects.perform(busy, asked, |_| async { Some(Ran::plain("late".into())) }).await?;
    let timeout = phase.plan().limits.timeout.unwrap_or_default();
    outcome.fail(format!("it took longer than the {timeout:?} that its `timeout` allows"));
    outcome.budget_used_up = true;
    Ok(())
}

/// The effect that [`be_late`] is.
pub(super) fn timeout_id(phase: &PhaseId) -> EffectId {
    EffectId::engine(phase, "timeout", 1)
}

/// A phase that never began.
pub(super) fn skipped(phase: &PhaseScope, reason: &str) -> PhaseOutcome {
    let mut outcome = PhaseOutcome::new(PhaseEnd::Skipped);
    outcome.reasons.push(reason.to_owned());
    told(phase, outcome)
}

fn told(phase: &PhaseScope, outcome: PhaseOutcome) -> PhaseOutcome {
    phase.tell(Happening::PhaseEnded { end: outcome.end, reasons: outcome.reasons.clone() });
    outcome
}

/// How a phase ends whose `when` does not hold, or cannot be told.
async fn unwanted(phase: &PhaseScope, busy: &Busy) -> Result<Option<PhaseOutcome>, Halt> {
    let Some(when) = &phase.plan().when else { return Ok(None) };
    let id = EffectId::engine(phase.id(), "when", 1);
    Ok(match phase.company.holds(busy, id, when, &Scope::of_phase(phase)).await? {
        Ok(true) => None,
        Ok(false) => {
            let mut outcome = PhaseOutcome::new(PhaseEnd::Skipped);
            outcome.reasons.push("its `when` does not hold".to_owned());
            Some(outcome)
        }
        Err(error) => {
            let mut outcome = PhaseOutcome::completed();
            outcome.fail(error.to_string());
            Some(outcome)
        }
    })
}

/// Puts on record that a phase never began because another had failed: when that was known is chance.
pub(super) async fn skip(phase: &PhaseScope, busy: &Busy) -> Result<(), Halt> {
    let asked = Asked::engine(skip_id(phase.id()), EffectKind::Wake, Policy::Tape);
    let effects = &phase.company.stage.effects;
    effects.perform(busy, asked, |_| async { Some(Ran::plain("skipped".into())) }).await.map(drop)
}

/// The effect that [`skip`] is.
pub(super) fn skip_id(phase: &PhaseId) -> EffectId {
    EffectId::engine(phase, "skipped", 1)
}

async fn check_expectations(phase: &PhaseScope, busy: &Busy, outcome: &mut PhaseOutcome) -> Result<(), Halt> {
    let scope = Scope::of_phase(phase).with_end(phase, outcome);
    for (number, condition) in (1..).zip(&phase.plan().expect) {
        let id = EffectId::engine(phase.id(), "expect", number);
        let holds = phase.company.holds(busy, id, condition, &scope).await?;
        let holds = match holds {
            Ok(holds) => holds,
            Err(error) => {
                // Neither true nor false: that is why the phase fails, not an expectation that is wrong.
                outcome.fail(error.to_string());
                return Ok(());
            }
        };
        phase.tell(Happening::ExpectChecked { condition: condition.text.clone(), holds });
        if !holds {
            outcome.fail(format!("expected {}, which is false", condition.text));
            outcome.false_expectations.push(condition.clone());
        }
    }
    Ok(())
}
