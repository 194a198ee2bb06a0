//! The run as JSON lines: every happening an object, as in the journal.

use std::io::Write;
use std::sync::Mutex;

use serde_json::json;

use super::{Out, put};
use crate::chat::Delta;
use crate::event::{Envelope, Listener, Whereabouts};

/// Writes happenings as JSON lines; pieces of replies too, as `{"delta": …}` without a number, when they arrive live.
pub struct JsonLines {
    out: Out,
}

impl JsonLines {
    /// Lines to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out: Mutex::new(out) }
    }
}

impl Listener for JsonLines {
    fn heard(&self, event: &Envelope) {
        let text = serde_json::to_string(event).expect("a happening holds only plain data");
        put(&self.out, &(text + "\n"));
    }

    fn overheard(&self, place: &Whereabouts, delta: &Delta) {
        let delta = match delta {
            Delta::Text(text) => json!({"text": text}),
            Delta::Thinking(text) => json!({"thinking": text}),
            Delta::Tool { name } => json!({"tool": name}),
        };
        put(&self.out, &format!("{}\n", json!({"session": place.session, "delta": delta})));
    }
}
