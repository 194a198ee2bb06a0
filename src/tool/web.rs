//! The tools `web_search` and `web_fetch`: which there are, by what a mount plan says, and what they may reach.
//!
//! Search goes to the backend that is configured, and there are no results but its own. Pages are fetched from the
//! public internet only (`http::Fetcher`), for a model takes addresses from whatever it has read.

mod fetch;
mod page;
mod search;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::settings::{SettingError, Settings};
use super::workspace::Workspace;
use super::{Built, Tool};
use crate::http::{Fetcher, Names, Reach, SystemNames};
use crate::limit;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind, Variables};
use crate::secret::Secret;
use search::{Backend, Search};

/// What mount plans may say of this module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-web",
    aliases: &["tool-web-search"],
    kind: ModuleKind::Tool,
    summary: "fetches pages of the public internet as text, and searches it through a configured backend; without one `web_search` is absent",
    keys: &[
        KeyInfo {
            name: "backend",
            shape: KeyShape::Text,
            default: "",
            doc: "who searches: brave, tavily or searxng; with none there is no `web_search`, and nothing is said of that",
        },
        KeyInfo {
            name: "api_key",
            shape: KeyShape::Secret,
            default: "",
            doc: "the backend's key; from the environment when absent: `BRAVE_API_KEY`, `TAVILY_API_KEY`",
        },
        KeyInfo {
            name: "base_url",
            shape: KeyShape::Text,
            default: "",
            doc: "the backend's address; needed for searxng, whose settings must allow the format json",
        },
        KeyInfo {
            name: "max_results",
            shape: KeyShape::Integer,
            default: "5",
            doc: "results of one search, at most 20",
        },
        KeyInfo {
            name: "timeout",
            shape: KeyShape::Integer,
            default: "10",
            doc: "seconds one search, or one page with its redirects, may take",
        },
        KeyInfo {
            name: "allowed_domains",
            shape: KeyShape::TextList,
            default: "[]",
            doc: "the only domains, with those below them, that pages are fetched from; empty allows all",
        },
        KeyInfo {
            name: "blocked_domains",
            shape: KeyShape::TextList,
            default: "[]",
            doc: "domains, with those below them, that no page is fetched from; wins over allowed_domains",
        },
        KeyInfo {
            name: "private_hosts",
            shape: KeyShape::TextList,
            default: "[]",
            doc: "hosts (`wiki.intern`, `127.0.0.1:8080`) that pages are fetched from although they are not public",
        },
    ],
    tools: &["web_search", "web_fetch"],
    credential: None,
};

/// Builds the tools of one session.
///
/// # Errors
/// A value of the configuration cannot be used.
pub fn build(
    config: &Map<String, Value>,
    workspace: &Arc<Workspace>,
    variables: &Variables,
) -> Result<Built, SettingError> {
    build_with(config, workspace, variables, Arc::new(SystemNames))
}

/// The same with another way from names to addresses.
///
/// # Errors
/// A value of the configuration cannot be used.
pub fn build_with(
    config: &Map<String, Value>,
    workspace: &Arc<Workspace>,
    variables: &Variables,
    names: Arc<dyn Names>,
) -> Result<Built, SettingError> {
    let settings = Settings::new(INFO.name, config);
    let texts = |key| -> Result<Vec<String>, SettingError> {
        Ok(settings.texts(key)?.unwrap_or_default().into_iter().map(str::to_owned).collect())
    };
    let reach = Reach {
        private_hosts: texts("private_hosts")?,
        allowed_domains: texts("allowed_domains")?,
        blocked_domains: texts("blocked_domains")?,
    };
    let timeout = settings.count("timeout")?.map_or(limit::WEB_TIMEOUT, Duration::from_secs);
    let max_results = settings.count("max_results")?.unwrap_or(5);
    if max_results > limit::WEB_RESULTS {
        return Err(settings.wrong("max_results", format!("may be at most {}", limit::WEB_RESULTS)));
    }
    let fetcher = Arc::new(Fetcher::new(reach, names));
    let workspace = Arc::clone(workspace);
    let web = Arc::new(Web { fetcher, workspace, timeout });
    let fetch: Arc<dyn Tool> = Arc::new(fetch::Fetch(Arc::clone(&web)));
    match searching(&settings, variables)? {
        Ok(Searching { backend, key, base }) => {
            let search = Search { web, backend, base, key: key.map(Secret::new), max_results };
            Ok(Built::Tools(vec![Arc::new(search), fetch]))
        }
        Err(Nobody::Wanted) => Ok(Built::Tools(vec![fetch])),
        Err(Nobody::Because(why)) => Ok(Built::Partial {
            tools: vec![fetch],
            notice: format!("tool-web: {why}, so `web_search` is absent; agents are not offered it"),
        }),
    }
}

