//! How a call of the issue tool becomes an operation of the queue, and how its mistakes are worded.

use serde_json::{Map, Value};

use super::IssueToolSetup;
use super::schema::{OPERATIONS, OperationInfo};
use super::shape::ListName;
use crate::clock::Timestamp;
use crate::id::IssueId;
use crate::issue::{EdgeType, ISSUE_TYPES, Status, Takes, label_from_text, priority_from_text};
use crate::limit;
use crate::store::{AttemptCount, Claim, Edit, Filter, NewIssue, Operation, Search, Update};

/// A call understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub operation: Operation,
    pub list: ListName,
}

/// Understands a call, or says what is wrong with it.
pub(super) fn call(input: &Map<String, Value>, setup: &IssueToolSetup) -> Result<Call, String> {
    let offered = || OPERATIONS.iter().filter(|operation| operation.is_for(setup.audience));
    let names = || offered().map(|operation| operation.name).collect::<Vec<_>>();
    let name = match input.get("operation") {
        Some(Value::String(name)) if !name.is_empty() => name.as_str(),
        _ => return Err(format!("Operation is required: one of {}", names().join(", "))),
    };
    let Some(info) = offered().find(|operation| operation.name == name) else {
        let near = suggest(name, &names());
        return Err(format!("Unknown operation: {name}{near}; there are {}", names().join(", ")));
    };
    let params = Params::new(info, input).map_err(failed)?;
    let operation = operation(name, &params, setup).map_err(failed)?;
    let list = if name == "get_ready" { ListName::Ready } else { ListName::Issues };
    Ok(Call { operation, list })
}

fn failed(why: impl std::fmt::Display) -> String {
    format!("Operation failed: {why}")
}

fn operation(name: &str, params: &Params<'_>, setup: &IssueToolSetup) -> Result<Operation, String> {
    let id = || params.id("issue_id");
    Ok(match name {
        "create" => Operation::Create(new_issue(params)?),
        "list" => Operation::List(filter(params)?),
        "search" => {
            Operation::Search(Search { query: params.required_text("query")?, filter: filter(params)? })
        }
        "get" => Operation::Get { id: id()? },
        "update" => Operation::Update(id()?, update(params, setup)?),
        "close" => {
            Operation::Close { id: id()?, reason: params.text("reason")?.unwrap_or_default(), force: false }
        }
        "add_dependency" => Operation::AddDependency {
            from: params.id("from_id")?,
            to: params.id("to_id")?,
            edge: params
                .word("dep_type", EdgeType::from_text, || EdgeType::ALL.map(EdgeType::as_str).to_vec())?
                .unwrap_or(EdgeType::Blocks),
        },
        "remove_dependency" => {
            Operation::RemoveDependency { from: params.id("from_id")?, to: params.id("to_id")? }
        }
        "get_ready" => {
            let mut filter = filter(params)?;
            if !params.flag("all")? {
                filter.takes = both(&setup.takes, filter.takes);
            }
            Operation::Ready(filter)
        }
        "get_blocked" => Operation::Blocked(filter(params)?),
        "claim" => Operation::Claim(Claim {
            id: params.optional_id("issue_id")?,
            takes: setup.takes.clone(),
            ..Claim::first(setup.lease, setup.max_attempts)
        }),
        "release" => Operation::Release {
            id: id()?,
            attempt: AttemptCount::Counted { limit: setup.max_attempts },
            force: false,
        },
        "block" => Operation::Block { id: id()?, notes: params.required_text("notes")?, force: false },
        "unblock" => Operation::Unblock { id: id()?, answer: params.text("answer")?.unwrap_or_default() },
        "reopen" => Operation::Reopen { id: id()? },
        "comment" => Operation::Comment { id: id()?, body: params.required_text("body")? },
        "history" => Operation::History { id: id()? },
        other => unreachable!("`{other}` is not among the operations"),
    })
}

fn new_issue(params: &Params<'_>) -> Result<NewIssue, String> {
    Ok(NewIssue {
        title: params.required_text("title")?,
        description: params.text("description")?.unwrap_or_default(),
        priority: params.priority()?,
        issue_type: params.issue_type()?,
        assignee: params.text("assignee")?,
        parent_id: params.optional_id("parent_id")?,
        discovered_from: params.optional_id("discovered_from")?,
        metadata: params.object("metadata")?,
        labels: params.labels("labels")?,
        estimate_minutes: params.edit("estimate_minutes", Params::number)?.apply(None),
        defer_until: params.edit("defer_until", Params::time)?.apply(None),
        blocking_notes: params.text("blocking_notes")?,
    })
}

