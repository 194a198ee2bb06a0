//! Which files a command changed, so that a replay, which runs no command, leaves the files as the command did.
//!
//! Everything here blocks; call it where that hurts nobody. The folder's own path is recorded as `/work`, in texts and
//! in links, as models see it: a recording says nothing of the machine it was made on. What belongs to the runner
//! (`.beads`, `.runner`, the marker) is in no snapshot and cannot be patched; sockets, FIFOs and devices are passed over.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata, Permissions, PermissionsExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::snapshot::{DEPTH, Entry, What, open_file};
use super::workspace::{SHOWN_ROOT, is_the_runners, open_dir, plain, replace_path};
use crate::limit;
use crate::secret::Scrubber;

pub use super::snapshot::FileSnapshot;

/// What makes one state of a folder out of another, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilePatch(BTreeMap<String, Change>);

impl FilePatch {
    /// The same without secrets in what is no text; texts are scrubbed with all else that is recorded.
    #[must_use]
    pub fn without_secrets(mut self, scrubber: &Scrubber) -> Self {
        for change in self.0.values_mut() {
            let Change::Binary { hex, .. } = change else { continue };
            if let Some(clean) = from_hex(hex).and_then(|bytes| scrubber.scrub_bytes(&bytes)) {
                *hex = to_hex(&clean);
            }
        }
        self
    }
}

/// What becomes of one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A file of UTF-8 text.
    Text {
        /// The whole text.
        content: String,
        /// Whether it may be executed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// A file of anything else.
    Binary {
        /// The whole content, in hex digits.
        hex: String,
        /// Whether it may be executed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// Where to.
        target: String,
    },
    /// A directory, made for itself or in place of something else.
    Directory,
    /// Nothing any more; a directory goes with all that is in it.
    Delete,
}

/// What happened to a folder between two snapshots of it. File contents are read now, and must be those of `after`.
///
/// # Errors
/// The changes are larger than a recording keeps, or a file has changed since `after`.
pub fn diff(before: &FileSnapshot, after: &FileSnapshot) -> Result<FilePatch, PatchError> {
    let differs =
        |path: &str, entry: &Entry| before.entries.get(path).is_none_or(|old| old.what != entry.what);
    let changed: Vec<(&String, &Entry)> =
        after.entries.iter().filter(|(path, entry)| differs(path, entry)).collect();
    check_size(&changed)?;
    let dir = Dir::open_ambient_dir(&after.root, cap_std::ambient_authority())
        .map_err(|error| PatchError::system("open", ".", &error))?;
    let mut changes = BTreeMap::new();
    for (path, entry) in changed {
        if path.contains('\u{fffd}') {
            return Err(PatchError::Name { path: path.clone() });
        }
        let change = match &entry.what {
            What::Link { target } => Change::Link { target: target.clone() },
            What::File { sha, executable } => read_change(&dir, after, path, sha, *executable)?,
            What::Directory if !before.entries.contains_key(path) && after.has_anything_below(path) => {
                continue;
            }
            What::Directory => Change::Directory,
        };
        changes.insert(path.clone(), change);
    }
    for path in before.entries.keys().filter(|path| !after.entries.contains_key(*path)) {
        if path.contains('\u{fffd}') {
            return Err(PatchError::Name { path: path.clone() });
        }
        let goes_with_its_folder =
            path.rsplit_once('/').is_some_and(|(folder, _)| !after.is_directory(folder));
        if !goes_with_its_folder {
            changes.insert(path.clone(), Change::Delete);
        }
    }
    Ok(FilePatch(changes))
}

fn check_size(changed: &[(&String, &Entry)]) -> Result<(), PatchError> {
    let mut files: Vec<(u64, &str)> = changed
        .iter()
        .filter(|(_, entry)| matches!(entry.what, What::File { .. }))
        .map(|(path, entry)| (entry.stamp.bytes, path.as_str()))
        .collect();
    let bytes = files.iter().map(|(bytes, _)| bytes).sum();
    if bytes <= limit::PATCH_BYTES {
        return Ok(());
    }
    files.sort_by_key(|(bytes, path)| (std::cmp::Reverse(*bytes), *path));
    let largest =
        files.iter().take(3).map(|(bytes, path)| format!("{path} ({bytes} bytes)")).collect::<Vec<_>>();
    Err(PatchError::Large { bytes, files: files.len(), largest: largest.join(", ") })
}

