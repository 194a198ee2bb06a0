//! What a mount plan may say of a context, and what it means.

use serde_json::{Map, Value};

use crate::chat::Room;
use crate::limit;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind, ModuleSpec};

const fn key(name: &'static str, shape: KeyShape, default: &'static str, doc: &'static str) -> KeyInfo {
    KeyInfo { name, shape, default, doc }
}

pub(super) const MAX_TOKENS: KeyInfo = key(
    "max_tokens",
    KeyShape::Integer,
    "200000",
    "Most tokens of a request. A smaller window of the model counts in its place, less what a reply needs.",
);
pub(super) const COMPACT_THRESHOLD: KeyInfo = key(
    "compact_threshold",
    KeyShape::Number,
    "0.92",
    "Share of that at which older parts of the conversation are left out.",
);
pub(super) const TARGET_USAGE: KeyInfo =
    key("target_usage", KeyShape::Number, "0.50", "Share of it that is left afterwards, if that can be had.");
pub(super) const PROTECTED_TOOL_RESULTS: KeyInfo =
    key("protected_tool_results", KeyShape::Integer, "5", "The last results of tools, which are never cut.");
pub(super) const TRUNCATE_CHARS: KeyInfo =
    key("truncate_chars", KeyShape::Integer, "250", "Characters shown of an older result that is cut.");
pub(super) const TRUNCATE_BOUNDARY: KeyInfo = key(
    "truncate_boundary",
    KeyShape::Number,
    "0.50",
    "Share of the results, from the oldest, that are cut before any exchange is left out.",
);
pub(super) const NOTICE_ENABLED: KeyInfo = key(
    "compaction_notice_enabled",
    KeyShape::Flag,
    "true",
    "Whether the model is told that parts of the conversation are left out.",
);
pub(super) const NOTICE_RESERVE: KeyInfo = key(
    "compaction_notice_token_reserve",
    KeyShape::Integer,
    "800",
    "Tokens kept free for telling it so; never more than a tenth of all.",
);
pub(super) const NOTICE_VERBOSITY: KeyInfo = key(
    "compaction_notice_verbosity",
    KeyShape::Text,
    "normal",
    "How much it is told: minimal, normal or verbose.",
);
pub(super) const NOTICE_LEVEL: KeyInfo = key(
    "compaction_notice_min_level",
    KeyShape::Integer,
    "1",
    "It is told from this level on: 1 cuts a few results, 3 leaves exchanges out, 8 cuts prompts.",
);
pub(super) const OUTPUT_RESERVE: KeyInfo = key(
    "output_reserve_fraction",
    KeyShape::Number,
    "0.5",
    "Share of the longest reply that is kept free in the model's window.",
);
pub(super) const MAX_RESULT_BYTES: KeyInfo = key(
    "max_tool_result_bytes",
    KeyShape::Integer,
    "131072",
    "Larger results of tools are kept whole in a file of the workspace and shown cut.",
);
pub(super) const TOKEN_METER: KeyInfo = key(
    "token_meter",
    KeyShape::Text,
    "actual",
    "Where sizes come from: `actual`, the provider's last count; `estimate`, four bytes a token.",
);

const PROTECTED_RECENT: KeyInfo = key(
    "protected_recent",
    KeyShape::Number,
    "0.30",
    "Share of the messages, from the latest, that are left out last.",
);

/// `context-simple`.
pub const SIMPLE: ModuleInfo = ModuleInfo {
    name: "context-simple",
    aliases: &[],
    kind: ModuleKind::Context,
    summary: "keeps the conversation in memory and shows less of it when it grows too large",
    keys: &[
        MAX_TOKENS,
        COMPACT_THRESHOLD,
        TARGET_USAGE,
        PROTECTED_RECENT,
        PROTECTED_TOOL_RESULTS,
        TRUNCATE_CHARS,
        NOTICE_ENABLED,
        NOTICE_RESERVE,
        NOTICE_VERBOSITY,
        NOTICE_LEVEL,
        OUTPUT_RESERVE,
        MAX_RESULT_BYTES,
        TOKEN_METER,
    ],
    tools: &[],
    credential: None,
};

