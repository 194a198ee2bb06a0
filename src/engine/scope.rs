//! Which names a template or condition sees, and how it is rendered: by an effect when it reads the queue.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Company, PhaseOutcome, PhaseScope};
use crate::effects::{Asked, Busy, Halt, Ran};
use crate::event::{Access, EffectId, EffectKind, Footprint, Policy, Segment};
use crate::id::{RoleId, canonical_json};
use crate::issue::Issue;
use crate::plan::{Condition, WorkerPlan};
use crate::store::{Answer, Operation, Snapshot};
use crate::template::TemplateContext;

/// The names a template sees.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    names: Map<String, Value>,
}

/// A template or condition could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what}: {reason}")]
pub(super) struct RenderError {
    /// `render FILE`, or ``evaluate `CONDITION` ``.
    what: String,
    pub(super) reason: String,
}

type Render<'a> = Box<dyn Fn(&TemplateContext) -> Result<Value, String> + Send + Sync + 'a>;

/// What a rendering is made of.
struct Rendering<'a> {
    id: EffectId,
    /// For people.
    what: String,
    /// The source text, so that a change of it shows.
    source: String,
    reads_queue: bool,
    render: Render<'a>,
}

impl Scope {
    /// What every template of the run sees.
    pub(super) fn of_run(company: &Company) -> Self {
        let plan = &company.plan;
        let names = json!({
            "inputs": plan.inputs,
            "scenario": {"name": plan.name, "description": plan.description},
            "run": {"id": company.run.as_str()},
        });
        let Value::Object(names) = names else { unreachable!("it is written as an object above") };
        Self { names }
    }

    /// What a template of a phase sees.
    pub(super) fn of_phase(phase: &PhaseScope) -> Self {
        let mut scope = Self::of_run(&phase.company);
        scope.names.extend(phase.surroundings.names.clone());
        scope.see_phases(Map::clone(&phase.seen));
        scope
    }

    /// Adds how these phases have ended.
    pub(super) fn see_phases(&mut self, ended: Map<String, Value>) {
        self.names.insert("phases".to_owned(), Value::Object(ended));
    }

    /// The same with how the phase itself has ended, for its own expectations.
    pub(super) fn with_end(mut self, phase: &PhaseScope, outcome: &PhaseOutcome) -> Self {
        let mut seen = Map::clone(&phase.seen);
        seen.insert(phase.plan().id.to_string(), outcome.told());
        self.see_phases(seen);
        self
    }

    /// The same with names of what it stands in, and with how more phases have ended.
    pub(super) fn within(mut self, names: &Map<String, Value>, ended: &Map<String, Value>) -> Self {
        self.names.extend(names.clone());
        match self.names.get_mut("phases") {
            Some(Value::Object(phases)) => phases.extend(ended.clone()),
            _ => self.see_phases(ended.clone()),
        }
        self
    }

    /// The same with the values of secret inputs, for what only a command is given.
    pub(super) fn with_secrets(mut self, secrets: &BTreeMap<String, String>) -> Self {
        if let Some(Value::Object(inputs)) = self.names.get_mut("inputs") {
            inputs.extend(secrets.iter().map(|(id, value)| (id.clone(), Value::from(value.as_str()))));
        }
        self
    }

    /// The same for a role.
    pub(super) fn with_role(mut self, company: &Company, role: &RoleId) -> Self {
        let plan = &company.plan.roles[role];
        let role = json!({"id": role.local(), "takes": plan.takes, "vars": plan.vars});
        self.names.insert("role".to_owned(), role);
        self
    }

    /// The same for a worker in an iteration.
    pub(super) fn with_worker(mut self, worker: &WorkerPlan, iteration: u32, max_iterations: u32) -> Self {
        let shown = json!({"name": worker.name.as_str(), "index": worker.index, "takes": worker.takes});
        self.names.insert("worker".to_owned(), shown);
        self.names.insert("iteration".to_owned(), iteration.into());
        self.names.insert("max_iterations".to_owned(), max_iterations.into());
        self
    }

    /// The same for an issue that the engine has claimed.
    pub(super) fn with_issue(mut self, issue: &Issue) -> Self {
        self.names.insert("issue".to_owned(), issue.every_field().into());
        self
    }
}

impl Company {
    /// Renders a template.
    pub(super) async fn render(
        &self,
        busy: &Busy,
        id: EffectId,
        template: &str,
        scope: &Scope,
    ) -> Result<Result<String, RenderError>, Halt> {
        let rendering = Rendering {
            id,
            what: format!("render {template}"),
            source: self.plan.prompts.get(template).cloned().unwrap_or_default(),
            reads_queue: self.templates.reads_queue(template),
            render: Box::new(|context| {
                let text = self.templates.render(template, context).map_err(|error| error.to_string())?;
                Ok(Value::String(text))
            }),
        };
        let value = self.evaluate(busy, rendering, scope).await?;
        Ok(value.map(|value| value.as_str().unwrap_or_default().to_owned()))
    }

