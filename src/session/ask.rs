//! How a session asks its model: each attempt an effect, failures tried again as the provider's policy says.

use std::borrow::Cow;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::budget::{Amount, Terms, Wish};
use super::{Offer, PromptEnd, Session};
use crate::chat::{Message, Part, Reply, Request, Speaker, StopReason, ToolSpec, Usage};
use crate::context::ContextFull;
use crate::effects::Busy;
use crate::effects::{Announce, Asked, Halt, Ran};
use crate::event::{EffectId, EffectKind, Footprint, Happening, Policy, Segment, SessionEnd};
use crate::fault::FaultKind;
use crate::id::{PhaseId, canonical_json};
use crate::limit;
use crate::provider::{self, Attempt, CallError, ErrorClass, Line, Provider};

/// What a model call came to.
enum CallResult {
    Reply(Reply),
    Error(CallError),
}

/// A model call as it stands in a recording: a reply or an error.
#[derive(Serialize, Deserialize)]
struct Recorded {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<Reply>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<CallError>,
    /// The model that was asked, if it was not the session's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

impl Recorded {
    fn of(result: CallResult, fallback: Option<String>) -> Self {
        let (reply, error) = match result {
            CallResult::Reply(reply) => (Some(reply), None),
            CallResult::Error(error) => (None, Some(error)),
        };
        Self { reply, error, fallback }
    }

    fn result(self) -> Option<CallResult> {
        match (self.reply, self.error) {
            (Some(reply), None) => Some(CallResult::Reply(reply)),
            (None, Some(error)) => Some(CallResult::Error(error)),
            _ => None,
        }
    }
}

/// What a recorded model call used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// Model calls answered.
    pub turns: u64,
    /// Tokens.
    pub usage: Usage,
    /// The model that was asked, if it was not the session's own.
    pub fallback: Option<String>,
}

impl CallResult {
    /// Model calls answered, and tokens used.
    fn used(&self) -> (u64, Usage) {
        match self {
            Self::Reply(reply) => (1, reply.usage),
            Self::Error(error) => (0, error.used),
        }
    }
}

/// What a recorded model call used.
pub fn used_by(result: &serde_json::Value) -> Used {
    let Ok(recorded) = serde_json::from_value::<Recorded>(result.clone()) else { return Used::default() };
    let fallback = recorded.fallback.clone();
    let (turns, usage) = recorded.result().map(|result| result.used()).unwrap_or_default();
    Used { turns, usage, fallback }
}

/// The part of a key that says which model is asked, and how.
pub(super) fn model_segment(provider: &dyn Provider) -> Segment {
    let model = serde_json::json!({
        "provider": provider.module(),
        "model": provider.model(),
        "params": provider.params(),
    });
    Segment::new("model", canonical_json(&model))
}

/// The parts of a key that follow it in every call of a session.
pub(super) fn head(system: &str, tools: &[ToolSpec]) -> Vec<Segment> {
    vec![Segment::new("system", system), tools_segment(tools)]
}

fn tools_segment(tools: &[ToolSpec]) -> Segment {
    let specs = serde_json::to_value(tools).expect("a spec holds only plain data");
    Segment::new("tools", canonical_json(&specs))
}

/// The part of a key for one message: a prompt's is its text, so that a changed prompt shows as changed lines.
pub(super) fn segment(at: usize, message: &Message) -> Segment {
    let json = || canonical_json(&serde_json::to_value(&message.parts).expect("parts hold only plain data"));
    match (message.speaker, message.parts.as_slice()) {
        (Speaker::User, [Part::Text { text, extra }]) if extra.is_empty() => {
            Segment::new(format!("prompt.{at}"), text.as_str())
        }
        (Speaker::User, _) => Segment::new(format!("results.{at}"), json()),
        (Speaker::Assistant, _) => Segment::new(format!("reply.{at}"), json()),
    }
}

