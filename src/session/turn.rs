//! What a session does next: the agent loop as a machine without IO.
//!
//! ```text
//!   prompt ──▶ Ask ──reply──▶ calls? ──yes──▶ Call ──results──▶ Ask …
//!               ▲                │no                             │ limit reached
//!               └── paused ◀─────┤                               ▼
//!                                └──▶ Done ◀──reply── Ask, no tools (wrap-up)
//! ```

use crate::chat::{Reply, StopReason, ToolCall};
use crate::event::SessionEnd;
use crate::limit;

/// How a loop is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopPolicy {
    /// Model calls with tools within one prompt; `None` is unlimited.
    pub max_calls: Option<u32>,
    /// How calls of one message run.
    pub calls: CallOrder,
    /// Whether pieces of replies are passed on as they arrive.
    pub deltas: Deltas,
}

/// How calls of one message run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOrder {
    /// Those that do not get in each other's way run at once.
    Parallel,
    /// One after another.
    InTurn,
}

/// Whether pieces of replies are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deltas {
    /// As they arrive.
    PassedOn,
    /// Not at all.
    Kept,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask the model.
    Ask(Offer),
    /// Answer these calls, in this order, then come back.
    Call(Vec<ToolCall>),
    /// Answer these calls with this error, without running any, then come back.
    Decline(Vec<ToolCall>, &'static str),
    /// The prompt is answered.
    Done(SessionEnd, String),
}

/// Which tools the model is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// All the session has.
    Tools,
    /// None: the model is to sum up. Said after the last results, in words of [`WRAP_UP`].
    WrapUp,
    /// The issue tool, for one reply: the model is to hand back what it holds.
    HandBack,
}

/// What the model is told when it may not call any more tools.
pub const WRAP_UP: &str = "You have reached the limit of tool calls for this prompt. Do not call any more tools. \
Sum up what is done, what remains and what the next step would be.";

/// What the model is told, before the names of its issues, when nothing more may be spent.
pub const HAND_BACK: &str = "What this run may spend is used up, and this is your last reply. You may call the issue tool \
and nothing else, and you will not see what it answers. Close an issue only if its work is done. For each of the others \
add a comment that says what is done and what remains; it is then given back for somebody else. You hold:";

/// The loop over one prompt.
#[derive(Debug)]
pub struct Turn {
    policy: LoopPolicy,
    asked: u32,
    paused: u32,
    wrapping_up: bool,
}

impl Turn {
    /// A loop that has not begun.
    pub fn new(policy: LoopPolicy) -> Self {
        Self { policy, asked: 0, paused: 0, wrapping_up: false }
    }

    /// The prompt is in the conversation: what now?
    pub fn begin(&mut self) -> Step {
        self.ask()
    }

    /// The model has answered, and the answer is in the conversation: what now?
    pub fn replied(&mut self, reply: &Reply) -> Step {
        let calls = reply.calls();
        let text = reply.text();
        match &reply.stop {
            StopReason::Refusal => {
                let reason = reply.stop_details.as_ref().map(ToString::to_string).unwrap_or_default();
                Step::Done(SessionEnd::Refused { reason }, text)
            }
            _ if self.wrapping_up => Step::Done(SessionEnd::LimitReached, text),
            StopReason::PauseTurn if calls.is_empty() => {
                self.paused += 1;
                if self.paused > limit::PAUSED_TURNS {
                    let reason = format!("the model paused its turn {} times in a row", self.paused);
                    return Step::Done(SessionEnd::Failed { reason }, text);
                }
                self.ask()
            }
            stop if !calls.is_empty() => {
                self.paused = 0;
                if stop.allows_tools() { Step::Call(calls) } else { Step::Decline(calls, CUT) }
            }
            _ if text.is_empty() => Step::Done(SessionEnd::Empty, text),
            _ => Step::Done(SessionEnd::Completed, text),
        }
    }

    /// The calls are answered, and the results are in the conversation: what now?
    pub fn answered(&mut self) -> Step {
        self.ask()
    }

