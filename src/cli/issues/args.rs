//! What `runner issues` accepts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::clock::{Timestamp, parse_duration};
use crate::issue::{EdgeType, ISSUE_TYPES, Status, Takes, priority_from_text};
use crate::store::Format;

/// Look at the issue queue of a workspace, and change it.
#[derive(Debug, Clone, Args)]
pub struct IssuesArgs {
    /// The workspace; the nearest folder upwards with a queue when absent
    #[arg(long, global = true, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Who does it; $USER when absent
    #[arg(long, global = true, value_name = "NAME")]
    pub actor: Option<String>,
    /// Print JSON, in the shapes of the issue tool's results
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: IssuesCommand,
}

/// What can be done with the queue. An issue is named by its id or by a start of it that no other has.
#[derive(Debug, Clone, Subcommand)]
pub enum IssuesCommand {
    /// List issues in creation order
    List(ListArgs),
    /// Show one issue with its edges and comments
    Show {
        /// The issue
        id: String,
    },
    /// Make an issue
    Create(CreateArgs),
    /// Change fields of an issue
    Update(UpdateArgs),
    /// Take an issue: this one, or the first ready one
    Claim {
        /// The issue
        id: Option<String>,
        /// Only one with this in its metadata; KEY=VALUE, several values of one key mean any of them
        #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = meta)]
        meta: Vec<(String, Value)>,
        /// How long the claim lasts; nobody renews it for a person
        #[arg(long, value_name = "TIME", value_parser = duration)]
        lease: Option<Duration>,
    },
    /// Give an issue back undone
    Release {
        /// The issue
        id: String,
        /// Also if somebody else holds it
        #[arg(long)]
        force: bool,
    },
    /// Say that an issue waits for something
    Block {
        /// The issue
        id: String,
        /// What it waits for, and from whom
        notes: String,
        /// Also if somebody else holds it
        #[arg(long)]
        force: bool,
    },
    /// Answer what a blocked issue waits for, and open it
    Unblock {
        /// The issue
        id: String,
        /// The answer; becomes a comment
        answer: Option<String>,
    },
    /// Say that an issue is done
    Close {
        /// The issue
        id: String,
        /// What was done
        reason: Option<String>,
        /// Also if somebody else holds it or parts of it are open
        #[arg(long)]
        force: bool,
    },
    /// Open a closed issue
    Reopen {
        /// The issue
        id: String,
    },
    /// Add a comment
    Comment {
        /// The issue
        id: String,
        /// The text
        body: String,
    },
    /// Add or remove an edge between two issues
    #[command(subcommand)]
    Dep(DepCommand),
    /// List what can be worked on, first to be worked first
    Ready(ListArgs),
    /// List what cannot be worked on, and why
    Blocked,
    /// Bring the issues of a file or folder, all or none
    Import {
        /// A file of JSON lines, or a folder with `issues.jsonl` and the files beside it
        path: PathBuf,
    },
    /// Write the whole queue as JSON lines
    Export {
        /// beads or issue-manager
        #[arg(long, value_parser = format, default_value = "beads")]
        format: Format,
        /// Into this file (beads) or folder (issue-manager); standard output when absent
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
    },
    /// Show what happened to an issue
    History {
        /// The issue
        id: String,
    },
    /// Says why an issue is not ready
    Why {
        /// The issue
        id: String,
        /// For somebody who takes this; several values of one key mean any of them
        #[arg(long = "takes", value_name = "KEY=VALUE", value_parser = meta)]
        takes: Vec<(String, Value)>,
    },
    /// Draws the issues that have edges, as a Mermaid flowchart
    Graph,
    /// Checks that the queue is sound, and changes nothing
    Verify,
}

/// What can be done with an edge.
#[derive(Debug, Clone, Subcommand)]
pub enum DepCommand {
    /// Let FROM wait for TO
    Add {
        /// The issue that waits
        from: String,
        /// The issue that is waited for
        to: String,
        /// blocks, related, parent-child or discovered-from
        #[arg(long = "type", value_name = "TYPE", value_parser = edge, default_value = "blocks")]
        edge: EdgeType,
    },
    /// Remove the edge from FROM to TO
    Remove {
        /// The issue that waits
        from: String,
        /// The issue that is waited for
        to: String,
    },
}

