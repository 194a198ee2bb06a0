//! Which objects stand in a file of JSON lines, and where.

use serde_json::{Map, Value};

/// Lines that cannot be read, the first of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}\n{}nothing was imported", lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), and_more(*more))]
pub struct Unreadable {
    /// The lines.
    pub lines: Vec<BadLine>,
    /// How many more there are.
    pub more: usize,
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!("and {more} more\n") }
}

/// One line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct BadLine {
    /// `file:line`.
    pub place: String,
    /// What is wrong and what to do about it.
    pub reason: String,
}

/// An object with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// `file:line`.
    pub place: String,
    pub object: Map<String, Value>,
}

/// Bad lines while files are read.
#[derive(Debug, Default)]
pub(super) struct Bad(Vec<BadLine>);

/// Enough to see what is the matter.
const SHOWN: usize = 10;

impl Bad {
    pub fn add(&mut self, place: &str, reason: impl Into<String>) {
        self.0.push(BadLine { place: place.to_owned(), reason: reason.into() });
    }

    /// Takes a value, or notes why there is none.
    pub fn check<T>(&mut self, place: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.add(place, reason)).ok()
    }

    pub fn finish(mut self) -> Result<(), Unreadable> {
        if self.0.is_empty() {
            return Ok(());
        }
        // JSON is looked at before fields are; people read a file from top to bottom.
        self.0.sort_by_cached_key(|line| {
            let (file, number) = line.place.rsplit_once(':').unwrap_or((&line.place, ""));
            (file.to_owned(), number.parse::<usize>().unwrap_or_default())
        });
        let more = self.0.len().saturating_sub(SHOWN);
        self.0.truncate(SHOWN);
        Err(Unreadable { lines: self.0, more })
    }
}

/// The objects of a file; blank lines are passed over.
pub(super) fn objects(name: &str, bytes: &[u8], bad: &mut Bad) -> Vec<Line> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = Vec::new();
    for (n, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let place = format!("{name}:{}", n + 1);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(object) = bad.check(&place, object(line)) {
            found.push(Line { place, object });
        }
    }
    found
}

fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    if [&b"<<<<<<<"[..], b"=======", b">>>>>>>", b"|||||||"].iter().any(|mark| line.starts_with(mark)) {
        return Err("an unfinished merge of version control; finish it and import again".to_owned());
    }
    let remedy = "repair the line or remove it, and import again";
    match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(format!("not an object `{{…}}`; {remedy}")),
        Err(error) => Err(format!("not JSON: {error}; {remedy}", error = without_line(&error.to_string()))),
    }
}

/// The parser counts lines from the start of what it is given, which is always one line.
fn without_line(error: &str) -> String {
    error.replace(" at line 1 column ", " at column ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_blank_lines_and_ends_of_every_kind() {
        let mut bad = Bad::default();
        let found = objects("f", b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"b\":2}", &mut bad);
        assert_eq!(found.iter().map(|line| line.place.as_str()).collect::<Vec<_>>(), ["f:1", "f:4"]);
        assert_eq!(bad.finish(), Ok(()));
    }

    #[test]
    fn bad_lines_say_where_and_what_to_do() {
        let mut bad = Bad::default();
        objects("f", b"{\"a\":\n[1]\n<<<<<<< HEAD\n{\"a\":\"\xff\"}\n", &mut bad);
        let text = bad.finish().expect_err("all four are wrong").to_string();
        assert_eq!(
            text,
            "f:1: not JSON: EOF while parsing a value at column 5; repair the line or remove it, and import again\n\
             f:2: not an object `{…}`; repair the line or remove it, and import again\n\
             f:3: an unfinished merge of version control; finish it and import again\n\
             f:4: not JSON: invalid unicode code point at column 7; repair the line or remove it, and import again\n\
             nothing was imported"
        );
    }
}