/// A setting of a context makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{module}: `{key}` {problem}")]
pub struct ConfigError {
    /// The module.
    pub module: String,
    /// The configuration key.
    pub key: &'static str,
    /// What is wrong and what is wanted.
    pub problem: String,
}

/// How a conversation is kept small.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the view may be at most. Tokens.
    pub(super) budget: u64,
    /// What is kept free beside it, for telling the model that something is left out. Tokens.
    told: u64,
    pub(super) compact_threshold: f64,
    pub(super) target_usage: f64,
    pub(super) protected_recent: f64,
    pub(super) protected_results: usize,
    pub(super) truncate_chars: usize,
    pub(super) truncate_boundary: f64,
    pub(super) notice: Notice,
    pub(super) most_result_bytes: usize,
    pub(super) meter: Metering,
}

/// What the model is told when parts of the conversation are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    Never,
    From { level: u8, words: Words },
}

/// How much it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Minimal,
    Normal,
    Verbose,
}

/// Where sizes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metering {
    Counted,
    Estimated,
}

/// Kept free in a window for what a provider adds to a request.
const WINDOW_MARGIN: u64 = 4_096;

impl Settings {
    /// Reads the settings of a context. `room` is the model's, where it is known.
    ///
    /// # Errors
    /// A value makes no sense.
    pub fn read(spec: &ModuleSpec, room: Option<Room>) -> Result<Self, ConfigError> {
        let reader = Reader { module: &spec.module, config: &spec.config };
        let bound = reader.whole(&MAX_TOKENS, 200_000)?;
        let reserve = reader.share(&OUTPUT_RESERVE, 0.5)?;
        let bound = match room {
            None => bound,
            Some(Room { window, reply }) => {
                bound.min(window.saturating_sub(part(reply, reserve)).saturating_sub(WINDOW_MARGIN))
            }
        };
        let notice = notice(reader)?;
        let told = match notice {
            Notice::Never => 0,
            Notice::From { .. } => reader.whole(&NOTICE_RESERVE, 800)?.min(bound / 10),
        };
        let compact_threshold = reader.share(&COMPACT_THRESHOLD, 0.92)?;
        let target_usage = reader.share(&TARGET_USAGE, 0.5)?;
        if target_usage >= compact_threshold {
            let problem = format!("must be less than `{}`, {compact_threshold}", COMPACT_THRESHOLD.name);
            return Err(reader.error(&TARGET_USAGE, problem));
        }
        let recent = if spec.module == SIMPLE.name { 0.30 } else { 0.10 };
        Ok(Self {
            budget: bound - told,
            told,
            compact_threshold,
            target_usage,
            protected_recent: reader.share(&PROTECTED_RECENT, recent)?,
            protected_results: reader.size(&PROTECTED_TOOL_RESULTS, 5)?,
            truncate_chars: reader.size(&TRUNCATE_CHARS, 250)?,
            truncate_boundary: reader.share(&TRUNCATE_BOUNDARY, 0.5)?,
            notice,
            most_result_bytes: result_bytes(reader)?,
            meter: match reader.word(&TOKEN_METER, &["actual", "estimate"])? {
                Some("estimate") => Metering::Estimated,
                _ => Metering::Counted,
            },
        })
    }

    /// Tokens of a request, at most.
    pub fn most_tokens(&self) -> u64 {
        self.budget + self.told
    }
}

fn result_bytes(reader: Reader<'_>) -> Result<usize, ConfigError> {
    let bytes = reader.size(&MAX_RESULT_BYTES, 131_072)?;
    if bytes < limit::SHOWN_RESULT_BYTES {
        let problem =
            format!("must be at least {}, so that something can be shown", limit::SHOWN_RESULT_BYTES);
        return Err(reader.error(&MAX_RESULT_BYTES, problem));
    }
    Ok(bytes)
}

fn notice(reader: Reader<'_>) -> Result<Notice, ConfigError> {
    if reader.flag(&NOTICE_ENABLED)? == Some(false) {
        return Ok(Notice::Never);
    }
    let level = u8::try_from(reader.whole(&NOTICE_LEVEL, 1)?).unwrap_or(u8::MAX);
    let words = match reader.word(&NOTICE_VERBOSITY, &["minimal", "normal", "verbose"])? {
        Some("minimal") => Words::Minimal,
        Some("verbose") => Words::Verbose,
        _ => Words::Normal,
    };
    Ok(Notice::From { level, words })
}