/// Which issues.
#[derive(Debug, Clone, Default, Args)]
pub struct ListArgs {
    /// open, in_progress, blocked or closed
    #[arg(long, value_parser = status)]
    pub status: Option<Status>,
    /// 0 to 4, or critical, high, medium, low, deferred
    #[arg(long, value_parser = priority)]
    pub priority: Option<u8>,
    /// bug, feature, task, epic or chore
    #[arg(long = "type", value_name = "TYPE", value_parser = issue_type)]
    pub issue_type: Option<String>,
    /// Held by, or meant for
    #[arg(long, value_name = "NAME")]
    pub assignee: Option<String>,
    /// With this in the metadata; several values of one key mean any of them
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = meta)]
    pub meta: Vec<(String, Value)>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// A new issue.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// One line
    pub title: String,
    /// As long as it takes
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
    /// 0 to 4, or critical, high, medium, low, deferred
    #[arg(long, value_parser = priority)]
    pub priority: Option<u8>,
    /// bug, feature, task, epic or chore
    #[arg(long = "type", value_name = "TYPE", value_parser = issue_type)]
    pub issue_type: Option<String>,
    /// For whom it is meant
    #[arg(long, value_name = "NAME")]
    pub assignee: Option<String>,
    /// The issue it is a part of
    #[arg(long, value_name = "ID")]
    pub parent: Option<String>,
    /// The issue it was found in
    #[arg(long, value_name = "ID")]
    pub discovered_from: Option<String>,
    /// An entry of the metadata; VALUE is JSON, or a text
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = meta)]
    pub meta: Vec<(String, Value)>,
    /// Estimated work, in minutes
    #[arg(long, value_name = "MINUTES")]
    pub estimate: Option<u32>,
    /// Not ready before this moment, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT")]
    pub defer: Option<Timestamp>,
    /// Start it blocked, waiting for this
    #[arg(long, value_name = "NOTES")]
    pub blocked: Option<String>,
}

/// Changes of an issue.
#[derive(Debug, Clone, Args)]
pub struct UpdateArgs {
    /// The issue
    pub id: String,
    /// New title
    #[arg(long)]
    pub title: Option<String>,
    /// New description
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
    /// `in_progress` claims, `open` gives back or unblocks, `blocked` and `closed` end the work
    #[arg(long, value_parser = status)]
    pub status: Option<Status>,
    /// 0 to 4, or critical, high, medium, low, deferred
    #[arg(long, value_parser = priority)]
    pub priority: Option<u8>,
    /// bug, feature, task, epic or chore
    #[arg(long = "type", value_name = "TYPE", value_parser = issue_type)]
    pub issue_type: Option<String>,
    /// Yourself, to claim it; an empty text gives it back
    #[arg(long, value_name = "NAME")]
    pub assignee: Option<String>,
    /// What it waits for
    #[arg(long, value_name = "NOTES")]
    pub notes: Option<String>,
    /// An entry of the metadata; VALUE is JSON, or a text; `null` removes the key
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = meta)]
    pub meta: Vec<(String, Value)>,
    /// Estimated work, in minutes
    #[arg(long, value_name = "MINUTES")]
    pub estimate: Option<u32>,
    /// Not ready before this moment, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT")]
    pub defer: Option<Timestamp>,
    /// Also if somebody else holds it
    #[arg(long)]
    pub force: bool,
}

/// Entries of metadata; a later one replaces an earlier one of the same key.
pub(super) fn metadata(entries: &[(String, Value)]) -> Map<String, Value> {
    entries.iter().cloned().collect()
}

/// Welcome values of metadata; several of one key mean any of them.
pub(super) fn takes(entries: &[(String, Value)]) -> Takes {
    let mut takes = Takes::default();
    for (key, value) in entries {
        takes.0.entry(key.clone()).or_default().push(value.clone());
    }
    takes
}

fn priority(text: &str) -> Result<u8, String> {
    priority_from_text(text)
        .ok_or_else(|| "it must be 0-4, or critical, high, medium, low, deferred".to_owned())
}

fn status(text: &str) -> Result<Status, String> {
    Status::from_text(text)
        .ok_or_else(|| format!("it must be one of {}", Status::ALL.map(Status::as_str).join(", ")))
}

fn edge(text: &str) -> Result<EdgeType, String> {
    EdgeType::from_text(text)
        .ok_or_else(|| format!("it must be one of {}", EdgeType::ALL.map(EdgeType::as_str).join(", ")))
}

fn issue_type(text: &str) -> Result<String, String> {
    if ISSUE_TYPES.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("it must be one of {}", ISSUE_TYPES.join(", ")))
}

fn format(text: &str) -> Result<Format, String> {
    Format::from_text(text)
        .ok_or_else(|| format!("it must be one of {}", Format::ALL.map(Format::as_str).join(", ")))
}

fn meta(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    if key.is_empty() {
        return Err("the key before `=` is missing".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((key.to_owned(), value))
}

pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "it must be a time with a unit, such as 30m or 8h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_values_are_json_or_text() {
        assert_eq!(meta("a=1"), Ok(("a".to_owned(), 1.into())));
        assert_eq!(meta("a=b=c"), Ok(("a".to_owned(), "b=c".into())));
        assert_eq!(meta("a=null"), Ok(("a".to_owned(), Value::Null)));
        assert!(meta("a").is_err() && meta("=a").is_err());
        let both = [meta("k=x"), meta("k=y")].map(|entry| entry.expect("both are right"));
        assert_eq!(takes(&both).0["k"], ["x", "y"]);
    }
}
