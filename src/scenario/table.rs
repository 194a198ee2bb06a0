//! How values are read out of a map of the file: what is wrong with each is reported, and reading goes on.

use std::time::Duration;

use serde_json::{Map, Value};

use super::raw::Located;
use super::shape::{self, Shape};
use crate::clock::parse_duration;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::issue::Takes;
use crate::price::Usd;
use crate::source::{Entry, Node, NodeValue, Place, Step};

/// A map of the file that is being read.
pub(super) struct Table<'n> {
    entries: &'n [Entry],
    pub(super) place: Place,
    /// What the map is, for messages: `phase `work``.
    what: String,
    /// The keys that others stand there for by a slip, which has been reported.
    misspelt: Vec<String>,
}

impl<'n> Table<'n> {
    /// The map at a node; other values, and keys that are not known, are reported.
    pub(super) fn open(
        node: &'n Node,
        place: &Place,
        what: &str,
        shape: &Shape,
        report: &mut Report,
    ) -> Option<Self> {
        if node.as_map().is_none() {
            let wrong = wrong_type(node, place, what, "a map");
            report.push(if node.is_null() { wrong } else { wrong.help(as_map(shape)) });
            return None;
        }
        let mut table = Self::open_any(node, place, what, report)?;
        let known = shape.names();
        for entry in table.entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let mut diagnostic =
                Diagnostic::error(Code::UnknownKey, format!("unknown key `{}` in {what}", entry.key))
                    .at(&table.key_place(&entry.key))
                    .did_you_mean(nearest(&entry.key, known.iter().copied()));
            if diagnostic.did_you_mean.is_none() {
                let elsewhere = shape::elsewhere(shape, &entry.key);
                diagnostic =
                    diagnostic.help(elsewhere.unwrap_or_else(|| format!("known here: {}", known.join(", "))));
            }
            table.misspelt.extend(diagnostic.did_you_mean.clone());
            report.push(diagnostic);
        }
        Some(table)
    }

    /// The map at a node, whatever its keys.
    pub(super) fn open_any(node: &'n Node, place: &Place, what: &str, report: &mut Report) -> Option<Self> {
        match node.as_map() {
            Some(entries) => {
                Some(Self { entries, place: place.clone(), what: what.to_owned(), misspelt: Vec::new() })
            }
            None => {
                let mut wrong = wrong_type(node, place, what, "a map");
                if node.as_list().is_some() {
                    wrong = wrong.help("put a name and `:` before each entry in place of the list");
                }
                report.push(wrong);
                None
            }
        }
    }

    /// The entries with the place of each value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'n Entry, Place)> {
        self.entries.iter().map(|entry| (entry, self.value_place(&entry.key)))
    }

    pub(super) fn value_place(&self, key: &str) -> Place {
        Place::value(self.place.source, self.place.route.key(key))
    }

    pub(super) fn key_place(&self, key: &str) -> Place {
        Place::of_key(self.place.source, self.place.route.key(key))
    }

    /// A value with its place.
    pub(super) fn get(&self, key: &str) -> Option<(&'n Node, Place)> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some((&entry.value, self.value_place(key)))
    }

    /// Reports that a key is missing; not when it is there in a spelling that has been reported already.
    pub(super) fn missing(&self, key: &str, report: &mut Report) {
        if self.is_misspelt(key) {
            return;
        }
        report.push(
            Diagnostic::error(Code::MissingKey, format!("{} has no `{key}`", self.what))
                .at(&self.place)
                .label(format!("needs `{key}`")),
        );
    }

    /// Whether the key is there in a spelling that has been reported.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        self.misspelt.iter().any(|meant| meant == key)
    }

    fn named(&self, key: &str) -> String {
        format!("`{key}` in {}", self.what)
    }

    pub(super) fn text(&self, key: &str, report: &mut Report) -> Option<Located<String>> {
        let (node, place) = self.get(key)?;
        text(node, &place, &self.named(key), report)
    }

    pub(super) fn required_text(&self, key: &str, report: &mut Report) -> Option<Located<String>> {
        if self.get(key).is_none() {
            self.missing(key, report);
        }
        self.text(key, report)
    }

    pub(super) fn flag(&self, key: &str, report: &mut Report) -> Option<Located<bool>> {
        let (node, place) = self.get(key)?;
        let flag = node.as_bool();
        if flag.is_none() {
            let mut diagnostic = wrong_type(node, &place, &self.named(key), "true or false");
            let word = node.as_text().map(str::to_ascii_lowercase);
            if let Some("yes" | "no" | "on" | "off" | "y" | "n" | "true" | "false") = word.as_deref() {
                diagnostic = diagnostic.help("only `true` and `false` are booleans");
            }
            report.push(diagnostic);
        }
        flag.map(|flag| Located::new(flag, place))
    }

    /// A whole number of at least 1.
    pub(super) fn count(&self, key: &str, report: &mut Report) -> Option<Located<u32>> {
        let (node, place) = self.get(key)?;
        let Some(number) = node.as_integer() else {
            let mut diagnostic = wrong_type(node, &place, &self.named(key), "a whole number");
            let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '_');
            if node.as_text().is_some_and(|text| !text.is_empty() && digits(text)) {
                diagnostic = diagnostic.help("write its digits alone: no quotes, no `_`, no zeros in front");
            }
            report.push(diagnostic);
            return None;
        };
        match u32::try_from(number) {
            Ok(count) if count >= 1 => Some(Located::new(count, place)),
            _ => {
                let range =
                    if number < 1 { "at least 1".to_owned() } else { format!("at most {}", u32::MAX) };
                report.push(
                    Diagnostic::error(Code::OutOfRange, format!("{} is {number}", self.named(key)))
                        .at(&place)
                        .label(format!("must be {range}")),
                );
                None
            }
        }
    }

    /// A number from 0 to a million: dollars.
    pub(super) fn amount(&self, key: &str, report: &mut Report) -> Option<Located<f64>> {
        let (node, place) = self.get(key)?;
        let number = match node.value {
            NodeValue::Integer(number) => number as f64,
            NodeValue::Float(number) => number,
            _ => {
                let mut wrong = wrong_type(node, &place, &self.named(key), "a number of US dollars");
                if node.as_text().is_some_and(|text| text.trim().parse::<f64>().is_ok()) {
                    wrong = wrong.help("remove the quotes");
                }
                report.push(wrong);
                return None;
            }
        };
        if Usd::from_dollars(number).is_none() {
            let diagnostic = Diagnostic::error(Code::OutOfRange, format!("{} is {number}", self.named(key)));
            report.push(diagnostic.at(&place).label("must be from 0 to 1000000"));
            return None;
        }
        Some(Located::new(number, place))
    }

    pub(super) fn duration(&self, key: &str, report: &mut Report) -> Option<Duration> {
        let (node, place) = self.get(key)?;
        let help = "write a number with a unit, as `30s`, `5m` or `1h30m`";
        if node.as_text().is_none() {
            report.push(wrong_type(node, &place, &self.named(key), "a duration").help(help));
            return None;
        }
        let text = text(node, &place, &self.named(key), report)?;
        match parse_duration(&text.value) {
            Some(duration) if !duration.is_zero() => Some(duration),
            Some(_) => {
                report.push(
                    Diagnostic::error(Code::OutOfRange, format!("{} is no time at all", self.named(key)))
                        .at(&place)
                        .label("must be longer than zero"),
                );
                None
            }
            None => {
                let message = format!("`{}` is not a duration", text.value);
                report.push(Diagnostic::error(Code::BadDuration, message).at(&place).help(help));
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        report: &mut Report,
    ) -> Option<Located<T>> {
        let (node, place) = self.get(key)?;
        if node.as_text().is_none() {
            let expected = format!("one of {}", listed(words));
            report.push(wrong_type(node, &place, &self.named(key), &expected));
            return None;
        }
        let text = text(node, &place, &self.named(key), report)?;
        choose(&text, &self.named(key), words, report).map(|value| Located::new(value, place))
    }

    /// A list of strings; absent is empty.
    pub(super) fn texts(&self, key: &str, report: &mut Report) -> Option<Vec<Located<String>>> {
        let (node, place) = self.get(key)?;
        let items = list(node, &place, &self.named(key), report)?;
        let what = format!("an entry of {}", self.named(key));
        Some(items.filter_map(|(node, place)| text(node, &place, &what, report)).collect())
    }

    /// The items of a list, with their places.
    pub(super) fn items(&self, key: &str, report: &mut Report) -> Vec<(&'n Node, Place)> {
        let Some((node, place)) = self.get(key) else { return Vec::new() };
        let found: Vec<_> =
            list(node, &place, &self.named(key), report).map(Iterator::collect).unwrap_or_default();
        if node.as_list().is_some_and(<[Node]>::is_empty) {
            report.push(Diagnostic::error(Code::Empty, format!("{} is empty", self.named(key))).at(&place));
        }
        found
    }

    /// A filter on the metadata of issues: a value or a list of values for each key.
    pub(super) fn takes(&self, key: &str, report: &mut Report) -> Option<Located<Takes>> {
        let (node, place) = self.get(key)?;
        let table = Table::open_any(node, &place, &self.named(key), report)?;
        let mut takes = Takes::default();
        for (entry, place) in table.entries() {
            let values: Vec<(&Node, Place)> = match &entry.value.value {
                NodeValue::List(items) => {
                    let at = |index| Place::value(place.source, place.route.index(index));
                    items.iter().enumerate().map(|(index, item)| (item, at(index))).collect()
                }
                _ => vec![(&entry.value, place.clone())],
            };
            if values.is_empty() {
                let message = format!("`{}` in {} welcomes nothing", entry.key, self.named(key));
                report.push(Diagnostic::error(Code::Empty, message).at(&place));
            }
            for (value, place) in &values {
                if matches!(value.value, NodeValue::List(_) | NodeValue::Map(_) | NodeValue::Null) {
                    let what = format!("`{}` in {}", entry.key, self.named(key));
                    report.push(wrong_type(
                        value,
                        place,
                        &what,
                        "a string, a number, a boolean or a list of them",
                    ));
                }
            }
            takes.0.insert(entry.key.clone(), values.iter().map(|(value, _)| value.to_json()).collect());
        }
        Some(Located::new(takes, place))
    }

    /// Any values by name.
    pub(super) fn values(&self, key: &str, report: &mut Report) -> Map<String, Value> {
        let Some((node, place)) = self.get(key) else { return Map::new() };
        Table::open_any(node, &place, &self.named(key), report)
            .map(|table| {
                table.entries().map(|(entry, _)| (entry.key.clone(), entry.value.to_json())).collect()
            })
            .unwrap_or_default()
    }
}

/// Reports that a value is of another type than it must be.
pub(super) fn wrong_type(node: &Node, place: &Place, what: &str, expected: &str) -> Diagnostic {
    let wrong =
        Diagnostic::error(Code::WrongType, format!("{what} must be {expected}, and this is {}", node.kind()))
            .at(place)
            .label(format!("expected {expected}"));
    if node.is_null() { wrong.help("write a value here, or remove the key") } else { wrong }
}

/// How a value that is no map is written as one.
fn as_map(shape: &Shape) -> String {
    let required = shape.keys.iter().filter(|key| key.is_required());
    let mut names: Vec<&str> = required.map(|key| key.name).collect();
    if names.is_empty() {
        let default = shape.keys.iter().find(|key| key.name == "default");
        names.extend(default.or(shape.keys.first()).map(|key| key.name));
    }
    let entries: Vec<String> = names.iter().map(|name| format!("{name}: …")).collect();
    format!("write it as a map: `{{ {} }}`", entries.join(", "))
}

/// A string that says something.
pub(super) fn text(node: &Node, place: &Place, what: &str, report: &mut Report) -> Option<Located<String>> {
    match node.as_text() {
        Some(text) if text.trim().is_empty() => {
            report.push(Diagnostic::error(Code::Empty, format!("{what} is empty")).at(place));
            None
        }
        Some(text) => Some(Located::new(text.to_owned(), place.clone())),
        None => {
            let mut diagnostic = wrong_type(node, place, what, "a string");
            if matches!(node.value, NodeValue::Bool(_) | NodeValue::Integer(_) | NodeValue::Float(_)) {
                diagnostic = diagnostic.help("put it in quotes to make it a string");
            }
            report.push(diagnostic);
            None
        }
    }
}

/// The items of a list, with their places.
fn list<'n>(
    node: &'n Node,
    place: &Place,
    what: &str,
    report: &mut Report,
) -> Option<impl Iterator<Item = (&'n Node, Place)> + use<'n>> {
    let Some(items) = node.as_list() else {
        let wrong = wrong_type(node, place, what, "a list");
        report.push(match &node.value {
            NodeValue::Null => wrong,
            NodeValue::Map(_) => wrong.help(match place.route.0.last() {
                Some(Step::Key(key)) => {
                    format!("an entry begins with `- ` in YAML, and with `[[{key}]]` in TOML")
                }
                _ => "an entry begins with `- `".to_owned(),
            }),
            NodeValue::Text(text) if is_plain(text) => wrong.help(format!("write a list of one: `[{text}]`")),
            _ => wrong.help("put it in brackets, as a list of one"),
        });
        return None;
    };
    let (source, route) = (place.source, place.route.clone());
    Some(items.iter().enumerate().map(move |(at, node)| (node, Place::value(source, route.index(at)))))
}

/// Whether a text means the same in brackets, whatever the format that it is read in.
fn is_plain(text: &str) -> bool {
    let split = |c: char| c.is_control() || ",[]{}\"'#:&*!|>%@`".contains(c);
    text.len() <= 60 && !text.trim().is_empty() && !text.contains(split)
}

fn listed<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The value that a word stands for.
pub(super) fn choose<T: Copy>(
    text: &Located<String>,
    what: &str,
    words: &[(&str, T)],
    report: &mut Report,
) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return Some(*value);
    }
    let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    report.push(
        Diagnostic::error(Code::UnknownChoice, format!("{what} cannot be `{}`", text.value))
            .at(&text.place)
            .did_you_mean(nearest(&text.value, known.iter().copied()))
            .help(format!("it is one of {}", listed(words))),
    );
    None
}
