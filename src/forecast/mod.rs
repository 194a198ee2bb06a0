//! What would a run of a plan do, and what may it come to at most? Said before anything is spent.
//!
//! The figures are bounds: every prompt needs all the calls that it may have, each with a request as long as its context and
//! a reply as long as it may be, at the price of the dearest of its models. Attempts that fail are not in them.

mod amount;
mod order;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

pub use amount::{Dearest, Figure, Most, Quantity, Worst};
pub use order::{Placed, order};

use crate::id::{PhaseId, RoleId};
use crate::limit;
use crate::plan::{
    ClaimBy, IncludePlan, InputSource, Items, PhaseKind, PhasePlan, PhaseTurn, Plan, SessionLife, WorkersPlan,
};
use crate::price::{Price, Usd};
use crate::session::{CallSize, MostCalls, StandInCost, Voice};
use crate::template::{TemplateContext, Templates};

/// Prompts in a row with which a worker claims nothing before it may be sent home, however few iterations it has.
const IDLE_PROMPTS: u64 = 3;

/// What a run would do, and come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// The scenario.
    pub scenario: String,
    /// Its phases, in the order in which they may begin.
    pub phases: Vec<PhaseForecast>,
    /// All of it.
    pub worst: Worst,
}

/// What a phase would do, and come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseForecast {
    /// Its full name.
    pub id: PhaseId,
    /// What it does.
    pub kind: &'static str,
    /// Its place in the order of those beside it, from 1.
    pub step: usize,
    /// Whether it runs in its turn.
    pub turn: PhaseTurn,
    /// What it waits for.
    pub needs: Vec<PhaseId>,
    /// What may run at the same time.
    pub beside: Vec<PhaseId>,
    /// It is skipped unless this holds.
    pub when: Option<String>,
    /// The phase that it watches.
    pub watches: Option<PhaseId>,
    /// It is done for so many items.
    pub items: Option<Times>,
    /// What is in it is done in so many rounds.
    pub rounds: Option<Times>,
    /// How often it is tried.
    pub tries: u32,
    /// Who works in it.
    pub sessions: Vec<Seats>,
    /// All of it: every item and round, and those of what it stands in.
    pub worst: Worst,
    /// The phases within it.
    pub phases: Vec<Self>,
}

/// How often something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How often, at most.
    pub most: u64,
    /// Whether it is known before the run.
    pub known: Known,
}

/// When a number is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// Before the run: it is this.
    Now,
    /// Only while it runs: it is at most this.
    AtRun,
}

/// Sessions of one role in a phase, each time that it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seats {
    /// Who.
    pub role: RoleId,
    /// The model, and those that may be asked in its place.
    pub models: Vec<String>,
    /// How many.
    pub sessions: u64,
    /// Prompts of all of them together, at most.
    pub prompts: u64,
    /// Model calls of one prompt, at most.
    pub turns_per_prompt: Most<u64>,
    /// Whether it may start sub-agents, whose calls nothing bounds but limits.
    pub sub_agents: SubAgents,
}

/// Whether sessions may start sub-agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubAgents {
    /// They have none.
    None,
    /// As many as their model likes.
    Any,
}

/// What a plan would do, and come to, when its roles' prompts come to this.
pub fn forecast(plan: &Plan, voices: &BTreeMap<RoleId, Voice>) -> Forecast {
    let templates = Templates::new(&BTreeMap::new()).expect("no templates have no mistakes");
    let mut teller = Teller { plan, voices, templates, by_role: BTreeMap::new(), dearest: Dearest::NOTHING };
    let inputs: Map<String, Value> = plan.inputs.clone().into_iter().collect();
    let (phases, _) = teller.level(&plan.phases, &Around { outer: None, times: 1, inputs });
    let by_phase = phases.iter().fold(Worst::nothing(), |sum, phase| sum.plus(phase.worst.clone()));
    let by_role = teller
        .by_role
        .iter()
        .fold(Worst::nothing(), |sum, (role, worst)| sum.plus(teller.within_role(role, worst.clone())));
    let worst = by_phase.or_less(by_role).within(&plan.limits, "limits", &teller.dearest);
    Forecast { scenario: plan.name.clone(), phases, worst }
}

/// What phases stand in.
struct Around {
    outer: Option<PhaseId>,
    /// How often they are done.
    times: u64,
    /// The inputs that they see, as far as they are known.
    inputs: Map<String, Value>,
}

