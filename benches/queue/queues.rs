//! Which queues are measured: each size is made once, by an import, and copied for whoever changes it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runner::store::jsonl::{self, FILES, Part};
use runner::store::{Import, IssueStore, Operation, SqliteStore};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::claimers::Hand;
use crate::figures::now;
use crate::runtime;

/// Whom the issues are for, in turn.
const KINDS: [&str; 3] = ["coding", "testing", "review"];

/// How many issues a queue begins with.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Open ones; each fifth waits for the one before it, each tenth is a part of an earlier one.
    pub open: usize,
    /// Closed ones, older than all others.
    pub closed: usize,
}

/// A queue that nobody changes.
pub struct Template {
    pub shape: Shape,
    /// How long the import took.
    pub made_in: Duration,
    queue: Queue,
}

/// A file with a queue, in a folder of its own.
pub struct Queue {
    _folder: TempDir,
    pub path: PathBuf,
}

impl Queue {
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder for a queue");
        let path = folder.path().join("issues.db");
        Self { _folder: folder, path }
    }

    /// As the runner opens it.
    pub fn open(&self) -> Arc<dyn IssueStore> {
        open(&self.path)
    }
}

/// Opens a queue as the runner does.
pub fn open(path: &Path) -> Arc<dyn IssueStore> {
    SqliteStore::open(path).expect("the queue opens")
}

impl Template {
    pub fn make(shape: Shape) -> Self {
        let (queue, made_in) = import(brought(shape));
        Self { shape, made_in, queue }
    }

    /// A queue like it, written out to the disk, so that what is measured need not wait for that.
    pub fn copy(&self) -> Queue {
        let copy = Queue::empty();
        std::fs::copy(&self.queue.path, &copy.path).expect("the queue can be copied");
        File::open(&copy.path).and_then(|file| file.sync_all()).expect("the copy reaches the disk");
        copy
    }
}

/// Imports into a new queue; how long the operation takes, without reading the file.
pub fn import(import: Import) -> (Queue, Duration) {
    let queue = Queue::empty();
    let store = queue.open();
    let begun = now();
    runtime().block_on(Hand::new("importer").ask(&store, Operation::Import(Box::new(import))));
    (queue, begun.elapsed())
}

/// What a file of beads with these issues brings.
pub fn brought(shape: Shape) -> Import {
    let lines: Vec<String> = (0..shape.open + shape.closed).map(|n| line(shape, n).to_string()).collect();
    let text = lines.join("\n");
    jsonl::read(&[Part { name: "issues.jsonl", role: FILES[0], bytes: text.as_bytes() }])
        .expect("it is sound")
}

fn line(shape: Shape, n: usize) -> Value {
    let id = |n: usize| format!("bd-{n:08}");
    let at = |n: usize| {
        format!("2026-01-{:02}T{:02}:{:02}:{:02}Z", n / 86_400 + 1, n / 3_600 % 24, n / 60 % 60, n % 60)
    };
    let edge = |to: usize, kind: &str| json!([{"issue_id": id(n), "depends_on_id": id(to), "type": kind}]);
    let edges = match n % 10 {
        4 | 9 => edge(n - 1, "blocks"),
        7 => edge(n - 7, "parent-child"),
        _ => json!([]),
    };
    let mut issue = json!({
        "id": id(n),
        "title": format!("Handle case {n} of the parser"),
        "description": "What is to be done, why, and how one sees that it is done. ".repeat(5),
        "status": "open",
        "priority": n % 5,
        "issue_type": "task",
        "created_at": at(n),
        "updated_at": at(n),
        "metadata": {"worker_type": KINDS[n % KINDS.len()]},
        "dependencies": edges,
    });
    if n < shape.closed {
        issue["status"] = json!("closed");
        issue["closed_at"] = json!(at(n + 1));
        issue["close_reason"] = json!("Completed");
    }
    issue
}

/// A copy that is worked on until half of it is done, and then replaced by a new one.
pub struct Bed<'t> {
    template: &'t Template,
    queue: Queue,
    used: usize,
}

impl<'t> Bed<'t> {
    pub fn new(template: &'t Template) -> Self {
        Self { template, queue: template.copy(), used: 0 }
    }

    /// A queue with room for so many pairs, and how many have been worked there before.
    pub fn with_room(&mut self, pairs: usize) -> (&Queue, usize) {
        if self.used > 0 && self.used + pairs > self.template.shape.open / 2 {
            self.queue = self.template.copy();
            self.used = 0;
        }
        let before = self.used;
        self.used += pairs;
        (&self.queue, before)
    }
}
