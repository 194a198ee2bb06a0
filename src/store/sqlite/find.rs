//! Which issues match: lists, what is ready, what is blocked, what words occur in.

use std::cmp::Reverse;
use std::collections::HashMap;

use rusqlite::{Row, ToSql};

use super::read;
use super::row::{self, COLUMNS, READY, READY_ORDER};
use super::scope::{Outcome, Scope};
use crate::id::IssueId;
use crate::issue::{Issue, Status, Takes};
use crate::store::search::{Found, Words};
use crate::store::{Answer, BlockedIssue, Filter, Search};

/// What a filter says in SQL, all but the metadata; its parameters are those of `Terms`.
const MATCHING: &str = "(:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses))) \
    AND (:priority IS NULL OR priority = :priority) AND (:issue_type IS NULL OR issue_type = :issue_type) \
    AND (:assignee IS NULL OR assignee = :assignee) AND (NOT :unassigned OR assignee IS NULL) \
    AND (NOT :deferred OR defer_until > :now) AND (:labels IS NULL OR NOT EXISTS (SELECT 1 \
    FROM json_each(:labels) AS wanted WHERE wanted.value NOT IN (SELECT value FROM json_each(issues.labels))))";

/// A filter as parameters of a statement.
struct Terms<'f> {
    now: String,
    statuses: Option<String>,
    labels: Option<String>,
    filter: &'f Filter,
}

impl<'f> Terms<'f> {
    fn new(scope: &Scope<'_>, filter: &'f Filter) -> Self {
        let words: Vec<_> = filter.statuses.iter().map(|status| status.as_str().to_owned()).collect();
        let listed = |texts: &[String]| (!texts.is_empty()).then(|| row::labels_text(texts));
        Self {
            now: row::time_text(scope.at),
            statuses: listed(&words),
            labels: listed(&filter.labels),
            filter,
        }
    }

    fn params(&self) -> [(&'static str, &dyn ToSql); 8] {
        [
            (":now", &self.now),
            (":statuses", &self.statuses),
            (":priority", &self.filter.priority),
            (":issue_type", &self.filter.issue_type),
            (":assignee", &self.filter.assignee),
            (":unassigned", &self.filter.unassigned),
            (":deferred", &self.filter.deferred),
            (":labels", &self.labels),
        ]
    }
}

/// Issues in creation order.
pub(super) fn list(scope: &mut Scope<'_>, filter: &Filter) -> Outcome<Answer> {
    let (issues, total) = select(scope, filter, ("TRUE", "ORDER BY created_at, rowid"))?;
    Ok(Answer::Issues { issues, total })
}

/// Ready issues, first to be worked first.
pub(super) fn ready(scope: &mut Scope<'_>, filter: &Filter) -> Outcome<Answer> {
    let (issues, total) = select(scope, filter, (READY, READY_ORDER))?;
    Ok(Answer::Issues { issues, total })
}

/// Issues that cannot be worked on.
pub(super) fn blocked(scope: &mut Scope<'_>, filter: &Filter) -> Outcome<Answer> {
    let stuck = "status = 'blocked' OR (status <> 'closed' AND open_blockers > 0)";
    let (found, total) = select(scope, filter, (stuck, "ORDER BY created_at, rowid"))?;
    let mut issues = Vec::new();
    for issue in found {
        let blockers = read::blockers(scope.conn, &issue.id)?;
        issues.push(BlockedIssue { issue, blockers });
    }
    Ok(Answer::Blocked { issues, total })
}

/// Those among some that a filter lets through, as many as it wants, and how many there are.
fn select(
    scope: &mut Scope<'_>,
    filter: &Filter,
    (among, order): (&str, &str),
) -> Outcome<(Vec<Issue>, usize)> {
    scope.touch_all();
    let place = format!("FROM issues WHERE ({among}) AND {MATCHING}");
    let terms = Terms::new(scope, filter);
    let wanted = filter.limit.unwrap_or(usize::MAX);
    let counted_here = !filter.takes.0.is_empty();
    // Metadata are compared here, by the one function that says what matches, so SQL cannot stop at the limit then.
    let stop = if counted_here { -1 } else { i64::try_from(wanted).unwrap_or(-1) };
    let mut statement =
        scope.conn.prepare_cached(&format!("SELECT {COLUMNS} {place} {order} LIMIT {stop}"))?;
    let mut rows = statement.query(&terms.params()[..])?;
    let (mut issues, mut total) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let issue = row::read(row)?.issue;
        if !filter.takes.matches(&issue.metadata) {
            continue;
        }
        total += 1;
        if issues.len() < wanted {
            issues.push(issue);
        }
    }
    if !counted_here && stop >= 0 {
        let count: i64 = scope
            .conn
            .prepare_cached(&format!("SELECT count(*) {place}"))?
            .query_row(&terms.params()[..], |row| row.get(0))?;
        total = usize::try_from(count).unwrap_or(usize::MAX);
    }
    Ok((issues, total))
}

