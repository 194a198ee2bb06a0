//! What a run came to, folded from its happenings: work by phase and role, issues with who closed them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::chat::Usage;
use crate::clock::Timestamp;
use crate::event::{Envelope, Happening, PhaseEnd};
use crate::id::{IssueId, PhaseId, RoleId};
use crate::issue::Status;
use crate::price::Usd;

/// The fold.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    rows: IndexMap<(PhaseId, RoleId), Row>,
    ends: BTreeMap<PhaseId, PhaseEnd>,
    issues: IndexMap<IssueId, Line>,
}

/// Titles of columns whose values another run of the same has otherwise.
const PASSING: [&str; 4] = ["tokens in (cached)", "tokens out", "cost", "time"];

/// What a role did in a phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Sessions begun.
    pub sessions: u32,
    /// Model calls answered.
    pub turns: u32,
    /// Attempts that failed and were tried again.
    pub retries: u32,
    /// Tool calls answered.
    pub tool_calls: u32,
    /// Tool calls that failed.
    pub tool_errors: u32,
    /// Tokens, those of failed calls among them.
    pub usage: Usage,
    /// What they cost.
    pub cost: Cost,
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
}

/// What calls cost, as far as it is known: what nobody knows the price of is not free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Of the calls whose price is known.
    pub usd: Usd,
    /// Calls whose price is known.
    pub priced: u32,
    /// Calls whose price is not known.
    pub unpriced: u32,
}

impl Cost {
    /// Adds a call.
    pub fn add(&mut self, cost: Option<Usd>) {
        match cost {
            Some(usd) => {
                self.usd += usd;
                self.priced += 1;
            }
            None => self.unpriced += 1,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            usd: self.usd + other.usd,
            priced: self.priced + other.priced,
            unpriced: self.unpriced + other.unpriced,
        }
    }

    /// The dollars, if the price of any call is known.
    pub fn known(&self) -> Option<Usd> {
        (self.priced > 0 || self.unpriced == 0).then_some(self.usd)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.priced, self.unpriced) {
            (_, 0) => self.usd.fmt(f),
            (0, _) => f.write_str("unpriced"),
            (_, unpriced) => write!(f, "{} + {unpriced} unpriced", self.usd),
        }
    }
}

/// What a run has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Model calls answered.
    pub turns: u64,
    /// Tokens, in and out.
    pub tokens: u64,
    /// What they cost.
    pub cost: Cost,
}

#[derive(Debug, Clone)]
struct Line {
    title: String,
    status: Status,
    closed_by: Option<String>,
    claims: u32,
}

impl Summary {
    /// Takes one happening in.
    pub fn heard(&mut self, envelope: &Envelope) {
        if let (Some(phase), Some(role)) = (&envelope.phase, &envelope.role) {
            let row = self.rows.entry((phase.clone(), role.clone())).or_default();
            row.began.get_or_insert(envelope.ts);
            row.ended = Some(envelope.ts);
            row.heard(&envelope.event);
        }
        match &envelope.event {
            Happening::PhaseEnded { end, .. } => {
                self.ends.extend(envelope.phase.clone().map(|phase| (phase, *end)));
            }
            Happening::IssueChanged { issue, title, change, status, actor } => {
                let line = self.issues.entry(issue.clone()).or_insert_with(|| Line {
                    title: title.clone(),
                    status: *status,
                    closed_by: None,
                    claims: 0,
                });
                line.title.clone_from(title);
                line.status = *status;
                line.claims += u32::from(change == "claimed");
                line.closed_by = (*status == Status::Closed).then(|| actor.clone());
            }
            _ => {}
        }
    }

    /// The tables for people.
    pub fn render(&self) -> String {
        tables(&self.work(), &self.issue_lines(IssueId::to_string))
    }

