//! The words of beads: an issue with everything that belongs to it, as one object.

use serde_json::{Map, Value, json};

use super::field::{self, Fields, label};
use crate::id::IssueId;
use crate::issue::{Comment, EdgeType, Issue, Status};
use crate::store::transfer::{Format, Incoming, Original, Outgoing, Remark, Remarks, remark};

/// Fields the queue looks at; all others are only kept.
pub(super) const UNDERSTOOD: [&str; 23] = [
    "_type",
    "id",
    "title",
    "description",
    "status",
    "priority",
    "issue_type",
    "assignee",
    "estimated_minutes",
    "created_at",
    "updated_at",
    "closed_at",
    "close_reason",
    "defer_until",
    "metadata",
    "labels",
    "dependencies",
    "comments",
    "blocking_notes",
    "attempt",
    "dependency_count",
    "dependent_count",
    "comment_count",
];

/// Types that beads uses for its own machinery and never lists as ready.
const NOT_WORK: [&str; 11] = [
    "agent",
    "convoy",
    "event",
    "gate",
    "merge-request",
    "message",
    "molecule",
    "queue",
    "rig",
    "role",
    "slot",
];

/// Reads an issue.
pub(super) fn incoming(object: Map<String, Value>, remarks: &mut Remarks) -> Result<Incoming, String> {
    let fields = Fields::of_issue(&object)?;
    let (status, notes) = status(&fields, remarks)?;
    // Zero values are left out by many versions: nothing means 0, not the default of a new issue.
    let shared = fields.issue(status, fields.priority()?.unwrap_or(0), remarks)?;
    let issue = Issue {
        blocking_notes: shared.blocking_notes.or(notes),
        estimate_minutes: fields.count("estimated_minutes", remarks),
        defer_until: fields.time("defer_until", remarks)?,
        attempt: fields.count("attempt", remarks).unwrap_or(0),
        ..shared
    };
    if status == Status::Open && NOT_WORK.contains(&issue.issue_type.as_str()) {
        remark(remarks, Remark::NotWork, format!("{} {}", issue.id, issue.issue_type));
    }
    let (edges, comments) = (edges(&fields, &issue.id, remarks)?, comments(&fields, remarks)?);
    Ok(Incoming { issue, edges, comments, original: Original { format: Format::Beads, object } })
}

fn status(fields: &Fields<'_>, remarks: &mut Remarks) -> Result<(Status, Option<String>), String> {
    let Some(word) = fields.words("status")? else { return Ok((Status::Open, None)) };
    if let Some(status) = Status::from_text(&word) {
        return Ok((status, None));
    }
    remark(remarks, Remark::OtherStatus, format!("{} {word}", fields.about));
    Ok((Status::Blocked, Some(format!("its status was `{word}` where it was imported from"))))
}

fn edges(
    fields: &Fields<'_>,
    id: &IssueId,
    remarks: &mut Remarks,
) -> Result<Vec<(IssueId, EdgeType)>, String> {
    let mut edges = Vec::new();
    for object in fields.objects("dependencies")? {
        let to = Fields { object, about: String::new() }.id("depends_on_id")?;
        let word = word(object, "type");
        match edge_type(word) {
            Some(edge) => {
                if matches!(word, "conditional-blocks" | "waits-for") {
                    remark(remarks, Remark::ReadAsBlocks, format!("{id} -> {to} {word}"));
                }
                edges.push((to, edge));
            }
            None => remark(remarks, Remark::OtherEdge, format!("{id} -> {to} {word}")),
        }
    }
    Ok(edges)
}

fn word<'o>(object: &'o Map<String, Value>, key: &str) -> &'o str {
    object.get(key).and_then(Value::as_str).unwrap_or("blocks")
}

/// The kind of edge a word means; some versions write `_` for `-`.
fn edge_type(word: &str) -> Option<EdgeType> {
    match word.replace('_', "-").as_str() {
        "conditional-blocks" | "waits-for" => Some(EdgeType::Blocks),
        "relates-to" => Some(EdgeType::Related),
        word => EdgeType::from_text(word),
    }
}

fn comments(fields: &Fields<'_>, remarks: &mut Remarks) -> Result<Vec<Comment>, String> {
    let objects = fields.objects("comments")?;
    let comments = objects.into_iter().map(|object| comment(object, &fields.about, remarks));
    comments.collect()
}

fn comment(object: &Map<String, Value>, about: &str, remarks: &mut Remarks) -> Result<Comment, String> {
    let fields = Fields { object, about: format!("{about} comment") };
    Ok(Comment {
        author: fields.words("author")?.unwrap_or_else(|| "unknown".to_owned()),
        at: fields.must_time("created_at", remarks).map_err(|reason| format!("a comment: {reason}"))?,
        body: fields.text("text")?.unwrap_or_default(),
    })
}

