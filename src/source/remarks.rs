//! Which comment of a text belongs to which of its values, so that it can stand there in another format as well.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Parser};
use toml_parser::lexer::TokenKind;

use super::node::{Node, NodeValue};
use super::route::{Route, Step};
use super::sources::Format;

/// The comments of a text, without their `#`.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// Those before the first value; an empty one is an empty line.
    pub(super) head: Vec<String>,
    /// Those behind the last value.
    pub(super) foot: Vec<String>,
    placed: BTreeMap<Route, Beside>,
    /// How many there are.
    pub(super) count: usize,
    /// Whether the text has aliases.
    pub(super) has_aliases: bool,
}

/// What stands around an entry or an item.
#[derive(Debug, Default, Clone)]
pub(super) struct Beside {
    /// Comments in lines of their own above it.
    pub(super) above: Vec<String>,
    /// The comment in its line.
    pub(super) behind: Option<String>,
    /// Whether an empty line stands before it and its comments.
    pub(super) is_apart: bool,
}

impl Beside {
    /// How many comments it has.
    pub(super) fn count(&self) -> usize {
        self.above.len() + usize::from(self.behind.is_some())
    }
}

impl Remarks {
    /// The comments of a text that was read as this tree.
    pub(super) fn of(text: &str, tree: &Node, format: Format) -> Self {
        let (found, has_aliases) = match format {
            Format::Yaml => in_yaml(text),
            Format::Toml => (in_toml(text), false),
            Format::Json => (Vec::new(), false),
        };
        let mut anchors = Vec::new();
        collect(tree, &Route::root(), format, &mut anchors);
        anchors.sort_by_key(|anchor| (anchor.start, anchor.route.0.len()));
        let mut remarks = Self { count: found.len(), has_aliases, ..Self::default() };
        for span in found {
            remarks.place(text, &anchors, &span);
        }
        match format {
            Format::Yaml => remarks.find_gaps(text, &anchors),
            // Every header has an empty line before it; those of the parts say nothing.
            Format::Toml => {
                anchors.retain(|anchor| is_large(&anchor.route));
                remarks.find_gaps(text, &anchors);
            }
            // All of it is spread out; the large parts are set apart.
            Format::Json => {
                for anchor in anchors.iter().skip(1).filter(|anchor| anchor.route.0.len() == 1) {
                    let is_long = |node: &Node| node.to_json().to_string().len() > 80;
                    let is_apart = tree.at(&anchor.route).is_some_and(is_long);
                    remarks.placed.entry(anchor.route.clone()).or_default().is_apart = is_apart;
                }
            }
        }
        remarks
    }

    /// What stands around an entry or an item.
    pub(super) fn at(&self, route: &Route) -> Option<&Beside> {
        self.placed.get(route)
    }

    /// Whether a value has comments among its parts.
    pub(super) fn are_within(&self, route: &Route) -> bool {
        let parts = self.placed.range(route.clone()..).take_while(|(part, _)| part.0.starts_with(&route.0));
        parts.filter(|(part, _)| part.0.len() > route.0.len()).any(|(_, beside)| beside.count() > 0)
    }

    fn place(&mut self, text: &str, anchors: &[Anchor], span: &Range<usize>) {
        let words = text[span.clone()].trim_start_matches('#').trim_end();
        // More than one `#` is a part of what it says.
        let marks = text[span.clone()].len() - text[span.clone()].trim_start_matches('#').len();
        let words = format!("{}{words}", "#".repeat(marks.saturating_sub(1)));
        let line = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
        let next = anchors.partition_point(|anchor| anchor.start < span.start);
        if !text[line..span.start].trim().is_empty() {
            let first = anchors.partition_point(|anchor| anchor.start < line);
            let Some(leftmost) = anchors[first..next].first() else {
                // Behind the end of the document, or behind a bracket, where nothing begins.
                if next == anchors.len() && text[line..span.start].trim() == "..." {
                    self.foot.push(words);
                }
                return;
            };
            // What begins at the same place ends in the same line when it is the innermost.
            let same = anchors[first..next].iter().take_while(|anchor| anchor.start == leftmost.start);
            if let Some(anchor) = same.last() {
                self.placed.entry(anchor.route.clone()).or_default().behind.get_or_insert(words);
            }
            return;
        }
        let is_after_gap = text[..line].trim_end_matches([' ', '\t']).ends_with("\n\n");
        if next == 0 {
            if is_after_gap && !self.head.is_empty() {
                self.head.push(String::new());
            }
            self.head.push(words);
        } else if let Some(anchor) = anchors.get(next) {
            self.placed.entry(anchor.route.clone()).or_default().above.push(words);
        } else {
            self.foot.push(words);
        }
    }

    /// Empty lines before entries and items, seen past the comments above them.
    fn find_gaps(&mut self, text: &str, anchors: &[Anchor]) {
        for (at, anchor) in anchors.iter().enumerate().skip(1) {
            if anchors[at - 1].start == anchor.start {
                continue;
            }
            let start = text[..anchor.start].rfind('\n').map_or(0, |end| end + 1);
            let before = text[..start].lines().rev().map(str::trim).find(|line| !line.starts_with('#'));
            if before == Some("") {
                self.placed.entry(anchor.route.clone()).or_default().is_apart = true;
            }
        }
    }
}

/// Whether something is a part of the whole: a key at the top, or an item of a list there.
fn is_large(route: &Route) -> bool {
    matches!(route.0.as_slice(), [_] | [_, Step::Index(_)])
}

/// Where an entry or an item begins.
struct Anchor {
    start: usize,
    route: Route,
}

/// Entries and items in places of their own; what an alias brings in has none.
fn collect(node: &Node, route: &Route, format: Format, anchors: &mut Vec<Anchor>) {
    let is_brought_in = |outer: &Range<usize>, inner: &Range<usize>| format == Format::Yaml && outer == inner;
    match &node.value {
        NodeValue::Map(entries) => {
            for entry in entries {
                if is_brought_in(&entry.key_span, &entry.value.span) {
                    continue;
                }
                let route = route.key(&entry.key);
                collect(&entry.value, &route, format, anchors);
                anchors.push(Anchor { start: entry.key_span.start, route });
            }
        }
        NodeValue::List(items) => {
            for (at, item) in
                items.iter().enumerate().filter(|(_, item)| !is_brought_in(&node.span, &item.span))
            {
                let route = route.index(at);
                collect(item, &route, format, anchors);
                anchors.push(Anchor { start: item.span.start, route });
            }
        }
        _ => {}
    }
}

fn in_yaml(text: &str) -> (Vec<Range<usize>>, bool) {
    let options = granit_parser::options! {
        max_buffered_comment_events: usize::MAX,
        simple_key_max_lookahead: crate::limit::SOURCE_BYTES,
    };
    let mut found = Vec::new();
    let mut has_aliases = false;
    for (event, span) in Parser::new_from_str_with_options(text, options).flatten() {
        match event {
            Event::Comment(..) => found.extend(span.byte_range()),
            Event::Alias(_) => has_aliases = true,
            _ => {}
        }
    }
    found.sort_by_key(|span| span.start);
    (found, has_aliases)
}

fn in_toml(text: &str) -> Vec<Range<usize>> {
    let tokens = toml_parser::Source::new(text).lex();
    let comments = tokens.filter(|token| token.kind() == TokenKind::Comment);
    comments.map(|token| token.span().start()..token.span().end()).collect()
}
