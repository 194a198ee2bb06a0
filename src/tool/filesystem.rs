//! What the file tools (`read_file`, `write_file`, `edit_file`) share: where they may go and what the session has read.
//!
//! Confinement is `workspace`'s: a path cannot leave the folder, whatever it is made of. On top of it stand the lists
//! of the configuration, and the rule that a file is read before it is overwritten, in the state it then has.

mod edit;
mod read;
mod recall;
mod write;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::arguments::{ArgumentError, Arguments};
use super::settings::{SettingError, Settings};
use super::workspace::{Found, Kind, PathError, WorkPath, Workspace, plain};
use super::{Built, ToolOutput};
use crate::event::{Access, Footprint};
use crate::limit;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};

/// What mount plans may say of this module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-filesystem",
    aliases: &[],
    kind: ModuleKind::Tool,
    summary: "reads, writes and edits files of the workspace, and nothing outside it",
    keys: &[
        KeyInfo {
            name: "working_dir",
            shape: KeyShape::Text,
            default: ".",
            doc: "where relative paths start, itself relative to the workspace",
        },
        KeyInfo {
            name: "allowed_read_paths",
            shape: KeyShape::TextList,
            default: "",
            doc: "the only files and folders that may be read; all of the workspace when absent",
        },
        KeyInfo {
            name: "allowed_write_paths",
            shape: KeyShape::TextList,
            default: "[\".\"]",
            doc: "the only files and folders that may be written; the working_dir when absent",
        },
        KeyInfo {
            name: "denied_write_paths",
            shape: KeyShape::TextList,
            default: "[]",
            doc: "files and folders that may not be written; wins over allowed_write_paths",
        },
    ],
    tools: &["read_file", "write_file", "edit_file"],
    credential: None,
};

/// Builds the three tools of one session.
///
/// # Errors
/// A path of the configuration leads out of the workspace.
pub fn build(config: &Map<String, Value>, workspace: Arc<Workspace>) -> Result<Built, SettingError> {
    let settings = Settings::new(INFO.name, config);
    let base = settings.working_dir(&workspace)?;
    let paths = |key| settings.paths(key, &workspace, &base);
    let files = Arc::new(Files {
        readable: paths("allowed_read_paths")?,
        writable: paths("allowed_write_paths")?.unwrap_or_else(|| vec![base.clone()]),
        denied: paths("denied_write_paths")?.unwrap_or_default(),
        base,
        workspace,
        seen: Mutex::default(),
    });
    Ok(Built::Tools(vec![
        Arc::new(read::ReadFile(Arc::clone(&files))),
        Arc::new(write::WriteFile(Arc::clone(&files))),
        Arc::new(edit::EditFile(files)),
    ]))
}

/// The state of one session's file tools.
struct Files {
    workspace: Arc<Workspace>,
    base: WorkPath,
    readable: Option<Vec<WorkPath>>,
    writable: Vec<WorkPath>,
    denied: Vec<WorkPath>,
    /// What the session knows the files to hold: by real path, the hash of the bytes.
    seen: Mutex<BTreeMap<WorkPath, [u8; 32]>>,
}

/// What a call found or did.
struct Done {
    output: Value,
    footprint: Footprint,
}

impl Files {
    fn path(&self, arguments: Arguments<'_>) -> Result<WorkPath, FileError> {
        Ok(self.workspace.read_path(&self.base, arguments.text("file_path")?)?)
    }

    /// What a call on this path may touch, links resolved.
    fn footprint(&self, input: &Map<String, Value>, access: Access) -> Footprint {
        let Ok(path) = self.path(Arguments(input)) else { return Footprint::none() };
        let footprint = Footprint::none().with(access, self.workspace.resource(&path));
        match self.workspace.find(&path) {
            Ok(found) if found.kind == Kind::Directory => footprint.with(Access::Read, "fs:*"),
            Ok(found) => footprint.with(access, self.workspace.resource(&found.path)),
            Err(_) => footprint,
        }
    }

