//! Does loading a scenario hold its promises for bytes that nobody would think of? libFuzzer makes them up, beginning with
//! the files of the tests.

#![no_main]

#[path = "../tests/integration/loading.rs"]
mod loading;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| loading::hold(bytes));
