//! RUN0505, RUN0506: a condition is an expression that can be evaluated and is true or false.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::names::{Sample, for_condition};
use crate::scenario::raw::{Located, RawKind};
use crate::template::{Mistake, TemplateError};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (condition, ended) in all(scene) {
        if let Some(diagnostic) = check_one(scene, condition, &ended) {
            report.push(diagnostic);
        }
    }
}

/// Every condition of a scenario with the phases that have ended when it is evaluated.
pub(super) fn all<'a>(scene: &'a Scene<'_>) -> Vec<(&'a Located<String>, BTreeSet<usize>)> {
    let mut found = Vec::new();
    for (at, phase) in scene.raw.phases.iter().enumerate() {
        let before = scene.graph.all_needs(at);
        let mut after = before.clone();
        after.insert(at);
        found.extend(phase.when.iter().map(|condition| (condition, before.clone())));
        found.extend(phase.expect.iter().map(|condition| (condition, after.clone())));
        if let Some(RawKind::Monitor(monitor)) = &phase.kind {
            found.extend(monitor.when.iter().map(|condition| (condition, before.clone())));
        }
    }
    let everything: BTreeSet<usize> = (0..scene.raw.phases.len()).collect();
    found.extend(scene.raw.expect.iter().map(|condition| (condition, everything.clone())));
    found
}

fn check_one(scene: &Scene<'_>, condition: &Located<String>, ended: &BTreeSet<usize>) -> Option<Diagnostic> {
    let templates = &scene.prompts.templates;
    if let Err(error) = templates.check_expression(&condition.value) {
        let mut diagnostic = told(scene, condition, &error, Code::ConditionSyntax);
        if condition.value.contains("{{") {
            diagnostic = diagnostic.help("a condition is the bare expression, without `{{` and `}}`");
        }
        return Some(diagnostic);
    }
    for sample in Sample::BOTH {
        let context = for_condition(scene, ended, sample);
        match templates.holds(&condition.value, &context) {
            Err(error) if sample == Sample::Busy || error.mistake == Mistake::UnknownName => {
                return Some(told(scene, condition, &error, Code::ConditionFailure));
            }
            _ => {}
        }
    }
    None
}

fn told(scene: &Scene<'_>, condition: &Located<String>, error: &TemplateError, code: Code) -> Diagnostic {
    let diagnostic = Diagnostic::error(code, format!("in `{}`: {}", condition.value.trim(), error.message))
        .did_you_mean(error.did_you_mean.as_deref());
    match error.range.clone().and_then(|range| within(scene, condition, &range)) {
        Some(span) => diagnostic.at_bytes(condition.place.source, span),
        None => diagnostic.at(&condition.place),
    }
}

/// The bytes of a part of a condition, if the condition stands in the file as it is.
fn within(scene: &Scene<'_>, condition: &Located<String>, range: &Range<usize>) -> Option<Range<usize>> {
    let span = scene.sources.locate(&condition.place)?;
    let written = scene.sources.text(condition.place.source).get(span.clone())?;
    let start = span.start + written.find(&condition.value)?;
    Some(start + range.start..start + range.end)
}
