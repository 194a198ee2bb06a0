//! What one prompt of a role may come to at most: its model calls, and how many tokens each of them has.

use super::modules::{CastError, loop_policy};
use super::registry::Registry;
use crate::context;
use crate::plan::{MountPlan, RolePlan, Variables};
use crate::provider::mock::{self, Mock};
use crate::provider::{BuildError, Fallback, Provider, Refusals};
use crate::tool::task;

/// What one prompt of a role may come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// Model calls until it is answered.
    pub calls: MostCalls,
    /// What one call may have: first those of the role itself, then those of the sub-agents that it may start.
    pub each: Vec<CallSize>,
}

/// How many model calls a prompt may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MostCalls {
    /// As many at most, with the one that sums up.
    Bounded(u64),
    /// The orchestrator has no limit.
    Unlimited,
    /// It may start as many sub-agents as its model likes.
    SubAgents,
}

/// What one model call may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSize {
    /// The model, and those that may be asked in its place.
    pub models: Vec<String>,
    /// Tokens of the request; `None` if nothing bounds them.
    pub input: Option<u64>,
    /// Tokens of the reply.
    pub output: u64,
    /// What the models that are asked in place of another add to it.
    pub stand_ins: StandInCost,
}

/// What it costs that another model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandInCost {
    /// Nothing: the failed call is not paid, and one answers.
    OneAnswers,
    /// All of them may have answered before, with refusals that are paid.
    AllAnswer,
}

impl Registry {
    /// What one prompt of a role may come to. Nothing is asked.
    ///
    /// # Errors
    /// A configuration makes no sense.
    pub fn voice(&self, role: &RolePlan, variables: &Variables) -> Result<Voice, CastError> {
        let plan = &role.mount_plan;
        let delegates =
            !plan.agents.is_empty() && plan.tools.iter().any(|tool| tool.module == task::INFO.name);
        let calls = if delegates {
            MostCalls::SubAgents
        } else if has_nothing_to_call(plan) {
            MostCalls::Bounded(1)
        } else {
            let most = loop_policy(&plan.orchestrator).max_calls;
            most.map_or(MostCalls::Unlimited, |most| MostCalls::Bounded(u64::from(most) + 1))
        };
        let mut each = vec![self.call_size(role, variables)?];
        for agent in plan.agents.iter().filter(|_| delegates) {
            each.push(self.call_size(&role.as_agent(agent), variables)?);
        }
        Ok(Voice { calls, each })
    }

    fn call_size(&self, role: &RolePlan, variables: &Variables) -> Result<CallSize, CastError> {
        let provider = self.unasked(role, variables)?;
        let fallback = Fallback::read(role.mount_plan.provider(), provider.model())?;
        let mut output = provider.most_output();
        for model in &fallback.models {
            let role = RolePlan { model: Some(model.clone()), ..role.clone() };
            output = output.max(self.unasked(&role, variables)?.most_output());
        }
        let spec = &role.mount_plan.context;
        let input = match self.context(&spec.module) {
            // What a context of another program keeps to is not known; the model's window holds in any case.
            Some(_) => provider.room().map(|room| room.window),
            None => Some(context::Settings::read(spec, provider.room())?.most_tokens()),
        };
        let own = provider.model().to_owned();
        Ok(CallSize {
            models: std::iter::once(own).chain(fallback.models).collect(),
            input,
            output,
            stand_ins: match fallback.refusals {
                Refusals::Stand => StandInCost::OneAnswers,
                Refusals::FallBack => StandInCost::AllAnswer,
            },
        })
    }

    /// A role's provider, which is asked nothing.
    fn unasked(
        &self,
        role: &RolePlan,
        variables: &Variables,
    ) -> Result<std::sync::Arc<dyn Provider>, BuildError> {
        let spec = role.mount_plan.provider();
        let model = role.model.as_deref();
        if spec.module == mock::INFO.name {
            let mut silent = spec.clone();
            // What it answers does not matter here.
            silent.config.retain(|key, _| key == "default_model");
            return Mock::build(&silent, None, model).map(|(provider, _)| provider);
        }
        self.provider(spec, variables, model).expect("a checked mount plan names providers of the catalogue")
    }
}

/// Whether a model of this plan answers each prompt at once: it has no tools here, and none at its server.
fn has_nothing_to_call(plan: &MountPlan) -> bool {
    let config = &plan.provider().config;
    let at_server = ["server_tools", "enable_web_search"].iter().any(|key| config.contains_key(*key));
    plan.tools.is_empty() && !at_server
}
