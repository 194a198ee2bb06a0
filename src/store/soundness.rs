//! Is a queue sound? What every queue keeps, whichever engine stores it, checked on all of its contents. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Change;
use super::fold;
use crate::id::{IssueId, RunId};
use crate::issue::{Comment, Dependency, EdgeType, Issue, Status, label_from_text};

/// What a queue keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The file is whole, as its engine says.
    File,
    /// What a row names is there.
    Reference,
    /// Every value can be read.
    Value,
    /// Closed exactly when there is a time of closing.
    Closed,
    /// In progress exactly when somebody holds it.
    Hold,
    /// The counter of what an issue waits for equals a recount.
    Counter,
    /// The parent of an issue and its `parent-child` edge say the same.
    Parent,
    /// Nothing waits for itself.
    Circle,
    /// Each claim has raised the epoch, and nothing has lowered it.
    Epoch,
    /// An effect of a run was applied once.
    Effect,
    /// The event log leads to the table.
    Log,
}

impl Rule {
    /// The word shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Reference => "reference",
            Self::Value => "value",
            Self::Closed => "closed",
            Self::Hold => "hold",
            Self::Counter => "counter",
            Self::Parent => "parent",
            Self::Circle => "circle",
            Self::Epoch => "epoch",
            Self::Effect => "effect",
            Self::Log => "log",
        }
    }
}

/// Something that is not as a queue keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What is broken.
    pub rule: Rule,
    /// Where, if it is about one issue.
    pub issue: Option<IssueId>,
    /// What was found and what was expected.
    pub message: String,
}

impl Finding {
    pub(super) fn of(rule: Rule, issue: &IssueId, message: impl Into<String>) -> Self {
        Self { rule, issue: Some(issue.clone()), message: message.into() }
    }

    pub(super) fn general(rule: Rule, message: impl Into<String>) -> Self {
        Self { rule, issue: None, message: message.into() }
    }
}

/// How much was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Soundness {
    /// Issues looked at.
    pub issues: usize,
    /// Edges looked at.
    pub dependencies: usize,
    /// Comments looked at.
    pub comments: usize,
    /// Events looked at.
    pub events: usize,
    /// What was found, by rule and issue; none in a sound queue.
    pub findings: Vec<Finding>,
}

/// All that a queue holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub issues: Vec<Kept>,
    pub dependencies: Vec<Dependency>,
    /// In the order they were made.
    pub comments: Vec<(IssueId, Comment)>,
    /// In the order they were written.
    pub events: Vec<Entry>,
}

/// An issue as the table has it.
#[derive(Debug)]
pub(super) struct Kept {
    pub issue: Issue,
    pub epoch: u64,
    /// The run, if one does, and the name of who holds it.
    pub hold: Option<Holder>,
    pub open_blockers: u32,
}

/// Run and session.
pub(super) type Holder = (Option<RunId>, String);

/// An event as the log has it.
#[derive(Debug)]
pub(super) struct Entry {
    pub seq: i64,
    /// The run and effect whose answer it keeps.
    pub effect: Option<(String, String)>,
    pub change: Change,
    /// Who made it.
    pub by: Holder,
    /// The epochs it told its caller.
    pub gained: BTreeMap<IssueId, u64>,
}

/// Checks everything; findings come by rule and issue.
pub(super) fn examine(contents: &Contents) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kept in &contents.issues {
        findings.extend(status_agrees(kept));
        findings.extend(labels_are_words(&kept.issue));
    }
    findings.extend(counters(contents));
    findings.extend(parents(contents));
    findings.extend(circles(&contents.dependencies));
    findings.extend(effects(&contents.events));
    findings.extend(fold::compare(contents));
    findings.sort();
    findings
}

