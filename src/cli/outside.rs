//! What a run needs of the machine: programs that offer tools, started before its first phase and never for a replay, and
//! the kernel's sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::launch::{Play, shown};
use super::refusal::{Granted, Refusal};
use crate::id::RoleId;
use crate::plan::{PhasePlan, Plan, RolePlan};
use crate::session::{CastError, Modules};
use crate::tool::mcp::{Offered, ServerPlan, Servers};

/// What is offered to each role and agent, and who carries it out.
pub(super) struct Outside {
    pub(super) offered: BTreeMap<RoleId, Offered>,
    /// Nobody in a replay.
    pub(super) servers: Option<Arc<Servers>>,
    /// What people should know.
    pub(super) notices: Vec<String>,
}

/// Starts what the roles of a run need. What it has told its models before it goes on telling them.
pub(super) async fn open(modules: &Modules, plan: &Plan, play: &Play) -> Granted<Outside> {
    let recorded = match play {
        Play::Replay(replay) => {
            let offered = replay.recording.head.mcp_tools.clone();
            return Ok(Outside { offered, servers: None, notices: Vec::new() });
        }
        Play::Resume(taken) => Some(taken.manifest.mcp_tools.clone()),
        Play::Live { .. } | Play::Scripted { .. } | Play::Explored { .. } => None,
    };
    let notices = Modules::without_sandbox(plan).map_err(Refusal::configuration)?;
    let notices = notices.into_iter().map(str::to_owned).collect();
    let wanted = wanted(modules, plan).map_err(Refusal::invalid)?;
    let all: Vec<ServerPlan> = wanted.values().flatten().cloned().collect();
    let servers = Servers::open(&all, modules.ground()).await.map_err(|error| {
        let named = |plans: &&Vec<ServerPlan>| plans.iter().any(|plan| plan.name == error.name);
        let id = wanted.iter().find(|(_, plans)| named(plans)).map(|(id, _)| id);
        let role = plan.roles.values().find(|role| id.is_some_and(|id| is_or_is_agent_of(id, role)));
        let file = role.map(|role| shown(&role.mount_plan.file, &plan.root)).unwrap_or_default();
        Refusal::configuration(format!("{file}: tool-mcp: {error}"))
    })?;
    let mut notices: Vec<String> = notices;
    notices.extend(servers.notices().map(str::to_owned));
    let mut offered = recorded.unwrap_or_default();
    for (role, plans) in &wanted {
        let now = servers.offered(plans);
        if !offered.contains_key(role) && !now.is_empty() {
            offered.insert(role.clone(), now);
        }
    }
    Ok(Outside { offered, servers: Some(Arc::new(servers)), notices })
}

/// The servers of the roles that some session plays, and those of their agents that have others.
pub(super) fn wanted(modules: &Modules, plan: &Plan) -> Result<BTreeMap<RoleId, Vec<ServerPlan>>, CastError> {
    let used: BTreeSet<_> = plan.every_phase().flat_map(PhasePlan::sessions).map(|(_, role)| role).collect();
    let mut wanted = BTreeMap::new();
    for role in used.iter().filter_map(|role| plan.roles.get(role)) {
        let own = modules.mcp_servers(role)?;
        for agent in role.mount_plan.agents.iter().map(|agent| role.as_agent(agent)) {
            let servers = modules.mcp_servers(&agent)?;
            if Servers::differ(&own, &servers) {
                wanted.insert(agent.id, servers);
            }
        }
        wanted.insert(role.id.clone(), own);
    }
    Ok(wanted)
}

fn is_or_is_agent_of(id: &RoleId, role: &RolePlan) -> bool {
    *id == role.id || role.mount_plan.agents.iter().any(|agent| *id == role.as_agent(agent).id)
}
