//! What must precede what in a replay: the recorded effects as a graph, and how far it has been played.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::{Asked, divergence};
use crate::event::{EffectId, EffectRecord, Footprint, Recording, Segment};

/// How a recording is played.
#[derive(Debug, Clone)]
pub struct Replay {
    /// What is played.
    pub recording: Recording,
    /// How much of its order is enforced.
    pub strictness: Strictness,
    /// Yields at random places, so that the schedule differs from run to run; the same seed yields at the same places.
    pub jitter: Option<u64>,
    /// What may read otherwise than recorded.
    pub tolerance: Tolerance,
    /// What comes after it.
    pub ending: Ending,
}

/// What comes after the last effect of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Nothing: whatever else is asked for is a divergence.
    Whole,
    /// Something else: it is the beginning of a run, and when nobody can go on within it, it has been played.
    Open,
    /// It is left where something is asked otherwise than recorded, and at these effects: they and whatever follows from
    /// one that was left do not happen. When nobody can go on, what still stands has been played.
    Parting(BTreeSet<EffectId>),
}

impl Replay {
    /// A replay of all of a recording, exactly as it was.
    pub fn of(recording: Recording, strictness: Strictness) -> Self {
        let (jitter, tolerance, ending) = (None, Tolerance::Nothing, Ending::Whole);
        Self { recording, strictness, jitter, tolerance, ending }
    }
}

/// What of a recording a replay may ask otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// Nothing.
    Nothing,
    /// Prompts, system prompts and tool specs: the recorded answers are given to the new wording, and both are kept.
    Wording,
}

/// How much of the recorded order a replay enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// All of it: one effect at a time, in the order of the ledger.
    Total,
    /// What can make a difference: program order, and the order of effects whose footprints overlap.
    Causal,
}

/// A recording and how far it has been played.
pub(super) struct Score {
    pub(super) replay: Replay,
    /// What was asked, or rendered, in other words than recorded.
    pub(super) reworded: BTreeMap<usize, Reworded>,
    pub(super) index: HashMap<EffectId, usize>,
    followers: Vec<Vec<usize>>,
    /// How many effects before this one have not committed.
    left: Vec<u32>,
    pub(super) begun: Vec<bool>,
    pub(super) done: Vec<bool>,
    /// Those that have committed, in the order in which they did.
    pub(super) order: Vec<usize>,
    /// Tickets of those that have begun to wait, by effect.
    pub(super) waiting: BTreeMap<usize, u64>,
    /// Tickets of those that ask for something beyond an ending that is not the end.
    pub(super) beyond: Vec<u64>,
    /// Effects at which the recording was left.
    left_at: BTreeSet<usize>,
}

/// How an effect reads now.
#[derive(Debug, Default)]
pub(super) struct Reworded {
    /// What it is asked with.
    pub(super) key: Option<Vec<Segment>>,
    /// What it came to.
    pub(super) result: Option<Value>,
}

impl Score {
    pub(super) fn new(replay: Replay) -> Self {
        let effects = &replay.recording.effects;
        let before = match replay.strictness {
            Strictness::Total => {
                (0..effects.len()).map(|at| at.checked_sub(1).into_iter().collect()).collect()
            }
            Strictness::Causal => causal_order(effects),
        };
        let mut followers = vec![Vec::new(); effects.len()];
        let mut left = vec![0; effects.len()];
        for (at, before) in before.iter().enumerate() {
            left[at] = u32::try_from(before.len()).expect("a recording has fewer than 2^32 effects");
            for earlier in before {
                followers[*earlier].push(at);
            }
        }
        let index = effects.iter().enumerate().map(|(at, record)| (record.id.clone(), at)).collect();
        let index: HashMap<EffectId, usize> = index;
        let left_at = match &replay.ending {
            Ending::Parting(ids) => ids.iter().filter_map(|id| index.get(id)).copied().collect(),
            Ending::Whole | Ending::Open => BTreeSet::new(),
        };
        let count = effects.len();
        Self {
            left_at,
            index,
            followers,
            left,
            begun: vec![false; count],
            done: vec![false; count],
            order: Vec::new(),
            waiting: BTreeMap::new(),
            beyond: Vec::new(),
            reworded: BTreeMap::new(),
            replay,
        }
    }

