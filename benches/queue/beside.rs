//! Whether somebody who reads the whole queue keeps those waiting who work on it: with a store of its own, as another
//! process has, for that is who reads while a run works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runner::store::{Filter, IssueStore, Operation};

use crate::claimers::{Hand, Until, Worked, work};
use crate::figures::{Sample, now, short};
use crate::queues::{Shape, Template};
use crate::{Extent, runtime, say};

/// How long each goes on.
const SPAN: Duration = Duration::from_millis(1_500);

/// Prints the table.
pub fn measure(extent: Extent) {
    let open = *extent.sizes().last().expect("there are sizes");
    let template = Template::make(Shape { open, closed: 0 });
    let queue = template.copy();
    let (store, other) = (queue.open(), queue.open());
    let list = Operation::List(Filter::default());
    let ways = [("nobody", None), ("`list` of all", Some(list)), ("`export`", Some(Operation::Export))];
    let runtime = runtime();
    let mut all: Vec<(Vec<f64>, Vec<Duration>, Vec<f64>)> = vec![Default::default(); ways.len()];
    for _ in 0..extent.rounds().min(3) {
        for ((_, question), numbers) in ways.iter().zip(&mut all) {
            let (worked, reads) = runtime.block_on(beside(&store, &other, question.clone()));
            numbers.0.push(worked.rate());
            numbers.1.extend(worked.claims);
            numbers.2.extend(reads.iter().map(|read| read.as_secs_f64() * 1e3));
        }
    }
    say(&format!("\n## Readers beside writers\n\nSixteen claimers on {open} open issues.\n"));
    say(
        "| who reads | claim and close, pairs/s | claim, ms | 99 of 100 claims, ms | longest claim, ms | a read, ms |",
    );
    say("|---|---:|---:|---:|---:|---:|");
    for ((name, _), (rates, claims, reads)) in ways.iter().zip(all) {
        let (rate, claims) = (Sample::of_numbers(rates).spread(), Sample::of(claims));
        let (late, longest) = (short(claims.at(0.99)), short(claims.at(1.0)));
        let read = if reads.is_empty() { String::new() } else { Sample::of_numbers(reads).spread() };
        say(&format!("| {name} | {rate} | {} | {late} | {longest} | {read} |", claims.spread()));
    }
}

/// Lets sixteen work while one reads again and again.
async fn beside(
    store: &Arc<dyn IssueStore>,
    other: &Arc<dyn IssueStore>,
    question: Option<Operation>,
) -> (Worked, Vec<Duration>) {
    let stop = Arc::new(AtomicBool::new(false));
    let working = work(store, 16, Until::Told(Arc::clone(&stop)));
    let reading = async {
        let (hand, begun) = (Hand::new("reader"), now());
        let mut reads = Vec::new();
        while begun.elapsed() < SPAN {
            match &question {
                Some(question) => {
                    let start = now();
                    hand.ask(other, question.clone()).await;
                    reads.push(start.elapsed());
                }
                None => tokio::time::sleep(SPAN).await,
            }
        }
        stop.store(true, Ordering::Relaxed);
        reads
    };
    tokio::join!(working, reading)
}
