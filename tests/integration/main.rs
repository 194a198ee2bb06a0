//! The one integration-test binary.
mod issue_tool;
mod issues_command;
mod store;
