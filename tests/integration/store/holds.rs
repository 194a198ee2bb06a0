//! Claims, leases, fencing, attempts: who has an issue, for how long, and what others may do with it meanwhile.

use super::desk::contract;

contract! {
    claim_takes_the_first claim_of_nothing claim_again_is_the_same held_by_another
    claims_race_from_many_tasks lapsed_lease_is_reclaimed own_run_never_lapses renewed_lease_holds
    stale_holder_is_refused lapse_alone_refuses_nothing dead_letter dead_letter_by_lapse
    release_all_gives_back reclaim_of_dead_runs force_raises_the_epoch update_is_a_claim
    each_move_of_an_update_has_its_event others_may_do_the_rest claim_narrowed_by_takes ending_clears_the_assignee holding_runs_are_named
}

mod cases {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use runner::id::RunId;
    use runner::issue::{Issue, Status, Takes};
    use runner::store::{Answer, AttemptCount, Claim, IssueStore, NewIssue, Operation, StoreError, Update};
    use tokio::task::JoinSet;

    use crate::store::desk::{Desk, LEASE, block, claim, close, release, set_status, update};

    type Store = Arc<dyn IssueStore>;

    fn worker(store: &Store, name: &str) -> Desk {
        Desk::new(store, Some(&format!("run-{name}")), name)
    }

    pub(super) async fn claim_takes_the_first(store: Store) {
        let desk = worker(&store, "a");
        desk.task("later").await;
        let first =
            desk.create(NewIssue { title: "first".into(), priority: Some(0), ..NewIssue::default() }).await;
        let taken = desk.claim().await.unwrap();
        assert_eq!((&taken.id, taken.status), (&first.id, Status::InProgress));
        assert_eq!(taken.assignee.as_deref(), Some("a"));
    }

    pub(super) async fn claim_of_nothing(store: Store) {
        let desk = worker(&store, "a");
        assert_eq!(desk.claim().await, None);
    }

    pub(super) async fn claim_again_is_the_same(store: Store) {
        let desk = worker(&store, "a");
        let id = desk.task("t").await;
        let first = desk.try_do(claim(Some(&id))).await.unwrap();
        let again = desk.try_do(claim(Some(&id))).await.unwrap();
        assert_eq!((&first.answer, &first.holds), (&again.answer, &again.holds));
        assert_eq!(desk.history(&id).await, ["created", "claimed"]);
    }

    pub(super) async fn held_by_another(store: Store) {
        let (a, b) = (worker(&store, "a"), worker(&store, "b"));
        let id = a.task("t").await;
        a.try_do(claim(Some(&id))).await.unwrap();
        let before = a.get(&id).await;
        for operation in [
            claim(Some(&id)),
            close(&id),
            block(&id, "x"),
            release(&id, AttemptCount::Free),
            update(&id, set_status(Status::InProgress)),
            update(&id, set_status(Status::Open)),
            update(&id, Update { assignee: Some("b".into()), ..Update::default() }),
        ] {
            let error = b.error(operation.clone()).await;
            assert!(
                matches!(&error, StoreError::Held { holder, .. } if holder == "a"),
                "{operation:?}: {error}"
            );
        }
        assert_eq!(a.get(&id).await, before);
    }