fn filter(params: &Params<'_>) -> Result<Filter, String> {
    let takes = params.object("metadata")?.into_iter().map(|(key, value)| match value {
        Value::Array(any_of) => (key, any_of),
        value => (key, vec![value]),
    });
    let limit: Option<u32> = params.number("limit")?;
    if limit == Some(0) {
        return Err("limit must be at least 1".to_owned());
    }
    let limit = limit.map_or(limit::LIST_ROWS, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let assignee = params.text("assignee")?.filter(|name| !name.is_empty());
    let unassigned = params.flag("unassigned")?;
    if let Some(assignee) = assignee.as_ref().filter(|_| unassigned) {
        return Err(format!("nothing is both unassigned and of the assignee `{assignee}`; give one of them"));
    }
    Ok(Filter {
        statuses: params.statuses()?,
        priority: params.priority()?,
        issue_type: params.issue_type()?,
        assignee,
        unassigned,
        deferred: params.flag("deferred")?,
        labels: params.labels("labels")?,
        takes: Takes(takes.collect()),
        limit: Some(limit),
    })
}

/// What matches both.
fn both(one: &Takes, two: Takes) -> Takes {
    let mut all = one.clone();
    for (key, values) in two.0 {
        let welcome = all.0.entry(key).or_insert_with(|| values.clone());
        welcome.retain(|value| values.contains(value));
    }
    all
}

fn update(params: &Params<'_>, setup: &IssueToolSetup) -> Result<Update, String> {
    Ok(Update {
        title: params.text("title")?,
        description: params.text("description")?,
        status: params.status()?,
        priority: params.priority()?,
        issue_type: params.issue_type()?,
        assignee: params.text("assignee")?,
        blocking_notes: params.text("blocking_notes")?,
        metadata: params.object("metadata")?,
        add_labels: params.labels("add_labels")?,
        remove_labels: params.labels("remove_labels")?,
        parent_id: params.edit("parent_id", Params::optional_id)?,
        estimate_minutes: params.edit("estimate_minutes", Params::number)?,
        defer_until: params.edit("defer_until", Params::time)?,
        lease: Some(setup.lease),
        max_attempts: Some(setup.max_attempts),
        takes: setup.takes.clone(),
        force: false,
    })
}

/// The parameters of a call, from `params` and from beside it.
struct Params<'a> {
    given: Map<String, Value>,
    info: &'a OperationInfo,
}

impl<'a> Params<'a> {
    fn new(info: &'a OperationInfo, input: &Map<String, Value>) -> Result<Self, String> {
        let mut given = match input.get("params") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(given)) => given.clone(),
            Some(other) => return Err(format!("params must be an object, not {other}")),
        };
        for (name, value) in
            input.iter().filter(|(name, _)| !["operation", "params"].contains(&name.as_str()))
        {
            if given.get(name).is_some_and(|inner| inner != value) {
                return Err(format!(
                    "`{name}` is given twice, with different values; give it in params only"
                ));
            }
            given.insert(name.clone(), value.clone());
        }
        // Models fill what they leave out with nulls.
        given.retain(|_, value| !value.is_null());
        for name in given.keys() {
            if !info.parameters().any(|parameter| parameter == name) {
                return Err(unknown(name, info));
            }
        }
        for name in info.required {
            if !given.contains_key(*name) {
                return Err(format!("{name} is required for {}", info.name));
            }
        }
        Ok(Self { given, info })
    }

    fn wrong(&self, name: &str, wanted: &str) -> String {
        format!("`{name}` of {} must be {wanted}, not {}", self.info.name, self.given[name])
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.given.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    fn required_text(&self, name: &str) -> Result<String, String> {
        self.text(name)?.ok_or_else(|| format!("{name} is required for {}", self.info.name))
    }

    fn id(&self, name: &str) -> Result<IssueId, String> {
        self.optional_id(name)?.ok_or_else(|| format!("{name} is required for {}", self.info.name))
    }

    /// An empty text counts as absent: models fill what they leave out with those too.
    fn optional_id(&self, name: &str) -> Result<Option<IssueId>, String> {
        let text = self.text(name)?.map(|text| text.trim().to_owned());
        Ok(text.filter(|text| !text.is_empty()).map(IssueId::new))
    }

    /// What becomes of a field: an empty text empties it.
    fn edit<T>(
        &self,
        name: &str,
        read: impl Fn(&Self, &str) -> Result<Option<T>, String>,
    ) -> Result<Edit<T>, String> {
        match self.given.get(name) {
            None => Ok(Edit::Keep),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(Edit::Clear),
            Some(_) => Ok(read(self, name)?.map_or(Edit::Clear, Edit::Set)),
        }
    }

    /// One text, or a list of them.
    fn texts(&self, name: &str) -> Result<Vec<&str>, String> {
        let wrong = || self.wrong(name, "a list of texts");
        match self.given.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().ok_or_else(wrong)).collect(),
            Some(_) => Err(wrong()),
        }
    }

    fn labels(&self, name: &str) -> Result<Vec<String>, String> {
        let texts = self.texts(name)?.into_iter();
        texts.map(|text| label_from_text(text).map_err(|wrong| wrong.to_string())).collect()
    }

    fn object(&self, name: &str) -> Result<Map<String, Value>, String> {
        match self.given.get(name) {
            None => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object.clone()),
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.given.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u32>, String> {
        let Some(value) = self.given.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(name, "a whole number that is not negative"))
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.wrong(name, "a moment such as 2026-01-31T12:00:00Z"))
    }

    fn word<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Option<T>,
        words: impl Fn() -> Vec<&'static str>,
    ) -> Result<Option<T>, String> {
        let text = self.text(name)?;
        text.map(|text| one_of(name, &text, read, words)).transpose()
    }

    fn status(&self) -> Result<Option<Status>, String> {
        self.word("status", Status::from_text, || Status::ALL.map(Status::as_str).to_vec())
    }

    fn statuses(&self) -> Result<Vec<Status>, String> {
        let words = || Status::ALL.map(Status::as_str).to_vec();
        let texts = self.texts("status")?.into_iter();
        texts.map(|text| one_of("status", text, Status::from_text, words)).collect()
    }

    fn issue_type(&self) -> Result<Option<String>, String> {
        let known = |word: &str| ISSUE_TYPES.contains(&word).then(|| word.to_owned());
        self.word("issue_type", known, || ISSUE_TYPES.to_vec())
    }

    fn priority(&self) -> Result<Option<u8>, String> {
        let text = match self.given.get("priority") {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(value @ Value::Number(_)) => value.to_string(),
            Some(_) => return Err(self.wrong("priority", "a number or a word")),
        };
        if let Some(priority) = priority_from_text(text.trim()) {
            return Ok(Some(priority));
        }
        if text.trim().parse::<i64>().is_ok() {
            return Err(format!("Priority must be 0-4 (0 is worked first), not {text}"));
        }
        Err(format!(
            "Invalid priority value: {text}; it must be 0-4 or one of critical, high, medium, low, deferred"
        ))
    }
}

