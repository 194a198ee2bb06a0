//! What the file holds and how it is opened: tables, migrations, settings of a connection, waiting for other processes.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::transfer;
use crate::limit;
use crate::store::StoreError;

/// Marks a file as ours, so that another program's database is never migrated by mistake ("rnnq").
const APPLICATION_ID: i32 = 0x726e_6e71;

/// The steps from an empty file to the present one. The list only grows; `user_version` counts the steps taken.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE issues (
    id TEXT PRIMARY KEY NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'in_progress', 'blocked', 'closed')),
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 4),
    issue_type TEXT NOT NULL,
    assignee TEXT,
    parent_id TEXT REFERENCES issues (id),
    blocking_notes TEXT,
    metadata TEXT NOT NULL,
    estimate_minutes INTEGER,
    defer_until TEXT,
    close_reason TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    closed_at TEXT,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    hold_run TEXT,
    hold_session TEXT,
    lease_until TEXT,
    attempt_limit INTEGER,
    open_blockers INTEGER NOT NULL CHECK (open_blockers >= 0),
    rev INTEGER NOT NULL,
    CHECK ((status = 'closed') = (closed_at IS NOT NULL)),
    CHECK ((status = 'in_progress') = (hold_session IS NOT NULL)),
    CHECK ((hold_session IS NULL) = (lease_until IS NULL)),
    CHECK ((hold_session IS NULL) = (attempt_limit IS NULL))
) STRICT;
CREATE INDEX issues_created ON issues (created_at);
CREATE INDEX issues_ready ON issues (priority, created_at) WHERE status = 'open' AND open_blockers = 0;
CREATE INDEX issues_held ON issues (lease_until) WHERE status = 'in_progress';
CREATE INDEX issues_deferred ON issues (defer_until) WHERE status = 'open' AND defer_until IS NOT NULL;
CREATE TABLE dependencies (
    from_id TEXT NOT NULL REFERENCES issues (id),
    to_id TEXT NOT NULL REFERENCES issues (id),
    dep_type TEXT NOT NULL CHECK (dep_type IN ('blocks', 'related', 'parent-child', 'discovered-from')),
    PRIMARY KEY (from_id, to_id),
    CHECK (from_id <> to_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependencies_to ON dependencies (to_id, dep_type);
CREATE TABLE comments (
    n INTEGER PRIMARY KEY,
    issue_id TEXT NOT NULL REFERENCES issues (id),
    author TEXT NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX comments_issue ON comments (issue_id, n);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    run_id TEXT,
    effect_id TEXT,
    issue_id TEXT NOT NULL REFERENCES issues (id),
    event_type TEXT NOT NULL,
    actor TEXT NOT NULL,
    session TEXT NOT NULL,
    changes TEXT NOT NULL,
    result TEXT,
    at TEXT NOT NULL,
    UNIQUE (run_id, effect_id)
) STRICT;
CREATE INDEX events_issue ON events (issue_id, seq);
",
    "
CREATE TABLE kept_issues (
    issue_id TEXT PRIMARY KEY NOT NULL REFERENCES issues (id),
    format TEXT NOT NULL CHECK (format IN ('beads', 'issue-manager')),
    object TEXT NOT NULL
) STRICT;
CREATE TABLE kept_edges (
    from_id TEXT NOT NULL REFERENCES issues (id),
    to_id TEXT NOT NULL,
    dep_type TEXT NOT NULL CHECK (dep_type IN ('blocks', 'related', 'parent-child', 'discovered-from')),
    PRIMARY KEY (from_id, to_id, dep_type)
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_edges_to ON kept_edges (to_id);
CREATE TABLE kept_lines (
    key TEXT PRIMARY KEY NOT NULL,
    object TEXT NOT NULL
) STRICT;
",
    "ALTER TABLE issues ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';",
    "
CREATE INDEX issues_status ON issues (status, created_at);
CREATE INDEX issues_kinds ON issues (metadata, labels, priority, created_at)
    WHERE status = 'open' AND open_blockers = 0;
",
];

/// The step from which on labels are a column; before it they were only kept with what files had brought.
const LABELS_STEP: usize = 3;

/// Opens the file, makes it and its folder if absent, and brings it to the present form.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| unusable(path, format!("cannot make its folder: {error}")))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let mut conn = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
    let mut wait = Wait::new();
    conn.busy_handler(Some(move |count| wait.again(count))).map_err(|error| explain(path, &error))?;
    conn.set_prepared_statement_cache_capacity(64);
    // Changing to WAL needs the file for itself for a moment and does not always ask the busy handler.
    let mut wait = Wait::new();
    let mut tries = 0;
    while let Err(error) = settings(&conn) {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || !wait.again(tries) {
            return Err(explain(path, &error));
        }
        tries += 1;
    }
    migrate(&conn, path)?;
    Ok(conn)
}

/// Opens a file that is there already, to read it as it is: nothing is made, brought up to date or changed.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let mut conn = Connection::open_with_flags(path, flags).map_err(explain)?;
    let mut wait = Wait::new();
    conn.busy_handler(Some(move |count| wait.again(count))).map_err(explain)?;
    let (taken, known) = (steps_taken(&conn, path)?, MIGRATIONS.len());
    if taken < known {
        let reason = format!(
            "it has the older format {taken}, and this runner checks format {known}; `runner issues list` brings it up \
             to date"
        );
        return Err(unusable(path, reason));
    }
    Ok(conn)
}

