//! How a recorded run is kept for git: a folder of texts that read well, diff well and hold no secret.
//!
//! ```text
//! demo.cassette/
//!   cassette.yaml     what the recording says of itself
//!   ledger.txt        a line an effect, in commit order
//!   sessions/*.yaml   each conversation: prompts, replies, tool results
//!   renders.yaml      what templates and conditions were rendered from, by fingerprint
//!   blobs/*           system texts, tool specs and large results, by fingerprint
//! ```
//!
//! Writing is deterministic: the same run gives the same bytes. What is written is read back and compared before the old
//! folder is replaced.

mod doctor;
mod ledger;
mod scan;
#[cfg(test)]
mod tests;
mod transcript;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::event::{EffectKind, EffectRecord, RECORDING_FORMAT, Recording, RecordingHead};
use crate::id::Fingerprint;
use crate::limit;

pub use doctor::{Finding, Strangers, examine};

/// Why a cassette cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CassetteError {
    /// There is none.
    #[error("no recording at {path}; make one with: runner record FILE")]
    Absent {
        /// Where one was looked for.
        path: String,
    },
    /// The system refuses.
    #[error("cannot use the recording {path}: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// It was made by a version that writes otherwise.
    #[error(
        "the recording {path} has format {found}, this version reads {}; record it again, or use the version that made it",
        RECORDING_FORMAT
    )]
    Format {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
    },
    /// A file of it makes no sense or does not agree with the ledger.
    #[error("the recording is damaged: {path}: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It would hold a secret.
    #[error(
        "the recording is not written: {file} would hold what looks like {what}; take it out of the prompt or the tool's answer"
    )]
    Secret {
        /// The file within the cassette.
        file: String,
        /// What it looks like.
        what: String,
    },
}

const HEAD: &str = "cassette.yaml";
const LEDGER: &str = "ledger.txt";
const RENDERS: &str = "renders.yaml";

/// The files of a cassette by path within it.
type Files = BTreeMap<String, String>;

/// Writes a recording to a folder, replacing an older cassette there and nothing else.
///
/// # Errors
/// A file would hold a secret, the folder holds something that is no cassette, or the system refuses; the old cassette
/// then stays as it was.
pub fn write(recording: &Recording, folder: &Path) -> Result<(), CassetteError> {
    let files = print(recording)?;
    for (file, text) in &files {
        if let Some(what) = scan::secret_in(text) {
            return Err(CassetteError::Secret { file: file.clone(), what: what.to_owned() });
        }
    }
    let again = parse(&files, folder)?;
    if again.effects != recording.effects.iter().map(without_texts).collect::<Vec<_>>() {
        let reason = "what was written does not read back the same; this is a bug of runner".to_owned();
        return Err(CassetteError::Damaged { path: folder.display().to_string(), reason });
    }
    replace(folder, &files).map_err(|error| unusable(folder, &error))
}

/// Finds out whether a recording could be kept in this folder, before anything is spent on making it.
///
/// # Errors
/// The folder holds something else, or cannot be made.
pub fn check_place(folder: &Path) -> Result<(), CassetteError> {
    let probe = || {
        refuse_foreign(folder)?;
        let above = folder.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("."));
        let probe = above.join(".recording.probe");
        std::fs::create_dir(&probe)?;
        std::fs::remove_dir(&probe)
    };
    probe().map_err(|error| unusable(folder, &error))
}

/// Whether a folder is a cassette.
pub fn is_one(folder: &Path) -> bool {
    folder.join(HEAD).is_file()
}

/// Reads a cassette.
///
/// # Errors
/// There is none, it is of another format, or it is damaged.
pub fn read(folder: &Path) -> Result<Recording, CassetteError> {
    if !is_one(folder) {
        return Err(CassetteError::Absent { path: folder.display().to_string() });
    }
    let mut files = Files::new();
    read_into(&mut files, folder, "").map_err(|error| unusable(folder, &error))?;
    parse(&files, folder)
}

/// What a recording says of itself, without reading the rest.
///
/// # Errors
/// There is none, or it is of another format.
pub fn read_head(folder: &Path) -> Result<RecordingHead, CassetteError> {
    if !is_one(folder) {
        return Err(CassetteError::Absent { path: folder.display().to_string() });
    }
    let text = std::fs::read_to_string(folder.join(HEAD)).map_err(|error| unusable(folder, &error))?;
    head(&text, folder)
}

fn without_texts(record: &EffectRecord) -> EffectRecord {
    let mut record = record.clone();
    for segment in &mut record.key {
        segment.text = std::sync::Arc::default();
    }
    record
}

fn print(recording: &Recording) -> Result<Files, CassetteError> {
    let mut files = Files::new();
    let head = serde_yaml::to_string(&recording.head).expect("a head holds only plain data");
    files.insert(HEAD.to_owned(), head);
    files.insert(LEDGER.to_owned(), ledger::print(recording));
    for (session, text) in transcript::print(recording)? {
        files.insert(format!("sessions/{}.yaml", file_name(&session)), text);
    }
    let renders = renders(recording);
    if !renders.is_empty() {
        files.insert(RENDERS.to_owned(), serde_yaml::to_string(&renders).expect("texts by name print"));
    }
    for record in &recording.effects {
        for segment in record.key.iter().filter(|segment| is_blob(&segment.label)) {
            if let Some(text) = recording.texts.get(&segment.hash) {
                files.insert(format!("blobs/{}", segment.hash), text.to_string());
            }
        }
        if !in_transcript(record) && record.result.to_string().len() > limit::INLINE_RESULT_BYTES {
            files.insert(format!("blobs/{}", record.result_hash()), record.result.to_string());
        }
    }
    Ok(files)
}

