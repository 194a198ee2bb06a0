//! Bringing a file's issues into the queue and taking the whole queue out.
//!
//! An issue is brought again only if its file has something newer: the file's line differs from the one that was kept,
//! and nothing has happened to the issue here since the file's `updated_at`.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, named_params};
use serde_json::{Value, json};

use super::row::{self, COLUMNS, Held, Stored};
use super::scope::{Fault, Outcome, Scope};
use super::{edges, read};
use crate::clock::later;
use crate::event::Access;
use crate::id::{IssueId, canonical_json};
use crate::issue::{Comment, Dependency, EdgeType, Status};
use crate::limit;
use crate::store::jsonl::{deleted, understood};
use crate::store::transfer::{
    Export, Format, Import, Imported, Incoming, Original, Outgoing, Remark, remark,
};
use crate::store::{Answer, StoreError};

/// The event of everything an import does; such events leave the moments of the file as they are.
const IMPORTED: &str = "imported";

/// Brings issues, all or none.
pub(super) fn import(scope: &mut Scope<'_>, import: &Import) -> Outcome<Answer> {
    let mut done = Imported {
        remarks: import.remarks.clone(),
        kept_fields: import.kept_fields.clone(),
        ..Imported::default()
    };
    let mut taken = Vec::new();
    let mut new = BTreeSet::new();
    for incoming in &import.issues {
        match take(scope, incoming, &mut done)? {
            Taken::New => {
                new.insert(incoming.issue.id.clone());
                done.created += 1;
            }
            Taken::Changed => done.updated += 1,
            Taken::Not => {
                done.unchanged += 1;
                continue;
            }
        }
        taken.push(incoming);
    }
    // What waits comes first: an edge of another kind gives way where both would close a circle.
    for blocking in [EdgeType::Blocks, EdgeType::ParentChild, EdgeType::Related, EdgeType::DiscoveredFrom] {
        for incoming in &taken {
            for (to, edge) in incoming.edges.iter().filter(|(_, edge)| *edge == blocking) {
                let edge =
                    Dependency { from_id: incoming.issue.id.clone(), to_id: to.clone(), dep_type: *edge };
                connect(scope, &edge, &mut done)?;
            }
        }
    }
    let tried = taken.iter().map(|incoming| &incoming.issue.id).collect();
    let waiting = connect_waiting(scope, &new, &tried, &mut done)?;
    let mut there = all_comments(scope.conn)?;
    for incoming in &taken {
        comments(scope, incoming, there.remove(&incoming.issue.id).unwrap_or_default())?;
    }
    lines(scope, import, &mut done)?;
    edges::settle(scope, taken.iter().map(|incoming| incoming.issue.id.clone()).chain(waiting).collect())?;
    Ok(Answer::Imported(Box::new(done)))
}

enum Taken {
    New,
    Changed,
    Not,
}

fn take(scope: &mut Scope<'_>, incoming: &Incoming, done: &mut Imported) -> Outcome<Taken> {
    let id = &incoming.issue.id;
    scope.touch(Access::Read, id);
    let Some(before) = row::find(scope.conn, id)? else {
        let stored = Stored { issue: incoming.issue.clone(), epoch: 0, hold: None, open_blockers: 0 };
        let stored = held(scope, stored);
        scope.touch(Access::Write, id);
        row::insert(scope.conn, &stored)?;
        keep(scope.conn, incoming)?;
        scope.record(&stored.issue, IMPORTED, json!({"issue": {"old": null, "new": stored.issue}}));
        return Ok(Taken::New);
    };
    let kept = kept(scope.conn, id)?;
    if kept.as_ref() == Some(&incoming.original) {
        return Ok(Taken::Not);
    }
    let was = kept.as_ref().and_then(understood);
    let untouched = was.as_ref().is_some_and(|was| was.issue.updated_at == before.issue.updated_at);
    if let Some(reason) = refusal(scope, &before, incoming, untouched) {
        if let Some(reason) = reason {
            remark(&mut done.remarks, reason, id.to_string());
        }
        return Ok(Taken::Not);
    }
    replace(scope, &before, incoming)?;
    let gone = was.into_iter().flat_map(|was| was.edges).filter(|edge| !incoming.edges.contains(edge));
    for (to, edge) in gone {
        disconnect(scope, &Dependency { from_id: id.clone(), to_id: to, dep_type: edge })?;
    }
    keep(scope.conn, incoming)?;
    Ok(Taken::Changed)
}

