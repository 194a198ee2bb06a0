//! Why is a name not there, and how is it had? What is told of an undefined name beside that it is undefined.

use serde_json::Value;

use super::Scene;
use crate::scenario::raw::RawKind;
use crate::template::TemplateContext;

/// What to do about a name that a template or condition does not find among the names it is given. `at` is the phase that
/// it stands in, if any.
pub(super) fn remedy(
    scene: &Scene<'_>,
    at: Option<usize>,
    context: &TemplateContext,
    name: &str,
) -> Option<String> {
    let mut parts = name.split('.');
    match (parts.next()?, parts.next()) {
        ("inputs", Some(_)) => Some(inputs(scene, at)),
        ("phases", Some(id)) => phase(scene, at, context, id, parts.next()),
        ("previous", _) if context.variables.contains_key("round") => {
            Some("in the first round there is no round before it; ask under `round > 1`".to_owned())
        }
        ("round" | "previous", _) => Some("it is there within a `repeat`".to_owned()),
        (root, _) if is_item(scene, root) => {
            Some("it is there in what the phase with this `for_each` does".to_owned())
        }
        _ => None,
    }
}

/// How a phase of which the id has a dash is named, if a condition names it in the other way.
pub(super) fn brackets(scene: &Scene<'_>, text: &str) -> Option<String> {
    let words = text.split("phases.").skip(1).filter_map(|rest| {
        rest.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')).next()
    });
    let id = words.filter(|word| word.contains('-')).find(|word| scene.graph.named(word).is_some())?;
    Some(format!("an id with a dash is written with brackets: `phases[\"{id}\"]`"))
}

fn inputs(scene: &Scene<'_>, at: Option<usize>) -> String {
    let declared = at.map_or(scene.raw.inputs.as_slice(), |at| scene.inputs_of(at));
    let ids: Vec<&str> =
        declared.iter().filter(|input| !input.is_secret()).map(|input| input.id.value.as_str()).collect();
    match ids.as_slice() {
        [] => "the scenario has no inputs to show; declare it under `inputs`".to_owned(),
        ids => format!("its inputs: {}", ids.join(", ")),
    }
}

fn is_item(scene: &Scene<'_>, name: &str) -> bool {
    let mut loops = scene.raw.phases.iter().filter_map(|phase| phase.for_each.as_ref());
    loops.any(|each| each.name.value == name)
}

fn phase(
    scene: &Scene<'_>,
    at: Option<usize>,
    context: &TemplateContext,
    id: &str,
    key: Option<&str>,
) -> Option<String> {
    let seen = context.variables.get("phases").and_then(Value::as_object)?;
    if let Some(facts) = seen.get(id) {
        let keys: Vec<&str> = facts.as_object()?.keys().map(String::as_str).collect();
        let beside = at.and_then(|at| scene.graph.beside(at, id)).or_else(|| scene.graph.named(id))?;
        let is_session = matches!(scene.raw.phases[beside].kind, Some(RawKind::Session(_)));
        return Some(match key {
            Some("output") if is_session && !keys.contains(&"items") => {
                format!("phase `{id}` answers in words; give its `session` an `output` to have data")
            }
            _ => format!("phase `{id}` leaves: {}", keys.join(", ")),
        });
    }
    let beside = match at {
        Some(at) => scene.graph.beside(at, id),
        None => scene.graph.position(None, id),
    };
    if beside.is_some() {
        return Some(match at {
            Some(at) if beside == Some(at) => "a phase sees itself in its `expect` only".to_owned(),
            Some(_) => format!("phase `{id}` has not surely ended by then; name it in `needs`"),
            None => "this is asked before the first phase".to_owned(),
        });
    }
    if let Some(outer) = scene.graph.named(id).and_then(|other| scene.graph.outer(other)) {
        let outer = scene.graph.name(outer);
        return Some(format!("phases within `{outer}` are seen by each other only"));
    }
    Some(match seen.keys().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => "no phase has surely ended by then".to_owned(),
        ended => format!("those that have surely ended by then: {}", ended.join(", ")),
    })
}
