//! The issue tool: the queue as a model uses it, bound to one session that claims, works and gives back.

mod holds;
mod parse;
mod schema;
pub mod shape;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

pub use self::holds::HoldLog;
pub use self::schema::{Audience, Impact, NAME, OperationTool, operation_tools};
use self::shape::Rows;
use super::{CallContext, Tool, ToolOutput};
use crate::chat::ToolSpec;
use crate::event::{Access, EffectId, Footprint, Policy};
use crate::id::{IssueId, RunId, canonical_json};
use crate::issue::Takes;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};
use crate::store::{Answer, Applied, Caller, IssueStore, Operation, Refused, StoreError, WhichEffects};

/// The module of mount plans.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-issue",
    aliases: &[],
    kind: ModuleKind::Tool,
    summary: "the issue queue of the run",
    keys: &[
        KeyInfo {
            name: "data_dir",
            shape: KeyShape::Text,
            default: "",
            doc: "accepted and not used: all sessions of a run share the queue that the scenario names",
        },
        KeyInfo {
            name: "auto_create_dir",
            shape: KeyShape::Flag,
            default: "true",
            doc: "accepted and not used: the folder of the queue is made when it is absent",
        },
        KeyInfo {
            name: "actor",
            shape: KeyShape::Text,
            default: "",
            doc: "accepted and not used: the actor is the session's name, so that holders can be told apart",
        },
    ],
    tools: &[NAME],
    credential: None,
};

/// What a session's issue tool is made of.
pub struct IssueToolSetup {
    /// The queue.
    pub store: Arc<dyn IssueStore>,
    /// The run; `None` outside any.
    pub run: Option<RunId>,
    /// Who holds what is claimed: the session's path in the run.
    pub holder: String,
    /// The name shown: the session's.
    pub actor: String,
    /// Which issues it claims.
    pub takes: Takes,
    /// How long a claim lasts without renewal.
    pub lease: Duration,
    /// Claims without a result after which an issue is blocked.
    pub max_attempts: u32,
    /// The session's holds; the engine keeps a handle to it.
    pub holds: HoldLog,
    /// Whether it is a session's, or that of a program outside any run.
    pub audience: Audience,
}

/// The issue tool of one session.
pub struct IssueTool {
    setup: IssueToolSetup,
}

impl IssueTool {
    /// A tool for the session.
    pub fn new(setup: IssueToolSetup) -> Self {
        Self { setup }
    }

    /// What the session holds now.
    pub fn holds(&self) -> Vec<IssueId> {
        self.setup.holds.current()
    }

    /// The name under which it acts.
    pub fn actor(&self) -> &str {
        &self.setup.actor
    }

    /// The session's holds, to be asked later and to register claims the engine makes for it.
    pub fn hold_log(&self) -> HoldLog {
        self.setup.holds.clone()
    }

    fn caller(&self, call: CallContext) -> Caller {
        let setup = &self.setup;
        Caller {
            run: setup.run.clone(),
            effect: Some(call.effect),
            actor: setup.actor.clone(),
            holder: setup.holder.clone(),
            epochs: setup.holds.epochs(),
            at: call.at,
            ids: call.ids,
            sequence: call.sequence,
        }
    }

    fn answer(&self, call: &parse::Call, applied: &Applied) -> ToolOutput {
        self.setup.holds.apply(&applied.holds);
        let mut value = shape::answer(&applied.answer, call.list, Rows::Short);
        if applied.answer == Answer::Nothing {
            value["message"] = nothing_to_claim(&self.setup.takes).into();
        }
        ToolOutput {
            footprint: Some(applied.footprint.clone()),
            seq: applied.seq,
            at: Some(applied.at),
            ..ToolOutput::ok(canonical_json(&value))
        }
    }

    fn refusal(&self, refused: Refused) -> ToolOutput {
        if let StoreError::Stale { id, .. } = &refused.error {
            self.setup.holds.ended(id);
        }
        ToolOutput {
            footprint: Some(refused.footprint),
            seq: refused.seq,
            at: None,
            ..ToolOutput::error(format!("Operation failed: {}{}", refused.error, next_step(&refused.error)))
        }
    }
}

/// What to call next, where the queue's own words, which people read too, do not say it.
fn next_step(error: &StoreError) -> &'static str {
    match error {
        StoreError::NotFound { .. } => "; `list` shows the issues there are, with their ids",
        StoreError::Cycle { .. } => "; leave this edge out, or `remove_dependency` one of those first",
        StoreError::Unusable { .. } => "; this cannot be mended from here: say so and stop",
        StoreError::Invalid { .. }
        | StoreError::Held { .. }
        | StoreError::Stale { .. }
        | StoreError::WrongState { .. } => "",
    }
}

fn nothing_to_claim(takes: &Takes) -> String {
    let wanted: Vec<_> = takes
        .0
        .iter()
        .map(|(key, values)| {
            format!("{key} {}", values.iter().map(Value::to_string).collect::<Vec<_>>().join(" or "))
        })
        .collect();
    let which = if wanted.is_empty() { String::new() } else { format!(" with {}", wanted.join(" and ")) };
    format!("no issue{which} is ready now; if you hold none either, say that there is nothing to do and stop")
}

#[async_trait]
impl Tool for IssueTool {
    fn spec(&self) -> ToolSpec {
        schema::spec()
    }

    fn policy(&self) -> Policy {
        Policy::Real
    }

    /// The store bounds its waiting itself, and an operation that was begun is applied whoever waits for it.
    fn timeout(&self, _input: &Map<String, Value>) -> Option<Duration> {
        None
    }

    fn footprint(&self, _input: &Map<String, Value>) -> Footprint {
        Footprint::none().with(Access::Read, "issue:*").with(Access::Write, "issue:*")
    }

    async fn run(&self, input: Map<String, Value>, call: CallContext) -> ToolOutput {
        let understood = match parse::call(&input, &self.setup) {
            Ok(understood) => understood,
            Err(why) => {
                return ToolOutput { footprint: Some(Footprint::none()), ..ToolOutput::error(why) };
            }
        };
        match self.setup.store.apply(self.caller(call), understood.operation.clone()).await {
            Ok(applied) => self.answer(&understood, &applied),
            Err(refused) => self.refusal(refused),
        }
    }

    /// What the session holds follows from its calls, and the queue knows what each did. Only a call that was refused
    /// because the hold was another's by then is known to nobody but its answer; the next such call says so again.
    async fn recall(
        &self,
        _input: &Map<String, Value>,
        effect: &EffectId,
        _output: &ToolOutput,
    ) -> Result<(), String> {
        let setup = &self.setup;
        let Some(run) = &setup.run else { return Ok(()) };
        let caller = Caller::asking(run, effect, &setup.holder);
        let asked = setup.store.apply(caller, Operation::Applied { which: WhichEffects::Own }).await;
        match asked.map_err(|refused| refused.error.to_string())?.answer {
            Answer::Applied(effects) => {
                effects.values().for_each(|standing| setup.holds.apply(&standing.holds));
            }
            _ => unreachable!("it answers which effects were applied"),
        }
        Ok(())
    }
}
