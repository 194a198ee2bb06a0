//! Fields, lists, readiness, status moves: the original's own cases, and where this queue departs from it on purpose.

use super::desk::contract;

contract! {
    create_keeps_fields get_unknown update_fields update_unknown priority_bounds close_sets_closed_at
    list_filters metadata_merges ready_by_priority ready_follows_chain ready_after_close ready_limit
    closed_is_not_ready blocked_names_blockers blocked_empty_when_closed left_says_why ready_of_a_web
    history_has_each_change failed_update_changes_nothing closed_iff_closed_at closing_twice_changes_nothing
    no_op_update_writes_nothing status_blocked_is_listed status_open_answers_a_blocked_issue
    closed_does_not_open_by_update titles_are_checked deferred_is_not_ready create_starts_blocked
    epic_waits_for_its_parts comments_are_shown takes_narrow_lists counts_and_snapshot_agree
    same_effect_same_answer sequence_counts_every_operation footprints_name_what_was_touched
}

mod cases {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use runner::clock::Timestamp;
    use runner::event::Sequence;
    use runner::id::IssueId;
    use runner::issue::{EdgeType, Status, Takes};
    use runner::store::{Answer, Filter, IssueStore, NewIssue, Operation, StoreError, Update};
    use serde_json::{Map, Value, json};

    use crate::store::desk::{self, Desk, claim, close, set_status, update};

    type Store = Arc<dyn IssueStore>;

    fn foreman(store: &Store) -> Desk {
        Desk::new(store, None, "foreman")
    }

