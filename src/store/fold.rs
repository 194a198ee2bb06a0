//! Does the event log lead to the table? Its entries are applied one after the other, and the end is compared. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::soundness::{Contents, Entry, Finding, Holder, Kept, Rule};
use crate::id::IssueId;
use crate::issue::{Comment, Dependency, EdgeType};

/// Entries by which files of other programs were brought in; what such an entry says of `updated_at` it says itself.
const IMPORTED: &str = "imported";

/// What the log says of an issue.
#[derive(Debug, Default)]
struct Folded {
    fields: Map<String, Value>,
    comments: Vec<Comment>,
    is_created: bool,
    /// Whether any entry says that it came from a file: its `updated_at` is the file's then, which no entry tells.
    is_imported: bool,
    /// Entries that say that it was taken; each raised its epoch.
    claims: u64,
    /// Entries that ended a hold; each may have raised the epoch, if it was by force.
    ends: u64,
    /// The last who took it.
    taken_by: Option<Holder>,
    /// The last epoch that a caller was told.
    told: Option<u64>,
}

#[derive(Debug, Default)]
struct Fold {
    issues: BTreeMap<IssueId, Folded>,
    edges: BTreeMap<(IssueId, IssueId), EdgeType>,
    findings: Vec<Finding>,
}

/// Folds the log and compares.
pub(super) fn compare(contents: &Contents) -> Vec<Finding> {
    let mut fold = Fold::default();
    let mut expected = 1;
    for entry in &contents.events {
        if entry.seq != expected {
            let message = format!("event {expected} is missing; the next one is {}", entry.seq);
            fold.findings.push(Finding::general(Rule::Log, message));
        }
        expected = entry.seq + 1;
        fold.apply(entry);
    }
    let comments = contents.comments.iter().fold(
        BTreeMap::<&IssueId, Vec<&Comment>>::new(),
        |mut comments, (id, comment)| {
            comments.entry(id).or_default().push(comment);
            comments
        },
    );
    for kept in &contents.issues {
        let folded = fold.issues.remove(&kept.issue.id).unwrap_or_default();
        fold.findings.extend(fields_agree(&folded, kept));
        fold.findings.extend(holder_agrees(&folded, kept));
        fold.findings.extend(epoch_agrees(&folded, kept));
        let shown = comments.get(&kept.issue.id).map_or(&[][..], Vec::as_slice);
        if !folded.comments.iter().eq(shown.iter().copied()) {
            let message = format!(
                "its comments ({}) are not those of its events ({})",
                shown.len(),
                folded.comments.len()
            );
            fold.findings.push(Finding::of(Rule::Log, &kept.issue.id, message));
        }
    }
    let gone = std::mem::take(&mut fold.issues);
    fold.findings
        .extend(gone.keys().map(|id| Finding::of(Rule::Log, id, "it has events and is not in the table")));
    fold.edges_agree(&contents.dependencies);
    fold.findings
}

impl Fold {
    fn apply(&mut self, entry: &Entry) {
        let (seq, id) = (entry.seq, &entry.change.issue_id);
        let Some(changes) = entry.change.changes.as_object() else {
            let message = format!("event {seq} does not say what changed");
            self.findings.push(Finding::of(Rule::Value, id, message));
            return;
        };
        self.count(entry, changes);
        for (name, change) in changes {
            let (old, new) = (&change["old"], &change["new"]);
            match name.as_str() {
                "issue" => self.create(entry, new),
                "comment" => match serde_json::from_value(new.clone()) {
                    Ok(comment) => self.issue(id).comments.push(comment),
                    Err(error) => self.unreadable(entry, &error),
                },
                "dependency" => self.edge(entry, old, new),
                _ => self.field(entry, name, (old, new)),
            }
        }
        // An edge alone is no change of the issue, and an import keeps the moments of its file.
        let is_edge = changes.contains_key("dependency") && !changes.contains_key("parent_id");
        if !is_edge && entry.change.event_type != IMPORTED {
            let at = Value::from(entry.change.at.to_string());
            self.issue(id).fields.insert("updated_at".to_owned(), at);
        }
        for (id, epoch) in &entry.gained {
            self.told(entry, id, *epoch);
        }
    }

    fn issue(&mut self, id: &IssueId) -> &mut Folded {
        self.issues.entry(id.clone()).or_default()
    }

    fn unreadable(&mut self, entry: &Entry, error: &serde_json::Error) {
        let message = format!("event {} cannot be read: {error}", entry.seq);
        self.findings.push(Finding::of(Rule::Value, &entry.change.issue_id, message));
    }

    fn count(&mut self, entry: &Entry, changes: &Map<String, Value>) {
        let was_held = changes.get("status").is_some_and(|status| status["old"] == "in_progress");
        let is_claim = entry.change.event_type == "claimed";
        let folded = self.issue(&entry.change.issue_id);
        // Taken from its holder by force and in one step, the status stays what it was.
        let is_taken_over = is_claim && !changes.contains_key("status");
        let is_import = entry.change.event_type == "imported";
        folded.ends += u64::from(was_held || is_taken_over || is_import);
        if is_import {
            folded.is_imported = true;
            // Who holds it is then whom the file names.
            folded.taken_by = None;
        }
        if is_claim {
            folded.claims += 1;
            folded.taken_by = Some(entry.by.clone());
        }
        if entry.change.event_type == IMPORTED && leads_to(changes) == Some("in_progress") {
            // Held by whoever the file names, not by the one who brought the file.
            folded.claims += 1;
            folded.taken_by = None;
        }
    }

