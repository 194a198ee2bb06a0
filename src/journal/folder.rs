//! Where a run keeps its files: `.runner/runs/<id>/` in the project root, with a lock that says whether it still runs.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::writer::JournalError;
use crate::chat::ToolSpec;
use crate::clock::Timestamp;
use crate::event::{EffectId, Evidence, Mode, RECORDING_FORMAT};
use crate::id::{RoleId, RunId, Seed};
use crate::price::Prices;

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
    /// What it was given on the command line.
    #[serde(default)]
    pub given: Given,
    /// The files it was made of: where each lay, and its copy in the run folder.
    #[serde(default)]
    pub files: BTreeMap<PathBuf, PathBuf>,
    /// `provider-anthropic/claude-…` by role.
    #[serde(default)]
    pub models: BTreeMap<RoleId, String>,
    /// What each role's model was told of tools that other programs offer, by the name of the server.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_tools: BTreeMap<RoleId, BTreeMap<String, Vec<ToolSpec>>>,
    /// Where a recording of it was to go, if one was asked for when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<PathBuf>,
    /// What its beginning was taken from, if it is a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,
}

/// What the beginning of a run was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The run whose effects they are.
    pub of: RunId,
    /// The first effects that were left out.
    pub at: Vec<EffectId>,
    /// How many effects were taken over: those of the lowest commit numbers.
    pub effects: u64,
}

/// What a run was given on the command line, so that it can go on with the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The working directory.
    pub working_dir: PathBuf,
    /// The scenario file as it was named.
    pub file: PathBuf,
    /// Values of inputs.
    pub inputs: BTreeMap<String, String>,
    /// Values in place of those of the scenario file, as `PATH=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// The file of variables, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_file: Option<PathBuf>,
    /// The workspace, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<PathBuf>,
    /// The script that answers in place of every model, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<PathBuf>,
}

/// Why a run cannot be opened again.
#[derive(Debug, thiserror::Error)]
pub enum ReopenError {
    /// It still goes on.
    #[error("run {run} still goes on: its process holds {}", path.display())]
    Running {
        /// The run.
        run: RunId,
        /// The lock.
        path: PathBuf,
    },
    /// Something of its folder is missing or makes no sense.
    #[error("{}: {reason}; without it the run cannot be opened", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was written by a newer version.
    #[error("{} has format {format}, and this version reads formats up to {known}; use the version of runner that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u64,
        /// The newest that is known.
        known: u32,
    },
}

/// The folder of one run, locked while it lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";
const MANIFEST: &str = "manifest.json";
const COPIES: &str = "scenario";

impl RunFolder {
    /// Makes the folder of a new run below `root`, takes its lock, writes the manifest and copies of the files that the
    /// run is made of.
    ///
    /// # Errors
    /// Something of it cannot be made.
    pub fn create(
        root: &Path,
        manifest: &Manifest,
        texts: &BTreeMap<PathBuf, String>,
    ) -> Result<Self, JournalError> {
        let runs = root.join(".runner").join("runs");
        let path = runs.join(manifest.run.as_str());
        let made = || -> std::io::Result<File> {
            std::fs::create_dir_all(path.join("blobs"))?;
            let lock = File::create(path.join(LOCK))?;
            lock.lock()?;
            std::fs::create_dir_all(path.join(COPIES))?;
            describe(&path, manifest, texts)?;
            Ok(lock)
        };
        match made() {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => Err(JournalError::unwritable(&path, &error)),
        }
    }

