//! What is wrong with a cassette, wherever it came from: not whole, not as it was written, or with something in it that
//! does not belong into version control.

use std::collections::BTreeSet;
use std::path::Path;

use super::{CassetteError, Files, HEAD, is_blob, parse, print, scan, unusable};
use crate::event::{EffectKind, Recording};
use crate::id::Fingerprint;
use crate::secret::Scrubber;

/// What must not be in a cassette, besides what has the shape of a key.
pub struct Strangers<'a> {
    /// The credentials of this machine.
    pub scrubber: &'a Scrubber,
    /// Folders of this machine.
    pub places: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file within the cassette.
    pub file: String,
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// What.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

const AGAIN: &str = "record again, or take the file from version control as it was";
const SCRUB: &str =
    "take it out of the prompt or the tool's answer, record again, and replace the credential";
const RELATIVE: &str = "let prompts and tools use relative paths, and record again";
const REMOVE: &str = "remove the file";

/// How paths begin that only exist on somebody's machine.
const HOMES: [&str; 3] = ["/home/", "/Users/", "\\Users\\"];

/// Everything that is wrong with a cassette.
///
/// # Errors
/// There is none, or the system does not let it be read.
pub fn examine(folder: &Path, strangers: &Strangers) -> Result<Vec<Finding>, CassetteError> {
    if !folder.join(HEAD).is_file() {
        return Err(CassetteError::Absent { path: folder.display().to_string() });
    }
    let mut found = Vec::new();
    let mut files = Files::new();
    collect(&mut files, &mut found, (folder, "")).map_err(|error| unusable(folder, &error))?;
    match parse(&files, folder) {
        Ok(recording) => {
            is_whole(&recording, &files, &mut found);
            is_as_written(&recording, &files, &mut found);
        }
        Err(error) => found.push(damage(&error, folder)),
    }
    for (file, text) in &files {
        holds_strangers(file, text, strangers, &mut found);
    }
    found.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(found)
}

fn finding(file: &str, line: Option<usize>, what: impl Into<String>, remedy: &'static str) -> Finding {
    Finding { file: file.to_owned(), line, what: what.into(), remedy }
}

/// Reads the texts of a folder; what is no text does not belong there.
fn collect(
    files: &mut Files,
    found: &mut Vec<Finding>,
    (folder, prefix): (&Path, &str),
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(files, found, (&entry.path(), &format!("{name}/")))?;
            continue;
        }
        match String::from_utf8(std::fs::read(entry.path())?) {
            Ok(text) => drop(files.insert(name, text)),
            Err(_) => found.push(finding(&name, None, "it is no text", REMOVE)),
        }
    }
    Ok(())
}

/// An error of reading, as a finding with its file and line.
fn damage(error: &CassetteError, folder: &Path) -> Finding {
    let (path, reason) = match error {
        CassetteError::Damaged { path, reason } => (path.as_str(), reason.clone()),
        other => return finding(HEAD, None, other.to_string(), AGAIN),
    };
    let file = Path::new(path).strip_prefix(folder).map_or(path.into(), |file| file.to_string_lossy());
    let line = reason.strip_prefix("line ").and_then(|rest| {
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok())
    });
    finding(&file, line, reason, AGAIN)
}

/// Whether every text is there that an effect was asked with and that a cassette keeps, under its own name.
fn is_whole(recording: &Recording, files: &Files, found: &mut Vec<Finding>) {
    let mut missing = BTreeSet::new();
    for record in &recording.effects {
        for segment in record.key.iter().filter(|segment| !recording.texts.contains_key(&segment.hash)) {
            let label = segment.label.as_str();
            let file = match record.kind {
                _ if is_blob(label) => format!("blobs/{}", segment.hash),
                EffectKind::Render => super::RENDERS.to_owned(),
                EffectKind::Llm if label.starts_with("prompt.") => session_file(record.id.session()),
                // A command of a phase has no conversation that it could stand in; its text is in the scenario.
                EffectKind::Tool if label == "input" && record.id.session().is_some() => {
                    session_file(record.id.session())
                }
                _ => continue,
            };
            missing.insert((file, format!("the text of {label} of {} is missing", record.id)));
        }
    }
    // One text that many effects share is missing once.
    let mut told = BTreeSet::new();
    for (file, what) in missing {
        if !file.starts_with("blobs/") || told.insert(file.clone()) {
            found.push(finding(&file, None, what, AGAIN));
        }
    }
    for (file, text) in files {
        let Some(hash) = file.strip_prefix("blobs/") else { continue };
        let json = serde_json::from_str(text).map(|value| Fingerprint::of_json(&value));
        let is_named = Fingerprint::of(text.as_bytes()).as_str() == hash
            || json.is_ok_and(|named| named.as_str() == hash);
        if !is_named {
            found.push(finding(file, None, "its text is not the one it is named after", AGAIN));
        }
    }
}

fn session_file(session: Option<&str>) -> String {
    format!("sessions/{}.yaml", super::file_name(session.unwrap_or_default()))
}

/// Whether the files are those that this recording is written as.
fn is_as_written(recording: &Recording, files: &Files, found: &mut Vec<Finding>) {
    let Ok(written) = print(recording) else { return };
    for (file, text) in files {
        match written.get(file) {
            None => found.push(finding(file, None, "nothing of the recording refers to it", REMOVE)),
            Some(expected) if expected != text => {
                let same = expected.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
                found.push(finding(file, Some(same + 1), "it is not as it was written", AGAIN));
            }
            Some(_) => {}
        }
    }
}

fn holds_strangers(file: &str, text: &str, strangers: &Strangers, found: &mut Vec<Finding>) {
    let before = found.len();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(what) = scan::secret_in(line) {
            found.push(finding(file, Some(number), format!("it holds what looks like {what}"), SCRUB));
        }
        if strangers.scrubber.scrub(line) != line {
            found.push(finding(file, Some(number), "it holds a credential of this machine", SCRUB));
        }
        let homes = HOMES.iter().copied().filter(|home| is_path(line, home));
        let places = strangers.places.iter().map(String::as_str).filter(|place| line.contains(place));
        if let Some(place) = places.chain(homes).next() {
            let what = format!("it holds a path of a machine ({place})");
            found.push(finding(file, Some(number), what, RELATIVE));
        }
    }
    if found.len() == before
        && let Some(what) = scan::secret_in(text)
    {
        found.push(finding(file, None, format!("it holds what looks like {what}"), SCRUB));
    }
}

/// Whether a path begins so in the line, and the beginning is no part of a longer one.
fn is_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + start.len()..].chars().next();
        let is_start =
            !before.is_some_and(|c| c.is_alphanumeric() || "./_-~".contains(c)) || start.starts_with('\\');
        is_start && after.is_some_and(char::is_alphanumeric)
    })
}
