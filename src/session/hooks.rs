//! What the hooks of a session's role are asked, and what comes of it: an effect each time, since a model sees it.

use serde_json::{Map, Value, json};

use super::{About, Given, Question, Session};
use crate::chat::{ToolCall, ToolInput};
use crate::effects::{Asked, Busy, Halt, Ran};
use crate::event::{Decision, EffectId, EffectKind, Happening, Policy, Segment};
use crate::hook::{Approval, Event, Occasion, Outcome};
use crate::id::canonical_json;

/// Who answers when nobody is there.
const NOBODY: &str = "nobody";

/// What hooks make of a tool call before it is run.
pub(super) struct Reviewed {
    /// The call as it is to be run.
    pub(super) call: ToolCall,
    /// Why it is not to be run.
    pub(super) denied: Option<String>,
    /// What the model is told below its result.
    pub(super) told: Outcome,
}

/// What hooks make of a result: its text, and whether it is a failure.
pub(super) struct Shown {
    pub(super) content: String,
    pub(super) is_error: bool,
}

impl Session {
    /// What hooks make of a prompt: its text as it is sent, or why it is not.
    pub(super) async fn review_prompt(
        &mut self,
        busy: &Busy,
        text: String,
    ) -> Result<Result<String, String>, Halt> {
        let data = json!({"prompt": text});
        let Some(occasion) = self.occasion_for(Event::PromptSubmit, data) else { return Ok(Ok(text)) };
        self.prompts += 1;
        let outcome = self.consult(busy, "prompt", self.prompts, occasion).await?;
        if let Some(reason) = outcome.denied {
            return Ok(Err(format!("Denied by hook: {reason}")));
        }
        let changed = outcome.changed.get("prompt").and_then(Value::as_str);
        Ok(Ok(outcome.below(changed.unwrap_or(&text))))
    }

    /// What hooks make of a call that could be run; `at` counts the calls of the message from 0.
    pub(super) async fn review_call(
        &self,
        busy: &Busy,
        at: usize,
        mut call: ToolCall,
    ) -> Result<Reviewed, Halt> {
        let untouched = |call| Reviewed { call, denied: None, told: Outcome::default() };
        let ToolInput::Object(input) = &call.input else { return Ok(untouched(call)) };
        let data = json!({"tool_name": call.name, "tool_call_id": call.id, "tool_input": input});
        let Some(occasion) = self.occasion_for(Event::ToolPre, data) else { return Ok(untouched(call)) };
        let mut outcome = self.consult(busy, &self.call_name(at), 1, occasion).await?;
        let denied = outcome.denied.take().map(|reason| format!("Denied by hook: {reason}"));
        if let Some(Value::Object(input)) = outcome.changed.remove("tool_input") {
            call.input = ToolInput::Object(input);
        }
        Ok(Reviewed { call, denied, told: outcome })
    }

    /// What hooks make of what a call came to.
    pub(super) async fn review_result(
        &self,
        busy: &Busy,
        (at, call): (usize, &ToolCall),
        input: &Map<String, Value>,
        shown: Shown,
    ) -> Result<Shown, Halt> {
        let result = json!({"success": !shown.is_error, "output": shown.content});
        let data = json!({
            "tool_name": call.name, "tool_call_id": call.id, "tool_input": input, "result": result,
        });
        let Some(occasion) = self.occasion_for(Event::ToolPost, data) else { return Ok(shown) };
        let outcome = self.consult(busy, &self.call_name(at), 2, occasion).await?;
        if let Some(reason) = outcome.denied {
            // It has been done; only its result can be kept back.
            return Ok(Shown { content: format!("Denied by hook: {reason}"), is_error: true });
        }
        let changed =
            outcome.changed.get("result").map(|result| match result.get("output").unwrap_or(result) {
                Value::String(text) => text.clone(),
                other => canonical_json(other),
            });
        let content = outcome.below(&changed.unwrap_or(shown.content));
        Ok(Shown { content, ..shown })
    }

    fn call_name(&self, at: usize) -> String {
        format!("{}.{}", self.turn, at + 1)
    }

    /// The occasion, if any hook wants to hear of it.
    fn occasion_for(&self, event: Event, data: Value) -> Option<Occasion> {
        let Value::Object(mut data) = self.stage.effects.scrubber().scrub_json(data) else { return None };
        data.insert("session_id".to_owned(), self.identity.path.as_str().into());
        let occasion = Occasion { event, data };
        self.hooks.want(&occasion).then_some(occasion)
    }

