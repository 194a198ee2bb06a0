//! The one integration-test binary.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod agents;
mod check;
mod check_command;
mod confinement;
mod crash;
mod crowd;
mod doctor;
mod documents;
mod engine;
mod explain;
mod explore;
mod faults;
mod gate;
mod harness;
mod harness_check;
mod history;
mod hooks;
mod init;
mod issue_tool;
mod issues_command;
mod issues_files;
mod layers;
mod library;
mod limits;
mod long;
mod mcp;
mod mcp_client;
mod mount_plans;
mod offline;
mod openai;
mod reference;
mod schema;
mod server;
mod server_check;
mod session;
mod store;
mod streams;
mod team;
mod test_command;
mod trouble;
mod web_tool;
mod wire;
mod wire_http;
mod wire_turns;
