//! Whether exploring schedules finds races, shortens them, and repeats what it found.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use runner::clock::{ManualClock, Timestamp};
use runner::effects::{Effects, Origin, Schedule, Setup as GateSetup, Time};
use runner::engine::{self, RunEnd};
use runner::event::{EffectId, EffectKind, EffectRecord, Hub};
use runner::explore::{Broken, Found, Plan, Tried, Witness, search, try_one};
use runner::id::{RunId, Seed};
use runner::journal::{self, Journal, Record};
use runner::provider::Script;
use runner::scenario::{LoadRequest, load};
use runner::secret::Scrubber;
use runner::session::{Budget, Commands, FileOrder, Lines, Modules, Registry, Stage, Stop, Validators};
use runner::source::Sources;
use runner::store::{
    Answer, Applied, AttemptCount, Caller, Claim, Deadline, Filter, IssueStore, Notice, Offer, Operation,
    Refused, SqliteStore, StoreError, Subscriber,
};
use runner::template::Templates;
use runner::tool::workspace::Workspace;
use tokio_util::sync::CancellationToken;

use crate::harness::{self, Project};

// ---------------------------------------------------------------- the engine under a schedule

/// A queue whose claim reads first and writes later, as one in two statements would, and forgets who was before it.
struct Hasty {
    inner: Arc<SqliteStore>,
    effects: OnceLock<Effects>,
}

impl Hasty {
    async fn claim(&self, caller: Caller, claim: Claim) -> Result<Applied, Refused> {
        let aside = || Caller { effect: None, sequence: None, ..caller.clone() };
        let wanted = Filter { takes: claim.takes.clone(), ..Filter::default() };
        let ready = self.inner.apply(aside(), Operation::Ready(wanted)).await?;
        let Answer::Issues { issues, .. } = ready.answer else { panic!("not a list") };
        let Some(first) = issues.first().map(|issue| issue.id.clone()) else {
            return self.inner.apply(caller, Operation::Claim(claim)).await;
        };
        // Here others go on. The caller counts as busy by a token that is not at hand, so its count is lent.
        let effects = self.effects.get().expect("the gate is there before the run");
        let token = effects.busy();
        std::mem::forget(token.rest());
        let name = caller.effect.as_ref().map(ToString::to_string).unwrap_or_default();
        effects.turn(&token, &name, &name).await.expect("the run goes on");
        std::mem::forget(token);
        let release = Operation::Release { id: first.clone(), attempt: AttemptCount::Free, force: true };
        // Refused when nobody holds it.
        let _ = self.inner.apply(aside(), release).await;
        self.inner.apply(caller, Operation::Claim(Claim { id: Some(first), ..claim })).await
    }
}

