//! RUN0511: the calls that faults name are made by sessions that there are.

use std::collections::BTreeMap;

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::event::EffectId;
use crate::scenario::raw::{RawKind, RawPhase};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let known: Vec<String> = scene.raw.phases.iter().flat_map(paths).collect();
    for fault in &scene.raw.faults {
        let id = EffectId::from_text(fault.at.value.as_str());
        let session = id.session().unwrap_or_default();
        let path = session.split(':').next().unwrap_or(session);
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

/// The paths of a phase's sessions.
fn paths(phase: &RawPhase) -> Vec<String> {
    let (Some(id), Some(kind)) = (&phase.id, &phase.kind) else { return Vec::new() };
    let names: Vec<String> = match kind {
        RawKind::Workers(workers) => {
            let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
            for entry in &workers.pool {
                if let Some(role) = &entry.role {
                    *counts.entry(&role.value).or_default() += entry.count.value;
                }
            }
            let counts = counts.into_iter();
            counts.flat_map(|(role, count)| (1..=count).map(move |n| format!("{role}-{n}"))).collect()
        }
        other => other.roles().into_iter().map(|role| role.value.clone()).collect(),
    };
    names.iter().map(|name| format!("{}/{name}", id.value)).collect()
}
