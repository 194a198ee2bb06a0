//! How a model is stood in for by rules: the first that fits the conversation says what the reply is.
//!
//! ```yaml
//! evidence: scripted
//! rules:
//!   - when: role == "foreman" and turn == 1        # an expression; left out, the rule always fits
//!     say: "Three issues for {{ prompt }}."        # a template
//!     calls:
//!       - tool: issue_manager                      # every string of the input is a template, too;
//!         input: {operation: list, limit: "{{ turn }}"}   # one that is a single expression keeps its type
//!     stop: tool_use                               # by default follows from `calls`
//!     usage: {input: 900, output: 120}             # by default estimated from sizes
//!     latency: 1200ms
//! ```

mod check;
mod facts;

use std::time::Duration;

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

use self::facts::Facts;
use super::{CallError, ErrorClass, Occasion};
use crate::chat::{Part, Reply, Request, StopReason, ToolCall, ToolInput, Usage};
use crate::id::Fingerprint;
use crate::limit;

/// Bytes of a token, roughly, where no usage is written down.
const BYTES_PER_TOKEN: usize = 4;

/// A script, checked.
#[derive(Debug)]
pub struct Script {
    name: String,
    answers: Answers,
}

#[derive(Debug)]
enum Answers {
    Rules { env: Box<Environment<'static>>, rules: Vec<Rule> },
    Cycle(Vec<String>),
}

/// What a script answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// How long a server would have taken. Nobody has waited yet.
    pub latency: Duration,
}

/// Why a text is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It does not read as YAML of the right shape.
    #[error("{name}: {problem}")]
    Shape {
        /// The script.
        name: String,
        /// What and where.
        problem: String,
    },
    /// A value makes no sense.
    #[error("{name}: {route}: {problem}")]
    Value {
        /// The script.
        name: String,
        /// The way to the value: `rules[2].say`.
        route: String,
        /// What is wrong and what is wanted.
        problem: String,
    },
}

/// One rule, checked.
#[derive(Debug)]
struct Rule {
    when: Option<String>,
    say: Option<String>,
    calls: Vec<Call>,
    stop: StopReason,
    usage: Option<Usage>,
    latency: Duration,
}

/// A tool call as a rule writes it; every string in it is a template.
#[derive(Debug)]
struct Call {
    tool: String,
    input: Map<String, Value>,
}

impl Script {
    /// Reads a script; `name` is what errors call it.
    ///
    /// # Errors
    /// It is no YAML, has an unknown key, or one of its expressions or templates does not compile.
    pub fn from_text(name: &str, text: &str) -> Result<Self, ScriptError> {
        let env = environment();
        let rules = check::read(&env, name, text)?;
        Ok(Self { name: name.to_owned(), answers: Answers::Rules { env: Box::new(env), rules } })
    }

    /// A script that gives these texts in turn: the n-th call of a session the n-th, and again from the first.
    pub fn cycle(texts: Vec<String>) -> Self {
        Self { name: "responses".to_owned(), answers: Answers::Cycle(texts) }
    }

    /// The answer on this occasion, in the name of `model`.
    ///
    /// # Errors
    /// No rule fits, or one of them cannot be evaluated.
    pub fn answer(&self, request: &Request, occasion: &Occasion, model: &str) -> Result<Answer, CallError> {
        match &self.answers {
            Answers::Cycle(texts) => {
                let at = (occasion.turn.max(1) as usize - 1) % texts.len().max(1);
                let said = texts.get(at).cloned();
                Ok(Made { said, calls: Vec::new(), rule: None }.into_answer(request, occasion, model))
            }
            Answers::Rules { env, rules } => {
                let history = facts::outcomes(&request.messages);
                let facts = Facts::new(request, occasion, &history);
                let scene = Scene {
                    env,
                    script: &self.name,
                    facts: minijinja::Value::from(minijinja::value::Serde(&facts)),
                };
                for (at, rule) in rules.iter().enumerate() {
                    if scene.fits(at, rule)? {
                        return Ok(scene.play(at, rule)?.into_answer(request, occasion, model));
                    }
                }
                let seen = facts.summary();
                Err(failure(format!("no rule of {} fits; add one. The facts are: {seen}", self.name)))
            }
        }
    }
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(limit::TEMPLATE_FUEL));
    env
}

