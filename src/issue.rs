//! What an issue is, which states it has and how one state follows from another. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::id::{IssueId, RunId};
use crate::limit;

/// Where an issue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody works on it.
    Open,
    /// Somebody holds it.
    InProgress,
    /// It waits for an answer; `blocking_notes` says for which.
    Blocked,
    /// It is done.
    Closed,
}

impl Status {
    /// Every status, in the order of an issue's life.
    pub const ALL: [Self; 4] = [Self::Open, Self::InProgress, Self::Blocked, Self::Closed];

    /// The word a user writes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InProgress => "in_progress",
            Self::Blocked => "blocked",
            Self::Closed => "closed",
        }
    }

    /// Reads the word a user writes.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The status after a move, or why the move is not possible.
    ///
    /// ```text
    ///            claim                close
    ///   open ──────────▶ in_progress ──────▶ closed
    ///    ▲ ▲ ◀─ release ─┘   │ block          │
    ///    │ └──── unblock ── blocked           │
    ///    └────────────────── reopen ◀─────────┘
    /// ```
    ///
    /// # Errors
    /// The move does not lead anywhere from this status.
    pub fn after(self, step: Move) -> Result<Self, WrongMove> {
        use Status::{Blocked, Closed, InProgress, Open};
        match (self, step) {
            (Open, Move::Claim) => Ok(InProgress),
            (InProgress | Open, Move::Release) => Ok(Open),
            (Open | InProgress | Blocked, Move::Block) => Ok(Blocked),
            (Blocked | Open, Move::Unblock) => Ok(Open),
            (_, Move::Close) => Ok(Closed),
            (Closed, Move::Reopen) => Ok(Open),
            (from, step) => Err(WrongMove { from, step }),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A step from one status to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Take it, to work on it.
    Claim,
    /// Give it back undone.
    Release,
    /// Say that it waits for something.
    Block,
    /// Answer what it waits for.
    Unblock,
    /// Say that it is done.
    Close,
    /// Say that it is not done after all.
    Reopen,
}

impl Move {
    fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Release => "release",
            Self::Block => "block",
            Self::Unblock => "unblock",
            Self::Close => "close",
            Self::Reopen => "reopen",
        }
    }
}

/// A move that is not possible from a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {} an issue that is {from}", step.as_str())]
pub struct WrongMove {
    /// The status it has.
    pub from: Status,
    /// The move that was asked for.
    pub step: Move,
}

/// The kinds of work the original knows; the store accepts any other word too, as imported files hold them.
pub const ISSUE_TYPES: [&str; 5] = ["bug", "feature", "task", "epic", "chore"];

/// One issue, as people, models and files see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Issue {
    /// Its id.
    pub id: IssueId,
    /// One line; 1 to `limit::TITLE_CHARS` characters.
    pub title: String,
    /// As long as it takes.
    #[serde(default)]
    pub description: String,
    /// Where it stands.
    pub status: Status,
    /// 0 (first) to 4 (last).
    pub priority: u8,
    /// `bug`, `feature`, `task`, `epic`, `chore`.
    pub issue_type: String,
    /// Who holds it, or for whom it is meant.
    pub assignee: Option<String>,
    /// The issue it is a part of.
    pub parent_id: Option<IssueId>,
    /// What it waits for, when it is blocked; kept afterwards.
    pub blocking_notes: Option<String>,
    /// Whatever its creators agreed on (`worker_type` …).
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Words people sort issues by, each once, in the order of the alphabet; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Estimated work, in minutes.
    pub estimate_minutes: Option<u32>,
    /// Not ready before this moment.
    pub defer_until: Option<Timestamp>,
    /// What closed it.
    pub close_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
    /// When it was closed; set exactly when it is closed.
    pub closed_at: Option<Timestamp>,
    /// How many claims of it ended without a result.
    pub attempt: u32,
}

impl Issue {
    /// Every field, also those that are left out elsewhere while they are empty.
    pub fn every_field(&self) -> Map<String, Value> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else {
            unreachable!("an issue is an object of plain data")
        };
        fields.entry("labels").or_insert_with(|| json!([]));
        fields
    }
}

/// Why a text cannot be a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongLabel {
    /// It says nothing.
    #[error("a label cannot be empty; leave it out")]
    Empty,
    /// It is too long.
    #[error(
        "the label `{label}` has {length} characters, and {} are allowed; put sentences into the description",
        limit::LABEL_CHARS
    )]
    TooLong {
        /// As given.
        label: String,
        /// How long it is.
        length: usize,
    },
    /// It holds a comma.
    #[error("the label `{label}` holds a comma; give each label by itself")]
    Comma {
        /// As given.
        label: String,
    },
    /// It holds something that cannot be seen.
    #[error("the label {label:?} holds a line break or another control character; write it without")]
    Control {
        /// As given.
        label: String,
    },
}

/// A label as it is kept: what was written, without the spaces around it.
///
/// # Errors
/// The text cannot be a label.
pub fn label_from_text(text: &str) -> Result<String, WrongLabel> {
    let label = text.trim().to_owned();
    let length = label.chars().count();
    if length == 0 {
        return Err(WrongLabel::Empty);
    }
    if label.chars().any(char::is_control) {
        return Err(WrongLabel::Control { label });
    }
    if label.contains(',') {
        return Err(WrongLabel::Comma { label });
    }
    if length > limit::LABEL_CHARS {
        return Err(WrongLabel::TooLong { label, length });
    }
    Ok(label)
}

