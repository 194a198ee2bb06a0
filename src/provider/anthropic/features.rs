//! What of the API's own features a mount plan may turn on: effort, tools that run at the server, long caching, a large window.

use serde_json::{Map, Value, json};

use crate::plan::{KeyInfo, KeyShape};
use crate::provider::settings::{BuildError, Settings};

/// Windows of the models, in tokens.
const WINDOW: u64 = 200_000;
const LARGE_WINDOW: u64 = 1_000_000;
const LARGE_WINDOW_BETA: &str = "context-1m-2025-08-07";

const WEB_SEARCH: &str = "web_search_20250305";

const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
const DISPLAYS: [&str; 2] = ["summarized", "omitted"];

const fn key(name: &'static str, shape: KeyShape, default: &'static str, doc: &'static str) -> KeyInfo {
    KeyInfo { name, shape, default, doc }
}

pub(super) const EFFORT: KeyInfo = key(
    "reasoning_effort",
    KeyShape::Text,
    "",
    "How much work an answer is worth: low, medium, high, xhigh or max.",
);
pub(super) const EFFORT_ALIAS: KeyInfo =
    key("effort", KeyShape::Text, "", "The same under a shorter name; only one of the two.");
pub(super) const DISPLAY: KeyInfo = key(
    "thinking_display",
    KeyShape::Text,
    "",
    "Whether thinking is told: summarized or omitted. The model's own default when absent; only where it decides how much to think.",
);
pub(super) const SERVER_TOOLS: KeyInfo = key(
    "server_tools",
    KeyShape::Any,
    "",
    "Tools that run at the server, as the API defines them: a list of maps with `type` and `name`.",
);
pub(super) const WEB: KeyInfo = key(
    "enable_web_search",
    KeyShape::Flag,
    "false",
    "Lets the model search the web; the search runs at the server.",
);
pub(super) const WEB_USES: KeyInfo =
    key("web_search_max_uses", KeyShape::Integer, "", "Most searches in one reply.");
pub(super) const WEB_LOCATION: KeyInfo = key(
    "web_search_user_location",
    KeyShape::Any,
    "",
    "Where searches are made from, as the API defines it.",
);
pub(super) const LONG_CACHE: KeyInfo = key(
    "cache_stable_region_ttl_1h",
    KeyShape::Flag,
    "false",
    "Keeps tools and system prompt in the cache for an hour in place of five minutes.",
);
pub(super) const LARGE: KeyInfo = key(
    "enable_1m_context",
    KeyShape::Flag,
    "false",
    "Asks for a window of a million tokens, where the model has one.",
);
pub(super) const WINDOW_KEY: KeyInfo = key(
    "context_window",
    KeyShape::Integer,
    "200000",
    "Tokens of a request and its reply together that the model takes; a million with `enable_1m_context`.",
);

/// What is turned on.
#[derive(Debug, Default, PartialEq)]
pub struct Features {
    pub effort: Option<String>,
    pub display: Option<String>,
    pub server_tools: Vec<Value>,
    pub stable: Lifetime,
    pub window: u64,
    /// The beta feature that the window needs.
    pub beta: Option<&'static str>,
}

/// How long the cache keeps what never changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lifetime {
    #[default]
    Minutes,
    Hour,
}

impl Lifetime {
    pub fn mark(self) -> Value {
        match self {
            Self::Minutes => json!({"type": "ephemeral"}),
            Self::Hour => json!({"type": "ephemeral", "ttl": "1h"}),
        }
    }
}

