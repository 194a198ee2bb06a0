//! Does an import hold its promises for bytes that nobody would think of? libFuzzer makes them up; half of its changes are
//! made here, to one field of one line, so that what is read as JSON is reached often enough.

#![no_main]

#[path = "../tests/integration/store/importing.rs"]
mod importing;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use serde_json::{Map, Value, json};

fuzz_target!(|bytes: &[u8]| importing::hold(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut chance = Chance(u64::from(seed) | 1);
    let changed = match chance.below(2) {
        0 => None,
        _ => changed(&data[..size], &mut chance),
    };
    match changed {
        Some(text) if text.len() <= max_size => {
            data[..text.len()].copy_from_slice(&text);
            text.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});

/// A small generator (xorshift): the same seed makes the same changes.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % bound as u64).expect("smaller than a usize")
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const KEYS: [&str; 32] = [
    "id", "title", "description", "status", "priority", "issue_type", "assignee", "estimated_minutes", "created_at",
    "updated_at", "closed_at", "close_reason", "defer_until", "metadata", "dependencies", "comments", "blocking_notes",
    "attempt", "dependency_count", "comment_count", "content_hash", "labels", "_type", "_schema", "key", "parent_id",
    "discovered_from", "issue_id", "from_id", "to_id", "dep_type", "x",
];

const WORDS: [&str; 28] = [
    "", " ", "a", "open", "in_progress", "blocked", "closed", "tombstone", "hooked", "issue", "memory", "epic", "gate",
    "blocks", "related", "parent-child", "parent_child", "discovered-from", "waits-for", "relates-to", "{}", "{\"a\":null}",
    "2026-01-01T00:00:00Z", "2026-01-02T00:00:00.123456789+05:30", "2026-01-01T00:00:00", "9999-12-30T22:00:00.999999999Z",
    "-009999-01-02T01:59:59Z", "somebody elsewhere",
];

/// The text with one field, one edge or one line changed.
fn changed(text: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = chance.below(lines.len());
    let mut object: Map<String, Value> = serde_json::from_slice(&lines[at]).ok()?;
    let ids: Vec<Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok()?.get("id").cloned())
        .collect();
    match chance.below(8) {
        0 => {
            object.insert("id".to_owned(), format!("n-{}", chance.below(20)).into());
            let line = serde_json::to_vec(&object).expect("plain data");
            lines.insert(at, line);
            return Some(lines.join(&b'\n'));
        }
        1 | 2 if !ids.is_empty() => {
            let edge = json!({
                "issue_id": object.get("id"), "depends_on_id": chance.of(&ids), "to_id": chance.of(&ids),
                "type": chance.of(&WORDS[13..20]), "dep_type": chance.of(&WORDS[13..18]),
            });
            append(&mut object, "dependencies", edge);
        }
        3 => {
            let comment = json!({"author": chance.of(&WORDS), "text": chance.of(&WORDS), "created_at": chance.of(&WORDS[22..27])});
            append(&mut object, "comments", comment);
        }
        4 => {
            let key = object.keys().nth(chance.below(object.len().max(1)))?.clone();
            object.remove(&key);
        }
        _ => {
            let value = value(chance, &ids);
            object.insert((*chance.of(&KEYS)).to_owned(), value);
        }
    }
    lines[at] = serde_json::to_vec(&object).expect("plain data");
    Some(lines.join(&b'\n'))
}

fn append(object: &mut Map<String, Value>, key: &str, item: Value) {
    match object.entry(key).or_insert_with(|| json!([])) {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

fn value(chance: &mut Chance, ids: &[Value]) -> Value {
    match chance.below(12) {
        0 => Value::Null,
        1 => chance.below(6).into(),
        2 => json!(u64::MAX),
        3 => json!(1e308),
        4 => json!({"a": [1, null, "b"]}),
        5 => json!([]),
        6 if !ids.is_empty() => chance.of(ids).clone(),
        7 => "x".repeat(501).into(),
        8 => "\u{0}\u{2028}é\n".into(),
        _ => (*chance.of(&WORDS)).into(),
    }
}
