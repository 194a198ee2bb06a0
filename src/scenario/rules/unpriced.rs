//! RUN0410, RUN0411: what is limited in dollars has a price, and what has a price is asked.

use std::collections::BTreeSet;

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::price::Prices;
use crate::scenario::raw::RawRole;
use crate::source::Place;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let prices = scene.prices();
    let used = |phase: Option<usize>| {
        let kinds =
            scene.kinds().filter(move |(at, _)| phase.is_none_or(|phase| scene.graph.is_in(*at, phase)));
        let names: BTreeSet<&str> =
            kinds.flat_map(|(_, kind)| kind.roles()).map(|role| role.value.as_str()).collect();
        names.into_iter().filter_map(|name| scene.role(name)).collect::<Vec<_>>()
    };
    let run = scene.raw.limits.max_usd.iter().map(|place| (place, used(None)));
    let phases = scene.raw.phases.iter().enumerate();
    let phases = phases.filter_map(|(at, phase)| Some((phase.limits.max_usd.as_ref()?, used(Some(at)))));
    let roles = scene.raw.roles.iter().filter_map(|role| Some((role.limits.max_usd.as_ref()?, vec![role])));
    for (place, roles) in run.chain(phases).chain(roles) {
        for model in unpriced(scene, &prices, &roles) {
            report.push(diagnostic(&model, place));
        }
    }
    unused(scene, report);
}

/// The models of these roles that have no price.
fn unpriced(scene: &Scene<'_>, prices: &Prices, roles: &[&RawRole]) -> BTreeSet<String> {
    let models = roles.iter().filter_map(|role| scene.models(role)).flatten();
    models.filter(|model| prices.of(model).is_none()).collect()
}

fn diagnostic(model: &str, place: &Place) -> Diagnostic {
    let message = format!("`max_usd` cannot be kept: nobody knows what model `{model}` costs");
    Diagnostic::error(Code::UnpricedModel, message).at(place).help(format!(
        "say it, in dollars for a million tokens: `prices: {{ {model}: {{ input: …, output: … }} }}`; or limit `max_tokens`"
    ))
}

/// Prices of models that no role asks are most likely misspelt.
fn unused(scene: &Scene<'_>, report: &mut Report) {
    let models: Option<Vec<Vec<String>>> = scene.raw.roles.iter().map(|role| scene.models(role)).collect();
    // A model that is not known may be any.
    let Some(models) = models.map(|models| models.concat()) else { return };
    for (name, price) in &scene.raw.prices {
        let alone = Prices::default().with([(name.value.clone(), *price)]);
        if models.iter().any(|model| alone.of(model).is_some()) {
            continue;
        }
        let known: Vec<String> = models.iter().map(|model| format!("`{model}`")).collect();
        let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
        let known: Vec<&str> = known.into_iter().collect();
        report.push(
            Diagnostic::warning(Code::UnusedPrice, format!("no role asks the model `{}`", name.value))
                .at(&name.place)
                .help(format!("the models of the roles: {}", known.join(", "))),
        );
    }
}
