//! Derive: a file's stored form in, what searches need of it out: columns, combined vectors, terms.
//!
//! The same function serves fresh files and recovery, so that an index made from the store equals one made from disk.

use tantivy::TantivyDocument;

use super::chunk::{Chunk, Definition, ParsedFile};
use super::classify::{Class, classify};
use super::embed::{Embedder, add_path, normalize};
use super::language::Language;
use super::lexical::{Fields, SEPARATOR};
use super::quantize::quantize;
use super::segment::hash32;
use super::store::record::ContentKey;
use super::tokenize;
use crate::ablation::{Signal, off};

/// What the segment and the lexical index take in of one file version.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Derived {
    /// As shown: bytes that are not UTF-8 escaped.
    pub path: String,
    /// Whether anything was escaped in `path`.
    pub escaped: bool,
    pub content: ContentKey,
    pub language: Language,
    pub class: Class,
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    pub lines: u32,
    pub chunks: Vec<Chunk>,
    pub definitions: Vec<Definition>,
    /// One vector a chunk: text and path combined.
    pub vectors: Vec<i8>,
    /// The mean of `vectors`.
    pub mean: Vec<i8>,
    /// Hash and number of each term of the file, ascending.
    pub forward: Vec<(u32, u16)>,
    /// Terms, repeated ones counted each time.
    pub terms: u32,
    /// One document a chunk, without the file's number.
    pub documents: Vec<TantivyDocument>,
}

/// A file as the store has it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Source<'a> {
    pub path: &'a [u8],
    pub content: ContentKey,
    pub language: Language,
    pub bytes: u64,
    pub modified: i64,
    pub text: &'a str,
    pub parsed: &'a ParsedFile,
    /// One vector a chunk, of the text alone.
    pub vectors: &'a [i8],
}

/// Derives what searches need.
pub fn derive(source: Source<'_>, fields: &Fields, embedder: &dyn Embedder) -> Derived {
    let (path, escaped) = display_path(source.path);
    let class = classify(&path, source.language, source.text);
    let (vectors, mean) = combine(&path, source.vectors, embedder);
    let mut hashes = Vec::new();
    let mut body = String::new();
    let path_terms = path_terms(&path);
    let documents = source
        .parsed
        .chunks
        .iter()
        .map(|chunk| document(chunk, source.text, &path_terms, fields, &mut body, &mut hashes))
        .collect();
    let terms = hashes.len() as u32;
    Derived {
        path,
        escaped,
        content: source.content,
        language: source.language,
        class,
        bytes: source.bytes,
        modified: source.modified,
        lines: source.parsed.lines,
        chunks: source.parsed.chunks.clone(),
        definitions: source.parsed.definitions.clone(),
        vectors,
        mean,
        forward: count(hashes),
        terms,
        documents,
    }
}

impl Derived {
    /// The chunk (from 0) that holds a line: the last that begins at or before it and reaches it.
    pub fn chunk_at(&self, line: u32) -> u32 {
        let after = self.chunks.partition_point(|chunk| chunk.start_line <= line);
        let holder = self.chunks[..after].iter().rposition(|chunk| chunk.end_line >= line);
        holder.unwrap_or(after.saturating_sub(1)) as u32
    }
}

/// A path as it is shown, and whether bytes had to be escaped (`\xNN`).
pub fn display_path(path: &[u8]) -> (String, bool) {
    if let Ok(text) = std::str::from_utf8(path) {
        return (text.to_owned(), false);
    }
    let mut shown = String::with_capacity(path.len() + 8);
    for part in path.utf8_chunks() {
        shown.push_str(part.valid());
        for byte in part.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    (shown, true)
}

/// The bytes of a path that [`display_path`] escaped.
pub fn raw_path(shown: &str) -> Vec<u8> {
    let bytes = shown.as_bytes();
    let mut raw = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes[at..].strip_prefix(b"\\x").and_then(|rest| std::str::from_utf8(rest.get(..2)?).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte >= 0x80 => {
                raw.push(byte);
                at += 4;
            }
            _ => {
                raw.push(bytes[at]);
                at += 1;
            }
        }
    }
    raw
}

