//! What the runner adds to each model turn, and what a session takes of memory, with 1, 10 and 100 sessions at once.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use crate::figures::{Sample, now, short};
use crate::harness::Project;
use crate::play::{Mode, measured, play};
use crate::team::{Calls, Team};
use crate::{bare, say};

/// Model calls of each worker.
const TURNS: usize = 30;

/// Sessions at once, how long the model thinks before each reply, and how often it is measured. Without thinking, many
/// sessions ask for more than the machine has, and what is measured is their waiting for each other.
const SIZES: [(usize, Duration, usize); 4] = [
    (1, Duration::ZERO, 8),
    (10, Duration::ZERO, 4),
    (100, Duration::ZERO, 4),
    (100, Duration::from_millis(500), 2),
];

/// Everything seen of one kind of run.
#[derive(Default)]
struct Seen {
    gaps: Vec<Duration>,
    cpu: Vec<Duration>,
    rate: Vec<f64>,
    peaks: Vec<(u64, u64)>,
}

/// Prints both tables.
pub fn measure() {
    say(&format!("\n## Turns\n\nOne write of 1 KiB with its sync takes {} ms here.\n", disk().spread()));
    say(
        "| sessions | thinking, ms | tool call | command | overhead, ms | p90 | max | bare client, ms | ratio | CPU, ms a turn | turns/s |",
    );
    say("|---:|---:|---|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut memory = Vec::new();
    for (sessions, thinks, times) in SIZES {
        for calls in [Calls::Read, Calls::Comment] {
            let team = Team { sessions, turns: TURNS, calls, thinks };
            let (mut live, mut record) = (Seen::default(), Seen::default());
            let mut wire = Vec::new();
            for time in 0..times {
                // Each goes first as often as the other: whoever follows finds warmer caches.
                let requests = if time % 2 == 0 {
                    let requests = live.add(team, Mode::Live);
                    record.add(team, Mode::Record);
                    requests
                } else {
                    record.add(team, Mode::Record);
                    live.add(team, Mode::Live)
                };
                wire.extend(measured(team, &bare::repeat(team, &requests)));
            }
            let wire = Sample::of(wire);
            for (mode, seen) in [(Mode::Live, &live), (Mode::Record, &record)] {
                seen.say(team, mode, &wire);
            }
            if calls == Calls::Read && thinks.is_zero() {
                memory.push((sessions, live.peaks));
            }
        }
    }
    say_memory(&memory);
}

impl Seen {
    fn add(&mut self, team: Team, mode: Mode) -> Vec<Vec<crate::server::Recorded>> {
        let played = play(team, mode);
        let (first, last) = played.used;
        let turns = u32::try_from(team.sessions * (team.turns - 1)).expect("few turns");
        self.gaps.extend(measured(team, &played.gaps));
        self.cpu.push((last.cpu - first.cpu) / turns);
        self.rate.push(f64::from(turns) / played.wall.as_secs_f64());
        self.peaks.push((first.peak, last.peak));
        played.requests
    }

    fn say(&self, team: Team, mode: Mode, wire: &Sample) {
        let gaps = Sample::of(self.gaps.iter().copied());
        say(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {} | {} |",
            team.sessions,
            team.thinks.as_millis(),
            team.calls.name(),
            mode.name(),
            gaps.spread(),
            short(gaps.at(0.9)),
            short(gaps.at(1.0)),
            wire.spread(),
            gaps.median() / wire.median(),
            short(Sample::of(self.cpu.iter().copied()).median()),
            short(Sample::of_numbers(self.rate.iter().copied()).median()),
        ));
    }
}

/// The peaks, and what each session adds to them.
fn say_memory(memory: &[(usize, Vec<(u64, u64)>)]) {
    say("\n## Memory\n");
    say(&format!("| sessions | peak at the first reply, MiB | peak after {TURNS} turns, MiB |"));
    say("|---:|---:|---:|");
    #[expect(clippy::cast_precision_loss, reason = "kibibytes of a process")]
    let mebibytes = |kibibytes: u64| kibibytes as f64 / 1024.0;
    let mut medians = Vec::new();
    for (sessions, peaks) in memory {
        let first = Sample::of_numbers(peaks.iter().map(|(first, _)| mebibytes(*first))).median();
        let last = Sample::of_numbers(peaks.iter().map(|(_, last)| mebibytes(*last))).median();
        say(&format!("| {sessions} | {} | {} |", short(first), short(last)));
        medians.push((*sessions, first, last));
    }
    if let (Some(few), Some(many)) = (medians.first(), medians.last()) {
        let more = f64::from(u32::try_from(many.0 - few.0).expect("few sessions")) / 1024.0;
        say(&format!(
            "\nA session adds {} KiB at its first reply, {} KiB after {TURNS} turns.",
            short((many.1 - few.1) / more),
            short((many.2 - few.2) / more)
        ));
    }
}

/// What the disk asks for a write that is safe.
fn disk() -> Sample {
    let project = Project::new();
    let mut file = File::create(project.path("probe")).expect("a file");
    let line = [b'x'; 1024];
    let once = |_| {
        let begun = now();
        file.write_all(&line).and_then(|()| file.sync_data()).expect("the disk takes it");
        begun.elapsed()
    };
    Sample::of((0..200).map(once).collect::<Vec<_>>())
}
