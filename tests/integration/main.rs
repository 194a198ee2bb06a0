//! The one integration-test binary.

mod server;
mod server_check;
