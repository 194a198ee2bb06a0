//! How an issue goes from one status to another: who may, what goes with it, what is refused and how that is worded.

use serde_json::json;

use super::row::{self, Stored};
use super::scope::{Fault, Outcome, Respect, Scope, invalid, wrong_state};
use super::{edges, read};
use crate::event::Access;
use crate::id::{IssueId, RunId};
use crate::issue::{Comment, Issue, Move, Status};
use crate::limit;
use crate::store::{Answer, AttemptCount, StoreError};

/// Changes the status in memory, and what follows from it: the hold, the times, the attempts.
pub(super) fn step(scope: &Scope<'_>, stored: &mut Stored, step: Move) -> Outcome<()> {
    let issue = &mut stored.issue;
    let Ok(status) = issue.status.after(step) else {
        return Err(cannot(stored, step));
    };
    let was = std::mem::replace(&mut issue.status, status);
    if status != Status::InProgress && stored.hold.take().is_some() && status != Status::Closed {
        // On a closed issue the assignee says who closed it; on any other, who works on it.
        issue.assignee = None;
    }
    if status == Status::Closed && was != Status::Closed {
        issue.closed_at = Some(scope.at);
    }
    if status != Status::Closed {
        issue.closed_at = None;
    }
    match step {
        Move::Reopen => {
            issue.close_reason = None;
            issue.assignee = None;
            issue.attempt = 0;
        }
        // An answer is a new start: the attempts made without it do not count.
        Move::Unblock if was == Status::Blocked => issue.attempt = 0,
        _ => {}
    }
    Ok(())
}

/// A move that the status does not allow, with what is allowed instead.
pub(super) fn cannot(stored: &Stored, step: Move) -> Fault {
    let issue = &stored.issue;
    let id = &issue.id;
    let verb = match step {
        Move::Claim => "claim",
        Move::Release => "release",
        Move::Block => "block",
        Move::Unblock => "unblock",
        Move::Close => "close",
        Move::Reopen => "reopen",
    };
    let why = match issue.status {
        Status::Open => "it is open and nobody holds it; `claim` takes it".to_owned(),
        Status::InProgress => {
            format!("{} is working on it; the holder can `close`, `block` or `release` it", stored.holder())
        }
        Status::Blocked => format!(
            "it is blocked, waiting for: {}; `unblock` with the answer opens it",
            issue.blocking_notes.as_deref().unwrap_or("(no notes)")
        ),
        Status::Closed => "it is closed; only `reopen` changes that, if it is not done after all".to_owned(),
    };
    wrong_state(format!("cannot {verb} {id}: {why}"))
}

/// Ends the caller's, or with force anybody's, hold in memory.
fn enter(scope: &Scope<'_>, stored: &mut Stored, respect: Respect) -> Outcome<()> {
    scope.permit(
        stored,
        respect,
        "only its holder may close it, block it or give it back; claim another issue, or comment on this one",
    )?;
    if respect == Respect::Nobody && stored.hold.is_some() && !scope.holds(stored) {
        stored.epoch += 1;
    }
    Ok(())
}

/// Gives an issue back.
pub(super) fn release(
    scope: &mut Scope<'_>,
    id: &IssueId,
    attempt: AttemptCount,
    respect: Respect,
) -> Outcome<Answer> {
    let before = scope.get(id)?;
    let mut after = before.clone();
    give_back(scope, &mut after, respect)?;
    let event = match attempt {
        AttemptCount::Counted { limit } if before.hold.is_some() => {
            count_attempt(scope, &mut after, limit, ("released", before.holder()))?
        }
        AttemptCount::Counted { .. } | AttemptCount::Free => "released",
    };
    scope.save(&before, after, event)?;
    scope.view(id)
}

/// The same in memory, without counting.
pub(super) fn give_back(scope: &Scope<'_>, stored: &mut Stored, respect: Respect) -> Outcome<()> {
    enter(scope, stored, respect)?;
    step(scope, stored, Move::Release)
}

