//! RUN0416: a condition can come out one way and the other.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::raw::{Located, RawKind};
use crate::template::TemplateContext;

/// What a round of a repetition can change, beside the phases in it.
const CHANGING: [&str; 3] = ["round", "previous", "issues"];

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (at, phase) in scene.raw.phases.iter().enumerate() {
        if let Some(when) = phase.when.as_ref().filter(|when| is_never(scene, when)) {
            tell(when, format!("{} never starts: its `when` is always false", phase.shown()), report);
        }
        for expect in phase.expect.iter().filter(|expect| is_never(scene, expect)) {
            tell(expect, format!("{} always fails: this is always false", phase.shown()), report);
        }
        if let Some(RawKind::Repeat(repeat)) = &phase.kind
            && let Some(until) = &repeat.until
            && !can_change(scene, at, until)
        {
            let message = format!("no round of {} can change its `until`", phase.shown());
            tell(until, message, report);
        }
    }
}

/// Whether a condition names nothing, and is false.
fn is_never(scene: &Scene<'_>, condition: &Located<String>) -> bool {
    let templates = &scene.prompts.templates;
    if templates.check_expression(&condition.value).is_err()
        || !templates.expression_names(&condition.value).is_empty()
    {
        return false;
    }
    templates.holds(&condition.value, &TemplateContext::default()).is_ok_and(|holds| !holds)
}

/// Whether the rounds of the repetition at this position may change a condition.
fn can_change(scene: &Scene<'_>, at: usize, until: &Located<String>) -> bool {
    let templates = &scene.prompts.templates;
    // What the condition does to names that it computes is not known.
    if templates.check_expression(&until.value).is_err() {
        return true;
    }
    templates.expression_names(&until.value).iter().any(|name| {
        let mut parts = name.split(['.', '[']);
        match (parts.next(), parts.next()) {
            (Some("phases"), Some(id)) => match scene.graph.position(Some(at), id) {
                Some(_) => true,
                // Of those outside only what has ended can be named, under an id that is known.
                None => !scene.graph.seen(at).iter().any(|other| scene.graph.name(other) == id),
            },
            (Some("phases"), None) => true,
            (root, _) => root.is_some_and(|root| CHANGING.contains(&root)),
        }
    })
}

fn tell(condition: &Located<String>, message: String, report: &mut Report) {
    report.push(
        Diagnostic::warning(Code::ConstantCondition, message)
            .at(&condition.place)
            .help("ask for something that the run decides, or remove it"),
    );
}
