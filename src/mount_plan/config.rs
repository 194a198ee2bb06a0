//! Whether the configuration of one module is what the module takes, with `${VAR}` filled in.

use serde_json::{Map, Value};

use super::Known;
use super::substitute::{Substituted, substitute};
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::plan::{KeyInfo, KeyShape, ModuleInfo};
use crate::source::{Node, NodeValue, Place, Route, SourceId};

/// Reads the configurations of one file.
pub(super) struct ConfigReader<'a, 'r> {
    pub(super) source: SourceId,
    pub(super) known: Known<'a>,
    pub(super) report: &'r mut Report,
}

/// What a string of a configuration came to.
enum Filled {
    /// As written.
    Written(String),
    /// From variables.
    FromVariables(String),
    /// It counts as not there, or was reported.
    Absent,
}

impl ConfigReader<'_, '_> {
    /// The configuration at `route`; an absent one is empty. What is wrong with it is reported and left out.
    pub(super) fn read(
        &mut self,
        info: &ModuleInfo,
        node: Option<&Node>,
        route: &Route,
    ) -> Map<String, Value> {
        let mut config = Map::new();
        let Some(node) = node.filter(|node| !node.is_null()) else { return config };
        let Some(entries) = node.as_map() else {
            let message = format!("the config of {} must be a map, not {}", info.name, node.kind());
            self.report.push(
                Diagnostic::error(Code::WrongType, message).at(&Place::value(self.source, route.clone())),
            );
            return config;
        };
        for entry in entries {
            let route = route.key(entry.key.as_str());
            let Some(key) = info.keys.iter().find(|key| key.name == entry.key) else {
                self.unknown_key(info, &entry.key, route);
                continue;
            };
            if let Some(value) = self.value(info, key, &entry.value, &route) {
                config.insert(entry.key.clone(), value);
            }
        }
        config
    }

    fn unknown_key(&mut self, info: &ModuleInfo, key: &str, route: Route) {
        let names: Vec<_> = info.keys.iter().map(|key| key.name).collect();
        let help = if names.is_empty() {
            format!("{} takes no configuration", info.name)
        } else {
            format!("{} takes {}", info.name, names.join(", "))
        };
        self.report.push(
            Diagnostic::error(Code::UnknownConfigKey, format!("{} has no config key `{key}`", info.name))
                .at(&Place::of_key(self.source, route))
                .did_you_mean(nearest(key, names))
                .help(help),
        );
    }

    fn value(&mut self, info: &ModuleInfo, key: &KeyInfo, node: &Node, route: &Route) -> Option<Value> {
        let value = match &node.value {
            NodeValue::Null => return None,
            NodeValue::Text(text) => match self.fill(key, text, route) {
                Filled::Absent => return None,
                Filled::Written(text) => Value::String(text),
                Filled::FromVariables(text) => return self.read_filled(info, key, &text, route),
            },
            NodeValue::List(_) | NodeValue::Map(_) => self.nested(key, node, route)?,
            _ => node.to_json(),
        };
        if fits(key.shape, &value) {
            return Some(value);
        }
        let message =
            format!("`{}` of {} must be {}, not {}", key.name, info.name, wanted(key.shape), node.kind());
        let mut diagnostic =
            Diagnostic::error(Code::BadConfigValue, message).at(&Place::value(self.source, route.clone()));
        let unquoted = value.as_str().filter(|text| parsed(key.shape, text).is_some());
        diagnostic = match unquoted {
            Some(text) => diagnostic.help(format!("write {text} without quotes")),
            None => diagnostic.help(format!("`{}`: {}", key.name, key.doc)),
        };
        self.report.push(diagnostic);
        None
    }

