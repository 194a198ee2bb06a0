//! What is kept of a command's output: all of it up to a bound, beyond that its head and its tail.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limit;

/// Collects one stream in bounded memory.
pub(super) struct Capture {
    keep: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

/// A stream's output as it comes, shared between who reads the stream and who is asked for it.
pub(super) struct Captures(Mutex<Capture>);

impl Captures {
    pub(super) fn new(keep: usize) -> Self {
        Self(Mutex::new(Capture::new(keep)))
    }

    /// Reads a stream to its end, or until it breaks.
    pub(super) async fn fill(&self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                return;
            }
            self.locked().take(&buffer[..count]);
        }
    }

    /// What came since the last time, as far as it may be shown while more may come.
    pub(super) fn so_far(&self) -> Capture {
        self.locked().so_far()
    }

    /// What came since the last time, all of it.
    pub(super) fn rest(&self) -> Capture {
        let mut capture = self.locked();
        let keep = capture.keep;
        std::mem::replace(&mut *capture, Capture::new(keep))
    }

    fn locked(&self) -> MutexGuard<'_, Capture> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

/// What a stream came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Captured {
    pub(super) text: String,
    /// How many bytes there were, if not all are in the text.
    pub(super) cut_from: Option<u64>,
}

impl Capture {
    /// Keeps about `keep` bytes.
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, head: Vec::new(), tail: VecDeque::new(), total: 0 }
    }

    /// Takes out what may be shown while more may come: whole lines. What is left may be the beginning of a secret; of a
    /// line without end that is no more than its last part.
    pub(super) fn so_far(&mut self) -> Self {
        if (self.head.len() + self.tail.len()) as u64 == self.total {
            self.head.extend(self.tail.drain(..));
        }
        let end: &[u8] = if self.tail.is_empty() { &self.head } else { self.tail.make_contiguous() };
        let line = end.iter().rev().take_while(|byte| **byte != b'\n').count();
        let rest = end[end.len() - line.min(limit::OUTPUT_SLACK_BYTES)..].to_vec();
        if self.tail.is_empty() {
            self.head.truncate(self.head.len() - rest.len());
        } else {
            self.tail.truncate(self.tail.len() - rest.len());
        }
        self.total -= rest.len() as u64;
        let later = Self { keep: self.keep, total: rest.len() as u64, head: rest, tail: VecDeque::new() };
        std::mem::replace(self, later)
    }

    /// Takes what came.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let head_room = self.keep.max(self.share() + limit::OUTPUT_SLACK_BYTES);
        let (head, rest) = bytes.split_at(bytes.len().min(head_room - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let tail_room = self.share() + limit::OUTPUT_SLACK_BYTES;
        self.tail.drain(..self.tail.len().saturating_sub(tail_room));
    }

    /// Bytes kept at either end once the whole is too long: 40 %.
    fn share(&self) -> usize {
        self.keep / 5 * 2
    }

    /// The text, made fit for a model by `show` before anything is cut.
    pub(super) fn finish(mut self, show: impl Fn(&str) -> String) -> Captured {
        let share = self.share();
        let kept = (self.head.len() + self.tail.len()) as u64;
        if kept == self.total {
            self.head.extend(self.tail);
            let text = show(&String::from_utf8_lossy(&self.head));
            if text.len() <= self.keep {
                return Captured { text, cut_from: None };
            }
            let (head, tail) = (first(&text, share), last(&text, share));
            return Captured { text: joined(head, tail, self.total), cut_from: Some(self.total) };
        }
        // What the capture's own edges go through may be half a secret, which `show` does not know: it lies in the slack.
        let head = show(&String::from_utf8_lossy(&self.head));
        let head = &head[..head.floor_char_boundary(head.len().saturating_sub(limit::OUTPUT_SLACK_BYTES))];
        let tail = show(&String::from_utf8_lossy(self.tail.make_contiguous()));
        let tail = &tail[tail.ceil_char_boundary(limit::OUTPUT_SLACK_BYTES.min(tail.len()))..];
        let text = joined(first(head, share), last(tail, share), self.total);
        Captured { text, cut_from: Some(self.total) }
    }
}

