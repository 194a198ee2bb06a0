//! What operations are told: new issues, changes, claims, and which issues are meant. Plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::id::IssueId;
use crate::issue::{Status, Takes};

/// A new issue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewIssue {
    /// One line.
    pub title: String,
    /// As long as it takes.
    pub description: String,
    /// 0 to 4; 2 when absent.
    pub priority: Option<u8>,
    /// `task` when absent.
    pub issue_type: Option<String>,
    /// For whom it is meant.
    pub assignee: Option<String>,
    /// The issue it is a part of; makes a `parent-child` edge.
    pub parent_id: Option<IssueId>,
    /// The issue it was found in; makes a `discovered-from` edge.
    pub discovered_from: Option<IssueId>,
    /// Whatever its creators agreed on.
    pub metadata: Map<String, Value>,
    /// Its labels, in any order.
    pub labels: Vec<String>,
    /// Estimated work, in minutes.
    pub estimate_minutes: Option<u32>,
    /// Not ready before this moment.
    pub defer_until: Option<Timestamp>,
    /// Starts blocked, waiting for this.
    pub blocking_notes: Option<String>,
}

/// A new issue among others that are made with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedIssue {
    /// It.
    pub issue: NewIssue,
    /// The one of them that it is a part of, by its position.
    pub parent: Option<usize>,
    /// Those that must be closed before it is ready, by their positions.
    pub waits_for: Vec<usize>,
}

/// Which issues to list. Empty lists all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Of one of these statuses; none means any.
    pub statuses: Vec<Status>,
    /// Of this priority.
    pub priority: Option<u8>,
    /// Of this type.
    pub issue_type: Option<String>,
    /// Held by, or meant for.
    pub assignee: Option<String>,
    /// Held by nobody, and meant for nobody.
    pub unassigned: bool,
    /// Not ready before a moment that is yet to come.
    pub deferred: bool,
    /// With all of these labels.
    pub labels: Vec<String>,
    /// Whose metadata match.
    pub takes: Takes,
    /// At most so many.
    pub limit: Option<usize>,
}

/// What to look for.
///
/// A word occurs when it is a part of the id, the title, the description, the notes, the close reason, a label or a
/// comment; small and capital letters of any alphabet are the same. First come issues whose id and title have every word,
/// then those that are not closed, then those that changed last, then the lowest id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    /// Words, with spaces between them.
    pub query: String,
    /// Among which issues.
    pub filter: Filter,
}

/// Which issue to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// A chosen one; `None` takes the first ready one.
    pub id: Option<IssueId>,
    /// Which are welcome. A chosen one that does not match is refused.
    pub takes: Takes,
    /// Only one with all of these labels. A chosen one that lacks any is refused.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How long the claim lasts without renewal.
    pub lease: Duration,
    /// The attempts allowed, for when the claim ends without its holder's doing (a lapsed lease, a dead run).
    pub max_attempts: u32,
}

impl Claim {
    /// The first ready one, whichever it is.
    pub fn first(lease: Duration, max_attempts: u32) -> Self {
        Self { id: None, takes: Takes::default(), labels: Vec::new(), lease, max_attempts }
    }
}

/// What becomes of a field that may be empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It becomes empty.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Edit<T> {
    /// What the field is afterwards.
    pub fn apply(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// New title.
    pub title: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// New status, translated into a move; `in_progress` is a claim by the caller.
    pub status: Option<Status>,
    /// New priority.
    pub priority: Option<u8>,
    /// New type.
    pub issue_type: Option<String>,
    /// New assignee: only oneself, which is a claim. An empty text gives the issue back.
    pub assignee: Option<String>,
    /// What it waits for.
    pub blocking_notes: Option<String>,
    /// Merged key by key; a null removes a key.
    pub metadata: Map<String, Value>,
    /// Labels to add; those it has already change nothing.
    pub add_labels: Vec<String>,
    /// Labels to take away; those it has not change nothing.
    pub remove_labels: Vec<String>,
    /// The issue it becomes a part of, with the `parent-child` edge that says so.
    pub parent_id: Edit<IssueId>,
    /// New estimate, in minutes.
    pub estimate_minutes: Edit<u32>,
    /// Not ready before this moment.
    pub defer_until: Edit<Timestamp>,
    /// How long a claim that this update makes lasts; `limit::LEASE` when absent.
    pub lease: Option<Duration>,
    /// The attempts allowed to a claim that this update makes; `limit::ATTEMPTS` when absent.
    pub max_attempts: Option<u32>,
    /// Which issues a claim that this update makes may take.
    pub takes: Takes,
    /// Changes it although somebody else holds it.
    pub force: bool,
}
