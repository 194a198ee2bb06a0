//! What does a program print? The end of it is kept, for the error that names it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::limit;

/// The end of what a program has printed so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    /// Reads a stream to its end.
    pub(super) async fn follow(self, mut stream: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 4096];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                return;
            }
            self.take(&buffer[..count]);
        }
    }

    fn take(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().expect("nothing panics while it holds this");
        kept.extend_from_slice(bytes);
        let over = kept.len().saturating_sub(limit::SERVER_LOG_BYTES);
        kept.drain(..over);
    }

    /// As a text.
    pub(super) fn text(&self) -> String {
        let kept = self.0.lock().expect("nothing panics while it holds this");
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

/// A stream that is read by another, and overheard.
pub(super) struct Overheard<S> {
    stream: S,
    printed: Printed,
}

impl<S> Overheard<S> {
    pub(super) fn new(stream: S, printed: Printed) -> Self {
        Self { stream, printed }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.printed.take(&buffer.filled()[before..]);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_kept_and_the_reader_gets_all() {
        let text = format!("begin{}end\n", "x".repeat(2 * limit::SERVER_LOG_BYTES));
        let printed = Printed::default();
        let mut all = String::new();
        Overheard::new(text.as_bytes(), printed.clone()).read_to_string(&mut all).await.unwrap();
        assert_eq!(all, text);
        assert!(printed.text().ends_with("xend") && printed.text().len() <= limit::SERVER_LOG_BYTES);
    }
}
