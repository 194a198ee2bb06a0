//! Where agents work: the one folder their tools may touch, how paths in it are written, and how one is resolved without leaving it.
//!
//! A path is resolved name by name from an open handle of the folder, and every link is followed by hand. So nothing
//! that happens to the folder meanwhile (a directory swapped for a link, say) can lead out of it: the worst outcome is
//! an error. Files that are hard links to something outside cannot be told from others; writing replaces the name and
//! leaves the other file as it was.

use std::collections::VecDeque;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use cap_std::fs::{Dir, FileTypeExt, Metadata, OpenOptions, OpenOptionsExt};
use nix::libc::{O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};

use super::jobs::JobBoard;
use super::work_path::is_reserved;
use crate::secret::Scrubber;

pub(super) use super::work_path::is_the_runners;
pub use super::work_path::{PathError, WorkPath};

/// How the workspace is called towards a model, wherever it really is.
pub const SHOWN_ROOT: &str = "/work";

/// The file that says that the runner made a workspace and may empty it.
pub const MARKER: &str = ".runner-workspace";

/// The folder at the top of a workspace where results of tools are kept that are too large to be shown.
pub const RESULTS: &str = ".runner-results";

/// The folder at the top of a workspace that holds the folders of workers who have one for themselves. Everybody may look
/// into it who works in the whole.
pub const WORKERS: &str = ".runner-workers";

/// Names at the top of a workspace that belong to the runner: no file tool touches them, no patch holds them. One who
/// was told of a file below [`RESULTS`] may read it.
pub const RESERVED: [&str; 4] = [".beads", ".runner", MARKER, RESULTS];

/// Links followed in one path; as many as the kernel follows.
const LINKS: u32 = 40;

/// Longest name of one file. Bytes; the bound of the usual file systems.
const NAME_BYTES: usize = 255;

/// Longest path a call may give. Bytes; what is longer reaches no program that is given it.
pub(super) const PATH_BYTES: usize = 4_000;

/// Folders a file may lie in, one within the other: what tools can make they can also search and record.
pub(super) const FOLDERS: usize = 100;

/// The folder agents work in, held open. One is shared by all sessions of a run, but for those that work in a folder of it.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    dir: Dir,
    /// Where it lies in the workspace of the run.
    place: WorkPath,
    scrubber: Scrubber,
    /// The folder's own paths, and what is shown for each.
    spellings: Vec<(String, String)>,
    jobs: Arc<JobBoard>,
    pub(super) writing: Arc<Mutex<()>>,
}

impl Workspace {
    /// Opens a folder that exists.
    ///
    /// # Errors
    /// It does not exist, is no folder, or may not be read.
    pub fn open(root: &Path, scrubber: Scrubber) -> io::Result<Self> {
        let real = std::fs::canonicalize(root)?;
        let dir = Dir::open_ambient_dir(&real, cap_std::ambient_authority())?;
        let spellings = spellings(&[&real, root], SHOWN_ROOT);
        let (place, jobs, writing) = (WorkPath::top(), Arc::default(), Arc::default());
        Ok(Self { root: real, dir, place, scrubber, spellings, jobs, writing })
    }

    /// A folder of it as the workspace of sessions that work in it and nowhere else. Writing in it and jobs in the background
    /// are in one order with those of the whole.
    ///
    /// # Errors
    /// It does not exist, is no folder, or may not be read.
    pub fn below(&self, folder: &WorkPath) -> Result<Self, PathError> {
        let failed = |error: &io::Error| PathError::System {
            path: folder.to_string(),
            reason: self.show(&plain(error)),
        };
        let found = self.find(folder)?;
        if found.kind != Kind::Directory {
            let missing = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(failed(&missing));
        }
        let dir = open_dir(&found.parent, &found.name).map_err(|error| failed(&error))?;
        let root = self.root.join(found.path.to_string());
        let up = found.path.0.iter().fold(SHOWN_ROOT.to_owned(), |shown, _| shown + "/..");
        let above = self.spellings.iter().map(|(spelling, shown)| {
            let further = shown.strip_prefix(SHOWN_ROOT).unwrap_or(shown);
            (spelling.clone(), format!("{up}{further}"))
        });
        let own = self.spellings.iter().filter(|(_, shown)| shown == SHOWN_ROOT);
        let own: Vec<PathBuf> =
            own.map(|(spelling, _)| Path::new(spelling).join(found.path.to_string())).collect();
        let own: Vec<&Path> = own.iter().map(PathBuf::as_path).collect();
        Ok(Self {
            root,
            dir,
            place: self.place.join(&found.path),
            scrubber: self.scrubber.clone(),
            // The longer before the shorter, which stands within it.
            spellings: spellings(&own, SHOWN_ROOT).into_iter().chain(above).collect(),
            jobs: self.jobs.clone(),
            writing: self.writing.clone(),
        })
    }