fn one_of<T>(
    name: &str,
    text: &str,
    read: impl Fn(&str) -> Option<T>,
    words: impl Fn() -> Vec<&'static str>,
) -> Result<T, String> {
    read(text).ok_or_else(|| {
        let near = suggest(text, &words());
        format!("Invalid {name} `{text}`{near}; it must be one of {}", words().join(", "))
    })
}

fn unknown(name: &str, info: &OperationInfo) -> String {
    let allowed: Vec<_> = info.parameters().collect();
    let near = suggest(name, &allowed);
    if allowed.is_empty() {
        return format!("{} takes no parameters, not `{name}`", info.name);
    }
    format!("{} has no parameter `{name}`{near}; it takes {}", info.name, allowed.join(", "))
}

/// `, did you mean …?` when something is near.
fn suggest(word: &str, among: &[&'static str]) -> String {
    let alias = match word {
        "id" | "issue" | "bead_id" => Some("issue_id"),
        "notes" => Some("blocking_notes"),
        "type" => among.iter().copied().find(|name| name.ends_with("_type")),
        "comment" | "comments" => Some("body"),
        "text" => among.iter().copied().find(|name| ["body", "query"].contains(name)),
        "label" | "labels" | "tags" => among.iter().copied().find(|name| name.ends_with("labels")),
        "words" | "q" | "search" => Some("query"),
        "done" | "completed" | "complete" => Some("closed"),
        _ => None,
    };
    let near = || {
        let scored = among.iter().map(|name| (strsim::damerau_levenshtein(word, name), *name));
        scored.filter(|(distance, name)| *distance <= 1 + name.len() / 4).min().map(|(_, name)| name)
    };
    match alias.filter(|alias| among.contains(alias)).or_else(near) {
        Some(name) => format!(" (did you mean `{name}`?)"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keeps_what_both_welcome() {
        let takes = |key: &str, values: &[&str]| {
            Takes([(key.to_owned(), values.iter().map(|value| Value::from(*value)).collect())].into())
        };
        assert_eq!(both(&takes("a", &["1", "2"]), takes("a", &["2", "3"])), takes("a", &["2"]));
        assert_eq!(both(&Takes::default(), takes("a", &["1"])), takes("a", &["1"]));
        assert!(!both(&takes("a", &["1"]), takes("a", &["2"])).matches(&Map::new()));
    }
}
