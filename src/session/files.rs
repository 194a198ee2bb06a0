//! Whose turn it is to touch files: what the ledger says of their order must be the order it happened in, and what a
//! command changed must be told from what file tools changed meanwhile.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Stage;
use crate::event::{EffectId, Footprint, Policy};
use crate::secret::Scrubber;
use crate::tool::patch::{self, FilePatch, FileSnapshot, PatchError};
use crate::tool::{Held, JobBoard};

/// The order of everything that touches the workspace's files.
pub struct FileOrder {
    /// The files as everything recorded so far has left them, as long as a job in the background may have changed them since.
    known: RwLock<Option<FileSnapshot>>,
    commands: Commands,
    jobs: Arc<JobBoard>,
}

/// What is done about commands, which may change any file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// What they change is recorded with their results: they run one at a time, beside no file tool.
    Recorded,
    /// They run as they come.
    Free,
}

/// How a call touches files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileUse {
    Nothing,
    Reads,
    Writes,
    /// A command whose changes are to be recorded.
    Recorded,
}

/// Held while a call touches files.
pub(super) struct FileTurn<'a> {
    order: &'a FileOrder,
    wanted: FileUse,
    hold: Hold<'a>,
    /// What jobs did before the call, for a tool that a replay runs again.
    before: Option<FilePatch>,
}

/// What jobs did before a call, as its result names it.
const FILES_BEFORE: &str = "files_before";

enum Hold<'a> {
    /// It touches none.
    Free,
    /// No job can have changed anything.
    Shared(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, Option<FileSnapshot>>),
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, Option<FileSnapshot>>),
    /// A command whose changes are recorded.
    Recorded(RwLockWriteGuard<'a, Option<FileSnapshot>>),
    /// Jobs stand still meanwhile; what they did before is known.
    Still(RwLockWriteGuard<'a, Option<FileSnapshot>>, #[expect(dead_code, reason = "held, not read")] Held),
}

impl FileOrder {
    /// An order in which nobody is yet; `jobs` are the commands in the background.
    pub fn new(commands: Commands, jobs: Arc<JobBoard>) -> Self {
        Self { known: RwLock::default(), commands, jobs }
    }

    /// How a call with this footprint touches files. `policy` says whether a replay will run it.
    pub(super) fn use_of(&self, footprint: &Footprint, policy: Policy) -> FileUse {
        let any = |set: &std::collections::BTreeSet<String>| set.iter().any(|name| name.starts_with("fs:"));
        if footprint.writes.contains("fs:*") {
            match (policy, self.commands) {
                (Policy::Tape, Commands::Recorded) => FileUse::Recorded,
                _ => FileUse::Nothing,
            }
        } else if any(&footprint.writes) {
            FileUse::Writes
        } else if any(&footprint.reads) {
            FileUse::Reads
        } else {
            FileUse::Nothing
        }
    }

    /// Waits until no other call is in the way, and finds out what is there before a call whose changes are recorded.
    /// Whoever waits counts as busy all the while: it can go on as soon as the other lets go, and would know it later.
    ///
    /// # Errors
    /// The files cannot be read; the call must then not run.
    pub(super) async fn turn(&self, wanted: FileUse, workspace: &Path) -> Result<FileTurn<'_>, String> {
        let mut before = None;
        let hold = match wanted {
            FileUse::Nothing => Hold::Free,
            FileUse::Recorded => {
                let mut known = self.known.write().await;
                if known.is_none() {
                    *known = Some(snapshot(workspace).await?);
                }
                Hold::Recorded(known)
            }
            FileUse::Writes => self.still(self.known.write().await, &mut before).await?,
            FileUse::Reads => {
                let shared = self.known.read().await;
                if shared.is_none() {
                    Hold::Shared(shared)
                } else {
                    drop(shared);
                    self.still(self.known.write().await, &mut before).await?
                }
            }
        };
        Ok(FileTurn { order: self, wanted, hold, before })
    }

    /// Lets jobs stand still and finds out what they did, if there are some whose changes are recorded.
    async fn still<'a>(
        &self,
        mut known: RwLockWriteGuard<'a, Option<FileSnapshot>>,
        before: &mut Option<FilePatch>,
    ) -> Result<Hold<'a>, String> {
        let Some(then) = known.take() else { return Ok(Hold::Alone(known)) };
        let (go_on, held) = (self.jobs.is_any(), self.jobs.hold());
        let (now, changes) = changes(then).await;
        *known = now.filter(|_| go_on);
        let changes = changes.map_err(|error| {
            format!("Not run: what commands in the background did to files cannot be recorded: {error}. Let them change less, or end them with bash_job.")
        })?;
        *before = Some(changes).filter(|changes| !changes.is_empty());
        Ok(if go_on { Hold::Still(known, held) } else { Hold::Alone(known) })
    }
}

