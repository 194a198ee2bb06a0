//! Which effects of a run that was stopped, or failed, no longer stand when it goes on. Pure.
//!
//! A run that was killed has nothing to undo: what it did stands, and it goes on behind it. One that was stopped, or ended
//! badly, wrote down its end too: workers that were sent home, calls that were given up, expectations that were false. With
//! these it would only end again. So they are set aside, and with them whatever its actor did after them:
//!
//! | the phase | set aside, with what its actor did later |
//! |---|---|
//! | completed, or what needs it has begun | nothing |
//! | has not ended | where a session was stopped, that it took too long |
//! | failed, stalled, was cancelled or skipped | also: orders to go home, a budget's refusal, the last call or prompt of a session if it failed, its command, a person's answer, its expectations |
//! | runs at the end, and others go on | all it did |
//!
//! What stands within a phase stands or falls with it, and so does a round before another.

use std::collections::{BTreeMap, BTreeSet};

use crate::chat::{Reply, StopReason};
use crate::event::{EffectId, EffectKind, EffectRecord, PhaseEnd, StopCause};
use crate::id::PhaseId;
use crate::journal::Record;
use crate::plan::{PhaseKind, PhasePlan, PhaseTurn, Plan};

/// How a phase is taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It ended, and stays as it is.
    Stands,
    /// It goes on where it was.
    GoesOn,
    /// Its end does not stand.
    Reopened,
    /// It is done from the beginning: it runs at the end, and the end is not yet.
    Anew,
}

/// The effects that are set aside, in the order in which they happened.
pub fn undo(plan: &Plan, record: &Record) -> Vec<EffectId> {
    let past = Past::new(plan, record);
    let mut actors: BTreeMap<(&str, String), Vec<&EffectRecord>> = BTreeMap::new();
    let mut undone = BTreeSet::new();
    for effect in &record.effects {
        let phase = effect.id.phase();
        let name = PhaseId::from(phase);
        let Some(planned) = plan.phase(&name) else {
            if !past.stands(effect) {
                undone.insert((effect.seq, &effect.id));
            }
            continue;
        };
        let fate = past.fate(&name);
        match actor(&effect.id, planned) {
            _ if fate == Fate::Stands => {}
            _ if fate == Fate::Anew => {
                undone.insert((effect.seq, &effect.id));
            }
            Some(actor) => actors.entry((phase, actor)).or_default().push(effect),
            None if fate == Fate::Reopened && is_of_the_end(&effect.id)
                || engine_name(&effect.id) == Some("timeout") =>
            {
                undone.insert((effect.seq, &effect.id));
            }
            None => {}
        }
    }
    for ((phase, _), effects) in &actors {
        let fate = past.fate(&PhaseId::from(*phase));
        let Some(first) = end_of(effects, fate) else { continue };
        undone.extend(
            effects.iter().filter(|effect| effect.seq >= first).map(|effect| (effect.seq, &effect.id)),
        );
    }
    undone.into_iter().map(|(_, id)| id.clone()).collect()
}

/// How the phases of a run stood, by their names in the run.
struct Past<'a> {
    plan: &'a Plan,
    record: &'a Record,
    /// Those that have done something.
    begun: BTreeSet<&'a str>,
}

impl<'a> Past<'a> {
    fn new(plan: &'a Plan, record: &'a Record) -> Self {
        let effects = record.effects.iter().filter(|effect| !effect.id.as_str().ends_with("/!skipped-1"));
        let begun = effects.map(|effect| effect.id.phase()).filter(|phase| *phase != "run").collect();
        Self { plan, record, begun }
    }

    /// Whether something that the run itself did stands: not what it was to reach at its end, and of what it began with not
    /// what kept it from its first phase.
    fn stands(&self, effect: &EffectRecord) -> bool {
        let is = |effect: &EffectRecord, names: &[&str]| {
            engine_name(&effect.id).is_some_and(|name| names.contains(&name))
        };
        let (commands, issues) = (["setup"], ["seed", "text"]);
        if self.begun.is_empty() && !self.record.ended.is_empty() {
            let effects = &self.record.effects;
            let last = effects.iter().rfind(|effect| is(effect, &commands)).map(|effect| &effect.id);
            let all_commands_ended_well = effects.iter().any(|effect| is(effect, &issues));
            return is(effect, &commands) && (all_commands_ended_well || last != Some(&effect.id));
        }
        is(effect, &commands) || is(effect, &issues)
    }

    fn fate(&self, id: &PhaseId) -> Fate {
        let around = id.outer().map_or(Fate::GoesOn, |outer| self.fate(&outer));
        if matches!(around, Fate::Stands | Fate::Anew) {
            return around;
        }
        let is_round = id.as_str().rsplit('.').next().is_some_and(|name| name.parse::<u32>().is_ok());
        let Some(phase) = self.plan.phase(id) else { return Fate::GoesOn };
        if is_round && !self.record.ended.contains_key(id) {
            return if self.has_later(id) { Fate::Stands } else { Fate::GoesOn };
        }
        let beside = |other: &PhaseId| id.outer().map_or_else(|| other.clone(), |outer| outer.inner(other));
        if !is_round && phase.turn == PhaseTurn::Finally {
            let waits_for = self.siblings(id).iter().filter(|other| other.turn == PhaseTurn::InOrder);
            if waits_for.map(|other| self.fate(&beside(&other.id))).any(|fate| fate != Fate::Stands) {
                return Fate::Anew;
            }
        }
        // What runs at the end waits for all others, and builds on none of them.
        let follows = |other: &PhasePlan| {
            other.needs.contains(&phase.id)
                && other.turn == PhaseTurn::InOrder
                && self.has_begun(&beside(&other.id))
                && !is_round
        };
        let fate = match self.record.ended.get(id) {
            Some(PhaseEnd::Completed) => Fate::Stands,
            Some(_) if self.siblings(id).iter().any(follows) => Fate::Stands,
            Some(_) => Fate::Reopened,
            None => Fate::GoesOn,
        };
        // Who watches a phase goes home with it, and comes back with it.
        match &phase.kind {
            PhaseKind::Monitor(monitor) if self.fate(&beside(&monitor.watches)) == Fate::Reopened => {
                Fate::Reopened
            }
            _ => fate,
        }
    }

