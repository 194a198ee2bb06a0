//! How the runner speaks with Anthropic's Messages API.
//!
//! ```text
//! Request ─ encode ─▶ one POST        bytes ─ Framer ─▶ events ─ decode ─▶ Reply
//!                                       ▲ speak: a reply written as the server would stream it
//! ```

mod block;
mod config;
mod container;
mod decode;
mod encode;
mod features;
mod refusal;
mod speak;
mod transcript;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{BuildError, CallError, Decode, Provider, RetryPolicy, Timeouts};
use crate::chat::{Reply, Request, Room};
use crate::http::WireRequest;
use crate::limit;
use crate::plan::{ModuleSpec, Variables};

use config::Config;
pub use config::{INFO, credential, has_credential};

/// One configured use of the Messages API.
#[derive(Debug)]
pub struct Anthropic {
    config: Config,
}

impl Anthropic {
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

impl Provider for Anthropic {
    fn module(&self) -> &'static str {
        INFO.name
    }

    fn model(&self) -> &str {
        &self.config.model
    }

    fn params(&self) -> Value {
        let config = &self.config;
        let mut params = json!({"max_tokens": config.max_tokens, "anthropic_version": config.version});
        if let Some(temperature) = config.temperature {
            params["temperature"] = json!(temperature);
        }
        if let Some(thinking) = config.thinking {
            params["thinking"] = thinking.to_json();
            if let (Some(display), config::Thinking::Adaptive) = (&config.features.display, thinking) {
                params["thinking"]["display"] = json!(display);
            }
        }
        if let Some(effort) = &config.features.effort {
            params["effort"] = json!(effort);
        }
        if !config.features.server_tools.is_empty() {
            params["server_tools"] = json!(config.features.server_tools);
        }
        if !config.beta_headers.is_empty() {
            params["beta_headers"] = json!(config.beta_headers);
        }
        params
    }

    fn room(&self) -> Option<Room> {
        Some(Room { window: self.config.features.window, reply: self.config.max_tokens })
    }

    fn encode(&self, request: &Request) -> Result<WireRequest, CallError> {
        encode::encode(&self.config, request)
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(decode::Decoder::default())
    }

    fn read_error(&self, status: u16, headers: &[(String, String)], body: &[u8]) -> CallError {
        refusal::read_response(&self.config, &refusal::Response { status, headers, body })
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
        let thinking = match self.config.thinking {
            Some(config::Thinking::Budget(tokens)) => tokens,
            Some(config::Thinking::Adaptive) | None => 0,
        };
        Some((thinking + limit::LEAST_OUTPUT).min(self.config.max_tokens))
    }

    fn max_concurrent(&self) -> Option<usize> {
        self.config.max_concurrent
    }
}
