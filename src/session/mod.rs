//! What a session is: one conversation of one role with one model, made of the modules its mount plan names.

mod ask;
mod budget;
mod call;
mod command;
mod delegate;
mod files;
mod folder;
mod hooks;
mod kit;
mod models;
mod modules;
mod people;
mod registry;
mod remember;
mod results;
mod turn;
mod validate;
mod voice;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

pub use ask::{Used, used_by};
pub use budget::{Amount, Budget, Purse};
pub use command::{CommandAsked, CommandEnd, run_command};
pub use delegate::Delegates;
pub use files::{Commands, FileOrder};
pub use folder::{FolderAsked, open_folder};
pub use hooks::visible;
use kit::Kit;
use models::Models;
pub use modules::{Cast, CastError, Casting, Lines, Modules, Offstage};
pub use people::{About, Given, Nobody, People, Question};
pub use registry::{CredentialFound, CredentialUse, RegisterError, Registry, ToolParts};
pub use turn::{CallOrder, Deltas, HAND_BACK, LoopPolicy, Offer, Step, Turn, WRAP_UP};
pub use validate::Validators;
pub use voice::{CallSize, MostCalls, StandInCost, Voice};

use crate::chat::{Message, Part, Reply};
use crate::context::ContextManager;
use crate::effects::{Asked, Busy, Effects, Halt, Ran};
use crate::event::{EffectId, EffectKind, Happening, Hub, Policy, Segment, SessionEnd, Whereabouts};
use crate::fault::Faults;
use crate::hook::Hooks;
use crate::provider::{ErrorClass, Line, Occasion};
use crate::tool::HoldLog;
use crate::tool::workspace::Workspace;

/// What all sessions of a run share.
pub struct Stage {
    /// The gate.
    pub effects: Effects,
    /// Who listens.
    pub hub: Hub,
    /// Compiled schemas of tools.
    pub validators: Validators,
    /// What a replay does with tools, in place of their own policy, by tool name.
    pub policies: BTreeMap<String, Policy>,
    /// The workspace.
    pub workspace: PathBuf,
    /// What the run may spend, and what its models cost.
    pub budget: Budget,
    /// What goes wrong on purpose.
    pub faults: Arc<Faults>,
    /// Whose turn it is to touch files.
    pub files: FileOrder,
    /// Who answers questions.
    pub people: Arc<dyn People>,
    /// When to stop.
    pub stop: Stop,
}

/// The two steps of stopping.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// After the current turn.
    pub soft: CancellationToken,
    /// Now.
    pub hard: CancellationToken,
}

impl Stop {
    /// A stop of its own that this one implies.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { soft: self.soft.child_token(), hard: self.hard.child_token() }
    }
}

/// Where and as whom a session speaks.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `PHASE/SESSION`, or `PHASE/SESSION:N`.
    pub path: String,
    /// For whoever listens.
    pub place: Whereabouts,
}

/// One conversation. Prompts are given one at a time: `prompt` takes it for itself.
pub struct Session {
    stage: Arc<Stage>,
    identity: Identity,
    models: Models,
    line: Line,
    kit: Kit,
    policy: LoopPolicy,
    context: Box<dyn ContextManager>,
    system: String,
    stop: Stop,
    turn: u32,
    iteration: Option<u32>,
    /// What its calls are paid from.
    purse: Purse,
    /// What is set aside for handing back.
    kept: Mutex<Amount>,
    /// What it holds.
    holds: HoldLog,
    /// Where it works.
    workspace: Arc<Workspace>,
    /// Who hears of what it does, and may decide.
    hooks: Hooks,
    /// What its sub-agents are made from, if it may have some.
    delegates: Option<Delegates>,
    /// Prompts that hooks were asked about.
    prompts: u32,
    /// The parts of a key that stay: system, tools; the model stands before them.
    head: Vec<Segment>,
    /// The parts of a key for the messages that the model is shown.
    said: Vec<Segment>,
    /// What earlier runs said is in the conversation.
    has_remembered: bool,
}

