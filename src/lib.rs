//! What `runner` is made of, lowest rank first; `docs/architecture.md` says why.

pub mod clock;
pub mod id;
pub mod limit;
pub mod process;
pub mod secret;

pub mod price;
pub mod source;

pub mod chat;
pub mod diagnostic;
pub mod issue;

pub mod event;
pub mod plan;

pub mod cassette;
pub mod fault;
pub mod http;
pub mod journal;
pub mod mcp;
pub mod store;
pub mod summary;
pub mod template;

pub mod context;
pub mod effects;
pub mod graph;
pub mod hook;
pub mod mount_plan;
pub mod progress;
pub mod provider;
pub mod tool;

pub mod explore;
pub mod scenario;
pub mod session;

pub mod engine;
pub mod forecast;

pub mod cli;

/// The examples of the page for those who bring modules of their own along.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
struct LibraryPage;
