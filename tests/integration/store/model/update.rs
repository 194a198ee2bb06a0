//! What an update comes to in the model: fields, and the moves that a status or an assignee means.

use runner::issue::Status;

use super::queue::{No, Turn};
use super::steps::{Change, LEASE, LIMIT, Name};

/// Changes fields; all or nothing is seen to by the caller.
pub(super) fn update(turn: &mut Turn<'_>, n: usize, change: &Change) -> Result<(), No> {
    let told = turn.told(n);
    change_fields(turn, n, change)?;
    if !turn.holds(n) {
        // Of a claim that ended within the same update nobody is told.
        turn.was_told(n, told);
    }
    Ok(())
}

fn change_fields(turn: &mut Turn<'_>, n: usize, change: &Change) -> Result<(), No> {
    let wants = change.status == Some(Status::InProgress)
        || matches!(change.assignee, Some(Name::Own | Name::Another));
    if wants {
        turn.give_back_if_lapsed(n);
    }
    if wants && change.force && turn.one(n).hold.is_some() && !turn.holds(n) {
        give_back(turn, n, true)?;
        turn.note(n);
    }
    let mut before = turn.one(n).clone();
    assign(turn, n, change)?;
    if turn.one(n).epoch > before.epoch && matches!(change.status, Some(Status::Blocked | Status::Closed)) {
        turn.note(n);
        before = turn.one(n).clone();
    }
    let answered = to_status(turn, n, change)?;
    if let Some(notes) = change.notes
        && !answered
        && change.status != Some(Status::Blocked)
    {
        turn.one(n).notes = Some(notes.to_owned()).filter(|notes| !notes.is_empty());
    }
    let one = turn.one(n);
    one.priority = change.priority.unwrap_or(one.priority);
    one.kind = change.kind.unwrap_or(one.kind);
    one.defer = change.defer.or(one.defer);
    // Remarks have entries of their own; a longer lease, none.
    let (mut after, mut compared) = (one.clone(), before);
    after.comments.clear();
    compared.comments.clear();
    after.entries = compared.entries;
    if let (Some(was), Some(is)) = (&mut compared.hold, &after.hold) {
        was.until = is.until;
    }
    if after != compared {
        turn.note(n);
    }
    Ok(())
}

fn assign(turn: &mut Turn<'_>, n: usize, change: &Change) -> Result<(), No> {
    let status = turn.one(n).status;
    match change.assignee {
        None => Ok(()),
        Some(Name::Nobody) => {
            if change.status.is_some_and(|status| status != Status::Open) {
                return Err(No::Invalid);
            }
            if turn.one(n).hold.is_some() {
                return give_back(turn, n, change.force);
            }
            if status == Status::Open {
                turn.one(n).assignee = None;
            }
            Ok(())
        }
        Some(Name::Another) => Err(No::Invalid),
        Some(Name::Own) if change.status == Some(Status::Open) => Err(No::Invalid),
        Some(Name::Own) if status == Status::Closed && change.status.is_none() => Err(No::WrongState),
        Some(Name::Own) => {
            let closed_again = status == Status::Closed && change.status == Some(Status::Closed);
            if turn.holds(n) || closed_again { Ok(()) } else { take(turn, n) }
        }
    }
}

/// Says whether the notes were the answer to what it waited for.
fn to_status(turn: &mut Turn<'_>, n: usize, change: &Change) -> Result<bool, No> {
    let (Some(status), is) = (change.status, turn.one(n).status) else { return Ok(false) };
    match (status, is) {
        (Status::InProgress, _) if turn.holds(n) => {}
        (Status::InProgress, _) => take(turn, n)?,
        (Status::Blocked, _) => {
            let notes = change.notes.map(str::to_owned).or(turn.one(n).notes.clone()).unwrap_or_default();
            if notes.is_empty() {
                return Err(No::Invalid);
            }
            turn.wait(n, &notes, change.force)?;
        }
        (Status::Closed, _) => turn.finish(n, "Completed", change.force)?,
        (Status::Open, Status::Open) => {}
        (Status::Open, Status::InProgress) => give_back(turn, n, change.force)?,
        (Status::Open, Status::Blocked) => {
            turn.unblock(n);
            if let Some(answer) = change.notes.filter(|notes| !notes.is_empty()) {
                turn.say(n, answer);
                return Ok(true);
            }
        }
        (Status::Open, Status::Closed) => return Err(No::WrongState),
    }
    Ok(false)
}

fn give_back(turn: &mut Turn<'_>, n: usize, force: bool) -> Result<(), No> {
    turn.may_end(n, force)?;
    turn.go(n, super::steps::Word::Release)
}

fn take(turn: &mut Turn<'_>, n: usize) -> Result<(), No> {
    turn.seize(n, LEASE, LIMIT)
}
