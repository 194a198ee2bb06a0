//! In which order phases may run, and which of them beside each other.

use std::collections::BTreeSet;

use crate::id::PhaseId;
use crate::plan::{PhasePlan, PhaseTurn};

/// A phase with its place among those beside it.
#[derive(Debug)]
pub struct Placed<'p> {
    /// The phase.
    pub phase: &'p PhasePlan,
    /// From 1: a phase comes a step after the last that it needs.
    pub step: usize,
    /// Those that may run at the same time, in the order of the file.
    pub beside: Vec<PhaseId>,
}

/// The phases of one level, in the order in which they may begin; those of one step as the file has them.
pub fn order(phases: &[PhasePlan]) -> Vec<Placed<'_>> {
    let needed: Vec<BTreeSet<usize>> = (0..phases.len()).map(|at| all_needs(phases, at)).collect();
    let apart = |one: usize, other: usize| {
        one != other && !needed[one].contains(&other) && !needed[other].contains(&one)
    };
    let mut placed: Vec<Placed<'_>> = phases
        .iter()
        .enumerate()
        .map(|(at, phase)| Placed {
            phase,
            step: step(phases, at),
            beside: (0..phases.len())
                .filter(|other| apart(at, *other))
                .map(|other| phases[other].id.clone())
                .collect(),
        })
        .collect();
    placed.sort_by_key(|placed| (placed.phase.turn == PhaseTurn::Finally, placed.step));
    placed
}

/// What a phase waits for directly; one that runs at the end for all that run in their turn as well.
fn needs(phases: &[PhasePlan], at: usize) -> impl Iterator<Item = usize> {
    let phase = &phases[at];
    let waits = |other: &PhasePlan| {
        phase.needs.contains(&other.id)
            || phase.turn == PhaseTurn::Finally && other.turn == PhaseTurn::InOrder
    };
    (0..phases.len()).filter(move |other| waits(&phases[*other]))
}

/// All that a phase waits for. A checked plan has no circles, and in one that had this would end all the same.
fn all_needs(phases: &[PhasePlan], at: usize) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<usize> = needs(phases, at).collect();
    while let Some(next) = waiting.pop() {
        if seen.insert(next) {
            waiting.extend(needs(phases, next));
        }
    }
    seen
}

/// The length of the longest chain of phases that ends with this one.
fn step(phases: &[PhasePlan], at: usize) -> usize {
    let mut ends = BTreeSet::from([at]);
    let mut length = 0;
    while !ends.is_empty() && length <= phases.len() {
        ends = ends.into_iter().flat_map(|at| needs(phases, at)).collect();
        length += 1;
    }
    length
}
