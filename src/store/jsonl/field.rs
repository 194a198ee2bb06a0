//! What one field of an object says, and what is wrong with it.

use std::collections::BTreeSet;

use jiff::civil;
use serde_json::{Map, Value, json};

use crate::clock::{Timestamp, micros};
use crate::id::IssueId;
use crate::issue::{Issue, Status, label_from_text};
use crate::limit;
use crate::store::transfer::{Remark, Remarks, remark};

/// An object whose fields are read.
pub(super) struct Fields<'o> {
    pub object: &'o Map<String, Value>,
    /// What remarks name.
    pub about: String,
}

impl<'o> Fields<'o> {
    /// The fields of an issue, which remarks call by its id.
    pub fn of_issue(object: &'o Map<String, Value>) -> Result<Self, String> {
        let nameless = Self { object, about: String::new() };
        let about = nameless.id("id")?.to_string();
        Ok(Self { about, ..nameless })
    }

    /// The issue, as far as every program writes it alike; the rest is empty.
    pub fn issue(&self, status: Status, priority: u8, remarks: &mut Remarks) -> Result<Issue, String> {
        let created_at = self.must_time("created_at", remarks)?;
        let updated_at = self.time("updated_at", remarks)?.unwrap_or(created_at);
        Ok(Issue {
            id: self.id("id")?,
            title: self.title()?,
            description: self.text("description")?.unwrap_or_default(),
            status,
            priority,
            issue_type: self.words("issue_type")?.unwrap_or_else(|| "task".to_owned()),
            assignee: self.words("assignee")?,
            parent_id: None,
            blocking_notes: self.words("blocking_notes")?,
            metadata: self.metadata(remarks),
            labels: self.labels(remarks),
            estimate_minutes: None,
            defer_until: None,
            close_reason: self.words("close_reason")?,
            created_at,
            updated_at,
            closed_at: self.closed_at(status, updated_at, remarks)?,
            attempt: 0,
        })
    }

    /// Closed exactly when there is a moment of closing.
    fn closed_at(
        &self,
        status: Status,
        updated_at: Timestamp,
        remarks: &mut Remarks,
    ) -> Result<Option<Timestamp>, String> {
        let found = self.time("closed_at", remarks)?;
        match (status == Status::Closed, found) {
            (true, None) => {
                remark(remarks, Remark::NoClosedAt, self.about.clone());
                Ok(Some(updated_at))
            }
            (false, Some(_)) => {
                remark(remarks, Remark::StrayClosedAt, self.about.clone());
                Ok(None)
            }
            (_, found) => Ok(found),
        }
    }

