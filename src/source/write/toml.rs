//! How values are written as TOML: values first, then tables; short maps in one line, long texts as they read.

use super::super::node::{Entry, Node, NodeValue};
use super::super::remarks::Beside;
use super::super::route::Route;
use super::super::sources::Format;
use super::{Source, Unwritable, WIDTH, is_flat, is_hidden, number::number, quoted};

/// The text of a tree, and how many comments it has.
pub(super) fn write(tree: &Node, source: &Source<'_>) -> Result<(String, usize), Unwritable> {
    let Some(entries) = tree.as_map() else { return Err(Unwritable::NoMap) };
    refuse_null(tree, &Route::root())?;
    let mut page = Page { source, out: String::new(), carried: 0 };
    page.lines(&source.remarks.head, "");
    page.table(entries, &Route::root(), &[]);
    if !source.remarks.foot.is_empty() {
        page.out.push('\n');
        page.lines(&source.remarks.foot, "");
    }
    Ok((page.out, page.carried))
}

fn refuse_null(node: &Node, route: &Route) -> Result<(), Unwritable> {
    match &node.value {
        NodeValue::Null => Err(Unwritable::Null(route.clone())),
        NodeValue::List(items) => {
            items.iter().enumerate().try_for_each(|(at, item)| refuse_null(item, &route.index(at)))
        }
        NodeValue::Map(entries) => {
            entries.iter().try_for_each(|entry| refuse_null(&entry.value, &route.key(&entry.key)))
        }
        _ => Ok(()),
    }
}

struct Page<'s> {
    source: &'s Source<'s>,
    out: String,
    carried: usize,
}

