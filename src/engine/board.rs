//! Which phases a run has, and how each stands: those of the scenario, and those that items, rounds and included scenarios
//! begin while it runs. Pure: it says what is to start; the dispatcher starts it.
//!
//! ```text
//!   block of the run ─┬─ phase
//!                     ├─ phase `fix`   ── block of a round ──┬─ phase `fix.1.write`
//!                     │   (waits for it)                     └─ phase `fix.1.review`
//!                     └─ phase
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::PhaseOutcome;
use crate::effects::Busy;
use crate::event::PhaseEnd;
use crate::id::PhaseId;
use crate::plan::{OnFailure, PhaseKind, PhasePlan, PhaseTurn};
use crate::session::Stop;

/// Names that the phases of a block see besides those of the run.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Values by name: the item, the round, the inputs of an included scenario.
    pub names: Map<String, Value>,
    /// Secret inputs of an included scenario with their variables; `None` leaves those of the scenario itself.
    pub secrets: Option<BTreeMap<String, String>>,
}

/// Phases that are to be run beside each other.
pub struct BlockSetup {
    /// The phase that waits for them; none for the run.
    pub parent: Option<PhaseId>,
    /// They.
    pub phases: Vec<Member>,
    /// So many at a time.
    pub width: usize,
    /// How the phases outside have ended, for templates.
    pub outside: Arc<Map<String, Value>>,
    /// What stops them.
    pub stop: Stop,
    /// Who is told when all have ended.
    pub reply: Option<Reply>,
}

/// How phases ended that were run beside each other, in their order.
pub type Ends = Vec<(PhaseId, PhaseOutcome)>;

/// Where that goes, with the token of whoever reads it.
pub type Reply = oneshot::Sender<(Ends, Busy)>;

/// A phase that is to be run.
pub struct Member {
    /// Its name in the run.
    pub id: PhaseId,
    /// What it does.
    pub plan: Arc<PhasePlan>,
    /// What it sees of what it stands in.
    pub surroundings: Arc<Surroundings>,
}

/// How a phase stands.
#[derive(Debug, Clone)]
pub enum PhaseState {
    /// It has not begun.
    Pending,
    /// It works.
    Running,
    /// It waits for a person, and the run may end before one answers.
    Paused(PhaseOutcome),
    /// It is over.
    Ended(PhaseOutcome),
}

/// A phase of the run.
pub struct Live {
    /// Its name in the run.
    pub id: PhaseId,
    /// What it does.
    pub plan: Arc<PhasePlan>,
    /// Where it comes among all: sorts as the file and the rounds do.
    pub order: String,
    /// What it sees of what it stands in.
    pub surroundings: Arc<Surroundings>,
    /// How it stands.
    pub state: PhaseState,
    block: usize,
}

struct Block {
    setup: BlockSetup,
    members: Vec<usize>,
    /// A phase of it has failed, or one around it, and those that have not begun never begin.
    failed: bool,
    /// It was so when the block began: then not even what runs at the end begins.
    born_failed: bool,
}

/// All phases of a run.
#[derive(Default)]
pub struct Board {
    phases: Vec<Live>,
    blocks: Vec<Block>,
    positions: BTreeMap<PhaseId, usize>,
    /// Phases that have taken as long as they may: what they begin from then on never works.
    late: BTreeSet<PhaseId>,
}

/// What a phase that has not begun is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Begin.
    Begin(usize),
    /// Never begin, because another failed; that goes on record.
    Skip(usize),
    /// Never begin, because the run was stopped.
    Drop(usize),
}

/// What of a run decides which phases begin.
pub struct Weather<'a> {
    /// Nothing begins any more but what runs at the end.
    pub stopped: bool,
    /// Nothing at all begins any more.
    pub halted: bool,
    /// Of a replay: whether the recording says that a phase was skipped because another failed.
    pub recorded_skip: Option<&'a dyn Fn(&PhaseId) -> bool>,
}

