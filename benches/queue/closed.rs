//! Whether what is done weighs on what is to do: a thousand open issues beside more and more closed ones.

use runner::store::{Filter, Operation};

use crate::claimers::{Until, work};
use crate::figures::Sample;
use crate::questions::timed;
use crate::queues::{Shape, Template};
use crate::{Extent, claimers::Hand, runtime, say};

/// How often each is measured in a round.
const TIMES: usize = 60;

/// Prints the table.
pub fn measure(extent: Extent) {
    let shapes = extent.closed().iter().map(|closed| Shape { open: 1_000, closed: *closed });
    let beds: Vec<_> = shapes.map(|shape| (shape, Template::make(shape).copy())).collect();
    let mut all: Vec<[Vec<f64>; 4]> = vec![Default::default(); beds.len()];
    let runtime = runtime();
    let few = Filter { limit: Some(50), ..Filter::default() };
    for _ in 0..extent.rounds() {
        for ((_, queue), of_shape) in beds.iter().zip(&mut all) {
            let store = queue.open();
            let hand = Hand::new("somebody");
            let ask = |operation: Operation| {
                timed(&runtime, TIMES, || async {
                    hand.ask(&store, operation.clone()).await;
                })
            };
            let worked = runtime.block_on(work(&store, 1, Until::Pairs(TIMES)));
            of_shape[0].push(Sample::of(worked.claims).median());
            of_shape[1].push(Sample::of(worked.closes).median());
            of_shape[2].push(ask(Operation::Ready(few.clone())).median());
            of_shape[3].push(ask(Operation::List(few.clone())).median());
        }
    }
    say("\n## Closed issues\n");
    say("| open | closed | `claim`, ms | `close`, ms | `ready`, 50 rows, ms | `list`, 50 rows, ms |");
    say("|---:|---:|---:|---:|---:|---:|");
    for ((shape, _), numbers) in beds.iter().zip(all) {
        let cells = numbers.map(|numbers| Sample::of_numbers(numbers).spread()).join(" | ");
        say(&format!("| {} | {} | {cells} |", shape.open, shape.closed));
    }
}