/// What `web_search` asks with.
struct Searching {
    backend: Backend,
    key: Option<String>,
    base: String,
}

/// That nobody searches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nobody {
    /// As it is wanted: `backend: none`.
    Wanted,
    /// For this reason.
    Because(String),
}

/// Who searches with a configuration, or why nobody does.
///
/// # Errors
/// A value of the configuration cannot be used.
pub fn searches(
    config: &Map<String, Value>,
    variables: &Variables,
) -> Result<Result<&'static str, Nobody>, SettingError> {
    let found = searching(&Settings::new(INFO.name, config), variables)?;
    Ok(found.map(|searching| searching.backend.name()))
}

fn searching(
    settings: &Settings<'_>,
    variables: &Variables,
) -> Result<Result<Searching, Nobody>, SettingError> {
    let because = |why: &str| Ok(Err(Nobody::Because(why.to_owned())));
    if settings.text("backend")?.is_some_and(|name| name.trim() == NO_BACKEND) {
        return Ok(Err(Nobody::Wanted));
    }
    let Some(backend) = backend(settings)? else {
        return because("no search backend is configured");
    };
    let key = key_of(settings, backend, variables)?;
    if let (None, Some(variable)) = (&key, backend.variable()) {
        return because(&format!("{variable}, which the backend {} needs, is not set", backend.name()));
    }
    let base = match (settings.text("base_url")?.filter(|url| !url.trim().is_empty()), backend.base()) {
        (Some(url), _) if url.starts_with("http://") || url.starts_with("https://") => url,
        (Some(_), _) => return Err(settings.wrong("base_url", "must begin with http:// or https://")),
        (None, Some(base)) => base,
        (None, None) => {
            return because("`base_url`, the address of the searxng server, is not set");
        }
    };
    Ok(Ok(Searching { backend, key, base: base.trim_end_matches('/').to_owned() }))
}

/// The backend of those who only fetch pages.
const NO_BACKEND: &str = "none";

/// The variables that hold keys of search backends.
pub const VARIABLES: [&str; 2] = ["BRAVE_API_KEY", "TAVILY_API_KEY"];

/// The credentials that a configuration uses: the name of each, and what it is. One that makes no sense has none.
pub fn credentials(config: &Map<String, Value>, variables: &Variables) -> Vec<(&'static str, String)> {
    let settings = Settings::new(INFO.name, config);
    let Ok(Some(backend)) = backend(&settings) else {
        // A key without a backend is used for nothing, but it stands in the mount plan.
        let key = settings.text("api_key").ok().flatten().map(str::trim).filter(|key| !key.is_empty());
        return key.map(|key| ("SEARCH_API_KEY", key.to_owned())).into_iter().collect();
    };
    let name = backend.variable().unwrap_or("SEARCH_API_KEY");
    key_of(&settings, backend, variables).ok().flatten().map(|key| (name, key)).into_iter().collect()
}

fn backend(settings: &Settings<'_>) -> Result<Option<Backend>, SettingError> {
    let name = settings.text("backend")?.map(str::trim);
    let Some(name) = name.filter(|name| !name.is_empty() && *name != NO_BACKEND) else {
        return Ok(None);
    };
    let backend = Backend::from_text(name);
    backend.map(Some).ok_or_else(|| settings.wrong("backend", "must be brave, tavily, searxng or none"))
}

