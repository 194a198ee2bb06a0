//! What is wrong with a file, said with its place, a stable code and a remedy, for people and for programs.

mod code;
mod nearest;
mod render;
mod report;

pub use code::Code;
pub use nearest::{nearest, some_of};
pub use render::{Look, github_error, pointer};
pub use report::{Diagnostic, Report, Severity};
