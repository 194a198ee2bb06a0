//! What each worker writes down for itself, on the disk before and after each operation: the other side of the story.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use runner::clock::Timestamp;
use runner::id::IssueId;
use serde::{Deserialize, Serialize};

/// A line of a worker's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Line {
    /// What is going to be asked, as which effect of which run.
    Asks { run: String, effect: String, at: Timestamp, lease: Option<std::time::Duration> },
    /// It was done.
    Done { run: String, effect: String, wrote: Wrote },
    /// It was refused, and nothing has changed.
    Refused { run: String, effect: String },
    /// The file could not be used, and nothing has changed.
    Failed { run: String, effect: String, why: String },
}

/// What an answer says of the log of events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Wrote {
    /// An event that is of this claim.
    Claim(IssueId, u64),
    /// An event.
    Event,
    /// A comment with this text, and its event.
    Comment(IssueId, String),
    /// A key in the metadata of the board, and its event.
    Note(String),
    /// An issue, and its event.
    Issue(IssueId),
    /// An event or none.
    Perhaps,
    /// No event.
    Nothing,
}

pub(super) struct Log(File);

impl Log {
    pub fn create(path: &Path) -> Self {
        Self(File::create_new(path).unwrap())
    }

    /// On the disk when this returns.
    pub fn write(&mut self, line: &Line) {
        let text = serde_json::to_string(line).unwrap() + "\n";
        self.0.write_all(text.as_bytes()).unwrap();
        self.0.sync_data().unwrap();
    }
}

/// All lines of all logs in a folder. The last line of one may be cut off, since its writer was killed.
pub(super) fn read(folder: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    crate::harness::walk(folder, &mut |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        lines.extend(whole.lines().map(|line| serde_json::from_str::<Line>(line).unwrap()));
    });
    lines
}
