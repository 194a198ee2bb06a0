//! How values are written as YAML: blocks, with short lists and maps in one line, and long texts as they read.

use super::super::node::{Entry, Node, NodeValue};
use super::super::plain;
use super::super::remarks::Beside;
use super::super::route::Route;
use super::super::sources::Format;
use super::{Source, WIDTH, is_flat, is_hidden, is_scalar, number::number, quoted};

/// The text of a tree, and how many comments it has.
pub(super) fn write(tree: &Node, source: &Source<'_>) -> (String, usize) {
    let mut page = Page { source, out: String::new(), carried: 0 };
    page.lines(&source.remarks.head, "");
    match &tree.value {
        NodeValue::Map(entries) if !entries.is_empty() => {
            page.map(entries, &Route::root(), "", Start::OwnLine);
        }
        NodeValue::List(items) if !items.is_empty() => page.list(items, &Route::root(), ""),
        _ => {
            let text = page.inline(tree);
            page.out.push_str(&text);
            page.out.push('\n');
        }
    }
    if !source.remarks.foot.is_empty() {
        page.out.push('\n');
        page.lines(&source.remarks.foot, "");
    }
    (page.out, page.carried)
}

struct Page<'s> {
    source: &'s Source<'s>,
    out: String,
    carried: usize,
}

impl Page<'_> {
    /// Comments in lines of their own.
    fn lines(&mut self, lines: &[String], indent: &str) {
        for line in lines {
            if line.is_empty() {
                self.out.push('\n');
            } else {
                self.out.push_str(&format!("{indent}#{line}\n"));
                self.carried += 1;
            }
        }
    }

    /// What stands above an entry or an item.
    fn above(&mut self, beside: &Beside, indent: &str) {
        if beside.is_apart && !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
        self.lines(&beside.above, indent);
    }

    fn beside(&self, route: &Route) -> Beside {
        self.source.remarks.at(route).cloned().unwrap_or_default()
    }

    /// The entries of a map; the dash that the first one may stand behind is written already.
    fn map(&mut self, entries: &[Entry], route: &Route, indent: &str, start: Start) {
        for (at, entry) in entries.iter().enumerate() {
            let route = route.key(&entry.key);
            let mut beside = self.beside(&route);
            beside.is_apart &= at > 0 || route.0.len() == 1;
            if at > 0 || start == Start::OwnLine {
                self.above(&beside, indent);
                self.out.push_str(indent);
            }
            self.out.push_str(&word(&entry.key, Where::Key));
            self.out.push(':');
            self.value(&entry.value, &route, indent, beside.behind.as_deref());
        }
    }

    fn list(&mut self, items: &[Node], route: &Route, indent: &str) {
        for (at, item) in items.iter().enumerate() {
            let route = route.index(at);
            let mut beside = self.beside(&route);
            beside.is_apart &= at > 0;
            let first = item.as_map().and_then(|entries| entries.first());
            let is_open = !self.fits(item, &route, indent.len());
            if let (Some(entry), true) = (first, is_open) {
                // The first entry stands behind the dash; what is above it goes above both.
                beside.above.extend(beside.behind.take());
                beside.above.extend(self.beside(&route.key(&entry.key)).above);
            }
            self.above(&beside, indent);
            self.out.push_str(indent);
            self.out.push('-');
            match &item.value {
                NodeValue::Map(entries) if is_open => {
                    self.out.push(' ');
                    self.map(entries, &route, &format!("{indent}  "), Start::BehindDash);
                }
                _ => self.value(item, &route, indent, beside.behind.as_deref()),
            }
        }
    }

    /// Whether a list or map is written in one line of brackets.
    fn fits(&self, node: &Node, route: &Route, used: usize) -> bool {
        let is_empty =
            node.as_list().is_some_and(<[_]>::is_empty) || node.as_map().is_some_and(<[_]>::is_empty);
        let width = used + route.0.last().map_or(0, |_| 20) + self.inline(node).chars().count();
        is_empty || (is_flat(node) && !self.source.remarks.are_within(route) && width <= WIDTH)
    }

    /// A value behind its key or dash, to the end of its last line.
    fn value(&mut self, node: &Node, route: &Route, indent: &str, behind: Option<&str>) {
        let behind = behind.map(|words| format!(" #{words}")).unwrap_or_default();
        self.carried += usize::from(!behind.is_empty());
        let deeper = format!("{indent}  ");
        match &node.value {
            NodeValue::Text(text) if is_block(text) => {
                let (mark, body) = match text.strip_suffix('\n') {
                    Some(body) => ("|", body),
                    None => ("|-", text.as_str()),
                };
                self.out.push_str(&format!(" {mark}{behind}\n"));
                for line in body.split('\n') {
                    let line = if line.is_empty() { String::new() } else { format!("{deeper}{line}") };
                    self.out.push_str(&line);
                    self.out.push('\n');
                }
            }
            _ if is_scalar(node) || self.fits(node, route, indent.len()) => {
                let text = self.inline(node);
                let space = if text.is_empty() { "" } else { " " };
                self.out.push_str(&format!("{space}{text}{behind}\n"));
            }
            NodeValue::Map(entries) => {
                self.out.push_str(&format!("{behind}\n"));
                self.map(entries, route, &deeper, Start::OwnLine);
            }
            NodeValue::List(items) => {
                self.out.push_str(&format!("{behind}\n"));
                self.list(items, route, &deeper);
            }
            _ => unreachable!("what is no list and no map is a scalar"),
        }
    }

    fn inline(&self, node: &Node) -> String {
        self.flow(node, Where::Block)
    }

    fn flow(&self, node: &Node, place: Where) -> String {
        match &node.value {
            NodeValue::Null => "null".to_owned(),
            NodeValue::Bool(flag) => flag.to_string(),
            NodeValue::Text(text) => word(text, place),
            NodeValue::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.flow(item, Where::Flow)).collect();
                format!("[{}]", items.join(", "))
            }
            NodeValue::Map(entries) if entries.is_empty() => "{}".to_owned(),
            NodeValue::Map(entries) => {
                let entry = |entry: &Entry| {
                    format!("{}: {}", word(&entry.key, Where::Key), self.flow(&entry.value, Where::Flow))
                };
                format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
            NodeValue::Integer(_) | NodeValue::Float(_) => {
                number(node, self.source, Format::Yaml).unwrap_or_default()
            }
        }
    }
}

