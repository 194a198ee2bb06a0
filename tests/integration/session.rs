//! Whether a session carries its loop out as promised: calls of one message, limits, odd ends, failures, stops.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use runner::chat::{Reply, Request, ToolSpec};
use runner::clock::{ManualClock, Timestamp};
use runner::context::{Settings, Simple};
use runner::effects::{Effects, Origin, Replay, Setup, Strictness, Time, Tolerance};
use runner::event::{
    Access, EffectRecord, Envelope, Evidence, Footprint, Happening, Hub, Listener, Policy, RECORDING_FORMAT,
    Recording, RecordingHead, SessionEnd, Whereabouts,
};
use runner::hook::Hooks;
use runner::http::WireRequest;
use runner::id::{RunId, Seed};
use runner::journal::{self, Journal, Line as JournalLine};
use runner::plan::ModuleSpec;
use runner::provider::mock::Mock;
use runner::provider::{
    CallError, Decode, ErrorClass, Line, Provider, RetryPolicy, Script, StandIns, Timeouts,
};
use runner::secret::Scrubber;
use runner::session::{
    Budget, CallOrder, Cast, Commands, Deltas, FileOrder, Identity, LoopPolicy, PromptEnd, Session, Stage,
    Stop, Validators,
};
use runner::source::{Place, Route, SourceId};
use runner::tool::workspace::Workspace;
use runner::tool::{CallContext, Tool, ToolOutput};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

// ---------------------------------------------------------------- what a session is made of

/// A provider whose first attempts fail.
struct Failing {
    inner: Arc<dyn Provider>,
    failures: AtomicU32,
    /// Stopped at the failure after which so many are left.
    stop: Option<(u32, Stop)>,
}

impl Provider for Failing {
    fn module(&self) -> &'static str {
        "provider-test"
    }
    fn model(&self) -> &'static str {
        "m"
    }
    fn params(&self) -> Value {
        json!({"max_tokens": 9})
    }
    fn most_output(&self) -> u64 {
        self.inner.most_output()
    }

    fn encode(&self, request: &Request) -> Result<WireRequest, CallError> {
        let left = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if let (Ok(left), Some((at, stop))) = (&left, &self.stop)
            && left == at
        {
            stop.soft.cancel();
        }
        match left {
            Ok(_) => Err(CallError::new(ErrorClass::Overloaded, "overloaded")),
            Err(_) => self.inner.encode(request),
        }
    }
    fn decoder(&self) -> Box<dyn Decode> {
        self.inner.decoder()
    }
    fn read_error(&self, status: u16, headers: &[(String, String)], body: &[u8]) -> CallError {
        self.inner.read_error(status, headers, body)
    }
    fn speak(&self, reply: &Reply) -> Vec<u8> {
        self.inner.speak(reply)
    }
    fn speak_error(&self, _: &str) -> Vec<u8> {
        Vec::new()
    }

    fn retry(&self) -> RetryPolicy {
        let seconds = Duration::from_secs;
        RetryPolicy { max_retries: 2, first_delay: seconds(1), max_delay: seconds(9), overloaded_factor: 1.0 }
    }
    fn timeouts(&self) -> Timeouts {
        self.inner.timeouts()
    }
}

/// What the tool of the tests sees and does, shared by all its calls.
struct Bench {
    /// Names of calls that have begun (`a`) and ended (`-a`), in order.
    log: watch::Sender<Vec<String>>,
    running: AtomicUsize,
    most: AtomicUsize,
    stop: Stop,
}

impl Bench {
    fn note(&self, name: String) {
        self.log.send_modify(|log| log.push(name));
    }

    async fn wait_for(&self, name: &str) {
        let mut log = self.log.subscribe();
        log.wait_for(|log| log.iter().any(|entry| entry == name)).await.expect("the bench keeps its log");
    }
}

/// `act`: does as its arguments say.
struct Act(Arc<Bench>);

#[async_trait]
impl Tool for Act {
    fn spec(&self) -> ToolSpec {
        let text = json!({"type": "string"});
        ToolSpec {
            name: "act".to_owned(),
            description: "acts".to_owned(),
            input_schema: json!({
                "type": "object", "required": ["name"], "additionalProperties": false,
                "properties": {"name": text, "touch": text, "after": text, "then": text},
            }),
        }
    }

    fn policy(&self) -> Policy {
        Policy::Tape
    }