impl Board {
    /// Adds phases. Their order among all is that of the phase they stand in, then their own.
    pub fn add(&mut self, setup: BlockSetup) {
        let (order, failed) = match setup.parent.as_ref().and_then(|parent| self.positions.get(parent)) {
            Some(&parent) => {
                let parent = &self.phases[parent];
                let rounds =
                    self.blocks.iter().filter(|block| block.setup.parent.as_ref() == Some(&parent.id));
                let order = format!("{}.{:05}.", parent.order, rounds.count());
                (order, self.blocks[parent.block].failed || self.late.contains(&parent.id))
            }
            None => ("phase ".to_owned(), false),
        };
        let block = self.blocks.len();
        let first = self.phases.len();
        for (at, Member { id, plan, surroundings }) in setup.phases.iter().enumerate() {
            self.positions.insert(id.clone(), self.phases.len());
            self.phases.push(Live {
                id: id.clone(),
                plan: plan.clone(),
                surroundings: surroundings.clone(),
                order: format!("{order}{at:05}"),
                state: PhaseState::Pending,
                block,
            });
        }
        let members = (first..self.phases.len()).collect();
        self.blocks.push(Block { setup, members, failed, born_failed: failed });
    }

    /// A phase by its position.
    pub fn phase(&self, at: usize) -> &Live {
        &self.phases[at]
    }

    /// What stops the phases beside a phase.
    pub fn stop_of(&self, at: usize) -> &Stop {
        &self.blocks[self.phases[at].block].setup.stop
    }

    /// A phase has begun.
    pub fn begin(&mut self, at: usize) {
        self.phases[at].state = PhaseState::Running;
    }

    /// A phase is over, or waits for a person.
    pub fn end(&mut self, at: usize, outcome: PhaseOutcome) {
        self.phases[at].state = match outcome.end {
            PhaseEnd::Paused => PhaseState::Paused(outcome),
            _ => PhaseState::Ended(outcome),
        };
    }

    /// Whether the end of a phase keeps those beside it from beginning.
    pub fn stops_others(&self, at: usize) -> bool {
        let live = &self.phases[at];
        let bad = |outcome: &PhaseOutcome| matches!(outcome.end, PhaseEnd::Failed | PhaseEnd::Stalled);
        matches!(&live.state, PhaseState::Ended(outcome) if bad(outcome))
            && live.plan.on_failure == OnFailure::Stop
    }

    /// A phase has failed: nothing beside it begins any more, nor within what runs beside it. Answers the phases that are
    /// to stop, and what stops them.
    pub fn fail_beside(&mut self, at: usize) -> (Vec<PhaseId>, Vec<Stop>) {
        let block = self.phases[at].block;
        self.fail_block(block)
    }

    /// A phase has taken as long as it may: the same for what is within it.
    pub fn be_late(&mut self, phase: &PhaseId) -> (Vec<PhaseId>, Vec<Stop>) {
        self.late.insert(phase.clone());
        let within = |block: &usize| self.blocks[*block].setup.parent.as_ref() == Some(phase);
        let blocks: Vec<usize> = (0..self.blocks.len()).filter(within).collect();
        let failed: Vec<_> = blocks.into_iter().map(|block| self.fail_block(block)).collect();
        let (mut phases, stops): (Vec<_>, Vec<_>) = failed.into_iter().unzip();
        phases.push(vec![phase.clone()]);
        (phases.concat(), stops.concat())
    }

    /// The same for all phases.
    pub fn fail_all(&mut self) -> (Vec<PhaseId>, Vec<Stop>) {
        if self.blocks.is_empty() { (Vec::new(), Vec::new()) } else { self.fail_block(0) }
    }

    fn fail_block(&mut self, first: usize) -> (Vec<PhaseId>, Vec<Stop>) {
        let (mut phases, mut stops) = (Vec::new(), Vec::new());
        let mut open = vec![first];
        while let Some(block) = open.pop() {
            self.blocks[block].failed = true;
            stops.push(self.blocks[block].setup.stop.clone());
            for &at in &self.blocks[block].members {
                let live = &self.phases[at];
                if live.plan.turn == PhaseTurn::Finally {
                    continue;
                }
                phases.push(live.id.clone());
                let within = |other: &Block| other.setup.parent.as_ref() == Some(&live.id);
                open.extend((0..self.blocks.len()).filter(|other| within(&self.blocks[*other])));
            }
        }
        (phases, stops)
    }

    /// The next phase that does not wait any longer; to be asked until there is none.
    pub fn next(&self, weather: &Weather<'_>) -> Option<Start> {
        let pending = |live: &&Live| matches!(live.state, PhaseState::Pending);
        self.blocks.iter().flat_map(|block| &block.members).find_map(|&at| {
            let live = Some(&self.phases[at]).filter(pending)?;
            self.start_of(at, live, weather)
        })
    }

