//! What the test server says: the question it is asked, the answer it gives, the faults it can be told to have.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

pub use super::demo::demo;

/// Thinks up the answers. Called once a request that the rules let through.
pub type Brain = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

/// A brain from a function.
pub fn brain(think: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Brain {
    Arc::new(think)
}

/// A request, as a brain sees it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The body.
    pub body: Value,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The number of the request among all of the server, from 1.
    pub count: usize,
}

/// A tool call of the conversation with its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// The tool.
    pub name: String,
    /// Its input.
    pub input: Value,
    /// The result's text.
    pub result: String,
    /// Whether the call failed.
    pub is_error: bool,
}

impl Exchange {
    /// The result as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.result).unwrap_or_default()
    }

    /// The operation, of a call of the issue tool.
    pub fn operation(&self) -> &str {
        self.input["operation"].as_str().unwrap_or_default()
    }
}

impl Asked {
    /// The system prompt, whether it came as text or as blocks.
    pub fn system(&self) -> String {
        text_of(&self.body["system"])
    }

    /// The conversation.
    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The prompt that is being answered: the last user message that answers no tool call.
    pub fn prompt(&self) -> String {
        self.prompt_at().map(|at| text_of(&self.messages()[at]["content"])).unwrap_or_default()
    }

    /// The tool calls made since that prompt, in order, with their results.
    pub fn since_prompt(&self) -> Vec<Exchange> {
        let later = self.prompt_at().map_or(&[][..], |at| &self.messages()[at + 1..]);
        let blocks = |kind: &'static str| {
            later
                .iter()
                .flat_map(|message| message["content"].as_array().into_iter().flatten())
                .filter(move |block| block["type"] == kind)
        };
        blocks("tool_use")
            .filter_map(|call| {
                let result = blocks("tool_result").find(|result| result["tool_use_id"] == call["id"])?;
                Some(Exchange {
                    name: call["name"].as_str().unwrap_or_default().to_owned(),
                    input: call["input"].clone(),
                    result: text_of(&result["content"]),
                    is_error: result["is_error"] == true,
                })
            })
            .collect()
    }

    /// Whether a tool of this name is offered.
    pub fn offers(&self, tool: &str) -> bool {
        self.body["tools"].as_array().into_iter().flatten().any(|offered| offered["name"] == tool)
    }

    fn prompt_at(&self) -> Option<usize> {
        self.messages().iter().rposition(|message| {
            let answers =
                |block: &Value| block["type"] == "tool_result" || block["type"] == "server_tool_result";
            message["role"] == "user" && !message["content"].as_array().into_iter().flatten().any(answers)
        })
    }
}

/// The text of a content: a string, or the text blocks of a list, by lines.
pub fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// One block of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A tool call; the server makes its id from the conversation.
    ToolUse {
        /// The tool.
        name: String,
        /// The input: an object, or a string that is sent as it is, for JSON that is none.
        input: Value,
    },
    /// Reasoning and its seal.
    Thinking {
        /// As shown; may be empty.
        text: String,
        /// The seal.
        signature: String,
    },
    /// A block that arrives whole in its start event (`redacted_thinking`, server tool results …).
    Whole(Value),
}

/// Tokens, as the answer reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Neither written to nor read from a cache.
    pub input: u64,
    /// Written out.
    pub output: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Written to the cache.
    pub cache_write: u64,
}

/// An answer, or what goes wrong instead.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The blocks.
    pub parts: Vec<Part>,
    /// The stop reason; `None`: `tool_use` when there is a tool call, else `end_turn`.
    pub stop: Option<String>,
    /// The tokens; `None`: a quarter of the bytes.
    pub usage: Option<Usage>,
    /// The time a model thinks before the response's first byte.
    pub delay: Duration,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// What goes wrong. Events are counted from 1; 0 is before the first.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Another status, with these headers and this body.
    Status {
        /// The status.
        status: u16,
        /// Further headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The stream ends in good order after so many events, without the rest.
    CutAfterEvent(usize),
    /// The connection is closed in the middle of the event after so many.
    BreakAfterEvent(usize),
    /// An error event of this type after so many events, then the end.
    ErrorEvent {
        /// `overloaded_error`, `api_error` …
        kind: String,
        /// The events before it.
        after: usize,
    },
    /// Nothing more after so many events until the gate opens; then the rest. The headers are there before.
    Stall {
        /// The events before it.
        after: usize,
        /// What the test holds.
        gate: Gate,
    },
    /// The connection is reset before any byte of a response.
    Reset,
}

impl Answer {
    /// These blocks.
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts, stop: None, usage: None, delay: Duration::ZERO, fault: None }
    }

    /// One text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(vec![Part::Text(text.into())])
    }

    /// One tool call.
    pub fn call(name: &str, input: Value) -> Self {
        Self::new(vec![Part::ToolUse { name: name.to_owned(), input }])
    }

    /// An error response with the body the API has for it.
    pub fn status(status: u16, kind: &str, message: &str) -> Self {
        let body = error_body(kind, message, None);
        Self::new(Vec::new()).fault(Fault::Status { status, headers: Vec::new(), body })
    }

    /// A header of an error response, such as `retry-after`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let Some(Fault::Status { headers, .. }) = &mut self.fault else {
            panic!("only an error response takes further headers");
        };
        headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// This goes wrong.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// This stop reason.
    #[must_use]
    pub fn stop(mut self, reason: &str) -> Self {
        self.stop = Some(reason.to_owned());
        self
    }

    /// These tokens.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// This long before the first byte.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// The body of an error.
pub fn error_body(kind: &str, message: &str, request_id: Option<&str>) -> String {
    serde_json::json!({
        "type": "error",
        "error": {"details": null, "type": kind, "message": message},
        "request_id": request_id,
    })
    .to_string()
}

/// What a stalled answer waits for.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Opens it, for all who wait and all who come.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub(super) async fn opened(&self) {
        let mut state = self.0.subscribe();
        state.wait_for(|open| *open).await.expect("the gate itself keeps the channel");
    }
}
