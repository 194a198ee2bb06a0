//! How the kinds of phases are read, each under its own key.

use super::phase::read_list;
use super::seed::seeds;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::event::Decision;
use crate::plan::{Capture, ClaimBy, SessionLife, WhenEmpty};
use crate::scenario::raw::{
    Located, RawApproval, RawInclude, RawIssues, RawKind, RawMonitor, RawOutput, RawPhase, RawPool,
    RawRepeat, RawSession, RawShell, RawWorkers,
};
use crate::scenario::shape;
use crate::scenario::table::{Table, text, wrong_type};
use crate::source::{Node, NodeValue, Place};

/// The kind of the phase at a position; the phases within it are read behind it.
pub(super) fn kind(
    table: &Table<'_>,
    what: &str,
    at: usize,
    phases: &mut Vec<RawPhase>,
    report: &mut Report,
) -> Option<RawKind> {
    let written: Vec<&str> =
        shape::PHASE.one_of.iter().copied().filter(|key| table.get(key).is_some()).collect();
    let found = written.iter().map(|key| {
        let (node, place) = table.get(key)?;
        let what = format!("`{key}` of {what}");
        match *key {
            "session" => session(node, &place, &what, report).map(RawKind::Session),
            "workers" => workers(node, &place, &what, report).map(RawKind::Workers),
            "monitor" => monitor(node, &place, &what, report).map(RawKind::Monitor),
            "issues" => issues(node, &place, &what, report).map(RawKind::Issues),
            "shell" => shell(node, &place, &what, report).map(RawKind::Shell),
            "approval" => approval(node, &place, &what, report).map(RawKind::Approval),
            "repeat" => repeat(node, &place, &what, report).map(|(table, repeat)| {
                read_list(&table, Some(at), phases, report);
                RawKind::Repeat(repeat)
            }),
            _ => include(node, &place, &what, report).map(RawKind::Include),
        }
    });
    let found: Vec<_> = found.collect();
    match written.as_slice() {
        [_] => found.into_iter().next().flatten(),
        // The slip has been told of.
        [] if shape::PHASE.one_of.iter().any(|kind| table.is_misspelt(kind)) => None,
        [] => {
            let known: Vec<String> = shape::PHASE.one_of.iter().map(|kind| format!("`{kind}`")).collect();
            report.push(
                Diagnostic::error(Code::PhaseKind, format!("{what} does nothing"))
                    .at(&table.place)
                    .help(format!("give it one of {}", known.join(", "))),
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
    let table = Table::open(node, place, what, &shape::SESSION, report)?;
    Some(RawSession {
        role: table.required_text("role", report),
        prompts: prompts(&table, report),
        output: output(&table, what, report),
    })
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

/// The schema of an answer: a file, or the schema itself.
fn output(table: &Table<'_>, what: &str, report: &mut Report) -> Option<RawOutput> {
    let (node, place) = table.get("output")?;
    let what = format!("`output` in {what}");
    let table = Table::open(node, &place, &what, &shape::OUTPUT, report)?;
    let Some((node, place)) = table.get("schema") else {
        table.missing("schema", report);
        return None;
    };
    match node.value {
        NodeValue::Text(_) => text(node, &place, "`schema`", report).map(RawOutput::File),
        NodeValue::Map(_) => Some(RawOutput::Written(Located::new(node.to_json(), place))),
        _ => {
            let wrong = wrong_type(node, &place, &format!("`schema` in {what}"), "a path or a JSON Schema");
            report.push(wrong);
            None
        }
    }
}

fn workers(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<RawWorkers> {
    let table = Table::open(node, place, what, &shape::WORKERS, report)?;
    if table.get("pool").is_none() {
        table.missing("pool", report);
    }
    let mut pool = Vec::new();
    let what = format!("an entry of `pool` in {what}");
    for (node, place) in table.items("pool", report) {
        let Some(entry) = Table::open(node, &place, &what, &shape::POOL, report) else {
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
    let table = Table::open(node, place, what, &shape::MONITOR, report)?;
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

fn issues(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<RawIssues> {
    let table = Table::open(node, place, what, &shape::ISSUES, report)?;
    if table.get("create").is_none() && table.get("from").is_none() {
        report.push(
            Diagnostic::error(Code::MissingKey, format!("{what} makes no issues"))
                .at(place)
                .help("list them under `create`, or name a file of JSON lines with `from`"),
        );
    }
    Some(RawIssues { create: seeds(&table, "create", report), from: table.text("from", report) })
}

fn shell(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<RawShell> {
    let table = Table::open(node, place, what, &shape::SHELL, report)?;
    let words = [("text", Capture::Text), ("json", Capture::Json), ("none", Capture::None)];
    Some(RawShell {
        run: table.required_text("run", report),
        env: env(&table, what, report),
        expect_exit: expect_exit(&table, what, report),
        capture: table.choice("capture", &words, report).map_or(Capture::Text, |found| found.value),
    })
}

fn env(table: &Table<'_>, what: &str, report: &mut Report) -> Vec<(Located<String>, Located<String>)> {
    let Some((node, place)) = table.get("env") else { return Vec::new() };
    let what = format!("`env` in {what}");
    let Some(table) = Table::open_any(node, &place, &what, report) else { return Vec::new() };
    let mut found = Vec::new();
    for (entry, place) in table.entries() {
        let name = Located::new(entry.key.clone(), table.key_place(&entry.key));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if entry.key.is_empty() || !entry.key.chars().all(plain) || entry.key.as_bytes()[0].is_ascii_digit() {
            let message = format!("`{}` cannot be the name of a variable", entry.key);
            let wrong = Diagnostic::error(Code::BadId, message).at(&name.place);
            report.push(wrong.help("names of variables are letters, digits and `_`, as `ISSUE_ID`"));
            continue;
        }
        let value = match &entry.value.value {
            NodeValue::Bool(flag) => Some(flag.to_string()),
            NodeValue::Integer(number) => Some(number.to_string()),
            NodeValue::Text(text) => Some(text.clone()),
            _ => None,
        };
        match value {
            Some(value) => found.push((name, Located::new(value, place))),
            None => {
                let what = format!("`{}` of {what}", entry.key);
                report.push(wrong_type(&entry.value, &place, &what, "a string"));
            }
        }
    }
    found
}

/// The exit codes that are a success: one, or a list of them; 0 when nothing is said.
fn expect_exit(table: &Table<'_>, what: &str, report: &mut Report) -> Vec<i32> {
    let Some((node, place)) = table.get("expect_exit") else { return vec![0] };
    let nodes = match node.value {
        NodeValue::List(_) => table.items("expect_exit", report),
        _ => vec![(node, place)],
    };
    let mut codes = Vec::new();
    for (node, place) in nodes {
        match node.as_integer() {
            Some(code @ 0..=255) => codes.push(code as i32),
            Some(code) => {
                let message = format!("`expect_exit` in {what} is {code}");
                let wrong = Diagnostic::error(Code::OutOfRange, message).at(&place);
                report.push(wrong.label("must be from 0 to 255"));
            }
            None => {
                let what = format!("`expect_exit` in {what}");
                report.push(wrong_type(node, &place, &what, "an exit code or a list of them"));
            }
        }
    }
    if codes.is_empty() { vec![0] } else { codes }
}

fn approval(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<RawApproval> {
    let table = Table::open(node, place, what, &shape::APPROVAL, report)?;
    let words = [Decision::Yes, Decision::No].map(|answer| (answer.as_str(), answer));
    Some(RawApproval {
        message: table.required_text("message", report),
        timeout: table.duration("timeout", report),
        default: table.choice("default", &words, report),
    })
}

fn repeat<'n>(
    node: &'n Node,
    place: &Place,
    what: &str,
    report: &mut Report,
) -> Option<(Table<'n>, RawRepeat)> {
    let table = Table::open(node, place, what, &shape::REPEAT, report)?;
    for key in ["phases", "max"] {
        if table.get(key).is_none() {
            table.missing(key, report);
        }
    }
    let repeat = RawRepeat {
        until: table.required_text("until", report),
        max: table.count("max", report).map(|count| count.value),
        or_continue: table.flag("or_continue", report).is_some_and(|flag| flag.value),
    };
    Some((table, repeat))
}

fn include(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<RawInclude> {
    let table = Table::open(node, place, what, &shape::INCLUDE, report)?;
    let mut inputs = Vec::new();
    if let Some((node, place)) = table.get("inputs") {
        let given = Table::open_any(node, &place, &format!("`inputs` in {what}"), report);
        inputs.extend(given.iter().flat_map(|table| {
            table.entries().map(|(entry, place)| {
                let name = Located::new(entry.key.clone(), table.key_place(&entry.key));
                (name, Located::new(entry.value.to_json(), place))
            })
        }));
    }
    Some(RawInclude { file: table.required_text("file", report), inputs, of: None })
}
