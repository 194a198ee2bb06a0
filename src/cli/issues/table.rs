//! How the queue looks to a person: aligned columns, one issue a line.

use std::fmt::Write as _;

use serde_json::Value;

use crate::issue::{Dependency, EdgeType, Issue, Status};
use crate::store::{BlockedIssue, Change, IssueView, Parts, Soundness};

/// Lines of columns, each as wide as its widest cell; the last one is not padded.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = width - cell.chars().count();
            line.push_str(cell);
            line.push_str(&" ".repeat(padding + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A list of issues.
pub(super) fn issues(issues: &[Issue], total: usize, none: &str) -> String {
    if issues.is_empty() {
        return format!("{none}\n");
    }
    let mut rows = vec![["ID", "P", "STATUS", "TYPE", "ASSIGNEE", "TITLE"].map(str::to_owned).to_vec()];
    rows.extend(issues.iter().map(row));
    // Who uses no labels gives them no room.
    if issues.iter().any(|issue| !issue.labels.is_empty()) {
        let labels = issues.iter().map(|issue| issue.labels.join(", "));
        let cells = std::iter::once("LABELS".to_owned()).chain(labels.map(|cell| or_dash(Some(cell))));
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.insert(row.len() - 1, cell);
        }
    }
    let mut text = aligned(&rows);
    if total > issues.len() {
        text.push_str(&more(total - issues.len()));
    }
    text
}

fn or_dash(cell: Option<String>) -> String {
    cell.filter(|cell| !cell.is_empty()).unwrap_or_else(|| "-".to_owned())
}

/// What a list says of those it does not show.
fn more(count: usize) -> String {
    format!("{count} more; --limit N shows more of them\n")
}

fn row(issue: &Issue) -> Vec<String> {
    vec![
        issue.id.to_string(),
        issue.priority.to_string(),
        issue.status.to_string(),
        issue.issue_type.clone(),
        or_dash(issue.assignee.clone()),
        one_line(&issue.title),
    ]
}

/// What cannot be worked on, and why.
pub(super) fn blocked(entries: &[BlockedIssue], total: usize, none: &str) -> String {
    if entries.is_empty() {
        return format!("{none}\n");
    }
    let mut rows = vec![["ID", "P", "STATUS", "WAITS FOR", "TITLE"].map(str::to_owned).to_vec()];
    for BlockedIssue { issue, blockers } in entries {
        let mut why: Vec<_> = blockers.iter().map(|blocker| blocker.id.to_string()).collect();
        if issue.status == crate::issue::Status::Blocked {
            why.push(one_line(issue.blocking_notes.as_deref().unwrap_or("(no notes)")));
        }
        rows.push(vec![
            issue.id.to_string(),
            issue.priority.to_string(),
            issue.status.to_string(),
            why.join(", "),
            one_line(&issue.title),
        ]);
    }
    let mut text = aligned(&rows);
    if total > entries.len() {
        text.push_str(&more(total - entries.len()));
    }
    text
}

/// One issue in full.
pub(super) fn whole(view: &IssueView) -> String {
    let issue = &view.issue;
    let mut rows = Vec::new();
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.push(vec![name.to_owned(), value]);
        }
    };
    field("status", Some(issue.status.to_string()));
    field("priority", Some(issue.priority.to_string()));
    field("type", Some(issue.issue_type.clone()));
    field("assignee", issue.assignee.clone());
    field("labels", (!issue.labels.is_empty()).then(|| issue.labels.join(", ")));
    field("parent", issue.parent_id.as_ref().map(ToString::to_string));
    let waits = if issue.status == Status::Blocked { "waits for" } else { "waited for" };
    field(waits, issue.blocking_notes.as_deref().map(one_line));
    field("estimate", issue.estimate_minutes.map(|minutes| format!("{minutes} min")));
    field("deferred until", issue.defer_until.map(|at| at.to_string()));
    field("attempts", (issue.attempt > 0).then(|| issue.attempt.to_string()));
    for (key, value) in &issue.metadata {
        field(key, Some(value.as_str().map_or_else(|| value.to_string(), one_line)));
    }
    field("created", Some(issue.created_at.to_string()));
    field("updated", Some(issue.updated_at.to_string()));
    field("closed", issue.closed_at.map(|at| at.to_string()));
    field("close reason", issue.close_reason.as_deref().map(one_line));
    field("parts", view.parts.as_ref().map(parts_line));
    let mut text = format!("{}  {}\n{}", issue.id, one_line(&issue.title), aligned(&rows));
    if !issue.description.is_empty() {
        let _ = writeln!(text, "\n{}", issue.description.trim_end());
    }
    if !view.dependencies.is_empty() {
        text.push('\n');
    }
    for dependency in &view.dependencies {
        let _ = writeln!(text, "{}", edge(dependency));
    }
    for comment in &view.comments {
        let _ = writeln!(text, "\n{} at {}:\n{}", comment.author, comment.at, comment.body.trim_end());
    }
    text
}

