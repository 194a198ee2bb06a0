//! What one operation has at hand while it is applied, and what it leaves: changed rows, events, footprint, holds.

use rusqlite::{Connection, named_params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::row::{self, Stored};
use super::{edges, read};
use crate::clock::{Timestamp, micros};
use crate::event::{Access, Footprint};
use crate::id::{IssueId, RunId};
use crate::issue::{Issue, Status};
use crate::limit;
use crate::store::{Answer, Caller, Change, HoldChange, Notice, StoreError};

/// Why an operation stops: a refusal concerns it alone, an error of SQLite the whole transaction.
#[derive(Debug)]
pub(super) enum Fault {
    Refusal(StoreError),
    Sqlite(rusqlite::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refusal(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

pub(super) type Outcome<T> = Result<T, Fault>;

/// A value that a field cannot have.
pub(super) fn invalid(message: impl Into<String>) -> Fault {
    Fault::Refusal(StoreError::Invalid { message: message.into() })
}

/// A move that is not possible now.
pub(super) fn wrong_state(message: impl Into<String>) -> Fault {
    Fault::Refusal(StoreError::WrongState { message: message.into() })
}

/// Whether somebody else's hold is respected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Respect {
    Holds,
    Nobody,
}

impl Respect {
    pub fn unless(force: bool) -> Self {
        if force { Self::Nobody } else { Self::Holds }
    }
}

/// What is kept of a mutation, to be answered again to the same effect.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub answer: Answer,
    pub footprint: Footprint,
    pub holds: HoldChange,
    /// The commit number it took effect with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// What all operations that make issues write: two issues of one moment are told apart by which was made first.
const ORDER: &str = "issues:order";

/// One operation while it is applied.
pub(super) struct Scope<'c> {
    pub conn: &'c Connection,
    pub caller: &'c Caller,
    pub at: Timestamp,
    pub footprint: Footprint,
    pub holds: HoldChange,
    pub notices: Vec<Notice>,
}

impl<'c> Scope<'c> {
    pub fn new(conn: &'c Connection, caller: &'c Caller) -> Self {
        Self {
            conn,
            caller,
            at: micros(caller.at),
            footprint: Footprint::none(),
            holds: HoldChange::default(),
            notices: Vec::new(),
        }
    }

    /// Notes that the answer or the change depends on an issue, or changes it.
    pub fn touch(&mut self, access: Access, id: &IssueId) {
        let set = match access {
            Access::Read => &mut self.footprint.reads,
            Access::Write => &mut self.footprint.writes,
        };
        set.insert(format!("issue:{id}"));
    }

    /// Notes that the order among issues made at one moment depends on this operation.
    pub fn touch_order(&mut self) {
        self.footprint.writes.insert(ORDER.to_owned());
    }

    /// Notes that the answer depends on all issues.
    pub fn touch_all(&mut self) {
        self.footprint.reads.insert("issue:*".to_owned());
    }

    /// The footprint, shortened where it names more issues than is worth it, or less than a star beside it says.
    pub fn final_footprint(&self) -> Footprint {
        let mut footprint = self.footprint.clone();
        for set in [&mut footprint.reads, &mut footprint.writes] {
            if set.len() > limit::FOOTPRINT_NAMES || set.contains("issue:*") {
                set.retain(|name| name == ORDER);
                set.insert("issue:*".to_owned());
            }
        }
        footprint.reads.retain(|name| !footprint.writes.contains(name));
        footprint
    }

    /// An issue that must be there.
    pub fn get(&mut self, id: &IssueId) -> Outcome<Stored> {
        self.touch(Access::Read, id);
        row::find(self.conn, id)?
            .ok_or_else(|| Fault::Refusal(StoreError::NotFound { id: id.as_str().to_owned() }))
    }

    /// Whether the caller is the one who holds it.
    pub fn holds(&self, stored: &Stored) -> bool {
        stored
            .hold
            .as_ref()
            .is_some_and(|hold| hold.run == self.caller.run && hold.session == self.caller.holder)
    }

    /// Refuses when somebody else holds the issue, or has held it since the caller did.
    pub fn permit(&self, stored: &Stored, respect: Respect, remedy: &str) -> Outcome<()> {
        if respect == Respect::Nobody || self.holds(stored) {
            return Ok(());
        }
        let id = stored.issue.id.clone();
        let stale = self.caller.epochs.get(&id).is_some_and(|epoch| *epoch < stored.epoch);
        if stale {
            return Err(StoreError::Stale { id, holder: stored.holder() }.into());
        }
        if stored.hold.is_some() {
            let remedy = remedy.to_owned();
            return Err(StoreError::Held { id, holder: stored.holder(), remedy }.into());
        }
        Ok(())
    }

    /// Writes what has changed, and with it the event and the counters of the issues that wait for this one. Writes
    /// nothing when nothing has changed.
    pub fn save(&mut self, before: &Stored, mut after: Stored, event_type: &str) -> Outcome<Stored> {
        let changes = differences(&before.issue, &after.issue);
        if changes.is_empty() && before == &after {
            return Ok(after);
        }
        if !changes.is_empty() {
            after.issue.updated_at = self.at;
        }
        let id = after.issue.id.clone();
        self.touch(Access::Write, &id);
        row::update_from(self.conn, before, &after)?;
        self.note_hold(before, &after);
        if !changes.is_empty() {
            self.record(&after.issue, event_type, Value::Object(changes));
        }
        edges::spread(self, before, &after)?;
        Ok(after)
    }

    fn note_hold(&mut self, before: &Stored, after: &Stored) {
        let id = &after.issue.id;
        if before.hold.is_some() && after.hold.is_none() {
            self.holds.gained.remove(id);
            self.holds.ended.push(id.clone());
        }
        let held_before = self.holds(before) && before.epoch == after.epoch;
        if self.holds(after) && !held_before {
            // Of several holds within one operation only the last one counts.
            self.holds.ended.retain(|ended| ended != id);
            self.holds.gained.insert(id.clone(), after.epoch);
        }
    }

    /// Adds an event to those that the operation writes.
    pub fn record(&mut self, issue: &Issue, event_type: &str, changes: Value) {
        let change = Change {
            issue_id: issue.id.clone(),
            event_type: event_type.to_owned(),
            actor: self.caller.actor.clone(),
            changes,
            at: self.at,
        };
        let notice = Notice { change, title: issue.title.clone(), status: issue.status, foreign: false };
        self.notices.push(notice);
    }

    /// The answer that shows an issue as it is now.
    pub fn view(&mut self, id: &IssueId) -> Outcome<Answer> {
        let issue = self.get(id)?.issue;
        let comments = read::last_comments(self.conn, id)?;
        let dependencies = read::dependencies(self.conn, id)?;
        Ok(Answer::Issue(Box::new(crate::store::IssueView { issue, comments, dependencies, parts: None })))
    }

    /// Writes the events. The last one keeps the whole answer under the effect's id.
    pub fn write_events(&self, answer: &Answer, seq: Option<u64>) -> Outcome<()> {
        let mut insert = self.conn.prepare_cached(
            "INSERT INTO events (run_id, effect_id, issue_id, event_type, actor, session, changes, result, at) \
             VALUES (:run, :effect, :issue, :event_type, :actor, :session, :changes, :result, :at)",
        )?;
        let last = self.notices.len().saturating_sub(1);
        for (n, Notice { change, .. }) in self.notices.iter().enumerate() {
            let effect = self.caller.effect.as_ref().filter(|_| n == last && self.caller.run.is_some());
            let kept = effect.map(|_| {
                let kept = Kept {
                    answer: answer.clone(),
                    footprint: self.final_footprint(),
                    holds: self.holds.clone(),
                    seq,
                };
                serde_json::to_string(&kept).expect("an answer is plain data with text keys")
            });
            insert.execute(named_params! {
                ":run": self.caller.run.as_ref().map(RunId::as_str),
                ":effect": effect.map(crate::event::EffectId::as_str),
                ":issue": change.issue_id.as_str(),
                ":event_type": change.event_type,
                ":actor": change.actor,
                ":session": self.caller.holder,
                ":changes": change.changes.to_string(),
                ":result": kept,
                ":at": row::time_text(change.at),
            })?;
        }
        Ok(())
    }
}

/// What differs, field by field; when anything does, `updated_at` follows and is not listed.
fn differences(before: &Issue, after: &Issue) -> Map<String, Value> {
    let mut old = before.every_field();
    after
        .every_field()
        .into_iter()
        .filter_map(|(key, new)| {
            let old = old.remove(&key).unwrap_or_default();
            (old != new && key != "updated_at").then(|| (key, json!({"old": old, "new": new})))
        })
        .collect()
}

/// The status an entry of the event log led to, if the entry changed it.
pub(super) fn status_after(changes: &Value) -> Option<Status> {
    let text = changes.pointer("/status/new").or_else(|| changes.pointer("/issue/new/status"))?;
    Status::from_text(text.as_str()?)
}
