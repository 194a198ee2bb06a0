//! What a session holds, and whether it has held anything lately: shared by its issue tool and the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::id::IssueId;
use crate::store::HoldChange;

/// A session's holds. Clones are handles to the same log.
#[derive(Debug, Clone, Default)]
pub struct HoldLog(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    /// What each claim obtained, also of issues no longer held: they are how a write that comes too late is noticed.
    epochs: BTreeMap<IssueId, u64>,
    current: BTreeSet<IssueId>,
    /// Counts gains and ends.
    changes: u64,
}

impl HoldLog {
    /// A log of a session that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().expect("no code panics while it holds the log")
    }

    /// What the session holds now.
    pub fn current(&self) -> Vec<IssueId> {
        self.log().current.iter().cloned().collect()
    }

    /// The epochs of its claims, for `Caller::epochs`.
    pub fn epochs(&self) -> BTreeMap<IssueId, u64> {
        self.log().epochs.clone()
    }

    /// A point in time, for `held_any_since`.
    pub fn mark(&self) -> u64 {
        self.log().changes
    }

    /// Whether the session held any issue at any time from the mark on.
    pub fn held_any_since(&self, mark: u64) -> bool {
        let log = self.log();
        // What was gained or ended since was held for a while; what is held without a change was held all the time.
        !log.current.is_empty() || log.changes > mark
    }

    /// The session has an issue: its own claim, or one the engine made for it.
    pub fn gained(&self, issue: IssueId, epoch: u64) {
        let mut log = self.log();
        log.epochs.insert(issue.clone(), epoch);
        if log.current.insert(issue) {
            log.changes += 1;
        }
    }

    /// The session no longer has an issue.
    pub fn ended(&self, issue: &IssueId) {
        let mut log = self.log();
        if log.current.remove(issue) {
            log.changes += 1;
        }
    }

    /// Takes over what an operation did.
    pub fn apply(&self, change: &HoldChange) {
        for issue in &change.ended {
            self.ended(issue);
        }
        for (issue, epoch) in &change.gained {
            self.gained(issue.clone(), *epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holding_between_marks_is_noticed() {
        let log = HoldLog::new();
        let start = log.mark();
        assert!(!log.held_any_since(start));
        log.gained("bd-1".into(), 3);
        let during = log.mark();
        assert!(log.held_any_since(start) && log.held_any_since(during));
        log.ended(&"bd-1".into());
        assert!(log.held_any_since(during), "it was held at the mark");
        let after = log.mark();
        log.ended(&"bd-1".into());
        assert!(!log.held_any_since(after));
        assert_eq!((log.current(), log.epochs()), (vec![], [("bd-1".into(), 3)].into()));
    }
}