/// Where the first entry of a map is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    OwnLine,
    BehindDash,
}

/// Where a word stands: in brackets more characters mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Block,
    Flow,
    Key,
}

/// Whether a text is written line by line. What such a block cannot keep, or nobody would see, is written in quotes.
fn is_block(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    text.contains('\n')
        && !first.is_empty()
        && !first.starts_with([' ', '\t'])
        && !text.ends_with("\n\n")
        && !text.chars().any(|c| is_hidden(c) && !matches!(c, '\n' | '\t'))
        && text.lines().all(|line| !line.is_empty() || !line.starts_with(' '))
        && text.lines().all(|line| line.is_empty() || !line.trim().is_empty())
}

/// A text in one line: bare where every reader takes it for a text.
fn word(text: &str, place: Where) -> String {
    if is_bare(text, place) {
        return text.to_owned();
    }
    let is_plain = !text.contains(|c: char| is_hidden(c));
    if is_plain && text.contains(['"', '\\']) && !text.contains('\'') {
        return format!("'{text}'");
    }
    quoted(text)
}

fn is_bare(text: &str, place: Where) -> bool {
    // Read as booleans or null by YAML 1.1.
    const WORDS: [&str; 10] = ["yes", "no", "on", "off", "y", "n", "true", "false", "null", "~"];
    let is_like_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && text.chars().all(|c| c.is_ascii_hexdigit() || "_:.-+oxXTZ ".contains(c));
    let in_brackets = place != Where::Block && text.contains([',', '[', ']', '{', '}']);
    let is_text = matches!(plain::value(text), Ok(NodeValue::Text(_)));
    is_text
        && !is_like_number
        && !in_brackets
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@`<=".contains(c) || c.is_whitespace())
        && !text.ends_with(|c: char| c == ':' || c.is_whitespace())
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains("\t#")
        && !text.contains(":\t")
        && !text.contains(|c: char| is_hidden(c))
        && !(place == Where::Flow && text.contains(':') && text.contains(['"', '\'']))
}
