//! RUN0503, RUN0504, RUN0514: templates that stand in the scenario itself can be rendered, and show no secret.

use serde_json::{Map, Value};

use super::conditions::told;
use super::rendering::secret_shown;
use super::{Scene, undefined};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::graph::PhaseSet;
use crate::scenario::mentions::Mentions;
use crate::scenario::names::{Sample, Spot, View, for_condition};
use crate::scenario::raw::{Located, RawKind, RawSeed};
use crate::source::Place;
use crate::template::{Mistake, TemplateContext};

/// A template that stands in the scenario.
pub(super) struct Inline {
    pub(super) text: Located<String>,
    /// The phase whose names it sees; none for the run as a whole.
    phase: Option<usize>,
    shows: Shows,
}

/// Who sees what a template renders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// People and models: it is kept in the recording.
    Everybody,
    /// A command.
    Command,
}

/// Every one of them.
pub(super) fn all(scene: &Scene<'_>) -> Vec<Inline> {
    let mut found = Vec::new();
    for seed in &scene.raw.queue.issues {
        seed_texts(seed, None, &mut found);
    }
    for (at, kind) in scene.kinds() {
        let mut add = |text: &Located<String>, shows| {
            found.push(Inline { text: text.clone(), phase: Some(at), shows });
        };
        match kind {
            RawKind::Approval(approval) => {
                approval.message.iter().for_each(|message| add(message, Shows::Everybody));
            }
            RawKind::Shell(shell) => shell.env.iter().for_each(|(_, value)| add(value, Shows::Command)),
            RawKind::Include(include) => {
                for (name, value) in &include.inputs {
                    let mut declared = include.of.iter().flat_map(|of| &of.inputs);
                    if declared.any(|input| input.id.value == name.value && input.is_secret()) {
                        // It takes no template at all.
                        continue;
                    }
                    if let Value::String(text) = &value.value {
                        add(&Located::new(text.clone(), value.place.clone()), Shows::Everybody);
                    }
                }
            }
            RawKind::Issues(issues) => {
                issues.create.iter().for_each(|seed| seed_texts(seed, Some(at), &mut found));
            }
            _ => {}
        }
    }
    found
}

fn seed_texts(seed: &RawSeed, phase: Option<usize>, found: &mut Vec<Inline>) {
    let mut add = |text: &Located<String>| {
        found.push(Inline { text: text.clone(), phase, shows: Shows::Everybody });
    };
    let plain = [&seed.title, &seed.description, &seed.blocking_notes].into_iter().flatten();
    plain.chain(&seed.labels).for_each(&mut add);
    let metadata = Place::value(seed.place.source, seed.place.route.key("metadata"));
    texts_in(&seed.metadata, &metadata, &mut add);
}

fn texts_in(map: &Map<String, Value>, place: &Place, add: &mut impl FnMut(&Located<String>)) {
    for (key, value) in map {
        let place = Place::value(place.source, place.route.key(key));
        match value {
            Value::String(text) => add(&Located::new(text.clone(), place)),
            Value::Object(map) => texts_in(map, &place, add),
            _ => {}
        }
    }
}

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for inline in all(scene) {
        if let Some(diagnostic) = check_one(scene, &inline) {
            report.push(diagnostic);
        }
    }
    check_commands(scene, report);
}

fn check_one(scene: &Scene<'_>, inline: &Inline) -> Option<Diagnostic> {
    let templates = &scene.prompts.templates;
    if let Err(error) = templates.check_text(&inline.text.value) {
        return Some(told(scene, &inline.text, &error, Code::TemplateSyntax));
    }
    let mentions = Mentions::of(&inline.text.value);
    for sample in Sample::BOTH {
        let few = context(scene, inline, View { sample, mentions: &mentions });
        if templates.render_text(&inline.text.value, &few).is_ok() {
            continue;
        }
        // What was meant may be any name there is.
        let context = context(scene, inline, View { sample, mentions: &mentions.among_names() });
        let Err(error) = templates.render_text(&inline.text.value, &context) else { continue };
        let diagnostic = told(scene, &inline.text, &error, Code::TemplateFailure);
        let secret = error.unknown_name().and_then(|name| scene.secret(inline.phase, name));
        if let Some(id) = secret {
            return Some(secret_shown(diagnostic, &id));
        }
        let is_sure = sample == Sample::Busy && context.unknown.is_empty();
        if is_sure || error.mistake != Mistake::Failure {
            let name = error.unknown_name().filter(|_| diagnostic.did_you_mean.is_none());
            let help = name.and_then(|name| undefined::remedy(scene, inline.phase, &context, name));
            return Some(match help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
        }
    }
    None
}

fn context(scene: &Scene<'_>, inline: &Inline, view: View<'_>) -> TemplateContext {
    let mut context = match inline.phase {
        Some(at) => for_condition(scene, Spot::Work(at), &scene.graph.seen(at), view),
        None => for_condition(scene, Spot::Run, &PhaseSet::default(), view),
    };
    if inline.shows == Shows::Command {
        show_secrets(scene, inline, &mut context);
    }
    context
}

/// Commands are given secrets as well.
fn show_secrets(scene: &Scene<'_>, inline: &Inline, context: &mut TemplateContext) {
    let Some(at) = inline.phase else { return };
    let secrets = scene.inputs_of(at).iter().filter(|input| input.is_secret());
    if let Some(Value::Object(inputs)) = context.variables.get_mut("inputs") {
        inputs.extend(secrets.map(|input| (input.id.value.clone(), Value::from("sample"))));
    }
}

/// The first words of templates, for commands that look like one.
const ROOTS: [&str; 6] = ["inputs", "phases", "issues", "item", "run", "scenario"];

/// A command is no template: what would be put into it could be a command of its own.
fn check_commands(scene: &Scene<'_>, report: &mut Report) {
    let shells = scene.kinds().filter_map(|(_, kind)| match kind {
        RawKind::Shell(shell) => shell.run.as_ref(),
        _ => None,
    });
    let workspace = scene.raw.workspace.iter();
    let commands = workspace.flat_map(|workspace| workspace.setup.iter().chain(&workspace.teardown));
    for run in shells.chain(commands) {
        let is_meant = |rest: &str| {
            let word = rest.trim_start().split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
            word.is_some_and(|word| ROOTS.contains(&word))
        };
        if !run.value.split("{{").skip(1).any(is_meant) {
            continue;
        }
        report.push(
            Diagnostic::warning(Code::IgnoredSetting, "a command is no template: `{{ … }}` stays as it is")
                .at(&run.place)
                .help("give the value to the command of a `shell` phase as a variable: `env: { TITLE: \"{{ … }}\" }`, and use \"$TITLE\""),
        );
    }
}
