//! What the search tools (`grep`, `glob`) share: where they may look and what their calls have in common.
//!
//! They reach files as the file tools do, by `workspace`: what these cannot read, searches do not see. Links met on the
//! way are not followed, so nothing is found twice and nothing outside.

mod glob;
mod grep;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::arguments::{ArgumentError, Arguments};
use super::settings::{SettingError, Settings};
use super::workspace::{Found, Kind, PathError, WorkPath, Workspace};
use super::{Built, CallContext, ToolOutput};
use crate::event::{Access, Footprint};
use crate::limit;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};

/// What mount plans may say of this module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-search",
    aliases: &[],
    kind: ModuleKind::Tool,
    summary: "searches the names and the text of the workspace's files, and nothing outside it",
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
            doc: "the only files and folders that are searched; all of the workspace when absent",
        },
        KeyInfo {
            name: "max_file_size",
            shape: KeyShape::Integer,
            default: "10485760",
            doc: "bytes of a file beyond which grep passes over it, and says so; at most 10485760",
        },
        KeyInfo {
            name: "timeout",
            shape: KeyShape::Integer,
            default: "60",
            doc: "seconds one search may take",
        },
    ],
    tools: &["grep", "glob"],
    credential: None,
};

/// Builds the two tools of one session.
///
/// # Errors
/// A value of the configuration cannot be used.
pub fn build(config: &Map<String, Value>, workspace: Arc<Workspace>) -> Result<Built, SettingError> {
    let settings = Settings::new(INFO.name, config);
    let base = settings.working_dir(&workspace)?;
    let readable = settings.paths("allowed_read_paths", &workspace, &base)?;
    let file_bytes = settings.count("max_file_size")?.unwrap_or(limit::FILE_BYTES);
    if file_bytes > limit::FILE_BYTES {
        return Err(settings.wrong("max_file_size", format!("may be at most {}", limit::FILE_BYTES)));
    }
    let timeout = Duration::from_secs(settings.count("timeout")?.unwrap_or(60));
    let place = Arc::new(Place { workspace, base, readable, file_bytes, timeout });
    Ok(Built::Tools(vec![Arc::new(grep::Grep(Arc::clone(&place))), Arc::new(glob::Glob(place))]))
}

/// Where one session's searches look.
struct Place {
    workspace: Arc<Workspace>,
    base: WorkPath,
    readable: Option<Vec<WorkPath>>,
    file_bytes: u64,
    timeout: Duration,
}

impl Place {
    /// Where a call's search begins: its `path`, else the working directory.
    fn start(&self, arguments: Arguments<'_>) -> Result<Found, SearchError> {
        let path = match arguments.optional_text("path")? {
            None => self.base.clone(),
            Some(given) => self.workspace.read_path(&self.base, given)?,
        };
        let found = self.workspace.find(&path)?;
        match found.kind {
            Kind::File { .. } | Kind::Directory => Ok(found),
            Kind::Missing => Err(SearchError::NotFound { path: path.to_string() }),
            Kind::Special(kind) => Err(SearchError::Special { path: path.to_string(), kind }),
        }
    }

    /// The real paths of the only files that may be searched.
    fn allowed(&self) -> Option<Vec<WorkPath>> {
        let real = |path: &WorkPath| match self.workspace.find(path) {
            Ok(found) => found.path,
            Err(_) => path.clone(),
        };
        self.readable.as_ref().map(|paths| paths.iter().map(real).collect())
    }
}

/// Any file may be looked at, so the order among all that writes files matters.
fn footprint() -> Footprint {
    Footprint::none().with(Access::Read, "fs:*")
}

/// Runs the blocking part of a call where it blocks nobody.
async fn off_the_loop(
    place: &Arc<Place>,
    input: Map<String, Value>,
    call: CallContext,
    work: fn(&Place, Arguments<'_>, &CancellationToken) -> Result<Value, SearchError>,
) -> ToolOutput {
    let place = Arc::clone(place);
    let done = tokio::task::spawn_blocking(move || work(&place, Arguments(&input), &call.cancel)).await;
    let output = match done {
        Ok(Ok(found)) => ToolOutput::ok(found.to_string()),
        Ok(Err(error)) => ToolOutput::error(error.to_string()),
        Err(_) => ToolOutput::error("the search ended before it was done; search a smaller folder"),
    };
    ToolOutput { footprint: Some(footprint()), ..output }
}

/// Why a search is refused or fails.
#[derive(Debug, thiserror::Error)]
enum SearchError {
    #[error("{0}")]
    Argument(#[from] ArgumentError),
    #[error("{0}")]
    Path(#[from] PathError),
    #[error("not found: {path}; search the folder above it with glob to see what is there")]
    NotFound { path: String },
    #[error("{path} is {kind}, which cannot be searched; name a folder or a regular file")]
    Special { path: String, kind: &'static str },
    #[error("{argument} is no valid pattern: {reason}")]
    Pattern { argument: &'static str, reason: String },
    #[error("there is no file type {name}; leave type out and use a glob such as \"*.{name}\"")]
    Type { name: String },
    #[error("the search was stopped before it was done; search a smaller folder")]
    Stopped,
}

/// A matcher of file names. One without a slash matches in every folder.
fn glob_set(argument: &'static str, patterns: &[&str]) -> Result<globset::GlobSet, SearchError> {
    let wrong = |error: &globset::Error| SearchError::Pattern { argument, reason: error.kind().to_string() };
    let mut set = globset::GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
        let everywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
        let glob = globset::GlobBuilder::new(&everywhere)
            .literal_separator(true)
            .build()
            .map_err(|error| wrong(&error))?;
        set.add(glob);
    }
    set.build().map_err(|error| wrong(&error))
}
