//! Making issues and changing their fields: everything is checked first, then all of it happens or nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::row::{self, Stored};
use super::scope::{Outcome, Respect, Scope, invalid, wrong_state};
use super::{claim, edges, moves};
use crate::clock::micros;
use crate::event::Access;
use crate::id::IssueId;
use crate::issue::{Dependency, EdgeType, Issue, Move, Status, label_from_text};
use crate::limit;
use crate::store::{Answer, Claim, Edit, NewIssue, PlannedIssue, Update};

/// Makes an issue, with the edges its fields name.
pub(super) fn create(scope: &mut Scope<'_>, new: &NewIssue) -> Outcome<Answer> {
    check_title(&new.title)?;
    check_priority(new.priority)?;
    check_type(new.issue_type.as_deref())?;
    let labels = labels(&new.labels)?;
    refuse_many(labels.len())?;
    if new.parent_id.is_some() && new.parent_id == new.discovered_from {
        return Err(invalid(
            "parent_id and discovered_from name the same issue, and two issues have one edge at most; give one of them",
        ));
    }
    let blocked = new.blocking_notes.as_deref().is_some_and(|notes| !notes.trim().is_empty());
    let issue = Issue { labels: labels.into_iter().collect(), ..fresh(scope, new) };
    let mut stored = Stored { issue, epoch: 0, hold: None, open_blockers: 0 };
    if blocked {
        moves::step(scope, &mut stored, Move::Block)?;
    }
    let edges = [(&new.parent_id, EdgeType::ParentChild), (&new.discovered_from, EdgeType::DiscoveredFrom)];
    for (target, _) in &edges {
        if let Some(target) = target {
            scope.get(target)?;
        }
    }
    scope.touch_order();
    loop {
        scope.touch(Access::Write, &stored.issue.id);
        if row::insert(scope.conn, &stored)? {
            break;
        }
        stored.issue.id = scope.caller.ids.next_issue();
    }
    let id = stored.issue.id.clone();
    scope.record(&stored.issue, "created", json!({"issue": {"old": null, "new": stored.issue}}));
    for (target, dep_type) in edges {
        let Some(target) = target else { continue };
        let dependency = Dependency { from_id: id.clone(), to_id: target.clone(), dep_type };
        edges::link(scope, &dependency)?;
        scope.record(
            &stored.issue,
            "dependency_added",
            json!({"dependency": {"old": null, "new": dependency}}),
        );
    }
    edges::settle(scope, [id.clone()].into())?;
    scope.view(&id)
}

/// Makes issues that refer to each other: in one transaction, so that nobody sees one without what it waits for.
pub(super) fn create_all(scope: &mut Scope<'_>, planned: &[PlannedIssue]) -> Outcome<Answer> {
    let mut ids = Vec::new();
    for one in planned {
        let Answer::Issue(view) = create(scope, &one.issue)? else {
            unreachable!("creating an issue answers with it");
        };
        ids.push(view.issue.id);
    }
    let known = |at: usize| {
        ids.get(at).cloned().ok_or_else(|| invalid(format!("there is no issue {} in this list", at + 1)))
    };
    for (one, from_id) in planned.iter().zip(&ids) {
        let waits = one.waits_for.iter().map(|at| (*at, EdgeType::Blocks));
        for (at, dep_type) in one.parent.map(|at| (at, EdgeType::ParentChild)).into_iter().chain(waits) {
            edges::add(scope, &Dependency { from_id: from_id.clone(), to_id: known(at)?, dep_type })?;
        }
    }
    let issues: Vec<Issue> = ids.iter().map(|id| Ok(scope.get(id)?.issue.clone())).collect::<Outcome<_>>()?;
    let total = issues.len();
    Ok(Answer::Issues { issues, total })
}

