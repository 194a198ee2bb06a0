//! `model: provider-openai/gpt-x` of a role: the provider that answers in place of the mount plan's, and its model.

use std::collections::BTreeMap;

use serde_json::Map;

use super::LoadRequest;
use super::raw::RawScenario;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::plan::{ModuleInfo, ModuleKind, ModuleSpec, MountPlan};
use crate::source::Place;

/// How the name of every provider begins; what stands before a slash otherwise belongs to the name of a model.
const PREFIX: &str = "provider-";

/// Puts the provider that a role names before those of its mount plan, and leaves the role the model's name alone.
pub(super) fn choose(
    raw: &mut RawScenario,
    mount_plans: &mut BTreeMap<String, MountPlan>,
    request: &LoadRequest<'_>,
    report: &mut Report,
) {
    for role in &mut raw.roles {
        let Some(model) = &mut role.model else { continue };
        let Some((name, rest)) = model.value.split_once('/') else { continue };
        if !name.starts_with(PREFIX) {
            continue;
        }
        let Some(info) = provider(name, request) else {
            report.push(unknown(name, &model.place, request));
            continue;
        };
        if let Some(plan) = mount_plans.get_mut(&role.id.value) {
            put_first(plan, info, &model.place);
            plan.agents.iter_mut().for_each(|agent| put_first(&mut agent.plan, info, &model.place));
        }
        model.value = rest.to_owned();
    }
}

fn providers<'r>(request: &'r LoadRequest<'_>) -> impl Iterator<Item = &'r ModuleInfo> {
    request.catalogue.iter().filter(|info| info.kind == ModuleKind::Provider)
}

fn provider<'r>(name: &str, request: &'r LoadRequest<'_>) -> Option<&'r ModuleInfo> {
    providers(request).find(|info| info.name == name || info.aliases.contains(&name))
}

fn unknown(name: &str, place: &Place, request: &LoadRequest<'_>) -> Diagnostic {
    let names: Vec<&str> = providers(request).map(|info| info.name).collect();
    Diagnostic::error(Code::UnknownModule, format!("there is no provider `{name}`"))
        .at(place)
        .did_you_mean(nearest(name, names.iter().copied()))
        .help(format!("there are {}", names.join(", ")))
}

/// The provider as the mount plan has it, if it does; else with nothing set.
fn put_first(plan: &mut MountPlan, info: &ModuleInfo, place: &Place) {
    let spec = match plan.providers.iter().position(|spec| spec.module == info.name) {
        Some(at) => plan.providers.remove(at),
        None => ModuleSpec {
            module: info.name.to_owned(),
            config: Map::new(),
            instance_id: None,
            place: place.clone(),
        },
    };
    plan.providers.insert(0, spec);
}
