//! How a file of the workspace is called: a path below its top, whose names belong to nobody else, and why one is not taken.

use std::fmt;

use super::workspace::{FOLDERS, PATH_BYTES, RESERVED, RESULTS, WORKERS};

/// A path in the workspace: names from the top, no dots, no slash at either end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkPath(pub(super) Vec<String>);

impl WorkPath {
    /// The top of the workspace.
    pub fn top() -> Self {
        Self::default()
    }

    /// What is called `other` within this folder.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self([self.0.as_slice(), other.0.as_slice()].concat())
    }

    /// The folder it lies in, and its name there; `None` for the top.
    pub fn split(&self) -> Option<(Self, &str)> {
        let (name, above) = self.0.split_last()?;
        Some((Self(above.to_vec()), name))
    }

    /// Whether it is the top.
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Its name in footprints, where paths of this one's folder are told from the top of the run's workspace. Characters that a
    /// ledger line gives a meaning are written as `%XX`.
    pub(super) fn resource(&self, folder: &Self) -> String {
        let mut out = String::from("fs:");
        for c in folder.join(self).to_string().chars() {
            if c.is_whitespace() || "%,;[]*".contains(c) {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            } else {
                out.push(c);
            }
        }
        out
    }

    /// Whether this is where results of tools are kept: files there are read by those who were told of them, no more.
    pub fn is_in_results(&self) -> bool {
        self.0.first().is_some_and(|name| name.eq_ignore_ascii_case(RESULTS))
    }

    /// Whether this is where the folders lie that workers have for themselves.
    pub(super) fn is_workers(&self) -> bool {
        matches!(self.0.as_slice(), [name] if name == WORKERS)
    }

    /// What a folder's entry is called; `None` when it belongs to the runner, or its name is none that a call can give.
    pub(super) fn entry(&self, name: &str) -> Option<Self> {
        if name.chars().any(char::is_control) {
            return None;
        }
        let mut names = self.0.clone();
        names.push(name.to_owned());
        // Kept results are read by those who were told of them, and found by nobody else.
        Some(Self(names))
            .filter(|path| !path.is_reserved() && (self.is_in_results() || !path.is_in_results()))
    }

    /// The folders it lies in, the top first.
    pub(super) fn folders_above(&self) -> impl Iterator<Item = Self> {
        (0..self.0.len()).map(|names| Self(self.0[..names].to_vec()))
    }

    /// How many names it has.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// The part of it below a folder it lies in.
    pub(super) fn below(&self, folder: &Self) -> String {
        self.0[folder.0.len().min(self.0.len())..].join("/")
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.0.first().is_some_and(|name| is_reserved(name))
    }
}

impl fmt::Display for WorkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str(".") } else { f.write_str(&self.0.join("/")) }
    }
}

/// Why a path is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No path at all.
    #[error("the path is empty; give one relative to the workspace, such as notes.md")]
    Empty,
    /// Control characters in it.
    #[error("the path \"{path}\" holds a control character; use a plain name")]
    OddName {
        /// The path, escaped.
        path: String,
    },
    /// A name no file system takes.
    #[error("a name in \"{name}…\" is longer than 255 bytes; use a shorter one")]
    LongName {
        /// How the path begins.
        name: String,
    },
    /// More than a program can be given.
    #[error("the path \"{path}…\" is longer than {PATH_BYTES} bytes; use a shorter one")]
    Long {
        /// How the path begins.
        path: String,
    },
    /// Folders in folders without end.
    #[error("the path \"{path}…\" leads more than {FOLDERS} folders deep; use fewer")]
    Deep {
        /// How the path begins.
        path: String,
    },
    /// It leads out.
    #[error(
        "Access denied: {path} is outside the workspace; use a path relative to it, or one that begins with /work/"
    )]
    Outside {
        /// As given.
        path: String,
    },
    /// It belongs to the runner.
    #[error(
        "Access denied: {path} belongs to the runner; work on other files (issues are reached with the issue tool)"
    )]
    Reserved {
        /// As given.
        path: String,
    },
    /// A file where a directory should be.
    #[error(
        "{path} leads through a file that is not a directory; list its parent with read_file to see what is there"
    )]
    NotADirectory {
        /// As given.
        path: String,
    },
    /// Links without end.
    #[error("{path} leads through too many links; use the real path")]
    Links {
        /// As given.
        path: String,
    },
    /// The system said no.
    #[error("cannot reach {path}: {reason}")]
    System {
        /// As given.
        path: String,
        /// What it said.
        reason: String,
    },
}

pub(super) fn is_reserved(name: &str) -> bool {
    name != RESULTS && is_the_runners(name)
}

/// Whether a name at the top of a workspace belongs to the runner, or some file system takes it for one that does: there are
/// those that fold case, by Unicode's rules, and those that leave characters out that nobody sees.
pub(super) fn is_the_runners(name: &str) -> bool {
    let seen = |c: &char| !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    let name: String = name.chars().filter(seen).map(fold).collect();
    RESERVED.contains(&name.as_str())
}
