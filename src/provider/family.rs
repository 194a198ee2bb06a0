//! Which providers there are that ask a server, and how each is made of a mount plan.

use std::sync::Arc;

use super::{BuildError, Provider, anthropic, openai, openai_chat};
use crate::plan::{ModuleInfo, ModuleSpec, Variables};

/// Makes the provider of a mount plan; the model replaces the plan's own.
pub type Build = fn(&ModuleSpec, &Variables, Option<&str>) -> Result<Arc<dyn Provider>, BuildError>;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// What there is to know of the module.
    pub info: ModuleInfo,
    /// What makes it.
    pub build: Build,
}

/// All of them.
pub const FAMILY: [Member; 4] = [
    Member { info: anthropic::INFO, build: anthropic::Anthropic::build },
    Member { info: openai::INFO, build: openai::OpenAi::build },
    Member { info: openai_chat::COMPATIBLE, build: openai_chat::Chat::build },
    Member { info: openai_chat::OLLAMA, build: openai_chat::Chat::build },
];