impl Session {
    /// Asks the model once, with as many attempts as it takes. `Err` of the inner result ends the prompt.
    pub(super) async fn ask(&mut self, busy: &Busy, offer: Offer) -> Result<Result<Reply, PromptEnd>, Halt> {
        if let Err(full) = self.make_room() {
            return Ok(Err(failed(full.to_string(), None)));
        }
        self.turn += 1;
        self.tell(Happening::TurnStarted { turn: self.turn });
        let tools = match offer {
            Offer::Tools => Cow::from(self.kit.specs()),
            Offer::WrapUp => Cow::default(),
            Offer::HandBack => Cow::from(self.hand_back_specs()),
        };
        // Borrowed: a conversation is long, and it is asked with in every turn.
        let (system, messages) = (Cow::from(self.system.as_str()), Cow::from(self.context.view()));
        let mut request = Request { system, messages, tools, max_tokens: None };
        let Some(mut wish) = self.reserve(busy, 1, &mut request, offer).await? else {
            return Ok(Err(used_up()));
        };
        let asked = self.ask_until_answered(busy, &mut request, offer, &mut wish).await;
        self.settle(busy, wish.call, Amount::default());
        asked
    }

    /// Shows the model less of a conversation that has grown too large; what a key says follows what is shown.
    fn make_room(&mut self) -> Result<(), ContextFull> {
        let Some(done) = self.context.make_room()? else { return Ok(()) };
        let view = self.context.view();
        self.said = view.iter().enumerate().map(|(at, message)| segment(at, message)).collect();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.tell(Happening::ContextCompacted {
            before_tokens: done.before_tokens,
            after_tokens: done.after_tokens,
            before_messages: count(done.before_messages),
            after_messages: count(done.after_messages),
            messages_truncated: count(done.messages_truncated),
            user_messages_stubbed: count(done.user_messages_stubbed),
            strategy_level: done.level,
            budget: done.budget,
        });
        Ok(())
    }

    fn hand_back_specs(&self) -> Vec<ToolSpec> {
        let specs = self.kit.specs().iter();
        specs.filter(|spec| spec.name == crate::tool::issue::NAME).cloned().collect()
    }

