//! How are tools offered over the Model Context Protocol, and those of others called? Knows no tool: a server is given what
//! it offers.

mod client;
mod overheard;
mod server;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::chat::ToolSpec;

pub use self::client::{Address, Answer, Connection, Found, Own, Piece, Program, WireError};
pub use self::server::{About, ServeError, serve_stdio};

/// What a server offers.
#[async_trait]
pub trait Toolbox: Send + Sync {
    /// Its tools.
    fn tools(&self) -> Vec<Offer>;

    /// Carries out a call of one of them. A call that was begun is finished, whether or not its client still waits.
    async fn call(&self, call: Call) -> Reply;
}

/// A tool on offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// What a model is told.
    pub spec: ToolSpec,
    /// What a client may tell its user of it.
    pub hints: Hints,
}

/// What a tool does to what it works on. The fields are those of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// It may replace or take away what was there, and not only add to it.
    pub destructive: bool,
    /// The same call again changes nothing more.
    pub idempotent: bool,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The name under which the client presents itself.
    pub client: Option<String>,
    /// The tool, one of those on offer.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A result, which clients are given as data and as text.
    Result(Value),
    /// A refusal, for the model to read.
    Refusal(String),
}
