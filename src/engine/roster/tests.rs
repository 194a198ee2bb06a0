//! Whether the roster keeps what the scenario format says of waiting, ending and watching.

use serde_json::{Map, Value, json};

use super::*;
use crate::issue::Takes;

const COMING: WorkerOrder = WorkerOrder::Start;
const HOME: WorkerOrder = WorkerOrder::Stop(StopCause::NoWork);

fn id(text: &str) -> PhaseId {
    PhaseId::from(text)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn metadata(kind: &str) -> Map<String, Value> {
    json!({"kind": kind}).as_object().unwrap().clone()
}

fn takes(kind: &str) -> Takes {
    match kind {
        "any" => Takes::default(),
        kind => Takes([("kind".to_owned(), vec![json!(kind)])].into()),
    }
}

fn issue(name: &str, kind: &str) -> Offer {
    Offer { id: IssueId::from(name), metadata: metadata(kind) }
}

fn ready(names: &[&str]) -> Outlook {
    Outlook { ready: names.iter().map(|name| issue(name, "a")).collect(), deadlines: Vec::new() }
}

fn due(second: i64, kind: &str) -> Outlook {
    let deadlines = vec![Deadline { at: at(second), metadata: metadata(kind) }];
    Outlook { ready: Vec::new(), deadlines }
}

/// What a store answers instead of everything.
fn as_asked_for(outlook: &Outlook, (welcome, enough): &(Vec<Takes>, usize)) -> Outlook {
    let of_one = |takes: &Takes| {
        let matching = outlook.ready.iter().filter(|offer| takes.matches(&offer.metadata));
        matching.take(*enough).map(|offer| offer.id.clone()).collect::<Vec<_>>()
    };
    let known: BTreeSet<IssueId> = welcome.iter().flat_map(of_one).collect();
    let ready = outlook.ready.iter().filter(|offer| known.contains(&offer.id)).cloned().collect();
    Outlook { ready, deadlines: outlook.deadlines.clone() }
}

/// A roster with what was decided last.
#[derive(Default)]
struct Scene {
    roster: Roster,
    now: i64,
    alarm: Option<Timestamp>,
}

impl Scene {
    /// A pool `p` whose workers take these kinds, all still in a turn.
    fn pool(kinds: &[&str], when_empty: WhenEmpty) -> Self {
        let mut scene = Self::default();
        scene.open("p", kinds, when_empty);
        scene
    }

    fn open(&mut self, phase: &str, kinds: &[&str], when_empty: WhenEmpty) {
        self.roster.begin(&id(phase));
        self.roster.open_pool(&id(phase), when_empty, kinds.iter().map(|kind| takes(kind)).collect());
    }

    fn watch(&mut self, phase: &str, on: &[&str], every: Option<u64>) {
        let on = on.iter().map(|event| (*event).to_owned()).collect();
        let setup = WatchSetup { watches: id("p"), on, every: every.map(Duration::from_secs) };
        self.roster.begin(&id(phase));
        self.roster.open_watch(&id(phase), setup, at(self.now));
    }

    fn asks(&mut self, seat: usize, pause: Pause) -> &mut Self {
        self.roster.worker_asks(&(id("p"), seat), pause);
        self
    }

    fn changed(&mut self, event: &str) {
        self.roster.queue_changed([event].into_iter());
    }

    fn decide(&mut self, outlook: &Outlook) -> Vec<Order> {
        let asked_for = as_asked_for(outlook, &self.roster.wants());
        let of_part = self.roster.clone().decide(&asked_for, at(self.now));
        let (orders, alarm) = self.roster.decide(outlook, at(self.now));
        assert_eq!(of_part, (orders.clone(), alarm), "what is asked for decides as all would");
        self.alarm = alarm;
        orders
    }

    /// What workers of `p` are told, by seat.
    fn workers(&mut self, outlook: &Outlook) -> Vec<(usize, WorkerOrder)> {
        let orders = self.decide(outlook).into_iter().filter_map(|order| match order {
            Order::Worker((phase, seat), order) if phase == id("p") => Some((seat, order)),
            _ => None,
        });
        orders.collect()
    }

    /// What the monitor `m` is told: the trigger, `end`, or nothing.
    fn monitor(&mut self, outlook: &Outlook) -> Option<String> {
        self.decide(outlook).into_iter().find_map(|order| match order {
            Order::Monitor(_, MonitorOrder::Look(trigger)) => Some(trigger),
            Order::Monitor(_, MonitorOrder::End) => Some("end".to_owned()),
            Order::Worker(..) => None,
        })
    }
}

#[test]
fn as_many_workers_are_woken_as_there_are_ready_issues_longest_waiting_first() {
    let mut scene = Scene::pool(&["any", "any", "any"], WhenEmpty::Wait);
    scene.asks(2, Pause::Free).asks(0, Pause::Free).asks(1, Pause::Free);
    assert_eq!(scene.workers(&ready(&["x", "y"])), [(2, COMING), (0, COMING)]);
    assert_eq!(scene.workers(&ready(&["x", "y"])), [], "both are offered already");
    assert_eq!(scene.workers(&ready(&["x", "y", "z"])), [(1, COMING)]);
}

#[test]
fn an_issue_is_offered_again_when_its_worker_comes_back_without_it() {
    let mut scene = Scene::pool(&["any", "any"], WhenEmpty::Wait);
    scene.asks(0, Pause::Free).asks(1, Pause::Free);
    assert_eq!(scene.workers(&ready(&["x"])), [(0, COMING)]);
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&["x"])), [(1, COMING)], "the other has waited longer");
}

