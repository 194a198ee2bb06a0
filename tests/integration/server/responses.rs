//! OpenAI's Responses as its server speaks it: what it refuses, and its streams.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::brain::{Answer, Part, text_of};
use super::chance::Chance;
use super::events::{Context, stop_reason, usage};
use super::format::{arguments, is_tool_name, judge_openai, pieces, result, say};
use super::rules::Refusal;

/// Keys a request may have.
const KEYS: [&str; 20] = [
    "background",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "store",
    "stream",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "truncation",
];

/// What joins an item's id to that of the reasoning that led to it.
const OF: &str = "--";

/// Judges a request; gives out its body when nothing is wrong with it.
pub fn judge(target: &str, headers: &[(String, String)], body: &[u8]) -> Result<Value, Refusal> {
    if target != "POST /v1/responses" {
        return Err(Refusal {
            status: 404,
            kind: "invalid_request_error",
            message: "Invalid URL".to_owned(),
        });
    }
    let (body, reasons) = judge_openai(headers, body)?;
    if !body["max_tokens"].is_null() {
        return Err(Refusal::invalid(
            "Unsupported parameter: 'max_tokens'. In the Responses API, this parameter has moved to 'max_output_tokens'.",
        ));
    }
    let unknown = body.as_object().into_iter().flat_map(Map::keys).find(|key| !KEYS.contains(&key.as_str()));
    if let Some(unknown) = unknown {
        return Err(Refusal::invalid(format!("Unknown parameter: '{unknown}'.")));
    }
    let asks_for_reasoning = body["include"].as_array().into_iter().flatten();
    if !reasons && asks_for_reasoning.clone().any(|what| what == "reasoning.encrypted_content") {
        return Err(Refusal::invalid("Encrypted content is not supported with this model."));
    }
    if reasons && !body["temperature"].is_null() {
        return Err(Refusal::invalid(
            "Unsupported parameter: 'temperature' is not supported with this model.",
        ));
    }
    if body["stream"] != true || body["store"] != false {
        return Err(Refusal::invalid("this test server answers streams only, and stores nothing"));
    }
    tools(&body)?;
    input(&body)?;
    Ok(body)
}

fn tools(body: &Value) -> Result<(), Refusal> {
    for (at, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let name = tool["name"].as_str().unwrap_or_default();
        if tool["type"] != "function" || !is_tool_name(name) {
            return Err(Refusal::invalid(format!("Missing required parameter: 'tools[{at}].name'.")));
        }
        if tool["parameters"]["type"] != "object" {
            return Err(Refusal::invalid(format!(
                "Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"'."
            )));
        }
        if tool["strict"] != false && tool["parameters"]["additionalProperties"] != false {
            return Err(Refusal::invalid(format!(
                "Invalid schema for function '{name}': In context=(), 'additionalProperties' is required to be supplied and to be false."
            )));
        }
    }
    Ok(())
}

fn input(body: &Value) -> Result<(), Refusal> {
    let items = body["input"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return Err(Refusal::invalid("One of \"input\" or \"previous_response_id\" must be provided."));
    }
    let mut ids = BTreeSet::new();
    let mut open: Vec<&str> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let id = item["id"].as_str().unwrap_or_default();
        if !id.is_empty() && !ids.insert(id) {
            return Err(Refusal::invalid(format!(
                "Duplicate item found with id {id}. Remove duplicate items from your input and try again."
            )));
        }
        if let Some((_, tail)) = id.split_once(OF)
            && !ids.contains(format!("rs_{tail}").as_str())
        {
            let kind = item["type"].as_str().unwrap_or_default();
            return Err(Refusal::invalid(format!(
                "Item '{id}' of type '{kind}' was provided without its required 'reasoning' item: 'rs_{tail}'."
            )));
        }
        one(at, item, items.get(at + 1))?;
        let call = item["call_id"].as_str().unwrap_or_default();
        match item["type"].as_str() {
            Some("function_call") => open.push(call),
            Some("function_call_output") => match open.iter().position(|open| *open == call) {
                Some(place) => drop(open.remove(place)),
                None => {
                    return Err(Refusal::invalid(format!(
                        "No tool call found for function call output with call_id {call}."
                    )));
                }
            },
            Some("message") if item["role"] == "user" && !open.is_empty() => break,
            _ => {}
        }
    }
    match open.first() {
        Some(call) => Err(Refusal::invalid(format!("No tool output found for function call {call}."))),
        None => Ok(()),
    }
}

