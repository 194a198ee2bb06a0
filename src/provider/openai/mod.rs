//! How the runner speaks with OpenAI's Responses API.
//!
//! ```text
//! Request ─ dialogue ─▶ turns ─ items ─▶ one POST        bytes ─ Framer ─▶ events ─ decode ─▶ items ─▶ Reply
//!                                                          ▲ speak: a reply written as the server would stream it
//! ```

mod config;
mod decode;
mod encode;
mod items;
pub(super) mod refusal;
mod speak;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{BuildError, CallError, Decode, Provider, RetryPolicy, Timeouts};
use crate::chat::{Reply, Request};
use crate::http::WireRequest;
use crate::limit;
use crate::plan::{ModuleSpec, Variables};

use config::Config;
pub use config::INFO;
pub(super) use config::with_version;

/// One configured use of the Responses API.
#[derive(Debug)]
pub struct OpenAi {
    config: Config,
}

impl OpenAi {
    /// The provider of a mount plan; `model` replaces the plan's own. A missing credential is no failure here, because a
    /// replay needs none: `encode` reports it.
    ///
    /// # Errors
    /// A configuration value makes no sense.
    pub fn build(
        spec: &ModuleSpec,
        variables: &Variables,
        model: Option<&str>,
    ) -> Result<Arc<dyn Provider>, BuildError> {
        Ok(Arc::new(Self { config: Config::read(spec, variables, model)? }))
    }
}

impl Provider for OpenAi {
    fn module(&self) -> &'static str {
        INFO.name
    }

    fn model(&self) -> &str {
        &self.config.model
    }

    fn params(&self) -> Value {
        let mut params = json!({"max_output_tokens": self.config.max_tokens});
        if let Some(temperature) = self.config.temperature {
            params["temperature"] = json!(temperature);
        }
        if let Some(reasoning) = self.config.reasoning() {
            params["reasoning"] = reasoning;
        }
        if let Some(truncation) = &self.config.truncation {
            params["truncation"] = json!(truncation);
        }
        params
    }

    fn encode(&self, request: &Request) -> Result<WireRequest, CallError> {
        encode::encode(&self.config, request)
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(decode::Decoder::default())
    }

    fn read_error(&self, status: u16, headers: &[(String, String)], body: &[u8]) -> CallError {
        refusal::read_response(&self.config.asked(), &refusal::Response { status, headers, body })
    }

    fn speak(&self, reply: &Reply) -> Vec<u8> {
        speak::speak(reply)
    }

    fn speak_error(&self, kind: &str) -> Vec<u8> {
        speak::speak_error(kind)
    }

    fn retry(&self) -> RetryPolicy {
        self.config.retry
    }

    fn timeouts(&self) -> Timeouts {
        self.config.timeouts
    }

    fn most_output(&self) -> u64 {
        self.config.max_tokens
    }

    fn least_output(&self) -> Option<u64> {
        Some(limit::LEAST_OUTPUT.min(self.most_output()))
    }

    fn max_concurrent(&self) -> Option<usize> {
        self.config.max_concurrent
    }
}
