//! One operation, from the request to its answer: repeated effects, dispatch, events, the commit number.

use rusqlite::{Connection, OptionalExtension};

use super::scope::{Fault, Kept, Outcome, Respect, Scope};
use super::{claim, edges, find, moves, read, row, transfer, write};
use crate::clock::{Timestamp, micros};
use crate::issue::Dependency;
use crate::store::{Answer, Applied, Caller, Notice, Operation, Refused};

/// What an operation came to, with what subscribers are to be told.
pub(super) struct Done {
    pub result: Result<Applied, Refused>,
    pub notices: Vec<Notice>,
}

/// Applies an operation within the open transaction. Fails only when SQLite does; the transaction is lost then.
pub(super) fn apply(conn: &Connection, caller: &Caller, operation: &Operation) -> rusqlite::Result<Done> {
    let next = || caller.sequence.as_ref().map(crate::event::Sequence::next);
    if let Some((kept, at)) = repeated(conn, caller, operation)? {
        let Kept { answer, footprint, holds, seq } = kept;
        // It took effect when it had that number, whoever has learnt of it only now.
        let seq = seq.or_else(next);
        return Ok(Done { result: Ok(Applied { answer, seq, at, footprint, holds }), notices: Vec::new() });
    }
    let seq = next();
    conn.prepare_cached("SAVEPOINT operation")?.execute([])?;
    let mut scope = Scope::new(conn, caller);
    let outcome = dispatch(&mut scope, operation).and_then(|answer| {
        scope.write_events(&answer, seq)?;
        Ok(answer)
    });
    let footprint = scope.final_footprint();
    match outcome {
        Ok(answer) => {
            conn.prepare_cached("RELEASE operation")?.execute([])?;
            let applied = Applied { answer, seq, at: scope.at, footprint, holds: scope.holds };
            Ok(Done { result: Ok(applied), notices: scope.notices })
        }
        Err(Fault::Refusal(error)) => {
            conn.prepare_cached("ROLLBACK TO operation")?.execute([])?;
            conn.prepare_cached("RELEASE operation")?.execute([])?;
            let footprint = as_reads(footprint);
            Ok(Done { result: Err(Refused { error, seq, footprint }), notices: Vec::new() })
        }
        Err(Fault::Sqlite(error)) => Err(error),
    }
}

/// A refusal writes nothing, but it depended on what it would have written.
fn as_reads(mut footprint: crate::event::Footprint) -> crate::event::Footprint {
    footprint.reads.append(&mut footprint.writes);
    footprint
}

/// The answer this effect was given before, and when, if it was applied before.
fn repeated(
    conn: &Connection,
    caller: &Caller,
    operation: &Operation,
) -> rusqlite::Result<Option<(Kept, Timestamp)>> {
    let (Some(run), Some(effect)) = (&caller.run, &caller.effect) else { return Ok(None) };
    if is_question(operation) {
        return Ok(None);
    }
    conn.prepare_cached("SELECT result, at FROM events WHERE run_id = ?1 AND effect_id = ?2")?
        .query_row((run.as_str(), effect.as_str()), |row| {
            Ok((row::json(row, "result")?, row::time(row, "at")?.unwrap_or(micros(caller.at))))
        })
        .optional()
}

/// Whether an operation changes nothing.
pub(super) fn is_question(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Get { .. }
            | Operation::List(_)
            | Operation::Ready(_)
            | Operation::Blocked(_)
            | Operation::Search(_)
            | Operation::Left { .. }
            | Operation::Snapshot
            | Operation::Counts
            | Operation::Graph
            | Operation::Applied { .. }
            | Operation::History { .. }
            | Operation::Export
    )
}

fn dispatch(scope: &mut Scope<'_>, operation: &Operation) -> Outcome<Answer> {
    match operation {
        Operation::Create(new) => write::create(scope, new),
        Operation::CreateAll(planned) => write::create_all(scope, planned),
        Operation::Get { id } => read::get(scope, id),
        Operation::List(filter) => find::list(scope, filter),
        Operation::Ready(filter) => find::ready(scope, filter),
        Operation::Blocked(filter) => find::blocked(scope, filter),
        Operation::Search(search) => find::search(scope, search),
        Operation::Left { takes } => read::left(scope, takes),
        Operation::Update(id, change) => write::update(scope, id, change),
        Operation::Claim(claim) => claim::claim(scope, claim),
        Operation::Release { id, attempt, force } => {
            moves::release(scope, id, *attempt, Respect::unless(*force))
        }
        Operation::ReleaseAll => moves::release_all(scope),
        Operation::Reclaim { runs } => moves::reclaim(scope, runs),
        Operation::Block { id, notes, force } => moves::block(scope, id, notes, Respect::unless(*force)),
        Operation::Unblock { id, answer } => moves::unblock(scope, id, answer),
        Operation::Close { id, reason, force } => moves::close(scope, id, reason, Respect::unless(*force)),
        Operation::Reopen { id } => moves::reopen(scope, id),
        Operation::Comment { id, body } => moves::comment(scope, id, body),
        Operation::AddDependency { from, to, edge } => {
            edges::add(scope, &Dependency { from_id: from.clone(), to_id: to.clone(), dep_type: *edge })
        }
        Operation::RemoveDependency { from, to } => edges::remove(scope, from, to),
        Operation::Snapshot => read::snapshot(scope),
        Operation::Counts => read::counts(scope),
        Operation::Graph => read::graph(scope),
        Operation::Applied { which } => read::applied(scope, *which),
        Operation::History { id } => read::history(scope, id),
        Operation::Import(import) => transfer::import(scope, import),
        Operation::Export => transfer::export(scope),
    }
}
