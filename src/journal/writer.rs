//! How lines get to disk: one thread owns the file, writes what waits in one go and syncs once for all who need it.
//!
//! ```text
//!   effects, events ──(bounded queue)──▶ thread: drain ▶ write ▶ [sync] ▶ answer those who waited
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Line;
use crate::limit;

/// Why the journal cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot keep the run's journal {path}: {reason}")]
pub struct JournalError {
    /// The file.
    pub path: String,
    /// What the system said.
    pub reason: String,
}

impl JournalError {
    /// The system does not let it be written.
    pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Self {
        let reason = format!("{error}; it needs room and a folder that can be written");
        Self { path: path.display().to_string(), reason }
    }

    fn closed(path: &Path) -> Self {
        Self { path: path.display().to_string(), reason: "it is closed already".to_owned() }
    }
}

/// How safe a line must be before its writer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Written soon.
    Later,
    /// On disk.
    Synced,
}

enum Job {
    Write { line: String, done: Option<oneshot::Sender<Result<(), JournalError>>> },
    Sync { done: oneshot::Sender<Result<(), JournalError>> },
    Finish,
}

/// The journal of one run. Cheap to share; the last one dropped ends the thread after everything is written.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    jobs: SyncSender<Job>,
    failed: Arc<Mutex<Option<JournalError>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the file for appending; makes it if absent.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread can be started.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| JournalError::unwritable(path, &error))?;
        let (jobs, waiting) = sync_channel(limit::JOURNAL_QUEUE);
        let failed = Arc::new(Mutex::new(None));
        let keeper = Keeper { file, path: path.to_owned(), failed: failed.clone() };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || keeper.serve(&waiting))
            .map_err(|error| JournalError::unwritable(path, &error))?;
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                jobs,
                failed,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Queues a line, in the order of the calls. The future it returns resolves when the line is as safe as asked; it
    /// need not be awaited for the line to be written.
    ///
    /// # Errors
    /// An earlier line could not be written, or the journal is closed; nothing is written after that.
    pub fn append(
        &self,
        line: &Line,
        durability: Durability,
    ) -> Result<impl Future<Output = Result<(), JournalError>> + Send + 'static, JournalError> {
        if let Some(error) = self.shared.failed.lock().expect("the journal's thread never panics").clone() {
            return Err(error);
        }
        let text = serde_json::to_string(line).expect("a line holds only strings, numbers and JSON");
        let (done, waiting) = match durability {
            Durability::Later => (None, None),
            Durability::Synced => {
                let (done, waiting) = oneshot::channel();
                (Some(done), Some(waiting))
            }
        };
        let closed = JournalError::closed(&self.shared.path);
        if self.shared.jobs.send(Job::Write { line: text, done }).is_err() {
            return Err(closed);
        }
        Ok(async move {
            match waiting {
                // It ends without an answer only when the line came after its end.
                Some(waiting) => waiting.await.unwrap_or(Err(closed)),
                None => Ok(()),
            }
        })
    }

    /// Waits until everything queued so far is on disk.
    ///
    /// # Errors
    /// Something could not be written.
    pub async fn sync(&self) -> Result<(), JournalError> {
        let (done, waiting) = oneshot::channel();
        // After its end nobody takes the question, or nobody answers it.
        let asked = self.shared.jobs.send(Job::Sync { done }).is_ok();
        let answer = if asked { waiting.await.ok() } else { None };
        answer.unwrap_or_else(|| Err(JournalError::closed(&self.shared.path)))
    }

    /// Waits until everything queued is on disk, and ends the thread.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn close(&self) -> Result<(), JournalError> {
        self.shared.finish();
        self.shared.failed.lock().expect("the journal's thread never panics").clone().map_or(Ok(()), Err)
    }
}

impl Shared {
    fn finish(&self) {
        if let Some(thread) = self.thread.lock().expect("joining does not panic").take() {
            // The thread may have ended by an earlier `Finish`; then there is nobody left to tell.
            let _ = self.jobs.send(Job::Finish);
            thread.join().expect("the journal's thread never panics");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Keeper {
    file: File,
    path: PathBuf,
    failed: Arc<Mutex<Option<JournalError>>>,
}

impl Keeper {
    fn serve(mut self, jobs: &Receiver<Job>) {
        let mut open = true;
        while open {
            let Ok(first) = jobs.recv() else { break };
            let mut batch = vec![first];
            while batch.len() < limit::JOURNAL_QUEUE {
                match jobs.try_recv() {
                    Ok(job) => batch.push(job),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            open = self.keep(batch);
        }
    }

    /// Writes a batch; `false` when the last job was the end.
    fn keep(&mut self, batch: Vec<Job>) -> bool {
        let mut text = String::new();
        let mut waiting = Vec::new();
        let mut open = true;
        for job in batch {
            match job {
                Job::Write { line, done } => {
                    text.push_str(&line);
                    text.push('\n');
                    waiting.extend(done);
                }
                Job::Sync { done } => waiting.push(done),
                Job::Finish => open = false,
            }
        }
        let result = self.write(&text, !waiting.is_empty() || !open);
        for done in waiting {
            // A caller that was cancelled no longer listens; its line is written all the same.
            let _ = done.send(result.clone());
        }
        open
    }

    fn write(&mut self, text: &str, sync: bool) -> Result<(), JournalError> {
        let mut failed = self.failed.lock().expect("nobody panics while holding it");
        if let Some(error) = failed.clone() {
            return Err(error);
        }
        let mut write = || {
            self.file.write_all(text.as_bytes())?;
            if sync { self.file.sync_data() } else { Ok(()) }
        };
        write().map_err(|error| {
            let error = JournalError::unwritable(&self.path, &error);
            *failed = Some(error.clone());
            error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::EffectId;
    use crate::journal::read;

    fn line(n: u32) -> Line {
        Line::Intent { id: EffectId::run("x", n), at: Timestamp::UNIX_EPOCH }
    }

    #[tokio::test]
    async fn lines_come_back_in_order_and_a_cut_one_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let journal = Journal::open(&path).unwrap();
        drop(journal.append(&line(1), Durability::Later).unwrap());
        journal.sync().await.unwrap();
        assert_eq!(read(&path).unwrap(), [line(1)]);
        journal.append(&line(2), Durability::Synced).unwrap().await.unwrap();
        journal.close().unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"intent\":{\"id\"")
            .unwrap();
        assert_eq!(read(&path).unwrap(), [line(1), line(2)]);
    }

    #[tokio::test]
    async fn what_comes_after_the_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("journal.jsonl")).unwrap();
        journal.close().unwrap();
        let error = journal.append(&line(1), Durability::Later).err().unwrap();
        assert!(error.to_string().contains("it is closed already"), "{error}");
    }

    #[tokio::test]
    async fn a_full_disk_is_told_to_the_writer_and_to_all_after_it() {
        let journal = Journal::open(Path::new("/dev/full")).unwrap();
        let error = journal.append(&line(1), Durability::Synced).unwrap().await.unwrap_err();
        assert!(error.to_string().starts_with("cannot keep the run's journal /dev/full: "), "{error}");
        assert_eq!(journal.append(&line(2), Durability::Later).err(), Some(error.clone()));
        assert_eq!(journal.sync().await, Err(error));
    }
}
