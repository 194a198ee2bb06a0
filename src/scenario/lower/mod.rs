//! How the tree of a file becomes a `RawScenario`: shapes and types are checked, and all mistakes are reported.

mod kind;
mod phase;
mod seed;

use super::raw::{
    Located, RawInput, RawLimits, RawPhase, RawQueue, RawReplay, RawRole, RawScenario, RawWorkspace, top,
};
use super::shape::{self, Shape};
use super::table::{Table, choose, text, wrong_type};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::event::Policy;
use crate::plan::{InputType, Isolation, LimitsPlan, ReplayWhen};
use crate::price::{Price, Usd};
use crate::source::{Node, NodeValue, SourceId};
use serde_json::Map;

/// Reads a whole file.
pub(super) fn lower(tree: &Node, source: SourceId, report: &mut Report) -> Option<RawScenario> {
    let place = top(source);
    if tree.is_null() || tree.as_map().is_some_and(<[_]>::is_empty) {
        report.push(
            Diagnostic::error(Code::EmptyFile, "the file says nothing")
                .at(&place)
                .help("a scenario starts with `version: 1` and has `roles` and `phases`"),
        );
        return None;
    }
    let table = Table::open(tree, &place, "the scenario", &shape::SCENARIO, report)?;
    version(&table, report);
    table.text("$schema", report);
    let phases = phase::phases(&table, report);
    // Commands and questions need nobody; a phase that could not be read may need somebody.
    let needs_role = phases.is_empty() || phases.iter().any(RawPhase::needs_role);
    for (key, is_needed) in [("roles", needs_role), ("phases", true)] {
        if is_needed && table.get(key).is_none() {
            table.missing(key, report);
        }
    }
    if needs_role && tree.get("roles").and_then(Node::as_map).is_some_and(<[_]>::is_empty) {
        let place = table.value_place("roles");
        report.push(Diagnostic::error(Code::Empty, "`roles` in the scenario is empty").at(&place));
    }
    Some(RawScenario {
        name: table.text("name", report),
        description: table.text("description", report),
        workspace: workspace(&table, report),
        inputs: inputs(&table, report),
        roles: roles(&table, report),
        phases,
        queue: queue(&table, report),
        limits: limits(&table, "`limits`", &shape::LIMITS, report),
        prices: prices(&table, report),
        expect: table.texts("expect", report).unwrap_or_default(),
        replay: replay(&table, report),
        faults: super::faults::faults(&table, report),
    })
}

fn version(table: &Table<'_>, report: &mut Report) {
    match table.get("version") {
        None => table.missing("version", report),
        Some((node, place)) => match node.as_integer() {
            Some(1) => {}
            Some(other) => report.push(
                Diagnostic::error(Code::Version, format!("version {other} of the format is not supported"))
                    .at(&place)
                    .label("expected 1"),
            ),
            None => report.push(wrong_type(node, &place, "`version` in the scenario", "the number 1")),
        },
    }
}

fn workspace(table: &Table<'_>, report: &mut Report) -> Option<RawWorkspace> {
    let (node, place) = table.get("workspace")?;
    if node.as_text().is_some() {
        let path = text(node, &place, "`workspace` in the scenario", report)?;
        let (setup, teardown) = (Vec::new(), Vec::new());
        return Some(RawWorkspace { path, fresh: false, isolation: None, setup, teardown });
    }
    if node.as_map().is_none() {
        report.push(wrong_type(node, &place, "`workspace` in the scenario", "a path or a map"));
        return None;
    }
    let table = Table::open(node, &place, "`workspace`", &shape::WORKSPACE, report)?;
    let fresh = table.flag("fresh", report).is_some_and(|flag| flag.value);
    let setup = table.texts("setup", report).unwrap_or_default();
    let teardown = table.texts("teardown", report).unwrap_or_default();
    let words = Isolation::ALL.map(|isolation| (isolation.as_str(), isolation));
    let isolation = table.choice("isolation", &words, report);
    Some(RawWorkspace { path: table.required_text("path", report)?, fresh, isolation, setup, teardown })
}

