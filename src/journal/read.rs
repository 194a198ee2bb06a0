//! How a journal is read back: whole, after a crash, by another version, and while its run still writes it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Line;
use crate::event::Envelope;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses.
    #[error("cannot read the run's journal {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line that is not the torn last one makes no sense.
    #[error(
        "{}:{line}: the run's journal is damaged here: {reason}; put the file back as it was, or give the run up: runner clean",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// What was read of a journal.
#[derive(Debug, Default)]
pub struct Reading {
    /// Its lines, in order.
    pub lines: Vec<Line>,
    /// Events that this version does not know; they only tell, so nothing depends on them.
    pub foreign: usize,
    /// Whether a last line without its end, as a crash leaves it, was dropped.
    pub torn: bool,
}

/// Which lines somebody wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    Events,
}

/// How a line begins that holds an event: the others need not be parsed to be skipped.
const EVENT: &[u8] = b"{\"event\"";

/// The lines of a journal. A last line without its end, as a crash leaves it, is dropped.
///
/// # Errors
/// The file cannot be read, or a line that is not the last makes no sense.
pub fn read(path: &Path) -> Result<Vec<Line>, ReadError> {
    read_whole(path).map(|reading| reading.lines)
}

/// The lines of a journal, and what was left out.
///
/// # Errors
/// As [`read`].
pub fn read_whole(path: &Path) -> Result<Reading, ReadError> {
    parse(path, Wanted::All)
}

/// The events of a journal, for people; effects, which are most of it, are passed over.
///
/// # Errors
/// As [`read`].
pub fn events(path: &Path) -> Result<Vec<Envelope>, ReadError> {
    let event = |line| match line {
        Line::Event { event } => Some(event),
        _ => None,
    };
    parse(path, Wanted::Events).map(|reading| reading.lines.into_iter().filter_map(event).collect())
}

fn parse(path: &Path, wanted: Wanted) -> Result<Reading, ReadError> {
    let bytes =
        std::fs::read(path).map_err(|error| ReadError::Unreadable { path: path.to_owned(), error })?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut reading = Reading { torn: whole < bytes.len(), ..Reading::default() };
    for (number, text) in (1..).zip(bytes[..whole].split(|byte| *byte == b'\n')) {
        if text.is_empty() || (wanted == Wanted::Events && !text.starts_with(EVENT)) {
            continue;
        }
        match line(text) {
            Ok(Some(line)) => reading.lines.push(line),
            Ok(None) => reading.foreign += 1,
            Err(reason) => return Err(ReadError::Damaged { path: path.to_owned(), line: number, reason }),
        }
    }
    Ok(reading)
}

/// One line; `None` for an event of a kind that this version does not know.
fn line(text: &[u8]) -> Result<Option<Line>, String> {
    match serde_json::from_slice(text) {
        Ok(line) => Ok(Some(line)),
        Err(error) => {
            let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
            let has = |path: &str| value.pointer(path).is_some_and(|part| part.is_u64() || part.is_string());
            // Numbered, with a type: an event, if of a kind that was not thought of yet.
            let is_event = has("/event/event/seq") && has("/event/event/event/type");
            if is_event { Ok(None) } else { Err(error.to_string()) }
        }
    }
}

/// Reads a journal that grows.
pub struct Follower {
    file: File,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

impl Follower {
    /// Begins at the first line.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, rest: Vec::new() })
    }

    /// The lines that are whole by now and were not before.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn more(&mut self) -> io::Result<Vec<String>> {
        self.file.read_to_end(&mut self.rest)?;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = String::from_utf8_lossy(&self.rest[..whole]).lines().map(str::to_owned).collect();
        self.rest.drain(..whole);
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const INTENT: &str = r#"{"intent":{"id":"a/b/1.1","at":"2026-01-01T00:00:00Z"}}"#;
    const TOLD: &str =
        r#"{"event":{"event":{"seq":1,"ts":"2026-01-01T00:00:00Z","event":{"type":"notice","text":"x"}}}}"#;
    const FOREIGN: &str =
        r#"{"event":{"event":{"seq":2,"ts":"2026-01-01T00:00:00Z","event":{"type":"moon.rose"}}}}"#;

    fn journal(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn what_is_torn_or_foreign_is_left_out_and_said() {
        let (_folder, path) = journal(&format!("{INTENT}\n{TOLD}\n{FOREIGN}\n{{\"effect\":{{\"rec"));
        let reading = read_whole(&path).unwrap();
        assert_eq!((reading.lines.len(), reading.foreign, reading.torn), (2, 1, true));
        assert_eq!(events(&path).unwrap().len(), 1);
        let (_folder, path) = journal(&format!("{INTENT}\n"));
        assert!(!read_whole(&path).unwrap().torn);
    }

    #[test]
    fn what_is_damaged_in_the_middle_is_told_with_its_place() {
        for damaged in [
            "{\"effect\":{\"rec",
            "{\"moon\":{}}",
            "\u{0}\u{0}",
            "{\"intent\":{}}",
            "{\"event\":{\"event\":{}}}",
        ] {
            let (_folder, path) = journal(&format!("{INTENT}\n\n{damaged}\n{TOLD}\n"));
            let error = read(&path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}:3: ", path.display())), "{error}");
            assert!(error.ends_with("or give the run up: runner clean"), "{error}");
        }
        let gone = read(Path::new("no/such/journal")).unwrap_err().to_string();
        assert!(gone.starts_with("cannot read the run's journal no/such/journal: "), "{gone}");
    }

    #[test]
    fn a_follower_gives_each_line_once_when_it_is_whole() {
        let (_folder, path) = journal("");
        let mut writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut follower = Follower::open(&path).unwrap();
        assert_eq!(follower.more().unwrap(), [""; 0]);
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(follower.more().unwrap(), ["one"]);
        writer.write_all("o\nthr\u{e9}".as_bytes()).unwrap();
        assert_eq!(follower.more().unwrap(), ["two"]);
        writer.write_all(b"e\n").unwrap();
        assert_eq!(follower.more().unwrap(), ["thr\u{e9}e"]);
    }
}
