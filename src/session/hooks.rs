//! What the hooks of a session's role are asked, and what comes of it: an effect each time, since a model sees it.

use serde_json::{Map, Value, json};

use super::Session;
use crate::chat::{ToolCall, ToolInput};
use crate::effects::{Asked, Busy, Halt, Ran};
use crate::event::{EffectId, EffectKind, Happening, Policy, Segment};
use crate::hook::{Event, Occasion, Outcome};
use crate::id::canonical_json;

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
        let outcome: Outcome =
            serde_json::from_value(result).map_err(|error| Halt::Unreadable(id, error.to_string()))?;
        outcome.notices.iter().for_each(|text| self.tell(Happening::Notice { text: text.clone() }));
        Ok(outcome)
    }
}
