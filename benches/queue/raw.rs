//! What SQLite itself can do: the same rows written by a bare loop that decides nothing, on one connection with the
//! settings of the queue.
//!
//! The rows are those that a claimer has written in a rehearsal: for each claim and each close one UPDATE of the issue
//! and one INSERT of the event. What else a claim does (finding the issue, checking who may, answering) is not in it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::claimers::{Until, work};
use crate::figures::now;
use crate::queues::Template;
use crate::runtime;

/// The events of a rehearsal, claim and close in turn.
pub struct Script(Vec<Written>);

struct Written {
    run: String,
    effect: String,
    issue: String,
    event: String,
    actor: String,
    session: String,
    changes: String,
    result: String,
    at: String,
}

/// Lets one claimer work on a copy, and keeps what it has written.
pub fn rehearse(template: &Template, pairs: usize) -> Script {
    let queue = template.copy();
    let worked = runtime().block_on(work(&queue.open(), 1, Until::Pairs(pairs)));
    assert_eq!(worked.pairs, pairs, "there is enough to claim");
    let conn = Connection::open(&queue.path).expect("the queue opens");
    let mut select = conn
        .prepare(
            "SELECT run_id, effect_id, issue_id, event_type, actor, session, changes, result, at FROM events \
             WHERE run_id IS NOT NULL ORDER BY seq",
        )
        .expect("the table is known");
    let rows = select.query_map([], |row| {
        Ok(Written {
            run: row.get(0)?,
            effect: row.get(1)?,
            issue: row.get(2)?,
            event: row.get(3)?,
            actor: row.get(4)?,
            session: row.get(5)?,
            changes: row.get(6)?,
            result: row.get(7)?,
            at: row.get(8)?,
        })
    });
    let script: Vec<Written> = rows.and_then(Iterator::collect).expect("an event is a row of texts");
    assert_eq!(script.len(), 2 * pairs, "an event a claim, an event a close");
    Script(script)
}

/// Writes these pairs of the script, so many operations a transaction; answers how long it took.
pub fn write(path: &Path, script: &Script, pairs: std::ops::Range<usize>, grouped: usize) -> Duration {
    let conn = Connection::open(path).expect("the queue opens");
    conn.pragma_update(None, "synchronous", "FULL").expect("a setting");
    conn.pragma_update(None, "foreign_keys", true).expect("a setting");
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("a setting");
    assert_eq!(mode, "wal", "the file says so");
    let script = &script.0[2 * pairs.start..2 * pairs.end];
    let begun = now();
    for group in script.chunks(grouped) {
        group_of(&conn, group).expect("the rows can be written");
    }
    begun.elapsed()
}

fn group_of(conn: &Connection, group: &[Written]) -> rusqlite::Result<()> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    for one in group {
        let rows = match one.event.as_str() {
            "claimed" => conn
                .prepare_cached(
                    "UPDATE issues SET status = 'in_progress', assignee = ?2, hold_run = ?3, hold_session = ?4, \
                     lease_until = ?5, attempt_limit = 3, updated_at = ?5, epoch = epoch + 1, rev = rev + 1 \
                     WHERE id = ?1",
                )?
                .execute(params![one.issue, one.actor, one.run, one.session, one.at])?,
            _ => conn
                .prepare_cached(
                    "UPDATE issues SET status = 'closed', close_reason = 'Completed', hold_run = NULL, \
                     hold_session = NULL, lease_until = NULL, attempt_limit = NULL, updated_at = ?2, \
                     closed_at = ?2, rev = rev + 1 WHERE id = ?1",
                )?
                .execute(params![one.issue, one.at])?,
        };
        assert_eq!(rows, 1, "the issue is there");
        conn.prepare_cached(
            "INSERT INTO events (run_id, effect_id, issue_id, event_type, actor, session, changes, result, at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            one.run, one.effect, one.issue, one.event, one.actor, one.session, one.changes, one.result, one.at
        ])?;
    }
    conn.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}
