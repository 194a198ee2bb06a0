//! Where a reply's tools ran at the server, and how the request that goes on from it names that place.
//!
//! The API gives a container beside a message, not among its blocks, and refuses to go on with calls from code that ran in
//! one unless the next request names it. So it is kept as a part of the message, which no block of the wire is.

use serde_json::{Map, Value, json};

use crate::chat::{Message, Part, Speaker};

/// What no block of the API is called.
const KIND: &str = "message_container";

/// The part that keeps a container.
pub fn keep(mut container: Map<String, Value>) -> Part {
    container.insert("type".to_owned(), json!(KIND));
    Part::Other(Value::Object(container))
}

/// The container as it came, if that is what the part keeps.
pub fn kept(part: &Part) -> Option<Value> {
    match part {
        Part::Other(Value::Object(kept)) if kept.get("type").is_some_and(|kind| kind == KIND) => {
            let mut container = kept.clone();
            container.remove("type");
            Some(Value::Object(container))
        }
        _ => None,
    }
}

/// The id of the container of the model's last message. Those of earlier ones may have expired.
pub fn of_last_reply(messages: &[Message]) -> Option<String> {
    let last = messages.iter().rev().find(|message| message.speaker == Speaker::Assistant)?;
    last.parts.iter().rev().find_map(|part| kept(part)?["id"].as_str().map(str::to_owned))
}