#[async_trait]
impl IssueStore for Hasty {
    async fn apply(&self, caller: Caller, operation: Operation) -> Result<Applied, Refused> {
        match operation {
            Operation::Claim(claim) if claim.id.is_none() => self.claim(caller, claim).await,
            operation => self.inner.apply(caller, operation).await,
        }
    }
    async fn renew(&self, run: &RunId, until: Timestamp) -> Result<(), StoreError> {
        self.inner.renew(run, until).await
    }
    async fn holding_runs(&self) -> Result<Vec<RunId>, StoreError> {
        self.inner.holding_runs().await
    }
    async fn first_ready(
        &self,
        takes: &[runner::issue::Takes],
        each: usize,
        at: Timestamp,
    ) -> Result<Vec<Offer>, StoreError> {
        self.inner.first_ready(takes, each, at).await
    }
    async fn deadlines(&self, run: &RunId, after: Timestamp) -> Result<Vec<Deadline>, StoreError> {
        self.inner.deadlines(run, after).await
    }
    fn subscribe(&self, subscriber: Subscriber) {
        self.inner.subscribe(Box::new(move |notices: &[Notice]| {
            // It does not know that it takes anything away from anybody.
            let known: Vec<_> =
                notices.iter().filter(|notice| notice.change.event_type != "released").cloned().collect();
            subscriber(&known);
        }));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Queue {
    Sound,
    Hasty,
}

/// Three workers that claim by themselves, and issues for them.
fn team() -> Project {
    let project = Project::new();
    let agent = harness::repository().join("tests/inputs/engine/mount-plans/agent.json");
    project.write("mount-plans/agent.json", &std::fs::read_to_string(agent).unwrap());
    project.write("prompts/fill.md", "Fill the queue.\n");
    project.write("prompts/work.md", "Work.\n");
    project.write(
        "team.yaml",
        "version: 1\nname: team\nworkspace: { path: .ws, fresh: true }\nroles:\n  lead: { mount_plan: mount-plans/agent.json }\n\
         \x20 coder: { mount_plan: mount-plans/agent.json }\nphases:\n  - id: fill\n    session: { role: lead, prompt: prompts/fill.md }\n\
         \x20 - id: work\n    workers:\n      pool: [{ role: coder, count: 2 }]\n      prompt: prompts/work.md\n      claim: agent\n\
         expect: [issues.total == 3]\n",
    );
    project.write(
        "team.script.yaml",
        "rules:\n  - when: phase == \"fill\" and turn == 1\n    latency: 20ms\n    calls:\n\
         \x20     - { tool: issue_manager, input: { operation: create, params: { title: One } } }\n\
         \x20     - { tool: issue_manager, input: { operation: create, params: { title: Two } } }\n\
         \x20     - { tool: issue_manager, input: { operation: create, params: { title: Three } } }\n\
         \x20 - { when: phase == \"fill\", say: filled }\n\
         \x20 - when: since_prompt == 1\n    latency: 30ms\n    calls: [{ tool: issue_manager, input: { operation: claim, params: {} } }]\n\
         \x20 - when: since_prompt == 2 and last.output.issue\n    latency: 10ms\n    calls:\n\
         \x20     - { tool: issue_manager, input: { operation: close, params: { issue_id: \"{{ last.output.issue.id }}\", reason: done } } }\n\
         \x20 - { say: done, latency: 40ms }\n",
    );
    project
}

/// One run, in a folder of its own: what came of it, and its effects as the journal has them.
async fn play(project: &Project, queue: Queue, schedule: Schedule) -> (Tried, Vec<EffectRecord>) {
    let folder = tempfile::tempdir().unwrap();
    let variables = BTreeMap::from([("ANTHROPIC_API_KEY".to_owned(), "a-key".to_owned())]);
    let request = LoadRequest {
        file: "team.yaml".into(),
        working_dir: project.root().to_owned(),
        home: None,
        inputs: BTreeMap::new(),
        variables: &variables,
        catalogue: &Registry::builtin().catalogue(),
        tool_names: Vec::new(),
        changes: Vec::new(),
        workspace: Some(folder.path().to_owned()),
    };
    let mut sources = Sources::new();
    let loaded = load(&request, &mut sources);
    let plan = Arc::new(loaded.plan.expect("a sound scenario"));
    let script = Arc::new(Script::from_text("team.script.yaml", &project.read("team.script.yaml")).unwrap());
    let tools = Workspace::open(folder.path(), Scrubber::default()).unwrap();
    let modules = Modules::new(Path::new("/"), variables.clone(), Arc::new(tools), Lines::Script(script));
    let path = folder.path().join("issues.db");
    let sqlite = SqliteStore::open_repeatable(&path).unwrap();
    let hasty = Arc::new(Hasty { inner: sqlite.clone(), effects: OnceLock::new() });
    let (witness, journal) =
        (Witness::default(), Journal::open(&folder.path().join("journal.jsonl")).unwrap());
    let gate = GateSetup {
        origin: Origin::Live,
        time: Time::Virtual(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))),
        seed: Seed::new("explore"),
        journal: Some(journal.clone()),
        scrubber: Scrubber::default(),
        faults: Arc::default(),
        halt: CancellationToken::new(),
    };
    let effects = Effects::exploring(gate, schedule);
    assert!(hasty.effects.set(effects.clone()).is_ok());
    let stage = Stage {
        effects: effects.clone(),
        hub: Hub::new(vec![Box::new(witness.clone())]),
        validators: Validators::default(),
        policies: plan.replay.tools.clone(),
        workspace: folder.path().to_owned(),
        budget: Budget::new(&plan),
        faults: Arc::default(),
        files: FileOrder::new(Commands::Free, Arc::default()),
        people: Arc::new(runner::session::Nobody),
        stop: Stop::default(),
    };
    let end = engine::run(engine::Setup {
        plan: plan.clone(),
        run: RunId::fresh(),
        modules: Arc::new(modules),
        store: if queue == Queue::Hasty { hasty.clone() } else { sqlite.clone() },
        templates: Templates::new(&plan.prompts).map_err(|_| "templates").unwrap(),
        stage: Arc::new(stage),
        secrets: BTreeMap::new(),
    })
    .await;
    journal.close().unwrap();
    let mut broken = ended(&end);
    broken.extend(witness.broken(&plan.limits));
    broken.extend(unsound(&path));
    let lines = journal::read(&folder.path().join("journal.jsonl")).unwrap();
    (Tried { broken, course: effects.course().unwrap() }, Record::of(lines).effects)
}

