//! A conversation in memory, shown whole until it grows too large, then rarely and by much shown smaller.
//!
//! Between two compactions the view only grows at its end, so that what a provider keeps of the beginning of a request
//! serves the next one.

use super::compact::{self, Shape, Shown};
use super::meter::Meter;
use super::settings::{Metering, Notice, Settings, Words, part};
use super::{Compaction, ContextFull, ContextManager, Sources};
use crate::chat::{Message, Usage};

/// The conversation of one session.
#[derive(Debug)]
pub struct Simple {
    settings: Settings,
    meter: Meter,
    /// Everything that was said.
    messages: Vec<Message>,
    /// What is shown of each, and its bytes.
    shapes: Vec<(Shape, u64)>,
    /// What the model is shown, once it is not all of it.
    view: Option<Vec<Message>>,
    /// Bytes of the view.
    bytes: u64,
    /// Messages at the beginning that are no part of the conversation.
    pinned: usize,
    /// The last compaction left it nearly full.
    is_strained: bool,
    /// What it remembers from, and for, other runs.
    sources: Option<Sources>,
}

impl Simple {
    /// An empty conversation.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            meter: Meter::default(),
            messages: Vec::new(),
            shapes: Vec::new(),
            view: None,
            bytes: 0,
            pinned: 0,
            is_strained: false,
            sources: None,
        }
    }

    /// The same with a memory.
    #[must_use]
    pub fn with_sources(self, sources: Option<Sources>) -> Self {
        Self { sources, ..self }
    }

    fn is_due(&self, estimate: u64) -> bool {
        estimate >= part(self.settings.budget, self.settings.compact_threshold)
    }

    /// Makes the view smaller; `None` when nothing could be left out.
    fn compact(&mut self, before_tokens: u64) -> Option<Compaction> {
        let settings = &self.settings;
        let target = part(settings.budget, settings.target_usage);
        let mut shown: Vec<Shown<'_>> = self
            .messages
            .iter()
            .zip(&self.shapes)
            .map(|(message, (shape, bytes))| Shown { message, shape: *shape, bytes: *bytes })
            .collect();
        let pinned = compact::first_prompt_end(&self.messages, self.pinned);
        let level =
            compact::compact(&mut shown, pinned, settings, |bytes| self.meter.estimate(bytes) <= target);
        let shapes: Vec<(Shape, u64)> = shown.iter().map(|one| (one.shape, one.bytes)).collect();
        let newly = |at: usize, shape| shapes[at].0 == shape && self.shapes[at].0 != shape;
        let cut: Vec<usize> = (0..shapes.len()).filter(|at| newly(*at, Shape::Cut)).collect();
        if cut.is_empty() && !(0..shapes.len()).any(|at| newly(at, Shape::Gone)) {
            return None;
        }
        let stubbed = cut.iter().filter(|at| compact::is_prompt(&self.messages[**at])).count();
        let before_messages = self.view().len();
        let gone = shapes.iter().filter(|(shape, _)| *shape == Shape::Gone).count();
        let mut view = Vec::with_capacity(shapes.len() - gone + 1);
        for (at, (message, (shape, _))) in self.messages.iter().zip(&shapes).enumerate() {
            if at == pinned {
                view.extend(notice(settings, level, gone));
            }
            match shape {
                Shape::Whole | Shape::Cut => view.push(compact::render(message, *shape, settings)),
                Shape::Gone => {}
            }
        }
        let bytes = view.iter().map(compact::size).sum();
        if bytes >= self.bytes {
            // Telling of it costs more than it saves.
            return None;
        }
        (self.shapes, self.bytes) = (shapes, bytes);
        let after_messages = view.len();
        self.view = Some(view);
        Some(Compaction {
            before_tokens,
            after_tokens: self.estimate(),
            before_messages,
            after_messages,
            messages_truncated: cut.len() - stubbed,
            user_messages_stubbed: stubbed,
            level,
            budget: self.settings.budget,
        })
    }
}

