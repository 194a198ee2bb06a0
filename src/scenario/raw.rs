//! What a scenario file says, as written: every value with its place, nothing resolved yet.

use serde_json::{Map, Value};

use crate::event::{Decision, Policy};
use crate::fault::FaultKind;
use crate::issue::Takes;
use crate::plan::{
    Capture, ClaimBy, InputType, Isolation, LimitsPlan, OnFailure, ReplayWhen, SessionLife, WhenEmpty,
};
use crate::price::Price;
use crate::source::{Place, Route};

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A whole file; once its includes are followed, also what these bring.
#[derive(Debug)]
pub(super) struct RawScenario {
    pub(super) name: Option<Located<String>>,
    pub(super) description: Option<Located<String>>,
    pub(super) workspace: Option<RawWorkspace>,
    pub(super) inputs: Vec<RawInput>,
    /// Those of an included file are called `PHASE.ID`.
    pub(super) roles: Vec<RawRole>,
    /// All of them, those within another somewhere behind it.
    pub(super) phases: Vec<RawPhase>,
    pub(super) queue: RawQueue,
    pub(super) limits: RawLimits,
    pub(super) prices: Vec<(Located<String>, Price)>,
    pub(super) expect: Vec<Located<String>>,
    pub(super) replay: RawReplay,
    pub(super) faults: Vec<RawFault>,
}

/// Something that is to go wrong in a test.
#[derive(Debug)]
pub(super) struct RawFault {
    /// The model call.
    pub(super) at: Located<String>,
    pub(super) kind: FaultKind,
    /// Attempts in a row that it happens to; at least 1.
    pub(super) times: u32,
}

/// What something may spend.
#[derive(Debug, Default)]
pub(super) struct RawLimits {
    pub(super) plan: LimitsPlan,
    /// Where `max_usd` stands, if it does.
    pub(super) max_usd: Option<Place>,
}

#[derive(Debug)]
pub(super) struct RawWorkspace {
    pub(super) path: Located<String>,
    pub(super) fresh: bool,
    pub(super) isolation: Option<Located<Isolation>>,
    pub(super) setup: Vec<Located<String>>,
    pub(super) teardown: Vec<Located<String>>,
}

#[derive(Debug)]
pub(super) struct RawInput {
    pub(super) id: Located<String>,
    pub(super) kind: InputType,
    pub(super) secret: Option<Located<bool>>,
    pub(super) default: Option<Located<Value>>,
    pub(super) required: Option<Located<bool>>,
    pub(super) choices: Vec<Located<Value>>,
}

impl RawInput {
    /// Whether its value is a secret, which only commands are given.
    pub(super) fn is_secret(&self) -> bool {
        self.secret.as_ref().is_some_and(|secret| secret.value)
    }
}

impl RawRole {
    /// Its id in its own file.
    pub(super) fn local(&self) -> &str {
        self.id.value.rsplit_once('.').map_or(&self.id.value, |(_, local)| local)
    }
}

#[derive(Debug)]
pub(super) struct RawRole {
    pub(super) id: Located<String>,
    pub(super) mount_plan: Option<Located<String>>,
    pub(super) system: Option<Located<String>>,
    pub(super) takes: Option<Located<Takes>>,
    pub(super) model: Option<Located<String>>,
    pub(super) workspace: Option<Located<String>>,
    pub(super) vars: Map<String, Value>,
    pub(super) limits: RawLimits,
}

#[derive(Debug)]
pub(super) struct RawPhase {
    /// `None` when it is missing or no text, which has been said.
    pub(super) id: Option<Located<String>>,
    /// `None` when there is none or more than one, which has been said.
    pub(super) kind: Option<RawKind>,
    pub(super) needs: Option<Vec<Located<String>>>,
    pub(super) when: Option<Located<String>>,
    pub(super) on_failure: OnFailure,
    pub(super) finally: Option<Located<bool>>,
    pub(super) for_each: Option<RawForEach>,
    pub(super) retry: Option<RawRetry>,
    pub(super) limits: RawLimits,
    pub(super) expect: Vec<Located<String>>,
    pub(super) place: Place,
    /// The phase that it stands in, by its position among all.
    pub(super) within: Option<usize>,
}

#[derive(Debug)]
pub(super) struct RawForEach {
    pub(super) items: Option<RawItems>,
    pub(super) name: Located<String>,
    pub(super) max_parallel: Option<u32>,
    pub(super) on_failure: OnFailure,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) enum RawItems {
    Written(Vec<Value>),
    Computed(Located<String>),
}

#[derive(Debug)]
pub(super) struct RawRetry {
    pub(super) attempts: u32,
    pub(super) backoff: std::time::Duration,
    pub(super) place: Place,
}

impl RawPhase {
    /// Whether somebody has to do it.
    pub(super) fn needs_role(&self) -> bool {
        let of_people =
            |kind: &RawKind| matches!(kind, RawKind::Session(_) | RawKind::Workers(_) | RawKind::Monitor(_));
        self.kind.as_ref().is_none_or(of_people)
    }

    /// Whether it runs at the end, whatever happened.
    pub(super) fn is_final(&self) -> bool {
        self.finally.as_ref().is_some_and(|finally| finally.value)
    }

    /// The id as it is shown, or the position of a phase that has none.
    pub(super) fn shown(&self) -> String {
        match (&self.id, self.place.route.0.last()) {
            (Some(id), _) => format!("phase `{}`", id.value),
            (None, Some(crate::source::Step::Index(at))) => format!("phase {}", at + 1),
            (None, _) => "a phase".to_owned(),
        }
    }
}