    fn timeout(&self, input: &Map<String, Value>) -> Option<Duration> {
        (input.get("then") == Some(&json!("hang"))).then_some(Duration::from_millis(1))
    }

    fn footprint(&self, input: &Map<String, Value>) -> Footprint {
        match input.get("touch").and_then(Value::as_str) {
            Some(thing) => Footprint::none().with(Access::Write, thing),
            None => Footprint::none(),
        }
    }

    async fn run(&self, input: Map<String, Value>, call: CallContext) -> ToolOutput {
        let bench = &self.0;
        let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text("name");
        bench.note(name.clone());
        let now = bench.running.fetch_add(1, Ordering::Relaxed) + 1;
        bench.most.fetch_max(now, Ordering::Relaxed);
        if input.contains_key("after") {
            bench.wait_for(&text("after")).await;
        }
        match text("then").as_str() {
            "hang" => call.cancel.cancelled().await,
            "stop" => bench.stop.soft.cancel(),
            _ => tokio::task::yield_now().await,
        }
        bench.running.fetch_sub(1, Ordering::Relaxed);
        bench.note(format!("-{name}"));
        ToolOutput::ok(format!("{name} done"))
    }
}

#[derive(Clone, Default)]
struct Heard(Arc<std::sync::Mutex<Vec<Happening>>>);

impl Listener for Heard {
    fn heard(&self, event: &Envelope) {
        self.0.lock().unwrap().push(event.event.clone());
    }
}

struct Scene {
    script: &'static str,
    max_calls: Option<u32>,
    calls: CallOrder,
    failures: u32,
    stop_at: Option<u32>,
    /// In virtual time calls still run at once, but end one after another, by name.
    is_virtual: bool,
}

/// What a session did.
struct Done {
    end: PromptEnd,
    ids: Vec<String>,
    effects: Vec<EffectRecord>,
    log: Vec<String>,
    most: usize,
    heard: Vec<Happening>,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            script: "",
            max_calls: Some(9),
            calls: CallOrder::Parallel,
            failures: 0,
            stop_at: None,
            is_virtual: true,
        }
    }
}

impl Scene {
    fn of(script: &'static str) -> Self {
        Self { script, ..Self::default() }
    }

    /// A scene in which calls really run at once.
    fn at_once(script: &'static str) -> Self {
        Self { is_virtual: false, ..Self::of(script) }
    }

    async fn play(&self) -> Done {
        self.perform(None).await
    }

    /// Plays what it did again; nothing is asked of the script or the tool then.
    async fn replay(&self, done: &Done) -> Done {
        let head = RecordingHead {
            format: RECORDING_FORMAT,
            scenario: "s".to_owned(),
            evidence: Evidence::Scripted,
            run: RunId::from("r"),
            seed: Seed::new("s"),
            epoch: Timestamp::UNIX_EPOCH,
            models: BTreeMap::new(),
            prices: runner::price::Prices::default(),
            changes: Vec::new(),
            mcp_tools: BTreeMap::new(),
            inputs: BTreeMap::new(),
            ended: runner::event::ENDED_WELL.to_owned(),
        };
        let recording = Recording { head, effects: done.effects.clone(), texts: BTreeMap::new() };
        let (strictness, tolerance) = (Strictness::Total, Tolerance::Nothing);
        self.perform(Some(Replay { tolerance, ..Replay::of(recording, strictness) })).await
    }

