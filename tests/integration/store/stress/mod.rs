//! Does the queue keep its promises when several processes use it, their clocks jump, their disk is full, and they are
//! killed at any moment?
//!
//! The test starts this binary again as worker processes, each with several workers, on one file, and beside them the
//! program itself (`runner issues …`) as people do. A worker writes down on the disk what it asks before it asks and
//! what it was answered after. A process is killed after a seeded number of answers and replaced; one cannot let the
//! file grow. In the end the log of events must tell what the workers tell, and everything that is left must be
//! claimable once its lease has passed.
//!
//! `RUNNER_STRESS_SECONDS` repeats this with other seeds for so long, and with more processes; `RUNNER_STRESS_SEED` is
//! the first seed. CONTRIBUTING.md has the command.

mod check;
mod log;
mod worker;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use runner::clock::Stopwatch;
use runner::id::IssueId;
use runner::issue::Status;
use runner::store::{Filter, IssueStore, NewIssue, Operation, SqliteStore};
use serde_json::Value;

use self::check::Seen;
use self::worker::Order;
use super::desk::Desk;
use crate::server::chance::Chance;

const ORDER: &str = "RUNNER_STRESS_ORDER";
const ISSUES: usize = 40;

/// How much goes on at once.
#[derive(Clone, Copy)]
struct Size {
    processes: u64,
    workers: usize,
    kills: u64,
    operations: usize,
    people: u64,
}

const SMALL: Size = Size { processes: 4, workers: 2, kills: 1, operations: 20, people: 1 };
const LARGE: Size = Size { processes: 8, workers: 4, kills: 3, operations: 60, people: 3 };

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its caller what to do")]
    let value = std::env::var(name).ok();
    value
}

/// The worker processes start here. Without an order there is nothing to do.
#[test]
fn a_worker_process() {
    let Some(order) = variable(ORDER) else { return };
    let order: Order = serde_json::from_str(&order).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(worker::process(&order));
}

#[test]
fn processes_that_are_killed_lose_nothing_and_take_nothing_twice() {
    let number = |name: &str| variable(name).map(|text| text.parse::<u64>().unwrap());
    let seconds = number("RUNNER_STRESS_SECONDS");
    let size = if seconds.is_some() { LARGE } else { SMALL };
    let watch = Stopwatch::start();
    for (rounds, seed) in (number("RUNNER_STRESS_SEED").unwrap_or(1)..).enumerate() {
        println!("RUNNER_STRESS_SEED={seed}");
        let seen = round(seed, size);
        println!("{seen:?}");
        if watch.elapsed().as_secs() >= seconds.unwrap_or_default() {
            println!("{} rounds in {:?}", rounds + 1, watch.elapsed());
            return;
        }
    }
}

fn round(seed: u64, size: Size) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".beads/issues.db");
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store: Arc<dyn IssueStore> = SqliteStore::open(&file).unwrap();
    let desk = Desk::new(&store, None, "kim");
    let (board, issues) = runtime.block_on(prepare(&desk));
    let order = Order {
        file,
        logs,
        name: String::new(),
        seed,
        workers: size.workers,
        operations: size.operations,
        board,
        issues,
    };
    let made: Vec<Made> = std::thread::scope(|scope| {
        let order = &order;
        let processes: Vec<_> = (0..size.processes)
            .map(|slot| scope.spawn(move || one_after_the_other(order, slot, size)))
            .collect();
        let people: Vec<_> =
            (0..size.people).map(|n| scope.spawn(move || a_person(folder_of(order), n, size))).collect();
        processes.into_iter().for_each(|process| process.join().unwrap());
        people.into_iter().flat_map(|person| person.join().unwrap()).collect()
    });
    sound(&order.file);
    let seen = check::check(&order.file, &log::read(&order.logs), &order.board);
    runtime.block_on(async {
        for one in &made {
            desk.said(one).await;
        }
        sweep(&desk, &order.board).await;
    });
    sound(&order.file);
    assert_eq!(seen.failed.iter().map(String::as_str).collect::<Vec<_>>(), [FULL], "whose disk was full");
    assert!(seen.claims >= 20 && seen.written >= 60 && seen.refused > 0, "{seen:?}");
    seen
}

fn folder_of(order: &Order) -> &Path {
    order.file.parent().and_then(Path::parent).unwrap()
}

fn sound(file: &Path) {
    assert_eq!(SqliteStore::examine(file).unwrap().findings, []);
}

/// Issues of which every third waits for the one before, and one to which all add.
async fn prepare(desk: &Desk) -> (IssueId, Vec<IssueId>) {
    let mut issues: Vec<IssueId> = Vec::new();
    for n in 0..ISSUES {
        let id = desk.task(&n.to_string()).await;
        if n % 3 == 2 {
            desk.waits(&id, &issues[n - 1]).await;
        }
        issues.push(id);
    }
    let blocking_notes = Some("for ever".to_owned());
    let new = NewIssue { title: "board".to_owned(), blocking_notes, ..NewIssue::default() };
    (desk.create(new).await.id, issues)
}

