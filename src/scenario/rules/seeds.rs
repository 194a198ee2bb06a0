//! RUN0513: issues that a scenario makes can be made, and refer to each other by keys that there are.

use std::collections::{BTreeMap, BTreeSet};

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::issue::ISSUE_TYPES;
use crate::limit;
use crate::scenario::raw::{Located, RawKind, RawSeed};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    check_list(&scene.raw.queue.issues, report);
    for (_, kind) in scene.kinds() {
        if let RawKind::Issues(issues) = kind {
            check_list(&issues.create, report);
        }
    }
}

fn check_list(seeds: &[RawSeed], report: &mut Report) {
    let mut keys: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, seed) in seeds.iter().enumerate() {
        check_fields(seed, report);
        let Some(key) = &seed.key else { continue };
        if let Some(first) = keys.insert(&key.value, at) {
            let message = format!("two issues have the key `{}`", key.value);
            let label = format!("issue {} of this list has it already", first + 1);
            report.push(Diagnostic::error(Code::BadSeed, message).at(&key.place).label(label));
        }
    }
    let mut all_known = true;
    for seed in seeds {
        for named in seed.depends_on.iter().chain(&seed.parent) {
            if !keys.contains_key(named.value.as_str()) {
                all_known = false;
                report.push(unknown(named, &keys));
            }
        }
    }
    if all_known {
        check_circles(seeds, &keys, report);
    }
}

fn unknown(named: &Located<String>, keys: &BTreeMap<&str, usize>) -> Diagnostic {
    let near = nearest(&named.value, keys.keys().copied());
    let message = format!("no issue of this list has the key `{}`", named.value);
    let diagnostic = Diagnostic::error(Code::BadSeed, message).at(&named.place).did_you_mean(near);
    match keys.keys().copied().collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => diagnostic.help("give the issue that is meant a `key`"),
        some => diagnostic.help(format!("there are: {some}")),
    }
}

fn check_fields(seed: &RawSeed, report: &mut Report) {
    if let Some(kind) = &seed.issue_type
        && !ISSUE_TYPES.contains(&kind.value.as_str())
    {
        report.push(
            Diagnostic::error(Code::BadSeed, format!("there is no type of issue `{}`", kind.value))
                .at(&kind.place)
                .did_you_mean(nearest(&kind.value, ISSUE_TYPES))
                .help(format!("it is one of {}", ISSUE_TYPES.join(", "))),
        );
    }
    if let Some(parent) = &seed.parent
        && let Some(twice) = seed.depends_on.iter().find(|key| key.value == parent.value)
    {
        report.push(
            Diagnostic::error(
                Code::BadSeed,
                format!("an issue cannot wait for `{}` and be a part of it", parent.value),
            )
            .at(&twice.place)
            .help("a part waits for what its whole waits for; name one of the two"),
        );
    }
    if let Some(title) = seed.title.as_ref().filter(|title| title.value.chars().count() > limit::TITLE_CHARS)
    {
        let message = format!("a title has {} characters", title.value.chars().count());
        let label = format!("may have at most {}", limit::TITLE_CHARS);
        report.push(Diagnostic::error(Code::BadSeed, message).at(&title.place).label(label));
    }
    for label in seed.labels.iter().filter(|label| label.value.chars().count() > limit::LABEL_CHARS) {
        let most = limit::LABEL_CHARS;
        let diagnostic = Diagnostic::error(Code::BadSeed, "a label is too long").at(&label.place);
        report.push(diagnostic.label(format!("may have at most {most} characters")));
    }
}

/// Issues that wait for each other are never ready; those that are parts of each other cannot be.
fn check_circles(seeds: &[RawSeed], keys: &BTreeMap<&str, usize>, report: &mut Report) {
    for (what, edges) in [
        ("depends on", edges(seeds, keys, |seed| seed.depends_on.iter().collect())),
        ("is a part of", edges(seeds, keys, |seed| seed.parent.iter().collect())),
    ] {
        if !has_circle(&edges) {
            continue;
        }
        for (at, seed) in seeds.iter().enumerate() {
            let mut seen = BTreeSet::new();
            let mut waiting = edges[at].clone();
            while let Some(next) = waiting.pop() {
                if seen.insert(next) {
                    waiting.extend(&edges[next]);
                }
            }
            // Told once, of the first in the circle.
            if seen.contains(&at) && seen.iter().all(|other| *other >= at || !edges_reach(&edges, at, *other))
            {
                let key = seed.key.as_ref().expect("something refers to it by its key");
                let message = format!("issue `{}` {what} itself, directly or through others", key.value);
                report.push(Diagnostic::error(Code::BadSeed, message).at(&key.place));
            }
        }
    }
}

/// Whether some cannot be put in an order: those are left when all that nothing leads to have been taken away.
fn has_circle(edges: &[Vec<usize>]) -> bool {
    let mut leading = vec![0_usize; edges.len()];
    edges.iter().flatten().for_each(|target| leading[*target] += 1);
    let mut free: Vec<usize> = (0..edges.len()).filter(|at| leading[*at] == 0).collect();
    let mut taken = 0;
    while let Some(at) = free.pop() {
        taken += 1;
        for &target in &edges[at] {
            leading[target] -= 1;
            if leading[target] == 0 {
                free.push(target);
            }
        }
    }
    taken < edges.len()
}

fn edges(
    seeds: &[RawSeed],
    keys: &BTreeMap<&str, usize>,
    of: impl Fn(&RawSeed) -> Vec<&Located<String>>,
) -> Vec<Vec<usize>> {
    let targets = |seed| of(seed).into_iter().filter_map(|key| keys.get(key.value.as_str()).copied());
    seeds.iter().map(|seed| targets(seed).collect()).collect()
}

fn edges_reach(edges: &[Vec<usize>], target: usize, from: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting = edges[from].clone();
    while let Some(next) = waiting.pop() {
        if next == target {
            return true;
        }
        if seen.insert(next) {
            waiting.extend(&edges[next]);
        }
    }
    false
}
