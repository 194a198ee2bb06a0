//! RUN0303, RUN0304: what a phase refers to exists.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report, nearest, some_of};
use crate::scenario::raw::{Located, RawKind, RawMonitor};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (at, kind) in scene.kinds() {
        for role in kind.roles() {
            check_role(scene, role, report);
        }
        if let RawKind::Monitor(RawMonitor { watches: Some(watched), .. }) = kind {
            check_phase(scene, at, watched, report);
        }
    }
    for (at, phase) in scene.raw.phases.iter().enumerate() {
        for need in phase.needs.iter().flatten() {
            check_phase(scene, at, need, report);
        }
    }
}

fn check_role(scene: &Scene<'_>, role: &Located<String>, report: &mut Report) {
    if scene.role(&role.value).is_some() {
        return;
    }
    // A file names roles as it declares them; before those of an included one stands the phase that includes it.
    let (scope, local) = role.value.rsplit_once('.').unwrap_or(("", &role.value));
    let beside = scene.raw.roles.iter().map(|role| role.id.value.as_str());
    let known: Vec<&str> = beside
        .map(|id| id.rsplit_once('.').unwrap_or(("", id)))
        .filter(|(other, _)| *other == scope)
        .map(|(_, id)| id)
        .collect();
    let named = Located::new(local.to_owned(), role.place.clone());
    // Without any, the missing `roles` have been told of.
    if !known.is_empty() || !scope.is_empty() {
        unknown(Code::UnknownRole, "role", &named, &known, report);
    }
}

/// A phase is named by those beside it.
fn check_phase(scene: &Scene<'_>, at: usize, phase: &Located<String>, report: &mut Report) {
    if scene.graph.beside(at, &phase.value).is_some() {
        return;
    }
    let ids = scene.graph.siblings(at).filter_map(|at| scene.raw.phases[at].id.as_ref());
    let known: Vec<&str> = ids.map(|id| id.value.as_str()).collect();
    if let Some(other) = scene.graph.named(&phase.value) {
        let why = match scene.graph.outer(other) {
            Some(outer) => {
                format!("it stands within `{}`; phases wait for those beside them", scene.graph.name(outer))
            }
            None => "it stands further out; phases wait for those beside them".to_owned(),
        };
        let message = format!("there is no phase `{}` beside this one", phase.value);
        report.push(Diagnostic::error(Code::UnknownPhase, message).at(&phase.place).help(why));
        return;
    }
    unknown(Code::UnknownPhase, "phase", phase, &known, report);
}

fn unknown(code: Code, what: &str, name: &Located<String>, known: &[&str], report: &mut Report) {
    let mut diagnostic = Diagnostic::error(code, format!("there is no {what} `{}`", name.value))
        .at(&name.place)
        .did_you_mean(nearest(&name.value, known.iter().copied()));
    if diagnostic.did_you_mean.is_none() && !known.is_empty() {
        diagnostic = diagnostic.help(format!("there are: {}", some_of(known)));
    }
    report.push(diagnostic);
}
