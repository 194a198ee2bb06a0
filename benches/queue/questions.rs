//! What single questions and changes cost at each size.

use std::future::Future;
use std::time::Duration;

use runner::clock::{Clock as _, SystemClock};
use runner::issue::{Status, Takes};
use runner::store::{Filter, NewIssue, Operation};

use crate::claimers::Hand;
use crate::figures::{Sample, now};
use crate::queues::{Shape, Template, brought, import};
use crate::{Extent, runtime, say};

/// How often each small one is measured.
const TIMES: usize = 50;
/// How often each that takes the whole queue is measured.
const WHOLE: usize = 3;

/// Prints the table.
pub fn measure(extent: Extent) {
    let mut columns: Vec<Vec<(&str, Sample)>> = Vec::new();
    for open in extent.sizes() {
        columns.push(of_size(Shape { open: *open, closed: 0 }));
    }
    let heads: Vec<String> = extent.sizes().iter().map(|open| format!("{open} open issues, ms")).collect();
    say(&format!("\n## Questions\n\n| | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(heads.len())));
    for row in 0..columns[0].len() {
        let cells: Vec<String> = columns.iter().map(|column| column[row].1.spread()).collect();
        say(&format!("| {} | {} |", columns[0][row].0, cells.join(" | ")));
    }
}

fn of_size(shape: Shape) -> Vec<(&'static str, Sample)> {
    let mut imports = Vec::new();
    let template = Template::make(shape);
    imports.push(template.made_in);
    for _ in 1..WHOLE {
        imports.push(import(brought(shape)).1);
    }
    let queue = template.copy();
    let store = queue.open();
    let hand = Hand::new("somebody");
    let runtime = runtime();
    let ask = |times: usize, operation: Operation| {
        timed(&runtime, times, || async {
            hand.ask(&store, operation.clone()).await;
        })
    };
    let few = |statuses: Vec<Status>| Filter { statuses, limit: Some(50), ..Filter::default() };
    let new = NewIssue { title: "One more".to_owned(), description: "x".repeat(300), ..NewIssue::default() };
    let takes = Takes([("worker_type".to_owned(), vec!["nobody's".into()])].into());
    vec![
        ("`ready`, 50 rows", ask(TIMES, Operation::Ready(few(Vec::new())))),
        ("`list`, 50 rows", ask(TIMES, Operation::List(few(Vec::new())))),
        ("`list` of open ones, 50 rows", ask(TIMES, Operation::List(few(vec![Status::Open])))),
        ("`create`", ask(TIMES, Operation::Create(new))),
        ("`claim`", timed(&runtime, TIMES, || async { assert!(hand.claim(&store).await.is_some()) })),
        (
            "`claim` of a kind that nobody made",
            timed(&runtime, TIMES, || async {
                assert!(hand.claim_of(&store, takes.clone()).await.is_none());
            }),
        ),
        (
            "what 16 waiting workers ask, half of whom nothing is ready for",
            timed(&runtime, TIMES, || async {
                let welcome = [Takes::default(), takes.clone()];
                let offers = store.first_ready(&welcome, 16, SystemClock::default().now()).await;
                assert_eq!(offers.expect("the queue answers").len(), 16);
            }),
        ),
        ("counts", ask(TIMES, Operation::Counts)),
        ("what a prompt may ask (snapshot)", ask(WHOLE, Operation::Snapshot)),
        ("`export`", ask(WHOLE, Operation::Export)),
        ("`import` into an empty queue", Sample::of(imports)),
    ]
}

/// How long it takes, each time.
pub fn timed<F: Future<Output = ()>>(
    runtime: &tokio::runtime::Runtime,
    times: usize,
    mut what: impl FnMut() -> F,
) -> Sample {
    Sample::of((0..times).map(|_| -> Duration {
        let begun = now();
        runtime.block_on(what());
        begun.elapsed()
    }))
}
