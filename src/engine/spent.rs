//! What a run has spent, as its journal tells: a budget survives that its run is stopped. Pure.

use std::collections::BTreeMap;

use crate::chat::Usage;
use crate::event::{EffectKind, EffectRecord};
use crate::id::{PhaseId, RoleId};
use crate::plan::Plan;
use crate::session::used_by;

/// What the sessions of a role have spent in a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The phase.
    pub phase: PhaseId,
    /// The role.
    pub role: RoleId,
    /// The model that was asked, if it was not the role's own.
    pub fallback: Option<String>,
    /// Model calls answered.
    pub turns: u64,
    /// Tokens, those of failed calls among them.
    pub usage: Usage,
}

/// Adds up the model calls among effects: also those that no longer stand were paid for.
pub fn spent<'a>(plan: &Plan, effects: impl IntoIterator<Item = &'a EffectRecord>) -> Vec<Spent> {
    let mut roles: BTreeMap<String, RoleId> = BTreeMap::new();
    for phase in &plan.phases {
        let named = phase.sessions().into_iter();
        roles.extend(named.map(|(name, role)| (format!("{}/{name}", phase.id), role)));
    }
    let mut sums: BTreeMap<(PhaseId, RoleId, Option<String>), (u64, Usage)> = BTreeMap::new();
    for record in effects {
        if record.kind != EffectKind::Llm {
            continue;
        }
        let session = record.id.session().unwrap_or_default();
        // A worker's fresh sessions are told apart behind its name, and so are the sub-agents of a session.
        let name = session.split([':', '>']).next().unwrap_or(session);
        let Some(role) = roles.get(name) else { continue };
        let used = used_by(&record.result);
        let key = (PhaseId::from(record.id.phase()), role.clone(), used.fallback);
        let sum = sums.entry(key).or_default();
        sum.0 += used.turns;
        sum.1 += used.usage;
    }
    let spent = |((phase, role, fallback), (turns, usage))| Spent { phase, role, fallback, turns, usage };
    sums.into_iter().map(spent).collect()
}
