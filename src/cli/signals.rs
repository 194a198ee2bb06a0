//! The two steps of stopping: the first signal lets turns finish, the second does not.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;
use super::surroundings::tell;
use crate::limit;
use crate::session::Stop;

/// Listens for signals and steps through stopping.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    stop: Stop,
    /// How the first signal wants the program to end.
    first: Option<Exit>,
}

impl Signals {
    pub(super) fn listen(stop: Stop) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            stop,
            first: None,
        })
    }

    /// Runs `work` to its end, stopping it as signals say. Answers also how the program is to end because of them.
    pub(super) async fn around<T>(mut self, work: impl Future<Output = T>) -> (T, Option<Exit>) {
        tokio::pin!(work);
        let mut grace = None;
        loop {
            let patience = async {
                match grace {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let exit = tokio::select! {
                done = &mut work => return (done, self.first),
                Some(()) = self.interrupt.recv() => Exit::Interrupted,
                Some(()) = self.terminate.recv() => Exit::Terminated,
                () = patience => {
                    self.stop.hard.cancel();
                    grace = None;
                    continue;
                }
            };
            if self.first.is_none() {
                self.first = Some(exit);
                tell("\nstopping: turns in progress may finish; once more stops at once\n");
                self.stop.soft.cancel();
                grace = Some(tokio::time::Instant::from_std(crate::clock::instant_in(limit::GRACE)));
            } else {
                self.stop.hard.cancel();
            }
        }
    }
}
