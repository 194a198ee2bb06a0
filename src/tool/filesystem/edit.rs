//! The tool `edit_file`: one text of a file replaced by another, exactly.

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

pub(super) struct EditFile(pub(super) Arc<Files>);

#[async_trait]
impl Tool for EditFile {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "edit_file".to_owned(),
            description: "Replaces old_string by new_string in a text file of the workspace. old_string must match the \
                          file exactly, white space included, without the line numbers of read_file, and must be \
                          unique unless replace_all is true. The file must have been read with read_file in this \
                          session and not have changed since. Use relative paths."
                .to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "file_path": {"type": "string", "description": "The file, relative to the workspace"},
                    "old_string": {"type": "string", "description": "The text to replace"},
                    "new_string": {"type": "string", "description": "The text to put there"},
                    "replace_all": {"type": "boolean", "description": "Replaces every occurrence; false when absent"},
                },
                "required": ["file_path", "old_string", "new_string"],
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
        off_the_loop(&self.0, input, edit).await
    }

    async fn recall(
        &self,
        input: &Map<String, Value>,
        _: &EffectId,
        output: &ToolOutput,
    ) -> Result<(), String> {
        recall(&self.0, input, output, left).await;
        Ok(())
    }
}

/// Whether the file looks as the edit left it, as far as that can be told.
fn left(_: &Files, arguments: Arguments<'_>, said: &Value, bytes: &[u8]) -> bool {
    let new = arguments.text("new_string").unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let has_new = text.contains(new) || text.contains(&new.replace('\n', "\r\n"));
    said["bytes_written"].as_u64() == Some(bytes.len() as u64) && has_new
}

fn edit(files: &Files, arguments: Arguments<'_>) -> Result<Done, FileError> {
    let path = files.path(arguments)?;
    let (old, new) = (arguments.text("old_string")?, arguments.text("new_string")?);
    let every = arguments.flag("replace_all")?;
    files.refuse_marks(arguments, &["old_string", "new_string"])?;
    if old == new {
        return Err(FileError::NoChange);
    }
    if old.is_empty() {
        return Err(FileError::EmptyOld);
    }
    let _one_at_a_time = files.workspace.writing.lock().expect("no code panics while it writes");
    let found = files.workspace.find(&path)?;
    files.may_write(&path, &found)?;
    if found.kind == Kind::Missing {
        return Err(FileError::NothingToEdit { path: path.to_string() });
    }
    let bytes = files.bytes(&path, &found)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| FileError::Binary { path: path.to_string(), bytes: bytes.len() })?;
    files.has_read(&path, &found, &bytes)?;
    let change = Change::find(text, old, new)
        .ok_or_else(|| FileError::OldNotFound { path: path.to_string(), hint: hint(text, old) })?;
    if change.count > 1 && !every {
        return Err(FileError::OldNotUnique { count: change.count });
    }
    let bytes = text.len() as u64 + change.count as u64 * change.new.len() as u64;
    if bytes > limit::FILE_BYTES {
        return Err(FileError::Huge { path: path.to_string(), bytes });
    }
    let text = text.replace(&change.old, &change.new);
    files.replace(&path, &found, text.as_bytes())?;
    let output = json!({
        "file_path": path.to_string(),
        "replacements_made": change.count,
        "bytes_written": text.len(),
    });
    let footprint = [&path, &found.path].into_iter().fold(Footprint::none(), |footprint, path| {
        footprint.with(Access::Write, files.workspace.resource(path))
    });
    Ok(Done { output, footprint })
}

/// What is replaced by what, and how often it is there.
struct Change {
    old: String,
    new: String,
    count: usize,
}

impl Change {
    /// Looks for the text as it is, then with the line ends of Windows, which read_file does not show.
    fn find(text: &str, old: &str, new: &str) -> Option<Self> {
        let spelled = |end: &str| {
            let old = old.replace('\n', end);
            let count = text.matches(&old).count();
            (count > 0).then(|| Self { old, new: new.replace('\n', end), count })
        };
        spelled("\n").or_else(|| text.contains("\r\n").then(|| spelled("\r\n")).flatten())
    }
}

fn hint(text: &str, old: &str) -> &'static str {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let numbered = old.lines().all(|line| {
        line.split_once('\t').is_some_and(|(number, _)| {
            let number = number.trim();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    });
    if numbered {
        "Leave out the line numbers and the tab after them: they are not part of the file"
    } else if squeeze(text).contains(&squeeze(old)) {
        "It is there with other white space; read the lines again with read_file and copy them exactly"
    } else {
        "Read the file again with read_file and copy the text exactly"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_line_ends_are_kept() {
        let change = Change::find("a\r\nb\r\nc", "a\nb", "x\ny").unwrap();
        assert_eq!((change.old.as_str(), change.new.as_str(), change.count), ("a\r\nb", "x\r\ny", 1));
        assert!(Change::find("a b", "a\nb", "x").is_none());
    }

    #[test]
    fn a_miss_says_what_is_likely_wrong() {
        assert!(hint("a\nb", "     1\ta\n     2\tb").contains("line numbers"));
        assert!(hint("fn  x() {}", "fn x() {}").contains("white space"));
        assert!(hint("abc", "x").starts_with("Read"));
    }
}