#[test]
fn workers_are_woken_only_for_what_they_take() {
    let mut scene = Scene::pool(&["b", "a"], WhenEmpty::Wait);
    scene.asks(0, Pause::Free).asks(1, Pause::Free);
    assert_eq!(scene.workers(&ready(&["x"])), [(1, COMING)]);
}

#[test]
fn who_holds_an_issue_goes_on_without_a_ready_one() {
    let mut scene = Scene::pool(&["any", "any"], WhenEmpty::Stop);
    scene.asks(0, Pause::Holding).asks(1, Pause::Free);
    assert_eq!(scene.workers(&ready(&["x"])), [(0, COMING), (1, COMING)], "holding uses no offer up");
}

#[test]
fn with_stop_a_worker_goes_home_when_nothing_ready_matches() {
    let mut scene = Scene::pool(&["b", "any"], WhenEmpty::Stop);
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&["x"])), [(0, HOME)], "while the other is still in a turn");
}

#[test]
fn a_tired_worker_waits_for_a_change_of_the_queue() {
    for when_empty in [WhenEmpty::Wait, WhenEmpty::Stop] {
        let mut scene = Scene::pool(&["any", "any"], when_empty);
        scene.asks(0, Pause::Tired);
        assert_eq!(scene.workers(&ready(&["x"])), [], "{when_empty:?}");
        scene.changed("commented");
        assert_eq!(scene.workers(&ready(&["x"])), [(0, COMING)], "{when_empty:?}");
    }
}

#[test]
fn tired_workers_end_when_nobody_is_left_to_change_the_queue() {
    for when_empty in [WhenEmpty::Wait, WhenEmpty::Stop] {
        let mut scene = Scene::pool(&["any"], when_empty);
        scene.asks(0, Pause::Tired);
        assert_eq!(scene.workers(&ready(&["x"])), [(0, HOME)], "{when_empty:?}");
    }
}

#[test]
fn waiting_ends_together_when_nobody_is_in_a_turn() {
    let mut scene = Scene::pool(&["any", "any"], WhenEmpty::Wait);
    scene.asks(1, Pause::Free);
    assert_eq!(scene.workers(&ready(&[])), [], "(a) one of the phase is in a turn");
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&[])), [(0, HOME), (1, HOME)]);
}

#[test]
fn another_running_phase_keeps_workers_waiting() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.roster.begin(&id("talk"));
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&[])), [], "(a) a conversation runs");
    scene.roster.close(&id("talk"));
    assert_eq!(scene.workers(&ready(&[])), [(0, HOME)]);
}

#[test]
fn a_phase_that_has_begun_counts_before_it_opens_and_until_it_is_closed() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.roster.begin(&id("q"));
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&[])), [], "its pool has not opened yet");
    scene.open("q", &["any"], WhenEmpty::Stop);
    assert_eq!(scene.workers(&ready(&[])), [], "its worker is in a turn");
    scene.roster.worker_gone(&(id("q"), 0));
    assert_eq!(scene.workers(&ready(&[])), [], "others may begin when it has ended");
    scene.roster.close(&id("q"));
    assert_eq!(scene.workers(&ready(&[])), [(0, HOME)]);
}

