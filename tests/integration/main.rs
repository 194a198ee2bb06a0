//! The one integration-test binary.

mod documents;
mod harness;
mod harness_check;
mod layers;
mod server;
mod server_check;
mod store;
mod wire;
mod wire_http;
mod check;
mod confinement;
mod mount_plans;
