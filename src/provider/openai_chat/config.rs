//! What a mount plan may say about `provider-openai-compatible` and `provider-ollama`, and what it means.

use crate::plan::{Credential, KeyInfo, KeyShape, ModuleInfo, ModuleKind, ModuleSpec, Need, Variables};
use crate::provider::fallback;
use crate::provider::openai::{refusal::Asked, with_version};
use crate::provider::settings::{self, Address, BuildError, Settings, key};
use crate::provider::{RetryPolicy, Timeouts};
use crate::secret::Secret;

const ADDRESS: Address = Address { key: "base_url", variable: None, default: "" };

/// A key of its own: that of one company is not to be sent to the server of another.
const CREDENTIAL: Credential =
    Credential { variable: "OPENAI_COMPATIBLE_API_KEY", key: "api_key", need: Need::Optional };

const OLLAMA_PORT: u16 = 11_434;
const OLLAMA_ADDRESS: &str = "http://localhost:11434";
const OLLAMA_MODEL: &str = "llama3.2:3b";
const OLLAMA_CREDENTIAL: Credential =
    Credential { variable: "OLLAMA_API_KEY", key: "api_key", need: Need::Optional };

const TEMPERATURE: KeyInfo =
    key("temperature", KeyShape::Number, "", "Sampling temperature; the server's own when absent.");
const MAX_TOKENS: KeyInfo =
    key("max_tokens", KeyShape::Integer, "", "Most tokens of one reply; the server's own when absent.");
const REASONING_EFFORT: KeyInfo = key(
    "reasoning_effort",
    KeyShape::Text,
    "",
    "How hard a reasoning model thinks (none, low, medium or high), where the server takes it.",
);
const REASONING_FIELD: KeyInfo = key(
    "reasoning_field",
    KeyShape::Text,
    "",
    "The field in which a model's reasoning goes back to it, such as reasoning_content for DeepSeek; not sent back without it, as most refuse it.",
);
const STREAM_USAGE: KeyInfo = key(
    "stream_usage",
    KeyShape::Flag,
    "true",
    "Asks for token counts in the stream; false for servers that refuse `stream_options`.",
);

/// What there is to know of `provider-openai-compatible`.
pub const COMPATIBLE: ModuleInfo = ModuleInfo {
    name: "provider-openai-compatible",
    aliases: &[],
    kind: ModuleKind::Provider,
    summary: "Any server of OpenAI's Chat Completions API, streaming: vLLM, llama.cpp, OpenRouter, Mistral, Groq, Azure and others",
    keys: &[
        key(
            "api_key",
            KeyShape::Secret,
            "",
            "The key; OPENAI_COMPATIBLE_API_KEY when absent; none is sent when that is absent too.",
        ),
        key(
            "base_url",
            KeyShape::Text,
            "",
            "Required. The server's address with its `/v1`, which is added when the address has no path.",
        ),
        key("default_model", KeyShape::Text, "", "The model, unless a role names another; one of them must."),
        MAX_TOKENS,
        TEMPERATURE,
        REASONING_EFFORT,
        REASONING_FIELD,
        STREAM_USAGE,
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
        settings::accepted("debug", KeyShape::Flag),
        settings::accepted("raw_debug", KeyShape::Flag),
        settings::accepted("raw", KeyShape::Flag),
    ],
    tools: &[],
    credential: Some(CREDENTIAL),
};

/// What there is to know of `provider-ollama`.
pub const OLLAMA: ModuleInfo = ModuleInfo {
    name: "provider-ollama",
    aliases: &[],
    kind: ModuleKind::Provider,
    summary: "Models on Ollama, over its Chat Completions API, streaming",
    keys: &[
        key("host", KeyShape::Text, OLLAMA_ADDRESS, "The server's address; OLLAMA_HOST when absent."),
        key("base_url", KeyShape::Text, "", "The same with its `/v1`; wins over `host`."),
        key(
            "api_key",
            KeyShape::Secret,
            "",
            "A key, where the server wants one; OLLAMA_API_KEY when absent.",
        ),
        key("default_model", KeyShape::Text, OLLAMA_MODEL, "The model, unless a role names another."),
        MAX_TOKENS,
        TEMPERATURE,
        REASONING_EFFORT,
        REASONING_FIELD,
        STREAM_USAGE,
        key(
            "enable_thinking",
            KeyShape::Flag,
            "true",
            "False asks a model not to think, unless `reasoning_effort` says how hard.",
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
            "num_ctx",
            KeyShape::Integer,
            "",
            "Accepted; has no effect, as this API of Ollama takes no context length: set OLLAMA_CONTEXT_LENGTH where it runs.",
        ),
        settings::accepted("auto_pull", KeyShape::Flag),
        settings::accepted("retry_jitter", KeyShape::Any),
        settings::accepted("debug", KeyShape::Flag),
        settings::accepted("raw_debug", KeyShape::Flag),
        settings::accepted("raw", KeyShape::Flag),
    ],
    tools: &[],
    credential: Some(OLLAMA_CREDENTIAL),
};

