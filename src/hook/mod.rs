//! What a hook is: it hears of what a session is about to do or has done, and may decide what becomes of it.

pub mod approval;
mod config;
pub mod cost;
pub mod logging;
mod outcome;
pub mod redaction;
pub mod shell;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub use config::HookError;
pub use outcome::{Approval, Decision, Outcome};

/// What hooks decide about. Named as in Amplifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A prompt is about to go to the model: `prompt`.
    PromptSubmit,
    /// A tool is about to be run: `tool_name`, `tool_call_id`, `tool_input`.
    ToolPre,
    /// A tool has been run: the same, and `result` (`success`, `output`).
    ToolPost,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PromptSubmit, Self::ToolPre, Self::ToolPost];

    /// Its name in mount plans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PromptSubmit => "prompt:submit",
            Self::ToolPre => "tool:pre",
            Self::ToolPost => "tool:post",
        }
    }

    /// The event of a name.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// Something that hooks hear of.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// What happens.
    pub event: Event,
    /// Its facts; `session_id` is always among them.
    pub data: Map<String, Value>,
}

impl Occasion {
    /// The tool it is about; empty when it is about none.
    pub fn tool(&self) -> &str {
        self.data.get("tool_name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Whoever hears of occasions. One is shared by all sessions of a role.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Its name, for people and models.
    fn name(&self) -> &str;

    /// Of several the one with the lowest is asked first.
    fn priority(&self) -> i64;

    /// Whether it wants to hear of this.
    fn wants(&self, occasion: &Occasion) -> bool;

    /// How long it may take. After that it counts as failed, and is cancelled.
    fn timeout(&self) -> Duration;

    /// What it has to say. It stops what it started when it is cancelled.
    ///
    /// # Errors
    /// It cannot decide; the text says why. `on_failure` says what is done then.
    async fn hear(&self, occasion: &Occasion, cancel: CancellationToken) -> Result<Decision, String>;

    /// What stands for its word when it has none.
    fn on_failure(&self) -> OnFailure {
        OnFailure::Continue
    }
}

/// What is done when a hook fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// As if it had said nothing.
    Continue,
    /// As if it had said no.
    Deny,
}

/// The hooks of a role, in the order in which they are asked.
#[derive(Clone, Default)]
pub struct Hooks {
    hooks: Vec<Arc<dyn Hook>>,
}

impl Hooks {
    /// These hooks. Those of one priority are asked in the order of the mount plan.
    pub fn new(mut hooks: Vec<Arc<dyn Hook>>) -> Self {
        hooks.sort_by_key(|hook| hook.priority());
        Self { hooks }
    }

    /// Whether any of them wants to hear of this.
    pub fn want(&self, occasion: &Occasion) -> bool {
        self.hooks.iter().any(|hook| hook.wants(occasion))
    }

    /// Asks them one after another; each hears of what those before it have changed. The first who denies ends it.
    pub async fn ask(&self, mut occasion: Occasion, cancel: &CancellationToken) -> Outcome {
        let mut outcome = Outcome::default();
        // Who wants a person asked, and what had been changed by then.
        let (mut asker, mut changed) = (None, Map::new());
        for hook in &self.hooks {
            if !hook.wants(&occasion) {
                continue;
            }
            let decision = ask_one(hook.as_ref(), &occasion, cancel).await;
            outcome.take(hook.name(), decision, &mut occasion);
            if outcome.denied.is_some() {
                return outcome;
            }
            if outcome.asks.is_some() && asker.is_none() {
                asker = Some(hook);
                changed.clone_from(&outcome.changed);
            }
        }
        // A person is to allow what will be done, not what a later hook has made something else of.
        if let Some(hook) = asker.filter(|_| changed != outcome.changed) {
            outcome.asks = None;
            let decision = ask_one(hook.as_ref(), &occasion, cancel).await;
            outcome.take(hook.name(), decision, &mut occasion);
        }
        outcome
    }
}

async fn ask_one(hook: &dyn Hook, occasion: &Occasion, cancel: &CancellationToken) -> Decision {
    let (own, patience) = (cancel.child_token(), hook.timeout());
    let heard = {
        let hearing = hook.hear(occasion, own.clone());
        tokio::pin!(hearing);
        tokio::select! {
            heard = &mut hearing => heard,
            () = tokio::time::sleep(patience) => {
                own.cancel();
                // It ends what it started before it returns.
                let _ = hearing.await;
                Err(format!("it did not answer within {patience:?}"))
            }
        }
    };
    match (heard, hook.on_failure()) {
        (Ok(decision), _) => decision,
        (Err(why), OnFailure::Continue) => Decision::Failed { why },
        (Err(why), OnFailure::Deny) => Decision::Deny { reason: format!("{} failed: {why}", hook.name()) },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Decision as Answer;

    /// Asks about the command, or makes another of it.
    struct About(bool);

    #[async_trait]
    impl Hook for About {
        fn name(&self) -> &str {
            "about"
        }

        fn wants(&self, _occasion: &Occasion) -> bool {
            true
        }

        fn timeout(&self) -> Duration {
            Duration::from_secs(60)
        }

        fn priority(&self) -> i64 {
            0
        }

        async fn hear(&self, occasion: &Occasion, _cancel: CancellationToken) -> Result<Decision, String> {
            Ok(match self.0 {
                true => Decision::Ask(Approval {
                    prompt: format!("may it run {}?", occasion.data["tool_input"]),
                    timeout: None,
                    default: Answer::No,
                    reason: None,
                }),
                false => {
                    let data = json!({"tool_input": "other"});
                    Decision::Modify { data: data.as_object().cloned().expect("a map") }
                }
            })
        }
    }

    #[tokio::test]
    async fn a_person_is_asked_about_what_will_be_done() {
        for hooks in [[About(true), About(false)], [About(false), About(true)]] {
            let hooks = Hooks::new(hooks.into_iter().map(|hook| Arc::new(hook) as Arc<dyn Hook>).collect());
            let data = json!({"tool_name": "bash", "tool_input": "first"});
            let occasion =
                Occasion { event: Event::ToolPre, data: data.as_object().cloned().expect("a map") };
            let outcome = hooks.ask(occasion, &CancellationToken::new()).await;
            assert_eq!(outcome.asks.expect("it asks").prompt, "may it run \"other\"?");
        }
    }
}
