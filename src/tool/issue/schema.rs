//! What the model is told of the issue tool: its operations, and of each parameter which operations take it.

use serde_json::{Map, Value, json};

use crate::chat::ToolSpec;
use crate::issue::{EdgeType, ISSUE_TYPES, Status};

/// The tool's name, as the original's.
pub const NAME: &str = "issue_manager";

/// An operation with its parameters.
pub(super) struct OperationInfo {
    pub name: &'static str,
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
}

impl OperationInfo {
    /// Every parameter it takes.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.required.iter().chain(self.optional).copied()
    }
}

/// Which issues a list shows.
const LISTED: &[&str] = &[
    "status",
    "priority",
    "issue_type",
    "assignee",
    "unassigned",
    "deferred",
    "metadata",
    "labels",
    "limit",
];

/// Every operation.
pub(super) const OPERATIONS: &[OperationInfo] = &[
    OperationInfo {
        name: "create",
        required: &["title"],
        optional: &[
            "description",
            "priority",
            "issue_type",
            "assignee",
            "parent_id",
            "discovered_from",
            "metadata",
            "labels",
            "estimate_minutes",
            "defer_until",
            "blocking_notes",
        ],
    },
    OperationInfo { name: "list", required: &[], optional: LISTED },
    OperationInfo { name: "search", required: &["query"], optional: LISTED },
    OperationInfo { name: "get", required: &["issue_id"], optional: &[] },
    OperationInfo {
        name: "update",
        required: &["issue_id"],
        optional: &[
            "title",
            "description",
            "status",
            "priority",
            "issue_type",
            "assignee",
            "blocking_notes",
            "metadata",
            "add_labels",
            "remove_labels",
            "parent_id",
            "estimate_minutes",
            "defer_until",
        ],
    },
    OperationInfo { name: "close", required: &["issue_id"], optional: &["reason"] },
    OperationInfo { name: "add_dependency", required: &["from_id", "to_id"], optional: &["dep_type"] },
    OperationInfo { name: "remove_dependency", required: &["from_id", "to_id"], optional: &[] },
    OperationInfo {
        name: "get_ready",
        required: &[],
        optional: &["priority", "issue_type", "assignee", "unassigned", "metadata", "labels", "limit", "all"],
    },
    OperationInfo { name: "get_blocked", required: &[], optional: LISTED },
    OperationInfo { name: "claim", required: &[], optional: &["issue_id"] },
    OperationInfo { name: "release", required: &["issue_id"], optional: &[] },
    OperationInfo { name: "block", required: &["issue_id", "notes"], optional: &[] },
    OperationInfo { name: "unblock", required: &["issue_id"], optional: &["answer"] },
    OperationInfo { name: "reopen", required: &["issue_id"], optional: &[] },
    OperationInfo { name: "comment", required: &["issue_id", "body"], optional: &[] },
];