    /// Makes a folder and those it lies in, if they are not there.
    ///
    /// # Errors
    /// A link leads out, something else stands there, or the system refuses.
    pub fn make(&self, folder: &WorkPath) -> Result<(), PathError> {
        let failed = |error: &io::Error| PathError::System {
            path: folder.to_string(),
            reason: self.show(&plain(error)),
        };
        let found = self.find(folder)?;
        match found.kind {
            Kind::Directory => Ok(()),
            Kind::Missing => {
                let parent = found.make_parent().map_err(|error| failed(&error))?;
                match parent.create_dir(&found.name) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(&error)),
                    _ => Ok(()),
                }
            }
            Kind::File { .. } | Kind::Special(_) => {
                Err(PathError::NotADirectory { path: folder.to_string() })
            }
        }
    }

    /// The folder's absolute path; for starting processes in it, never for a model.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The name of one of its paths in footprints.
    pub(super) fn resource(&self, path: &WorkPath) -> String {
        path.resource(&self.place)
    }

    /// The commands that go on in it in the background.
    pub fn jobs(&self) -> &Arc<JobBoard> {
        &self.jobs
    }

    /// The scrubber of the run.
    pub fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    /// A text as a model may see it: without secrets, and with `/work` where the folder's own path stood.
    pub fn show(&self, text: &str) -> String {
        let mut shown = self.scrubber.scrub(text);
        for (spelling, instead) in &self.spellings {
            shown = replace_path(&shown, spelling, instead);
        }
        shown
    }

    /// Reads a path as a model writes it: relative to `base`, or from the top when it begins with `/work/`.
    ///
    /// # Errors
    /// It is no path, or leads out of the workspace.
    pub fn read_path(&self, base: &WorkPath, given: &str) -> Result<WorkPath, PathError> {
        let shown = || self.show(given);
        if given.is_empty() {
            return Err(PathError::Empty);
        }
        if given.chars().any(char::is_control) {
            return Err(PathError::OddName { path: given.escape_default().to_string() });
        }
        if given.len() > PATH_BYTES {
            return Err(PathError::Long { path: shown().chars().take(40).collect() });
        }
        if given == "~" || given.starts_with("~/") {
            return Err(PathError::Outside { path: shown() });
        }
        let (mut names, rest) = match given.strip_prefix(SHOWN_ROOT) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => (Vec::new(), rest),
            _ if given.starts_with('/') => return Err(PathError::Outside { path: shown() }),
            _ => (base.0.clone(), given),
        };
        for name in rest.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop().ok_or_else(|| PathError::Outside { path: shown() })?;
                }
                name if name.len() > NAME_BYTES => {
                    return Err(PathError::LongName { name: shown().chars().take(40).collect() });
                }
                name => names.push(name.to_owned()),
            }
        }
        if names.len() > FOLDERS + 1 {
            return Err(PathError::Deep { path: shown().chars().take(40).collect() });
        }
        let path = WorkPath(names);
        if path.is_reserved() { Err(PathError::Reserved { path: path.to_string() }) } else { Ok(path) }
    }

    /// Walks to a path from the top, following links that stay inside.
    ///
    /// # Errors
    /// A link leads out, too many links, a file stands where a directory should, or the system refuses.
    pub(super) fn find(&self, path: &WorkPath) -> Result<Found, PathError> {
        let mut walk = Walk { workspace: self, path, above: Vec::new(), links: 0 };
        let mut ahead: VecDeque<String> = path.0.iter().cloned().collect();
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                walk.above.pop().ok_or_else(|| walk.outside())?;
                continue;
            }
            if walk.above.is_empty() && is_reserved(&name) {
                return Err(PathError::Reserved { path: path.to_string() });
            }
            let metadata = match walk.here().symlink_metadata(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return walk.missing(name, ahead);
                }
                other => other.map_err(|error| walk.failed(&error))?,
            };
            if metadata.is_symlink() {
                walk.follow(&name, &mut ahead)?;
            } else if ahead.is_empty() {
                return walk.arrived(name, Some(&metadata));
            } else if metadata.is_dir() {
                let next = open_dir(walk.here(), &name).map_err(|error| walk.failed(&error))?;
                walk.above.push((name, next));
            } else {
                return Err(PathError::NotADirectory { path: path.to_string() });
            }
        }
        walk.ended_above()
    }
}

