//! What an import promises for any bytes at all. The fuzz target in `fuzz/` asks the same.
//!
//! * It never panics; it names what it cannot read, or imports.
//! * After it the queue is sound, and importing the same again changes nothing.
//! * What is exported and imported into an empty queue is exported alike from there.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use runner::clock::Timestamp;
use runner::id::{IdSource, Seed};
use runner::store::jsonl::{self, FILES, Part};
use runner::store::{Answer, Caller, Export, Format, Import, Imported, IssueStore, Operation, SqliteStore};

/// Panics where a promise is broken.
pub(crate) fn hold(bytes: &[u8]) {
    let Ok(import) = jsonl::read(&parts(bytes)) else { return };
    let (first, done) = Queue::with(import.clone());
    assert_eq!(done.created, import.issues.len(), "every issue of a file is new to an empty queue");
    let export = first.export();
    let again = first.import(import);
    assert_eq!((again.created, again.updated, again.lines), (0, 0, 0), "a second time nothing happens");
    assert_eq!(first.export(), export, "a second time nothing changes");
    first.sound();
    for format in Format::ALL {
        comes_back(&export, format);
    }
}

/// What was written is read again without loss, and written alike.
fn comes_back(export: &Export, format: Format) {
    let written = files(export, format);
    let parts: Vec<_> = written.iter().map(|(name, text)| part(name, text.as_bytes())).collect();
    let import = jsonl::read(&parts).unwrap_or_else(|error| panic!("{format:?} is not read again: {error}"));
    let (second, _) = Queue::with(import);
    let (mut ours, mut theirs) = (written, files(&second.export(), format));
    // How an issue came about is another story there.
    ours.remove("events.jsonl");
    theirs.remove("events.jsonl");
    assert_eq!(theirs, ours, "{format:?}");
}

fn files(export: &Export, format: Format) -> BTreeMap<&'static str, String> {
    jsonl::print(export, format).files.into_iter().collect()
}

/// Files of a folder as one text: each but the first comes after a line `@@ NAME`.
fn parts(bytes: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut name, mut from, mut at) = (FILES[0], 0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let next = line.strip_prefix(b"@@ ").map(<[u8]>::trim_ascii);
        if let Some(next) = FILES.into_iter().find(|file| Some(file.as_bytes()) == next) {
            parts.push(part(name, &bytes[from..at]));
            (name, from) = (next, at + line.len());
        }
        at += line.len();
    }
    parts.push(part(name, &bytes[from..]));
    parts
}

fn part<'b>(name: &'b str, bytes: &'b [u8]) -> Part<'b> {
    Part { name, role: name, bytes }
}

/// A queue in a folder of its own.
struct Queue {
    store: Arc<SqliteStore>,
    folder: tempfile::TempDir,
}

impl Queue {
    fn with(import: Import) -> (Self, Imported) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open_repeatable(&folder.path().join("issues.db")).unwrap();
        let queue = Self { store, folder };
        let done = queue.import(import);
        queue.sound();
        (queue, done)
    }

    fn ask(&self, operation: Operation) -> Answer {
        let caller = Caller {
            run: None,
            effect: None,
            actor: "kim".to_owned(),
            holder: "kim".to_owned(),
            epochs: BTreeMap::new(),
            at: Timestamp::from_second(1_800_000_000).unwrap(),
            ids: Arc::new(IdSource::new(&Seed::new("importing"), "import")),
            sequence: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.store.apply(caller, operation)).unwrap().answer
    }

    fn import(&self, import: Import) -> Imported {
        match self.ask(Operation::Import(Box::new(import))) {
            Answer::Imported(done) => *done,
            other => panic!("{other:?}"),
        }
    }

    fn export(&self) -> Export {
        match self.ask(Operation::Export) {
            Answer::Exported(export) => *export,
            other => panic!("{other:?}"),
        }
    }

    fn sound(&self) {
        let file: &Path = &self.folder.path().join("issues.db");
        assert_eq!(SqliteStore::examine(file).unwrap().findings, []);
    }
}