/// Judges one item by itself and by the next.
fn one(at: usize, item: &Value, next: Option<&Value>) -> Result<(), Refusal> {
    let missing = |key: &str| Refusal::invalid(format!("Missing required parameter: 'input[{at}].{key}'."));
    match item["type"].as_str() {
        Some("message") => content(at, item),
        Some("function_call") => {
            match ["call_id", "name", "arguments"].iter().find(|key| !item[**key].is_string()) {
                Some(key) => Err(missing(key)),
                None => Ok(()),
            }
        }
        Some("function_call_output") if item["output"].is_string() => Ok(()),
        Some("function_call_output") => Err(missing("output")),
        Some("reasoning") => {
            let id = item["id"].as_str().unwrap_or_default();
            if !item["encrypted_content"].is_string() {
                return Err(Refusal {
                    status: 404,
                    kind: "invalid_request_error",
                    message: format!(
                        "Item with id '{id}' not found. Items are not persisted when `store` is set to false."
                    ),
                });
            }
            let leads_to = |next: &Value| {
                next["type"] == "function_call" || next["type"] == "message" && next["role"] == "assistant"
            };
            match next {
                Some(next) if leads_to(next) => Ok(()),
                _ => Err(Refusal::invalid(format!(
                    "Item '{id}' of type 'reasoning' was provided without its required following item."
                ))),
            }
        }
        other => Err(Refusal::invalid(format!("Invalid value: '{}'.", other.unwrap_or_default()))),
    }
}

fn content(at: usize, item: &Value) -> Result<(), Refusal> {
    let kinds: &[&str] = match item["role"].as_str() {
        Some("user") => &["input_text", "input_image"],
        Some("assistant") => &["output_text", "refusal"],
        other => return Err(Refusal::invalid(format!("Invalid value: '{}'.", other.unwrap_or_default()))),
    };
    for (place, content) in item["content"].as_array().into_iter().flatten().enumerate() {
        let kind = content["type"].as_str().unwrap_or_default();
        if !kinds.contains(&kind) {
            return Err(Refusal::invalid(format!(
                "Invalid value: '{kind}' at input[{at}].content[{place}]. Supported values are: {}.",
                kinds.join(" and ")
            )));
        }
    }
    Ok(())
}

/// The body in the form of the Messages API.
pub fn conversation(body: &Value) -> Value {
    let mut messages = Vec::new();
    for item in body["input"].as_array().into_iter().flatten() {
        match item["type"].as_str() {
            Some("function_call") => {
                let text = item["arguments"].as_str().unwrap_or_default();
                let input: Value = serde_json::from_str(text).unwrap_or_default();
                let block =
                    json!({"type": "tool_use", "id": item["call_id"], "name": item["name"], "input": input});
                say(&mut messages, "assistant", block);
            }
            Some("function_call_output") => {
                let text = item["output"].as_str().unwrap_or_default();
                say(&mut messages, "user", result(&item["call_id"], text));
            }
            Some("reasoning") => {
                let block =
                    json!({"type": "thinking", "thinking": "", "signature": item["encrypted_content"]});
                say(&mut messages, "assistant", block);
            }
            _ => {
                let role = item["role"].as_str().unwrap_or_default();
                say(&mut messages, role, json!({"type": "text", "text": text_of(&item["content"])}));
            }
        }
    }
    json!({
        "model": body["model"], "system": body["instructions"], "messages": messages, "tools": body["tools"],
        "stream": true,
    })
}

