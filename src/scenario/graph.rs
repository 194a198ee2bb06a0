//! Which phase waits for which: the `needs` of a scenario, defaults included, and what stands within what.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::raw::{RawKind, RawPhase};

/// The phases by position, with what each waits for: always phases beside it.
#[derive(Debug)]
pub(super) struct Graph {
    ids: Vec<Option<String>>,
    /// The first phase of each id, by what it stands in.
    positions: HashMap<(Option<usize>, String), usize>,
    within: Vec<Option<usize>>,
    needs: Vec<Vec<usize>>,
    /// Phases that nothing outside is seen from: those of another scenario see only each other.
    closed: Vec<bool>,
}

impl Graph {
    /// The graph of these phases. What is not there is left out; a phase without `needs` waits for the one before it,
    /// and one that runs at the end for all that run in their turn.
    pub(super) fn new(phases: &[RawPhase]) -> Self {
        let ids: Vec<_> = phases.iter().map(|phase| phase.id.as_ref().map(|id| id.value.clone())).collect();
        let closed = phases.iter().map(|phase| matches!(phase.kind, Some(RawKind::Include(_)))).collect();
        let within = phases.iter().map(|phase| phase.within).collect();
        let mut positions = HashMap::new();
        for (at, phase) in phases.iter().enumerate() {
            if let Some(id) = &phase.id {
                positions.entry((phase.within, id.value.clone())).or_insert(at);
            }
        }
        let mut graph = Self { ids, positions, within, needs: Vec::new(), closed };
        // The last phase that runs in its turn, by what it stands in.
        let mut before: HashMap<Option<usize>, usize> = HashMap::new();
        for (at, phase) in phases.iter().enumerate() {
            let needs = match &phase.needs {
                Some(needs) => needs.iter().filter_map(|id| graph.beside(at, &id.value)).collect(),
                None if phase.is_final() => {
                    let siblings = graph.siblings(at);
                    siblings
                        .filter(|other| *other < at || *other > at && !phases[*other].is_final())
                        .collect()
                }
                None => before.get(&phase.within).copied().into_iter().collect(),
            };
            graph.needs.push(needs);
            if !phase.is_final() {
                before.insert(phase.within, at);
            }
        }
        graph
    }

    /// The first phase of this id among those that stand within a phase, or at the top.
    pub(super) fn position(&self, within: Option<usize>, id: &str) -> Option<usize> {
        self.positions.get(&(within, id.to_owned())).copied()
    }

    /// The first phase of this id beside a phase.
    pub(super) fn beside(&self, at: usize, id: &str) -> Option<usize> {
        self.position(self.within[at], id)
    }

    /// The phases beside a phase, itself included.
    pub(super) fn siblings(&self, at: usize) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(move |other| self.within[*other] == self.within[at])
    }

    /// The phases that stand right within a phase.
    pub(super) fn inner(&self, at: usize) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(move |other| self.within[*other] == Some(at))
    }

    /// The phase that a phase stands in.
    pub(super) fn outer(&self, at: usize) -> Option<usize> {
        self.within[at]
    }

    /// The id of a phase; its number if it has none.
    pub(super) fn name(&self, at: usize) -> String {
        self.ids[at].clone().unwrap_or_else(|| self.number(at).to_string())
    }

    /// The position of a phase among those beside it, from 1.
    pub(super) fn number(&self, at: usize) -> usize {
        self.siblings(at).take_while(|other| *other <= at).count()
    }

    /// The ids of a phase and of those it stands in, as `fix.review`.
    pub(super) fn full_name(&self, at: usize) -> String {
        match self.within[at] {
            Some(outer) => format!("{}.{}", self.full_name(outer), self.name(at)),
            None => self.name(at),
        }
    }

    /// Whether a phase is another, or stands in it.
    pub(super) fn is_in(&self, at: usize, outer: usize) -> bool {
        at == outer || self.within[at].is_some_and(|next| self.is_in(next, outer))
    }

    /// In how many phases a phase stands.
    pub(super) fn depth(&self, at: usize) -> usize {
        self.within[at].map_or(0, |outer| self.depth(outer) + 1)
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

    /// The phases whose end can be seen when a phase begins: all that it waits for, and those seen by what it stands in,
    /// unless that is another scenario.
    pub(super) fn seen(&self, at: usize) -> BTreeSet<usize> {
        let mut seen = self.all_needs(at);
        if let Some(outer) = self.within[at] {
            seen.extend(self.seen_within(outer));
        }
        seen
    }

    /// The phases outside whose end can be seen within a phase.
    pub(super) fn seen_within(&self, at: usize) -> BTreeSet<usize> {
        if self.closed[at] { BTreeSet::new() } else { self.seen(at) }
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