fn settings(conn: &Connection) -> rusqlite::Result<()> {
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)
}

/// Commits no longer wait until the disk has them.
pub(super) fn forget_the_disk(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", "OFF")
}

fn migrate(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    // Immediate, so that of two processes that open a new file one finds it finished.
    conn.execute_batch("BEGIN IMMEDIATE").map_err(explain)?;
    let done = steps(conn, path).and_then(|()| conn.execute_batch("COMMIT").map_err(explain));
    if done.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK").map_err(explain)?;
    }
    done
}

fn steps(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let (taken, known) = (steps_taken(conn, path)?, MIGRATIONS.len());
    if taken == known {
        return Ok(());
    }
    for step in &MIGRATIONS[taken..] {
        conn.execute_batch(step).map_err(explain)?;
    }
    if taken < LABELS_STEP {
        transfer::take_up_labels(conn).map_err(explain)?;
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID).map_err(explain)?;
    conn.pragma_update(None, "user_version", i64::try_from(known).expect("a short list")).map_err(explain)
}

/// How many of the steps a file has behind it, if it is one of ours that this version knows.
fn steps_taken(conn: &Connection, path: &Path) -> Result<usize, StoreError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(explain)?;
    let owner: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(explain)?;
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(explain)?;
    if owner != APPLICATION_ID && (tables > 0 || version != 0) {
        return Err(unusable(path, "it is a database of another program; name another file".to_owned()));
    }
    let known = MIGRATIONS.len();
    usize::try_from(version).ok().filter(|taken| *taken <= known).ok_or_else(|| {
        unusable(
            path,
            format!(
                "it was written by a newer runner (format {version}, this one knows {known}); use that version"
            ),
        )
    })
}

fn unusable(path: &Path, reason: String) -> StoreError {
    StoreError::Unusable { path: path.display().to_string(), reason }
}

/// Words what SQLite says for somebody who only knows the file.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "another process has kept it locked for {} s; end that process or try again",
            limit::STORE_BUSY.as_secs()
        ),
        Some(ErrorCode::NotADatabase) => {
            "it is not an SQLite database; move it away or name another file".to_owned()
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("it is damaged ({error}); put a backup in its place")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("it cannot be written ({error}); check the permissions of the file and its folder")
        }
        Some(ErrorCode::DiskFull) => "the disk is full; nothing of the change was kept".to_owned(),
        Some(ErrorCode::CannotOpen) => {
            format!("it cannot be opened ({error}); check that the folder exists and may be written")
        }
        _ => error.to_string(),
    };
    unusable(path, reason)
}

