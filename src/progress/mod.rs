//! How a run is shown while it runs: plain lines for people, JSON lines for programs.

mod json;
mod plain;

use std::io::Write;
use std::sync::Mutex;

pub use json::JsonLines;
pub use plain::PlainLines;

/// Where lines go. A reader that has gone away ends no run.
type Out = Mutex<Box<dyn Write + Send>>;

fn put(out: &Out, text: &str) {
    let mut out = out.lock().expect("nothing panics while it writes");
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
