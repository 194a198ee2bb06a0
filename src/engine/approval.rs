//! A phase that asks a person: with the answer it goes on, without one the run pauses.

use serde_json::{Value, json};

use super::scope::Scope;
use super::{PhaseOutcome, PhaseScope};
use crate::effects::{Asked, Busy, Halt, Ran};
use crate::event::{Decision, EffectId, EffectKind, Happening, PhaseEnd, Policy, Segment};
use crate::plan::ApprovalPlan;
use crate::session::{About, Given, Question};

/// Asks, and waits for the answer.
pub(super) async fn run(phase: &PhaseScope, plan: &ApprovalPlan, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    let mut outcome = PhaseOutcome::completed();
    let id = EffectId::engine(phase.id(), "message", 1);
    let message = match phase.company.render_text(busy, id, &plan.message, &Scope::of_phase(phase)).await? {
        Ok(message) => message,
        Err(error) => {
            outcome.fail(error.to_string());
            return Ok(outcome);
        }
    };
    let question = Question {
        phase: phase.id().clone(),
        about: About::Phase,
        message: message.clone(),
        timeout: plan.timeout,
        default: plan.default,
    };
    let (effects, people) = (&phase.company.stage.effects, &phase.company.stage.people);
    let id = EffectId::engine(phase.id(), "answer", 1);
    phase.tell(Happening::ApprovalAsked { message: message.clone() });
    let given = if effects.is_replay() || effects.is_known(&id) {
        None
    } else {
        let rest = busy.rest();
        let stopped = phase.stop.soft.cancelled();
        let given = tokio::select! {
            given = people.ask(&question) => given,
            () = stopped => {
                drop(rest);
                return Ok(PhaseOutcome::new(PhaseEnd::Cancelled));
            }
        };
        drop(rest);
        if given.is_none() {
            phase.tell(Happening::ApprovalAwaited { message, timeout: plan.timeout, default: plan.default });
            outcome.end = PhaseEnd::Paused;
            outcome.reasons.push("it waits for an answer".to_owned());
            return Ok(outcome);
        }
        given
    };
    let asked = Asked::engine(id.clone(), EffectKind::Answer, Policy::Tape)
        .keyed(vec![Segment::new("message", effects.scrubber().scrub(&message))]);
    let told = |given: Given| {
        Ran::plain(json!({"answer": given.answer.as_str(), "by": given.by, "note": given.note}))
    };
    let result = effects.perform(busy, asked, |_| async { given.map(told) }).await?;
    people.on_record(&question);
    let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(answer) = Decision::from_text(&text("answer")) else {
        return Err(Halt::Unreadable(id, "it is no answer".to_owned()));
    };
    let (by, note) = (text("by"), text("note"));
    phase.tell(Happening::ApprovalGiven { answer, by: by.clone(), note: note.clone() });
    outcome.facts.insert("answer".to_owned(), answer.as_str().into());
    outcome.facts.insert("note".to_owned(), note.clone().into());
    if answer == Decision::No {
        let why = if note.is_empty() { String::new() } else { format!(": {note}") };
        outcome.fail(format!("rejected by {by}{why}"));
    }
    Ok(outcome)
}
