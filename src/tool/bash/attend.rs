//! What becomes of a command that was started: its output is read, its end awaited or brought about, and its group ended.
//!
//! ```text
//!  runs ─┬─ exits ─────────────────────▶ output drained (bounded) ─▶ SIGKILL to the group ─▶ result
//!        └─ deadline, cancel ─▶ SIGTERM ─▶ at most KILL_AFTER ──────▶ SIGKILL to the group ─▶ error
//! ```

use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use futures_util::future::maybe_done;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use crate::limit;
use crate::tool::capture::{Captured, Captures};
use crate::tool::jobs::{SharedGroup, lock};
use crate::tool::workspace::plain;

/// How a command ended.
#[derive(Debug)]
pub(super) enum End {
    Exited(std::io::Result<ExitStatus>),
    TimedOut,
    Cancelled,
}

/// A command's end, and whether something it left behind kept the output open.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) left_behind: bool,
}

/// What a command prints.
pub(super) struct Output {
    pub(super) stdout: Captures,
    pub(super) stderr: Captures,
}

impl Output {
    pub(super) fn new(keep: usize) -> Self {
        Self { stdout: Captures::new(keep), stderr: Captures::new(keep) }
    }

    /// What was printed since the last time; `running` says that more may come.
    pub(super) fn printed(&self, progress: Progress, show: impl Fn(&str) -> String) -> Printed {
        let take = |captures: &Captures| match progress {
            Progress::Running => captures.so_far(),
            Progress::Over => captures.rest(),
        };
        Printed { stdout: take(&self.stdout).finish(&show), stderr: take(&self.stderr).finish(&show) }
    }
}

/// Whether more output may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Over,
}

/// Attends to a command until nothing of its group is left.
pub(super) async fn attend(
    mut child: Child,
    group: &SharedGroup,
    output: &Output,
    timeout: Option<Duration>,
    cancel: &CancellationToken,
) -> Ended {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reads = async { tokio::join!(output.stdout.fill(stdout), output.stderr.fill(stderr)) };
    let mut reading = pin!(maybe_done(reads));
    let mut deadline = pin!(async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    });
    let mut read = false;
    let end = loop {
        tokio::select! {
            status = child.wait() => break End::Exited(status),
            () = cancel.cancelled() => break End::Cancelled,
            () = &mut deadline => break End::TimedOut,
            () = &mut reading, if !read => read = true,
        }
    };
    if !matches!(end, End::Exited(_)) {
        lock(group).ask();
    }
    // Once the output has ended on its own, nothing that matters is left to wait for.
    let quiet =
        tokio::time::timeout(limit::KILL_AFTER, async { tokio::join!(child.wait(), &mut reading) }).await;
    lock(group).end();
    let gone =
        tokio::time::timeout(limit::KILL_AFTER, async { tokio::join!(child.wait(), &mut reading) }).await;
    Ended { end, left_behind: quiet.is_err() || gone.is_err() }
}

/// What a command has printed, fit for a model.
pub(super) struct Printed {
    stdout: Captured,
    stderr: Captured,
}

impl Printed {
    /// The printed texts as a result.
    pub(super) fn result(self) -> Value {
        let mut result = json!({"stdout": self.stdout.text, "stderr": self.stderr.text});
        for (name, bytes) in
            [("stdout_total_bytes", self.stdout.cut_from), ("stderr_total_bytes", self.stderr.cut_from)]
        {
            if let Some(bytes) = bytes {
                result[name] = bytes.into();
                result["truncated"] = true.into();
            }
        }
        result
    }
}

/// What a result says of a command that took too long, besides words.
pub const TIMED_OUT: &str = "timed_out";

impl Ended {
    /// Adds to a result how the command ended.
    pub(super) fn tell(&self, result: &mut Value, timeout: Option<Duration>) {
        match &self.end {
            End::Exited(Ok(status)) => {
                result["returncode"] = return_code(*status).into();
                if self.left_behind {
                    result["warning"] =
                        "processes left in the background held the output open; they are ended with it"
                            .into();
                }
            }
            End::Exited(Err(error)) => {
                result["error"] = format!("the command's end could not be observed: {}", plain(error)).into();
            }
            End::TimedOut => {
                result[TIMED_OUT] = true.into();
                let seconds = timeout.unwrap_or_default().as_secs();
                result["error"] = format!(
                    "Command timed out after {seconds} seconds; what it started was ended. Give it a longer timeout or do less in one command"
                )
                .into();
            }
            End::Cancelled => result["error"] = "Command cancelled: the run is stopping".into(),
        }
    }

    /// Whether the command did what it was to do.
    pub(super) fn is_success(&self) -> bool {
        matches!(&self.end, End::Exited(Ok(status)) if status.success())
    }
}

/// The exit code; for a process ended by a signal the signal's number, negative.
fn return_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(-1)
}