/// A configured use of a server.
#[derive(Debug)]
pub struct Config {
    pub module: &'static str,
    pub url: String,
    pub host: String,
    pub api_key: Option<Secret>,
    pub model: String,
    pub max_tokens: Option<u64>,
    /// The name that the bound on tokens has there.
    pub max_tokens_field: &'static str,
    pub temperature: Option<f64>,
    pub effort: Option<String>,
    pub reasoning_field: Option<String>,
    pub usage: AskForUsage,
    pub retry: RetryPolicy,
    pub timeouts: Timeouts,
    /// Calls under way at once, if that is bounded.
    pub max_concurrent: Option<usize>,
}

/// Whether token counts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskForUsage {
    Yes,
    No,
}

impl Config {
    pub fn read(spec: &ModuleSpec, variables: &Variables, model: Option<&str>) -> Result<Self, BuildError> {
        let settings = Settings::of(spec);
        let is_ollama = spec.module == OLLAMA.name;
        let (info, credential) =
            if is_ollama { (&OLLAMA, OLLAMA_CREDENTIAL) } else { (&COMPATIBLE, CREDENTIAL) };
        let base = match is_ollama {
            true => ollama_address(settings, variables)?,
            false => settings.address(&ADDRESS, variables)?,
        };
        let base = with_version(base.trim_end_matches("/chat/completions").to_owned());
        let host = settings::host_of(&base).to_owned();
        let default = is_ollama.then_some(OLLAMA_MODEL);
        let Some(model) = model.or(settings.text("default_model")?).or(default) else {
            return Err(settings.error(
                "default_model",
                "must be set, or the role's `model`: the server has no model of its own",
            ));
        };
        let thinks = settings.flag("enable_thinking")? != Some(false);
        let effort = settings.text("reasoning_effort")?.or((!thinks).then_some("none"));
        Ok(Self {
            module: info.name,
            url: format!("{base}/chat/completions"),
            api_key: settings.credential(&credential, variables)?,
            model: model.to_owned(),
            max_tokens: settings.max_tokens()?,
            max_tokens_field: max_tokens_field(&host),
            temperature: settings.number("temperature")?,
            effort: effort.map(str::to_owned),
            reasoning_field: settings.text("reasoning_field")?.map(str::to_owned),
            usage: match settings.flag("stream_usage")? {
                Some(false) => AskForUsage::No,
                _ => AskForUsage::Yes,
            },
            retry: settings.retry()?,
            timeouts: settings.timeouts()?,
            max_concurrent: settings.max_concurrent()?,
            host,
        })
    }

    /// Who is asked, for messages.
    pub fn asked(&self) -> Asked<'_> {
        Asked { host: &self.host, model: &self.model, module: self.module, credential: "`api_key`" }
    }
}

/// OpenAI itself has renamed the bound, and its newer models refuse the old name; everybody else knows the old one.
fn max_tokens_field(host: &str) -> &'static str {
    let name = host.split(':').next().unwrap_or(host);
    let renamed = ["api.openai.com", ".openai.azure.com"].iter().any(|known| name.ends_with(known));
    if renamed { "max_completion_tokens" } else { "max_tokens" }
}

