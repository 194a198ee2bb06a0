//! How an issue stands in a row: columns to struct and back, times as text that sorts.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, RowIndex, named_params};

use crate::clock::Timestamp;
use crate::id::{IssueId, RunId};
use crate::issue::{EdgeType, Issue, Status};

/// An issue with what only the store knows of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub issue: Issue,
    /// Rises with each claim and whenever somebody takes the issue from its holder by force.
    pub epoch: u64,
    /// Who holds it; present exactly while it is in progress.
    pub hold: Option<Held>,
    /// Open issues it waits for, and blocked parents.
    pub open_blockers: u32,
}

/// A hold as stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub run: Option<RunId>,
    pub session: String,
    pub lease_until: Timestamp,
    pub attempt_limit: u32,
}

impl Stored {
    /// Whether its children are blocked because of it.
    pub fn is_stuck(&self) -> bool {
        match self.issue.status {
            Status::Closed => false,
            Status::Blocked => true,
            Status::Open | Status::InProgress => self.open_blockers > 0,
        }
    }

    /// Who holds it, for messages.
    pub fn holder(&self) -> String {
        match (&self.issue.assignee, &self.hold) {
            (Some(assignee), Some(_)) => assignee.clone(),
            (None, Some(hold)) => hold.session.clone(),
            (_, None) => "somebody else".to_owned(),
        }
    }
}

/// The columns `read` expects, in its order.
pub(super) const COLUMNS: &str = "id, title, description, status, priority, issue_type, assignee, parent_id, \
    blocking_notes, metadata, labels, estimate_minutes, defer_until, close_reason, created_at, updated_at, closed_at, attempt, \
    epoch, hold_run, hold_session, lease_until, attempt_limit, open_blockers";

/// Open, waiting for nothing, not deferred beyond `:now`; the words the partial index needs.
pub(super) const READY: &str =
    "status = 'open' AND open_blockers = 0 AND (defer_until IS NULL OR defer_until <= :now)";

/// Where ready issues are looked for, in `READY_ORDER`. Named, since SQLite prefers the index of statuses otherwise.
pub(super) const FROM_READY: &str = "FROM issues INDEXED BY issues_ready";

/// Ready or deferred: just what the partial index has.
pub(super) const UNBLOCKED: &str = "status = 'open' AND open_blockers = 0";

/// Waits for nothing but a moment.
pub(super) const NOT_YET: &str = "status = 'open' AND open_blockers = 0 AND defer_until > :now";

/// What is left to do. Named one by one, so that the index of statuses serves it.
pub(super) const NOT_CLOSED: &str = "('open', 'in_progress', 'blocked')";

/// First to be worked first.
/// Issues of one moment follow each other as they were made: SQLite numbers rows as they come.
pub(super) const READY_ORDER: &str = "ORDER BY priority, created_at, rowid";

/// A moment as stored: always six digits, so that texts sort as moments do.
pub(super) fn time_text(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// Labels as stored.
pub(super) fn labels_text(labels: &[String]) -> String {
    serde_json::to_string(labels).expect("texts are JSON")
}

/// Reads a moment back.
pub(super) fn time(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Option<Timestamp>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(|text| text.parse().map_err(|error| broken(row, column, error))).transpose()
}

fn must_time(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Timestamp> {
    time(row, column)?.ok_or_else(|| broken(row, column, "there is no time"))
}

fn broken(
    row: &Row<'_>,
    column: impl RowIndex,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    let index = column.idx(row.as_ref()).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, why.into())
}

/// Reads a status column.
pub(super) fn status(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Status> {
    Status::from_text(row.get_ref(column)?.as_str()?)
        .ok_or_else(|| broken(row, column, "there is no such status"))
}

/// Reads the type of an edge.
pub(super) fn edge(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<EdgeType> {
    EdgeType::from_text(row.get_ref(column)?.as_str()?)
        .ok_or_else(|| broken(row, column, "there is no such edge"))
}

/// Reads JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: impl RowIndex,
) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| broken(row, column, error))
}

