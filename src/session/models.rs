//! Which of its models a session asks: its own, or one that stands in for it until the prompt is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ask;
use crate::event::Segment;
use crate::provider::{Provider, Refusals, StandIns};

/// The models of one session.
pub(super) struct Models {
    /// Its own, then those that stand in for it, each with its part of a key.
    all: Vec<(Arc<dyn Provider>, Segment)>,
    /// The one that is asked. Changed while a request borrows the conversation, hence no plain number.
    now: AtomicUsize,
    refusals: Refusals,
}

impl Models {
    pub(super) fn new(own: Arc<dyn Provider>, stand_ins: StandIns) -> Self {
        let all = std::iter::once(own).chain(stand_ins.providers);
        let all = all.map(|provider| {
            let segment = ask::model_segment(provider.as_ref());
            (provider, segment)
        });
        Self { all: all.collect(), now: AtomicUsize::new(0), refusals: stand_ins.refusals }
    }

    /// The position of the one that is asked; 0 is the session's own.
    pub(super) fn at(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// The one that is asked.
    pub(super) fn provider(&self) -> &dyn Provider {
        self.all[self.at()].0.as_ref()
    }

    /// Its part of a key.
    pub(super) fn segment(&self) -> &Segment {
        &self.all[self.at()].1
    }

    /// The session's own model.
    pub(super) fn own(&self) -> &str {
        self.all[0].0.model()
    }

    /// All their names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.all.iter().map(|(provider, _)| provider.model()).collect()
    }

    /// What a reply may have at most, and at least to make sense, whoever gives it.
    pub(super) fn output(&self) -> (u64, Option<u64>) {
        let providers = || self.all.iter().map(|(provider, _)| provider);
        let most = providers().map(|provider| provider.most_output()).max().unwrap_or_default();
        // Trimmed only where each of them keeps to it.
        let least: Option<Vec<u64>> = providers().map(|provider| provider.least_output()).collect();
        (most, least.and_then(|least| least.into_iter().max()))
    }

    /// Whether a refusal is put to the next one.
    pub(super) fn replace_refusals(&self) -> bool {
        self.refusals == Refusals::FallBack
    }

    /// The position of the next one, if there is one.
    pub(super) fn next(&self) -> Option<usize> {
        Some(self.at() + 1).filter(|next| *next < self.all.len())
    }

    /// Goes on to the next one.
    pub(super) fn fall_back(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    /// Goes back to the session's own.
    pub(super) fn begin(&self) {
        self.now.store(0, Ordering::Relaxed);
    }
}
