//! How the folder agents work in is made ready: taken as it is, or emptied if the runner made it itself.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::plan::WorkspaceStart;
use crate::tool::workspace::{MARKER, WORKERS};

/// A workspace, locked against a second run that would empty it.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    beginning: Beginning,
    /// Held while the run works in a folder that it may empty.
    lock: Option<File>,
}

/// What a workspace held when the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing.
    Empty,
    /// Files of somebody.
    Filled,
}

/// How a workspace stands before a run takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceState {
    /// It is not there yet.
    Absent,
    /// Nothing is in it.
    Empty,
    /// What is in it goes when the run begins.
    Emptied,
    /// What is in it stays.
    Filled,
}

/// Why a workspace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// It is to be emptied, but somebody else made it.
    #[error(
        "the workspace {path} is to start fresh, but the runner did not make it (there is no {MARKER} in it), so nothing in it is touched; name another folder, or remove `fresh: true`"
    )]
    NotOurs {
        /// The folder.
        path: String,
    },
    /// Another run works in it.
    #[error(
        "another run works in the workspace {path}; wait for it to end, or name another folder with --workspace"
    )]
    InUse {
        /// The folder.
        path: String,
    },
    /// Workers of an earlier run have left their folders in it.
    #[error(
        "the workspace {path} still has the folders that workers of an earlier run left in {WORKERS}; take from there what you need, then remove it"
    )]
    WorkersLeft {
        /// The folder.
        path: String,
    },
    /// The system refuses.
    #[error("cannot use the workspace {path}: {reason}; name another folder with --workspace")]
    Unusable {
        /// The folder.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl Workspace {
    /// Takes the folder for a run, which makes it if need be. What is in it stays until `clear`.
    ///
    /// # Errors
    /// It may not be emptied, another run works in it, or the system refuses.
    pub fn prepare(path: &Path, start: WorkspaceStart) -> Result<Self, WorkspaceError> {
        let shown = || path.display().to_string();
        let unusable =
            |error: &std::io::Error| WorkspaceError::Unusable { path: shown(), reason: error.to_string() };
        let is_new = matches!(Self::look(path, start)?, WorkspaceState::Absent | WorkspaceState::Empty);
        let marker = path.join(MARKER);
        std::fs::create_dir_all(path).map_err(|error| unusable(&error))?;
        if start == WorkspaceStart::Keep {
            // A folder of somebody else is worked in, but not marked as ours.
            let beginning = if is_new { Beginning::Empty } else { Beginning::Filled };
            return Ok(Self { path: path.to_owned(), beginning, lock: None });
        }
        let mut lock =
            File::options().create(true).append(true).open(&marker).map_err(|error| unusable(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WorkspaceError::InUse { path: shown() }),
            Err(TryLockError::Error(error)) => return Err(unusable(&error)),
        }
        if is_new {
            lock.write_all(b"This folder was made by runner, which empties it at the start of a run.\n")
                .map_err(|error| unusable(&error))?;
        }
        Ok(Self { path: path.to_owned(), beginning: Beginning::Empty, lock: Some(lock) })
    }

    /// What a run would find, without touching anything.
    ///
    /// # Errors
    /// It may not be emptied, or the system refuses.
    pub fn look(path: &Path, start: WorkspaceStart) -> Result<WorkspaceState, WorkspaceError> {
        let shown = || path.display().to_string();
        let mut entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(WorkspaceState::Absent),
            Err(error) => {
                return Err(WorkspaceError::Unusable { path: shown(), reason: error.to_string() });
            }
        };
        match (entries.next(), start) {
            (None, _) => Ok(WorkspaceState::Empty),
            (Some(_), WorkspaceStart::Keep) => Ok(WorkspaceState::Filled),
            (Some(_), WorkspaceStart::Fresh) if path.join(MARKER).is_file() => Ok(WorkspaceState::Emptied),
            (Some(_), WorkspaceStart::Fresh) => Err(WorkspaceError::NotOurs { path: shown() }),
        }
    }

    /// Whether workers of a new run can be given folders of their own.
    ///
    /// # Errors
    /// Those of an earlier one are there: they may hold work that nobody has taken over, and are not this run's.
    pub fn check_no_workers_left(path: &Path, start: WorkspaceStart) -> Result<(), WorkspaceError> {
        if start == WorkspaceStart::Keep && path.join(WORKERS).exists() {
            return Err(WorkspaceError::WorkersLeft { path: path.display().to_string() });
        }
        Ok(())
    }

    /// Empties the folder if it is to start fresh: the last step before a run begins, since it cannot be undone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn clear(&self) -> Result<(), WorkspaceError> {
        if self.lock.is_none() {
            return Ok(());
        }
        empty(&self.path).map_err(|error| WorkspaceError::Unusable {
            path: self.path.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it held when the run began.
    pub fn beginning(&self) -> Beginning {
        self.beginning
    }
}

/// Removes everything but the marker. Links are removed, never followed.
fn empty(path: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == MARKER {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_the_runner_made_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("thesis.txt"), "years of work").unwrap();
        let error = Workspace::prepare(&theirs, WorkspaceStart::Fresh).unwrap_err();
        assert!(matches!(error, WorkspaceError::NotOurs { .. }), "{error}");
        assert!(theirs.join("thesis.txt").exists());
        Workspace::prepare(&theirs, WorkspaceStart::Keep).unwrap().clear().unwrap();
        assert!(theirs.join("thesis.txt").exists());
        assert!(!theirs.join(MARKER).exists());

        let ours = dir.path().join("ours");
        drop(Workspace::prepare(&ours, WorkspaceStart::Fresh).unwrap());
        std::fs::create_dir_all(ours.join("a/b")).unwrap();
        std::os::unix::fs::symlink(&theirs, ours.join("link")).unwrap();
        let held = Workspace::prepare(&ours, WorkspaceStart::Fresh).unwrap();
        assert!(ours.join("a/b").exists(), "nothing goes before the run really begins");
        held.clear().unwrap();
        assert!(!ours.join("a").exists() && !ours.join("link").exists());
        assert!(theirs.join("thesis.txt").exists(), "links are not followed");
        let error = Workspace::prepare(&ours, WorkspaceStart::Fresh).unwrap_err();
        assert!(matches!(error, WorkspaceError::InUse { .. }), "{error}");
        drop(held);
        Workspace::prepare(&ours, WorkspaceStart::Fresh).unwrap();
    }
}
