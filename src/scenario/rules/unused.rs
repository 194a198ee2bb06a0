//! RUN0307, RUN0308: what is declared is used.

use std::collections::{BTreeSet, HashSet};

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::raw::RawKind;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let readable = !scene.raw.phases.is_empty()
        && scene.raw.phases.iter().all(|phase| {
            phase.kind.as_ref().is_some_and(|kind| {
                // A phase that could not be read may use any role.
                let needs_role =
                    matches!(kind, RawKind::Session(_) | RawKind::Workers(_) | RawKind::Monitor(_));
                let roles = kind.roles();
                !(needs_role && roles.is_empty())
                    && roles.iter().all(|role| scene.role(&role.value).is_some())
                    && !matches!(kind, RawKind::Include(include) if include.of.is_none())
            })
        });
    let used: HashSet<&str> =
        scene.kinds().flat_map(|(_, kind)| kind.roles()).map(|role| role.value.as_str()).collect();
    for role in scene.raw.roles.iter().filter(|_| readable) {
        if !used.contains(role.id.value.as_str()) {
            report.push(
                Diagnostic::warning(Code::UnusedRole, format!("no phase uses role `{}`", role.local()))
                    .at(&role.id.place)
                    .help("name it in a phase, or remove it"),
            );
        }
    }
    if report.has_errors() || !scene.prompts.broken.is_empty() || scene.raw.inputs.is_empty() {
        // What is misspelt, missing or unreadable may be the very use.
        return;
    }
    let names = names(scene);
    for input in &scene.raw.inputs {
        let path = format!("inputs.{}", input.id.value);
        let within = format!("{path}.");
        let next = names.range(within.clone()..).next();
        let used = names.contains("inputs")
            || names.contains(&path)
            || next.is_some_and(|name| name.starts_with(&within));
        if !used {
            report.push(
                Diagnostic::warning(Code::UnusedInput, format!("nothing uses input `{}`", input.id.value))
                    .at(&input.id.place)
                    .help(format!("use it in a prompt as `{{{{ {path} }}}}`, or remove it")),
            );
        }
    }
}

/// Every name that a prompt or condition looks up.
fn names(scene: &Scene<'_>) -> BTreeSet<String> {
    let templates = &scene.prompts.templates;
    let prompts = scene.prompts.texts.keys().flat_map(|name| templates.names(name));
    let expressions = super::conditions::expressions(scene).into_iter();
    let expressions = expressions.flat_map(|expression| templates.expression_names(&expression.value));
    let texts = super::inline::all(scene).into_iter();
    let texts = texts.flat_map(|inline| templates.text_names(&inline.text.value));
    prompts.chain(expressions).chain(texts).collect()
}
