//! Why is an issue not ready? Every reason there is, from the whole queue at one moment. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::table::one_line;
use crate::clock::Timestamp;
use crate::id::{IssueId, RunId};
use crate::issue::{EdgeType, Hold, Issue, Status, Takes};
use crate::store::{Change, Graph};

/// Whether an issue is ready, and what keeps it from being so.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Why {
    id: IssueId,
    #[serde(skip)]
    title: String,
    ready: bool,
    reasons: Vec<Reason>,
}

/// Something that keeps an issue from being ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
enum Reason {
    Closed { at: Option<Timestamp>, close_reason: Option<String> },
    Held { holder: String, run: Option<RunId>, lease_until: Timestamp, lapsed: bool },
    Blocked { notes: Option<String> },
    GivenUp { attempts: u32, notes: Option<String> },
    WaitsFor(Blocker),
    PartBlocked { through: Vec<IssueId>, notes: Option<String> },
    PartWaitsFor { through: Vec<IssueId>, blocker: Blocker },
    Deferred { until: Timestamp },
    NotTaken { key: String, takes: Vec<Value>, has: Option<Value> },
}

/// An open issue that is waited for.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Blocker {
    id: IssueId,
    status: Status,
    title: String,
    holder: Option<String>,
}

/// What the answer is about.
pub(super) struct Question<'a> {
    pub id: &'a IssueId,
    pub takes: &'a Takes,
    pub graph: &'a Graph,
    /// What happened to the issue.
    pub history: &'a [Change],
    pub now: Timestamp,
}

impl Question<'_> {
    /// Every reason; `None` when there is no such issue.
    pub(super) fn answer(&self) -> Option<Why> {
        let issues: BTreeMap<&IssueId, &Issue> =
            self.graph.snapshot.issues.iter().map(|issue| (&issue.id, issue)).collect();
        let issue = *issues.get(self.id)?;
        let mut reasons = Vec::new();
        reasons.extend(self.status(issue));
        if issue.status != Status::Closed {
            let blockers = self.blockers(&issues, self.id);
            reasons.extend(blockers.into_iter().map(Reason::WaitsFor));
            reasons.extend(self.inherited(&issues));
            let deferred = issue.defer_until.filter(|until| *until > self.now);
            reasons.extend(deferred.map(|until| Reason::Deferred { until }));
        }
        reasons.extend(self.not_taken(issue));
        let (id, title) = (issue.id.clone(), issue.title.clone());
        Some(Why { id, title, ready: reasons.is_empty(), reasons })
    }

    fn hold(&self, id: &IssueId) -> Option<&Hold> {
        self.graph.snapshot.holds.iter().find(|hold| hold.issue == *id)
    }

    fn status(&self, issue: &Issue) -> Option<Reason> {
        match issue.status {
            Status::Open => None,
            Status::Closed => {
                Some(Reason::Closed { at: issue.closed_at, close_reason: issue.close_reason.clone() })
            }
            Status::InProgress => self.hold(&issue.id).map(|hold| Reason::Held {
                holder: issue.assignee.clone().unwrap_or_else(|| hold.holder.clone()),
                run: hold.run.clone(),
                lease_until: hold.lease_until,
                lapsed: hold.lease_until <= self.now,
            }),
            Status::Blocked => {
                // Its last blocking counted an attempt exactly when the limit of attempts was the cause.
                let last = self.history.iter().rfind(|change| change.changes["status"]["new"] == "blocked");
                let notes = issue.blocking_notes.clone();
                Some(match last.is_some_and(|change| !change.changes["attempt"].is_null()) {
                    true => Reason::GivenUp { attempts: issue.attempt, notes },
                    false => Reason::Blocked { notes },
                })
            }
        }
    }

    fn targets<'g>(&'g self, from: &'g IssueId, edge: EdgeType) -> impl Iterator<Item = &'g IssueId> {
        let edges = self.graph.dependencies.iter();
        edges.filter(move |it| it.from_id == *from && it.dep_type == edge).map(|it| &it.to_id)
    }

    fn blockers(&self, issues: &BTreeMap<&IssueId, &Issue>, id: &IssueId) -> Vec<Blocker> {
        let open = self.targets(id, EdgeType::Blocks).filter_map(|to| issues.get(to));
        open.filter(|issue| issue.status != Status::Closed)
            .map(|issue| Blocker {
                id: issue.id.clone(),
                status: issue.status,
                title: issue.title.clone(),
                holder: issue.assignee.clone().filter(|_| issue.status == Status::InProgress),
            })
            .collect()
    }

    /// What its parents wait for, upwards until one is closed: that one passes nothing on.
    fn inherited(&self, issues: &BTreeMap<&IssueId, &Issue>) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut through: Vec<IssueId> = Vec::new();
        let mut seen = BTreeSet::from([self.id]);
        let mut here = self.id;
        while let Some(parent) = self.targets(here, EdgeType::ParentChild).next() {
            let open = issues.get(parent).filter(|issue| issue.status != Status::Closed);
            let Some(issue) = open.filter(|_| seen.insert(parent)) else { break };
            through.push(parent.clone());
            if issue.status == Status::Blocked {
                let notes = issue.blocking_notes.clone();
                reasons.push(Reason::PartBlocked { through: through.clone(), notes });
            }
            let blockers = self.blockers(issues, parent).into_iter();
            reasons
                .extend(blockers.map(|blocker| Reason::PartWaitsFor { through: through.clone(), blocker }));
            here = parent;
        }
        reasons
    }

    fn not_taken(&self, issue: &Issue) -> Vec<Reason> {
        let differing =
            self.takes.0.iter().filter(|(key, welcome)| {
                issue.metadata.get(*key).is_none_or(|value| !welcome.contains(value))
            });
        differing
            .map(|(key, welcome)| Reason::NotTaken {
                key: key.clone(),
                takes: welcome.clone(),
                has: issue.metadata.get(key).cloned(),
            })
            .collect()
    }
}

