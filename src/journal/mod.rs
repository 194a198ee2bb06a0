//! What a run has done so far, on disk: an append-only file of JSON lines, and the folder it lies in.

mod folder;
mod line;
mod listener;
mod read;
mod record;
mod writer;

pub use folder::{Fork, Given, Manifest, ReopenError, RunFolder, holds_lock};
pub use line::{Line, mend};
pub use read::{Follower, ReadError, Reading, events, read, read_whole};
pub use record::Record;
pub use writer::{Durability, Journal, JournalError};