/// Counts a claim that came to nothing. At the limit the issue is blocked, with its history in the notes. Says which
/// event that is.
fn count_attempt(
    scope: &Scope<'_>,
    stored: &mut Stored,
    limit: u32,
    (event, who): (&'static str, String),
) -> Outcome<&'static str> {
    stored.issue.attempt += 1;
    if stored.issue.attempt < limit {
        return Ok(event);
    }
    let history = read::holds_of(scope.conn, &stored.issue.id)?;
    let skipped = history.len().saturating_sub(limit::HISTORY_IN_NOTES);
    let shown = history[skipped..].join("\n");
    let last = read::hold_line(scope.at, event, &who);
    step(scope, stored, Move::Block)?;
    stored.issue.blocking_notes = Some(format!(
        "Given up after {} claims without a result (the limit is {limit}). Find out why, then `unblock` it with what \
         to do differently.\n{shown}\n{last}",
        stored.issue.attempt
    ));
    Ok("blocked")
}

/// Gives back, in its holder's place, an issue whose claim has ended without a result.
pub(super) fn take_from_holder(scope: &mut Scope<'_>, before: &Stored, event: &'static str) -> Outcome<()> {
    let mut after = before.clone();
    let limit = before.hold.as_ref().map_or(limit::ATTEMPTS, |hold| hold.attempt_limit);
    step(scope, &mut after, Move::Release)?;
    let event = count_attempt(scope, &mut after, limit, (event, before.holder()))?;
    scope.save(before, after, event)?;
    Ok(())
}

/// Gives back all that the caller holds.
pub(super) fn release_all(scope: &mut Scope<'_>) -> Outcome<Answer> {
    // Whether the caller still holds an issue depends on what others have done to any of them.
    scope.touch_all();
    let mut held = held(scope)?;
    held.retain(|stored| scope.holds(stored));
    give_back_all(scope, &held, "released")
}

/// Gives back what dead runs hold, and what lapsed leases of others hold.
pub(super) fn reclaim(scope: &mut Scope<'_>, runs: &[RunId]) -> Outcome<Answer> {
    scope.touch_all();
    let mut held = held(scope)?;
    held.retain(|stored| {
        let dead =
            stored.hold.as_ref().and_then(|hold| hold.run.as_ref()).is_some_and(|run| runs.contains(run));
        dead || lapsed(scope, stored)
    });
    give_back_all(scope, &held, "lease_expired")
}

fn give_back_all(scope: &mut Scope<'_>, held: &[Stored], event: &'static str) -> Outcome<Answer> {
    let mut issues: Vec<Issue> = Vec::new();
    for before in held {
        // Its counter may have changed because of the one before.
        let before = scope.get(&before.issue.id)?;
        take_from_holder(scope, &before, event)?;
        issues.push(scope.get(&before.issue.id)?.issue);
    }
    let total = issues.len();
    Ok(Answer::Issues { issues, total })
}

