//! What happens when a hundred sessions ask a server that bears ten calls at once?

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::figures::now;
use crate::harness::Project;
use crate::say;
use crate::server::brain::{Answer, Brain, brain};
use crate::server::{AnthropicServer, Chunking, Outcome, Recorded};
use crate::team::{Calls, Keeper, SCENARIO, Team};

/// Times are a twentieth of what they stand for, so that the bench ends within a minute: a model thinks for three seconds,
/// waits between attempts begin with one.
const SCALE: u32 = 20;

const TEAM: Team = Team {
    sessions: 100,
    turns: 12,
    calls: Calls::Read,
    thinks: Duration::from_millis(3_000 / SCALE as u64),
};

/// Calls that the server bears at once.
const BORNE: usize = 10;

/// After this long the window is to have found its width.
const WARM: Duration = Duration::from_secs(60 / SCALE as u64);

/// Prints the table.
pub fn measure() {
    say("\n## Crowd\n");
    say(
        "| refusal says | requests | refused | after the first minute | refused of these | most at once | wall, s |",
    );
    say("|---|---:|---:|---:|---:|---:|---:|");
    for (says, wait) in [("nothing", None), ("`retry-after` 2 s", Some(2_000 / SCALE))] {
        say(&row(says, wait));
    }
}

fn row(says: &str, wait: Option<u32>) -> String {
    let server = AnthropicServer::start_with(bearing(wait), Chunking::ByEvent);
    let project = Project::new();
    TEAM.write(&project, &server);
    let pace = format!(
        "\"min_retry_delay\": {0}, \"max_retry_delay\": 3.0, \"overloaded_delay_multiplier\": 1",
        1.0 / f64::from(SCALE)
    );
    project.replace("mount-plans/bench.json", "\"max_concurrent_requests\": 1000", &pace);
    let began = now();
    project.runner(["run", SCENARIO]).with_key().run().expect_code(0);
    let wall = began.elapsed();
    let requests = server.requests();
    let first = requests.first().expect("somebody asked").arrived;
    let late: Vec<&Recorded> = requests.iter().filter(|request| request.arrived > first + WARM).collect();
    let refused = |requests: &[&Recorded]| requests.iter().filter(|request| is_refused(request)).count();
    let all: Vec<&Recorded> = requests.iter().collect();
    let refused_late = refused(&late);
    assert!(
        refused_late * 20 < late.len(),
        "{refused_late} of {} were refused after the first minute",
        late.len()
    );
    format!(
        "| {says} | {} | {} | {} | {refused_late} ({:.1} %) | {} | {:.1} |",
        all.len(),
        refused(&all),
        late.len(),
        refused_late as f64 * 100.0 / late.len() as f64,
        most_at_once(&requests),
        wall.as_secs_f64(),
    )
}

fn is_refused(request: &Recorded) -> bool {
    request.outcome == Outcome::Faulted
}

/// The most requests that were there at one moment, the refused ones among them.
fn most_at_once(requests: &[Recorded]) -> usize {
    let spans = || requests.iter().filter_map(|request| Some((request.arrived, request.ended?)));
    let at = |moment: Instant| spans().filter(|(from, to)| *from <= moment && moment < *to).count();
    spans().map(|(from, _)| at(from)).max().unwrap_or(0)
}

/// Plays the team, and refuses whatever is more than it bears.
fn bearing(wait: Option<u32>) -> Brain {
    let keeper = Keeper::new();
    keeper.open();
    let play = TEAM.brain(keeper.gates());
    let busy_until: Arc<Mutex<Vec<Instant>>> = Arc::default();
    brain(move |asked| {
        let mut busy = busy_until.lock().expect("nothing panics while it holds this");
        let now = now();
        busy.retain(|until| *until > now);
        if busy.len() >= BORNE {
            let refusal = Answer::status(429, "rate_limit_error", "Too many requests at once");
            return match wait {
                Some(millis) => refusal.header("retry-after-ms", &millis.to_string()),
                None => refusal,
            };
        }
        busy.push(now + TEAM.thinks);
        play(asked).after(TEAM.thinks)
    })
}
