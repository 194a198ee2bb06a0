//! How the tree of a file becomes a `RawScenario`: shapes and types are checked, and all mistakes are reported.

use super::raw::{
    InputType, Located, RawInput, RawKind, RawLimits, RawMonitor, RawPhase, RawPool, RawQueue, RawReplay,
    RawRole, RawScenario, RawSession, RawWorkers, RawWorkspace, top,
};
use super::table::{Table, choose, text, wrong_type};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::event::Policy;
use crate::plan::{ClaimBy, LimitsPlan, OnFailure, ReplayWhen, SessionLife, WhenEmpty};
use crate::price::{Price, Usd};
use crate::source::{Node, NodeValue, Place, SourceId};

const TOP_KEYS: &[&str] = &[
    "version",
    "name",
    "description",
    "workspace",
    "inputs",
    "roles",
    "phases",
    "queue",
    "limits",
    "prices",
    "expect",
    "replay",
    "faults",
];
const PHASE_KEYS: &[&str] =
    &["id", "needs", "when", "on_failure", "limits", "expect", "session", "workers", "monitor"];
const LIMITS: &[&str] = &["max_usd", "max_tokens", "max_turns", "timeout"];
const ROLE_LIMITS: &[&str] = &["max_usd", "max_tokens", "max_turns"];
const KINDS: [&str; 3] = ["session", "workers", "monitor"];

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
    let table = Table::open(tree, &place, "the scenario", TOP_KEYS, report)?;
    version(&table, report);
    for key in ["roles", "phases"] {
        if table.get(key).is_none() {
            table.missing(key, report);
        }
    }
    Some(RawScenario {
        name: table.text("name", report),
        description: table.text("description", report),
        workspace: workspace(&table, report),
        inputs: inputs(&table, report),
        roles: roles(&table, report),
        phases: phases(&table, report),
        queue: queue(&table, report),
        limits: limits(&table, "`limits`", LIMITS, report),
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
        return Some(RawWorkspace { path, fresh: false });
    }
    if node.as_map().is_none() {
        report.push(wrong_type(node, &place, "`workspace` in the scenario", "a path or a map"));
        return None;
    }
    let table = Table::open(node, &place, "`workspace`", &["path", "fresh"], report)?;
    let fresh = table.flag("fresh", report).is_some_and(|flag| flag.value);
    Some(RawWorkspace { path: table.required_text("path", report)?, fresh })
}

fn inputs(table: &Table<'_>, report: &mut Report) -> Vec<RawInput> {
    let Some((node, place)) = table.get("inputs") else { return Vec::new() };
    let Some(table) = Table::open_any(node, &place, "`inputs`", report) else { return Vec::new() };
    let mut found = Vec::new();
    for (entry, place) in table.entries() {
        let what = format!("input `{}`", entry.key);
        let keys = ["type", "description", "default", "required", "choices"];
        let Some(one) = Table::open(&entry.value, &place, &what, &keys, report) else { continue };
        let words =
            [InputType::Text, InputType::Number, InputType::Boolean, InputType::List, InputType::Path]
                .map(|kind| (kind.as_str(), kind));
        one.text("description", report);
        let choices = one.items("choices", report);
        found.push(RawInput {
            id: Located::new(entry.key.clone(), table.key_place(&entry.key)),
            kind: one.choice("type", &words, report).map_or(InputType::Text, |kind| kind.value),
            default: one.get("default").map(|(node, place)| Located::new(node.to_json(), place)),
            required: one.flag("required", report),
            choices: choices.into_iter().map(|(node, place)| Located::new(node.to_json(), place)).collect(),
        });
    }
    found
}

