//! What is asked of the queue without changing it: lists, what is ready, what is blocked, counts, history.

use rusqlite::{Connection, ToSql, named_params};
use serde_json::Value;

use super::row::{self, COLUMNS, FROM_READY, NOT_CLOSED, NOT_YET, READY, READY_ORDER, Stored, UNBLOCKED};
use super::scope::{Outcome, Scope};
use crate::clock::Timestamp;
use crate::id::IssueId;
use crate::issue::{Comment, Dependency, Issue, Status, Takes};
use crate::limit;
use crate::store::{Answer, BlockedIssue, Change, Counts, Filter, Graph, Hold, LeftIssue, Snapshot};

/// Issues in creation order.
pub(super) fn list(scope: &mut Scope<'_>, filter: &Filter) -> Outcome<Answer> {
    select(scope, filter, &Among { from: "FROM issues", which: None, order: "ORDER BY created_at, rowid" })
}

/// Ready issues, first to be worked first.
pub(super) fn ready(scope: &mut Scope<'_>, filter: &Filter) -> Outcome<Answer> {
    select(scope, filter, &Among { from: FROM_READY, which: Some(READY), order: READY_ORDER })
}

/// Among which issues a question selects, and how.
struct Among {
    from: &'static str,
    which: Option<&'static str>,
    order: &'static str,
}

/// The conditions of a filter that SQL decides. Only what is asked for is named, so that an index can serve it.
fn conditions(filter: &Filter) -> Vec<(&'static str, (&'static str, Box<dyn ToSql>))> {
    let mut named: Vec<(&str, (&str, Box<dyn ToSql>))> = Vec::new();
    if let Some(status) = filter.status {
        named.push(("status = :status", (":status", Box::new(status.as_str()))));
    }
    if let Some(priority) = filter.priority {
        named.push(("priority = :priority", (":priority", Box::new(priority))));
    }
    if let Some(issue_type) = &filter.issue_type {
        named.push(("issue_type = :issue_type", (":issue_type", Box::new(issue_type.clone()))));
    }
    if let Some(assignee) = &filter.assignee {
        named.push(("assignee = :assignee", (":assignee", Box::new(assignee.clone()))));
    }
    named
}

fn select(scope: &mut Scope<'_>, filter: &Filter, among: &Among) -> Outcome<Answer> {
    scope.touch_all();
    let conditions = conditions(filter);
    let all: Vec<&str> = among.which.into_iter().chain(conditions.iter().map(|(text, _)| *text)).collect();
    let sieve = if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) };
    let place = format!("{}{sieve}", among.from);
    let now = row::time_text(scope.at);
    let mut params: Vec<(&str, &dyn ToSql)> =
        conditions.iter().map(|(_, (name, value))| (*name, &**value)).collect();
    if among.which.is_some() {
        params.push((":now", &now));
    }
    let wanted = filter.limit.unwrap_or(usize::MAX);
    let counted_here = !filter.takes.0.is_empty();
    // Metadata are compared here, by the one function that says what matches, so SQL cannot stop at the limit then.
    let stop = if counted_here { -1 } else { i64::try_from(wanted).unwrap_or(-1) };
    let sql = format!("SELECT {COLUMNS} {place} {} LIMIT {stop}", among.order);
    let mut statement = scope.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(&*params)?;
    let (mut issues, mut total) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if counted_here && !filter.takes.matches(&row::json(row, "metadata")?) {
            continue;
        }
        total += 1;
        if issues.len() < wanted {
            issues.push(row::read(row)?.issue);
        }
    }
    // Fewer than were wanted are all there are.
    if !counted_here && total >= wanted {
        total = match (among.which, conditions.is_empty()) {
            (Some(_), true) => count_ready(scope)?,
            _ => {
                let sql = format!("SELECT count(*) {place}");
                let count: i64 = scope.conn.prepare_cached(&sql)?.query_row(&*params, |row| row.get(0))?;
                usize::try_from(count).unwrap_or(usize::MAX)
            }
        };
    }
    Ok(Answer::Issues { issues, total })
}

/// Issues that cannot be worked on.
pub(super) fn blocked(scope: &mut Scope<'_>) -> Outcome<Answer> {
    scope.touch_all();
    let sql = format!(
        "SELECT {COLUMNS} FROM issues WHERE status IN {NOT_CLOSED} AND (status = 'blocked' OR open_blockers > 0) \
         ORDER BY created_at, rowid"
    );
    let stuck = collect(scope.conn, &sql, named_params! {}, row::read)?;
    let mut answer = Vec::new();
    for Stored { issue, .. } in stuck {
        let blockers = blockers(scope.conn, &issue.id)?;
        answer.push(BlockedIssue { issue, blockers });
    }
    Ok(Answer::Blocked(answer))
}

