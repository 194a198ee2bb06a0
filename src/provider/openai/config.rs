//! What a mount plan may say about `provider-openai`, and what it means.

use serde_json::{Map, Value, json};

use super::refusal::Asked;
use crate::plan::{Credential, KeyShape, ModuleInfo, ModuleKind, ModuleSpec, Need, Variables};
use crate::provider::fallback;
use crate::provider::settings::{self, Address, BuildError, Settings, key};
use crate::provider::{RetryPolicy, Timeouts};
use crate::secret::Secret;

const ADDRESS: Address =
    Address { key: "base_url", variable: Some("OPENAI_BASE_URL"), default: "https://api.openai.com/v1" };
const DEFAULT_MODEL: &str = "gpt-5.5";

/// Room for a long file in one tool call, below the ceiling of every current model.
const DEFAULT_MAX_TOKENS: u64 = 32_000;

const CREDENTIAL: Credential =
    Credential { variable: "OPENAI_API_KEY", key: "api_key", need: Need::Required };

/// What there is to know of the module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "provider-openai",
    aliases: &[],
    kind: ModuleKind::Provider,
    summary: "GPT and reasoning models over OpenAI's Responses API, streaming; nothing is stored there",
    keys: &[
        key("api_key", KeyShape::Secret, "", "The key; OPENAI_API_KEY when absent."),
        key(
            "base_url",
            KeyShape::Text,
            ADDRESS.default,
            "The server's address with its `/v1`; OPENAI_BASE_URL when absent.",
        ),
        key("default_model", KeyShape::Text, DEFAULT_MODEL, "The model, unless a role names another."),
        key("max_tokens", KeyShape::Integer, "32000", "Most tokens of one reply, reasoning included."),
        key(
            "temperature",
            KeyShape::Number,
            "",
            "Sampling temperature. Not sent to reasoning models: they refuse it.",
        ),
        key(
            "reasoning",
            KeyShape::Text,
            "",
            "How hard a reasoning model thinks, such as low, medium or high.",
        ),
        key(
            "reasoning_summary",
            KeyShape::Text,
            "",
            "Asks for a summary of the reasoning (auto, concise or detailed), which some accounts may not.",
        ),
        key("truncation", KeyShape::Text, "", "Auto lets the server drop the middle of a long conversation."),
        key("prompt_cache_key", KeyShape::Text, "", "Keeps requests that begin alike together in the cache."),
        key(
            "prompt_cache_retention",
            KeyShape::Text,
            "",
            "How long the server keeps its cache, such as 24h.",
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
        settings::accepted("retry_jitter", KeyShape::Any),
        settings::accepted("enable_state", KeyShape::Flag),
        settings::accepted("enable_response_chaining", KeyShape::Any),
        settings::accepted("use_streaming", KeyShape::Flag),
        settings::accepted("poll_interval", KeyShape::Number),
        settings::accepted("background_timeout", KeyShape::Number),
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
    /// Only where the model takes it.
    pub temperature: Option<f64>,
    pub effort: Option<String>,
    pub summary: Option<String>,
    pub truncation: Option<String>,
    pub cache_key: Option<String>,
    pub cache_retention: Option<String>,
    pub retry: RetryPolicy,
    pub timeouts: Timeouts,
    /// Calls under way at once, if that is bounded.
    pub max_concurrent: Option<usize>,
}

impl Config {
    pub fn read(spec: &ModuleSpec, variables: &Variables, model: Option<&str>) -> Result<Self, BuildError> {
        let settings = Settings::of(spec);
        let base = with_version(settings.address(&ADDRESS, variables)?);
        let model = model.or(settings.text("default_model")?).unwrap_or(DEFAULT_MODEL).to_owned();
        let text = |key: &'static str| settings.text(key).map(|text| text.map(str::to_owned));
        Ok(Self {
            url: format!("{base}/responses"),
            host: settings::host_of(&base).to_owned(),
            api_key: settings.credential(&CREDENTIAL, variables)?,
            max_tokens: settings.max_tokens()?.unwrap_or(DEFAULT_MAX_TOKENS),
            temperature: settings.number("temperature")?.filter(|_| !reasons(&model)),
            effort: text("reasoning")?,
            summary: text("reasoning_summary")?,
            truncation: text("truncation")?,
            cache_key: text("prompt_cache_key")?,
            cache_retention: text("prompt_cache_retention")?,
            retry: settings.retry()?,
            timeouts: settings.timeouts()?,
            max_concurrent: settings.max_concurrent()?,
            model,
        })
    }

    /// How the model is asked to reason, if anything is said of it.
    pub fn reasoning(&self) -> Option<Value> {
        let fields = [("effort", &self.effort), ("summary", &self.summary)];
        let said = fields.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text.as_ref()?))));
        let said: Map<String, Value> = said.collect();
        (!said.is_empty()).then_some(Value::Object(said))
    }

    /// Who is asked, for messages.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            host: &self.host,
            model: &self.model,
            module: INFO.name,
            credential: "OPENAI_API_KEY or `api_key`",
        }
    }
}

