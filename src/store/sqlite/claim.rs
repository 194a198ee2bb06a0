//! How an issue is taken: the first ready one that matches, or a chosen one; lapsed leases are given back on the way.

use serde_json::Value;

use super::row::{self, Held, Stored};
use super::scope::{Fault, Outcome, Scope, invalid, wrong_state};
use super::{moves, ready};
use crate::clock::{later, micros};
use crate::event::Access;
use crate::id::IssueId;
use crate::issue::{Issue, Move, Status, Takes};
use crate::store::{Answer, Claim};

/// Takes an issue. The transaction holds the write lock, so between looking and taking nobody else can.
pub(super) fn claim(scope: &mut Scope<'_>, claim: &Claim) -> Outcome<Answer> {
    let chosen = match &claim.id {
        Some(id) => id.clone(),
        None => {
            scope.touch_all();
            give_back_lapsed(scope)?;
            match ready::first(scope.conn, claim, scope.at)? {
                Some(id) => id,
                None => return Ok(Answer::Nothing),
            }
        }
    };
    let before = scope.get(&chosen)?;
    let before = give_back_if_lapsed(scope, before)?;
    let mut after = before.clone();
    take(scope, &mut after, claim)?;
    let epoch = after.epoch;
    scope.save(&before, after, "claimed")?;
    // Also when it was held already: the caller may have lost its handle's memory of it.
    scope.holds.gained.insert(chosen.clone(), epoch);
    scope.view(&chosen)
}

/// Gives back what lapsed leases hold.
fn give_back_lapsed(scope: &mut Scope<'_>) -> Outcome<()> {
    for id in lapsed_leases(scope)? {
        let stored = scope.get(&id)?;
        give_back_if_lapsed(scope, stored)?;
    }
    Ok(())
}

/// Issues whose leases are over, whoever holds them.
pub(super) fn lapsed_leases(scope: &Scope<'_>) -> Outcome<Vec<IssueId>> {
    let mut statement = scope.conn.prepare_cached(LAPSED)?;
    let rows = statement.query_map([row::time_text(scope.at)], |row| row::id(row, "id"))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Names its index: left to itself, SQLite reads the whole queue in the order of creation to save the sorting of a few.
pub(super) const LAPSED: &str = "SELECT id FROM issues INDEXED BY issues_held \
    WHERE status = 'in_progress' AND lease_until <= ?1 ORDER BY created_at, rowid";

/// Gives one back if its lease has lapsed; shows it as it is then.
pub(super) fn give_back_if_lapsed(scope: &mut Scope<'_>, stored: Stored) -> Outcome<Stored> {
    if !moves::lapsed(scope, &stored) {
        return Ok(stored);
    }
    moves::take_from_holder(scope, &stored, "lease_expired")?;
    scope.get(&stored.issue.id)
}

/// Takes an issue in memory, or says why not. Taking what one holds already extends the lease.
pub(super) fn take(scope: &mut Scope<'_>, stored: &mut Stored, terms: &Claim) -> Outcome<()> {
    let lease_until = micros(later(scope.at, terms.lease));
    if scope.holds(stored) {
        if let Some(hold) = &mut stored.hold {
            hold.lease_until = hold.lease_until.max(lease_until);
        }
        return Ok(());
    }
    if stored.hold.is_some() {
        return Err(moves::held_by_another(stored));
    }
    refuse_unready(scope, stored)?;
    let lacking: Vec<_> = terms.labels.iter().filter(|label| !stored.issue.labels.contains(label)).collect();
    if !terms.takes.matches(&stored.issue.metadata) || !lacking.is_empty() {
        return Err(not_for_you(&stored.issue, &terms.takes, &lacking));
    }
    moves::step(scope, stored, Move::Claim)?;
    stored.epoch += 1;
    stored.issue.assignee = Some(scope.caller.actor.clone());
    stored.hold = Some(Held {
        run: scope.caller.run.clone(),
        session: scope.caller.holder.clone(),
        lease_until,
        attempt_limit: terms.max_attempts,
    });
    Ok(())
}

fn refuse_unready(scope: &mut Scope<'_>, stored: &Stored) -> Outcome<()> {
    let issue = &stored.issue;
    if issue.status != Status::Open {
        return Err(moves::cannot(stored, Move::Claim));
    }
    if let Some(until) = issue.defer_until.filter(|until| *until > scope.at) {
        return Err(wrong_state(format!(
            "cannot claim {}: it is deferred until {until}; claim another one",
            issue.id
        )));
    }
    if stored.open_blockers == 0 {
        return Ok(());
    }
    let blockers = super::read::blockers(scope.conn, &issue.id)?;
    for blocker in &blockers {
        scope.touch(Access::Read, &blocker.id);
    }
    let named: Vec<_> =
        blockers.iter().map(|blocker| format!("{} ({})", blocker.id, blocker.status)).collect();
    Err(wrong_state(format!(
        "cannot claim {}: it waits for {}; claim another one (`get_ready` lists them)",
        issue.id,
        named.join(", ")
    )))
}

fn not_for_you(issue: &Issue, takes: &Takes, lacking: &[&String]) -> Fault {
    let differs =
        |key: &String, values: &[Value]| issue.metadata.get(key).is_none_or(|value| !values.contains(value));
    let wanted = takes.0.iter().filter(|(key, values)| differs(key, values)).map(|(key, values)| {
        let values: Vec<_> = values.iter().map(Value::to_string).collect();
        let has = issue.metadata.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!("{key} must be {} and is {has}", values.join(" or "))
    });
    let labels = lacking.iter().map(|label| format!("it lacks the label `{label}`"));
    invalid(format!(
        "{} is not for you: {}; `claim` without issue_id takes the first that is",
        issue.id,
        wanted.chain(labels).collect::<Vec<_>>().join(", ")
    ))
}