    fn start_of(&self, at: usize, live: &Live, weather: &Weather<'_>) -> Option<Start> {
        let block = &self.blocks[live.block];
        let is_final = live.plan.turn == PhaseTurn::Finally;
        if weather.halted || weather.stopped && !is_final {
            return Some(Start::Drop(at));
        }
        let skipped = match weather.recorded_skip {
            Some(recorded) => recorded(&live.id),
            None if is_final => block.born_failed,
            None => block.failed,
        };
        if skipped {
            return block.failed.then_some(Start::Skip(at));
        }
        let ended = |need: &PhaseId| self.beside(live, need).is_none_or(|other| self.has_ended(other));
        let free = block.members.iter().filter(|at| self.is_running(**at)).count() < block.setup.width;
        (free && live.plan.needs.iter().all(ended)).then_some(Start::Begin(at))
    }

    /// A phase beside another, by its name in the file.
    fn beside(&self, live: &Live, id: &PhaseId) -> Option<usize> {
        let members = &self.blocks[live.block].members;
        members.iter().copied().find(|at| self.phases[*at].plan.id == *id)
    }

    fn has_ended(&self, at: usize) -> bool {
        matches!(self.phases[at].state, PhaseState::Ended(_))
    }

    fn is_running(&self, at: usize) -> bool {
        matches!(self.phases[at].state, PhaseState::Running)
    }

    /// The phases of the run itself, in the order of the file.
    pub fn top(&self) -> impl Iterator<Item = &Live> {
        self.blocks.first().into_iter().flat_map(|block| &block.members).map(|at| &self.phases[*at])
    }

    /// The phases that wait for a person, innermost.
    pub fn paused(&self) -> Vec<&Live> {
        let waits = |live: &&Live| {
            matches!(live.state, PhaseState::Paused(_)) && matches!(live.plan.kind, PhaseKind::Approval(_))
        };
        self.phases.iter().filter(waits).collect()
    }

    /// Takes out who is to be told that all phases of a block have ended, or that those that have not wait for a person.
    /// To be asked when nothing more starts.
    pub fn finished(&mut self) -> Vec<Finished> {
        let mut found = Vec::new();
        for block in &mut self.blocks {
            let running = |at: &usize| matches!(self.phases[*at].state, PhaseState::Running);
            let paused = |at: &usize| matches!(self.phases[*at].state, PhaseState::Paused(_));
            let pending = |at: &usize| matches!(self.phases[*at].state, PhaseState::Pending);
            let members = &block.members;
            // Nothing starts any more: what is pending waits for what is paused.
            let over =
                !members.iter().any(running) && (!members.iter().any(pending) || members.iter().any(paused));
            if !over {
                continue;
            }
            let Some(reply) = block.setup.reply.take() else { continue };
            let ends = members.iter().map(|at| {
                let live = &self.phases[*at];
                let outcome = match &live.state {
                    PhaseState::Ended(outcome) | PhaseState::Paused(outcome) => outcome.clone(),
                    PhaseState::Pending | PhaseState::Running => PhaseOutcome::new(PhaseEnd::Paused),
                };
                (live.id.clone(), outcome)
            });
            found.push(Finished { parent: block.setup.parent.clone(), ends: ends.collect(), reply });
        }
        found
    }

    /// What a phase may know of others: how those that it needs, directly or not, have ended, since others may still run,
    /// and those outside that are seen by what it stands in.
    pub fn seen(&self, at: usize) -> Map<String, Value> {
        let live = &self.phases[at];
        let mut seen = Map::clone(&self.blocks[live.block].setup.outside);
        let mut needed = Vec::new();
        let mut open = vec![live];
        while let Some(next) = open.pop() {
            for need in &next.plan.needs {
                let Some(other) = self.beside(live, need).filter(|other| !needed.contains(other)) else {
                    continue;
                };
                needed.push(other);
                open.push(&self.phases[other]);
            }
        }
        seen.extend(needed.into_iter().filter_map(|other| self.told(other)));
        seen
    }

    /// How the phases of the run have ended.
    pub fn seen_at_end(&self) -> Map<String, Value> {
        let members = self.blocks.first().map(|block| block.members.as_slice()).unwrap_or_default();
        members.iter().filter_map(|at| self.told(*at)).collect()
    }

    fn told(&self, at: usize) -> Option<(String, Value)> {
        let live = &self.phases[at];
        match &live.state {
            PhaseState::Ended(outcome) => Some((live.plan.id.to_string(), outcome.told())),
            _ => None,
        }
    }
}

/// A block that is over.
pub struct Finished {
    /// The phase that waits for it.
    pub parent: Option<PhaseId>,
    /// How its phases ended.
    pub ends: Ends,
    /// Where that goes.
    pub reply: Reply,
}
