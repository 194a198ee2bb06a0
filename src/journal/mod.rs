//! What a run has done so far, on disk: an append-only file of JSON lines, and the folder it lies in.

mod folder;
mod line;
mod listener;
mod record;
mod writer;

pub use folder::{Given, Manifest, ReopenError, RunFolder, holds_lock};
pub use line::{Line, mend, read};
pub use record::Record;
pub use writer::{Durability, Journal, JournalError};
