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
//! | failed, stalled, was cancelled or skipped | also: orders to go home, a budget's refusal, the last call or prompt of a session if it failed, its expectations |

use std::collections::{BTreeMap, BTreeSet};

use crate::chat::{Reply, StopReason};
use crate::event::{EffectId, EffectKind, EffectRecord, PhaseEnd, StopCause};
use crate::id::PhaseId;
use crate::journal::Record;
use crate::plan::{PhaseKind, PhasePlan, Plan};

/// How a phase is taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It ended, and stays as it is.
    Stands,
    /// It goes on where it was.
    GoesOn,
    /// Its end does not stand.
    Reopened,
}

/// The effects that are set aside, in the order in which they happened.
pub fn undo(plan: &Plan, record: &Record) -> Vec<EffectId> {
    let fates = fates(plan, record);
    let mut actors: BTreeMap<(&str, String), Vec<&EffectRecord>> = BTreeMap::new();
    let mut undone = BTreeSet::new();
    for effect in &record.effects {
        let phase = effect.id.phase();
        let Some(planned) = plan.phases.iter().find(|planned| planned.id.as_str() == phase) else {
            // Of the run itself: only what it was to reach at its end.
            undone.insert((effect.seq, &effect.id));
            continue;
        };
        if fates[&planned.id] == Fate::Stands {
            continue;
        }
        match actor(&effect.id, planned) {
            Some(actor) => actors.entry((phase, actor)).or_default().push(effect),
            None if fates[&planned.id] == Fate::Reopened && is_of_the_end(&effect.id)
                || engine_name(&effect.id) == Some("timeout") =>
            {
                undone.insert((effect.seq, &effect.id));
            }
            None => {}
        }
    }
    for ((phase, _), effects) in &actors {
        let fate = fates[&PhaseId::from(*phase)];
        let Some(first) = end_of(effects, fate) else { continue };
        undone.extend(
            effects.iter().filter(|effect| effect.seq >= first).map(|effect| (effect.seq, &effect.id)),
        );
    }
    undone.into_iter().map(|(_, id)| id.clone()).collect()
}

fn fates<'a>(plan: &'a Plan, record: &Record) -> BTreeMap<&'a PhaseId, Fate> {
    let begun: BTreeSet<&str> = record
        .effects
        .iter()
        .filter(|effect| !effect.id.as_str().ends_with("/!skipped-1"))
        .map(|effect| effect.id.phase())
        .collect();
    let mut fates: BTreeMap<&PhaseId, Fate> = BTreeMap::new();
    for phase in &plan.phases {
        let followed = plan
            .phases
            .iter()
            .any(|later| begun.contains(later.id.as_str()) && later.needs.contains(&phase.id));
        let fate = match record.ended.get(&phase.id) {
            Some(PhaseEnd::Completed) => Fate::Stands,
            Some(_) if followed => Fate::Stands,
            Some(_) => Fate::Reopened,
            None => Fate::GoesOn,
        };
        fates.insert(&phase.id, fate);
    }
    // Who watches a phase goes home with it, and comes back with it.
    for phase in &plan.phases {
        if let PhaseKind::Monitor(monitor) = &phase.kind
            && fates.get(&monitor.watches) == Some(&Fate::Reopened)
        {
            fates.insert(&phase.id, Fate::Reopened);
        }
    }
    fates
}

/// Who in a phase did something; `None` for the phase itself.
fn actor(id: &EffectId, phase: &PhasePlan) -> Option<String> {
    let is_pool = matches!(phase.kind, PhaseKind::Workers(_));
    let plain = |name: &str| name.split(':').next().unwrap_or(name).to_owned();
    if let Some(session) = id.session() {
        let name = session.split_once('/').map_or(session, |(_, name)| name);
        return Some(if is_pool { plain(name) } else { String::new() });
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
    matches!(engine_name(id), Some("expect" | "left" | "skipped" | "timeout"))
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
        EffectKind::Llm | EffectKind::Tool | EffectKind::Render | EffectKind::Queue | EffectKind::Hook => {
            false
        }
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