struct Teller<'p> {
    plan: &'p Plan,
    voices: &'p BTreeMap<RoleId, Voice>,
    templates: Templates,
    /// What the sessions of each role come to, in all phases together.
    by_role: BTreeMap<RoleId, Worst>,
    /// The dearest call of all.
    dearest: Dearest,
}

impl Teller<'_> {
    fn level(&mut self, phases: &[PhasePlan], around: &Around) -> (Vec<PhaseForecast>, Dearest) {
        let mut dearest = Dearest::NOTHING;
        let mut told = Vec::new();
        for placed in order(phases) {
            let (phase, call) = self.phase(&placed, around);
            dearest = dearest.or_dearer(call);
            told.push(phase);
        }
        (told, dearest)
    }

    fn phase(&mut self, placed: &Placed<'_>, around: &Around) -> (PhaseForecast, Dearest) {
        let phase = placed.phase;
        let id = around.outer.as_ref().map_or_else(|| phase.id.clone(), |outer| outer.inner(&phase.id));
        let items = phase.for_each.as_ref().map(|each| self.items(&each.items, &around.inputs));
        let rounds = match &phase.kind {
            PhaseKind::Repeat(repeat) => Some(Times { most: repeat.max.into(), known: Known::AtRun }),
            _ => None,
        };
        let times =
            [items, rounds].into_iter().flatten().fold(around.times, |all, times| all.times(times.most));
        let sessions = self.seats(phase);
        let (mut worst, mut dearest) = (Worst::nothing(), Dearest::NOTHING);
        for seats in &sessions {
            let (all, each) = self.seats_worst(seats, times.times(phase.retry.attempts.into()));
            worst = worst.plus(all);
            dearest = dearest.or_dearer(each);
        }
        let inputs = match &phase.kind {
            PhaseKind::Include(include) => known_inputs(include),
            _ => around.inputs.clone(),
        };
        let (phases, inner) = self.level(phase.inner(), &Around { outer: Some(id.clone()), times, inputs });
        dearest = dearest.or_dearer(inner);
        worst = phases.iter().fold(worst, |sum, phase| sum.plus(phase.worst.clone()));
        let told = PhaseForecast {
            kind: phase.kind.as_str(),
            step: placed.step,
            turn: phase.turn,
            needs: phase.needs.clone(),
            beside: placed.beside.clone(),
            when: phase.when.as_ref().map(|when| when.text.trim().to_owned()),
            watches: match &phase.kind {
                PhaseKind::Monitor(monitor) => Some(monitor.watches.clone()),
                _ => None,
            },
            items,
            rounds,
            tries: phase.retry.attempts,
            sessions,
            worst: worst.within(&phase.limits, &format!("phases.{id}.limits"), &dearest),
            phases,
            id,
        };
        (told, dearest)
    }

    /// How many items there are, if that can be told from inputs.
    fn items(&self, items: &Items, inputs: &Map<String, Value>) -> Times {
        let number = match items {
            Items::Written(items) => Some(items.len()),
            Items::Computed(expression) => {
                let names = self.templates.expression_names(&expression.text);
                let is_input = |name: &String| name.split('.').next() == Some("inputs");
                let variables = Map::from_iter([("inputs".to_owned(), Value::Object(inputs.clone()))]);
                let list = || self.templates.list(&expression.text, &TemplateContext::new(variables)).ok();
                if names.iter().all(is_input) { list().map(|list| list.len()) } else { None }
            }
        };
        match number {
            Some(number) => Times { most: number as u64, known: Known::Now },
            None => Times { most: limit::ITEMS as u64, known: Known::AtRun },
        }
    }

    /// Who works in a phase itself, each time that it is done.
    fn seats(&self, phase: &PhasePlan) -> Vec<Seats> {
        match &phase.kind {
            PhaseKind::Session(session) => {
                let repair = u64::from(session.output.is_some());
                vec![self.seats_of(&session.role, 1, session.prompts.len() as u64 + repair)]
            }
            PhaseKind::Monitor(monitor) => vec![self.seats_of(&monitor.role, 1, monitor.max_checks.into())],
            PhaseKind::Workers(workers) => {
                let mut counts: Vec<(&RoleId, u64)> = Vec::new();
                for entry in &workers.pool {
                    match counts.iter_mut().find(|(role, _)| *role == &entry.role) {
                        Some((_, count)) => *count += u64::from(entry.count),
                        None => counts.push((&entry.role, entry.count.into())),
                    }
                }
                let (sessions, prompts) = of_worker(workers);
                let seats = counts.into_iter();
                seats.map(|(role, n)| self.seats_of(role, n.times(sessions), n.times(prompts))).collect()
            }
            PhaseKind::Issues(_)
            | PhaseKind::Shell(_)
            | PhaseKind::Approval(_)
            | PhaseKind::Repeat(_)
            | PhaseKind::Include(_) => Vec::new(),
        }
    }

    fn seats_of(&self, role: &RoleId, sessions: u64, prompts: u64) -> Seats {
        let voice = self.voice(role);
        Seats {
            role: role.clone(),
            models: voice.each.first().map(|call| call.models.clone()).unwrap_or_default(),
            sessions,
            prompts,
            turns_per_prompt: match voice.calls {
                MostCalls::Bounded(calls) => Most::Known(calls),
                MostCalls::Unlimited | MostCalls::SubAgents => Most::Unbounded,
            },
            sub_agents: match voice.calls {
                MostCalls::SubAgents => SubAgents::Any,
                MostCalls::Bounded(_) | MostCalls::Unlimited => SubAgents::None,
            },
        }
    }

    fn voice(&self, role: &RoleId) -> &Voice {
        self.voices.get(role).expect("every role of the plan has been looked at")
    }

    /// What so many runs of these seats come to, under the limits of their role, and the dearest of their calls.
    fn seats_worst(&mut self, seats: &Seats, times: u64) -> (Worst, Dearest) {
        let each = self.each(&seats.role);
        let calls = match seats.turns_per_prompt {
            Most::Known(calls) => Most::Known(calls.times(seats.prompts).times(times)),
            unknown => unknown.times(times),
        };
        let worst = Worst::of_calls(calls, &each);
        let all = self.by_role.remove(&seats.role).unwrap_or_else(Worst::nothing).plus(worst.clone());
        self.by_role.insert(seats.role.clone(), all);
        self.dearest = self.dearest.or_dearer(each);
        (self.within_role(&seats.role, worst), each)
    }

    fn within_role(&self, role: &RoleId, worst: Worst) -> Worst {
        let limits = self.plan.roles.get(role).map(|role| role.limits).unwrap_or_default();
        worst.within(&limits, &format!("roles.{role}.limits"), &self.each(role))
    }

    /// The dearest call of a role.
    fn each(&self, role: &RoleId) -> Dearest {
        let calls = self.voice(role).each.iter().map(|size| self.call(size));
        calls.fold(Dearest::NOTHING, Dearest::or_dearer)
    }

    fn call(&self, size: &CallSize) -> Dearest {
        let prices: Option<Vec<Price>> = size.models.iter().map(|model| self.plan.prices.of(model)).collect();
        let answers = match size.stand_ins {
            StandInCost::OneAnswers => 1,
            StandInCost::AllAnswer => size.models.len() as u64,
        };
        let tokens =
            size.input.map_or(Most::Unbounded, |input| Most::Known(input.plus(size.output).times(answers)));
        let usd = match (&prices, size.input) {
            (_, None) => Most::Unbounded,
            (None, _) => Most::Unpriced,
            (Some(prices), Some(input)) => {
                let each = prices.iter().map(|price| {
                    Price::sum(input, price.dearest_input()) + Price::sum(size.output, price.output)
                });
                Most::Known(match size.stand_ins {
                    StandInCost::OneAnswers => each.max().unwrap_or_default(),
                    StandInCost::AllAnswer => each.sum::<Usd>(),
                })
            }
        };
        let rate = |price: &Price| price.output.max(price.dearest_input());
        Dearest { tokens, usd, rate: prices.map(|prices| prices.iter().map(rate).fold(0.0, f64::max)) }
    }
}

/// The sessions of one worker, and its prompts.
fn of_worker(workers: &WorkersPlan) -> (u64, u64) {
    let iterations = u64::from(workers.max_iterations);
    let prompts = match workers.claim {
        // Before each iteration in which it claims something there may be some in which it does not.
        ClaimBy::Agent => iterations.times(iterations.max(IDLE_PROMPTS)),
        // The prompt, and the reminder.
        ClaimBy::Engine => iterations.times(2),
    };
    let sessions = match workers.session {
        SessionLife::Keep => 1,
        SessionLife::Fresh => iterations,
    };
    (sessions, prompts)
}

/// The inputs of an included scenario that are known before a run.
fn known_inputs(include: &IncludePlan) -> Map<String, Value> {
    let known = include.inputs.iter().filter_map(|input| match &input.value {
        InputSource::Value(value) => Some((input.id.clone(), value.clone())),
        InputSource::Secret(_) | InputSource::Template(_) => None,
    });
    known.collect()
}
