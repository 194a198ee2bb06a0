//! What a scenario file says, as written: every value with its place, nothing resolved yet.

use serde_json::{Map, Value};

use crate::event::Policy;
use crate::fault::FaultKind;
use crate::issue::Takes;
use crate::plan::{ClaimBy, LimitsPlan, OnFailure, ReplayWhen, SessionLife, WhenEmpty};
use crate::price::Price;
use crate::source::{Place, Route};

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A whole file.
#[derive(Debug)]
pub(super) struct RawScenario {
    pub(super) name: Option<Located<String>>,
    pub(super) description: Option<Located<String>>,
    pub(super) workspace: Option<RawWorkspace>,
    pub(super) inputs: Vec<RawInput>,
    pub(super) roles: Vec<RawRole>,
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
}

/// What an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputType {
    Text,
    Number,
    Boolean,
    List,
    Path,
}

impl InputType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "list",
            Self::Path => "path",
        }
    }
}

#[derive(Debug)]
pub(super) struct RawInput {
    pub(super) id: Located<String>,
    pub(super) kind: InputType,
    pub(super) default: Option<Located<Value>>,
    pub(super) required: Option<Located<bool>>,
    pub(super) choices: Vec<Located<Value>>,
}

#[derive(Debug)]
pub(super) struct RawRole {
    pub(super) id: Located<String>,
    pub(super) mount_plan: Option<Located<String>>,
    pub(super) system: Option<Located<String>>,
    pub(super) takes: Option<Located<Takes>>,
    pub(super) model: Option<Located<String>>,
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
    pub(super) limits: RawLimits,
    pub(super) expect: Vec<Located<String>>,
    pub(super) place: Place,
}

impl RawPhase {
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
}

#[derive(Debug)]
pub(super) struct RawSession {
    pub(super) role: Option<Located<String>>,
    pub(super) prompts: Vec<Located<String>>,
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
        }
    }

    /// The prompts it names, with their places.
    pub(super) fn prompts(&self) -> Vec<&Located<String>> {
        match self {
            Self::Session(session) => session.prompts.iter().collect(),
            Self::Workers(workers) => workers.prompt.iter().collect(),
            Self::Monitor(monitor) => monitor.prompt.iter().collect(),
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
