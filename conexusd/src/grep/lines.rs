//! Lines: the matching lines of one file, with the lines around them.

use std::fs::File;
use std::io::{self, Read};

use grep_matcher::Matcher;
use grep_regex::RegexMatcher;
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkFinish, SinkMatch};

use super::files::Candidate;
use super::{GrepRequest, Stop};

/// The matching lines of a file and the lines around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMatches {
    /// Relative to the root.
    pub path: String,
    /// In order, without repetition.
    pub lines: Vec<Line>,
    /// Matching lines in the file, kept or not.
    pub count: u64,
}

/// A line, matching or beside a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// Without its end; a long one is cut around the match, and says so.
    pub text: String,
    /// What matched first, if the line is a result.
    pub matched: Option<String>,
}

/// Characters of a line, and of a match, that are returned.
const LINE_CHARS: usize = 400;

/// Bytes of one line that are held at once; a file with a longer one counts as unreadable.
const LINE_BYTES_MAX: usize = 64 << 20;

impl FileMatches {
    /// Matching lines among `lines`.
    pub fn matches(&self) -> usize {
        self.lines.iter().filter(|line| line.matched.is_some()).count()
    }

    /// The lines from `context` before to `context` after a line.
    pub fn around(&self, number: u64, context: usize) -> impl Iterator<Item = &Line> {
        let (first, last) = (number.saturating_sub(context as u64), number + context as u64);
        self.lines.iter().filter(move |line| (first..=last).contains(&line.number))
    }

    /// Keeps the first matching lines with their context.
    pub(super) fn keep_first(&mut self, matches: usize, context: usize) {
        if self.matches() <= matches {
            return;
        }
        let last = self.lines.iter().filter(|line| line.matched.is_some()).map(|line| line.number).nth(
            // With none to keep there is no last one either.
            matches.wrapping_sub(1),
        );
        let last_line = last.map_or(0, |last| last + context as u64);
        self.lines.retain(|line| line.number <= last_line);
        for line in &mut self.lines {
            if last.is_some_and(|last| line.number > last) {
                line.matched = None;
            }
        }
    }
}

/// A searcher that skips binary files and gives so many lines around each match.
pub(super) fn searcher(context: usize) -> Searcher {
    SearcherBuilder::new()
        .line_number(true)
        .before_context(context)
        .after_context(context)
        .binary_detection(BinaryDetection::quit(0))
        .heap_limit(Some(LINE_BYTES_MAX))
        .build()
}

/// Searches one file. `None` if it was stopped; a binary file has no matches.
pub(super) fn search(
    searcher: &mut Searcher,
    matcher: &RegexMatcher,
    file: &Candidate,
    request: &GrepRequest,
    count_max: u64,
    stop: &Stop<'_>,
) -> io::Result<Option<FileMatches>> {
    let found = FileMatches { path: file.text.clone(), lines: Vec::new(), count: 0 };
    let mut sink =
        Collect { found, matcher, kept: 0, last_kept: 0, stopped: false, count_max, request, stop, binary: false };
    let reader = StoppableReader { file: File::open(&file.path)?, stop };
    match searcher.search_reader(matcher, reader, &mut sink) {
        Err(_) if stop.now() => return Ok(None),
        outcome => outcome?,
    }
    if sink.stopped {
        return Ok(None);
    }
    if sink.binary {
        sink.found.lines.clear();
        sink.found.count = 0;
    }
    Ok(Some(sink.found))
}

/// A file that ends with an error once it is time to stop, so that a huge one holds nobody up.
struct StoppableReader<'a> {
    file: File,
    stop: &'a Stop<'a>,
}

impl Read for StoppableReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.now() {
            return Err(io::Error::other("stopped"));
        }
        self.file.read(buffer)
    }
}

struct Collect<'a> {
    found: FileMatches,
    matcher: &'a RegexMatcher,
    request: &'a GrepRequest,
    count_max: u64,
    stop: &'a Stop<'a>,
    kept: usize,
    last_kept: u64,
    stopped: bool,
    binary: bool,
}

impl Sink for Collect<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, line: &SinkMatch<'_>) -> io::Result<bool> {
        if self.stop.now() {
            self.stopped = true;
            return Ok(false);
        }
        self.found.count += 1;
        let number = line.line_number().unwrap_or(0);
        let bytes = without_end(line.bytes());
        if self.kept < self.request.max_results {
            self.kept += 1;
            self.last_kept = number;
            let (text, matched) = shown(bytes, self.matcher);
            self.found.lines.push(Line { number, text, matched: Some(matched) });
        } else {
            self.beside(number, bytes);
        }
        Ok(self.found.count < self.count_max)
    }

    fn context(&mut self, _: &Searcher, line: &SinkContext<'_>) -> io::Result<bool> {
        self.beside(line.line_number().unwrap_or(0), without_end(line.bytes()));
        Ok(true)
    }

    fn binary_data(&mut self, _: &Searcher, _offset: u64) -> io::Result<bool> {
        self.binary = true;
        Ok(false)
    }

    fn finish(&mut self, _: &Searcher, finish: &SinkFinish) -> io::Result<()> {
        self.binary |= finish.binary_byte_offset().is_some();
        Ok(())
    }
}

impl Collect<'_> {
    fn beside(&mut self, number: u64, bytes: &[u8]) {
        let full = self.kept >= self.request.max_results;
        if !full || number <= self.last_kept + self.request.context as u64 {
            let text = cut(&String::from_utf8_lossy(bytes), 0);
            self.found.lines.push(Line { number, text, matched: None });
        }
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A matching line as it is returned, and what matched in it.
fn shown(line: &[u8], matcher: &RegexMatcher) -> (String, String) {
    let (start, end) = matcher.find(line).ok().flatten().map_or((0, 0), |found| (found.start(), found.end()));
    let matched: String = String::from_utf8_lossy(&line[start..end]).chars().take(LINE_CHARS).collect();
    let before = String::from_utf8_lossy(&line[..start]).chars().count();
    (cut(&String::from_utf8_lossy(line), before), matched)
}

/// At most [`LINE_CHARS`] characters of a line, such that the one at `keep` is among them.
fn cut(line: &str, keep: usize) -> String {
    let chars = if line.len() <= LINE_CHARS { line.len() } else { line.chars().count() };
    if chars <= LINE_CHARS {
        return line.to_owned();
    }
    let first = keep.saturating_sub(LINE_CHARS / 4).min(chars - LINE_CHARS);
    let part: String = line.chars().skip(first).take(LINE_CHARS).collect();
    let (left, right) = (if first > 0 { "…" } else { "" }, if first + LINE_CHARS < chars { "…" } else { "" });
    format!("{left}{part}{right} [line cut: {chars} characters]")
}