/// Waits between tries to get the file. Short waits of different lengths: with SQLite's own growing ones, of 16 writers
/// one gets everything and another starves.
struct Wait {
    state: u64,
    waited: Duration,
}

impl Wait {
    fn new() -> Self {
        // Only has to differ between processes and threads; nothing that is stored follows from it.
        let stack = 0_u8;
        let address = std::ptr::from_ref(&stack).addr();
        Self { state: (u64::from(std::process::id()) << 32) ^ (address as u64) | 1, waited: Duration::ZERO }
    }

    /// Waits a little; `false` when it has been long enough. `count` is 0 at the start of each wait.
    #[expect(clippy::disallowed_methods, reason = "SQLite offers no other way to wait for another process")]
    fn again(&mut self, count: i32) -> bool {
        if count == 0 {
            self.waited = Duration::ZERO;
        }
        if self.waited >= limit::STORE_BUSY {
            return false;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let pause = Duration::from_micros(100 + self.state % 400);
        std::thread::sleep(pause);
        self.waited += pause;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_older_runner_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issues.db");
        for taken in 0..MIGRATIONS.len() {
            let _ = std::fs::remove_file(&path);
            let old = Connection::open(&path).unwrap();
            MIGRATIONS[..taken].iter().for_each(|step| old.execute_batch(step).unwrap());
            old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            old.pragma_update(None, "user_version", i64::try_from(taken).unwrap()).unwrap();
            drop(old);
            let conn = open(&path).unwrap();
            let kept: i64 = conn.query_row("SELECT count(*) FROM kept_lines", [], |row| row.get(0)).unwrap();
            let labels: i64 =
                conn.query_row("SELECT count(labels) FROM issues", [], |row| row.get(0)).unwrap();
            assert_eq!((kept, labels), (0, 0), "from {taken}");
        }
    }

    #[test]
    fn labels_that_were_only_kept_become_those_of_their_issues() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issues.db");
        let old = Connection::open(&path).unwrap();
        MIGRATIONS[..2].iter().for_each(|step| old.execute_batch(step).unwrap());
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 2).unwrap();
        old.execute_batch(
            r#"
INSERT INTO issues VALUES ('a', 't', '', 'open', 2, 'task', NULL, NULL, NULL, '{}', NULL, NULL, NULL,
    '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z', NULL, 0, 0, NULL, NULL, NULL, NULL, 0, 1);
INSERT INTO kept_issues VALUES ('a', 'beads', '{"id":"a","title":"t","issue_type":"task",
    "created_at":"2026-01-01T00:00:00Z","labels":["q3",7,"b","b"]}');
INSERT INTO events (issue_id, event_type, actor, session, changes, at) VALUES ('a', 'imported', 'kim', 'kim',
    '{"issue":{"old":null,"new":{"id":"a","title":"t","description":"","status":"open","priority":2,"issue_type":"task",
    "assignee":null,"parent_id":null,"blocking_notes":null,"metadata":{},"estimate_minutes":null,"defer_until":null,
    "close_reason":null,"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","closed_at":null,
    "attempt":0}}}', '2026-01-02T00:00:00.000000Z');
"#,
        )
        .unwrap();
        drop(old);
        let conn = open(&path).unwrap();
        let labels: String = conn.query_row("SELECT labels FROM issues", [], |row| row.get(0)).unwrap();
        assert_eq!(labels, r#"["b","q3"]"#);
        drop(conn);
        let soundness = crate::store::SqliteStore::examine(&path).unwrap();
        assert_eq!((soundness.events, soundness.findings), (2, vec![]));
    }

    #[test]
    fn commits_wait_for_the_disk_unless_the_queue_can_be_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let conn = open(&folder.path().join("issues.db")).unwrap();
        let synchronous = |conn: &Connection| -> i64 {
            conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap()
        };
        assert_eq!(synchronous(&conn), 2, "FULL");
        forget_the_disk(&conn).unwrap();
        assert_eq!(synchronous(&conn), 0, "OFF");
    }
}
