//! RUN0408, RUN0301: what a phase is told beside its kind goes with its kind.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::raw::{RawForEach, RawKind, RawPhase};
use crate::source::Place;

/// Names that templates know already.
const TAKEN: [&str; 13] = [
    "inputs",
    "scenario",
    "run",
    "issues",
    "issue",
    "phases",
    "role",
    "worker",
    "iteration",
    "max_iterations",
    "round",
    "previous",
    "loop",
];

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for phase in &scene.raw.phases {
        let Some(kind) = &phase.kind else { continue };
        if let Some(retry) = &phase.retry
            && !matches!(kind, RawKind::Session(_) | RawKind::Shell(_))
        {
            let why = "only a `session` and a `shell` phase are tried again as a whole";
            report
                .push(wrong(phase, "retry", why, &retry.place).help(
                    "remove it; providers retry calls by themselves, and a `repeat` does phases again",
                ));
        }
        if let Some(each) = &phase.for_each {
            if matches!(kind, RawKind::Monitor(_)) {
                let why = "a monitor watches one phase";
                report.push(wrong(phase, "for_each", why, &each.place));
            }
            check_name(each, report);
        }
    }
}

fn wrong(phase: &RawPhase, key: &str, why: &str, place: &Place) -> Diagnostic {
    let message = format!("`{key}` does not go with what {} is: {why}", phase.shown());
    let key = Place::of_key(place.source, place.route.clone());
    Diagnostic::error(Code::WrongKey, message).at(&key)
}

fn check_name(each: &RawForEach, report: &mut Report) {
    let name = &each.name;
    let is_name = name.value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let help = match (is_name, TAKEN.contains(&name.value.as_str())) {
        (true, false) => return,
        (false, _) => "names in templates are letters, digits and `_`, as `topic`",
        (true, true) => "templates know something else by this name already; choose another, as `topic`",
    };
    report.push(
        Diagnostic::error(Code::BadId, format!("`{}` cannot be the name of an item", name.value))
            .at(&name.place)
            .help(help),
    );
}