/// What the model is told of what it is not shown.
fn notice(settings: &Settings, level: u8, gone: usize) -> Option<Message> {
    let Notice::From { level: least, words } = settings.notice else { return None };
    if level < least {
        return None;
    }
    let said = match words {
        Words::Minimal => "Earlier parts of this conversation are left out or cut.".to_owned(),
        Words::Normal => format!(
            "This conversation has grown long. {gone} of its earlier messages are left out here, and older results of tools are cut. What was done is done; do not do it again."
        ),
        Words::Verbose => format!(
            "This conversation has grown long. {gone} of its earlier messages are left out here, and older results of tools are cut to their first {} characters. What was done is done: files, issues and everything else outside this conversation are as you left them. Do not begin anew and do not repeat calls to look at what you have already dealt with; look something up again only if you need it for the next step.",
            settings.truncate_chars
        ),
    };
    Some(Message::user(format!(
        "<system-reminder source=\"context-compaction\">\n{said}\n</system-reminder>"
    )))
}

impl ContextManager for Simple {
    fn push(&mut self, message: Message) {
        let bytes = compact::size(&message);
        self.bytes += bytes;
        self.shapes.push((Shape::Whole, bytes));
        if let Some(view) = &mut self.view {
            view.push(message.clone());
        }
        self.messages.push(message);
    }

    fn pin(&mut self, message: Message) {
        debug_assert_eq!(
            self.pinned,
            self.messages.len(),
            "what is pinned comes before everything that is said"
        );
        self.pinned += 1;
        self.push(message);
    }

    fn make_room(&mut self) -> Result<Option<Compaction>, ContextFull> {
        let before = self.estimate();
        if !self.is_due(before) {
            self.is_strained = false;
            return Ok(None);
        }
        let done = self.compact(before);
        let (estimate, bound) = (self.estimate(), self.settings.budget);
        if estimate > bound {
            return Err(ContextFull::Outgrown { estimate, bound });
        }
        let is_strained = self.is_due(estimate);
        let was_strained = std::mem::replace(&mut self.is_strained, is_strained);
        if self.is_strained && was_strained {
            return Err(ContextFull::Thrashing { estimate, bound });
        }
        Ok(done)
    }

    fn view(&self) -> &[Message] {
        self.view.as_deref().unwrap_or(&self.messages)
    }

    fn messages(&self) -> &[Message] {
        &self.messages[self.pinned..]
    }

    fn learn(&mut self, usage: Usage) {
        if self.settings.meter == Metering::Counted {
            self.meter.learn(self.bytes, usage);
        }
    }

    fn estimate(&self) -> u64 {
        self.meter.estimate(self.bytes)
    }

    fn sources(&self) -> Option<&Sources> {
        self.sources.as_ref()
    }

