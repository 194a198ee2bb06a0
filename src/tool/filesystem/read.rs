//! The tool `read_file`: a file with numbered lines, or what is in a directory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::super::arguments::Arguments;
use super::super::workspace::{Found, Kind, PathError, RESERVED, WorkPath};
use super::super::{CallContext, Tool, ToolOutput};
use super::recall::recall;
use super::{Done, FileError, Files, off_the_loop};
use crate::chat::ToolSpec;
use crate::event::{Access, EffectId, Footprint, Policy};
use crate::limit;

/// Lines, or entries of a directory, shown unless a call asks for fewer.
const LINES: usize = 2_000;

/// Characters of a line that are shown.
const LINE_CHARS: usize = 2_000;

pub(super) struct ReadFile(pub(super) Arc<Files>);

#[async_trait]
impl Tool for ReadFile {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "read_file".to_owned(),
            description: format!(
                "Reads a text file of the workspace. Each line comes with its number and a tab before it; neither is \
                 part of the file. At most {LINES} lines and {LINE_CHARS} characters a line are shown; use offset and \
                 limit for the rest. A directory is listed. Use relative paths."
            ),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "file_path": {"type": "string", "description": "The file or directory, relative to the workspace"},
                    "offset": {"type": "integer", "minimum": 1, "description": "The first line to show, from 1"},
                    "limit": {"type": "integer", "minimum": 1, "description": "How many lines to show"},
                },
                "required": ["file_path"],
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
        self.0.footprint(input, Access::Read)
    }

    async fn run(&self, input: Map<String, Value>, _: CallContext) -> ToolOutput {
        off_the_loop(&self.0, input, read).await
    }

    async fn recall(
        &self,
        input: &Map<String, Value>,
        _: &EffectId,
        output: &ToolOutput,
    ) -> Result<(), String> {
        recall(&self.0, input, output, shows).await;
        Ok(())
    }
}

/// Whether the file, read again, shows what it showed.
fn shows(files: &Files, arguments: Arguments<'_>, said: &Value, _: &[u8]) -> bool {
    read(files, arguments).is_ok_and(|done| done.output == *said)
}

fn read(files: &Files, arguments: Arguments<'_>) -> Result<Done, FileError> {
    let path = files.path(arguments)?;
    let found = files.workspace.find(&path)?;
    files.may_read(&path, &found)?;
    let window = Window {
        first: arguments.count("offset")?.map_or(1, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        most: arguments
            .count("limit")?
            .map_or(LINES, |n| usize::try_from(n).unwrap_or(usize::MAX).min(LINES)),
    };
    if found.kind == Kind::Directory && found.path.is_in_results() {
        // What else is kept there is chance.
        return Err(PathError::Reserved { path: path.to_string() }.into());
    }
    if found.kind == Kind::Directory {
        let output = listing(files, &path, &found, window)?;
        return Ok(Done { output, footprint: Footprint::none().with(Access::Read, "fs:*") });
    }
    let bytes = files.bytes(&path, &found)?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => files.workspace.show(text),
        _ => return Err(FileError::Binary { path: path.to_string(), bytes: bytes.len() }),
    };
    files.remember(&found.path, &bytes);
    let footprint = [&path, &found.path].into_iter().fold(Footprint::none(), |footprint, path| {
        footprint.with(Access::Read, files.workspace.resource(path))
    });
    Ok(Done { output: window.show(&path, &text), footprint })
}

/// Which lines are asked for.
#[derive(Clone, Copy)]
struct Window {
    first: usize,
    most: usize,
}

impl Window {
    fn show(self, path: &WorkPath, text: &str) -> Value {
        let total = text.lines().count();
        let mut content = String::new();
        let mut shown = 0;
        for (at, line) in text.lines().enumerate().skip(self.first - 1).take(self.most) {
            let line = format!("{:>6}\t{}\n", at + 1, cut(line));
            if content.len() + line.len() > limit::TOOL_OUTPUT_BYTES {
                break;
            }
            content.push_str(&line);
            shown += 1;
        }
        content.pop();
        let mut output = json!({
            "file_path": path.to_string(),
            "content": content,
            "total_lines": total,
            "lines_read": shown,
            "offset": self.first,
        });
        if let Some(warning) = self.warning(total, shown) {
            output["warning"] = warning.into();
        }
        output
    }

    fn warning(self, total: usize, shown: usize) -> Option<String> {
        if total == 0 {
            Some("the file is empty".to_owned())
        } else if self.first > total {
            Some(format!("offset {} is beyond the end; there are {total} lines", self.first))
        } else if self.first - 1 + shown < total {
            Some(format!("there are more lines; go on with offset {}", self.first + shown))
        } else {
            None
        }
    }
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS) {
        Some((at, _)) => format!("{}... [truncated]", &line[..at]),
        None => line.to_owned(),
    }
}

/// A name on one line, whatever it is.
fn plainly(name: &str) -> String {
    if name.chars().any(char::is_control) { name.escape_default().to_string() } else { name.to_owned() }
}

fn listing(files: &Files, path: &WorkPath, found: &Found, window: Window) -> Result<Value, FileError> {
    let is_top = found.path == WorkPath::top();
    let names = || -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = if found.name == "." {
            found.parent.entries()?
        } else {
            super::super::workspace::open_dir(&found.parent, &found.name)?.entries()?
        };
        for entry in entries {
            let entry = entry?;
            let name = plainly(&entry.file_name().to_string_lossy());
            if is_top && RESERVED.contains(&name.as_str()) {
                continue;
            }
            let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
            names.push(files.workspace.show(&format!("{name}{slash}")));
        }
        names.sort();
        Ok(names)
    };
    let names = names().map_err(|error| files.failed("list", path, &error))?;
    let shown: Vec<_> = names.iter().skip(window.first - 1).take(window.most).cloned().collect();
    let mut output = json!({
        "file_path": path.to_string(),
        "content": shown.join("\n"),
        "total_lines": names.len(),
        "lines_read": shown.len(),
        "offset": window.first,
    });
    output["warning"] = if names.is_empty() {
        "the directory is empty".into()
    } else if window.first - 1 + shown.len() < names.len() {
        format!("a directory with more entries; go on with offset {}", window.first + shown.len()).into()
    } else {
        "a directory; these are its entries".into()
    };
    Ok(output)
}
