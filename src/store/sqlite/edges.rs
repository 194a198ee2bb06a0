//! Edges between issues: adding, removing, circles, and the counter that says how many things an issue waits for.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::OptionalExtension;
use serde_json::json;

use super::row;
use super::row::Stored;
use super::scope::{Outcome, Scope, invalid};
use crate::event::Access;
use crate::id::IssueId;
use crate::issue::{Dependency, EdgeType, Status};
use crate::store::{Answer, StoreError};

/// Adds an edge.
pub(super) fn add(scope: &mut Scope<'_>, dependency: &Dependency) -> Outcome<Answer> {
    let Dependency { from_id, to_id, dep_type } = dependency;
    let from = scope.get(from_id)?;
    scope.get(to_id)?;
    if let Some(existing) = existing(scope, from_id, to_id)? {
        if existing == *dep_type {
            return Ok(Answer::Dependency(dependency.clone()));
        }
        return Err(invalid(format!(
            "{from_id} already has a `{}` edge to {to_id}, and two issues have one edge at most; remove that edge first \
             (remove_dependency) or keep it",
            existing.as_str()
        )));
    }
    let mut after = from.clone();
    if *dep_type == EdgeType::ParentChild {
        if let Some(parent) = &from.issue.parent_id {
            return Err(invalid(format!(
                "{from_id} is already a part of {parent}; remove that edge first (remove_dependency)"
            )));
        }
        after.issue.parent_id = Some(to_id.clone());
    }
    link(scope, dependency)?;
    if after != from {
        after.issue.updated_at = scope.at;
        row::update(scope.conn, &after)?;
    }
    let mut changes = json!({"dependency": {"old": null, "new": dependency}});
    if *dep_type == EdgeType::ParentChild {
        changes["parent_id"] = json!({"old": null, "new": to_id});
    }
    scope.record(&after.issue, "dependency_added", changes);
    settle(scope, [from_id.clone()].into())?;
    Ok(Answer::Dependency(dependency.clone()))
}

/// Writes an edge that is not there yet, unless it closes a circle. The counter of its start is left to `settle`.
pub(super) fn link(scope: &mut Scope<'_>, dependency: &Dependency) -> Outcome<()> {
    let Dependency { from_id, to_id, dep_type } = dependency;
    if from_id == to_id {
        return Err(StoreError::Cycle { path: vec![from_id.clone(), from_id.clone()] }.into());
    }
    if blocks(*dep_type) {
        refuse_circle(scope, from_id, to_id)?;
    }
    scope.touch(Access::Write, from_id);
    scope.touch(Access::Write, to_id);
    scope
        .conn
        .prepare_cached("INSERT INTO dependencies (from_id, to_id, dep_type) VALUES (?1, ?2, ?3)")?
        .execute((from_id.as_str(), to_id.as_str(), dep_type.as_str()))?;
    Ok(())
}

/// Removes an edge.
pub(super) fn remove(scope: &mut Scope<'_>, from_id: &IssueId, to_id: &IssueId) -> Outcome<Answer> {
    let from = scope.get(from_id)?;
    scope.get(to_id)?;
    let Some(dep_type) = existing(scope, from_id, to_id)? else {
        return Err(invalid(format!(
            "Dependency not found: {from_id} -> {to_id}; `get` shows the edges an issue has"
        )));
    };
    scope.touch(Access::Write, from_id);
    scope.touch(Access::Write, to_id);
    scope
        .conn
        .prepare_cached("DELETE FROM dependencies WHERE from_id = ?1 AND to_id = ?2")?
        .execute((from_id.as_str(), to_id.as_str()))?;
    let dependency = Dependency { from_id: from_id.clone(), to_id: to_id.clone(), dep_type };
    let mut changes = json!({"dependency": {"old": dependency, "new": null}});
    let mut after = from;
    if dep_type == EdgeType::ParentChild {
        changes["parent_id"] = json!({"old": to_id, "new": null});
        after.issue.parent_id = None;
        after.issue.updated_at = scope.at;
        row::update(scope.conn, &after)?;
    }
    scope.record(&after.issue, "dependency_removed", changes);
    settle(scope, [from_id.clone()].into())?;
    Ok(Answer::Dependency(dependency))
}

/// Whether an edge of this type can make its start wait.
fn blocks(edge: EdgeType) -> bool {
    match edge {
        EdgeType::Blocks | EdgeType::ParentChild => true,
        EdgeType::Related | EdgeType::DiscoveredFrom => false,
    }
}

