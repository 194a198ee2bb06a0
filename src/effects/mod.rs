//! How anything that enters a prompt or changes shared state happens: through one gate, which orders, records and replays.
//!
//! ```text
//!            ask (id, key, footprint)          grant (now, ids, sequence)
//!   session ───────────────────────▶ begin ───────────────────────────▶ run ──▶ commit ──▶ ledger
//!                                     │ live: at once                            live: next number
//!                                     │ replay: when everything that must        replay: must equal the
//!                                     ▼ precede it has committed                 recorded line
//! ```
//!
//! A run that goes on after it was stopped is answered from its own journal first: see `memory`.
//!
//! The gate counts who is *busy*. When nobody is, nothing can change any more: in a replay whoever still waits then has
//! diverged, which is said at once; with virtual time the clock moves to the earliest timer. So there are no timeouts.

mod cause;
mod compare;
mod divergence;
mod gate;
mod memory;
mod passage;
mod schedule;
mod score;
mod state;
mod wait;

use std::sync::Arc;

use serde_json::Value;

pub use compare::{Comparison, Split, Strand, compare};
pub use divergence::{Class, Difference, Divergence};
pub use gate::{Effects, Origin, Setup, Time};
pub use memory::Past;
pub use schedule::{Choice, Course, Deviations, NoSchedule, Schedule};
pub use score::{Ending, Replay, Strictness, Tolerance};
pub use wait::{Alarm, Busy, Rest};

use crate::clock::Timestamp;
use crate::event::{EffectId, EffectKind, Footprint, Policy, Segment, Sequence};
use crate::id::IdSource;
use crate::journal::JournalError;
use crate::store::StoreError;

/// What an effect is, before it runs.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its id.
    pub id: EffectId,
    /// Its kind.
    pub kind: EffectKind,
    /// What it is asked with.
    pub key: Vec<Segment>,
    /// What it may touch, as wide as needed.
    pub footprint: Footprint,
    /// What a replay does with it.
    pub policy: Policy,
    /// Whether it is announced in the journal before it runs.
    pub announce: Announce,
}

impl Asked {
    /// An effect of the engine whose identity is its id alone.
    pub fn engine(id: EffectId, kind: EffectKind, policy: Policy) -> Self {
        Self { id, kind, key: Vec::new(), footprint: Footprint::none(), policy, announce: Announce::No }
    }

    /// The same with this key.
    #[must_use]
    pub fn keyed(mut self, key: Vec<Segment>) -> Self {
        self.key = key;
        self
    }

    /// The same with this footprint.
    #[must_use]
    pub fn touching(mut self, footprint: Footprint) -> Self {
        self.footprint = footprint;
        self
    }
}

/// Whether an effect is announced in the journal before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// It may safely run again after a crash.
    No,
    /// It must not happen twice: an intent line is on disk before it begins.
    Intent,
}

/// Where a result comes from that was not made just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A recording: what the effect left behind has to be made again.
    Recording,
    /// The journal of the run that goes on: what it left behind is there, under this name.
    Journal(EffectId),
}

/// Whether an effect begins for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// It does.
    First,
    /// It had been announced when the run was killed: nobody knows how far it came.
    Interrupted,
}

/// What a running effect is given.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The id under which it changes shared state.
    pub effect: EffectId,
    /// Whether it begins for the first time.
    pub beginning: Beginning,
    /// The present moment, as far as the effect is concerned.
    pub at: Timestamp,
    /// Where its ids come from.
    pub ids: Arc<IdSource>,
    /// The commit numbers, for effects whose order the issue store decides. `None` in a replay.
    pub sequence: Option<Sequence>,
}

/// What an effect came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The result.
    pub result: Value,
    /// What it really touched; `None` leaves the footprint of before.
    pub footprint: Option<Footprint>,
    /// Its commit number, if the issue store drew one.
    pub seq: Option<u64>,
    /// When it happened, if not at the moment it was granted: the run may have been killed before it learnt of it.
    pub at: Option<Timestamp>,
}

impl Ran {
    /// A result whose order is decided by the gate.
    pub fn plain(result: Value) -> Self {
        Self { result, footprint: None, seq: None, at: None }
    }
}

/// Why nothing goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Halt {
    /// The replay is not what was recorded.
    #[error("{0}")]
    Diverged(Arc<Divergence>),
    /// The run can no longer be recorded.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A recorded result is not of the form this version writes.
    #[error("the recorded result of {0} cannot be read: {1}")]
    Unreadable(EffectId, String),
    /// Recorded changes of files cannot be made.
    #[error("cannot make the recorded changes of files: {0}")]
    Workspace(String),
    /// The queue cannot be read or written any more.
    #[error(transparent)]
    Queue(#[from] StoreError),
    /// The run would never end.
    #[error("{0}")]
    Standstill(String),
    /// The beginning of a recording has been played, and nobody goes on within it.
    #[error("the beginning of the recording has been played")]
    Played,
    /// The run was stopped while the effect ran; nothing of it is recorded.
    #[error("the run was stopped")]
    Stopped,
}
