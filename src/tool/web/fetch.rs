//! The tool `web_fetch`: a page of the web as text.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::super::arguments::{ArgumentError, Arguments};
use super::super::{CallContext, Tool, ToolOutput};
use super::Web;
use super::page::{self, PageError};
use crate::chat::ToolSpec;
use crate::event::{Footprint, Policy};
use crate::http::{FetchError, Page};
use crate::limit;

pub(super) struct Fetch(pub(super) Arc<Web>);

#[async_trait]
impl Tool for Fetch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "web_fetch".to_owned(),
            description: format!(
                "Fetches a page of the public internet and shows it as text, HTML with its links as notes at the end. \
                 At most {} characters are shown; go on with offset. Only http and https, no pages behind a login, \
                 no files that are not text.",
                limit::FETCH_CHARS
            ),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "url": {"type": "string", "description": "The whole address, with https://"},
                    "offset": {"type": "integer", "minimum": 0, "description": "The first character to show, from 0"},
                    "limit": {"type": "integer", "minimum": 1, "description": "How many characters to show"},
                },
                "required": ["url"],
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
            match tokio::time::timeout(self.0.timeout, self.fetch(Arguments(&input))).await {
                Ok(done) => done,
                Err(_) => Err(WebError::Timeout { seconds: self.0.timeout.as_secs() }),
            }
        };
        tokio::select! {
            done = work => match done {
                Ok(output) => ToolOutput::ok(output.to_string()),
                Err(error) => ToolOutput::error(self.0.workspace.scrubber().scrub(&error.to_string())),
            },
            () = call.cancel.cancelled() => ToolOutput::error("Fetch cancelled: the run is stopping"),
        }
    }
}

impl Fetch {
    async fn fetch(&self, arguments: Arguments<'_>) -> Result<Value, WebError> {
        let url = arguments.text("url")?;
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let first = arguments.number("offset")?.map_or(0, size);
        let most = arguments.number("limit")?.map_or(limit::FETCH_CHARS, size).min(limit::FETCH_CHARS);
        if self.0.workspace.scrubber().has_mark(url) {
            return Err(WebError::Mark);
        }
        let page = self.0.fetcher.get(url).await?;
        if !(200..300).contains(&page.status) {
            return Err(WebError::Status { url: page.url, status: page.status });
        }
        let (page, text) = tokio::task::spawn_blocking(move || {
            let text = page::text(&page);
            (page, text)
        })
        .await
        .map_err(|_| PageError::Html { reason: "it is too odd".to_owned() })?;
        Ok(self.show(&page, &text?, first, most))
    }

    fn show(&self, page: &Page, text: &str, first: usize, most: usize) -> Value {
        let text = self.0.workspace.scrubber().scrub(text);
        let total = text.chars().count();
        let content: String = text.chars().skip(first).take(most).collect();
        let shown = content.chars().count();
        let mut output = json!({
            "url": page.url,
            "content_type": page.content_type,
            "content": content,
            "offset": first,
            "total_chars": total,
        });
        if first + shown < total {
            output["truncated"] = true.into();
            output["next_offset"] = (first + shown).into();
        }
        if page.cut {
            output["warning"] =
                format!("the page is larger than {} bytes; the rest was not fetched", limit::FETCH_BYTES)
                    .into();
        } else if first > 0 && first >= total {
            output["warning"] =
                format!("offset {first} is beyond the end; there are {total} characters").into();
        }
        output
    }
}

/// Why nothing came from the web.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    #[error("{0}")]
    Argument(#[from] ArgumentError),
    #[error("Not fetched: {0}")]
    Fetch(#[from] FetchError),
    #[error("The page was fetched, but {0}")]
    Page(#[from] PageError),
    #[error("{url} answered with status {status}; check the address, or look for another source")]
    Status { url: String, status: u16 },
    #[error("Timed out after {seconds} s; try again later, or look for another source")]
    Timeout { seconds: u64 },
    #[error(
        "the address holds the placeholder of a secret, which stands for text that is not shown; leave it out"
    )]
    Mark,
    #[error("Search failed: {backend} {problem}")]
    Search { backend: &'static str, problem: String },
    #[error("Search failed: {backend} could not be asked: {error}")]
    Backend { backend: &'static str, error: FetchError },
}
