//! How the issue queue is asked: whole operations, each atomic, each with one answer.
//!
//! The contract every implementation keeps:
//! * an operation happens entirely or not at all, and its event is written with it;
//! * `Caller::sequence`, when given, is drawn exactly when the operation takes effect, so its order is the queue's order;
//! * a mutation whose (run, effect) was applied before is not applied again: the first answer is given again;
//! * time and ids come from the caller; the same operations from the same callers give the same answers.

mod fold;
pub mod jsonl;
mod request;
mod search;
mod soundness;
mod sqlite;
mod transfer;

pub use request::{Claim, Edit, Filter, NewIssue, PlannedIssue, Search, Update};
pub use soundness::{Finding, Rule, Soundness};
pub use sqlite::SqliteStore;
pub use transfer::{Export, Format, Import, Imported, Incoming, Original, Outgoing, Remark, Remarks};

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::event::{EffectId, Footprint, Sequence};
use crate::id::{IdSource, IssueId, RunId, Seed};
use crate::issue::{Comment, Dependency, EdgeType, Issue, Status, Takes};
pub use crate::issue::{Counts, Hold, Snapshot};

/// Who asks, when, and with which ids.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The run, for a run's own operations.
    pub run: Option<RunId>,
    /// The effect that this operation is, within the run.
    pub effect: Option<EffectId>,
    /// The name shown as the one who did it.
    pub actor: String,
    /// Who holds what this caller claims: a session's path within the run, or the actor outside any.
    pub holder: String,
    /// What the caller's earlier claims obtained: a write to an issue whose epoch has risen since is refused as stale.
    pub epochs: BTreeMap<IssueId, u64>,
    /// The present moment for this operation.
    pub at: Timestamp,
    /// Where new ids come from.
    pub ids: Arc<IdSource>,
    /// The commit numbers of the run.
    pub sequence: Option<Sequence>,
}

impl Caller {
    /// One who only asks, about an effect of a run: what is asked is no effect itself.
    pub fn asking(run: &RunId, effect: &EffectId, name: &str) -> Self {
        Self {
            run: Some(run.clone()),
            effect: Some(effect.clone()),
            actor: name.to_owned(),
            holder: name.to_owned(),
            epochs: BTreeMap::new(),
            at: Timestamp::UNIX_EPOCH,
            ids: Arc::new(IdSource::new(&Seed::new(run.as_str()), effect.as_str())),
            sequence: None,
        }
    }
}

/// One whole operation on the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Makes an issue. Answers `Issue`.
    Create(NewIssue),
    /// Makes several issues that refer to each other, all or none. Answers `Issues`, in this order.
    CreateAll(Vec<PlannedIssue>),
    /// Looks one up. Answers `Issue`, comments included; `NotFound` otherwise.
    Get {
        /// Which.
        id: IssueId,
    },
    /// Lists issues in creation order. Answers `Issues`.
    List(Filter),
    /// Ready issues, first to be worked first. Answers `Issues`.
    Ready(Filter),
    /// Issues that cannot be worked on, by dependency or by status, in creation order. Answers `Blocked`.
    Blocked(Filter),
    /// Issues in which every word occurs; see `Search` for the order. Answers `Issues`.
    Search(Search),
    /// Issues that are not closed and match one of these, with why they are left, in creation order. Answers `Left`.
    Left {
        /// Which are of interest.
        takes: Vec<Takes>,
    },
    /// Changes fields; `status` and `assignee` are translated into moves. Answers `Issue`.
    Update(IssueId, Update),
    /// Takes an issue: a chosen one, or the first ready one that matches. Answers `Issue`, or `Nothing`.
    Claim(Claim),
    /// Gives an issue back; counts an attempt if asked to. Answers `Issue`.
    Release {
        /// Which.
        id: IssueId,
        /// Whether the claim counts as an attempt without a result.
        attempt: AttemptCount,
        /// Takes it from whoever holds it.
        force: bool,
    },
    /// Gives back all that the caller holds, each with its attempt counted against the limit of its claim. Answers
    /// `Issues`.
    ReleaseAll,
    /// Gives back what these runs hold, because they are dead, and what lapsed leases of other runs hold; attempts are
    /// counted against the limit of each claim. Answers `Issues`.
    Reclaim {
        /// The dead runs.
        runs: Vec<RunId>,
    },
    /// Says that an issue waits for something. Ends the hold. Answers `Issue`.
    Block {
        /// Which.
        id: IssueId,
        /// What it waits for.
        notes: String,
        /// Takes it from whoever holds it.
        force: bool,
    },
    /// Answers what a blocked issue waits for and opens it. Answers `Issue`.
    Unblock {
        /// Which.
        id: IssueId,
        /// The answer; becomes a comment.
        answer: String,
    },
    /// Says that an issue is done. Ends the hold; closing again changes nothing. Answers `Issue`.
    Close {
        /// Which.
        id: IssueId,
        /// What was done.
        reason: String,
        /// Closes it although somebody else holds it or children are open.
        force: bool,
    },
    /// Opens a closed issue. Answers `Issue`.
    Reopen {
        /// Which.
        id: IssueId,
    },
    /// Adds a remark. Answers `Issue`.
    Comment {
        /// To which.
        id: IssueId,
        /// What it says.
        body: String,
    },
    /// Adds an edge. Answers `Dependency`.
    AddDependency {
        /// The waiting issue.
        from: IssueId,
        /// The issue waited for.
        to: IssueId,
        /// What the edge means.
        edge: EdgeType,
    },
    /// Removes an edge. Answers `Dependency`.
    RemoveDependency {
        /// The waiting issue.
        from: IssueId,
        /// The issue waited for.
        to: IssueId,
    },
    /// Everything a template or condition may ask, at one moment. Answers `Snapshot`.
    Snapshot,
    /// How many there are of what. Answers `Counts`.
    Counts,
    /// Every issue and every edge at one moment. Answers `Graph`.
    Graph,
    /// Which effects of the caller's run have changed the queue: all, or only the caller's own. Answers `Applied`.
    Applied {
        /// Which.
        which: WhichEffects,
    },
    /// What happened to an issue, oldest first. Answers `History`.
    History {
        /// Which.
        id: IssueId,
    },
    /// Brings the issues of files, all or none. Answers `Imported`.
    Import(Box<Import>),
    /// The whole queue, to be written to files. Answers `Exported`.
    Export,
}

