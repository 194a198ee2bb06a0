//! What does the runner itself cost: per turn, at the start, in memory, in a replay?
//!
//! `cargo bench --bench turns` measures everything and prints the tables of `docs/performance.md`;
//! `cargo bench --bench turns -- replay` only that section. Models are played by the test server on loopback, the
//! runner is the release binary, and what is compared is measured alternately in the same run.

#[path = "../../tests/integration/harness.rs"]
mod harness;
#[path = "../../tests/integration/server/mod.rs"]
#[expect(unused_imports, reason = "tests use more of it")]
mod server;

mod bare;
mod crowd;
mod figures;
mod growth;
mod overhead;
mod play;
mod proc;
mod replay;
mod start;
mod team;

use std::io::Write as _;

/// The sections by name, in the order of the page.
const SECTIONS: [(&str, fn()); 5] = [
    ("start", start::measure),
    ("overhead", overhead::measure),
    ("growth", growth::measure),
    ("replay", replay::measure),
    ("crowd", crowd::measure),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let known = |word: &String| SECTIONS.iter().any(|(name, _)| name == word);
    if let Some(word) = wanted.iter().find(|word| !known(word)) {
        let names = SECTIONS.map(|(name, _)| name).join(", ");
        say(&format!("there is no section {word}; the sections are {names}"));
        std::process::exit(2);
    }
    for (name, measure) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure();
        }
    }
}

/// Prints a line at once, so that a long run shows how far it is.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads what a bench prints");
}
