//! How a session gives a task to a sub-agent: another conversation, held to its end within one call of the tool `task`.
//!
//! The call itself is no effect. What the sub-agent asks and does are effects of its own, under the path
//! `PHASE/SESSION>AGENT-TURN.CALL`, and its last words follow from them; so a replay and a resumed run hold the conversation
//! again and come to the same words.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::modules::{Casting, Modules};
use super::{Identity, PromptEnd, Session};
use crate::chat::{ToolCall, ToolResult};
use crate::effects::{Busy, Halt};
use crate::event::{Happening, SessionEnd, Whereabouts};
use crate::id::{RunId, SessionName};
use crate::issue::Takes;
use crate::plan::{AgentPlan, QueuePlan, RolePlan};
use crate::store::IssueStore;
use crate::tool::task;

/// What a session makes its sub-agents from.
pub struct Delegates {
    /// What there is.
    pub modules: Arc<Modules>,
    /// The session's role.
    pub role: RolePlan,
    /// The name shown as the one who did things.
    pub actor: String,
    /// Which issues it takes.
    pub takes: Takes,
    /// The run.
    pub run: RunId,
    /// The queue.
    pub store: Arc<dyn IssueStore>,
    /// How the queue is used.
    pub queue: QueuePlan,
}

impl Session {
    /// The same, which may start the agents of its mount plan.
    #[must_use]
    pub fn delegating(mut self, delegates: Delegates) -> Self {
        self.delegates = Some(delegates).filter(|delegates| !delegates.role.mount_plan.agents.is_empty());
        self
    }

    /// Whether a call starts a sub-agent.
    pub(super) fn is_task(&self, call: &ToolCall) -> bool {
        call.name == task::NAME && self.delegates.is_some()
    }

    /// Holds the conversation with a sub-agent. What it claims is held by this session.
    pub(super) fn delegate<'s>(
        &'s self,
        busy: &'s Busy,
        at: usize,
        call: &'s ToolCall,
        input: &'s Map<String, Value>,
    ) -> BoxFuture<'s, Result<ToolResult, Halt>> {
        let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
        let (agent, instruction) = (text("agent"), text("instruction"));
        async move {
            let result = |content: String, is_error| ToolResult { id: call.id.clone(), content, is_error };
            let delegates =
                self.delegates.as_ref().expect("only a session with agents is asked to start one");
            let agents = &delegates.role.mount_plan.agents;
            let Some(agent) = agents.iter().find(|known| known.name == agent) else {
                let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
                return Ok(result(
                    format!("There is no agent {agent}. There are: {}.", names.join(", ")),
                    true,
                ));
            };
            let mut session = match self.sub_agent(delegates, agent, at) {
                Ok(session) => session,
                Err(reason) => return Ok(result(format!("The agent cannot be started: {reason}"), true)),
            };
            session.tell(Happening::SessionStarted { model: session.model().to_owned() });
            let ended = session.prompt(busy, instruction).await?;
            session.tell(Happening::SessionEnded { end: ended.end.clone(), text: ended.text.clone() });
            Ok(match said(ended) {
                Ok(text) => result(text, false),
                Err(why) => result(why, true),
            })
        }
        .boxed()
    }

    fn sub_agent(&self, delegates: &Delegates, agent: &AgentPlan, at: usize) -> Result<Session, String> {
        let config = delegates.role.mount_plan.tools.iter().find(|spec| spec.module == task::INFO.name);
        let limits = match config {
            Some(spec) => task::limits(&spec.config).map_err(|error| error.to_string())?,
            None => return Err("its mount plan has no tool-task".to_owned()),
        };
        let behind = format!(">{}-{}.{}", agent.name, self.turn, at + 1);
        let role = delegates.role.as_agent(agent);
        let casting = Casting {
            role: &role,
            path: format!("{}{behind}", self.identity.path),
            holder: self.identity.path.clone(),
            actor: delegates.actor.clone(),
            takes: delegates.takes.clone(),
            holds: self.holds.clone(),
            system: agent.plan.system.clone().unwrap_or_default(),
            run: delegates.run.clone(),
            store: delegates.store.clone(),
            queue: &delegates.queue,
            workspace: self.workspace.clone(),
        };
        let path = casting.path.clone();
        let cast = delegates.modules.cast(casting).map_err(|error| error.to_string())?;
        let place = &self.identity.place;
        let name = place.session.as_ref().map(ToString::to_string).unwrap_or_default();
        let identity = Identity {
            path,
            place: Whereabouts {
                session: Some(SessionName::new(format!("{name}{behind}"))),
                ..place.clone()
            },
        };
        let mut session = Self::new(self.stage.clone(), identity, cast, self.stop.clone());
        session.purse = self.stage.budget.share(&session.purse, limits);
        session.iteration = self.iteration;
        Ok(session)
    }
}

/// The last words of a sub-agent, or why there are none.
fn said(ended: PromptEnd) -> Result<String, String> {
    let PromptEnd { end, text, .. } = ended;
    match end {
        SessionEnd::Completed | SessionEnd::LimitReached if text.is_empty() => {
            Err("The agent has ended without a word.".to_owned())
        }
        SessionEnd::Completed | SessionEnd::LimitReached => Ok(text),
        SessionEnd::Refused { reason } => Err(format!("The agent's model refused: {reason}")),
        SessionEnd::Empty => Err("The agent's model answered with nothing.".to_owned()),
        SessionEnd::Budget => Err("The agent was ended: what it may spend is used up.".to_owned()),
        SessionEnd::Cancelled => Err("The agent was stopped.".to_owned()),
        SessionEnd::Failed { reason } => Err(format!("The agent failed: {reason}")),
    }
}
