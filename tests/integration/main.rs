//! The one integration-test binary.

mod wire;
mod wire_http;
