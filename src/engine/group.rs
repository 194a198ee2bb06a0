//! Phases that are made of others: a phase for each of some items, rounds of a repetition, an included scenario.
//!
//! Each asks the dispatcher to run its phases, waits until all have ended, and judges by how they did.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::board::{BlockSetup, Ends, Member, Surroundings};
use super::scope::Scope;
use super::{PhaseOutcome, PhaseScope};
use crate::effects::{Busy, Halt};
use crate::event::{EffectId, Happening, PhaseEnd};
use crate::id::PhaseId;
use crate::limit;
use crate::plan::{
    Condition, ForEachPlan, IncludeInput, IncludePlan, InputSource, Items, LimitsPlan, OnFailure, PhasePlan,
    PhaseTurn, RepeatPlan, Unmet,
};

/// Does a phase once for each item.
pub(super) async fn each(phase: &PhaseScope, plan: &ForEachPlan, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    let mut outcome = PhaseOutcome::completed();
    let items = match items(phase, plan, busy).await? {
        Ok(items) => items,
        Err(reason) => {
            outcome.fail(reason);
            return Ok(outcome);
        }
    };
    if items.len() > limit::ITEMS {
        outcome.fail(format!("there are {} items, and there may be {} at most", items.len(), limit::ITEMS));
        return Ok(outcome);
    }
    let ends = run_items(phase, plan, &items, busy).await?;
    let Some(ends) = ends else { return Ok(stopped()) };
    let told = items.into_iter().zip(&ends).map(|(item, (_, end))| {
        let mut told = end.facts.clone();
        told.insert("item".to_owned(), item);
        told.insert("status".to_owned(), end.end.as_str().into());
        told.insert("text".to_owned(), end.text.as_str().into());
        Value::Object(told)
    });
    outcome.facts.insert("items".to_owned(), told.collect());
    for (id, end) in &ends {
        absorb(&mut outcome, id, end, OnFailure::Stop);
    }
    Ok(outcome)
}

/// The list of items, or why there is none.
async fn items(
    phase: &PhaseScope,
    plan: &ForEachPlan,
    busy: &Busy,
) -> Result<Result<Vec<Value>, String>, Halt> {
    match &plan.items {
        Items::Written(items) => Ok(Ok(items.clone())),
        Items::Computed(expression) => {
            let id = EffectId::engine(phase.id(), "items", 1);
            let items = phase.company.list(busy, id, expression, &Scope::of_phase(phase)).await?;
            Ok(items.map_err(|error| error.to_string()))
        }
    }
}

async fn run_items(
    phase: &PhaseScope,
    plan: &ForEachPlan,
    items: &[Value],
    busy: &Busy,
) -> Result<Option<Ends>, Halt> {
    if items.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let whole = phase.plan();
    let one = Arc::new(PhasePlan {
        needs: Vec::new(),
        when: None,
        for_each: None,
        expect: Vec::new(),
        on_failure: plan.on_failure,
        turn: PhaseTurn::InOrder,
        limits: LimitsPlan { timeout: None, ..whole.limits },
        ..whole.clone()
    });
    let phases = (1..).zip(items).map(|(number, item)| {
        let mut surroundings = Surroundings::clone(&phase.surroundings);
        surroundings.names.insert(plan.name.clone(), item.clone());
        Member { id: phase.id().numbered(number), plan: one.clone(), surroundings: Arc::new(surroundings) }
    });
    let block = BlockSetup { width: plan.max_parallel, ..block(phase, phases.collect()) };
    Ok(phase.company.desk.run_phases(block, busy).await)
}

/// Phases within a phase, all of which may run at the same time.
fn block(phase: &PhaseScope, phases: Vec<Member>) -> BlockSetup {
    BlockSetup {
        parent: Some(phase.id().clone()),
        phases,
        width: usize::MAX,
        outside: phase.seen.clone(),
        stop: phase.stop.clone(),
        reply: None,
    }
}

