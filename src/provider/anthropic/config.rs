//! What a mount plan may say about `provider-anthropic`, and what it means.

use serde_json::{Value, json};

use super::features::{self, Features};
use crate::plan::{Credential, KeyShape, ModuleInfo, ModuleKind, ModuleSpec, Need, Variables};
use crate::provider::fallback;
use crate::provider::settings::{self, Address, BuildError, Settings, key};
use crate::provider::{RetryPolicy, Timeouts};
use crate::secret::Secret;

const DEFAULT_BASE_URL: &str = "https://api.anthropic.com";
const ADDRESS: Address =
    Address { key: "base_url", variable: Some("ANTHROPIC_BASE_URL"), default: DEFAULT_BASE_URL };
const DEFAULT_MODEL: &str = "claude-sonnet-5";

/// The version that still takes `temperature`, and that every gateway knows.
const DEFAULT_VERSION: &str = "2023-06-01";

/// From this version on the API refuses sampling parameters, even at their defaults.
const VERSION_WITHOUT_SAMPLING: &str = "2026-10-21";

/// Room for a long file in one tool call, below the ceiling of every current model.
const DEFAULT_MAX_TOKENS: u64 = 32_000;

/// Thinking of models that take a budget, where the mount plan gives none.
const DEFAULT_BUDGET: u64 = 10_000;

/// The least budget the API takes.
const MIN_BUDGET: u64 = 1_024;

/// Output kept for the answer itself when the thinking budget would use up `max_tokens`.
const ANSWER_ROOM: u64 = 4_096;

const CREDENTIAL: Credential =
    Credential { variable: "ANTHROPIC_API_KEY", key: "api_key", need: Need::Required };

/// What there is to know of the module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "provider-anthropic",
    aliases: &[],
    kind: ModuleKind::Provider,
    summary: "Claude over Anthropic's Messages API, streaming",
    keys: &[
        key("api_key", KeyShape::Secret, "", "The key; ANTHROPIC_API_KEY when absent."),
        key(
            "base_url",
            KeyShape::Text,
            DEFAULT_BASE_URL,
            "The server's address without `/v1`; ANTHROPIC_BASE_URL when absent.",
        ),
        key("default_model", KeyShape::Text, DEFAULT_MODEL, "The model, unless a role names another."),
        key("max_tokens", KeyShape::Integer, "32000", "Most tokens of one reply, thinking included."),
        key(
            "temperature",
            KeyShape::Number,
            "",
            "Sampling temperature. Not sent with extended thinking, nor from API version 2026-10-21 on: both refuse it.",
        ),
        settings::TIMEOUT,
        settings::IDLE_TIMEOUT,
        settings::PRIORITY,
        settings::MAX_RETRIES,
        settings::MIN_RETRY_DELAY,
        settings::MAX_RETRY_DELAY,
        settings::OVERLOADED_DELAY_MULTIPLIER,
        settings::MAX_CONCURRENT_REQUESTS,
        fallback::MODELS,
        fallback::REFUSALS,
        key(
            "enable_prompt_caching",
            KeyShape::Flag,
            "true",
            "Marks the stable parts of a request for the cache.",
        ),
        key("extended_thinking", KeyShape::Flag, "false", "Lets the model think before it answers."),
        key(
            "thinking_budget_tokens",
            KeyShape::Integer,
            "",
            "Tokens for thinking, at least 1024. Without it the model decides, or has 10000 if it is too old for that.",
        ),
        features::EFFORT,
        features::EFFORT_ALIAS,
        features::DISPLAY,
        features::SERVER_TOOLS,
        features::WEB,
        features::WEB_USES,
        features::WEB_LOCATION,
        features::LONG_CACHE,
        features::LARGE,
        features::WINDOW_KEY,
        key("beta_headers", KeyShape::Any, "", "Beta features to ask for: one name or a list."),
        key("anthropic_version", KeyShape::Text, DEFAULT_VERSION, "The API version."),
        settings::accepted("debug", KeyShape::Flag),
        settings::accepted("raw_debug", KeyShape::Flag),
        settings::accepted("raw", KeyShape::Flag),
    ],
    tools: &[],
    credential: Some(CREDENTIAL),
};

/// A configured use of the API.
#[derive(Debug)]
pub struct Config {
    pub url: String,
    pub host: String,
    pub api_key: Option<Secret>,
    pub model: String,
    pub max_tokens: u64,
    /// Only where the API takes it.
    pub temperature: Option<f64>,
    pub thinking: Option<Thinking>,
    pub caching: Caching,
    pub features: Features,
    pub beta_headers: Vec<String>,
    pub version: String,
    pub retry: RetryPolicy,
    pub timeouts: Timeouts,
    /// Calls under way at once, if that is bounded.
    pub max_concurrent: Option<usize>,
}

