//! `hooks-logging`: a file of JSON lines for each session of a role, one line for each event, by Amplifier's names.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Map, Value, json};

use super::config::{HookError, Reader};
use super::redaction::Redaction;
use crate::event::{Envelope, Happening, Listener, SessionEnd};
use crate::id::RoleId;
use crate::limit;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};

/// What mount plans may say of it.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "hooks-logging",
    aliases: &[],
    kind: ModuleKind::Hook,
    summary: "writes a file of JSON lines for each session, in `logs/` of the run's folder",
    keys: &[
        KeyInfo {
            name: "exclude_events",
            shape: KeyShape::TextList,
            default: "",
            doc: "names of events that are not written",
        },
        KeyInfo {
            name: "auto_discover",
            shape: KeyShape::Flag,
            default: "",
            doc: "accepted for other programs' mount plans; has no effect",
        },
        KeyInfo {
            name: "priority",
            shape: KeyShape::Integer,
            default: "",
            doc: "accepted for other programs' mount plans; has no effect",
        },
    ],
    tools: &[],
    credential: None,
};

/// How the sessions of a role are logged.
#[derive(Debug, Default)]
pub struct Logging {
    excluded: Vec<String>,
    redaction: Redaction,
}

impl Logging {
    /// The logging of this configuration.
    ///
    /// # Errors
    /// It makes no sense; the error names the key.
    pub fn build(config: &Map<String, Value>, redaction: Redaction) -> Result<Self, HookError> {
        let excluded = Reader::new(INFO.name, config).texts("exclude_events")?;
        Ok(Self { excluded: excluded.into_iter().map(str::to_owned).collect(), redaction })
    }
}

/// Writes the logs of a run.
pub struct SessionLogs {
    folder: PathBuf,
    roles: BTreeMap<RoleId, Logging>,
    files: Mutex<HashMap<String, Log>>,
}

/// One file, and how much is in it.
pub(super) struct Log {
    file: Option<File>,
    path: PathBuf,
    bytes: u64,
}

impl SessionLogs {
    /// Those of these roles, in a folder that is made when there is something to write. A run goes on in the files it has.
    pub fn new(folder: PathBuf, roles: BTreeMap<RoleId, Logging>) -> Self {
        Self { folder, roles, files: Mutex::default() }
    }
}

impl Listener for SessionLogs {
    fn heard(&self, envelope: &Envelope) {
        let (Some(role), Some(session)) = (&envelope.role, &envelope.session) else { return };
        let Some(logging) = self.roles.get(role) else { return };
        let Some((name, level, data)) = said(&envelope.event) else { return };
        if logging.excluded.iter().any(|excluded| excluded == name) {
            return;
        }
        let phase = envelope.phase.as_ref().map(ToString::to_string).unwrap_or_default();
        let line = json!({
            "ts": envelope.ts,
            "lvl": level,
            "schema": {"name": "amplifier.log", "ver": "1.0.0"},
            "event": name,
            "session_id": format!("{phase}/{session}"),
            "data": logging.redaction.redact(data),
        });
        let mut files = self.files.lock().expect("nothing panics while it writes");
        let log = files
            .entry(format!("{phase}.{session}"))
            .or_insert_with_key(|name| Log::open(&self.folder, name));
        log.write(&format!("{line}\n"));
    }
}

impl Log {
    pub(super) fn open(folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("{}.jsonl", name.replace(['/', ':'], "_")));
        // A log that cannot be written holds no run up: the journal has all of it.
        let opened = std::fs::create_dir_all(folder)
            .and_then(|()| File::options().create(true).append(true).open(&path));
        let file = opened.ok();
        let bytes = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len());
        Self { file, path, bytes }
    }

    /// A file that is full takes the place of the one before it, so that there are never more than two.
    pub(super) fn write(&mut self, line: &str) {
        if self.bytes + line.len() as u64 > limit::SESSION_LOG_BYTES {
            let older = self.path.with_extension("1.jsonl");
            self.file = std::fs::rename(&self.path, older)
                .and_then(|()| File::options().create(true).append(true).open(&self.path))
                .ok();
            self.bytes = 0;
        }
        if let Some(file) = &mut self.file
            && file.write_all(line.as_bytes()).is_ok()
        {
            self.bytes += line.len() as u64;
        }
    }
}

/// An event by its name, how grave it is, and its facts.
fn said(event: &Happening) -> Option<(&'static str, &'static str, Value)> {
    Some(match event {
        Happening::SessionStarted { model } => ("session:start", "INFO", json!({"model": model})),
        Happening::PromptSent { text } => ("prompt:submit", "INFO", json!({"prompt": text})),
        Happening::TurnStarted { turn } => ("provider:request", "INFO", json!({"iteration": turn})),
        Happening::TurnEnded { turn, usage, text, calls, .. } => (
            "llm:response",
            "INFO",
            json!({"iteration": turn, "status": "ok", "usage": usage, "text": text, "tool_calls": calls}),
        ),
        Happening::Retry { attempt, reason, delay_ms } => (
            "provider:retry",
            "WARNING",
            json!({"attempt": attempt, "delay": delay_ms / 1000, "error_message": reason}),
        ),
        Happening::Fallback { from, to, reason, .. } => (
            "provider:fallback_active",
            "WARNING",
            json!({"original_model": from, "fallback_model": to, "reason": reason}),
        ),
        Happening::ToolStarted { tool, input } => {
            ("tool:pre", "INFO", json!({"tool_name": tool, "tool_input": input}))
        }
        Happening::ToolEnded { tool, is_error, output } => {
            let (name, level) = if *is_error { ("tool:error", "ERROR") } else { ("tool:post", "INFO") };
            (name, level, json!({"tool_name": tool, "result": {"success": !is_error, "output": output}}))
        }
        Happening::SessionEnded { end, text } => {
            let level = if matches!(end, SessionEnd::Failed { .. }) { "ERROR" } else { "INFO" };
            ("session:end", level, json!({"end": end, "response": text}))
        }
        _ => return None,
    })
}