impl FileTurn<'_> {
    /// Whether others that touch files wait for this one.
    pub(super) fn is_ordered(&self) -> bool {
        !matches!(self.hold, Hold::Free)
    }

    /// Whether others that read may be beside it, and nobody who writes.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.hold, Hold::Shared(_))
    }

    /// Before the call: what jobs have done to files until then, for the record. A replay does it as it was recorded.
    ///
    /// # Errors
    /// It cannot be done again.
    pub(super) async fn settle(&mut self, stage: &Stage, id: &EffectId) -> Result<Option<FilePatch>, String> {
        let Some(recorded) = stage.effects.recorded_part(id, FILES_BEFORE) else {
            let found = self.before.take();
            return Ok(found.map(|files| files.without_secrets(stage.effects.scrubber())));
        };
        let files: FilePatch = serde_json::from_value(recorded).map_err(|error| error.to_string())?;
        restore(files.clone(), Restored::Changes, &stage.workspace).await?;
        Ok(Some(files))
    }

    /// In place of a command that a run was killed in: all that is there, for what was there before is not known; and what
    /// there is to say if it is more than a recording keeps.
    pub(super) async fn all(&mut self, scrubber: &Scrubber) -> (Option<FilePatch>, String) {
        let Hold::Recorded(known) = &mut self.hold else { return (None, String::new()) };
        let now = known.take().expect("it was found out when the turn began");
        let compare = move || patch::diff(&now.emptied(), &now);
        match tokio::task::spawn_blocking(compare).await.expect("reading files does not panic") {
            Ok(files) => (Some(files.without_secrets(scrubber)), String::new()),
            Err(error) => {
                let trouble = format!(
                    " What is there now could not be recorded ({error}), so a recording of this run will not play."
                );
                (None, trouble)
            }
        }
    }

    /// After the call: what it and the jobs beside it have changed, if that is recorded.
    ///
    /// # Errors
    /// The changes cannot be recorded.
    pub(super) async fn end(&mut self) -> Result<Option<FilePatch>, String> {
        let jobs = &self.order.jobs;
        match &mut self.hold {
            Hold::Free | Hold::Shared(_) | Hold::Alone(_) => Ok(None),
            Hold::Recorded(known) => {
                let then = known.take().expect("it was found out before the call");
                // Asked first: one that ends meanwhile may still have changed something before it did.
                let (go_on, _held) = (jobs.is_any(), jobs.hold());
                let (now, changes) = changes(then).await;
                **known = now.filter(|_| go_on);
                let changes = changes.map_err(|error| {
                    format!("The command ran, but its changes to files cannot be recorded: {error}. Change less in one command.")
                })?;
                Ok(Some(changes).filter(|changes| !changes.is_empty()))
            }
            Hold::Still(known, _) => {
                // What the call has written itself is no job's doing.
                if self.wanted == FileUse::Writes
                    && let Some(then) = known.take()
                {
                    **known = Some(again(then).await);
                }
                Ok(None)
            }
        }
    }
}

/// The workspace's files as they are now.
async fn snapshot(workspace: &Path) -> Result<FileSnapshot, String> {
    let root = workspace.to_owned();
    let taken = tokio::task::spawn_blocking(move || FileSnapshot::take(&root)).await;
    taken.expect("reading files does not panic").map_err(|error| {
        format!("Not run: the files cannot be read before it, so its changes could not be recorded: {error}.")
    })
}

/// The files now, and what has changed since. A job that was told to stand still may finish what it had begun to write, so
/// files that are not steady are looked at again.
async fn changes(then: FileSnapshot) -> (Option<FileSnapshot>, Result<FilePatch, PatchError>) {
    const LOOKS: usize = 5;
    let compare = move || {
        let look = || match then.take_again() {
            Ok(now) => {
                let changes = patch::diff(&then, &now);
                (Some(now), changes)
            }
            Err(error) => (None, Err(error)),
        };
        let is_unsteady = |changes: &Result<_, _>| matches!(changes, Err(PatchError::Unsteady { .. }));
        (1..LOOKS).map(|_| look()).find(|(_, changes)| !is_unsteady(changes)).unwrap_or_else(look)
    };
    tokio::task::spawn_blocking(compare).await.expect("reading files does not panic")
}

/// The files now; as they were, if they cannot be read.
async fn again(then: FileSnapshot) -> FileSnapshot {
    let take = move || then.take_again().unwrap_or(then);
    tokio::task::spawn_blocking(take).await.expect("reading files does not panic")
}

/// What of a recorded call is done to files when it is not run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restored {
    /// The changes it made.
    Changes,
    /// All that was there after it.
    All,
}

/// Does to files what a recorded command did that is not run again.
///
/// # Errors
/// It cannot be done.
pub(super) async fn restore(files: FilePatch, what: Restored, workspace: &Path) -> Result<(), String> {
    let root = workspace.to_owned();
    let made = tokio::task::spawn_blocking(move || match what {
        Restored::Changes => files.apply(&root),
        Restored::All => files.apply_as_all(&root),
    })
    .await;
    made.expect("writing files does not panic").map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::effects::{Effects, Origin, Setup, Time};
    use crate::id::Seed;

    #[tokio::test]
    async fn who_waits_for_files_is_busy_before_it_knows_that_it_has_them() {
        let effects = Effects::new(Setup {
            origin: Origin::Live,
            time: Time::Virtual(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))),
            seed: Seed::new("s"),
            journal: None,
            scrubber: Scrubber::default(),
            faults: Arc::default(),
            halt: CancellationToken::new(),
        });
        let order = FileOrder::new(Commands::Free, Arc::default());
        let (holder, waiter, sleeper) = (effects.busy(), effects.busy(), effects.busy());
        let held = order.turn(FileUse::Writes, Path::new(".")).await.expect("nobody is there");
        let mut wait = Box::pin(order.turn(FileUse::Writes, Path::new(".")));
        assert!((&mut wait).now_or_never().is_none());
        let name = EffectId::run("nap", 1);
        let mut nap = Box::pin(effects.pause(&sleeper, &name, Duration::from_secs(1)));
        assert!((&mut nap).now_or_never().is_none());
        drop(held);
        drop(holder);
        assert_eq!(effects.now(), Timestamp::UNIX_EPOCH, "nobody moves time on while somebody can go on");
        assert!(wait.await.is_ok());
        drop(waiter);
        assert_ne!(effects.now(), Timestamp::UNIX_EPOCH);
    }
}
