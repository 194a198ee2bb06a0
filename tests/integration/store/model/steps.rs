//! What the callers of the model may do, and how such a step is put to the store.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use runner::clock::Timestamp;
use runner::id::{IssueId, RunId};
use runner::issue::{EdgeType, Status, Takes};
use runner::store::{AttemptCount, Claim, Edit, NewIssue, Operation, Update};
use serde_json::{Map, Value};

pub(super) const LEASE: Duration = Duration::from_secs(60);
pub(super) const LIMIT: u32 = 2;

/// Somebody at the queue. Names repeat between runs, as those of sessions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Person {
    pub run: Option<&'static str>,
    pub name: &'static str,
}

pub(super) const PEOPLE: [Person; 5] = [
    Person { run: None, name: "ana" },
    Person { run: None, name: "ben" },
    Person { run: Some("r1"), name: "w1" },
    Person { run: Some("r1"), name: "w2" },
    Person { run: Some("r2"), name: "w1" },
];

/// A move, in the model's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Claim,
    Release,
    Block,
    Unblock,
    Close,
    Reopen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Own,
    Another,
    Nobody,
}

/// Fields of an update.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub status: Option<Status>,
    pub assignee: Option<Name>,
    pub notes: Option<&'static str>,
    pub priority: Option<u8>,
    /// A new value of the metadata `kind`, or none any more.
    pub kind: Option<Option<u8>>,
    pub defer: Option<Timestamp>,
    pub force: bool,
}

/// One thing to do. Numbers of issues are cut to those there are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Do {
    Create { priority: u8, kind: Option<u8>, parent: Option<usize>, epic: bool, blocked: bool },
    Claim(usize),
    ClaimFirst(Option<u8>),
    Release { n: usize, counted: bool, force: bool },
    ReleaseAll,
    Reclaim(&'static str),
    Block { n: usize, force: bool },
    Unblock(usize),
    Close { n: usize, force: bool },
    Reopen(usize),
    Comment(usize),
    Link(usize, usize, EdgeType),
    Unlink(usize, usize),
    Update { n: usize, change: Change },
}

/// What happens, by whom, and how much later (or earlier: clocks differ) than what happened before.
#[derive(Clone)]
pub(super) struct Step {
    pub who: usize,
    pub seconds: i64,
    pub act: Act,
}

/// On one line, so that a failure reads as a story.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { who, seconds, act } = self;
        let Person { run, name } = PEOPLE[*who];
        write!(f, "{:+}s {name} of {}: {act:?}", seconds, run.unwrap_or("no run"))
    }
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    Do(Do),
    /// The n-th effect that changed something is asked for once more.
    Again(usize),
    /// The leases of the caller's run are renewed.
    Renew,
}

pub(super) const MOST: usize = 6;

pub(super) fn step() -> impl Strategy<Value = Step> {
    let seconds = prop_oneof![6 => 0..3i64, 2 => 30..90i64, 1 => Just(86_400i64), 1 => Just(-86_400i64), 1 => -120..0i64];
    let act = prop_oneof![14 => what().prop_map(Act::Do), 2 => (0..64usize).prop_map(Act::Again), 1 => Just(Act::Renew)];
    (0..PEOPLE.len(), seconds, act).prop_map(|(who, seconds, act)| Step { who, seconds, act })
}

/// True now and then.
fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.2)
}

