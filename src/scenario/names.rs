//! Which names a prompt or condition is given, with sample values of the right types. What a run gives is exactly this:
//!
//! | names | where |
//! |---|---|
//! | `inputs.*`, `scenario.{name,description}`, `run.id`, `issues` | everywhere |
//! | `phases.ID.status`, and what its kind leaves: `text`, `output`, `exit_code`, `answer`, `rounds`, `items` | of the phases that have surely ended: all that a phase needs, and those that the phase around it sees; for its own `expect` also itself; for the final `expect` all |
//! | `round`, `previous.ID` | within a repetition |
//! | the item, under the name of `as` | in what a phase with `for_each` does |
//! | `role.{id,takes,vars}` | in prompts and system prompts |
//! | `worker.{name,index,takes}` | in those of a workers phase |
//! | `iteration`, `max_iterations` | in the prompt of a workers phase |
//! | `issue.*` | in the prompt of a workers phase under `claim: engine` |

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::attachments;
use super::graph::PhaseSet;
use super::mentions::Mentions;
use super::raw::{RawInput, RawItems, RawKind, RawRole};
use super::rules::Scene;
use crate::clock::Timestamp;
use crate::id::IssueId;
use crate::issue::{Issue, Status, Takes};
use crate::plan::{Capture, ClaimBy, InputType};
use crate::store::{Counts, Snapshot};
use crate::template::TemplateContext;

/// In which state of the queue a sample is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    /// An issue of every status, first iteration, everything set.
    Busy,
    /// No issues, last iteration, nothing set that may be absent.
    Idle,
}

/// What of all names is made, and for which state.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'m> {
    pub(super) sample: Sample,
    /// What is looked up; of phases and inputs the others are left out.
    pub(super) mentions: &'m Mentions,
}

impl Sample {
    pub(super) const BOTH: [Self; 2] = [Self::Busy, Self::Idle];
}

/// Whose prompt is rendered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker<'a> {
    pub(super) role: &'a RawRole,
    /// What a worker takes; `None` for a session or monitor.
    pub(super) takes: Option<&'a Takes>,
}

/// Which template of a session is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    System,
    Prompt,
}

/// Where in a scenario a template or condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// At the top: for the run as a whole.
    Run,
    /// At a phase, which is looked at as a whole.
    Phase(usize),
    /// In what a phase does, once for each of its items if it has any.
    Work(usize),
    /// Among the phases within a phase.
    Within(usize),
}

/// The names of a condition at a spot, evaluated when these phases have ended.
pub(super) fn for_condition(
    scene: &Scene<'_>,
    spot: Spot,
    ended: &PhaseSet,
    view: View<'_>,
) -> TemplateContext {
    let sample = view.sample;
    let mut names = Map::new();
    let name = scene.raw.name.as_ref().map_or("sample", |name| &name.value);
    let description = scene.raw.description.as_ref().map_or("", |text| &text.value);
    names.insert("scenario".to_owned(), json!({"name": name, "description": description}));
    names.insert("run".to_owned(), json!({"id": "0198c5a0-0000-7000-8000-000000000000"}));
    let mut context = TemplateContext::new(names).with_issues(queue(sample));
    context.open = vec!["issues.metadata".to_owned(), "issue.metadata".to_owned()];
    add_phases(scene, ended, view, &mut context);
    add_surroundings(scene, spot, view, &mut context);
    context
}

/// What is known of phases that have ended.
fn add_phases(scene: &Scene<'_>, ended: &PhaseSet, view: View<'_>, context: &mut TemplateContext) {
    let mut phases = Map::new();
    // A phase beside hides one of the same name further out.
    let mut ended: Vec<usize> = match view.mentions {
        Mentions::Anything | Mentions::AmongNames(_) => ended.iter().collect(),
        Mentions::Words(words) => {
            let named = words.iter().flat_map(|word| scene.graph.all_named(word));
            named.copied().filter(|at| ended.contains(at)).collect()
        }
    };
    ended.sort_by_key(|at| (scene.graph.depth(*at), *at));
    for at in ended {
        let name = scene.graph.name(at);
        if view.mentions.is_beside(&name) {
            phases.insert(name, Value::Object(Map::new()));
            continue;
        }
        let path = format!("phases.{name}");
        context.unknown.retain(|unknown| !unknown.starts_with(&format!("{path}.")));
        phases.insert(name, Value::Object(facts(scene, at, &path, view.sample, &mut context.unknown)));
    }
    context.variables.insert("phases".to_owned(), Value::Object(phases));
}

