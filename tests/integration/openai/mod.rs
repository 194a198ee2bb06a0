//! Are the providers of the OpenAI family right: their decoders, what they send, a team behind each of them?

mod corpus;
mod demo;
mod loopback;
mod properties;
mod streams;

use std::sync::Arc;

use runner::chat::Reply;
use runner::http::{Framer, SseEvent};
use runner::plan::ModuleSpec;
use runner::provider::openai::OpenAi;
use runner::provider::openai_chat::Chat;
use runner::provider::{CallError, Decode, Provider};
use runner::source::{Place, Route, SourceId};
use serde_json::{Value, json};

/// One of the two wire formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Responses,
}

const KINDS: [Kind; 2] = [Kind::Chat, Kind::Responses];

impl Kind {
    /// The name of its streams in folders.
    fn name(self) -> &'static str {
        match self {
            Self::Chat => "openai-chat",
            Self::Responses => "openai-responses",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::Chat => "provider-openai-compatible",
            Self::Responses => "provider-openai",
        }
    }

    /// A provider of this format at an address.
    fn at(self, base_url: &str, more: &Value) -> Arc<dyn Provider> {
        let mut config = json!({"base_url": base_url, "default_model": "gpt-5.5"});
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let spec = ModuleSpec {
            module: self.module().to_owned(),
            config: config.as_object().expect("an object").clone(),
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        };
        let built = match self {
            Self::Chat => Chat::build(&spec, &[].into(), None),
            Self::Responses => OpenAi::build(&spec, &[].into(), None),
        };
        built.expect("the configuration is right")
    }

    fn provider(self) -> Arc<dyn Provider> {
        self.at("http://127.0.0.1:1/v1", &json!({}))
    }

    fn decoder(self) -> Box<dyn Decode> {
        self.provider().decoder()
    }
}

fn frame<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<SseEvent> {
    let mut framer = Framer::default();
    pieces.into_iter().flat_map(|piece| framer.push(piece).expect("no event is too large")).collect()
}

fn decode(kind: Kind, events: &[SseEvent]) -> Result<Reply, CallError> {
    let mut decoder = kind.decoder();
    for event in events {
        decoder.event(&event.name, &event.data)?;
    }
    decoder.finish()
}

/// Decodes a body whole, and checks that every way of cutting it gives the same.
fn decode_however_cut(kind: Kind, name: &str, bytes: &[u8]) -> Result<Reply, CallError> {
    let events = frame([bytes]);
    let outcome = decode(kind, &events);
    assert_eq!(frame(bytes.chunks(1)), events, "{name}: byte by byte");
    let mut odd = Vec::new();
    let mut rest = bytes;
    for size in [1, 5, 2, 13, 3, 8, 21].iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        odd.push(piece);
        rest = after;
    }
    // A decoder sees nothing but events: where these are equal, so is the reply.
    assert_eq!(frame(odd), events, "{name}: odd pieces");
    for part in parts_to_cut(bytes) {
        let events = frame([part]);
        for at in 0..=part.len() {
            assert!(frame([&part[..at], &part[at..]]) == events, "{name}: cut at {at} of {}", part.len());
        }
    }
    outcome
}

/// The body, or each two neighbouring events of a large one: a framer starts anew after each blank line.
fn parts_to_cut(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.len() <= 4 * 1024 {
        return vec![bytes];
    }
    let ends = bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\n\n").map(|(at, _)| at + 2);
    let starts: Vec<usize> = std::iter::once(0).chain(ends).chain([bytes.len()]).collect();
    starts.windows(3).map(|three| &bytes[three[0]..three[2]]).collect()
}