/// The expression of a template that is nothing else: `{{ … }}`.
fn lone_expression(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let nested = ["{{", "}}", "{%", "{#"].iter().any(|mark| inner.contains(mark));
    (!nested && !inner.starts_with('-') && !inner.ends_with('-')).then_some(inner)
}

fn explain(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn failure(message: String) -> CallError {
    CallError::new(ErrorClass::Script, message)
}

/// A script at work on one occasion.
struct Scene<'a> {
    env: &'a Environment<'static>,
    script: &'a str,
    facts: minijinja::Value,
}

/// What a rule made of the occasion.
struct Made<'a> {
    said: Option<String>,
    calls: Vec<(String, Map<String, Value>)>,
    rule: Option<&'a Rule>,
}

impl Scene<'_> {
    fn fits(&self, at: usize, rule: &Rule) -> Result<bool, CallError> {
        let Some(when) = &rule.when else { return Ok(true) };
        self.evaluate(when).map(|value| value.is_true()).map_err(|problem| self.error(at, "when", &problem))
    }

    fn play<'r>(&self, at: usize, rule: &'r Rule) -> Result<Made<'r>, CallError> {
        let said = rule.say.as_ref().map(|say| self.render(say)).transpose();
        let said = said.map_err(|problem| self.error(at, "say", &problem))?;
        let mut calls = Vec::new();
        for call in &rule.calls {
            let tool = self.render(&call.tool).map_err(|problem| self.error(at, "calls", &problem))?;
            let mut input = Map::new();
            for (key, value) in &call.input {
                let value = self.fill(value).map_err(|problem| self.error(at, "calls", &problem))?;
                input.insert(key.clone(), value);
            }
            calls.push((tool, input));
        }
        Ok(Made { said, calls, rule: Some(rule) })
    }

    fn error(&self, at: usize, key: &str, problem: &str) -> CallError {
        failure(format!("{}: rules[{at}].{key}: {problem}", self.script))
    }

    fn evaluate(&self, text: &str) -> Result<minijinja::Value, String> {
        let expression = self.env.compile_expression(text).map_err(|error| explain(&error))?;
        let value = expression.eval(self.facts.clone()).map_err(|error| explain(&error))?;
        if value.is_undefined() { Err(format!("`{}` is undefined", text.trim())) } else { Ok(value) }
    }

    fn render(&self, text: &str) -> Result<String, String> {
        self.env.render_str(text, self.facts.clone()).map_err(|error| explain(&error))
    }

    fn fill(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => match lone_expression(text) {
                Some(expression) => {
                    let value = self.evaluate(expression)?;
                    serde_json::to_value(value).map_err(|error| error.to_string())?
                }
                None => Value::String(self.render(text)?),
            },
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => {
                let filled = map.iter().map(|(key, item)| Ok((key.clone(), self.fill(item)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            scalar => scalar.clone(),
        })
    }
}

impl Made<'_> {
    fn into_answer(self, request: &Request, occasion: &Occasion, model: &str) -> Answer {
        let mut parts: Vec<Part> =
            self.said.into_iter().filter(|said| !said.is_empty()).map(Part::text).collect();
        for (at, (name, input)) in self.calls.into_iter().enumerate() {
            parts.push(Part::ToolUse(ToolCall {
                id: derived_id("toolu", occasion, at + 1),
                name,
                input: ToolInput::Object(input),
                extra: Map::new(),
            }));
        }
        let usage = self.rule.and_then(|rule| rule.usage).unwrap_or_else(|| estimate(request, &parts));
        let reply = Reply {
            id: derived_id("msg", occasion, 0),
            model: model.to_owned(),
            parts,
            stop: self.rule.map_or(StopReason::EndTurn, |rule| rule.stop.clone()),
            stop_details: None,
            usage,
        };
        Answer { reply, latency: self.rule.map_or(Duration::ZERO, |rule| rule.latency) }
    }
}

/// An id that follows from the occasion, so that the same run has the same ids.
fn derived_id(prefix: &str, occasion: &Occasion, n: usize) -> String {
    let Occasion { phase, session, turn, iteration, .. } = occasion;
    let iteration = iteration.unwrap_or(0);
    let scope = format!("{phase}\0{session}\0{iteration}\0{turn}\0{n}");
    format!("{prefix}_{}", Fingerprint::of(scope.as_bytes()))
}