impl Page<'_> {
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

    fn beside(&self, route: &Route) -> Beside {
        self.source.remarks.at(route).cloned().unwrap_or_default()
    }

    /// The end of a line, with the comment that stands there.
    fn end(&mut self, behind: Option<&str>) {
        if let Some(words) = behind {
            self.out.push_str(&format!(" #{words}"));
            self.carried += 1;
        }
        self.out.push('\n');
    }

    /// The entries of a table: those that take a line, then those that take a table.
    fn table(&mut self, entries: &[Entry], route: &Route, path: &[String]) {
        let maps = || entries.iter().filter(|entry| entry.value.as_map().is_some());
        // Maps by id keep their order, so all of them are tables if one is.
        let all = entries.len() > 1
            && maps().count() == entries.len()
            && maps().any(|entry| self.is_table(&entry.value, &route.key(&entry.key)));
        let (tables, values): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| all || self.is_table(&entry.value, &route.key(&entry.key)));
        for entry in values {
            let route = route.key(&entry.key);
            let beside = self.beside(&route);
            if beside.is_apart && !self.out.is_empty() && !self.out.ends_with("\n\n") {
                self.out.push('\n');
            }
            self.lines(&beside.above, "");
            self.out.push_str(&format!("{} = ", key(&entry.key)));
            self.assigned(&entry.value, &route);
            self.end(beside.behind.as_deref());
        }
        for entry in tables {
            let route = route.key(&entry.key);
            let path = [path, &[key(&entry.key)]].concat();
            match &entry.value.value {
                NodeValue::Map(inner) => self.header(inner, &route, &path),
                NodeValue::List(items) => self.items(items, &route, &path),
                _ => unreachable!("only lists and maps are tables"),
            }
        }
    }

    /// Whether a value is written below a header of its own.
    fn is_table(&self, node: &Node, route: &Route) -> bool {
        let is_long = || self.inline(node).chars().count() > WIDTH;
        match &node.value {
            NodeValue::Map(entries) if entries.is_empty() => false,
            NodeValue::Map(_) => !is_flat(node) || self.source.remarks.are_within(route) || is_long(),
            NodeValue::List(items) => {
                let are_maps = !items.is_empty() && items.iter().all(|item| item.as_map().is_some());
                let is_open = |(at, item): (usize, &Node)| {
                    !is_flat(item) || self.source.remarks.are_within(&route.index(at))
                };
                are_maps && (route.0.len() == 1 || items.iter().enumerate().any(is_open))
            }
            _ => false,
        }
    }

    fn header(&mut self, entries: &[Entry], route: &Route, path: &[String]) {
        let beside = self.beside(route);
        let has_lines = entries.iter().any(|entry| !self.is_table(&entry.value, &route.key(&entry.key)));
        let all_maps = entries.len() > 1 && entries.iter().all(|entry| entry.value.as_map().is_some());
        let only_tables = !has_lines
            || (all_maps && entries.iter().any(|entry| self.is_table(&entry.value, &route.key(&entry.key))));
        if !entries.is_empty() && only_tables {
            // The headers below say this one, too.
            self.gap();
            let comments = beside.above.iter().chain(beside.behind.iter()).cloned().collect::<Vec<_>>();
            self.lines(&comments, "");
        } else {
            self.gap();
            self.lines(&beside.above, "");
            self.out.push_str(&format!("[{}]", path.join(".")));
            self.end(beside.behind.as_deref());
        }
        self.table(entries, route, path);
    }

    fn items(&mut self, items: &[Node], route: &Route, path: &[String]) {
        let beside = self.beside(route);
        self.gap();
        let comments = beside.above.iter().chain(beside.behind.iter()).cloned().collect::<Vec<_>>();
        self.lines(&comments, "");
        for (at, item) in items.iter().enumerate() {
            let Some(entries) = item.as_map() else { continue };
            let route = route.index(at);
            let beside = self.beside(&route);
            self.gap();
            self.lines(&beside.above, "");
            self.out.push_str(&format!("[[{}]]", path.join(".")));
            self.end(beside.behind.as_deref());
            self.table(entries, &route, path);
        }
    }

    /// An empty line, unless there is one, or comments that belong to what follows.
    fn gap(&mut self) {
        let last = self.out.lines().last().unwrap_or_default();
        if !last.is_empty() && !last.starts_with('#') {
            self.out.push('\n');
        }
    }

    /// A value behind its `=`: a long list takes a line for each item.
    fn assigned(&mut self, node: &Node, route: &Route) {
        if let NodeValue::Text(text) = &node.value
            && let Some(lines) = lines(text)
        {
            self.out.push_str(&lines);
            return;
        }
        let inline = self.inline(node);
        let is_wide = inline.chars().count() > WIDTH || self.source.remarks.are_within(route);
        match &node.value {
            NodeValue::List(items) if is_wide => {
                self.out.push_str("[\n");
                for (at, item) in items.iter().enumerate() {
                    let beside = self.beside(&route.index(at));
                    self.lines(&beside.above, "    ");
                    self.out.push_str(&format!("    {},", self.inline(item)));
                    self.end(beside.behind.as_deref());
                }
                self.out.push(']');
            }
            _ => self.out.push_str(&inline),
        }
    }

    fn inline(&self, node: &Node) -> String {
        match &node.value {
            // Refused before anything is written.
            NodeValue::Null => String::new(),
            NodeValue::Bool(flag) => flag.to_string(),
            NodeValue::Text(text) => word(text),
            NodeValue::List(items) => {
                format!("[{}]", items.iter().map(|item| self.inline(item)).collect::<Vec<_>>().join(", "))
            }
            NodeValue::Map(entries) if entries.is_empty() => "{}".to_owned(),
            NodeValue::Map(entries) => {
                let entry = |entry: &Entry| format!("{} = {}", key(&entry.key), self.inline(&entry.value));
                format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
            NodeValue::Integer(_) | NodeValue::Float(_) => {
                number(node, self.source, Format::Toml).unwrap_or_default()
            }
        }
    }
}

fn key(text: &str) -> String {
    let is_bare =
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_bare { text.to_owned() } else { word(text) }
}

fn word(text: &str) -> String {
    let is_plain = !text.contains(|c: char| is_hidden(c));
    if is_plain && text.contains(['"', '\\']) && !text.contains('\'') {
        return format!("'{text}'");
    }
    quoted(text)
}

/// A text of several lines as it reads, if it has more than one.
fn lines(text: &str) -> Option<String> {
    if !text.contains('\n') || text.contains(|c: char| is_hidden(c) && !matches!(c, '\n' | '\t')) {
        return None;
    }
    let escaped = text.replace('\\', "\\\\").replace("\"\"\"", "\"\"\\\"");
    let escaped = match escaped.strip_suffix('"') {
        Some(rest) => format!("{rest}\\\""),
        None => escaped,
    };
    Some(format!("\"\"\"\n{escaped}\"\"\""))
}