/// What a walk came to.
pub(super) struct Found {
    /// The directory that holds it, open.
    pub(super) parent: Dir,
    /// Its name there; `.` for the top.
    pub(super) name: String,
    /// Its path with every link resolved.
    pub(super) path: WorkPath,
    /// What it is.
    pub(super) kind: Kind,
    /// Directories between `parent` and `name` that do not exist.
    pub(super) missing: Vec<String>,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Missing,
    File {
        bytes: u64,
    },
    Directory,
    /// Something that is neither, by its name for people.
    Special(&'static str),
}

impl Kind {
    pub(super) fn of(metadata: &Metadata) -> Self {
        kind_of(metadata)
    }
}

impl Found {
    /// Opens the file for reading; never waits, never follows a link that has come since.
    pub(super) fn open(&self) -> io::Result<cap_std::fs::File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK);
        let file = self.parent.open_with(&self.name, &options)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is no regular file any more; try again"))
        }
    }

    /// The directory that will hold the file, made if need be.
    pub(super) fn make_parent(&self) -> io::Result<Dir> {
        let mut dir = self.parent.try_clone()?;
        for name in &self.missing {
            match dir.create_dir(name) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => dir = open_dir(&dir, name)?,
            }
        }
        Ok(dir)
    }
}

struct Walk<'a> {
    workspace: &'a Workspace,
    path: &'a WorkPath,
    above: Vec<(String, Dir)>,
    links: u32,
}

impl Walk<'_> {
    fn here(&self) -> &Dir {
        self.above.last().map_or(&self.workspace.dir, |(_, dir)| dir)
    }

    fn outside(&self) -> PathError {
        PathError::Outside { path: self.path.to_string() }
    }

    fn failed(&self, error: &io::Error) -> PathError {
        PathError::System { path: self.path.to_string(), reason: self.workspace.show(&plain(error)) }
    }

    fn follow(&mut self, name: &str, ahead: &mut VecDeque<String>) -> Result<(), PathError> {
        self.links += 1;
        if self.links > LINKS {
            return Err(PathError::Links { path: self.path.to_string() });
        }
        let target = self.here().read_link_contents(name).map_err(|error| self.failed(&error))?;
        let target = if target.is_absolute() {
            let inside = target.strip_prefix(&self.workspace.root).map_err(|_| self.outside())?.to_owned();
            self.above.clear();
            inside
        } else {
            target
        };
        for component in target.components().rev() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => ahead.push_front("..".to_owned()),
                Component::Normal(name) => {
                    ahead.push_front(name.to_str().ok_or_else(|| self.outside())?.to_owned());
                }
                Component::RootDir | Component::Prefix(_) => return Err(self.outside()),
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.above.iter().map(|(name, _)| name.clone()).collect()
    }

    fn arrived(self, name: String, metadata: Option<&Metadata>) -> Result<Found, PathError> {
        let mut names = self.names();
        names.push(name.clone());
        let kind = metadata.map_or(Kind::Missing, kind_of);
        let parent = self.here().try_clone().map_err(|error| self.failed(&error))?;
        Ok(Found { parent, name, path: WorkPath(names), kind, missing: Vec::new() })
    }

    fn missing(self, name: String, ahead: VecDeque<String>) -> Result<Found, PathError> {
        let mut rest = vec![name];
        for name in ahead {
            if name == ".." {
                rest.pop().ok_or_else(|| self.outside())?;
            } else {
                rest.push(name);
            }
        }
        let name = rest.pop().ok_or_else(|| self.outside())?;
        let mut names = self.names();
        names.extend(rest.iter().cloned());
        let found = self.arrived(name.clone(), None)?;
        names.push(name);
        Ok(Found { missing: rest, path: WorkPath(names), ..found })
    }

    /// The path ended on a directory that was already entered: the top, or one that a link names by `..`.
    fn ended_above(self) -> Result<Found, PathError> {
        let parent = self.here().try_clone().map_err(|error| self.failed(&error))?;
        let path = WorkPath(self.names());
        Ok(Found { parent, name: ".".to_owned(), path, kind: Kind::Directory, missing: Vec::new() })
    }
}