/// What a parameter is, without the operations that take it: those are put before it.
fn parameters() -> Vec<(&'static str, Value, &'static str)> {
    let text = || json!("string");
    let number = || json!("integer");
    let texts = || json!("array");
    vec![
        ("add_labels", texts(), "labels to add; the others stay"),
        ("all", json!("boolean"), "true shows what is ready for others too, not only for you"),
        ("answer", text(), "what the issue waited for; becomes a comment"),
        (
            "assignee",
            text(),
            "create: for whom it is meant; in lists: only theirs; update: your own name claims the issue, an \
             empty text gives it back",
        ),
        (
            "blocking_notes",
            text(),
            "what the issue waits for and from whom; at create it starts blocked; with update and status open, the \
             answer to it",
        ),
        ("body", text(), "the text of the comment"),
        (
            "defer_until",
            text(),
            "not ready before this moment, such as 2026-01-31T12:00:00Z; update: an empty text takes it away",
        ),
        ("deferred", json!("boolean"), "true: only those with a defer_until that is yet to come"),
        ("dep_type", text(), "default blocks: from_id cannot start before to_id is closed"),
        ("description", text(), "as long as it takes"),
        ("discovered_from", text(), "the issue it was found in"),
        (
            "estimate_minutes",
            json!(["integer", "string"]),
            "estimated work; update: an empty text takes it away; get shows the sum over an issue's parts",
        ),
        ("from_id", text(), "the issue that waits"),
        (
            "issue_id",
            text(),
            "the issue; claim without it takes the first ready one that is for you and answers null when there is none",
        ),
        ("issue_type", text(), "default task"),
        ("labels", texts(), "words to sort issues by; in lists: only issues with all of these"),
        ("limit", number(), "at most so many, at least 1"),
        (
            "metadata",
            json!("object"),
            "create: any keys; update: merged, a null removes a key; in lists: only issues with these values, a \
             list of values means any of them",
        ),
        ("notes", text(), "what the issue waits for and from whom; kept as its blocking_notes"),
        ("parent_id", text(), "the issue it is a part of; update: an empty text makes it a part of none"),
        (
            "priority",
            json!(["integer", "string"]),
            "0 (first) to 4 (last), or critical, high, medium, low, deferred; default 2",
        ),
        (
            "query",
            text(),
            "words that must all occur in an issue: in its id, title, description, notes, close reason, labels or comments",
        ),
        ("reason", text(), "what was done; default Completed"),
        ("remove_labels", texts(), "labels to take away"),
        (
            "status",
            json!(["string", "array"]),
            "open, in_progress, blocked or closed; in lists: one, or a list of several; update: in_progress claims, open \
             gives back or unblocks, closed closes",
        ),
        ("title", text(), "one line"),
        ("to_id", text(), "the issue that is waited for"),
        ("unassigned", json!("boolean"), "true: only those that nobody holds and that are meant for nobody"),
    ]
}

fn words(name: &str) -> Option<Vec<&'static str>> {
    match name {
        "issue_type" => Some(ISSUE_TYPES.to_vec()),
        "dep_type" => Some(EdgeType::ALL.map(EdgeType::as_str).to_vec()),
        _ => None,
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// What the model is told.
pub(super) fn spec() -> ToolSpec {
    let mut properties = Map::new();
    for (name, kind, what) in parameters() {
        let takers: Vec<_> = OPERATIONS
            .iter()
            .filter(|operation| operation.parameters().any(|parameter| parameter == name))
            .map(|operation| {
                let required = if operation.required.contains(&name) { " (required)" } else { "" };
                format!("{}{required}", operation.name)
            })
            .collect();
        let mut property =
            json!({"type": kind, "description": format!("For {}. {}.", takers.join(", "), sentence(what))});
        if let Some(words) = words(name) {
            property["enum"] = json!(words);
        }
        match name {
            "status" => {
                property["items"] = json!({"type": "string", "enum": Status::ALL.map(Status::as_str)});
            }
            "labels" | "add_labels" | "remove_labels" => property["items"] = json!({"type": "string"}),
            _ => {}
        }
        properties.insert(name.to_owned(), property);
    }
    let names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
    ToolSpec {
        name: NAME.to_owned(),
        description: "The issue queue that all agents of this run share. Issues wait for each other by dependencies; \
            get_ready lists what can be worked on. To work on an issue, claim it: nobody else can have it then. End \
            with close when it is done, block when you need an answer from somebody, or release to give it back. A \
            refusal says what to do instead and has changed nothing."
            .to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "operation": {"type": "string", "enum": names, "description": "What to do."},
                "params": {
                    "type": "object",
                    "description": "The parameters of the operation; each says which operations take it.",
                    "properties": properties,
                },
            },
            "required": ["operation"],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_described_and_taken() {
        let described: std::collections::BTreeSet<_> =
            parameters().into_iter().map(|(name, ..)| name).collect();
        let taken: std::collections::BTreeSet<_> =
            OPERATIONS.iter().flat_map(OperationInfo::parameters).collect();
        assert_eq!(described, taken);
    }
}
