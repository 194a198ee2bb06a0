//! Which MCP servers a run has: each is started once, for all sessions, and offers what it offered at the beginning.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::Value;

use super::{Ground, ServerPlan, shown_name, told_apart};
use crate::chat::ToolSpec;
use crate::limit;
use crate::mcp::{Address, Connection, Found, Own};

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
    /// What it is asked with, by what is shown for it.
    owns: BTreeMap<String, Own>,
    specs: Vec<ToolSpec>,
    /// What of it is left out.
    notice: Option<String>,
}

impl Running {
    /// What the server is asked with, by the name that is shown.
    pub(super) fn own(&self, shown: &str) -> Option<&Own> {
        self.owns.get(shown)
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

    /// What people should know of what they offer.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.running.values().filter_map(|running| running.notice.as_deref())
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
    // Tools first: what else there is makes way for their names.
    let rank = |offer: &Found| match offer.own {
        Own::Tool(_) => 0,
        Own::Resource(_) => 1,
        Own::Prompt(_) => 2,
    };
    offered.sort_by(|one, other| (rank(one), &one.spec.name).cmp(&(rank(other), &other.spec.name)));
    let resources = offered.iter().filter(|offer| rank(offer) == 1).count();
    let notice = (resources > limit::MCP_RESOURCES).then(|| {
        let most = limit::MCP_RESOURCES;
        format!("MCP server {}: of its {resources} resources the first {most} are offered", plan.name)
    });
    let (mut owns, mut specs, mut read) = (BTreeMap::new(), Vec::new(), 0);
    for Found { own, spec } in offered {
        read += usize::from(matches!(own, Own::Resource(_)));
        if matches!(own, Own::Resource(_)) && read > limit::MCP_RESOURCES {
            continue;
        }
        if !matches!(own, Own::Tool(_)) && owns.values().any(|known| *known == own) {
            // It is listed more than once.
            continue;
        }
        let mut name = shown_name(&plan.name, &spec.name);
        match (owns.get(&name), &own) {
            (Some(Own::Tool(other)), Own::Tool(tool)) => {
                connection.end().await;
                let reason = format!(
                    "it offers two tools, {other} and {tool}, that would both be called {name}; one of them has to be renamed or taken out there"
                );
                return Err(refused(reason));
            }
            // Names of resources are for people, and several may have one.
            (Some(_), Own::Tool(own) | Own::Resource(own) | Own::Prompt(own)) => {
                name = told_apart(&plan.name, &spec.name, own);
            }
            (None, _) => {}
        }
        let input_schema: Value = ground.scrubber.scrub_json(spec.input_schema);
        let description = ground.scrubber.scrub(&spec.description);
        specs.push(ToolSpec { name: name.clone(), description, input_schema });
        owns.insert(name, own);
    }
    Ok(Running { connection, owns, specs, notice })
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