/// Does phases again and again, until something holds.
pub(super) async fn repeat(phase: &PhaseScope, plan: &RepeatPlan, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    let mut outcome = PhaseOutcome::completed();
    let mut previous = Map::new();
    for round in 1..=plan.max {
        let id = phase.id().numbered(round as usize);
        let mut surroundings = Surroundings::clone(&phase.surroundings);
        surroundings.names.insert("round".to_owned(), round.into());
        surroundings.names.insert("previous".to_owned(), Value::Object(previous));
        phase.tell(Happening::RoundStarted { round, max: plan.max });
        let names = surroundings.names.clone();
        let setup = block(phase, within(&id, &plan.phases, surroundings));
        let Some(ends) = phase.company.desk.run_phases(setup, busy).await else { return Ok(stopped()) };
        outcome.facts.insert("rounds".to_owned(), round.into());
        for ((id, end), inner) in ends.iter().zip(&plan.phases) {
            absorb(&mut outcome, id, end, inner.on_failure);
        }
        if outcome.end != PhaseEnd::Completed {
            return Ok(outcome);
        }
        previous = told(&plan.phases, &ends);
        let scope = Scope::of_phase(phase).within(&names, &previous);
        let id = EffectId::engine(phase.id(), "until", round);
        match phase.company.holds(busy, id, &plan.until, &scope).await? {
            Ok(true) => return Ok(outcome),
            Ok(false) => {}
            Err(error) => {
                outcome.fail(error.to_string());
                return Ok(outcome);
            }
        }
    }
    let rounds = if plan.max == 1 { "1 round".to_owned() } else { format!("{} rounds", plan.max) };
    let reason = format!("after {rounds}, {} is still false", plan.until.text.trim());
    match plan.unmet {
        Unmet::Fails => outcome.fail(reason),
        Unmet::Completes => outcome.reasons.push(reason),
    }
    Ok(outcome)
}

/// Runs the phases of another scenario.
pub(super) async fn include(
    phase: &PhaseScope,
    plan: &IncludePlan,
    busy: &Busy,
) -> Result<PhaseOutcome, Halt> {
    let mut outcome = PhaseOutcome::completed();
    let mut inputs = Map::new();
    let mut secrets = std::collections::BTreeMap::new();
    for (number, input) in (1..).zip(&plan.inputs) {
        match value(phase, number, input, busy).await? {
            Ok(Some(value)) => {
                inputs.insert(input.id.clone(), value);
            }
            Ok(None) => {}
            Err(reason) => {
                outcome.fail(reason);
                return Ok(outcome);
            }
        }
        if let InputSource::Secret(variable) = &input.value {
            secrets.insert(input.id.clone(), variable.clone());
        }
    }
    let names = Map::from_iter([("inputs".to_owned(), Value::Object(inputs))]);
    let surroundings = Surroundings { names: names.clone(), secrets: Some(secrets) };
    let phases = within(phase.id(), &plan.phases, surroundings);
    let setup = BlockSetup { outside: Arc::default(), ..block(phase, phases) };
    let Some(ends) = phase.company.desk.run_phases(setup, busy).await else { return Ok(stopped()) };
    for ((id, end), inner) in ends.iter().zip(&plan.phases) {
        absorb(&mut outcome, id, end, inner.on_failure);
    }
    if outcome.end == PhaseEnd::Completed {
        let scope = Scope::of_run(&phase.company).within(&names, &told(&plan.phases, &ends));
        check(phase, &plan.expect, &scope, busy, &mut outcome).await?;
    }
    Ok(outcome)
}

/// What an included scenario expects.
async fn check(
    phase: &PhaseScope,
    expect: &[Condition],
    scope: &Scope,
    busy: &Busy,
    outcome: &mut PhaseOutcome,
) -> Result<(), Halt> {
    for (number, condition) in (1..).zip(expect) {
        let id = EffectId::engine(phase.id(), "inner-expect", number);
        match phase.company.holds(busy, id, condition, scope).await? {
            Ok(holds) => {
                phase.tell(Happening::ExpectChecked { condition: condition.text.clone(), holds });
                if !holds {
                    outcome.fail(format!("expected {}, which is false", condition.text));
                    outcome.false_expectations.push(condition.clone());
                }
            }
            Err(error) => outcome.fail(error.to_string()),
        }
    }
    Ok(())
}

