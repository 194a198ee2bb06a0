//! The journal as a listener: every happening becomes a line.

use super::{Durability, Journal, Line};
use crate::event::{Envelope, Listener};

impl Listener for Journal {
    fn heard(&self, event: &Envelope) {
        // A journal that cannot be written is told to the next effect, which ends the run; a happening changes nothing.
        drop(self.append(&Line::Event { event: event.clone() }, Durability::Later));
    }
}
