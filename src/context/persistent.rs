//! `context-persistent`: a conversation that begins with what files say, and that a later run goes on with.
//!
//! What is read becomes part of prompts, so the session reads it once, as an effect: a replay and a resumed run have it
//! from the recording, whatever the files say by then.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::settings::{
    COMPACT_THRESHOLD, ConfigError, MAX_RESULT_BYTES, MAX_TOKENS, NOTICE_ENABLED, NOTICE_LEVEL,
    NOTICE_RESERVE, NOTICE_VERBOSITY, OUTPUT_RESERVE, PROTECTED_TOOL_RESULTS, TARGET_USAGE, TOKEN_METER,
    TRUNCATE_BOUNDARY, TRUNCATE_CHARS,
};
use crate::chat::Message;
use crate::limit;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind, ModuleSpec};

const MEMORY_FILES: &str = "memory_files";
const TRANSCRIPT_PATH: &str = "transcript_path";

/// What mount plans may say of it.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "context-persistent",
    aliases: &[],
    kind: ModuleKind::Context,
    summary: "`context-simple` that begins with files and with the conversation of an earlier run",
    keys: &[
        KeyInfo {
            name: MEMORY_FILES,
            shape: KeyShape::TextList,
            default: "",
            doc: "Text files, relative to the project root, that every session is shown before its first prompt.",
        },
        KeyInfo {
            name: TRANSCRIPT_PATH,
            shape: KeyShape::Text,
            default: "",
            doc: "A file, relative to the project root, that keeps the conversation for later runs; the session's name is put into its name, so that each session has its own. Without it each run begins anew.",
        },
        MAX_TOKENS,
        COMPACT_THRESHOLD,
        TARGET_USAGE,
        KeyInfo {
            name: "protected_recent",
            shape: KeyShape::Number,
            default: "0.10",
            doc: "Share of the messages, from the latest, that are left out last.",
        },
        PROTECTED_TOOL_RESULTS,
        TRUNCATE_CHARS,
        TRUNCATE_BOUNDARY,
        NOTICE_ENABLED,
        NOTICE_RESERVE,
        NOTICE_VERBOSITY,
        NOTICE_LEVEL,
        OUTPUT_RESERVE,
        MAX_RESULT_BYTES,
        TOKEN_METER,
    ],
    tools: &[],
    credential: None,
};

/// Where a session's memory is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// What they are called, and where they are.
    memory: Vec<(String, PathBuf)>,
    transcript: Option<PathBuf>,
}

/// What a session remembers when it begins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// What the memory files say, as the model is shown it.
    pub memory: Vec<String>,
    /// The conversation of earlier runs.
    pub messages: Vec<Message>,
}