/// The edges between issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeType {
    /// `from` cannot start before `to` is closed.
    Blocks,
    /// They have to do with each other.
    Related,
    /// `from` is a part of `to`, and is blocked while `to` is.
    ParentChild,
    /// `from` was found while working on `to`.
    DiscoveredFrom,
}

impl EdgeType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Blocks, Self::Related, Self::ParentChild, Self::DiscoveredFrom];

    /// The word a user writes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Related => "related",
            Self::ParentChild => "parent-child",
            Self::DiscoveredFrom => "discovered-from",
        }
    }

    /// Reads the word a user writes.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|edge| edge.as_str() == text)
    }
}

/// One edge: `from_id` waits for (or belongs to, or relates to) `to_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The waiting issue.
    pub from_id: IssueId,
    /// The issue waited for.
    pub to_id: IssueId,
    /// What the edge means.
    pub dep_type: EdgeType,
}

/// A remark on an issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Who made it.
    pub author: String,
    /// When.
    pub at: Timestamp,
    /// What it says.
    pub body: String,
}

/// The whole queue at one moment, in creation order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Every issue.
    pub issues: Vec<Issue>,
    /// Which of them are ready, first to be worked first.
    pub ready: Vec<IssueId>,
    /// Holds of issues in progress.
    pub holds: Vec<Hold>,
    /// The numbers.
    pub counts: Counts,
}

/// A hold on an issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The issue.
    pub issue: IssueId,
    /// The run that holds it, if one does.
    pub run: Option<RunId>,
    /// The session's path in the run, or a person's name.
    pub holder: String,
    /// When the claim lapses without renewal.
    pub lease_until: Timestamp,
}

/// How many issues there are, by status; `ready` counts the open ones that can be worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub total: u64,
    /// Of status `open`.
    pub open: u64,
    /// Open, unclaimed, not deferred, waiting for nothing.
    pub ready: u64,
    /// Of status `in_progress`.
    pub in_progress: u64,
    /// Of status `blocked`.
    pub blocked: u64,
    /// Of status `closed`.
    pub closed: u64,
}

/// Which issues somebody takes: for each metadata key, the values that are welcome. Empty takes everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Takes(pub BTreeMap<String, Vec<Value>>);

impl Takes {
    /// Whether an issue with this metadata is taken.
    pub fn matches(&self, metadata: &Map<String, Value>) -> bool {
        self.0.iter().all(|(key, welcome)| metadata.get(key).is_some_and(|value| welcome.contains(value)))
    }
}

/// A person's word for a priority: `critical` 0, `high` 1, `medium` and `normal` 2, `low` 3, `deferred` 4, or a digit.
pub fn priority_from_text(text: &str) -> Option<u8> {
    match text.to_ascii_lowercase().as_str() {
        "critical" | "0" => Some(0),
        "high" | "1" => Some(1),
        "medium" | "normal" | "2" => Some(2),
        "low" | "3" => Some(3),
        "deferred" | "4" => Some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_issue_only_reopens() {
        for step in [Move::Claim, Move::Release, Move::Block, Move::Unblock] {
            assert!(Status::Closed.after(step).is_err(), "{step:?}");
        }
        assert_eq!(Status::Closed.after(Move::Close), Ok(Status::Closed));
        assert_eq!(Status::Closed.after(Move::Reopen), Ok(Status::Open));
        assert_eq!(
            Status::Blocked.after(Move::Claim).unwrap_err().to_string(),
            "cannot claim an issue that is blocked"
        );
    }

    #[test]
    fn labels_are_words_that_can_be_typed() {
        let refused = |text: &str| label_from_text(text).expect_err(text).to_string();
        assert_eq!(label_from_text(" needs review "), Ok("needs review".to_owned()));
        assert_eq!(label_from_text("größe:xl"), Ok("größe:xl".to_owned()));
        assert_eq!(label_from_text(&"ä".repeat(limit::LABEL_CHARS)), Ok("ä".repeat(limit::LABEL_CHARS)));
        assert_eq!(refused("  "), "a label cannot be empty; leave it out");
        assert_eq!(refused("a,b"), "the label `a,b` holds a comma; give each label by itself");
        assert!(refused("a\nb").starts_with("the label \"a\\nb\" holds a line break"));
        assert!(
            refused(&"a".repeat(limit::LABEL_CHARS + 1)).contains("has 65 characters, and 64 are allowed")
        );
    }

    #[test]
    fn takes_is_equality_or_any_of() {
        let takes = Takes([("worker_type".to_owned(), vec!["coding".into(), "testing".into()])].into());
        let issue = |value: &str| Map::from_iter([("worker_type".to_owned(), Value::from(value))]);
        assert!(takes.matches(&issue("testing")));
        assert!(!takes.matches(&issue("research")));
        assert!(!takes.matches(&Map::new()));
        assert!(Takes::default().matches(&Map::new()));
    }
}
