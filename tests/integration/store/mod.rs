//! The issue queue's contract, put to every store, and what only the SQLite one has to show.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

mod contract;
mod counters;
mod crash;
mod desk;
mod edges;
mod fields;
mod finding;
mod footprints;
mod holds;
pub(crate) mod importing;
mod model;
mod soundness;
mod sqlite;
mod stress;