pub(super) fn existing(scope: &Scope<'_>, from: &IssueId, to: &IssueId) -> Outcome<Option<EdgeType>> {
    Ok(scope
        .conn
        .prepare_cached("SELECT dep_type FROM dependencies WHERE from_id = ?1 AND to_id = ?2")?
        .query_row((from.as_str(), to.as_str()), |row| row::edge(row, "dep_type"))
        .optional()?)
}

/// Follows the blocking edges from `to`; when they lead to `from`, the new edge would close a circle, which is shown.
fn refuse_circle(scope: &mut Scope<'_>, from: &IssueId, to: &IssueId) -> Outcome<()> {
    // Breadth first, each list in the order of ids: the shortest circle is shown, and always the same one.
    let mut came_from: BTreeMap<IssueId, IssueId> = BTreeMap::new();
    let mut waiting = VecDeque::from([to.clone()]);
    while let Some(here) = waiting.pop_front() {
        scope.touch(Access::Read, &here);
        for next in blocking_targets(scope, &here)? {
            if next == *to || came_from.contains_key(&next) {
                continue;
            }
            came_from.insert(next.clone(), here.clone());
            if next == *from {
                return Err(StoreError::Cycle { path: circle(from, to, &came_from) }.into());
            }
            waiting.push_back(next);
        }
    }
    Ok(())
}

fn circle(from: &IssueId, to: &IssueId, came_from: &BTreeMap<IssueId, IssueId>) -> Vec<IssueId> {
    let mut back = vec![from.clone()];
    let mut here = from;
    while let Some(previous) = came_from.get(here) {
        back.push(previous.clone());
        here = previous;
        if here == to {
            break;
        }
    }
    back.push(from.clone());
    back.reverse();
    back
}

fn blocking_targets(scope: &Scope<'_>, from: &IssueId) -> Outcome<Vec<IssueId>> {
    ids(
        scope,
        "SELECT to_id AS id FROM dependencies WHERE from_id = ?1 AND dep_type IN ('blocks', 'parent-child') \
         ORDER BY to_id",
        from,
    )
}

/// Runs a statement of one parameter that gives ids.
pub(super) fn ids(scope: &Scope<'_>, sql: &str, about: &IssueId) -> Outcome<Vec<IssueId>> {
    let mut statement = scope.conn.prepare_cached(sql)?;
    let rows = statement.query_map([about.as_str()], |row| row::id(row, "id"))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Brings the counters of those that wait for an issue up to what has changed about it.
pub(super) fn spread(scope: &mut Scope<'_>, before: &Stored, after: &Stored) -> Outcome<()> {
    let closed = |stored: &Stored| stored.issue.status == Status::Closed;
    let mut affected = Vec::new();
    if closed(before) != closed(after) {
        affected.extend(ids(scope, WAITING_FOR, &after.issue.id)?);
    }
    if before.is_stuck() != after.is_stuck() {
        affected.extend(ids(scope, CHILDREN_OF, &after.issue.id)?);
    }
    settle(scope, affected.into())
}

const WAITING_FOR: &str =
    "SELECT from_id AS id FROM dependencies WHERE to_id = ?1 AND dep_type = 'blocks' ORDER BY from_id";

pub(super) const CHILDREN_OF: &str =
    "SELECT from_id AS id FROM dependencies WHERE to_id = ?1 AND dep_type = 'parent-child' ORDER BY from_id";

/// Counts again what these issues wait for, and goes on to the children of those that became blocked or free. Ends
/// because blocking edges form no circle and one change turns each issue at most once.
pub(super) fn settle(scope: &mut Scope<'_>, mut waiting: VecDeque<IssueId>) -> Outcome<()> {
    while let Some(id) = waiting.pop_front() {
        scope.touch(Access::Read, &id);
        let Some(before) = row::find(scope.conn, &id)? else { continue };
        let count: u32 = scope
            .conn
            .prepare_cached(
                "SELECT count(*) FROM dependencies JOIN issues AS target ON target.id = to_id \
                 WHERE from_id = ?1 AND target.status <> 'closed' AND (dep_type = 'blocks' OR \
                 (dep_type = 'parent-child' AND (target.status = 'blocked' OR target.open_blockers > 0)))",
            )?
            .query_row([id.as_str()], |row| row.get(0))?;
        if count == before.open_blockers {
            continue;
        }
        scope.touch(Access::Write, &id);
        scope
            .conn
            .prepare_cached("UPDATE issues SET open_blockers = ?2 WHERE id = ?1")?
            .execute((id.as_str(), count))?;
        let after = Stored { open_blockers: count, ..before.clone() };
        if before.is_stuck() != after.is_stuck() {
            waiting.extend(ids(scope, CHILDREN_OF, &id)?);
        }
    }
    Ok(())
}