fn kind_of(metadata: &Metadata) -> Kind {
    let kind = metadata.file_type();
    if kind.is_file() {
        Kind::File { bytes: metadata.len() }
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_fifo() {
        Kind::Special("a FIFO")
    } else if kind.is_socket() {
        Kind::Special("a socket")
    } else if kind.is_block_device() || kind.is_char_device() {
        Kind::Special("a device")
    } else {
        Kind::Special("no regular file")
    }
}

/// Opens a directory by one name, which must not be a link.
pub(super) fn open_dir(parent: &Dir, name: impl AsRef<Path>) -> io::Result<Dir> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
    Ok(Dir::from_std_file(parent.open_with(name, &options)?.into_std()))
}

/// What the system says, without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The ways a folder's absolute path is written, the longest first, each with what is shown for it.
fn spellings(paths: &[&Path], shown: &str) -> Vec<(String, String)> {
    let mut spellings: Vec<String> =
        paths.iter().filter_map(|path| path.to_str()).map(str::to_owned).collect();
    spellings.retain(|text| text.len() > 1 && text.starts_with('/'));
    spellings.iter_mut().for_each(|text| text.truncate(text.trim_end_matches('/').len()));
    spellings.sort_by_key(|text| std::cmp::Reverse(text.len()));
    spellings.dedup();
    spellings.into_iter().map(|spelling| (spelling, shown.to_owned())).collect()
}

