//! How the phases of a file are read: what all kinds have in common, and those within others behind them.

use super::kind::kind;
use super::limits;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::limit;
use crate::plan::{LimitsPlan, OnFailure};
use crate::scenario::raw::{Located, RawForEach, RawItems, RawLimits, RawPhase, RawRetry};
use crate::scenario::shape;
use crate::scenario::table::{Table, text, wrong_type};
use crate::source::{Node, NodeValue, Place};

/// How long is waited before a second try when nothing is said.
const BACKOFF: std::time::Duration = std::time::Duration::from_secs(1);

/// The phases of the file.
pub(super) fn phases(table: &Table<'_>, report: &mut Report) -> Vec<RawPhase> {
    let mut found = Vec::new();
    read_list(table, None, &mut found, report);
    found
}

/// Reads a list of phases, each behind those before it and before those within it.
pub(super) fn read_list(
    table: &Table<'_>,
    within: Option<usize>,
    found: &mut Vec<RawPhase>,
    report: &mut Report,
) {
    for (node, place) in table.items("phases", report) {
        read(node, &place, within, found, report);
    }
}

fn read(node: &Node, place: &Place, within: Option<usize>, found: &mut Vec<RawPhase>, report: &mut Report) {
    let number = match place.route.0.last() {
        Some(crate::source::Step::Index(at)) => at + 1,
        _ => 1,
    };
    let what = match node.get("id").and_then(Node::as_text).filter(|id| !id.trim().is_empty()) {
        Some(id) => format!("phase `{id}`"),
        None => format!("phase {number}"),
    };
    let Some(table) = Table::open(node, place, &what, &shape::PHASE, report) else { return };
    let at = found.len();
    found.push(RawPhase {
        id: table.required_text("id", report),
        kind: None,
        needs: table.texts("needs", report),
        when: table.text("when", report),
        on_failure: on_failure(&table, report),
        finally: table.flag("finally", report),
        for_each: for_each(&table, &what, report),
        retry: retry(&table, &what, report),
        limits: all_limits(&table, &what, report),
        expect: table.texts("expect", report).unwrap_or_default(),
        place: place.clone(),
        within,
    });
    let kind = kind(&table, &what, at, found, report);
    found[at].kind = kind;
}

pub(super) fn on_failure(table: &Table<'_>, report: &mut Report) -> OnFailure {
    let words = [("stop", OnFailure::Stop), ("continue", OnFailure::Continue)];
    table.choice("on_failure", &words, report).map_or(OnFailure::Stop, |found| found.value)
}

/// The limits of a phase; `timeout` beside them is short for the one among them.
fn all_limits(table: &Table<'_>, what: &str, report: &mut Report) -> RawLimits {
    let limits = limits(table, &format!("`limits` of {what}"), &shape::PHASE_LIMITS, report);
    let Some(timeout) = table.duration("timeout", report) else { return limits };
    if limits.plan.timeout.is_some() {
        let message = format!("{what} has two timeouts");
        report.push(
            Diagnostic::error(Code::SaidTwice, message)
                .at(&table.key_place("timeout"))
                .label("`limits` has one already")
                .help("remove one of the two; they mean the same"),
        );
    }
    RawLimits { plan: LimitsPlan { timeout: Some(timeout), ..limits.plan }, ..limits }
}

fn for_each(table: &Table<'_>, what: &str, report: &mut Report) -> Option<RawForEach> {
    let (node, place) = table.get("for_each")?;
    let what = format!("`for_each` of {what}");
    let table = Table::open(node, &place, &what, &shape::FOR_EACH, report)?;
    let items = match table.get("items") {
        None => {
            table.missing("items", report);
            None
        }
        Some((node, place)) => match &node.value {
            NodeValue::List(_) => {
                let items = table.items("items", report);
                if items.len() > limit::ITEMS {
                    let message = format!("`items` in {what} has {} items", items.len());
                    let wrong = Diagnostic::error(Code::OutOfRange, message).at(&place);
                    report.push(wrong.label(format!("may have at most {}", limit::ITEMS)));
                }
                Some(RawItems::Written(items.iter().map(|(node, _)| node.to_json()).collect()))
            }
            NodeValue::Text(_) => text(node, &place, "`items`", report).map(RawItems::Computed),
            _ => {
                let wrong =
                    wrong_type(node, &place, &format!("`items` in {what}"), "a list or an expression");
                report.push(wrong);
                None
            }
        },
    };
    Some(RawForEach {
        items,
        name: table.text("as", report).unwrap_or_else(|| Located::new("item".to_owned(), place.clone())),
        max_parallel: table.count("max_parallel", report).map(|count| count.value),
        on_failure: on_failure(&table, report),
        place,
    })
}

fn retry(table: &Table<'_>, what: &str, report: &mut Report) -> Option<RawRetry> {
    let (node, place) = table.get("retry")?;
    let table = Table::open(node, &place, &format!("`retry` of {what}"), &shape::RETRY, report)?;
    if table.get("attempts").is_none() {
        table.missing("attempts", report);
    }
    let attempts = table.count("attempts", report)?.value;
    if attempts > crate::limit::PHASE_ATTEMPTS {
        let message = format!("`attempts` of `retry` is {attempts}");
        let wrong = Diagnostic::error(Code::OutOfRange, message).at(&table.value_place("attempts"));
        report.push(wrong.label(format!("must be at most {}", crate::limit::PHASE_ATTEMPTS)));
    }
    Some(RawRetry { attempts, backoff: table.duration("backoff", report).unwrap_or(BACKOFF), place })
}
