//! Which files a search comes to, and in which order: names ascending, folders where their name stands.

use std::io::{self, Read};
use std::path::Path;

use cap_std::fs::Dir;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use tokio_util::sync::CancellationToken;

use super::super::arguments::Arguments;
use super::super::workspace::{Found, Kind, WorkPath, open_dir};
use super::{Place, SearchError};

/// Entries looked at in one search. Beyond it the search ends and says so.
const ENTRIES: usize = 200_000;

/// Folders within each other that are entered; as many handles are open at once.
const DEPTH: usize = 100;

/// Bytes read of a file of ignore rules.
const RULES_BYTES: u64 = 256 * 1024;

/// Folders that hold what programs made, passed over as if a rule said so.
const MADE: [&str; 13] = [
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    "target",
    "__pycache__",
    ".venv",
    "venv",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".DS_Store",
];

/// The files that hold rules; the later wins.
const RULE_FILES: [&str; 2] = [".gitignore", ".ignore"];

/// Whether ignore rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignored {
    LeftOut,
    Included,
}

impl Ignored {
    pub(super) fn read(arguments: Arguments<'_>) -> Result<Self, SearchError> {
        Ok(if arguments.flag("include_ignored")? { Self::Included } else { Self::LeftOut })
    }
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Whole,
    /// It came to too many entries, or too deep.
    Part,
}

/// A file or folder that a search comes to.
pub(super) struct Visit {
    /// What it is, ready to be opened.
    pub(super) found: Found,
    /// Its path from where the search began; its name when that is the file itself.
    pub(super) below: String,
}

/// Goes through everything at and below `start`.
///
/// # Errors
/// The search was stopped, or what is done with a visit fails.
pub(super) fn walk(
    place: &Place,
    start: Found,
    ignored: Ignored,
    cancel: &CancellationToken,
    visit: &mut dyn FnMut(Visit) -> Result<(), SearchError>,
) -> Result<Reach, SearchError> {
    let allowed = place.allowed();
    if matches!(start.kind, Kind::File { .. }) {
        if is_allowed(&start.path, allowed.as_deref()) {
            let below = start.name.clone();
            visit(Visit { found: start, below })?;
        }
        return Ok(Reach::Whole);
    }
    let mut steps =
        Steps { allowed, cancel, visit, seen: 0, reach: Reach::Whole, rules: Vec::new(), ignored };
    let dir = if start.name == "." { start.parent.try_clone() } else { open_dir(&start.parent, &start.name) };
    let Ok(dir) = dir else { return Err(SearchError::NotFound { path: start.path.to_string() }) };
    if ignored == Ignored::LeftOut {
        steps.rules_above(place, &start.path);
    }
    steps.enter(&dir, &start.path, "")?;
    Ok(steps.reach)
}

fn is_allowed(path: &WorkPath, allowed: Option<&[WorkPath]>) -> bool {
    allowed.is_none_or(|allowed| allowed.iter().any(|folder| path.is_within(folder)))
}

struct Steps<'a> {
    allowed: Option<Vec<WorkPath>>,
    cancel: &'a CancellationToken,
    visit: &'a mut dyn FnMut(Visit) -> Result<(), SearchError>,
    seen: usize,
    reach: Reach,
    ignored: Ignored,
    /// The rules that hold here, outermost first, with the folder that holds them.
    rules: Vec<(WorkPath, Gitignore)>,
}

impl Steps<'_> {
    /// Takes up the rules of the folders that `path` lies in.
    fn rules_above(&mut self, place: &Place, path: &WorkPath) {
        for folder in path.folders_above() {
            let Ok(found) = place.workspace.find(&folder) else { continue };
            let dir = if found.name == "." {
                found.parent.try_clone()
            } else {
                open_dir(&found.parent, &found.name)
            };
            if let Ok(dir) = dir {
                self.rules.extend(rules_of(&dir, &folder));
            }
        }
    }

    fn enter(&mut self, dir: &Dir, path: &WorkPath, below: &str) -> Result<(), SearchError> {
        if path.depth() > DEPTH {
            self.reach = Reach::Part;
            return Ok(());
        }
        let rules = self.rules.len();
        if self.ignored == Ignored::LeftOut {
            self.rules.extend(rules_of(dir, path));
        }
        for name in names(dir) {
            if self.cancel.is_cancelled() {
                return Err(SearchError::Stopped);
            }
            if self.seen == ENTRIES {
                self.reach = Reach::Part;
                break;
            }
            self.seen += 1;
            self.come_to(dir, path, below, &name)?;
        }
        self.rules.truncate(rules);
        Ok(())
    }

    fn come_to(&mut self, dir: &Dir, folder: &WorkPath, below: &str, name: &str) -> Result<(), SearchError> {
        let Some(path) = folder.entry(name) else { return Ok(()) };
        // What has gone meanwhile is not there.
        let Ok(metadata) = dir.symlink_metadata(name) else { return Ok(()) };
        if metadata.is_symlink() {
            return Ok(());
        }
        let kind = Kind::of(&metadata);
        let is_folder = kind == Kind::Directory;
        if self.ignored == Ignored::LeftOut && self.is_ignored(&path, name, is_folder) {
            return Ok(());
        }
        let below = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        if is_allowed(&path, self.allowed.as_deref())
            && matches!(kind, Kind::File { .. } | Kind::Directory)
            && let Ok(parent) = dir.try_clone()
        {
            let found =
                Found { parent, name: name.to_owned(), path: path.clone(), kind, missing: Vec::new() };
            (self.visit)(Visit { found, below: below.clone() })?;
        }
        if is_folder && let Ok(next) = open_dir(dir, name) {
            self.enter(&next, &path, &below)?;
        }
        Ok(())
    }

    fn is_ignored(&self, path: &WorkPath, name: &str, is_folder: bool) -> bool {
        for (folder, rules) in self.rules.iter().rev() {
            let below = path.below(folder);
            match rules.matched(Path::new(&below), is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        MADE.contains(&name) || path.is_workers()
    }
}

/// The names in a folder, ascending. Those that are no text cannot be named in a call, and are left out.
fn names(dir: &Dir) -> Vec<String> {
    let Ok(entries) = dir.entries() else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn rules_of(dir: &Dir, folder: &WorkPath) -> Option<(WorkPath, Gitignore)> {
    // What keeps the folders of workers out of git keeps nobody from searching one of them.
    if folder.is_workers() {
        return None;
    }
    let mut builder = GitignoreBuilder::new(".");
    let mut any = false;
    for name in RULE_FILES {
        let Ok(text) = read_rules(dir, folder, name) else { continue };
        any = true;
        for line in text.lines() {
            // A line that is no rule means nothing, as it does to git.
            let _ = builder.add_line(None, line);
        }
    }
    if !any {
        return None;
    }
    Some((folder.clone(), builder.build().ok()?))
}

fn read_rules(dir: &Dir, folder: &WorkPath, name: &str) -> io::Result<String> {
    let metadata = dir.symlink_metadata(name)?;
    let path = folder.entry(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let found = Found {
        parent: dir.try_clone()?,
        name: name.to_owned(),
        path,
        kind: Kind::of(&metadata),
        missing: Vec::new(),
    };
    let mut bytes = Vec::new();
    found.open()?.take(RULES_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
