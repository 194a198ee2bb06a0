//! Which issues match: lists, what is ready, what is blocked, what words occur in.

use std::cmp::Reverse;
use std::collections::HashMap;

use rusqlite::{Row, ToSql};

use super::read;
use super::row::{self, COLUMNS, FROM_READY, READY, READY_ORDER};
use super::scope::{Outcome, Scope};
use crate::id::IssueId;
use crate::issue::{Issue, Status, Takes};
use crate::store::search::{Found, Words};
use crate::store::{Answer, BlockedIssue, Filter, Search};

/// A filter in SQL, all but the metadata. Only what it asks for is named, so that an index can serve it.
struct Terms<'f> {
    now: String,
    one_status: Option<&'static str>,
    statuses: String,
    labels: String,
    filter: &'f Filter,
}

impl<'f> Terms<'f> {
    fn new(scope: &Scope<'_>, filter: &'f Filter) -> Self {
        let words: Vec<_> = filter.statuses.iter().map(|status| status.as_str().to_owned()).collect();
        Self {
            now: row::time_text(scope.at),
            one_status: match &filter.statuses[..] {
                [status] => Some(status.as_str()),
                _ => None,
            },
            statuses: row::labels_text(&words),
            labels: row::labels_text(&filter.labels),
            filter,
        }
    }

    /// The conditions.
    fn said(&self) -> Vec<&'static str> {
        let Filter { statuses, priority, issue_type, assignee, unassigned, deferred, labels, .. } =
            self.filter;
        let all = [
            // With one status the rows lie in the index in the order of creation.
            (self.one_status.is_some(), "status = :one_status"),
            (statuses.len() > 1, "status IN (SELECT value FROM json_each(:statuses))"),
            (priority.is_some(), "priority = :priority"),
            (issue_type.is_some(), "issue_type = :issue_type"),
            (assignee.is_some(), "assignee = :assignee"),
            (*unassigned, "assignee IS NULL"),
            (*deferred, "defer_until > :now"),
            (
                !labels.is_empty(),
                "NOT EXISTS (SELECT 1 FROM json_each(:labels) AS wanted \
                 WHERE wanted.value NOT IN (SELECT value FROM json_each(issues.labels)))",
            ),
        ];
        all.into_iter().filter(|(is_said, _)| *is_said).map(|(_, condition)| condition).collect()
    }

    /// The parameters that a statement names.
    fn params(&self, sql: &str) -> Vec<(&'static str, &dyn ToSql)> {
        let all: [(&str, &dyn ToSql); 7] = [
            (":now", &self.now),
            (":one_status", &self.one_status),
            (":statuses", &self.statuses),
            (":priority", &self.filter.priority),
            (":issue_type", &self.filter.issue_type),
            (":assignee", &self.filter.assignee),
            (":labels", &self.labels),
        ];
        all.into_iter().filter(|(name, _)| sql.contains(name)).collect()
    }
}

/// All of these conditions, as a statement has them.
fn sieve(conditions: &[&str]) -> String {
    if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) }
}

/// Among which issues a question selects, and how.
struct Among {
    from: &'static str,
    which: Option<&'static str>,
    order: &'static str,
}

/// Issues in creation order.
pub(super) fn list(scope: &mut Scope<'_>, filter: &Filter) -> Outcome<Answer> {
    let among = Among { from: "FROM issues", which: None, order: "ORDER BY created_at, rowid" };
    let (issues, total) = select(scope, filter, &among)?;
    Ok(Answer::Issues { issues, total })
}

/// Ready issues, first to be worked first.
pub(super) fn ready(scope: &mut Scope<'_>, filter: &Filter) -> Outcome<Answer> {
    let among = Among { from: FROM_READY, which: Some(READY), order: READY_ORDER };
    let (issues, total) = select(scope, filter, &among)?;
    Ok(Answer::Issues { issues, total })
}

/// Issues that cannot be worked on.
pub(super) fn blocked(scope: &mut Scope<'_>, filter: &Filter) -> Outcome<Answer> {
    let among = Among { from: "FROM issues", which: Some(STUCK), order: "ORDER BY created_at, rowid" };
    let (found, total) = select(scope, filter, &among)?;
    let mut issues = Vec::new();
    for issue in found {
        let blockers = read::blockers(scope.conn, &issue.id)?;
        issues.push(BlockedIssue { issue, blockers });
    }
    Ok(Answer::Blocked { issues, total })
}

/// Cannot be worked on. Names each status, so that the index of statuses serves it.
const STUCK: &str =
    "status IN ('open', 'in_progress', 'blocked') AND (status = 'blocked' OR open_blockers > 0)";

/// Those among some that a filter lets through, as many as it wants, and how many there are.
fn select(scope: &mut Scope<'_>, filter: &Filter, among: &Among) -> Outcome<(Vec<Issue>, usize)> {
    scope.touch_all();
    let terms = Terms::new(scope, filter);
    let said = terms.said();
    let all: Vec<&str> = among.which.into_iter().chain(said.iter().copied()).collect();
    let place = format!("{} {}", among.from, sieve(&all));
    let wanted = filter.limit.unwrap_or(usize::MAX);
    let counted_here = !filter.takes.0.is_empty();
    // Metadata are compared here, by the one function that says what matches, so SQL cannot stop at the limit then.
    let stop = if counted_here { -1 } else { i64::try_from(wanted).unwrap_or(-1) };
    let sql = format!("SELECT {COLUMNS} {place} {} LIMIT {stop}", among.order);
    let mut statement = scope.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(&terms.params(&sql)[..])?;
    let (mut issues, mut total) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if counted_here && !filter.takes.matches(&row::json(row, "metadata")?) {
            continue;
        }
        total += 1;
        if issues.len() < wanted {
            issues.push(row::read(row)?.issue);
        }
    }
    // Fewer than are wanted are all there are.
    if !counted_here && total >= wanted {
        total = match said.is_empty() && among.from == FROM_READY {
            true => read::count_ready(scope)?,
            false => {
                let sql = format!("SELECT count(*) {place}");
                let mut statement = scope.conn.prepare_cached(&sql)?;
                let count: i64 = statement.query_row(&terms.params(&sql)[..], |row| row.get(0))?;
                usize::try_from(count).unwrap_or(usize::MAX)
            }
        };
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
    let terms = Terms::new(scope, filter);
    let sql = format!(
        "SELECT id, title, description, blocking_notes, close_reason, labels, status, updated_at, metadata \
         FROM issues {}",
        sieve(&terms.said())
    );
    let mut statement = scope.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(&terms.params(&sql)[..])?;
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
