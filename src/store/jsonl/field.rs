//! What one field of an object says, and what is wrong with it.

use std::collections::BTreeSet;

use jiff::civil;
use serde_json::{Map, Value};

use crate::clock::{Timestamp, micros};
use crate::id::IssueId;
use crate::issue::label_from_text;
use crate::limit;
use crate::store::transfer::{Remark, Remarks, remark};

/// An object whose fields are read.
pub(super) struct Fields<'o> {
    pub object: &'o Map<String, Value>,
    /// What remarks name.
    pub about: String,
}

impl Fields<'_> {
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