/// Why an issue that is there is left as it is, if it is; without a remark when the file says nothing else.
fn refusal(
    scope: &Scope<'_>,
    before: &Stored,
    incoming: &Incoming,
    untouched: bool,
) -> Option<Option<Remark>> {
    let (here, there) = (before.issue.updated_at, incoming.issue.updated_at);
    if there < here || (there == here && !untouched) {
        let parent_aside = crate::issue::Issue { parent_id: None, ..before.issue.clone() };
        return Some((parent_aside != incoming.issue).then_some(Remark::OlderThanHere));
    }
    let (status, other) = (before.issue.status, incoming.issue.status);
    if status == Status::Closed && other != Status::Closed {
        return Some(Some(Remark::ClosedHere));
    }
    let held = before.hold.as_ref().is_some_and(|hold| hold.lease_until > scope.at);
    (held && !untouched).then_some(Some(Remark::HeldHere))
}

fn replace(scope: &mut Scope<'_>, before: &Stored, incoming: &Incoming) -> Outcome<()> {
    let issue = crate::issue::Issue {
        parent_id: before.issue.parent_id.clone(),
        attempt: before.issue.attempt.max(incoming.issue.attempt),
        ..incoming.issue.clone()
    };
    let after = Stored { issue, epoch: before.epoch, hold: None, open_blockers: before.open_blockers };
    let mut after = held(scope, after);
    after.epoch = match (&before.hold, &after.hold) {
        // Held elsewhere as before: nobody here has lost anything.
        (Some(_), Some(_)) => before.epoch,
        (Some(_), None) => before.epoch + 1,
        (None, _) => after.epoch,
    };
    let there = after.issue.updated_at;
    let told = scope.notices.len();
    // `save` writes the event and the counters of others, and a moment that is not the file's.
    let mut saved = scope.save(before, after, IMPORTED)?;
    if scope.notices.len() == told && before.issue.updated_at != there {
        scope.record(&saved.issue, IMPORTED, json!({}));
    }
    if let Some(notice) = scope.notices.get_mut(told) {
        notice.change.changes["updated_at"] = json!({"old": before.issue.updated_at, "new": there});
    }
    saved.issue.updated_at = there;
    row::update(scope.conn, &saved)?;
    Ok(())
}

/// Somebody elsewhere works on it: a hold of as long as a person's, under the name the file gives.
fn held(scope: &Scope<'_>, mut stored: Stored) -> Stored {
    if stored.issue.status == Status::InProgress {
        stored.epoch += 1;
        stored.hold = Some(Held {
            run: None,
            session: stored.issue.assignee.clone().unwrap_or_else(|| "somebody elsewhere".to_owned()),
            lease_until: later(scope.at, limit::PERSON_LEASE),
            attempt_limit: limit::ATTEMPTS,
        });
    }
    stored
}

fn keep(conn: &Connection, incoming: &Incoming) -> rusqlite::Result<()> {
    let Original { format, object } = &incoming.original;
    let sql = "INSERT INTO kept_issues (issue_id, format, object) VALUES (?1, ?2, ?3) \
               ON CONFLICT (issue_id) DO UPDATE SET format = excluded.format, object = excluded.object";
    let text = canonical_json(&Value::Object(object.clone()));
    conn.prepare_cached(sql)?.execute((incoming.issue.id.as_str(), format.as_str(), text))?;
    Ok(())
}

fn kept(conn: &Connection, id: &IssueId) -> rusqlite::Result<Option<Original>> {
    conn.prepare_cached("SELECT format, object FROM kept_issues WHERE issue_id = ?1")?
        .query_row([id.as_str()], original)
        .optional()
}

/// Gives issues of an older file the labels that were kept with them, each with an event, so that the log tells of it.
pub(super) fn take_up_labels(conn: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT issue_id, format, object FROM kept_issues ORDER BY issue_id";
    let kept =
        read::collect(conn, sql, named_params! {}, |row| Ok((row::id(row, "issue_id")?, original(row)?)))?;
    for (id, original) in kept {
        let labels = understood(&original).map(|incoming| incoming.issue.labels).unwrap_or_default();
        if labels.is_empty() {
            continue;
        }
        conn.prepare_cached("UPDATE issues SET labels = ?2 WHERE id = ?1")?
            .execute((id.as_str(), row::labels_text(&labels)))?;
        let changes = json!({"labels": {"old": [], "new": labels}}).to_string();
        // Nobody does it, at no moment of its own: it is as if the import had.
        let sql = "INSERT INTO events (issue_id, event_type, actor, session, changes, at) \
                   SELECT ?1, ?2, actor, session, ?3, at FROM events ORDER BY seq DESC LIMIT 1";
        conn.prepare_cached(sql)?.execute((id.as_str(), IMPORTED, changes))?;
    }
    Ok(())
}

