//! RUN0303, RUN0304: what a phase refers to exists.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::scenario::raw::{Located, RawKind, RawMonitor};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (_, kind) in scene.kinds() {
        for role in kind.roles() {
            check_role(scene, role, report);
        }
        if let RawKind::Monitor(RawMonitor { watches: Some(watched), .. }) = kind {
            check_phase(scene, watched, report);
        }
    }
    for need in scene.raw.phases.iter().flat_map(|phase| phase.needs.iter().flatten()) {
        check_phase(scene, need, report);
    }
}

fn check_role(scene: &Scene<'_>, role: &Located<String>, report: &mut Report) {
    if scene.role(&role.value).is_some() {
        return;
    }
    let known: Vec<&str> = scene.raw.roles.iter().map(|role| role.id.value.as_str()).collect();
    unknown(Code::UnknownRole, "role", role, &known, report);
}

fn check_phase(scene: &Scene<'_>, phase: &Located<String>, report: &mut Report) {
    if scene.graph.position(&phase.value).is_some() {
        return;
    }
    let ids = scene.raw.phases.iter().filter_map(|phase| phase.id.as_ref());
    let known: Vec<&str> = ids.map(|id| id.value.as_str()).collect();
    unknown(Code::UnknownPhase, "phase", phase, &known, report);
}

fn unknown(code: Code, what: &str, name: &Located<String>, known: &[&str], report: &mut Report) {
    let mut diagnostic = Diagnostic::error(code, format!("there is no {what} `{}`", name.value))
        .at(&name.place)
        .did_you_mean(nearest(&name.value, known.iter().copied()));
    if diagnostic.did_you_mean.is_none() && !known.is_empty() {
        diagnostic = diagnostic.help(format!("there are: {}", known.join(", ")));
    }
    report.push(diagnostic);
}