fn roles(table: &Table<'_>, report: &mut Report) -> Vec<RawRole> {
    let Some((node, place)) = table.get("roles") else { return Vec::new() };
    let Some(table) = Table::open_any(node, &place, "`roles`", report) else { return Vec::new() };
    let mut found = Vec::new();
    for (entry, place) in table.entries() {
        let what = format!("role `{}`", entry.key);
        let keys = ["mount_plan", "system", "takes", "model", "vars", "limits"];
        let Some(one) = Table::open(&entry.value, &place, &what, &keys, report) else { continue };
        found.push(RawRole {
            id: Located::new(entry.key.clone(), table.key_place(&entry.key)),
            mount_plan: one.required_text("mount_plan", report),
            system: one.text("system", report),
            takes: one.takes("takes", report),
            model: one.text("model", report),
            vars: one.values("vars", report),
            limits: limits(&one, &format!("`limits` of {what}"), ROLE_LIMITS, report),
        });
    }
    if node.as_map().is_some_and(<[_]>::is_empty) {
        report.push(Diagnostic::error(Code::Empty, "`roles` in the scenario is empty").at(&place));
    }
    found
}

fn phases(table: &Table<'_>, report: &mut Report) -> Vec<RawPhase> {
    let items = table.items("phases", report);
    items.into_iter().filter_map(|(node, place)| phase(node, &place, report)).collect()
}

fn phase(node: &Node, place: &Place, report: &mut Report) -> Option<RawPhase> {
    let number = match place.route.0.last() {
        Some(crate::source::Step::Index(at)) => at + 1,
        _ => 1,
    };
    let what = match node.get("id").and_then(Node::as_text) {
        Some(id) => format!("phase `{id}`"),
        None => format!("phase {number}"),
    };
    let table = Table::open(node, place, &what, PHASE_KEYS, report)?;
    let words = [("stop", OnFailure::Stop), ("continue", OnFailure::Continue)];
    Some(RawPhase {
        id: table.required_text("id", report),
        kind: kind(&table, &what, report),
        needs: table.texts("needs", report),
        when: table.text("when", report),
        on_failure: table.choice("on_failure", &words, report).map_or(OnFailure::Stop, |found| found.value),
        limits: limits(&table, &format!("`limits` of {what}"), LIMITS, report),
        expect: table.texts("expect", report).unwrap_or_default(),
        place: place.clone(),
    })
}

fn kind(table: &Table<'_>, what: &str, report: &mut Report) -> Option<RawKind> {
    let written: Vec<&str> = KINDS.into_iter().filter(|key| table.get(key).is_some()).collect();
    let found = written.iter().map(|key| {
        let (node, place) = table.get(key)?;
        match *key {
            "session" => session(node, &place, what, report).map(RawKind::Session),
            "workers" => workers(node, &place, what, report).map(RawKind::Workers),
            _ => monitor(node, &place, what, report).map(RawKind::Monitor),
        }
    });
    let found: Vec<_> = found.collect();
    match written.as_slice() {
        [_] => found.into_iter().next().flatten(),
        [] => {
            report.push(
                Diagnostic::error(Code::PhaseKind, format!("{what} does nothing"))
                    .at(&table.place)
                    .help("give it one of `session`, `workers`, `monitor`"),
            );
            None
        }
        [_, others @ ..] => {
            for key in others {
                report.push(
                    Diagnostic::error(Code::PhaseKind, format!("{what} has more than one kind"))
                        .at(&table.key_place(key))
                        .label(format!("`{}` says already what it is", written[0]))
                        .help("make it two phases"),
                );
            }
            None
        }
    }
}

