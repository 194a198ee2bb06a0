//! RUN0505, RUN0506: a condition is an expression that can be evaluated and is true or false.

use std::ops::Range;

use super::rendering::secret_shown;
use super::{Scene, undefined};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::graph::PhaseSet;
use crate::scenario::mentions::Mentions;
use crate::scenario::names::{Sample, Spot, View, for_condition};
use crate::scenario::raw::{Located, RawItems, RawKind};
use crate::template::{Mistake, TemplateContext, TemplateError};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for asked in all(scene) {
        if let Some(diagnostic) = check_one(scene, &asked) {
            report.push(diagnostic);
        }
    }
}

/// An expression, and when it is evaluated.
pub(super) struct Asked<'a> {
    expression: &'a Located<String>,
    spot: Spot,
    /// The phases that have ended by then.
    ended: PhaseSet,
    wanted: Wanted,
}

/// What the value of an expression must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Truth,
    List,
}

/// Every expression of a scenario.
pub(super) fn expressions<'a>(scene: &'a Scene<'_>) -> Vec<&'a Located<String>> {
    all(scene).into_iter().map(|asked| asked.expression).collect()
}

fn all<'a>(scene: &'a Scene<'_>) -> Vec<Asked<'a>> {
    let mut found = Vec::new();
    let mut add = |expressions: &mut dyn Iterator<Item = &'a Located<String>>, spot, ended: &PhaseSet| {
        let wanted = Wanted::Truth;
        found.extend(expressions.map(|expression| Asked { expression, spot, ended: ended.clone(), wanted }));
    };
    for (at, phase) in scene.raw.phases.iter().enumerate() {
        let before = scene.graph.seen(at);
        let mut after = before.clone();
        after.insert(at);
        add(&mut phase.when.iter(), Spot::Phase(at), &before);
        add(&mut phase.expect.iter(), Spot::Phase(at), &after);
        let mut within = scene.graph.seen_within(at);
        within.extend(scene.graph.inner(at));
        match &phase.kind {
            Some(RawKind::Monitor(monitor)) => add(&mut monitor.when.iter(), Spot::Work(at), &before),
            Some(RawKind::Repeat(repeat)) => add(&mut repeat.until.iter(), Spot::Within(at), &within),
            Some(RawKind::Include(include)) => {
                let expect = include.of.iter().flat_map(|of| &of.expect);
                add(&mut { expect }, Spot::Within(at), &within);
            }
            _ => {}
        }
    }
    let top = scene.raw.phases.iter().enumerate().filter(|(_, phase)| phase.within.is_none());
    let everything: PhaseSet = top.map(|(at, _)| at).collect();
    add(&mut scene.raw.expect.iter(), Spot::Run, &everything);
    for (at, phase) in scene.raw.phases.iter().enumerate() {
        if let Some(RawItems::Computed(expression)) =
            phase.for_each.as_ref().and_then(|each| each.items.as_ref())
        {
            let (spot, ended) = (Spot::Phase(at), scene.graph.seen(at));
            found.push(Asked { expression, spot, ended, wanted: Wanted::List });
        }
    }
    found
}

fn check_one(scene: &Scene<'_>, asked: &Asked<'_>) -> Option<Diagnostic> {
    let templates = &scene.prompts.templates;
    let Asked { expression: condition, spot, ended, wanted } = asked;
    if let Err(error) = templates.check_expression(&condition.value) {
        let mut diagnostic = told(scene, condition, &error, Code::ConditionSyntax);
        if let Some(help) = other_language(&condition.value) {
            diagnostic = diagnostic.help(help);
        }
        if condition.value.contains("{{") || condition.value.contains("{%") {
            diagnostic = diagnostic.help("a condition is the bare expression, without `{{` and `}}`");
        }
        return Some(diagnostic);
    }
    let evaluated = |context: &TemplateContext| match wanted {
        Wanted::Truth => templates.holds(&condition.value, context).map(drop),
        Wanted::List => templates.list(&condition.value, context).map(drop),
    };
    let mentions = Mentions::of(&condition.value);
    for sample in Sample::BOTH {
        if evaluated(&for_condition(scene, *spot, ended, View { sample, mentions: &mentions })).is_ok() {
            continue;
        }
        // What was meant may be any name there is.
        let context = for_condition(scene, *spot, ended, View { sample, mentions: &mentions.among_names() });
        let Err(error) = evaluated(&context) else { continue };
        // A value that only a run knows may be what the stand-in for it is not.
        let is_sure = sample == Sample::Busy && !names_unknown(scene, condition, &context);
        if is_sure || error.mistake == Mistake::UnknownName {
            let diagnostic = told(scene, condition, &error, Code::ConditionFailure);
            return Some(explained(scene, asked, &context, &error, diagnostic));
        }
    }
    None
}

/// Whether an expression looks up a value that only a run knows.
fn names_unknown(scene: &Scene<'_>, condition: &Located<String>, context: &TemplateContext) -> bool {
    let within = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}."));
    let names = scene.prompts.templates.expression_names(&condition.value);
    context.unknown.iter().any(|path| names.iter().any(|name| within(name, path) || within(path, name)))
}

/// With what to do about a name that is not there.
fn explained(
    scene: &Scene<'_>,
    asked: &Asked<'_>,
    context: &TemplateContext,
    error: &TemplateError,
    diagnostic: Diagnostic,
) -> Diagnostic {
    let (at, place) = match asked.spot {
        Spot::Run => (None, None),
        Spot::Phase(at) | Spot::Work(at) => (Some(at), Some(at)),
        // What stands within an include sees its inputs; `inner` is a phase of it.
        Spot::Within(at) => (scene.graph.inner(at).next(), Some(at)),
    };
    if let Some(help) = undefined::brackets(scene, &asked.expression.value) {
        return Diagnostic { did_you_mean: None, ..diagnostic }.help(help);
    }
    let Some(name) = error.unknown_name() else { return diagnostic };
    if let Some(id) = scene.secret(at.or(place), name) {
        return secret_shown(diagnostic, &id);
    }
    match undefined::remedy(scene, at.or(place), context, name) {
        Some(help) if diagnostic.did_you_mean.is_none() => diagnostic.help(help),
        _ => diagnostic,
    }
}

/// What is written otherwise in other languages.
fn other_language(text: &str) -> Option<&'static str> {
    let is_assigned = || {
        let bytes = text.as_bytes();
        let beside = |at: usize| bytes.get(at).is_some_and(|byte| b"=<>!".contains(byte));
        (0..bytes.len()).any(|at| bytes[at] == b'=' && !beside(at + 1) && !(at > 0 && beside(at - 1)))
    };
    match text {
        _ if text.contains("&&") => Some("write `and` for `&&`"),
        _ if text.contains("||") => Some("write `or` for `||`"),
        _ if text.trim_start().starts_with('!') || text.contains(" !") && !text.contains(" !=") => {
            Some("write `not` for `!`")
        }
        _ if is_assigned() => Some("write `==` to compare"),
        _ => None,
    }
}

pub(super) fn told(
    scene: &Scene<'_>,
    condition: &Located<String>,
    error: &TemplateError,
    code: Code,
) -> Diagnostic {
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