fn original(row: &rusqlite::Row<'_>) -> rusqlite::Result<Original> {
    let word: String = row.get("format")?;
    let format = Format::from_text(&word).unwrap_or(Format::Beads);
    Ok(Original { format, object: row::json(row, "object")? })
}

/// Makes an edge, or says why there is none and sets it aside.
fn connect(scope: &mut Scope<'_>, edge: &Dependency, done: &mut Imported) -> Outcome<()> {
    let Dependency { from_id, to_id, dep_type } = edge;
    let from = scope.get(from_id)?;
    let existing = edges::existing(scope, from_id, to_id)?;
    if existing == Some(*dep_type) {
        return Ok(());
    }
    let parent = *dep_type == EdgeType::ParentChild;
    let reason = if from_id == to_id {
        Some(Remark::Circle)
    } else if row::find(scope.conn, to_id)?.is_none() {
        Some(Remark::MissingTarget)
    } else if existing.is_some() {
        Some(Remark::SecondEdge)
    } else if parent && from.issue.parent_id.is_some() {
        Some(Remark::SecondParent)
    } else {
        match edges::link(scope, edge) {
            Ok(()) => None,
            Err(Fault::Refusal(StoreError::Cycle { .. })) => Some(Remark::Circle),
            Err(fault) => return Err(fault),
        }
    };
    if let Some(reason) = reason {
        let place = format!("{from_id} -> {to_id} {}", dep_type.as_str());
        remark(&mut done.remarks, reason, place);
        scope
            .conn
            .prepare_cached(
                "INSERT OR IGNORE INTO kept_edges (from_id, to_id, dep_type) VALUES (?1, ?2, ?3)",
            )?
            .execute((from_id.as_str(), to_id.as_str(), dep_type.as_str()))?;
        return Ok(());
    }
    let mut changes = json!({"dependency": {"old": null, "new": edge}});
    let mut after = from;
    if parent {
        changes["parent_id"] = json!({"old": null, "new": to_id});
        after.issue.parent_id = Some(to_id.clone());
        row::update(scope.conn, &after)?;
    }
    scope.record(&after.issue, IMPORTED, changes);
    Ok(())
}

/// Removes an edge that its file no longer has.
fn disconnect(scope: &mut Scope<'_>, edge: &Dependency) -> Outcome<()> {
    let Dependency { from_id, to_id, dep_type } = edge;
    scope
        .conn
        .prepare_cached("DELETE FROM kept_edges WHERE from_id = ?1 AND to_id = ?2 AND dep_type = ?3")?
        .execute((from_id.as_str(), to_id.as_str(), dep_type.as_str()))?;
    if edges::existing(scope, from_id, to_id)? == Some(*dep_type) {
        let file = row::find(scope.conn, from_id)?.map(|stored| stored.issue.updated_at);
        edges::remove(scope, from_id, to_id)?;
        if let Some(notice) = scope.notices.last_mut() {
            IMPORTED.clone_into(&mut notice.change.event_type);
        }
        if let (Some(mut stored), Some(at)) = (row::find(scope.conn, from_id)?, file) {
            stored.issue.updated_at = at;
            row::update(scope.conn, &stored)?;
        }
    }
    Ok(())
}

/// Makes the edges of earlier imports that waited for these issues; gives out where they start.
fn connect_waiting(
    scope: &mut Scope<'_>,
    new: &BTreeSet<IssueId>,
    tried: &BTreeSet<&IssueId>,
    done: &mut Imported,
) -> Outcome<Vec<IssueId>> {
    let mut from = Vec::new();
    for id in new {
        let sql = "DELETE FROM kept_edges WHERE to_id = :id AND from_id <> :id RETURNING from_id, dep_type";
        let mut waiting = read::collect(scope.conn, sql, named_params! {":id": id.as_str()}, |row| {
            Ok((row::id(row, "from_id")?, row::edge(row, "dep_type")?))
        })?;
        waiting.sort();
        for (from_id, dep_type) in waiting {
            let edge = Dependency { from_id: from_id.clone(), to_id: id.clone(), dep_type };
            // Those of this import have been tried, and what was said of them is said already.
            match tried.contains(&from_id) {
                true => connect(scope, &edge, &mut Imported::default())?,
                false => connect(scope, &edge, done)?,
            }
            from.push(from_id);
        }
    }
    Ok(from)
}

