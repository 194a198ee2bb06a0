//! What does the issue queue cost: claims by many at once, questions, growth, and what beside what?
//!
//! `cargo bench --bench queue` measures everything and prints the tables of `docs/performance.md`;
//! `cargo bench --bench queue -- claims` only that section, and `-- --quick` all of it on smaller queues, for a first
//! look. Queues are real files, opened as the runner opens them, and what is compared is measured alternately in the
//! same run.

#[path = "../turns/figures.rs"]
mod figures;

mod beside;
mod claimers;
mod claims;
mod closed;
mod processes;
mod questions;
mod queues;
mod raw;

use std::io::Write as _;

use tokio::runtime::Runtime;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What the page shows.
    Full,
    /// Enough to see that something has become slow.
    Quick,
}

impl Extent {
    /// Open issues of the queues.
    fn sizes(self) -> &'static [usize] {
        match self {
            Self::Full => &[1_000, 10_000, 100_000],
            Self::Quick => &[1_000, 10_000],
        }
    }

    /// Closed issues beside a thousand open ones.
    fn closed(self) -> &'static [usize] {
        match self {
            Self::Full => &[0, 10_000, 100_000],
            Self::Quick => &[0, 10_000],
        }
    }

    /// How often what is compared is measured in turn.
    fn rounds(self) -> usize {
        match self {
            Self::Full => 5,
            Self::Quick => 3,
        }
    }
}

/// Measures and prints a table.
type Section = fn(Extent);

/// The sections by name, in the order of the page.
const SECTIONS: [(&str, Section); 4] = [
    ("claims", claims::measure),
    ("questions", questions::measure),
    ("closed", closed::measure),
    ("beside", beside::measure),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(order) = processes::Order::of(&args) {
        processes::obey(&order);
        return;
    }
    let extent = if args.iter().any(|word| word == "--quick") { Extent::Quick } else { Extent::Full };
    let wanted: Vec<&String> = args.iter().filter(|word| !word.starts_with('-')).collect();
    let known = |word: &&&String| SECTIONS.iter().any(|(name, _)| name == **word);
    if let Some(word) = wanted.iter().find(|word| !known(word)) {
        let names = SECTIONS.map(|(name, _)| name).join(", ");
        say(&format!("there is no section {word}; the sections are {names}"));
        std::process::exit(2);
    }
    for (name, measure) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|word| *word == name) {
            measure(extent);
        }
    }
}

/// Threads for callers, as the runner has them.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Prints a line at once, so that a long run shows how far it is.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads what a bench prints");
}