/// What is known of one phase that has ended; the paths of values that only a run knows are added.
fn facts(
    scene: &Scene<'_>,
    at: usize,
    path: &str,
    sample: Sample,
    unknown: &mut Vec<String>,
) -> Map<String, Value> {
    let phase = &scene.raw.phases[at];
    let mut facts = Map::from_iter([("status".to_owned(), Value::from("completed"))]);
    let mut not_known = |key: &str| unknown.push(format!("{path}.{key}"));
    let mut own = Map::new();
    match &phase.kind {
        Some(RawKind::Session(_)) => {
            own.insert("text".to_owned(), Value::from("sample"));
            if let Some(output) = scene.attachments.outputs.get(&at) {
                own.insert("output".to_owned(), attachments::sample(&output.schema));
            }
        }
        Some(RawKind::Shell(shell)) => {
            own.insert("exit_code".to_owned(), Value::from(0));
            match shell.capture {
                Capture::Text => {
                    own.insert("text".to_owned(), Value::from("sample"));
                }
                Capture::Json => {
                    own.insert("output".to_owned(), Value::Null);
                }
                Capture::None => {}
            }
        }
        Some(RawKind::Approval(_)) => {
            own.insert("answer".to_owned(), Value::from("yes"));
        }
        Some(RawKind::Repeat(_)) => {
            own.insert("rounds".to_owned(), Value::from(1));
        }
        _ => {}
    }
    let is_json = matches!(&phase.kind, Some(RawKind::Shell(shell)) if shell.capture == Capture::Json);
    if phase.for_each.is_some() {
        let items = if sample == Sample::Busy { vec![Value::Object(own)] } else { Vec::new() };
        facts.insert("items".to_owned(), Value::Array(items));
        not_known("items");
    } else {
        if is_json {
            not_known("output");
        }
        facts.extend(own);
    }
    facts
}

/// What is seen of the scenario, the repetitions and the items that a spot stands in: from the inside outwards.
fn add_surroundings(scene: &Scene<'_>, spot: Spot, view: View<'_>, context: &mut TemplateContext) {
    let (mut next, mut in_work) = match spot {
        Spot::Run => (None, false),
        Spot::Phase(at) => (Some(at), false),
        Spot::Work(at) | Spot::Within(at) => (Some(at), true),
    };
    let mut is_within = matches!(spot, Spot::Within(_));
    while let Some(at) = next {
        let phase = &scene.raw.phases[at];
        if is_within {
            match &phase.kind {
                Some(RawKind::Include(include)) => {
                    let declared = include.of.as_ref().map(|of| of.inputs.as_slice()).unwrap_or_default();
                    context.variables.insert("inputs".to_owned(), inputs(declared, &BTreeMap::new(), view));
                    return;
                }
                Some(RawKind::Repeat(_)) => add_round(scene, at, view, context),
                _ => {}
            }
        }
        if let Some(each) = phase.for_each.as_ref().filter(|_| in_work)
            && !context.variables.contains_key(&each.name.value)
        {
            add_item(scene, at, view.sample, context);
        }
        next = scene.graph.outer(at);
        (is_within, in_work) = (true, true);
    }
    let declared = match view.mentions {
        Mentions::Anything | Mentions::AmongNames(_) => inputs(&scene.raw.inputs, scene.inputs, view),
        Mentions::Words(words) => {
            let named = words.iter().filter_map(|word| scene.declared.get(word.as_str()).copied());
            inputs(named, scene.inputs, view)
        }
    };
    context.variables.insert("inputs".to_owned(), declared);
}

fn add_round(scene: &Scene<'_>, at: usize, view: View<'_>, context: &mut TemplateContext) {
    let sample = view.sample;
    if context.variables.contains_key("round") {
        return;
    }
    // The first round sees no round before it; what is asked of one must be asked under a condition.
    let round = if sample == Sample::Busy { 2 } else { 1 };
    let mut previous = Map::new();
    if sample == Sample::Busy {
        for inner in scene.graph.inner(at) {
            let name = scene.graph.name(inner);
            if !view.mentions.may_name(&name) {
                continue;
            }
            let path = format!("previous.{name}");
            previous.insert(name, Value::Object(facts(scene, inner, &path, sample, &mut context.unknown)));
        }
    }
    context.variables.insert("round".to_owned(), Value::from(round));
    context.variables.insert("previous".to_owned(), Value::Object(previous));
}