#[test]
fn a_ready_issue_for_someone_keeps_nobody_waiting_who_does_not_take_it() {
    let mut scene = Scene::pool(&["b"], WhenEmpty::Wait);
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&["x"])), [(0, HOME)], "(b) it matches nobody with iterations left");
}

#[test]
fn a_deadline_of_a_matching_issue_is_waited_for_and_is_an_alarm() {
    let mut scene = Scene::pool(&["b", "b"], WhenEmpty::Wait);
    scene.asks(0, Pause::Free);
    assert_eq!((scene.workers(&due(9, "b")), scene.alarm), (vec![], Some(at(9))), "also while others work");
    scene.asks(1, Pause::Free);
    assert_eq!((scene.workers(&due(9, "b")), scene.alarm), (vec![], Some(at(9))), "(d)");
    assert_eq!(scene.workers(&due(9, "a")), [(0, HOME), (1, HOME)], "it is of no issue that they take");
}

#[test]
fn a_monitor_with_every_looks_first_after_it_and_then_at_every_tick() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.watch("m", &[], Some(5));
    scene.roster.monitor_asks(&id("m"), None);
    assert_eq!((scene.monitor(&ready(&[])), scene.alarm), (None, Some(at(5))));
    scene.now = 5;
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("tick"));
    scene.now = 7;
    scene.roster.monitor_asks(&id("m"), Some(false));
    assert_eq!((scene.monitor(&ready(&[])), scene.alarm), (None, Some(at(10))));
}

#[test]
fn a_tick_that_passed_during_a_check_is_not_lost_nor_doubled() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.watch("m", &[], Some(5));
    scene.roster.monitor_asks(&id("m"), None);
    scene.now = 5;
    assert!(scene.monitor(&ready(&[])).is_some());
    scene.now = 21;
    scene.roster.monitor_asks(&id("m"), Some(true));
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("tick"));
    scene.roster.monitor_asks(&id("m"), Some(true));
    assert_eq!((scene.monitor(&ready(&[])), scene.alarm), (None, Some(at(26))));
}

#[test]
fn a_monitor_with_events_only_looks_at_once_and_at_each_listed_event() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.watch("m", &["blocked"], None);
    scene.roster.monitor_asks(&id("m"), None);
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("start"));
    scene.changed("blocked");
    assert_eq!(scene.monitor(&ready(&[])), None, "it is still at the first check");
    scene.roster.monitor_asks(&id("m"), Some(false));
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("issue.blocked"));
    scene.roster.monitor_asks(&id("m"), Some(false));
    scene.changed("closed");
    assert_eq!(scene.monitor(&ready(&[])), None, "it does not listen to that");
}

#[test]
fn a_monitor_looks_once_when_all_wait_and_again_after_a_change() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.watch("m", &["blocked"], None);
    scene.roster.monitor_asks(&id("m"), None);
    scene.monitor(&ready(&[]));
    scene.changed("closed");
    scene.roster.monitor_asks(&id("m"), Some(false));
    scene.asks(0, Pause::Free);
    assert_eq!(scene.decide(&ready(&[])), [Order::Monitor(id("m"), MonitorOrder::Look("idle".to_owned()))]);
    scene.changed("commented");
    scene.roster.monitor_asks(&id("m"), Some(true));
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("idle"), "what it saw has changed meanwhile");
    scene.roster.monitor_asks(&id("m"), Some(true));
    assert_eq!(scene.workers(&ready(&[])), [(0, HOME)], "it has no ticks: nothing would come of waiting");
}

#[test]
fn a_monitor_in_a_check_keeps_workers_waiting() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.watch("m", &[], Some(5));
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&[])), [], "(a) its session is in a turn");
}

#[test]
fn a_monitor_with_a_true_condition_and_a_tick_to_come_keeps_workers_waiting() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.watch("m", &[], Some(5));
    scene.roster.monitor_asks(&id("m"), None);
    scene.asks(0, Pause::Free);
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("idle"));
    scene.now = 2;
    scene.roster.monitor_asks(&id("m"), Some(true));
    assert_eq!((scene.decide(&ready(&[])), scene.alarm), (vec![], Some(at(5))), "(c)");
    scene.now = 5;
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("tick"));
    scene.roster.monitor_asks(&id("m"), Some(false));
    assert_eq!(scene.workers(&ready(&[])), [(0, HOME)], "its condition is false now");
}