/// Everything that is not done can be taken once every lease has passed, and be done.
async fn sweep(desk: &Desk, board: &IssueId) {
    // The clocks of the others were days ahead of the machine's; this one is decades.
    *desk.now.lock().unwrap() = 2_000_000_000;
    let blocked = Filter { statuses: vec![Status::Blocked], ..Filter::default() };
    for issue in desk.list(blocked).await {
        if issue.id != *board {
            desk.view(Operation::Unblock { id: issue.id, answer: "that".to_owned() }).await;
        }
    }
    while let Some(issue) = desk.claim().await {
        desk.close(&issue.id).await;
    }
    for issue in desk.list(Filter::default()).await {
        let done = issue.status == Status::Closed || issue.id == *board;
        assert!(done, "{} is {} and could not be claimed after its lease", issue.id, issue.status);
    }
}

/// The name of the process whose file cannot grow.
const FULL: &str = "r0-1";

fn start(order: &Order) -> Child {
    let mut command = match order.name == FULL {
        true => without_room(),
        false => Command::new(std::env::current_exe().unwrap()),
    };
    command
        .args(["--exact", "store::stress::a_worker_process", "--nocapture"])
        .env(ORDER, serde_json::to_string(order).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// This binary, but unable to make any file longer than 32 KiB, while the queue's are: the system refuses the write, as
/// that of a full disk does. Root and everybody else may set this bound; a signal that nobody wants says so, too.
fn without_room() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().unwrap());
    command
}

/// Runs one process after the other; all but the last are killed in the middle.
fn one_after_the_other(template: &Order, slot: u64, size: Size) {
    for generation in 0..=size.kills {
        let seed = template.seed * 1_000 + slot * 100 + generation * 10;
        let order = Order { name: format!("r{slot}-{generation}"), seed, ..template.clone() };
        let all = size.workers * size.operations;
        let is_killed = generation < size.kills && order.name != FULL;
        let mut life = is_killed.then(|| 1 + Chance::of(&seed.to_le_bytes()).below(all));
        let mut child = start(&order);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if line.unwrap() != "asked" {
                continue;
            }
            if let Some(left) = &mut life {
                *left -= 1;
                if *left == 0 {
                    child.kill().unwrap();
                    life = None;
                }
            }
        }
        let status = child.wait().unwrap();
        assert!(status.success() || is_killed && status.signal() == Some(9), "{}: {status}", order.name);
    }
}

/// What a person was told.
enum Made {
    Issue(IssueId),
    Comment(IssueId, String),
    Closed(IssueId, String),
}

/// Somebody at the command line, each command a process of its own.
fn a_person(workspace: &Path, n: u64, size: Size) -> Vec<Made> {
    let name = format!("person-{n}");
    let run = |line: &[&str]| -> Option<Value> {
        let mut command = Command::new(crate::harness::BINARY);
        command.arg("issues").args(line).args(["--json", "--actor", &name, "--workspace"]).arg(workspace);
        let output = command.output().unwrap();
        // 1 is a refusal; everything else would be a fault.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{line:?}: {output:?}");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    };
    let id = |answer: &Value| answer["issue"]["id"].as_str().map(IssueId::new);
    let mut made = Vec::new();
    for turn in 0..size.operations / 4 {
        let mark = format!("{name}-{turn}");
        let issue = id(&run(&["create", &mark]).unwrap()).unwrap();
        run(&["comment", issue.as_str(), &mark]).unwrap();
        made.extend([Made::Issue(issue.clone()), Made::Comment(issue, mark.clone())]);
        let Some(claimed) = run(&["claim"]).as_ref().and_then(id) else { continue };
        if run(&["close", claimed.as_str(), &mark])
            .is_some_and(|answer| answer["issue"]["close_reason"] == *mark)
        {
            made.push(Made::Closed(claimed, mark));
        }
    }
    made
}

impl Desk {
    /// Checks that what a person was told is there.
    async fn said(&self, made: &Made) {
        match made {
            Made::Issue(id) => assert_eq!(self.get(id).await.id, *id),
            Made::Comment(id, body) => {
                let view = self.view(Operation::Get { id: id.clone() }).await;
                assert_eq!(view.comments.iter().filter(|comment| comment.body == *body).count(), 1, "{body}");
            }
            Made::Closed(id, reason) => {
                let Ok(applied) = self.try_do(Operation::History { id: id.clone() }).await else {
                    panic!("{id}")
                };
                let text = format!("{:?}", applied.answer);
                assert!(text.contains(reason.as_str()), "the closing of {id} as {reason} was lost: {text}");
            }
        }
    }
}
