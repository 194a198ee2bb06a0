//! The team that is measured: a foreman who fills the queue, and workers who each make the same turns on an issue of their own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Project;
use crate::server::brain::{Answer, Asked, Brain, Fault, Gate, Part, brain, text_of};
use crate::server::{AnthropicServer, Recorded};

/// The scenario of a team, within its project.
pub const SCENARIO: &str = "scenarios/bench.yaml";

/// Where its recording goes.
pub const CASSETTE: &str = "scenarios/bench.cassette";

/// What a worker does in each of its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Reads a small file.
    Read,
    /// Comments on its issue: a write to the queue.
    Comment,
    /// Both, in turn.
    Mixed,
}

impl Calls {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "`read_file`",
            Self::Comment => "`issue_manager` comment",
            Self::Mixed => "mixed",
        }
    }
}

/// The shape of a run.
#[derive(Debug, Clone, Copy)]
pub struct Team {
    /// Workers, all at the same time.
    pub sessions: usize,
    /// Model calls of each, at least 5.
    pub turns: usize,
    /// What it does in them.
    pub calls: Calls,
    /// How long a model thinks before each reply.
    pub thinks: Duration,
}

/// Where all workers wait for each other: at their first turn and at their last.
#[derive(Debug, Clone)]
pub struct Gates {
    first: Gate,
    last: Gate,
    arrived: Sender<Place>,
}

/// Which gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Last,
}

/// Who opens the gates.
#[derive(Debug)]
pub struct Keeper {
    gates: Gates,
    arrivals: Receiver<Place>,
}

impl Keeper {
    /// Closed gates.
    pub fn new() -> Self {
        let (arrived, arrivals) = channel();
        Self { gates: Gates { first: Gate::closed(), last: Gate::closed(), arrived }, arrivals }
    }

    /// What a brain is given.
    pub fn gates(&self) -> Gates {
        self.gates.clone()
    }

    /// Lets everybody go at once.
    pub fn open(&self) {
        self.gates.first.open();
        self.gates.last.open();
    }

    /// Waits for all at the first turn, looks, lets them go; the same at the last.
    pub fn conduct<T>(&self, sessions: usize, mut look: impl FnMut() -> T) -> (T, T) {
        let mut wait = |place: Place, gate: &Gate| {
            for _ in 0..sessions {
                let at = self.arrivals.recv_timeout(crate::server::PATIENCE).expect("the workers go on");
                assert_eq!(at, place, "a worker is ahead of the others");
            }
            let seen = look();
            gate.open();
            seen
        };
        let first = wait(Place::First, &self.gates.first);
        (first, wait(Place::Last, &self.gates.last))
    }
}

impl Team {
    /// Writes the scenario and what it needs into a project.
    pub fn write(&self, project: &Project, server: &AnthropicServer) {
        let scenario = format!(
            "version: 1\nname: bench\nworkspace: {{ path: .bench-workspace, fresh: true }}\n\
             roles:\n  foreman: {{ mount_plan: mount-plans/bench.json }}\n  worker: {{ mount_plan: mount-plans/bench.json }}\n\
             phases:\n  - id: fill\n    session: {{ role: foreman, prompt: prompts/fill.md }}\n\
             \x20 - id: work\n    needs: [fill]\n    workers:\n      pool: [{{ role: worker, count: {} }}]\n\
             \x20     prompt: prompts/work.md\n      claim: engine\n      max_iterations: 1\n\
             replay: {{ cassette: {CASSETTE} }}\n",
            self.sessions
        );
        let plan = json!({
            "session": {
                "orchestrator": {"module": "loop-streaming", "config": {"max_iterations": self.turns + 1}},
                "context": {"module": "context-simple"},
            },
            "providers": [{"module": "provider-anthropic", "config": {
                "api_key": "${ANTHROPIC_API_KEY}", "base_url": server.url(), "default_model": "claude-sonnet-4-5",
                "max_concurrent_requests": 1000,
            }}],
            "tools": [{"module": "tool-issue"}, {"module": "tool-filesystem"}],
        });
        project
            .write(SCENARIO, &scenario)
            .write("mount-plans/bench.json", &format!("{plan:#}\n"))
            .write("prompts/fill.md", "Fill the queue.\n")
            .write(
                "prompts/work.md",
                "You are {{ worker.name }}. Work on issue {{ issue.id }} step by step.\n",
            );
    }

