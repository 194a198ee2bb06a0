//! How happenings reach those who listen: in one order, each listener in turn, on the spot.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Envelope, Happening};
use crate::chat::Delta;
use crate::clock::Timestamp;
use crate::id::{PhaseId, RoleId, SessionName};

/// Someone who is told what happens. Called in order, from whatever task it happened in; must not block for long.
pub trait Listener: Send + Sync {
    /// Something happened.
    fn heard(&self, event: &Envelope);

    /// What it has to say to everybody about something that it has just heard; told next, and heard by itself, too.
    fn remark(&self, _event: &Envelope) -> Option<Happening> {
        None
    }

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
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    count: u64,
    /// What was told before the run went on, and how often, until its past is over.
    before: Option<Before>,
}

struct Before {
    told: HashMap<String, u32>,
    over: Arc<AtomicBool>,
}

impl Told {
    /// Whether it was told before the run went on.
    fn is_known(&mut self, place: &Whereabouts, event: &Happening) -> bool {
        let Some(before) = &mut self.before else { return false };
        // The queue does nothing again, and each time a run goes on it ends: what is told of these now was not told before,
        // however like another it looks.
        let is_new = matches!(
            event,
            Happening::RunResumed { .. }
                | Happening::RunForked { .. }
                | Happening::RunFinished { .. }
                | Happening::IssueChanged { .. }
        );
        if is_new {
            return false;
        }
        if before.over.load(Ordering::SeqCst) {
            self.before = None;
            return false;
        }
        match before.told.get_mut(&text_of(place, event)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

fn text_of(place: &Whereabouts, event: &Happening) -> String {
    let parts = (&place.phase, &place.session, event);
    serde_json::to_string(&parts).expect("a happening holds only plain data")
}

impl Hub {
    /// A hub with these listeners.
    pub fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        Self { shared: Arc::new(Shared { listeners, told: Mutex::default() }) }
    }

    /// A hub of a run that goes on: until its past is `over`, what was told before is not told again.
    pub fn resumed(listeners: Vec<Box<dyn Listener>>, before: &[Envelope], over: Arc<AtomicBool>) -> Self {
        let mut told = HashMap::new();
        for envelope in before {
            let (phase, session) = (envelope.phase.clone(), envelope.session.clone());
            let place = Whereabouts { phase, session, role: None };
            *told.entry(text_of(&place, &envelope.event)).or_default() += 1;
        }
        let count = before.last().map_or(0, |last| last.seq);
        let told = Told { count, before: Some(Before { told, over }) };
        Self { shared: Arc::new(Shared { listeners, told: Mutex::new(told) }) }
    }

    /// Tells everyone.
    pub fn tell(&self, ts: Timestamp, place: &Whereabouts, event: Happening) {
        let mut told = self.shared.told.lock().expect("no listener panics");
        if told.is_known(place, &event) {
            return;
        }
        let mut next = VecDeque::from([event]);
        while let Some(event) = next.pop_front() {
            told.count += 1;
            let envelope = Envelope {
                seq: told.count,
                ts,
                phase: place.phase.clone(),
                session: place.session.clone(),
                role: place.role.clone(),
                event,
            };
            for listener in &self.shared.listeners {
                listener.heard(&envelope);
            }
            next.extend(self.shared.listeners.iter().filter_map(|listener| listener.remark(&envelope)));
        }
    }

    /// Passes a piece of a reply on.
    pub fn pass_on(&self, place: &Whereabouts, delta: &Delta) {
        for listener in &self.shared.listeners {
            listener.overheard(place, delta);
        }
    }
}