/// Reads an id.
pub(super) fn id(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<IssueId> {
    row.get::<_, String>(column).map(IssueId::new)
}

/// Reads a whole row of `COLUMNS`. By their places: to look each of them up by its name takes longer than the rest.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let issue = Issue {
        id: id(row, 0)?,
        title: row.get(1)?,
        description: row.get(2)?,
        status: status(row, 3)?,
        priority: row.get(4)?,
        issue_type: row.get(5)?,
        assignee: row.get(6)?,
        parent_id: row.get::<_, Option<String>>(7)?.map(IssueId::new),
        blocking_notes: row.get(8)?,
        metadata: json(row, 9)?,
        labels: json(row, 10)?,
        estimate_minutes: row.get(11)?,
        defer_until: time(row, 12)?,
        close_reason: row.get(13)?,
        created_at: must_time(row, 14)?,
        updated_at: must_time(row, 15)?,
        closed_at: time(row, 16)?,
        attempt: row.get(17)?,
    };
    let epoch: i64 = row.get(18)?;
    let hold = match row.get::<_, Option<String>>(20)? {
        Some(session) => Some(Held {
            run: row.get::<_, Option<String>>(19)?.map(RunId::new),
            session,
            lease_until: must_time(row, 21)?,
            attempt_limit: row.get(22)?,
        }),
        None => None,
    };
    Ok(Stored { issue, epoch: epoch.unsigned_abs(), hold, open_blockers: row.get(23)? })
}

/// Looks one up.
pub(super) fn find(conn: &Connection, id: &IssueId) -> rusqlite::Result<Option<Stored>> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM issues WHERE id = ?1"))?
        .query_row([id.as_str()], read)
        .optional()
}

/// Writes a new row that waits for nothing yet; `false` when the id is taken.
pub(super) fn insert(conn: &Connection, stored: &Stored) -> rusqlite::Result<bool> {
    let sql = format!(
        "INSERT INTO issues ({COLUMNS}, rev) VALUES (:id, :title, :description, :status, :priority, :issue_type, \
         :assignee, :parent_id, :blocking_notes, :metadata, :labels, :estimate_minutes, :defer_until, :close_reason, \
         :created_at, :updated_at, :closed_at, :attempt, :epoch, :hold_run, :hold_session, :lease_until, \
         :attempt_limit, 0, 1) ON CONFLICT (id) DO NOTHING"
    );
    write(conn, &sql, stored).map(|rows| rows > 0)
}

/// Writes back what may have changed of a row, all but its counter, which `edges` keeps.
pub(super) fn update_from(conn: &Connection, before: &Stored, after: &Stored) -> rusqlite::Result<()> {
    // Nearly every change is a move. Naming the other columns too would have SQLite write their indexes anew.
    match is_moved_only(&before.issue, &after.issue) {
        true => update_move(conn, after),
        false => update(conn, after),
    }
}

/// Whether all columns that a move leaves alone are as they were.
fn is_moved_only(before: &Issue, after: &Issue) -> bool {
    let Issue {
        id: _,
        status: _,
        assignee: _,
        blocking_notes: _,
        close_reason: _,
        updated_at: _,
        closed_at: _,
        attempt: _,
        title,
        description,
        priority,
        issue_type,
        parent_id,
        metadata,
        labels,
        estimate_minutes,
        defer_until,
        created_at,
    } = after;
    *title == before.title
        && *description == before.description
        && *priority == before.priority
        && *issue_type == before.issue_type
        && *parent_id == before.parent_id
        && *metadata == before.metadata
        && *labels == before.labels
        && *estimate_minutes == before.estimate_minutes
        && *defer_until == before.defer_until
        && *created_at == before.created_at
}