/// Issues that are not closed, with why.
pub(super) fn left(scope: &mut Scope<'_>, takes: &[Takes]) -> Outcome<Answer> {
    scope.touch_all();
    let sql = format!(
        "SELECT {COLUMNS}, ({READY}) AS is_ready FROM issues WHERE status IN {NOT_CLOSED} ORDER BY created_at, rowid"
    );
    let now = row::time_text(scope.at);
    let open = collect(scope.conn, &sql, named_params! {":now": now}, |row| {
        Ok((row::read(row)?, row.get::<_, bool>("is_ready")?))
    })?;
    let mut left = Vec::new();
    for (Stored { issue, hold, .. }, is_ready) in open {
        if !takes.iter().any(|takes| takes.matches(&issue.metadata)) {
            continue;
        }
        let waits_for = blockers(scope.conn, &issue.id)?.into_iter().map(|blocker| blocker.id).collect();
        left.push(LeftIssue {
            id: issue.id,
            title: issue.title,
            status: issue.status,
            is_ready,
            blocking_notes: issue.blocking_notes.filter(|_| issue.status == Status::Blocked),
            holder: hold.map(|hold| hold.session),
            defer_until: issue.defer_until,
            waits_for,
        });
    }
    Ok(Answer::Left(left))
}

/// The open issues an issue waits for, and the blocked parents it inherits from.
pub(super) fn blockers(conn: &Connection, id: &IssueId) -> rusqlite::Result<Vec<Issue>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM issues JOIN dependencies ON id = to_id WHERE from_id = :id AND status <> 'closed' AND \
         (dep_type = 'blocks' OR (dep_type = 'parent-child' AND (status = 'blocked' OR open_blockers > 0))) \
         ORDER BY created_at, rowid"
    );
    let stored = collect(conn, &sql, named_params! {":id": id.as_str()}, row::read)?;
    Ok(stored.into_iter().map(|stored| stored.issue).collect())
}

/// The last remarks on an issue, oldest first.
pub(super) fn last_comments(conn: &Connection, id: &IssueId) -> rusqlite::Result<Vec<Comment>> {
    let sql = "SELECT author, at, body FROM (SELECT n, author, at, body FROM comments WHERE issue_id = :id \
               ORDER BY n DESC LIMIT :shown) ORDER BY n";
    let shown = i64::try_from(limit::COMMENTS_SHOWN).unwrap_or(i64::MAX);
    collect(conn, sql, named_params! {":id": id.as_str(), ":shown": shown}, comment)
}

/// Reads a remark.
pub(super) fn comment(row: &rusqlite::Row<'_>) -> rusqlite::Result<Comment> {
    Ok(Comment {
        author: row.get("author")?,
        at: row::time(row, "at")?.unwrap_or_default(),
        body: row.get("body")?,
    })
}

/// The edges of an issue, both ways.
pub(super) fn dependencies(conn: &Connection, id: &IssueId) -> rusqlite::Result<Vec<Dependency>> {
    let sql = "SELECT from_id, to_id, dep_type FROM dependencies WHERE from_id = :id OR to_id = :id \
               ORDER BY from_id, to_id";
    collect(conn, sql, named_params! {":id": id.as_str()}, dependency)
}

/// Reads an edge.
pub(super) fn dependency(row: &rusqlite::Row<'_>) -> rusqlite::Result<Dependency> {
    Ok(Dependency {
        from_id: row::id(row, "from_id")?,
        to_id: row::id(row, "to_id")?,
        dep_type: row::edge(row, "dep_type")?,
    })
}

/// The whole queue at one moment.
pub(super) fn snapshot(scope: &mut Scope<'_>) -> Outcome<Answer> {
    Ok(Answer::Snapshot(Box::new(whole(scope)?)))
}

/// The same with every edge.
pub(super) fn graph(scope: &mut Scope<'_>) -> Outcome<Answer> {
    let snapshot = whole(scope)?;
    let sql = "SELECT from_id, to_id, dep_type FROM dependencies \
               JOIN issues AS waiting ON waiting.id = from_id JOIN issues AS target ON target.id = to_id \
               ORDER BY waiting.created_at, from_id, target.created_at, to_id";
    let dependencies = collect(scope.conn, sql, named_params! {}, dependency)?;
    Ok(Answer::Graph(Box::new(Graph { snapshot, dependencies })))
}