/// Adds the path's share to each vector, and takes the mean.
fn combine(path: &str, content: &[i8], embedder: &dyn Embedder) -> (Vec<i8>, Vec<i8>) {
    let dimensions = embedder.dimensions();
    let path_vector =
        embedder.path_vector(path).filter(|vector| vector.len() == dimensions && !off(Signal::PathVector));
    let weight = embedder.path_weight();
    let mut combined = Vec::with_capacity(content.len());
    let mut sum = vec![0.0f32; dimensions];
    let mut unit = vec![0.0f32; dimensions];
    for vector in content.chunks_exact(dimensions) {
        unit.iter_mut().zip(vector).for_each(|(x, &v)| *x = f32::from(v));
        normalize(&mut unit);
        if let Some(path_vector) = &path_vector {
            add_path(&mut unit, path_vector, weight);
        }
        sum.iter_mut().zip(&unit).for_each(|(s, x)| *s += x);
        combined.extend_from_slice(&quantize(&unit));
    }
    (combined, quantize(&sum).into_vec())
}

/// One chunk's document. `hashes` gets the hash of every term of the text.
fn document(
    chunk: &Chunk,
    text: &str,
    path_terms: &str,
    fields: &Fields,
    body: &mut String,
    hashes: &mut Vec<u32>,
) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    let text = text.get(chunk.start_byte as usize..chunk.end_byte as usize).unwrap_or_default();
    body.clear();
    tokenize::terms(text, &mut |term| {
        hashes.push(hash32(term));
        add_term(body, term);
    });
    document.add_text(fields.text, &*body);
    document.add_text(fields.path, path_terms);
    if let Some(symbol) = &chunk.symbol {
        body.clear();
        tokenize::terms(symbol, &mut |term| add_term(body, term));
        document.add_text(fields.symbol, &*body);
    }
    if chunk.scope.is_some() || chunk.signature.is_some() {
        body.clear();
        for part in [&chunk.scope, &chunk.signature].into_iter().flatten() {
            tokenize::terms(part, &mut |term| add_term(body, term));
        }
        document.add_text(fields.scope, &*body);
    }
    document
}

/// The terms of a path: those of its last three folders and of its name, the name's stem twice.
fn path_terms(path: &str) -> String {
    let mut terms = String::new();
    let start = path.rmatch_indices('/').nth(3).map_or(0, |(at, _)| at + 1);
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    for part in [&path[start..], stem] {
        tokenize::terms(part, &mut |term| add_term(&mut terms, term));
    }
    terms
}

fn add_term(terms: &mut String, term: &str) {
    if !terms.is_empty() {
        terms.push(SEPARATOR);
    }
    terms.push_str(term);
}

/// Each hash once with how often it came (at most 65,535), ascending.
fn count(mut hashes: Vec<u32>) -> Vec<(u32, u16)> {
    hashes.sort_unstable();
    hashes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len().min(usize::from(u16::MAX)) as u16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_that_is_not_utf8_is_shown_escaped_and_comes_back() {
        let (shown, escaped) = display_path(b"a/\xff\xfe.rs");
        assert_eq!((shown.as_str(), escaped), ("a/\\xff\\xfe.rs", true));
        assert_eq!(raw_path(&shown), b"a/\xff\xfe.rs");
    }

    #[test]
    fn path_terms_are_of_the_last_folders_and_of_the_stem_twice() {
        let terms = path_terms("one/two/three/four/retry.rs");
        let terms: Vec<&str> = terms.split(SEPARATOR).collect();
        assert!(!terms.contains(&"one"), "{terms:?}");
        assert_eq!(terms.iter().filter(|term| term.starts_with("retr")).count(), 2, "{terms:?}");
    }

    proptest! {
        #[test]
        fn counts_add_up(hashes in proptest::collection::vec(0u32..50, 0..300)) {
            let counted = count(hashes.clone());
            prop_assert_eq!(counted.iter().map(|&(_, n)| usize::from(n)).sum::<usize>(), hashes.len());
            prop_assert!(counted.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }

        #[test]
        fn every_escaped_path_comes_back(path in proptest::collection::vec(1u8.., 1..40)) {
            let (shown, escaped) = display_path(&path);
            if escaped && !path.contains(&b'\\') {
                prop_assert_eq!(raw_path(&shown), path);
            }
        }
    }
}
