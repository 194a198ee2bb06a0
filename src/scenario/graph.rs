//! Which phase waits for which: the `needs` of a scenario, defaults included.

use std::collections::{BTreeSet, VecDeque};

use super::raw::RawPhase;

/// The phases by position, with what each waits for.
#[derive(Debug)]
pub(super) struct Graph {
    ids: Vec<Option<String>>,
    needs: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of these phases. What is not there is left out; a phase without `needs` waits for the one before it.
    pub(super) fn new(phases: &[RawPhase]) -> Self {
        let ids: Vec<_> = phases.iter().map(|phase| phase.id.as_ref().map(|id| id.value.clone())).collect();
        let mut graph = Self { ids, needs: Vec::new() };
        let needs = phases.iter().enumerate().map(|(at, phase)| match &phase.needs {
            Some(needs) => needs.iter().filter_map(|id| graph.position(&id.value)).collect(),
            None => at.checked_sub(1).into_iter().collect(),
        });
        graph.needs = needs.collect();
        graph
    }

    /// The first phase of this id.
    pub(super) fn position(&self, id: &str) -> Option<usize> {
        self.ids.iter().position(|known| known.as_deref() == Some(id))
    }

    /// The id of a phase; its number if it has none.
    pub(super) fn name(&self, at: usize) -> String {
        self.ids[at].clone().unwrap_or_else(|| (at + 1).to_string())
    }

    /// What a phase waits for directly.
    pub(super) fn needs(&self, at: usize) -> &[usize] {
        &self.needs[at]
    }

    /// All that a phase waits for, directly or not; itself only if it is in a circle.
    pub(super) fn all_needs(&self, at: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut waiting = self.needs[at].clone();
        while let Some(next) = waiting.pop() {
            if seen.insert(next) {
                waiting.extend(&self.needs[next]);
            }
        }
        seen
    }

    /// The shortest circle through a phase, from it to it.
    pub(super) fn circle(&self, at: usize) -> Option<Vec<usize>> {
        let mut before = vec![None; self.needs.len()];
        let mut waiting = VecDeque::from([at]);
        while let Some(here) = waiting.pop_front() {
            for &next in &self.needs[here] {
                if next == at {
                    let mut path = vec![at];
                    let mut step = Some(here);
                    while let Some(here) = step.filter(|here| *here != at) {
                        path.push(here);
                        step = before[here];
                    }
                    path.push(at);
                    path.reverse();
                    return Some(path);
                }
                if before[next].is_none() {
                    before[next] = Some(here);
                    waiting.push_back(next);
                }
            }
        }
        None
    }

    /// How many phases there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
