//! Where two recordings of one scenario part: the first effect that differs, and what differs by session. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::divergence::{Difference, result_text};
use super::score::causal_order;
use crate::event::{EffectId, EffectKind, EffectRecord, Recording};
use crate::id::Fingerprint;

/// What two recordings differ in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// The first difference: nothing that it follows from differs.
    pub first: Option<Split>,
    /// What differs, by session; the engine's own effects by phase.
    pub strands: BTreeMap<String, Strand>,
}

/// The first difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// What sort: `prompt`, `params`, `reply`, `tool`, `state`, `schedule`, `missing`, `extra`.
    pub class: &'static str,
    /// The effect at which it shows.
    pub effect: EffectId,
    /// One sentence.
    pub summary: String,
    /// The parts of its key that are equal, by label.
    pub equal: Vec<String>,
    /// The part that differs.
    pub difference: Option<Difference>,
}

/// What differs in a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strand {
    /// Effects of both.
    pub same: u32,
    /// Effects of both that differ.
    pub differ: u32,
    /// Effects that only the first has.
    pub only_left: u32,
    /// Effects that only the second has.
    pub only_right: u32,
    /// The first that differs, in the order of the first recording, then of the second.
    pub first: Option<EffectId>,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "DIFFERENCE at {} ({})", self.effect, self.class)?;
        writeln!(f, "  {}", self.summary)?;
        if !self.equal.is_empty() {
            writeln!(f, "  same: {}", self.equal.join(", "))?;
        }
        if let Some(difference) = &self.difference {
            writeln!(f, "  differs: {}", difference.label)?;
            f.write_str(&difference.lines())?;
        }
        Ok(())
    }
}

/// Compares two recordings. Times and commit numbers do not count, only the order of effects that touch the same.
pub fn compare(left: &Recording, right: &Recording) -> Comparison {
    let places: HashMap<&EffectId, usize> =
        right.effects.iter().enumerate().map(|(at, record)| (&record.id, at)).collect();
    let known: BTreeSet<&EffectId> = left.effects.iter().map(|record| &record.id).collect();
    let order = causal_order(&left.effects);
    let mut comparison = Comparison::default();
    // With the place in the second, so that what only that one has can be earlier.
    let mut first: Option<(Option<usize>, Split)> = None;
    for (at, record) in left.effects.iter().enumerate() {
        let strand = comparison.strands.entry(strand_of(record)).or_default();
        let Some(&place) = places.get(&record.id) else {
            strand.only_left += 1;
            strand.first.get_or_insert_with(|| record.id.clone());
            first.get_or_insert_with(|| (None, only_in("first", "missing", record)));
            continue;
        };
        let later = order[at]
            .iter()
            .map(|before| &left.effects[*before])
            .find(|before| places.get(&before.id).is_some_and(|earlier| *earlier > place));
        let split = differs(record, &right.effects[place], (left, right))
            .or_else(|| later.map(|before| moved(record, before)));
        match split {
            None => strand.same += 1,
            Some(split) => {
                strand.differ += 1;
                strand.first.get_or_insert_with(|| record.id.clone());
                first.get_or_insert((Some(place), split));
            }
        }
    }
    for (place, record) in right.effects.iter().enumerate().filter(|(_, record)| !known.contains(&record.id))
    {
        let strand = comparison.strands.entry(strand_of(record)).or_default();
        strand.only_right += 1;
        strand.first.get_or_insert_with(|| record.id.clone());
        let is_earlier = match &first {
            None => true,
            Some((Some(other), _)) => place < *other,
            Some((None, _)) => false,
        };
        if is_earlier {
            first = Some((Some(place), only_in("second", "extra", record)));
        }
    }
    comparison.first = first.map(|(_, split)| split);
    comparison
}

fn strand_of(record: &EffectRecord) -> String {
    record.id.session().map_or_else(|| format!("{}/!", record.id.phase()), str::to_owned)
}

fn split(class: &'static str, record: &EffectRecord, summary: String) -> Split {
    Split { class, effect: record.id.clone(), summary, equal: Vec::new(), difference: None }
}

fn only_in(which: &str, class: &'static str, record: &EffectRecord) -> Split {
    let summary = format!("only the {which} has {} {}", record.kind.as_str(), record.id);
    split(class, record, summary)
}

fn moved(record: &EffectRecord, before: &EffectRecord) -> Split {
    let summary = format!("in the first it comes after {}, in the second before it", before.id);
    split("schedule", record, summary)
}

