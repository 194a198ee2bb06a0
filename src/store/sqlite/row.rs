//! How an issue stands in a row: columns to struct and back, times as text that sorts.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

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
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|error| broken(row, column, error))).transpose()
}

fn must_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    time(row, column)?.ok_or_else(|| broken(row, column, "there is no time"))
}

fn broken(
    row: &Row<'_>,
    column: &str,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, why.into())
}

/// Reads a status column.
pub(super) fn status(row: &Row<'_>, column: &str) -> rusqlite::Result<Status> {
    let text: String = row.get(column)?;
    Status::from_text(&text).ok_or_else(|| broken(row, column, "there is no such status"))
}

/// Reads the type of an edge.
pub(super) fn edge(row: &Row<'_>, column: &str) -> rusqlite::Result<EdgeType> {
    let text: String = row.get(column)?;
    EdgeType::from_text(&text).ok_or_else(|| broken(row, column, "there is no such edge"))
}

/// Reads JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| broken(row, column, error))
}

/// Reads an id.
pub(super) fn id(row: &Row<'_>, column: &str) -> rusqlite::Result<IssueId> {
    row.get::<_, String>(column).map(IssueId::new)
}

/// Reads a whole row of `COLUMNS`.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let issue = Issue {
        id: id(row, "id")?,
        title: row.get("title")?,
        description: row.get("description")?,
        status: status(row, "status")?,
        priority: row.get("priority")?,
        issue_type: row.get("issue_type")?,
        assignee: row.get("assignee")?,
        parent_id: row.get::<_, Option<String>>("parent_id")?.map(IssueId::new),
        blocking_notes: row.get("blocking_notes")?,
        metadata: json(row, "metadata")?,
        labels: json(row, "labels")?,
        estimate_minutes: row.get("estimate_minutes")?,
        defer_until: time(row, "defer_until")?,
        close_reason: row.get("close_reason")?,
        created_at: must_time(row, "created_at")?,
        updated_at: must_time(row, "updated_at")?,
        closed_at: time(row, "closed_at")?,
        attempt: row.get("attempt")?,
    };
    let hold = match row.get::<_, Option<String>>("hold_session")? {
        Some(session) => Some(Held {
            run: row.get::<_, Option<String>>("hold_run")?.map(RunId::new),
            session,
            lease_until: must_time(row, "lease_until")?,
            attempt_limit: row.get("attempt_limit")?,
        }),
        None => None,
    };
    let epoch: i64 = row.get("epoch")?;
    Ok(Stored { issue, epoch: epoch.unsigned_abs(), hold, open_blockers: row.get("open_blockers")? })
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

/// Writes a row back, all but its counter, which `edges` keeps.
pub(super) fn update(conn: &Connection, stored: &Stored) -> rusqlite::Result<()> {
    let sql = "UPDATE issues SET title = :title, description = :description, status = :status, \
        priority = :priority, issue_type = :issue_type, assignee = :assignee, parent_id = :parent_id, \
        blocking_notes = :blocking_notes, metadata = :metadata, labels = :labels, estimate_minutes = :estimate_minutes, \
        defer_until = :defer_until, close_reason = :close_reason, created_at = :created_at, \
        updated_at = :updated_at, closed_at = :closed_at, attempt = :attempt, epoch = :epoch, \
        hold_run = :hold_run, hold_session = :hold_session, lease_until = :lease_until, \
        attempt_limit = :attempt_limit, rev = rev + 1 \
        WHERE id = :id";
    let rows = write(conn, sql, stored)?;
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