fn comments(scope: &mut Scope<'_>, incoming: &Incoming, mut there: Vec<Comment>) -> Outcome<()> {
    let id = &incoming.issue.id;
    for comment in &incoming.comments {
        if let Some(n) = there.iter().position(|known| known == comment) {
            there.remove(n);
            continue;
        }
        scope
            .conn
            .prepare_cached("INSERT INTO comments (issue_id, author, at, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute((id.as_str(), &comment.author, row::time_text(comment.at), &comment.body))?;
        scope.record(&incoming.issue, IMPORTED, json!({"comment": {"old": null, "new": comment}}));
    }
    Ok(())
}

fn lines(scope: &mut Scope<'_>, import: &Import, done: &mut Imported) -> Outcome<()> {
    for (key, line) in &import.lines {
        if let Some(id) = deleted(key)
            && row::find(scope.conn, &id)?.is_some()
        {
            remark(&mut done.remarks, Remark::DeletedElsewhere, id.to_string());
        }
        let sql = "INSERT INTO kept_lines (key, object) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET object = excluded.object WHERE object <> excluded.object";
        done.lines += scope.conn.prepare_cached(sql)?.execute((key, canonical_json(line)))?;
    }
    Ok(())
}

/// The whole queue.
pub(super) fn export(scope: &mut Scope<'_>) -> Outcome<Answer> {
    scope.touch_all();
    let conn = scope.conn;
    let none = named_params! {};
    let edges_of = |table: &str| -> rusqlite::Result<BTreeMap<IssueId, Vec<Dependency>>> {
        let sql = format!("SELECT from_id, to_id, dep_type FROM {table} ORDER BY from_id, to_id, dep_type");
        let all = read::collect(conn, &sql, none, |row| {
            let (from_id, to_id) = (row::id(row, "from_id")?, row::id(row, "to_id")?);
            Ok((from_id.clone(), Dependency { from_id, to_id, dep_type: row::edge(row, "dep_type")? }))
        })?;
        Ok(grouped(all))
    };
    let (mut edges, mut unlinked) = (edges_of("dependencies")?, edges_of("kept_edges")?);
    let mut comments = all_comments(conn)?;
    let mut originals: BTreeMap<IssueId, Original> =
        read::collect(conn, "SELECT issue_id, format, object FROM kept_issues", none, |row| {
            Ok((row::id(row, "issue_id")?, original(row)?))
        })?
        .into_iter()
        .collect();
    let rows = read::collect(
        conn,
        &format!("SELECT {COLUMNS} FROM issues ORDER BY created_at, rowid"),
        none,
        row::read,
    )?;
    let issues = rows.into_iter().map(|Stored { issue, .. }| Outgoing {
        edges: edges.remove(&issue.id).unwrap_or_default(),
        unlinked: unlinked.remove(&issue.id).unwrap_or_default(),
        comments: comments.remove(&issue.id).unwrap_or_default(),
        original: originals.remove(&issue.id),
        issue,
    });
    let issues = issues.collect();
    let lines = read::collect(conn, "SELECT key, object FROM kept_lines", none, |row| {
        Ok((row.get("key")?, row::json(row, "object")?))
    })?;
    let sql = "SELECT issue_id, event_type, actor, changes, at FROM events ORDER BY seq";
    let changes = read::collect(conn, sql, none, read::change)?;
    Ok(Answer::Exported(Box::new(Export { issues, lines: lines.into_iter().collect(), changes })))
}

fn all_comments(conn: &Connection) -> rusqlite::Result<BTreeMap<IssueId, Vec<Comment>>> {
    let sql = "SELECT issue_id, author, at, body FROM comments ORDER BY n";
    let all = read::collect(conn, sql, named_params! {}, |row| {
        Ok((row::id(row, "issue_id")?, read::comment(row)?))
    })?;
    Ok(grouped(all))
}

fn grouped<T>(all: Vec<(IssueId, T)>) -> BTreeMap<IssueId, Vec<T>> {
    let mut groups: BTreeMap<IssueId, Vec<T>> = BTreeMap::new();
    for (id, item) in all {
        groups.entry(id).or_default().push(item);
    }
    groups
}