fn status_agrees(kept: &Kept) -> Vec<Finding> {
    let issue = &kept.issue;
    let mut findings = Vec::new();
    match (issue.status == Status::Closed, issue.closed_at) {
        (true, None) => {
            findings.push(Finding::of(Rule::Closed, &issue.id, "it is closed and has no time of closing"));
        }
        (false, Some(at)) => findings.push(Finding::of(
            Rule::Closed,
            &issue.id,
            format!("it is {} and has a time of closing, {at}", issue.status),
        )),
        _ => {}
    }
    match (issue.status == Status::InProgress, &kept.hold) {
        (true, None) => {
            findings.push(Finding::of(Rule::Hold, &issue.id, "it is in progress and nobody holds it"));
        }
        (false, Some((_, holder))) => findings.push(Finding::of(
            Rule::Hold,
            &issue.id,
            format!("it is {} and {holder} holds it", issue.status),
        )),
        _ => {}
    }
    findings
}

fn labels_are_words(issue: &Issue) -> Option<Finding> {
    let in_order = issue.labels.windows(2).all(|pair| pair[0] < pair[1]);
    let words = issue.labels.iter().all(|label| label_from_text(label).as_ref() == Ok(label));
    (!in_order || !words).then(|| {
        let message = format!("its labels are {:?}; they are words, each once, in order", issue.labels);
        Finding::of(Rule::Value, &issue.id, message)
    })
}

/// What each issue waits for, straight from status and edges, against the counter.
fn counters(contents: &Contents) -> Vec<Finding> {
    let status: BTreeMap<&IssueId, Status> =
        contents.issues.iter().map(|kept| (&kept.issue.id, kept.issue.status)).collect();
    let unclosed = |id: &IssueId| status.get(id).is_some_and(|status| *status != Status::Closed);
    let mut count: BTreeMap<&IssueId, u32> = BTreeMap::new();
    let mut children: BTreeMap<&IssueId, Vec<&IssueId>> = BTreeMap::new();
    for Dependency { from_id, to_id, dep_type } in &contents.dependencies {
        match dep_type {
            EdgeType::Blocks if unclosed(to_id) => *count.entry(from_id).or_default() += 1,
            EdgeType::ParentChild => children.entry(to_id).or_default().push(from_id),
            _ => {}
        }
    }
    // Who is stuck passes it on to its parts, and these to theirs; everybody is turned once at most.
    let mut waiting: Vec<&IssueId> = status
        .iter()
        .filter(|(id, status)| {
            **status == Status::Blocked || **status != Status::Closed && count.contains_key(*id)
        })
        .map(|(id, _)| *id)
        .collect();
    let mut stuck: BTreeSet<&IssueId> = waiting.iter().copied().collect();
    while let Some(parent) = waiting.pop() {
        for child in children.get(parent).into_iter().flatten().copied() {
            *count.entry(child).or_default() += 1;
            if unclosed(child) && stuck.insert(child) {
                waiting.push(child);
            }
        }
    }
    let differs = contents.issues.iter().filter_map(|kept| {
        let id = &kept.issue.id;
        let counted = count.get(id).copied().unwrap_or_default();
        (counted != kept.open_blockers).then(|| {
            let message = format!(
                "its counter says that it waits for {}, a recount says {counted}",
                kept.open_blockers
            );
            Finding::of(Rule::Counter, id, message)
        })
    });
    differs.collect()
}

fn parents(contents: &Contents) -> Vec<Finding> {
    let mut by_edge: BTreeMap<&IssueId, BTreeSet<&IssueId>> = BTreeMap::new();
    for edge in contents.dependencies.iter().filter(|edge| edge.dep_type == EdgeType::ParentChild) {
        by_edge.entry(&edge.from_id).or_default().insert(&edge.to_id);
    }
    let mut findings = Vec::new();
    for issue in contents.issues.iter().map(|kept| &kept.issue) {
        let field: BTreeSet<&IssueId> = issue.parent_id.iter().collect();
        let edges = by_edge.remove(&issue.id).unwrap_or_default();
        if field != edges {
            let names = |ids: &BTreeSet<&IssueId>| match ids.is_empty() {
                true => "nothing".to_owned(),
                false => ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" and "),
            };
            let message = format!(
                "its field says that it is a part of {}, its edges of {}",
                names(&field),
                names(&edges)
            );
            findings.push(Finding::of(Rule::Parent, &issue.id, message));
        }
    }
    findings
}

