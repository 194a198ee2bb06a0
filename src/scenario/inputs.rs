//! Which value each input has: from the command line, else the environment, else its default.

use std::collections::BTreeMap;

use serde_json::Value;

use super::LoadRequest;
use super::paths::relative;
use super::raw::RawInput;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::plan::InputType;
use crate::source::Place;

/// The values of all inputs; what has none or a wrong one is reported and left out.
pub(super) fn values(
    declared: &[RawInput],
    request: &LoadRequest<'_>,
    report: &mut Report,
) -> BTreeMap<String, Value> {
    for name in request.inputs.keys() {
        let known = declared.iter().map(|input| input.id.value.as_str());
        if known.clone().all(|id| id != name) {
            report.push(
                Diagnostic::error(Code::UnknownInput, format!("the scenario has no input `{name}`"))
                    .did_you_mean(nearest(name, known.clone()))
                    .help(match known.collect::<Vec<_>>().join(", ") {
                        none if none.is_empty() => "it has no inputs at all".to_owned(),
                        some => format!("its inputs: {some}"),
                    }),
            );
        }
    }
    let mut values = BTreeMap::new();
    for input in declared {
        check_declaration(input, report);
        if let Some(value) = value(input, request, report) {
            values.insert(input.id.value.clone(), value);
        }
    }
    values
}

/// The variable that sets an input.
pub fn variable(id: &str) -> String {
    format!("RUNNER_VAR_{}", id.to_ascii_uppercase().replace('-', "_"))
}

fn value(input: &RawInput, request: &LoadRequest<'_>, report: &mut Report) -> Option<Value> {
    let id = &input.id.value;
    let variable = variable(id);
    let given = request
        .inputs
        .get(id)
        .map(|text| (text, format!("`-i {id}=…`")))
        .or_else(|| request.variables.get(&variable).map(|text| (text, format!("`{variable}`"))));
    if let Some((text, origin)) = given {
        let read = input.kind.read(text).ok_or_else(|| format!("is not a {}", input.kind.as_str()));
        let checked = read.and_then(|value| fits(input, &value).map(|()| value));
        return checked
            .map_err(|problem| {
                let message = format!("the value of input `{id}` from {origin} {problem}");
                report.push(Diagnostic::error(Code::BadInput, message).at(&input.id.place));
            })
            .ok();
    }
    if let Some(default) = &input.default {
        // A default that does not fit has been reported with its declaration.
        return fits(input, &default.value).ok().map(|()| default.value.clone());
    }
    if input.required.as_ref().is_some_and(|required| !required.value) {
        return Some(Value::Null);
    }
    report.push(
        Diagnostic::error(Code::MissingInput, format!("input `{id}` has no value"))
            .at(&input.id.place)
            .help(format!("set it with `-i {id}=…` or `{variable}`, or give it a `default`")),
    );
    None
}

/// Whether a value is of the input's type and one of its choices, or what is wrong with it.
pub(super) fn fits(input: &RawInput, value: &Value) -> Result<(), String> {
    let right = match input.kind {
        InputType::String | InputType::Path => value.is_string(),
        InputType::Number => value.is_number(),
        InputType::Boolean => value.is_boolean(),
        InputType::List => value.is_array(),
    };
    if !right {
        return Err(format!("is not a {}", input.kind.as_str()));
    }
    let is_name =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if input.is_secret() && !value.as_str().is_some_and(is_name) {
        return Err(
            "is not the name of an environment variable, and a secret is named, not written".to_owned()
        );
    }
    if input.kind == InputType::Path && value.as_str().is_some_and(|path| relative(path).is_none()) {
        return Err("is not a path inside the project".to_owned());
    }
    let chosen = match value {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    };
    let known = |value: &&Value| input.choices.iter().any(|choice| choice.value == **value);
    match chosen.into_iter().find(|value| !input.choices.is_empty() && !known(value)) {
        Some(wrong) => {
            let choices: Vec<_> = input.choices.iter().map(|choice| choice.value.to_string()).collect();
            Err(format!("is {wrong}, which is not one of its choices: {}", choices.join(", ")))
        }
        None => Ok(()),
    }
}

fn check_declaration(input: &RawInput, report: &mut Report) {
    let id = &input.id.value;
    if input.is_secret() && input.kind != InputType::String {
        let message = format!("input `{id}` is secret, so its value is the name of a variable: a string");
        report.push(Diagnostic::error(Code::BadInput, message).at(&input.id.place));
    }
    let mut wrong = |problem: String, place: &Place| {
        report.push(Diagnostic::error(Code::BadInput, format!("{problem} of input `{id}`")).at(place));
    };
    for choice in &input.choices {
        let right = match input.kind {
            InputType::String | InputType::Path => choice.value.is_string(),
            InputType::Number => choice.value.is_number(),
            InputType::Boolean => choice.value.is_boolean(),
            InputType::List => !choice.value.is_array() && !choice.value.is_object(),
        };
        if !right {
            wrong(format!("{} cannot be a value", choice.value), &choice.place);
        }
    }
    let Some(default) = &input.default else { return };
    let is_told = input.is_secret() && input.kind != InputType::String;
    if let Err(problem) = fits(input, &default.value)
        && !is_told
    {
        let message = format!("the default of input `{id}` {problem}");
        let diagnostic = Diagnostic::error(Code::BadInput, message).at(&default.place);
        report.push(match (input.kind, &default.value) {
            (_, Value::Null) => {
                diagnostic.help("remove the key; `required: false` makes it null if not given")
            }
            (InputType::Boolean, Value::String(_)) => diagnostic.help("only `true` and `false` are booleans"),
            (InputType::List, Value::String(_)) => {
                diagnostic.help("write its items in brackets, as `[a, b]`")
            }
            (InputType::String, Value::Number(_) | Value::Bool(_)) => {
                diagnostic.help("put it in quotes, or name its `type`")
            }
            _ => diagnostic,
        });
    }
    if let Some(required) = input.required.as_ref().filter(|required| required.value) {
        report.push(
            Diagnostic::warning(
                Code::IgnoredSetting,
                format!("input `{id}` has a default, so `required` has no effect"),
            )
            .at(&required.place)
            .help("remove one of the two"),
        );
    }
}