fn fresh(scope: &Scope<'_>, new: &NewIssue) -> Issue {
    Issue {
        id: scope.caller.ids.next_issue(),
        title: new.title.trim().to_owned(),
        description: new.description.clone(),
        status: Status::Open,
        priority: new.priority.unwrap_or(2),
        issue_type: new.issue_type.clone().unwrap_or_else(|| "task".to_owned()),
        assignee: new.assignee.clone().filter(|assignee| !assignee.is_empty()),
        parent_id: new.parent_id.clone(),
        blocking_notes: new.blocking_notes.clone().filter(|notes| !notes.trim().is_empty()),
        metadata: new
            .metadata
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        labels: Vec::new(),
        estimate_minutes: new.estimate_minutes,
        defer_until: new.defer_until.map(micros),
        close_reason: None,
        created_at: scope.at,
        updated_at: scope.at,
        closed_at: None,
        attempt: 0,
    }
}

/// Changes fields; `status` and `assignee` are translated into moves.
pub(super) fn update(scope: &mut Scope<'_>, id: &IssueId, change: &Update) -> Outcome<Answer> {
    if let Some(title) = &change.title {
        check_title(title)?;
    }
    check_priority(change.priority)?;
    check_type(change.issue_type.as_deref())?;
    move_to(scope, id, &change.parent_id)?;
    let mut before = scope.get(id)?;
    if wants_claim(change) {
        before = claim::give_back_if_lapsed(scope, before)?;
    }
    let mut after = before.clone();
    let moved = transition(scope, (&mut before, &mut after), change)?;
    fields(&mut after.issue, change)?;
    if let Some(answer) = &moved.answer {
        moves::remark(scope, &before.issue, answer)?;
    }
    let claimed = scope.holds(&after) && wants_claim(change);
    let epoch = after.epoch;
    scope.save(&before, after, moved.event)?;
    if claimed {
        scope.holds.gained.insert(id.clone(), epoch);
    }
    scope.view(id)
}

/// Makes the issue a part of another one, or of none.
fn move_to(scope: &mut Scope<'_>, id: &IssueId, parent: &Edit<IssueId>) -> Outcome<()> {
    let before = scope.get(id)?.issue.parent_id;
    let after = parent.clone().apply(before.clone());
    if after == before {
        return Ok(());
    }
    if let Some(before) = &before {
        edges::remove(scope, id, before)?;
    }
    if let Some(to_id) = after {
        edges::add(scope, &Dependency { from_id: id.clone(), to_id, dep_type: EdgeType::ParentChild })?;
    }
    Ok(())
}

fn wants_claim(change: &Update) -> bool {
    change.status == Some(Status::InProgress)
        || change.assignee.as_deref().is_some_and(|name| !name.is_empty())
}

/// What the moves of an update come to, besides the changed row.
struct Moved {
    event: &'static str,
    /// A remark that answers what the issue waited for.
    answer: Option<String>,
}

/// Makes the moves in memory. A move that another one follows is saved on the way, so that each has its event.
fn transition(
    scope: &mut Scope<'_>,
    (before, stored): (&mut Stored, &mut Stored),
    change: &Update,
) -> Outcome<Moved> {
    let mut moved = Moved { event: "updated", answer: None };
    if wants_claim(change) && change.force && stored.hold.is_some() && !scope.holds(stored) {
        moves::give_back(scope, stored, Respect::Nobody)?;
        *stored = scope.save(before, stored.clone(), "released")?;
        before.clone_from(stored);
    }
    if let Some(event) = assign(scope, stored, change)? {
        moved.event = event;
    }
    if let Some(status) = change.status {
        if moved.event == "claimed" && matches!(status, Status::Blocked | Status::Closed) {
            *stored = scope.save(before, stored.clone(), "claimed")?;
            before.clone_from(stored);
        }
        to_status(scope, stored, (change, status), &mut moved)?;
    }
    // The notes of a blocked issue stay what they were when the text is the answer to them.
    if moved.answer.is_none()
        && change.status != Some(Status::Blocked)
        && let Some(notes) = &change.blocking_notes
    {
        stored.issue.blocking_notes = Some(notes.clone()).filter(|notes| !notes.is_empty());
    }
    Ok(moved)
}

