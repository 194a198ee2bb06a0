//! The issue queue's contract, put to every store, and what only the SQLite one has to show.

mod contract;
mod counters;
mod desk;
mod edges;
mod holds;
mod sqlite;