fn inputs(table: &Table<'_>, report: &mut Report) -> Vec<RawInput> {
    let Some((node, place)) = table.get("inputs") else { return Vec::new() };
    let Some(table) = Table::open_any(node, &place, "`inputs`", report) else { return Vec::new() };
    let mut found = Vec::new();
    for (entry, place) in table.entries() {
        let what = format!("input `{}`", entry.key);
        let id = Located::new(entry.key.clone(), table.key_place(&entry.key));
        let Some(one) = Table::open(&entry.value, &place, &what, &shape::INPUT, report) else {
            // What names it has not misspelt it.
            found.push(unreadable_input(id, &entry.value));
            continue;
        };
        let words = InputType::ALL.map(|kind| (kind.as_str(), kind));
        one.text("description", report);
        let choices = one.items("choices", report);
        let kind = one.choice("type", &words, report).map(|kind| kind.value);
        let is_unsaid = one.get("type").is_none() && !one.is_misspelt("type");
        let values = one.get("default").map(|(node, _)| node).into_iter();
        let mut values = values.chain(choices.iter().map(|(node, _)| *node));
        found.push(RawInput {
            id,
            // A type that could not be read is that of the values: nothing is wrong with them.
            kind: kind.unwrap_or(match values.next() {
                Some(value) if !is_unsaid => type_of(value),
                _ => InputType::String,
            }),
            secret: one.flag("secret", report),
            default: one.get("default").map(|(node, place)| Located::new(node.to_json(), place)),
            required: one.flag("required", report),
            choices: choices.into_iter().map(|(node, place)| Located::new(node.to_json(), place)).collect(),
        });
    }
    found
}

/// An input of which nothing could be read but what may have been meant as its value.
fn unreadable_input(id: Located<String>, node: &Node) -> RawInput {
    let value = if node.is_null() { "sample".into() } else { node.to_json() };
    let default = Some(Located::new(value, id.place.clone()));
    RawInput { id, kind: type_of(node), secret: None, default, required: None, choices: Vec::new() }
}

fn type_of(value: &Node) -> InputType {
    match value.value {
        NodeValue::Bool(_) => InputType::Boolean,
        NodeValue::Integer(_) | NodeValue::Float(_) => InputType::Number,
        NodeValue::List(_) => InputType::List,
        NodeValue::Null | NodeValue::Text(_) | NodeValue::Map(_) => InputType::String,
    }
}

fn roles(table: &Table<'_>, report: &mut Report) -> Vec<RawRole> {
    let Some((node, place)) = table.get("roles") else { return Vec::new() };
    let Some(table) = Table::open_any(node, &place, "`roles`", report) else { return Vec::new() };
    let mut found = Vec::new();
    for (entry, place) in table.entries() {
        let what = format!("role `{}`", entry.key);
        let id = Located::new(entry.key.clone(), table.key_place(&entry.key));
        let Some(one) = Table::open(&entry.value, &place, &what, &shape::ROLE, report) else {
            // What names it has not misspelt it.
            found.push(RawRole {
                id,
                mount_plan: None,
                system: None,
                workspace: None,
                takes: None,
                model: None,
                vars: Map::new(),
                limits: RawLimits::default(),
            });
            continue;
        };
        found.push(RawRole {
            id,
            mount_plan: one.required_text("mount_plan", report),
            system: one.text("system", report),
            takes: one.takes("takes", report),
            model: one.text("model", report),
            workspace: one.text("workspace", report),
            vars: one.values("vars", report),
            limits: limits(&one, &format!("`limits` of {what}"), &shape::ROLE_LIMITS, report),
        });
    }
    found
}