/// Replaces a path where it stands as a whole: `/tmp/w` in `/tmp/w/a`, not in `/tmp/w2`.
pub(super) fn replace_path(text: &str, path: &str, instead: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(path) {
        let after = &rest[at + path.len()..];
        let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
        out.push_str(&rest[..at]);
        out.push_str(if goes_on { path } else { instead });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(dir.path(), Scrubber::default()).unwrap();
        (dir, workspace)
    }

    #[test]
    fn paths_are_read_from_the_base_or_the_top() {
        let (_dir, workspace) = workspace();
        let base = workspace.read_path(&WorkPath::top(), "src").unwrap();
        let read = |given: &str| workspace.read_path(&base, given).map(|path| path.to_string());
        assert_eq!(read("a.rs").unwrap(), "src/a.rs");
        assert_eq!(read("./x//../a.rs/").unwrap(), "src/a.rs");
        assert_eq!(read("/work/a.rs").unwrap(), "a.rs");
        assert_eq!(read("..").unwrap(), ".");
        for outside in ["../..", "/workshop/a", "/etc/passwd", "~/x", "/work/../x", "a/../../../b"] {
            assert!(matches!(read(outside), Err(PathError::Outside { .. })), "{outside}");
        }
        for reserved in ["/work/.beads/x", "../.runner", "../.Runner/runs", "/work/a/../.runner-workspace"] {
            assert!(matches!(read(reserved), Err(PathError::Reserved { .. })), "{reserved}");
        }
        assert_eq!(read("").unwrap_err(), PathError::Empty);
        assert!(matches!(read("a\nb"), Err(PathError::OddName { .. })));
        assert!(matches!(read(&"n".repeat(256)), Err(PathError::LongName { .. })));
    }

    #[test]
    fn links_are_resolved_inside_and_refused_outside() {
        let (dir, workspace) = workspace();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "x").unwrap();
        link("d", "to-dir");
        link(workspace.root().join("d/f").to_str().unwrap(), "absolute");
        link("nowhere/new", "dangling");
        link("..", "d/up");
        link("loop", "loop");
        link("../outside", "escape");
        link("/etc", "etc");
        let find = |given: &str| {
            workspace.find(&workspace.read_path(&WorkPath::top(), given).unwrap()).map(|found| {
                let missing = found.missing.len();
                (found.path.to_string(), found.kind, missing)
            })
        };
        assert_eq!(find("to-dir/f").unwrap(), ("d/f".to_owned(), Kind::File { bytes: 1 }, 0));
        assert_eq!(find("absolute").unwrap().0, "d/f");
        assert_eq!(find("d/up/d/f").unwrap().0, "d/f");
        assert_eq!(find("d/up").unwrap(), (".".to_owned(), Kind::Directory, 0));
        assert_eq!(find("dangling").unwrap(), ("nowhere/new".to_owned(), Kind::Missing, 1));
        assert!(matches!(find("loop"), Err(PathError::Links { .. })));
        assert!(matches!(find("escape"), Err(PathError::Outside { .. })));
        assert!(matches!(find("etc/passwd"), Err(PathError::Outside { .. })));
        assert!(matches!(find("d/f/g"), Err(PathError::NotADirectory { .. })));
    }

    #[test]
    fn the_folder_is_shown_as_work() {
        let (_dir, workspace) = workspace();
        let root = workspace.root().display().to_string();
        assert_eq!(workspace.show(&format!("in {root}/a and {root}.")), "in /work/a and /work.");
        assert_eq!(workspace.show(&format!("{root}-old")), format!("{root}-old"));
    }

    #[test]
    fn a_folder_of_it_is_a_workspace_and_stays_inside() {
        let (dir, whole) = workspace();
        std::fs::create_dir_all(dir.path().join("docs/api")).unwrap();
        std::fs::write(dir.path().join("docs/api/a.md"), "x").unwrap();
        std::fs::write(dir.path().join("top.md"), "x").unwrap();
        std::os::unix::fs::symlink("../../top.md", dir.path().join("docs/api/up")).unwrap();
        std::os::unix::fs::symlink(whole.root().join("top.md"), dir.path().join("docs/api/absolute"))
            .unwrap();
        let read = |given: &str| whole.read_path(&WorkPath::top(), given).unwrap();
        let api = whole.below(&read("docs")).unwrap().below(&read("api")).unwrap();
        let path = api.read_path(&WorkPath::top(), "/work/a.md").unwrap();
        assert_eq!(api.find(&path).unwrap().kind, Kind::File { bytes: 1 });
        assert_eq!(api.resource(&path), "fs:docs/api/a.md");
        assert!(api.read_path(&WorkPath::top(), "../x").is_err());
        for name in ["up", "absolute"] {
            assert!(matches!(api.find(&read(name)), Err(PathError::Outside { .. })), "{name}");
        }
        let root = whole.root().display().to_string();
        assert_eq!(
            api.show(&format!("{root}/docs/api/a.md {root}/docs {root}/top.md {root}-old")),
            format!("/work/a.md /work/.. /work/../../top.md {root}-old")
        );
        assert!(whole.below(&read("top.md")).is_err() && whole.below(&read("none")).is_err());
    }

    #[test]
    fn resources_survive_a_ledger_line() {
        let (_dir, workspace) = workspace();
        let path = workspace.read_path(&WorkPath::top(), "a,b [c]/*").unwrap();
        assert_eq!(workspace.resource(&path), "fs:a%2Cb%20%5Bc%5D/%2A");
    }
}