fn session(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<RawSession> {
    let what = format!("`session` of {what}");
    let table = Table::open(node, place, &what, &["role", "prompt"], report)?;
    Some(RawSession { role: table.required_text("role", report), prompts: prompts(&table, report) })
}

fn prompts(table: &Table<'_>, report: &mut Report) -> Vec<Located<String>> {
    let Some((node, place)) = table.get("prompt") else {
        table.missing("prompt", report);
        return Vec::new();
    };
    match node.value {
        NodeValue::Text(_) => table.text("prompt", report).into_iter().collect(),
        NodeValue::List(_) => {
            let items = table.items("prompt", report);
            items.iter().filter_map(|(node, place)| text(node, place, "a prompt", report)).collect()
        }
        _ => {
            report.push(wrong_type(node, &place, "`prompt`", "a path or a list of paths"));
            Vec::new()
        }
    }
}

fn workers(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<RawWorkers> {
    let what = format!("`workers` of {what}");
    let keys = ["pool", "prompt", "claim", "max_iterations", "session", "when_empty"];
    let table = Table::open(node, place, &what, &keys, report)?;
    if table.get("pool").is_none() {
        table.missing("pool", report);
    }
    let mut pool = Vec::new();
    for (node, place) in table.items("pool", report) {
        let Some(entry) = Table::open(node, &place, "the pool", &["role", "count", "takes"], report) else {
            continue;
        };
        pool.push(RawPool {
            role: entry.required_text("role", report),
            count: entry.count("count", report).unwrap_or_else(|| Located::new(1, place.clone())),
            takes: entry.takes("takes", report),
        });
    }
    let claims = [("agent", ClaimBy::Agent), ("engine", ClaimBy::Engine)];
    let lives = [("keep", SessionLife::Keep), ("fresh", SessionLife::Fresh)];
    let empties = [("stop", WhenEmpty::Stop), ("wait", WhenEmpty::Wait)];
    Some(RawWorkers {
        pool,
        prompt: table.required_text("prompt", report),
        claim: table.choice("claim", &claims, report).map_or(ClaimBy::Engine, |found| found.value),
        max_iterations: table.count("max_iterations", report).map_or(10, |found| found.value),
        session: table.choice("session", &lives, report).map(|found| found.value),
        when_empty: table.choice("when_empty", &empties, report).map_or(WhenEmpty::Stop, |found| found.value),
    })
}

fn monitor(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<RawMonitor> {
    let what = format!("`monitor` of {what}");
    let keys = ["role", "prompt", "watches", "when", "every", "on", "max_checks"];
    let table = Table::open(node, place, &what, &keys, report)?;
    Some(RawMonitor {
        role: table.required_text("role", report),
        prompt: table.required_text("prompt", report),
        watches: table.required_text("watches", report),
        when: table.required_text("when", report),
        every: table.duration("every", report),
        on: table.texts("on", report).unwrap_or_default(),
        max_checks: table.count("max_checks", report).map_or(10, |found| found.value),
    })
}

fn queue(table: &Table<'_>, report: &mut Report) -> RawQueue {
    let nothing = RawQueue { store: None, lease: None, max_attempts: None };
    let Some((node, place)) = table.get("queue") else { return nothing };
    let keys = ["store", "lease", "max_attempts"];
    let Some(table) = Table::open(node, &place, "`queue`", &keys, report) else { return nothing };
    RawQueue {
        store: table.text("store", report),
        lease: table.duration("lease", report),
        max_attempts: table.count("max_attempts", report).map(|found| found.value),
    }
}

fn limits(table: &Table<'_>, what: &str, keys: &[&str], report: &mut Report) -> RawLimits {
    let Some((node, place)) = table.get("limits") else { return RawLimits::default() };
    let Some(table) = Table::open(node, &place, what, keys, report) else {
        return RawLimits::default();
    };
    let mut count = |key| table.count(key, report).map(|found| u64::from(found.value));
    let (max_turns, max_tokens) = (count("max_turns"), count("max_tokens"));
    let dollars = table.amount("max_usd", report);
    let timeout = if keys.contains(&"timeout") { table.duration("timeout", report) } else { None };
    let max_usd = dollars.as_ref().and_then(|found| Usd::from_dollars(found.value));
    let plan = LimitsPlan { max_usd, max_tokens, max_turns, timeout };
    RawLimits { plan, max_usd: dollars.map(|found| found.place) }
}

fn prices(table: &Table<'_>, report: &mut Report) -> Vec<(Located<String>, Price)> {
    let Some((node, place)) = table.get("prices") else { return Vec::new() };
    let Some(table) = Table::open_any(node, &place, "`prices`", report) else { return Vec::new() };
    let mut found = Vec::new();
    for (entry, place) in table.entries() {
        let what = format!("the price of `{}`", entry.key);
        let keys = ["input", "output", "cache_read", "cache_write"];
        let Some(one) = Table::open(&entry.value, &place, &what, &keys, report) else { continue };
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
    let keys = ["cassette", "when", "tools"];
    let Some(table) = Table::open(node, &place, "`replay`", &keys, report) else { return nothing };
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