fn ended(end: &RunEnd) -> Vec<String> {
    let halted = end.halt.iter().map(ToString::to_string);
    let wrong = end.false_expectations.iter().map(|condition| condition.text.clone());
    halted.chain(wrong).collect()
}

fn unsound(queue: &Path) -> Vec<String> {
    let soundness = SqliteStore::examine(queue).unwrap();
    soundness.findings.into_iter().map(|finding| finding.message).collect()
}

async fn broken(project: &Project, queue: Queue, seeds: u64) -> Option<Broken> {
    let plan = Plan { first_seed: 1, seeds, depth: 3 };
    let found = search(plan, async |schedule| Ok::<_, ()>(play(project, queue, schedule).await.0)).await;
    match found.unwrap() {
        Found::Nothing { schedules } => {
            assert_eq!(schedules, seeds + 1);
            None
        }
        Found::Broken(broken) => Some(*broken),
    }
}

// ---------------------------------------------------------------- what it finds

#[tokio::test]
async fn a_claim_in_two_steps_is_found_and_its_schedule_repeats_it() {
    let project = team();
    let found = broken(&project, Queue::Hasty, 200).await.expect("the race is found");
    assert!(found.repeats && found.seed.is_some(), "{found:?}");
    let why = found.tried.broken.join("\n");
    assert!(why.contains(" claimed bd-") && why.contains(" held it"), "{why}");
    assert!(
        found.shortest.0.len() <= 2,
        "one worker comes between the halves of another: {}",
        found.shortest
    );
    let text = found.shortest.to_string();
    let again = try_one(text.parse().unwrap(), async |schedule| {
        Ok::<_, ()>(play(&project, Queue::Hasty, schedule).await.0)
    });
    let again = again.await.unwrap();
    assert_eq!(again.course, found.tried.course, "{text}");
    assert_eq!(again.broken, found.tried.broken, "{text}");
    assert!(again.course.missed.is_empty());
}

#[tokio::test]
async fn the_same_team_holds_over_the_queue_as_it_is() {
    let found = broken(&team(), Queue::Sound, 60).await;
    assert!(found.is_none(), "{found:#?}");
}

#[tokio::test]
async fn a_seed_and_a_schedule_give_one_journal_each() {
    let project = team();
    let seeded = |seed| Schedule::Seeded { seed, depth: 3, steps: 40 };
    let (tried, first) = play(&project, Queue::Sound, seeded(7)).await;
    assert!(first.len() > 20, "{}", first.len());
    let (_, again) = play(&project, Queue::Sound, seeded(7)).await;
    assert_eq!(first, again, "the same seed");
    let deviations = tried.course.deviations().to_string().parse().unwrap();
    let (_, repeated) = play(&project, Queue::Sound, Schedule::Chosen(deviations)).await;
    assert_eq!(first, repeated, "the schedule that was written down");
    let mut orders = std::collections::BTreeSet::new();
    for seed in 1..=8 {
        let (_, effects) = play(&project, Queue::Sound, seeded(seed)).await;
        let mut calls: Vec<_> = effects.iter().filter(|effect| effect.kind == EffectKind::Tool).collect();
        calls.sort_by_key(|effect| effect.seq);
        assert!(calls.is_sorted_by_key(|effect| effect.at), "the clock never goes backwards: seed {seed}");
        orders.insert(effects.into_iter().map(|effect| effect.id).collect::<Vec<EffectId>>());
    }
    assert!(orders.len() > 4, "other seeds give other orders: {}", orders.len());
}

// ---------------------------------------------------------------- the command