/// A share of a number.
pub(super) fn part(of: u64, share: f64) -> u64 {
    (of as f64 * share) as u64
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    module: &'a str,
    config: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    fn error(self, key: &KeyInfo, problem: impl Into<String>) -> ConfigError {
        ConfigError { module: self.module.to_owned(), key: key.name, problem: problem.into() }
    }

    fn value(self, key: &KeyInfo) -> Option<&'a Value> {
        self.config.get(key.name).filter(|value| !value.is_null())
    }

    fn whole(self, key: &KeyInfo, default: u64) -> Result<u64, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value
            .as_u64()
            .ok_or_else(|| self.error(key, format!("must be a whole number of at least 0, not {value}")))
    }

    fn size(self, key: &KeyInfo, default: usize) -> Result<usize, ConfigError> {
        let size = self.whole(key, default as u64)?;
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    fn share(self, key: &KeyInfo, default: f64) -> Result<f64, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
        share.ok_or_else(|| self.error(key, format!("must be a share from 0 to 1, not {value}")))
    }

    fn flag(self, key: &KeyInfo) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let flag =
            value.as_bool().ok_or_else(|| self.error(key, format!("must be true or false, not {value}")));
        flag.map(Some)
    }

    fn word(self, key: &KeyInfo, words: &[&str]) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_str().filter(|word| words.contains(word)) {
            Some(word) => Ok(Some(word)),
            None => Err(self.error(key, format!("must be one of {}, not {value}", words.join(", ")))),
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! Settings as a test writes them.

    use serde_json::Value;

    use super::Settings;
    use crate::plan::ModuleSpec;
    use crate::source::{Place, Route, SourceId};

    pub fn spec(module: &str, config: &Value) -> ModuleSpec {
        ModuleSpec {
            module: module.to_owned(),
            config: config.as_object().expect("a test writes an object").clone(),
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        }
    }

    pub fn settings(config: &Value) -> Settings {
        Settings::read(&spec("context-simple", config), None).expect("the test's settings are right")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::{settings, spec};
    use super::*;

    #[test]
    fn the_cap_holds_and_a_smaller_window_too() {
        assert_eq!(settings(&json!({})).budget, 200_000 - 800);
        assert_eq!(settings(&json!({"max_tokens": 1_000})).budget, 900);
        let roomy = |config, (window, reply)| {
            let room = Room { window, reply };
            Settings::read(&spec("context-simple", &config), Some(room)).unwrap().budget
        };
        assert_eq!(roomy(json!({}), (200_000, 32_000)), 200_000 - 16_000 - 4_096 - 800);
        assert_eq!(roomy(json!({"max_tokens": 50_000}), (200_000, 32_000)), 50_000 - 800);
        let quiet = json!({"max_tokens": 300_000, "compaction_notice_enabled": false});
        assert_eq!(roomy(quiet, (1_000_000, 0)), 300_000);
    }

    #[test]
    fn the_defaults_are_those_of_the_module() {
        let recent = |module| Settings::read(&spec(module, &json!({})), None).unwrap().protected_recent;
        assert_eq!((recent("context-simple"), recent("context-persistent")), (0.30, 0.10));
    }

    #[test]
    fn mistakes_name_the_key() {
        for (config, told) in [
            (json!({"target_usage": 0.95}), "`target_usage` must be less than `compact_threshold`, 0.92"),
            (json!({"compact_threshold": 2}), "`compact_threshold` must be a share from 0 to 1, not 2"),
            (json!({"max_tokens": -1}), "`max_tokens` must be a whole number"),
            (json!({"max_tool_result_bytes": 1}), "`max_tool_result_bytes` must be at least"),
            (json!({"token_meter": "guess"}), "must be one of actual, estimate"),
            (json!({"compaction_notice_verbosity": 1}), "must be one of minimal, normal, verbose"),
        ] {
            let error = Settings::read(&spec("context-simple", &config), None).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
