//! Which MCP servers a run has: each is started once, for all sessions, and offers what it offered at the beginning.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::Value;

use super::{Ground, ServerPlan, shown_name};
use crate::chat::ToolSpec;
use crate::mcp::{Address, Connection};

/// The tools of a role, by the name of their server, as its model is told of them.
pub type Offered = BTreeMap<String, Vec<ToolSpec>>;

/// The servers of a run.
#[derive(Default)]
pub struct Servers {
    running: BTreeMap<Key, Arc<Running>>,
}

/// What makes two entries of mount plans the same server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(String);

pub(super) struct Running {
    pub(super) connection: Connection,
    /// What it is asked with, and what is shown for it.
    tools: BTreeMap<String, String>,
    specs: Vec<ToolSpec>,
}

impl Running {
    /// The server's own name of a tool.
    pub(super) fn own_name(&self, shown: &str) -> Option<&str> {
        self.tools.get(shown).map(String::as_str)
    }
}

/// A server that a run cannot begin without.
#[derive(Debug, thiserror::Error)]
#[error("the MCP server {name} ({address}): {reason}")]
pub struct OpenError {
    /// Its name.
    pub name: String,
    /// Its command or address.
    pub address: String,
    /// What went wrong, with what it printed.
    pub reason: String,
}

impl Servers {
    /// Starts or reaches every server, all at once.
    ///
    /// # Errors
    /// The first, in order, that cannot be used; those that could are ended.
    pub async fn open(plans: &[ServerPlan], ground: Ground<'_>) -> Result<Self, OpenError> {
        let mut wanted: BTreeMap<Key, &ServerPlan> = BTreeMap::new();
        for plan in plans {
            wanted.entry(Key::of(plan)).or_insert(plan);
        }
        let opened = join_all(wanted.values().map(|plan| open(plan, ground))).await;
        let mut servers = Self::default();
        let mut wrong = None;
        for (key, opened) in wanted.into_keys().zip(opened) {
            match opened {
                Ok(running) => {
                    servers.running.insert(key, Arc::new(running));
                }
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        match wrong {
            None => Ok(servers),
            Some(error) => {
                servers.end().await;
                Err(error)
            }
        }
    }

    /// Whether these are not the same servers.
    pub fn differ(some: &[ServerPlan], others: &[ServerPlan]) -> bool {
        !some.iter().map(Key::of).eq(others.iter().map(Key::of))
    }

    /// What these servers offer.
    pub fn offered(&self, plans: &[ServerPlan]) -> Offered {
        let specs = |plan: &ServerPlan| Some((plan.name.clone(), self.find(plan)?.specs.clone()));
        plans.iter().filter_map(specs).collect()
    }

    pub(super) fn find(&self, plan: &ServerPlan) -> Option<&Arc<Running>> {
        self.running.get(&Key::of(plan))
    }

    /// Ends them all.
    pub async fn end(&self) {
        join_all(self.running.values().map(|running| running.connection.end())).await;
    }
}

impl Key {
    fn of(plan: &ServerPlan) -> Self {
        let address = match &plan.address {
            Address::Program(program) => format!("{program:?}"),
            Address::Http { url, headers } => {
                let shown = headers.iter().map(|(name, value)| (name.as_str(), value.expose()));
                format!("{url}{:?}", shown.collect::<Vec<_>>())
            }
        };
        Self(format!("{}\n{address}", plan.name))
    }
}

async fn open(plan: &ServerPlan, ground: Ground<'_>) -> Result<Running, OpenError> {
    let refused = |reason: String| OpenError {
        name: plan.name.clone(),
        address: ground.scrubber.scrub(&shown(&plan.address)),
        reason: ground.scrubber.scrub(&reason),
    };
    let opened = Connection::open(&plan.address, plan.connect_timeout).await;
    let (connection, mut offered) = opened.map_err(|error| refused(error.to_string()))?;
    offered.sort_by(|one, other| one.name.cmp(&other.name));
    let mut tools: BTreeMap<String, String> = BTreeMap::new();
    let mut specs = Vec::new();
    for tool in offered {
        let name = shown_name(&plan.name, &tool.name);
        if let Some(other) = tools.insert(name.clone(), tool.name.clone()) {
            connection.end().await;
            let reason = format!(
                "it offers two tools, {other} and {}, that would both be called {name}; one of them has to be renamed or taken out there",
                tool.name
            );
            return Err(refused(reason));
        }
        let input_schema: Value = ground.scrubber.scrub_json(tool.input_schema);
        specs.push(ToolSpec { name, description: ground.scrubber.scrub(&tool.description), input_schema });
    }
    Ok(Running { connection, tools, specs })
}

fn shown(address: &Address) -> String {
    match address {
        Address::Program(program) => {
            let command = program.command.display().to_string();
            let words = std::iter::once(command.as_str()).chain(program.arguments.iter().map(String::as_str));
            words.collect::<Vec<_>>().join(" ")
        }
        Address::Http { url, .. } => url.clone(),
    }
}
