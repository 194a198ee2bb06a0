//! What a scenario says is to go wrong when it is tested: `- {at: work/coder-1/3, http: 529, times: 2}`.

use super::raw::{Located, RawFault};
use super::shape;
use super::table::{Table, wrong_type};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::fault::{Fault, FaultKind, FaultPlace};
use crate::limit;
use crate::source::{Node, NodeValue, Place};

/// The faults of a file, in its order.
pub(super) fn faults(table: &Table<'_>, report: &mut Report) -> Vec<RawFault> {
    if table.get("faults").is_none() {
        return Vec::new();
    }
    let items = table.items("faults", report);
    items.iter().filter_map(|(node, place)| fault(node, place, report)).collect()
}

fn fault(node: &Node, place: &Place, report: &mut Report) -> Option<RawFault> {
    let table = Table::open(node, place, "a fault", &shape::FAULT, report)?;
    let at = table.required_text("at", report);
    let times = table.count("times", report).map_or(1, |times| times.value);
    if times > limit::FAULT_TIMES {
        let message = format!("`times` of a fault is {times}");
        let at = Diagnostic::error(Code::OutOfRange, message).at(&table.value_place("times"));
        report.push(at.label(format!("must be at most {}", limit::FAULT_TIMES)));
        return None;
    }
    let written: Vec<_> =
        shape::FAULT.one_of.iter().filter_map(|key| Some((*key, table.get(key)?))).collect();
    let [(key, (value, value_place))] = written.as_slice() else {
        let message = match written.len() {
            0 => "a fault says nothing of what goes wrong".to_owned(),
            count => format!("a fault says {count} things that go wrong"),
        };
        let help = "give it exactly one of `http`, `cut_after_event`, `error_event` and `stall`";
        report.push(Diagnostic::error(Code::MissingKey, message).at(place).help(help));
        return None;
    };
    let kind = kind(key, value, value_place, report)?;
    let at = at?;
    let is_call = matches!(&at, Located { value, .. } if is_model_call(value));
    if !is_call {
        report.push(
            Diagnostic::error(Code::BadFault, format!("`{}` names no model call", at.value))
                .at(&at.place)
                .help("name it as PHASE/SESSION/NUMBER, as the ledger of a recording does: `work/coder-1/3`"),
        );
        return None;
    }
    Some(RawFault { at, kind, times })
}

fn is_model_call(text: &str) -> bool {
    // The reader of `--fault` knows what an id looks like; any kind of fault does for that.
    Fault::from_text(&format!("{text}=stall")).is_ok_and(|fault| match fault.at {
        FaultPlace::Effect(id) => id.without_attempt() == text && id.session().is_some(),
        FaultPlace::Commit(_) => false,
    })
}

fn kind(key: &str, value: &Node, place: &Place, report: &mut Report) -> Option<FaultKind> {
    let (found, expected) = match (key, &value.value) {
        ("http", NodeValue::Integer(status)) => {
            let status = u16::try_from(*status).ok().filter(|status| (400..600).contains(status));
            (status.map(FaultKind::Http), "a status from 400 to 599")
        }
        ("cut_after_event", NodeValue::Integer(count)) => {
            (u32::try_from(*count).ok().map(FaultKind::CutAfterEvent), "a number of events")
        }
        ("error_event", NodeValue::Text(text)) if !text.is_empty() => {
            (Some(FaultKind::ErrorEvent(text.clone())), "")
        }
        ("stall", NodeValue::Bool(true)) => (Some(FaultKind::Stall), ""),
        ("http", _) => (None, "a status from 400 to 599"),
        ("cut_after_event", _) => (None, "a number of events"),
        ("error_event", _) => (None, "the type of an error, such as `overloaded_error`"),
        _ => (None, "`true`"),
    };
    if found.is_none() {
        report.push(wrong_type(value, place, &format!("`{key}` of a fault"), expected));
    }
    found
}
