//! Which texts a run was given, and where in them a thing stands.

mod change;
mod characters;
mod json;
mod mistake;
mod node;
mod plain;
mod remarks;
mod route;
mod sources;
mod toml;
mod write;
mod yaml;

pub use change::Change;
pub use node::{Entry, Node, NodeValue};
pub use route::{Part, Place, Route, SourceId, Step};
pub use sources::{Format, Others, Position, ReadError, Sources, SyntaxError};
pub use write::{Unwritable, Written};
