//! What a replay came to, as files that people review: the run as it is told, the queue at its end, the tables.
//!
//! The conversations are in the recording already. Ids of issues, which every live run makes anew, become `issue-1`,
//! `issue-2` … in the order of creation; times, durations and folders are left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};
use similar::TextDiff;

use crate::cli::exit::Exit;
use crate::secret::Scrubber;
use crate::store::{Export, Outgoing};
use crate::summary::Summary;

const EVENTS: &str = "events.txt";
const QUEUE: &str = "queue.yaml";
const SUMMARY: &str = "summary.txt";

/// Short names of issues, in the order of creation.
pub(super) struct Names(Vec<(String, String)>);

impl Names {
    pub(super) fn of(queue: &Export) -> Self {
        let ids = queue.issues.iter().map(|issue| issue.issue.id.to_string());
        Self((1..).zip(ids).map(|(number, id)| (id, format!("issue-{number}"))).collect())
    }

    fn place(&self, issue: &Outgoing) -> usize {
        let id = issue.issue.id.to_string();
        self.0.iter().position(|(known, _)| *known == id).unwrap_or(usize::MAX)
    }

    /// The text with names in place of ids, also of such that were cut off at the end of a line.
    fn put(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (id, name) in &self.0 {
            out = out.replace(id.as_str(), name);
            for length in (4..id.len()).rev() {
                out = out.replace(&format!("{}…", &id[..length]), "…");
            }
        }
        out
    }
}

/// What is compared, by the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pictures(BTreeMap<&'static str, String>);

/// What a replay was heard to say.
pub(super) struct Heard {
    pub(super) events: String,
    pub(super) summary: Summary,
    pub(super) exit: Exit,
}

impl Pictures {
    pub(super) fn of(heard: &Heard, queue: &Export, scrubber: &Scrubber) -> Self {
        let names = Names::of(queue);
        let ends = format!(
            "ends with {}: {}\n\n{}",
            heard.exit.code(),
            heard.exit.name(),
            heard.summary.render_to_compare(|issue| names.put(issue.as_str()))
        );
        let clean = |text: &str| scrubber.scrub(&names.put(text));
        let files = [
            (EVENTS, clean(heard.events.trim_start_matches('\n'))),
            (QUEUE, clean(&queue_text(queue, &names))),
            (SUMMARY, clean(&ends)),
        ];
        Self(files.into())
    }
}

/// The queue in the order of the names.
pub(super) fn queue_text(queue: &Export, names: &Names) -> String {
    let mut issues: Vec<&Outgoing> = queue.issues.iter().collect();
    issues.sort_by_key(|issue| names.place(issue));
    let issues: Vec<Picture<'_>> = issues.into_iter().map(Picture::of).collect();
    names.put(&serde_yaml::to_string(&issues).expect("issues hold only plain data"))
}

/// An issue without what is another one in every run.
#[derive(Serialize)]
struct Picture<'a> {
    issue: String,
    title: &'a str,
    status: &'static str,
    #[serde(rename = "type")]
    kind: &'a str,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    assignee: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate_minutes: Option<u32>,
    #[serde(skip_serializing_if = "is_false")]
    deferred: bool,
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocking_notes: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edges: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comments: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl<'a> Picture<'a> {
    fn of(outgoing: &'a Outgoing) -> Self {
        let issue = &outgoing.issue;
        let mut edges: Vec<_> = outgoing
            .edges
            .iter()
            .filter(|edge| edge.from_id == issue.id)
            .map(|edge| format!("{} {}", edge.dep_type.as_str(), edge.to_id))
            .collect();
        edges.sort();
        let comments =
            outgoing.comments.iter().map(|comment| format!("{}: {}", comment.author, comment.body));
        Self {
            issue: issue.id.to_string(),
            title: &issue.title,
            status: issue.status.as_str(),
            kind: &issue.issue_type,
            priority: issue.priority,
            assignee: issue.assignee.as_deref(),
            parent: issue.parent_id.as_ref().map(ToString::to_string),
            description: &issue.description,
            metadata: &issue.metadata,
            estimate_minutes: issue.estimate_minutes,
            deferred: issue.defer_until.is_some(),
            attempts: issue.attempt,
            blocking_notes: issue.blocking_notes.as_deref(),
            close_reason: issue.close_reason.as_deref(),
            edges,
            comments: comments.collect(),
        }
    }
}

/// Where the snapshots of a recording lie: beside it, under its name.
pub(super) fn folder_of(recording: &Path) -> PathBuf {
    recording.with_extension("snapshots")
}

/// One file that is not as it was.
pub(super) struct Difference {
    pub(super) file: PathBuf,
    /// The first line that differs, from 1.
    pub(super) line: usize,
    pub(super) diff: String,
}

impl Pictures {
    /// The files that differ from those in a folder; `None` when it holds none of them.
    pub(super) fn compare(&self, folder: &Path, shown: &Path) -> std::io::Result<Option<Vec<Difference>>> {
        let mut differences = Vec::new();
        let mut seen = 0;
        for (name, now) in &self.0 {
            let kept = match std::fs::read_to_string(folder.join(name)) {
                Ok(text) => text.replace("\r\n", "\n"),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    differences.push(difference(&shown.join(name), "", now));
                    continue;
                }
                Err(error) => return Err(error),
            };
            seen += 1;
            if kept != *now {
                differences.push(difference(&shown.join(name), &kept, now));
            }
        }
        Ok((seen > 0).then_some(differences))
    }

    /// Writes the files into a folder.
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        self.0.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
    }
}

fn difference(file: &Path, kept: &str, now: &str) -> Difference {
    let line = kept.lines().zip(now.lines()).take_while(|(kept, now)| kept == now).count() + 1;
    Difference {
        file: file.to_owned(),
        line,
        diff: diff(&file.display().to_string(), "the replay", kept, now),
    }
}

/// The lines that differ, with some around them.
pub(super) fn diff(kept_name: &str, now_name: &str, kept: &str, now: &str) -> String {
    let mut out = String::new();
    let lines = TextDiff::from_lines(kept, now);
    let _ = write!(out, "{}", lines.unified_diff().context_radius(2).header(kept_name, now_name));
    out
}
