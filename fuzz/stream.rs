//! Does reading a stream hold its promises for bytes that nobody would think of? libFuzzer makes them up, beginning with
//! the streams of the tests.

#![no_main]

#[path = "../tests/integration/streams.rs"]
mod streams;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| streams::hold(bytes));
