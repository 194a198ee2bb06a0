//! Where a run keeps its files: `.runner/runs/<id>/` in the project root, with a lock that says whether it still runs.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::writer::JournalError;
use crate::clock::Timestamp;
use crate::event::{Evidence, Mode};
use crate::id::{RunId, Seed};

/// What a run was started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the run folder's format.
    pub format: u32,
    /// The version of the program.
    pub runner: String,
    /// The run.
    pub run: RunId,
    /// The scenario file.
    pub scenario: PathBuf,
    /// Live or replay.
    pub mode: Mode,
    /// What makes the replies.
    pub evidence: Evidence,
    /// The seed of every id.
    pub seed: Seed,
    /// When it began.
    pub started: Timestamp,
    /// Where the agents work.
    pub workspace: PathBuf,
    /// The scenario as resolved.
    pub plan: serde_json::Value,
}

/// The folder of one run, locked while it lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";

impl RunFolder {
    /// Makes the folder of a new run below `root`, takes its lock and writes the manifest.
    ///
    /// # Errors
    /// Something of it cannot be made.
    pub fn create(root: &Path, manifest: &Manifest) -> Result<Self, JournalError> {
        let runs = root.join(".runner").join("runs");
        let path = runs.join(manifest.run.as_str());
        let made = || -> std::io::Result<File> {
            std::fs::create_dir_all(path.join("blobs"))?;
            let lock = File::create(path.join(LOCK))?;
            lock.lock()?;
            let text = serde_json::to_string_pretty(manifest).expect("a manifest holds only plain data");
            std::fs::write(path.join("manifest.json"), text + "\n")?;
            Ok(lock)
        };
        match made() {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => Err(JournalError::unwritable(&path, &error)),
        }
    }

    /// Points `latest` to it: the run begins.
    ///
    /// # Errors
    /// The pointer cannot be written.
    pub fn announce(&self) -> Result<(), JournalError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let latest = self.path.with_file_name("latest");
        std::fs::write(&latest, format!("{name}\n"))
            .map_err(|error| JournalError::unwritable(&latest, &error))
    }

    /// Removes the folder of a run that never began.
    pub fn discard(self) {
        // What cannot be removed is in nobody's way: without `latest` pointing there it is an empty run.
        let _ = std::fs::remove_dir_all(&self.path);
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }
}

/// Whether the process of this run still lives: `None` when the run is not known below this root.
pub fn holds_lock(root: &Path, run: &RunId) -> Option<bool> {
    let lock = root.join(".runner").join("runs").join(run.as_str()).join(LOCK);
    let file = File::open(lock).ok()?;
    Some(file.try_lock_shared().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_held_exactly_while_the_folder_lives() {
        let root = tempfile::tempdir().unwrap();
        let run = RunId::fresh();
        let manifest = Manifest {
            format: 1,
            runner: "0".to_owned(),
            run: run.clone(),
            scenario: "s.yaml".into(),
            mode: Mode::Live,
            evidence: Evidence::Recorded,
            seed: Seed::new("s"),
            started: Timestamp::UNIX_EPOCH,
            workspace: "w".into(),
            plan: serde_json::Value::Null,
        };
        let folder = RunFolder::create(root.path(), &manifest).unwrap();
        assert_eq!(holds_lock(root.path(), &run), Some(true));
        drop(folder);
        assert_eq!(holds_lock(root.path(), &run), Some(false));
        assert_eq!(holds_lock(root.path(), &RunId::from("other")), None);
    }
}
