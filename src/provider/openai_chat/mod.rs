//! How the runner speaks with servers of OpenAI's Chat Completions API, in all their dialects.
//!
//! ```text
//! Request ─ dialogue ─▶ turns ─ encode ─▶ one POST       bytes ─ Framer ─▶ chunks ─ decode + calls ─▶ Reply
//!                                                          ▲ speak: a reply written as the server would stream it
//! ```

mod calls;
mod config;
mod decode;
mod encode;
mod speak;

use std::sync::Arc;

use serde_json::{Value, json};

use super::openai::refusal;
use super::{BuildError, CallError, Decode, Provider, RetryPolicy, Timeouts};
use crate::chat::{Reply, Request};
use crate::http::WireRequest;
use crate::limit;
use crate::plan::{ModuleSpec, Variables};

use config::Config;
pub use config::{COMPATIBLE, OLLAMA};

/// One configured use of a server of that API.
#[derive(Debug)]
pub struct Chat {
    config: Config,
}

impl Chat {
    /// The provider of a mount plan, by the module it names; `model` replaces the plan's own.
    ///
    /// # Errors
    /// A configuration value makes no sense, or the address or the model is missing.
    pub fn build(
        spec: &ModuleSpec,
        variables: &Variables,
        model: Option<&str>,
    ) -> Result<Arc<dyn Provider>, BuildError> {
        Ok(Arc::new(Self { config: Config::read(spec, variables, model)? }))
    }
}

impl Provider for Chat {
    fn module(&self) -> &'static str {
        self.config.module
    }

    fn model(&self) -> &str {
        &self.config.model
    }

    fn params(&self) -> Value {
        let mut params = json!({});
        if let Some(tokens) = self.config.max_tokens {
            params["max_tokens"] = json!(tokens);
        }
        if let Some(temperature) = self.config.temperature {
            params["temperature"] = json!(temperature);
        }
        if let Some(effort) = &self.config.effort {
            params["reasoning_effort"] = json!(effort);
        }
        if let Some(field) = &self.config.reasoning_field {
            params["reasoning_field"] = json!(field);
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
        self.config.max_tokens.unwrap_or(limit::UNSAID_OUTPUT)
    }

    fn least_output(&self) -> Option<u64> {
        Some(limit::LEAST_OUTPUT.min(self.most_output()))
    }

    fn max_concurrent(&self) -> Option<usize> {
        self.config.max_concurrent
    }
}
