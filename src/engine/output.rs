//! What a session is told about an answer that must be data, and how its answer is read. Pure.

use serde_json::Value;

use crate::plan::OutputPlan;

/// What is added to the last prompt of a session whose answer must be data.
pub(super) fn request(plan: &OutputPlan) -> String {
    let schema = serde_json::to_string_pretty(&plan.schema).expect("a schema is plain data");
    format!(
        "\n\nAnswer with JSON alone, without any other text, that is valid under this JSON Schema:\n\n```json\n{schema}\n```"
    )
}

/// What a session is told whose answer was not what it must be.
pub(super) fn repair(problem: &str) -> String {
    format!(
        "Your answer could not be used: {problem}. Answer once more with the whole JSON alone, without any other text."
    )
}

/// Reads an answer.
///
/// # Errors
/// Why it is not what it must be, fit for the model.
pub(super) fn read(plan: &OutputPlan, text: &str) -> Result<Value, String> {
    let json = json_in(text);
    let value: Value = serde_json::from_str(json).map_err(|error| format!("it is no JSON ({error})"))?;
    let validator = jsonschema::validator_for(&plan.schema)
        .map_err(|error| format!("the schema is unusable: {error}"))?;
    let wrong: Vec<String> = validator
        .iter_errors(&value)
        .take(5)
        .map(|error| {
            let place = error.instance_path().to_string();
            if place.is_empty() { error.to_string() } else { format!("at {place}: {error}") }
        })
        .collect();
    if wrong.is_empty() {
        Ok(value)
    } else {
        Err(format!("it does not fit the schema: {}", wrong.join("; ")))
    }
}

/// The JSON in an answer: all of it, or what stands in its only fenced block.
fn json_in(text: &str) -> &str {
    let text = text.trim();
    let Some(start) = text.find("```") else { return text };
    let after = &text[start + 3..];
    let Some(line) = after.find('\n') else { return text };
    let body = &after[line + 1..];
    match body.find("```") {
        Some(end) if !body[end + 3..].contains("```") => body[..end].trim(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan() -> OutputPlan {
        let schema = json!({
            "type": "object",
            "required": ["topics"],
            "properties": {"topics": {"type": "array", "items": {"type": "string"}}},
        });
        OutputPlan { file: None, schema }
    }

    #[test]
    fn an_answer_is_json_alone_or_in_one_block() {
        let wanted = json!({"topics": ["a"]});
        for text in [
            r#"{"topics": ["a"]}"#,
            "\n {\"topics\": [\"a\"]}\n",
            "```json\n{\"topics\": [\"a\"]}\n```",
            "Here it is:\n\n```\n{\"topics\": [\"a\"]}\n```\nThat is all.",
        ] {
            assert_eq!(read(&plan(), text), Ok(wanted.clone()), "{text}");
        }
        let two = "```json\n{\"topics\": []}\n```\nor\n```json\n{\"topics\": [\"b\"]}\n```";
        assert!(read(&plan(), two).unwrap_err().starts_with("it is no JSON"));
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        assert!(read(&plan(), "No topics.").unwrap_err().starts_with("it is no JSON"));
        let wrong = read(&plan(), r#"{"topics": ["a", 2]}"#).unwrap_err();
        assert!(wrong.starts_with("it does not fit the schema: at /topics/1:"), "{wrong}");
    }
}
