//! How issues that stand in a scenario are read.

use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::raw::RawSeed;
use crate::scenario::shape;
use crate::scenario::table::{Table, wrong_type};
use crate::source::{Node, Place};

/// Words for priorities, as in the issue tool.
const PRIORITIES: [(&str, u8); 5] =
    [("critical", 0), ("high", 1), ("medium", 2), ("low", 3), ("deferred", 4)];

/// The issues in a list.
pub(super) fn seeds(table: &Table<'_>, key: &str, report: &mut Report) -> Vec<RawSeed> {
    if table.get(key).is_none() {
        return Vec::new();
    }
    let items = table.items(key, report);
    items.iter().filter_map(|(node, place)| seed(node, place, report)).collect()
}

fn seed(node: &Node, place: &Place, report: &mut Report) -> Option<RawSeed> {
    let table = Table::open(node, place, "an issue", &shape::SEED, report)?;
    Some(RawSeed {
        key: table.text("key", report),
        title: table.required_text("title", report),
        description: table.text("description", report),
        priority: priority(&table, report),
        issue_type: table.text("issue_type", report),
        metadata: table.values("metadata", report),
        labels: table.texts("labels", report).unwrap_or_default(),
        estimate_minutes: table.count("estimate_minutes", report).map(|count| count.value),
        blocking_notes: table.text("blocking_notes", report),
        parent: table.text("parent", report),
        depends_on: table.texts("depends_on", report).unwrap_or_default(),
        place: place.clone(),
    })
}

/// A number from 0 to 4, or the word for it.
fn priority(table: &Table<'_>, report: &mut Report) -> Option<u8> {
    let (node, place) = table.get("priority")?;
    if node.as_text().is_some() {
        return table.choice("priority", &PRIORITIES, report).map(|found| found.value);
    }
    let Some(number) = node.as_integer() else {
        report.push(wrong_type(node, &place, "`priority` of an issue", "a number from 0 to 4 or a word"));
        return None;
    };
    let found = u8::try_from(number).ok().filter(|number| *number <= 4);
    if found.is_none() {
        let wrong = Diagnostic::error(Code::OutOfRange, format!("`priority` of an issue is {number}"));
        report.push(wrong.at(&place).label("must be from 0 (critical) to 4"));
    }
    found
}