fn read_change(
    dir: &Dir,
    after: &FileSnapshot,
    path: &str,
    sha: &[u8; 32],
    executable: bool,
) -> Result<Change, PatchError> {
    let mut bytes = Vec::new();
    descend(dir, path, Missing::Refuse)
        .and_then(|(parent, name)| open_file(&parent, name))
        .and_then(|file| file.take(limit::PATCH_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| PatchError::system("read", path, &error))?;
    if Sha256::digest(&bytes)[..] != sha[..] {
        return Err(PatchError::Unsteady { path: path.to_owned() });
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Change::Text {
            content: replace_path(&text, &after.root.to_string_lossy(), SHOWN_ROOT),
            executable,
        },
        Ok(text) => Change::Binary { hex: to_hex(text.as_bytes()), executable },
        Err(error) => Change::Binary { hex: to_hex(error.as_bytes()), executable },
    })
}

impl FilePatch {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changes, by path.
    pub fn changes(&self) -> &BTreeMap<String, Change> {
        &self.0
    }

    /// The patch without the paths that something else has changed meanwhile.
    #[must_use]
    pub fn without(mut self, is_anothers: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|path, _| !is_anothers(path));
        self
    }

    /// Makes a folder hold what the patch makes, and nothing else but what belongs to the runner.
    ///
    /// # Errors
    /// As those of `apply`.
    pub fn apply_as_all(&self, root: &Path) -> Result<(), PatchError> {
        let is_folder = |path: &str| {
            let below = format!("{path}/");
            let next = self.0.range(below.clone()..).next();
            self.0.get(path) == Some(&Change::Directory)
                || next.is_some_and(|(next, _)| next.starts_with(&below))
        };
        let is_wanted = |path: &str| self.0.contains_key(path) || is_folder(path);
        let now = FileSnapshot::take(root)?;
        let mut all = self.clone();
        let in_the_way = now.entries.keys().filter(|path| !now.is_directory(path) && is_folder(path));
        all.0.extend(in_the_way.map(|path| (path.clone(), Change::Directory)));
        for path in now.entries.keys().filter(|path| !is_wanted(path)) {
            // What lies in a folder goes with it, and makes room with it for something else.
            if path.rsplit_once('/').is_none_or(|(folder, _)| is_folder(folder)) {
                all.0.insert(path.clone(), Change::Delete);
            }
        }
        all.apply(root)
    }

    /// Makes the changes in a folder. Nothing outside it is touched, whatever the patch says.
    ///
    /// # Errors
    /// A path of the patch is none it may have, or the system refuses.
    pub fn apply(&self, root: &Path) -> Result<(), PatchError> {
        let failed = |path: &str, error: &io::Error| PatchError::system("change", path, error);
        let root = std::fs::canonicalize(root).map_err(|error| failed(".", &error))?;
        let dir = Dir::open_ambient_dir(&root, cap_std::ambient_authority())
            .map_err(|error| failed(".", &error))?;
        for path in self.0.keys() {
            check_path(path)?;
        }
        for (path, change) in &self.0 {
            let content = change.bytes(path)?;
            apply_one(&dir, &root, path, change, &content).map_err(|error| failed(path, &error))?;
        }
        Ok(())
    }
}

impl Change {
    fn bytes(&self, path: &str) -> Result<Vec<u8>, PatchError> {
        match self {
            Self::Text { content, .. } => Ok(content.clone().into_bytes()),
            Self::Binary { hex, .. } => {
                from_hex(hex).ok_or_else(|| PatchError::Hex { path: path.to_owned() })
            }
            Self::Link { .. } | Self::Directory | Self::Delete => Ok(Vec::new()),
        }
    }
}

fn apply_one(dir: &Dir, root: &Path, path: &str, change: &Change, content: &[u8]) -> io::Result<()> {
    let missing = if *change == Change::Delete { Missing::Refuse } else { Missing::Make };
    let (parent, name) = match descend(dir, path, missing) {
        Err(error) if *change == Change::Delete && error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let old = match parent.symlink_metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => Some(other?),
    };
    let remove = || match &old {
        None => Ok(()),
        Some(old) if old.is_dir() => parent.remove_dir_all(name),
        Some(_) => parent.remove_file(name),
    };
    match change {
        Change::Delete => remove(),
        Change::Directory if old.as_ref().is_some_and(Metadata::is_dir) => Ok(()),
        Change::Directory => remove().and_then(|()| parent.create_dir(name)),
        Change::Link { target } => {
            remove()?;
            let target = match target.strip_prefix(SHOWN_ROOT) {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    root.join(rest.trim_start_matches('/'))
                }
                _ => PathBuf::from(target),
            };
            parent.symlink_contents(target, name)
        }
        Change::Text { executable, .. } | Change::Binary { executable, .. } => {
            if old.as_ref().is_some_and(Metadata::is_dir) {
                remove()?;
            }
            let mut file = cap_tempfile::TempFile::new(&parent)?;
            file.write_all(content)?;
            let mode = if *executable { 0o755 } else { 0o644 };
            file.as_file().set_permissions(Permissions::from_mode(mode))?;
            file.replace(name)
        }
    }
}

