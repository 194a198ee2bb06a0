//! A plan as a flowchart for Mermaid, which GitHub and many editors show.

use std::fmt::Write as _;

use super::{Drawing, EdgeKind, Item, Shape};
use crate::plan::{PhaseTurn, Plan};

/// The drawing of a plan, as Mermaid reads it.
pub fn mermaid(plan: &Plan) -> String {
    let drawing = Drawing::of(plan);
    let mut text = "flowchart TD\n".to_owned();
    for item in &drawing.items {
        write_item(&mut text, item, 1);
    }
    for edge in &drawing.edges {
        let line = match edge.kind {
            EdgeKind::Needs => "-->",
            EdgeKind::Watches => "-. watches .->",
        };
        let _ = writeln!(text, "  p{} {line} p{}", edge.from, edge.to);
    }
    let mut last = Vec::new();
    find_last(&drawing.items, &mut last);
    if !last.is_empty() {
        text.push_str("  classDef finally stroke-dasharray: 5 5\n");
        let _ = writeln!(text, "  class {} finally", last.join(","));
    }
    text
}

fn write_item(text: &mut String, item: &Item, depth: usize) {
    let indent = "  ".repeat(depth);
    match item {
        Item::Node(node) => {
            let (open, close) = match node.shape {
                Shape::Session => ("(", ")"),
                Shape::Workers => ("[[", "]]"),
                Shape::Monitor => ("([", "])"),
                Shape::Issues => ("[/", "/]"),
                Shape::Shell => ("[", "]"),
                Shape::Approval => ("{{", "}}"),
            };
            let _ = writeln!(text, "{indent}p{}{open}\"{}\"{close}", node.name, label(&node.label));
        }
        Item::Group(group) => {
            let _ = writeln!(text, "{indent}subgraph p{} [\"{}\"]", group.name, label(&group.label));
            for item in &group.items {
                write_item(text, item, depth + 1);
            }
            let _ = writeln!(text, "{indent}end");
        }
    }
}

/// The names of what runs at the end.
fn find_last(items: &[Item], found: &mut Vec<String>) {
    for item in items {
        let (turn, inner) = match item {
            Item::Node(node) => (node.turn, [].as_slice()),
            Item::Group(group) => (group.turn, group.items.as_slice()),
        };
        if turn == PhaseTurn::Finally {
            found.push(format!("p{}", item.name()));
        }
        find_last(inner, found);
    }
}

fn label(lines: &[String]) -> String {
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br/>")
}

/// A text within quotes: whatever means something to Mermaid, or to the HTML it makes, by its number.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' | '\\' | ';' => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_label_ends_it_or_becomes_markup() {
        assert_eq!(escaped("a \"b\" <c> & #quot; `d`"), "a #34;b#34; #60;c#62; #38; #35;quot#59; #96;d#96;");
        assert_eq!(escaped("tab\there"), "tab here");
        assert_eq!(label(&["one".to_owned(), "two".to_owned()]), "one<br/>two");
    }
}