    pub(super) fn record(&self, at: usize) -> &EffectRecord {
        &self.replay.recording.effects[at]
    }

    /// Notes that an effect is asked in other words, if that is tolerated.
    pub(super) fn reword(&mut self, at: usize, key: &[Segment]) {
        let read = |key: &[Segment]| -> Vec<_> {
            key.iter().map(|segment| (segment.label.clone(), segment.hash.clone())).collect()
        };
        if read(&self.record(at).key) != read(key) {
            self.reworded.entry(at).or_default().key = Some(key.to_vec());
        }
    }

    /// The recording as it reads now, and how many effects read otherwise.
    pub(super) fn rewritten(&self) -> (Recording, usize) {
        let mut recording = self.replay.recording.clone();
        for (at, reworded) in &self.reworded {
            let effect = &mut recording.effects[*at];
            if let Some(key) = &reworded.key {
                let texts = key.iter().map(|segment| (segment.hash.clone(), segment.text.clone()));
                recording.texts.extend(texts);
                effect.key.clone_from(key);
            }
            if let Some(result) = &reworded.result {
                effect.result = result.clone();
            }
        }
        (recording, self.reworded.len())
    }

    pub(super) fn may_run(&self, at: usize) -> bool {
        self.left[at] == 0
    }

    /// Marks an effect as committed; answers the tickets that may go on now.
    pub(super) fn commit(&mut self, at: usize) -> Vec<u64> {
        self.done[at] = true;
        self.order.push(at);
        let mut free = Vec::new();
        for follower in std::mem::take(&mut self.followers[at]) {
            self.left[follower] -= 1;
            if self.left[follower] == 0 {
                free.extend(self.waiting.remove(&follower));
            }
        }
        free
    }

    /// Whether an effect is no part of what is played: it lies beyond the end, or the recording is left here.
    pub(super) fn is_beyond(&mut self, asked: &Asked) -> bool {
        let at = self.index.get(&asked.id).copied();
        match &self.replay.ending {
            Ending::Whole => false,
            Ending::Open => at.is_none(),
            Ending::Parting(_) => {
                let Some(at) = at else { return true };
                // What happens twice is a mistake, whatever has changed.
                if !self.begun[at] && divergence::check_asked(self, asked).is_err() {
                    self.left_at.insert(at);
                }
                self.left_at.contains(&at)
            }
        }
    }

    /// Whether all that can happen of it has happened, once nobody goes on.
    pub(super) fn is_played(&self) -> bool {
        matches!(self.replay.ending, Ending::Parting(_)) || self.next_missing().is_none()
    }

    /// The recording as far as it has happened, and the first effects at which it was left.
    pub(super) fn played(&self) -> (Recording, Vec<EffectId>) {
        let Replay { recording, .. } = &self.replay;
        let effects = recording.effects.iter().zip(&self.done);
        let effects = effects.filter(|(_, done)| **done).map(|(effect, _)| effect.clone()).collect();
        let left_at = self.left_at.iter().map(|at| self.record(*at).id.clone()).collect();
        (Recording { effects, ..recording.clone() }, left_at)
    }

    /// The first effect of the ledger that has not committed.
    pub(super) fn next_missing(&self) -> Option<usize> {
        self.done.iter().position(|done| !done)
    }
}

/// For each effect the earlier ones that must commit before it: those whose footprint overlaps, less what follows from
/// others, and the one before it in its session.
pub(super) fn causal_order(effects: &[EffectRecord]) -> Vec<Vec<usize>> {
    let mut kinds: HashMap<&str, Kind> = HashMap::new();
    let mut last_in_session: HashMap<&str, usize> = HashMap::new();
    let mut order = Vec::with_capacity(effects.len());
    for (at, record) in effects.iter().enumerate() {
        let mut before = Vec::new();
        // A model call follows all of its session; tool calls of one message only follow the call that asked for them.
        if let (Some(session), Some((_, 0))) = (record.id.session(), record.id.turn_and_call()) {
            before.extend(last_in_session.insert(session, at));
        }
        note_footprint(&record.footprint, at, &mut kinds, &mut before);
        before.sort_unstable();
        before.dedup();
        order.push(before);
    }
    order
}

