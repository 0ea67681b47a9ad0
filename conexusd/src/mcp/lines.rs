//! Lines: bytes in, whole lines out, none of them longer than a bound.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The longest message that is taken, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 20;

/// Lines of a stream.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// Whether the rest of a line that was too long is still to be skipped.
    skipping: bool,
    max: usize,
}

/// What comes next on a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line without its end; never blank. The last one needs no end.
    Line(Vec<u8>),
    /// A line that was too long, skipped.
    TooLong,
    /// The end.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new(), skipping: false, max: LINE_BYTES_MAX }
    }

    /// The next line. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> io::Result<Next> {
        loop {
            let available = self.reader.fill_buf().await?;
            let (taken, ended) = match memchr::memchr(b'\n', available) {
                Some(at) => (at + 1, true),
                None => (available.len(), available.is_empty()),
            };
            let at_end = available.is_empty();
            let too_long = self.line.len() + taken > self.max + 1;
            if !self.skipping && !too_long {
                self.line.extend_from_slice(&available[..taken]);
            }
            self.reader.consume(taken);
            if !self.skipping && too_long {
                self.line = Vec::new();
                self.skipping = !ended;
                return Ok(Next::TooLong);
            }
            if !ended {
                continue;
            }
            self.skipping = false;
            let line = std::mem::take(&mut self.line);
            let text = line.trim_ascii();
            if !text.is_empty() {
                return Ok(Next::Line(text.to_vec()));
            }
            if at_end {
                return Ok(Next::End);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8], max: usize) -> Vec<Next> {
        let mut lines = Lines { max, ..Lines::new(text) };
        let mut found = Vec::new();
        loop {
            found.push(lines.next().await.unwrap());
            if found.last() == Some(&Next::End) {
                return found;
            }
        }
    }

    fn line(text: &str) -> Next {
        Next::Line(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn lines_come_without_ends_and_blanks_are_skipped() {
        assert_eq!(all(b"a\r\n\n  \nb\nc", 10).await, [line("a"), line("b"), line("c"), Next::End]);
        assert_eq!(all(b"", 10).await, [Next::End]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() {
        let long = [&b"x".repeat(50_000)[..], b"\nok\n"].concat();
        assert_eq!(all(&long, 10_000).await, [Next::TooLong, line("ok"), Next::End]);
        assert_eq!(all(b"12345\n123456\n1\n", 5).await, [line("12345"), Next::TooLong, line("1"), Next::End]);
        assert_eq!(all(&b"x".repeat(50_000), 10).await, [Next::TooLong, Next::End]);
    }
}
