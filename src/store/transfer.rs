//! What is brought into a queue and taken out of it as a whole: plain data between file formats and stores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Change;
use crate::id::IssueId;
use crate::issue::{Comment, Dependency, EdgeType, Issue};

/// The program whose files are read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// beads: one object an issue, with its edges, labels and comments.
    Beads,
    /// Amplifier's issue-manager: issues, dependencies and events in three files.
    IssueManager,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Beads, Self::IssueManager];

    /// The word a user writes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Beads => "beads",
            Self::IssueManager => "issue-manager",
        }
    }

    /// Reads the word a user writes.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// An issue as its file had it: every field, with edges, labels and comments inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Original {
    /// Which program's words it is in.
    pub format: Format,
    /// All of it.
    pub object: Map<String, Value>,
}

/// What files bring.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Import {
    /// The issues, each id once, in the order of the file.
    pub issues: Vec<Incoming>,
    /// What stands beside the issues and is kept for an export, by a key of its own.
    pub lines: BTreeMap<String, Value>,
    /// What reading came upon.
    pub remarks: Remarks,
    /// Fields that are kept for an export and that the queue does not look at, with how many issues have them.
    pub kept_fields: BTreeMap<String, usize>,
}

/// One issue that is brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incoming {
    /// What the queue understands of it; without a parent, which follows from the edges.
    pub issue: Issue,
    /// Its edges to issues it waits for, belongs to or relates to.
    pub edges: Vec<(IssueId, EdgeType)>,
    /// Remarks on it.
    pub comments: Vec<Comment>,
    /// As the file had it.
    pub original: Original,
}

/// What an import came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// Issues that are new.
    pub created: usize,
    /// Issues that have changed.
    pub updated: usize,
    /// Issues of the file that the queue had already, or knows something newer of.
    pub unchanged: usize,
    /// Lines that are no issues and are kept for an export: those that are new or have changed.
    pub lines: usize,
    /// Fields that are kept for an export and that the queue does not look at, with how many issues have them.
    pub kept_fields: BTreeMap<String, usize>,
    /// What was read otherwise than written, kept aside or left out.
    pub remarks: Remarks,
}

/// The whole queue, to be written to files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The issues in the order of their creation.
    pub issues: Vec<Outgoing>,
    /// What was kept beside the issues.
    pub lines: BTreeMap<String, Value>,
    /// Everything that happened, oldest first.
    pub changes: Vec<Change>,
}

/// One issue that is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// As it is now.
    pub issue: Issue,
    /// Its edges.
    pub edges: Vec<Dependency>,
    /// Edges of its file that could not be made.
    pub unlinked: Vec<Dependency>,
    /// All remarks on it, oldest first.
    pub comments: Vec<Comment>,
    /// As the file had it that it came from, if it came from one.
    pub original: Option<Original>,
}

/// What there is to say, with the places it is said of.
pub type Remarks = BTreeMap<Remark, Vec<String>>;

/// Something that was read otherwise than written, kept aside or left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// An id several times in the files.
    RepeatedId,
    /// A status that the queue does not have.
    OtherStatus,
    /// A type that beads never hands out as work.
    NotWork,
    /// Closed, without the moment of it.
    NoClosedAt,
    /// Not closed, with a moment of closing.
    StrayClosedAt,
    /// A time without a zone.
    LocalTime,
    /// Metadata that is not an object.
    OtherMetadata,
    /// A value the field cannot have here.
    OtherValue,
    /// An edge of a blocking kind that the queue has no word for.
    ReadAsBlocks,
    /// An edge of a kind that the queue does not have.
    OtherEdge,
    /// An edge to an issue that is not there.
    MissingTarget,
    /// A second edge between the same two issues.
    SecondEdge,
    /// A second parent.
    SecondParent,
    /// An edge that would close a circle.
    Circle,
    /// A line that belongs to no issue of the files.
    Orphan,
    /// Entries of a foreign history.
    History,
    /// A deleted issue that the queue has.
    DeletedElsewhere,
    /// An issue that has changed here since.
    OlderThanHere,
    /// An issue that somebody holds here.
    HeldHere,
    /// An issue that is closed here and not in the file.
    ClosedHere,
    /// What the format that is written has no place for.
    NoPlace,
}

impl Remark {
    /// What it says of the places listed after it.
    pub fn words(self) -> &'static str {
        match self {
            Self::RepeatedId => {
                "the id is there several times; the newest was taken, of equally new ones the last"
            }
            Self::OtherStatus => {
                "the status is not one of ours; the issue is `blocked` here and keeps its word for an export"
            }
            Self::NotWork => {
                "the type is not work for beads, but is handed out here while it is ready; close or block what is not \
                 to be worked on, or let `takes` choose"
            }
            Self::NoClosedAt => "closed without `closed_at`; the last change stands for it",
            Self::StrayClosedAt => "not closed, but with `closed_at`; it is kept for an export only",
            Self::LocalTime => "a time without a zone was read as UTC",
            Self::OtherMetadata => "`metadata` is not an object; it is kept for an export only",
            Self::OtherValue => "a value that the field cannot have here; it is kept for an export only",
            Self::ReadAsBlocks => "an edge that blocks under conditions; it is `blocks` here",
            Self::OtherEdge => {
                "an edge of a kind that the queue does not have; it is kept for an export only"
            }
            Self::MissingTarget => {
                "an edge to an issue that is not there; nobody waits for it, and it is made once an import brings that issue"
            }
            Self::SecondEdge => "a second edge between two issues; it is kept for an export only",
            Self::SecondParent => "a second parent; it is kept for an export only",
            Self::Circle => "an edge that would close a circle; it is kept for an export only",
            Self::Orphan => "it belongs to no issue of the files and was left out",
            Self::History => "entries of its history were left out; the queue writes its own",
            Self::DeletedElsewhere => {
                "deleted in the file, and left as it is here; close it if it is not to be done"
            }
            Self::OlderThanHere => "changed here since the file was written, and left as it is",
            Self::HeldHere => "held by somebody here, and left as it is; import again when it is given back",
            Self::ClosedHere => "closed here and not in the file, and left closed; `reopen` opens it",
            Self::NoPlace => "the format has no place for it; it was left out",
        }
    }
}

/// Adds a place to what a remark is said of.
pub fn remark(remarks: &mut Remarks, what: Remark, place: impl Into<String>) {
    remarks.entry(what).or_default().push(place.into());
}
