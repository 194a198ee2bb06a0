//! How a stream of bytes becomes server-sent events.
//!
//! Works on bytes, because a network piece may end inside a character. Lines end at `\n`, `\r` or `\r\n` and nowhere
//! else; UTF-8 is read line by line; an event that no blank line ends is dropped.

use crate::limit;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The name; empty when the stream gives none.
    pub name: String,
    /// The data lines, joined by line feeds.
    pub data: String,
}

/// Why a stream cannot be cut into events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {limit} bytes")]
pub struct SseError {
    /// The bound that was passed. Bytes.
    pub limit: usize,
}

/// Cuts a stream into events, whatever the pieces it comes in.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    line: Vec<u8>,
    first_line: bool,
    after_return: bool,
    name: String,
    data: Option<String>,
}

impl Default for Framer {
    fn default() -> Self {
        Self::with_limit(limit::SSE_EVENT_BYTES)
    }
}

impl Framer {
    /// A framer that refuses events larger than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            first_line: true,
            after_return: false,
            name: String::new(),
            data: None,
        }
    }

    /// Takes the next piece; the events it completes.
    ///
    /// # Errors
    /// An event is larger than the limit.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<SseEvent>, SseError> {
        let mut events = Vec::new();
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&bytes[..end]);
            self.check_size()?;
            events.extend(self.end_line());
            let returned = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if returned {
                self.after_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.line.extend_from_slice(bytes);
        self.check_size()?;
        Ok(events)
    }

    fn check_size(&self) -> Result<(), SseError> {
        let held = self.line.len() + self.name.len() + self.data.as_ref().map_or(0, String::len);
        if held > self.limit { Err(SseError { limit: self.limit }) } else { Ok(()) }
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            return self.data.take().map(|data| SseEvent { name, data });
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => {
                let text = String::from_utf8_lossy(value);
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(&text);
                    }
                    None => self.data = Some(text.into_owned()),
                }
            }
            // A comment (empty field), `id`, `retry`, or something newer: nothing a POST needs.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let mut framer = Framer::default();
        pieces.iter().flat_map(|piece| framer.push(piece).unwrap()).collect()
    }

    fn event(name: &str, data: &str) -> SseEvent {
        SseEvent { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn lines_end_at_lf_cr_and_crlf() {
        for end in ["\n", "\r", "\r\n"] {
            let text = ["event: a", "data: 1", "", "data: 2", "", ""].join(end);
            assert_eq!(frame(&[text.as_bytes()]), [event("a", "1"), event("", "2")], "{end:?}");
        }
        assert_eq!(
            frame(&[b"data: 1\r", b"\ndata: 2\r\n\r", b"\ndata: 3\n\n"]),
            [event("", "1\n2"), event("", "3")]
        );
    }

    #[test]
    fn unicode_line_ends_are_text() {
        let text = "data: a\u{2028}b\u{2029}c\u{85}d\n\n";
        assert_eq!(frame(&[text.as_bytes()]), [event("", "a\u{2028}b\u{2029}c\u{85}d")]);
    }

    #[test]
    fn a_byte_order_mark_is_allowed_once() {
        assert_eq!(frame(&[b"\xEF", b"\xBB\xBFdata: 1\n\n"]), [event("", "1")]);
        assert_eq!(frame(&[b"data: 1\n\n\xEF\xBB\xBFdata: 2\n\n"]), [event("", "1")]);
    }

    #[test]
    fn comments_ids_and_unknown_fields_are_skipped() {
        let text = b": keep-alive\nid: 7\nretry: 10\nnews\nevent: x\ndata:no space\ndata:  two\n\n";
        assert_eq!(frame(&[text]), [event("x", "no space\n two")]);
    }

    #[test]
    fn a_name_without_data_is_no_event_and_does_not_leak() {
        assert_eq!(frame(&[b"event: lost\n\ndata\n\n"]), [event("", "")]);
    }

    #[test]
    fn an_unterminated_last_event_is_dropped() {
        assert_eq!(frame(&[b"data: 1\n\ndata: 2\n"]), [event("", "1")]);
    }

    #[test]
    fn an_event_may_not_grow_without_bound() {
        let mut framer = Framer::with_limit(16);
        assert!(framer.push(b"data: 12345\n\ndata: 12345\n\n").is_ok());
        assert_eq!(framer.push(b": a comment that never ends"), Err(SseError { limit: 16 }));
        let mut framer = Framer::with_limit(16);
        let pieces = [&b"data: 1234\n"[..], b"data: 1234\n", b"data: 1234\n"];
        assert!(pieces.iter().any(|piece| framer.push(piece).is_err()));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in prop::collection::vec("(event: [a-z]{0,3}|data: [aé東👋: ]{0,6}|: x|)(\n|\r|\r\n)", 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = lines.concat().into_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(frame(&pieces), frame(&[&bytes]));
        }
    }
}