    /// A text; `None` when absent or null.
    pub fn text(&self, key: &str) -> Result<Option<String>, String> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(format!("`{key}` is {}; it must be a text", kind(other))),
        }
    }

    /// A text that says something.
    pub fn words(&self, key: &str) -> Result<Option<String>, String> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    /// An id that must be there.
    pub fn id(&self, key: &str) -> Result<IssueId, String> {
        let text = self.words(key)?.ok_or_else(|| format!("`{key}` is missing; give the id of the issue"))?;
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("`{key}` is {text:?}; an id has no spaces"));
        }
        Ok(IssueId::new(text))
    }

    /// The title, which must say something on one line.
    pub fn title(&self) -> Result<String, String> {
        let title = self.text("title")?.unwrap_or_default().trim().to_owned();
        let length = title.chars().count();
        if length == 0 {
            return Err("`title` is missing; say in one line what is to be done".to_owned());
        }
        if length > limit::TITLE_CHARS {
            return Err(format!(
                "`title` has {length} characters, and {} are allowed; put the rest into the description",
                limit::TITLE_CHARS
            ));
        }
        Ok(title)
    }

    /// The priority; `None` when absent or null.
    pub fn priority(&self) -> Result<Option<u8>, String> {
        match self.object.get("priority") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(priority @ 0..=4) => Ok(u8::try_from(priority).ok()),
                _ => Err(format!("`priority` is {value}; it must be 0 to 4, 0 is worked first")),
            },
        }
    }

    /// A number of minutes or attempts; what is none is remarked upon.
    pub fn count(&self, key: &str, remarks: &mut Remarks) -> Option<u32> {
        let value = self.object.get(key).filter(|value| !value.is_null())?;
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        if count.is_none() {
            remark(remarks, Remark::OtherValue, format!("{} {key}", self.about));
        }
        count
    }

    /// A moment, to the microsecond; `None` when absent, null or empty.
    pub fn time(&self, key: &str, remarks: &mut Remarks) -> Result<Option<Timestamp>, String> {
        let Some(text) = self.words(key)? else { return Ok(None) };
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Some(micros(at)));
        }
        let wrong = || format!("`{key}` is {text:?}; it must be a time such as 2026-01-31T12:00:00Z");
        let local: civil::DateTime = text.parse().map_err(|_| wrong())?;
        let zoned = local.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
        remark(remarks, Remark::LocalTime, format!("{} {key}", self.about));
        Ok(Some(micros(zoned.timestamp())))
    }

    /// A moment that must be there.
    pub fn must_time(&self, key: &str, remarks: &mut Remarks) -> Result<Timestamp, String> {
        let found = self.time(key, remarks)?;
        found.ok_or_else(|| format!("`{key}` is missing; give a time such as 2026-01-31T12:00:00Z"))
    }

    /// Metadata, as an object or as the text of one; what is neither is remarked upon.
    pub fn metadata(&self, remarks: &mut Remarks) -> Map<String, Value> {
        let found = match self.object.get("metadata") {
            None | Some(Value::Null) => return Map::new(),
            Some(Value::String(text)) if text.is_empty() => return Map::new(),
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
            Some(value) => value.clone(),
        };
        if let Value::Object(mut map) = found {
            // A null removes a key here; the file keeps it.
            map.retain(|_, value| !value.is_null());
            return map;
        }
        remark(remarks, Remark::OtherMetadata, self.about.clone());
        Map::new()
    }

    /// Labels, each once and in order; what cannot be one is remarked upon.
    pub fn labels(&self, remarks: &mut Remarks) -> Vec<String> {
        let items = match self.object.get("labels") {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(items)) => items.as_slice(),
            Some(other) => std::slice::from_ref(other),
        };
        let is_list = self.object["labels"].is_array();
        let labels: BTreeSet<_> = items.iter().filter_map(label).filter(|_| is_list).collect();
        if !is_list || items.iter().any(|item| label(item).is_none()) {
            remark(remarks, Remark::OtherValue, format!("{} labels", self.about));
        }
        labels.into_iter().collect()
    }

    /// Objects of a list; absent and null are empty.
    pub fn objects(&self, key: &str) -> Result<Vec<&Map<String, Value>>, String> {
        let wrong = |value: &Value| format!("`{key}` holds {}; it must be a list of objects", kind(value));
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_object().ok_or_else(|| wrong(item))).collect()
            }
            Some(other) => Err(wrong(other)),
        }
    }
}

/// The fields of an issue that every program writes alike, null where there is nothing.
pub(super) fn known(issue: &Issue) -> Vec<(&'static str, Value)> {
    vec![
        ("id", json!(issue.id)),
        ("title", json!(issue.title)),
        ("description", json!(issue.description)),
        ("status", json!(issue.status)),
        ("priority", json!(issue.priority)),
        ("issue_type", json!(issue.issue_type)),
        ("assignee", json!(issue.assignee)),
        ("created_at", json!(issue.created_at)),
        ("updated_at", json!(issue.updated_at)),
        ("closed_at", json!(issue.closed_at)),
        ("blocking_notes", json!(issue.blocking_notes)),
    ]
}

/// The label that an item of a list is, if it can be one.
pub(super) fn label(item: &Value) -> Option<String> {
    let text = item.as_str()?;
    label_from_text(text).ok().filter(|label| label == text)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> (Result<Option<String>, String>, Remarks) {
        let object = Map::from_iter([("at".to_owned(), Value::from(text))]);
        let mut remarks = Remarks::new();
        let found = Fields { object: &object, about: "x-1".to_owned() }.time("at", &mut remarks);
        (found.map(|at| at.map(|at| at.to_string())), remarks)
    }

    #[test]
    fn times_have_any_zone_and_any_digits() {
        for (text, wanted) in [
            ("2025-10-14T14:43:06Z", "2025-10-14T14:43:06Z"),
            ("2025-10-14T14:43:06.5-07:00", "2025-10-14T21:43:06.5Z"),
            ("2025-10-14T14:43:06.123456789+05:30", "2025-10-14T09:13:06.123456Z"),
        ] {
            assert_eq!(time(text), (Ok(Some(wanted.to_owned())), Remarks::new()), "{text}");
        }
        let (found, remarks) = time("2025-10-14T14:43:06.25");
        assert_eq!(found, Ok(Some("2025-10-14T14:43:06.25Z".to_owned())));
        assert_eq!(remarks[&Remark::LocalTime], ["x-1 at"]);
        assert!(time("yesterday").0.is_err());
        assert_eq!(time("").0, Ok(None));
    }
}
