//! One run of a team by the runner, and what the server saw of it.

use std::time::Duration;

use crate::harness::Project;
use crate::proc::{self, Used};
use crate::server::{AnthropicServer, Chunking, Recorded};
use crate::team::{Keeper, SCENARIO, Team, by_worker};

/// Whether a recording is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is not.
    Live,
    /// It is.
    Record,
}

impl Mode {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "run",
            Self::Record => "record",
        }
    }

    fn command(self) -> [&'static str; 2] {
        match self {
            Self::Live => ["run", SCENARIO],
            Self::Record => ["record", SCENARIO],
        }
    }
}

/// What was seen of a run.
pub struct Played {
    /// The requests of each worker.
    pub requests: Vec<Vec<Recorded>>,
    /// From the end of a reply to the next request of the same worker, by worker and turn, from turn 1.
    pub gaps: Vec<Vec<Duration>>,
    /// What the process had used when all workers were at their first turn, and when all were at their last.
    pub used: (Used, Used),
    /// From the moment all had their first reply to the moment all had asked for their last.
    pub wall: Duration,
    /// The project, with the recording, if one was made.
    pub project: Project,
}

/// Runs a team.
pub fn play(team: Team, mode: Mode) -> Played {
    let keeper = Keeper::new();
    let server = AnthropicServer::start_with(team.brain(keeper.gates()), Chunking::ByEvent);
    let project = Project::new();
    team.write(&project, &server);
    let running = project.runner(mode.command()).with_key().spawn();
    let used = keeper.conduct(team.sessions, || proc::look(running.pid()));
    running.finish().expect_code(0);
    assert_eq!(server.refusals(), Vec::<String>::new(), "the runner asks correctly");
    let requests = by_worker(server.requests());
    assert_eq!(requests.len(), team.sessions, "every worker has asked");
    let (gaps, wall) = gaps(&requests);
    Played { requests, gaps, used, wall, project }
}

/// From the end of a reply to the next request, by worker; and how long all of it took.
pub fn gaps(requests: &[Vec<Recorded>]) -> (Vec<Vec<Duration>>, Duration) {
    let of_one = |requests: &Vec<Recorded>| {
        let pairs = requests.windows(2);
        pairs.map(|pair| pair[1].arrived - pair[0].ended.expect("it was answered")).collect()
    };
    let begun = requests.iter().filter_map(|all| all.first()?.ended).min().expect("somebody has asked");
    let ended =
        requests.iter().filter_map(|all| Some(all.last()?.arrived)).max().expect("somebody has asked");
    (requests.iter().map(of_one).collect(), ended - begun)
}

/// The measured ones among gaps.
pub fn measured(team: Team, gaps: &[Vec<Duration>]) -> impl Iterator<Item = Duration> {
    let of_one = move |gaps: &Vec<Duration>| {
        let numbered = (1..).zip(gaps.clone());
        numbered.filter(move |(turn, _)| team.is_measured(*turn)).map(|(_, gap)| gap)
    };
    gaps.iter().flat_map(of_one).collect::<Vec<_>>().into_iter()
}