#[test]
fn a_monitor_without_checks_left_keeps_nobody_waiting() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.watch("m", &[], Some(5));
    scene.roster.close(&id("m"));
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&[])), [(0, HOME)]);
}

#[test]
fn a_monitor_that_has_not_begun_keeps_workers_waiting() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.roster.expect_watch(&id("m"), &id("p"));
    scene.open("q", &["any"], WhenEmpty::Wait);
    scene.asks(0, Pause::Free);
    scene.roster.worker_asks(&(id("q"), 0), Pause::Free);
    let orders = scene.decide(&ready(&[]));
    assert_eq!(orders, [Order::Worker((id("q"), 0), HOME)], "(c) the end of the other lets it begin");
    scene.roster.worker_gone(&(id("q"), 0));
    scene.roster.close(&id("q"));
    scene.watch("m", &["blocked"], None);
    assert_eq!(scene.decide(&ready(&[])), []);
    scene.roster.monitor_asks(&id("m"), None);
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("start"));
}

#[test]
fn a_monitor_that_cannot_begin_before_the_workers_end_keeps_nobody_waiting_for_ever() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.roster.expect_watch(&id("m"), &id("p"));
    scene.asks(0, Pause::Free);
    assert_eq!(scene.workers(&ready(&[])), [(0, HOME)]);
}

#[test]
fn monitors_end_when_what_they_watch_has_ended_or_never_begins() {
    let mut scene = Scene::pool(&["any"], WhenEmpty::Wait);
    scene.watch("m", &[], Some(5));
    scene.roster.monitor_asks(&id("m"), None);
    scene.roster.worker_gone(&(id("p"), 0));
    assert_eq!((scene.monitor(&ready(&[])), scene.alarm), (Some("end".to_owned()), None));

    let mut scene = Scene::default();
    scene.watch("m", &[], Some(5));
    scene.roster.monitor_asks(&id("m"), None);
    assert_eq!(scene.monitor(&ready(&[])), None);
    scene.roster.begin(&id("p"));
    scene.roster.close(&id("p"));
    assert_eq!(scene.monitor(&ready(&[])).as_deref(), Some("end"), "its `when` did not hold");
}

#[test]
fn a_stop_sends_everybody_home_and_whoever_comes_later() {
    let mut scene = Scene::pool(&["any", "any"], WhenEmpty::Wait);
    scene.watch("m", &[], Some(5));
    scene.roster.monitor_asks(&id("m"), None);
    scene.asks(0, Pause::Holding);
    scene.roster.stop();
    let home = |seat| Order::Worker((id("p"), seat), WorkerOrder::Stop(StopCause::Cancelled));
    assert_eq!(scene.decide(&ready(&["x"])), [home(0), Order::Monitor(id("m"), MonitorOrder::End)]);
    scene.asks(1, Pause::Free);
    assert_eq!((scene.decide(&ready(&["x"])), scene.alarm), (vec![home(1)], None));
}

mod any_history {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Asks(usize, Pause),
        Goes(usize),
        MonitorAsks(Option<bool>),
        MonitorEnds,
        Changes(usize, bool),
        Time(i64),
        Deferred(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let pause = prop_oneof![Just(Pause::Free), Just(Pause::Tired), Just(Pause::Holding)];
        prop_oneof![
            6 => (0usize..4, pause).prop_map(|(seat, pause)| Step::Asks(seat, pause)),
            1 => (0usize..4).prop_map(Step::Goes),
            3 => proptest::option::of(any::<bool>()).prop_map(Step::MonitorAsks),
            1 => Just(Step::MonitorEnds),
            4 => (0usize..6, any::<bool>()).prop_map(|(issue, ready)| Step::Changes(issue, ready)),
            2 => (1i64..9).prop_map(Step::Time),
            1 => (1i64..9).prop_map(Step::Deferred),
        ]
    }

    /// Who is where, as a test knows it from the orders alone.
    struct Model {
        scene: Scene,
        /// Seats that are in a turn, waiting, or gone.
        turn: BTreeSet<usize>,
        waiting: BTreeSet<usize>,
        monitor: Option<WatchState>,
        ready: BTreeSet<usize>,
        deferred: Option<i64>,
    }