/// Writes the events of an answer, one element an event.
pub fn stream(answer: &Answer, context: &Context, chance: &mut Chance) -> Vec<Vec<u8>> {
    let counts = usage(answer, context);
    let input = counts.input + counts.cache_read + counts.cache_write;
    let mut response = json!({
        "id": chance.id("resp"), "object": "response", "status": "in_progress", "model": context.model,
        "output": [], "error": null, "incomplete_details": null, "usage": null, "store": false,
    });
    let mut events = Events { written: Vec::new() };
    events.write("response.created", json!({"response": response}));
    events.write("response.in_progress", json!({"response": response}));
    let mut reasoning = String::new();
    let mut output = Vec::new();
    for (index, part) in answer.parts.iter().enumerate() {
        let item = item(part, &mut reasoning, chance);
        events.item(index, &item, chance);
        output.push(item);
    }
    response["usage"] = json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": counts.cache_read},
        "output_tokens": counts.output, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + counts.output,
    });
    // One of the backends leaves the list empty.
    response["output"] = if chance.below(2) == 0 { json!([]) } else { Value::Array(output) };
    let reason = match stop_reason(answer) {
        "max_tokens" => Some("max_output_tokens"),
        "refusal" => Some("content_filter"),
        _ => None,
    };
    response["status"] = json!(if reason.is_some() { "incomplete" } else { "completed" });
    if let Some(reason) = reason {
        response["incomplete_details"] = json!({"reason": reason});
        events.write("response.incomplete", json!({"response": response}));
    } else {
        events.write("response.completed", json!({"response": response}));
    }
    events.written
}

/// The item of a part; its id names the reasoning before it.
fn item(part: &Part, reasoning: &mut String, chance: &mut Chance) -> Value {
    let own = |kind: &str, reasoning: &str, chance: &mut Chance| {
        let id = chance.id(kind);
        if reasoning.is_empty() { id } else { format!("{id}{OF}{reasoning}") }
    };
    match part {
        Part::Text(text) => json!({
            "type": "message", "id": own("msg", reasoning, chance), "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
        }),
        Part::ToolUse { name, input } => json!({
            "type": "function_call", "id": own("fc", reasoning, chance), "call_id": chance.id("call"), "name": name,
            "arguments": arguments(input), "status": "completed",
        }),
        Part::Thinking { text, signature } => {
            let id = chance.id("rs");
            *reasoning = id.trim_start_matches("rs_").to_owned();
            json!({
                "type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": text}],
                "encrypted_content": signature, "status": null,
            })
        }
        Part::Whole(item) => item.clone(),
    }
}

struct Events {
    written: Vec<Vec<u8>>,
}

impl Events {
    fn write(&mut self, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.written.len());
        self.written.push(format!("event: {kind}\ndata: {data}\n\n").into_bytes());
    }

    fn item(&mut self, index: usize, item: &Value, chance: &mut Chance) {
        let mut added = item.clone();
        added["status"] = json!("in_progress");
        for (key, empty) in [("content", json!([])), ("arguments", json!("")), ("summary", json!([]))] {
            if !added[key].is_null() {
                added[key] = empty;
            }
        }
        self.write("response.output_item.added", json!({"output_index": index, "item": added}));
        let (kind, text) = match item["type"].as_str() {
            Some("message") => ("output_text", item["content"][0]["text"].as_str()),
            Some("function_call") => ("function_call_arguments", item["arguments"].as_str()),
            _ => ("reasoning_summary_text", item["summary"][0]["text"].as_str()),
        };
        let text = text.unwrap_or_default();
        for piece in pieces(text, chance) {
            let data =
                json!({"output_index": index, "item_id": item["id"], "delta": piece, "obfuscation": "xx"});
            self.write(&format!("response.{kind}.delta"), data);
        }
        let field = if kind == "function_call_arguments" { "arguments" } else { "text" };
        self.write(&format!("response.{kind}.done"), json!({"output_index": index, field: text}));
        self.write("response.output_item.done", json!({"output_index": index, "item": item}));
    }
}