    /// Says of the run's beginning something else than before: the new manifest is there whole, or the old one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn describe_anew(
        &self,
        manifest: &Manifest,
        texts: &BTreeMap<PathBuf, String>,
    ) -> Result<(), JournalError> {
        describe(&self.path, manifest, texts).map_err(|error| JournalError::unwritable(&self.path, &error))
    }

    /// Opens the folder of a run that goes on no more, and takes its lock.
    ///
    /// # Errors
    /// It still goes on, or its folder is not whole.
    pub fn reopen(path: &Path) -> Result<(Self, Manifest), ReopenError> {
        let manifest = Manifest::read(path)?;
        let damaged = |path: PathBuf, error: &dyn std::fmt::Display| ReopenError::Damaged {
            path,
            reason: error.to_string(),
        };
        let lock = path.join(LOCK);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&lock)
            .map_err(|error| damaged(lock.clone(), &error))?;
        match file.try_lock() {
            Ok(()) => Ok((Self { path: path.to_owned(), _lock: file }, manifest)),
            Err(TryLockError::WouldBlock) => Err(ReopenError::Running { run: manifest.run, path: lock }),
            Err(TryLockError::Error(error)) => Err(damaged(lock, &error)),
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

/// Writes the manifest of a run, last of all, and copies of the files that it is made of.
fn describe(folder: &Path, manifest: &Manifest, texts: &BTreeMap<PathBuf, String>) -> std::io::Result<()> {
    for (file, copy) in &manifest.files {
        let text = texts.get(file).map(String::as_str).unwrap_or_default();
        std::fs::write(folder.join(copy), text)?;
    }
    let text = serde_json::to_string_pretty(manifest).expect("a manifest holds only plain data");
    let (path, whole) = (folder.join(MANIFEST), folder.join(format!("{MANIFEST}.new")));
    std::fs::write(&whole, text + "\n")?;
    File::open(&whole)?.sync_all()?;
    std::fs::rename(&whole, &path)
}

impl Manifest {
    /// What the run's models cost, as it was known when it began.
    pub fn prices(&self) -> Prices {
        let prices = self.plan.get("prices").cloned().unwrap_or_default();
        serde_json::from_value(prices).unwrap_or_default()
    }

    /// Where the copies of files lie in the run folder: numbered, since names may be the same in different folders.
    pub fn copies<'a>(files: impl Iterator<Item = &'a Path>) -> BTreeMap<PathBuf, PathBuf> {
        let copy = |(number, file): (usize, &'a Path)| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            (file.to_owned(), PathBuf::from(COPIES).join(format!("{number:02}-{name}")))
        };
        files.enumerate().map(copy).collect()
    }

    /// The files that the run of this folder is made of, as they were when it began.
    ///
    /// # Errors
    /// A copy is missing or unreadable.
    pub fn texts(&self, folder: &Path) -> Result<BTreeMap<PathBuf, String>, ReopenError> {
        let read = |(file, copy): (&PathBuf, &PathBuf)| {
            let path = folder.join(copy);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((file.clone(), text)),
                Err(error) => Err(ReopenError::Damaged { path, reason: error.to_string() }),
            }
        };
        self.files.iter().map(read).collect()
    }

    /// Reads the manifest of a run folder.
    ///
    /// # Errors
    /// It is missing, makes no sense, or was written by a newer version.
    pub fn read(folder: &Path) -> Result<Self, ReopenError> {
        let path = folder.join(MANIFEST);
        let damaged = |reason: String| ReopenError::Damaged { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path).map_err(|error| damaged(error.to_string()))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let known = RECORDING_FORMAT;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format > u64::from(known) => {
                return Err(ReopenError::Newer { path, format, known });
            }
            _ => {}
        }
        serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
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
            given: Given::default(),
            files: Manifest::copies([Path::new("/p/s.yaml")].into_iter()),
            models: BTreeMap::new(),
            mcp_tools: BTreeMap::new(),
            record: None,
            fork: None,
        };
        let texts = [(PathBuf::from("/p/s.yaml"), "name: s\n".to_owned())].into();
        let folder = RunFolder::create(root.path(), &manifest, &texts).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(holds_lock(root.path(), &run), Some(true));
        assert!(matches!(RunFolder::reopen(&path), Err(ReopenError::Running { .. })));
        drop(folder);
        let (folder, read) = RunFolder::reopen(&path).unwrap();
        assert_eq!((read.texts(folder.path()).unwrap(), read), (texts, manifest));
        drop(folder);
        assert_eq!(holds_lock(root.path(), &run), Some(false));
        assert_eq!(holds_lock(root.path(), &RunId::from("other")), None);
    }
}