    /// Renders a template that stands in the scenario.
    pub(super) async fn render_text(
        &self,
        busy: &Busy,
        id: EffectId,
        text: &str,
        scope: &Scope,
    ) -> Result<Result<String, RenderError>, Halt> {
        let rendering = Rendering {
            id,
            what: "render a text of the scenario".to_owned(),
            source: text.to_owned(),
            reads_queue: self.templates.text_reads_queue(text),
            render: Box::new(|context| {
                let text = self.templates.render_text(text, context).map_err(|error| error.to_string())?;
                Ok(Value::String(text))
            }),
        };
        let value = self.evaluate(busy, rendering, scope).await?;
        Ok(value.map(|value| value.as_str().unwrap_or_default().to_owned()))
    }

    /// Evaluates an expression whose value is a list.
    pub(super) async fn list(
        &self,
        busy: &Busy,
        id: EffectId,
        expression: &Condition,
        scope: &Scope,
    ) -> Result<Result<Vec<Value>, RenderError>, Halt> {
        let rendering = Rendering {
            id,
            what: format!("evaluate `{}`", expression.text),
            source: expression.text.clone(),
            reads_queue: self.templates.expression_reads_queue(&expression.text),
            render: Box::new(|context| {
                let items = self.templates.list(&expression.text, context);
                items.map(Value::Array).map_err(|error| error.to_string())
            }),
        };
        let value = self.evaluate(busy, rendering, scope).await?;
        Ok(value.map(|value| match value {
            Value::Array(items) => items,
            _ => Vec::new(),
        }))
    }

    /// Finds out whether a condition holds.
    pub(super) async fn holds(
        &self,
        busy: &Busy,
        id: EffectId,
        condition: &Condition,
        scope: &Scope,
    ) -> Result<Result<bool, RenderError>, Halt> {
        let rendering = Rendering {
            id,
            what: format!("evaluate `{}`", condition.text),
            source: condition.text.clone(),
            reads_queue: self.templates.expression_reads_queue(&condition.text),
            render: Box::new(|context| {
                self.templates
                    .holds(&condition.text, context)
                    .map(Value::Bool)
                    .map_err(|error| error.to_string())
            }),
        };
        let value = self.evaluate(busy, rendering, scope).await?;
        Ok(value.map(|value| value == Value::Bool(true)))
    }

    async fn evaluate(
        &self,
        busy: &Busy,
        rendering: Rendering<'_>,
        scope: &Scope,
    ) -> Result<Result<Value, RenderError>, Halt> {
        let what = rendering.what.clone();
        let error = |reason: String| RenderError { what: what.clone(), reason };
        if !rendering.reads_queue {
            let context = TemplateContext::new(scope.names.clone());
            return Ok((rendering.render)(&context).map_err(error));
        }
        // The run's id is new in every run; a prompt that shows it cannot be replayed, and the key need not hold it.
        let mut names = scope.names.clone();
        names.remove("run");
        let scrubber = self.stage.effects.scrubber();
        let asked = Asked::engine(rendering.id.clone(), EffectKind::Render, Policy::Real)
            .keyed(vec![
                Segment::new("template", scrubber.scrub(&rendering.source)),
                Segment::new("names", canonical_json(&scrubber.scrub_json(Value::Object(names)))),
            ])
            .touching(Footprint::none().with(Access::Read, "issue:*"));
        let render = &rendering.render;
        let result = self
            .stage
            .effects
            .perform(busy, asked, |grant| async move {
                let caller = self.caller("engine", "run", &grant);
                match self.store.apply(caller, Operation::Snapshot).await {
                    Ok(applied) => {
                        let snapshot = match applied.answer {
                            Answer::Snapshot(snapshot) => *snapshot,
                            _ => Snapshot::default(),
                        };
                        let context = TemplateContext::new(scope.names.clone()).with_issues(snapshot);
                        let result = match render(&context) {
                            Ok(value) => json!({"value": value}),
                            Err(reason) => json!({"error": reason}),
                        };
                        Some(Ran { result, footprint: None, seq: applied.seq, at: Some(applied.at) })
                    }
                    Err(refused) => Some(Ran::plain(json!({"error": refused.to_string()}))),
                }
            })
            .await?;
        Ok(match result.get("value") {
            Some(value) => Ok(value.clone()),
            None => Err(error(result.get("error").and_then(Value::as_str).unwrap_or_default().to_owned())),
        })
    }
}
