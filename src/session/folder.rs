//! How a session that works in a folder of the workspace comes by it: made as an effect, in the order of all that touches files.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::FileUse;
use super::{Modules, Stage};
use crate::effects::{Announce, Asked, Busy, Grant, Halt, Ran};
use crate::event::{Access, EffectId, EffectKind, Footprint, Policy, Segment};
use crate::id::canonical_json;
use crate::tool::FilePatch;
use crate::tool::own_folder::{self, Content};
use crate::tool::workspace::{WORKERS, WorkPath, Workspace};

/// A folder that a session is to work in.
#[derive(Debug, Clone)]
pub struct FolderAsked {
    /// The name of the effect that makes it.
    pub id: EffectId,
    /// What its path begins with if a worker has it for itself: the phase and the worker.
    pub own: Option<(String, String)>,
    /// Where the role works in it, from its top; the top itself if nothing is said.
    pub within: Option<String>,
}

impl FolderAsked {
    /// Whether it is the workspace itself, which is there.
    fn is_whole(&self) -> bool {
        self.own.is_none() && self.within.is_none()
    }
}

/// What stands in a recording.
#[derive(Serialize, Deserialize)]
struct FolderResult {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What jobs in the background had done to files by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files_before: Option<FilePatch>,
}

/// The workspace of a session. The inner error says why it cannot be had.
///
/// # Errors
/// Nothing goes on any more.
pub async fn open_folder(
    stage: &Stage,
    modules: &Modules,
    busy: &Busy,
    asked: FolderAsked,
) -> Result<Result<Arc<Workspace>, String>, Halt> {
    let whole = modules.workspace();
    if asked.is_whole() {
        return Ok(Ok(whole.clone()));
    }
    let read = |path: Option<String>| match path {
        None => Ok(WorkPath::top()),
        Some(path) => whole.read_path(&WorkPath::top(), &path),
    };
    let own = read(asked.own.map(|(phase, worker)| format!("{WORKERS}/{phase}/{worker}")));
    let folders = own.and_then(|own| read(asked.within).map(|within| (own.join(&within), own)));
    let (folder, own) = match folders {
        Ok(folders) => folders,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let input = canonical_json(&json!({ "folder": folder.to_string() }));
    let everything = Footprint::none().with(Access::Read, "fs:*").with(Access::Write, "fs:*");
    let effect = Asked {
        id: asked.id.clone(),
        kind: EffectKind::Tool,
        key: vec![Segment::new("tool", "workspace"), Segment::new("input", input)],
        footprint: everything,
        // A replay makes it of its own files, which are those of the recording.
        policy: Policy::Real,
        announce: Announce::No,
    };
    let make = {
        let (whole, folder) = (whole.clone(), folder.clone());
        move || {
            if !own.is_top() {
                own_folder::make(&whole, &own, Content::Copy)?;
            }
            own_folder::make(&whole, &folder, Content::Empty)
        }
    };
    let id = asked.id.clone();
    let run = |grant: Grant| async move {
        let mut turn = match stage.files.turn(FileUse::Writes, &stage.workspace).await {
            Ok(turn) => turn,
            Err(problem) => return Some(Ran::plain(json!({ "problem": problem }))),
        };
        let files_before = match turn.settle(stage, &id).await {
            Ok(files) => files,
            Err(problem) => return Some(Ran::plain(json!({ "problem": problem }))),
        };
        let made = tokio::task::spawn_blocking(make).await.expect("copying files does not panic");
        let problem = made.err().map(|error| error.to_string()).or(turn.end().await.err());
        let seq = grant.sequence.filter(|_| turn.is_ordered()).map(|sequence| sequence.next());
        let result = serde_json::to_value(FolderResult { problem, files_before });
        Some(Ran { seq, ..Ran::plain(result.expect("a result holds only plain data")) })
    };
    let result = stage.effects.perform(busy, effect, run).await?;
    let result: FolderResult =
        serde_json::from_value(result).map_err(|error| Halt::Unreadable(asked.id, error.to_string()))?;
    if let Some(problem) = result.problem {
        return Ok(Err(format!("the folder {folder} cannot be made: {problem}")));
    }
    let opened = whole.below(&folder).map_err(|error| format!("cannot work in {folder}: {error}"));
    Ok(opened.map(Arc::new))
}