/// What is done about a folder on the way that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Refuse,
}

/// Opens the folder a path lies in, name by name; links are not followed.
fn descend<'a>(dir: &Dir, path: &'a str, missing: Missing) -> io::Result<(Dir, &'a str)> {
    let mut here = dir.try_clone()?;
    let Some((folders, name)) = path.rsplit_once('/') else { return Ok((here, path)) };
    for folder in folders.split('/') {
        here = match open_dir(&here, folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && missing == Missing::Make => {
                here.create_dir(folder)?;
                open_dir(&here, folder)?
            }
            other => other?,
        };
    }
    Ok((here, name))
}

fn check_path(path: &str) -> Result<(), PatchError> {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    let mut names = path.split('/');
    if names.clone().all(is_name) && !names.next().is_some_and(is_the_runners) {
        Ok(())
    } else {
        Err(PatchError::Path { path: path.escape_debug().to_string() })
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// Why changes of files cannot be recorded or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// More than a recording keeps.
    #[error(
        "the command changed {files} files with {bytes} bytes, more than the {} a recording keeps (largest: {largest}); let it write build output outside the workspace",
        limit::PATCH_BYTES
    )]
    Large {
        /// All changed files together.
        bytes: u64,
        /// How many.
        files: usize,
        /// The largest of them, for people.
        largest: String,
    },
    /// Something else wrote at the same time.
    #[error("{path} changed while it was being recorded; end what still writes to it")]
    Unsteady {
        /// Which file.
        path: String,
    },
    /// A name that is no text.
    #[error("the name of {path} is not UTF-8, so it cannot be recorded; rename it")]
    Name {
        /// As far as it can be shown.
        path: String,
    },
    /// Folders in folders without end.
    #[error("the folders below {path}… are nested more than {DEPTH} deep, too deep to be recorded")]
    Deep {
        /// How the path begins.
        path: String,
    },
    /// A path of a patch that leads out or to the runner's own files.
    #[error("the recording would change \"{path}\", which no command may; it was damaged or tampered with")]
    Path {
        /// As recorded, escaped.
        path: String,
    },
    /// Content that is not hex.
    #[error("the recorded content of {path} is not hex digits; the recording is damaged")]
    Hex {
        /// Which file.
        path: String,
    },
    /// The system said no.
    #[error("cannot {what} {path}: {reason}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl PatchError {
    pub(super) fn system(what: &'static str, path: &str, error: &io::Error) -> Self {
        Self::System { what, path: path.to_owned(), reason: plain(error) }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use proptest::prelude::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }

    fn state(root: &Path) -> Vec<(String, What)> {
        let snapshot = FileSnapshot::take(root).unwrap();
        snapshot.entries.into_iter().map(|(path, entry)| (path, entry.what)).collect()
    }

    #[test]
    fn only_what_differs_is_in_a_patch() {
        let before = folder(&[("same", b"x"), ("changed", b"a"), ("gone/one", b"1"), ("gone/two", b"2")]);
        let snapshot = FileSnapshot::take(before.path()).unwrap();
        std::fs::write(before.path().join("changed"), "b").unwrap();
        std::fs::remove_dir_all(before.path().join("gone")).unwrap();
        std::fs::create_dir_all(before.path().join(".runner/runs")).unwrap();
        std::fs::write(before.path().join(".runner-workspace"), "").unwrap();
        std::fs::create_dir_all(before.path().join("empty/er")).unwrap();
        std::fs::create_dir_all(before.path().join("new")).unwrap();
        std::fs::write(before.path().join("new/bin"), b"\xff\x00").unwrap();
        let patch = diff(&snapshot, &snapshot.take_again().unwrap()).unwrap();
        assert_eq!(
            serde_json::to_value(&patch).unwrap(),
            serde_json::json!({
                "changed": {"text": {"content": "b"}},
                "empty/er": "directory",
                "gone": "delete",
                "new/bin": {"binary": {"hex": "ff00"}},
            })
        );
        let patch = patch.without(|path| path == "gone");
        assert_eq!(patch.changes().len(), 3);
    }

    #[test]
    fn a_rewrite_of_equal_size_within_one_tick_is_seen() {
        let dir = folder(&[("f", b"aaaa")]);
        for round in 0..50u8 {
            let before = FileSnapshot::take(dir.path()).unwrap();
            std::fs::write(dir.path().join("f"), [round; 4]).unwrap();
            assert!(!diff(&before, &before.take_again().unwrap()).unwrap().is_empty(), "round {round}");
        }
    }

    #[test]
    fn the_folders_own_path_is_not_recorded() {
        let (from, to) = (folder(&[]), folder(&[]));
        let before = FileSnapshot::take(from.path()).unwrap();
        let real = std::fs::canonicalize(from.path()).unwrap();
        std::fs::write(from.path().join("f"), format!("in {}/f", real.display())).unwrap();
        std::os::unix::fs::symlink(real.join("f"), from.path().join("l")).unwrap();
        let patch = diff(&before, &before.take_again().unwrap()).unwrap();
        assert!(!serde_json::to_string(&patch).unwrap().contains(real.to_str().unwrap()));
        patch.apply(to.path()).unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join("l")).unwrap(), "in /work/f");
    }

    #[test]
    fn a_patch_cannot_reach_outside() {
        let (dir, outside) = (folder(&[]), folder(&[("f", b"safe")]));
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        for path in ["../f", "/etc/f", "a/../../f", "a//b", "", ".runner/x", ".Beads/x", "link/f", "."] {
            let json = serde_json::json!({path: {"text": {"content": "harm"}}});
            let patch: FilePatch = serde_json::from_value(json).unwrap();
            assert!(patch.apply(dir.path()).is_err(), "{path}");
        }
        assert_eq!(std::fs::read(outside.path().join("f")).unwrap(), b"safe");
    }

    #[test]
    fn a_name_that_is_no_text_is_refused_only_when_it_changes() {
        use std::os::unix::ffi::OsStrExt;
        let dir = folder(&[]);
        let before = FileSnapshot::take(dir.path()).unwrap();
        std::fs::write(dir.path().join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        let after = before.take_again().unwrap();
        assert!(matches!(diff(&before, &after), Err(PatchError::Name { .. })));
        assert!(matches!(diff(&after, &before), Err(PatchError::Name { .. })));
        assert!(diff(&after, &after.take_again().unwrap()).unwrap().is_empty());
    }

    #[test]
    fn too_large_a_change_names_the_culprit() {
        let dir = folder(&[]);
        let before = FileSnapshot::take(dir.path()).unwrap();
        let file = std::fs::File::create(dir.path().join("big")).unwrap();
        file.set_len(limit::PATCH_BYTES + 1).unwrap();
        let error = diff(&before, &before.take_again().unwrap()).unwrap_err();
        assert!(error.to_string().contains("big (4194305 bytes)"), "{error}");
    }

    /// A tree that any two of which may differ in every way: kinds, contents, depth, rights.
    #[derive(Debug, Clone)]
    enum Node {
        File(Vec<u8>, bool),
        Link(String),
        Folder(BTreeMap<String, Node>),
    }

    fn node() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            (prop::collection::vec(any::<u8>(), 0..8), any::<bool>()).prop_map(|(b, x)| Node::File(b, x)),
            ("[a-c]{0,4}", any::<bool>()).prop_map(|(text, x)| Node::File(text.into_bytes(), x)),
            "[a-c]".prop_map(Node::Link),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(Node::Folder)
        })
    }

    fn build(node: &Node, at: &Path) {
        match node {
            Node::File(content, executable) => {
                std::fs::write(at, content).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                let rights = std::os::unix::fs::PermissionsExt::from_mode(mode);
                std::fs::set_permissions(at, rights).unwrap();
            }
            Node::Link(target) => std::os::unix::fs::symlink(target, at).unwrap(),
            Node::Folder(children) => {
                std::fs::create_dir(at).unwrap();
                children.iter().for_each(|(name, child)| build(child, &at.join(name)));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_patch_makes_after_out_of_before(before in node(), after in node()) {
            let dirs = [folder(&[]), folder(&[]), folder(&[])];
            for (dir, node) in dirs.iter().zip([&before, &after, &before]) {
                build(node, &dir.path().join("top"));
            }
            let snapshots = [FileSnapshot::take(dirs[0].path()), FileSnapshot::take(dirs[1].path())];
            let [Ok(one), Ok(two)] = snapshots else { panic!("snapshots are taken") };
            let patch = diff(&one, &two).unwrap();
            let read_back: FilePatch = serde_json::from_str(&serde_json::to_string(&patch).unwrap()).unwrap();
            prop_assert_eq!(&read_back, &patch);
            read_back.apply(dirs[2].path()).unwrap();
            prop_assert_eq!(state(dirs[2].path()), state(dirs[1].path()));
            read_back.apply(dirs[2].path()).unwrap();
            prop_assert_eq!(state(dirs[2].path()), state(dirs[1].path()));
            let all = diff(&one.emptied(), &one).unwrap();
            all.apply_as_all(dirs[2].path()).unwrap();
            prop_assert_eq!(state(dirs[2].path()), state(dirs[0].path()));
        }
    }
}
