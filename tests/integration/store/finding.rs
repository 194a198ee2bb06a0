//! Search and filters: what is found, in which order, and what a limit leaves to be told.

use super::desk::contract;

contract! {
    every_word_must_occur_somewhere words_have_no_case_and_no_patterns results_have_an_order
    search_is_narrowed_and_cut searches_that_cannot_be_are_refused filters_mean_all_of_them
    filters_narrow_every_list blocked_is_cut_and_counted a_claim_takes_a_label
}

mod cases {
    use std::sync::Arc;
    use std::time::Duration;

    use runner::id::IssueId;
    use runner::issue::{Issue, Status, Takes};
    use runner::store::{Answer, Claim, Filter, IssueStore, NewIssue, Operation, Search, Update};

    use crate::store::desk::{Desk, LEASE, claim, update};

    type Store = Arc<dyn IssueStore>;

    fn kim(store: &Store) -> Desk {
        Desk::new(store, None, "kim")
    }

    fn new(title: &str) -> NewIssue {
        NewIssue { title: title.to_owned(), ..NewIssue::default() }
    }

    fn labels(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    async fn asked(desk: &Desk, operation: Operation) -> (Vec<Issue>, usize) {
        match desk.try_do(operation).await.unwrap().answer {
            Answer::Issues { issues, total } => (issues, total),
            Answer::Blocked { issues, total } => {
                (issues.into_iter().map(|blocked| blocked.issue).collect(), total)
            }
            other => panic!("expected issues, got {other:?}"),
        }
    }

    fn query(words: &str) -> Operation {
        Operation::Search(Search { query: words.to_owned(), filter: Filter::default() })
    }

    async fn found(desk: &Desk, words: &str) -> Vec<String> {
        asked(desk, query(words)).await.0.into_iter().map(|issue| issue.title).collect()
    }

    pub(super) async fn every_word_must_occur_somewhere(store: Store) {
        let desk = kim(&store);
        let id = desk
            .create(NewIssue {
                description: "in the description".into(),
                labels: labels(&["some label", "quo\"te"]),
                blocking_notes: Some("in the notes".into()),
                ..new("Hay")
            })
            .await
            .id;
        let body = "in a comment, a thousand lines down".to_owned();
        desk.try_do(Operation::Comment { id: id.clone(), body }).await.unwrap();
        desk.task("Other hay").await;
        for word in
            ["hay description", "notes", "label hay", "quo\"te", "COMMENT lines notes", &id.as_str()[3..]]
        {
            assert_eq!(found(&desk, word).await, ["Hay"], "{word}");
        }
        for word in ["hay needle", "metadata", "\\u"] {
            assert_eq!(found(&desk, word).await, [""; 0], "{word}");
        }
        let done = Operation::Close { id, reason: "by the closing".into(), force: true };
        desk.try_do(done).await.unwrap();
        assert_eq!(found(&desk, "closing hay").await, ["Hay"]);
    }

    pub(super) async fn words_have_no_case_and_no_patterns(store: Store) {
        let desk = kim(&store);
        desk.task("100%_ GRÖSSE").await;
        desk.task("100 größe").await;
        for (words, wanted) in [
            ("%", vec!["100%_ GRÖSSE"]),
            ("1_0", vec![]),
            ("gröss", vec!["100%_ GRÖSSE"]),
            ("GRÖßE", vec!["100 größe"]),
            ("Grö\t100\n", vec!["100 größe", "100%_ GRÖSSE"]),
            ("' OR 1=1 --", vec![]),
        ] {
            assert_eq!(found(&desk, words).await, wanted, "{words}");
        }
    }

    pub(super) async fn results_have_an_order(store: Store) {
        let desk = kim(&store);
        let mut made = Vec::new();
        for title in ["word old", "closed word", "elsewhere", "closed elsewhere", "word new"] {
            let description = if title.contains("else") { "a word" } else { "" };
            made.push(desk.create(NewIssue { description: description.into(), ..new(title) }).await.id);
        }
        desk.close(&made[1]).await;
        desk.close(&made[3]).await;
        let order = ["word new", "word old", "closed word", "elsewhere", "closed elsewhere"];
        assert_eq!(found(&desk, "word").await, order);
        let comment = Operation::Comment { id: made[0].clone(), body: "x".into() };
        desk.try_do(comment).await.unwrap();
        assert_eq!(
            found(&desk, "word").await[..2],
            ["word old", "word new"],
            "what changed last comes first"
        );
        // Of one moment: the lowest id, whatever the order of making.
        let (other, mut twins) = (desk.beside(None, "other"), Vec::new());
        for _ in 0..6 {
            *other.now.lock().unwrap() = 500;
            twins.push(other.task("twin").await);
        }
        twins.sort();
        let ids: Vec<_> = asked(&desk, query("twin")).await.0.into_iter().map(|issue| issue.id).collect();
        assert_eq!(ids, twins);
    }

    pub(super) async fn search_is_narrowed_and_cut(store: Store) {
        let desk = kim(&store);
        for n in 0..5 {
            let metadata = [("n".to_owned(), (n % 2).into())].into_iter().collect();
            desk.create(NewIssue { metadata, labels: labels(&[["x", "y"][n % 2]]), ..new("hay") }).await;
        }
        let closed = desk.task("hay").await;
        desk.close(&closed).await;
        let search = async |filter: Filter| {
            let (issues, total) =
                asked(&desk, Operation::Search(Search { query: "hay".into(), filter })).await;
            (issues.len(), total)
        };
        assert_eq!(search(Filter { limit: Some(2), ..Filter::default() }).await, (2, 6));
        let closed = Filter { statuses: vec![Status::Closed], ..Filter::default() };
        assert_eq!(search(closed).await, (1, 1));
        let odd = Takes([("n".to_owned(), vec![1.into()])].into());
        assert_eq!(search(Filter { takes: odd, limit: Some(1), ..Filter::default() }).await, (1, 2));
        assert_eq!(search(Filter { labels: labels(&["x"]), ..Filter::default() }).await, (3, 3));
    }

    pub(super) async fn searches_that_cannot_be_are_refused(store: Store) {
        let desk = kim(&store);
        let error = desk.error(query(" \n")).await;
        assert_eq!(error.to_string(), "a search needs a word (query) that is to occur");
        let many = (0..33).map(|n| format!("w{n} ")).collect::<String>();
        let error = desk.error(query(&many)).await;
        assert_eq!(error.to_string(), "the search has 33 words, and 32 are allowed; leave some out");
        let footprint = desk.try_do(query("x")).await.unwrap().footprint;
        assert!(footprint.reads.contains("issue:*") && footprint.writes.is_empty());
    }

    pub(super) async fn filters_mean_all_of_them(store: Store) {
        let desk = kim(&store);
        let later = desk.ahead(Duration::from_secs(10_000));
        let both = desk.create(NewIssue { labels: labels(&["a", "b"]), ..new("both") }).await.id;
        desk.create(NewIssue { labels: labels(&["ab"]), ..new("neither") }).await;
        desk.create(NewIssue { labels: labels(&["a"]), assignee: Some("ana".into()), ..new("one") }).await;
        desk.create(NewIssue { defer_until: Some(later), ..new("later") }).await;
        let stuck = desk.create(NewIssue { blocking_notes: Some("?".into()), ..new("stuck") }).await.id;
        desk.close(&stuck).await;
        desk.try_do(claim(Some(&both))).await.unwrap();
        let titles = async |filter: Filter| {
            desk.list(filter).await.into_iter().map(|issue| issue.title).collect::<Vec<_>>()
        };
        let none = Filter::default;
        assert_eq!(titles(Filter { labels: labels(&["a"]), ..none() }).await, ["both", "one"]);
        assert_eq!(titles(Filter { labels: labels(&["b", "a"]), ..none() }).await, ["both"]);
        assert_eq!(titles(Filter { labels: labels(&["A"]), ..none() }).await, [""; 0]);
        assert_eq!(titles(Filter { unassigned: true, ..none() }).await, ["neither", "later", "stuck"]);
        assert_eq!(titles(Filter { deferred: true, ..none() }).await, ["later"]);
        let statuses = vec![Status::Closed, Status::InProgress];
        assert_eq!(titles(Filter { statuses, ..none() }).await, ["both", "stuck"]);
        let mixed = Filter { statuses: vec![Status::Open], labels: labels(&["a"]), ..none() };
        assert_eq!(titles(mixed).await, ["one"]);
        desk.wait(Duration::from_secs(10_000));
        assert_eq!(titles(Filter { deferred: true, ..none() }).await, [""; 0], "its moment has come");
    }

    pub(super) async fn filters_narrow_every_list(store: Store) {
        let desk = kim(&store);
        for title in ["a", "b"] {
            desk.create(NewIssue { labels: labels(&[title]), ..new(title) }).await;
            let blocking_notes = Some("?".to_owned());
            desk.create(NewIssue { labels: labels(&[title]), blocking_notes, ..new(title) }).await;
        }
        let filter = || Filter { labels: labels(&["b"]), ..Filter::default() };
        for operation in [Operation::Ready(filter()), Operation::Blocked(filter())] {
            let (issues, total) = asked(&desk, operation.clone()).await;
            assert_eq!((issues.len(), total, issues[0].title.as_str()), (1, 1, "b"), "{operation:?}");
        }
    }

    pub(super) async fn blocked_is_cut_and_counted(store: Store) {
        let desk = kim(&store);
        let blocker = desk.task("blocker").await;
        for n in 0..4 {
            let id = desk.task(&n.to_string()).await;
            desk.waits(&id, &blocker).await;
        }
        let filter = Filter { limit: Some(3), ..Filter::default() };
        let Answer::Blocked { issues, total } = desk.try_do(Operation::Blocked(filter)).await.unwrap().answer
        else {
            panic!("blocked issues are asked for")
        };
        assert_eq!((issues.len(), total), (3, 4));
        assert!(issues.iter().all(|entry| entry.blockers.len() == 1));
    }

    pub(super) async fn a_claim_takes_a_label(store: Store) {
        let desk = kim(&store);
        let plain = desk.task("plain").await;
        let wanted = desk.create(NewIssue { labels: labels(&["web", "x"]), ..new("wanted") }).await.id;
        let with = |id: Option<&IssueId>, words: &[&str]| {
            Operation::Claim(Claim { id: id.cloned(), labels: labels(words), ..Claim::first(LEASE, 3) })
        };
        let error = desk.error(with(Some(&plain), &["web"])).await;
        assert_eq!(
            error.to_string(),
            format!(
                "{plain} is not for you: it lacks the label `web`; `claim` without issue_id takes the first that is"
            )
        );
        assert_eq!(desk.try_do(with(None, &["web", "y"])).await.unwrap().answer, Answer::Nothing);
        assert_eq!(desk.view(with(None, &["x", "web"])).await.issue.id, wanted);
        desk.try_do(update(&plain, Update { add_labels: labels(&["web"]), ..Update::default() }))
            .await
            .unwrap();
        assert_eq!(desk.view(with(Some(&plain), &["web"])).await.issue.id, plain);
    }
}