fn update_move(conn: &Connection, stored: &Stored) -> rusqlite::Result<()> {
    let Stored { issue, epoch, hold, open_blockers: _ } = stored;
    let sql = "UPDATE issues SET status = :status, assignee = :assignee, blocking_notes = :blocking_notes, \
        close_reason = :close_reason, updated_at = :updated_at, closed_at = :closed_at, attempt = :attempt, \
        epoch = :epoch, hold_run = :hold_run, hold_session = :hold_session, lease_until = :lease_until, \
        attempt_limit = :attempt_limit, rev = rev + 1 WHERE id = :id";
    one_row(conn.prepare_cached(sql)?.execute(named_params! {
        ":id": issue.id.as_str(),
        ":status": issue.status.as_str(),
        ":assignee": issue.assignee,
        ":blocking_notes": issue.blocking_notes,
        ":close_reason": issue.close_reason,
        ":updated_at": time_text(issue.updated_at),
        ":closed_at": issue.closed_at.map(time_text),
        ":attempt": issue.attempt,
        ":epoch": i64::try_from(*epoch).unwrap_or(i64::MAX),
        ":hold_run": hold.as_ref().and_then(|hold| hold.run.as_ref()).map(RunId::as_str),
        ":hold_session": hold.as_ref().map(|hold| hold.session.as_str()),
        ":lease_until": hold.as_ref().map(|hold| time_text(hold.lease_until)),
        ":attempt_limit": hold.as_ref().map(|hold| hold.attempt_limit),
    })?)
}

/// Writes a whole row back, all but its counter.
pub(super) fn update(conn: &Connection, stored: &Stored) -> rusqlite::Result<()> {
    let sql = "UPDATE issues SET title = :title, description = :description, status = :status, \
        priority = :priority, issue_type = :issue_type, assignee = :assignee, parent_id = :parent_id, \
        blocking_notes = :blocking_notes, metadata = :metadata, labels = :labels, estimate_minutes = :estimate_minutes, \
        defer_until = :defer_until, close_reason = :close_reason, created_at = :created_at, \
        updated_at = :updated_at, closed_at = :closed_at, attempt = :attempt, epoch = :epoch, \
        hold_run = :hold_run, hold_session = :hold_session, lease_until = :lease_until, \
        attempt_limit = :attempt_limit, rev = rev + 1 \
        WHERE id = :id";
    one_row(write(conn, sql, stored)?)
}

fn one_row(rows: usize) -> rusqlite::Result<()> {
    if rows == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(rows)) }
}

fn write(conn: &Connection, sql: &str, stored: &Stored) -> rusqlite::Result<usize> {
    let Stored { issue, epoch, hold, open_blockers: _ } = stored;
    conn.prepare_cached(sql)?.execute(named_params! {
        ":id": issue.id.as_str(),
        ":title": issue.title,
        ":description": issue.description,
        ":status": issue.status.as_str(),
        ":priority": issue.priority,
        ":issue_type": issue.issue_type,
        ":assignee": issue.assignee,
        ":parent_id": issue.parent_id.as_ref().map(IssueId::as_str),
        ":blocking_notes": issue.blocking_notes,
        ":metadata": serde_json::Value::Object(issue.metadata.clone()).to_string(),
        ":labels": labels_text(&issue.labels),
        ":estimate_minutes": issue.estimate_minutes,
        ":defer_until": issue.defer_until.map(time_text),
        ":close_reason": issue.close_reason,
        ":created_at": time_text(issue.created_at),
        ":updated_at": time_text(issue.updated_at),
        ":closed_at": issue.closed_at.map(time_text),
        ":attempt": issue.attempt,
        ":epoch": i64::try_from(*epoch).unwrap_or(i64::MAX),
        ":hold_run": hold.as_ref().and_then(|hold| hold.run.as_ref()).map(RunId::as_str),
        ":hold_session": hold.as_ref().map(|hold| hold.session.as_str()),
        ":lease_until": hold.as_ref().map(|hold| time_text(hold.lease_until)),
        ":attempt_limit": hold.as_ref().map(|hold| hold.attempt_limit),
    })
}