/// What the run's templates and conditions were rendered from: many small texts, so in one file.
fn renders(recording: &Recording) -> BTreeMap<&Fingerprint, &str> {
    let renders = recording.effects.iter().filter(|record| record.kind == EffectKind::Render);
    let hashes = renders.flat_map(|record| &record.key).map(|segment| &segment.hash);
    hashes.filter_map(|hash| Some((hash, recording.texts.get(hash)?.as_ref()))).collect()
}

fn parse(files: &Files, folder: &Path) -> Result<Recording, CassetteError> {
    let damaged = |file: &str, reason: String| damaged(folder, file, reason);
    let file = |name: &str| files.get(name).ok_or_else(|| damaged(name, "it is missing".to_owned()));
    let head = head(file(HEAD)?, folder)?;
    let mut effects = ledger::parse(file(LEDGER)?, head.epoch).map_err(|reason| damaged(LEDGER, reason))?;
    let mut texts = BTreeMap::new();
    let mut results = BTreeMap::new();
    for (name, text) in files {
        if let Some(hash) = name.strip_prefix("blobs/").and_then(Fingerprint::from_text) {
            texts.insert(hash, text.as_str().into());
        } else if name.starts_with("sessions/") {
            let read = transcript::parse(text).map_err(|reason| damaged(name, reason))?;
            for (id, result) in read.results {
                results.insert(id, (name, result));
            }
            texts.extend(read.texts);
        } else if name == RENDERS {
            let read: BTreeMap<Fingerprint, String> =
                serde_yaml::from_str(text).map_err(|error| damaged(name, error.to_string()))?;
            if let Some((hash, _)) =
                read.iter().find(|(hash, text)| Fingerprint::of(text.as_bytes()) != **hash)
            {
                return Err(damaged(
                    name,
                    format!("the text of {hash} is another one; was it edited by hand?"),
                ));
            }
            texts.extend(read.into_iter().map(|(hash, text)| (hash, text.into())));
        }
    }
    for line in &mut effects {
        line.fill(&results, &texts).map_err(|(file, reason)| damaged(&file, reason))?;
    }
    Ok(Recording { head, effects: effects.into_iter().map(|line| line.record).collect(), texts })
}

fn damaged(folder: &Path, file: &str, reason: String) -> CassetteError {
    CassetteError::Damaged { path: folder.join(file).display().to_string(), reason }
}

fn head(text: &str, folder: &Path) -> Result<RecordingHead, CassetteError> {
    check_format(text, folder)?;
    serde_yaml::from_str(text).map_err(|error| damaged(folder, HEAD, error.to_string()))
}

fn check_format(head: &str, folder: &Path) -> Result<(), CassetteError> {
    let path = folder.join(HEAD).display().to_string();
    let head: serde_json::Value = serde_yaml::from_str(head)
        .map_err(|error| CassetteError::Damaged { path: path.clone(), reason: error.to_string() })?;
    let found =
        head.get("format").and_then(serde_json::Value::as_u64).and_then(|format| u32::try_from(format).ok());
    match found {
        Some(RECORDING_FORMAT) => Ok(()),
        Some(found) => Err(CassetteError::Format { path, found }),
        None => Err(CassetteError::Damaged { path, reason: "it names no format".to_owned() }),
    }
}

/// Whether a result stands in a session's transcript; the others stand in the ledger.
fn in_transcript(record: &EffectRecord) -> bool {
    matches!(record.kind, EffectKind::Llm | EffectKind::Tool) && record.id.session().is_some()
}

/// Texts that many effects share, or that are no part of a conversation.
fn is_blob(label: &str) -> bool {
    matches!(label, "model" | "system" | "tools")
}

fn file_name(session: &str) -> String {
    session.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '.' }).collect()
}

fn unusable(path: &Path, error: &std::io::Error) -> CassetteError {
    CassetteError::Unusable { path: path.display().to_string(), reason: error.to_string() }
}

fn read_into(files: &mut Files, folder: &Path, prefix: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_into(files, &entry.path(), &format!("{name}/"))?;
        } else {
            files.insert(name, std::fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}

/// Writes beside the old folder and then swaps, so that there is a whole cassette at every moment but one rename.
fn refuse_foreign(folder: &Path) -> std::io::Result<()> {
    if folder.exists() && !folder.join(HEAD).is_file() && std::fs::read_dir(folder)?.next().is_some() {
        return Err(std::io::Error::other("the folder is not empty and is no recording; it is left alone"));
    }
    Ok(())
}

fn replace(folder: &Path, files: &Files) -> std::io::Result<()> {
    refuse_foreign(folder)?;
    let beside = |suffix: &str| {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        folder.with_file_name(format!(".{name}.{suffix}"))
    };
    let (new, old): (PathBuf, PathBuf) = (beside("new"), beside("old"));
    remove(&new)?;
    remove(&old)?;
    for (name, text) in files {
        let path = new.join(name);
        std::fs::create_dir_all(path.parent().expect("a file within the folder has a parent"))?;
        std::fs::write(path, text)?;
    }
    if folder.exists() {
        std::fs::rename(folder, &old)?;
    }
    if let Err(error) = std::fs::rename(&new, folder) {
        // What was there before is better than nothing; if it cannot come back either, it is still beside.
        let _ = std::fs::rename(&old, folder);
        return Err(error);
    }
    remove(&old)
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
