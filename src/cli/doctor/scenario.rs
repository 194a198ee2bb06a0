//! What a scenario needs besides: credentials of its roles, its workspace, its recording, what its tools ask for.

use std::collections::BTreeSet;
use std::path::Path;

use super::Finding;
use super::machine::{EnvFile, found, writable};
use crate::cassette;
use crate::cli::launch::shown;
use crate::cli::surroundings::Surroundings;
use crate::event::RecordingHead;
use crate::mcp::Address;
use crate::plan::{ModuleSpec, Need, Plan, ReplayWhen, Variables};
use crate::secret::Scrubber;
use crate::session::{CredentialFound, CredentialUse, Modules};
use crate::tool::{bash, mcp, web};

/// What a scenario needs.
pub(super) fn findings(
    plan: &Plan,
    file: &Path,
    env_file: &EnvFile,
    variables: &Variables,
    surroundings: &Surroundings,
) -> Vec<Finding> {
    let mut findings = vec![writable("workspace", &plan.workspace.path, surroundings)];
    let recording = plan.replay.cassette.as_deref().map(cassette::read_head);
    let plays_without = plan.replay.when == ReplayWhen::NoCredentials
        && recording.as_ref().is_some_and(std::result::Result::is_ok);
    findings.push(recording_finding(plan, file, recording));
    for used in surroundings.registry.credential_uses(plan, variables) {
        findings.push(credential(&used, plays_without, env_file.origin(used.variable, surroundings)));
    }
    findings.extend(tools(plan, variables));
    findings.extend(servers(plan, variables, plays_without));
    findings
}

fn recording_finding(
    plan: &Plan,
    file: &Path,
    head: Option<Result<RecordingHead, cassette::CassetteError>>,
) -> Finding {
    let folder = plan.replay.cassette.as_deref().unwrap_or(&plan.root);
    let name = shown(folder, &plan.root);
    match head {
        None => {
            Finding::note("recording", "the scenario names none, so that it cannot be replayed or tested")
                .help("name one: `replay: { cassette: … }`")
        }
        Some(Ok(head)) => Finding::ok("recording", &format!("{name} ({})", head.evidence.as_str())),
        Some(Err(_)) if !folder.exists() => {
            Finding::note("recording", &format!("there is none at {name} yet"))
                .help(format!("make one: runner record {}", file.display()))
        }
        Some(Err(error)) => Finding::missing("recording", &error.to_string())
            .help(format!("make it anew: runner record {}", file.display())),
    }
}

fn credential(used: &CredentialUse, plays_without: bool, origin: Option<String>) -> Finding {
    let roles = used.roles.join(", ");
    match (used.found, used.need) {
        (CredentialFound::InMountPlan, _) => {
            Finding::ok(used.variable, &format!("set by the mount plan of {roles}"))
        }
        (CredentialFound::InVariable, _) => {
            let origin = origin.unwrap_or_else(|| "set".to_owned());
            Finding::ok(used.variable, &format!("{origin}; for {roles}"))
        }
        (CredentialFound::Nowhere, Need::Optional) => {
            Finding::note(used.variable, &format!("not set; some servers want it, for {roles}"))
        }
        (CredentialFound::Nowhere, Need::Required) if plays_without => Finding::note(
            used.variable,
            &format!("not set; {roles} play the recording in place of asking models"),
        ),
        (CredentialFound::Nowhere, Need::Required) => {
            Finding::missing(used.variable, &format!("not set, and without it no model answers for {roles}"))
                .help(format!("set {} in the environment or in .env", used.variable))
        }
    }
}

/// What tools of the scenario ask of the machine.
fn tools(plan: &Plan, variables: &Variables) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mount = |name: &'static str| {
        let plans = plan.roles.values().flat_map(|role| role.mount_plan.and_agents());
        plans.flat_map(|plan| &plan.tools).filter(move |spec: &&ModuleSpec| spec.module == name)
    };
    if mount(bash::INFO.name).next().is_some() && bash::find_shell(variables).is_none() {
        findings.push(Finding::missing("tool-bash", "there is no bash or sh for it").help("install bash"));
    }
    // That it may be absent is told of with the machine.
    if let Err(reason) = Modules::without_sandbox(plan) {
        findings.push(Finding::missing("tool-bash", reason));
    }
    let searches: BTreeSet<_> =
        mount(web::INFO.name).filter_map(|spec| web::searches(&spec.config, variables).ok()).collect();
    findings.extend(searches.into_iter().filter_map(|found| match found {
        Ok(backend) => Some(Finding::ok("tool-web", &format!("web_search asks {backend}"))),
        Err(web::Nobody::Wanted) => None,
        Err(web::Nobody::Because(why)) => {
            Some(Finding::note("tool-web", &format!("{why}, so that web_search is absent")))
        }
    }));
    findings
}

/// The programs that offer tools; a replay starts none.
fn servers(plan: &Plan, variables: &Variables, plays_without: bool) -> Vec<Finding> {
    let scrubber = Scrubber::new(&[]);
    let ground =
        mcp::Ground { root: &plan.root, workspace: &plan.workspace.path, variables, scrubber: &scrubber };
    let specs = plan.roles.values().flat_map(|role| &role.mount_plan.tools);
    let specs = specs.filter(|spec| spec.module == mcp::INFO.name);
    let mut findings = Vec::new();
    for server in specs.filter_map(|spec| mcp::read(&spec.config, ground).ok()).flatten() {
        let Address::Program(program) = &server.address else { continue };
        let command = shown(&program.command, &plan.root);
        let finding = match found(&program.command, variables) {
            Some(path) => Finding::ok("tool-mcp", &format!("{}: {}", server.name, path.display())),
            None if plays_without => {
                Finding::note("tool-mcp", &format!("{}: there is no program {command}", server.name))
            }
            None => Finding::missing("tool-mcp", &format!("{}: there is no program {command}", server.name))
                .help("install it, or correct `command` in the mount plan"),
        };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}
