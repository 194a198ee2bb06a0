//! Labels, fields that can be emptied, parts that move and are summed: what is kept, refused and told.

use super::desk::contract;

contract! {
    labels_are_kept_once_and_in_order labels_that_cannot_be_are_refused labels_are_bounded anybody_may_label
    optional_fields_can_be_emptied a_part_moves_to_another_whole a_move_that_closes_a_circle_changes_nothing
    a_move_comes_before_a_claim parts_are_summed parts_of_parts_are_summed_once
}

mod cases {
    use std::sync::Arc;
    use std::time::Duration;

    use runner::id::IssueId;
    use runner::issue::Status;
    use runner::store::{Edit, IssueStore, NewIssue, Operation, Parts, Update};
    use serde_json::json;

    use crate::store::desk::{Desk, claim, set_status, update};

    type Store = Arc<dyn IssueStore>;

    fn kim(store: &Store) -> Desk {
        Desk::new(store, None, "kim")
    }

    fn new(title: &str) -> NewIssue {
        NewIssue { title: title.to_owned(), ..NewIssue::default() }
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn relabel(add: &[&str], remove: &[&str]) -> Update {
        Update { add_labels: texts(add), remove_labels: texts(remove), ..Update::default() }
    }

    fn move_to(parent: &IssueId) -> Update {
        Update { parent_id: Edit::Set(parent.clone()), ..Update::default() }
    }

    async fn part_of(desk: &Desk, whole: &IssueId, minutes: Option<u32>) -> IssueId {
        let parent_id = Some(whole.clone());
        desk.create(NewIssue { parent_id, estimate_minutes: minutes, ..new("part") }).await.id
    }

    pub(super) async fn labels_are_kept_once_and_in_order(store: Store) {
        let desk = kim(&store);
        let made = desk.create(NewIssue { labels: texts(&["web", " api ", "web"]), ..new("t") }).await;
        assert_eq!(made.labels, ["api", "web"]);
        let id = made.id;
        let changed =
            desk.view(update(&id, relabel(&["größe:xl", "web"], &["api", "never-there"]))).await.issue;
        assert_eq!(changed.labels, ["größe:xl", "web"]);
        assert_eq!(desk.get(&id).await, changed);
        // What changes nothing writes nothing.
        let same = desk.view(update(&id, relabel(&["web"], &["api"]))).await.issue;
        assert_eq!(same.updated_at, changed.updated_at);
        assert_eq!(desk.history(&id).await, ["created", "updated"]);
        let none = desk.view(update(&id, relabel(&[], &["web", "größe:xl"]))).await.issue;
        assert_eq!(none.labels, [""; 0]);
        assert!(!json!(none).to_string().contains("labels"), "left out where there are none");
        assert_eq!(desk.get(&id).await.labels, [""; 0]);
    }

    pub(super) async fn labels_that_cannot_be_are_refused(store: Store) {
        let desk = kim(&store);
        let id = desk.create(NewIssue { labels: texts(&["a"]), ..new("t") }).await.id;
        let before = desk.get(&id).await;
        let long = "l".repeat(65);
        for (wrong, said) in [
            ("", "cannot be empty"),
            ("a,b", "holds a comma; give each label by itself"),
            ("a\u{7}b", "control character"),
            (&long, "has 65 characters, and 64 are allowed"),
        ] {
            let made =
                desk.error(Operation::Create(NewIssue { labels: texts(&["b", wrong]), ..new("t") })).await;
            let added = desk.error(update(&id, relabel(&["b", wrong], &[]))).await;
            let removed = desk.error(update(&id, relabel(&["b"], &[wrong]))).await;
            for error in [made, added, removed] {
                assert!(error.to_string().contains(said), "{error}");
            }
        }
        let error = desk.error(update(&id, relabel(&["b", "c"], &["c", "a"]))).await;
        assert_eq!(error.to_string(), "the label `c` is both added and removed; do one of them");
        assert_eq!(desk.get(&id).await, before);
    }

    pub(super) async fn labels_are_bounded(store: Store) {
        let desk = kim(&store);
        let many: Vec<String> = (0..33).map(|n| format!("l{n}")).collect();
        let error = desk.error(Operation::Create(NewIssue { labels: many.clone(), ..new("t") })).await;
        assert!(error.to_string().contains("32 labels at most, not 33"), "{error}");
        let id = desk.create(NewIssue { labels: many[..32].to_vec(), ..new("t") }).await.id;
        let error = desk.error(update(&id, relabel(&["one more"], &[]))).await;
        assert!(error.to_string().contains("32 labels at most, not 33"), "{error}");
        assert_eq!(desk.view(update(&id, relabel(&["one more"], &["l0"]))).await.issue.labels.len(), 32);
    }

    pub(super) async fn anybody_may_label(store: Store) {
        let desk = kim(&store);
        let id = desk.task("t").await;
        desk.beside(Some("run"), "w").try_do(claim(Some(&id))).await.unwrap();
        assert_eq!(desk.view(update(&id, relabel(&["seen"], &[]))).await.issue.labels, ["seen"]);
    }

    pub(super) async fn optional_fields_can_be_emptied(store: Store) {
        let desk = kim(&store);
        let defer_until = Some(desk.ahead(Duration::from_secs(1000)));
        let id = desk.create(NewIssue { defer_until, estimate_minutes: Some(5), ..new("t") }).await.id;
        assert_eq!(desk.ready().await, []);
        let empty = Update { defer_until: Edit::Clear, estimate_minutes: Edit::Clear, ..Update::default() };
        let issue = desk.view(update(&id, empty.clone())).await.issue;
        assert_eq!((issue.defer_until, issue.estimate_minutes), (None, None));
        assert_eq!(desk.ready().await, std::slice::from_ref(&id));
        desk.try_do(update(&id, empty)).await.unwrap();
        assert_eq!(desk.history(&id).await, ["created", "updated"], "there was nothing left to empty");
        let set = Update { estimate_minutes: Edit::Set(7), ..Update::default() };
        assert_eq!(desk.view(update(&id, set)).await.issue.estimate_minutes, Some(7));
    }

    pub(super) async fn a_part_moves_to_another_whole(store: Store) {
        let desk = kim(&store);
        let (stuck, free) = (desk.task("stuck").await, desk.task("free").await);
        let part = part_of(&desk, &stuck, None).await;
        let block = Operation::Block { id: stuck.clone(), notes: "why?".into(), force: false };
        desk.try_do(block).await.unwrap();
        assert_eq!(desk.ready().await, std::slice::from_ref(&free));
        let moved = desk.view(update(&part, move_to(&free))).await;
        assert_eq!(moved.issue.parent_id, Some(free.clone()));
        assert_eq!(moved.dependencies.len(), 1);
        assert_eq!(desk.ready().await, [free.clone(), part.clone()], "it no longer waits with its old whole");
        desk.try_do(update(&part, move_to(&free))).await.unwrap();
        desk.try_do(update(&part, move_to(&stuck))).await.unwrap();
        assert_eq!(desk.ready().await, std::slice::from_ref(&free));
        let none = Update { parent_id: Edit::Clear, title: Some("alone".into()), ..Update::default() };
        let alone = desk.view(update(&part, none)).await;
        assert_eq!((alone.issue.parent_id, alone.issue.title.as_str()), (None, "alone"));
        assert_eq!(alone.dependencies, []);
        assert_eq!(desk.ready().await, [free, part.clone()]);
        let told = desk.history(&part).await;
        let [added, removed] = ["dependency_added", "dependency_removed"];
        assert_eq!(told, ["created", added, removed, added, removed, added, removed, "updated"]);
    }

    pub(super) async fn a_move_that_closes_a_circle_changes_nothing(store: Store) {
        let desk = kim(&store);
        let whole = desk.task("whole").await;
        let part = part_of(&desk, &whole, None).await;
        let deep = part_of(&desk, &part, None).await;
        let other = desk.task("other").await;
        desk.waits(&part, &other).await;
        let before = (desk.get(&part).await, desk.history(&part).await);
        for (target, said) in [
            (&deep, "would create a cycle"),
            (&part, "would create a cycle"),
            (&IssueId::from("nope"), "Issue not found: nope"),
            (&other, "already has a `blocks` edge"),
        ] {
            let change = Update { title: Some("new".into()), ..move_to(target) };
            let error = desk.error(update(&part, change)).await;
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!((desk.get(&part).await, desk.history(&part).await), before);
        }
        assert_eq!(desk.view(Operation::Get { id: whole }).await.parts.unwrap().count, 1);
    }

    pub(super) async fn a_move_comes_before_a_claim(store: Store) {
        let desk = kim(&store);
        let stuck = desk.create(NewIssue { blocking_notes: Some("why?".into()), ..new("stuck") }).await.id;
        let id = desk.task("t").await;
        let take = Update { parent_id: Edit::Set(stuck.clone()), ..set_status(Status::InProgress) };
        let error = desk.error(update(&id, take)).await;
        assert!(error.to_string().contains(&format!("it waits for {stuck}")), "{error}");
        desk.try_do(update(&id, move_to(&stuck))).await.unwrap();
        let take = Update { parent_id: Edit::Clear, ..set_status(Status::InProgress) };
        assert_eq!(desk.view(update(&id, take)).await.issue.status, Status::InProgress);
    }

    pub(super) async fn parts_are_summed(store: Store) {
        let desk = kim(&store);
        let epic = desk.create(NewIssue { issue_type: Some("epic".into()), ..new("epic") }).await.id;
        let get = async || desk.view(Operation::Get { id: epic.clone() }).await.parts;
        assert_eq!(get().await, None);
        let first = part_of(&desk, &epic, Some(30)).await;
        part_of(&desk, &epic, Some(u32::MAX)).await;
        part_of(&desk, &epic, None).await;
        desk.close(&first).await;
        let sum = 30 + u64::from(u32::MAX);
        assert_eq!(get().await, Some(Parts { count: 3, closed: 1, estimate_minutes: sum }));
        let empty = Update { estimate_minutes: Edit::Clear, ..Update::default() };
        desk.try_do(update(&first, empty)).await.unwrap();
        assert_eq!(get().await.unwrap().estimate_minutes, u64::from(u32::MAX));
    }

    pub(super) async fn parts_of_parts_are_summed_once(store: Store) {
        let desk = kim(&store);
        let top = desk.task("top").await;
        let half = part_of(&desk, &top, Some(100)).await;
        part_of(&desk, &top, Some(7)).await;
        let get = async |id: &IssueId| desk.view(Operation::Get { id: id.clone() }).await.parts.unwrap();
        let unestimated = part_of(&desk, &half, None).await;
        assert_eq!(get(&top).await.estimate_minutes, 107, "its own, as its parts have none");
        part_of(&desk, &unestimated, Some(20)).await;
        part_of(&desk, &half, Some(40)).await;
        assert_eq!(get(&half).await, Parts { count: 2, closed: 0, estimate_minutes: 60 });
        assert_eq!(get(&top).await, Parts { count: 2, closed: 0, estimate_minutes: 67 });
        // As deep as anybody builds, and deeper.
        let mut deepest = top.clone();
        for _ in 0..300 {
            deepest = part_of(&desk, &deepest, None).await;
        }
        let deep = Update { estimate_minutes: Edit::Set(1), ..Update::default() };
        desk.try_do(update(&deepest, deep)).await.unwrap();
        assert_eq!(get(&top).await, Parts { count: 3, closed: 0, estimate_minutes: 68 });
    }
}
