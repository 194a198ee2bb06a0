//! What every phase does around its own work: its condition, its announcement, its expectations, its end.

use super::scope::Scope;
use super::{PhaseOutcome, PhaseScope, conversation, monitor, pool};
use crate::effects::{Busy, Halt};
use crate::event::{EffectId, Happening, PhaseEnd};
use crate::plan::PhaseKind;

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
        if !is_wanted(&phase, busy).await? {
            let mut outcome = PhaseOutcome::new(PhaseEnd::Skipped);
            outcome.reasons.push("its `when` does not hold".to_owned());
            return Ok(told(&phase, outcome));
        }
        announce(&phase);
    }
    let mut outcome = match &plan.kind {
        PhaseKind::Session(session) => conversation::run(&phase, session, busy).await?,
        PhaseKind::Workers(workers) => pool::run(&phase, workers, busy).await?,
        PhaseKind::Monitor(watch) => monitor::run(&phase, watch, busy).await?,
    };
    if outcome.end != PhaseEnd::Cancelled {
        check_expectations(&phase, busy, &mut outcome).await?;
    }
    Ok(told(&phase, outcome))
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

async fn is_wanted(phase: &PhaseScope, busy: &Busy) -> Result<bool, Halt> {
    let Some(when) = &phase.plan().when else { return Ok(true) };
    let id = EffectId::engine(phase.id(), "when", 1);
    let holds = phase.company.holds(busy, id, when, &Scope::of_phase(phase)).await?;
    Ok(holds.unwrap_or(false))
}

async fn check_expectations(phase: &PhaseScope, busy: &Busy, outcome: &mut PhaseOutcome) -> Result<(), Halt> {
    let scope = Scope::of_phase(phase).with_end(phase, outcome);
    for (number, condition) in (1..).zip(&phase.plan().expect) {
        let id = EffectId::engine(phase.id(), "expect", number);
        let holds = phase.company.holds(busy, id, condition, &scope).await?;
        let (holds, why) = match holds {
            Ok(holds) => (holds, format!("expected {}, which is false", condition.text)),
            Err(error) => (false, error.to_string()),
        };
        phase.tell(Happening::ExpectChecked { condition: condition.text.clone(), holds });
        if !holds {
            outcome.fail(why);
            outcome.false_expectations.push(condition.clone());
        }
    }
    Ok(())
}
