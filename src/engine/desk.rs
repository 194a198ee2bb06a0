//! How workers and monitors ask the dispatcher what to do, and how they hear of it.

use tokio::sync::{mpsc, oneshot};

use super::board::{BlockSetup, Ends};
use super::roster::{MonitorOrder, Pause, Seat, WatchSetup, WorkerOrder};
use crate::effects::Busy;
use crate::id::PhaseId;
use crate::issue::Takes;
use crate::plan::WhenEmpty;

/// What the dispatcher is told.
pub enum Mail {
    /// A pool begins.
    PoolOpens {
        /// Which.
        phase: PhaseId,
        /// What its workers do when nothing is ready.
        when_empty: WhenEmpty,
        /// What each takes.
        takes: Vec<Takes>,
    },
    /// A monitor begins.
    WatchOpens {
        /// Which.
        phase: PhaseId,
        /// What it is.
        setup: WatchSetup,
    },
    /// A worker is between iterations.
    WorkerAsks {
        /// Who.
        seat: Seat,
        /// How it is.
        pause: Pause,
        /// Where the order goes.
        reply: oneshot::Sender<(WorkerOrder, Busy)>,
    },
    /// A worker has gone home.
    WorkerGone {
        /// Who.
        seat: Seat,
    },
    /// A monitor is between looks.
    MonitorAsks {
        /// Who.
        phase: PhaseId,
        /// What its condition was, if it has looked.
        due: Option<bool>,
        /// Where the order goes.
        reply: oneshot::Sender<(MonitorOrder, Busy)>,
    },
    /// A phase has taken as long as it may.
    TimeIsUp {
        /// Which.
        phase: PhaseId,
    },
    /// A phase begins others and waits for them.
    PhasesBegin {
        /// They, and where the answer goes.
        setup: Box<BlockSetup>,
    },
    /// The queue has changed by these events.
    QueueChanged {
        /// `blocked`, `closed` …
        events: Vec<String>,
    },
}

/// A letter and the token of whoever reads it.
pub type Letter = (Mail, Busy);

/// Where letters are left.
#[derive(Clone)]
pub struct Desk {
    letters: mpsc::UnboundedSender<Letter>,
}

impl Desk {
    /// A desk and what comes out of it. Unbounded, but never long: every worker and monitor has at most one letter in
    /// it, and the issue store one for each batch that is committed meanwhile.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Letter>) {
        let (letters, inbox) = mpsc::unbounded_channel();
        (Self { letters }, inbox)
    }

    /// Leaves a letter; the dispatcher is gone only when the run is over.
    pub fn leave(&self, mail: Mail, busy: &Busy) {
        let _ = self.letters.send((mail, busy.fork()));
    }

    /// Asks for a worker's order and waits for it. `None` when the run is over.
    pub async fn ask_as_worker(&self, seat: &Seat, pause: Pause, busy: &Busy) -> Option<WorkerOrder> {
        let (reply, order) = oneshot::channel();
        self.leave(Mail::WorkerAsks { seat: seat.clone(), pause, reply }, busy);
        wait(order, busy).await
    }

    /// Asks for a monitor's order and waits for it. `None` when the run is over.
    pub async fn ask_as_monitor(
        &self,
        phase: &PhaseId,
        due: Option<bool>,
        busy: &Busy,
    ) -> Option<MonitorOrder> {
        let (reply, order) = oneshot::channel();
        self.leave(Mail::MonitorAsks { phase: phase.clone(), due, reply }, busy);
        wait(order, busy).await
    }

    /// Begins phases and waits until all have ended. `None` when the run is over.
    pub async fn run_phases(&self, setup: BlockSetup, busy: &Busy) -> Option<Ends> {
        let (reply, ends) = oneshot::channel();
        let setup = Box::new(BlockSetup { reply: Some(reply), ..setup });
        self.leave(Mail::PhasesBegin { setup }, busy);
        wait(ends, busy).await
    }
}

async fn wait<T>(order: oneshot::Receiver<(T, Busy)>, busy: &Busy) -> Option<T> {
    let rest = busy.rest();
    let answer = order.await.ok();
    // The answer's token counts until the asker counts again.
    drop(rest);
    answer.map(|(order, _token)| order)
}
