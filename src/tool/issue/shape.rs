//! How answers of the queue look to models and scripts: the original's result shapes, keys sorted.

use serde_json::{Value, json};

use crate::issue::Issue;
use crate::limit;
use crate::store::{Answer, BlockedIssue, IssueView};

/// How much of each issue a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// All of it.
    Full,
    /// What fits into a prompt: no absent fields, descriptions cut.
    Short,
}

/// The key of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListName {
    /// `issues`.
    Issues,
    /// `ready_issues`.
    Ready,
}

/// An answer in the original's shape: `{"issue"}`, `{"issues", "count"}`, `{"ready_issues", "count"}`, `{"dependency"}`,
/// `{"blocked_issues": [{"issue", "blockers"}], "count"}`; besides `{"changes", "count"}` of a history.
pub fn answer(answer: &Answer, name: ListName, rows: Rows) -> Value {
    match answer {
        Answer::Issue(view) => json!({"issue": whole(view)}),
        Answer::Nothing => json!({"issue": null}),
        Answer::Issues { issues, total } => list(issues, *total, name, rows),
        Answer::Blocked { issues, total } => {
            let entries: Vec<_> = issues.iter().map(|entry| blocked_entry(entry, rows)).collect();
            counted("blocked_issues", &entries, *total)
        }
        Answer::Left(left) => json!({"left": left, "count": left.len()}),
        Answer::Dependency(dependency) => json!({"dependency": dependency}),
        Answer::History(changes) => {
            let cut = match rows {
                Rows::Full => 0,
                Rows::Short => changes.len().saturating_sub(limit::LIST_ROWS),
            };
            let shown: Vec<_> = changes[cut..].iter().map(|change| json!(change)).collect();
            counted("changes", &shown, changes.len())
        }
        Answer::Counts(counts) => json!({"counts": counts}),
        Answer::Graph(graph) => {
            json!({"issues": graph.snapshot.issues, "dependencies": graph.dependencies})
        }
        Answer::Applied(effects) => json!({"applied": effects}),
        Answer::Snapshot(snapshot) => json!({"snapshot": snapshot}),
        Answer::Imported(imported) => json!({"imported": imported}),
        Answer::Exported(export) => json!({"export": export}),
    }
}

fn list(issues: &[Issue], total: usize, name: ListName, rows: Rows) -> Value {
    let key = match name {
        ListName::Issues => "issues",
        ListName::Ready => "ready_issues",
    };
    let entries: Vec<_> = issues.iter().map(|issue| row(issue, rows)).collect();
    counted(key, &entries, total)
}

/// A list with how many it shows and, if that is not all, how many it does not.
fn counted(key: &str, entries: &[Value], total: usize) -> Value {
    let cut = total - entries.len().min(total);
    let mut value = json!({"count": entries.len(), key: entries});
    if cut > 0 {
        value["not_shown"] = cut.into();
    }
    value
}

fn blocked_entry(entry: &BlockedIssue, rows: Rows) -> Value {
    let blockers: Vec<_> = entry.blockers.iter().map(|blocker| row(blocker, rows)).collect();
    json!({"issue": row(&entry.issue, rows), "blockers": blockers})
}

fn row(issue: &Issue, rows: Rows) -> Value {
    let mut value = json!(issue);
    if rows == Rows::Full {
        return value;
    }
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null() && *field != json!("") && *field != json!({}));
    }
    let length = issue.description.chars().count();
    if length > limit::ROW_DESCRIPTION_CHARS {
        let start: String = issue.description.chars().take(limit::ROW_DESCRIPTION_CHARS).collect();
        let left = length - limit::ROW_DESCRIPTION_CHARS;
        value["description"] = format!("{start}… ({left} more characters; `get` shows all)").into();
    }
    value
}

fn whole(view: &IssueView) -> Value {
    let mut value = json!(view.issue);
    if !view.comments.is_empty() {
        value["comments"] = json!(view.comments);
    }
    if let Some(parts) = view.parts {
        value["parts"] = json!(parts);
    }
    if !view.dependencies.is_empty() {
        value["dependencies"] = json!(view.dependencies);
    }
    value
}
