//! `runner cassette show DIR`: what made a recording, and how much of what is in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::ShowArguments;
use crate::cassette;
use crate::cli::exit::Exit;
use crate::cli::history::refused;
use crate::cli::surroundings::Surroundings;
use crate::event::{EffectKind, Recording};
use crate::summary::{table, words};

/// What a session of a recording holds.
#[derive(Default)]
struct Talk {
    turns: u64,
    calls: u64,
    tokens: u64,
}

/// `runner cassette show DIR`.
pub(super) fn show(arguments: &ShowArguments, surroundings: &Surroundings) -> Exit {
    let folder = surroundings.working_dir.join(&arguments.folder);
    let recording = match cassette::read(&folder) {
        Ok(recording) => recording,
        Err(error) => return refused(Exit::Divergence, &error),
    };
    let talks = talks(&recording);
    let size = size(&folder);
    if arguments.json {
        surroundings.print(&format!("{}\n", to_json(&recording, &talks, size)));
    } else {
        surroundings.print(&page(&recording, &talks, size));
    }
    Exit::Ok
}

fn talks(recording: &Recording) -> BTreeMap<&str, Talk> {
    let mut talks: BTreeMap<&str, Talk> = BTreeMap::new();
    for record in &recording.effects {
        let Some(session) = record.id.session() else { continue };
        let talk = talks.entry(session).or_default();
        match record.kind {
            EffectKind::Llm => {
                talk.turns += 1;
                let usage = record.result.pointer("/reply/usage").and_then(Value::as_object);
                talk.tokens += usage.into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum::<u64>();
            }
            EffectKind::Tool => talk.calls += 1,
            EffectKind::Render
            | EffectKind::Queue
            | EffectKind::Wake
            | EffectKind::Budget
            | EffectKind::Hook
            | EffectKind::Answer => {}
        }
    }
    talks
}

fn phases(recording: &Recording) -> Vec<&str> {
    let mut phases: Vec<&str> = Vec::new();
    for phase in recording.effects.iter().map(|record| record.id.phase()).filter(|phase| *phase != "run") {
        if !phases.contains(&phase) {
            phases.push(phase);
        }
    }
    phases
}

fn page(recording: &Recording, talks: &BTreeMap<&str, Talk>, (files, bytes): (u64, u64)) -> String {
    let head = &recording.head;
    let mut out = String::new();
    let models: Vec<String> = head.models.iter().map(|(role, model)| format!("{role}: {model}")).collect();
    let facts = [
        ("scenario", head.scenario.clone()),
        ("evidence", head.evidence.as_str().to_owned()),
        ("made from", format!("run {}", head.run)),
        ("begins", head.epoch.to_string()),
        ("seed", head.seed.as_str().to_owned()),
        ("models", models.join(", ")),
        ("phases", phases(recording).join(", ")),
        ("effects", recording.effects.len().to_string()),
        ("size", format!("{files} files, {} kB, format {}", bytes.div_ceil(1_000), head.format)),
    ];
    for (name, fact) in facts {
        let _ = writeln!(out, "{name:<9}  {fact}");
    }
    let mut lines = vec![words("session|turns|tool calls|tokens")];
    for (session, talk) in talks {
        let numbers = [talk.turns, talk.calls, talk.tokens].map(|number| number.to_string());
        lines.push(std::iter::once((*session).to_owned()).chain(numbers).collect());
    }
    out + "\n" + &table(&lines)
}

fn to_json(recording: &Recording, talks: &BTreeMap<&str, Talk>, (files, bytes): (u64, u64)) -> Value {
    let sessions = talks.iter().map(|(session, talk)| {
        json!({"session": session, "turns": talk.turns, "tool_calls": talk.calls, "tokens": talk.tokens})
    });
    json!({
        "head": recording.head, "phases": phases(recording), "effects": recording.effects.len(),
        "sessions": sessions.collect::<Vec<_>>(), "files": files, "bytes": bytes,
    })
}

/// Files and bytes of a cassette.
fn size(folder: &Path) -> (u64, u64) {
    let mut found = (0, 0);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (files, bytes) = match entry.metadata() {
            Ok(entry_is) if entry_is.is_dir() => size(&entry.path()),
            Ok(entry_is) => (1, entry_is.len()),
            Err(_) => (0, 0),
        };
        found = (found.0 + files, found.1 + bytes);
    }
    found
}
