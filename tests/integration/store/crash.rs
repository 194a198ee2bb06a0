//! What is left when the process dies: after any step of a script, and at any byte of what SQLite was writing.
//!
//! The script is the same each time, ids and times included, so that what is left must equal the queue after a whole
//! number of its steps. What has been acknowledged is among them; asking again for the step that was cut off, and going
//! on, leads to the same end as if nothing had happened.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runner::event::EffectId;
use runner::id::{IdSource, IssueId, RunId, Seed};
use runner::issue::{EdgeType, Status};
use runner::store::{
    Answer, Applied, AttemptCount, Caller, Export, IssueStore, NewIssue, Operation, SqliteStore, Update,
};

use super::desk::{Desk, LEASE, at, block, claim, close, release, set_status, update};

/// Where the child is to die: the number of the step, and the file.
const ORDER: &str = "RUNNER_CRASH_ORDER";

fn ids(step: usize) -> IdSource {
    IdSource::new(&Seed::new("crash"), &step.to_string())
}

/// The id of the issue that a step makes.
fn made(step: usize) -> IssueId {
    ids(step).next_issue()
}

/// Who does what. Every step changes something.
fn script() -> Vec<(&'static str, Operation)> {
    let new = |title: &str, parent: Option<usize>| {
        let parent_id = parent.map(made);
        Operation::Create(NewIssue { title: title.to_owned(), parent_id, ..NewIssue::default() })
    };
    let edge = |from, to, edge| Operation::AddDependency { from: made(from), to: made(to), edge };
    let mut script = vec![
        ("a", new("zero", None)),
        ("a", new("one", None)),
        ("a", new("two", Some(1))),
        ("a", new("three", Some(1))),
        ("a", edge(2, 0, EdgeType::Blocks)),
        ("b", edge(3, 2, EdgeType::Related)),
    ];
    for round in 0..4 {
        let say = |what: &str| format!("{what} {round}");
        let note = [(say("note"), true.into())].into_iter().collect();
        script.extend([
            ("a", claim(Some(&made(0)))),
            ("b", Operation::Comment { id: made(0), body: say("a word") }),
            ("b", update(&made(0), Update { metadata: note, ..Update::default() })),
            ("a", block(&made(0), &say("why?"))),
            ("b", Operation::Unblock { id: made(0), answer: say("that") }),
            ("b", claim(None)),
            ("b", Operation::Close { id: made(0), reason: say("done"), force: false }),
            ("a", update(&made(3), Update { assignee: Some("a".to_owned()), ..set_status(Status::Closed) })),
            ("a", Operation::Reopen { id: made(3) }),
            ("a", Operation::Reopen { id: made(0) }),
        ]);
    }
    script.extend([
        ("a", Operation::RemoveDependency { from: made(2), to: made(0) }),
        ("a", claim(Some(&made(2)))),
        ("a", release(&made(2), AttemptCount::Counted { limit: 3 })),
        ("b", claim(Some(&made(1)))),
        ("a", claim(Some(&made(3)))),
        ("a", close(&made(3))),
    ]);
    script
}

/// Somebody who goes through the script.
struct Player {
    store: Arc<dyn IssueStore>,
    epochs: BTreeMap<&'static str, BTreeMap<IssueId, u64>>,
}

impl Player {
    fn new(store: Arc<dyn IssueStore>) -> Self {
        Self { store, epochs: BTreeMap::new() }
    }