/// What of an effect differs, if anything: what it is asked with, before what came of it.
fn differs(one: &EffectRecord, other: &EffectRecord, of: (&Recording, &Recording)) -> Option<Split> {
    let same =
        |(a, b): &(&crate::event::Segment, &crate::event::Segment)| a.hash == b.hash && a.label == b.label;
    let equal = one.key.iter().zip(&other.key).take_while(same).count();
    if equal < one.key.len().max(other.key.len()) {
        let (old, new) = (one.key.get(equal), other.key.get(equal));
        let label = old.or(new).map(|segment| segment.label.clone()).unwrap_or_default();
        let text = |recording: &Recording, hash: &Fingerprint| {
            let kept = recording.texts.get(hash).map(ToString::to_string);
            kept.unwrap_or_else(|| format!("(its text is not kept; its fingerprint is {hash})"))
        };
        let class = if label == "model" { "params" } else { "prompt" };
        let mut found = split(class, one, format!("{} {} is asked otherwise", one.kind.as_str(), one.id));
        found.equal = one.key[..equal].iter().map(|segment| segment.label.clone()).collect();
        found.difference = Some(Difference {
            label,
            recorded: old.map(|segment| text(of.0, &segment.hash)),
            now: new.map(|segment| text(of.1, &segment.hash)),
        });
        return Some(found);
    }
    if one.result != other.result {
        let (class, what) = match one.kind {
            EffectKind::Llm => ("reply", "is answered otherwise, for the same question"),
            EffectKind::Tool => ("tool", "has another result, for the same input"),
            EffectKind::Render
            | EffectKind::Queue
            | EffectKind::Wake
            | EffectKind::Budget
            | EffectKind::Hook
            | EffectKind::Answer => ("state", "comes to something else"),
        };
        let mut found = split(class, one, format!("{} {} {what}", one.kind.as_str(), one.id));
        found.equal = one.key.iter().map(|segment| segment.label.clone()).collect();
        found.difference = Some(Difference {
            label: "result".to_owned(),
            recorded: Some(result_text(&one.result)),
            now: Some(result_text(&other.result)),
        });
        return Some(found);
    }
    if (one.kind, one.policy, &one.footprint) != (other.kind, other.policy, &other.footprint) {
        let shape = |record: &EffectRecord| {
            format!("{} {} {}", record.kind.as_str(), record.policy.as_str(), record.footprint)
        };
        return Some(split("tool", one, format!("it is {}, and {}", shape(one), shape(other))));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Evidence, Footprint, Policy, RECORDING_FORMAT, RecordingHead, Segment};
    use crate::id::{RunId, Seed};

    fn recording(effects: &[(&str, &str, &str, &str)]) -> Recording {
        let mut texts = BTreeMap::new();
        let effects = (1..).zip(effects).map(|(seq, (id, asked, footprint, result))| {
            let segment = Segment::new("prompt.0", *asked);
            texts.insert(segment.hash.clone(), Arc::from(*asked));
            EffectRecord {
                seq,
                id: EffectId::from_text(*id),
                kind: if id.contains('.') { EffectKind::Tool } else { EffectKind::Llm },
                at: Timestamp::UNIX_EPOCH,
                key: vec![segment],
                footprint: Footprint::from_text(footprint).unwrap(),
                policy: Policy::Real,
                result: (*result).into(),
            }
        });
        let effects = effects.collect();
        let head = RecordingHead {
            format: RECORDING_FORMAT,
            scenario: "s".to_owned(),
            evidence: Evidence::Scripted,
            run: RunId::from("r"),
            seed: Seed::new("s"),
            epoch: Timestamp::UNIX_EPOCH,
            ended: crate::event::ENDED_WELL.to_owned(),
            models: BTreeMap::new(),
            prices: crate::price::Prices::default(),
            changes: Vec::new(),
            mcp_tools: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        Recording { head, effects, texts }
    }

    const BASE: [(&str, &str, &str, &str); 4] = [
        ("p/a/1", "hi", "-", "x"),
        ("p/b/1", "ho", "-", "x"),
        ("p/a/1.1", "claim", "w:[issue:1]", "got"),
        ("p/b/1.1", "claim", "w:[issue:1]", "none"),
    ];

    fn first(other: &[(&str, &str, &str, &str)]) -> Option<(&'static str, String)> {
        let found = compare(&recording(&BASE), &recording(other));
        found.first.map(|split| (split.class, split.effect.to_string()))
    }

    #[test]
    fn equal_recordings_do_not_differ_whatever_the_schedule() {
        assert_eq!(first(&BASE), None);
        let mut other = BASE;
        other.swap(0, 1);
        assert_eq!(first(&other), None, "neither can see the other");
    }

    #[test]
    fn the_first_difference_is_the_one_that_others_follow_from() {
        let at = |class, effect: &str| Some((class, effect.to_owned()));
        let mut other = BASE;
        other[1].1 = "hu";
        other[3].3 = "got";
        assert_eq!(first(&other), at("prompt", "p/b/1"));
        let mut other = BASE;
        other[2].3 = "none";
        assert_eq!(first(&other), at("tool", "p/a/1.1"));
        let mut other = BASE;
        other.swap(2, 3);
        assert_eq!(first(&other), at("schedule", "p/b/1.1"));
        assert_eq!(first(&BASE[..3]), at("missing", "p/b/1.1"));
        let mut other = BASE.to_vec();
        other.insert(1, ("p/c/1", "he", "-", "x"));
        other[3].3 = "none";
        assert_eq!(first(&other), at("extra", "p/c/1"));
    }

    #[test]
    fn sessions_are_counted() {
        let mut other = BASE;
        other[1].3 = "y";
        let found = compare(&recording(&BASE), &recording(&other[..3]));
        let strand = &found.strands["p/b"];
        assert_eq!((strand.same, strand.differ, strand.only_left, strand.only_right), (0, 1, 1, 0));
        assert_eq!(found.strands["p/a"], Strand { same: 2, ..Strand::default() });
        assert!(found.first.unwrap().to_string().contains("    - \"x\"\n    + \"y\"\n"));
    }
}