    fn new(title: &str) -> NewIssue {
        NewIssue { title: title.to_owned(), ..NewIssue::default() }
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    fn ids(issues: &[runner::issue::Issue]) -> Vec<IssueId> {
        issues.iter().map(|issue| issue.id.clone()).collect()
    }

    pub(super) async fn create_keeps_fields(store: Store) {
        let desk = foreman(&store);
        let issue = desk
            .create(NewIssue {
                description: "long".into(),
                priority: Some(1),
                issue_type: Some("feature".into()),
                estimate_minutes: Some(90),
                metadata: object(json!({"worker_type": "coding"})),
                ..new("Title")
            })
            .await;
        assert!(issue.id.as_str().starts_with("bd-") && issue.id.as_str().len() == 11, "{}", issue.id);
        assert_eq!((issue.title.as_str(), issue.description.as_str()), ("Title", "long"));
        assert_eq!((issue.priority, issue.issue_type.as_str(), issue.status), (1, "feature", Status::Open));
        assert_eq!(issue.estimate_minutes, Some(90));
        assert_eq!(desk.get(&issue.id).await, issue);
    }

    pub(super) async fn get_unknown(store: Store) {
        let desk = foreman(&store);
        let error = desk.error(Operation::Get { id: "zz".into() }).await;
        assert_eq!(error.to_string(), "Issue not found: zz");
    }

    pub(super) async fn update_fields(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("Old").await;
        let change = Update {
            title: Some("New".into()),
            status: Some(Status::InProgress),
            priority: Some(3),
            ..Update::default()
        };
        let issue = desk.view(update(&id, change)).await.issue;
        assert_eq!((issue.title.as_str(), issue.status, issue.priority), ("New", Status::InProgress, 3));
        assert_eq!(issue.assignee.as_deref(), Some("foreman"));
    }

    pub(super) async fn update_unknown(store: Store) {
        let desk = foreman(&store);
        let unknown = IssueId::from("nope");
        for operation in
            [update(&unknown, set_status(Status::Closed)), close(&unknown), claim(Some(&unknown))]
        {
            assert_eq!(desk.error(operation).await.to_string(), "Issue not found: nope");
        }
    }

    pub(super) async fn priority_bounds(store: Store) {
        let desk = foreman(&store);
        let error = desk.error(Operation::Create(NewIssue { priority: Some(10), ..new("t") })).await;
        assert!(error.to_string().contains("Priority must be 0-4"), "{error}");
        let id = desk.task("t").await;
        let error = desk.error(update(&id, Update { priority: Some(5), ..Update::default() })).await;
        assert!(error.to_string().contains("Priority must be 0-4"), "{error}");
        assert_eq!(desk.list(Filter::default()).await.len(), 1);
    }

    pub(super) async fn close_sets_closed_at(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        let operation = Operation::Close { id, reason: "did it".into(), force: false };
        let issue = desk.view(operation).await.issue;
        assert_eq!((issue.status, issue.close_reason.as_deref()), (Status::Closed, Some("did it")));
        assert_eq!(issue.closed_at, Some(issue.updated_at));
    }

    pub(super) async fn list_filters(store: Store) {
        let desk = foreman(&store);
        let a = desk.create(NewIssue { priority: Some(1), ..new("a") }).await.id;
        let b = desk.create(NewIssue { issue_type: Some("feature".into()), ..new("b") }).await.id;
        let c = desk.task("c").await;
        desk.close(&c).await;
        let list = async |filter: Filter| ids(&desk.list(filter).await);
        assert_eq!(list(Filter::default()).await, [a.clone(), b.clone(), c.clone()]);
        assert_eq!(list(Filter { priority: Some(1), ..Filter::default() }).await, std::slice::from_ref(&a));
        assert_eq!(
            list(Filter { issue_type: Some("feature".into()), ..Filter::default() }).await,
            std::slice::from_ref(&b)
        );
        assert_eq!(list(Filter { statuses: vec![Status::Closed], ..Filter::default() }).await, [c]);
        desk.try_do(claim(Some(&b))).await.unwrap();
        assert_eq!(list(Filter { assignee: Some("foreman".into()), ..Filter::default() }).await, [b]);
        assert_eq!(list(Filter { limit: Some(1), ..Filter::default() }).await, [a]);
    }

    pub(super) async fn metadata_merges(store: Store) {
        let desk = foreman(&store);
        let metadata = object(json!({"key1": 1, "key3": 3}));
        let id = desk.create(NewIssue { metadata, ..new("t") }).await.id;
        let metadata = object(json!({"key2": {"a": [1]}, "key3": null}));
        let issue = desk.view(update(&id, Update { metadata, ..Update::default() })).await.issue;
        assert_eq!(Value::Object(issue.metadata), json!({"key1": 1, "key2": {"a": [1]}}));
    }

    pub(super) async fn ready_by_priority(store: Store) {
        let desk = foreman(&store);
        let mut made = Vec::new();
        for priority in [4, 0, 2, 1, 2] {
            made.push(desk.create(NewIssue { priority: Some(priority), ..new("t") }).await.id);
        }
        let order = [1, 3, 2, 4, 0].map(|n| made[n].clone());
        assert_eq!(desk.ready().await, order);
    }

    pub(super) async fn ready_follows_chain(store: Store) {
        let desk = foreman(&store);
        let (a, b, c) = (desk.task("1").await, desk.task("2").await, desk.task("3").await);
        desk.waits(&a, &b).await;
        desk.waits(&b, &c).await;
        assert_eq!(desk.ready().await, [c]);
    }

    pub(super) async fn ready_after_close(store: Store) {
        let desk = foreman(&store);
        let (a, b) = (desk.task("1").await, desk.task("2").await);
        desk.waits(&a, &b).await;
        desk.close(&b).await;
        assert_eq!(desk.ready().await, std::slice::from_ref(&a));
        desk.try_do(Operation::Reopen { id: b.clone() }).await.unwrap();
        assert_eq!(desk.ready().await, [b]);
    }

    pub(super) async fn ready_limit(store: Store) {
        let desk = foreman(&store);
        for title in ["a", "b", "c"] {
            desk.task(title).await;
        }
        let filter = Filter { limit: Some(2), ..Filter::default() };
        match desk.try_do(Operation::Ready(filter)).await.unwrap().answer {
            Answer::Issues { issues, total } => assert_eq!((issues.len(), total), (2, 3)),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn closed_is_not_ready(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        desk.close(&id).await;
        assert!(desk.ready().await.is_empty());
        let taken = desk.task("u").await;
        desk.try_do(claim(Some(&taken))).await.unwrap();
        assert!(desk.ready().await.is_empty(), "what somebody works on is not ready");
    }

    pub(super) async fn blocked_names_blockers(store: Store) {
        let desk = foreman(&store);
        let (a, b, c) = (desk.task("1").await, desk.task("2").await, desk.task("3").await);
        desk.waits(&a, &b).await;
        desk.waits(&a, &c).await;
        let blocked = desk.blocked().await;
        assert_eq!(blocked.len(), 1);
        assert_eq!(blocked[0].issue.id, a);
        assert_eq!(ids(&blocked[0].blockers), [b, c]);
    }

    pub(super) async fn blocked_empty_when_closed(store: Store) {
        let desk = foreman(&store);
        let (a, b) = (desk.task("1").await, desk.task("2").await);
        desk.waits(&a, &b).await;
        desk.close(&b).await;
        assert!(desk.blocked().await.is_empty());
        let (c, d) = (desk.task("3").await, desk.task("4").await);
        desk.waits(&c, &d).await;
        desk.close(&c).await;
        assert!(desk.blocked().await.is_empty(), "a closed issue waits for nothing");
    }

    pub(super) async fn left_says_why(store: Store) {
        let desk = foreman(&store);
        let ours = json!({"kind": "ours"}).as_object().unwrap().clone();
        let mut made = Vec::new();
        for title in ["held", "blocked", "waits", "ready", "done"] {
            made.push(desk.create(NewIssue { metadata: ours.clone(), ..new(title) }).await.id);
            desk.wait(Duration::from_secs(1));
        }
        desk.task("theirs").await;
        desk.try_do(claim(Some(&made[0]))).await.unwrap();
        desk.try_do(desk::block(&made[1], "which database?")).await.unwrap();
        desk.waits(&made[2], &made[3]).await;
        desk.close(&made[4]).await;
        let takes = vec![Takes([("kind".to_owned(), vec![json!("ours")])].into())];
        let Answer::Left(left) = desk.try_do(Operation::Left { takes }).await.unwrap().answer else {
            panic!("it answers what is left")
        };
        let said: Vec<_> = left
            .iter()
            .map(|issue| {
                (issue.title.as_str(), issue.holder.is_some(), issue.is_ready, issue.waits_for.len())
            })
            .collect();
        let expected = [
            ("held", true, false, 0),
            ("blocked", false, false, 0),
            ("waits", false, false, 1),
            ("ready", false, true, 0),
        ];
        assert_eq!(said, expected);
        assert_eq!(left[1].blocking_notes.as_deref(), Some("which database?"));
        assert_eq!(left[2].waits_for, [made[3].clone()]);
    }

    pub(super) async fn ready_of_a_web(store: Store) {
        let desk = foreman(&store);
        let mut made = Vec::new();
        for priority in [0, 1, 2, 4, 4] {
            made.push(desk.create(NewIssue { priority: Some(priority), ..new("t") }).await.id);
        }
        for (from, to) in [(0, 2), (1, 2), (2, 4)] {
            desk.waits(&made[from], &made[to]).await;
        }
        assert_eq!(desk.ready().await, [made[3].clone(), made[4].clone()]);
    }

    pub(super) async fn history_has_each_change(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        desk.try_do(update(&id, Update { priority: Some(0), ..Update::default() })).await.unwrap();
        desk.try_do(claim(Some(&id))).await.unwrap();
        desk.try_do(desk::block(&id, "an answer")).await.unwrap();
        desk.try_do(Operation::Unblock { id: id.clone(), answer: "42".into() }).await.unwrap();
        desk.close(&id).await;
        let expected = ["created", "updated", "claimed", "blocked", "commented", "unblocked", "closed"];
        assert_eq!(desk.history(&id).await, expected);
        let Answer::History(changes) = desk.try_do(Operation::History { id }).await.unwrap().answer else {
            panic!("no history")
        };
        assert_eq!(changes[1].changes, json!({"priority": {"old": 2, "new": 0}}));
    }

    pub(super) async fn failed_update_changes_nothing(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("Old").await;
        let before = desk.get(&id).await;
        let change =
            Update { title: Some("New".into()), assignee: Some("other".into()), ..Update::default() };
        let error = desk.error(update(&id, change)).await;
        assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
        assert_eq!(desk.get(&id).await, before);
        assert_eq!(desk.history(&id).await, ["created"]);
    }

    pub(super) async fn closed_iff_closed_at(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        let issue = desk.view(update(&id, set_status(Status::Closed))).await.issue;
        assert!(issue.closed_at.is_some());
        let issue = desk.view(Operation::Reopen { id }).await.issue;
        assert_eq!((issue.status, issue.closed_at, issue.close_reason), (Status::Open, None, None));
    }

    pub(super) async fn closing_twice_changes_nothing(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        let once = desk.close(&id).await;
        assert_eq!(desk.close(&id).await, once);
        assert_eq!(desk.history(&id).await, ["created", "closed"]);
    }

    pub(super) async fn no_op_update_writes_nothing(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        let before = desk.get(&id).await;
        for change in [Update::default(), Update { title: Some("t".into()), ..set_status(Status::Open) }] {
            assert_eq!(desk.view(update(&id, change)).await.issue, before);
        }
        assert_eq!(desk.history(&id).await, ["created"]);
    }

    pub(super) async fn status_blocked_is_listed(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        let error = desk.error(update(&id, set_status(Status::Blocked))).await;
        assert!(error.to_string().contains("blocking notes are required"), "{error}");
        desk.try_do(desk::block(&id, "which database?")).await.unwrap();
        let blocked = desk.blocked().await;
        assert_eq!(blocked[0].issue.blocking_notes.as_deref(), Some("which database?"));
        assert!(blocked[0].blockers.is_empty() && desk.ready().await.is_empty());
    }

    pub(super) async fn status_open_answers_a_blocked_issue(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        desk.try_do(desk::block(&id, "which database?")).await.unwrap();
        let change = Update { blocking_notes: Some("SQLite".into()), ..set_status(Status::Open) };
        let view = desk.view(update(&id, change)).await;
        assert_eq!(view.issue.status, Status::Open);
        assert_eq!(view.issue.blocking_notes.as_deref(), Some("which database?"));
        assert_eq!(view.comments[0].body, "SQLite");
    }

    pub(super) async fn closed_does_not_open_by_update(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        desk.close(&id).await;
        for change in [set_status(Status::Open), set_status(Status::InProgress)] {
            let error = desk.error(update(&id, change)).await;
            assert!(error.to_string().contains("`reopen`"), "{error}");
        }
        assert_eq!(desk.get(&id).await.status, Status::Closed);
    }

    pub(super) async fn titles_are_checked(store: Store) {
        let desk = foreman(&store);
        for title in ["", " \n ", &"x".repeat(501)] {
            let error = desk.error(Operation::Create(new(title))).await;
            assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
        }
        desk.task(&"x".repeat(500)).await;
        for parent_id in ["unknown"] {
            let new = NewIssue { parent_id: Some(parent_id.into()), ..new("t") };
            assert_eq!(desk.error(Operation::Create(new)).await.to_string(), "Issue not found: unknown");
        }
    }

    pub(super) async fn deferred_is_not_ready(store: Store) {
        let desk = foreman(&store);
        let until = desk.ahead(Duration::from_secs(100));
        let id = desk.create(NewIssue { defer_until: Some(until), ..new("t") }).await.id;
        assert!(desk.ready().await.is_empty());
        let error = desk.error(claim(Some(&id))).await;
        assert!(error.to_string().contains("deferred until"), "{error}");
        let other = runner::id::RunId::from("other");
        let deadlines = store.deadlines(&other, desk.ahead(Duration::ZERO)).await.unwrap();
        assert_eq!(deadlines.iter().map(|deadline| deadline.at).collect::<Vec<_>>(), [until]);
        desk.wait(Duration::from_secs(100));
        assert_eq!(desk.ready().await, std::slice::from_ref(&id));
        assert_eq!(store.deadlines(&other, until).await.unwrap(), []);
        assert_eq!(desk.claim().await.unwrap().id, id);
    }

    pub(super) async fn create_starts_blocked(store: Store) {
        let desk = foreman(&store);
        let new = NewIssue { blocking_notes: Some("which database?".into()), ..new("t") };
        assert_eq!(desk.create(new).await.status, Status::Blocked);
    }

    pub(super) async fn epic_waits_for_its_parts(store: Store) {
        let desk = foreman(&store);
        let epic = desk.create(NewIssue { issue_type: Some("epic".into()), ..new("epic") }).await.id;
        let part = desk.create(NewIssue { parent_id: Some(epic.clone()), ..new("part") }).await.id;
        let error = desk.error(close(&epic)).await;
        assert!(error.to_string().contains(part.as_str()), "{error}");
        let forced = Operation::Close { id: epic.clone(), reason: String::new(), force: true };
        assert_eq!(desk.view(forced).await.issue.status, Status::Closed);
        desk.try_do(Operation::Reopen { id: epic.clone() }).await.unwrap();
        desk.close(&part).await;
        assert_eq!(desk.close(&epic).await.status, Status::Closed);
    }

    pub(super) async fn comments_are_shown(store: Store) {
        let desk = foreman(&store);
        let id = desk.task("t").await;
        for n in 0..25 {
            desk.try_do(Operation::Comment { id: id.clone(), body: n.to_string() }).await.unwrap();
        }
        let view = desk.view(claim(Some(&id))).await;
        let shown: Vec<_> = view.comments.iter().map(|comment| comment.body.clone()).collect();
        assert_eq!(shown, (5..25).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(matches!(
            desk.error(Operation::Comment { id, body: " ".into() }).await,
            StoreError::Invalid { .. }
        ));
    }

    pub(super) async fn takes_narrow_lists(store: Store) {
        let desk = foreman(&store);
        let mut made = Vec::new();
        for kind in ["coding", "testing", "research"] {
            let metadata = object(json!({"worker_type": kind}));
            made.push(desk.create(NewIssue { metadata, ..new(kind) }).await.id);
        }
        let takes = Takes([("worker_type".to_owned(), vec!["testing".into(), "research".into()])].into());
        let filter = Filter { takes: takes.clone(), limit: Some(1), ..Filter::default() };
        match desk.try_do(Operation::Ready(filter)).await.unwrap().answer {
            Answer::Issues { issues, total } => {
                assert_eq!((ids(&issues), total), (vec![made[1].clone()], 2));
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn counts_and_snapshot_agree(store: Store) {
        let desk = foreman(&store);
        let mut made = Vec::new();
        for title in ["ready", "waits", "taken", "blocked", "closed"] {
            made.push(desk.task(title).await);
        }
        desk.waits(&made[1], &made[0]).await;
        desk.try_do(claim(Some(&made[2]))).await.unwrap();
        desk.try_do(desk::block(&made[3], "why")).await.unwrap();
        desk.close(&made[4]).await;
        let Answer::Snapshot(snapshot) = desk.try_do(Operation::Snapshot).await.unwrap().answer else {
            panic!("no snapshot")
        };
        let counts = snapshot.counts;
        assert_eq!((counts.total, counts.open, counts.ready), (5, 2, 1));
        assert_eq!((counts.in_progress, counts.blocked, counts.closed), (1, 1, 1));
        assert_eq!(snapshot.ready, [made[0].clone()]);
        assert_eq!(ids(&snapshot.issues), made);
        assert_eq!((&snapshot.holds[0].issue, snapshot.holds.len()), (&made[2], 1));
        assert_eq!(desk.try_do(Operation::Counts).await.unwrap().answer, Answer::Counts(counts));
    }

    pub(super) async fn same_effect_same_answer(store: Store) {
        let desk = Desk::new(&store, Some("run-1"), "worker");
        let first = desk.as_effect("work/worker/1.1", Operation::Create(new("t"))).await.unwrap();
        let again = desk.as_effect("work/worker/1.1", Operation::Create(new("t"))).await.unwrap();
        assert_eq!(first, again);
        assert_eq!(desk.list(Filter::default()).await.len(), 1);
        let claimed = desk.as_effect("work/worker/1.2", claim(None)).await.unwrap();
        assert_eq!(claimed.holds.gained.len(), 1);
        assert_eq!(desk.as_effect("work/worker/1.2", claim(None)).await.unwrap(), claimed);
        let other = desk.beside(Some("run-2"), "worker");
        let made = other.as_effect("work/worker/1.1", Operation::Create(new("t"))).await.unwrap();
        assert_ne!(made.answer, first.answer);
        assert_eq!(desk.list(Filter::default()).await.len(), 2);
    }

    pub(super) async fn sequence_counts_every_operation(store: Store) {
        let mut desk = foreman(&store);
        desk.sequence = Some(Sequence::default());
        let id = desk.task("t").await;
        let read = desk.try_do(Operation::Counts).await.unwrap();
        let refused = desk.try_do(Operation::Reopen { id }).await.unwrap_err();
        let write = desk.try_do(Operation::Create(new("u"))).await.unwrap();
        assert_eq!((read.seq, refused.seq, write.seq), (Some(2), Some(3), Some(4)));
    }

    pub(super) async fn footprints_name_what_was_touched(store: Store) {
        let desk = foreman(&store);
        let name = |id: &IssueId| format!("issue:{id}");
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let (a, b, child) = (desk.task("a").await, desk.task("b").await, desk.task("c").await);
        let edge = desk.edge(&a, &b, EdgeType::Blocks).await.unwrap().footprint;
        assert_eq!(edge.writes, set(&[name(&a), name(&b)]));
        let edge = desk.edge(&child, &a, EdgeType::ParentChild).await.unwrap().footprint;
        assert_eq!(edge.writes, set(&[name(&child), name(&a)]));
        let refused = desk.try_do(claim(Some(&child))).await.unwrap_err().footprint;
        assert_eq!((refused.reads, refused.writes.len()), (set(&[name(&child), name(&a)]), 0));
        let closed = desk.try_do(close(&b)).await.unwrap().footprint;
        assert_eq!(closed.writes, set(&[name(&a), name(&b), name(&child)]), "those that became ready");
        let get = desk.try_do(Operation::Get { id: a.clone() }).await.unwrap().footprint;
        assert_eq!((get.reads, get.writes.len()), (set(&[name(&a), name(&child)]), 0), "with its parts");
        let claimed = desk.try_do(claim(None)).await.unwrap().footprint;
        assert_eq!((claimed.reads, claimed.writes), (set(&["issue:*".to_owned()]), set(&[name(&a)])));
        let far = Timestamp::MAX;
        assert_eq!(store.deadlines(&runner::id::RunId::from("other"), far).await.unwrap(), []);
    }
}