    /// What a call needs at most: a byte of the request is at most a token, and the reply has a limit of its own.
    fn terms(&self, request: &Request<'_>, offer: Offer) -> Terms {
        let asked = serde_json::to_string(&request.messages).map_or(0, |text| text.len());
        let head = self.head.iter().chain([self.models.segment()]);
        let head: usize = head.map(|segment| segment.text.len()).sum();
        let (most, least) = self.models.output();
        Terms {
            input: (asked + head) as u64,
            most,
            least,
            holds: offer != Offer::HandBack && !self.holds.current().is_empty(),
            kept: *self.kept(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Amount> {
        self.kept.lock().expect("nothing panics while it holds this")
    }

    /// Asks whether the call can be afforded, for the `times`-th time in this turn, and with how long a reply; in a replay
    /// the recording says. `None` if it cannot.
    async fn reserve(
        &self,
        busy: &Busy,
        times: u32,
        request: &mut Request<'_>,
        offer: Offer,
    ) -> Result<Option<Wish>, Halt> {
        if self.purse.is_unlimited() {
            return Ok(Some(Wish::default()));
        }
        let (stage, purse, terms) = (&self.stage, &self.purse, self.terms(request, offer));
        let (phase, session) = self.identity.path.split_once('/').expect("a session's path holds its phase");
        let id = EffectId::engine(&PhaseId::from(phase), &format!("budget.{session}"), self.turn);
        let id = id.attempt(times);
        let asked = Asked::engine(id.clone(), EffectKind::Budget, Policy::Tape);
        let asks_anew = AtomicBool::new(false);
        let ask = |_| async {
            asks_anew.store(true, Ordering::Relaxed);
            let result = match stage.budget.reserve(purse, &terms, busy).await {
                Some(output) if output < terms.most => serde_json::json!({ "trimmed": output }),
                Some(_) => serde_json::Value::from("granted"),
                None => serde_json::Value::from("refused"),
            };
            Some(Ran::plain(result))
        };
        let result = stage.effects.perform(busy, asked, ask).await?;
        let trimmed = match (result.as_str(), result.get("trimmed").and_then(serde_json::Value::as_u64)) {
            (Some("refused"), _) => return Ok(None),
            (Some("granted"), _) => None,
            (_, Some(output)) => Some(output),
            _ => return Err(Halt::Unreadable(id, result.to_string())),
        };
        if let Some(max_tokens) = trimmed {
            self.tell(Happening::CallTrimmed { turn: self.turn, max_tokens });
        }
        request.max_tokens = trimmed;
        let wish = terms.wish(purse, trimmed.unwrap_or(terms.most));
        if !stage.effects.is_replay() {
            if !asks_anew.load(Ordering::Relaxed) {
                stage.budget.set_aside(purse, wish);
            }
            *self.kept() = wish.keep;
        }
        Ok(Some(wish))
    }

    /// Replaces what is set aside for a call by what it used. In a replay nothing is set aside.
    fn settle(&self, busy: &Busy, worst: Amount, used: Amount) {
        if !self.purse.is_unlimited() && !self.stage.effects.is_replay() {
            self.stage.budget.settle(&self.purse, worst, used, busy);
        }
    }

    async fn ask_until_answered(
        &self,
        busy: &Busy,
        request: &mut Request<'_>,
        offer: Offer,
        wish: &mut Wish,
    ) -> Result<Result<Reply, PromptEnd>, Halt> {
        // Of the call, and with the model that is asked.
        let (mut attempt, mut tries) = (1, 1);
        // How often the budget was asked.
        let mut asked_for = 1;
        // Attempts that went wrong on purpose are no effects: a recording has none of them, and a replay bears them.
        let mut struck = 0;
        loop {
            // Falling back for that alone is an effect all the same, and a replay does it before its first attempt.
            while let Some(reason) = self.falls_back(busy, attempt - 1 - struck, None).await? {
                self.fall_back(reason);
            }
            let asked = match self.stage.faults.strike(&self.turn_id().attempt(attempt)) {
                Some(fault) => {
                    struck += 1;
                    CallResult::Error(self.suffer(request, fault).await)
                }
                None => self.attempt(busy, request, (attempt - struck, offer), wish).await?,
            };
            let delay = self.delay(&asked, attempt, tries);
            let wants = self.wants_another(&asked, delay);
            let other = self.falls_back(busy, attempt - struck, wants).await?;
            let look = 2 * (attempt - struck);
            let used = match (asked, &other, delay) {
                (CallResult::Reply(reply), None, _) => return Ok(Ok(self.told(reply))),
                (CallResult::Reply(reply), Some(_), _) => reply.usage,
                (CallResult::Error(error), None, None) => {
                    self.waste(error.used);
                    return Ok(Err(give_up(&error, attempt)));
                }
                (CallResult::Error(error), None, Some(delay)) => {
                    self.waste(error.used);
                    if !self.try_again(busy, (attempt, look), &error, delay).await? {
                        return Ok(Err(cancelled()));
                    }
                    error.used
                }
                (CallResult::Error(error), Some(_), _) => error.used,
            };
            tries += 1;
            if let Some(reason) = other {
                self.waste(used);
                self.fall_back(reason);
                tries = 1;
                if self.is_stopped(busy, self.turn, look).await? {
                    return Ok(Err(cancelled()));
                }
            }
            if !used.is_none() {
                // What it used is gone, so the next attempt needs all of it anew.
                asked_for += 1;
                *wish = match self.reserve(busy, asked_for, request, offer).await? {
                    Some(wish) => wish,
                    None => return Ok(Err(used_up())),
                };
            }
            attempt += 1;
        }
    }

    /// How long to wait before the same is asked again, if that may help.
    fn delay(&self, asked: &CallResult, attempt: u32, tries: u32) -> Option<Duration> {
        let CallResult::Error(error) = asked else { return None };
        self.models.provider().retry().delay(tries, error, self.jitter(attempt))
    }

    /// Why another model is to be asked, if it is.
    fn wants_another(&self, asked: &CallResult, delay: Option<Duration>) -> Option<String> {
        match asked {
            CallResult::Reply(reply) => (reply.stop == StopReason::Refusal && self.models.replace_refusals())
                .then(|| "it refused to answer".to_owned()),
            CallResult::Error(error) => {
                (delay.is_none() && provider::is_unavailable(error)).then(|| error.message.clone())
            }
        }
    }

    /// Whether the next model is asked from here on, after so many attempts of this turn that are effects, and why. It is
    /// an effect, since not all that leads to it is recorded: a replay falls back where the recording did.
    async fn falls_back(
        &self,
        busy: &Busy,
        attempts: u32,
        wants: Option<String>,
    ) -> Result<Option<String>, Halt> {
        let Some(next) = self.models.next() else { return Ok(None) };
        let effects = &self.stage.effects;
        let (phase, session) = self.identity.path.split_once('/').expect("a session's path holds its phase");
        let id = EffectId::engine(&PhaseId::from(phase), &format!("fallback-{next}.{session}"), self.turn);
        let id = id.attempt(attempts + 1);
        if !effects.is_known(&id) && (wants.is_none() || effects.is_replay()) {
            return Ok(None);
        }
        let asked = Asked::engine(id, EffectKind::Wake, Policy::Tape);
        let reason = effects.perform(busy, asked, |_| async { Some(Ran::plain(wants.into())) }).await?;
        Ok(Some(reason.as_str().unwrap_or_default().to_owned()))
    }

    /// Asks the next model from here to the end of the prompt.
    fn fall_back(&self, reason: String) {
        let from = self.models.provider().model().to_owned();
        self.models.fall_back();
        let to = self.models.provider().model().to_owned();
        self.tell(Happening::Fallback { turn: self.turn, from, to, reason });
    }

    /// Waits for another attempt; false if the session is to end instead.
    async fn try_again(
        &self,
        busy: &Busy,
        (attempt, look): (u32, u32),
        error: &CallError,
        delay: Duration,
    ) -> Result<bool, Halt> {
        if self.is_stopped(busy, self.turn, look).await? {
            return Ok(false);
        }
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.tell(Happening::Retry { attempt, reason: error.message.clone(), delay_ms });
        self.wait(busy, &self.turn_id().attempt(attempt), delay).await;
        Ok(!self.is_stopped(busy, self.turn, look + 1).await?)
    }

    fn told(&self, reply: Reply) -> Reply {
        self.tell(Happening::TurnEnded {
            turn: self.turn,
            usage: reply.usage,
            cost: self.purse.cost(self.models.at(), reply.usage),
            text: reply.text(),
            calls: reply.calls().into_iter().map(|call| call.name).collect(),
        });
        reply
    }

    /// Tells of tokens that were used for nothing.
    fn waste(&self, used: Usage) {
        if !used.is_none() {
            let cost = self.purse.cost(self.models.at(), used);
            self.tell(Happening::CallWasted { turn: self.turn, usage: used, cost });
        }
    }

    async fn attempt(
        &self,
        busy: &Busy,
        request: &Request<'_>,
        (attempt, offer): (u32, Offer),
        wish: &mut Wish,
    ) -> Result<CallResult, Halt> {
        let mut key = vec![self.models.segment().clone()];
        key.extend_from_slice(&self.head);
        if offer != Offer::Tools {
            key.pop();
        }
        if offer == Offer::HandBack {
            key.push(tools_segment(&request.tools));
        }
        key.extend_from_slice(&self.said);
        let asked = Asked {
            id: self.turn_id().attempt(attempt),
            kind: EffectKind::Llm,
            key,
            footprint: Footprint::none(),
            policy: Policy::Tape,
            announce: Announce::No,
        };
        let name = asked.id.clone();
        let calls_anew = AtomicBool::new(false);
        let result = self
            .stage
            .effects
            .perform(busy, asked, |_| async {
                calls_anew.store(true, Ordering::Relaxed);
                let result = match self.call(busy, &name, request).await {
                    Ok(reply) => CallResult::Reply(reply),
                    Err(error) if error.class == ErrorClass::Cancelled => return None,
                    Err(error) => CallResult::Error(error),
                };
                let fallback = (self.models.at() > 0).then(|| self.models.provider().model().to_owned());
                let recorded = Recorded::of(result, fallback);
                Some(Ran::plain(serde_json::to_value(recorded).expect("a reply holds only plain data")))
            })
            .await?;
        let recorded: Recorded = serde_json::from_value(result)
            .map_err(|error| Halt::Unreadable(self.turn_id(), error.to_string()))?;
        let neither = || Halt::Unreadable(self.turn_id(), "it is neither a reply nor an error".to_owned());
        let result = recorded.result().ok_or_else(neither)?;
        let (turns, used) = result.used();
        if turns > 0 || !used.is_none() {
            // What was used before the run went on is counted already.
            let is_new = calls_anew.load(Ordering::Relaxed);
            let used =
                if is_new { self.purse.amount(self.models.at(), turns, used) } else { Amount::default() };
            self.settle(busy, std::mem::take(&mut wish.call), used);
        }
        Ok(result)
    }

    /// What comes of an attempt that goes wrong on purpose.
    async fn suffer(&self, request: &Request<'_>, fault: FaultKind) -> CallError {
        let attempt = Attempt {
            provider: self.models.provider(),
            line: &Line::Fault(fault),
            request,
            occasion: &self.occasion(),
            cancel: &self.stop.hard,
            on_delta: &mut |_| {},
        };
        match provider::call(attempt).await {
            // Nobody was asked, so nothing was used.
            Err(error) => CallError { used: Usage::default(), ..error },
            Ok(_) => unreachable!("a fault brings no reply"),
        }
    }

    async fn call(&self, busy: &Busy, name: &EffectId, request: &Request<'_>) -> Result<Reply, CallError> {
        let mut pass_on = |delta: &crate::chat::Delta| {
            if self.policy.deltas == super::Deltas::PassedOn {
                self.stage.hub.pass_on(&self.identity.place, delta);
            }
        };
        let answered = provider::call(Attempt {
            provider: self.models.provider(),
            line: &self.line,
            request,
            occasion: &self.occasion(),
            cancel: &self.stop.hard,
            on_delta: &mut pass_on,
        })
        .await?;
        tokio::select! {
            () = self.stage.effects.pause(busy, name, answered.latency) => Ok(answered.reply),
            () = self.stop.hard.cancelled() => Err(CallError::new(ErrorClass::Cancelled, "the run was stopped")),
        }
    }

    /// Waits before the next attempt, unless the run is stopped meanwhile.
    async fn wait(&self, busy: &Busy, name: &EffectId, delay: Duration) {
        tokio::select! {
            () = self.stage.effects.pause(busy, name, delay) => {}
            () = self.stop.soft.cancelled() => {}
        }
    }

    /// A number from 0 to 1 that follows from the effect, so that sessions spread out and a schedule repeats.
    fn jitter(&self, attempt: u32) -> f64 {
        let id: EffectId = self.turn_id().attempt(attempt);
        let digest = Sha256::digest(id.as_str());
        f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
    }
}

fn give_up(error: &CallError, attempts: u32) -> PromptEnd {
    let tries = match attempts {
        1 => String::new(),
        _ => format!(" (tried {attempts} times)"),
    };
    if let Some(wait) = provider::asks_too_long(error) {
        let most = limit::RETRY_AFTER;
        let text = format!(
            "{}{tries}; it asks to wait {wait:?} before the next attempt, and the runner waits {most:?} at most: resume the run then",
            error.message
        );
        return failed(text, Some(error.class));
    }
    let remedy = match error.class {
        ErrorClass::Transport => "; check the network, or `base_url` in the mount plan",
        ErrorClass::RateLimit | ErrorClass::Overloaded | ErrorClass::Server => {
            "; try later, or allow more attempts with `max_retries` in the mount plan"
        }
        // The others name theirs.
        _ => "",
    };
    failed(format!("{}{tries}{remedy}", error.message), Some(error.class))
}

/// The run is being stopped: no other attempt is made, and that the last one failed is not why the prompt ends.
pub(super) fn cancelled() -> PromptEnd {
    PromptEnd { end: SessionEnd::Cancelled, text: String::new(), error: None }
}

fn used_up() -> PromptEnd {
    PromptEnd { end: SessionEnd::Budget, text: String::new(), error: None }
}

pub(super) fn failed(reason: String, error: Option<ErrorClass>) -> PromptEnd {
    PromptEnd { end: SessionEnd::Failed { reason }, text: String::new(), error }
}
