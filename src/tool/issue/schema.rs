//! What the model is told of the issue tool: its operations, and of each parameter which operations take it.

use serde_json::{Map, Value, json};

use crate::chat::ToolSpec;
use crate::issue::{EdgeType, ISSUE_TYPES, Status};

/// The tool's name, as the original's.
pub const NAME: &str = "issue_manager";

/// An operation with its parameters.
pub(super) struct OperationInfo {
    pub name: &'static str,
    /// What it does, for those to whom each operation is a tool of its own.
    what: &'static str,
    impact: Impact,
    audience: Audience,
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
}

/// What an operation does to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impact {
    /// Nothing.
    Reads,
    /// Adds to it, once more each time.
    Adds,
    /// Adds to it; the same again changes nothing.
    AddsOnce,
    /// Puts something in the place of what was there, or takes it away; the same again changes nothing.
    Replaces,
}

/// Who is offered the operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The sessions of a run, as one tool.
    Sessions,
    /// Programs that come to the queue from outside, as one tool an operation.
    Outside,
}

/// An operation as a tool of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationTool {
    /// The name of the operation.
    pub operation: &'static str,
    /// What a model is told of it.
    pub spec: ToolSpec,
    /// What it does to the queue.
    pub impact: Impact,
}

impl OperationInfo {
    /// Every parameter it takes.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.required.iter().chain(self.optional).copied()
    }

    /// Whether it is offered to these: what is for sessions is for all.
    pub fn is_for(&self, audience: Audience) -> bool {
        self.audience == Audience::Sessions || self.audience == audience
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
        what: "Makes an issue. Its id is in the answer.",
        impact: Impact::Adds,
        audience: Audience::Sessions,
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
    OperationInfo {
        name: "list",
        what: "Lists issues in the order in which they were made, with short descriptions.",
        impact: Impact::Reads,
        audience: Audience::Sessions,
        required: &[],
        optional: LISTED,
    },
    OperationInfo {
        name: "search",
        what: "Finds issues by words, with short descriptions.",
        impact: Impact::Reads,
        audience: Audience::Sessions,
        required: &["query"],
        optional: LISTED,
    },
    OperationInfo {
        name: "get",
        what: "Shows all of one issue, with its last comments and its edges.",
        impact: Impact::Reads,
        audience: Audience::Sessions,
        required: &["issue_id"],
        optional: &[],
    },
    OperationInfo {
        name: "update",
        what: "Changes fields of an issue, all or none. Status and assignee are moves: in_progress claims, open gives back or unblocks, closed closes.",
        impact: Impact::Replaces,
        audience: Audience::Sessions,
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
    OperationInfo {
        name: "close",
        what: "Says that an issue is done, and what was done. Ends your claim. Only its holder may close an issue in progress.",
        impact: Impact::AddsOnce,
        audience: Audience::Sessions,
        required: &["issue_id"],
        optional: &["reason"],
    },
    OperationInfo {
        name: "add_dependency",
        what: "Lets one issue wait for another. Circles are refused.",
        impact: Impact::AddsOnce,
        audience: Audience::Sessions,
        required: &["from_id", "to_id"],
        optional: &["dep_type"],
    },
    OperationInfo {
        name: "remove_dependency",
        what: "Removes the edge between two issues.",
        impact: Impact::Replaces,
        audience: Audience::Sessions,
        required: &["from_id", "to_id"],
        optional: &[],
    },
    OperationInfo {
        name: "get_ready",
        what: "Lists what can be worked on now, first to be worked first.",
        impact: Impact::Reads,
        audience: Audience::Sessions,
        required: &[],
        optional: &["priority", "issue_type", "assignee", "unassigned", "metadata", "labels", "limit", "all"],
    },
    OperationInfo {
        name: "get_blocked",
        what: "Lists what cannot be worked on, with what it waits for.",
        impact: Impact::Reads,
        audience: Audience::Sessions,
        required: &[],
        optional: LISTED,
    },
    OperationInfo {
        name: "claim",
        what: "Takes an issue to work on it: nobody else can have it then. End with close, block or release.",
        impact: Impact::Adds,
        audience: Audience::Sessions,
        required: &[],
        optional: &["issue_id"],
    },
    OperationInfo {
        name: "release",
        what: "Gives an issue that you hold back undone. Counts as an attempt.",
        impact: Impact::AddsOnce,
        audience: Audience::Sessions,
        required: &["issue_id"],
        optional: &[],
    },
    OperationInfo {
        name: "block",
        what: "Says that an issue waits for an answer, and from whom. Ends your claim.",
        impact: Impact::Replaces,
        audience: Audience::Sessions,
        required: &["issue_id", "notes"],
        optional: &[],
    },
    OperationInfo {
        name: "unblock",
        what: "Answers what a blocked issue waits for, and opens it.",
        impact: Impact::AddsOnce,
        audience: Audience::Sessions,
        required: &["issue_id"],
        optional: &["answer"],
    },
    OperationInfo {
        name: "reopen",
        what: "Opens a closed issue, because it is not done after all.",
        impact: Impact::Replaces,
        audience: Audience::Sessions,
        required: &["issue_id"],
        optional: &[],
    },
    OperationInfo {
        name: "comment",
        what: "Adds a comment to an issue.",
        impact: Impact::Adds,
        audience: Audience::Sessions,
        required: &["issue_id", "body"],
        optional: &[],
    },
    OperationInfo {
        name: "history",
        what: "Shows what happened to an issue: the last changes, oldest first.",
        impact: Impact::Reads,
        audience: Audience::Outside,
        required: &["issue_id"],
        optional: &[],
    },
];

/// A part of what is said of a parameter.
struct Part {
    /// The operations that it is about; empty for all that take the parameter.
    of: &'static [&'static str],
    /// How it is introduced where all operations are shown together.
    label: &'static str,
    text: &'static str,
}

