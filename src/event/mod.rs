//! What a run says about itself: effects, which have an order and results, and events, which only tell.

mod effect;
mod happening;
mod hub;
mod record;

pub use effect::{Access, EffectId, EffectKind, Footprint, Policy, Segment, Sequence};
pub use happening::{Decision, Envelope, Evidence, Happening, Mode, PhaseEnd, SessionEnd, StopCause};
pub use hub::{Hub, Listener, Whereabouts};
pub use record::{ENDED_WELL, EffectRecord, RECORDING_FORMAT, Recording, RecordingHead};
