//! Which files an export is: one object a line, keys sorted, issues in the order of their ids.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::read::{deleted, says_something};
use super::{beads, original};
use crate::clock::Timestamp;
use crate::id::{Fingerprint, canonical_json};
use crate::store::Change;
use crate::store::transfer::{Export, Format, Outgoing, Remark, Remarks, remark};

/// What an import did, whatever it was.
const IMPORTED: &str = "imported";

/// An export as files.
#[derive(Debug, Clone, PartialEq)]
pub struct Printed {
    /// Names and texts. beads has one file.
    pub files: Vec<(&'static str, String)>,
    /// How many issues there are in it.
    pub issues: usize,
    /// What was left out.
    pub remarks: Remarks,
}

/// Writes the queue in another program's words.
pub fn print(export: &Export, format: Format) -> Printed {
    match format {
        Format::Beads => as_beads(export),
        Format::IssueManager => as_original(export),
    }
}

fn as_beads(export: &Export) -> Printed {
    let mut remarks = Remarks::new();
    let mut issues: Vec<(String, Value)> = Vec::new();
    let here: BTreeSet<_> = export.issues.iter().map(|out| &out.issue.id).collect();
    for out in &export.issues {
        issues.push((out.issue.id.to_string(), Value::Object(beads::outgoing(out))));
    }
    let live = issues.len();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (key, line) in &export.lines {
        if let Some(id) = deleted(key) {
            // An issue that is there after all is not deleted.
            if !here.contains(&id) {
                issues.push((id.to_string(), line.clone()));
            }
        } else if key == "_schema" {
            first.push(line);
        } else if key.starts_with("config/") {
            remark(&mut remarks, Remark::NoPlace, key.clone());
        } else {
            last.push(line);
        }
    }
    issues.sort_by(|a, b| a.0.cmp(&b.0));
    let all = first.into_iter().chain(issues.iter().map(|(_, line)| line)).chain(last);
    Printed { files: vec![("issues.jsonl", text(all))], issues: live, remarks }
}

fn as_original(export: &Export) -> Printed {
    let mut remarks = Remarks::new();
    let (mut issues, mut edges) = (Vec::new(), Vec::new());
    // Files of that program are in the order of creation too, and its `get_ready` breaks ties by it.
    for out in &export.issues {
        let object = original::outgoing(out);
        edges.extend(original::out_edges(out, &object));
        issues.push(Value::Object(object));
        without_place(out, &mut remarks);
    }
    for key in export.lines.keys() {
        remark(&mut remarks, Remark::NoPlace, key.clone());
    }
    let events: Vec<_> =
        export.changes.iter().enumerate().filter_map(|(n, change)| event(n, change)).collect();
    let count = issues.len();
    let files = vec![
        ("issues.jsonl", text(&issues)),
        ("dependencies.jsonl", text(&edges)),
        ("events.jsonl", text(&events)),
    ];
    Printed { files, issues: count, remarks }
}

/// Names what an issue has and the issue-manager does not.
fn without_place(out: &Outgoing, remarks: &mut Remarks) {
    let id = &out.issue.id;
    let mut lost = |what: &str| remark(remarks, Remark::NoPlace, format!("{id} {what}"));
    if !out.comments.is_empty() {
        lost("comments");
    }
    if !out.issue.labels.is_empty() {
        lost("labels");
    }
    if out.issue.estimate_minutes.is_some() {
        lost("estimate_minutes");
    }
    if out.issue.defer_until.is_some() {
        lost("defer_until");
    }
    if out.issue.attempt > 0 {
        lost("attempt");
    }
    let foreign = out.original.as_ref().filter(|original| original.format == Format::Beads);
    for (key, value) in foreign.iter().flat_map(|original| &original.object) {
        if says_something(value) && !beads::UNDERSTOOD.contains(&key.as_str()) {
            lost(key);
        }
    }
}

/// An entry of the history in that program's words; it knows five kinds.
fn event(n: usize, change: &Change) -> Option<Value> {
    let field = |key: &str| change.changes.get(key).and_then(|field| field.get("new"));
    if field("comment").is_some() {
        return None;
    }
    let edge = change.changes.get("dependency").map(|edge| edge["new"].is_null());
    let event_type = match (change.event_type.as_str(), edge) {
        (IMPORTED, Some(true)) => "dependency_removed",
        (IMPORTED, Some(false)) => "dependency_added",
        (other, _) => other,
    };
    let (kind, changes) = match event_type {
        "created" | IMPORTED if field("issue").is_some() => ("created", json!({"issue": field("issue")})),
        "closed" => {
            let reason = field("close_reason").and_then(Value::as_str);
            ("closed", json!({"reason": reason.unwrap_or("Completed")}))
        }
        "dependency_added" => ("dependency_added", field("dependency")?.clone()),
        "dependency_removed" => {
            let old = change.changes.get("dependency")?.get("old")?;
            ("dependency_removed", json!({"from_id": old["from_id"], "to_id": old["to_id"]}))
        }
        _ => ("updated", change.changes.clone()),
    };
    Some(json!({
        "id": event_id(n, change),
        "issue_id": change.issue_id,
        "event_type": kind,
        "actor": change.actor,
        "changes": changes,
        "timestamp": moment(change.at),
    }))
}

fn moment(at: Timestamp) -> String {
    at.to_string()
}

/// An id in the form of a UUID that follows from the entry, so that two exports of one queue are the same.
fn event_id(n: usize, change: &Change) -> String {
    let half = |side: &str| {
        Fingerprint::of(format!("{side}\0{n}\0{}\0{}", change.issue_id, change.at).as_bytes()).to_string()
    };
    let (a, b) = (half("a"), half("b"));
    format!("{}-{}-4{}-8{}-{}", &a[..8], &a[8..12], &a[13..], &b[1..4], &b[4..])
}

fn text<'v>(lines: impl IntoIterator<Item = &'v Value>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&canonical_json(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_look_like_those_of_the_original() {
        let change = Change {
            issue_id: "bd-1".into(),
            event_type: "closed".to_owned(),
            actor: "a".to_owned(),
            changes: json!({}),
            at: Timestamp::UNIX_EPOCH,
        };
        let id = event_id(0, &change);
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
        assert_eq!(id, event_id(0, &change));
        assert_ne!(id, event_id(1, &change));
    }
}
