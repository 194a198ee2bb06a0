//! Whether a turn costs more the longer a conversation has grown.

use std::time::Duration;

use crate::figures::{Sample, short};
use crate::play::{Mode, play};
use crate::team::{Calls, Team};
use crate::{bare, say};

/// Model calls of the one session.
const TURNS: usize = 400;

/// How often it is measured.
const TIMES: usize = 3;

/// Turns looked at, at three places of the conversation.
const WINDOWS: [(usize, usize); 3] = [(2, 42), (180, 220), (358, 398)];

/// Prints the table.
pub fn measure() {
    let team = Team { sessions: 1, turns: TURNS, calls: Calls::Read, thinks: Duration::ZERO };
    let mut seen = [(); WINDOWS.len()].map(|()| (Vec::new(), Vec::new(), 0));
    for _ in 0..TIMES {
        let played = play(team, Mode::Live);
        let wire = bare::repeat(team, &played.requests);
        for ((from, to), seen) in WINDOWS.into_iter().zip(&mut seen) {
            seen.0.extend_from_slice(&played.gaps[0][from..to]);
            seen.1.extend_from_slice(&wire[0][from..to]);
            seen.2 = played.requests[0][to].body.to_string().len();
        }
    }
    say("\n## Growth\n");
    say("| turns | body, KiB | overhead, ms | bare client, ms | ratio |");
    say("|---|---:|---:|---:|---:|");
    for ((from, to), (gaps, wire, bytes)) in WINDOWS.into_iter().zip(seen) {
        let (gaps, wire) = (Sample::of(gaps), Sample::of(wire));
        say(&format!(
            "| {from} to {to} | {} | {} | {} | {} |",
            bytes / 1024,
            gaps.spread(),
            wire.spread(),
            short(gaps.median() / wire.median())
        ));
    }
}