fn what() -> impl Strategy<Value = Do> {
    let n = || 0..MOST;
    let kind = || prop::option::weighted(0.3, 0..2u8);
    let edge = prop_oneof![
        4 => Just(EdgeType::Blocks), 4 => Just(EdgeType::ParentChild),
        1 => Just(EdgeType::Related), 1 => Just(EdgeType::DiscoveredFrom),
    ];
    let create = (0..3u8, kind(), prop::option::weighted(0.4, n()), rarely(), rarely());
    prop_oneof![
        4 => create.prop_map(|(priority, kind, parent, epic, blocked)| Do::Create { priority, kind, parent, epic, blocked }),
        5 => n().prop_map(Do::Claim),
        4 => kind().prop_map(Do::ClaimFirst),
        3 => (n(), any::<bool>(), rarely()).prop_map(|(n, counted, force)| Do::Release { n, counted, force }),
        1 => Just(Do::ReleaseAll),
        1 => select(vec!["r1", "r2"]).prop_map(Do::Reclaim),
        3 => (n(), rarely()).prop_map(|(n, force)| Do::Block { n, force }),
        3 => n().prop_map(Do::Unblock),
        4 => (n(), rarely()).prop_map(|(n, force)| Do::Close { n, force }),
        2 => n().prop_map(Do::Reopen),
        1 => n().prop_map(Do::Comment),
        5 => (n(), n(), edge).prop_map(|(from, to, edge)| Do::Link(from, to, edge)),
        1 => (n(), n()).prop_map(|(from, to)| Do::Unlink(from, to)),
        8 => (n(), change()).prop_map(|(n, change)| Do::Update { n, change }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    (
        prop::option::of(select(Status::ALL.to_vec())),
        prop::option::weighted(
            0.4,
            select(vec![Name::Own, Name::Own, Name::Own, Name::Another, Name::Nobody]),
        ),
        prop::option::weighted(0.3, select(vec!["", "which?"])),
        prop::option::weighted(0.3, 0..3u8),
        prop::option::weighted(0.2, prop::option::of(0..2u8)),
        prop::option::weighted(0.1, (-100..200i64).prop_map(crate::store::desk::at)),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(status, assignee, notes, priority, kind, defer, force)| Change {
            status,
            assignee,
            notes,
            priority,
            kind,
            defer,
            force,
        })
}

impl Do {
    /// The same about issues that are there.
    pub fn among(&self, count: usize) -> Self {
        let cut = |n: &usize| n % count;
        match self {
            Self::Create { priority, kind, parent, epic, blocked } => Self::Create {
                priority: *priority,
                kind: *kind,
                parent: parent.as_ref().map(cut),
                epic: *epic,
                blocked: *blocked,
            },
            Self::Claim(n) => Self::Claim(cut(n)),
            Self::Release { n, counted, force } => {
                Self::Release { n: cut(n), counted: *counted, force: *force }
            }
            Self::Block { n, force } => Self::Block { n: cut(n), force: *force },
            Self::Unblock(n) => Self::Unblock(cut(n)),
            Self::Close { n, force } => Self::Close { n: cut(n), force: *force },
            Self::Reopen(n) => Self::Reopen(cut(n)),
            Self::Comment(n) => Self::Comment(cut(n)),
            Self::Link(from, to, edge) => Self::Link(cut(from), cut(to), *edge),
            Self::Unlink(from, to) => Self::Unlink(cut(from), cut(to)),
            Self::Update { n, change } => Self::Update { n: cut(n), change: change.clone() },
            Self::ClaimFirst(_) | Self::ReleaseAll | Self::Reclaim(_) => self.clone(),
        }
    }

    /// What the store is asked.
    pub fn operation(&self, who: Person, ids: &[IssueId]) -> Operation {
        let id = |n: &usize| ids[*n].clone();
        let claim = |id, takes| Operation::Claim(Claim { id, takes, ..Claim::first(LEASE, LIMIT) });
        match self {
            Self::Create { priority, kind, parent, epic, blocked } => Operation::Create(NewIssue {
                title: format!("issue {}", ids.len()),
                priority: Some(*priority),
                issue_type: epic.then(|| "epic".to_owned()),
                parent_id: parent.as_ref().map(id),
                metadata: metadata(*kind),
                blocking_notes: blocked.then(|| "why?".to_owned()),
                ..NewIssue::default()
            }),
            Self::Claim(n) => claim(Some(id(n)), Takes::default()),
            Self::ClaimFirst(kind) => {
                let wanted = kind.map(|kind| ("kind".to_owned(), vec![Value::from(kind)]));
                claim(None, Takes(wanted.into_iter().collect()))
            }
            Self::Release { n, counted, force } => Operation::Release {
                id: id(n),
                attempt: if *counted { AttemptCount::Counted { limit: LIMIT } } else { AttemptCount::Free },
                force: *force,
            },
            Self::ReleaseAll => Operation::ReleaseAll,
            Self::Reclaim(run) => Operation::Reclaim { runs: vec![RunId::new(*run)] },
            Self::Block { n, force } => {
                Operation::Block { id: id(n), notes: "why?".to_owned(), force: *force }
            }
            Self::Unblock(n) => Operation::Unblock { id: id(n), answer: "that".to_owned() },
            Self::Close { n, force } => {
                Operation::Close { id: id(n), reason: "done".to_owned(), force: *force }
            }
            Self::Reopen(n) => Operation::Reopen { id: id(n) },
            Self::Comment(n) => Operation::Comment { id: id(n), body: "a word".to_owned() },
            Self::Link(from, to, edge) => {
                Operation::AddDependency { from: id(from), to: id(to), edge: *edge }
            }
            Self::Unlink(from, to) => Operation::RemoveDependency { from: id(from), to: id(to) },
            Self::Update { n, change } => Operation::Update(id(n), change.put(who)),
        }
    }
}

impl Change {
    fn put(&self, who: Person) -> Update {
        let name = |name| match name {
            Name::Own => who.name,
            Name::Another => "somebody",
            Name::Nobody => "",
        };
        Update {
            status: self.status,
            assignee: self.assignee.map(|assignee| name(assignee).to_owned()),
            blocking_notes: self.notes.map(str::to_owned),
            priority: self.priority,
            metadata: self
                .kind
                .map(|kind| Map::from_iter([("kind".to_owned(), kind.map_or(Value::Null, Value::from))]))
                .unwrap_or_default(),
            defer_until: self.defer.map_or(Edit::Keep, Edit::Set),
            lease: Some(LEASE),
            max_attempts: Some(LIMIT),
            force: self.force,
            ..Update::default()
        }
    }
}

/// The metadata of an issue of this kind.
pub(super) fn metadata(kind: Option<u8>) -> Map<String, Value> {
    kind.map(|kind| ("kind".to_owned(), kind.into())).into_iter().collect()
}