fn held(scope: &Scope<'_>) -> Outcome<Vec<Stored>> {
    let mut statement = scope.conn.prepare_cached(&held_sql())?;
    let rows = statement.query_map([], row::read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Names its index: left to itself, SQLite reads the whole queue in the order of creation to save the sorting of a few.
pub(super) fn held_sql() -> String {
    format!(
        "SELECT {} FROM issues INDEXED BY issues_held WHERE status = 'in_progress' ORDER BY created_at, rowid",
        row::COLUMNS
    )
}

/// Whether a hold has lapsed. One of the caller's own run never does: the runner knows its sessions and renews for them.
pub(super) fn lapsed(scope: &Scope<'_>, stored: &Stored) -> bool {
    stored.hold.as_ref().is_some_and(|hold| {
        let own_run = hold.run.is_some() && hold.run == scope.caller.run;
        hold.lease_until <= scope.at && !own_run && !scope.holds(stored)
    })
}

/// Says that an issue waits for something.
pub(super) fn block(scope: &mut Scope<'_>, id: &IssueId, notes: &str, respect: Respect) -> Outcome<Answer> {
    let before = scope.get(id)?;
    let mut after = before.clone();
    wait_for(scope, &mut after, notes, respect)?;
    scope.save(&before, after, "blocked")?;
    scope.view(id)
}

/// The same in memory.
pub(super) fn wait_for(scope: &Scope<'_>, stored: &mut Stored, notes: &str, respect: Respect) -> Outcome<()> {
    if notes.trim().is_empty() {
        return Err(invalid("blocking notes are required: say what the issue waits for and from whom"));
    }
    enter(scope, stored, respect)?;
    step(scope, stored, Move::Block)?;
    stored.issue.blocking_notes = Some(notes.to_owned());
    Ok(())
}

/// Answers a blocked issue and opens it.
pub(super) fn unblock(scope: &mut Scope<'_>, id: &IssueId, answer: &str) -> Outcome<Answer> {
    let before = scope.get(id)?;
    if before.issue.status != Status::Blocked {
        return Err(cannot(&before, Move::Unblock));
    }
    let mut after = before.clone();
    step(scope, &mut after, Move::Unblock)?;
    if !answer.trim().is_empty() {
        remark(scope, &before.issue, answer)?;
    }
    scope.save(&before, after, "unblocked")?;
    scope.view(id)
}

/// Says that an issue is done.
pub(super) fn close(scope: &mut Scope<'_>, id: &IssueId, reason: &str, respect: Respect) -> Outcome<Answer> {
    let before = scope.get(id)?;
    let mut after = before.clone();
    finish(scope, &mut after, reason, respect)?;
    scope.save(&before, after, "closed")?;
    scope.view(id)
}

/// The same in memory; a closed issue stays as it is.
pub(super) fn finish(
    scope: &mut Scope<'_>,
    stored: &mut Stored,
    reason: &str,
    respect: Respect,
) -> Outcome<()> {
    enter(scope, stored, respect)?;
    if stored.issue.status == Status::Closed {
        return Ok(());
    }
    if stored.issue.issue_type == "epic" && respect == Respect::Holds {
        refuse_open_children(scope, &stored.issue.id)?;
    }
    step(scope, stored, Move::Close)?;
    let reason = if reason.trim().is_empty() { "Completed" } else { reason };
    stored.issue.close_reason = Some(reason.to_owned());
    Ok(())
}

fn refuse_open_children(scope: &mut Scope<'_>, id: &IssueId) -> Outcome<()> {
    let children = edges::ids(scope, edges::CHILDREN_OF, id)?;
    let mut open = Vec::new();
    for child in children {
        let stored = scope.get(&child)?;
        if stored.issue.status != Status::Closed {
            open.push(format!("{child} ({})", stored.issue.status));
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    Err(wrong_state(format!(
        "cannot close {id}: it is an epic and these parts of it are not closed: {}; close them first",
        open.join(", ")
    )))
}

/// Opens a closed issue.
pub(super) fn reopen(scope: &mut Scope<'_>, id: &IssueId) -> Outcome<Answer> {
    let before = scope.get(id)?;
    let mut after = before.clone();
    step(scope, &mut after, Move::Reopen)?;
    scope.save(&before, after, "reopened")?;
    scope.view(id)
}

/// Adds a remark.
pub(super) fn comment(scope: &mut Scope<'_>, id: &IssueId, body: &str) -> Outcome<Answer> {
    if body.trim().is_empty() {
        return Err(invalid("a comment needs a text (body)"));
    }
    let before = scope.get(id)?;
    let mut after = before.clone();
    after.issue.updated_at = scope.at;
    row::update_from(scope.conn, &before, &after)?;
    remark(scope, &after.issue, body)?;
    scope.view(id)
}

/// Writes a remark and its event.
pub(super) fn remark(scope: &mut Scope<'_>, issue: &Issue, body: &str) -> Outcome<()> {
    scope.touch(Access::Write, &issue.id);
    let author = &scope.caller.actor;
    scope
        .conn
        .prepare_cached("INSERT INTO comments (issue_id, author, at, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute((issue.id.as_str(), author, row::time_text(scope.at), body))?;
    let comment = Comment { author: author.clone(), at: scope.at, body: body.to_owned() };
    scope.record(issue, "commented", json!({"comment": {"old": null, "new": comment}}));
    Ok(())
}

/// What the caller is told when it cannot have an issue because of another.
pub(super) fn held_by_another(stored: &Stored) -> Fault {
    Fault::Refusal(StoreError::Held {
        id: stored.issue.id.clone(),
        holder: stored.holder(),
        remedy: "claim another one (`get_ready` lists them, `claim` without issue_id takes the first)"
            .to_owned(),
    })
}
