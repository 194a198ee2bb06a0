//! The words of Amplifier's issue-manager: an issue of fourteen fields, edges and events in files of their own.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::field::{self, Fields};
use crate::issue::{EdgeType, Issue, Status};
use crate::store::transfer::{Format, Incoming, Original, Outgoing, Remark, Remarks, remark};

/// Fields of an issue, all always there; `dependencies`, `close_reason` and
/// `labels` come from files beside it.
pub(super) const UNDERSTOOD: [&str; 17] = [
    "id",
    "title",
    "description",
    "status",
    "priority",
    "issue_type",
    "assignee",
    "created_at",
    "updated_at",
    "closed_at",
    "parent_id",
    "discovered_from",
    "blocking_notes",
    "metadata",
    "dependencies",
    "close_reason",
    "labels",
];

/// Whether an object is an issue in these words: this field is always there, and never in beads.
pub(super) fn is_one(object: &Map<String, Value>) -> bool {
    object.contains_key("discovered_from") && !object.contains_key("_type")
}

/// Reads an issue.
pub(super) fn incoming(object: Map<String, Value>, remarks: &mut Remarks) -> Result<Incoming, String> {
    let fields = Fields::of_issue(&object)?;
    let word = fields.words("status")?.unwrap_or_else(|| "open".to_owned());
    let status = Status::from_text(&word).ok_or_else(|| {
        format!("`status` is {word:?}; it must be one of {}", Status::ALL.map(Status::as_str).join(", "))
    })?;
    let priority = fields.priority()?.ok_or("`priority` is missing; it must be 0 to 4, 0 is worked first")?;
    let issue = fields.issue(status, priority, remarks)?;
    let mut edges = Vec::new();
    for edge in fields.objects("dependencies")? {
        let to = Fields { object: edge, about: String::new() }.id("to_id")?;
        let word = edge.get("dep_type").and_then(Value::as_str).unwrap_or("blocks");
        match EdgeType::from_text(&word.replace('_', "-")) {
            Some(edge) => edges.push((to, edge)),
            None => remark(remarks, Remark::OtherEdge, format!("{} -> {to} {word}", issue.id)),
        }
    }
    for (key, edge) in [("parent_id", EdgeType::ParentChild), ("discovered_from", EdgeType::DiscoveredFrom)] {
        if fields.words(key)?.is_some() {
            let to = fields.id(key)?;
            // An edge of its own says more than the field.
            if !edges.contains(&(to.clone(), edge)) {
                edges.push((to, edge));
            }
        }
    }
    let original = Original { format: Format::IssueManager, object };
    Ok(Incoming { issue, edges, comments: Vec::new(), original })
}

/// What beads is told besides what the queue knows: fields that neither of the two has a meaning for.
pub(super) fn without_own_fields(object: &Map<String, Value>) -> Map<String, Value> {
    let own = |key: &str| UNDERSTOOD.contains(&key) || super::beads::UNDERSTOOD.contains(&key);
    object.iter().filter(|(key, _)| !own(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Writes an issue: what is known, over what its file had. The edges stand in a file of their own.
pub(super) fn outgoing(out: &Outgoing) -> Map<String, Value> {
    let original = out.original.as_ref().filter(|original| original.format == Format::IssueManager);
    let was = original.and_then(super::understood);
    let mut object = original.map(|original| original.object.clone()).unwrap_or_default();
    object.remove("dependencies");
    object.remove("close_reason");
    object.remove("labels");
    let before = was.as_ref().map(|was| known(&was.issue));
    for (n, (key, value)) in known(&out.issue).into_iter().enumerate() {
        if before.as_ref().is_none_or(|before| before[n].1 != value) {
            object.insert(key.to_owned(), value);
        }
    }
    for (key, edge) in [("parent_id", EdgeType::ParentChild), ("discovered_from", EdgeType::DiscoveredFrom)] {
        let targets = out.edges.iter().chain(&out.unlinked).filter(|made| made.dep_type == edge);
        let now: BTreeSet<_> = targets.map(|made| &made.to_id).collect();
        let edges = was.iter().flat_map(|was| &was.edges).filter(|(_, kind)| *kind == edge);
        let before: BTreeSet<_> = edges.map(|(to, _)| to).collect();
        if object.contains_key(key) && now == before {
            continue;
        }
        let first = out.edges.iter().find(|made| made.dep_type == edge).map(|made| &made.to_id);
        object.insert(key.to_owned(), json!(first));
    }
    object
}

fn known(issue: &Issue) -> Vec<(&'static str, Value)> {
    let mut known = field::known(issue);
    known.push(("metadata", Value::Object(issue.metadata.clone())));
    known
}

/// An edge as its file had it, with the issue it starts from: one that stood inside its issue need not name it.
fn owned(item: &Value, id: &str) -> Value {
    let mut item = item.clone();
    if let Value::Object(fields) = &mut item {
        let owner = fields.get("from_id").or_else(|| fields.get("issue_id"));
        if owner.and_then(Value::as_str) != Some(id) {
            fields.insert("from_id".to_owned(), id.into());
        }
    }
    item
}

/// The edges that are written as such: all but those that a field of the issue says already, unless the file had them.
pub(super) fn out_edges(out: &Outgoing, written: &Map<String, Value>) -> Vec<Value> {
    let original = out.original.as_ref().filter(|original| original.format == Format::IssueManager);
    let kept = original.and_then(|original| original.object.get("dependencies")).and_then(Value::as_array);
    let mut items = Vec::new();
    let mut new: Vec<_> = out.edges.iter().collect();
    for item in kept.into_iter().flatten() {
        let item = owned(item, out.issue.id.as_str());
        let to = item.get("to_id").and_then(Value::as_str).unwrap_or_default();
        let word = item.get("dep_type").and_then(Value::as_str).unwrap_or("blocks").replace('_', "-");
        let Some(edge) = EdgeType::from_text(&word) else {
            items.push(item);
            continue;
        };
        let is_it = |made: &crate::issue::Dependency| made.to_id.as_str() == to && made.dep_type == edge;
        new.retain(|made| !is_it(made));
        if out.edges.iter().chain(&out.unlinked).any(is_it) {
            items.push(item);
        }
    }
    for made in new {
        let field = match made.dep_type {
            EdgeType::ParentChild => written.get("parent_id"),
            EdgeType::DiscoveredFrom => written.get("discovered_from"),
            EdgeType::Blocks | EdgeType::Related => None,
        };
        // There every edge makes its start wait, so that one more than needed does harm.
        if field.and_then(Value::as_str) != Some(made.to_id.as_str()) {
            items.push(json!({
                "from_id": made.from_id,
                "to_id": made.to_id,
                "dep_type": made.dep_type,
                "created_at": out.issue.created_at,
            }));
        }
    }
    items
}