/// How a prompt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptEnd {
    /// How.
    pub end: SessionEnd,
    /// The model's last words.
    pub text: String,
    /// What sort of failure of a call, if that is how.
    pub error: Option<ErrorClass>,
}

impl Session {
    /// A session that has not spoken yet.
    pub fn new(stage: Arc<Stage>, identity: Identity, cast: Cast, stop: Stop) -> Self {
        let system = stage.effects.scrubber().scrub(&cast.system);
        let kit = Kit::new(cast.tools);
        let head = ask::head(&system, kit.specs());
        let models = Models::new(cast.provider, cast.stand_ins);
        let (phase, role) = (identity.place.phase.as_ref(), identity.place.role.as_ref());
        let purse = match (phase, role) {
            (Some(phase), Some(role)) => stage.budget.purse(phase, role, &models.names()),
            _ => Purse::default(),
        };
        Self {
            purse,
            kept: Mutex::default(),
            holds: HoldLog::default(),
            hooks: cast.hooks,
            workspace: cast.workspace,
            delegates: None,
            prompts: 0,
            stage,
            identity,
            models,
            line: cast.line,
            kit,
            policy: cast.policy,
            context: cast.context,
            system,
            stop,
            turn: 0,
            iteration: None,
            head,
            said: Vec::new(),
            has_remembered: false,
        }
    }

    /// The same, which knows what it holds: it is asked to hand that back when its budget is used up.
    #[must_use]
    pub fn holding(mut self, holds: HoldLog) -> Self {
        self.holds = holds;
        self
    }

    /// The session's path within the run.
    pub fn path(&self) -> &str {
        &self.identity.path
    }

    /// The model it asks as long as that can be had.
    pub fn model(&self) -> &str {
        self.models.own()
    }

    /// Says which iteration of a worker the next prompts belong to.
    pub fn set_iteration(&mut self, iteration: u32) {
        self.iteration = Some(iteration);
    }

    /// Tells whoever listens.
    pub fn tell(&self, event: Happening) {
        self.stage.hub.tell(self.stage.effects.now(), &self.identity.place, event);
    }

    /// Gives the model a prompt and carries out what it asks for until it has answered.
    ///
    /// # Errors
    /// Nothing goes on: the replay has diverged, the run cannot be recorded, or it was stopped at once.
    pub async fn prompt(&mut self, busy: &Busy, text: &str) -> Result<PromptEnd, Halt> {
        if let Some(end) = self.remember(busy).await? {
            return Ok(end);
        }
        let end = self.converse(busy, text).await;
        self.keep_for_later().await;
        end
    }

    async fn converse(&mut self, busy: &Busy, text: &str) -> Result<PromptEnd, Halt> {
        let text = self.stage.effects.scrubber().scrub(text);
        let text = match self.review_prompt(busy, text).await? {
            Ok(text) => text,
            Err(reason) => {
                let end = SessionEnd::Failed { reason };
                return Ok(PromptEnd { end, text: String::new(), error: None });
            }
        };
        self.models.begin();
        self.tell(Happening::PromptSent { text: text.clone() });
        self.push(Message::user(text));
        let mut turn = Turn::new(self.policy);
        let mut step = turn.begin();
        loop {
            step = match step {
                Step::Ask(offer) => {
                    if self.is_stopped(busy, self.turn + 1, 1).await? {
                        return Ok(ask::cancelled());
                    }
                    if offer == Offer::WrapUp {
                        self.push(Message::user(WRAP_UP));
                    }
                    match self.ask(busy, offer).await? {
                        Ok(reply) => {
                            self.keep(&reply, offer);
                            turn.replied(&reply)
                        }
                        Err(end) if end.end == SessionEnd::Budget => return self.hand_back(busy, end).await,
                        Err(end) => return Ok(end),
                    }
                }
                Step::Call(calls) => {
                    let results = self.answer(busy, calls).await?;
                    self.push(Message::results(results));
                    turn.answered()
                }
                Step::Decline(calls, why) => {
                    let declined = calls.iter().map(|call| self.refuse(call, why.to_owned())).collect();
                    self.push(Message::results(declined));
                    turn.answered()
                }
                Step::Done(end, text) => return Ok(PromptEnd { end, text, error: None }),
            };
        }
    }