/// `base_url`, else `host`, else `OLLAMA_HOST`, which is often written without a scheme or a port.
fn ollama_address(settings: Settings<'_>, variables: &Variables) -> Result<String, BuildError> {
    if settings.text("base_url")?.is_some() {
        return settings.address(&ADDRESS, variables);
    }
    let variable = variables.get("OLLAMA_HOST").map(|host| host.trim()).filter(|host| !host.is_empty());
    let written = settings.text("host")?.or(variable).unwrap_or(OLLAMA_ADDRESS).trim_end_matches('/');
    if written.contains("://") {
        let is_http = written.starts_with("http://") || written.starts_with("https://");
        return match is_http {
            true => Ok(written.to_owned()),
            false => Err(settings.error(
                "host",
                format!("must be an address such as {OLLAMA_ADDRESS}, not `{written}` (it may come from OLLAMA_HOST)"),
            )),
        };
    }
    let has_port = written.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { format!("http://{written}") } else { format!("http://{written}:{OLLAMA_PORT}") })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::openai_chat::encode::testing::spec;

    fn read(module: &str, config: &Value, pairs: &[(&str, &str)]) -> Result<Config, BuildError> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&spec(module, config), &variables, None)
    }

    fn at(base: &str) -> Value {
        json!({"base_url": base, "default_model": "m"})
    }

    #[test]
    fn the_address_is_required_and_taken_as_people_write_it() {
        let url = |base: &str| read(COMPATIBLE.name, &at(base), &[]).unwrap().url;
        assert_eq!(url("http://127.0.0.1:8000"), "http://127.0.0.1:8000/v1/chat/completions");
        assert_eq!(url("https://openrouter.ai/api/v1/"), "https://openrouter.ai/api/v1/chat/completions");
        assert_eq!(url("http://h/v1/chat/completions"), "http://h/v1/chat/completions");
        let missing = read(COMPATIBLE.name, &json!({"default_model": "m"}), &[]).unwrap_err();
        assert!(missing.to_string().contains("`base_url` must be set"), "{missing}");
        let nameless = read(COMPATIBLE.name, &json!({"base_url": "http://h/v1"}), &[]).unwrap_err();
        assert!(nameless.to_string().contains("`default_model` must be set"), "{nameless}");
    }

    #[test]
    fn ollama_is_found_where_it_usually_is() {
        let url = |config: Value, pairs: &[(&str, &str)]| read(OLLAMA.name, &config, pairs).unwrap().url;
        assert_eq!(url(json!({}), &[]), "http://localhost:11434/v1/chat/completions");
        assert_eq!(url(json!({}), &[("OLLAMA_HOST", "box")]), "http://box:11434/v1/chat/completions");
        assert_eq!(url(json!({}), &[("OLLAMA_HOST", "0.0.0.0:9")]), "http://0.0.0.0:9/v1/chat/completions");
        let written = json!({"host": "https://o.example/"});
        assert_eq!(url(written, &[("OLLAMA_HOST", "x")]), "https://o.example/v1/chat/completions");
        assert!(read(OLLAMA.name, &json!({"host": "ftp://x"}), &[]).is_err());
        let quiet = read(OLLAMA.name, &json!({"enable_thinking": false}), &[]).unwrap();
        assert_eq!((quiet.effort.as_deref(), quiet.model.as_str()), (Some("none"), "llama3.2:3b"));
    }

    #[test]
    fn a_key_is_sent_only_where_it_was_meant_for() {
        let elsewhere = [("OPENAI_API_KEY", "sk-openai"), ("ANTHROPIC_API_KEY", "sk-ant")];
        assert!(read(COMPATIBLE.name, &at("http://h/v1"), &elsewhere).unwrap().api_key.is_none());
        let own = [("OPENAI_COMPATIBLE_API_KEY", "k-1\n")];
        let key = read(COMPATIBLE.name, &at("http://h/v1"), &own).unwrap().api_key.unwrap();
        assert_eq!(key.expose(), "k-1");
    }

    #[test]
    fn the_bound_on_tokens_has_the_name_the_server_knows() {
        let field = |base: &str| read(COMPATIBLE.name, &at(base), &[]).unwrap().max_tokens_field;
        assert_eq!(field("https://api.openai.com/v1"), "max_completion_tokens");
        assert_eq!(field("https://x.openai.azure.com/openai/v1"), "max_completion_tokens");
        assert_eq!(field("https://api.groq.com/openai/v1"), "max_tokens");
    }

    #[test]
    fn every_key_that_is_read_is_announced() {
        let source = include_str!("config.rs");
        let (production, _) = source.split_once("#[cfg(test)]").unwrap();
        for reader in ["text(\"", "flag(\"", "number(\"", "integer(\""] {
            for rest in production.split(reader).skip(1) {
                let name = rest.split('"').next().unwrap();
                let known = |info: &ModuleInfo| info.keys.iter().any(|key| key.name == name);
                let both = !["host", "enable_thinking"].contains(&name);
                assert!(known(&OLLAMA) && (known(&COMPATIBLE) || !both), "{name} is read but not announced");
            }
        }
    }
}
