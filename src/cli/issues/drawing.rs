//! How the edges of the queue are drawn: a Mermaid flowchart, from what is waited for to what waits.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::table::one_line;
use crate::id::IssueId;
use crate::issue::{Dependency, EdgeType, Issue, Status};
use crate::store::Graph;

/// The issues that have edges, in creation order, and the edges.
fn drawn(graph: &Graph) -> Vec<&Issue> {
    let has_edge = |id: &IssueId| graph.dependencies.iter().any(|it| it.from_id == *id || it.to_id == *id);
    graph.snapshot.issues.iter().filter(|issue| has_edge(&issue.id)).collect()
}

/// The text of the flowchart.
pub(super) fn mermaid(graph: &Graph) -> String {
    let issues = drawn(graph);
    // Ids of imported issues may hold anything; the names of nodes may not.
    let node: BTreeMap<&IssueId, usize> = issues.iter().map(|it| &it.id).zip(1..).collect();
    let mut text = "flowchart LR\n".to_owned();
    for issue in &issues {
        let Issue { id, title, status, .. } = issue;
        let label = format!("{}<br>{}", escaped(id.as_str()), escaped(title));
        let _ = writeln!(text, "    n{}[\"{label}\"]:::{status}", node[id]);
    }
    for Dependency { from_id, to_id, dep_type } in &graph.dependencies {
        let (Some(from), Some(to)) = (node.get(from_id), node.get(to_id)) else { continue };
        let _ = match dep_type {
            EdgeType::Blocks => writeln!(text, "    n{to} --> n{from}"),
            EdgeType::ParentChild => writeln!(text, "    n{to} -. part .-> n{from}"),
            EdgeType::DiscoveredFrom => writeln!(text, "    n{to} -. found .-> n{from}"),
            EdgeType::Related => writeln!(text, "    n{to} -.- n{from}"),
        };
    }
    for status in Status::ALL {
        if issues.iter().any(|issue| issue.status == status) {
            let _ = writeln!(text, "    classDef {status} {}", look(status));
        }
    }
    text
}

/// The same for programs.
pub(super) fn data(graph: &Graph) -> Value {
    let issues: Vec<_> = drawn(graph)
        .into_iter()
        .map(|issue| json!({"id": issue.id, "title": issue.title, "status": issue.status}))
        .collect();
    json!({"issues": issues, "dependencies": graph.dependencies})
}

fn look(status: Status) -> &'static str {
    match status {
        Status::Open => "fill:#fff,stroke:#333,color:#000",
        Status::InProgress => "fill:#cfe2ff,stroke:#0a58ca,color:#000",
        Status::Blocked => "fill:#f8d7da,stroke:#b02a37,color:#000",
        Status::Closed => "fill:#d1e7dd,stroke:#146c43,color:#000",
    }
}

/// A text in which Mermaid finds nothing of its own.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in one_line(text).chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' | '\\' => {
                let _ = write!(safe, "#{};", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_cannot_draw() {
        assert_eq!(escaped("a\"]-->b\n<i>#1"), "a#34;]--#62;b #60;i#62;#35;1");
    }
}
