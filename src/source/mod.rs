//! Which texts a run was given, and where in them a thing stands.

mod route;

pub use route::{Part, Place, Route, SourceId, Step};
