//! Which commands of one session go on in the background, and how they end: with the session, if not before.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attend::{Ended, Output, attend};
use crate::limit;
use crate::process::Group;
use crate::tool::jobs::{JobBoard, SharedGroup, lock};

/// The background commands of one session. Dropped, it ends them.
pub(super) struct Jobs {
    most: usize,
    board: Arc<JobBoard>,
    started: Mutex<Started>,
}

#[derive(Default)]
struct Started {
    jobs: Vec<Arc<Job>>,
    /// Who attends to them.
    tasks: JoinSet<()>,
}

/// One of them.
pub(super) struct Job {
    pub(super) id: String,
    pub(super) output: Output,
    pub(super) timeout: Option<Duration>,
    group: SharedGroup,
    kill: CancellationToken,
    ended: watch::Sender<Option<Arc<Ended>>>,
}

impl Jobs {
    /// None yet, and at most so many at once.
    pub(super) fn new(most: usize, board: Arc<JobBoard>) -> Self {
        Self { most, board, started: Mutex::default() }
    }

    /// How many may go on at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether one more may be started.
    pub(super) fn has_room(&self) -> bool {
        self.running().len() < self.most
    }

    /// The names of those that have not ended.
    pub(super) fn running(&self) -> Vec<String> {
        let started = self.locked();
        started.jobs.iter().filter(|job| job.end().is_none()).map(|job| job.id.clone()).collect()
    }

    /// Lets a command go on by itself.
    pub(super) fn add(&self, id: String, child: Child, output: Output, timeout: Option<Duration>) {
        let group = Arc::new(Mutex::new(Group::led_by(&child)));
        self.board.add(&group);
        let job = Arc::new(Job {
            id,
            output,
            timeout,
            group,
            kill: CancellationToken::new(),
            ended: watch::Sender::new(None),
        });
        let mut started = self.locked();
        while started.tasks.try_join_next().is_some() {}
        if started.jobs.len() >= limit::REMEMBERED_JOBS
            && let Some(at) = started.jobs.iter().position(|job| job.end().is_some())
        {
            started.jobs.remove(at);
        }
        started.jobs.push(job.clone());
        started.tasks.spawn(async move {
            let ended = attend(child, &job.group, &job.output, job.timeout, &job.kill).await;
            job.ended.send_replace(Some(Arc::new(ended)));
        });
    }

    /// The one of this name, if its end has not been told yet.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.locked().jobs.iter().find(|job| job.id == id).cloned()
    }

    /// Forgets one whose end has been told.
    pub(super) fn forget(&self, id: &str) {
        self.locked().jobs.retain(|job| job.id != id);
    }

    fn locked(&self) -> MutexGuard<'_, Started> {
        self.started.lock().expect("nothing panics while it holds this")
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        // Those who attend to them are dropped with the set, but that may take until the runtime gets to it.
        self.locked().jobs.iter().for_each(|job| lock(&job.group).end());
    }
}

impl Job {
    /// How it has ended, if so.
    pub(super) fn end(&self) -> Option<Arc<Ended>> {
        self.ended.borrow().clone()
    }

    /// Asks it to end; it does soon.
    pub(super) fn kill(&self) {
        self.kill.cancel();
    }

    /// Waits until it has ended.
    pub(super) async fn wait(&self) {
        // Its sender is part of it, so that it cannot be gone.
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }
}
