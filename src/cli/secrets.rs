//! What of a scenario's run is secret: credentials and secret inputs, each with the name by which it is marked.

use std::collections::BTreeMap;

use super::launch::Scenario;
use super::refusal::{Granted, Refusal};
use crate::event::Mode;
use crate::secret::{Scrubber, Secret};
use crate::session::Modules;
use crate::tool::mcp;

/// What takes the credentials of a scenario's run out of every text.
pub(super) fn scrubber(scenario: &Scenario) -> Scrubber {
    Scrubber::new(&secrets(scenario))
}

/// The values of secret inputs, by the variables that hold them; a replay does without.
///
/// # Errors
/// A variable is not set.
pub(super) fn secret_inputs(scenario: &Scenario, mode: Mode) -> Granted<BTreeMap<String, Secret>> {
    let mut held = BTreeMap::new();
    for name in scenario.plan.secret_variables() {
        match scenario.variables.get(&name).filter(|value| !value.is_empty()) {
            Some(value) => {
                held.insert(name, Secret::new(value.clone()));
            }
            None if mode == Mode::Replay => {}
            None => {
                let text = format!(
                    "{name} is not set, and a secret input of the scenario names it; set it in the environment or in .env"
                );
                return Err(Refusal::configuration(text));
            }
        }
    }
    Ok(held)
}

/// Credentials: those the providers and tools use, whether a variable or a mount plan holds them, secret inputs, and whatever
/// else the environment and the inputs hold that looks like one.
fn secrets(scenario: &Scenario) -> Vec<(String, Secret)> {
    let Scenario { plan, variables, registry, .. } = scenario;
    let mut secrets = Scrubber::credentials_in(variables);
    let inputs =
        plan.inputs.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    secrets.extend(Scrubber::credentials_in(&inputs.collect()));
    for name in plan.secret_variables() {
        if let Some(value) = variables.get(&name).map(|value| value.trim()).filter(|value| !value.is_empty())
        {
            secrets.push((name, Secret::new(value.to_owned())));
        }
    }
    for info in registry.catalogue() {
        let Some(credential) = info.credential else { continue };
        let plans = plan.roles.values().flat_map(|role| role.mount_plan.and_agents());
        let specs = plans.flat_map(|plan| &plan.providers);
        let values = specs
            .filter(|spec| spec.module == info.name)
            .filter_map(|spec| spec.config.get(credential.key)?.as_str())
            .chain(variables.get(credential.variable).map(String::as_str));
        for value in values.map(str::trim).filter(|value| !value.is_empty()) {
            secrets.push((credential.variable.to_owned(), Secret::new(value.to_owned())));
        }
    }
    let plans = plan.roles.values().flat_map(|role| role.mount_plan.and_agents());
    let tools = plans.flat_map(|plan| &plan.tools);
    for spec in tools.filter(|spec| spec.module == mcp::INFO.name) {
        secrets.extend(mcp::secrets(&spec.config));
    }
    let of_tools = Modules::tool_credentials(plan, variables).into_iter();
    secrets.extend(of_tools.map(|(name, value)| (name.to_owned(), Secret::new(value))));
    secrets
}
