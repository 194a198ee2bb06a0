//! What a run has done so far, on disk: an append-only file of JSON lines, and the folder it lies in.

mod folder;
mod line;
mod listener;
mod writer;

pub use folder::{Manifest, RunFolder, holds_lock};
pub use line::{Line, read};
pub use writer::{Durability, Journal, JournalError};
