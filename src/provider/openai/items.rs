//! How an item of the Responses API becomes parts of a message, and how the parts become its items again.

use serde_json::{Map, Value, json};

use crate::chat::{Part, ToolCall};
use crate::provider::dialogue;

/// Where a text keeps the fields of the message item it came in.
const ITEM: &str = "item";

/// The parts of one item. What this program does not know is kept as it came.
pub fn read(item: Value) -> Vec<Part> {
    match item["type"].as_str() {
        Some("message") => message(&item),
        Some("function_call") => vec![Part::ToolUse(call(item))],
        _ => vec![Part::Other(without_nulls(item))],
    }
}

/// What the model declined with, if it did.
pub fn refusal(parts: &[Part]) -> Option<&str> {
    parts.iter().find_map(|part| match part {
        Part::Other(block) if block["type"] == "refusal" => block["refusal"].as_str(),
        _ => None,
    })
}

fn message(item: &Value) -> Vec<Part> {
    let mut own = item.as_object().cloned().unwrap_or_default();
    for known in ["type", "role", "content", "status"] {
        own.remove(known);
    }
    own.retain(|_, value| !value.is_null());
    let contents = item["content"].as_array().into_iter().flatten();
    let part = |content: &Value| {
        let Some(text) = content["text"].as_str().filter(|_| content["type"] == "output_text") else {
            return Part::Other(content.clone());
        };
        let mut extra = Map::new();
        if !own.is_empty() {
            extra.insert(ITEM.to_owned(), Value::Object(own.clone()));
        }
        let annotations = &content["annotations"];
        if annotations.as_array().is_some_and(|list| !list.is_empty()) {
            extra.insert("annotations".to_owned(), annotations.clone());
        }
        Part::Text { text: text.to_owned(), extra }
    };
    contents.map(part).collect()
}

fn call(item: Value) -> ToolCall {
    let Value::Object(mut fields) = item else { unreachable!("an item with a type is an object") };
    let mut text = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (id, name, arguments) = (text("call_id"), text("name"), text("arguments"));
    fields.retain(|key, value| !value.is_null() && key != "type" && key != "status");
    ToolCall { id, name, input: dialogue::input(&arguments), extra: fields }
}

/// The items of what the model said, in order.
pub fn write(parts: &[Part]) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    let mut reasoning_lost = false;
    for part in parts {
        match part {
            Part::Text { text, extra } if !text.trim().is_empty() => {
                let content = json!({
                    "type": "output_text",
                    "text": text,
                    "annotations": extra.get("annotations").cloned().unwrap_or_else(|| json!([])),
                });
                say(&mut items, extra.get(ITEM), content);
            }
            Part::ToolUse(call) => items.push(call_item(call)),
            Part::Other(block) if block["type"] == "refusal" => say(&mut items, None, block.clone()),
            Part::Other(item) if is_reasoning(item) && !can_go_back(item) => reasoning_lost = true,
            Part::Other(item) => items.push(item.clone()),
            Part::Text { .. } | Part::Thinking { .. } | Part::ToolResult(_) => {}
        }
    }
    // Reasoning is refused without the item it led to: a reply that was cut off may end with it.
    let end = items.iter().rposition(|item| !is_reasoning(item)).map_or(0, |last| last + 1);
    reasoning_lost |= end < items.len();
    items.truncate(end);
    if reasoning_lost {
        // An item with its id is in turn refused without the reasoning that led to it.
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            if item.get("type").is_some_and(|kind| kind == "message" || kind == "function_call") {
                item.remove("id");
            }
        }
    }
    items
}

/// Adds content to the message it came in, or begins that message.
fn say(items: &mut Vec<Value>, own: Option<&Value>, content: Value) {
    let own = own.and_then(Value::as_object).cloned().unwrap_or_default();
    let same = |last: &&mut Value| last["type"] == "message" && last.get("id") == own.get("id");
    if let Some(contents) = items.last_mut().filter(same).and_then(|last| last["content"].as_array_mut()) {
        contents.push(content);
        return;
    }
    let mut item = own;
    item.insert("type".to_owned(), json!("message"));
    item.insert("role".to_owned(), json!("assistant"));
    item.insert("content".to_owned(), json!([content]));
    items.push(Value::Object(item));
}

fn call_item(call: &ToolCall) -> Value {
    let mut item = call.extra.clone();
    item.insert("type".to_owned(), json!("function_call"));
    item.insert("call_id".to_owned(), json!(call.id));
    item.insert("name".to_owned(), json!(call.name));
    item.insert("arguments".to_owned(), json!(dialogue::arguments(call)));
    Value::Object(item)
}

fn is_reasoning(item: &Value) -> bool {
    item["type"] == "reasoning"
}

/// Whether the server can read reasoning that it has not stored: sealed, or in plain words.
fn can_go_back(item: &Value) -> bool {
    item["encrypted_content"].is_string() || item["content"].as_array().is_some_and(|list| !list.is_empty())
}

fn without_nulls(mut item: Value) -> Value {
    if let Value::Object(fields) = &mut item {
        fields.retain(|_, value| !value.is_null());
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ToolInput;

    fn again(items: &[Value]) -> Vec<Value> {
        write(&items.iter().cloned().flat_map(read).collect::<Vec<_>>())
    }

    #[test]
    fn items_go_back_as_they_came() {
        let items = [
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}),
            json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}),
            json!({"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary", "content": [
                {"type": "output_text", "text": "one", "annotations": [{"type": "url_citation"}]},
                {"type": "output_text", "text": "two", "annotations": []},
            ]}),
            json!({"type": "message", "id": "msg_2", "role": "assistant", "content": [
                {"type": "output_text", "text": "three", "annotations": []},
            ]}),
            json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "t", "arguments": "{\"a\":1}"}),
            json!({"type": "a_new_kind", "id": "x_1", "data": [1, 2]}),
        ];
        assert_eq!(again(&items), items);
    }

    #[test]
    fn fields_that_belong_to_a_response_alone_are_left_out() {
        let item = json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "t", "arguments": "",
            "status": "completed", "namespace": null});
        let Part::ToolUse(call) = &read(item)[0] else { panic!("a call") };
        assert_eq!(call.input, ToolInput::Object(Map::new()));
        assert_eq!(Value::Object(call.extra.clone()), json!({"id": "fc_1"}));
    }

    #[test]
    fn reasoning_that_cannot_go_back_takes_the_ids_with_it() {
        let unsealed = json!({"type": "reasoning", "id": "rs_1", "summary": []});
        let call =
            json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "t", "arguments": "{}"});
        let sent = again(&[unsealed, call.clone()]);
        assert_eq!(sent, [json!({"type": "function_call", "call_id": "c", "name": "t", "arguments": "{}"})]);
        let sealed = json!({"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "x"});
        assert_eq!(again(std::slice::from_ref(&sealed)), Vec::<Value>::new());
        assert_eq!(again(&[sealed.clone(), call.clone()]), [sealed, call]);
    }

    #[test]
    fn a_refusal_is_found_and_is_content_of_a_message() {
        let item = json!({"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]});
        let parts = read(item.clone());
        assert_eq!(refusal(&parts), Some("No."));
        assert_eq!(write(&parts), [item]);
    }
}