    pub(super) async fn claims_race_from_many_tasks(store: Store) {
        let foreman = worker(&store, "foreman");
        for n in 0..40 {
            foreman.task(&n.to_string()).await;
        }
        let mut tasks = JoinSet::new();
        for n in 0..16 {
            let desk = foreman.beside(Some("run-1"), &format!("w{n}"));
            tasks.spawn(async move {
                let mut taken = Vec::new();
                while let Some(issue) = desk.claim().await {
                    desk.close(&issue.id).await;
                    taken.push(issue.id);
                }
                taken
            });
        }
        let taken: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (40, 40));
    }

    pub(super) async fn lapsed_lease_is_reclaimed(store: Store) {
        let a = worker(&store, "a");
        let b = a.beside(Some("run-b"), "b");
        let id = a.task("t").await;
        a.claim().await.unwrap();
        assert_eq!(b.claim().await, None);
        assert_eq!(store.deadlines(&RunId::from("other"), b.ahead(Duration::ZERO)).await.unwrap().len(), 1);
        b.wait(LEASE);
        let taken = b.claim().await.unwrap();
        assert_eq!((&taken.id, taken.attempt, taken.assignee.as_deref()), (&id, 1, Some("b")));
        assert_eq!(a.history(&id).await, ["created", "claimed", "lease_expired", "claimed"]);
    }

    pub(super) async fn own_run_never_lapses(store: Store) {
        let a = worker(&store, "a");
        let b = a.beside(Some("run-a"), "b");
        a.task("t").await;
        a.claim().await.unwrap();
        b.wait(LEASE * 10);
        assert_eq!(b.claim().await, None);
    }

    pub(super) async fn renewed_lease_holds(store: Store) {
        let a = worker(&store, "a");
        let b = a.beside(Some("run-b"), "b");
        let id = a.task("t").await;
        a.claim().await.unwrap();
        let before = a.get(&id).await;
        store.renew(&RunId::new("run-a"), a.ahead(LEASE * 3)).await.unwrap();
        b.wait(LEASE * 2);
        assert_eq!(b.claim().await, None);
        assert_eq!(a.get(&id).await, before);
        b.wait(LEASE);
        assert!(b.claim().await.is_some());
    }

    pub(super) async fn stale_holder_is_refused(store: Store) {
        let a = worker(&store, "a");
        let b = a.beside(Some("run-b"), "b");
        let id = a.task("t").await;
        a.claim().await.unwrap();
        b.wait(LEASE);
        b.claim().await.unwrap();
        for operation in [close(&id), block(&id, "x"), update(&id, set_status(Status::Open))] {
            let error = a.error(operation).await;
            assert!(matches!(&error, StoreError::Stale { holder, .. } if holder == "b"), "{error}");
        }
        a.try_do(Operation::Comment { id: id.clone(), body: "what I found".into() }).await.unwrap();
        b.close(&id).await;
        assert!(matches!(a.error(close(&id)).await, StoreError::Stale { .. }), "also after it was closed");
    }

    pub(super) async fn lapse_alone_refuses_nothing(store: Store) {
        let a = worker(&store, "a");
        let id = a.task("t").await;
        a.claim().await.unwrap();
        a.wait(LEASE * 5);
        assert_eq!(a.close(&id).await.status, Status::Closed);
    }

    pub(super) async fn dead_letter(store: Store) {
        let a = worker(&store, "a");
        let id = a.task("t").await;
        for attempt in 1..=2 {
            a.claim().await.unwrap();
            let issue = a.view(release(&id, AttemptCount::Counted { limit: 2 })).await.issue;
            assert_eq!(issue.attempt, attempt);
        }
        let issue = a.get(&id).await;
        assert_eq!((issue.status, a.claim().await), (Status::Blocked, None));
        let notes = issue.blocking_notes.unwrap();
        assert!(notes.starts_with("Given up after 2 claims without a result"), "{notes}");
        assert_eq!(notes.matches("claimed by a").count(), 2, "{notes}");
        assert_eq!(notes.matches("given back without a result by a").count(), 2, "{notes}");
        let issue = a.view(Operation::Unblock { id, answer: "try the other way".into() }).await.issue;
        assert_eq!((issue.status, issue.attempt), (Status::Open, 0));
    }

    pub(super) async fn dead_letter_by_lapse(store: Store) {
        let a = worker(&store, "a");
        let b = a.beside(Some("run-b"), "b");
        let id = a.task("t").await;
        a.claim().await.unwrap();
        b.wait(LEASE);
        b.claim().await.unwrap();
        a.wait(LEASE);
        let error = a.error(claim(Some(&id))).await;
        assert!(matches!(error, StoreError::WrongState { .. }), "{error}");
        assert_eq!(a.get(&id).await.status, Status::InProgress, "a refusal changes nothing");
        assert_eq!(a.claim().await, None);
        let issue = a.get(&id).await;
        assert_eq!((issue.status, issue.attempt), (Status::Blocked, 2));
        assert!(issue.blocking_notes.unwrap().contains("claim lapsed without a result of b"));
    }

    pub(super) async fn release_all_gives_back(store: Store) {
        let a = worker(&store, "a");
        let b = a.beside(Some("run-a"), "b");
        for title in ["1", "2", "3"] {
            a.task(title).await;
        }
        let mine = [a.claim().await.unwrap().id, a.claim().await.unwrap().id];
        b.claim().await.unwrap();
        let applied = a.try_do(Operation::ReleaseAll).await.unwrap();
        let Answer::Issues { issues, total } = &applied.answer else { panic!("{applied:?}") };
        let released: Vec<_> = issues.iter().map(|issue| (issue.id.clone(), issue.attempt)).collect();
        assert_eq!((released, *total), (mine.clone().map(|id| (id, 1)).to_vec(), 2));
        assert_eq!((applied.holds.ended, a.ready().await), (mine.to_vec(), mine.to_vec()));
    }

    pub(super) async fn reclaim_of_dead_runs(store: Store) {
        let a = worker(&store, "a");
        let b = a.beside(Some("run-b"), "b");
        let (one, two) = (a.task("1").await, a.task("2").await);
        a.claim().await.unwrap();
        b.claim().await.unwrap();
        assert_eq!(store.holding_runs().await.unwrap(), [RunId::new("run-a"), RunId::new("run-b")]);
        let next = a.beside(Some("run-c"), "engine");
        let runs = vec![RunId::new("run-a")];
        next.try_do(Operation::Reclaim { runs: runs.clone() }).await.unwrap();
        assert_eq!(next.ready().await, std::slice::from_ref(&one));
        assert_eq!(next.get(&one).await.attempt, 1);
        assert_eq!(next.get(&two).await.status, Status::InProgress);
        next.wait(LEASE);
        next.try_do(Operation::Reclaim { runs: Vec::new() }).await.unwrap();
        assert_eq!(next.ready().await, [one, two]);
    }

    pub(super) async fn force_raises_the_epoch(store: Store) {
        let a = worker(&store, "a");
        let person = a.beside(None, "kim");
        let id = a.task("t").await;
        a.claim().await.unwrap();
        let forced = Operation::Release { id: id.clone(), attempt: AttemptCount::Free, force: true };
        let issue = person.view(forced).await.issue;
        assert_eq!((issue.status, issue.assignee, issue.attempt), (Status::Open, None, 0));
        assert!(matches!(a.error(close(&id)).await, StoreError::Stale { .. }));
        assert_eq!(a.claim().await.map(|issue| issue.id), Some(id.clone()), "but it may claim again");
        let change = Update { force: true, ..set_status(Status::InProgress) };
        assert_eq!(person.view(update(&id, change)).await.issue.assignee.as_deref(), Some("kim"));
        assert!(matches!(a.error(close(&id)).await, StoreError::Stale { .. }));
    }

    pub(super) async fn update_is_a_claim(store: Store) {
        let a = worker(&store, "a");
        let id = a.task("t").await;
        let change = Update { assignee: Some("a".into()), ..Update::default() };
        let applied = a.try_do(update(&id, change)).await.unwrap();
        assert_eq!(applied.holds.gained.keys().collect::<Vec<_>>(), [&id]);
        assert_eq!(a.history(&id).await, ["created", "claimed"]);
        let issue = a.view(update(&id, Update { assignee: Some(String::new()), ..Update::default() })).await;
        assert_eq!((issue.issue.status, issue.issue.assignee), (Status::Open, None));
        let change = Update { assignee: Some("a".into()), ..set_status(Status::Closed) };
        let issue = a.view(update(&id, change)).await.issue;
        assert_eq!((issue.status, issue.assignee.as_deref()), (Status::Closed, Some("a")));
        let other = a.task("u").await;
        let error = a.error(update(&other, Update { assignee: Some("b".into()), ..Update::default() })).await;
        assert!(error.to_string().contains("only be yourself (a)"), "{error}");
    }

    pub(super) async fn each_move_of_an_update_has_its_event(store: Store) {
        let a = worker(&store, "a");
        // The same name in another run: nothing that the issue shows changes when it is taken over.
        let namesake = a.beside(Some("run-b"), "a");
        let id = a.task("t").await;
        a.claim().await.unwrap();
        let change = Update { force: true, ..set_status(Status::InProgress) };
        let applied = namesake.try_do(update(&id, change)).await.unwrap();
        assert_eq!((applied.holds.gained[&id], applied.holds.ended), (3, vec![]));
        assert_eq!(a.history(&id).await, ["created", "claimed", "released", "claimed"]);
        let other = a.task("u").await;
        let change = Update { assignee: Some("a".into()), ..set_status(Status::Closed) };
        let applied = a.try_do(update(&other, change)).await.unwrap();
        assert_eq!((applied.holds.gained.len(), applied.holds.ended), (0, vec![other.clone()]));
        assert_eq!(a.history(&other).await, ["created", "claimed", "closed"]);
        let change = Update { priority: Some(0), ..set_status(Status::Closed) };
        a.view(update(&other, change)).await;
        assert_eq!(a.history(&other).await, ["created", "claimed", "closed", "updated"]);
    }

    pub(super) async fn others_may_do_the_rest(store: Store) {
        let (a, b) = (worker(&store, "a"), worker(&store, "b"));
        let (id, other) = (a.task("t").await, a.task("u").await);
        a.try_do(claim(Some(&id))).await.unwrap();
        b.try_do(Operation::Comment { id: id.clone(), body: "look here".into() }).await.unwrap();
        b.try_do(update(&id, Update { priority: Some(0), ..Update::default() })).await.unwrap();
        b.waits(&id, &other).await;
        let issue: Issue = a.get(&id).await;
        assert_eq!((issue.status, issue.priority), (Status::InProgress, 0));
        let blocked = a.blocked().await;
        assert_eq!(blocked[0].issue.id, id, "in progress and yet waiting");
    }

    pub(super) async fn claim_narrowed_by_takes(store: Store) {
        let a = worker(&store, "a");
        let takes = Takes([("worker_type".to_owned(), vec!["coding".into()])].into());
        let narrow = |id| Operation::Claim(Claim { id, takes: takes.clone(), ..Claim::first(LEASE, 3) });
        let plain = a.task("plain").await;
        assert_eq!(a.try_do(narrow(None)).await.unwrap().answer, Answer::Nothing);
        let error = a.error(narrow(Some(plain.clone()))).await;
        assert_eq!(
            error.to_string(),
            format!(
                "{plain} is not for you: worker_type must be \"coding\" and is nothing; `claim` without issue_id takes \
                 the first that is"
            )
        );
        let metadata = [("worker_type".to_owned(), "coding".into())].into_iter().collect();
        let coding = a.create(NewIssue { title: "c".into(), metadata, ..NewIssue::default() }).await;
        assert_eq!(a.view(narrow(None)).await.issue.id, coding.id);
    }

    pub(super) async fn ending_clears_the_assignee(store: Store) {
        let a = worker(&store, "a");
        let id = a.task("t").await;
        a.claim().await.unwrap();
        assert_eq!(a.view(block(&id, "why")).await.issue.assignee, None);
        a.try_do(Operation::Unblock { id: id.clone(), answer: String::new() }).await.unwrap();
        a.claim().await.unwrap();
        assert_eq!(a.view(release(&id, AttemptCount::Free)).await.issue.assignee, None);
        a.claim().await.unwrap();
        let applied = a.try_do(close(&id)).await.unwrap();
        assert_eq!(applied.holds.ended, [id]);
    }

    pub(super) async fn holding_runs_are_named(store: Store) {
        let person = Desk::new(&store, None, "kim");
        let id = person.task("t").await;
        person.try_do(claim(Some(&id))).await.unwrap();
        assert!(store.holding_runs().await.unwrap().is_empty(), "a person is no run");
    }
}
