//! Which texts are scripts: their shape, and that every expression and template in them compiles and names only facts.

use std::collections::HashSet;
use std::time::Duration;

use minijinja::Environment;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Call, Rule, ScriptError, explain, facts, lone_expression};
use crate::chat::{StopReason, Usage};
use crate::clock::parse_duration;

const STOPS: [(&str, StopReason); 7] = [
    ("end_turn", StopReason::EndTurn),
    ("tool_use", StopReason::ToolUse),
    ("max_tokens", StopReason::MaxTokens),
    ("stop_sequence", StopReason::StopSequence),
    ("pause_turn", StopReason::PauseTurn),
    ("refusal", StopReason::Refusal),
    ("model_context_window_exceeded", StopReason::ContextWindow),
];

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallText {
    tool: String,
    #[serde(default)]
    input: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageText {
    input: u64,
    output: u64,
    #[serde(default)]
    cache_read: u64,
    #[serde(default)]
    cache_write: u64,
}

/// Reads the rules of a script; `name` is what errors call it.
pub fn read(env: &Environment<'_>, name: &str, text: &str) -> Result<Vec<Rule>, ScriptError> {
    let shape = |problem: String| ScriptError::Shape { name: name.to_owned(), problem };
    let file: File = serde_saphyr::from_str(text).map_err(|error| {
        shape(error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter))
    })?;
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
    file.rules
        .into_iter()
        .enumerate()
        .map(|(at, rule)| check_rule(env, &Spot { script: name, route: format!("rules[{at}]") }, rule))
        .collect()
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

fn check_rule(env: &Environment<'_>, spot: &Spot<'_>, rule: RuleText) -> Result<Rule, ScriptError> {
    if let Some(when) = &rule.when {
        check_expression(env, when).map_err(|problem| spot.error(".when", problem))?;
    }
    if let Some(say) = &rule.say {
        check_template(env, say).map_err(|problem| spot.error(".say", problem))?;
    }
    for (at, call) in rule.calls.iter().enumerate() {
        check_template(env, &call.tool)
            .map_err(|problem| spot.error(&format!(".calls[{at}].tool"), problem))?;
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
        Some(text) => parse_duration(text).ok_or_else(|| {
            spot.error(".latency", format!("`{text}` is no duration; write it as 250ms, 5s or 2m"))
        })?,
    };
    let calls = rule.calls.into_iter().map(|call| Call { tool: call.tool, input: call.input }).collect();
    let usage = rule.usage.map(|usage| Usage {
        input: usage.input,
        output: usage.output,
        cache_read: usage.cache_read,
        cache_write: usage.cache_write,
        ..Usage::default()
    });
    Ok(Rule { when: rule.when, say: rule.say, calls, stop, usage, latency })
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

fn check_names(env: &Environment<'_>, names: HashSet<String>) -> Result<(), String> {
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
