//! What a run needs of the machine: programs that offer tools, started before its first phase and never for a replay, and
//! the kernel's sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::launch::{Play, shown};
use super::refusal::{Granted, Refusal};
use crate::id::RoleId;
use crate::plan::{PhasePlan, Plan};
use crate::session::{CastError, Modules};
use crate::tool::mcp::{Offered, ServerPlan, Servers};

/// What is offered to each role, and who carries it out.
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
        let role = wanted.iter().find(|(_, plans)| named(plans)).and_then(|(role, _)| plan.roles.get(role));
        let file = role.map(|role| shown(&role.mount_plan.file, &plan.root)).unwrap_or_default();
        Refusal::configuration(format!("{file}: tool-mcp: {error}"))
    })?;
    let mut offered = recorded.unwrap_or_default();
    for (role, plans) in &wanted {
        let now = servers.offered(plans);
        if !offered.contains_key(role) && !now.is_empty() {
            offered.insert(role.clone(), now);
        }
    }
    Ok(Outside { offered, servers: Some(Arc::new(servers)), notices })
}

/// The servers of the roles that some session plays.
fn wanted(modules: &Modules, plan: &Plan) -> Result<BTreeMap<RoleId, Vec<ServerPlan>>, CastError> {
    let used: BTreeSet<_> = plan.every_phase().flat_map(PhasePlan::sessions).map(|(_, role)| role).collect();
    let roles = used.iter().filter_map(|role| plan.roles.get(role));
    roles.map(|role| Ok((role.id.clone(), modules.mcp_servers(role)?))).collect()
}