/// Circles of edges that make wait, each shown once.
fn circles(dependencies: &[Dependency]) -> Vec<Finding> {
    let mut targets: BTreeMap<&IssueId, BTreeSet<&IssueId>> = BTreeMap::new();
    for edge in dependencies {
        if matches!(edge.dep_type, EdgeType::Blocks | EdgeType::ParentChild) {
            targets.entry(&edge.from_id).or_default().insert(&edge.to_id);
        }
    }
    let mut findings = Vec::new();
    loop {
        drop_ends(&mut targets);
        let Some(start) = targets.keys().next().copied() else { return findings };
        // Everyone left leads to somebody left, so that walking on comes back to a place.
        let mut path = vec![start];
        let circle = loop {
            let here = *path.last().expect("it has its start");
            let next = *targets[here].first().expect("those without targets were dropped");
            if let Some(at) = path.iter().position(|id| *id == next) {
                break path.split_off(at);
            }
            path.push(next);
        };
        let (first, last) = (circle[0], circle[circle.len() - 1]);
        let mut names: Vec<_> = circle.iter().map(|id| id.as_str()).collect();
        names.push(first.as_str());
        findings.push(Finding::of(
            Rule::Circle,
            first,
            format!("it waits for itself: {}", names.join(" -> ")),
        ));
        targets.get_mut(last).expect("it is on the circle").remove(first);
    }
}

/// Takes out, again and again, who waits for nobody that is left.
fn drop_ends(targets: &mut BTreeMap<&IssueId, BTreeSet<&IssueId>>) {
    let mut waited_by: BTreeMap<&IssueId, Vec<&IssueId>> = BTreeMap::new();
    let mut ends = Vec::new();
    for (from, to) in targets.iter() {
        for to in to {
            waited_by.entry(*to).or_default().push(*from);
        }
        if to.is_empty() {
            ends.push(*from);
        }
    }
    ends.extend(waited_by.keys().filter(|id| !targets.contains_key(*id)));
    while let Some(end) = ends.pop() {
        targets.remove(end);
        for from in waited_by.get(end).into_iter().flatten() {
            if let Some(left) = targets.get_mut(from)
                && left.remove(end)
                && left.is_empty()
            {
                ends.push(*from);
            }
        }
    }
}

fn effects(events: &[Entry]) -> Vec<Finding> {
    let mut seen: BTreeMap<&(String, String), i64> = BTreeMap::new();
    let mut findings = Vec::new();
    for entry in events {
        let Some(effect) = &entry.effect else { continue };
        if let Some(first) = seen.insert(effect, entry.seq) {
            let message = format!(
                "events {first} and {} are both of effect {} of run {}",
                entry.seq, effect.1, effect.0
            );
            findings.push(Finding::of(Rule::Effect, &entry.change.issue_id, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(pairs: &[(&str, &str)]) -> Vec<Dependency> {
        let edge = |(from, to): &(&str, &str)| Dependency {
            from_id: IssueId::new(*from),
            to_id: IssueId::new(*to),
            dep_type: EdgeType::Blocks,
        };
        pairs.iter().map(edge).collect()
    }

    #[test]
    fn each_circle_is_shown_once() {
        let messages = |pairs: &[(&str, &str)]| -> Vec<String> {
            circles(&edges(pairs)).into_iter().map(|finding| finding.message).collect()
        };
        assert_eq!(messages(&[("a", "b"), ("b", "c"), ("a", "c")]), [""; 0]);
        assert_eq!(
            messages(&[("x", "a"), ("a", "b"), ("b", "c"), ("c", "b"), ("d", "e"), ("e", "d"), ("c", "z")]),
            ["it waits for itself: b -> c -> b", "it waits for itself: d -> e -> d"]
        );
    }
}