/// Whether requests mark their stable parts for the provider's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    On,
    Off,
}

/// How the model is asked to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// As much as it likes.
    Adaptive,
    /// Up to so many tokens.
    Budget(u64),
}

impl Thinking {
    pub fn to_json(self) -> Value {
        match self {
            Self::Adaptive => json!({"type": "adaptive"}),
            Self::Budget(tokens) => json!({"type": "enabled", "budget_tokens": tokens}),
        }
    }
}

impl Config {
    pub fn read(spec: &ModuleSpec, variables: &Variables, model: Option<&str>) -> Result<Self, BuildError> {
        let settings = Settings::of(spec);
        let base = base_url(settings, variables)?;
        let model = model.or(settings.text("default_model")?).unwrap_or(DEFAULT_MODEL).to_owned();
        let version = settings.text("anthropic_version")?.unwrap_or(DEFAULT_VERSION).to_owned();
        let features = Features::read(settings)?;
        let thinking = thinking(settings, &model)?;
        let max_tokens = max_tokens(settings, thinking)?;
        let samples = thinking.is_none() && version.as_str() < VERSION_WITHOUT_SAMPLING;
        let caching = match settings.flag("enable_prompt_caching")? {
            Some(false) => Caching::Off,
            _ => Caching::On,
        };
        Ok(Self {
            url: format!("{base}/v1/messages"),
            host: settings::host_of(&base).to_owned(),
            api_key: settings.credential(&CREDENTIAL, variables)?,
            max_tokens,
            temperature: settings.number("temperature")?.filter(|_| samples),
            thinking,
            caching,
            beta_headers: {
                let mut betas = settings.texts("beta_headers")?;
                betas.extend(features.beta.map(str::to_owned));
                betas
            },
            features,
            retry: settings.retry()?,
            timeouts: settings.timeouts()?,
            max_concurrent: settings.max_concurrent()?,
            model,
            version,
        })
    }
}

/// The credential this module would use: its `api_key`, else the variable's.
pub fn credential(spec: &ModuleSpec, variables: &Variables) -> Option<Secret> {
    Settings::of(spec).credential(&CREDENTIAL, variables).ok().flatten()
}

/// Whether a live call would have a credential.
pub fn has_credential(spec: &ModuleSpec, variables: &Variables) -> bool {
    credential(spec, variables).is_some()
}

/// The address without a `/v1` at its end, which people write both with and without.
fn base_url(settings: Settings<'_>, variables: &Variables) -> Result<String, BuildError> {
    let base = settings.address(&ADDRESS, variables)?;
    Ok(base.strip_suffix("/v1").unwrap_or(&base).to_owned())
}

fn thinking(settings: Settings<'_>, model: &str) -> Result<Option<Thinking>, BuildError> {
    let budget = settings.integer("thinking_budget_tokens")?;
    if let Some(tokens) = budget.filter(|tokens| *tokens < MIN_BUDGET) {
        let problem = format!("must be at least {MIN_BUDGET}, the API's own least, not {tokens}");
        return Err(settings.error("thinking_budget_tokens", problem));
    }
    if settings.flag("extended_thinking")? != Some(true) {
        return Ok(None);
    }
    Ok(Some(match budget {
        Some(tokens) => Thinking::Budget(tokens),
        None if needs_budget(model) => Thinking::Budget(DEFAULT_BUDGET),
        None => Thinking::Adaptive,
    }))
}

/// Models from before adaptive thinking.
fn needs_budget(model: &str) -> bool {
    const OLD: [&str; 9] = [
        "claude-3",
        "claude-haiku-4-5",
        "claude-opus-4-0",
        "claude-opus-4-1",
        "claude-opus-4-2025",
        "claude-opus-4-5",
        "claude-sonnet-4-0",
        "claude-sonnet-4-2025",
        "claude-sonnet-4-5",
    ];
    OLD.iter().any(|old| model.starts_with(old))
}

