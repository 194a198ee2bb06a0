//! In which order phases may run, and which of them beside each other.

use std::collections::{BTreeSet, HashMap};

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
    let needs = direct_needs(phases);
    let steps = steps(&needs);
    let needed: Vec<BTreeSet<usize>> = (0..phases.len()).map(|at| all_needs(&needs, at)).collect();
    let apart = |one: usize, other: usize| {
        one != other && !needed[one].contains(&other) && !needed[other].contains(&one)
    };
    let mut placed: Vec<Placed<'_>> = phases
        .iter()
        .enumerate()
        .map(|(at, phase)| Placed {
            phase,
            step: steps[at],
            beside: (0..phases.len())
                .filter(|other| apart(at, *other))
                .map(|other| phases[other].id.clone())
                .collect(),
        })
        .collect();
    placed.sort_by_key(|placed| (placed.phase.turn == PhaseTurn::Finally, placed.step));
    placed
}

/// What each phase waits for directly; one that runs at the end for all that run in their turn as well.
fn direct_needs(phases: &[PhasePlan]) -> Vec<Vec<usize>> {
    let places: HashMap<&PhaseId, usize> =
        phases.iter().enumerate().map(|(at, phase)| (&phase.id, at)).collect();
    let in_order = || (0..phases.len()).filter(|at| phases[*at].turn == PhaseTurn::InOrder);
    let of_phase = |phase: &PhasePlan| {
        let mut needs: BTreeSet<usize> =
            phase.needs.iter().filter_map(|id| places.get(id).copied()).collect();
        if phase.turn == PhaseTurn::Finally {
            needs.extend(in_order());
        }
        needs.into_iter().collect()
    };
    phases.iter().map(of_phase).collect()
}

/// All that a phase waits for. A checked plan has no circles, and in one that had this would end all the same.
fn all_needs(needs: &[Vec<usize>], at: usize) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<usize> = needs[at].clone();
    while let Some(next) = waiting.pop() {
        if seen.insert(next) {
            waiting.extend(&needs[next]);
        }
    }
    seen
}

/// The length of the longest chain of phases that ends with each. Each pass but the last finds more; of a plan with circles,
/// which none has, no more than there are phases.
fn steps(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut steps = vec![1; needs.len()];
    for _ in 0..needs.len() {
        let mut is_more = false;
        for at in 0..needs.len() {
            let longest = needs[at].iter().map(|before| steps[*before] + 1).max().unwrap_or(1);
            is_more |= longest > steps[at];
            steps[at] = steps[at].max(longest);
        }
        if !is_more {
            break;
        }
    }
    steps
}