impl Features {
    pub fn read(settings: Settings<'_>) -> Result<Self, BuildError> {
        let is_large = settings.flag(LARGE.name)? == Some(true);
        let window = settings.integer(WINDOW_KEY.name)?;
        let effort = match (settings.text(EFFORT.name)?, settings.text(EFFORT_ALIAS.name)?) {
            (Some(_), Some(_)) => {
                return Err(settings
                    .error(EFFORT_ALIAS.name, "stands beside `reasoning_effort`; leave one of them out"));
            }
            (Some(effort), None) => Some(one_of(settings, EFFORT.name, effort, &EFFORTS)?),
            (None, Some(effort)) => Some(one_of(settings, EFFORT_ALIAS.name, effort, &EFFORTS)?),
            (None, None) => None,
        };
        let display = settings.text(DISPLAY.name)?;
        Ok(Self {
            effort,
            display: display.map(|word| one_of(settings, DISPLAY.name, word, &DISPLAYS)).transpose()?,
            server_tools: server_tools(settings)?,
            stable: match settings.flag(LONG_CACHE.name)? {
                Some(true) => Lifetime::Hour,
                _ => Lifetime::Minutes,
            },
            window: window.unwrap_or(if is_large { LARGE_WINDOW } else { WINDOW }),
            beta: is_large.then_some(LARGE_WINDOW_BETA),
        })
    }
}

fn one_of(
    settings: Settings<'_>,
    key: &'static str,
    word: &str,
    words: &[&str],
) -> Result<String, BuildError> {
    match words.contains(&word) {
        true => Ok(word.to_owned()),
        false => Err(settings.error(key, format!("must be one of {}, not `{word}`", words.join(", ")))),
    }
}

fn server_tools(settings: Settings<'_>) -> Result<Vec<Value>, BuildError> {
    let mut tools = Vec::new();
    if settings.flag(WEB.name)? == Some(true) {
        let mut tool = Map::from_iter([
            ("type".to_owned(), json!(WEB_SEARCH)),
            ("name".to_owned(), json!("web_search")),
        ]);
        if let Some(uses) = settings.integer(WEB_USES.name)? {
            tool.insert("max_uses".to_owned(), json!(uses));
        }
        if let Some(location) = settings.value(WEB_LOCATION.name) {
            tool.insert("user_location".to_owned(), location.clone());
        }
        tools.push(Value::Object(tool));
    }
    match settings.value(SERVER_TOOLS.name) {
        None => {}
        Some(Value::Array(more)) => tools.extend(more.iter().cloned()),
        Some(_) => return Err(settings.error(SERVER_TOOLS.name, "must be a list")),
    }
    for tool in &tools {
        if !tool["type"].is_string() || !tool["name"].is_string() {
            let problem = format!("needs `type` and `name` in each tool, as the API defines it, not {tool}");
            return Err(settings.error(SERVER_TOOLS.name, problem));
        }
    }
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::anthropic::encode::testing::spec;

    fn read(config: &Value) -> Result<Features, BuildError> {
        Features::read(Settings::of(&spec(config)))
    }

    #[test]
    fn features_are_read_and_mistakes_named() {
        let features = read(&json!({
            "effort": "high", "thinking_display": "omitted", "enable_1m_context": true,
            "enable_web_search": true, "web_search_max_uses": 3, "web_search_user_location": {"type": "approximate"},
            "server_tools": [{"type": "code_execution_20250825", "name": "code_execution"}],
        }))
        .unwrap();
        assert_eq!((features.effort.as_deref(), features.window), (Some("high"), 1_000_000));
        assert_eq!(
            features.server_tools[0],
            json!({"type": WEB_SEARCH, "name": "web_search", "max_uses": 3, "user_location": {"type": "approximate"}})
        );
        assert_eq!(features.server_tools.len(), 2);
        assert_eq!(read(&json!({})).unwrap().window, 200_000);
        assert_eq!(read(&json!({"context_window": 400_000})).unwrap().window, 400_000);
        for (config, told) in [
            (json!({"effort": "low", "reasoning_effort": "low"}), "leave one of them out"),
            (json!({"effort": "much"}), "`effort` must be one of low, medium"),
            (json!({"thinking_display": "all"}), "`thinking_display` must be one of"),
            (json!({"server_tools": {"type": "x"}}), "must be a list"),
            (json!({"server_tools": [{"type": "x"}]}), "needs `type` and `name`"),
        ] {
            let error = read(&config).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