    async fn perform(&self, replay: Option<Replay>) -> Done {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::open(&path).unwrap();
        let stop = Stop::default();
        let bench = Arc::new(Bench {
            log: watch::Sender::default(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            stop: stop.clone(),
        });
        let is_replay = replay.is_some();
        let effects = Effects::new(Setup {
            origin: replay.map_or(Origin::Live, |replay| Origin::Replay(Box::new(replay))),
            time: match self.is_virtual {
                true => Time::Virtual(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))),
                false => Time::Real(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))),
            },
            seed: Seed::new("s"),
            journal: Some(journal.clone()),
            scrubber: Scrubber::default(),
            faults: Arc::default(),
            halt: CancellationToken::new(),
        });
        let heard = Heard::default();
        let stage = Arc::new(Stage {
            effects,
            hub: Hub::new(vec![Box::new(heard.clone())]),
            validators: Validators::default(),
            policies: BTreeMap::new(),
            workspace: folder.path().to_owned(),
            budget: Budget::default(),
            faults: Arc::default(),
            files: FileOrder::new(Commands::Free, Arc::default()),
            people: Arc::new(runner::session::Nobody),
            stop: stop.clone(),
        });
        let place =
            Whereabouts { phase: Some("p".into()), session: Some("s".into()), role: Some("r".into()) };
        let workspace = Arc::new(Workspace::open(folder.path(), Scrubber::default()).unwrap());
        let cast = self.cast(&bench, workspace, is_replay);
        let mut session = Session::new(stage.clone(), Identity { path: "p/s".to_owned(), place }, cast, stop);
        let busy = stage.effects.busy();
        let end = session.prompt(&busy, "go").await.unwrap();
        stage.effects.finish().unwrap();
        journal.close().unwrap();
        let effects: Vec<EffectRecord> = journal::read(&path)
            .unwrap()
            .into_iter()
            .filter_map(|line| match line {
                JournalLine::Effect { record, .. } => Some(record),
                _ => None,
            })
            .collect();
        let log = bench.log.borrow().clone();
        let heard = heard.0.lock().unwrap().clone();
        let ids = effects.iter().map(|record| record.id.to_string()).collect();
        Done { end, ids, effects, log, most: bench.most.load(Ordering::Relaxed), heard }
    }

    fn cast(&self, bench: &Arc<Bench>, workspace: Arc<Workspace>, is_replay: bool) -> Cast {
        let spec = ModuleSpec {
            module: "provider-mock".to_owned(),
            config: Map::new(),
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        };
        let (inner, _) = Mock::build(&spec, None, None).unwrap();
        let context = ModuleSpec { module: "context-simple".to_owned(), ..spec };
        let script = if is_replay { "rules: [{when: turn == 0, say: never}]" } else { self.script };
        Cast {
            provider: Arc::new(Failing {
                inner,
                failures: AtomicU32::new(self.failures),
                stop: self.stop_at.filter(|_| !is_replay).map(|at| (at, bench.stop.clone())),
            }),
            stand_ins: StandIns::default(),
            line: Line::Script(Arc::new(Script::from_text("script", script).unwrap())),
            tools: vec![Arc::new(Act(bench.clone()))],
            policy: LoopPolicy { max_calls: self.max_calls, calls: self.calls, deltas: Deltas::Kept },
            context: Box::new(Simple::new(Settings::read(&context, None).unwrap())),
            system: "be good".to_owned(),
            hooks: Hooks::default(),
            workspace,
        }
    }
}

impl Done {
    /// Results of tools in the order the ledger's calls have, which is that of the blocks.
    fn results(&self) -> Vec<String> {
        let mut tools: Vec<_> = self
            .effects
            .iter()
            .filter(|record| record.id.turn_and_call().is_some_and(|(_, call)| call > 0))
            .collect();
        tools.sort_by_key(|record| record.id.turn_and_call());
        tools.iter().map(|record| record.result["content"].as_str().unwrap().to_owned()).collect()
    }

    fn before(&self, first: &str, second: &str) -> bool {
        let place = |name: &str| self.log.iter().position(|entry| entry == name).expect("it was logged");
        place(first) < place(second)
    }
}

// ---------------------------------------------------------------- calls of one message

#[tokio::test]
async fn results_come_back_in_block_order_whatever_ends_first() {
    let scene = Scene::at_once(
        "rules:\n\
         - when: turn == 1\n  calls:\n\
         \x20 - {tool: act, input: {name: a, after: -b}}\n\
         \x20 - {tool: act, input: {name: b, after: -c}}\n\
         \x20 - {tool: act, input: {name: c}}\n\
         - say: \"{{ results | map(attribute='output') | join(', ') }}\"\n",
    );
    let done = scene.play().await;
    assert_eq!(done.end.text, "a done, b done, c done");
    assert_eq!(done.end.end, SessionEnd::Completed);
    assert!(done.before("-c", "-b") && done.before("-b", "-a"));
    assert_eq!(done.results(), ["a done", "b done", "c done"]);
    assert_eq!(scene.replay(&done).await.end, done.end);
}