    impl Model {
        fn new(when_empty: WhenEmpty, every: Option<u64>) -> Self {
            let mut scene = Scene::pool(&["any", "any", "a", "b"], when_empty);
            scene.watch("m", &["blocked"], every);
            let turn = (0..4).collect();
            let monitor = Some(WatchState::InTurn);
            Self { scene, turn, waiting: BTreeSet::new(), monitor, ready: BTreeSet::new(), deferred: None }
        }

        fn outlook(&self) -> Outlook {
            let kind = |n: usize| if n.is_multiple_of(2) { "a" } else { "b" };
            let ready = self.ready.iter().map(|n| issue(&format!("i{n}"), kind(*n))).collect();
            let deadlines = self.deferred.filter(|second| *second > self.scene.now);
            let deadlines =
                deadlines.map(|second| Deadline { at: at(second), metadata: metadata("a") }).into_iter();
            Outlook { ready, deadlines: deadlines.collect() }
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Asks(seat, pause) => {
                    if self.turn.remove(&seat) {
                        self.scene.asks(seat, pause);
                        self.waiting.insert(seat);
                    }
                }
                Step::Goes(seat) => {
                    if self.turn.remove(&seat) {
                        self.scene.roster.worker_gone(&(id("p"), seat));
                    }
                }
                Step::MonitorAsks(due) => {
                    if self.monitor == Some(WatchState::InTurn) {
                        self.scene.roster.monitor_asks(&id("m"), due);
                        self.monitor = Some(WatchState::Waiting);
                    }
                }
                Step::MonitorEnds => {
                    if self.monitor == Some(WatchState::InTurn) {
                        self.scene.roster.close(&id("m"));
                        self.monitor = None;
                    }
                }
                Step::Changes(issue, true) => {
                    self.ready.insert(issue);
                    self.scene.changed("created");
                }
                Step::Changes(issue, false) => {
                    self.ready.remove(&issue);
                    self.scene.changed("blocked");
                }
                Step::Time(seconds) => self.scene.now += seconds,
                Step::Deferred(seconds) => self.deferred = Some(self.scene.now + seconds),
            }
        }

        fn decide(&mut self) -> Result<(), TestCaseError> {
            let outlook = self.outlook();
            let before = self.waiting.clone();
            let pauses: Vec<_> = self.pauses();
            let orders = self.scene.decide(&outlook);
            let mut started = 0;
            for order in &orders {
                match order {
                    Order::Worker((_, seat), order) => {
                        prop_assert!(self.waiting.remove(seat), "only who waits is told something");
                        self.turn.insert(*seat);
                        let holds = pauses.contains(&(*seat, Pause::Holding));
                        started += usize::from(*order == COMING && !holds);
                    }
                    Order::Monitor(_, MonitorOrder::Look(_) | MonitorOrder::End) => {
                        prop_assert_eq!(self.monitor, Some(WatchState::Waiting));
                        self.monitor = Some(WatchState::InTurn);
                    }
                }
            }
            prop_assert!(
                started <= outlook.ready.len(),
                "{started} started for {} issues",
                outlook.ready.len()
            );
            let told = !orders.is_empty();
            let stirs = !self.turn.is_empty() || self.monitor == Some(WatchState::InTurn);
            prop_assert!(
                told || stirs || self.waiting.is_empty() || self.scene.alarm.is_some(),
                "{before:?} wait for ever"
            );
            if let Some(alarm) = self.scene.alarm {
                prop_assert!(alarm > at(self.scene.now), "an alarm lies ahead");
            }
            Ok(())
        }

        fn pauses(&self) -> Vec<(usize, Pause)> {
            let seats = self.scene.roster.pools[&id("p")].seats.iter().enumerate();
            let waiting = seats.filter_map(|(seat, worker)| match worker.state {
                WorkerState::Waiting { pause, .. } => Some((seat, pause)),
                _ => None,
            });
            waiting.collect()
        }
    }

    proptest! {
        #[test]
        fn never_starts_too_many_and_never_leaves_anybody_waiting_for_ever(
            steps in proptest::collection::vec(step(), 1..60),
            waits in any::<bool>(),
            every in proptest::option::of(1u64..7),
        ) {
            let mut model = Model::new(if waits { WhenEmpty::Wait } else { WhenEmpty::Stop }, every);
            for step in steps {
                model.take(step);
                model.decide()?;
            }
        }
    }
}
