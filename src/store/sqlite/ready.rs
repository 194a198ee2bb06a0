//! Which ready issue comes first for whom, found without reading all that are ready.
//!
//! Nearly always one of the first ready issues is welcome. Where none is, as when all that is left is for others, the
//! *kinds* are looked through instead: the metadata and labels that ready issues have, each different pair once.

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::{Map, Value};

use super::row::{self, FROM_READY, READY, READY_ORDER, UNBLOCKED};
use crate::clock::{Timestamp, micros};
use crate::id::IssueId;
use crate::issue::Takes;
use crate::store::{Claim, Offer};

/// Ready issues that are looked at one by one before the kinds are.
const LOOKED_AT: i64 = 256;

/// An issue with what its place among the ready ones follows from.
struct Candidate {
    place: (i64, String, i64),
    offer: Offer,
}

/// What somebody takes.
#[derive(Clone, Copy)]
struct Welcome<'a> {
    takes: &'a Takes,
    labels: &'a [String],
}

impl Welcome<'_> {
    /// Whether it takes an issue of this row, and what the row has for metadata.
    fn judge(self, row: &Row<'_>) -> rusqlite::Result<Option<Map<String, Value>>> {
        let metadata = row::json(row, "metadata")?;
        if !self.takes.matches(&metadata) {
            return Ok(None);
        }
        if !self.labels.is_empty() {
            let has: Vec<String> = row::json(row, "labels")?;
            if !self.labels.iter().all(|label| has.contains(label)) {
                return Ok(None);
            }
        }
        Ok(Some(metadata))
    }
}

/// The first one for somebody.
pub(super) fn first(conn: &Connection, claim: &Claim, at: Timestamp) -> rusqlite::Result<Option<IssueId>> {
    let welcome = Welcome { takes: &claim.takes, labels: &claim.labels };
    Ok(of(conn, welcome, 1, at)?.pop().map(|candidate| candidate.offer.id))
}

/// The first ones for each, all together in order.
pub(super) fn offers(
    conn: &Connection,
    takes: &[Takes],
    each: usize,
    at: Timestamp,
) -> rusqlite::Result<Vec<Offer>> {
    let mut all = Vec::new();
    for takes in takes {
        all.extend(of(conn, Welcome { takes, labels: &[] }, each, at)?);
    }
    all.sort_by(|a, b| a.place.cmp(&b.place));
    all.dedup_by(|a, b| a.place == b.place);
    Ok(all.into_iter().map(|candidate| candidate.offer).collect())
}

/// The first ones for somebody, in order.
fn of(
    conn: &Connection,
    welcome: Welcome<'_>,
    wanted: usize,
    at: Timestamp,
) -> rusqlite::Result<Vec<Candidate>> {
    let now = row::time_text(micros(at));
    let mut statement = conn.prepare_cached(&front_sql())?;
    let mut rows = statement.query(named_params! {":now": now})?;
    let (mut found, mut looked_at) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if let Some(metadata) = welcome.judge(row)? {
            found.push(candidate(row, metadata)?);
        }
        looked_at += 1;
        if found.len() == wanted {
            return Ok(found);
        }
        if looked_at == LOOKED_AT {
            return by_kinds(conn, welcome, wanted, &now);
        }
    }
    Ok(found)
}

fn by_kinds(
    conn: &Connection,
    welcome: Welcome<'_>,
    wanted: usize,
    now: &str,
) -> rusqlite::Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let limit = i64::try_from(wanted).unwrap_or(i64::MAX);
    // Less than any text.
    let (mut kind, mut labels) = (String::new(), String::new());
    let mut next_labels = conn.prepare_cached(&next_labels_sql())?;
    let mut next_kind = conn.prepare_cached(&next_kind_sql())?;
    let mut of_kind = conn.prepare_cached(&of_kind_sql())?;
    let read = |row: &Row<'_>| Ok((row.get("metadata")?, row.get("labels")?, welcome.judge(row)?));
    loop {
        let next = match next_labels.query_row([&kind, &labels], read).optional()? {
            Some(next) => Some(next),
            None => next_kind.query_row([&kind], read).optional()?,
        };
        let Some(next) = next else { break };
        let metadata: Option<Map<String, Value>>;
        (kind, labels, metadata) = next;
        if metadata.is_some() {
            let params = named_params! {":now": now, ":kind": kind, ":labels": labels, ":limit": limit};
            let mut rows = of_kind.query(params)?;
            while let Some(row) = rows.next()? {
                found.push(candidate(row, row::json(row, "metadata")?)?);
            }
        }
    }
    found.sort_by(|a, b| a.place.cmp(&b.place));
    found.truncate(wanted);
    Ok(found)
}

fn candidate(row: &Row<'_>, metadata: Map<String, Value>) -> rusqlite::Result<Candidate> {
    let place = (row.get("priority")?, row.get("created_at")?, row.get("number")?);
    Ok(Candidate { place, offer: Offer { id: row::id(row, "id")?, metadata } })
}

const CANDIDATE: &str = "id, metadata, labels, priority, created_at, rowid AS number";

fn front_sql() -> String {
    format!("SELECT {CANDIDATE} {FROM_READY} WHERE {READY} {READY_ORDER}")
}

// Two statements: for both columns in one comparison SQLite reads all issues of the kind.
fn next_labels_sql() -> String {
    format!(
        "SELECT metadata, labels FROM issues INDEXED BY issues_kinds WHERE {UNBLOCKED} \
         AND metadata = ?1 AND labels > ?2 ORDER BY labels LIMIT 1"
    )
}

fn next_kind_sql() -> String {
    format!(
        "SELECT metadata, labels FROM issues INDEXED BY issues_kinds WHERE {UNBLOCKED} \
         AND metadata > ?1 ORDER BY metadata, labels LIMIT 1"
    )
}

fn of_kind_sql() -> String {
    format!(
        "SELECT {CANDIDATE} FROM issues INDEXED BY issues_kinds WHERE {READY} AND metadata = :kind \
         AND labels = :labels {READY_ORDER} LIMIT :limit"
    )
}
