//! What of a scenario's run is secret: credentials and secret inputs, each with the name by which it is marked.

use std::collections::BTreeMap;

use super::launch::Scenario;
use crate::secret::{Scrubber, Secret};
use crate::session::Modules;
use crate::tool::mcp;

/// What takes the credentials of a scenario's run out of every text.
pub(super) fn scrubber(scenario: &Scenario) -> Scrubber {
    Scrubber::new(&secrets(scenario))
}

/// The values of secret inputs, by the variables that hold them.
pub(super) fn secret_inputs(scenario: &Scenario) -> BTreeMap<String, Secret> {
    let named = scenario.plan.secret_variables().into_iter();
    let held = named.filter_map(|name| {
        let value = scenario.variables.get(&name)?.clone();
        Some((name, Secret::new(value)))
    });
    held.collect()
}

/// Credentials: those the providers and tools use, whether a variable or a mount plan holds them, and whatever else the environment
/// holds that looks like one.
fn secrets(scenario: &Scenario) -> Vec<(String, Secret)> {
    let Scenario { plan, variables, registry, .. } = scenario;
    let mut secrets = Scrubber::credentials_in(variables);
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
