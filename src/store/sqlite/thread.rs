//! The one thread that uses the connection: takes what waits, commits it as one transaction, tells, then answers.
//!
//! ```text
//!   callers ──bounded──▶ [request …] ──▶ BEGIN IMMEDIATE ─▶ each in its savepoint ─▶ COMMIT
//!                                                                                     │
//!                                              callers ◀── answers ◀── subscribers ◀──┘
//! ```

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, named_params};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::apply::{self, Done};
use super::row;
use super::{read, ready, schema, scope};
use crate::clock::{Timestamp, micros};
use crate::event::Footprint;
use crate::id::RunId;
use crate::issue::Takes;
use crate::limit;
use crate::store::{Applied, Caller, Deadline, Notice, Offer, Operation, Refused, StoreError, Subscriber};

/// What the thread is asked, and where the answer goes.
pub(super) enum Request {
    Apply {
        caller: Box<Caller>,
        operation: Box<Operation>,
        reply: oneshot::Sender<Result<Applied, Refused>>,
    },
    Renew {
        run: RunId,
        until: Timestamp,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    HoldingRuns {
        reply: oneshot::Sender<Result<Vec<RunId>, StoreError>>,
    },
    FirstReady {
        takes: Vec<Takes>,
        each: usize,
        at: Timestamp,
        reply: oneshot::Sender<Result<Vec<Offer>, StoreError>>,
    },
    Deadlines {
        run: RunId,
        after: Timestamp,
        reply: oneshot::Sender<Result<Vec<Deadline>, StoreError>>,
    },
}

impl Request {
    /// Whether it changes nothing.
    fn only_reads(&self) -> bool {
        match self {
            Self::Apply { operation, .. } => apply::is_question(operation),
            Self::Renew { .. } => false,
            Self::HoldingRuns { .. } | Self::FirstReady { .. } | Self::Deadlines { .. } => true,
        }
    }
}

/// A request in the queue, with the place that it takes up there.
pub(super) struct Queued {
    pub request: Request,
    pub place: OwnedSemaphorePermit,
}

/// Called once it is known whether the batch is durable. The receiver may be gone; its operation counts all the same.
type Reply = Box<dyn FnOnce(Result<(), &StoreError>)>;

/// What the thread owns.
pub(super) struct Writer {
    conn: Connection,
    path: PathBuf,
    subscribers: Arc<Mutex<Vec<Subscriber>>>,
    /// The last entry of the event log that subscribers know of.
    seen: i64,
    /// SQLite's number for the state other connections have left; changes when one of them commits.
    version: i64,
}

impl Writer {
    pub fn new(
        conn: Connection,
        path: PathBuf,
        subscribers: Arc<Mutex<Vec<Subscriber>>>,
    ) -> Result<Self, StoreError> {
        let numbers = last_event(&conn).and_then(|seen| Ok((seen, data_version(&conn)?)));
        let (seen, version) = numbers.map_err(|error| schema::explain(&path, &error))?;
        Ok(Self { conn, path, subscribers, seen, version })
    }

