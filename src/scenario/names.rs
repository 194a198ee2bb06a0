//! Which names a prompt or condition is given, with sample values of the right types. What a run gives is exactly this:
//!
//! | names | where |
//! |---|---|
//! | `inputs.*`, `scenario.{name,description}`, `run.id`, `issues` | everywhere |
//! | `phases.ID.status`, and `phases.ID.text` of a session phase | of the phases that have surely ended: all that a phase needs; for its own `expect` also itself; for the final `expect` all |
//! | `role.{id,takes,vars}` | in prompts and system prompts |
//! | `worker.{name,index,takes}` | in those of a workers phase |
//! | `iteration`, `max_iterations` | in the prompt of a workers phase |
//! | `issue.*` | in the prompt of a workers phase under `claim: engine` |

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::raw::{InputType, RawKind, RawRole};
use super::rules::Scene;
use crate::clock::Timestamp;
use crate::id::IssueId;
use crate::issue::{Issue, Status, Takes};
use crate::plan::ClaimBy;
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

/// The names of a condition that is evaluated when these phases have ended.
pub(super) fn for_condition(scene: &Scene<'_>, ended: &BTreeSet<usize>, sample: Sample) -> TemplateContext {
    let mut names = Map::new();
    names.insert("inputs".to_owned(), inputs(scene));
    let name = scene.raw.name.as_ref().map_or("sample", |name| &name.value);
    let description = scene.raw.description.as_ref().map_or("", |text| &text.value);
    names.insert("scenario".to_owned(), json!({"name": name, "description": description}));
    names.insert("run".to_owned(), json!({"id": "0198c5a0-0000-7000-8000-000000000000"}));
    let phases = ended.iter().map(|at| {
        let mut facts = Map::from_iter([("status".to_owned(), Value::from("completed"))]);
        if matches!(scene.raw.phases[*at].kind, Some(RawKind::Session(_))) {
            facts.insert("text".to_owned(), Value::from("sample"));
        }
        (scene.graph.name(*at), Value::Object(facts))
    });
    names.insert("phases".to_owned(), Value::Object(phases.collect()));
    let mut context = TemplateContext::new(names).with_issues(queue(sample));
    context.open = vec!["issues.metadata".to_owned(), "issue.metadata".to_owned()];
    context
}

/// The names of a template of a session in a phase.
pub(super) fn for_template(
    scene: &Scene<'_>,
    phase: usize,
    speaker: Speaker<'_>,
    usage: Use,
    sample: Sample,
) -> TemplateContext {
    let mut context = for_condition(scene, &scene.graph.all_needs(phase), sample);
    let names = &mut context.variables;
    let role = speaker.role;
    let takes = role.takes.as_ref().map(|takes| takes.value.clone()).unwrap_or_default();
    names.insert("role".to_owned(), json!({"id": role.id.value, "takes": takes, "vars": role.vars}));
    if let Some(takes) = speaker.takes {
        let name = format!("{}-1", role.id.value);
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

fn inputs(scene: &Scene<'_>) -> Value {
    let values = scene.raw.inputs.iter().map(|input| {
        let id = &input.id.value;
        let value = scene.inputs.get(id).cloned().unwrap_or_else(|| match input.kind {
            InputType::Text | InputType::Path => Value::from("sample"),
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