fn parts_line(Parts { count, closed, estimate_minutes }: &Parts) -> String {
    format!("{count}, {closed} closed, estimated {estimate_minutes} min together")
}

/// An edge in words.
pub(super) fn edge(dependency: &Dependency) -> String {
    let Dependency { from_id, to_id, dep_type } = dependency;
    let words = match dep_type {
        EdgeType::Blocks => "waits for",
        EdgeType::Related => "is related to",
        EdgeType::ParentChild => "is a part of",
        EdgeType::DiscoveredFrom => "was found in",
    };
    format!("{from_id} {words} {to_id}")
}

/// What a check of the queue found.
pub(super) fn soundness(soundness: &Soundness) -> String {
    let Soundness { issues, dependencies, comments, events, findings } = soundness;
    let looked_at = format!("{issues} issues, {dependencies} edges, {comments} comments, {events} events");
    if findings.is_empty() {
        return format!("sound: {looked_at}\n");
    }
    let mut rows = vec![["RULE", "ISSUE", "FOUND"].map(str::to_owned).to_vec()];
    for finding in findings {
        let issue = finding.issue.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        rows.push(vec![finding.rule.as_str().to_owned(), issue, one_line(&finding.message)]);
    }
    let mut text = aligned(&rows);
    let _ = writeln!(text, "not sound: {} findings in {looked_at}", findings.len());
    text
}

/// What happened to an issue.
pub(super) fn history(changes: &[Change]) -> String {
    let mut rows = vec![["AT", "EVENT", "ACTOR", "CHANGES"].map(str::to_owned).to_vec()];
    for change in changes {
        rows.push(vec![
            change.at.to_string(),
            change.event_type.clone(),
            change.actor.clone(),
            summary(change),
        ]);
    }
    aligned(&rows)
}

fn summary(change: &Change) -> String {
    let Some(fields) = change.changes.as_object() else { return String::new() };
    let parts = fields.iter().map(|(name, change)| match name.as_str() {
        "issue" => brief(&change["new"]["title"]),
        "comment" => brief(&change["new"]["body"]),
        "dependency" => {
            let side = if change["new"].is_null() { &change["old"] } else { &change["new"] };
            serde_json::from_value(side.clone()).map_or_else(|_| brief(side), |dependency| edge(&dependency))
        }
        _ => format!("{name}: {} -> {}", brief(&change["old"]), brief(&change["new"])),
    });
    parts.collect::<Vec<_>>().join("; ")
}

fn brief(value: &Value) -> String {
    const SHOWN: usize = 40;
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => one_line(text),
        other => other.to_string(),
    };
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN - 1).chain(['…']).collect()
}

/// A text without line breaks and control characters, which could move the cursor.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters() {
        let rows = [["é", "b"], ["ccc", "d"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "é    b\nccc  d\n");
    }

    #[test]
    fn control_characters_are_not_passed_on() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }
}
