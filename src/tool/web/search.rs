//! The tool `web_search`: what a search backend finds, and nothing when it finds nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::super::arguments::{ArgumentError, Arguments};
use super::super::{CallContext, Tool, ToolOutput};
use super::Web;
use super::fetch::WebError;
use crate::chat::ToolSpec;
use crate::event::{Footprint, Policy};
use crate::http::{HeaderText, Page, Question};
use crate::limit;
use crate::secret::Secret;

/// Who searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Brave,
    Tavily,
    SearXng,
}

impl Backend {
    /// By its name in a mount plan.
    pub(super) fn from_text(name: &str) -> Option<Self> {
        [Self::Brave, Self::Tavily, Self::SearXng].into_iter().find(|backend| backend.name() == name.trim())
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brave => "brave",
            Self::Tavily => "tavily",
            Self::SearXng => "searxng",
        }
    }

    /// The variable that holds its key, if it needs one.
    pub(super) fn variable(self) -> Option<&'static str> {
        match self {
            Self::Brave => Some(super::VARIABLES[0]),
            Self::Tavily => Some(super::VARIABLES[1]),
            Self::SearXng => None,
        }
    }

    /// Its address, if it has one of its own.
    pub(super) fn base(self) -> Option<&'static str> {
        match self {
            Self::Brave => Some("https://api.search.brave.com"),
            Self::Tavily => Some("https://api.tavily.com"),
            Self::SearXng => None,
        }
    }

    fn question(self, base: &str, key: Option<&Secret>, (query, most): (&str, u64)) -> Question {
        let header = |name: &'static str, prefix: &'static str| {
            let secret = |key: &Secret| (name, HeaderText::Secret { prefix, secret: key.clone() });
            key.map(secret).into_iter().collect::<Vec<_>>()
        };
        match self {
            Self::Brave => Question {
                url: format!("{base}/res/v1/web/search"),
                query: vec![
                    ("q", query.to_owned()),
                    ("count", most.to_string()),
                    ("text_decorations", "false".to_owned()),
                ],
                headers: header("x-subscription-token", ""),
                body: None,
            },
            Self::Tavily => Question {
                url: format!("{base}/search"),
                query: Vec::new(),
                headers: header("authorization", "Bearer "),
                body: Some(json!({"query": query, "max_results": most}).to_string().into_bytes()),
            },
            Self::SearXng => Question {
                url: format!("{base}/search"),
                query: vec![("q", query.to_owned()), ("format", "json".to_owned())],
                headers: header("authorization", "Bearer "),
                body: None,
            },
        }
    }

    /// Where its results stand in its answer, and how it calls the excerpt of each.
    fn results(self, answer: &Value) -> Option<(&[Value], &'static str)> {
        match self {
            // Brave leaves the part out when nothing was found.
            Self::Brave => match answer.pointer("/web/results") {
                Some(results) => Some((results.as_array()?.as_slice(), "description")),
                None => answer.get("type").map(|_| (&[][..], "description")),
            },
            Self::Tavily | Self::SearXng => Some((answer.get("results")?.as_array()?.as_slice(), "content")),
        }
    }

    /// What a status says, and what to do.
    fn refusal(self, status: u16) -> String {
        let key = self.variable().unwrap_or("api_key");
        match (self, status) {
            (Self::SearXng, 403) => {
                "refused (403); its settings must list json under search.formats".to_owned()
            }
            (_, 401 | 403) => format!("refused the key ({status}); a person must check {key}"),
            (_, 429 | 432 | 433) => {
                format!("has had enough requests ({status}); go on without searching, or try again later")
            }
            _ => format!("answered with status {status}; try again later, or go on without searching"),
        }
    }
}

pub(super) struct Search {
    pub(super) web: Arc<Web>,
    pub(super) backend: Backend,
    pub(super) base: String,
    pub(super) key: Option<Secret>,
    pub(super) max_results: u64,
}

#[async_trait]
impl Tool for Search {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "web_search".to_owned(),
            description: format!(
                "Searches the web and returns up to {} results with title, url and an excerpt. Read a page with \
                 web_fetch before you rely on it.",
                self.max_results
            ),
            input_schema: json!({
                "type": "object",
                "properties": {"query": {"type": "string", "description": "What to search for"}},
                "required": ["query"],
                "additionalProperties": false,
            }),
        }
    }

    fn policy(&self) -> Policy {
        Policy::Tape
    }

    fn timeout(&self, _: &Map<String, Value>) -> Option<Duration> {
        None
    }

    fn footprint(&self, _: &Map<String, Value>) -> Footprint {
        Footprint::none()
    }

    async fn run(&self, input: Map<String, Value>, call: CallContext) -> ToolOutput {
        let work = async {
            match tokio::time::timeout(self.web.timeout, self.search(Arguments(&input))).await {
                Ok(done) => done,
                Err(_) => Err(WebError::Timeout { seconds: self.web.timeout.as_secs() }),
            }
        };
        let scrubber = self.web.workspace.scrubber();
        tokio::select! {
            done = work => match done {
                Ok(output) => ToolOutput::ok(scrubber.scrub_json(output).to_string()),
                Err(error) => ToolOutput::error(scrubber.scrub(&error.to_string())),
            },
            () = call.cancel.cancelled() => ToolOutput::error("Search cancelled: the run is stopping"),
        }
    }
}

impl Search {
    async fn search(&self, arguments: Arguments<'_>) -> Result<Value, WebError> {
        let query = arguments.text("query")?.trim();
        if query.is_empty() {
            return Err(ArgumentError { name: "query", problem: "is empty; give what to search for" }.into());
        }
        if self.web.workspace.scrubber().has_mark(query) {
            return Err(WebError::Mark);
        }
        let backend = self.backend.name();
        let question = self.backend.question(&self.base, self.key.as_ref(), (query, self.max_results));
        let page = self.web.fetcher.ask_named(question).await;
        let page = page.map_err(|error| WebError::Backend { backend, error })?;
        let results = self.read(&page).map_err(|problem| WebError::Search { backend, problem })?;
        Ok(json!({"query": query, "count": results.len(), "results": results}))
    }

    fn read(&self, page: &Page) -> Result<Vec<Value>, String> {
        if !(200..300).contains(&page.status) {
            return Err(self.backend.refusal(page.status));
        }
        let answer: Value = serde_json::from_slice(&page.body)
            .map_err(|_| "answered with something that is no JSON; its base_url may be wrong".to_owned())?;
        // Before anything is cut: half a secret is not known as one.
        let answer = self.web.workspace.scrubber().scrub_json(answer);
        let (found, excerpt) = self
            .backend
            .results(&answer)
            .ok_or("answered with JSON that has no results; its base_url may be wrong")?;
        let text = |result: &Value, name: &str| -> String {
            let text = result.get(name).and_then(Value::as_str).unwrap_or_default();
            text.chars().take(limit::SEARCH_EXCERPT_CHARS).collect()
        };
        let most = usize::try_from(self.max_results).unwrap_or(usize::MAX);
        let shown = found.iter().filter(|result| result.get("url").is_some_and(Value::is_string)).take(most);
        Ok(shown
            .map(|result| {
                json!({
                    "title": text(result, "title"),
                    "url": text(result, "url"),
                    "snippet": text(result, excerpt),
                })
            })
            .collect())
    }
}