fn add_item(scene: &Scene<'_>, at: usize, sample: Sample, context: &mut TemplateContext) {
    let Some(each) = &scene.raw.phases[at].for_each else { return };
    let name = each.name.value.clone();
    let found = match &each.items {
        Some(RawItems::Written(items)) => items.first().cloned(),
        Some(RawItems::Computed(expression)) => {
            let around = for_condition(
                scene,
                Spot::Phase(at),
                &scene.graph.seen(at),
                View { sample, mentions: &Mentions::of(&expression.value) },
            );
            let items = scene.prompts.templates.list(&expression.value, &around).unwrap_or_default();
            items.into_iter().next().filter(|item| !item.is_null())
        }
        None => None,
    };
    if found.is_none() {
        context.unknown.push(name.clone());
    }
    context.variables.insert(name, found.unwrap_or(Value::Null));
}

/// The names of a template of a session in a phase.
pub(super) fn for_template(
    scene: &Scene<'_>,
    phase: usize,
    speaker: Speaker<'_>,
    usage: Use,
    view: View<'_>,
) -> TemplateContext {
    let sample = view.sample;
    let mut context = for_condition(scene, Spot::Work(phase), &scene.graph.seen(phase), view);
    let names = &mut context.variables;
    let role = speaker.role;
    let id = role.local();
    let takes = role.takes.as_ref().map(|takes| takes.value.clone()).unwrap_or_default();
    names.insert("role".to_owned(), json!({"id": id, "takes": takes, "vars": role.vars}));
    if let Some(takes) = speaker.takes {
        let name = format!("{id}-1");
        names.insert("worker".to_owned(), json!({"name": name, "index": 1, "takes": takes}));
    }
    let Some(RawKind::Workers(workers)) = &scene.raw.phases[phase].kind else { return context };
    if usage == Use::Prompt {
        let last = workers.max_iterations;
        let iteration = if sample == Sample::Busy { 1 } else { last };
        names.insert("iteration".to_owned(), Value::from(iteration));
        names.insert("max_iterations".to_owned(), Value::from(last));
        if workers.claim == ClaimBy::Engine {
            names.insert("issue".to_owned(), issue(Status::InProgress, sample).every_field().into());
        }
    }
    context
}

/// The inputs that a template may show, with their values or with samples.
fn inputs<'a>(
    declared: impl IntoIterator<Item = &'a RawInput>,
    values: &BTreeMap<String, Value>,
    view: View<'_>,
) -> Value {
    let is_shown = |input: &&RawInput| !input.is_secret() && view.mentions.may_name(&input.id.value);
    let shown = declared.into_iter().filter(is_shown);
    let values = shown.map(|input| {
        let id = &input.id.value;
        let value = values.get(id).cloned().unwrap_or_else(|| match input.kind {
            InputType::String | InputType::Path => Value::from("sample"),
            InputType::Number => Value::from(1),
            InputType::Boolean => Value::from(true),
            InputType::List => json!(["sample"]),
        });
        (id.clone(), value)
    });
    Value::Object(values.collect())
}

fn queue(sample: Sample) -> Snapshot {
    if sample == Sample::Idle {
        return Snapshot::default();
    }
    let issues: Vec<Issue> = Status::ALL.into_iter().map(|status| issue(status, sample)).collect();
    let ready = vec![issues[0].id.clone()];
    let counts = Counts { total: 4, open: 1, ready: 1, in_progress: 1, blocked: 1, closed: 1 };
    Snapshot { issues, ready, holds: Vec::new(), counts }
}

fn issue(status: Status, sample: Sample) -> Issue {
    let set = |text: &str| (sample == Sample::Busy).then(|| text.to_owned());
    let at = Timestamp::UNIX_EPOCH;
    Issue {
        id: IssueId::new(format!("bd-{}", status.as_str())),
        title: "Sample".to_owned(),
        description: "Sample".to_owned(),
        status,
        priority: 2,
        issue_type: "task".to_owned(),
        assignee: set("sample"),
        parent_id: set("bd-parent").map(IssueId::new),
        blocking_notes: set("sample"),
        metadata: Map::new(),
        labels: set("sample").into_iter().collect(),
        estimate_minutes: (sample == Sample::Busy).then_some(30),
        defer_until: (sample == Sample::Busy).then_some(at),
        close_reason: set("sample"),
        created_at: at,
        updated_at: at,
        closed_at: (status == Status::Closed).then_some(at),
        attempt: 0,
    }
}
