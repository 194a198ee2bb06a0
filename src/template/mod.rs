//! How prompts and conditions are rendered: strict, bounded, and with nothing in reach but what they are given.

mod context;
mod error;
mod includes;
mod templates;

pub use context::TemplateContext;
pub use error::{Mistake, TemplateError};
pub use includes::{Includes, Target, include_path, includes};
pub use templates::Templates;
