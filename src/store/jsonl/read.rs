//! Which issues a file or a folder of files holds.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::lines::{self, Bad, Line, Unreadable};
use super::{beads, original};
use crate::id::{Fingerprint, IssueId};
use crate::store::transfer::{Format, Import, Incoming, Remark, Remarks, remark};

/// The files of a folder, of either program. The first must be there.
pub const FILES: [&str; 6] =
    ["issues.jsonl", "dependencies.jsonl", "labels.jsonl", "comments.jsonl", "events.jsonl", "config.jsonl"];

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct Part<'b> {
    /// What messages call it.
    pub name: &'b str,
    /// Which of `FILES` it is; a single file is `issues.jsonl` whatever it is called.
    pub role: &'b str,
    /// All of it.
    pub bytes: &'b [u8],
}

/// Reads what the files hold.
///
/// # Errors
/// Lines that cannot be read, each with its place.
pub fn read(parts: &[Part<'_>]) -> Result<Import, Unreadable> {
    let mut bad = Bad::default();
    let mut reading = Reading::default();
    for part in parts.iter().filter(|part| part.role == FILES[0]) {
        for line in lines::objects(part.name, part.bytes, &mut bad) {
            reading.line(line, &mut bad);
        }
    }
    for part in parts.iter().filter(|part| part.role != FILES[0]) {
        let lines = lines::objects(part.name, part.bytes, &mut bad);
        reading.beside(*part, lines, &mut bad);
    }
    let import = reading.understand(&mut bad);
    bad.finish().map(|()| import)
}

#[derive(Default)]
struct Reading {
    /// Each id once, in the order of the file.
    issues: Vec<Line>,
    at: BTreeMap<String, usize>,
    lines: BTreeMap<String, Value>,
    remarks: Remarks,
}

impl Reading {
    /// A line of the file of issues.
    fn line(&mut self, line: Line, bad: &mut Bad) {
        let kind = line.object.get("_type").and_then(Value::as_str);
        let id = line.object.get("id").and_then(Value::as_str).map(str::to_owned);
        match (kind, id) {
            (None | Some("issue"), Some(id)) => self.issue(id, line),
            (Some("issue"), None) => bad.add(&line.place, "`id` is missing; give the id of the issue"),
            (Some(kind), _) => {
                let name = line.object.get("key").and_then(Value::as_str).map(str::to_owned);
                let name = name.unwrap_or_else(|| fingerprint(&line.object));
                self.lines.insert(format!("{kind}/{name}"), Value::Object(line.object));
            }
            (None, None) if line.object.contains_key("_schema") => {
                self.lines.insert("_schema".to_owned(), Value::Object(line.object));
            }
            (None, None) => bad.add(
                &line.place,
                "neither an issue (`id` is missing) nor a line of another kind (`_type`); repair the line or remove \
                 it, and import again",
            ),
        }
    }

    fn issue(&mut self, id: String, line: Line) {
        let Some(&n) = self.at.get(&id) else {
            self.at.insert(id, self.issues.len());
            self.issues.push(line);
            return;
        };
        let earlier = &mut self.issues[n];
        if earlier.object == line.object {
            return;
        }
        remark(&mut self.remarks, Remark::RepeatedId, format!("{id} ({}, {})", earlier.place, line.place));
        if changed_at(&line.object) >= changed_at(&earlier.object) {
            *earlier = line;
        }
    }

    /// The lines of a file beside the issues.
    fn beside(&mut self, part: Part<'_>, lines: Vec<Line>, bad: &mut Bad) {
        match part.role {
            "dependencies.jsonl" => {
                for line in lines {
                    let owner = if line.object.contains_key("from_id") { "from_id" } else { "issue_id" };
                    self.attach(line, owner, "dependencies", bad);
                }
            }
            "comments.jsonl" => {
                for line in lines {
                    self.attach(line, "issue_id", "comments", bad);
                }
            }
            "labels.jsonl" => {
                for line in lines {
                    self.attach(line, "issue_id", "labels", bad);
                }
            }
            "events.jsonl" => {
                if !lines.is_empty() {
                    remark(&mut self.remarks, Remark::History, format!("{} ({})", part.name, lines.len()));
                }
                lines.iter().for_each(|line| self.close_reason(&line.object));
            }
            _ => {
                for line in lines {
                    let key = line.object.get("key").and_then(Value::as_str).map(str::to_owned);
                    let key = key.unwrap_or_else(|| fingerprint(&line.object));
                    self.lines.insert(format!("config/{key}"), Value::Object(line.object));
                }
            }
        }
    }

    /// Puts what stands in a file of its own into its issue.
    fn attach(&mut self, line: Line, owner: &str, key: &str, bad: &mut Bad) {
        let Some(id) = line.object.get(owner).and_then(Value::as_str) else {
            bad.add(&line.place, format!("`{owner}` is missing; give the id of the issue it belongs to"));
            return;
        };
        let Some(&n) = self.at.get(id) else {
            remark(&mut self.remarks, Remark::Orphan, format!("{id} ({})", line.place));
            return;
        };
        let item = match key {
            "labels" => line.object.get("label").cloned().unwrap_or_default(),
            _ => Value::Object(line.object),
        };
        let list = self.issues[n].object.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        match list {
            Value::Array(list) => list.push(item),
            _ => bad
                .add(&line.place, format!("the issue's own `{key}` is not a list; make it one or remove it")),
        }
    }

    /// The issue-manager says only in its events why an issue was closed.
    fn close_reason(&mut self, event: &Map<String, Value>) {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        let (Some("closed"), Some(id)) = (text("event_type"), text("issue_id")) else { return };
        let Some(reason) = event.get("changes").and_then(|changes| changes.get("reason")) else { return };
        let Some(&n) = self.at.get(id) else { return };
        let object = &mut self.issues[n].object;
        if original::is_one(object) && object.get("status").and_then(Value::as_str) == Some("closed") {
            object.insert("close_reason".to_owned(), reason.clone());
        }
    }

    fn understand(self, bad: &mut Bad) -> Import {
        let Self { issues, lines, mut remarks, .. } = self;
        let mut import = Import { lines, ..Import::default() };
        for Line { place, object } in issues {
            if object.get("status").and_then(Value::as_str) == Some("tombstone") {
                let id = object.get("id").and_then(Value::as_str).unwrap_or_default();
                import.lines.insert(format!("tombstone/{id}"), Value::Object(object));
                continue;
            }
            let read = match original::is_one(&object) {
                true => original::incoming(object, &mut remarks),
                false => beads::incoming(object, &mut remarks),
            };
            if let Some(incoming) = bad.check(&place, read) {
                count_kept(&incoming, &mut import.kept_fields);
                import.issues.push(incoming);
            }
        }
        import.remarks = remarks;
        import
    }
}

fn changed_at(object: &Map<String, Value>) -> Option<crate::clock::Timestamp> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).and_then(|text| text.parse().ok());
    text("updated_at").or_else(|| text("created_at"))
}

fn fingerprint(object: &Map<String, Value>) -> String {
    Fingerprint::of_json(&Value::Object(object.clone())).to_string()
}

/// Counts the fields that say something and that nothing here looks at.
fn count_kept(incoming: &Incoming, counts: &mut BTreeMap<String, usize>) {
    let understood: &[&str] = match incoming.original.format {
        Format::Beads => &beads::UNDERSTOOD,
        Format::IssueManager => &original::UNDERSTOOD,
    };
    for (key, value) in &incoming.original.object {
        if says_something(value) && !understood.contains(&key.as_str()) {
            *counts.entry(key.clone()).or_default() += 1;
        }
    }
}

/// Whether a value is not just the absence of one; some files write every column.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty() && text != "{}",
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// The id of the issue that such a kept line says was deleted.
pub(in crate::store) fn deleted(key: &str) -> Option<IssueId> {
    key.strip_prefix("tombstone/").map(IssueId::new)
}
