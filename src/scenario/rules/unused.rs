//! RUN0307, RUN0308: what is declared is used.

use std::collections::BTreeSet;

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    // A phase that could not be read may use any role.
    let readable = !scene.raw.phases.is_empty()
        && scene.raw.phases.iter().all(|phase| {
            phase.kind.as_ref().is_some_and(|kind| {
                let roles = kind.roles();
                !roles.is_empty() && roles.iter().all(|role| scene.role(&role.value).is_some())
            })
        });
    for role in scene.raw.roles.iter().filter(|_| readable) {
        let used = scene.kinds().any(|(_, kind)| kind.roles().iter().any(|used| used.value == role.id.value));
        if !used {
            report.push(
                Diagnostic::warning(Code::UnusedRole, format!("no phase uses role `{}`", role.id.value))
                    .at(&role.id.place),
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
        let used = names
            .iter()
            .any(|name| *name == path || *name == "inputs" || name.starts_with(&format!("{path}.")));
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
    let conditions = super::conditions::all(scene).into_iter();
    prompts
        .chain(conditions.flat_map(|(condition, _)| templates.expression_names(&condition.value)))
        .collect()
}
