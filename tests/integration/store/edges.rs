//! Edges between issues: which block, which do not, what is inherited, which are refused.

use super::desk::contract;

contract! {
    edge_is_returned unknown_ends cycles_are_shown removing_frees absent_edge far_ends
    only_blocking_edges_block other_edges_may_form_circles parents_pass_their_block_on
    one_edge_a_pair parent_is_an_edge
}

mod cases {
    use std::sync::Arc;

    use runner::id::IssueId;
    use runner::issue::{Dependency, EdgeType};
    use runner::store::{Answer, IssueStore, NewIssue, Operation, StoreError};

    use crate::store::desk::{Desk, block};

    type Store = Arc<dyn IssueStore>;

    async fn three(store: &Store) -> (Desk, IssueId, IssueId, IssueId) {
        let desk = Desk::new(store, None, "foreman");
        let (a, b, c) = (desk.task("a").await, desk.task("b").await, desk.task("c").await);
        (desk, a, b, c)
    }

    fn remove(from: &IssueId, to: &IssueId) -> Operation {
        Operation::RemoveDependency { from: from.clone(), to: to.clone() }
    }

    pub(super) async fn edge_is_returned(store: Store) {
        let (desk, a, b, _) = three(&store).await;
        let expected = Dependency { from_id: a.clone(), to_id: b.clone(), dep_type: EdgeType::Blocks };
        for _ in 0..2 {
            let answer = desk.edge(&a, &b, EdgeType::Blocks).await.unwrap().answer;
            assert_eq!(answer, Answer::Dependency(expected.clone()));
        }
        assert_eq!(desk.history(&a).await, ["created", "dependency_added"]);
    }

    pub(super) async fn unknown_ends(store: Store) {
        let (desk, a, ..) = three(&store).await;
        let unknown = IssueId::from("zz");
        for (from, to) in [(&a, &unknown), (&unknown, &a)] {
            let refused = desk.edge(from, to, EdgeType::Blocks).await.unwrap_err();
            assert_eq!(refused.to_string(), "Issue not found: zz");
        }
    }

    pub(super) async fn cycles_are_shown(store: Store) {
        let (desk, a, b, c) = three(&store).await;
        desk.waits(&a, &b).await;
        desk.waits(&b, &c).await;
        let refused = desk.edge(&c, &a, EdgeType::Blocks).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("Dependency would create a cycle: {c} -> {a} -> {b} -> {c}"));
        let refused = desk.edge(&b, &a, EdgeType::ParentChild).await.unwrap_err();
        assert_eq!(refused.error, StoreError::Cycle { path: vec![b.clone(), a.clone(), b.clone()] });
        let refused = desk.edge(&a, &a, EdgeType::Related).await.unwrap_err();
        assert_eq!(refused.error, StoreError::Cycle { path: vec![a.clone(), a.clone()] });
        assert_eq!(desk.ready().await, [c]);
    }

    pub(super) async fn removing_frees(store: Store) {
        let (desk, a, b, _) = three(&store).await;
        desk.waits(&a, &b).await;
        assert!(!desk.ready().await.contains(&a));
        desk.try_do(remove(&a, &b)).await.unwrap();
        assert!(desk.ready().await.contains(&a));
        assert!(desk.view(Operation::Get { id: a }).await.dependencies.is_empty());
    }

    pub(super) async fn absent_edge(store: Store) {
        let (desk, a, b, _) = three(&store).await;
        let error = desk.error(remove(&a, &b)).await;
        assert!(error.to_string().contains("Dependency not found"), "{error}");
    }

    pub(super) async fn far_ends(store: Store) {
        let (desk, a, b, c) = three(&store).await;
        desk.waits(&b, &a).await;
        desk.waits(&c, &a).await;
        let view = desk.view(Operation::Get { id: a.clone() }).await;
        let mut starts: Vec<_> = view.dependencies.iter().map(|edge| edge.from_id.clone()).collect();
        starts.sort();
        let mut expected = vec![b, c];
        expected.sort();
        assert_eq!(starts, expected);
    }

    pub(super) async fn only_blocking_edges_block(store: Store) {
        let (desk, a, b, c) = three(&store).await;
        desk.edge(&a, &b, EdgeType::Related).await.unwrap();
        desk.edge(&b, &c, EdgeType::DiscoveredFrom).await.unwrap();
        desk.edge(&c, &a, EdgeType::ParentChild).await.unwrap();
        assert_eq!(desk.ready().await, [a, b, c]);
        assert!(desk.blocked().await.is_empty());
    }

    pub(super) async fn other_edges_may_form_circles(store: Store) {
        let (desk, a, b, _) = three(&store).await;
        desk.edge(&a, &b, EdgeType::Related).await.unwrap();
        desk.edge(&b, &a, EdgeType::DiscoveredFrom).await.unwrap();
        desk.edge(&a, &b, EdgeType::Related).await.unwrap();
    }

    pub(super) async fn parents_pass_their_block_on(store: Store) {
        let (desk, top, part, blocker) = three(&store).await;
        desk.edge(&part, &top, EdgeType::ParentChild).await.unwrap();
        let leaf = NewIssue { title: "leaf".into(), parent_id: Some(part.clone()), ..NewIssue::default() };
        let leaf = desk.create(leaf).await.id;
        desk.waits(&top, &blocker).await;
        assert_eq!(desk.ready().await, std::slice::from_ref(&blocker));
        let blocked = desk.blocked().await;
        let why: Vec<_> = blocked.iter().map(|entry| (&entry.issue.id, &entry.blockers[0].id)).collect();
        assert_eq!(why, [(&top, &blocker), (&part, &top), (&leaf, &part)]);
        desk.close(&blocker).await;
        assert_eq!(desk.ready().await, [top.clone(), part.clone(), leaf.clone()]);
        desk.try_do(block(&top, "a decision")).await.unwrap();
        assert!(desk.ready().await.is_empty(), "a parent of status blocked blocks too");
        desk.try_do(Operation::Unblock { id: top.clone(), answer: "yes".into() }).await.unwrap();
        assert_eq!(desk.ready().await, [top, part, leaf]);
    }

    pub(super) async fn one_edge_a_pair(store: Store) {
        let (desk, a, b, _) = three(&store).await;
        desk.waits(&a, &b).await;
        let refused = desk.edge(&a, &b, EdgeType::Related).await.unwrap_err();
        assert!(refused.to_string().contains("already has a `blocks` edge"), "{refused}");
        let both = NewIssue {
            title: "t".into(),
            parent_id: Some(a.clone()),
            discovered_from: Some(a.clone()),
            ..NewIssue::default()
        };
        let error = desk.error(Operation::Create(both)).await;
        assert!(error.to_string().contains("name the same issue"), "{error}");
    }

    pub(super) async fn parent_is_an_edge(store: Store) {
        let (desk, a, b, c) = three(&store).await;
        desk.edge(&a, &b, EdgeType::ParentChild).await.unwrap();
        assert_eq!(desk.get(&a).await.parent_id, Some(b.clone()));
        let refused = desk.edge(&a, &c, EdgeType::ParentChild).await.unwrap_err();
        assert!(refused.to_string().contains("already a part of"), "{refused}");
        desk.try_do(remove(&a, &b)).await.unwrap();
        assert_eq!(desk.get(&a).await.parent_id, None);
    }
}
