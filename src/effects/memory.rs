//! What a run that goes on has done already: effects are answered from its journal until all of it is played, and only
//! then does anything happen again.
//!
//! ```text
//!   begin ──known──▶ answered from the journal
//!     └───new────▶ waits until all that is known was asked for and nobody is busy ──▶ live
//! ```
//!
//! Lines of a journal stand in the order in which they were written, and whoever wrote one had seen only earlier ones. So
//! what is known can be reached without anything new, and where it cannot, something else than the run that stopped is
//! being run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Asked;
use super::divergence::{self, Divergence, Wording};
use crate::event::{EffectId, EffectRecord};
use crate::id::Fingerprint;

/// What a run has done before it goes on.
#[derive(Debug, Clone)]
pub struct Past {
    /// Its effects, as far as they stand.
    pub effects: Vec<EffectRecord>,
    /// The texts of their keys.
    pub texts: BTreeMap<Fingerprint, Arc<str>>,
    /// Effects that had begun and must not simply be tried again.
    pub interrupted: BTreeSet<EffectId>,
    /// How often an effect of this id was done and set aside since, because the run had been stopped or had failed there.
    pub undone: BTreeMap<EffectId, u32>,
    /// The last commit number that was given.
    pub last_seq: u64,
    /// Effects up to this commit number were taken over from a recording by a run that was changed on purpose: what they
    /// were asked with may have read otherwise.
    pub adopted: u64,
    /// True from the moment at which the past is played.
    pub over: Arc<AtomicBool>,
}

/// A past and how much of it was asked for.
pub(super) struct Memory {
    pub(super) past: Past,
    index: HashMap<EffectId, usize>,
    asked: Vec<bool>,
    /// Those who wait for the past to be over: their names and tickets.
    pub(super) waiting: Vec<(String, u64)>,
}

impl Memory {
    pub(super) fn new(past: Past) -> Self {
        let effects = &past.effects;
        let index = effects.iter().enumerate().map(|(at, record)| (record.id.clone(), at)).collect();
        let asked = vec![false; effects.len()];
        past.over.store(false, Ordering::SeqCst);
        Self { index, asked, waiting: Vec::new(), past }
    }

    /// Whether the run does new things.
    pub(super) fn is_over(&self) -> bool {
        self.past.over.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) {
        self.past.over.store(true, Ordering::SeqCst);
    }

    /// Whether the run has done this.
    pub(super) fn knows(&self, id: &EffectId) -> bool {
        self.index.contains_key(id)
    }

    /// What an effect came to, if it is known.
    pub(super) fn recall(&mut self, asked: &Asked) -> Result<Option<&EffectRecord>, Box<Divergence>> {
        let Some(&at) = self.index.get(&asked.id) else { return Ok(None) };
        let record = &self.past.effects[at];
        let wording = if record.seq <= self.past.adopted { Wording::Any } else { Wording::Recorded };
        divergence::check_known(&self.past.texts, record, (asked, wording), self.asked[at])?;
        self.asked[at] = true;
        Ok(Some(record))
    }

    /// The first effect of the past that nobody asks for.
    pub(super) fn missing(&self) -> Option<Divergence> {
        let at = self.asked.iter().position(|asked| !asked)?;
        let waiting: Vec<&str> = self.waiting.iter().map(|(name, _)| name.as_str()).collect();
        Some(divergence::unreached(&self.past.effects[at], &waiting))
    }
}
