//! Which commands go on in the background in a workspace, whoever started them, and how all of them stand still for a moment.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::process::Group;

/// A process group that several attend to.
pub(super) type SharedGroup = Arc<Mutex<Group>>;

/// The background commands of all sessions that work in one folder.
#[derive(Debug, Default)]
pub struct JobBoard(Mutex<Vec<Weak<Mutex<Group>>>>);

impl JobBoard {
    /// Puts one more on the board; it is gone from it when it has ended.
    pub(super) fn add(&self, group: &SharedGroup) {
        let mut groups = self.locked();
        groups.retain(|group| group.strong_count() > 0);
        groups.push(Arc::downgrade(group));
    }

    /// Whether one of them may still change files.
    pub fn is_any(&self) -> bool {
        self.locked().iter().filter_map(Weak::upgrade).any(|group| !lock(&group).is_ended())
    }

    /// Lets all of them stand still as long as what is returned is kept.
    #[must_use]
    pub fn hold(&self) -> Held {
        let groups: Vec<SharedGroup> = self.locked().iter().filter_map(Weak::upgrade).collect();
        groups.iter().for_each(|group| lock(group).hold());
        Held(groups)
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Weak<Mutex<Group>>>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

/// Commands that stand still until this is dropped.
#[derive(Debug)]
pub struct Held(Vec<SharedGroup>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.iter().for_each(|group| lock(group).go_on());
    }
}

pub(super) fn lock(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    group.lock().expect("nothing panics while it holds this")
}
