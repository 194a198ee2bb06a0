//! How fast recordings are played, and how large they are.

use std::time::Duration;

use crate::figures::{Sample, now, short};
use crate::harness::Project;
use crate::play::{Mode, play};
use crate::say;
use crate::team::{CASSETTE, Calls, SCENARIO, Team};

/// What is recorded.
const TEAM: Team = Team { sessions: 16, turns: 40, calls: Calls::Mixed, thinks: Duration::ZERO };

/// One of the size that people keep: 120 model calls.
const SMALL: Team = Team { sessions: 4, turns: 30, calls: Calls::Mixed, thinks: Duration::ZERO };

/// How often each is played.
const TIMES: usize = 5;

const STRICTNESS: [&str; 2] = ["causal", "total"];

/// A recording in its project.
struct Tape {
    name: String,
    project: Project,
    scenario: &'static str,
    cassette: &'static str,
}

/// Prints both tables.
pub fn measure() {
    let of = |team: Team| Tape {
        name: format!("{} sessions of {} turns", team.sessions, team.turns),
        project: play(team, Mode::Record).project,
        scenario: SCENARIO,
        cassette: CASSETTE,
    };
    let tapes = [
        of(TEAM),
        of(SMALL),
        Tape {
            name: "the demo".to_owned(),
            project: demo(),
            scenario: "scenarios/demo.yaml",
            cassette: "scenarios/demo.cassette",
        },
    ];
    let mut spans = [(); 3].map(|()| [(); 2].map(|()| Vec::new()));
    for _ in 0..TIMES {
        for (tape, spans) in tapes.iter().zip(&mut spans) {
            for (strictness, spans) in STRICTNESS.into_iter().zip(spans) {
                spans.push(tape.play(strictness));
            }
        }
    }
    say("\n## Replay\n\n| recording | strictness | effects | whole process, ms | effects/s |");
    say("|---|---|---:|---:|---:|");
    for (tape, spans) in tapes.iter().zip(spans) {
        for (strictness, spans) in STRICTNESS.into_iter().zip(spans) {
            let (effects, spans) = (tape.effects().len(), Sample::of(spans));
            let rate = f64::from(u32::try_from(effects).expect("few effects")) / spans.median() * 1e3;
            say(&format!(
                "| {} | {strictness} | {effects} | {} | {} |",
                tape.name,
                spans.spread(),
                short(rate)
            ));
        }
    }
    say("\n| recording | model calls | KiB | bytes a model call | of it ledger |\n|---|---:|---:|---:|---:|");
    for tape in &tapes {
        tape.say_size();
    }
}

/// The demo as this version records it, from the script that is shipped with it.
fn demo() -> Project {
    let project = Project::shipped();
    let command = ["record", "scenarios/demo.yaml", "--script", "scenarios/demo.script.yaml"];
    project.runner(command).run().expect_code(0);
    project
}

impl Tape {
    fn play(&self, strictness: &str) -> Duration {
        let command = self.project.runner(["replay", self.scenario, "--strictness", strictness]);
        let begun = now();
        command.run().expect_code(0);
        begun.elapsed()
    }

    /// The lines of the ledger that are effects.
    fn effects(&self) -> Vec<String> {
        let ledger = self.project.read(&format!("{}/ledger.txt", self.cassette));
        ledger.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn say_size(&self) {
        let files = self.project.files(self.cassette);
        let all: usize = files.values().map(Vec::len).sum();
        let effects = self.effects();
        let calls = effects.iter().filter(|line| line.split(' ').nth(1) == Some("llm")).count();
        say(&format!(
            "| {} | {calls} | {} | {} | {} |",
            self.name,
            all / 1024,
            all / calls,
            files["ledger.txt"].len() / calls
        ));
    }
}