    fn ask(&mut self) -> Step {
        if self.policy.max_calls.is_some_and(|most| self.asked >= most) {
            self.wrapping_up = true;
            return Step::Ask(Offer::WrapUp);
        }
        self.asked += 1;
        Step::Ask(Offer::Tools)
    }
}

const CUT: &str = "Not run: your message was cut off at the output limit, so this call may be incomplete. \
Say less in one message, or split the work, and call again.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Part, ToolInput, Usage};

    fn policy(max_calls: Option<u32>) -> LoopPolicy {
        LoopPolicy { max_calls, calls: CallOrder::Parallel, deltas: Deltas::PassedOn }
    }

    fn call() -> ToolCall {
        let input = ToolInput::Object(serde_json::Map::new());
        ToolCall { id: "t".to_owned(), name: "x".to_owned(), input, extra: serde_json::Map::new() }
    }

    fn reply(stop: StopReason, parts: Vec<Part>) -> Reply {
        Reply {
            id: String::new(),
            model: String::new(),
            parts,
            stop,
            stop_details: None,
            usage: Usage::default(),
        }
    }

    #[test]
    fn calls_are_answered_until_there_are_none() {
        let mut turn = Turn::new(policy(None));
        assert_eq!(turn.begin(), Step::Ask(Offer::Tools));
        let asks = reply(StopReason::ToolUse, vec![Part::ToolUse(call())]);
        assert_eq!(turn.replied(&asks), Step::Call(vec![call()]));
        assert_eq!(turn.answered(), Step::Ask(Offer::Tools));
        let done = reply(StopReason::EndTurn, vec![Part::text("done")]);
        assert_eq!(turn.replied(&done), Step::Done(SessionEnd::Completed, "done".to_owned()));
    }

    #[test]
    fn the_limit_ends_with_one_wrap_up_without_tools() {
        let mut turn = Turn::new(policy(Some(1)));
        turn.begin();
        let asks = reply(StopReason::ToolUse, vec![Part::ToolUse(call())]);
        assert_eq!(turn.replied(&asks), Step::Call(vec![call()]));
        assert_eq!(turn.answered(), Step::Ask(Offer::WrapUp));
        let stubborn = reply(StopReason::ToolUse, vec![Part::text("so far"), Part::ToolUse(call())]);
        assert_eq!(turn.replied(&stubborn), Step::Done(SessionEnd::LimitReached, "so far".to_owned()));
    }

    #[test]
    fn an_answer_on_the_last_allowed_call_is_an_answer() {
        let mut turn = Turn::new(policy(Some(1)));
        turn.begin();
        let done = reply(StopReason::EndTurn, vec![Part::text("done")]);
        assert_eq!(turn.replied(&done), Step::Done(SessionEnd::Completed, "done".to_owned()));
    }

    #[test]
    fn calls_of_a_cut_reply_are_never_run() {
        for stop in [StopReason::MaxTokens, StopReason::ContextWindow, StopReason::Other("x".to_owned())] {
            let mut turn = Turn::new(policy(None));
            turn.begin();
            assert_eq!(
                turn.replied(&reply(stop, vec![Part::ToolUse(call())])),
                Step::Decline(vec![call()], CUT)
            );
        }
        let refused = reply(StopReason::Refusal, vec![Part::ToolUse(call())]);
        assert!(matches!(
            Turn::new(policy(None)).replied(&refused),
            Step::Done(SessionEnd::Refused { .. }, _)
        ));
    }

    #[test]
    fn silence_and_endless_pauses_are_outcomes() {
        let mut turn = Turn::new(policy(None));
        turn.begin();
        let silent = reply(StopReason::EndTurn, Vec::new());
        assert_eq!(turn.replied(&silent), Step::Done(SessionEnd::Empty, String::new()));
        let paused = reply(StopReason::PauseTurn, vec![Part::text("…")]);
        for _ in 0..limit::PAUSED_TURNS {
            assert_eq!(turn.replied(&paused), Step::Ask(Offer::Tools));
        }
        assert!(matches!(turn.replied(&paused), Step::Done(SessionEnd::Failed { .. }, _)));
    }
}
