//! The JSON Schema of mount plans, made of the catalogue of modules: what an editor shows and checks while one types.
//!
//! Plans may be read by other programs too, so keys that are not known are left to them; those of a module's
//! configuration are not.

use serde_json::{Map, Value, json};

use super::read::section;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};

const KINDS: [ModuleKind; 5] =
    [ModuleKind::Orchestrator, ModuleKind::Context, ModuleKind::Provider, ModuleKind::Tool, ModuleKind::Hook];

/// The schema of a mount plan that may name these modules, draft 2020-12.
pub fn schema(catalogue: &[ModuleInfo]) -> Value {
    let mut definitions: Map<String, Value> =
        catalogue.iter().map(|info| (info.name.to_owned(), config(info))).collect();
    definitions.extend(KINDS.map(|kind| (section(kind).to_owned(), entry(catalogue, kind))));
    definitions.insert("session".to_owned(), session(catalogue));
    let mut sections = sections();
    sections.insert("agents".to_owned(), agents());
    let editor = "The JSON Schema that an editor reads the file by; nothing else looks at it.";
    sections.insert("$schema".to_owned(), json!({"type": ["string", "null"], "description": editor}));
    let described = |module: &str| json!({"description": format!("The `config` of a `session.{module}` that is a text.")});
    sections.insert("orchestrator".to_owned(), described("orchestrator"));
    sections.insert("context".to_owned(), described("context"));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A mount plan of runner",
        "type": "object",
        "properties": sections,
        "required": ["session", "providers"],
        "allOf": [{"properties": {
            "session": {"type": "object", "required": ["orchestrator", "context"]},
            "providers": {"type": "array", "minItems": 1},
        }}],
        "$defs": definitions,
    })
}

/// What a plan and an agent of it may both say.
fn sections() -> Map<String, Value> {
    let list = |kind: ModuleKind, doc: &str| {
        let items = reference(section(kind));
        (section(kind).to_owned(), json!({"type": ["array", "null"], "items": items, "description": doc}))
    };
    let instruction = json!({"type": ["string", "null"], "description": "The text, a template."});
    let system = json!({
        "type": ["object", "null"], "properties": {"instruction": instruction},
        "description": "The system prompt.",
    });
    Map::from_iter([
        ("session".to_owned(), reference("session")),
        list(ModuleKind::Provider, "Who answers; the first by `priority` is asked."),
        list(ModuleKind::Tool, "What the model may call."),
        list(ModuleKind::Hook, "What looks at prompts, calls and results."),
        ("system".to_owned(), system),
    ])
}

fn agents() -> Value {
    let mut sections = sections();
    let doc = "What it is for; the model that may start it reads this.";
    sections.insert("description".to_owned(), json!({"type": ["string", "null"], "description": doc}));
    json!({
        "type": ["object", "null"],
        "additionalProperties": {"type": "object", "properties": sections},
        "propertyNames": {"pattern": "^[A-Za-z0-9_-]+$"},
        "description": "Sub-agents that `tool-task` may start, by name: what each has otherwise than this plan.",
    })
}

fn session(catalogue: &[ModuleInfo]) -> Value {
    let either = |kind: ModuleKind, doc: &str| {
        let names = json!({"enum": names(catalogue, kind)});
        json!({"anyOf": [names, reference(section(kind))], "description": doc})
    };
    json!({
        "type": ["object", "null"],
        "properties": {
            "orchestrator": either(ModuleKind::Orchestrator, "How model and tools take turns."),
            "context": either(ModuleKind::Context, "How the conversation is kept."),
        },
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// The names that modules of a kind answer to.
fn names(catalogue: &[ModuleInfo], kind: ModuleKind) -> Vec<&'static str> {
    let fitting = catalogue.iter().filter(|info| info.kind == kind);
    fitting.flat_map(|info| std::iter::once(info.name).chain(info.aliases.iter().copied())).collect()
}

/// `{module, source, config}` with a module of this kind.
fn entry(catalogue: &[ModuleInfo], kind: ModuleKind) -> Value {
    let fitting = catalogue.iter().filter(|info| info.kind == kind);
    let configs: Vec<Value> = fitting
        .map(|info| {
            let names: Vec<&str> = std::iter::once(info.name).chain(info.aliases.iter().copied()).collect();
            json!({
                "if": {"properties": {"module": {"enum": names}}, "required": ["module"]},
                "then": {"properties": {"config": reference(info.name)}},
            })
        })
        .collect();
    let mut properties = json!({
        "module": {"enum": names(catalogue, kind), "description": "Which one."},
        "source": {"type": ["string", "null"], "description": "Accepted and not fetched: modules are built in."},
        "config": {"type": ["object", "null"], "description": "Its configuration."},
    });
    if kind == ModuleKind::Provider {
        let doc = "A name of its own, where a module stands there more than once.";
        properties["instance_id"] = json!({"type": ["string", "null"], "description": doc});
    }
    let mut entry = json!({"type": "object", "properties": properties});
    if !configs.is_empty() {
        entry["allOf"] = configs.into();
    }
    // A session's map may leave it out, as in Amplifier.
    if !matches!(kind, ModuleKind::Orchestrator | ModuleKind::Context) {
        entry["required"] = json!(["module"]);
    }
    entry
}

/// The configuration of a module.
fn config(info: &ModuleInfo) -> Value {
    let properties: Map<String, Value> =
        info.keys.iter().map(|key| (key.name.to_owned(), value(key))).collect();
    json!({
        "type": ["object", "null"], "additionalProperties": false, "properties": properties,
        "description": info.summary,
    })
}

/// What a configuration key takes; every value may come from a variable, which is a text.
fn value(key: &KeyInfo) -> Value {
    let own = match key.shape {
        KeyShape::Text | KeyShape::Secret => json!({"type": ["string", "null"]}),
        KeyShape::Any => json!({}),
        KeyShape::Integer => filled(&json!({"type": "integer"})),
        KeyShape::Number => filled(&json!({"type": "number"})),
        KeyShape::Flag => filled(&json!({"type": "boolean"})),
        KeyShape::TextList => filled(&json!({"type": "array", "items": {"type": "string"}})),
    };
    let mut schema = own;
    schema["description"] = key.doc.into();
    if let Some(default) = default(key) {
        schema["default"] = default;
    }
    schema
}

fn filled(own: &Value) -> Value {
    json!({"anyOf": [own, {"type": "null"}, {"type": "string", "pattern": r"\$\{"}]})
}

fn default(key: &KeyInfo) -> Option<Value> {
    match key.shape {
        _ if key.default.is_empty() => None,
        KeyShape::Text => Some(key.default.into()),
        KeyShape::Integer | KeyShape::Number | KeyShape::Flag => serde_json::from_str(key.default).ok(),
        KeyShape::Secret | KeyShape::TextList | KeyShape::Any => None,
    }
}
