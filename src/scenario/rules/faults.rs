//! RUN0511: the calls that faults name are made by sessions that there are.

use std::collections::BTreeMap;

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::event::EffectId;
use crate::id::PhaseId;
use crate::scenario::raw::{RawKind, RawPhase};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let phases = scene.raw.phases.iter().enumerate();
    let known: Vec<String> =
        phases.flat_map(|(at, phase)| paths(&scene.graph.full_name(at), phase)).collect();
    for fault in &scene.raw.faults {
        let id = EffectId::from_text(fault.at.value.as_str());
        let session = id.session().unwrap_or_default();
        let path = session.split(':').next().unwrap_or(session);
        // Which item or which round is meant makes no difference.
        let (phase, name) = path.split_once('/').unwrap_or((path, ""));
        let phase = PhaseId::from(phase);
        let path = &format!("{}/{name}", phase.names().collect::<Vec<_>>().join("."));
        if known.iter().any(|known| known == path) {
            continue;
        }
        let message = format!("no session is called `{path}`");
        let near = nearest(path, known.iter().map(String::as_str));
        let mut diagnostic =
            Diagnostic::error(Code::BadFault, message).at(&fault.at.place).did_you_mean(near);
        if near.is_none() {
            diagnostic = diagnostic.help(format!("there are: {}", known.join(", ")));
        }
        report.push(diagnostic);
    }
}

/// The paths of the sessions of a phase of this name.
fn paths(phase: &str, raw: &RawPhase) -> Vec<String> {
    let (Some(_), Some(kind)) = (&raw.id, &raw.kind) else { return Vec::new() };
    let local = |role: &str| role.rsplit_once('.').map_or(role, |(_, local)| local).to_owned();
    let names: Vec<String> = match kind {
        RawKind::Workers(workers) => {
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            for entry in &workers.pool {
                if let Some(role) = &entry.role {
                    *counts.entry(local(&role.value)).or_default() += entry.count.value;
                }
            }
            let counts = counts.into_iter();
            counts.flat_map(|(role, count)| (1..=count).map(move |n| format!("{role}-{n}"))).collect()
        }
        other => other.roles().into_iter().map(|role| local(&role.value)).collect(),
    };
    names.iter().map(|name| format!("{phase}/{name}")).collect()
}
