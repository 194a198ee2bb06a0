//! The counter of open blockers against a plain recount, over random operations.

use std::collections::BTreeSet;

use proptest::prelude::*;
use runner::id::IssueId;
use runner::issue::{EdgeType, Status};
use runner::store::{Answer, AttemptCount, Operation};

use super::desk::{Desk, block, claim, close, fresh, release};

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Add(usize, usize, EdgeType),
    Remove(usize, usize),
    Close(usize),
    Reopen(usize),
    Block(usize),
    Unblock(usize),
    Claim(usize),
    Release(usize),
}

pub(super) const ISSUES: usize = 7;

pub(super) fn act() -> impl Strategy<Value = Act> {
    let n = 0..ISSUES;
    let edge = prop_oneof![
        3 => Just(EdgeType::Blocks),
        3 => Just(EdgeType::ParentChild),
        1 => Just(EdgeType::Related),
        1 => Just(EdgeType::DiscoveredFrom),
    ];
    prop_oneof![
        6 => (n.clone(), n.clone(), edge).prop_map(|(a, b, edge)| Act::Add(a, b, edge)),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Act::Remove(a, b)),
        2 => n.clone().prop_map(Act::Close),
        2 => n.clone().prop_map(Act::Reopen),
        2 => n.clone().prop_map(Act::Block),
        2 => n.clone().prop_map(Act::Unblock),
        1 => n.clone().prop_map(Act::Claim),
        1 => n.prop_map(Act::Release),
    ]
}

pub(super) fn operation(act: Act, ids: &[IssueId]) -> Operation {
    match act {
        Act::Add(a, b, edge) => Operation::AddDependency { from: ids[a].clone(), to: ids[b].clone(), edge },
        Act::Remove(a, b) => Operation::RemoveDependency { from: ids[a].clone(), to: ids[b].clone() },
        Act::Close(n) => close(&ids[n]),
        Act::Reopen(n) => Operation::Reopen { id: ids[n].clone() },
        Act::Block(n) => block(&ids[n], "why"),
        Act::Unblock(n) => Operation::Unblock { id: ids[n].clone(), answer: String::new() },
        Act::Claim(n) => claim(Some(&ids[n])),
        Act::Release(n) => release(&ids[n], AttemptCount::Counted { limit: 2 }),
    }
}

/// Status and blocking edges of every issue, as the queue shows them.
type Graph = Vec<(IssueId, Status, Vec<(IssueId, EdgeType)>)>;

fn status_of(graph: &Graph, id: &IssueId) -> Status {
    graph.iter().find(|(other, ..)| other == id).unwrap().1
}

/// What an issue waits for, straight from the definition.
fn waits_for(graph: &Graph, id: &IssueId) -> Vec<IssueId> {
    let edges = &graph.iter().find(|(other, ..)| other == id).unwrap().2;
    let counts = |(to, edge): &&(IssueId, EdgeType)| {
        let status = status_of(graph, to);
        match edge {
            EdgeType::Blocks => status != Status::Closed,
            EdgeType::ParentChild => {
                status != Status::Closed && (status == Status::Blocked || !waits_for(graph, to).is_empty())
            }
            EdgeType::Related | EdgeType::DiscoveredFrom => false,
        }
    };
    edges.iter().filter(counts).map(|(to, _)| to.clone()).collect()
}

async fn graph(desk: &Desk, ids: &[IssueId]) -> Graph {
    let mut graph = Graph::new();
    for id in ids {
        let view = desk.view(Operation::Get { id: id.clone() }).await;
        let edges = view.dependencies.into_iter().filter(|edge| edge.from_id == *id);
        graph.push((id.clone(), view.issue.status, edges.map(|edge| (edge.to_id, edge.dep_type)).collect()));
    }
    graph
}

async fn check(desk: &Desk, ids: &[IssueId], file: &std::path::Path) {
    let graph = graph(desk, ids).await;
    let stored = rusqlite::Connection::open(file).unwrap();
    for id in ids {
        let counter: usize = stored
            .query_row("SELECT open_blockers FROM issues WHERE id = ?1", [id.as_str()], |row| {
                row.get::<_, u32>(0)
            })
            .map(|count| usize::try_from(count).unwrap())
            .unwrap();
        assert_eq!(counter, waits_for(&graph, id).len(), "{id} in {graph:?}");
    }
    let open = ids.iter().filter(|id| status_of(&graph, id) == Status::Open);
    let ready: BTreeSet<_> = open.filter(|id| waits_for(&graph, id).is_empty()).cloned().collect();
    assert_eq!(desk.ready().await.into_iter().collect::<BTreeSet<_>>(), ready);
    for entry in desk.blocked().await {
        let blockers: BTreeSet<_> = entry.blockers.into_iter().map(|issue| issue.id).collect();
        assert_eq!(blockers, waits_for(&graph, &entry.issue.id).into_iter().collect());
    }
    let Answer::Counts(counts) = desk.try_do(Operation::Counts).await.unwrap().answer else {
        panic!("no counts")
    };
    assert_eq!(usize::try_from(counts.ready).unwrap(), ready.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_equal_a_recount(acts in prop::collection::vec(act(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (folder, store) = fresh();
            let desk = Desk::new(&store, None, "foreman");
            let mut ids = Vec::new();
            for n in 0..ISSUES {
                ids.push(desk.task(&n.to_string()).await);
            }
            for act in acts {
                // Many are refused; a refusal must leave the counters alone as well.
                let _ = desk.try_do(operation(act, &ids)).await;
            }
            check(&desk, &ids, &folder.path().join(".beads/issues.db")).await;
        });
    }
}