    fn most_result_bytes(&self) -> usize {
        self.settings.most_result_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::super::settings::testing::settings;
    use super::*;
    use crate::chat::{Part, Speaker, ToolCall, ToolInput, ToolResult};

    fn context(config: &Value) -> Simple {
        Simple::new(settings(config))
    }

    fn calls(ids: &[String]) -> Message {
        let call = |id: &String| {
            Part::ToolUse(ToolCall {
                id: id.clone(),
                name: "read_file".to_owned(),
                input: ToolInput::Object(Map::new()),
                extra: Map::new(),
            })
        };
        Message { speaker: Speaker::Assistant, parts: ids.iter().map(call).collect() }
    }

    fn results(ids: &[String], bytes: usize) -> Message {
        let result = |id: &String| ToolResult { id: id.clone(), content: "x".repeat(bytes), is_error: false };
        Message::results(ids.iter().map(result).collect())
    }

    /// As a provider counts: the system prompt and the tools are there too, and a token is not four bytes.
    fn counted(view: &[Message]) -> Usage {
        let bytes: u64 = view.iter().map(compact::size).sum();
        Usage { input: 3_000 + bytes * 10 / 37, output: 100, ..Usage::default() }
    }

    /// Every call has its results in the very next message, and no result is without its call.
    fn pairs_hold(view: &[Message]) -> bool {
        let ids = |message: &Message, is_call: bool| -> BTreeSet<String> {
            let id = |part: &Part| match part {
                Part::ToolUse(call) if is_call => Some(call.id.clone()),
                Part::ToolResult(result) if !is_call => Some(result.id.clone()),
                _ => None,
            };
            message.parts.iter().filter_map(id).collect()
        };
        let none = Message { speaker: Speaker::User, parts: Vec::new() };
        (0..=view.len()).all(|at| {
            let before = at.checked_sub(1).map_or(&none, |before| &view[before]);
            let here = view.get(at).unwrap_or(&none);
            ids(before, true) == ids(here, false)
        })
    }

    #[test]
    fn a_long_conversation_is_made_smaller_rarely_and_by_much() {
        let mut context = context(&json!({}));
        context.push(Message::user("Do the work."));
        let mut sent: Vec<Message> = Vec::new();
        let mut compactions = Vec::new();
        for turn in 0..100 {
            let done = context.make_room().unwrap();
            let view = context.view().to_vec();
            assert!(pairs_hold(&view), "{turn}");
            assert_eq!(view[0], Message::user("Do the work."));
            match done {
                None => assert_eq!(view[..sent.len()], sent[..], "turn {turn} begins as the one before"),
                Some(done) => {
                    assert!(done.after_tokens <= 99_600, "{done:?}");
                    compactions.push(turn);
                }
            }
            let usage = counted(&view);
            assert!(usage.input < 199_200, "{turn}: {}", usage.input);
            sent = view;
            context.learn(usage);
            let id = vec![format!("toolu_{turn}")];
            context.push(calls(&id));
            // About 10,000 tokens.
            context.push(results(&id, 37_000));
        }
        assert!(compactions.len() >= 3, "{compactions:?}");
        assert!(compactions.windows(2).all(|two| two[1] - two[0] >= 7), "{compactions:?}");
        assert_eq!(context.messages().len(), 201, "nothing is lost");
        assert_eq!(context.messages()[2], results(&["toolu_0".to_owned()], 37_000));
    }

    #[test]
    fn results_are_cut_before_exchanges_are_left_out() {
        let mut context = context(&json!({"max_tokens": 10_000, "protected_tool_results": 1}));
        context.push(Message::user("go"));
        for turn in 0..4 {
            let id = vec![format!("t{turn}")];
            context.push(calls(&id));
            context.push(results(&id, if turn == 0 { 30_000 } else { 2_000 }));
        }
        let done = context.make_room().unwrap().unwrap();
        assert_eq!((done.level, done.messages_truncated, done.user_messages_stubbed), (1, 1, 0));
        assert_eq!((done.before_messages, done.after_messages), (9, 10), "one more: the notice");
        let view = context.view();
        assert!(
            matches!(&view[3].parts[0], Part::ToolResult(result) if result.content.starts_with("[truncated: ~7500 tokens"))
        );
        assert!(view[1].text().contains("context-compaction"), "{view:?}");
        assert_eq!(view[5..], context.messages()[4..]);
    }

    #[test]
    fn the_model_is_told_as_configured() {
        let told = |config: Value| {
            let mut context = context(&config);
            for at in 0..20 {
                context.push(Message::user(format!("{at} {}", "p".repeat(300))));
                context.push(Message {
                    speaker: Speaker::Assistant,
                    parts: vec![Part::text("y".repeat(2_000))],
                });
            }
            context.push(Message::user("last"));
            context.make_room().unwrap().unwrap();
            context
                .view()
                .iter()
                .find(|message| message.text().contains("system-reminder"))
                .map(Message::text)
        };
        let base = |more: Value| {
            let mut config = json!({"max_tokens": 11_000});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            told(config)
        };
        assert!(base(json!({})).unwrap().contains("of its earlier messages are left out"));
        assert!(base(json!({"compaction_notice_verbosity": "minimal"})).unwrap().len() < 170);
        assert_eq!(base(json!({"compaction_notice_enabled": false})), None);
        assert_eq!(base(json!({"compaction_notice_min_level": 9})), None);
    }

    #[test]
    fn prompts_between_the_first_and_the_last_go_last() {
        let mut context = context(&json!({"max_tokens": 4_000, "compaction_notice_enabled": false}));
        for at in 0..10 {
            context.push(Message::user(format!("{at} {}", "p".repeat(1_500))));
            context.push(Message { speaker: Speaker::Assistant, parts: vec![Part::text("y")] });
        }
        context.push(Message::user("last"));
        let done = context.make_room().unwrap().unwrap();
        assert_eq!(done.level, 8);
        let view = context.view();
        assert!(view[0].text().starts_with("0 ppp") && view[0].text().len() > 1_500);
        assert!(view[1].text().starts_with("[User message compacted - original: \"1 ppp"), "{view:?}");
        assert_eq!(view.last().unwrap().text(), "last");
    }

    #[test]
    fn what_cannot_be_made_to_fit_is_an_error_with_the_remedy() {
        let mut context = context(&json!({"max_tokens": 1_000}));
        context.push(Message::user("y".repeat(8_000)));
        let error = context.make_room().unwrap_err();
        assert!(matches!(error, ContextFull::Outgrown { bound: 900, .. }), "{error}");
        assert!(error.to_string().contains("raise max_tokens"));
    }

    #[test]
    fn a_view_that_stays_nearly_full_is_an_error_the_second_time() {
        let mut context = context(&json!({"max_tokens": 1_000}));
        context.push(Message::user("y".repeat(3_400)));
        assert_eq!(context.make_room(), Ok(None), "it fits, and nothing can be left out");
        let error = context.make_room().unwrap_err();
        assert!(matches!(error, ContextFull::Thrashing { .. }), "{error}");
    }

    #[test]
    fn what_is_pinned_stays_and_is_not_said() {
        let mut context = context(&json!({"max_tokens": 4_000}));
        context.pin(Message::user("memory"));
        context.push(Message::user("go"));
        for turn in 0..9 {
            let id = vec![format!("t{turn}")];
            context.push(calls(&id));
            context.push(results(&id, 2_000));
        }
        context.make_room().unwrap().unwrap();
        assert_eq!(context.view()[..2], [Message::user("memory"), Message::user("go")]);
        assert_eq!(context.messages()[0], Message::user("go"));
    }

    /// One thing that happens in a conversation.
    #[derive(Debug, Clone)]
    enum Move {
        Prompt(usize),
        Say(usize),
        Call(usize, usize),
        Pause,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            1 => (0usize..3_000).prop_map(Move::Prompt),
            1 => (0usize..3_000).prop_map(Move::Say),
            4 => (1usize..4, 0usize..6_000).prop_map(|(calls, bytes)| Move::Call(calls, bytes)),
            1 => Just(Move::Pause),
        ];
        prop::collection::vec(one, 0..60)
    }

