//! What goes wrong on purpose: which failure, at which effect of a run, so that a scenario shows how it bears it.

use std::fmt;
use std::sync::Mutex;

use serde::{Serialize, Serializer};

use crate::event::EffectId;

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: FaultPlace,
    /// What.
    pub kind: FaultKind,
}

/// Where something goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultPlace {
    /// At an effect: `work/coding-worker-1/3`, `…/3#2` at the second attempt.
    Effect(EffectId),
    /// At the effect that is committed as the n-th.
    Commit(u64),
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The server answers with this status.
    Http(u16),
    /// The stream of the reply breaks after so many events.
    CutAfterEvent(u32),
    /// The stream of the reply brings an error of this type.
    ErrorEvent(String),
    /// The server never answers.
    Stall,
    /// The process is killed as soon as the effect has committed, and its line is on disk.
    Kill,
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no `=`.
    #[error("write it as EFFECT=FAULT, such as work/coding-worker-1/3=http:529 or commit:17=kill")]
    Shape,
    /// The part before the `=` is no place.
    #[error(
        "`{0}` is no place for a fault: name a model call such as work/coding-worker-1/3, or commit:NUMBER for `kill`"
    )]
    Place(String),
    /// The part after it is no fault.
    #[error(
        "`{0}` is no fault; there are http:STATUS (400 to 599), cut_after_event:NUMBER, error_event:TYPE, stall and kill"
    )]
    Kind(String),
}

impl Fault {
    /// Reads `EFFECT=FAULT`.
    ///
    /// # Errors
    /// It does not read so; the error says how it does.
    pub fn from_text(text: &str) -> Result<Self, FaultError> {
        let (place, kind) = text.rsplit_once('=').ok_or(FaultError::Shape)?;
        let kind = FaultKind::from_text(kind).ok_or_else(|| FaultError::Kind(kind.to_owned()))?;
        let wrong = || FaultError::Place(place.to_owned());
        let at = match place.strip_prefix("commit:") {
            Some(number) => FaultPlace::Commit(number.parse().map_err(|_| wrong())?),
            None => FaultPlace::Effect(EffectId::from_text(place)),
        };
        let is_call = match &at {
            FaultPlace::Effect(id) => matches!(id.turn_and_call(), Some((turn, 0)) if turn > 0),
            FaultPlace::Commit(_) => false,
        };
        let is_place = match (&at, &kind) {
            (FaultPlace::Commit(number), FaultKind::Kill) => *number > 0,
            (FaultPlace::Effect(id), FaultKind::Kill) => id.as_str().contains('/'),
            _ => is_call,
        };
        if is_place { Ok(Self { at, kind }) } else { Err(wrong()) }
    }
}

impl FaultKind {
    fn from_text(text: &str) -> Option<Self> {
        let (word, value) = match text.split_once(':') {
            Some((word, value)) => (word, Some(value)),
            None => (text, None),
        };
        match (word, value) {
            ("http", Some(status)) => {
                status.parse().ok().filter(|status| (400..600).contains(status)).map(Self::Http)
            }
            ("cut_after_event", Some(count)) => count.parse().ok().map(Self::CutAfterEvent),
            ("error_event", Some(kind)) if !kind.is_empty() => Some(Self::ErrorEvent(kind.to_owned())),
            ("stall", None) => Some(Self::Stall),
            ("kill", None) => Some(Self::Kill),
            _ => None,
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            FaultPlace::Effect(id) => write!(f, "{id}=")?,
            FaultPlace::Commit(number) => write!(f, "commit:{number}=")?,
        }
        match &self.kind {
            FaultKind::Http(status) => write!(f, "http:{status}"),
            FaultKind::CutAfterEvent(count) => write!(f, "cut_after_event:{count}"),
            FaultKind::ErrorEvent(kind) => write!(f, "error_event:{kind}"),
            FaultKind::Stall => f.write_str("stall"),
            FaultKind::Kill => f.write_str("kill"),
        }
    }
}

/// The faults of a run that have not happened yet.
#[derive(Debug, Default)]
pub struct Faults {
    left: Mutex<Vec<Fault>>,
}

impl Faults {
    /// These faults.
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { left: Mutex::new(faults) }
    }

    /// What goes wrong with this model call, other than that the process is killed; it happens once.
    pub fn strike(&self, call: &EffectId) -> Option<FaultKind> {
        let mut left = self.left.lock().expect("nothing panics while it holds the faults");
        let at = left.iter().position(|fault| {
            fault.kind != FaultKind::Kill && fault.at == FaultPlace::Effect(call.clone())
        })?;
        Some(left.remove(at).kind)
    }

    /// Whether the process is to be killed once this effect has committed with this number.
    pub fn kills(&self, effect: &EffectId, number: u64) -> bool {
        let left = self.left.lock().expect("nothing panics while it holds the faults");
        left.iter().any(|fault| {
            let here = match &fault.at {
                FaultPlace::Effect(id) => id == effect,
                FaultPlace::Commit(at) => *at == number,
            };
            here && fault.kind == FaultKind::Kill
        })
    }

    /// Faults that have not happened, in their own words.
    pub fn left(&self) -> Vec<String> {
        let left = self.left.lock().expect("nothing panics while it holds the faults");
        left.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_as_they_print() {
        for text in [
            "work/w-1/3=http:529",
            "work/w-1:2/3#2=cut_after_event:4",
            "work/w-1/3=error_event:overloaded_error",
            "work/w-1/3=stall",
            "work/w-1/3.1=kill",
            "work/!claim.w-1-2=kill",
            "commit:17=kill",
        ] {
            assert_eq!(Fault::from_text(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_fault_is_told_how_it_reads() {
        let told = |text: &str| Fault::from_text(text).unwrap_err().to_string();
        assert!(told("work/w-1/3").starts_with("write it as EFFECT=FAULT"));
        assert!(told("work/w-1/3=http:200").starts_with("`http:200` is no fault; there are"));
        assert!(told("work/w-1/3=nonsense").starts_with("`nonsense` is no fault"));
        for text in ["work/w-1/3.1=stall", "work=kill", "commit:0=kill", "commit:x=kill", "commit:3=stall"] {
            assert!(told(text).contains("is no place for a fault"), "{text}");
        }
    }

    #[test]
    fn a_fault_strikes_once_and_a_kill_is_none_of_the_call() {
        let fault = |text: &str| Fault::from_text(text).unwrap();
        let faults = Faults::new(vec![fault("work/w-1/3=stall"), fault("work/w-1/3=kill")]);
        let call = EffectId::turn("work/w-1", 3);
        assert_eq!((faults.strike(&call), faults.strike(&call)), (Some(FaultKind::Stall), None));
        assert!(faults.kills(&call, 9) && !faults.kills(&EffectId::turn("work/w-1", 4), 9));
        assert_eq!(faults.left(), ["work/w-1/3=kill"]);
    }
}
