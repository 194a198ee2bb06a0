//! What a folder holds at one moment: what the runner's own files are is left out, and links are not followed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use sha2::{Digest, Sha256};

use super::patch::PatchError;
use super::workspace::{RESERVED, RESULTS, SHOWN_ROOT, open_dir, replace_path};
use crate::limit;

/// Deepest folder of a snapshot; recursion must end.
pub(super) const DEPTH: usize = 128;

/// Two changes closer than this may carry one time stamp, so a stamp this young proves nothing. Nanoseconds; the kernel's
/// clock for files ticks every 1 to 10 ms.
const TICK: i128 = 20_000_000;

/// What a folder holds at one moment.
#[derive(Debug, Clone)]
pub struct FileSnapshot {
    pub(super) root: PathBuf,
    pub(super) entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) what: What,
    pub(super) stamp: Stamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    File { sha: [u8; 32], executable: bool },
    Link { target: String },
    Directory,
}

/// What tells without reading that a file is the one of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    modified: i128,
    changed: i128,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            bytes: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// In place of the content of a file that no recording could keep: reading gigabytes would say no more than that it has
    /// changed.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(format!("{self:?}")).into()
    }
}

impl FileSnapshot {
    /// Reads the whole folder.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn take(root: &Path) -> Result<Self, PatchError> {
        let root = std::fs::canonicalize(root).map_err(|error| PatchError::system("open", ".", &error))?;
        Self::walk(root, &BTreeMap::new())
    }

    /// The same folder with nothing in it.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { root: self.root.clone(), entries: BTreeMap::new() }
    }

    /// The same folder now; files whose stamp says that they are as before are not read again.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn take_again(&self) -> Result<Self, PatchError> {
        let newest = self.entries.values().map(|entry| entry.stamp.changed).max().unwrap_or_default();
        let known = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.stamp.changed < newest - TICK)
            .map(|(path, entry)| (path.as_str(), entry))
            .collect();
        Self::walk(self.root.clone(), &known)
    }

    fn walk(root: PathBuf, known: &BTreeMap<&str, &Entry>) -> Result<Self, PatchError> {
        let dir = Dir::open_ambient_dir(&root, cap_std::ambient_authority())
            .map_err(|error| PatchError::system("open", ".", &error))?;
        let mut snapshot = Self { root, entries: BTreeMap::new() };
        snapshot.enter(&dir, "", known)?;
        Ok(snapshot)
    }

    fn enter(&mut self, dir: &Dir, prefix: &str, known: &BTreeMap<&str, &Entry>) -> Result<(), PatchError> {
        if prefix.matches('/').count() > DEPTH {
            return Err(PatchError::Deep { path: prefix.chars().take(60).collect() });
        }
        let entries = dir.entries().map_err(|error| PatchError::system("list", prefix, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| PatchError::system("list", prefix, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Results are kept at the top of every folder that sessions work in.
            if name == RESULTS || prefix.is_empty() && RESERVED.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            match self.add(dir, &entry.file_name(), &path, known) {
                // It went away between being listed and being looked at: it is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(PatchError::system("read", &path, &error)),
                Ok(None) => {}
                Ok(Some(below)) => self.enter(&below, &format!("{path}/"), known)?,
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        dir: &Dir,
        name: &OsStr,
        path: &str,
        known: &BTreeMap<&str, &Entry>,
    ) -> io::Result<Option<Dir>> {
        let metadata = dir.symlink_metadata(name)?;
        let stamp = Stamp::of(&metadata);
        let mut below = None;
        let what = if metadata.is_dir() {
            below = Some(open_dir(dir, name)?);
            What::Directory
        } else if metadata.is_symlink() {
            let target = dir.read_link_contents(name)?.to_string_lossy().into_owned();
            What::Link { target: replace_path(&target, &self.root.to_string_lossy(), SHOWN_ROOT) }
        } else if metadata.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            match known.get(path) {
                Some(Entry { what: What::File { sha, .. }, stamp: old }) if *old == stamp => {
                    What::File { sha: *sha, executable }
                }
                _ if stamp.bytes > limit::COMPARED_BYTES => What::File { sha: stamp.hash(), executable },
                _ => What::File { sha: hash(open_file(dir, name)?)?, executable },
            }
        } else {
            return Ok(None);
        };
        self.entries.insert(path.to_owned(), Entry { what, stamp });
        Ok(below)
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.entries.get(path).is_some_and(|entry| entry.what == What::Directory)
    }

    pub(super) fn has_anything_below(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.entries.range(prefix.clone()..).next().is_some_and(|(next, _)| next.starts_with(&prefix))
    }
}

/// Opens a file by one name, which must not be a link; never waits.
pub(super) fn open_file(dir: &Dir, name: impl AsRef<Path>) -> io::Result<cap_std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    dir.open_with(name, &options)
}

fn hash(mut file: impl Read) -> io::Result<[u8; 32]> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(sha.finalize().into());
        }
        sha.update(&buffer[..count]);
    }
}
