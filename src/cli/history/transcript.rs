//! A session as a conversation: prompts, replies, tool calls with their results, piece by piece as the journal tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::chat::Reply;
use crate::event::{EffectId, EffectKind, EffectRecord, Envelope, Happening};
use crate::id::Fingerprint;
use crate::journal::Line;

/// Where the pieces come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Effects: whole texts.
    Effects,
    /// Events, since a replay keeps no effects: inputs and results are cut to a line.
    Events,
}

/// Turns the lines of a journal into pieces of the conversations that are asked for.
pub(super) struct Scribe {
    wanted: String,
    source: Source,
    texts: BTreeMap<Fingerprint, String>,
    told: BTreeSet<Fingerprint>,
    seen: BTreeSet<String>,
    heading: String,
}

/// One piece.
struct Piece {
    kind: &'static str,
    session: String,
    fields: Value,
}

impl Scribe {
    /// For the session of this name, in whatever phases it has one, or of this `PHASE/SESSION`.
    pub(super) fn new(wanted: &str, source: Source) -> Self {
        Self {
            wanted: wanted.to_owned(),
            source,
            texts: BTreeMap::new(),
            told: BTreeSet::new(),
            seen: BTreeSet::new(),
            heading: String::new(),
        }
    }

    /// Whether anything was found.
    pub(super) fn found(&self) -> bool {
        !self.heading.is_empty()
    }

    /// The sessions that were met.
    pub(super) fn sessions(&self) -> Vec<&str> {
        self.seen.iter().map(String::as_str).collect()
    }

    /// What a line adds, for people or as JSON lines.
    pub(super) fn read(&mut self, line: &Line, json: bool) -> String {
        let pieces = match line {
            Line::Effect { record, texts } => {
                self.texts.extend(texts.clone());
                match record.id.session() {
                    Some(session) if self.wants(session) && self.source == Source::Effects => {
                        self.effect(record, session)
                    }
                    _ => Vec::new(),
                }
            }
            Line::Event { event } if self.source == Source::Events => self.event(event),
            Line::Event { .. } | Line::Intent { .. } | Line::Resumed { .. } => Vec::new(),
        };
        let mut out = String::new();
        for piece in pieces {
            if json {
                let mut object = piece.fields.clone();
                object["kind"] = piece.kind.into();
                object["session"] = piece.session.as_str().into();
                let _ = writeln!(out, "{object}");
            } else {
                if self.heading != piece.session {
                    let _ = writeln!(out, "=== {} ===", piece.session);
                }
                out += &plain(&piece);
            }
            self.heading = piece.session;
        }
        out
    }

    /// A session is named by its path, by its name in every phase, or by the name that all fresh sessions share.
    fn wants(&mut self, session: &str) -> bool {
        self.seen.insert(session.to_owned());
        let name = session.split_once('/').map_or(session, |(_, name)| name);
        let shared = |text: &str| text.split(':').next() == Some(self.wanted.as_str());
        session == self.wanted || shared(session) || shared(name) || name == self.wanted
    }

    fn effect(&mut self, record: &EffectRecord, session: &str) -> Vec<Piece> {
        let piece = |kind, fields| Piece { kind, session: session.to_owned(), fields };
        match record.kind {
            EffectKind::Llm => {
                let mut pieces = Vec::new();
                for segment in record.key.iter().filter(|segment| segment.label.starts_with("prompt.")) {
                    if self.told.insert(segment.hash.clone()) {
                        pieces.push(piece("prompt", json!({"text": self.texts.get(&segment.hash)})));
                    }
                }
                pieces.push(piece("reply", reply(&record.id, &record.result)));
                pieces
            }
            EffectKind::Tool => {
                let text = |label: &str| {
                    let segment = record.key.iter().find(|segment| segment.label == label)?;
                    self.texts.get(&segment.hash).cloned()
                };
                let fields = json!({
                    "id": record.id, "tool": text("tool"), "input": text("input"),
                    "output": record.result["content"], "is_error": record.result["is_error"] == true,
                });
                vec![piece("call", fields)]
            }
            EffectKind::Render
            | EffectKind::Queue
            | EffectKind::Wake
            | EffectKind::Budget
            | EffectKind::Hook
            | EffectKind::Answer => Vec::new(),
        }
    }

    fn event(&mut self, envelope: &Envelope) -> Vec<Piece> {
        let (Some(phase), Some(session)) = (&envelope.phase, &envelope.session) else { return Vec::new() };
        let path = format!("{phase}/{session}");
        if !self.wants(&path) {
            return Vec::new();
        }
        let (kind, fields) = match &envelope.event {
            Happening::PromptSent { text } => ("prompt", json!({"text": text})),
            Happening::TurnEnded { turn, text, .. } => {
                let id = EffectId::turn(&path, *turn);
                ("reply", json!({"id": id, "text": text}))
            }
            // Calls of one message end in any order, and an event does not say which one it ends: so two pieces.
            Happening::ToolStarted { tool, input } => ("call", json!({"tool": tool, "input": input})),
            Happening::ToolEnded { tool, is_error, output } => {
                ("result", json!({"tool": tool, "output": output, "is_error": is_error}))
            }
            _ => return Vec::new(),
        };
        vec![Piece { kind, session: path, fields }]
    }
}

fn reply(id: &EffectId, result: &Value) -> Value {
    match serde_json::from_value::<Reply>(result["reply"].clone()) {
        Ok(reply) => json!({"id": id, "text": reply.text(), "stop": reply.stop, "usage": reply.usage}),
        Err(_) => json!({"id": id, "error": result.get("error").unwrap_or(result)}),
    }
}

fn plain(piece: &Piece) -> String {
    let text = |name: &str| piece.fields[name].as_str().unwrap_or_default();
    match piece.kind {
        "prompt" => format!("\n--- prompt ---\n{}\n", text("text").trim_end()),
        "call" => {
            let call = format!("> {} {}\n", text("tool"), text("input"));
            if piece.fields.get("output").is_some() { call + &result(&piece.fields) } else { call }
        }
        "result" => result(&piece.fields),
        _ => {
            let mut out = format!("\n--- reply {} ---\n", text("id"));
            if let Some(error) = piece.fields.get("error") {
                let _ = writeln!(out, "failed: {error}");
            } else if !text("text").is_empty() {
                let _ = writeln!(out, "{}", text("text").trim_end());
            }
            out
        }
    }
}

/// What a call came to, each line marked.
fn result(fields: &Value) -> String {
    let mark = if fields["is_error"] == true { "failed: " } else { "" };
    let text = format!("{mark}{}", fields["output"].as_str().unwrap_or_default().trim_end());
    // A result without text is one, too.
    let lines = if text.is_empty() { vec![""] } else { text.lines().collect() };
    lines.iter().fold(String::new(), |out, line| out + format!("< {line}").trim_end() + "\n")
}
