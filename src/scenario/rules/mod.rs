//! What must hold of a scenario beyond its shape: one rule a file.

mod bad_ids;
mod conditions;
mod constant;
mod cycles;
mod double_entries;
mod events;
mod faults;
mod folders;
mod idle_monitors;
mod ignored;
mod included;
mod inline;
mod issue_tool;
mod kinds;
mod references;
mod rendering;
mod seeds;
mod sessions;
mod starved;
mod tools;
mod undefined;
mod unfed;
mod unpriced;
mod unused;
mod watching;

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::LoadRequest;
use super::attachments::Attachments;
use super::graph::Graph;
use super::prompts::Prompts;
use super::raw::{RawInput, RawKind, RawRole, RawScenario};
use crate::diagnostic::Report;
use crate::plan::{ModuleSpec, MountPlan};
use crate::price::Prices;
use crate::provider::Fallback;
use crate::source::Sources;

/// All that is known of a scenario when it is checked.
pub(super) struct Scene<'a> {
    pub(super) raw: &'a RawScenario,
    pub(super) graph: Graph,
    /// The inputs of the scenario itself, by id.
    pub(super) declared: HashMap<&'a str, &'a RawInput>,
    pub(super) request: &'a LoadRequest<'a>,
    pub(super) sources: &'a Sources,
    pub(super) inputs: &'a BTreeMap<String, Value>,
    pub(super) mount_plans: &'a BTreeMap<String, MountPlan>,
    pub(super) prompts: &'a Prompts,
    pub(super) attachments: &'a Attachments,
}

impl Scene<'_> {
    /// The role of this id.
    pub(super) fn role(&self, id: &str) -> Option<&RawRole> {
        self.raw.roles.iter().find(|role| role.id.value == id)
    }

    /// The model that a role asks: its own, else that of its mount plan, else the default of its provider.
    pub(super) fn model(&self, role: &RawRole) -> Option<String> {
        if let Some(model) = &role.model {
            return Some(model.value.clone());
        }
        self.model_of(self.mount_plans.get(&role.id.value)?.providers.first()?)
    }

    fn model_of(&self, provider: &ModuleSpec) -> Option<String> {
        let set =
            provider.config.get("default_model").and_then(Value::as_str).filter(|name| !name.is_empty());
        let info = self.request.catalogue.iter().find(|info| info.name == provider.module)?;
        let default = info.keys.iter().find(|key| key.name == "default_model").map(|key| key.default);
        set.or(default).filter(|name| !name.is_empty()).map(str::to_owned)
    }

    /// All models that sessions of a role may ask: that of the role, those of its agents, and those that stand in for one of
    /// them. `None` if one is not known.
    pub(super) fn models(&self, role: &RawRole) -> Option<Vec<String>> {
        let own = self.model(role)?;
        let mut models = vec![own];
        let Some(plan) = self.mount_plans.get(&role.id.value) else { return Some(models) };
        for plan in plan.and_agents() {
            let Some(provider) = plan.providers.first() else { continue };
            let model = match &role.model {
                Some(model) => model.value.clone(),
                None => self.model_of(provider)?,
            };
            // What is wrong with the names is said where providers are built.
            let fallback = Fallback::read(provider, &model).unwrap_or_default();
            models.extend(std::iter::once(model).chain(fallback.models));
        }
        Some(models)
    }

    /// The built-in prices, and the scenario's own in place of them.
    pub(super) fn prices(&self) -> Prices {
        let own = self.raw.prices.iter().map(|(model, price)| (model.value.clone(), *price));
        Prices::built_in().with(own)
    }

    /// The inputs of the scenario that a phase stands in.
    pub(super) fn inputs_of(&self, at: usize) -> &[RawInput] {
        let mut next = self.graph.outer(at);
        while let Some(outer) = next {
            if let Some(RawKind::Include(include)) = &self.raw.phases[outer].kind {
                return include.of.as_ref().map(|of| of.inputs.as_slice()).unwrap_or_default();
            }
            next = self.graph.outer(outer);
        }
        &self.raw.inputs
    }

    /// The secret input that this dotted name of a template means, which stands in a phase or at the top.
    pub(super) fn secret(&self, at: Option<usize>, name: &str) -> Option<String> {
        let id = name.strip_prefix("inputs.")?;
        let inputs = at.map_or(self.raw.inputs.as_slice(), |at| self.inputs_of(at));
        let input = inputs.iter().find(|input| input.id.value == id)?;
        input.is_secret().then(|| id.to_owned())
    }

    /// The kinds of all phases that have one, with the position of each.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (usize, &RawKind)> {
        self.raw.phases.iter().enumerate().filter_map(|(at, phase)| Some((at, phase.kind.as_ref()?)))
    }
}

/// Checks a scenario by every rule.
pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let rules: [fn(&Scene<'_>, &mut Report); 24] = [
        bad_ids::check,
        references::check,
        cycles::check,
        watching::check,
        sessions::check,
        events::check,
        double_entries::check,
        tools::check,
        issue_tool::check,
        kinds::check,
        included::check,
        seeds::check,
        faults::check,
        ignored::check,
        folders::check,
        conditions::check,
        starved::check,
        unfed::check,
        idle_monitors::check,
        constant::check,
        rendering::check,
        inline::check,
        unused::check,
        unpriced::check,
    ];
    for rule in rules {
        rule(scene, report);
    }
}