/// Whole lines from the start; a part of a line only when the first is already too long.
fn first(text: &str, bytes: usize) -> &str {
    let text = &text[..text.floor_char_boundary(bytes)];
    text.rfind('\n').map_or(text, |end| &text[..=end])
}

/// Whole lines from the end; a part of a line only when the last is already too long.
fn last(text: &str, bytes: usize) -> &str {
    let text = &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..];
    match text.find('\n') {
        Some(end) if end + 1 < text.len() => &text[end + 1..],
        _ => text,
    }
}

fn joined(head: &str, tail: &str, total: u64) -> String {
    let left_out = total.saturating_sub((head.len() + tail.len()) as u64);
    let line_end = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
    format!("{head}{line_end}[... {left_out} bytes left out ...]\n{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(keep: usize, text: &str, piece: usize) -> Captured {
        let mut capture = Capture::new(keep);
        text.as_bytes().chunks(piece).for_each(|bytes| capture.take(bytes));
        capture.finish(|text| text.replace("hunter2-hunter2", "[secret]"))
    }

    #[test]
    fn short_output_is_whole() {
        assert_eq!(captured(10, "a\nb\n", 1), Captured { text: "a\nb\n".to_owned(), cut_from: None });
        assert_eq!(captured(10, "", 1).text, "");
    }

    #[test]
    fn long_output_keeps_whole_lines_of_both_ends() {
        let text: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
        for piece in [1, 7, 4096, 1 << 20] {
            let captured = captured(200, &text, piece);
            assert_eq!(captured.cut_from, Some(text.len() as u64));
            assert!(captured.text.starts_with("line 0\nline 1\n"), "{}", captured.text);
            assert!(captured.text.ends_with("\nline 99998\nline 99999\n"), "{}", captured.text);
            assert!(captured.text.contains("bytes left out"), "{}", captured.text);
            assert!(captured.text.len() < 250);
        }
    }

    #[test]
    fn a_cut_never_shows_part_of_a_secret() {
        let keep = 100;
        let room = keep.max(keep / 5 * 2 + limit::OUTPUT_SLACK_BYTES);
        for before in [0, keep / 5 * 2 - 7, room - 7, room - 1] {
            let text = format!("{}hunter2-hunter2{}", "x".repeat(before), "y".repeat(3 * room));
            assert!(!captured(keep, &text, 1000).text.contains("hunter2"), "before {before}");
            let text = format!("{}hunter2-hunter2{}", "x".repeat(3 * room), "y".repeat(before));
            assert!(!captured(keep, &text, 1000).text.contains("hunter2"), "after {before}");
        }
    }

    #[test]
    fn what_is_shown_meanwhile_never_ends_within_a_secret() {
        let show = |text: &str| text.replace("hunter2-hunter2", "[secret]");
        let room = 100.max(100 / 5 * 2 + limit::OUTPUT_SLACK_BYTES);
        for before in [0, 10, room - 7, room + 5, 3 * room] {
            for line_end in ["", "\n"] {
                let mut capture = Capture::new(100);
                capture.take(format!("{}{line_end}hunter2-", "x".repeat(before)).as_bytes());
                let first = capture.so_far().finish(show).text;
                capture.take(b"hunter2\n");
                let then = capture.so_far().finish(show).text;
                assert!(
                    !format!("{first}{then}").contains("hunter2"),
                    "{before} {line_end:?}: {first} {then}"
                );
                assert!(then.contains("[secret]"), "{before} {line_end:?}: {then}");
                assert_eq!(capture.total, 0);
            }
        }
        let mut capture = Capture::new(100);
        capture.take(b"one\ntwo\nthr");
        assert_eq!(capture.so_far().finish(show).text, "one\ntwo\n");
        assert_eq!(capture.so_far().finish(show).text, "");
        capture.take(b"ee\n");
        assert_eq!(capture.so_far().finish(show).text, "three\n");
    }

    #[test]
    fn broken_utf8_is_shown_as_far_as_it_goes() {
        let mut capture = Capture::new(100);
        capture.take(b"caf\xc3\xa9 \xff");
        assert_eq!(capture.finish(str::to_owned).text, "caf\u{e9} \u{fffd}");
    }
}
