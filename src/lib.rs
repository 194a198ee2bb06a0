//! What `runner` is made of, lowest rank first; `docs/architecture.md` says why.

pub mod clock;
pub mod id;
pub mod limit;
pub mod secret;

pub mod source;

pub mod chat;
pub mod issue;

pub mod event;
pub mod plan;

pub mod http;
pub mod store;

pub mod provider;
pub mod tool;

pub mod cli;