fn note_footprint<'a>(
    footprint: &'a Footprint,
    at: usize,
    kinds: &mut HashMap<&'a str, Kind<'a>>,
    before: &mut Vec<usize>,
) {
    for resource in &footprint.writes {
        let (kind, name) = split(resource);
        let kind = kinds.entry(kind).or_default();
        if name == "*" { kind.write_all(at, before) } else { kind.write(name, at, before) }
    }
    for resource in footprint.reads.iter().filter(|resource| !footprint.writes.contains(*resource)) {
        let (kind, name) = split(resource);
        let kind = kinds.entry(kind).or_default();
        if name == "*" { kind.read_all(at, before) } else { kind.read(name, at, before) }
    }
    before.retain(|earlier| *earlier != at);
}

fn split(resource: &str) -> (&str, &str) {
    resource.split_once(':').unwrap_or((resource, "*"))
}

/// The last accesses to the resources of one kind.
#[derive(Default)]
struct Kind<'a> {
    all_written: Option<usize>,
    all_read: Vec<usize>,
    items: HashMap<&'a str, Item>,
}

#[derive(Default)]
struct Item {
    written: Option<usize>,
    read: Vec<usize>,
}

impl<'a> Kind<'a> {
    fn read(&mut self, name: &'a str, at: usize, before: &mut Vec<usize>) {
        let item = self.items.entry(name).or_default();
        before.extend(self.all_written.max(item.written));
        item.read.push(at);
    }

    fn read_all(&mut self, at: usize, before: &mut Vec<usize>) {
        before.extend(self.all_written);
        before.extend(self.items.values().filter_map(|item| item.written));
        self.all_read.push(at);
    }

    fn write(&mut self, name: &'a str, at: usize, before: &mut Vec<usize>) {
        let item = self.items.entry(name).or_default();
        let written = self.all_written.max(item.written);
        before.extend(written);
        before.append(&mut item.read);
        // Reads of everything before the last write of this item are before that write already.
        let since = self.all_read.partition_point(|read| Some(*read) < written);
        before.extend(&self.all_read[since..]);
        item.written = Some(at);
    }

    fn write_all(&mut self, at: usize, before: &mut Vec<usize>) {
        before.extend(self.all_written);
        before.append(&mut self.all_read);
        for (_, item) in self.items.drain() {
            before.extend(item.written);
            before.extend(item.read);
        }
        self.all_written = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{EffectKind, Policy};

    fn record(at: usize, footprint: &str) -> EffectRecord {
        EffectRecord {
            seq: at as u64,
            id: EffectId::run("x", u32::try_from(at).unwrap()),
            kind: EffectKind::Tool,
            at: Timestamp::UNIX_EPOCH,
            key: Vec::new(),
            footprint: Footprint::from_text(footprint).unwrap(),
            policy: Policy::Real,
            result: serde_json::Value::Null,
        }
    }

    fn closure(order: &[Vec<usize>]) -> Vec<std::collections::BTreeSet<usize>> {
        let mut all: Vec<std::collections::BTreeSet<usize>> = Vec::new();
        for before in order {
            let mut set: std::collections::BTreeSet<usize> = before.iter().copied().collect();
            for earlier in before {
                set.extend(all[*earlier].clone());
            }
            all.push(set);
        }
        all
    }

    proptest::proptest! {
        /// The sparse order reaches exactly what comparing every pair of footprints reaches.
        #[test]
        fn causal_order_is_that_of_all_overlapping_pairs(
            choices in proptest::collection::vec((0usize..4, 0usize..4), 1..40)
        ) {
            let resources = ["issue:*", "issue:a", "issue:b", "fs:x"];
            let effects: Vec<_> = choices.iter().enumerate().map(|(at, (access, resource))| {
                let text = match access {
                    0 => format!("r:[{}]", resources[*resource]),
                    1 => format!("w:[{}]", resources[*resource]),
                    2 => format!("r:[issue:*];w:[{}]", resources[*resource]),
                    _ => "-".to_owned(),
                };
                record(at, &text)
            }).collect();
            let every_pair: Vec<Vec<usize>> = (0..effects.len())
                .map(|at| (0..at).filter(|n| effects[*n].footprint.overlaps(&effects[at].footprint)).collect())
                .collect();
            proptest::prop_assert_eq!(closure(&causal_order(&effects)), closure(&every_pair));
        }
    }
}
