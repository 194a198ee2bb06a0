//! Which files other issue trackers write: lines of JSON to plain data and back. Pure; reads and writes no file.
//!
//! | file | answers |
//! |---|---|
//! | `lines` | which objects stand in a file, and where |
//! | `read` | which issues a file or a folder of files holds |
//! | `field` | what one field says |
//! | `beads`, `original` | the words of beads and of the issue-manager |
//! | `print` | which files an export is |

mod beads;
mod field;
mod lines;
mod original;
mod print;
mod read;

pub use self::lines::{BadLine, Unreadable};
pub use self::print::{Printed, print};
pub(super) use self::read::deleted;
pub use self::read::{FILES, Part, read};

use super::transfer::{Format, Incoming, Original, Remarks};

/// What the queue understands of an issue as a file had it.
pub(super) fn understood(original: &Original) -> Option<Incoming> {
    let mut remarks = Remarks::new();
    let object = original.object.clone();
    match original.format {
        Format::Beads => beads::incoming(object, &mut remarks),
        Format::IssueManager => original::incoming(object, &mut remarks),
    }
    .ok()
}
