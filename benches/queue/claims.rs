//! How many issues many claimers claim and close in a second, beside what SQLite itself can do.

use std::collections::BTreeMap;

use crate::claimers::{Until, work};
use crate::figures::{Sample, short};
use crate::queues::{Bed, Shape, Template};
use crate::{Extent, processes, raw, runtime, say};

/// Claimers of one process.
const CLAIMERS: [usize; 4] = [1, 4, 16, 64];
/// Processes, with sixteen claimers each.
const PROCESSES: [usize; 2] = [2, 4];
/// Operations that the grouped raw loop puts into a transaction: what sixteen claimers have waiting at most.
const GROUP: usize = 16;
/// Pairs of each measurement, in the smallest queue at most a third of what is there.
const PAIRS: usize = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    RawSingle,
    RawGrouped,
    Claimers(usize),
    Processes(usize),
}

/// Prints the table.
pub fn measure(extent: Extent) {
    say("\n## Claims\n");
    say(
        "| open issues | who | claim and close, pairs/s | of SQLite, a transaction each | of SQLite, 16 a transaction |",
    );
    say("|---:|---|---:|---:|---:|");
    let mut claims = Vec::new();
    for open in extent.sizes() {
        claims.push((*open, of_size(*open, extent.rounds())));
    }
    say("\n| open issues | one claim, ms | one close, ms |");
    say("|---:|---:|---:|");
    for (open, (claim, close)) in claims {
        say(&format!("| {open} | {} | {} |", claim.spread(), close.spread()));
    }
}

fn of_size(open: usize, rounds: usize) -> (Sample, Sample) {
    let template = Template::make(Shape { open, closed: 0 });
    let pairs = PAIRS.min(open / 3);
    // What the raw loop may need before it is given a new copy.
    let script = raw::rehearse(&template, (2 * rounds * pairs).min(open / 2).max(pairs));
    let (mut bed, mut bare) = (Bed::new(&template), Bed::new(&template));
    let mut rates: BTreeMap<Way, Vec<f64>> = BTreeMap::new();
    let (mut claims, mut closes) = (Vec::new(), Vec::new());
    let runtime = runtime();
    for _ in 0..rounds {
        for (way, group) in [(Way::RawSingle, 1), (Way::RawGrouped, GROUP)] {
            let (queue, before) = bare.with_room(pairs);
            let wall = raw::write(&queue.path, &script, before..before + pairs, group);
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            rates.entry(way).or_default().push(pairs as f64 / wall.as_secs_f64());
        }
        for claimers in CLAIMERS {
            let (queue, _) = bed.with_room(pairs);
            let worked = runtime.block_on(work(&queue.open(), claimers, Until::Pairs(pairs)));
            rates.entry(Way::Claimers(claimers)).or_default().push(worked.rate());
            if claimers == 1 {
                claims.extend(worked.claims);
                closes.extend(worked.closes);
            }
        }
        for processes in PROCESSES {
            let (queue, _) = bed.with_room(pairs);
            let worked = processes::together(&queue.path, processes, 16, pairs / processes);
            rates.entry(Way::Processes(processes)).or_default().push(worked.rate());
        }
    }
    for (way, of_way) in &rates {
        let ratio = |to: Way| {
            let pairs = of_way.iter().zip(&rates[&to]);
            short(Sample::of_numbers(pairs.map(|(one, other)| one / other)).median())
        };
        let who = match way {
            Way::RawSingle => "*SQLite, a transaction each*".to_owned(),
            Way::RawGrouped => format!("*SQLite, {GROUP} a transaction*"),
            Way::Claimers(1) => "1 claimer".to_owned(),
            Way::Claimers(n) => format!("{n} claimers"),
            Way::Processes(n) => format!("{n} processes of 16"),
        };
        let rate = Sample::of_numbers(of_way.iter().copied()).spread();
        say(&format!("| {open} | {who} | {rate} | {} | {} |", ratio(Way::RawSingle), ratio(Way::RawGrouped)));
    }
    (Sample::of(claims), Sample::of(closes))
}