/// Writes an issue: what is known, over what its file had.
pub(super) fn outgoing(out: &Outgoing) -> Map<String, Value> {
    let original = out.original.as_ref();
    let was = original.and_then(super::understood);
    let same_words = original.filter(|original| original.format == Format::Beads);
    let mut object = match (same_words, original) {
        (Some(original), _) => original.object.clone(),
        (None, Some(original)) => super::original::without_own_fields(&original.object),
        (None, None) => Map::new(),
    };
    let was = was.filter(|_| same_words.is_some());
    let changed = was.as_ref().is_none_or(|was| was.issue.updated_at != out.issue.updated_at);
    let before = was.as_ref().map(|was| known(&was.issue));
    for (n, (key, value)) in known(&out.issue).into_iter().enumerate() {
        let same = before.as_ref().is_some_and(|before| before[n].1 == value);
        match value {
            _ if same => {}
            Value::Null => drop(object.remove(key)),
            value => drop(object.insert(key.to_owned(), value)),
        }
    }
    if changed {
        // A sum over the fields, which has become another one.
        object.remove("content_hash");
    }
    let kept = |key: &str| same_words.and_then(|original| original.object.get(key)).and_then(Value::as_array);
    put(&mut object, "dependencies", Some("dependency_count"), out_edges(out, kept("dependencies")));
    put(&mut object, "comments", Some("comment_count"), out_comments(out, kept("comments")));
    put(&mut object, "labels", None, out_labels(&out.issue.labels, kept("labels")));
    object
}

fn put(object: &mut Map<String, Value>, key: &str, counter: Option<&str>, items: Vec<Value>) {
    let before = object.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    if let Some(counter) = counter.filter(|counter| object.contains_key(*counter) && before != items.len()) {
        object.insert(counter.to_owned(), items.len().into());
    }
    if !items.is_empty() {
        object.insert(key.to_owned(), items.into());
    } else if before > 0 {
        object.remove(key);
    }
}

/// The fields of an issue; null where beads would leave one out.
fn known(issue: &Issue) -> Vec<(&'static str, Value)> {
    let metadata = match issue.metadata.is_empty() {
        true => Value::Null,
        false => Value::Object(issue.metadata.clone()),
    };
    let mut known = field::known(issue);
    known.extend([
        ("estimated_minutes", json!(issue.estimate_minutes)),
        ("close_reason", json!(issue.close_reason)),
        ("defer_until", json!(issue.defer_until)),
        ("metadata", metadata),
        ("attempt", if issue.attempt == 0 { Value::Null } else { json!(issue.attempt) }),
    ]);
    known
}

/// The file's edges that are still there or were never made, then those that are new.
fn out_edges(out: &Outgoing, kept: Option<&Vec<Value>>) -> Vec<Value> {
    let mut new: Vec<_> = out.edges.iter().collect();
    let mut items = Vec::new();
    for item in kept.into_iter().flatten() {
        let meant = item.as_object().and_then(|object| {
            let to = object.get("depends_on_id")?.as_str()?;
            Some((to, edge_type(word(object, "type"))?))
        });
        let Some((to, edge)) = meant else {
            items.push(item.clone());
            continue;
        };
        let is_it = |made: &crate::issue::Dependency| made.to_id.as_str() == to && made.dep_type == edge;
        new.retain(|made| !is_it(made));
        if out.edges.iter().chain(&out.unlinked).any(is_it) {
            items.push(item.clone());
        }
    }
    items.extend(new.into_iter().map(|made| {
        json!({
            "issue_id": made.from_id,
            "depends_on_id": made.to_id,
            "type": made.dep_type,
            "created_at": out.issue.created_at,
        })
    }));
    items
}

/// The file's labels that are still there or could not be read, in its order, then those that are new.
fn out_labels(labels: &[String], kept: Option<&Vec<Value>>) -> Vec<Value> {
    let mut items = Vec::new();
    let mut new: Vec<_> = labels.iter().collect();
    for item in kept.into_iter().flatten() {
        let read = label(item);
        if read.as_ref().is_none_or(|label| labels.contains(label)) {
            items.push(item.clone());
        }
        new.retain(|label| read.as_ref() != Some(*label));
    }
    items.extend(new.into_iter().map(|label| json!(label)));
    items
}

fn out_comments(out: &Outgoing, kept: Option<&Vec<Value>>) -> Vec<Value> {
    let mut kept: Vec<_> = kept
        .into_iter()
        .flatten()
        .filter_map(|item| {
            let read = comment(item.as_object()?, "", &mut Remarks::new()).ok()?;
            Some((read, item))
        })
        .collect();
    let items = out.comments.iter().map(|made| match kept.iter().position(|(read, _)| read == made) {
        Some(n) => kept.remove(n).1.clone(),
        None => json!({
            "issue_id": out.issue.id, "author": made.author, "text": made.body, "created_at": made.at,
        }),
    });
    items.collect()
}
