//! RUN0413: an issue that a scenario makes is taken by some worker.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::issue::Takes;
use crate::scenario::graph::PhaseSet;
use crate::scenario::queue_access;
use crate::scenario::raw::{RawKind, RawPool, RawSeed};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    // They may give issues other metadata, or do them.
    if queue_access::sessions_may(scene) || queue_access::commands_say(scene, |text| text.contains("issue")) {
        return;
    }
    check_list(scene, &scene.raw.queue.issues, &PhaseSet::default(), report);
    for (at, kind) in scene.kinds() {
        let RawKind::Issues(issues) = kind else { continue };
        // Within another phase, those before it may come again in the next round.
        // A queue that is kept is there for the next run.
        let is_fresh = scene.raw.workspace.as_ref().is_some_and(|workspace| workspace.fresh);
        let is_last = is_fresh && scene.graph.outer(at).is_none();
        let ended = if is_last { scene.graph.seen(at) } else { PhaseSet::default() };
        check_list(scene, &issues.create, &ended, report);
    }
}

/// Issues that are made when these phases have ended.
fn check_list(scene: &Scene<'_>, seeds: &[RawSeed], ended: &PhaseSet, report: &mut Report) {
    let mut has_pools = false;
    let mut pools: Vec<&RawPool> = Vec::new();
    for (at, kind) in scene.kinds() {
        let RawKind::Workers(workers) = kind else { continue };
        has_pools = true;
        if !is_over(scene, ended, at) {
            pools.extend(&workers.pool);
        }
    }
    // Without workers the queue is for somebody else.
    if !has_pools {
        return;
    }
    let parents: BTreeSet<&str> =
        seeds.iter().filter_map(|seed| seed.parent.as_ref()).map(|parent| parent.value.as_str()).collect();
    for seed in seeds {
        // What only holds others together is no work of its own.
        let is_whole = seed.key.as_ref().is_some_and(|key| parents.contains(key.value.as_str()))
            || seed.issue_type.as_ref().is_some_and(|kind| kind.value == "epic");
        if is_whole || pools.iter().any(|entry| takes(scene, entry, &seed.metadata)) {
            continue;
        }
        let name = seed.title.as_ref().map_or("", |title| title.value.as_str());
        let (why, help) = if pools.is_empty() {
            ("all workers have gone home when it is made", "make it before a phase with workers")
        } else {
            (
                "no `takes` fits it",
                "give it the metadata that the `takes` of a role asks for, or add a pool that takes it",
            )
        };
        report.push(
            Diagnostic::warning(Code::Starved, format!("no worker takes the issue `{name}`"))
                .at(&seed.place)
                .label(why)
                .help(help),
        );
    }
}

/// Whether a phase is over when these have ended: it is one of them, or stands in one.
pub(super) fn is_over(scene: &Scene<'_>, ended: &PhaseSet, at: usize) -> bool {
    ended.contains(&at) || scene.graph.outer(at).is_some_and(|outer| is_over(scene, ended, outer))
}

/// Whether workers of this entry may take an issue with this metadata; what cannot be known may be anything.
pub(super) fn takes(scene: &Scene<'_>, entry: &RawPool, metadata: &Map<String, Value>) -> bool {
    let Some(role) = entry.role.as_ref().and_then(|id| scene.role(&id.value)) else { return true };
    let Some(takes) = entry.takes.as_ref().or(role.takes.as_ref()) else { return true };
    may_match(&takes.value, metadata)
}

fn may_match(takes: &Takes, metadata: &Map<String, Value>) -> bool {
    takes.0.iter().all(|(key, welcome)| match metadata.get(key) {
        Some(Value::String(text)) if text.contains("{{") || text.contains("{%") => true,
        Some(value) => welcome.contains(value),
        None => false,
    })
}
