//! What reading a stream promises for any bytes at all. The fuzz target in `fuzz/` asks the same.
//!
//! * It never panics: it is a reply or an error.
//! * How the network cuts the bytes makes no difference.
//! * A reply that is spoken is heard as it was, and can be sent back.

use std::sync::Arc;

use runner::chat::{Message, Reply, Request, Speaker};
use runner::http::Framer;
use runner::plan::ModuleSpec;
use runner::provider::anthropic::Anthropic;
use runner::provider::{CallError, Provider};
use runner::source::{Place, Route, SourceId};
use serde_json::Map;

fn provider() -> Arc<dyn Provider> {
    let spec = ModuleSpec {
        module: "provider-anthropic".to_owned(),
        config: Map::from_iter([("api_key".to_owned(), "sk-test-key-of-no-use".into())]),
        instance_id: None,
        place: Place::value(SourceId(0), Route::root()),
    };
    Anthropic::build(&spec, &[].into(), None).expect("the defaults are right")
}

/// The reply in a stream that comes in these pieces; an error of framing by its words.
fn hear<'a>(
    provider: &dyn Provider,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Result<Reply, CallError>, String> {
    let mut framer = Framer::default();
    let mut decoder = provider.decoder();
    for piece in pieces {
        for event in framer.push(piece).map_err(|error| error.to_string())? {
            if let Err(error) = decoder.event(&event.name, &event.data) {
                return Ok(Err(error));
            }
        }
    }
    Ok(decoder.finish())
}

/// Panics where a promise is broken.
pub(crate) fn hold(bytes: &[u8]) {
    let provider = provider();
    let whole = hear(provider.as_ref(), std::iter::once(bytes));
    for size in [1, 2, 7, 61] {
        assert_eq!(hear(provider.as_ref(), bytes.chunks(size)), whole, "in pieces of {size}");
    }
    let Ok(Ok(reply)) = whole else { return };
    let spoken = provider.speak(&reply);
    assert_eq!(hear(provider.as_ref(), spoken.chunks(13)), Ok(Ok(reply.clone())), "spoken");
    let messages = vec![Message::user("go"), Message { speaker: Speaker::Assistant, parts: reply.parts }];
    let request = Request { messages: messages.into(), ..Request::default() };
    // A reply may hold what cannot be sent; that is an error like any other.
    let _ = provider.encode(&request);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::hold;

    fn fixtures() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inputs/sse");
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .expect("the fixtures")
            .map(|entry| entry.expect("one").path())
            .collect();
        paths.sort();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "sse"));
        paths.iter().map(|path| std::fs::read(path).expect("a fixture")).collect()
    }

    #[test]
    fn it_holds_for_every_fixture_and_every_beginning_of_one() {
        for bytes in fixtures() {
            hold(&bytes);
            for end in (0..bytes.len()).step_by(97) {
                hold(&bytes[..end]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_holds_for_fixtures_with_bytes_changed(
            which in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let all = fixtures();
            let mut bytes = which.get(&all).clone();
            if bytes.is_empty() {
                return Ok(());
            }
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            hold(&bytes);
        }
    }
}
