//! The tool `grep`: lines of files that match a regular expression.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::super::arguments::Arguments;
use super::super::workspace::{Found, Kind};
use super::super::{CallContext, Tool, ToolOutput};
use super::walk::{Ignored, Reach, walk};
use super::{Place, SearchError, footprint, glob_set, off_the_loop};
use crate::chat::ToolSpec;
use crate::event::{Footprint, Policy};
use crate::limit;

/// Files, or counts of files, shown unless a call says otherwise.
const FILES: usize = 200;

/// Lines shown unless a call says otherwise.
const LINES: usize = 500;

/// Characters of a line that are shown.
const LINE_CHARS: usize = 500;

/// Lines around a match that a call may ask for.
const AROUND: u64 = 50;

/// Bytes a compiled pattern may take.
const PATTERN_BYTES: usize = 4 * 1024 * 1024;

/// Bytes at the start of a file that tell whether it is text.
const HEAD_BYTES: usize = 8 * 1024;

pub(super) struct Grep(pub(super) Arc<Place>);

#[async_trait]
impl Tool for Grep {
    fn spec(&self) -> ToolSpec {
        let around = |what: &str| json!({"type": "integer", "minimum": 0, "maximum": AROUND, "description": format!("Lines to show {what} each match")});
        ToolSpec {
            name: "grep".to_owned(),
            description: format!(
                "Searches the text of the workspace's files for a regular expression (Rust syntax: no look-around, no \
                 back-references). Shows the files that match, or their lines, or counts, sorted by path. What \
                 .gitignore names is left out, as are binary files; links are not followed. At most {FILES} files or \
                 {LINES} lines are shown unless head_limit says otherwise, and {LINE_CHARS} characters of a line."
            ),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "pattern": {"type": "string", "description": "The regular expression"},
                    "path": {"type": "string", "description": "The file or folder to search, relative to the workspace"},
                    "output_mode": {
                        "type": "string",
                        "enum": ["files_with_matches", "content", "count"],
                        "description": "What to show; files_with_matches when absent",
                    },
                    "-i": {"type": "boolean", "description": "Take upper and lower case as the same"},
                    "-n": {"type": "boolean", "description": "Show line numbers with content; true when absent"},
                    "-A": around("after"),
                    "-B": around("before"),
                    "-C": around("before and after"),
                    "glob": {"type": "string", "description": "Only files with such names, such as *.rs"},
                    "type": {"type": "string", "description": "Only files of a type, such as rust, py, js"},
                    "multiline": {"type": "boolean", "description": "Let a match span lines, and . match their ends"},
                    "head_limit": {"type": "integer", "minimum": 0, "description": "How many to show; 0 for as many as fit"},
                    "offset": {"type": "integer", "minimum": 0, "description": "How many to pass over first"},
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
        off_the_loop(&self.0, input, call, grep).await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Files,
    Content,
    Count,
}

/// What a call asks for.
struct Query {
    pattern: Regex,
    mode: Mode,
    span: Span,
    numbers: Numbers,
    before: usize,
    after: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Span {
    Line,
    Lines,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Shown,
    Hidden,
}

impl Query {
    fn read(arguments: Arguments<'_>) -> Result<Self, SearchError> {
        let span = if arguments.flag("multiline")? { Span::Lines } else { Span::Line };
        let pattern = RegexBuilder::new(arguments.text("pattern")?)
            .case_insensitive(arguments.flag("-i")?)
            .multi_line(true)
            .dot_matches_new_line(span == Span::Lines)
            .size_limit(PATTERN_BYTES)
            .build()
            .map_err(|error| SearchError::Pattern { argument: "pattern", reason: error.to_string() })?;
        let mode = match arguments.optional_text("output_mode")? {
            Some("content") => Mode::Content,
            Some("count") => Mode::Count,
            _ => Mode::Files,
        };
        let both = arguments.number("-C")?.unwrap_or(0);
        let lines = |name| -> Result<usize, SearchError> {
            let lines = arguments.number(name)?.unwrap_or(both).min(AROUND);
            Ok(usize::try_from(lines).unwrap_or(usize::MAX))
        };
        let numbers =
            if arguments.optional_flag("-n")? == Some(false) { Numbers::Hidden } else { Numbers::Shown };
        Ok(Self { pattern, mode, span, numbers, before: lines("-B")?, after: lines("-A")? })
    }

    /// The numbers of the lines that match, from 0.
    fn matches(&self, text: &str, lines: &[&str]) -> Vec<usize> {
        if self.span == Span::Line {
            return (0..lines.len()).filter(|at| self.pattern.is_match(lines[*at])).collect();
        }
        let starts: Vec<usize> =
            lines.iter().map(|line| line.as_ptr() as usize - text.as_ptr() as usize).collect();
        let line_of = |at: usize| starts.partition_point(|start| *start <= at).saturating_sub(1);
        let mut matched: Vec<usize> = Vec::new();
        for found in self.pattern.find_iter(text) {
            let last = line_of(found.end().saturating_sub(1).max(found.start()));
            let first = line_of(found.start()).max(matched.last().map_or(0, |last| last + 1));
            matched.extend(first..=last);
        }
        matched.retain(|at| *at < lines.len());
        matched
    }

    /// The lines to show of one file.
    fn content(&self, path: &str, lines: &[&str], matched: &[usize]) -> Vec<String> {
        let mut out = Vec::new();
        let mut next = 0;
        for (nth, at) in matched.iter().enumerate() {
            let first = at.saturating_sub(self.before).max(next);
            let until = matched.get(nth + 1).map_or(lines.len(), |following| *following);
            let last = (at + self.after).min(lines.len() - 1).min(until.saturating_sub(1).max(*at));
            if self.before + self.after > 0 && next > 0 && first > next {
                out.push("--".to_owned());
            }
            for (shown, line) in lines.iter().enumerate().take(last + 1).skip(first) {
                let mark = if shown == *at { ':' } else { '-' };
                let number = match self.numbers {
                    Numbers::Shown => format!("{}{mark}", shown + 1),
                    Numbers::Hidden => String::new(),
                };
                out.push(format!("{path}{mark}{number}{}", cut(line, self.place_in(line))));
            }
            next = last + 1;
        }
        out
    }

    /// Where in a line the match begins, so that a long line shows it.
    fn place_in(&self, line: &str) -> usize {
        self.pattern.find(line).map_or(0, |found| found.start())
    }
}

/// A line, cut around `at` if it is long.
fn cut(line: &str, at: usize) -> String {
    let chars = line.chars().count();
    if chars <= LINE_CHARS {
        return line.to_owned();
    }
    let before = line[..at].chars().count();
    let first = before.saturating_sub(LINE_CHARS / 4).min(chars - LINE_CHARS);
    let shown: String = line.chars().skip(first).take(LINE_CHARS).collect();
    format!("[{first} characters] {shown} [{} characters]", chars - LINE_CHARS - first)
}

/// What is shown, and how much there is.
struct Shown {
    items: Vec<String>,
    total: usize,
    offset: usize,
    most: usize,
    bytes: usize,
}

impl Shown {
    fn read(arguments: Arguments<'_>, mode: Mode) -> Result<Self, SearchError> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let usual = if mode == Mode::Content { LINES } else { FILES };
        let most = match arguments.number("head_limit")? {
            None => usual,
            Some(0) => usize::MAX,
            Some(most) => size(most),
        };
        let offset = size(arguments.number("offset")?.unwrap_or(0));
        Ok(Self { items: Vec::new(), total: 0, offset, most, bytes: 0 })
    }

    fn add(&mut self, item: String) {
        let at = self.total;
        self.total += 1;
        // Nothing comes after what did not fit, so that an offset goes on without a gap.
        let is_next = at >= self.offset && at - self.offset == self.items.len();
        if is_next && self.items.len() < self.most && self.bytes + item.len() < limit::TOOL_OUTPUT_BYTES {
            self.bytes += item.len() + 1;
            self.items.push(item);
        }
    }

    fn rest(&self) -> Option<String> {
        let next = self.offset.saturating_add(self.items.len());
        if self.offset > 0 && self.offset >= self.total {
            return Some(format!("offset {} is beyond the end; there are {}", self.offset, self.total));
        }
        (next < self.total)
            .then(|| format!("there are more; go on with offset {next} or use a narrower pattern"))
    }
}

fn grep(place: &Place, arguments: Arguments<'_>, cancel: &CancellationToken) -> Result<Value, SearchError> {
    let query = Query::read(arguments)?;
    let globs = arguments.optional_text("glob")?.map(|glob| glob_set("glob", &[glob])).transpose()?;
    let types = arguments.optional_text("type")?.map(type_of).transpose()?;
    let mut shown = Shown::read(arguments, query.mode)?;
    let start = place.start(arguments)?;
    let (mut files, mut matches, mut skipped) = (0_usize, 0_usize, 0_usize);
    let reach = walk(place, start, Ignored::read(arguments)?, cancel, &mut |visit| {
        let Kind::File { bytes } = visit.found.kind else { return Ok(()) };
        let fits = globs.as_ref().is_none_or(|globs| globs.is_match(&visit.below))
            && types.as_ref().is_none_or(|types| types.matched(&visit.below, false).is_whitelist());
        if !fits {
            return Ok(());
        }
        if bytes > place.file_bytes {
            skipped += 1;
            return Ok(());
        }
        let Some(text) = text_of(place, &visit.found) else { return Ok(()) };
        let lines: Vec<&str> = text.lines().collect();
        let matched = query.matches(&text, &lines);
        if matched.is_empty() {
            return Ok(());
        }
        files += 1;
        matches += matched.len();
        let path = place.workspace.show(&visit.found.path.to_string());
        match query.mode {
            Mode::Files => shown.add(path),
            Mode::Count => shown.add(format!("{path}:{}", matched.len())),
            Mode::Content => {
                query.content(&path, &lines, &matched).into_iter().for_each(|line| shown.add(line));
            }
        }
        Ok(())
    })?;
    let mut output = json!({"files": files, "matching_lines": matches, "results": shown.items.join("\n")});
    let mut warnings: Vec<String> = shown.rest().into_iter().collect();
    if skipped > 0 {
        warnings.push(format!("{skipped} larger than {} bytes were passed over", place.file_bytes));
    }
    if reach == Reach::Part {
        warnings.push("there are too many files to look at all of them; search a smaller folder".to_owned());
    }
    if !warnings.is_empty() {
        output["warning"] = warnings.join("; ").into();
    }
    Ok(output)
}

fn type_of(name: &str) -> Result<ignore::types::Types, SearchError> {
    let mut builder = ignore::types::TypesBuilder::new();
    builder.add_defaults();
    builder.select(name);
    builder.build().map_err(|_| SearchError::Type { name: name.to_owned() })
}

/// The text of a file as a model may see it; `None` when it is none, or cannot be read.
fn text_of(place: &Place, found: &Found) -> Option<String> {
    let mut bytes = Vec::new();
    found.open().ok()?.take(place.file_bytes).read_to_end(&mut bytes).ok()?;
    if bytes[..bytes.len().min(HEAD_BYTES)].contains(&0) {
        return None;
    }
    Some(place.workspace.show(&String::from_utf8_lossy(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(input: &Value) -> Query {
        Query::read(Arguments(input.as_object().unwrap())).unwrap_or_else(|error| panic!("{error}"))
    }

    fn content(input: &Value, text: &str) -> Vec<String> {
        let query = query(input);
        let lines: Vec<&str> = text.lines().collect();
        query.content("f", &lines, &query.matches(text, &lines))
    }

    #[test]
    fn lines_around_matches_are_shown_once() {
        let text = "a\nb\nX\nc\nX\nd\ne\nf\ng\nX\n";
        assert_eq!(content(&json!({"pattern": "X"}), text), ["f:3:X", "f:5:X", "f:10:X"]);
        assert_eq!(
            content(&json!({"pattern": "X", "-C": 1}), text),
            ["f-2-b", "f:3:X", "f-4-c", "f:5:X", "f-6-d", "--", "f-9-g", "f:10:X"]
        );
        assert_eq!(content(&json!({"pattern": "^a$", "-n": false, "-A": 1}), text), ["f:a", "f-b"]);
    }

    #[test]
    fn a_match_may_span_lines_if_asked() {
        let text = "fn a(\n  x\n)\nend\n";
        assert!(content(&json!({"pattern": "fn a.*x"}), text).is_empty());
        let spans = json!({"pattern": "fn a.*x", "multiline": true});
        assert_eq!(content(&spans, text), ["f:1:fn a(", "f:2:  x"]);
    }

    #[test]
    fn a_long_line_shows_its_match() {
        let line = format!("{}NEEDLE{}", "é".repeat(2_000), "z".repeat(2_000));
        let shown = cut(&line, line.find("NEEDLE").unwrap());
        assert!(shown.contains("NEEDLE") && shown.chars().count() < 600, "{shown}");
        assert_eq!(cut("short", 2), "short");
    }

    #[test]
    fn offsets_go_on_without_a_gap() {
        let mut shown = Shown { items: Vec::new(), total: 0, offset: 1, most: 2, bytes: 0 };
        (0..5).for_each(|n| shown.add(n.to_string()));
        assert_eq!(shown.items, ["1", "2"]);
        assert_eq!(shown.rest().unwrap(), "there are more; go on with offset 3 or use a narrower pattern");
    }
}
