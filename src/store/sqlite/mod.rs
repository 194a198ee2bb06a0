//! The issue queue in one SQLite file: opening it, handing requests to its thread, closing it.
//!
//! | file | answers |
//! |---|---|
//! | `schema` | what the file holds, how it is opened and brought up to date |
//! | `thread` | how requests of many callers become few transactions |
//! | `apply`, `scope` | what one operation is given and leaves behind |
//! | `write`, `moves`, `claim`, `edges`, `find`, `read` | the operations |
//! | `ready` | which ready issue comes first for whom |
//! | `transfer` | whole queues in and out |
//! | `row` | how an issue stands in a row |
//! | `steps` | that nothing costs more in a longer queue (tests) |
//! | `examine` | how all contents are read to be checked |

mod apply;
mod claim;
mod edges;
mod examine;
mod find;
mod moves;
mod read;
mod ready;
mod row;
mod schema;
mod scope;
#[cfg(test)]
mod steps;
mod thread;
mod transfer;
mod write;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use self::thread::{Queued, Request, Writer};
use super::{
    Applied, Caller, Deadline, IssueStore, Offer, Operation, Refused, Soundness, StoreError, Subscriber,
};
use crate::clock::Timestamp;
use crate::event::Footprint;
use crate::id::RunId;
use crate::issue::Takes;
use crate::limit;

/// An issue queue in an SQLite file. Dropping it carries out what waits and ends its thread.
pub struct SqliteStore {
    path: PathBuf,
    requests: Option<SyncSender<Queued>>,
    places: Arc<Semaphore>,
    subscribers: Arc<Mutex<Vec<Subscriber>>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the queue in this file; makes the file and its folder if they are absent.
    ///
    /// # Errors
    /// The file cannot be used: the error names it and says why.
    pub fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        Self::serve(path, schema::open(path)?)
    }

    /// The same for a queue that can be made again, as that of a replay can: what is committed is there at once for
    /// everybody, but may be gone after a power failure, and nobody waits for the disk.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_repeatable(path: &Path) -> Result<Arc<Self>, StoreError> {
        let conn = schema::open(path)?;
        schema::forget_the_disk(&conn).map_err(|error| schema::explain(path, &error))?;
        Self::serve(path, conn)
    }

    /// Checks all that the file holds, at one moment and without changing it.
    ///
    /// # Errors
    /// There is no such file, or it is not a queue of this version. A damaged queue is no error but has findings.
    pub fn examine(path: &Path) -> Result<Soundness, StoreError> {
        examine::examine(path)
    }

    fn serve(path: &Path, conn: Connection) -> Result<Arc<Self>, StoreError> {
        let subscribers = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer::new(conn, path.to_owned(), Arc::clone(&subscribers))?;
        let (sender, receiver) = sync_channel(limit::STORE_QUEUE);
        let thread = std::thread::Builder::new()
            .name("issue-store".to_owned())
            .spawn(move || writer.serve(&receiver))
            .map_err(|error| StoreError::Unusable {
                path: path.display().to_string(),
                reason: format!("cannot start its thread: {error}"),
            })?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            requests: Some(sender),
            places: Arc::new(Semaphore::new(limit::STORE_QUEUE)),
            subscribers,
            thread: Some(thread),
        }))
    }

    /// Puts a request into the queue, waiting for a place there, and waits for its answer.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, StoreError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| self.gone())?;
        let (reply, answer) = oneshot::channel();
        let sender = self.requests.as_ref().ok_or_else(|| self.gone())?;
        // Never waits: there are as many places as the channel holds.
        sender.send(Queued { request: request(reply), place }).map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())
    }

    fn gone(&self) -> StoreError {
        StoreError::Unusable {
            path: self.path.display().to_string(),
            reason: "its thread has ended; this is a bug in runner".to_owned(),
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        let Some(thread) = self.thread.take() else { return };
        // A subscriber may hold the last handle, and a thread cannot wait for itself.
        if thread.thread().id() != std::thread::current().id() {
            // A panic of the thread has been told to every caller as a failed request.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl IssueStore for SqliteStore {
    async fn apply(&self, caller: Caller, operation: Operation) -> Result<Applied, Refused> {
        let (caller, operation) = (Box::new(caller), Box::new(operation));
        match self.ask(|reply| Request::Apply { caller, operation, reply }).await {
            Ok(answer) => answer,
            Err(error) => Err(Refused { error, seq: None, footprint: Footprint::none() }),
        }
    }

    async fn renew(&self, run: &RunId, until: Timestamp) -> Result<(), StoreError> {
        let run = run.clone();
        self.ask(|reply| Request::Renew { run, until, reply }).await?
    }

    async fn holding_runs(&self) -> Result<Vec<RunId>, StoreError> {
        self.ask(|reply| Request::HoldingRuns { reply }).await?
    }

    async fn first_ready(
        &self,
        takes: &[Takes],
        each: usize,
        at: Timestamp,
    ) -> Result<Vec<Offer>, StoreError> {
        let takes = takes.to_vec();
        self.ask(|reply| Request::FirstReady { takes, each, at, reply }).await?
    }

    async fn deadlines(&self, run: &RunId, after: Timestamp) -> Result<Vec<Deadline>, StoreError> {
        let run = run.clone();
        self.ask(|reply| Request::Deadlines { run, after, reply }).await?
    }

    fn subscribe(&self, subscriber: Subscriber) {
        self.subscribers.lock().expect("no code panics while it holds the list").push(subscriber);
    }
}
