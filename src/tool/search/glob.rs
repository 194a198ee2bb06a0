//! The tool `glob`: files and folders by their names.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::super::arguments::Arguments;
use super::super::workspace::Kind;
use super::super::{CallContext, Tool, ToolOutput};
use super::walk::{Ignored, Reach, walk};
use super::{Place, SearchError, footprint, glob_set, off_the_loop};
use crate::chat::ToolSpec;
use crate::event::{Footprint, Policy};
use crate::limit;

/// Paths shown.
const PATHS: usize = 500;

pub(super) struct Glob(pub(super) Arc<Place>);

#[async_trait]
impl Tool for Glob {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "glob".to_owned(),
            description: format!(
                "Finds files of the workspace by name, such as *.rs or src/**/test_*.py, sorted. A pattern without a \
                 slash matches in every folder. What .gitignore names is left out, and links are not followed. At \
                 most {PATHS} paths are shown."
            ),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "pattern": {"type": "string", "description": "The pattern, relative to path"},
                    "path": {"type": "string", "description": "The folder to search, relative to the workspace"},
                    "type": {"type": "string", "enum": ["file", "dir", "any"], "description": "What to find; file when absent"},
                    "exclude": {"type": "array", "items": {"type": "string"}, "description": "Patterns of what to leave out"},
                    "include_ignored": {"type": "boolean", "description": "Also what .gitignore names"},
                },
                "required": ["pattern"],
                "additionalProperties": false,
            }),
        }
    }

    fn policy(&self) -> Policy {
        Policy::Real
    }

    fn timeout(&self, _: &Map<String, Value>) -> Option<Duration> {
        Some(self.0.timeout)
    }

    fn footprint(&self, _: &Map<String, Value>) -> Footprint {
        footprint()
    }

    async fn run(&self, input: Map<String, Value>, call: CallContext) -> ToolOutput {
        off_the_loop(&self.0, input, call, find).await
    }
}

fn find(place: &Place, arguments: Arguments<'_>, cancel: &CancellationToken) -> Result<Value, SearchError> {
    let pattern = arguments.text("pattern")?;
    let wanted = glob_set("pattern", &[pattern])?;
    let unwanted = glob_set("exclude", &arguments.texts("exclude")?)?;
    let kind = arguments.optional_text("type")?.unwrap_or("file");
    let start = place.start(arguments)?;
    let path = start.path.to_string();
    let mut matches: Vec<String> = Vec::new();
    let mut total = 0_usize;
    let mut bytes = 0;
    let reach = walk(place, start, Ignored::read(arguments)?, cancel, &mut |visit| {
        let is_dir = visit.found.kind == Kind::Directory;
        let fits = kind == "any" || (kind == "dir") == is_dir;
        if fits && wanted.is_match(&visit.below) && !is_excluded(&unwanted, &visit.below) {
            total += 1;
            let slash = if is_dir { "/" } else { "" };
            let shown = place.workspace.show(&format!("{}{slash}", visit.found.path));
            if matches.len() < PATHS && bytes + shown.len() < limit::TOOL_OUTPUT_BYTES {
                bytes += shown.len();
                matches.push(shown);
            }
        }
        Ok(())
    })?;
    let mut output = json!({"path": path, "count": matches.len(), "total": total, "matches": matches});
    if matches.len() < total {
        output["warning"] =
            format!("{} more are not shown; use a narrower pattern", total - matches.len()).into();
    } else if reach == Reach::Part {
        output["warning"] = "there are too many files to look at all of them; search a smaller folder".into();
    }
    Ok(output)
}

/// Whether a pattern names it or a folder it lies in.
fn is_excluded(unwanted: &globset::GlobSet, below: &str) -> bool {
    let ends = below.match_indices('/').map(|(at, _)| at).chain([below.len()]);
    ends.into_iter().any(|end| unwanted.is_match(&below[..end]))
}
