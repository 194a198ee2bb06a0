//! Which files phases name beside prompts, and what they say: the schemas of answers, and issues.

use std::collections::BTreeMap;

use serde_json::Value;

use super::paths::Paths;
use super::raw::{Located, RawKind, RawOutput, RawScenario};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::plan::{IssueFile, OutputPlan};
use crate::source::{Place, ReadError, SourceId, Sources};
use crate::store::jsonl::{self, FILES, Part};

/// What the phases of a scenario bring with them, by their positions.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    /// What the answers of sessions must be.
    pub(super) outputs: BTreeMap<usize, OutputPlan>,
    /// Issues of files.
    pub(super) issues: BTreeMap<usize, IssueFile>,
}

/// Reads them all; what cannot be used is reported and left out.
pub(super) fn read(
    raw: &RawScenario,
    paths: &Paths,
    sources: &mut Sources,
    report: &mut Report,
) -> Attachments {
    let mut found = Attachments::default();
    for (at, phase) in raw.phases.iter().enumerate() {
        match &phase.kind {
            Some(RawKind::Session(session)) => {
                let output = session.output.as_ref();
                if let Some(output) = output.and_then(|output| schema(output, paths, sources, report)) {
                    found.outputs.insert(at, output);
                }
            }
            Some(RawKind::Issues(issues)) => {
                let from = issues.from.as_ref();
                if let Some(file) = from.and_then(|from| issue_file(from, paths, sources, report)) {
                    found.issues.insert(at, file);
                }
            }
            _ => {}
        }
    }
    found
}

fn schema(
    output: &RawOutput,
    paths: &Paths,
    sources: &mut Sources,
    report: &mut Report,
) -> Option<OutputPlan> {
    let (file, schema, place) = match output {
        RawOutput::Written(schema) => (None, schema.value.clone(), schema.place.clone()),
        RawOutput::File(path) => {
            let (name, source) = text(path, Code::BadSchema, paths, sources, report)?;
            let read = serde_json::from_str::<Value>(sources.text(source));
            let schema = read.map_err(|error| {
                let message = format!("`{name}` is no JSON: {error}");
                report.push(Diagnostic::error(Code::BadSchema, message).at(&path.place));
            });
            (Some(name), schema.ok()?, path.place.clone())
        }
    };
    if let Err(error) = jsonschema::validator_for(&schema) {
        report.push(unusable(&error, file.is_some(), &place));
        return None;
    }
    Some(OutputPlan { file, schema })
}

fn unusable(error: &jsonschema::ValidationError<'_>, in_file: bool, place: &Place) -> Diagnostic {
    let words = error.to_string();
    if words.contains("is not present in a registry") {
        let what = words.split('\'').nth(1).unwrap_or_default();
        let message = format!("the schema of an answer refers to `{what}`, which nobody fetches");
        return Diagnostic::error(Code::BadSchema, message)
            .at(place)
            .help("put what it refers to into the schema, below `$defs`, and write `#/$defs/…`");
    }
    let path = error.instance_path().to_string();
    let shown = if path.is_empty() { String::new() } else { format!(", at `{path}`") };
    let mut route = place.route.clone();
    for step in path.split('/').skip(1).filter(|_| !in_file) {
        route = step.parse().map_or_else(|_| route.key(step), |index| route.index(index));
    }
    Diagnostic::error(Code::BadSchema, format!("the schema of an answer cannot be used{shown}: {words}"))
        .at(&Place::value(place.source, route))
        .help("it must be a JSON Schema; https://json-schema.org/learn shows how to write one")
}

fn issue_file(
    from: &Located<String>,
    paths: &Paths,
    sources: &mut Sources,
    report: &mut Report,
) -> Option<IssueFile> {
    let (name, source) = text(from, Code::BadSeed, paths, sources, report)?;
    let text = sources.text(source).to_owned();
    let part = Part { name: &name, role: FILES[0], bytes: text.as_bytes() };
    if let Err(error) = jsonl::read(&[part]) {
        report.push(Diagnostic::error(Code::BadSeed, error.to_string()).at(&from.place));
        return None;
    }
    Some(IssueFile { name, text })
}

fn text(
    path: &Located<String>,
    code: Code,
    paths: &Paths,
    sources: &mut Sources,
    report: &mut Report,
) -> Option<(String, SourceId)> {
    let name = paths.inside(path, report)?;
    let file = paths.root.join(&name);
    match sources.read(&file, &paths.shown(&file)) {
        Ok(source) => Some((name, source)),
        Err(ReadError::Absent { .. }) => {
            let message = format!("there is no file `{name}`");
            let help = format!("paths start at {}", paths.shown_root());
            report.push(Diagnostic::error(code, message).at(&path.place).help(help));
            None
        }
        Err(error) => {
            report.push(Diagnostic::error(Code::UnreadableFile, error.to_string()).at(&path.place));
            None
        }
    }
}

/// A value that a schema accepts, as far as it is easily found: what templates are tried with.
pub(super) fn sample(schema: &Value) -> Value {
    sample_at(schema, schema, 0)
}

/// Deepest sample: schemas may refer to themselves.
const DEPTH: usize = 12;

fn sample_at(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH {
        return Value::Null;
    }
    let part = |schema: &Value| sample_at(schema, root, depth + 1);
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, part);
    }
    if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
        return value.clone();
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(first) = schema.get(key).and_then(|choices| choices.get(0)) {
            return part(first);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    };
    match kind {
        "object" => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let pairs = properties.into_iter().flatten();
            Value::Object(pairs.map(|(name, schema)| (name.clone(), part(schema))).collect())
        }
        "array" => match schema.get("items") {
            Some(items) => Value::Array(vec![part(items)]),
            None => Value::Array(vec![Value::from("sample")]),
        },
        "number" | "integer" => schema.get("minimum").cloned().unwrap_or_else(|| Value::from(1)),
        "boolean" => Value::Bool(true),
        "null" => Value::Null,
        _ => Value::from("sample"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sample_fits_its_schema() {
        let schema = json!({
            "type": "object",
            "required": ["topics"],
            "properties": {
                "topics": {"type": "array", "items": {"$ref": "#/$defs/topic"}},
                "urgent": {"type": "boolean"},
                "size": {"enum": ["small", "large"]},
                "score": {"type": ["integer", "null"], "minimum": 3},
            },
            "$defs": {"topic": {"properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/topic"}}}},
        });
        let value = sample(&json!({"type": "object", "properties": schema["properties"], "$defs": {
            "topic": {"properties": {"name": {"type": "string"}}},
        }}));
        assert_eq!(
            value,
            json!({"topics": [{"name": "sample"}], "urgent": true, "size": "small", "score": 3})
        );
        assert!(jsonschema::is_valid(&schema, &value));
        // A schema that refers to itself has an end all the same.
        assert!(sample(&schema)["topics"][0]["next"]["next"].is_object());
    }
}
