//! How the pieces of tool calls become calls, in every dialect of the API.
//!
//! | server | what its pieces are like |
//! |---|---|
//! | OpenAI, vLLM | id, name and `""` first, then arguments alone, by index |
//! | Mistral, Groq, Ollama | a call whole in one piece; the index may be missing, or 0 for all |
//! | some vLLM parsers | the last piece repeats all arguments |

use serde_json::{Map, Value};

use crate::chat::{Delta, Part, ToolCall, ToolInput};
use crate::id::Fingerprint;
use crate::provider::dialogue;

/// The calls of a reply as far as they have come, in the order they began.
#[derive(Debug, Default)]
pub struct Calls {
    open: Vec<Call>,
}

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    /// Everything but the last piece of the arguments.
    before: String,
    last: String,
    extra: Map<String, Value>,
}

/// One piece of a call as the wire has it.
struct Piece<'a> {
    index: Option<u64>,
    id: &'a str,
    name: &'a str,
    arguments: String,
}

/// Whether the reply ended as it should, so that a call that looks odd may still be read as it was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The model said all it had to say.
    Whole,
    /// It was cut off.
    Cut,
}

impl Calls {
    /// Takes one piece; what is to be shown when a call begins with it.
    pub fn take(&mut self, json: &Value) -> Option<Delta> {
        let function = &json["function"];
        let piece = Piece {
            index: json["index"].as_u64(),
            id: json["id"].as_str().unwrap_or_default(),
            name: function["name"].as_str().unwrap_or_default(),
            arguments: match &function["arguments"] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                // The native form of some servers shines through.
                whole => whole.to_string(),
            },
        };
        let at = self.place(&piece);
        let begins = at.is_none();
        let at = at.unwrap_or_else(|| {
            self.open.push(Call { index: piece.index, ..Call::default() });
            self.open.len() - 1
        });
        let call = &mut self.open[at];
        call.add(&piece);
        for (key, value) in json.as_object().into_iter().flatten() {
            if !["index", "id", "type", "function"].contains(&key.as_str()) && !value.is_null() {
                call.extra.insert(key.clone(), value.clone());
            }
        }
        begins.then(|| Delta::Tool { name: call.name.clone() })
    }

    /// The call a piece goes on with; `None` when it begins one.
    fn place(&self, piece: &Piece<'_>) -> Option<usize> {
        if !piece.id.is_empty()
            && let Some(same) = self
                .open
                .iter()
                .rposition(|call| call.id == piece.id && (piece.index.is_none() || call.index == piece.index))
        {
            return Some(same);
        }
        let at = match piece.index {
            Some(index) => self.open.iter().rposition(|call| call.index == Some(index))?,
            None => self.open.len().checked_sub(1)?,
        };
        let call = &self.open[at];
        let is_other_id = !piece.id.is_empty() && !call.id.is_empty();
        // Without an id, a name tells: the same again repeats it, before any arguments it goes on, later it is another.
        let is_other_name = piece.id.is_empty()
            && !piece.name.is_empty()
            && match piece.index {
                Some(_) => call.has_arguments() && piece.name != call.name,
                None => call.has_arguments() && (piece.name != call.name || call.is_whole()),
            };
        (!is_other_id && !is_other_name).then_some(at)
    }

    /// The calls as parts of a reply. Calls without an id are given one that follows from the reply's.
    pub fn into_parts(self, reply: &str, ending: Ending) -> Vec<Part> {
        let mut ids: Vec<String> = Vec::new();
        let mut parts = Vec::new();
        for (number, call) in self.open.into_iter().enumerate() {
            let mut id = call.id.clone();
            if id.is_empty() || ids.contains(&id) {
                let origin = format!("{reply}/{number}");
                id = format!("call_{}", Fingerprint::of(origin.as_bytes()).as_str());
            }
            ids.push(id.clone());
            let input = call.input(ending);
            parts.push(Part::ToolUse(ToolCall { id, name: call.name, input, extra: call.extra }));
        }
        parts
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Call {
    fn add(&mut self, piece: &Piece<'_>) {
        if self.id.is_empty() {
            piece.id.clone_into(&mut self.id);
        }
        if !self.has_arguments() && piece.name != self.name {
            self.name.push_str(piece.name);
        }
        if !piece.arguments.is_empty() {
            self.before.push_str(&self.last);
            self.last.clone_from(&piece.arguments);
        }
    }

    fn has_arguments(&self) -> bool {
        !self.last.is_empty()
    }

    fn is_whole(&self) -> bool {
        matches!(dialogue::input(&format!("{}{}", self.before, self.last)), ToolInput::Object(_))
    }

    /// The arguments: all pieces joined and parsed once, or the last of them when it says all that the others say.
    fn input(&self, ending: Ending) -> ToolInput {
        let joined = dialogue::input(&format!("{}{}", self.before, self.last));
        match joined {
            ToolInput::Invalid(_) if ending == Ending::Whole && self.is_sent_again() => {
                dialogue::input(&self.last)
            }
            joined => joined,
        }
    }

    /// Whether the last piece is an object by itself that begins with everything that came before it.
    fn is_sent_again(&self) -> bool {
        let dense = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        !self.before.trim().is_empty()
            && matches!(dialogue::input(&self.last), ToolInput::Object(_))
            && dense(&self.last).starts_with(&dense(&self.before))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn calls(pieces: &[Value]) -> Vec<ToolCall> {
        ended(pieces, Ending::Whole)
    }

    fn ended(pieces: &[Value], ending: Ending) -> Vec<ToolCall> {
        let mut calls = Calls::default();
        for piece in pieces {
            calls.take(piece);
        }
        let parts = calls.into_parts("r", ending);
        parts
            .into_iter()
            .map(|part| match part {
                Part::ToolUse(call) => call,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn shape(pieces: &[Value]) -> Vec<String> {
        let line = |call: ToolCall| format!("{} {} {}", call.id, call.name, dialogue::arguments(&call));
        calls(pieces).into_iter().map(line).collect()
    }

    fn piece(index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
        json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}})
    }

    #[test]
    fn parallel_calls_are_told_apart_by_index() {
        let pieces = [
            piece(Some(0), Some("a"), Some("t"), ""),
            piece(Some(1), Some("b"), Some("u"), ""),
            piece(Some(0), None, None, "{\"x\":"),
            piece(Some(1), None, None, "{}"),
            piece(Some(0), None, None, "1}"),
        ];
        assert_eq!(shape(&pieces), ["a t {\"x\":1}", "b u {}"]);
    }

    #[test]
    fn parallel_calls_of_one_index_are_told_apart_by_id() {
        let pieces = [
            piece(Some(0), Some("a"), Some("t"), "{\"x\":1}"),
            piece(Some(0), Some("b"), Some("t"), "{\"x\":2}"),
        ];
        assert_eq!(shape(&pieces), ["a t {\"x\":1}", "b t {\"x\":2}"]);
    }

    #[test]
    fn calls_without_an_index_begin_with_an_id_or_a_name() {
        let by_id = [
            piece(None, Some("a"), Some("t"), "{\"x\""),
            piece(None, None, None, ":1}"),
            piece(None, Some("b"), Some("t"), "{}"),
        ];
        assert_eq!(shape(&by_id), ["a t {\"x\":1}", "b t {}"]);
        let by_name = calls(&[
            piece(None, None, Some("t"), "{}"),
            piece(None, None, Some("t"), "{}"),
            piece(None, None, Some("u"), "{}"),
        ]);
        assert_eq!(by_name.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["t", "t", "u"]);
    }

    #[test]
    fn an_id_or_a_name_that_is_repeated_is_not_added_up() {
        let pieces = [
            piece(Some(0), Some("a"), Some("get"), "{\"x"),
            piece(Some(0), Some("a"), Some("get"), "\":1}"),
            piece(Some(0), None, Some(""), ""),
        ];
        assert_eq!(shape(&pieces), ["a get {\"x\":1}"]);
    }

    #[test]
    fn a_name_that_is_split_is_joined() {
        let pieces = [
            piece(Some(0), Some("a"), Some("get_"), ""),
            piece(Some(0), None, Some("weather"), ""),
            piece(Some(0), None, None, "{}"),
        ];
        assert_eq!(shape(&pieces), ["a get_weather {}"]);
    }

    #[test]
    fn a_missing_id_is_made_and_two_of_one_id_are_parted() {
        let made = calls(&[piece(Some(0), None, Some("t"), ""), piece(Some(1), None, Some("t"), "")]);
        assert!(made.iter().all(|call| call.id.starts_with("call_")), "{made:?}");
        assert_ne!(made[0].id, made[1].id);
        let same =
            calls(&[piece(Some(0), Some("a"), Some("t"), ""), piece(Some(1), Some("a"), Some("t"), "")]);
        assert_eq!((same.len(), same[0].id.as_str()), (2, "a"));
        assert_ne!(same[0].id, same[1].id);
        let late = [piece(Some(0), None, Some("t"), ""), piece(Some(0), Some("a"), None, "{}")];
        assert_eq!(shape(&late), ["a t {}"]);
    }

    #[test]
    fn arguments_that_are_sent_again_replace_and_do_not_append() {
        let again = |last: &str, ending| {
            let pieces =
                [piece(Some(0), Some("a"), Some("t"), "{\"p\":\"/x\""), piece(Some(0), None, None, last)];
            ended(&pieces, ending).remove(0).input
        };
        let whole = json!({"p": "/x"}).as_object().cloned().unwrap();
        assert_eq!(again("{\"p\": \"/x\"}", Ending::Whole), ToolInput::Object(whole));
        assert!(matches!(again("{\"p\": \"/x\"}", Ending::Cut), ToolInput::Invalid(_)));
        assert!(matches!(again("{\"q\": 1}", Ending::Whole), ToolInput::Invalid(_)), "another object");
    }

    #[test]
    fn a_nested_object_in_a_piece_of_its_own_is_no_repetition() {
        let pieces = [
            piece(Some(0), Some("a"), Some("t"), "{\"o\":"),
            piece(Some(0), None, None, "{\"b\":1}"),
            piece(Some(0), None, None, "}"),
        ];
        assert_eq!(shape(&pieces), ["a t {\"o\":{\"b\":1}}"]);
        let unfinished = calls(&pieces[..2]);
        assert!(matches!(unfinished[0].input, ToolInput::Invalid(_)));
    }

    #[test]
    fn arguments_as_an_object_and_further_fields_are_kept() {
        let call = calls(&[json!({
            "id": "a", "function": {"name": "t", "arguments": {"x": 1}}, "extra_content": {"s": "y"}, "note": null
        })]);
        assert_eq!(dialogue::arguments(&call[0]), "{\"x\":1}");
        assert_eq!(Value::Object(call[0].extra.clone()), json!({"extra_content": {"s": "y"}}));
    }
}