    /// Plays the team.
    pub fn brain(self, gates: Gates) -> Brain {
        // A sender is not shared between threads by itself.
        let arrived = Arc::new(Mutex::new(gates.arrived));
        let (first, last) = (gates.first, gates.last);
        brain(move |asked| {
            let Some(worker) = worker(&asked.body) else { return self.fill(asked) };
            let turn = turn(&asked.body);
            let answer = self.work(&worker, turn).after(self.thinks);
            let (place, gate) = match turn {
                1 => (Place::First, &first),
                _ if turn == self.turns => (Place::Last, &last),
                _ => return answer,
            };
            // Nobody waits any more when a measurement has failed; its message is the one to read.
            let _ = arrived.lock().expect("sending does not panic").send(place);
            answer.fault(Fault::Stall { after: 1, gate: gate.clone() })
        })
    }

    fn fill(&self, asked: &Asked) -> Answer {
        if turn(&asked.body) > 1 {
            return Answer::text("The queue is full.");
        }
        let create = |number| Part::ToolUse {
            name: "issue_manager".to_owned(),
            input: json!({"operation": "create", "params": {"title": format!("Issue {number}")}}),
        };
        Answer::new((1..=self.sessions).map(create).collect())
    }

    fn work(&self, worker: &Worker, turn: usize) -> Answer {
        let file = format!("{}.md", worker.name);
        let issue = |operation: &str, params: Value| {
            Answer::call("issue_manager", json!({"operation": operation, "params": params}))
        };
        if turn == 1 {
            let content = "One line of a file such as a worker might read again and again.\n".repeat(8);
            return Answer::call("write_file", json!({"file_path": file, "content": content}));
        }
        if turn == self.turns {
            return Answer::text("Done.");
        }
        if turn + 1 == self.turns {
            return issue("close", json!({"issue_id": worker.issue, "reason": "done"}));
        }
        let comments = match self.calls {
            Calls::Read => false,
            Calls::Comment => true,
            Calls::Mixed => turn.is_multiple_of(2),
        };
        if comments {
            let body = format!("Step {turn} is done, and nothing unexpected was found on the way.");
            return issue("comment", json!({"issue_id": worker.issue, "body": body}));
        }
        Answer::call("read_file", json!({"file_path": file}))
    }

    /// The turns after which only the call that is measured was carried out.
    pub fn is_measured(&self, turn: usize) -> bool {
        turn >= 2 && turn + 2 <= self.turns
    }
}

struct Worker {
    name: String,
    issue: String,
}

fn worker(body: &Value) -> Option<Worker> {
    let text = text_of(&body["messages"][0]["content"]);
    let (name, rest) = text.strip_prefix("You are ")?.split_once(". Work on issue ")?;
    let (issue, _) = rest.split_once(' ')?;
    Some(Worker { name: name.to_owned(), issue: issue.to_owned() })
}

/// The number of the model call in its session, from 1: each adds a reply and its results.
fn turn(body: &Value) -> usize {
    body["messages"].as_array().map_or(0, Vec::len).div_ceil(2)
}

/// The requests of each worker, in order.
pub fn by_worker(requests: Vec<Recorded>) -> Vec<Vec<Recorded>> {
    let mut all: std::collections::BTreeMap<String, Vec<Recorded>> = std::collections::BTreeMap::new();
    for request in requests {
        if let Some(worker) = worker(&request.body) {
            all.entry(worker.name).or_default().push(request);
        }
    }
    all.into_values().collect()
}