    /// Serves until every sender is gone and the queue is empty.
    pub fn serve(mut self, requests: &Receiver<Queued>) {
        loop {
            match requests.recv_timeout(limit::FOREIGN_CHANGE_POLL) {
                Ok(first) => {
                    let mut batch = vec![first];
                    while batch.len() < limit::STORE_BATCH {
                        let Ok(next) = requests.try_recv() else { break };
                        batch.push(next);
                    }
                    self.batch(batch);
                }
                Err(RecvTimeoutError::Timeout) => self.look_at_others(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn batch(&mut self, batch: Vec<Queued>) {
        let mut replies: Vec<Reply> = Vec::with_capacity(batch.len());
        let mut notices = Vec::new();
        let mut places = Vec::with_capacity(batch.len());
        // Who only reads sees one moment without keeping other processes from writing.
        let only_reads = batch.iter().all(|queued| queued.request.only_reads());
        let mut state = self.conn.execute_batch(if only_reads { "BEGIN" } else { "BEGIN IMMEDIATE" });
        if state.is_ok() {
            // Nothing of others comes in between any more: what they did comes before what this batch does.
            state = self.foreign().map(|(found, _)| notices = found);
        }
        for Queued { request, place } in batch {
            places.push(place);
            let reply = match &state {
                Ok(()) => self.one(request, &mut notices),
                Err(_) => Ok(unserved(request)),
            };
            match reply {
                Ok(reply) => replies.push(reply),
                Err((error, reply)) => {
                    state = Err(error);
                    replies.push(reply);
                }
            }
        }
        let done = state
            .and_then(|()| {
                let seen = last_event(&self.conn)?;
                self.conn.execute_batch("COMMIT")?;
                Ok(seen)
            })
            .map_err(|error| schema::explain(&self.path, &error));
        if let Ok(seen) = done {
            self.seen = seen;
            self.tell(&notices);
        } else if !self.conn.is_autocommit() {
            // If even this fails, the connection stays in the transaction and the next BEGIN says so.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        drop(places);
        for reply in replies {
            reply(done.as_ref().map(|_| ()));
        }
    }

    /// Carries one request out. When SQLite fails, so has the whole transaction.
    fn one(&self, request: Request, notices: &mut Vec<Notice>) -> Result<Reply, (rusqlite::Error, Reply)> {
        match request {
            Request::Apply { caller, operation, reply } => {
                match apply::apply(&self.conn, &caller, &operation) {
                    Ok(Done { result, notices: mut new }) => {
                        notices.append(&mut new);
                        Ok(answer_apply(reply, Some(result)))
                    }
                    Err(error) => Err((error, answer_apply(reply, None))),
                }
            }
            Request::Renew { run, until, reply } => reply_with(reply, renew(&self.conn, &run, until)),
            Request::HoldingRuns { reply } => reply_with(reply, holding_runs(&self.conn)),
            Request::FirstReady { takes, each, at, reply } => {
                reply_with(reply, ready::offers(&self.conn, &takes, each, at))
            }
            Request::Deadlines { run, after, reply } => reply_with(reply, deadlines(&self.conn, &run, after)),
        }
    }

    /// Looks for what other processes have done while nobody asked anything.
    fn look_at_others(&mut self) {
        // A failure here concerns nobody yet; whoever asks something next is told.
        let Ok(version) = data_version(&self.conn) else { return };
        if version == self.version {
            return;
        }
        let Ok((notices, seen)) = self.foreign() else { return };
        self.version = version;
        self.seen = seen;
        self.tell(&notices);
    }

    /// Entries of the event log since the last one known, and the last one now; all by others, since the thread knows
    /// its own.
    fn foreign(&self) -> rusqlite::Result<(Vec<Notice>, i64)> {
        let sql = "SELECT seq, issue_id, event_type, actor, changes, at, title, status FROM \
                   (SELECT * FROM events WHERE seq > :seen) AS event JOIN issues ON issues.id = event.issue_id \
                   ORDER BY seq";
        let mut seen = self.seen;
        let notices = read::collect(&self.conn, sql, named_params! {":seen": self.seen}, |row| {
            seen = row.get("seq")?;
            let change = read::change(row)?;
            let status = match scope::status_after(&change.changes) {
                Some(status) => status,
                None => row::status(row, "status")?,
            };
            Ok(Notice { change, title: row.get("title")?, status, foreign: true })
        })?;
        Ok((notices, seen))
    }

    fn tell(&self, notices: &[Notice]) {
        if notices.is_empty() {
            return;
        }
        let subscribers = self.subscribers.lock().expect("no code panics while it holds the list");
        for subscriber in subscribers.iter() {
            subscriber(notices);
        }
    }
}

fn answer_apply(
    reply: oneshot::Sender<Result<Applied, Refused>>,
    result: Option<Result<Applied, Refused>>,
) -> Reply {
    Box::new(move |durable| {
        let (seq, footprint) = match &result {
            Some(Ok(applied)) => (applied.seq, applied.footprint.clone()),
            Some(Err(refused)) => (refused.seq, refused.footprint.clone()),
            None => (None, Footprint::none()),
        };
        let answer = match (durable, result) {
            (Ok(()), Some(result)) => result,
            (Err(error), _) => Err(Refused { error: error.clone(), seq, footprint }),
            (Ok(()), None) => unreachable!("a batch with a failed request is never committed"),
        };
        let _ = reply.send(answer);
    })
}

fn reply_with<T: 'static>(
    reply: oneshot::Sender<Result<T, StoreError>>,
    result: rusqlite::Result<T>,
) -> Result<Reply, (rusqlite::Error, Reply)> {
    match result {
        Ok(value) => Ok(Box::new(move |durable| {
            let _ = reply.send(durable.map(|()| value).map_err(Clone::clone));
        })),
        Err(error) => Err((error, refuse(reply))),
    }
}

fn refuse<T: 'static>(reply: oneshot::Sender<Result<T, StoreError>>) -> Reply {
    Box::new(move |durable| {
        if let Err(error) = durable {
            let _ = reply.send(Err(error.clone()));
        }
    })
}

/// The reply to a request that was not carried out because the transaction was lost before.
fn unserved(request: Request) -> Reply {
    match request {
        Request::Apply { reply, .. } => answer_apply(reply, None),
        Request::Renew { reply, .. } => refuse(reply),
        Request::HoldingRuns { reply } => refuse(reply),
        Request::FirstReady { reply, .. } => refuse(reply),
        Request::Deadlines { reply, .. } => refuse(reply),
    }
}

fn last_event(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?.query_row([], |row| row.get(0))
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

fn renew(conn: &Connection, run: &RunId, until: Timestamp) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE issues SET lease_until = ?2 WHERE status = 'in_progress' AND hold_run = ?1 AND lease_until < ?2",
    )?
    .execute((run.as_str(), row::time_text(micros(until))))?;
    Ok(())
}

fn holding_runs(conn: &Connection) -> rusqlite::Result<Vec<RunId>> {
    let sql = "SELECT DISTINCT hold_run FROM issues WHERE status = 'in_progress' AND hold_run IS NOT NULL \
               ORDER BY hold_run";
    read::collect(conn, sql, named_params! {}, |row| row.get::<_, String>(0).map(RunId::new))
}

pub(super) fn deadlines(conn: &Connection, run: &RunId, after: Timestamp) -> rusqlite::Result<Vec<Deadline>> {
    let sql = "SELECT at, metadata FROM (\
               SELECT lease_until AS at, metadata, id FROM issues INDEXED BY issues_held WHERE status = 'in_progress' \
               AND lease_until > :after AND hold_run IS NOT :run \
               UNION ALL \
               SELECT defer_until AS at, metadata, id FROM issues INDEXED BY issues_deferred WHERE status = 'open' AND open_blockers = 0 \
               AND defer_until > :after) ORDER BY at, id";
    let params = named_params! {":after": row::time_text(micros(after)), ":run": run.as_str()};
    read::collect(conn, sql, params, |row| {
        Ok(Deadline { at: row::time(row, "at")?.unwrap_or(after), metadata: row::json(row, "metadata")? })
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::id::{IdSource, Seed};
    use crate::store::NewIssue;

    type Answer = oneshot::Receiver<Result<Applied, Refused>>;

    fn create(n: usize, description: &str) -> (Queued, Answer) {
        let (reply, answer) = oneshot::channel();
        let caller = Caller {
            run: None,
            effect: None,
            actor: "a".to_owned(),
            holder: "a".to_owned(),
            epochs: std::collections::BTreeMap::new(),
            at: Timestamp::UNIX_EPOCH,
            ids: Arc::new(IdSource::new(&Seed::new("s"), &n.to_string())),
            sequence: None,
        };
        let title = if n == 1 { String::new() } else { n.to_string() };
        let new = NewIssue { title, description: description.to_owned(), ..NewIssue::default() };
        let operation = Box::new(Operation::Create(new));
        let request = Request::Apply { caller: Box::new(caller), operation, reply };
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Queued { request, place }, answer)
    }

    fn writer(path: &Path) -> (Writer, Arc<Mutex<Vec<usize>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&told);
        let subscriber: Subscriber = Box::new(move |notices| list.lock().unwrap().push(notices.len()));
        let subscribers = Arc::new(Mutex::new(vec![subscriber]));
        (Writer::new(schema::open(path).unwrap(), path.to_owned(), subscribers).unwrap(), told)
    }

    fn rows(writer: &Writer) -> i64 {
        writer.conn.query_row("SELECT count(*) FROM issues", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_waits_is_one_transaction_and_a_refusal_spoils_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, told) = writer(&folder.path().join("issues.db"));
        let (batch, answers): (Vec<_>, Vec<_>) = (0..3).map(|n| create(n, "")).unzip();
        writer.batch(batch);
        let ok: Vec<_> = answers.into_iter().map(|mut answer| answer.try_recv().unwrap().is_ok()).collect();
        assert_eq!(ok, [true, false, true]);
        assert_eq!((rows(&writer), told.lock().unwrap().as_slice()), (2, [2].as_slice()));
    }

    #[test]
    fn a_full_disk_keeps_nothing_of_the_batch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issues.db");
        let (mut writer, told) = writer(&path);
        let pages: i64 = writer.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        writer.conn.pragma_update_and_check(None, "max_page_count", pages + 4, |_| Ok(())).unwrap();
        let large = "x".repeat(100_000);
        let (batch, answers): (Vec<_>, Vec<_>) =
            [(0, ""), (2, large.as_str()), (3, "")].map(|(n, text)| create(n, text)).into_iter().unzip();
        writer.batch(batch);
        for mut answer in answers {
            let refused = answer.try_recv().unwrap().unwrap_err();
            let reason = "the disk is full; nothing of the change was kept".to_owned();
            assert_eq!(refused.error, StoreError::Unusable { path: path.display().to_string(), reason });
        }
        assert_eq!((rows(&writer), told.lock().unwrap().len()), (0, 0));
        let (queued, mut answer) = create(4, "");
        writer.batch(vec![queued]);
        assert!(answer.try_recv().unwrap().is_ok(), "it goes on when there is room");
    }
}