const LISTS: &[&str] = &["list", "search", "get_ready", "get_blocked"];

fn of_all(text: &'static str) -> Part {
    Part { of: &[], label: "", text }
}

/// Says itself which operations it is about.
fn only(of: &'static [&'static str], text: &'static str) -> Part {
    Part { of, label: "", text }
}

fn in_lists(text: &'static str) -> Part {
    Part { of: LISTS, label: "in lists: ", text }
}

fn at_create(text: &'static str) -> Part {
    Part { of: &["create"], label: "create: ", text }
}

fn at_update(text: &'static str) -> Part {
    Part { of: &["update"], label: "update: ", text }
}

/// A parameter: its name, its JSON type, what it is.
type Parameter = (&'static str, Value, Vec<Part>);

/// Every parameter, in the order of the alphabet.
fn parameters() -> Vec<Parameter> {
    let text = || json!("string");
    let number = || json!("integer");
    let texts = || json!("array");
    vec![
        ("add_labels", texts(), vec![of_all("labels to add; the others stay")]),
        ("all", json!("boolean"), vec![of_all("true shows what is ready for others too, not only for you")]),
        ("answer", text(), vec![of_all("what the issue waited for; becomes a comment")]),
        (
            "assignee",
            text(),
            vec![
                at_create("for whom it is meant"),
                in_lists("only theirs"),
                at_update("your own name claims the issue, an empty text gives it back"),
            ],
        ),
        (
            "blocking_notes",
            text(),
            vec![
                of_all("what the issue waits for and from whom"),
                only(&["create"], "at create it starts blocked"),
                only(&["update"], "with update and status open, the answer to it"),
            ],
        ),
        ("body", text(), vec![of_all("the text of the comment")]),
        (
            "defer_until",
            text(),
            vec![
                of_all("not ready before this moment, such as 2026-01-31T12:00:00Z"),
                at_update("an empty text takes it away"),
            ],
        ),
        (
            "deferred",
            json!("boolean"),
            vec![of_all("true: only those with a defer_until that is yet to come")],
        ),
        ("dep_type", text(), vec![of_all("default blocks: from_id cannot start before to_id is closed")]),
        ("description", text(), vec![of_all("as long as it takes")]),
        ("discovered_from", text(), vec![of_all("the issue it was found in")]),
        (
            "estimate_minutes",
            json!(["integer", "string"]),
            vec![
                of_all("estimated work"),
                at_update("an empty text takes it away"),
                of_all("get shows the sum over an issue's parts"),
            ],
        ),
        ("from_id", text(), vec![of_all("the issue that waits")]),
        (
            "issue_id",
            text(),
            vec![
                of_all("the issue"),
                only(
                    &["claim"],
                    "claim without it takes the first ready one that is for you and answers null when there is none",
                ),
            ],
        ),
        ("issue_type", text(), vec![only(&["create"], "default task")]),
        (
            "labels",
            texts(),
            vec![of_all("words to sort issues by"), in_lists("only issues with all of these")],
        ),
        ("limit", number(), vec![of_all("at most so many, at least 1")]),
        (
            "metadata",
            json!("object"),
            vec![
                at_create("any keys"),
                at_update("merged, a null removes a key"),
                in_lists("only issues with these values, a list of values means any of them"),
            ],
        ),
        ("notes", text(), vec![of_all("what the issue waits for and from whom; kept as its blocking_notes")]),
        (
            "parent_id",
            text(),
            vec![of_all("the issue it is a part of"), at_update("an empty text makes it a part of none")],
        ),
        (
            "priority",
            json!(["integer", "string"]),
            vec![
                of_all("0 (first) to 4 (last), or critical, high, medium, low, deferred"),
                only(&["create"], "default 2"),
            ],
        ),
        (
            "query",
            text(),
            vec![of_all(
                "words that must all occur in an issue: in its id, title, description, notes, close reason, labels or \
                 comments",
            )],
        ),
        ("reason", text(), vec![of_all("what was done; default Completed")]),
        ("remove_labels", texts(), vec![of_all("labels to take away")]),
        (
            "status",
            json!(["string", "array"]),
            vec![
                of_all("open, in_progress, blocked or closed"),
                in_lists("one, or a list of several"),
                at_update("in_progress claims, open gives back or unblocks, closed closes"),
            ],
        ),
        ("title", text(), vec![of_all("one line")]),
        ("to_id", text(), vec![of_all("the issue that is waited for")]),
        (
            "unassigned",
            json!("boolean"),
            vec![of_all("true: only those that nobody holds and that are meant for nobody")],
        ),
    ]
}

/// What is said of a parameter where all operations are shown together.
fn for_all(parts: &[Part]) -> String {
    let said: Vec<_> = parts.iter().map(|part| format!("{}{}", part.label, part.text)).collect();
    sentence(&said.join("; "))
}

/// What is said of it in the tool of one operation.
fn for_one(parts: &[Part], operation: &str) -> String {
    let about = parts.iter().filter(|part| part.of.is_empty() || part.of.contains(&operation));
    let said: Vec<_> = about.map(|part| part.text).collect();
    sentence(&said.join("; "))
}

/// What is said of a parameter's values.
fn property(name: &str, kind: &Value, description: &str) -> Value {
    let mut property = json!({"type": kind});
    if !description.is_empty() {
        property["description"] = format!("{description}.").into();
    }
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
    property
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

fn offered(audience: Audience) -> impl Iterator<Item = &'static OperationInfo> {
    OPERATIONS.iter().filter(move |operation| operation.is_for(audience))
}

/// What the model is told.
pub(super) fn spec() -> ToolSpec {
    let mut properties = Map::new();
    for (name, kind, parts) in parameters() {
        let takers: Vec<_> = offered(Audience::Sessions)
            .filter(|operation| operation.parameters().any(|parameter| parameter == name))
            .map(|operation| {
                let required = if operation.required.contains(&name) { " (required)" } else { "" };
                format!("{}{required}", operation.name)
            })
            .collect();
        let description = format!("For {}. {}", takers.join(", "), for_all(&parts));
        properties.insert(name.to_owned(), property(name, &kind, &description));
    }
    let names: Vec<_> = offered(Audience::Sessions).map(|operation| operation.name).collect();
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

/// Every operation as a tool of its own, for those outside. `issue_` before the name keeps it apart from the tools of
/// other servers.
pub fn operation_tools() -> Vec<OperationTool> {
    let parameters = parameters();
    let tool = |operation: &OperationInfo| {
        let taken = parameters.iter().filter(|(name, ..)| operation.parameters().any(|taken| taken == *name));
        let properties: Map<_, _> = taken
            .map(|(name, kind, parts)| {
                let description = for_one(parts, operation.name);
                ((*name).to_owned(), property(name, kind, &description))
            })
            .collect();
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !operation.required.is_empty() {
            schema["required"] = json!(operation.required);
        }
        OperationTool {
            operation: operation.name,
            spec: ToolSpec {
                name: format!("issue_{}", operation.name),
                description: operation.what.to_owned(),
                input_schema: schema,
            },
            impact: operation.impact,
        }
    };
    offered(Audience::Outside).map(tool).collect()
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

    #[test]
    fn what_is_said_of_a_parameter_is_about_operations_that_take_it() {
        let takes = |operation: &str, parameter: &str| {
            let info = OPERATIONS.iter().find(|info| info.name == operation).unwrap();
            info.parameters().any(|taken| taken == parameter)
        };
        for (name, _, parts) in parameters() {
            for part in parts {
                let about_some = part.of.iter().any(|operation| takes(operation, name));
                assert!(part.of.is_empty() || about_some, "{name}: {}", part.text);
            }
        }
    }

    #[test]
    fn a_tool_of_one_operation_speaks_of_it_alone() {
        let tools = operation_tools();
        let describe = |tool: &str, parameter: &str| {
            let tool = tools.iter().find(|it| it.spec.name == tool).unwrap();
            tool.spec.input_schema["properties"][parameter]["description"].clone()
        };
        assert_eq!(describe("issue_create", "metadata"), "Any keys.");
        assert_eq!(
            describe("issue_update", "assignee"),
            "Your own name claims the issue, an empty text gives it back."
        );
        assert_eq!(describe("issue_close", "issue_id"), "The issue.");
        assert!(tools.iter().any(|tool| tool.operation == "history"));
        assert!(!spec().input_schema.to_string().contains("history"), "it is for those outside");
    }
}