fn key_of(
    settings: &Settings<'_>,
    backend: Backend,
    variables: &Variables,
) -> Result<Option<String>, SettingError> {
    let from_environment = || variables.get(backend.variable()?).map(String::as_str);
    let in_config = settings.text("api_key")?.filter(|key| !key.trim().is_empty());
    let key = in_config.or_else(from_environment).map(str::trim).filter(|key| !key.is_empty());
    Ok(key.map(str::to_owned))
}

/// What the two tools share.
struct Web {
    fetcher: Arc<Fetcher>,
    workspace: Arc<Workspace>,
    timeout: Duration,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Scrubber;

    fn names(config: &Value, variables: &[(&str, &str)]) -> Result<(Vec<String>, Option<String>), String> {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Arc::new(Workspace::open(dir.path(), Scrubber::default()).unwrap());
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (tools, notice) = match build(config.as_object().unwrap(), &workspace, &variables) {
            Ok(Built::Tools(tools)) => (tools, None),
            Ok(Built::Partial { tools, notice }) => (tools, Some(notice)),
            Ok(Built::Absent { notice }) => (Vec::new(), Some(notice)),
            Err(error) => return Err(error.to_string()),
        };
        Ok((tools.iter().map(|tool| tool.spec().name).collect(), notice))
    }

    #[test]
    fn search_is_absent_until_its_backend_is_whole() {
        for (config, because) in [
            (json!({}), "no search backend is configured"),
            (json!({"backend": ""}), "no search backend is configured"),
            (json!({"backend": "brave"}), "BRAVE_API_KEY"),
            (json!({"backend": "tavily", "api_key": " "}), "TAVILY_API_KEY"),
            (json!({"backend": "searxng"}), "`base_url`"),
        ] {
            let (tools, notice) = names(&config, &[]).unwrap();
            assert_eq!(tools, ["web_fetch"], "{config}");
            let notice = notice.unwrap();
            assert!(notice.contains(because) && notice.contains("`web_search` is absent"), "{notice}");
        }
        assert_eq!(names(&json!({"backend": "none"}), &[]), Ok((vec!["web_fetch".to_owned()], None)));
        let both = ["web_search".to_owned(), "web_fetch".to_owned()].to_vec();
        for (config, variables) in [
            (json!({"backend": "brave"}), vec![("BRAVE_API_KEY", "k")]),
            (json!({"backend": "tavily", "api_key": "k"}), vec![]),
            (json!({"backend": "searxng", "base_url": "http://localhost:8888"}), vec![]),
        ] {
            assert_eq!(names(&config, &variables), Ok((both.clone(), None)), "{config}");
        }
    }

    #[test]
    fn values_that_cannot_be_used_are_refused() {
        for (config, because) in [
            (json!({"backend": "google"}), "`backend` must be brave, tavily, searxng or none"),
            (json!({"backend": "searxng", "base_url": "localhost"}), "`base_url` must begin with"),
            (json!({"max_results": 21}), "`max_results` may be at most 20"),
            (json!({"private_hosts": "x"}), "`private_hosts` must be a list"),
        ] {
            let error = names(&config, &[]).unwrap_err();
            assert!(error.contains(because), "{error}");
        }
    }

    #[test]
    fn credentials_are_named_after_their_variable() {
        let of = |config: Value| {
            credentials(
                config.as_object().unwrap(),
                &Variables::from([("BRAVE_API_KEY".to_owned(), "from-environment".to_owned())]),
            )
        };
        assert_eq!(of(json!({"backend": "brave"})), [("BRAVE_API_KEY", "from-environment".to_owned())]);
        assert_eq!(of(json!({"backend": "brave", "api_key": "own"})), [("BRAVE_API_KEY", "own".to_owned())]);
        assert_eq!(
            of(json!({"backend": "tavily", "api_key": "own"})),
            [("TAVILY_API_KEY", "own".to_owned())]
        );
        assert_eq!(of(json!({"api_key": "own"})), [("SEARCH_API_KEY", "own".to_owned())]);
        assert!(of(json!({"backend": "tavily"})).is_empty());
    }
}