/// Which effects of a run are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichEffects {
    /// All of the caller's run.
    OfRun,
    /// The caller's own one.
    Own,
}

/// Whether giving back counts as an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptCount {
    /// It does; at `limit` attempts the issue is blocked with its history in the notes (dead letter).
    Counted {
        /// The attempts allowed.
        limit: u32,
    },
    /// It does not.
    Free,
}

/// What an operation answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One issue, as it is now.
    Issue(Box<IssueView>),
    /// Many issues; `total` counts those beyond a limit too.
    Issues {
        /// The issues.
        issues: Vec<Issue>,
        /// How many there are without the limit.
        total: usize,
    },
    /// Issues that cannot be worked on; `total` counts those beyond a limit too.
    Blocked {
        /// The issues, with what they wait for.
        issues: Vec<BlockedIssue>,
        /// How many there are without the limit.
        total: usize,
    },
    /// Issues that are left.
    Left(Vec<LeftIssue>),
    /// An edge.
    Dependency(Dependency),
    /// Nothing was there to claim: a normal answer.
    Nothing,
    /// The whole queue at one moment.
    Snapshot(Box<Snapshot>),
    /// Numbers.
    Counts(Counts),
    /// What happened to an issue.
    History(Vec<Change>),
    /// What an import came to.
    Imported(Box<Imported>),
    /// The whole queue.
    Exported(Box<Export>),
    /// The whole queue with its edges.
    Graph(Box<Graph>),
    /// Effects that have changed the queue, with what each did to its caller's holds.
    Applied(BTreeMap<EffectId, Standing>),
}

/// The whole queue with its edges, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// The issues and their holds.
    pub snapshot: Snapshot,
    /// The edges, in the order in which their ends were created.
    pub dependencies: Vec<Dependency>,
}

/// An issue with what belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IssueView {
    /// The issue.
    pub issue: Issue,
    /// The last remarks on it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<Comment>,
    /// Its edges, both ways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// What its parts come to, when it was looked up and has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
}

/// What the parts of an issue come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// How many there are.
    pub count: usize,
    /// How many of them are closed.
    pub closed: usize,
    /// Their estimates together. A part that has estimated parts of its own counts with the sum of those.
    pub estimate_minutes: u64,
}

/// An issue that cannot be worked on, with why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockedIssue {
    /// The issue; its `blocking_notes` say why when its status is `blocked`.
    pub issue: Issue,
    /// The open issues it waits for.
    pub blockers: Vec<Issue>,
}

/// An issue that is not closed, with why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftIssue {
    /// Its id.
    pub id: IssueId,
    /// Its title.
    pub title: String,
    /// Where it stands.
    pub status: Status,
    /// Whether it could be worked on.
    pub is_ready: bool,
    /// What it waits for, when its status is `blocked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocking_notes: Option<String>,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Not ready before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defer_until: Option<Timestamp>,
    /// The open issues it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<IssueId>,
}

/// An issue that is ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Its id.
    pub id: IssueId,
    /// Its metadata: who takes it follows from them.
    pub metadata: Map<String, Value>,
}

/// A moment at which an issue may become ready by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Deadline {
    /// When.
    pub at: Timestamp,
    /// The issue's metadata: who takes it follows from them.
    pub metadata: Map<String, Value>,
}

