//! Where a difference comes from: which effect made the part that differs, and who last wrote what that effect looks at, in
//! the recording and now.

use super::Asked;
use super::score::Score;
use crate::event::{EffectKind, EffectRecord, Footprint, Segment};

/// What can be said of a part of a key that differs, a line each.
pub(super) fn of_segment(score: &Score, asked: &Asked, recorded: &[Segment], at: usize) -> Vec<String> {
    let Some(segment) = recorded.get(at) else { return Vec::new() };
    let made = makers(score, asked, &recorded[..=at], segment);
    let mut lines = Vec::new();
    for maker in made.iter().take(MAKERS) {
        let record = score.record(*maker);
        lines.push(format!("{} was made by {}", segment.label, named(record)));
        lines.extend(last_writers(score, *maker));
    }
    if made.len() > MAKERS {
        lines.push(format!("and by {} more", made.len() - MAKERS));
    }
    lines
}

/// What can be said of an effect that came to something else, a line each.
pub(super) fn of_result(score: &Score, at: usize) -> Vec<String> {
    last_writers(score, at).into_iter().collect()
}

/// Effects that are named as makers of one part: a message holds the results of many calls.
const MAKERS: usize = 3;

/// The recorded effects that made a part of a conversation.
fn makers(score: &Score, asked: &Asked, key: &[Segment], segment: &Segment) -> Vec<usize> {
    let of_turn = |wanted: &dyn Fn(Option<(u32, u32)>) -> bool| {
        let effects = score.replay.recording.effects.iter().enumerate();
        let mine = effects.filter(|(_, effect)| effect.id.session() == asked.id.session());
        mine.filter(|(_, effect)| wanted(effect.id.turn_and_call())).map(|(at, _)| at).collect()
    };
    // A reply stands in a conversation for each turn that was answered.
    let turn = key.iter().filter(|segment| segment.label.starts_with("reply.")).count();
    let is_turn = |found: u32| usize::try_from(found) == Ok(turn);
    match segment.label.split('.').next() {
        Some("reply") => of_turn(&|found| found.is_some_and(|(found, call)| is_turn(found) && call == 0)),
        Some("results") => of_turn(&|found| found.is_some_and(|(found, call)| is_turn(found) && call > 0)),
        Some("prompt") => rendered(score, segment).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The effect that rendered a prompt, if it read the queue: a template that reads nothing is none.
fn rendered(score: &Score, segment: &Segment) -> Option<usize> {
    let text = score.replay.recording.texts.get(&segment.hash)?;
    let effects = score.replay.recording.effects.iter();
    let is_it = |effect: &EffectRecord| {
        effect.kind == EffectKind::Render
            && effect.result.get("value").and_then(serde_json::Value::as_str) == Some(text)
    };
    effects.enumerate().find(|(_, effect)| is_it(effect)).map(|(at, _)| at)
}

/// Who last wrote what an effect looks at, before it: in the recording, and in what has been played.
fn last_writers(score: &Score, at: usize) -> Option<String> {
    let record = score.record(at);
    let looks_at = Footprint {
        reads: record.footprint.reads.union(&record.footprint.writes).cloned().collect(),
        ..Footprint::none()
    };
    if looks_at.is_empty() {
        return None;
    }
    let writes = |earlier: &usize| score.record(*earlier).footprint.overlaps(&looks_at);
    let recorded = (0..at).rev().find(writes);
    let played = score.order.iter().rev().copied().filter(|earlier| *earlier != at).find(writes);
    let name = |found: Option<usize>| found.map(|at| named(score.record(at)));
    let seen = looks_at.reads.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
    Some(match (name(recorded), name(played)) {
        (None, None) => format!("it looks at {seen}, which nothing had written before it"),
        (Some(then), Some(now)) if then == now => {
            format!("it looks at {seen}, last written by {then}, in the recording and now")
        }
        (then, now) => {
            let or_nobody = |name: Option<String>| name.unwrap_or_else(|| "nobody".to_owned());
            format!(
                "it looks at {seen}, last written by {} in the recording, and by {} now",
                or_nobody(then),
                or_nobody(now)
            )
        }
    })
}

fn named(record: &EffectRecord) -> String {
    format!("{} {} (number {})", record.kind.as_str(), record.id, record.seq)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::effects::{Replay, Strictness};
    use crate::event::{EffectId, Evidence, Policy, RECORDING_FORMAT, Recording, RecordingHead};
    use crate::id::{RunId, Seed};

    fn effect(
        seq: u64,
        kind: EffectKind,
        id: &str,
        footprint: &str,
        result: serde_json::Value,
    ) -> EffectRecord {
        let footprint = Footprint::from_text(footprint).unwrap();
        let (id, at) = (EffectId::from_text(id), Timestamp::UNIX_EPOCH);
        EffectRecord { seq, id, kind, at, key: Vec::new(), footprint, policy: Policy::Real, result }
    }

    fn score() -> Score {
        let effects = vec![
            effect(1, EffectKind::Render, "w/!prompt.a-1", "r:[issue:*]", json!({"value": "Five are open."})),
            effect(2, EffectKind::Llm, "w/a/1", "-", json!("reply")),
            effect(3, EffectKind::Tool, "w/b/4.1", "w:[issue:x]", json!("made")),
            effect(4, EffectKind::Tool, "w/a/1.1", "r:[issue:*]", json!("one")),
            effect(5, EffectKind::Tool, "w/a/1.2", "-", json!("two")),
        ];
        let head = RecordingHead {
            format: RECORDING_FORMAT,
            scenario: "s".to_owned(),
            evidence: Evidence::Scripted,
            run: RunId::from("r"),
            seed: Seed::new("s"),
            epoch: Timestamp::UNIX_EPOCH,
            models: BTreeMap::new(),
            prices: crate::price::Prices::default(),
            changes: Vec::new(),
            mcp_tools: BTreeMap::new(),
            inputs: BTreeMap::new(),
            ended: "ok".to_owned(),
        };
        let prompt = Segment::new("prompt.0", "Five are open.");
        let texts = BTreeMap::from([(prompt.hash, prompt.text)]);
        Score::new(Replay::of(Recording { head, effects, texts }, Strictness::Total))
    }

    #[test]
    fn a_part_is_traced_to_who_made_it_and_to_who_wrote_what_that_one_saw() {
        let mut score = score();
        let labels = ["model", "prompt.0", "reply.1", "results.2"];
        let key: Vec<Segment> = labels
            .iter()
            .map(|label| Segment::new(*label, if *label == "prompt.0" { "Five are open." } else { "…" }))
            .collect();
        let asked = Asked::engine(EffectId::turn("w/a", 2), EffectKind::Llm, Policy::Tape);
        let lines = |score: &Score, at: usize| of_segment(score, &asked, &key, at);
        assert_eq!(lines(&score, 0), [""; 0], "nobody makes a model");
        assert_eq!(lines(&score, 2), ["reply.1 was made by llm w/a/1 (number 2)"]);
        assert_eq!(
            lines(&score, 1),
            [
                "prompt.0 was made by render w/!prompt.a-1 (number 1)",
                "it looks at issue:*, which nothing had written before it",
            ]
        );
        let made = |now: &str| {
            vec![
                "results.2 was made by tool w/a/1.1 (number 4)".to_owned(),
                format!("it looks at issue:*, last written by tool w/b/4.1 (number 3){now}"),
                "results.2 was made by tool w/a/1.2 (number 5)".to_owned(),
            ]
        };
        assert_eq!(lines(&score, 3), made(" in the recording, and by nobody now"));
        for at in 0..5 {
            score.commit(at);
        }
        assert_eq!(lines(&score, 3), made(", in the recording and now"));
    }
}
