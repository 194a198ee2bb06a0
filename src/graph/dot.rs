//! A plan as a directed graph for Graphviz.

use std::fmt::Write as _;

use super::{Drawing, EdgeKind, Item, Shape};
use crate::plan::{PhaseTurn, Plan};

/// The drawing of a plan, as Graphviz reads it.
pub fn dot(plan: &Plan) -> String {
    let drawing = Drawing::of(plan);
    let mut text = format!("digraph {} {{\n  compound=true;\n", quoted(std::slice::from_ref(&plan.name)));
    for item in &drawing.items {
        write_item(&mut text, item, 1);
    }
    for edge in &drawing.edges {
        let (from, to) = (find(&drawing.items, edge.from), find(&drawing.items, edge.to));
        let mut settings = Vec::new();
        // A line leads from box to box; where a frame is meant, it is cut off there.
        if matches!(from, Some(Item::Group(_))) {
            settings.push(format!("ltail=cluster_{}", edge.from));
        }
        if matches!(to, Some(Item::Group(_))) {
            settings.push(format!("lhead=cluster_{}", edge.to));
        }
        if edge.kind == EdgeKind::Watches {
            settings.push("style=dotted, label=\"watches\"".to_owned());
        }
        let settings =
            if settings.is_empty() { String::new() } else { format!(" [{}]", settings.join(", ")) };
        let (from, to) = (from.map_or(edge.from, a_box), to.map_or(edge.to, a_box));
        let _ = writeln!(text, "  p{from} -> p{to}{settings};");
    }
    text.push_str("}\n");
    text
}

fn write_item(text: &mut String, item: &Item, depth: usize) {
    let indent = "  ".repeat(depth);
    match item {
        Item::Node(node) => {
            let shape = match node.shape {
                Shape::Session => "oval",
                Shape::Workers => "box3d",
                Shape::Monitor => "octagon",
                Shape::Issues => "note",
                Shape::Shell => "box",
                Shape::Approval => "hexagon",
            };
            let style = dashed(node.turn, ", style=dashed");
            let label = quoted(&node.label);
            let _ = writeln!(text, "{indent}p{} [shape={shape}, label={label}{style}];", node.name);
        }
        Item::Group(group) => {
            let _ = writeln!(text, "{indent}subgraph cluster_{} {{", group.name);
            let style = dashed(group.turn, " style=dashed;");
            let _ = writeln!(text, "{indent}  label={};{style}", quoted(&group.label));
            for item in &group.items {
                write_item(text, item, depth + 1);
            }
            let _ = writeln!(text, "{indent}}}");
        }
    }
}

fn dashed(turn: PhaseTurn, style: &'static str) -> &'static str {
    match turn {
        PhaseTurn::InOrder => "",
        PhaseTurn::Finally => style,
    }
}

fn find(items: &[Item], name: usize) -> Option<&Item> {
    items.iter().find_map(|item| match item {
        item if item.name() == name => Some(item),
        Item::Group(group) => find(&group.items, name),
        Item::Node(_) => None,
    })
}

/// The first box of what is drawn.
fn a_box(item: &Item) -> usize {
    match item {
        Item::Node(node) => node.name,
        Item::Group(group) => group.items.first().map_or(group.name, a_box),
    }
}

/// Lines as a quoted text.
fn quoted(lines: &[String]) -> String {
    let escaped = |line: &String| {
        let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        plain.replace('\\', "\\\\").replace('"', "\\\"")
    };
    format!("\"{}\"", lines.iter().map(escaped).collect::<Vec<_>>().join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_label_ends_it() {
        assert_eq!(quoted(&["a \"b\" \\n".to_owned(), "c\nd".to_owned()]), r#""a \"b\" \\n\nc d""#);
    }
}