/// One entry of the queue's event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The issue.
    pub issue_id: IssueId,
    /// `created`, `updated`, `claimed`, `released`, `blocked`, `unblocked`, `closed`, `reopened`, `commented`,
    /// `dependency_added`, `dependency_removed`, `lease_expired`.
    pub event_type: String,
    /// Who.
    pub actor: String,
    /// What changed: `{field: {"old", "new"}}`.
    pub changes: Value,
    /// When.
    pub at: Timestamp,
}

/// An operation that took effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The answer.
    pub answer: Answer,
    /// The commit number, when the caller gave a sequence.
    pub seq: Option<u64>,
    /// When it took effect: of an effect that had been applied before, and whose answer this is again, that was then.
    pub at: Timestamp,
    /// What was read and written.
    pub footprint: Footprint,
    /// What the caller now holds or no longer holds, by this operation.
    pub holds: HoldChange,
}

/// What is known of an effect that changed the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it did to holds.
    pub holds: HoldChange,
    /// The commit number it took effect with.
    pub seq: Option<u64>,
}

/// What an operation did to the caller's holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldChange {
    /// Issues the caller holds from now on, each with the epoch of the claim: it belongs into `Caller::epochs` of all
    /// that the holder does later.
    pub gained: BTreeMap<IssueId, u64>,
    /// Issues nobody holds any more because of the operation.
    pub ended: Vec<IssueId>,
}

/// What subscribers are told after a batch is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The entry of the event log.
    pub change: Change,
    /// The issue's title.
    pub title: String,
    /// Its status after it.
    pub status: Status,
    /// Whether another process did it.
    pub foreign: bool,
}

/// Called with each batch of changes, in order, before the callers are answered. Must not block.
pub type Subscriber = Box<dyn Fn(&[Notice]) + Send + Sync>;

/// An issue queue.
#[async_trait]
pub trait IssueStore: Send + Sync {
    /// Applies one operation.
    ///
    /// # Errors
    /// What was wrong and what is allowed; nothing has changed.
    async fn apply(&self, caller: Caller, operation: Operation) -> Result<Applied, Refused>;

    /// Extends the leases of all that a run's live sessions hold. Not an effect: no event, no revision.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn renew(&self, run: &RunId, until: Timestamp) -> Result<(), StoreError>;

    /// The runs that hold something, so that the dead among them can be found. Not an effect.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn holding_runs(&self) -> Result<Vec<RunId>, StoreError>;

    /// For each of these the ready issues that match it, at most the first `each`; all together, each issue once, first
    /// to be worked first. Not an effect. What it costs does not grow with the queue.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn first_ready(
        &self,
        takes: &[Takes],
        each: usize,
        at: Timestamp,
    ) -> Result<Vec<Offer>, StoreError>;

    /// The moments after `after` at which a lapsing lease or an ending deferral may make an issue ready, earliest first.
    /// Leases of `run` itself do not count: they are renewed while it lives.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn deadlines(&self, run: &RunId, after: Timestamp) -> Result<Vec<Deadline>, StoreError>;

    /// Adds a subscriber.
    fn subscribe(&self, subscriber: Subscriber);
}

/// A refusal with the commit number at which it was true, since a refusal too is an answer that a model sees.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Why.
    #[source]
    pub error: StoreError,
    /// The commit number, when the caller gave a sequence.
    pub seq: Option<u64>,
    /// What was read to find out.
    pub footprint: Footprint,
}

/// Why the queue refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// No such issue.
    #[error("Issue not found: {id}")]
    NotFound {
        /// As asked for.
        id: String,
    },
    /// A field has a value that it cannot have.
    #[error("{message}")]
    Invalid {
        /// What was wrong and what is allowed.
        message: String,
    },
    /// Somebody else holds the issue.
    #[error("{id} is held by {holder}; {remedy}")]
    Held {
        /// The issue.
        id: IssueId,
        /// Who.
        holder: String,
        /// What to do instead.
        remedy: String,
    },
    /// The caller held the issue once, but another has claimed it since.
    #[error(
        "your claim of {id} has lapsed and {holder} has claimed it since; stop working on it and claim another issue"
    )]
    Stale {
        /// The issue.
        id: IssueId,
        /// Who holds it now.
        holder: String,
    },
    /// The move is not possible from the status it has.
    #[error("{message}")]
    WrongState {
        /// What was wrong and what is allowed.
        message: String,
    },
    /// The edge would close a circle.
    #[error("Dependency would create a cycle: {}", path.iter().map(IssueId::as_str).collect::<Vec<_>>().join(" -> "))]
    Cycle {
        /// The circle, first and last the same.
        path: Vec<IssueId>,
    },
    /// The file cannot be used.
    #[error("cannot use the issue queue {path}: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// What the system or SQLite said.
        reason: String,
    },
}