    /// The same without tokens and durations, and with other names of issues: what is kept to be compared.
    pub fn render_to_compare(&self, name: impl Fn(&IssueId) -> String) -> String {
        let mut work = self.work();
        let kept: Vec<bool> = work[0].iter().map(|title| !PASSING.contains(&title.as_str())).collect();
        for line in &mut work {
            let mut kept = kept.iter();
            line.retain(|_| kept.next().copied().unwrap_or(true));
        }
        tables(&work, &self.issue_lines(name))
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let work = self.rows.iter().map(|((phase, role), row)| {
            json!({
                "phase": phase, "role": role, "outcome": self.ends.get(phase), "sessions": row.sessions,
                "turns": row.turns, "retries": row.retries, "tool_calls": row.tool_calls,
                "tool_errors": row.tool_errors, "usage": row.usage, "cost_usd": row.cost.known(),
                "unpriced_calls": row.cost.unpriced,
            })
        });
        let issues = self.issues.iter().map(|(id, line)| {
            json!({
                "id": id, "title": line.title, "status": line.status, "claims": line.claims,
                "closed_by": line.closed_by,
            })
        });
        let spent = self.spent();
        json!({
            "work": work.collect::<Vec<_>>(), "issues": issues.collect::<Vec<_>>(),
            "cost_usd": spent.cost.known(), "unpriced_calls": spent.cost.unpriced,
        })
    }

    /// What everybody together has used.
    pub fn spent(&self) -> Spent {
        self.rows.values().fold(Spent::default(), |spent, row| Spent {
            turns: spent.turns + u64::from(row.turns),
            tokens: spent.tokens + row.usage.total_input() + row.usage.output,
            cost: spent.cost.plus(row.cost),
        })
    }

    /// A line of titles, then one for each role in each phase.
    fn work(&self) -> Vec<Vec<String>> {
        let mut lines = vec![words(
            "phase|role|sessions|turns|tool calls|tokens in (cached)|tokens out|cost|time|outcome",
        )];
        for ((phase, role), row) in &self.rows {
            let tools = match row.tool_errors {
                0 => row.tool_calls.to_string(),
                failed => format!("{} ({failed} failed)", row.tool_calls),
            };
            let usage = row.usage;
            let cached = (usage.cache_read * 100).checked_div(usage.total_input()).unwrap_or(0);
            let time = match (row.began, row.ended) {
                (Some(began), Some(ended)) => ended.duration_since(began).as_millis(),
                _ => 0,
            };
            lines.push(vec![
                phase.to_string(),
                role.to_string(),
                row.sessions.to_string(),
                row.turns.to_string(),
                tools,
                format!("{} ({cached} %)", usage.total_input()),
                usage.output.to_string(),
                row.cost.to_string(),
                format!("{}.{} s", time / 1_000, time % 1_000 / 100),
                self.ends.get(phase).map_or("-", |end| end.as_str()).to_owned(),
            ]);
        }
        lines
    }

    fn issue_lines(&self, name: impl Fn(&IssueId) -> String) -> Vec<Vec<String>> {
        let mut lines = vec![words("issue|status|claims|closed by|title")];
        for (id, line) in &self.issues {
            lines.push(vec![
                name(id),
                line.status.to_string(),
                line.claims.to_string(),
                line.closed_by.clone().unwrap_or_else(|| "-".to_owned()),
                line.title.clone(),
            ]);
        }
        lines
    }
}

impl Row {
    fn heard(&mut self, event: &Happening) {
        match event {
            Happening::SessionStarted { .. } => self.sessions += 1,
            Happening::TurnEnded { usage, cost, .. } => {
                self.turns += 1;
                self.usage += *usage;
                self.cost.add(*cost);
            }
            Happening::CallWasted { usage, cost, .. } => {
                self.usage += *usage;
                self.cost.add(*cost);
            }
            Happening::Retry { .. } => self.retries += 1,
            Happening::ToolEnded { is_error, .. } => {
                self.tool_calls += 1;
                self.tool_errors += u32::from(*is_error);
            }
            _ => {}
        }
    }
}

/// The table of work and that of issues, each only if there is more in it than titles.
fn tables(work: &[Vec<String>], issues: &[Vec<String>]) -> String {
    let filled = [work, issues].into_iter().filter(|lines| lines.len() > 1);
    filled.map(table).collect::<Vec<_>>().join("\n")
}

/// Cells of a line, as they stand between bars.
pub fn words(line: &str) -> Vec<String> {
    line.split('|').map(str::to_owned).collect()
}

/// Columns as wide as their widest cell, the last one open.
pub fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}