    async fn play(&mut self, step: usize, (name, operation): (&'static str, Operation)) -> Applied {
        let epochs = self.epochs.entry(name).or_default();
        let caller = Caller {
            run: Some(RunId::new(format!("run-{name}"))),
            effect: Some(EffectId::from_text(format!("p/{name}/t{step}/c0"))),
            actor: name.to_owned(),
            holder: format!("work/{name}"),
            epochs: epochs.clone(),
            at: at(i64::try_from(step).unwrap()),
            ids: Arc::new(ids(step)),
            sequence: None,
        };
        let applied =
            self.store.apply(caller, operation).await.unwrap_or_else(|error| panic!("step {step}: {error}"));
        epochs.extend(applied.holds.gained.clone());
        applied
    }

    async fn export(&self) -> Export {
        match Desk::new(&self.store, None, "kim").try_do(Operation::Export).await.unwrap().answer {
            Answer::Exported(export) => *export,
            other => panic!("{other:?}"),
        }
    }
}

/// The queue after each number of steps, the answers, and how long SQLite's log of writes was then.
struct Story {
    after: Vec<Export>,
    answers: Vec<Applied>,
    lengths: Vec<u64>,
    /// Holds both files as they are when the process dies at the end.
    folder: tempfile::TempDir,
}

impl Story {
    /// How many steps so many bytes hold.
    fn steps(&self, bytes: u64) -> usize {
        self.lengths.iter().filter(|length| **length <= bytes).count().saturating_sub(1)
    }
}

fn wal(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", file.display()))
}

async fn story() -> Story {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("issues.db");
    let length = || std::fs::metadata(wal(&file)).unwrap().len();
    let mut player = Player::new(SqliteStore::open_repeatable(&file).unwrap());
    let (mut after, mut answers, mut lengths) = (vec![player.export().await], Vec::new(), vec![length()]);
    for (step, what) in script().into_iter().enumerate() {
        answers.push(player.play(step, what).await);
        after.push(player.export().await);
        lengths.push(length());
    }
    assert!(
        lengths.is_sorted_by(|a, b| a < b),
        "every step writes, and nothing is moved into the file meanwhile"
    );
    let dead = tempfile::tempdir().unwrap();
    for path in [file.clone(), wal(&file)] {
        std::fs::copy(&path, dead.path().join(path.file_name().unwrap())).unwrap();
    }
    Story { after, answers, lengths, folder: dead }
}

/// Goes on from what is left after so many steps: repeats the last of them, and comes to the same end.
async fn goes_on(store: &Arc<dyn IssueStore>, story: &Story, steps: usize) {
    let mut player = Player::new(Arc::clone(store));
    for (step, what) in script().into_iter().enumerate() {
        if step + 1 < steps {
            player.epochs.entry(what.0).or_default().extend(story.answers[step].holds.gained.clone());
            continue;
        }
        assert_eq!(player.play(step, what).await, story.answers[step], "step {step} after {steps}");
    }
    assert_eq!(&player.export().await, story.after.last().unwrap());
}

/// Whoever held something when the process died, loses it once the lease is over.
async fn others_can_claim(store: &Arc<dyn IssueStore>) {
    let desk = Desk::new(store, Some("run-later"), "c");
    *desk.now.lock().unwrap() = 10_000;
    desk.wait(LEASE + Duration::from_secs(1));
    let held = store.holding_runs().await.unwrap();
    while desk.claim().await.is_some() {}
    let left = store.holding_runs().await.unwrap();
    assert!(left.iter().all(|run| run.as_str() == "run-later"), "{held:?} {left:?}");
}

/// Bytes of a page with its head in SQLite's log of writes, and of the head of the log.
const FRAME: u64 = 4_096 + 24;
const HEAD: u64 = 32;

#[tokio::test]
async fn whatever_was_written_last_a_whole_number_of_steps_is_left() {
    let story = story().await;
    let written = std::fs::read(wal(&story.folder.path().join("issues.db"))).unwrap();
    let end = *story.lengths.last().unwrap();
    assert_eq!((end - HEAD) % FRAME, 0, "pages of 4 KiB");
    let (mut cut, mut cuts) = (0, vec![1, HEAD - 1]);
    while cut * FRAME + HEAD <= end {
        let edge = cut * FRAME + HEAD;
        cuts.push(edge);
        // In the head of the next page and in the page itself.
        cuts.extend([edge + 12, edge + 24 + 2_000].iter().filter(|_| cut % 16 == 0));
        cut += 1;
    }
    for (n, cut) in cuts.into_iter().enumerate() {
        let kept = usize::try_from(cut.min(end)).unwrap();
        let mut torn = written[..kept].to_vec();
        let mut whole = cut;
        // A disk may also have written something else there.
        if n % 5 == 4 && kept > 100 {
            torn[kept - 50] ^= 1;
            whole = cut - 50;
        }
        let store = left_of(&story, &torn, whole).await;
        match n % 8 {
            0 => goes_on(&store.1, &story, story.steps(whole) + 1).await,
            4 => others_can_claim(&store.1).await,
            _ => {}
        }
    }
}

/// The queue as it is found; the folder lives as long as the guard.
async fn left_of(story: &Story, torn: &[u8], whole: u64) -> (tempfile::TempDir, Arc<dyn IssueStore>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("issues.db");
    std::fs::copy(story.folder.path().join("issues.db"), &file).unwrap();
    std::fs::write(wal(&file), torn).unwrap();
    let store: Arc<dyn IssueStore> = SqliteStore::open_repeatable(&file).unwrap();
    assert_eq!(SqliteStore::examine(&file).unwrap().findings, [], "cut at {whole}");
    let left = Player::new(Arc::clone(&store)).export().await;
    assert_eq!(left, story.after[story.steps(whole)], "cut at {whole}");
    (folder, store)
}

/// The process that dies. Without an order there is nothing to do.
#[test]
fn a_process_that_dies() {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its caller what to do")]
    let Ok(order) = std::env::var(ORDER) else { return };
    let (last, file) = order.split_once(' ').unwrap();
    let (last, file): (usize, &Path) = (last.parse().unwrap(), Path::new(file));
    let store = SqliteStore::open_repeatable(file).unwrap();
    let steps = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&steps);
    // Told after the commit, before the caller is answered.
    store.subscribe(Box::new(move |_| {
        if now.load(Ordering::SeqCst) == last {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut player = Player::new(store);
    for (step, what) in script().into_iter().enumerate() {
        steps.store(step, Ordering::SeqCst);
        runtime.block_on(player.play(step, what));
        println!("\nacknowledged");
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn killed_after_the_commit_and_before_the_answer_every_step_goes_on() {
    let story = story().await;
    for last in 0..script().len() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("issues.db");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::crash::a_process_that_dies", "--nocapture"])
            .env(ORDER, format!("{last} {}", file.display()))
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(9), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.lines().filter(|line| *line == "acknowledged").count(), last);
        let store: Arc<dyn IssueStore> = SqliteStore::open_repeatable(&file).unwrap();
        assert_eq!(SqliteStore::examine(&file).unwrap().findings, [], "step {last}");
        assert_eq!(Player::new(Arc::clone(&store)).export().await, story.after[last + 1], "step {last}");
        goes_on(&store, &story, last + 1).await;
        others_can_claim(&store).await;
        assert_eq!(SqliteStore::examine(&file).unwrap().findings, []);
    }
}
