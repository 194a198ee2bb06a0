//! What is asked of the queue without changing it: one issue, what is left, counts, the whole of it, history.

use std::collections::BTreeSet;

use rusqlite::{Connection, named_params};
use serde_json::Value;

use super::edges;
use super::row::{self, COLUMNS, FROM_READY, NOT_CLOSED, NOT_YET, READY, READY_ORDER, Stored, UNBLOCKED};
use super::scope::{Kept, Outcome, Scope};
use crate::clock::Timestamp;
use crate::event::EffectId;
use crate::id::{IssueId, RunId};
use crate::issue::{Comment, Dependency, Issue, Status, Takes};
use crate::limit;
use crate::store::{Answer, Change, Counts, Graph, Hold, LeftIssue, Parts, Snapshot, Standing, WhichEffects};

/// One issue with all that belongs to it.
pub(super) fn get(scope: &mut Scope<'_>, id: &IssueId) -> Outcome<Answer> {
    let mut answer = scope.view(id)?;
    if let Answer::Issue(view) = &mut answer {
        view.parts = parts(scope, id)?;
    }
    Ok(answer)
}

/// What the parts of an issue come to; `None` when it has none.
fn parts(scope: &mut Scope<'_>, id: &IssueId) -> Outcome<Option<Parts>> {
    // Everything below it, each after what it is a part of; the first ones are parts of the issue itself.
    let mut below: Vec<(Option<usize>, Issue)> = Vec::new();
    let mut seen = BTreeSet::from([id.clone()]);
    let (mut here, mut next) = (None, 0);
    loop {
        let whole = here.map_or(id, |n: usize| &below[n].1.id).clone();
        for child in edges::ids(scope, edges::CHILDREN_OF, &whole)? {
            if seen.insert(child.clone()) {
                below.push((here, scope.get(&child)?.issue));
            }
        }
        if next == below.len() {
            break;
        }
        here = Some(next);
        next += 1;
    }
    let mut parts = Parts::default();
    // What the parts of each are estimated at together; its own estimate counts only where that is nothing.
    let mut within = vec![0; below.len()];
    for (n, (whole, issue)) in below.iter().enumerate().rev() {
        let own = issue.estimate_minutes.map_or(0, u64::from);
        let minutes = if within[n] > 0 { within[n] } else { own };
        if let Some(whole) = whole {
            within[*whole] += minutes;
            continue;
        }
        parts.count += 1;
        parts.closed += usize::from(issue.status == Status::Closed);
        parts.estimate_minutes += minutes;
    }
    Ok((parts.count > 0).then_some(parts))
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
pub(super) fn count_ready(scope: &Scope<'_>) -> Outcome<usize> {
    let sql = format!(
        "SELECT (SELECT count(*) {FROM_READY} WHERE {UNBLOCKED}) - \
         (SELECT count(*) FROM issues INDEXED BY issues_deferred WHERE {NOT_YET})"
    );
    let now = row::time_text(scope.at);
    let count: i64 =
        scope.conn.prepare_cached(&sql)?.query_row(named_params! {":now": now}, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Which effects of the caller's run have changed the queue, and what each did to holds.
pub(super) fn applied(scope: &Scope<'_>, which: WhichEffects) -> Outcome<Answer> {
    let run = scope.caller.run.as_ref().map(RunId::as_str);
    let own = match which {
        WhichEffects::OfRun => None,
        WhichEffects::Own => scope.caller.effect.as_ref().map(EffectId::as_str),
    };
    let sql = "SELECT effect_id, result FROM events WHERE run_id = :run AND effect_id IS NOT NULL \
               AND (:own IS NULL OR effect_id = :own)";
    let effects = collect(scope.conn, sql, named_params! {":run": run, ":own": own}, |row| {
        let kept: Kept = row::json(row, "result")?;
        Ok((
            EffectId::from_text(row.get::<_, String>("effect_id")?),
            Standing { holds: kept.holds, seq: kept.seq },
        ))
    })?;
    Ok(Answer::Applied(effects.into_iter().collect()))
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