#[derive(Debug)]
pub(super) enum RawKind {
    Session(RawSession),
    Workers(RawWorkers),
    Monitor(RawMonitor),
    Issues(RawIssues),
    Shell(RawShell),
    Approval(RawApproval),
    Repeat(RawRepeat),
    Include(RawInclude),
}

#[derive(Debug)]
pub(super) struct RawSession {
    pub(super) role: Option<Located<String>>,
    pub(super) prompts: Vec<Located<String>>,
    pub(super) output: Option<RawOutput>,
}

/// The schema of an answer.
#[derive(Debug)]
pub(super) enum RawOutput {
    File(Located<String>),
    Written(Located<Value>),
}

#[derive(Debug)]
pub(super) struct RawIssues {
    pub(super) create: Vec<RawSeed>,
    pub(super) from: Option<Located<String>>,
}

#[derive(Debug)]
pub(super) struct RawSeed {
    pub(super) key: Option<Located<String>>,
    pub(super) title: Option<Located<String>>,
    pub(super) description: Option<Located<String>>,
    pub(super) priority: Option<u8>,
    pub(super) issue_type: Option<Located<String>>,
    pub(super) metadata: Map<String, Value>,
    pub(super) labels: Vec<Located<String>>,
    pub(super) estimate_minutes: Option<u32>,
    pub(super) blocking_notes: Option<Located<String>>,
    pub(super) parent: Option<Located<String>>,
    pub(super) depends_on: Vec<Located<String>>,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) struct RawShell {
    pub(super) run: Option<Located<String>>,
    pub(super) env: Vec<(Located<String>, Located<String>)>,
    pub(super) expect_exit: Vec<i32>,
    pub(super) capture: Capture,
}

#[derive(Debug)]
pub(super) struct RawApproval {
    pub(super) message: Option<Located<String>>,
    pub(super) timeout: Option<std::time::Duration>,
    pub(super) default: Option<Located<Decision>>,
}

#[derive(Debug)]
pub(super) struct RawRepeat {
    pub(super) until: Option<Located<String>>,
    pub(super) max: Option<u32>,
    pub(super) or_continue: bool,
}

#[derive(Debug)]
pub(super) struct RawInclude {
    pub(super) file: Option<Located<String>>,
    pub(super) inputs: Vec<(Located<String>, Located<Value>)>,
    /// What the file says of itself; none while it has not been read, or could not be.
    pub(super) of: Option<RawIncluded>,
}

/// What an included file says of itself, beside its roles and phases.
#[derive(Debug)]
pub(super) struct RawIncluded {
    /// From the root.
    pub(super) file: String,
    pub(super) name: Option<Located<String>>,
    pub(super) description: Option<Located<String>>,
    pub(super) inputs: Vec<RawInput>,
    pub(super) limits: RawLimits,
    pub(super) expect: Vec<Located<String>>,
}

#[derive(Debug)]
pub(super) struct RawWorkers {
    pub(super) pool: Vec<RawPool>,
    pub(super) prompt: Option<Located<String>>,
    pub(super) claim: ClaimBy,
    pub(super) max_iterations: u32,
    pub(super) session: Option<SessionLife>,
    pub(super) when_empty: WhenEmpty,
}

#[derive(Debug)]
pub(super) struct RawPool {
    pub(super) role: Option<Located<String>>,
    pub(super) count: Located<u32>,
    pub(super) takes: Option<Located<Takes>>,
}

#[derive(Debug)]
pub(super) struct RawMonitor {
    pub(super) role: Option<Located<String>>,
    pub(super) prompt: Option<Located<String>>,
    pub(super) watches: Option<Located<String>>,
    pub(super) when: Option<Located<String>>,
    pub(super) every: Option<std::time::Duration>,
    pub(super) on: Vec<Located<String>>,
    pub(super) max_checks: u32,
}

#[derive(Debug)]
pub(super) struct RawQueue {
    pub(super) store: Option<Located<String>>,
    pub(super) lease: Option<std::time::Duration>,
    pub(super) max_attempts: Option<u32>,
    pub(super) issues: Vec<RawSeed>,
}

#[derive(Debug)]
pub(super) struct RawReplay {
    pub(super) cassette: Option<Located<String>>,
    pub(super) when: Option<Located<ReplayWhen>>,
    pub(super) tools: Vec<(Located<String>, Policy)>,
}

impl RawKind {
    /// The roles it names, with their places.
    pub(super) fn roles(&self) -> Vec<&Located<String>> {
        match self {
            Self::Session(session) => session.role.iter().collect(),
            Self::Workers(workers) => workers.pool.iter().filter_map(|entry| entry.role.as_ref()).collect(),
            Self::Monitor(monitor) => monitor.role.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The same, to be changed.
    pub(super) fn roles_mut(&mut self) -> Vec<&mut Located<String>> {
        match self {
            Self::Session(session) => session.role.iter_mut().collect(),
            Self::Workers(workers) => {
                workers.pool.iter_mut().filter_map(|entry| entry.role.as_mut()).collect()
            }
            Self::Monitor(monitor) => monitor.role.iter_mut().collect(),
            _ => Vec::new(),
        }
    }

    /// The prompts it names, with their places.
    pub(super) fn prompts(&self) -> Vec<&Located<String>> {
        match self {
            Self::Session(session) => session.prompts.iter().collect(),
            Self::Workers(workers) => workers.prompt.iter().collect(),
            Self::Monitor(monitor) => monitor.prompt.iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl<T> Located<T> {
    pub(super) fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

/// The top of a file.
pub(super) fn top(source: crate::source::SourceId) -> Place {
    Place::value(source, Route::root())
}
