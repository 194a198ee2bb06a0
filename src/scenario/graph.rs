//! Which phase waits for which: the `needs` of a scenario, defaults included, and what stands within what.

use std::collections::{HashMap, VecDeque};

use super::raw::{RawKind, RawPhase};

/// Some of the phases, by position: a bit each, so that a long scenario can have one for each of its phases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PhaseSet(Vec<u64>);

impl PhaseSet {
    /// Whether a phase is one of them.
    pub(super) fn contains(&self, at: &usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// Puts a phase among them.
    pub(super) fn insert(&mut self, at: usize) {
        if self.0.len() <= at / 64 {
            self.0.resize(at / 64 + 1, 0);
        }
        self.0[at / 64] |= 1 << (at % 64);
    }

    /// Puts others among them, and says whether any was new.
    fn add_all(&mut self, others: &Self) -> bool {
        if self.0.len() < others.0.len() {
            self.0.resize(others.0.len(), 0);
        }
        let mut is_more = false;
        for (own, other) in self.0.iter_mut().zip(&others.0) {
            is_more |= *other & !*own != 0;
            *own |= other;
        }
        is_more
    }

    /// All of them, in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(at, word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at * 64 + bit)
        })
    }
}

impl FromIterator<usize> for PhaseSet {
    fn from_iter<I: IntoIterator<Item = usize>>(phases: I) -> Self {
        let mut set = Self::default();
        phases.into_iter().for_each(|at| set.insert(at));
        set
    }
}

impl Extend<usize> for PhaseSet {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, phases: I) {
        phases.into_iter().for_each(|at| self.insert(at));
    }
}

/// All that can be reached from each by these steps.
fn closure(steps: &[Vec<usize>]) -> Vec<PhaseSet> {
    // What is reached comes before what reaches it, where there is no circle: then one pass finds all.
    let order = last_first(steps);
    let mut all: Vec<PhaseSet> = steps.iter().map(|next| next.iter().copied().collect()).collect();
    loop {
        let mut is_more = false;
        for &at in &order {
            let mut set = std::mem::take(&mut all[at]);
            for &next in &steps[at] {
                is_more |= next != at && set.add_all(&all[next]);
            }
            all[at] = set;
        }
        if !is_more {
            return all;
        }
    }
}

/// Every one of them behind those that it leads to, as far as there is no circle.
fn last_first(steps: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(steps.len());
    let mut is_known = vec![false; steps.len()];
    for start in 0..steps.len() {
        let mut path = vec![(start, 0)];
        if std::mem::replace(&mut is_known[start], true) {
            continue;
        }
        while let Some((at, next)) = path.last_mut() {
            match steps[*at].get(*next) {
                Some(&step) => {
                    *next += 1;
                    if !std::mem::replace(&mut is_known[step], true) {
                        path.push((step, 0));
                    }
                }
                None => {
                    order.push(*at);
                    path.pop();
                }
            }
        }
    }
    order
}

/// The phases by position, with what each waits for: always phases beside it.
#[derive(Debug)]
pub(super) struct Graph {
    ids: Vec<Option<String>>,
    /// The first phase of each id, by what it stands in.
    positions: HashMap<(Option<usize>, String), usize>,
    within: Vec<Option<usize>>,
    needs: Vec<Vec<usize>>,
    /// All that each waits for, directly or not; itself only if it is in a circle.
    all_needs: Vec<PhaseSet>,
    /// The phases of each id, wherever they stand.
    named: HashMap<String, Vec<usize>>,
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
        let mut named: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, id) in ids.iter().enumerate() {
            named.entry(id.clone().unwrap_or_else(|| (at + 1).to_string())).or_default().push(at);
        }
        let (needs, all_needs) = (Vec::new(), Vec::new());
        let mut graph = Self { ids, positions, within, needs, all_needs, named, closed };
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
        graph.all_needs = closure(&graph.needs);
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

    /// The first phase of this id, wherever it stands.
    pub(super) fn named(&self, id: &str) -> Option<usize> {
        self.all_named(id).iter().copied().find(|at| self.ids[*at].is_some())
    }

    /// All phases that may be called so.
    pub(super) fn all_named(&self, name: &str) -> &[usize] {
        self.named.get(name).map(Vec::as_slice).unwrap_or_default()
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
    pub(super) fn all_needs(&self, at: usize) -> &PhaseSet {
        &self.all_needs[at]
    }

    /// The phases whose end can be seen when a phase begins: all that it waits for, and those seen by what it stands in,
    /// unless that is another scenario.
    pub(super) fn seen(&self, at: usize) -> PhaseSet {
        let mut seen = self.all_needs(at).clone();
        if let Some(outer) = self.within[at] {
            seen.add_all(&self.seen_within(outer));
        }
        seen
    }

    /// The phases outside whose end can be seen within a phase.
    pub(super) fn seen_within(&self, at: usize) -> PhaseSet {
        if self.closed[at] { PhaseSet::default() } else { self.seen(at) }
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
