//! What `runner issues` accepts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::clock::{Timestamp, parse_duration};
use crate::issue::{EdgeType, ISSUE_TYPES, Status, Takes, label_from_text, priority_from_text};
use crate::store::{Edit, Format};

/// Look at the issue queue of a workspace, and change it.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
First steps, in an empty folder:
  runner issues init
  runner issues create \"Fix the login\" --priority high --label web
  runner issues claim
  runner issues close ID \"Sessions are renewed now\"
An ID may be cut to a beginning that no other issue has, with or without `bd-`.")]
pub struct IssuesArgs {
    /// The folder of the queue; the nearest one upwards that has a queue when absent
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    pub workspace: Option<PathBuf>,
    /// Who does it; $USER when absent
    #[arg(long, global = true, value_name = "NAME", display_order = 901)]
    pub actor: Option<String>,
    /// Print JSON, in the shapes of the issue tool's results
    #[arg(long, global = true, display_order = 902)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: IssuesCommand,
}

/// What can be done with the queue, what is used first coming first.
#[derive(Debug, Clone, Subcommand)]
pub enum IssuesCommand {
    /// Begin a queue in this folder, or in that of --workspace
    Init,
    /// Make an issue
    #[command(after_help = "\
Examples:
  runner issues create \"Fix the login\" --type bug --priority high --label web
  runner issues create \"Which database?\" --blocked \"Kim decides\"
  runner issues create \"Write the tests\" --parent ID --estimate 90")]
    Create(CreateArgs),
    /// List issues in the order they were made
    #[command(after_help = "\
Examples:
  runner issues list --status open --status in_progress
  runner issues list --label web --label urgent --unassigned")]
    List(ListArgs),
    /// List what can be worked on, first to be worked first
    Ready(WhichArgs),
    /// Take an issue: this one, or the first ready one
    #[command(after_help = "\
Examples:
  runner issues claim
  runner issues claim --label web --lease 2h
  runner issues claim ID")]
    Claim {
        /// Its id, or a beginning of it; the first ready one when absent
        id: Option<String>,
        /// Only one with this label; several mean all of them
        #[arg(long = "label", value_name = "LABEL", value_parser = label)]
        labels: Vec<String>,
        /// Only one with this in its metadata; KEY=VALUE, several values of one key mean any of them
        #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = meta)]
        meta: Vec<(String, Value)>,
        /// How long the claim lasts; nobody renews it for a person
        #[arg(long, value_name = "TIME", value_parser = duration)]
        lease: Option<Duration>,
    },
    /// Say that an issue is done
    Close {
        /// Its id, or a beginning of it that no other issue has
        id: String,
        /// What was done
        reason: Option<String>,
        /// Also if somebody else holds it or parts of it are open
        #[arg(long)]
        force: bool,
    },
    /// Show one issue with its edges and comments
    Show {
        /// Its id, or a beginning of it that no other issue has
        id: String,
    },
    /// Find issues in which all of these words occur
    #[command(after_help = "\
Words are looked for in the id, the title, the description, the notes, the close reason, the labels and the comments.
A part of a word is enough, and small and capital letters are the same.

Examples:
  runner issues search login timeout
  runner issues search login --status open --label web")]
    Search {
        /// Words, in any order
        #[arg(required = true)]
        words: Vec<String>,
        /// Among which issues
        #[command(flatten)]
        list: ListArgs,
    },
    /// Change fields of an issue
    #[command(after_help = "\
Examples:
  runner issues update ID --priority low --add-label later --remove-label urgent
  runner issues update ID --parent OTHER-ID
  runner issues update ID --defer \"\"")]
    Update(UpdateArgs),
    /// Add a comment
    Comment {
        /// Its id, or a beginning of it that no other issue has
        id: String,
        /// The text
        body: String,
    },
    /// Say that an issue waits for something
    #[command(after_help = "\
Example:
  runner issues block ID \"Which version? Kim knows\"
To let it wait for another issue: runner issues dep add ID OTHER-ID")]
    Block {
        /// Its id, or a beginning of it that no other issue has
        id: String,
        /// What it waits for, and from whom
        notes: String,
        /// Also if somebody else holds it
        #[arg(long)]
        force: bool,
    },
    /// Answer what a blocked issue waits for, and open it
    Unblock {
        /// Its id, or a beginning of it that no other issue has
        id: String,
        /// The answer; becomes a comment
        answer: Option<String>,
    },
    /// List what cannot be worked on, and why
    Blocked(ListArgs),
    /// Say why an issue is not ready
    #[command(after_help = "\
Examples:
  runner issues why ID
  runner issues why ID --takes worker_type=coding")]
    Why {
        /// Its id, or a beginning of it that no other issue has
        id: String,
        /// For somebody who takes this; several values of one key mean any of them
        #[arg(long = "takes", value_name = "KEY=VALUE", value_parser = meta)]
        takes: Vec<(String, Value)>,
    },
    /// Give an issue back undone
    Release {
        /// Its id, or a beginning of it that no other issue has
        id: String,
        /// Also if somebody else holds it
        #[arg(long)]
        force: bool,
    },
    /// Open a closed issue
    Reopen {
        /// Its id, or a beginning of it that no other issue has
        id: String,
    },
    /// Add or remove an edge between two issues
    #[command(subcommand)]
    Dep(DepCommand),
    /// Draw the issues that have edges, as a Mermaid flowchart
    Graph,
    /// Show what happened to an issue
    History {
        /// Its id, or a beginning of it that no other issue has
        id: String,
    },
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
    /// Check that the queue is sound, and change nothing
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