impl Sources {
    /// The memory of a session, by its path within the run; `None` when it has none.
    ///
    /// # Errors
    /// A value makes no sense.
    pub fn read(spec: &ModuleSpec, root: &Path, session: &str) -> Result<Option<Self>, ConfigError> {
        let wrong = |key: &'static str, value: &Value| ConfigError {
            module: spec.module.clone(),
            key,
            problem: format!("must be a path or a list of paths, not {value}"),
        };
        let value = |key: &str| spec.config.get(key).filter(|value| !value.is_null());
        let names: Vec<String> = match value(MEMORY_FILES) {
            None => Vec::new(),
            Some(Value::String(name)) => vec![name.clone()],
            Some(list) => serde_json::from_value(list.clone()).map_err(|_| wrong(MEMORY_FILES, list))?,
        };
        let transcript = match value(TRANSCRIPT_PATH) {
            None => None,
            Some(Value::String(path)) if path.is_empty() => None,
            Some(Value::String(path)) => Some(own_file(&root.join(path), session)),
            Some(other) => return Err(wrong(TRANSCRIPT_PATH, other)),
        };
        if names.is_empty() && transcript.is_none() {
            return Ok(None);
        }
        let memory = names.into_iter().map(|name| (name.clone(), root.join(name))).collect();
        Ok(Some(Self { memory, transcript }))
    }

    /// Reads everything.
    ///
    /// # Errors
    /// A file is missing, is no text, or is no transcript; the message names it and the remedy.
    pub fn load(&self) -> Result<Remembered, String> {
        let mut remembered = Remembered::default();
        for (name, path) in &self.memory {
            let text = read(path).map_err(|error| {
                format!(
                    "cannot read the memory file {name}: {error}; make it, or take it out of `{MEMORY_FILES}`"
                )
            })?;
            remembered.memory.push(format!("[Context from {name}]\n\n{}", text.trim_end()));
        }
        let Some(path) = &self.transcript else { return Ok(remembered) };
        let text = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(remembered),
            other => other.map_err(|error| told(path, &error))?,
        };
        for (at, line) in text.lines().enumerate() {
            let message = serde_json::from_str(line).map_err(|error| {
                format!(
                    "{}: line {} is no message ({error}); mend it or move the file away",
                    name(path),
                    at + 1
                )
            })?;
            remembered.messages.push(message);
        }
        Ok(remembered)
    }

    /// Keeps a conversation for later runs: the whole of it, so that doing it again changes nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, messages: &[Message]) -> Result<(), String> {
        let Some(path) = &self.transcript else { return Ok(()) };
        let write = || -> io::Result<()> {
            let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
            std::fs::create_dir_all(folder)?;
            let beside = path.with_extension("new");
            let mut file = io::BufWriter::new(std::fs::File::create(&beside)?);
            for message in messages {
                serde_json::to_writer(&mut file, message)?;
                file.write_all(b"\n")?;
            }
            file.flush()?;
            std::fs::rename(&beside, path)
        };
        write().map_err(|error| told(path, &error))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > limit::FILE_BYTES {
        return Err(io::Error::other(format!("it has {bytes} bytes, more than {}", limit::FILE_BYTES)));
    }
    std::fs::read_to_string(path)
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("cannot use the transcript {}: {error}; see `{TRANSCRIPT_PATH}` in the mount plan", name(path))
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `memory/team.jsonl` of `work/coder-1` is `memory/team.work.coder-1.jsonl`.
fn own_file(path: &Path, session: &str) -> PathBuf {
    let session = session.replace(['/', ':'], ".");
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let ending =
        path.extension().map_or_else(|| "jsonl".to_owned(), |ending| ending.to_string_lossy().into_owned());
    path.with_file_name(format!("{stem}.{session}.{ending}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::settings::testing::spec;
    use super::*;

    fn sources(root: &Path, config: &Value) -> Option<Sources> {
        Sources::read(&spec("context-persistent", config), root, "work/coder-1:2").unwrap()
    }

    #[test]
    fn memory_files_are_shown_with_their_names_and_must_be_there() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("team.md"), "Be kind.\n\n").unwrap();
        let found = sources(root.path(), &json!({"memory_files": ["team.md"]})).unwrap();
        assert_eq!(found.load().unwrap().memory, ["[Context from team.md]\n\nBe kind."]);
        let gone = sources(root.path(), &json!({"memory_files": "gone.md"})).unwrap().load().unwrap_err();
        assert!(gone.contains("gone.md") && gone.contains("memory_files"), "{gone}");
        assert_eq!(sources(root.path(), &json!({})), None);
        let wrong =
            Sources::read(&spec("context-persistent", &json!({"memory_files": 1})), root.path(), "p/s");
        assert!(wrong.unwrap_err().to_string().contains("`memory_files` must be"));
    }

    #[test]
    fn a_transcript_is_each_sessions_own_and_reads_as_it_was_kept() {
        let root = tempfile::tempdir().unwrap();
        let found = sources(root.path(), &json!({"transcript_path": "memory/team.jsonl"})).unwrap();
        assert_eq!(found.load().unwrap(), Remembered::default());
        let messages = vec![Message::user("one\ntwo"), Message::user("three")];
        for _ in 0..2 {
            found.keep(&messages).unwrap();
            assert_eq!(found.load().unwrap().messages, messages);
        }
        let file = root.path().join("memory/team.work.coder-1.2.jsonl");
        assert!(file.is_file());
        std::fs::write(file, "{}\n").unwrap();
        assert!(found.load().unwrap_err().contains("line 1 is no message"));
    }
}