    fn play(context: &mut Simple, at: usize, next: &Move) {
        let said = |text: String| Message { speaker: Speaker::Assistant, parts: vec![Part::text(text)] };
        match next {
            Move::Prompt(bytes) => context.push(Message::user(format!("{at}{}", "p".repeat(*bytes)))),
            Move::Say(bytes) => {
                context.push(said(format!("{at}{}", "s".repeat(*bytes))));
                context.push(Message::user("go on"));
            }
            Move::Call(count, bytes) => {
                let ids: Vec<String> = (0..*count).map(|call| format!("t{at}_{call}")).collect();
                context.push(calls(&ids));
                context.push(results(&ids, *bytes));
            }
            Move::Pause => context.push(said("…".to_owned())),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn whatever_is_said_the_view_is_sound(
            moves in moves(),
            max_tokens in 2_000u64..40_000,
            recent in 0.0f64..1.0,
            protected in 0u64..9,
        ) {
            let config = json!({
                "max_tokens": max_tokens, "protected_recent": recent, "protected_tool_results": protected,
            });
            let (mut context, mut again) = (context(&config), context(&config));
            let first = Message::user("first");
            context.push(first.clone());
            again.push(first.clone());
            let mut sent: Vec<Message> = Vec::new();
            let mut said = 1;
            for (at, next) in moves.iter().enumerate() {
                play(&mut context, at, next);
                play(&mut again, at, next);
                said += match next { Move::Prompt(_) | Move::Pause => 1, Move::Say(_) | Move::Call(..) => 2 };
                let done = context.make_room();
                prop_assert_eq!(&done, &again.make_room());
                let view = context.view().to_vec();
                prop_assert_eq!(&view[..], again.view(), "the same of the same");
                prop_assert!(pairs_hold(&view));
                prop_assert_eq!(&view[0], &first);
                prop_assert_eq!(view.last(), context.messages().last());
                prop_assert_eq!(context.messages().len(), said);
                match done {
                    Err(_) => return Ok(()),
                    Ok(None) => prop_assert_eq!(&view[..sent.len()], &sent[..]),
                    Ok(Some(done)) => prop_assert!(done.after_tokens <= done.before_tokens, "{:?}", done),
                }
                prop_assert!(context.estimate() <= max_tokens);
                sent = view;
                let usage = counted(&sent);
                context.learn(usage);
                again.learn(usage);
            }
        }
    }
}