/// Two clerks who each look whether there is an issue, and make one if there is none.
fn clerks(project: &Project) {
    project.write(
        "clerks.yaml",
        "version: 1\nname: clerks\nroles:\n  clerk: { mount_plan: mount-plans/agent.json }\nphases:\n\
         \x20 - id: left\n    needs: []\n    session: { role: clerk, prompt: prompts/work.md }\n\
         \x20 - id: right\n    needs: []\n    session: { role: clerk, prompt: prompts/work.md }\n\
         expect: [issues.total == 1]\n",
    );
    project.write(
        "clerks.script.yaml",
        "rules:\n  - when: since_prompt == 1\n    latency: 100ms\n    calls: [{ tool: issue_manager, input: { operation: list, params: {} } }]\n\
         \x20 - when: last.input.operation == \"list\" and not last.output.issues\n    latency: 100ms\n\
         \x20   calls: [{ tool: issue_manager, input: { operation: create, params: { title: The one } } }]\n\
         \x20 - { say: done, latency: 100ms }\n",
    );
}

const CLERKS: [&str; 4] = ["explore", "clerks.yaml", "--script", "clerks.script.yaml"];

#[test]
fn a_race_in_what_agents_do_is_found_told_and_repeated() {
    let project = team();
    clerks(&project);
    let outcome = project.runner(CLERKS).run().expect_code(5);
    let told = &outcome.stdout;
    assert!(told.contains("did not hold") && told.contains("issues.total == 1"), "{}", outcome.text());
    let line = |from: &str| told.lines().find_map(|line| line.strip_prefix(from).map(str::to_owned));
    let schedule = line("schedule: ").expect("a schedule");
    assert_eq!(schedule.split(',').count(), 1, "one clerk comes between: {schedule}");
    let command = line("repeat it: runner ").expect("a command");
    assert!(command.contains(&schedule), "{command}");
    let folder = line("run folder: ").expect("the run is kept");
    assert!(project.path(&folder).join("journal.jsonl").is_file());
    let repeated = project.runner(CLERKS).args(["--schedule", &schedule]).run().expect_code(5);
    let steps = |text: &str| {
        text.lines()
            .skip_while(|line| !line.starts_with("who went on"))
            .map(str::to_owned)
            .take_while(|line| !line.contains(": "))
            .collect::<Vec<_>>()
    };
    assert_eq!(steps(&repeated.stdout), steps(told), "{}", repeated.text());
    assert!(repeated.stdout.starts_with("the schedule did not hold:\n"), "{}", repeated.text());
    let usual = project.runner(CLERKS).args(["--schedule", "usual"]).run().expect_code(0);
    assert!(usual.stdout.starts_with("the schedule held\n"), "{}", usual.text());
    assert!(!project.path(".runner/runs/latest").exists(), "nobody takes one of these for the last run");
}

#[test]
fn the_demo_holds_in_every_order_and_nothing_is_left_behind() {
    let project = Project::shipped();
    let demo = ["explore", "scenarios/demo.yaml", "--script", "scenarios/demo.script.yaml"];
    let outcome = project.runner(demo).args(["--seeds", "50"]).run().expect_code(0);
    assert_eq!(outcome.stdout, "51 schedules, all held\n", "{}", outcome.text());
    assert!(!project.path(".runner").exists() && !project.path(".demo-workspace").exists());
}

#[test]
fn an_epic_with_a_command_at_its_end_holds_in_every_order() {
    let project = Project::shipped();
    let epic = ["explore", "scenarios/epic.yaml", "--script", "scenarios/epic.script.yaml"];
    let outcome = project.runner(epic).args(["--seeds", "20"]).run().expect_code(0);
    assert_eq!(outcome.stdout, "21 schedules, all held\n", "{}", outcome.text());
}

#[test]
fn what_is_no_schedule_or_of_another_scenario_is_said() {
    let project = team();
    clerks(&project);
    let outcome = project.runner(CLERKS).args(["--schedule", "left/clerk"]).run().expect_code(2);
    assert!(outcome.stderr.contains("STEP=NAME"), "{}", outcome.text());
    let outcome = project.runner(CLERKS).args(["--schedule", "2=work/nobody-1/1"]).run().expect_code(0);
    assert!(outcome.stdout.contains("at step 2 did not wait then"), "{}", outcome.text());
    let outcome = project.runner(CLERKS).args(["--schedule", "usual", "--seeds", "3"]).run().expect_code(2);
    assert!(outcome.stderr.contains("cannot be used with"), "{}", outcome.text());
}
