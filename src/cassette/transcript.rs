//! How a session of a recording reads: prompts, replies and tool results in turn, as YAML.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CassetteError, in_transcript};
use crate::event::{EffectId, EffectKind, EffectRecord, Recording};
use crate::id::Fingerprint;

/// One session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    session: String,
    turns: Vec<Entry>,
}

/// One model call with the prompts that are new in it, or one tool call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: EffectId,
    /// Texts of user messages that no call of the session before held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prompts: Vec<String>,
    /// The text of a tool call's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    result: Value,
}

pub(super) struct Read {
    pub(super) results: Vec<(EffectId, Value)>,
    pub(super) texts: Vec<(Fingerprint, Arc<str>)>,
}

pub(super) fn print(recording: &Recording) -> Result<BTreeMap<String, String>, CassetteError> {
    let mut sessions: BTreeMap<&str, Vec<&EffectRecord>> = BTreeMap::new();
    for record in recording.effects.iter().filter(|record| in_transcript(record)) {
        if let Some(session) = record.id.session() {
            sessions.entry(session).or_default().push(record);
        }
    }
    let mut files = BTreeMap::new();
    for (session, mut records) in sessions {
        // By turn and call, not by number: another schedule of the same conversation prints the same.
        records.sort_by_key(|record| (record.id.turn_and_call(), attempt(&record.id)));
        let mut told = std::collections::BTreeSet::new();
        let turns = records.into_iter().map(|record| entry(record, recording, &mut told)).collect();
        let transcript = Transcript { session: session.to_owned(), turns };
        let text = serde_yaml::to_string(&transcript).map_err(|error| CassetteError::Damaged {
            path: session.to_owned(),
            reason: error.to_string(),
        })?;
        files.insert(session.to_owned(), text);
    }
    Ok(files)
}

fn attempt(id: &EffectId) -> u32 {
    id.as_str().split_once('#').and_then(|(_, attempt)| attempt.parse().ok()).unwrap_or(1)
}

fn entry(
    record: &EffectRecord,
    recording: &Recording,
    told: &mut std::collections::BTreeSet<Fingerprint>,
) -> Entry {
    let text = |hash: &Fingerprint| recording.texts.get(hash).map(ToString::to_string);
    let prompts = record
        .key
        .iter()
        .filter(|segment| segment.label.starts_with("prompt.") && told.insert(segment.hash.clone()))
        .filter_map(|segment| text(&segment.hash))
        .collect();
    let input = match record.kind {
        EffectKind::Tool => {
            record.key.iter().find(|segment| segment.label == "input").and_then(|s| text(&s.hash))
        }
        _ => None,
    };
    Entry { id: record.id.clone(), prompts, input, result: record.result.clone() }
}

pub(super) fn parse(text: &str) -> Result<Read, String> {
    let transcript: Transcript = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let mut read = Read { results: Vec::new(), texts: Vec::new() };
    for entry in transcript.turns {
        for text in entry.prompts.into_iter().chain(entry.input) {
            read.texts.push((Fingerprint::of(text.as_bytes()), text.into()));
        }
        read.results.push((entry.id, entry.result));
    }
    Ok(read)
}