/// Which issues, whatever their status.
#[derive(Debug, Clone, Default, Args)]
pub struct WhichArgs {
    /// With this label; several mean all of them
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    pub labels: Vec<String>,
    /// 0 to 4, or critical, high, medium, low, deferred
    #[arg(long, value_parser = priority)]
    pub priority: Option<u8>,
    /// bug, feature, task, epic or chore
    #[arg(long = "type", value_name = "TYPE", value_parser = issue_type)]
    pub issue_type: Option<String>,
    /// Held by, or meant for
    #[arg(long, value_name = "NAME", conflicts_with = "unassigned")]
    pub assignee: Option<String>,
    /// Held by nobody, and meant for nobody
    #[arg(long)]
    pub unassigned: bool,
    /// With this in the metadata; several values of one key mean any of them
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = meta)]
    pub meta: Vec<(String, Value)>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// Which issues.
#[derive(Debug, Clone, Default, Args)]
pub struct ListArgs {
    /// open, in_progress, blocked or closed; several mean any of them
    #[arg(long = "status", value_name = "STATUS", value_parser = status)]
    pub statuses: Vec<Status>,
    /// Only those that are not ready before a moment that is yet to come
    #[arg(long)]
    pub deferred: bool,
    /// The rest, which a list of ready issues has too
    #[command(flatten)]
    pub which: WhichArgs,
}

/// Fields that an issue is made with and that can be changed.
#[derive(Debug, Clone, Args)]
pub struct FieldArgs {
    /// As long as it takes
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
    /// 0 to 4, or critical, high, medium, low, deferred
    #[arg(long, value_parser = priority)]
    pub priority: Option<u8>,
    /// bug, feature, task, epic or chore
    #[arg(long = "type", value_name = "TYPE", value_parser = issue_type)]
    pub issue_type: Option<String>,
    /// The issue it is a part of; an empty text means none
    #[arg(long, value_name = "ID")]
    pub parent: Option<String>,
    /// An entry of the metadata; VALUE is JSON, or a text; `null` removes the key
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = meta)]
    pub meta: Vec<(String, Value)>,
    /// Estimated work, in minutes; an empty text means none
    #[arg(long, value_name = "MINUTES", value_parser = edit::<u32>)]
    pub estimate: Option<Edit<u32>>,
    /// Not ready before this moment, such as 2026-01-31T12:00:00Z; an empty text means at once
    #[arg(long, value_name = "MOMENT", value_parser = edit::<Timestamp>)]
    pub defer: Option<Edit<Timestamp>>,
}

/// A new issue.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// One line
    pub title: String,
    /// What can be changed later
    #[command(flatten)]
    pub fields: FieldArgs,
    /// A word to sort issues by; may be given several times
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    pub labels: Vec<String>,
    /// For whom it is meant
    #[arg(long, value_name = "NAME")]
    pub assignee: Option<String>,
    /// The issue it was found in
    #[arg(long, value_name = "ID")]
    pub discovered_from: Option<String>,
    /// Start it blocked, waiting for this
    #[arg(long, value_name = "NOTES")]
    pub blocked: Option<String>,
}

/// Changes of an issue.
#[derive(Debug, Clone, Args)]
pub struct UpdateArgs {
    /// Its id, or a beginning of it that no other issue has
    pub id: String,
    /// New title
    #[arg(long)]
    pub title: Option<String>,
    /// What it was made with
    #[command(flatten)]
    pub fields: FieldArgs,
    /// A label to add; may be given several times
    #[arg(long = "add-label", value_name = "LABEL", value_parser = label)]
    pub add_labels: Vec<String>,
    /// A label to take away; may be given several times
    #[arg(long = "remove-label", value_name = "LABEL", value_parser = label)]
    pub remove_labels: Vec<String>,
    /// `in_progress` claims, `open` gives back or unblocks, `blocked` and `closed` end the work
    #[arg(long, value_parser = status)]
    pub status: Option<Status>,
    /// Yourself, to claim it; an empty text gives it back
    #[arg(long, value_name = "NAME")]
    pub assignee: Option<String>,
    /// What it waits for
    #[arg(long, value_name = "NOTES")]
    pub notes: Option<String>,
    /// Also if somebody else holds it
    #[arg(long)]
    pub force: bool,
}

/// Entries of metadata; a later one replaces an earlier one of the same key.
pub(super) fn metadata(entries: &[(String, Value)]) -> Map<String, Value> {
    entries.iter().cloned().collect()
}

/// Welcome values of metadata; several of one key mean any of them.
pub(in crate::cli) fn takes(entries: &[(String, Value)]) -> Takes {
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

pub(in crate::cli) fn meta(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    if key.is_empty() {
        return Err("the key before `=` is missing".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((key.to_owned(), value))
}

fn label(text: &str) -> Result<String, String> {
    label_from_text(text).map_err(|wrong| wrong.to_string())
}

/// A value, or an empty text, which empties the field.
fn edit<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Edit<T>, String> {
    match text.trim() {
        "" => Ok(Edit::Clear),
        text => text.parse().map(Edit::Set).map_err(|error: T::Err| error.to_string()),
    }
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