    /// The phases beside a phase.
    fn siblings(&self, id: &PhaseId) -> &'a [PhasePlan] {
        let outer = id.outer().and_then(|outer| self.plan.phase(&outer));
        outer.map_or(self.plan.phases.as_slice(), PhasePlan::inner)
    }

    fn has_begun(&self, id: &PhaseId) -> bool {
        let within = format!("{id}.");
        self.begun.iter().any(|begun| *begun == id.as_str() || begun.starts_with(&within))
    }

    /// Whether a round after this one has begun.
    fn has_later(&self, round: &PhaseId) -> bool {
        let Some((outer, number)) = round.as_str().rsplit_once('.') else { return false };
        let number: u32 = number.parse().unwrap_or(u32::MAX);
        let numbers = self.begun.iter().filter_map(|begun| begun.strip_prefix(outer)?.strip_prefix('.'));
        numbers.filter_map(|rest| rest.split('.').next()?.parse::<u32>().ok()).any(|other| other > number)
    }
}

/// Who in a phase did something; `None` for the phase itself.
fn actor(id: &EffectId, phase: &PhasePlan) -> Option<String> {
    let is_pool = matches!(phase.kind, PhaseKind::Workers(_));
    let is_plain =
        !matches!(phase.kind, PhaseKind::Session(_) | PhaseKind::Workers(_) | PhaseKind::Monitor(_));
    let plain = |name: &str| name.split(':').next().unwrap_or(name).to_owned();
    if let Some(session) = id.session() {
        let name = session.split_once('/').map_or(session, |(_, name)| name);
        return Some(if is_pool { plain(name) } else { String::new() });
    }
    if is_plain {
        return None;
    }
    let what = engine_name(id)?;
    match what.split_once('.') {
        Some((_, name)) if is_pool => Some(plain(name)),
        Some(_) => Some(String::new()),
        None if is_pool || is_of_the_end(id) => None,
        None => Some(String::new()),
    }
}

/// `wake.coding-worker-1` of `work/!wake.coding-worker-1-3`.
fn engine_name(id: &EffectId) -> Option<&str> {
    let (_, name) = id.without_attempt().split_once("/!")?;
    Some(name.rsplit_once('-').map_or(name, |(name, _)| name))
}

/// Whether the phase did it at its end.
fn is_of_the_end(id: &EffectId) -> bool {
    matches!(
        engine_name(id),
        Some(
            "expect"
                | "inner-expect"
                | "left"
                | "skipped"
                | "timeout"
                | "answer"
                | "shell"
                | "seed"
                | "import"
        )
    )
}

/// The commit number of the first effect of an actor that belongs to its end.
fn end_of(effects: &[&EffectRecord], fate: Fate) -> Option<u64> {
    let told = effects.iter().find(|effect| is_end(effect, fate)).map(|effect| effect.seq);
    let failed = if fate == Fate::Reopened { failure_of(effects) } else { None };
    told.into_iter().chain(failed).min()
}

fn is_end(effect: &EffectRecord, fate: Fate) -> bool {
    match effect.kind {
        EffectKind::Wake => match effect.result.get("stop") {
            Some(cause) => {
                let cancelled = serde_json::to_value(StopCause::Cancelled).expect("a cause is a word");
                fate == Fate::Reopened || *cause == cancelled
            }
            None => effect.result == "stopped" || effect.result == "end" && fate == Fate::Reopened,
        },
        EffectKind::Budget => fate == Fate::Reopened && effect.result == "refused",
        EffectKind::Llm
        | EffectKind::Tool
        | EffectKind::Render
        | EffectKind::Queue
        | EffectKind::Hook
        | EffectKind::Answer => false,
    }
}

/// Where an actor's last prompt or call failed.
fn failure_of(effects: &[&EffectRecord]) -> Option<u64> {
    let last = effects.iter().rfind(|effect| matches!(effect.kind, EffectKind::Llm | EffectKind::Render))?;
    if last.kind == EffectKind::Render {
        return last.result.get("error").map(|_| last.seq);
    }
    let failed = match last.result.get("reply").cloned().map(serde_json::from_value::<Reply>) {
        Some(Ok(reply)) => {
            reply.stop == StopReason::Refusal || reply.calls().is_empty() && reply.text().is_empty()
        }
        Some(Err(_)) | None => true,
    };
    let turn = last.id.without_attempt();
    let first = effects.iter().find(|effect| effect.id.without_attempt() == turn);
    first.filter(|_| failed).map(|effect| effect.seq)
}