fn estimate(request: &Request, said: &[Part]) -> Usage {
    let size = |parts: &[Part]| -> usize {
        parts
            .iter()
            .map(|part| match part {
                Part::Text { text, .. } => text.len(),
                Part::Thinking { thinking, .. } => thinking.len(),
                Part::ToolUse(ToolCall { name, input: ToolInput::Object(input), .. }) => {
                    name.len() + Value::Object(input.clone()).to_string().len()
                }
                Part::ToolUse(ToolCall { name, input: ToolInput::Invalid(text), .. }) => {
                    name.len() + text.len()
                }
                Part::ToolResult(result) => result.content.len(),
                Part::Other(block) => block.to_string().len(),
            })
            .sum()
    };
    let tools: usize = request
        .tools
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + tool.input_schema.to_string().len())
        .sum();
    let heard: usize = request.messages.iter().map(|message| size(&message.parts)).sum();
    let tokens = |bytes: usize| bytes.div_ceil(BYTES_PER_TOKEN) as u64;
    Usage {
        input: tokens(request.system.len() + tools + heard),
        output: tokens(size(said)).max(1),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::{Message, Speaker, ToolResult};

    fn occasion(turn: u32) -> Occasion {
        Occasion {
            phase: "work".into(),
            session: "coder-1".into(),
            role: "coder".into(),
            turn,
            iteration: Some(2),
        }
    }

    fn request() -> Request<'static> {
        let call = |id: &str, name: &str| {
            Part::ToolUse(ToolCall {
                id: id.to_owned(),
                name: name.to_owned(),
                input: ToolInput::Object(Map::from_iter([("operation".to_owned(), json!("list"))])),
                extra: Map::new(),
            })
        };
        let result = |id: &str, content: &str, is_error: bool| ToolResult {
            id: id.to_owned(),
            content: content.to_owned(),
            is_error,
        };
        Request {
            max_tokens: None,
            system: "s".into(),
            messages: vec![
                Message::user("Take an issue."),
                Message { speaker: Speaker::Assistant, parts: vec![call("a", "bash")] },
                Message::results(vec![result("a", "12", false)]),
                Message {
                    speaker: Speaker::Assistant,
                    parts: vec![call("b", "issue_manager"), call("c", "bash")],
                },
                Message::results(vec![
                    result("b", r#"{"issues": [{"id": "bd-1"}, {"id": "bd-2"}]}"#, false),
                    result("c", "no such file", true),
                ]),
            ]
            .into(),
            tools: Vec::new().into(),
        }
    }

    fn answer(script: &str) -> Result<Answer, CallError> {
        Script::from_text("demo.yaml", script).unwrap().answer(&request(), &occasion(3), "claude-x")
    }

    fn said(expression: &str) -> String {
        answer(&format!("rules: [{{say: '{{{{ {expression} }}}}'}}]")).unwrap().reply.text()
    }

    #[test]
    fn the_first_rule_that_fits_answers() {
        let script = r#"
evidence: scripted
about: a demo
rules:
  - when: turn == 1
    say: first
  - when: role == "coder" and phase == "work" and last and not last.ok
    say: "{{ last.tool }} failed: {{ last.output }}"
    latency: 1200ms
  - say: otherwise
"#;
        let answer = answer(script).unwrap();
        assert_eq!(answer.reply.text(), "bash failed: no such file");
        assert_eq!(answer.latency, Duration::from_millis(1_200));
        assert_eq!((answer.reply.model.as_str(), &answer.reply.stop), ("claude-x", &StopReason::EndTurn));
        assert!(answer.reply.usage.input > 10 && answer.reply.usage.output > 1);
    }

    #[test]
    fn facts_tell_the_conversation() {
        assert_eq!(said("prompt"), "Take an issue.");
        assert_eq!(said("since_prompt"), "3");
        assert_eq!(said("iteration"), "2");
        assert_eq!(said("results | length"), "2");
        assert_eq!(said("history | length"), "3");
        assert_eq!(said("history[0].output ~ \"!\""), "12!");
        assert_eq!(said("results[0].output.issues[1].id"), "bd-2");
        assert_eq!(said("results[0].input.operation"), "list");
    }

    #[test]
    fn before_any_result_last_is_none() {
        let script =
            Script::from_text("s", "rules: [{when: last is none and not results, say: hi}]").unwrap();
        let request = Request { messages: vec![Message::user("go")].into(), ..Request::default() };
        assert_eq!(script.answer(&request, &occasion(1), "m").unwrap().reply.text(), "hi");
    }

    #[test]
    fn inputs_are_templates_at_every_depth_and_single_expressions_keep_their_type() {
        let script = r#"
rules:
  - calls:
      - tool: issue_manager
        input:
          operation: create
          params: {title: "Issue of {{ session }}", priority: 2, tags: ["{{ role }}"]}
          depends_on: "{{ results[0].output.issues | map(attribute='id') | list }}"
          turn: "{{ turn }}"
      - tool: bash
    usage: {input: 900, output: 120}
"#;
        let reply = answer(script).unwrap().reply;
        let calls = reply.calls();
        assert_eq!(
            calls[0].input,
            ToolInput::Object(
                json!({
                    "operation": "create",
                    "params": {"title": "Issue of coder-1", "priority": 2, "tags": ["coder"]},
                    "depends_on": ["bd-1", "bd-2"],
                    "turn": 3
                })
                .as_object()
                .unwrap()
                .clone()
            )
        );
        assert_eq!(reply.stop, StopReason::ToolUse);
        assert_eq!(reply.usage, Usage { input: 900, output: 120, ..Usage::default() });
        assert!(reply.text().is_empty() && reply.parts.len() == 2);
    }

    #[test]
    fn ids_follow_from_the_occasion() {
        let script = Script::from_text("s", "rules: [{calls: [{tool: a}, {tool: a}]}]").unwrap();
        let ids = |turn: u32| -> Vec<String> {
            let answer = script.answer(&request(), &occasion(turn), "m").unwrap();
            answer.reply.calls().into_iter().map(|call| call.id).collect()
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1)[0], ids(1)[1]);
        assert_ne!(ids(1)[0], ids(2)[0]);
        assert!(ids(1)[0].starts_with("toolu_"));
    }

    #[test]
    fn no_rule_that_fits_is_an_error_with_the_facts() {
        let error = answer("rules: [{when: turn == 99, say: x}]").unwrap_err();
        assert_eq!(error.class, ErrorClass::Script);
        for fact in
            ["demo.yaml", "role \"coder\"", "turn 3", "issue_manager ok, bash failed", "Take an issue."]
        {
            assert!(error.message.contains(fact), "{fact}: {error}");
        }
    }

    #[test]
    fn what_is_undefined_is_an_error_not_empty() {
        for rule in [
            "{when: last.nope, say: x}",
            "{say: '{{ last.nope }}'}",
            "{calls: [{tool: a, input: {b: '{{ last.nope }}'}}]}",
        ] {
            let error = answer(&format!("rules: [{rule}]")).unwrap_err();
            assert_eq!(error.class, ErrorClass::Script, "{rule}");
            assert!(error.message.starts_with("demo.yaml: rules[0]."), "{error}");
        }
    }

    #[test]
    fn mistakes_are_found_when_the_script_is_read() {
        let cases = [
            ("rules: []", "`rules` is empty"),
            ("rules: [{sya: x}]", "sya"),
            ("rules: [{say: x}]\nrule: 1", "rule"),
            ("rules: [{when: 'rolle == 1'}]", "rules[0].when: `rolle` is no fact"),
            ("rules: [{say: x}, {say: '{{ turn'}]", "rules[1].say: syntax error"),
            (
                "rules: [{calls: [{tool: a, input: {p: [{q: '{{ trun }}'}]}}]}]",
                "rules[0].calls[0].input.p[0].q: `trun`",
            ),
            ("rules: [{say: x, stop: done}]", "rules[0].stop: `done` is none of end_turn"),
            ("rules: [{say: x, latency: 5}]", "rules[0].latency: `5` is no duration"),
            ("evidence: recorded\nrules: [{say: x}]", "evidence: `recorded`"),
        ];
        for (text, expected) in cases {
            let error = Script::from_text("s.yaml", text).unwrap_err().to_string();
            assert!(error.starts_with("s.yaml: ") && error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_cycle_begins_with_the_first_and_starts_again() {
        let script = Script::cycle(vec!["one".to_owned(), "two".to_owned()]);
        let texts: Vec<_> = (1..=3)
            .map(|turn| script.answer(&request(), &occasion(turn), "m").unwrap().reply.text())
            .collect();
        assert_eq!(texts, ["one", "two", "one"]);
    }
}