    fn may_read(&self, path: &WorkPath, found: &Found) -> Result<(), FileError> {
        match &self.readable {
            Some(readable) if !self.is_in(&found.path, readable) && !found.path.is_in_results() => {
                Err(FileError::NotReadable { path: path.to_string(), allowed: list(readable) })
            }
            _ => Ok(()),
        }
    }

    fn may_write(&self, path: &WorkPath, found: &Found) -> Result<(), FileError> {
        if found.path.is_in_results() {
            return Err(PathError::Reserved { path: path.to_string() }.into());
        }
        if self.is_in(&found.path, &self.denied) {
            return Err(FileError::Denied { path: path.to_string(), denied: list(&self.denied) });
        }
        if !self.is_in(&found.path, &self.writable) {
            return Err(FileError::NotWritable { path: path.to_string(), allowed: list(&self.writable) });
        }
        Ok(())
    }

    /// Whether a real path lies in one of these, which may themselves be links.
    fn is_in(&self, real: &WorkPath, folders: &[WorkPath]) -> bool {
        folders.iter().any(|folder| {
            real.is_within(folder)
                || self.workspace.find(folder).is_ok_and(|found| real.is_within(&found.path))
        })
    }

    /// The bytes of a file, if it is one and of bearable size.
    fn bytes(&self, path: &WorkPath, found: &Found) -> Result<Vec<u8>, FileError> {
        match found.kind {
            Kind::Missing => return Err(FileError::NotFound { path: path.to_string() }),
            Kind::Directory => return Err(FileError::Directory { path: path.to_string() }),
            Kind::Special(kind) => return Err(FileError::Special { path: path.to_string(), kind }),
            Kind::File { bytes } if bytes > limit::FILE_BYTES => {
                return Err(FileError::Huge { path: path.to_string(), bytes });
            }
            Kind::File { .. } => {}
        }
        let mut bytes = Vec::new();
        found
            .open()
            .and_then(|file| file.take(limit::FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| self.failed("read", path, &error))?;
        if bytes.len() as u64 > limit::FILE_BYTES {
            return Err(FileError::Huge { path: path.to_string(), bytes: bytes.len() as u64 });
        }
        Ok(bytes)
    }

    fn remember(&self, real: &WorkPath, bytes: &[u8]) {
        self.note(real, Sha256::digest(bytes).into());
    }

    fn note(&self, real: &WorkPath, hash: [u8; 32]) {
        let mut seen = self.seen.lock().expect("no code panics while it holds what was seen");
        seen.insert(real.clone(), hash);
    }

    /// Whether the session has read these very bytes at this path.
    fn has_read(&self, path: &WorkPath, found: &Found, bytes: &[u8]) -> Result<(), FileError> {
        let seen = self.seen.lock().expect("no code panics while it holds what was seen");
        match seen.get(&found.path) {
            None => Err(FileError::Unread { path: path.to_string() }),
            Some(hash) if hash[..] != Sha256::digest(bytes)[..] => {
                Err(FileError::Changed { path: path.to_string() })
            }
            Some(_) => Ok(()),
        }
    }

    /// Puts new bytes in place of a file, at once: a reader sees the old file or the new one, never a part.
    fn replace(&self, path: &WorkPath, found: &Found, bytes: &[u8]) -> Result<(), FileError> {
        let write = || -> io::Result<()> {
            let parent = found.make_parent()?;
            let mut file = cap_tempfile::TempFile::new(&parent)?;
            file.write_all(bytes)?;
            if let Kind::File { .. } = found.kind {
                let permissions = parent.symlink_metadata(&found.name)?.permissions();
                file.as_file().set_permissions(permissions)?;
            }
            file.as_file().sync_all()?;
            file.replace(&found.name)
        };
        write().map_err(|error| self.failed("write", path, &error))?;
        self.remember(&found.path, bytes);
        Ok(())
    }

    fn refuse_marks(&self, arguments: Arguments<'_>, names: &[&'static str]) -> Result<(), FileError> {
        for name in names {
            if self.workspace.scrubber().has_mark(arguments.text(name)?) {
                return Err(FileError::Mark { argument: name });
            }
        }
        Ok(())
    }

