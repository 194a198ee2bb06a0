//! How values are written as JSON, in the order of the text; comments have no place there.

use super::super::node::{Node, NodeValue};
use super::super::sources::Format;
use super::{Source, number::number, quoted};

/// The text of a tree.
pub(super) fn write(tree: &Node, source: &Source<'_>) -> String {
    let mut out = String::new();
    value(tree, source, 0, &mut out);
    out.push('\n');
    out
}

fn value(node: &Node, source: &Source<'_>, depth: usize, out: &mut String) {
    match &node.value {
        NodeValue::Null => out.push_str("null"),
        NodeValue::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        NodeValue::Text(text) => out.push_str(&quoted(text)),
        NodeValue::Integer(_) | NodeValue::Float(_) => {
            out.push_str(&number(node, source, Format::Json).unwrap_or_default());
        }
        NodeValue::List(items) => {
            let parts = items.iter().map(|item| (None, item));
            container(('[', ']'), parts, source, depth, out);
        }
        NodeValue::Map(entries) => {
            let parts = entries.iter().map(|entry| (Some(entry.key.as_str()), &entry.value));
            container(('{', '}'), parts, source, depth, out);
        }
    }
}

fn container<'n>(
    brackets: (char, char),
    parts: impl Iterator<Item = (Option<&'n str>, &'n Node)>,
    source: &Source<'_>,
    depth: usize,
    out: &mut String,
) {
    out.push(brackets.0);
    let mut is_empty = true;
    for (key, node) in parts {
        out.push_str(if is_empty { "\n" } else { ",\n" });
        is_empty = false;
        out.push_str(&"  ".repeat(depth + 1));
        if let Some(key) = key {
            out.push_str(&quoted(key));
            out.push_str(": ");
        }
        value(node, source, depth + 1, out);
    }
    if !is_empty {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    }
    out.push(brackets.1);
}
