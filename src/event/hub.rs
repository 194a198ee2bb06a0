//! How happenings reach those who listen: in one order, each listener in turn, on the spot.

use std::sync::{Arc, Mutex};

use super::{Envelope, Happening};
use crate::chat::Delta;
use crate::clock::Timestamp;
use crate::id::{PhaseId, RoleId, SessionName};

/// Someone who is told what happens. Called in order, from whatever task it happened in; must not block for long.
pub trait Listener: Send + Sync {
    /// Something happened.
    fn heard(&self, event: &Envelope);

    /// A piece of a reply arrived. Not numbered, not kept; a replay has none.
    fn overheard(&self, _place: &Whereabouts, _delta: &Delta) {}
}

/// Where in a run something happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The phase.
    pub phase: Option<PhaseId>,
    /// The session.
    pub session: Option<SessionName>,
    /// The role of the session.
    pub role: Option<RoleId>,
}

impl Whereabouts {
    /// In a phase, in no session of it.
    pub fn phase(phase: &PhaseId) -> Self {
        Self { phase: Some(phase.clone()), ..Self::default() }
    }
}

/// Hands happenings to the listeners; cheap to share.
#[derive(Clone, Default)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    listeners: Vec<Box<dyn Listener>>,
    /// Held while the listeners are called, so that all hear the same order.
    told: Mutex<u64>,
}

impl Hub {
    /// A hub with these listeners.
    pub fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        Self { shared: Arc::new(Shared { listeners, told: Mutex::new(0) }) }
    }

    /// Tells everyone.
    pub fn tell(&self, ts: Timestamp, place: &Whereabouts, event: Happening) {
        let mut told = self.shared.told.lock().expect("no listener panics");
        *told += 1;
        let envelope = Envelope {
            seq: *told,
            ts,
            phase: place.phase.clone(),
            session: place.session.clone(),
            role: place.role.clone(),
            event,
        };
        for listener in &self.shared.listeners {
            listener.heard(&envelope);
        }
    }

    /// Passes a piece of a reply on.
    pub fn pass_on(&self, place: &Whereabouts, delta: &Delta) {
        for listener in &self.shared.listeners {
            listener.overheard(place, delta);
        }
    }
}