fn queue(table: &Table<'_>, report: &mut Report) -> RawQueue {
    let nothing = RawQueue { store: None, lease: None, max_attempts: None, issues: Vec::new() };
    let Some((node, place)) = table.get("queue") else { return nothing };
    let Some(table) = Table::open(node, &place, "`queue`", &shape::QUEUE, report) else { return nothing };
    RawQueue {
        store: table.text("store", report),
        lease: table.duration("lease", report),
        max_attempts: table.count("max_attempts", report).map(|found| found.value),
        issues: seed::seeds(&table, "issues", report),
    }
}

fn limits(table: &Table<'_>, what: &str, shape: &Shape, report: &mut Report) -> RawLimits {
    let Some((node, place)) = table.get("limits") else { return RawLimits::default() };
    let Some(table) = Table::open(node, &place, what, shape, report) else {
        return RawLimits::default();
    };
    let mut count = |key| table.count(key, report).map(|found| u64::from(found.value));
    let (max_turns, max_tokens) = (count("max_turns"), count("max_tokens"));
    let dollars = table.amount("max_usd", report);
    let timeout = if shape.names().contains(&"timeout") { table.duration("timeout", report) } else { None };
    let max_usd = dollars.as_ref().and_then(|found| Usd::from_dollars(found.value));
    let is_of_run = shape.names().contains(&"max_sessions");
    let max_sessions =
        if is_of_run { table.count("max_sessions", report).map(|found| found.value) } else { None };
    let plan = LimitsPlan { max_usd, max_tokens, max_turns, timeout, max_sessions };
    RawLimits { plan, max_usd: dollars.map(|found| found.place) }
}

fn prices(table: &Table<'_>, report: &mut Report) -> Vec<(Located<String>, Price)> {
    let Some((node, place)) = table.get("prices") else { return Vec::new() };
    let Some(table) = Table::open_any(node, &place, "`prices`", report) else { return Vec::new() };
    let mut found = Vec::new();
    for (entry, place) in table.entries() {
        let what = format!("the price of `{}`", entry.key);
        let Some(one) = Table::open(&entry.value, &place, &what, &shape::PRICE, report) else { continue };
        for key in ["input", "output"] {
            if one.get(key).is_none() {
                one.missing(key, report);
            }
        }
        let mut amount = |key| one.amount(key, report).map(|found| found.value);
        let (read, write) = (amount("cache_read"), amount("cache_write"));
        let (Some(input), Some(output)) = (amount("input"), amount("output")) else { continue };
        // A cache that costs nothing of its own costs what input costs.
        let price =
            Price { input, output, cache_read: read.unwrap_or(input), cache_write: write.unwrap_or(input) };
        found.push((Located::new(entry.key.clone(), table.key_place(&entry.key)), price));
    }
    found
}

fn replay(table: &Table<'_>, report: &mut Report) -> RawReplay {
    let nothing = RawReplay { cassette: None, when: None, tools: Vec::new() };
    let Some((node, place)) = table.get("replay") else { return nothing };
    let Some(table) = Table::open(node, &place, "`replay`", &shape::REPLAY, report) else { return nothing };
    let whens = [("never", ReplayWhen::Never), ("no_credentials", ReplayWhen::NoCredentials)];
    RawReplay {
        cassette: table.text("cassette", report),
        when: table.choice("when", &whens, report),
        tools: replay_tools(&table, report),
    }
}

fn replay_tools(table: &Table<'_>, report: &mut Report) -> Vec<(Located<String>, Policy)> {
    let Some((node, place)) = table.get("tools") else { return Vec::new() };
    let Some(table) = Table::open_any(node, &place, "`tools` of `replay`", report) else { return Vec::new() };
    let words = [Policy::Real, Policy::Tape, Policy::Deny].map(|policy| (policy.as_str(), policy));
    let mut found = Vec::new();
    for (entry, place) in table.entries() {
        let what = format!("the policy of `{}`", entry.key);
        let Some(word) = text(&entry.value, &place, &what, report) else { continue };
        if let Some(policy) = choose(&word, &what, &words, report) {
            found.push((Located::new(entry.key.clone(), table.key_place(&entry.key)), policy));
        }
    }
    found
}
