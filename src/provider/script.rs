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

use std::time::Duration;

use minijinja::{Environment, UndefinedBehavior};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::facts::{self, Facts};
use super::{CallError, ErrorClass, Occasion};
use crate::chat::{Part, Reply, Request, StopReason, ToolCall, ToolInput, Usage};
use crate::clock::parse_duration;
use crate::id::Fingerprint;
use crate::limit;

/// Bytes of a token, roughly, where no usage is written down.
const BYTES_PER_TOKEN: usize = 4;

const STOPS: [(&str, StopReason); 7] = [
    ("end_turn", StopReason::EndTurn),
    ("tool_use", StopReason::ToolUse),
    ("max_tokens", StopReason::MaxTokens),
    ("stop_sequence", StopReason::StopSequence),
    ("pause_turn", StopReason::PauseTurn),
    ("refusal", StopReason::Refusal),
    ("model_context_window_exceeded", StopReason::ContextWindow),
];

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    evidence: Option<String>,
    #[expect(dead_code, reason = "a note for people, accepted so that it may be there")]
    about: Option<String>,
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    when: Option<String>,
    say: Option<String>,
    #[serde(default)]
    calls: Vec<CallText>,
    stop: Option<String>,
    usage: Option<UsageText>,
    latency: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallText {
    tool: String,
    #[serde(default)]
    input: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageText {
    input: u64,
    output: u64,
    #[serde(default)]
    cache_read: u64,
    #[serde(default)]
    cache_write: u64,
}

#[derive(Debug)]
struct Rule {
    when: Option<String>,
    say: Option<String>,
    calls: Vec<CallText>,
    stop: StopReason,
    usage: Option<Usage>,
    latency: Duration,
}

impl Script {
    /// Reads a script; `name` is what errors call it.
    ///
    /// # Errors
    /// It is no YAML, has an unknown key, or one of its expressions or templates does not compile.
    pub fn from_text(name: &str, text: &str) -> Result<Self, ScriptError> {
        let shape = |problem: String| ScriptError::Shape { name: name.to_owned(), problem };
        let file: File = serde_saphyr::from_str(text).map_err(|error| shape(error.without_snippet().to_string()))?;
        if let Some(other) = file.evidence.filter(|evidence| evidence != "scripted") {
            return Err(ScriptError::Value {
                name: name.to_owned(),
                route: "evidence".to_owned(),
                problem: format!("`{other}` is not what a script gives; write `scripted` or leave it out"),
            });
        }
        if file.rules.is_empty() {
            return Err(shape("`rules` is empty; without a rule nothing is ever answered".to_owned()));
        }
        let env = environment();
        let rules = file
            .rules
            .into_iter()
            .enumerate()
            .map(|(at, rule)| check_rule(&env, Spot { script: name, route: format!("rules[{at}]") }, rule))
            .collect::<Result<_, _>>()?;
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

/// Where in which script, for an error.
struct Spot<'a> {
    script: &'a str,
    route: String,
}

impl Spot<'_> {
    fn error(&self, key: &str, problem: impl Into<String>) -> ScriptError {
        ScriptError::Value {
            name: self.script.to_owned(),
            route: format!("{}{key}", self.route),
            problem: problem.into(),
        }
    }
}

fn check_rule(env: &Environment<'_>, spot: Spot<'_>, rule: RuleText) -> Result<Rule, ScriptError> {
    if let Some(when) = &rule.when {
        check_expression(env, when).map_err(|problem| spot.error(".when", problem))?;
    }
    if let Some(say) = &rule.say {
        check_template(env, say).map_err(|problem| spot.error(".say", problem))?;
    }
    for (at, call) in rule.calls.iter().enumerate() {
        check_template(env, &call.tool).map_err(|problem| spot.error(&format!(".calls[{at}].tool"), problem))?;
        for (key, value) in &call.input {
            check_value(env, value, &format!(".calls[{at}].input.{key}"))
                .map_err(|(route, problem)| spot.error(&route, problem))?;
        }
    }
    let stop = match &rule.stop {
        None if rule.calls.is_empty() => StopReason::EndTurn,
        None => StopReason::ToolUse,
        Some(word) => match STOPS.iter().find(|(known, _)| known == word) {
            Some((_, stop)) => stop.clone(),
            None => {
                let known: Vec<&str> = STOPS.iter().map(|(word, _)| *word).collect();
                return Err(spot.error(".stop", format!("`{word}` is none of {}", known.join(", "))));
            }
        },
    };
    let latency = match &rule.latency {
        None => Duration::ZERO,
        Some(text) => parse_duration(text)
            .ok_or_else(|| spot.error(".latency", format!("`{text}` is no duration; write it as 250ms, 5s or 2m")))?,
    };
    let usage = rule.usage.map(|usage| Usage {
        input: usage.input,
        output: usage.output,
        cache_read: usage.cache_read,
        cache_write: usage.cache_write,
    });
    Ok(Rule { when: rule.when, say: rule.say, calls: rule.calls, stop, usage, latency })
}

fn check_expression(env: &Environment<'_>, text: &str) -> Result<(), String> {
    let expression = env.compile_expression(text).map_err(|error| explain(&error))?;
    check_names(env, expression.undeclared_variables(false))
}

fn check_template(env: &Environment<'_>, text: &str) -> Result<(), String> {
    if let Some(expression) = lone_expression(text) {
        return check_expression(env, expression);
    }
    let template = env.template_from_str(text).map_err(|error| explain(&error))?;
    check_names(env, template.undeclared_variables(false))
}

fn check_names(env: &Environment<'_>, names: std::collections::HashSet<String>) -> Result<(), String> {
    let known = |name: &str| facts::NAMES.contains(&name) || env.globals().any(|(global, _)| global == name);
    match names.into_iter().filter(|name| !known(name)).min() {
        Some(name) => Err(format!("`{name}` is no fact; there are {}", facts::NAMES.join(", "))),
        None => Ok(()),
    }
}

fn check_value(env: &Environment<'_>, value: &Value, route: &str) -> Result<(), (String, String)> {
    match value {
        Value::String(text) => check_template(env, text).map_err(|problem| (route.to_owned(), problem)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| check_value(env, item, &format!("{route}[{at}]"))),
        Value::Object(map) => {
            map.iter().try_for_each(|(key, item)| check_value(env, item, &format!("{route}.{key}")))
        }
        _ => Ok(()),
    }
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
                Part::ToolUse(ToolCall { name, input: ToolInput::Invalid(text), .. }) => name.len() + text.len(),
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
