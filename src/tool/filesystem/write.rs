//! The tool `write_file`: a whole new file, or a new text for one that the session has read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::super::arguments::Arguments;
use super::super::workspace::Kind;
use super::super::{CallContext, Tool, ToolOutput};
use super::recall::recall;
use super::{Done, FileError, Files, off_the_loop};
use crate::chat::ToolSpec;
use crate::event::{Access, EffectId, Footprint, Policy};
use crate::limit;

pub(super) struct WriteFile(pub(super) Arc<Files>);

#[async_trait]
impl Tool for WriteFile {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "write_file".to_owned(),
            description: "Writes a text file of the workspace, whole; missing directories are made. A file that exists \
                          must have been read with read_file in this session and not have changed since. To change \
                          part of a file, edit_file is better. Use relative paths."
                .to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "file_path": {"type": "string", "description": "The file, relative to the workspace"},
                    "content": {"type": "string", "description": "The whole text of the file"},
                },
                "required": ["file_path", "content"],
                "additionalProperties": false,
            }),
        }
    }

    fn policy(&self) -> Policy {
        Policy::Real
    }

    fn timeout(&self, _: &Map<String, Value>) -> Option<Duration> {
        Some(limit::FILE_TIMEOUT)
    }

    fn footprint(&self, input: &Map<String, Value>) -> Footprint {
        self.0.footprint(input, Access::Write)
    }

    async fn run(&self, input: Map<String, Value>, _: CallContext) -> ToolOutput {
        off_the_loop(&self.0, input, write).await
    }

    async fn recall(
        &self,
        input: &Map<String, Value>,
        _: &EffectId,
        output: &ToolOutput,
    ) -> Result<(), String> {
        recall(&self.0, input, output, wrote).await;
        Ok(())
    }
}

/// Whether the file holds what was written.
fn wrote(_: &Files, arguments: Arguments<'_>, _: &Value, bytes: &[u8]) -> bool {
    arguments.text("content").is_ok_and(|content| content.as_bytes() == bytes)
}

fn write(files: &Files, arguments: Arguments<'_>) -> Result<Done, FileError> {
    let path = files.path(arguments)?;
    let content = arguments.text("content")?;
    files.refuse_marks(arguments, &["content"])?;
    let _one_at_a_time = files.workspace.writing.lock().expect("no code panics while it writes");
    let found = files.workspace.find(&path)?;
    files.may_write(&path, &found)?;
    if found.kind != Kind::Missing {
        let old = files.bytes(&path, &found)?;
        files.has_read(&path, &found, &old)?;
    }
    files.replace(&path, &found, content.as_bytes())?;
    let footprint = [&path, &found.path].into_iter().fold(Footprint::none(), |footprint, path| {
        footprint.with(Access::Write, files.workspace.resource(path))
    });
    Ok(Done { output: json!({"file_path": path.to_string(), "bytes": content.len()}), footprint })
}
