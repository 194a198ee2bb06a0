//! Whose turn it is to touch files: what the ledger says of their order must be the order it happened in, and what a
//! command changed must be told from what file tools changed meanwhile.

use std::path::Path;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::effects::Busy;
use crate::event::{Footprint, Policy};
use crate::tool::patch::{self, FilePatch, FileSnapshot};

/// The order of everything that touches the workspace's files.
pub struct FileOrder {
    lock: RwLock<()>,
    commands: Commands,
}

/// What is done about commands, which may change any file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// What they change is recorded with their results: they run one at a time, beside no file tool.
    Recorded,
    /// They run as they come.
    Free,
}

/// How a call touches files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileUse {
    Nothing,
    Reads,
    Writes,
    /// A command whose changes are to be recorded.
    Recorded,
}

/// Held while a call touches files.
pub(super) enum FileTurn<'a> {
    Shared(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, ()>),
}

impl FileOrder {
    /// An order in which nobody is yet.
    pub fn new(commands: Commands) -> Self {
        Self { lock: RwLock::new(()), commands }
    }

    /// How a call with this footprint touches files. `policy` says whether a replay will run it.
    pub(super) fn use_of(&self, footprint: &Footprint, policy: Policy) -> FileUse {
        let any = |set: &std::collections::BTreeSet<String>| set.iter().any(|name| name.starts_with("fs:"));
        if footprint.writes.contains("fs:*") {
            match (policy, self.commands) {
                (Policy::Tape, Commands::Recorded) => FileUse::Recorded,
                _ => FileUse::Nothing,
            }
        } else if any(&footprint.writes) {
            FileUse::Writes
        } else if any(&footprint.reads) {
            FileUse::Reads
        } else {
            FileUse::Nothing
        }
    }

    /// Waits until no other call is in the way.
    pub(super) async fn turn(&self, wanted: FileUse, busy: &Busy) -> Option<FileTurn<'_>> {
        match wanted {
            FileUse::Nothing => None,
            FileUse::Reads => Some(FileTurn::Shared(match self.lock.try_read() {
                Ok(guard) => guard,
                Err(_) => {
                    let _rest = busy.rest();
                    self.lock.read().await
                }
            })),
            FileUse::Writes | FileUse::Recorded => Some(FileTurn::Alone(match self.lock.try_write() {
                Ok(guard) => guard,
                Err(_) => {
                    let _rest = busy.rest();
                    self.lock.write().await
                }
            })),
        }
    }
}

/// The workspace's files as they are before a command.
///
/// # Errors
/// They cannot be read; the command must then not run.
pub(super) async fn before(workspace: &Path) -> Result<FileSnapshot, String> {
    let root = workspace.to_owned();
    let taken = tokio::task::spawn_blocking(move || FileSnapshot::take(&root)).await;
    taken.expect("reading files does not panic").map_err(|error| {
        format!("Not run: the files cannot be read before it, so its changes could not be recorded: {error}.")
    })
}

/// What the command has changed.
///
/// # Errors
/// The changes cannot be recorded.
pub(super) async fn changes(before: FileSnapshot) -> Result<FilePatch, String> {
    let compare = move || before.take_again().and_then(|after| patch::diff(&before, &after));
    let compared = tokio::task::spawn_blocking(compare).await;
    compared.expect("reading files does not panic").map_err(|error| {
        format!(
            "The command ran, but its changes to files cannot be recorded: {error}. Change less in one command."
        )
    })
}

/// Makes the recorded changes of a command that is not run again.
///
/// # Errors
/// They cannot be made.
pub(super) async fn restore(changes: FilePatch, workspace: &Path) -> Result<(), String> {
    let root = workspace.to_owned();
    let made = tokio::task::spawn_blocking(move || changes.apply(&root)).await;
    made.expect("writing files does not panic").map_err(|error| error.to_string())
}
