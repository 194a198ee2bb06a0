//! Where the process starts.
fn main() {}