/// What naming an assignee comes to.
fn assign(scope: &mut Scope<'_>, stored: &mut Stored, change: &Update) -> Outcome<Option<&'static str>> {
    match change.assignee.as_deref() {
        None => Ok(None),
        Some("") => {
            if change.status.is_some_and(|status| status != Status::Open) {
                return Err(invalid(
                    "an empty assignee gives the issue back, which makes it open; leave the status out, or close or \
                     block the issue without naming an assignee",
                ));
            }
            unassign(scope, stored, Respect::unless(change.force)).map(Some)
        }
        Some(name) => {
            check_assignee(scope, stored, change, name)?;
            let closed_twice = stored.issue.status == Status::Closed && change.status == Some(Status::Closed);
            // Naming oneself while closing or blocking one's own issue says nothing new.
            if scope.holds(stored) || closed_twice {
                return Ok(None);
            }
            take(scope, stored, change).map(Some)
        }
    }
}

/// What naming a status comes to.
fn to_status(
    scope: &mut Scope<'_>,
    stored: &mut Stored,
    (change, status): (&Update, Status),
    moved: &mut Moved,
) -> Outcome<()> {
    let respect = Respect::unless(change.force);
    let notes = change.blocking_notes.as_deref();
    match (status, stored.issue.status) {
        (Status::InProgress, _) if scope.holds(stored) => {}
        (Status::InProgress, _) => moved.event = take(scope, stored, change)?,
        (Status::Blocked, _) => {
            let notes = notes.or(stored.issue.blocking_notes.as_deref()).unwrap_or_default().to_owned();
            moves::wait_for(scope, stored, &notes, respect)?;
            moved.event = "blocked";
        }
        (Status::Closed, was) => {
            moves::finish(scope, stored, "", respect)?;
            // Closing again changes nothing; what else the update changes is no closing.
            if was != Status::Closed {
                moved.event = "closed";
            }
        }
        (Status::Open, Status::Open) => {}
        (Status::Open, Status::InProgress) => {
            moves::give_back(scope, stored, respect)?;
            moved.event = "released";
        }
        (Status::Open, Status::Blocked) => {
            moves::step(scope, stored, Move::Unblock)?;
            moved.event = "unblocked";
            moved.answer = notes.filter(|notes| !notes.trim().is_empty()).map(str::to_owned);
        }
        (Status::Open, Status::Closed) => {
            return Err(wrong_state(format!(
                "{} is closed, and update does not open it again; call `reopen` if it is not done after all",
                stored.issue.id
            )));
        }
    }
    Ok(())
}

fn unassign(scope: &Scope<'_>, stored: &mut Stored, respect: Respect) -> Outcome<&'static str> {
    if stored.hold.is_some() {
        moves::give_back(scope, stored, respect)?;
        return Ok("released");
    }
    if stored.issue.status == Status::Open {
        stored.issue.assignee = None;
    }
    Ok("updated")
}

fn check_assignee(scope: &Scope<'_>, stored: &Stored, change: &Update, name: &str) -> Outcome<()> {
    if name != scope.caller.actor {
        return Err(invalid(format!(
            "assignee can only be yourself ({}), not `{name}`: whoever works on an issue claims it; to say for whom an \
             issue is meant, use metadata",
            scope.caller.actor
        )));
    }
    if change.status == Some(Status::Open) {
        return Err(invalid(
            "an issue that you are assigned to is in progress, not open; give either the assignee (which claims it) or \
             the status open (which gives it back)",
        ));
    }
    if stored.issue.status == Status::Closed && change.status.is_none() {
        return Err(moves::cannot(stored, Move::Claim));
    }
    Ok(())
}

fn take(scope: &mut Scope<'_>, stored: &mut Stored, change: &Update) -> Outcome<&'static str> {
    let terms = Claim {
        id: Some(stored.issue.id.clone()),
        takes: change.takes.clone(),
        labels: Vec::new(),
        lease: change.lease.unwrap_or(limit::LEASE),
        max_attempts: change.max_attempts.unwrap_or(limit::ATTEMPTS),
    };
    claim::take(scope, stored, &terms)?;
    Ok("claimed")
}

fn fields(issue: &mut Issue, change: &Update) -> Outcome<()> {
    if let Some(title) = &change.title {
        issue.title = title.trim().to_owned();
    }
    if let Some(description) = &change.description {
        issue.description.clone_from(description);
    }
    if let Some(priority) = change.priority {
        issue.priority = priority;
    }
    if let Some(issue_type) = &change.issue_type {
        issue.issue_type.clone_from(issue_type);
    }
    issue.estimate_minutes = change.estimate_minutes.apply(issue.estimate_minutes);
    issue.defer_until = change.defer_until.apply(issue.defer_until).map(micros);
    merge(&mut issue.metadata, &change.metadata);
    relabel(issue, change)
}

/// Adds labels and takes labels away.
fn relabel(issue: &mut Issue, change: &Update) -> Outcome<()> {
    let (add, remove) = (labels(&change.add_labels)?, labels(&change.remove_labels)?);
    if let Some(both) = add.intersection(&remove).next() {
        return Err(invalid(format!("the label `{both}` is both added and removed; do one of them")));
    }
    let had = issue.labels.len();
    let mut all: BTreeSet<String> = issue.labels.drain(..).chain(add).collect();
    all.retain(|label| !remove.contains(label));
    // A file may have brought more; taking some of them away is no harm.
    if all.len() > had {
        refuse_many(all.len())?;
    }
    issue.labels = all.into_iter().collect();
    Ok(())
}

/// Labels as they are kept, each once.
fn labels(given: &[String]) -> Outcome<BTreeSet<String>> {
    let read = given.iter().map(|text| label_from_text(text).map_err(|wrong| invalid(wrong.to_string())));
    read.collect()
}

fn refuse_many(count: usize) -> Outcome<()> {
    if count <= limit::LABELS {
        return Ok(());
    }
    Err(invalid(format!(
        "an issue has {} labels at most, not {count}; put values with a name into the metadata",
        limit::LABELS
    )))
}

/// Merges key by key; a null removes a key.
fn merge(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        if value.is_null() {
            into.remove(key);
        } else {
            into.insert(key.clone(), value.clone());
        }
    }
}

fn check_title(title: &str) -> Outcome<()> {
    let length = title.trim().chars().count();
    if length == 0 {
        return Err(invalid("title is required: one line that says what is to be done"));
    }
    if length > limit::TITLE_CHARS {
        return Err(invalid(format!(
            "the title has {length} characters, and {} are allowed; put the rest into the description",
            limit::TITLE_CHARS
        )));
    }
    Ok(())
}

fn check_priority(priority: Option<u8>) -> Outcome<()> {
    match priority {
        Some(priority) if priority > 4 => {
            Err(invalid(format!("Priority must be 0-4 (0 is worked first), not {priority}")))
        }
        _ => Ok(()),
    }
}

fn check_type(issue_type: Option<&str>) -> Outcome<()> {
    match issue_type {
        Some(word) if word.trim().is_empty() => {
            Err(invalid("issue_type cannot be empty; leave it out for `task`"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_merge_and_null_removes() {
        let object = |value: Value| match value {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let mut metadata = object(json!({"a": 1, "b": {"x": 1}, "c": 3}));
        merge(&mut metadata, &object(json!({"b": {"y": 2}, "c": null, "d": null})));
        assert_eq!(Value::Object(metadata), json!({"a": 1, "b": {"y": 2}}));
    }
}