    /// A text that came from variables is all a file can say of a number, so it is read as one where one is wanted.
    fn read_filled(&mut self, info: &ModuleInfo, key: &KeyInfo, text: &str, route: &Route) -> Option<Value> {
        let value = parsed(key.shape, text);
        if value.is_none() {
            let message = format!(
                "`{}` of {} must be {}, and what the variables give is not",
                key.name,
                info.name,
                wanted(key.shape)
            );
            self.report.push(
                Diagnostic::error(Code::BadConfigValue, message)
                    .at(&Place::value(self.source, route.clone()))
                    .help("correct the variable in the environment or in .env"),
            );
        }
        value
    }

    fn nested(&mut self, key: &KeyInfo, node: &Node, route: &Route) -> Option<Value> {
        match &node.value {
            NodeValue::Text(text) => match self.fill(key, text, route) {
                Filled::Absent => None,
                Filled::Written(text) | Filled::FromVariables(text) => Some(Value::String(text)),
            },
            NodeValue::List(items) => {
                let items: Vec<_> = items
                    .iter()
                    .enumerate()
                    .filter_map(|(at, item)| self.nested(key, item, &route.index(at)))
                    .collect();
                Some(Value::Array(items))
            }
            NodeValue::Map(entries) => {
                let entries: Map<_, _> = entries
                    .iter()
                    .filter_map(|entry| {
                        let value = self.nested(key, &entry.value, &route.key(entry.key.as_str()))?;
                        Some((entry.key.clone(), value))
                    })
                    .collect();
                Some(Value::Object(entries))
            }
            _ => Some(node.to_json()),
        }
    }

    fn fill(&mut self, key: &KeyInfo, text: &str, route: &Route) -> Filled {
        let place = Place::value(self.source, route.clone());
        match substitute(text, self.known.variables) {
            Ok(Substituted::Plain(text)) => Filled::Written(text),
            // `${VAR:-}` is how a plan says "if there is one"; an empty address or number is never meant.
            Ok(Substituted::From(text)) if text.is_empty() => Filled::Absent,
            Ok(Substituted::From(text)) => Filled::FromVariables(text),
            Ok(Substituted::Unset(_)) if key.shape == KeyShape::Secret => Filled::Absent,
            Ok(Substituted::Unset(names)) => {
                for name in names {
                    self.report.push(
                        Diagnostic::error(Code::UnsetVariable, format!("the variable {name} is not set"))
                            .at(&place)
                            .help(format!(
                                "set {name} in the environment or in .env, or write ${{{name}:-default}}"
                            )),
                    );
                }
                Filled::Absent
            }
            Err(error) => {
                self.report.push(
                    Diagnostic::error(Code::BadConfigValue, error.to_string())
                        .at(&place)
                        .help("write ${NAME} or ${NAME:-default}; for a plain ${ write $${"),
                );
                Filled::Absent
            }
        }
    }
}

fn fits(shape: KeyShape, value: &Value) -> bool {
    match shape {
        KeyShape::Text | KeyShape::Secret => value.is_string(),
        KeyShape::Integer => value.is_i64() || value.is_u64(),
        KeyShape::Number => value.is_number(),
        KeyShape::Flag => value.is_boolean(),
        KeyShape::TextList => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        KeyShape::Any => true,
    }
}

fn parsed(shape: KeyShape, text: &str) -> Option<Value> {
    match shape {
        KeyShape::Text | KeyShape::Secret | KeyShape::Any => Some(Value::from(text)),
        KeyShape::Integer => text.trim().parse::<i64>().ok().map(Value::from),
        KeyShape::Number => {
            let number = text.trim().parse::<f64>().ok()?;
            serde_json::Number::from_f64(number).map(Value::Number)
        }
        KeyShape::Flag => text.trim().parse::<bool>().ok().map(Value::from),
        KeyShape::TextList => None,
    }
}

fn wanted(shape: KeyShape) -> &'static str {
    match shape {
        KeyShape::Text | KeyShape::Secret => "a string",
        KeyShape::Integer => "a whole number",
        KeyShape::Number => "a number",
        KeyShape::Flag => "true or false",
        KeyShape::TextList => "a list of strings",
        KeyShape::Any => "anything",
    }
}
