//! RUN0504, RUN0514: every prompt can be rendered with what it will be given, and that is no secret.

use super::{Scene, undefined};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::issue::Takes;
use crate::scenario::mentions::Mentions;
use crate::scenario::names::{Sample, Speaker, Use, View, for_template};
use crate::scenario::paths::relative;
use crate::scenario::prompts;
use crate::scenario::raw::{Located, RawKind};
use crate::scenario::resolve::takes;
use crate::template::{Mistake, TemplateContext, TemplateError, includes};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (at, kind) in scene.kinds() {
        match kind {
            RawKind::Workers(workers) => {
                for entry in &workers.pool {
                    let Some(role) = entry.role.as_ref().and_then(|id| scene.role(&id.value)) else {
                        continue;
                    };
                    let takes = entry.takes.as_ref().map_or_else(|| takes(role), |takes| takes.value.clone());
                    check_session(scene, at, Speaker { role, takes: Some(&takes) }, report);
                }
            }
            _ => {
                for role in kind.roles().into_iter().filter_map(|id| scene.role(&id.value)) {
                    check_session(scene, at, Speaker { role, takes: None::<&Takes> }, report);
                }
            }
        }
    }
}

fn check_session(scene: &Scene<'_>, phase: usize, speaker: Speaker<'_>, report: &mut Report) {
    let kind = scene.raw.phases[phase].kind.as_ref();
    let prompts =
        kind.map(RawKind::prompts).unwrap_or_default().into_iter().map(|prompt| (prompt, Use::Prompt));
    let system = speaker.role.system.iter().map(|prompt| (prompt, Use::System));
    for (prompt, usage) in prompts.chain(system) {
        let text = relative(&prompt.value).and_then(|name| scene.prompts.texts.get(&name));
        let mentions = Mentions::of(text.map(String::as_str).unwrap_or_default());
        for sample in Sample::BOTH {
            let few = for_template(scene, phase, speaker, usage, View { sample, mentions: &mentions });
            let name = relative(&prompt.value).unwrap_or_default();
            if scene.prompts.templates.render(&name, &few).is_ok() {
                continue;
            }
            // What was meant may be any name there is.
            let view = View { sample, mentions: &mentions.among_names() };
            let context = for_template(scene, phase, speaker, usage, view);
            let rendering = Rendering { phase, prompt, sample };
            if check_prompt(scene, rendering, context, report) == Found::Mistakes {
                break;
            }
        }
    }
}

/// One prompt of a phase with one sample.
#[derive(Clone, Copy)]
struct Rendering<'a> {
    phase: usize,
    prompt: &'a Located<String>,
    sample: Sample,
}

/// Whether a rendering found mistakes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Mistakes,
}

/// Most unknown names told of one prompt.
const NAMES_TOLD: usize = 16;

/// Renders a prompt; an unknown name is told, then given a value, so that the next one is found too.
fn check_prompt(
    scene: &Scene<'_>,
    rendering: Rendering<'_>,
    mut context: TemplateContext,
    report: &mut Report,
) -> Found {
    let Rendering { phase, prompt, sample } = rendering;
    let Some(name) = relative(&prompt.value).filter(|name| scene.prompts.texts.contains_key(name)) else {
        return Found::Nothing;
    };
    if scene.prompts.broken.contains(&name) {
        return Found::Nothing;
    }
    let mut given: Vec<String> = context.variables.keys().cloned().chain(["issues".to_owned()]).collect();
    given.sort_unstable();
    let given = given.join(", ");
    let mut found = Found::Nothing;
    for _ in 0..NAMES_TOLD {
        let Err(error) = scene.prompts.templates.render(&name, &context) else { break };
        let unknown = error.unknown_name().map(str::to_owned);
        // A stand-in for a missing value may fail where the value itself would not; it lacks nothing, though.
        let by_stand_in = found == Found::Mistakes && !error.message.ends_with("is undefined");
        if !counts(scene, &error, sample, &context) || by_stand_in {
            break;
        }
        found = Found::Mistakes;
        report.push(told(scene, phase, &error, (&context, &given)));
        let Some(unknown) = unknown else { break };
        context.define(&unknown);
    }
    found
}

fn told(
    scene: &Scene<'_>,
    phase: usize,
    error: &TemplateError,
    (context, given): (&TemplateContext, &str),
) -> Diagnostic {
    let diagnostic = prompts::diagnostic(error, &scene.prompts.sources, scene.sources);
    let shown = scene.raw.phases[phase].shown();
    if let Some(id) = error.unknown_name().and_then(|name| scene.secret(Some(phase), name)) {
        return secret_shown(diagnostic, &id);
    }
    match error.unknown_name() {
        Some("issue") => diagnostic
            .did_you_mean(None)
            .help(format!("{shown} does not claim for its workers; `issue` is there under `claim: engine`")),
        Some(name) if error.did_you_mean.is_none() => {
            let remedy = undefined::remedy(scene, Some(phase), context, name);
            let given = || format!("{shown} gives its prompt: {given}");
            diagnostic.help(remedy.map_or_else(given, |remedy| format!("for {shown}: {remedy}")))
        }
        _ => diagnostic.help(format!("found for {shown}")),
    }
}

/// Whether a failure with sample values will be one with real values.
fn counts(scene: &Scene<'_>, error: &TemplateError, sample: Sample, context: &TemplateContext) -> bool {
    // A value that only a run knows may be what the stand-in for it is not.
    let knows_less = !context.unknown.is_empty();
    match error.mistake {
        Mistake::UnknownName => true,
        // Names that stand in the text have been looked for already.
        Mistake::MissingTemplate => {
            let text = scene.prompts.texts.get(&error.template);
            scene.prompts.broken.is_empty() && text.is_some_and(|text| includes(text).computed)
        }
        // An empty queue is a state the prompt may never meet.
        Mistake::Failure => sample == Sample::Busy && !knows_less,
        Mistake::Syntax => false,
    }
}

/// A secret input that a template names.
pub(super) fn secret_shown(diagnostic: Diagnostic, id: &str) -> Diagnostic {
    Diagnostic {
        code: Code::SecretShown,
        message: format!("input `{id}` is secret, and a text that names it shows it"),
        did_you_mean: None,
        ..diagnostic
    }
    .help("only commands are given secrets: under `env` of a `shell` phase")
}