/// Issues in which every word occurs, best first.
pub(super) fn search(scope: &mut Scope<'_>, search: &Search) -> Outcome<Answer> {
    scope.touch_all();
    let words = Words::of(&search.query)?;
    let in_comments = within_comments(scope, &words)?;
    let mut hits = hits(scope, search, &words, &in_comments)?;
    hits.sort_unstable();
    let total = hits.len();
    hits.truncate(search.filter.limit.unwrap_or(usize::MAX));
    let mut issues = Vec::new();
    for hit in hits {
        issues.push(scope.get(&IssueId::new(hit.id))?.issue);
    }
    Ok(Answer::Issues { issues, total })
}

/// An issue with every word; the lowest comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    is_elsewhere: bool,
    is_closed: bool,
    updated_at: Reverse<String>,
    id: String,
}

fn within_comments(scope: &Scope<'_>, words: &Words) -> Outcome<HashMap<String, Found>> {
    let mut statement = scope.conn.prepare_cached("SELECT issue_id, body FROM comments")?;
    let mut rows = statement.query([])?;
    let mut found: HashMap<String, Found> = HashMap::new();
    while let Some(row) = rows.next()? {
        let here = words.within(text(row, 1)?);
        if here != Found::default() {
            *found.entry(text(row, 0)?.to_owned()).or_default() |= here;
        }
    }
    Ok(found)
}

fn hits(
    scope: &Scope<'_>,
    Search { filter, .. }: &Search,
    words: &Words,
    in_comments: &HashMap<String, Found>,
) -> Outcome<Vec<Hit>> {
    let sql = format!(
        "SELECT id, title, description, blocking_notes, close_reason, labels, status, updated_at, metadata \
         FROM issues WHERE {MATCHING}"
    );
    let terms = Terms::new(scope, filter);
    let mut statement = scope.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(&terms.params()[..])?;
    let mut hits = Vec::new();
    while let Some(row) = rows.next()? {
        let id = text(row, 0)?;
        let mut found = words.within(id);
        found |= words.within(text(row, 1)?);
        let is_elsewhere = !words.are_all(found);
        if is_elsewhere {
            found |= in_comments.get(id).copied().unwrap_or_default();
            for column in 2..=4 {
                found |= words.within(text(row, column)?);
            }
            if text(row, 5)? != "[]" {
                let labels: Vec<String> = row::json(row, "labels")?;
                labels.iter().for_each(|label| found |= words.within(label));
            }
        }
        if words.are_all(found) && is_taken(&filter.takes, row)? {
            hits.push(Hit {
                is_elsewhere,
                is_closed: text(row, 6)? == Status::Closed.as_str(),
                updated_at: Reverse(text(row, 7)?.to_owned()),
                id: id.to_owned(),
            });
        }
    }
    Ok(hits)
}

fn is_taken(takes: &Takes, row: &Row<'_>) -> rusqlite::Result<bool> {
    Ok(takes.0.is_empty() || takes.matches(&row::json(row, "metadata")?))
}

/// A text of a row, as it lies there; nothing when there is none.
fn text<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<&'r str> {
    Ok(row.get_ref(column)?.as_str_or_null()?.unwrap_or_default())
}
