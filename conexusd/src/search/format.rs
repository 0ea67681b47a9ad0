//! Formatting: a slice of a ranking in, whole snippets within a token budget out.

use std::borrow::Cow;
use std::collections::HashMap;

use super::SearchResult;
use super::rank::{Ranked, enclosing_definition};
use crate::index::IndexError;
use crate::index::chunk::Kind;
use crate::index::snapshot::{FileRow, Snapshot};

/// Bytes that are taken for one token: what common tokenizers make of code, on the careful side.
pub const BYTES_PER_TOKEN: usize = 4;

/// The texts of the files of a slice, as the index has them.
#[derive(Debug, Default)]
pub struct Texts {
    files: HashMap<FileRow, FileText>,
}

impl Texts {
    /// Reads them from the store.
    pub fn read(snapshot: &Snapshot, slice: &[Ranked]) -> Result<Self, IndexError> {
        let mut files: HashMap<FileRow, FileText> = HashMap::new();
        for place in slice {
            if let std::collections::hash_map::Entry::Vacant(entry) = files.entry(place.file) {
                entry.insert(FileText::of(snapshot, place.file)?);
            }
        }
        Ok(Self { files })
    }

    /// How many files, and the bytes of all of them.
    pub fn size(&self) -> (usize, usize) {
        (self.files.len(), self.files.values().map(|file| file.bytes.len()).sum())
    }
}

/// The results of a slice whose texts were read, and the bytes of all their contents.
pub fn results(
    snapshot: &Snapshot,
    slice: &[Ranked],
    texts: &Texts,
    max_tokens: Option<usize>,
) -> (Vec<SearchResult>, usize) {
    let mut left = max_tokens.map_or(usize::MAX, |tokens| tokens.saturating_mul(BYTES_PER_TOKEN));
    let mut bytes = 0;
    let mut results = Vec::with_capacity(slice.len());
    for place in slice {
        let text = &texts.files[&place.file];
        let result = result(snapshot, place, text, left);
        bytes += result.content.len();
        left = left.saturating_sub(result.content.len() + result.enclosing.as_ref().map_or(0, String::len));
        if result.truncated {
            // A shorter snippet further down must not be shown in place of a better one.
            left = 0;
        }
        results.push(result);
    }
    (results, bytes)
}

fn result(snapshot: &Snapshot, place: &Ranked, text: &FileText, left: usize) -> SearchResult {
    let file = snapshot.file(place.file);
    let chunk = snapshot.chunk(place.chunk);
    let whole = text.lines(snapshot, place.start_line, place.end_line);
    let content = whole_lines(&whole, left);
    let enclosing = enclosing_line(snapshot, place, text).filter(|line| line.len() <= left - content.len().min(left));
    let lines = format!("{}-{}", place.start_line, place.end_line);
    SearchResult {
        id: format!("{}:{lines}", file.path),
        path: file.path.to_owned(),
        start_line: place.start_line,
        end_line: place.end_line,
        symbol: (!chunk.symbol.is_empty()).then(|| chunk.symbol.to_owned()),
        scope: (!chunk.scope.is_empty()).then(|| chunk.scope.to_owned()),
        kind: kind_name(chunk.kind),
        language: file.language.name(),
        source_type: file.class.source_type.as_str(),
        score: place.score,
        content: content.to_owned(),
        enclosing,
        truncated: content.len() < whole.len(),
    }
}

/// The first line of the innermost definition around the snippet that the snippet does not show.
fn enclosing_line(snapshot: &Snapshot, place: &Ranked, text: &FileText) -> Option<String> {
    let outer = enclosing_definition(snapshot, place.chunk).filter(|outer| outer.start_line < place.start_line)?;
    let line = text.lines(snapshot, outer.start_line, outer.start_line);
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The longest prefix of whole lines within `bytes`.
fn whole_lines(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = text.as_bytes()[..bytes].iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    &text[..end]
}

/// A file's text, of which only what is shown is looked at.
#[derive(Debug)]
struct FileText {
    file: FileRow,
    bytes: Vec<u8>,
}

impl FileText {
    fn of(snapshot: &Snapshot, file: FileRow) -> Result<Self, IndexError> {
        Ok(Self { file, bytes: snapshot.file_bytes(file)? })
    }

    /// Lines from 1, both inclusive, without the last one's newline. Lines beyond the end are empty.
    fn lines(&self, snapshot: &Snapshot, first: u32, last: u32) -> Cow<'_, str> {
        let first = first.max(1);
        let chunk = snapshot.chunk_at(self.file, first).map(|row| snapshot.chunk(row));
        // Counted from there, not from the beginning.
        let (line, byte) = chunk.map_or((1, 0), |chunk| (chunk.start_line, chunk.start_byte as usize));
        lines_from(&self.bytes[byte.min(self.bytes.len())..], first - line, last.saturating_sub(line))
    }
}

/// Lines from 0, both inclusive.
fn lines_from(bytes: &[u8], first: u32, last: u32) -> Cow<'_, str> {
    let mut ends = memchr::memchr_iter(b'\n', bytes).map(|at| at + 1);
    let start = match first.checked_sub(1) {
        None => 0,
        Some(before) => ends.nth(before as usize).unwrap_or(bytes.len()),
    };
    let end = last.checked_sub(first).map_or(start, |more| ends.nth(more as usize).unwrap_or(bytes.len()));
    let lines = &bytes[start..end];
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    String::from_utf8_lossy(lines.strip_suffix(b"\r").unwrap_or(lines))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "block",
        Kind::Function => "function",
        Kind::Method => "method",
        Kind::Type => "type",
        Kind::Interface => "interface",
        Kind::Module => "module",
        Kind::Constant => "constant",
        Kind::Macro => "macro",
        Kind::Field => "field",
        Kind::Section => "section",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_whole_and_lines_beyond_the_end_are_empty() {
        let lines = |first, last| lines_from("a\r\nbb\n\nd".as_bytes(), first, last);
        assert_eq!(lines(0, 0), "a");
        assert_eq!(lines(1, 1), "bb");
        assert_eq!(lines(0, 3), "a\r\nbb\n\nd");
        assert_eq!(lines(2, 2), "");
        assert_eq!(lines(3, 3), "d");
        assert_eq!(lines(4, 8), "");
        assert_eq!(lines(2, 1), "");
        assert_eq!(lines_from(b"", 0, 0), "");
    }

    #[test]
    fn a_budget_cuts_at_the_end_of_a_line() {
        assert_eq!(whole_lines("one\ntwo\nthree", 100), "one\ntwo\nthree");
        assert_eq!(whole_lines("one\ntwo\nthree", 9), "one\ntwo");
        assert_eq!(whole_lines("one\ntwo", 2), "");
        assert_eq!(whole_lines("größe\nx", 4), "");
    }
}