    fn failed(&self, what: &'static str, path: &WorkPath, error: &io::Error) -> FileError {
        FileError::System { what, path: path.to_string(), reason: self.workspace.show(&plain(error)) }
    }
}

/// Runs the blocking part of a call where it blocks nobody.
async fn off_the_loop(
    files: &Arc<Files>,
    input: Map<String, Value>,
    work: fn(&Files, Arguments<'_>) -> Result<Done, FileError>,
) -> ToolOutput {
    let files = Arc::clone(files);
    let done = tokio::task::spawn_blocking(move || work(&files, Arguments(&input))).await;
    match done {
        Ok(Ok(done)) => {
            ToolOutput { footprint: Some(done.footprint), ..ToolOutput::ok(done.output.to_string()) }
        }
        // What stands in the way may be any file, and what was not there may come with any: a folder comes with a file
        // below it. So the order of a failure among all that writes files matters.
        Ok(Err(error)) => ToolOutput {
            footprint: Some(Footprint::none().with(Access::Read, "fs:*")),
            ..ToolOutput::error(error.to_string())
        },
        Err(_) => {
            ToolOutput::error("the file operation ended before it was done; look at the file and try again")
        }
    }
}

fn list(paths: &[WorkPath]) -> String {
    if paths.is_empty() {
        return "none".to_owned();
    }
    paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why a file tool refuses or fails. The first words are those of the original tool where it has the error too.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{0}")]
    Argument(#[from] ArgumentError),
    #[error("{0}")]
    Path(#[from] PathError),
    #[error("Access denied: {path} is not within allowed read paths ({allowed})")]
    NotReadable { path: String, allowed: String },
    #[error("Access denied: {path} is not within allowed write paths ({allowed})")]
    NotWritable { path: String, allowed: String },
    #[error("Access denied: {path} is within denied directories ({denied})")]
    Denied { path: String, denied: String },
    #[error("Path not found: {path}; read the folder it should be in with read_file to see what is there")]
    NotFound { path: String },
    #[error("File not found: {path}; use write_file to create it")]
    NothingToEdit { path: String },
    #[error("{path} is a directory; name a file in it")]
    Directory { path: String },
    #[error("{path} is {kind}; only regular files and directories can be used")]
    Special { path: String, kind: &'static str },
    #[error(
        "{path} has {bytes} bytes, more than the {} that file tools take; work on a smaller file",
        limit::FILE_BYTES
    )]
    Huge { path: String, bytes: u64 },
    #[error("{path} is not UTF-8 text ({bytes} bytes); file tools show and change text only")]
    Binary { path: String, bytes: usize },
    #[error("{path} exists and has not been read in this session; read it with read_file, then try again")]
    Unread { path: String },
    #[error(
        "{path} has changed since it was read in this session; read it again with read_file, then try again"
    )]
    Changed { path: String },
    #[error("old_string is empty; give the text to replace, or use write_file for the whole file")]
    EmptyOld,
    #[error("old_string and new_string must be different (no changes to make)")]
    NoChange,
    #[error("old_string not found in file: {path}. {hint}")]
    OldNotFound { path: String, hint: &'static str },
    #[error(
        "old_string appears {count} times in file. Give more of the text around it so that it is unique, or set replace_all to true"
    )]
    OldNotUnique { count: usize },
    #[error(
        "{argument} holds the placeholder of a secret, which stands for text that is not shown; writing it would destroy the file, so leave that part out"
    )]
    Mark { argument: &'static str },
    #[error("cannot {what} {path}: {reason}")]
    System { what: &'static str, path: String, reason: String },
}