fn whole(scope: &mut Scope<'_>) -> Outcome<Snapshot> {
    scope.touch_all();
    let all = collect(
        scope.conn,
        &format!("SELECT {COLUMNS} FROM issues ORDER BY created_at, rowid"),
        named_params! {},
        row::read,
    )?;
    let now = row::time_text(scope.at);
    let ready = collect(
        scope.conn,
        &format!("SELECT id {FROM_READY} WHERE {READY} {READY_ORDER}"),
        named_params! {":now": now},
        |row| row::id(row, "id"),
    )?;
    let counts = count(scope)?;
    let mut issues = Vec::with_capacity(all.len());
    let mut holds = Vec::new();
    for Stored { issue, hold, .. } in all {
        if let Some(hold) = hold {
            holds.push(Hold {
                issue: issue.id.clone(),
                run: hold.run,
                holder: hold.session,
                lease_until: hold.lease_until,
            });
        }
        issues.push(issue);
    }
    Ok(Snapshot { issues, ready, holds, counts })
}

/// How many there are of what.
pub(super) fn counts(scope: &mut Scope<'_>) -> Outcome<Answer> {
    scope.touch_all();
    Ok(Answer::Counts(count(scope)?))
}

fn count(scope: &Scope<'_>) -> Outcome<Counts> {
    let sql = "SELECT status, count(*) AS n FROM issues GROUP BY status ORDER BY status";
    let by_status = collect(scope.conn, sql, named_params! {}, |row| {
        Ok((row::status(row, "status")?, row.get::<_, i64>("n")?.unsigned_abs()))
    })?;
    let mut counts =
        Counts { ready: u64::try_from(count_ready(scope)?).unwrap_or(u64::MAX), ..Counts::default() };
    for (status, n) in by_status {
        counts.total += n;
        match status {
            Status::Open => counts.open = n,
            Status::InProgress => counts.in_progress = n,
            Status::Blocked => counts.blocked = n,
            Status::Closed => counts.closed = n,
        }
    }
    Ok(counts)
}

/// How many are ready. Few are deferred and their index knows them, so the others are counted without a look at their
/// rows.
fn count_ready(scope: &Scope<'_>) -> Outcome<usize> {
    let sql = format!(
        "SELECT (SELECT count(*) {FROM_READY} WHERE {UNBLOCKED}) - \
         (SELECT count(*) FROM issues INDEXED BY issues_deferred WHERE {NOT_YET})"
    );
    let now = row::time_text(scope.at);
    let count: i64 =
        scope.conn.prepare_cached(&sql)?.query_row(named_params! {":now": now}, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// What happened to an issue, oldest first.
pub(super) fn history(scope: &mut Scope<'_>, id: &IssueId) -> Outcome<Answer> {
    scope.get(id)?;
    Ok(Answer::History(changes_of(scope.conn, id)?))
}

fn changes_of(conn: &Connection, id: &IssueId) -> rusqlite::Result<Vec<Change>> {
    let sql = "SELECT issue_id, event_type, actor, changes, at FROM events WHERE issue_id = :id ORDER BY seq";
    collect(conn, sql, named_params! {":id": id.as_str()}, change)
}

/// Reads an entry of the event log.
pub(super) fn change(row: &rusqlite::Row<'_>) -> rusqlite::Result<Change> {
    Ok(Change {
        issue_id: row::id(row, "issue_id")?,
        event_type: row.get("event_type")?,
        actor: row.get("actor")?,
        changes: row::json(row, "changes")?,
        at: row::time(row, "at")?.unwrap_or_default(),
    })
}

/// Who held an issue and how that ended, a line each, oldest first.
pub(super) fn holds_of(conn: &Connection, id: &IssueId) -> rusqlite::Result<Vec<String>> {
    let lines = changes_of(conn, id)?.into_iter().filter_map(|change| {
        let was = change.changes.pointer("/assignee/old").and_then(Value::as_str);
        let who = match change.event_type.as_str() {
            "claimed" => change.actor.as_str(),
            "released" | "lease_expired" => was.unwrap_or(&change.actor),
            _ => return None,
        };
        Some(hold_line(change.at, &change.event_type, who))
    });
    Ok(lines.collect())
}

/// A line of that list.
pub(super) fn hold_line(at: Timestamp, event: &str, who: &str) -> String {
    let what = match event {
        "claimed" => "claimed by",
        "released" => "given back without a result by",
        _ => "claim lapsed without a result of",
    };
    format!("- {at} {what} {who}")
}

/// Runs a query and reads every row.
pub(super) fn collect<T>(
    conn: &Connection,
    sql: &str,
    params: &[(&str, &dyn rusqlite::ToSql)],
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?;
    rows.collect()
}