#[tokio::test]
async fn calls_that_touch_the_same_run_in_order_and_others_beside_them() {
    let done = Scene::at_once(
        "rules:\n\
         - when: turn == 1\n  calls:\n\
         \x20 - {tool: act, input: {name: a, touch: 'x:1', after: c}}\n\
         \x20 - {tool: act, input: {name: b, touch: 'x:*'}}\n\
         \x20 - {tool: act, input: {name: c, touch: 'z:2'}}\n\
         \x20 - {tool: act, input: {name: d, touch: 'y:1'}}\n\
         - say: x\n",
    );
    let done = done.play().await;
    assert!(done.before("-a", "b"), "they overlap: {:?}", done.log);
    assert!(done.before("-c", "-a"), "nothing holds these up: {:?}", done.log);
}

#[tokio::test]
async fn a_later_call_does_not_overtake_one_that_waits_and_touches_the_same() {
    let done = Scene::at_once(
        "rules:\n\
         - when: turn == 1\n  calls:\n\
         \x20 - {tool: act, input: {name: a, touch: 'x:1', after: e}}\n\
         \x20 - {tool: act, input: {name: b, touch: 'x:*'}}\n\
         \x20 - {tool: act, input: {name: c, touch: 'x:2'}}\n\
         \x20 - {tool: act, input: {name: e}}\n\
         - say: x\n",
    );
    let done = done.play().await;
    assert!(done.before("-b", "c"), "{:?}", done.log);
}

#[tokio::test]
async fn a_bounded_number_of_calls_runs_at_once() {
    let mut script = "rules:\n- when: turn == 1\n  calls:\n".to_owned();
    for n in 0..runner::limit::PARALLEL_CALLS + 5 {
        script += &format!("  - {{tool: act, input: {{name: 'c{n}'}}}}\n");
    }
    script += "- say: x\n";
    let script: &'static str = String::leak(script);
    let done = Scene::at_once(script).play().await;
    assert_eq!((done.most, done.results().len()), (runner::limit::PARALLEL_CALLS, 21));
    let done = Scene { calls: CallOrder::InTurn, ..Scene::at_once(script) }.play().await;
    assert_eq!(done.most, 1);
}

#[tokio::test]
async fn what_cannot_be_run_is_answered_with_what_to_do() {
    let done = Scene::at_once(
        "rules:\n\
         - when: turn == 1\n  calls:\n\
         \x20 - {tool: dance}\n\
         \x20 - {tool: act, input: {name: 5}}\n\
         \x20 - {tool: act, input: {name: h, then: hang}}\n\
         \x20 - {tool: act, input: {name: ok}}\n\
         - say: \"{% for one in results %}{{ one.ok }}: {{ one.output }}\\n{% endfor %}\"\n",
    )
    .play()
    .await;
    let lines: Vec<&str> = done.end.text.lines().collect();
    assert!(lines[0].starts_with("False: There is no tool dance. The tools are: act."), "{lines:?}");
    assert!(lines[1].starts_with("False: The arguments of act do not fit its schema: at /name"), "{lines:?}");
    assert!(lines[2].starts_with("False: Timed out after 0 s"), "{lines:?}");
    assert_eq!(lines[3], "True: ok done");
    let ids: BTreeSet<_> = done.ids.iter().map(String::as_str).collect();
    assert_eq!(ids, ["p/s/1", "p/s/1.3", "p/s/1.4", "p/s/2"].into(), "what is not run is no effect");
}

// ---------------------------------------------------------------- ends

#[tokio::test]
async fn the_limit_ends_with_one_call_that_offers_no_tools() {
    let scene = Scene {
        max_calls: Some(2),
        ..Scene::of(
            "rules: [{when: tools, calls: [{tool: act, input: {name: a}}]}, {say: 'so far: {{ prompt }}'}]",
        )
    };
    let done = scene.play().await;
    assert_eq!(done.end.end, SessionEnd::LimitReached);
    assert!(done.end.text.starts_with("so far: You have reached the limit"), "{}", done.end.text);
    assert_eq!(done.ids, ["p/s/1", "p/s/1.1", "p/s/2", "p/s/2.1", "p/s/3"]);
    let labels =
        |n: usize| done.effects[n].key.iter().map(|part| part.label.as_str()).collect::<BTreeSet<_>>();
    assert!(labels(2).contains("tools") && !labels(4).contains("tools"));
    assert_eq!(scene.replay(&done).await.end, done.end);
}

