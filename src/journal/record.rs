//! What the lines of a journal come to: the effects that stand, what was interrupted, what was set aside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Line;
use crate::event::{EffectId, EffectRecord, Envelope, Happening, PhaseEnd};
use crate::id::{Fingerprint, PhaseId};

/// What a journal says, put together.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The effects that stand, by commit number.
    pub effects: Vec<EffectRecord>,
    /// The texts of their keys.
    pub texts: BTreeMap<Fingerprint, Arc<str>>,
    /// What people were told, in order.
    pub events: Vec<Envelope>,
    /// How phases have ended, as far as that stands.
    pub ended: BTreeMap<PhaseId, PhaseEnd>,
    /// Effects that were announced and of which nothing more is known.
    pub interrupted: BTreeSet<EffectId>,
    /// How often an effect was done and set aside when the run went on.
    pub undone: BTreeMap<EffectId, u32>,
    /// How often the run went on.
    pub resumed: u32,
    /// The last commit number.
    pub last_seq: u64,
}

impl Record {
    /// Puts the lines of a journal together.
    pub fn of(lines: Vec<Line>) -> Self {
        let mut record = Self::default();
        let mut standing: BTreeMap<EffectId, EffectRecord> = BTreeMap::new();
        for line in lines {
            match line {
                Line::Effect { record: effect, texts } => {
                    record.last_seq = record.last_seq.max(effect.seq);
                    record.interrupted.remove(&effect.id);
                    record.texts.extend(texts.into_iter().map(|(hash, text)| (hash, text.into())));
                    standing.insert(effect.id.clone(), effect);
                }
                Line::Intent { id, .. } => {
                    record.interrupted.insert(id);
                }
                Line::Event { event } => {
                    if let (Some(phase), Happening::PhaseEnded { end, .. }) = (&event.phase, &event.event) {
                        record.ended.insert(phase.clone(), *end);
                    }
                    record.events.push(event);
                }
                Line::Resumed { undone, .. } => {
                    for id in &undone {
                        standing.remove(id);
                    }
                    record.resume(undone);
                }
            }
        }
        record.effects = standing.into_values().collect();
        record.effects.sort_by_key(|effect| effect.seq);
        record
    }

    /// The run goes on without these effects.
    pub fn resume(&mut self, undone: Vec<EffectId>) {
        self.resumed += 1;
        self.ended.retain(|_, end| *end == PhaseEnd::Completed);
        let gone: BTreeSet<&EffectId> = undone.iter().collect();
        self.effects.retain(|effect| !gone.contains(&effect.id));
        for id in undone {
            *self.undone.entry(id).or_default() += 1;
        }
    }

    /// How the run ended last, if it came to an end: the exit code and its name.
    pub fn outcome(&self) -> Option<(u8, &str)> {
        let last = self.events.iter().rfind(|event| {
            matches!(event.event, Happening::RunFinished { .. } | Happening::RunResumed { .. })
        });
        match &last?.event {
            Happening::RunFinished { outcome, exit_code, .. } => Some((*exit_code, outcome)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{EffectKind, Footprint, Policy};

    fn effect(seq: u64, n: u32) -> Line {
        let record = EffectRecord {
            seq,
            id: EffectId::run("x", n),
            kind: EffectKind::Tool,
            at: Timestamp::UNIX_EPOCH,
            key: Vec::new(),
            footprint: Footprint::none(),
            policy: Policy::Real,
            result: seq.into(),
        };
        Line::Effect { record, texts: BTreeMap::new() }
    }

    fn intent(n: u32) -> Line {
        Line::Intent { id: EffectId::run("x", n), at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn what_was_set_aside_and_done_again_stands_once() {
        let resumed = Line::Resumed { at: Timestamp::UNIX_EPOCH, undone: vec![EffectId::run("x", 2)] };
        let lines = vec![intent(1), effect(2, 1), effect(1, 2), intent(3), resumed, effect(3, 2)];
        let record = Record::of(lines);
        let standing: Vec<_> = record.effects.iter().map(|effect| (effect.id.as_str(), effect.seq)).collect();
        assert_eq!(standing, [("run/!x-1", 2), ("run/!x-2", 3)]);
        assert_eq!(record.interrupted, [EffectId::run("x", 3)].into());
        assert_eq!((record.undone[&EffectId::run("x", 2)], record.resumed, record.last_seq), (1, 1, 3));
    }
}
