//! The module `tool-web`: what a mount plan may ask of it, and what it says as long as no search backend is built in.

use serde_json::{Map, Value};

use super::Built;
use super::settings::{SettingError, Settings};
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};

/// What mount plans may say of this module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-web",
    aliases: &["tool-web-search"],
    kind: ModuleKind::Tool,
    summary: "searches the web through a configured backend; absent without one, and none is built in yet",
    keys: &[
        KeyInfo {
            name: "backend",
            shape: KeyShape::Text,
            default: "",
            doc: "who searches; no backend is built in yet, so any value is refused",
        },
        KeyInfo { name: "max_results", shape: KeyShape::Integer, default: "5", doc: "results of one search" },
        KeyInfo {
            name: "timeout",
            shape: KeyShape::Integer,
            default: "10",
            doc: "seconds one search may take",
        },
    ],
    tools: &[],
    credential: None,
};

/// Builds the module: without a backend its tools are absent, and results are never made up in their place.
///
/// # Errors
/// A backend is named, or another value cannot be used.
pub fn build(config: &Map<String, Value>) -> Result<Built, SettingError> {
    let settings = Settings::new(INFO.name, config);
    settings.count("max_results")?;
    settings.count("timeout")?;
    if let Some(backend) = settings.text("backend")? {
        let problem = format!(
            "is \"{backend}\", but no search backend is built in yet; remove the key to run without web search"
        );
        return Err(settings.wrong("backend", problem));
    }
    Ok(Built::Absent {
        notice:
            "tool-web: no search backend is configured, so `web_search` is absent; agents are not offered it"
                .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_absent_and_a_backend_is_refused() {
        let config = |value: Value| value.as_object().cloned().unwrap();
        let built =
            build(&config(serde_json::json!({"max_results": 5}))).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(built, Built::Absent { notice } if notice.contains("web_search")));
        let error = build(&config(serde_json::json!({"backend": "brave"}))).err().unwrap().to_string();
        assert!(error.contains("no search backend is built in yet"), "{error}");
        assert!(build(&config(serde_json::json!({"max_results": 0}))).is_err());
    }
}
