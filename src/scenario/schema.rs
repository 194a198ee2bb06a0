//! The JSON Schema of scenario files, made of their shape: what an editor shows and checks while one types.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::shape::{Key, SCENARIO, Shape, Takes, events};
use crate::limit;

/// The dialect of the schema.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Lower-case words joined by `-`.
const ID: &str = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$";
/// The same, joined by `_` as well.
const INPUT_ID: &str = "^[a-z][a-z0-9]*([-_][a-z0-9]+)*$";
const LONGEST_ID: u32 = 64;
const DURATION: &str = r"^\s*([0-9]+(ms|s|m|h|d))+\s*$";
/// A file inside the workspace.
const STORE: &str = r"^sqlite:(?![/~])(?!(.*/)?\.\.(/|$)).+";
const MOST_DOLLARS: u32 = 1_000_000;

/// The schema of a scenario, draft 2020-12.
pub fn schema() -> Value {
    let mut definitions = BTreeMap::new();
    let mut schema = object(&SCENARIO, &mut definitions);
    schema.insert("$schema".to_owned(), DIALECT.into());
    schema.insert("title".to_owned(), "A scenario of runner".into());
    let definitions: Map<String, Value> =
        definitions.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    schema.insert("$defs".to_owned(), definitions.into());
    Value::Object(schema)
}

type Definitions = BTreeMap<&'static str, Value>;

fn object(shape: &'static Shape, definitions: &mut Definitions) -> Map<String, Value> {
    let properties: Map<String, Value> =
        shape.keys.iter().map(|key| (key.name.to_owned(), property(key, definitions))).collect();
    let required: Vec<&str> = shape.keys.iter().filter(|key| key.is_required()).map(|key| key.name).collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), "object".into());
    object.insert("additionalProperties".to_owned(), false.into());
    object.insert("properties".to_owned(), properties.into());
    object.insert("required".to_owned(), required.into());
    if !shape.one_of.is_empty() {
        let kinds: Vec<Value> = shape.one_of.iter().map(|key| json!({"required": [key]})).collect();
        object.insert("oneOf".to_owned(), kinds.into());
    }
    object
}

fn property(key: &'static Key, definitions: &mut Definitions) -> Value {
    let mut schema = value(&key.takes, definitions);
    let object = schema.as_object_mut().expect("the schema of a value is a map");
    object.insert("description".to_owned(), plain(key.doc).into());
    if let Some(default) = default(key) {
        object.insert("default".to_owned(), default);
    }
    schema
}

/// The default of a key where it is a value, and not a sentence about one.
fn default(key: &Key) -> Option<Value> {
    let text = key.default.strip_prefix('`')?.strip_suffix('`')?;
    match key.takes {
        Takes::Flag | Takes::Count(..) => serde_json::from_str(text).ok(),
        Takes::Choice(words) => words.contains(&text).then(|| text.into()),
        Takes::Duration | Takes::Store => Some(text.into()),
        _ => None,
    }
}

fn reference(shape: &'static Shape, definitions: &mut Definitions) -> Value {
    if !definitions.contains_key(shape.name) {
        // A shape may lead back to itself.
        definitions.insert(shape.name, Value::Null);
        let object = object(shape, definitions);
        definitions.insert(shape.name, object.into());
    }
    json!({"$ref": format!("#/$defs/{}", shape.name)})
}