/// An address that names only a server means its `/v1`; one with a path is taken as it is.
pub fn with_version(base: String) -> String {
    let has_path = base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path { base } else { format!("{base}/v1") }
}

/// Whether a model reasons before it answers. The older families do not; they refuse to give their reasoning out, and
/// take a temperature, which all others refuse.
pub fn reasons(model: &str) -> bool {
    const PLAIN: [&str; 5] = ["gpt-3.5", "gpt-4", "chatgpt-4o", "gpt-5-chat", "ft:gpt-4"];
    // A gateway names the maker before the model: `openai/gpt-4o`.
    let name = model.rsplit('/').next().unwrap_or(model);
    !PLAIN.iter().any(|plain| name.starts_with(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::openai::encode::testing::spec;

    fn read(config: &Value, pairs: &[(&str, &str)]) -> Result<Config, BuildError> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&spec(config), &variables, None)
    }

    #[test]
    fn the_address_may_lack_its_version_but_not_its_scheme() {
        let url = |config: Value, pairs: &[(&str, &str)]| read(&config, pairs).unwrap().url;
        let variable = [("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")];
        assert_eq!(url(json!({}), &[]), "https://api.openai.com/v1/responses");
        assert_eq!(url(json!({}), &variable), "http://127.0.0.1:9/v1/responses");
        assert_eq!(url(json!({"base_url": "http://h:1"}), &variable), "http://h:1/v1/responses");
        assert_eq!(
            url(json!({"base_url": "https://x.openai.azure.com/openai/v1"}), &[]),
            "https://x.openai.azure.com/openai/v1/responses"
        );
        let error = read(&json!({"base_url": "localhost:9"}), &[]).unwrap_err();
        assert!(
            error.to_string().starts_with("provider-openai: `base_url` must be an address such as"),
            "{error}"
        );
    }

    #[test]
    fn a_temperature_reaches_only_models_that_take_one() {
        let heat = |model: &str| {
            read(&json!({"temperature": 0.2, "default_model": model}), &[]).unwrap().temperature
        };
        assert_eq!(heat("gpt-4.1-mini"), Some(0.2));
        assert_eq!(heat("openai/gpt-4o"), Some(0.2));
        assert_eq!(heat("gpt-5.5"), None);
        assert_eq!(heat("o3"), None);
    }

    #[test]
    fn every_key_of_the_original_is_known_and_values_have_bounds() {
        for name in ["reasoning", "reasoning_summary", "truncation", "enable_state", "poll_interval", "raw"] {
            assert!(INFO.keys.iter().any(|key| key.name == name), "{name}");
        }
        assert!(read(&json!({"max_tokens": 0}), &[]).is_err());
        assert!(read(&json!({"timeout": 0}), &[]).is_err());
        assert!(read(&json!({"reasoning": 3}), &[]).is_err());
        let config = read(&json!({}), &[("OPENAI_API_KEY", " sk-x \n")]).unwrap();
        assert_eq!(config.api_key.unwrap().expose(), "sk-x");
        assert_eq!((config.model.as_str(), config.max_tokens), ("gpt-5.5", 32_000));
    }

    #[test]
    fn every_key_that_is_read_is_announced() {
        let source = include_str!("config.rs");
        let (production, _) = source.split_once("#[cfg(test)]").unwrap();
        for reader in ["text(\"", "flag(\"", "number(\"", "integer(\""] {
            for rest in production.split(reader).skip(1) {
                let name = rest.split('"').next().unwrap();
                assert!(INFO.keys.iter().any(|key| key.name == name), "{name} is read but not in INFO");
            }
        }
    }
}
