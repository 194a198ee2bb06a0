//! Footprints are honest: a replay runs effects whose footprints do not overlap in any order, so the order of two such
//! operations must not matter to their answers nor to what is left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use runner::event::Footprint;
use runner::id::{IdSource, IssueId, RunId, Seed};
use runner::issue::Status;
use runner::store::{Caller, Edit, Filter, IssueStore, NewIssue, Operation, Search, SqliteStore, Update};

use super::counters::{Act, ISSUES, act, operation};
use super::desk::{Desk, LEASE, at, claim, fresh, set_status};

/// What one of two sessions does at the moment in question.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Act(Act),
    ClaimAny,
    ReleaseAll,
    Reclaim,
    Get(usize),
    List,
    Search,
    Label(usize),
    Move(usize, Option<usize>),
    Comment(usize),
    Create(Option<usize>),
    Start(usize),
    Finish(usize),
    Raise(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let n = 0..ISSUES;
    prop_oneof![
        8 => act().prop_map(Deed::Act),
        2 => Just(Deed::ClaimAny),
        1 => Just(Deed::ReleaseAll),
        1 => Just(Deed::Reclaim),
        2 => n.clone().prop_map(Deed::Get),
        1 => Just(Deed::List),
        1 => Just(Deed::Search),
        1 => n.clone().prop_map(Deed::Label),
        2 => (n.clone(), prop::option::of(n.clone())).prop_map(|(n, whole)| Deed::Move(n, whole)),
        2 => n.clone().prop_map(Deed::Comment),
        2 => prop::option::of(n.clone()).prop_map(Deed::Create),
        2 => n.clone().prop_map(Deed::Start),
        2 => n.clone().prop_map(Deed::Finish),
        1 => n.prop_map(Deed::Raise),
    ]
}

fn to_do(deed: Deed, ids: &[IssueId]) -> Operation {
    match deed {
        Deed::Act(act) => operation(act, ids),
        Deed::ClaimAny => claim(None),
        Deed::ReleaseAll => Operation::ReleaseAll,
        Deed::Reclaim => Operation::Reclaim { runs: vec![RunId::new("run-2")] },
        Deed::Get(n) => Operation::Get { id: ids[n].clone() },
        Deed::List => Operation::List(Filter::default()),
        Deed::Search => Operation::Search(Search { query: "b".to_owned(), filter: Filter::default() }),
        Deed::Label(n) => {
            let add_labels = vec!["b".to_owned()];
            Operation::Update(ids[n].clone(), Update { add_labels, ..Update::default() })
        }
        Deed::Move(n, whole) => {
            let parent_id = whole.map_or(Edit::Clear, |whole| Edit::Set(ids[whole].clone()));
            Operation::Update(ids[n].clone(), Update { parent_id, ..Update::default() })
        }
        Deed::Comment(n) => Operation::Comment { id: ids[n].clone(), body: "b".to_owned() },
        Deed::Create(parent) => Operation::Create(NewIssue {
            title: "t".to_owned(),
            parent_id: parent.map(|n| ids[n].clone()),
            ..NewIssue::default()
        }),
        Deed::Start(n) => Operation::Update(ids[n].clone(), set_status(Status::InProgress)),
        Deed::Finish(n) => Operation::Update(ids[n].clone(), set_status(Status::Closed)),
        Deed::Raise(n) => {
            Operation::Update(ids[n].clone(), Update { priority: Some(0), ..Update::default() })
        }
    }
}

/// A session's operation at its own moment, with its own ids: the same in either order.
fn caller(session: usize, moment: i64) -> Caller {
    let name = format!("w{session}");
    Caller {
        run: Some(RunId::new(format!("run-{session}"))),
        effect: None,
        holder: format!("work/{name}"),
        epochs: std::collections::BTreeMap::new(),
        at: at(moment),
        ids: Arc::new(IdSource::new(&Seed::new("seed"), &name)),
        sequence: None,
        actor: name,
    }
}

/// What two operations answer in this order, what they touched, and the queue they leave.
async fn play(
    file: &Path,
    order: [usize; 2],
    deeds: [Deed; 2],
    ids: &[IssueId],
    now: i64,
) -> (Vec<String>, Vec<Footprint>, String) {
    let store: Arc<dyn IssueStore> = SqliteStore::open(file).unwrap();
    let mut answers = vec![String::new(); 2];
    let mut touched = vec![Footprint::none(); 2];
    for which in order {
        let moment = now + 1 + i64::try_from(which).unwrap();
        let result = store.apply(caller(which + 1, moment), to_do(deeds[which], ids)).await;
        touched[which] = match &result {
            Ok(applied) => applied.footprint.clone(),
            Err(refused) => refused.footprint.clone(),
        };
        answers[which] = match result {
            Ok(applied) => format!("{:?} {:?}", applied.answer, applied.holds),
            Err(refused) => refused.to_string(),
        };
    }
    let desk = Desk::new(&store, None, "foreman");
    let mut left =
        format!("{:?}", store.apply(caller(3, now + 9), Operation::Snapshot).await.unwrap().answer);
    for issue in desk.list(Filter::default()).await {
        left += &format!("{:?}", desk.view(Operation::Get { id: issue.id }).await);
    }
    (answers, touched, left)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn disjoint_operations_commute(
        before in prop::collection::vec((act(), 0..3usize), 0..25),
        deeds in [deed(), deed()],
        lapse in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (folder, store) = fresh();
            let desks = [("w1", "run-1"), ("w2", "run-2"), ("w3", "run-3")];
            let first = Desk::new(&store, Some("run-0"), "foreman");
            let mut ids = Vec::new();
            for n in 0..ISSUES {
                ids.push(first.task(&n.to_string()).await);
            }
            for (act, who) in before {
                let (name, run) = desks[who];
                let _ = first.beside(Some(run), name).try_do(operation(act, &ids)).await;
            }
            if lapse {
                first.wait(LEASE + Duration::from_secs(1));
            }
            let now = *first.now.lock().unwrap();
            drop(first);
            drop(store);
            let here = folder.path().join(".beads/issues.db");
            let there = folder.path().join("copy.db");
            std::fs::copy(&here, &there).unwrap();
            let (answers, touched, left) = play(&here, [0, 1], deeds, &ids, now).await;
            if touched[0].overlaps(&touched[1]) {
                return;
            }
            let (other_answers, _, other_left) = play(&there, [1, 0], deeds, &ids, now).await;
            assert_eq!((answers, left), (other_answers, other_left), "{touched:?}");
        });
    }
}