/// The value of an input; none of a secret one. The inner error says why there is none.
async fn value(
    phase: &PhaseScope,
    number: u32,
    input: &IncludeInput,
    busy: &Busy,
) -> Result<Result<Option<Value>, String>, Halt> {
    let text = match &input.value {
        InputSource::Value(value) => return Ok(Ok(Some(value.clone()))),
        InputSource::Secret(_) => return Ok(Ok(None)),
        InputSource::Template(text) => text,
    };
    let id = EffectId::engine(phase.id(), "input", number);
    let text = match phase.company.render_text(busy, id, text, &Scope::of_phase(phase)).await? {
        Ok(text) => text,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let Some(value) = input.kind.read(&text) else {
        let kind = input.kind.as_str();
        return Ok(Err(format!("input `{}` is a {kind}, and its template gave {text:?}", input.id)));
    };
    if !input.choices.is_empty() && !input.choices.contains(&value) {
        let choices = json!(input.choices);
        return Ok(Err(format!(
            "input `{}` is {value}, which is not one of its choices: {choices}",
            input.id
        )));
    }
    Ok(Ok(Some(value)))
}

/// Phases with their names within another.
fn within(outer: &PhaseId, phases: &[PhasePlan], surroundings: Surroundings) -> Vec<Member> {
    let surroundings = Arc::new(surroundings);
    let member = |plan: &PhasePlan| Member {
        id: outer.inner(&plan.id),
        plan: Arc::new(plan.clone()),
        surroundings: surroundings.clone(),
    };
    phases.iter().map(member).collect()
}

/// What templates see of phases that have ended.
fn told(plans: &[PhasePlan], ends: &Ends) -> Map<String, Value> {
    plans.iter().zip(ends).map(|(plan, (_, end))| (plan.id.to_string(), end.told())).collect()
}

/// How a phase within another counts for it.
fn absorb(outcome: &mut PhaseOutcome, id: &PhaseId, end: &PhaseOutcome, on_failure: OnFailure) {
    outcome.credential_refused |= end.credential_refused;
    outcome.budget_used_up |= end.budget_used_up;
    outcome.call_failed |= end.call_failed;
    outcome.was_cut_short |= end.was_cut_short;
    outcome.inner_failure |= end.inner_failure;
    outcome.false_expectations.extend(end.false_expectations.iter().cloned());
    let why = || {
        let reasons =
            if end.reasons.is_empty() { String::new() } else { format!(": {}", end.reasons.join("; ")) };
        format!("{id} {}{reasons}", end.end.as_str())
    };
    match end.end {
        PhaseEnd::Failed | PhaseEnd::Stalled => {
            outcome.inner_failure = true;
            if on_failure == OnFailure::Stop {
                let worst = if outcome.end == PhaseEnd::Failed { PhaseEnd::Failed } else { end.end };
                outcome.end = if outcome.end == PhaseEnd::Paused { PhaseEnd::Paused } else { worst };
                outcome.reasons.push(why());
            }
        }
        PhaseEnd::Paused if outcome.end == PhaseEnd::Completed => outcome.end = PhaseEnd::Paused,
        PhaseEnd::Cancelled | PhaseEnd::Skipped if end.end == PhaseEnd::Cancelled || end.was_cut_short => {
            if outcome.end == PhaseEnd::Completed {
                outcome.end = PhaseEnd::Cancelled;
            }
        }
        PhaseEnd::Completed | PhaseEnd::Skipped | PhaseEnd::Cancelled | PhaseEnd::Paused => {}
    }
}

/// A group whose phases nobody runs any more.
fn stopped() -> PhaseOutcome {
    PhaseOutcome::new(PhaseEnd::Cancelled)
}
