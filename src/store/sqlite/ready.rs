//! Which ready issue comes first for whom, found without reading all that are ready.
//!
//! Nearly always one of the first ready issues is welcome. Where none is, as when all that is left is for others, the
//! *kinds* are looked through instead: the metadata that ready issues have, each different text once.

use rusqlite::{Connection, Row, named_params};

use super::row::{self, FROM_READY, READY, READY_ORDER};
use super::{read, row::UNBLOCKED};
use crate::clock::{Timestamp, micros};
use crate::id::IssueId;
use crate::issue::Takes;
use crate::store::Offer;

/// Ready issues that are looked at one by one before the kinds are.
const LOOKED_AT: i64 = 256;

/// An issue with what its place among the ready ones follows from.
struct Candidate {
    place: (i64, String, i64),
    offer: Offer,
}

/// The first one for somebody.
pub(super) fn first(conn: &Connection, takes: &Takes, at: Timestamp) -> rusqlite::Result<Option<IssueId>> {
    Ok(of(conn, takes, 1, at)?.pop().map(|candidate| candidate.offer.id))
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
        all.extend(of(conn, takes, each, at)?);
    }
    all.sort_by(|a, b| a.place.cmp(&b.place));
    all.dedup_by(|a, b| a.place == b.place);
    Ok(all.into_iter().map(|candidate| candidate.offer).collect())
}

/// The first ones for somebody, in order.
fn of(conn: &Connection, takes: &Takes, wanted: usize, at: Timestamp) -> rusqlite::Result<Vec<Candidate>> {
    let now = row::time_text(micros(at));
    let mut statement = conn.prepare_cached(&front_sql())?;
    let mut rows = statement.query(named_params! {":now": now})?;
    let (mut found, mut looked_at) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let candidate = candidate(row)?;
        if takes.matches(&candidate.offer.metadata) {
            found.push(candidate);
        }
        looked_at += 1;
        if found.len() == wanted {
            return Ok(found);
        }
        if looked_at == LOOKED_AT {
            return by_kinds(conn, takes, wanted, &now);
        }
    }
    Ok(found)
}

fn by_kinds(conn: &Connection, takes: &Takes, wanted: usize, now: &str) -> rusqlite::Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let limit = i64::try_from(wanted).unwrap_or(i64::MAX);
    // Less than any text.
    let mut kind = String::new();
    while let Some(next) = read::collect(conn, &next_kind_sql(), named_params! {":kind": kind}, |row| {
        Ok((row.get::<_, String>("metadata")?, row::json(row, "metadata")?))
    })?
    .pop()
    {
        let (text, metadata) = next;
        if takes.matches(&metadata) {
            let params = named_params! {":now": now, ":kind": text, ":limit": limit};
            found.append(&mut read::collect(conn, &of_kind_sql(), params, candidate)?);
        }
        kind = text;
    }
    found.sort_by(|a, b| a.place.cmp(&b.place));
    found.truncate(wanted);
    Ok(found)
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    let place = (row.get("priority")?, row.get("created_at")?, row.get("number")?);
    Ok(Candidate { place, offer: Offer { id: row::id(row, "id")?, metadata: row::json(row, "metadata")? } })
}

const CANDIDATE: &str = "id, metadata, priority, created_at, rowid AS number";

fn front_sql() -> String {
    format!("SELECT {CANDIDATE} {FROM_READY} WHERE {READY} {READY_ORDER}")
}

fn next_kind_sql() -> String {
    format!(
        "SELECT metadata FROM issues INDEXED BY issues_kinds WHERE {UNBLOCKED} AND metadata > :kind \
         ORDER BY metadata LIMIT 1"
    )
}

fn of_kind_sql() -> String {
    format!(
        "SELECT {CANDIDATE} FROM issues INDEXED BY issues_kinds WHERE {READY} AND metadata = :kind \
         {READY_ORDER} LIMIT :limit"
    )
}
