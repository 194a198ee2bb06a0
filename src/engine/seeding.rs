//! Issues that a scenario makes itself, without a model: those of its queue before the first phase, and those of a phase.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::queue::Proxy;
use super::scope::Scope;
use super::{Company, PhaseOutcome, PhaseScope};
use crate::effects::{Busy, Halt};
use crate::event::EffectId;
use crate::id::PhaseId;
use crate::plan::{IssuesPlan, SeedPlan};
use crate::store::jsonl::{self, FILES, Part};
use crate::store::{NewIssue, Operation, PlannedIssue};

/// Makes the issues of a phase.
pub(super) async fn run(phase: &PhaseScope, plan: &IssuesPlan, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    let mut outcome = PhaseOutcome::completed();
    if let Some(file) = &plan.from {
        let part = Part { name: &file.name, role: FILES[0], bytes: file.text.as_bytes() };
        let read = jsonl::read(&[part]).map_err(|error| error.to_string());
        let import = match read {
            Ok(import) => Operation::Import(Box::new(import)),
            Err(reason) => {
                outcome.fail(reason);
                return Ok(outcome);
            }
        };
        let id = EffectId::engine(phase.id(), "import", 1);
        if let Err(reason) = phase.company.queue(busy, id, &proxy(), import).await? {
            outcome.fail(format!("{}: {reason}", file.name));
            return Ok(outcome);
        }
    }
    let seeder = Seeder { company: &phase.company, phase: Some(phase.id()), scope: Scope::of_phase(phase) };
    if let Err(reason) = seeder.make(&plan.create, busy).await? {
        outcome.fail(reason);
    }
    Ok(outcome)
}

/// Makes the issues that the queue of a run begins with. The inner error says why they cannot be made.
pub(super) async fn begin(company: &Company, busy: &Busy) -> Result<Result<(), String>, Halt> {
    let seeder = Seeder { company, phase: None, scope: Scope::of_run(company) };
    seeder.make(&company.plan.queue.issues, busy).await
}

/// On whose behalf.
fn proxy() -> Proxy {
    Proxy { actor: "engine".to_owned(), holder: "run".to_owned(), epochs: BTreeMap::new() }
}

struct Seeder<'a> {
    company: &'a Company,
    phase: Option<&'a PhaseId>,
    scope: Scope,
}

impl Seeder<'_> {
    fn id(&self, name: &str, number: u32) -> EffectId {
        match self.phase {
            Some(phase) => EffectId::engine(phase, name, number),
            None => EffectId::run(name, number),
        }
    }

    /// All of them, or none.
    async fn make(&self, seeds: &[SeedPlan], busy: &Busy) -> Result<Result<(), String>, Halt> {
        if seeds.is_empty() {
            return Ok(Ok(()));
        }
        let keys: BTreeMap<&str, usize> =
            seeds.iter().enumerate().filter_map(|(at, seed)| Some((seed.key.as_deref()?, at))).collect();
        let mut planned = Vec::new();
        let mut texts = 0;
        for seed in seeds {
            let issue = match self.render(seed, &mut texts, busy).await? {
                Ok(issue) => issue,
                Err(reason) => return Ok(Err(reason)),
            };
            let at = |key: &String| keys.get(key.as_str()).copied();
            planned.push(PlannedIssue {
                issue,
                parent: seed.parent.as_ref().and_then(at),
                waits_for: seed.depends_on.iter().filter_map(at).collect(),
            });
        }
        let id = self.id("seed", 1);
        let made = self.company.queue(busy, id, &proxy(), Operation::CreateAll(planned)).await?;
        Ok(made.map(drop))
    }

    /// An issue with its texts rendered.
    async fn render(
        &self,
        seed: &SeedPlan,
        texts: &mut u32,
        busy: &Busy,
    ) -> Result<Result<NewIssue, String>, Halt> {
        let mut plain = vec![&seed.title, &seed.description];
        plain.extend(&seed.labels);
        plain.extend(&seed.blocking_notes);
        let mut rendered = Vec::new();
        for text in plain {
            match self.text(text, texts, busy).await? {
                Ok(text) => rendered.push(text),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let metadata = match self.values(&seed.metadata, texts, busy).await? {
            Ok(metadata) => metadata,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut rendered = rendered.into_iter();
        let mut next = || rendered.next().unwrap_or_default();
        Ok(Ok(NewIssue {
            title: next(),
            description: next(),
            labels: seed.labels.iter().map(|_| next()).collect(),
            blocking_notes: seed.blocking_notes.as_ref().map(|_| next()),
            priority: seed.priority,
            issue_type: seed.issue_type.clone(),
            metadata,
            estimate_minutes: seed.estimate_minutes,
            ..NewIssue::default()
        }))
    }

    async fn values(
        &self,
        map: &Map<String, Value>,
        texts: &mut u32,
        busy: &Busy,
    ) -> Result<Result<Map<String, Value>, String>, Halt> {
        let mut rendered = Map::new();
        for (key, value) in map {
            let value = match value {
                Value::String(text) => match self.text(text, texts, busy).await? {
                    Ok(text) => Value::String(text),
                    Err(reason) => return Ok(Err(reason)),
                },
                Value::Object(inner) => match Box::pin(self.values(inner, texts, busy)).await? {
                    Ok(inner) => Value::Object(inner),
                    Err(reason) => return Ok(Err(reason)),
                },
                other => other.clone(),
            };
            rendered.insert(key.clone(), value);
        }
        Ok(Ok(rendered))
    }

    async fn text(&self, text: &str, texts: &mut u32, busy: &Busy) -> Result<Result<String, String>, Halt> {
        *texts += 1;
        let id = self.id("text", *texts);
        let text = self.company.render_text(busy, id, text, &self.scope).await?;
        Ok(text.map_err(|error| error.to_string()))
    }
}
