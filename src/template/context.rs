//! What a template may name: plain values, and the issue queue at one moment.

use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Serde, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use serde_json::Map;

use crate::id::IssueId;
use crate::issue::Snapshot;
use crate::issue::{Issue, Status};

/// What a template may name.
#[derive(Debug, Clone, Default)]
pub struct TemplateContext {
    /// Plain values by name.
    pub variables: Map<String, serde_json::Value>,
    /// The queue, named `issues`; without it the name is undefined.
    pub issues: Option<Arc<Snapshot>>,
    /// Names below which every further name is defined, as dotted paths: their content is not known before a run.
    /// `issues.metadata` stands for the metadata of every issue of the queue.
    pub open: Vec<String>,
    /// Names whose value is not known before a run, as dotted paths: it may be anything.
    pub unknown: Vec<String>,
    /// What `define` was called with.
    defined: Vec<String>,
}

impl TemplateContext {
    /// A context of plain values.
    pub fn new(variables: Map<String, serde_json::Value>) -> Self {
        Self { variables, ..Self::default() }
    }

    /// With the queue.
    #[must_use]
    pub fn with_issues(mut self, issues: Snapshot) -> Self {
        self.issues = Some(Arc::new(issues));
        self
    }

    /// Gives a dotted path a value below which everything is defined, at any depth.
    pub fn define(&mut self, path: &str) {
        let mut map = &mut self.variables;
        let mut steps = path.split('.').peekable();
        while let Some(step) = steps.next() {
            let value = map.entry(step).or_insert_with(|| serde_json::Value::Object(Map::new()));
            match value {
                serde_json::Value::Object(below) if steps.peek().is_some() => map = below,
                _ => break,
            }
        }
        self.defined.push(path.to_owned());
    }

    pub(super) fn to_value(&self) -> Value {
        let mut pairs: Vec<(String, Value)> =
            self.variables.iter().map(|(name, value)| (name.clone(), self.lower(name, value))).collect();
        if let Some(issues) = &self.issues {
            pairs.push((
                "issues".to_owned(),
                Value::from_object(Issues { snapshot: Arc::clone(issues), metadata: self.metadata() }),
            ));
        }
        Value::from_pairs(pairs)
    }

    fn metadata(&self) -> Metadata {
        if self.open.iter().any(|open| open == "issues.metadata") { Metadata::Open } else { Metadata::Real }
    }

    fn lower(&self, path: &str, value: &serde_json::Value) -> Value {
        if self.defined.iter().any(|defined| defined == path) {
            return Value::from_object(Bottomless);
        }
        if self.open.iter().any(|open| open == path) {
            return Value::from_object(Anything);
        }
        if self.unknown.iter().any(|unknown| unknown == path) {
            return Value::from_object(Unknown);
        }
        let leads_on = |paths: &Vec<String>| paths.iter().any(|other| other.starts_with(&format!("{path}.")));
        match value {
            serde_json::Value::Object(map)
                if [&self.open, &self.unknown, &self.defined].into_iter().any(leads_on) =>
            {
                Value::from_pairs(
                    map.iter().map(|(key, value)| (key.clone(), self.lower(&format!("{path}.{key}"), value))),
                )
            }
            plain => Value::from(Serde(plain)),
        }
    }

    /// The names defined below a dotted path; the top for an empty one.
    pub(super) fn names_below(&self, path: &str) -> Vec<String> {
        let queue = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        if path == "issues" && self.issues.is_some() {
            return queue(&[
                "total",
                "open",
                "ready",
                "in_progress",
                "blocked",
                "closed",
                "list",
                "ready_list",
            ]);
        }
        if path.is_empty() {
            let issues = self.issues.as_ref().map(|_| "issues".to_owned());
            return self.variables.keys().cloned().chain(issues).collect();
        }
        let mut steps = path.split('.');
        let first = steps.next().and_then(|name| self.variables.get(name));
        let found = steps.fold(first, |value, step| value?.get(step));
        found
            .and_then(serde_json::Value::as_object)
            .map(|map| map.keys().cloned().collect())
            .unwrap_or_default()
    }
}

/// Stands for a map whose keys only a run knows.
#[derive(Debug)]
struct Anything;

impl Object for Anything {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        key.as_str().map(|_| Value::from("sample"))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["sample"])
    }
}

/// Stands for a value that only a run knows: it may be a text, a number, a list or a map.
#[derive(Debug)]
pub(super) struct Unknown;

impl Object for Unknown {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from_object(Self))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(vec![Value::from_object(Self)])
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sample")
    }
}

/// Stands for a value that has been found missing: whatever is asked of it is there, and missing no more.
#[derive(Debug)]
struct Bottomless;

impl Object for Bottomless {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from_object(Bottomless))
    }
}

/// The queue as a template sees it.
#[derive(Debug)]
struct Issues {
    snapshot: Arc<Snapshot>,
    metadata: Metadata,
}

/// What the metadata of an issue show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metadata {
    /// What they hold.
    Real,
    /// Anything that is asked for.
    Open,
}

impl Object for Issues {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let counts = &self.snapshot.counts;
        let count = match key.as_str()? {
            "total" => counts.total,
            "open" => counts.open,
            "ready" => counts.ready,
            "in_progress" => counts.in_progress,
            "blocked" => counts.blocked,
            "closed" => counts.closed,
            _ => return None,
        };
        Some(Value::from(count))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["total", "open", "ready", "in_progress", "blocked", "closed"])
    }

    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let found: Vec<&Issue> = match method {
            "list" => {
                let (kwargs,): (Kwargs,) = from_args(args)?;
                let status = kwargs.get::<Option<String>>("status")?.map(|word| status(&word)).transpose()?;
                let assignee = kwargs.get::<Option<String>>("assignee")?;
                kwargs.assert_all_used()?;
                let fits = |issue: &&Issue| {
                    status.is_none_or(|status| issue.status == status)
                        && assignee.as_ref().is_none_or(|name| issue.assignee.as_ref() == Some(name))
                };
                self.snapshot.issues.iter().filter(fits).collect()
            }
            "ready_list" => {
                let () = from_args(args)?;
                let issue = |id: &IssueId| self.snapshot.issues.iter().find(|issue| issue.id == *id);
                self.snapshot.ready.iter().filter_map(issue).collect()
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::UnknownMethod,
                    format!("`issues` has no `{method}`; it has list and ready_list"),
                ));
            }
        };
        // An issue is some twenty values; a template that lists the queue in a loop must run out of fuel.
        state.consume_fuel(1 + 20 * found.len() as u64)?;
        Ok(found.into_iter().map(|issue| shown(issue, self.metadata)).collect())
    }
}

fn shown(issue: &Issue, metadata: Metadata) -> Value {
    let plain = Value::from(Serde(issue.every_field()));
    match (metadata, plain.try_iter()) {
        (Metadata::Open, Ok(keys)) => Value::from_pairs(keys.map(|key| {
            let value = if key.as_str() == Some("metadata") {
                Value::from_object(Anything)
            } else {
                plain.get_item(&key).unwrap_or_default()
            };
            (key, value)
        })),
        _ => plain,
    }
}

fn status(word: &str) -> Result<Status, Error> {
    Status::from_text(word).ok_or_else(|| {
        let known: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        Error::new(
            ErrorKind::InvalidOperation,
            format!("there is no status `{word}`; it is one of {}", known.join(", ")),
        )
    })
}