    fn create(&mut self, entry: &Entry, new: &Value) {
        let id = &entry.change.issue_id;
        let folded = self.issue(id);
        let is_again = std::mem::replace(&mut folded.is_created, true);
        folded.fields = new.as_object().cloned().unwrap_or_default();
        // Left out where there are none.
        folded.fields.entry("labels").or_insert_with(|| json!([]));
        if is_again {
            let message = format!("event {} creates it a second time", entry.seq);
            self.findings.push(Finding::of(Rule::Log, id, message));
        }
    }

    fn field(&mut self, entry: &Entry, name: &str, (old, new): (&Value, &Value)) {
        let id = &entry.change.issue_id;
        let before = self.issue(id).fields.insert(name.to_owned(), new.clone());
        if let Some(before) = before.filter(|before| before != old) {
            let message = format!(
                "event {} says that `{name}` was {old}, but the events before it lead to {before}",
                entry.seq
            );
            self.findings.push(Finding::of(Rule::Log, id, message));
        }
    }

    fn edge(&mut self, entry: &Entry, old: &Value, new: &Value) {
        let side = if new.is_null() { old } else { new };
        let edge: Dependency = match serde_json::from_value(side.clone()) {
            Ok(edge) => edge,
            Err(error) => return self.unreadable(entry, &error),
        };
        let key = (edge.from_id, edge.to_id);
        let before =
            if new.is_null() { self.edges.remove(&key) } else { self.edges.insert(key, edge.dep_type) };
        let expected = new.is_null().then_some(edge.dep_type);
        if before != expected {
            let message =
                format!("event {} adds an edge that was there or removes one that was not", entry.seq);
            self.findings.push(Finding::of(Rule::Log, &entry.change.issue_id, message));
        }
    }

    fn told(&mut self, entry: &Entry, id: &IssueId, epoch: u64) {
        let is_claim = entry.change.event_type == "claimed" && entry.change.issue_id == *id;
        let Some(before) = self.issue(id).told.replace(epoch) else { return };
        if epoch < before || is_claim && epoch == before {
            let message = format!("event {} gave the epoch {epoch} after {before} had been given", entry.seq);
            self.findings.push(Finding::of(Rule::Epoch, id, message));
        }
    }

    fn edges_agree(&mut self, dependencies: &[Dependency]) {
        for Dependency { from_id, to_id, dep_type } in dependencies {
            let logged = self.edges.remove(&(from_id.clone(), to_id.clone()));
            if logged != Some(*dep_type) {
                let logged = logged.map_or("none", EdgeType::as_str);
                let message =
                    format!("its edge to {to_id} is `{}`, by its events it is `{logged}`", dep_type.as_str());
                self.findings.push(Finding::of(Rule::Log, from_id, message));
            }
        }
        for ((from, to), edge) in std::mem::take(&mut self.edges) {
            let message = format!("by its events it has a `{}` edge to {to}, and it has not", edge.as_str());
            self.findings.push(Finding::of(Rule::Log, &from, message));
        }
    }
}

/// The status that an entry leads to, if it changes the status.
fn leads_to(changes: &Map<String, Value>) -> Option<&str> {
    let status = changes.get("status").and_then(|status| status.get("new"));
    let whole = || changes.get("issue").and_then(|issue| issue.get("new")?.get("status"));
    status.or_else(whole)?.as_str()
}

fn fields_agree(folded: &Folded, kept: &Kept) -> Vec<Finding> {
    let id = &kept.issue.id;
    if !folded.is_created {
        return vec![Finding::of(Rule::Log, id, "no event says that it was created")];
    }
    let mut findings = Vec::new();
    for (name, value) in kept.issue.every_field() {
        let logged = folded.fields.get(&name).unwrap_or(&Value::Null);
        let is_unknown = folded.is_imported && name == "updated_at";
        if *logged != value && !is_unknown {
            findings.push(Finding::of(
                Rule::Log,
                id,
                format!("its `{name}` is {value}, its events lead to {logged}"),
            ));
        }
    }
    findings
}

fn holder_agrees(folded: &Folded, kept: &Kept) -> Option<Finding> {
    let (Some(hold), Some(taken)) = (&kept.hold, &folded.taken_by) else { return None };
    let name = |(run, session): &Holder| match run {
        Some(run) => format!("{session} of run {run}"),
        None => session.clone(),
    };
    (hold != taken).then(|| {
        let message = format!("{} holds it, but the last to claim it was {}", name(hold), name(taken));
        Finding::of(Rule::Hold, &kept.issue.id, message)
    })
}

fn epoch_agrees(folded: &Folded, kept: &Kept) -> Option<Finding> {
    let lowest = folded.claims.max(folded.told.unwrap_or_default());
    let highest = folded.claims + folded.ends;
    let message = if kept.epoch < lowest {
        format!("its epoch is {}, and its events have raised it to {lowest} at least", kept.epoch)
    } else if kept.epoch > highest {
        format!("its epoch is {}, and its events can have raised it to {highest} at most", kept.epoch)
    } else {
        return None;
    };
    Some(Finding::of(Rule::Epoch, &kept.issue.id, message))
}