#[tokio::test]
async fn how_a_reply_ends_is_how_the_prompt_ends() {
    let cases: [(&'static str, &str, SessionEnd); 5] = [
        ("{say: no, stop: refusal}", "p/s/1", SessionEnd::Refused { reason: String::new() }),
        ("{stop: end_turn}", "p/s/1", SessionEnd::Empty),
        ("{say: cut, stop: max_tokens}", "p/s/1", SessionEnd::Completed),
        ("{when: turn < 3, say: wait, stop: pause_turn}, {say: done}", "p/s/3", SessionEnd::Completed),
        ("{when: turn == 9, say: x}", "p/s/1", SessionEnd::Failed { reason: String::new() }),
    ];
    for (rules, last, end) in cases {
        let scene = Scene { max_calls: None, ..Scene::of(String::leak(format!("rules: [{rules}]"))) };
        let done = scene.play().await;
        match (&done.end.end, &end) {
            (SessionEnd::Failed { reason }, SessionEnd::Failed { .. }) => {
                assert!(reason.contains("no rule of script fits"), "{reason}");
            }
            (found, expected) => assert_eq!(found, expected, "{rules}"),
        }
        assert_eq!(done.ids.last().map(String::as_str), Some(last), "{rules}");
        assert_eq!(scene.replay(&done).await.end, done.end, "{rules}");
    }
}

#[tokio::test]
async fn calls_of_a_cut_or_refused_reply_are_not_run() {
    let call = "calls: [{tool: act, input: {name: a}}]";
    let cut =
        format!("rules: [{{when: turn == 1, {call}, stop: max_tokens}}, {{say: '{{{{ last.output }}}}'}}]");
    let done = Scene::of(String::leak(cut)).play().await;
    assert!(done.end.text.starts_with("Not run: your message was cut off"), "{}", done.end.text);
    assert_eq!((done.log.len(), done.ids.len()), (0, 2));
    let refused = Scene::of(String::leak(format!("rules: [{{{call}, stop: refusal}}]"))).play().await;
    assert!(matches!(refused.end.end, SessionEnd::Refused { .. }) && refused.log.is_empty());
}

// ---------------------------------------------------------------- failures and stops

#[tokio::test]
async fn each_attempt_is_an_effect_and_the_last_failure_ends_the_prompt() {
    let scene = Scene { failures: 2, ..Scene::of("rules: [{say: 'at last'}]") };
    let done = scene.play().await;
    assert_eq!((done.end.end.clone(), done.end.text.as_str()), (SessionEnd::Completed, "at last"));
    assert_eq!(done.ids, ["p/s/1", "p/s/1#2", "p/s/1#3"]);
    assert!(done.effects[0].at < done.effects[1].at, "it waited in the run's time");
    let retries = done.heard.iter().filter(|event| matches!(event, Happening::Retry { .. }));
    assert_eq!(retries.count(), 2);
    assert_eq!(scene.replay(&done).await.end, done.end);

    let scene = Scene { failures: 9, ..scene };
    let done = scene.play().await;
    assert!(
        matches!(&done.end.end, SessionEnd::Failed { reason } if reason.starts_with("overloaded (tried 3 times)"))
    );
    assert_eq!(done.end.error, Some(ErrorClass::Overloaded));
    assert_eq!(scene.replay(&done).await.end, done.end);
}

#[tokio::test]
async fn a_stop_lets_the_turn_end_and_a_replay_stops_at_the_same_place() {
    let scene = Scene::of(
        "rules: [{when: turn == 1, calls: [{tool: act, input: {name: a, then: stop}}]}, {say: 'never said'}]",
    );
    let done = scene.play().await;
    assert_eq!(done.end.end, SessionEnd::Cancelled);
    assert_eq!(done.ids, ["p/s/1", "p/s/1.1", "p/!stopped.s-2"]);
    // Nothing stops the replay but what is recorded: its tool is not run.
    let again = scene.replay(&done).await;
    assert_eq!((again.end, again.log.len()), (done.end, 0));
}

#[tokio::test]
async fn a_stop_between_attempts_ends_a_replay_there_and_not_before_the_first() {
    let scene = Scene { failures: 9, stop_at: Some(8), ..Scene::of("rules: [{say: 'never said'}]") };
    let done = scene.play().await;
    assert_eq!(done.end.end, SessionEnd::Cancelled);
    assert_eq!(done.ids, ["p/s/1", "p/s/1#2", "p/!stopped.s-1#4"]);
    let again = scene.replay(&done).await;
    assert_eq!((again.end, again.heard.len()), (done.end, done.heard.len()));
}