fn max_tokens(settings: Settings<'_>, thinking: Option<Thinking>) -> Result<u64, BuildError> {
    let written = settings.integer("max_tokens")?;
    if written == Some(0) {
        return Err(settings.error("max_tokens", "must be at least 1"));
    }
    let tokens = written.unwrap_or(DEFAULT_MAX_TOKENS);
    Ok(match thinking {
        Some(Thinking::Budget(budget)) if tokens <= budget => budget + ANSWER_ROOM,
        _ => tokens,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::anthropic::encode::testing::spec;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn read(settings: &Value, pairs: &[(&str, &str)]) -> Result<Config, BuildError> {
        Config::read(&spec(settings), &variables(pairs), None)
    }

    #[test]
    fn the_address_comes_from_the_plan_then_the_variable_then_the_default() {
        let url = |settings: Value, pairs: &[(&str, &str)]| read(&settings, pairs).unwrap().url;
        let variable = [("ANTHROPIC_BASE_URL", "http://127.0.0.1:9/")];
        assert_eq!(url(json!({}), &[]), "https://api.anthropic.com/v1/messages");
        assert_eq!(url(json!({}), &variable), "http://127.0.0.1:9/v1/messages");
        assert_eq!(url(json!({"base_url": ""}), &variable), "http://127.0.0.1:9/v1/messages");
        assert_eq!(
            url(json!({"base_url": "https://g.example/a/v1/"}), &variable),
            "https://g.example/a/v1/messages"
        );
        let error = read(&json!({"base_url": "localhost:9"}), &[]).unwrap_err();
        assert!(
            error.to_string().starts_with("provider-anthropic: `base_url` must be an address"),
            "{error}"
        );
        let hidden = read(&json!({"base_url": "https://me:pw@g.example:8443/x"}), &[]).unwrap();
        assert_eq!(hidden.host, "g.example:8443");
    }

    #[test]
    fn the_key_comes_from_the_plan_then_the_variable_and_blank_is_none() {
        let key = |settings: Value, pairs: &[(&str, &str)]| {
            credential(&spec(&settings), &variables(pairs)).map(|key| key.expose().to_owned())
        };
        let variable = [("ANTHROPIC_API_KEY", "sk-variable\n")];
        assert_eq!(key(json!({}), &variable).as_deref(), Some("sk-variable"));
        assert_eq!(key(json!({"api_key": " sk-plan "}), &variable).as_deref(), Some("sk-plan"));
        assert_eq!(key(json!({"api_key": ""}), &[("ANTHROPIC_API_KEY", " ")]), None);
        assert!(!has_credential(&spec(&json!({})), &variables(&[])));
        let error = read(&json!({"api_key": 123_456_789}), &[]).unwrap_err();
        assert!(!error.to_string().contains("123456789"), "{error}");
    }

    #[test]
    fn numbers_have_bounds_and_defaults() {
        let config = read(&json!({}), &[]).unwrap();
        assert_eq!((config.model.as_str(), config.max_tokens), ("claude-sonnet-5", 32_000));
        assert_eq!(config.retry.max_retries, 5);
        assert_eq!(config.timeouts.idle, Duration::from_secs(300));
        let written =
            json!({"max_retry_delay": 0.5, "min_retry_delay": 2, "timeout": "1.5", "max_retries": 0});
        let config = read(&written, &[]).unwrap();
        assert_eq!(config.retry.max_delay, Duration::from_secs(2));
        assert_eq!((config.timeouts.response, config.retry.max_retries), (Duration::from_millis(1_500), 0));
        for wrong in [
            json!({"timeout": 0}),
            json!({"idle_timeout": "soon"}),
            json!({"max_tokens": 0}),
            json!({"max_tokens": 1.5}),
            json!({"temperature": -1}),
            json!({"thinking_budget_tokens": 1_023}),
            json!({"enable_prompt_caching": "maybe"}),
        ] {
            assert!(read(&wrong, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_key_that_is_read_is_announced() {
        let source = include_str!("config.rs");
        let (production, _) = source.split_once("#[cfg(test)]").unwrap();
        let known = |name: &str| INFO.keys.iter().any(|key| key.name == name);
        for reader in ["text(\"", "flag(\"", "number(\"", "integer(\"", "seconds(\"", "texts(\""] {
            for rest in production.split(reader).skip(1) {
                let name = rest.split('"').next().unwrap();
                assert!(known(name), "{name} is read but not in INFO");
            }
        }
    }

    #[test]
    fn params_hold_what_changes_an_answer_and_neither_key_nor_address() {
        let settings =
            json!({"base_url": "https://g.example", "api_key": "sk-plan", "temperature": 0.5, "timeout": 9});
        let provider =
            crate::provider::anthropic::Anthropic::build(&spec(&settings), &[].into(), Some("claude-x"));
        let provider = provider.unwrap();
        assert_eq!(
            provider.params(),
            json!({"anthropic_version": "2023-06-01", "max_tokens": 32_000, "temperature": 0.5})
        );
        assert_eq!(provider.model(), "claude-x");
    }
}