fn value(takes: &'static Takes, definitions: &mut Definitions) -> Value {
    match takes {
        Takes::Version => json!({"const": 1}),
        Takes::Text | Takes::Path | Takes::Condition => json!({"type": "string", "pattern": r"\S"}),
        Takes::Role | Takes::Phase => json!({"type": "string", "pattern": ID, "maxLength": LONGEST_ID}),
        Takes::Id => {
            json!({"type": "string", "pattern": ID, "maxLength": LONGEST_ID, "not": {"const": "run"}})
        }
        Takes::Event => json!({"enum": events()}),
        Takes::Flag => json!({"type": "boolean"}),
        Takes::True => json!({"const": true}),
        Takes::Count(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Takes::Amount => json!({"type": "number", "minimum": 0, "maximum": MOST_DOLLARS}),
        // The second pattern: it is some time at all.
        Takes::Duration => {
            json!({"type": "string", "pattern": DURATION, "allOf": [{"pattern": "[1-9]"}]})
        }
        Takes::Store => json!({"type": "string", "pattern": STORE}),
        Takes::Value => json!({}),
        Takes::Choice(words) => json!({"enum": words}),
        Takes::List(items) => json!({"type": "array", "items": value(items, definitions)}),
        Takes::Some(items) => json!({"type": "array", "items": value(items, definitions), "minItems": 1}),
        Takes::Values => json!({"type": "array", "minItems": 1}),
        Takes::OneOrMore(one) => {
            let one = value(one, definitions);
            json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
        }
        Takes::ByRole(shape) => json!({
            "type": "object", "additionalProperties": reference(shape, definitions), "minProperties": 1,
            "propertyNames": {"pattern": ID, "maxLength": LONGEST_ID},
        }),
        Takes::ByInput(shape) => json!({
            "type": "object", "additionalProperties": reference(shape, definitions),
            "propertyNames": {"pattern": INPUT_ID, "maxLength": LONGEST_ID},
        }),
        Takes::ByName(one) => json!({"type": "object", "additionalProperties": value(one, definitions)}),
        Takes::Map(shape) => reference(shape, definitions),
        Takes::PathOr(shape) => {
            json!({"anyOf": [value(&Takes::Path, definitions), reference(shape, definitions)]})
        }
        Takes::Filter => {
            let one = json!({"type": ["string", "number", "boolean"]});
            let values = json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]});
            json!({"type": "object", "additionalProperties": values})
        }
        Takes::Anything => json!({"type": "object"}),
        Takes::Command | Takes::Key => json!({"type": "string", "pattern": r"\S"}),
        Takes::Name => json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}),
        Takes::Items => {
            let list = json!({"type": "array", "minItems": 1, "maxItems": limit::ITEMS});
            json!({"anyOf": [list, {"type": "string", "pattern": r"\S"}]})
        }
        Takes::Schema => json!({"anyOf": [{"type": "string", "pattern": r"\S"}, {"type": "object"}]}),
        Takes::Scalar => json!({"type": ["string", "integer", "boolean"]}),
        Takes::ExitCodes => {
            let one = json!({"type": "integer", "minimum": 0, "maximum": 255});
            json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
        }
        Takes::Priority => json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 4},
            {"enum": ["critical", "high", "medium", "low", "deferred"]},
        ]}),
    }
}

/// A sentence of the reference page without what leads to other places of it.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once('[') {
        // `[]` is a list, not a link.
        match after.split_once("](").and_then(|(words, after)| Some((words, after.split_once(')')?.1))) {
            Some((words, after)) if !words.contains([']', '[']) => {
                let is_pointer = before.ends_with(", see ");
                text.push_str(before.strip_suffix(", see ").unwrap_or(before));
                text.push_str(if is_pointer { "" } else { words });
                rest = after;
            }
            _ => {
                text.push_str(before);
                text.push('[');
                rest = after;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_stay_without_their_links() {
        for (markdown, expected) in [
            ("What it costs, see [below](#prices).", "What it costs."),
            ("At the [prices](#prices) of `x`.", "At the prices of `x`."),
            ("`[]` starts at once, see [`limits`](#limits).", "`[]` starts at once."),
            ("Nothing.", "Nothing."),
        ] {
            assert_eq!(plain(markdown), expected);
        }
    }

    #[test]
    fn defaults_are_values_where_they_are_no_sentences() {
        let schema = schema();
        let workers = &schema["$defs"]["workers"]["properties"];
        assert_eq!(workers["max_iterations"]["default"], 10);
        assert_eq!(workers["claim"]["default"], "engine");
        assert_eq!(workers["session"].get("default"), None);
        assert_eq!(schema["$defs"]["queue"]["properties"]["lease"]["default"], "15m");
        assert_eq!(schema["$defs"]["phase"]["oneOf"].as_array().map(Vec::len), Some(8));
    }
}
