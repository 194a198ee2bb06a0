//! What a session holds of the queue: kept by its issue tool, read by the engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::id::IssueId;
use crate::store::HoldChange;

/// The holds of one session; cheap to share.
#[derive(Debug, Clone, Default)]
pub struct HoldLog {
    shared: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    now: BTreeMap<IssueId, u64>,
    /// Everything that was ever obtained, with the epoch of the last claim.
    epochs: BTreeMap<IssueId, u64>,
    gained: u64,
}

impl HoldLog {
    /// Learns what an operation did.
    pub fn note(&self, change: &HoldChange) {
        let mut held = self.held();
        for (issue, epoch) in &change.gained {
            held.now.insert(issue.clone(), *epoch);
            held.epochs.insert(issue.clone(), *epoch);
            held.gained += 1;
        }
        for issue in &change.ended {
            held.now.remove(issue);
        }
    }

    /// The issues held now.
    pub fn current(&self) -> Vec<IssueId> {
        self.held().now.keys().cloned().collect()
    }

    /// What the claims obtained, for `Caller::epochs`.
    pub fn epochs(&self) -> BTreeMap<IssueId, u64> {
        self.held().epochs.clone()
    }

    /// A moment to compare with later.
    pub fn mark(&self) -> HoldMark {
        let held = self.held();
        HoldMark { gained: held.gained, held_any: !held.now.is_empty() }
    }

    /// Whether anything was held at any time since the mark.
    pub fn held_any_since(&self, mark: HoldMark) -> bool {
        mark.held_any || self.held().gained > mark.gained
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.shared.lock().expect("nothing panics while it holds the log")
    }
}

/// A moment in a session's holding.
#[derive(Debug, Clone, Copy)]
pub struct HoldMark {
    gained: u64,
    held_any: bool,
}