impl Why {
    /// For a person.
    pub(super) fn words(&self) -> String {
        let verdict = if self.ready { "ready" } else { "not ready:" };
        let mut text = format!("{}  {}\n{verdict}\n", self.id, one_line(&self.title));
        for reason in &self.reasons {
            let _ = writeln!(text, "- {}", one_line(&reason.words()));
        }
        text
    }
}

impl Reason {
    fn words(&self) -> String {
        let notes = |notes: &Option<String>| notes.clone().unwrap_or_else(|| "(no notes)".to_owned());
        match self {
            Self::Closed { at, close_reason } => {
                let at = at.map(|at| format!(" since {at}")).unwrap_or_default();
                let why = close_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("it is closed{at}{why}")
            }
            Self::Held { holder, run, lease_until, lapsed } => {
                let run = run.as_ref().map(|run| format!(" of run {run}")).unwrap_or_default();
                let rest = if *lapsed { "; that has passed, and the next claim gives it back" } else { "" };
                format!("it is in progress: {holder}{run} holds it until {lease_until}{rest}")
            }
            Self::Blocked { notes: why } => format!("it is blocked, waiting for: {}", notes(why)),
            Self::GivenUp { attempts, notes: why } => {
                format!("its attempts are used up ({attempts} claims without a result): {}", notes(why))
            }
            Self::WaitsFor(blocker) => format!("it waits for {}", blocker.words()),
            Self::PartBlocked { through, notes: why } => {
                format!("it is a part of {}, which is blocked, waiting for: {}", chain(through), notes(why))
            }
            Self::PartWaitsFor { through, blocker } => {
                format!("it is a part of {}, which waits for {}", chain(through), blocker.words())
            }
            Self::Deferred { until } => format!("it is deferred until {until}"),
            Self::NotTaken { key, takes, has } => {
                let takes: Vec<_> = takes.iter().map(Value::to_string).collect();
                let has = has.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
                format!("{key} must be {} and is {has}", takes.join(" or "))
            }
        }
    }
}

impl Blocker {
    fn words(&self) -> String {
        let held = self.holder.as_ref().map(|holder| format!(", held by {holder}")).unwrap_or_default();
        format!("{} ({}{held}): {}", self.id, self.status, self.title)
    }
}

fn chain(through: &[IssueId]) -> String {
    through.iter().map(IssueId::as_str).collect::<Vec<_>>().join(", a part of ")
}
