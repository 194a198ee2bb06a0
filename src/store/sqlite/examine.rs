//! How all contents of a queue's file are read without changing it, damaged ones as far as they can be.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, Row};

use super::scope::Kept as Remembered;
use super::{read, row, schema};
use crate::id::{IssueId, RunId};
use crate::issue::Comment;
use crate::store::StoreError;
use crate::store::soundness::{self, Contents, Entry, Finding, Kept, Rule, Soundness};

/// Reads everything at one moment and checks it.
pub(super) fn examine(path: &Path) -> Result<Soundness, StoreError> {
    let conn = schema::open_to_read(path)?;
    let mut findings = Vec::new();
    let contents = load(&conn, &mut findings).unwrap_or_else(|error| {
        findings.push(Finding::general(Rule::File, format!("not all of it can be read: {error}")));
        None
    });
    let mut soundness = Soundness::default();
    if let Some(contents) = contents {
        findings.extend(soundness::examine(&contents));
        soundness.issues = contents.issues.len();
        soundness.dependencies = contents.dependencies.len();
        soundness.comments = contents.comments.len();
        soundness.events = contents.events.len();
    }
    findings.sort();
    soundness.findings = findings;
    Ok(soundness)
}

/// All of the file. What cannot be read becomes a finding; `None` when so much is missing that nothing can be said.
fn load(conn: &Connection, findings: &mut Vec<Finding>) -> rusqlite::Result<Option<Contents>> {
    // One moment for all that follows, whatever others write meanwhile.
    conn.execute_batch("BEGIN")?;
    integrity(conn, findings)?;
    references(conn, findings)?;
    let mut reader = Reader { conn, findings, skipped: 0 };
    let contents = Contents {
        issues: reader.rows((row::COLUMNS, "issues", "created_at, id"), issue)?,
        dependencies: reader.rows(("*", "dependencies", "from_id, to_id"), read::dependency)?,
        comments: reader.rows(("*", "comments", "n"), comment)?,
        events: reader.rows(("*", "events", "seq"), event)?,
    };
    // What a skipped row would have said is not to be reported as missing everywhere else.
    Ok((reader.skipped == 0).then_some(contents))
}

fn integrity(conn: &Connection, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
    let mut statement = conn.prepare("PRAGMA integrity_check")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    for line in lines {
        let line = line?;
        if line != "ok" {
            findings.push(Finding::general(Rule::File, line));
        }
    }
    Ok(())
}

fn references(conn: &Connection, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let lines = statement.query_map([], |row| {
        let (table, number): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
        let place = number.map_or_else(|| "a row".to_owned(), |number| format!("row {number}"));
        Ok(format!("{place} of {table} names an issue that there is not"))
    })?;
    for line in lines {
        findings.push(Finding::general(Rule::Reference, line?));
    }
    Ok(())
}

struct Reader<'a> {
    conn: &'a Connection,
    findings: &'a mut Vec<Finding>,
    skipped: usize,
}

impl Reader<'_> {
    /// Every row of a table; one that cannot be understood becomes a finding.
    fn rows<T>(
        &mut self,
        (columns, table, order): (&str, &str, &str),
        understand: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.conn.prepare(&format!("SELECT {columns} FROM {table} ORDER BY {order}"))?;
        let mut rows = statement.query([])?;
        let (mut found, mut place) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            place += 1;
            match understand(row) {
                Ok(value) => found.push(value),
                Err(error) => {
                    self.skipped += 1;
                    let message = format!("row {place} of {table} (by {order}) cannot be read: {error}");
                    self.findings.push(Finding::general(Rule::Value, message));
                }
            }
        }
        Ok(found)
    }
}

fn issue(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let stored = row::read(row)?;
    Ok(Kept {
        issue: stored.issue,
        epoch: stored.epoch,
        hold: stored.hold.map(|hold| (hold.run, hold.session)),
        open_blockers: stored.open_blockers,
    })
}

fn comment(row: &Row<'_>) -> rusqlite::Result<(IssueId, Comment)> {
    let comment = Comment {
        author: row.get("author")?,
        at: row::time(row, "at")?.unwrap_or_default(),
        body: row.get("body")?,
    };
    Ok((row::id(row, "issue_id")?, comment))
}

fn event(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let run: Option<String> = row.get("run_id")?;
    let effect: Option<String> = row.get("effect_id")?;
    let gained = match row.get::<_, Option<String>>("result")? {
        Some(_) => row::json::<Remembered>(row, "result")?.holds.gained,
        None => BTreeMap::new(),
    };
    Ok(Entry {
        seq: row.get("seq")?,
        effect: run.clone().zip(effect),
        change: read::change(row)?,
        by: (run.map(RunId::new), row.get("session")?),
        gained,
    })
}
