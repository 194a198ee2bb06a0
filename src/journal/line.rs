//! What stands in a line of the journal, and how a journal is mended after a crash.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::writer::JournalError;
use crate::clock::Timestamp;
use crate::event::{EffectId, EffectRecord, Envelope};
use crate::id::Fingerprint;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// An effect has committed. `texts` holds the texts of its key that no earlier line held.
    Effect {
        /// The effect.
        record: EffectRecord,
        /// New texts by fingerprint.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        texts: BTreeMap<Fingerprint, String>,
    },
    /// An effect that must not happen twice is about to begin.
    Intent {
        /// Which.
        id: EffectId,
        /// When.
        at: Timestamp,
    },
    /// The run was stopped, or failed, and goes on from here.
    Resumed {
        /// When.
        at: Timestamp,
        /// Effects that came of its being stopped or of its failure: they no longer stand.
        undone: Vec<EffectId>,
    },
    /// Something people are told.
    Event {
        /// What.
        event: Envelope,
    },
}

/// Cuts off what a crash has left of a last line, so that the next one begins a line of its own.
///
/// # Errors
/// The file cannot be read or written.
pub fn mend(path: &Path) -> Result<(), JournalError> {
    let mended = || -> std::io::Result<()> {
        let bytes = std::fs::read(path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            let file = std::fs::File::options().write(true).open(path)?;
            file.set_len(u64::try_from(whole).expect("a file is shorter than 2^64 bytes"))?;
            file.sync_all()?;
        }
        Ok(())
    };
    mended().map_err(|error| JournalError::unwritable(path, &error))
}