    /// Lets the model say what becomes of the issues it holds, in one last reply, if it holds any and that can be afforded.
    async fn hand_back(&mut self, busy: &Busy, end: PromptEnd) -> Result<PromptEnd, Halt> {
        let held: Vec<String> = self.holds.current().iter().map(ToString::to_string).collect();
        if held.is_empty() {
            return Ok(end);
        }
        let text = format!("{HAND_BACK} {}.", held.join(", "));
        self.tell(Happening::PromptSent { text: text.clone() });
        self.push(Message::user(text));
        // What still cannot be said is said by the queue: the issues are given back either way.
        let Ok(reply) = self.ask(busy, Offer::HandBack).await? else { return Ok(end) };
        if reply.stop.allows_tools() {
            let calls = reply.calls();
            let (allowed, others): (Vec<_>, Vec<_>) =
                calls.into_iter().partition(|call| call.name == crate::tool::issue::NAME);
            for call in others {
                self.refuse(&call, "Only the issue tool may be called any more.".to_owned());
            }
            self.answer(busy, allowed).await?;
        }
        Ok(PromptEnd { text: reply.text(), ..end })
    }

    /// Whether the session is to end here: before a call, or between two attempts at it; `look` counts the places of one
    /// turn. Where a stop meets a session is chance, so it is an effect: a replay stops where the recording did.
    async fn is_stopped(&self, busy: &Busy, turn: u32, look: u32) -> Result<bool, Halt> {
        let effects = &self.stage.effects;
        let place = &self.identity.place;
        let phase = place.phase.as_ref().expect("a session is in a phase");
        let path = &self.identity.path;
        let name = path.strip_prefix(phase.as_str()).unwrap_or(path).trim_start_matches('/');
        let id = EffectId::engine(phase, &format!("stopped.{name}"), turn).attempt(look);
        let stops = if effects.is_replay() {
            effects.is_recorded(&id)
        } else {
            // What was done before the run went on is played to its end.
            self.stop.soft.is_cancelled() && !effects.is_past()
        };
        if stops {
            let asked = Asked::engine(id, EffectKind::Wake, Policy::Tape);
            effects.perform(busy, asked, |_| async { Some(Ran::plain("stopped".into())) }).await?;
        }
        Ok(stops)
    }

    /// Keeps a reply in the conversation: nothing of an empty or refused one, no calls of a wrap-up.
    fn keep(&mut self, reply: &Reply, offer: Offer) {
        let refused = reply.stop == crate::chat::StopReason::Refusal;
        let wanted = |part: &Part| offer != Offer::WrapUp || !matches!(part, Part::ToolUse(_));
        let parts: Vec<Part> = reply.parts.iter().filter(|part| wanted(part)).cloned().collect();
        self.context.learn(reply.usage);
        if !refused && !parts.is_empty() {
            self.push(Message { speaker: crate::chat::Speaker::Assistant, parts });
        }
    }

    fn push(&mut self, message: Message) {
        self.said.push(ask::segment(self.said.len(), &message));
        self.context.push(message);
    }

    fn turn_id(&self) -> EffectId {
        EffectId::turn(&self.identity.path, self.turn)
    }

    fn occasion(&self) -> Occasion {
        let place = &self.identity.place;
        Occasion {
            phase: place.phase.clone().expect("a session is in a phase"),
            session: place.session.clone().expect("a session has a name"),
            role: place.role.clone().expect("a session has a role"),
            turn: self.turn,
            iteration: self.iteration,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let kept = *self.kept.lock().expect("nothing panics while it holds this");
        self.stage.budget.let_go(&self.purse, kept);
    }
}