    async fn consult(
        &self,
        busy: &Busy,
        what: &str,
        count: u32,
        occasion: Occasion,
    ) -> Result<Outcome, Halt> {
        let phase = self.identity.place.phase.as_ref().expect("a session is in a phase");
        let path = &self.identity.path;
        let session = path.strip_prefix(phase.as_str()).unwrap_or(path).trim_start_matches('/');
        let id = EffectId::engine(phase, &format!("hook.{session}.{what}"), count);
        let about = match occasion.event {
            Event::PromptSubmit => About::Prompt(path.clone()),
            Event::ToolPre | Event::ToolPost => About::Call(path.clone(), occasion.tool().to_owned()),
        };
        let key = vec![
            Segment::new("event", occasion.event.as_str()),
            Segment::new("data", canonical_json(&Value::Object(occasion.data.clone()))),
        ];
        let asked = Asked::engine(id.clone(), EffectKind::Hook, Policy::Tape).keyed(key);
        let (hooks, hard) = (&self.hooks, &self.stop.hard);
        let ask = |_| async move {
            let outcome = hooks.ask(occasion, &hard.child_token()).await;
            let result = serde_json::to_value(outcome).expect("an outcome holds only plain data");
            (!hard.is_cancelled()).then(|| Ran::plain(result))
        };
        let result = self.stage.effects.perform(busy, asked, ask).await?;
        let mut outcome: Outcome =
            serde_json::from_value(result).map_err(|error| Halt::Unreadable(id, error.to_string()))?;
        outcome.notices.iter().for_each(|text| self.tell(Happening::Notice { text: text.clone() }));
        if let Some(approval) = outcome.asks.take() {
            let name = format!("hook-answer.{session}.{what}");
            let id = EffectId::engine(phase, &name, count);
            outcome.denied = self.ask_person(busy, id, approval, about).await?;
        }
        Ok(outcome)
    }

    /// Puts a hook's question to a person; answers why it must not happen, if so. The answer is an effect of its own, so
    /// that nobody is asked twice.
    async fn ask_person(
        &self,
        busy: &Busy,
        id: EffectId,
        approval: Approval,
        about: About,
    ) -> Result<Option<String>, Halt> {
        let (effects, people) = (&self.stage.effects, &self.stage.people);
        let phase = self.identity.place.phase.clone().expect("a session is in a phase");
        let Approval { prompt, timeout, default, reason } = approval;
        let message = visible(&prompt);
        let question = Question { phase, about, message, timeout, default: Some(default) };
        let given = if effects.is_replay() || effects.is_known(&id) {
            None
        } else {
            let rest = busy.rest();
            let given = tokio::select! {
                biased;
                given = people.ask(&question) => given,
                // Who is stopped before there is an answer is asked again when the run goes on.
                () = self.stop.hard.cancelled() => return Err(Halt::Stopped),
                () = self.stop.soft.cancelled() => {
                    return Ok(Some(format!("a person would have to allow this, and the run is being stopped: {}",
                        question.message
                    )));
                }
            };
            drop(rest);
            Some(given.unwrap_or_else(|| Given {
                answer: default,
                by: NOBODY.to_owned(),
                note: String::new(),
            }))
        };
        let asked = Asked::engine(id.clone(), EffectKind::Answer, Policy::Tape)
            .keyed(vec![Segment::new("message", question.message.as_str())]);
        let told = |given: Given| Ran::plain(json!({"answer": given.answer.as_str(), "by": given.by}));
        let result = effects.perform(busy, asked, |_| async { given.map(told) }).await?;
        people.on_record(&question);
        let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or_default();
        let (by, message) = (text("by"), &question.message);
        let Some(answer) = Decision::from_text(text("answer")) else {
            return Err(Halt::Unreadable(id, "it is no answer".to_owned()));
        };
        self.tell(Happening::Notice { text: format!("asked: {message}; {} by {by}", answer.as_str()) });
        let why = match by {
            NOBODY => format!("a person would have to allow this, and nobody is there: {message}"),
            _ => format!("a person was asked and said no ({by}): {message}"),
        };
        Ok((answer == Decision::No).then(|| reason.unwrap_or(why)))
    }
}

/// A text as a person can see all of it: without characters that move a cursor, are not seen, or turn the direction of others.
pub fn visible(text: &str) -> String {
    let is_hidden = |c: &char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let shown = text.chars().filter(|c| !is_hidden(c));
    shown.map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}
