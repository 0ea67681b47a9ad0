//! Records: how a file and a content are written as bytes in the store, and read back.
//!
//! Integers are little-endian, texts are prefixed with their length. A record that cannot be read is an error, never
//! a panic: the store may have been written by another version, or damaged.

use crate::index::chunk::{Chunk, Definition, Kind, ParsedFile};

/// The key of a content: the first 16 bytes of BLAKE3 over the file's bytes and its language.
pub type ContentKey = [u8; 16];

/// What the file system says of a file. Equal stats mean that the file was not touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Last change of the content, nanoseconds since 1970.
    pub modified: i64,
    /// Last change of content or metadata (also set by a rename), nanoseconds since 1970.
    pub changed: i64,
    /// Size.
    pub bytes: u64,
}

/// What the store knows of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is in the index.
    Indexed(FileRecord),
    /// It was read and left out; it need not be read again while its stat is the same.
    Skipped {
        /// The stat when it was read.
        stat: Stat,
        /// The number of the [`conexus_proto::facts::SkipReason`].
        reason: u8,
    },
}

impl Entry {
    /// The stat when the file was read.
    pub fn stat(&self) -> Stat {
        match self {
            Entry::Indexed(record) => record.stat,
            Entry::Skipped { stat, .. } => *stat,
        }
    }
}

/// A file of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// One version of one file: a change of the content gives a new number. Never used twice.
    pub id: u32,
    /// The stat when it was read.
    pub stat: Stat,
    /// Its content.
    pub content: ContentKey,
    /// [`crate::index::language::Language::number`].
    pub language: u8,
}

const INDEXED: u8 = 1;
const SKIPPED: u8 = 2;

/// The bytes of an entry.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    match entry {
        Entry::Indexed(record) => {
            out.push(INDEXED);
            put_stat(&mut out, record.stat);
            put_u32(&mut out, record.id);
            out.extend_from_slice(&record.content);
            out.push(record.language);
        }
        Entry::Skipped { stat, reason } => {
            out.push(SKIPPED);
            put_stat(&mut out, *stat);
            out.push(*reason);
        }
    }
    out
}

/// The entry of these bytes.
pub fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let mut input = Input(bytes);
    match input.u8()? {
        INDEXED => Some(Entry::Indexed(FileRecord {
            stat: input.stat()?,
            id: input.u32()?,
            content: input.take(16)?.try_into().ok()?,
            language: input.u8()?,
        })),
        SKIPPED => Some(Entry::Skipped { stat: input.stat()?, reason: input.u8()? }),
        _ => None,
    }
}

/// The bytes of a content: its text, compressed, then what was parsed from it.
pub fn encode_content(text: &str, parsed: &ParsedFile) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 2 + 64);
    put_packed(&mut out, text.as_bytes());
    put_packed(&mut out, &encode_parsed(parsed));
    out
}

fn encode_parsed(parsed: &ParsedFile) -> Vec<u8> {
    let mut out = Vec::with_capacity(parsed.chunks.len() * 64 + 64);
    put_u32(&mut out, parsed.lines);
    put_u32(&mut out, parsed.chunks.len() as u32);
    for chunk in &parsed.chunks {
        put_u32(&mut out, chunk.start_line);
        put_u32(&mut out, chunk.end_line);
        put_u32(&mut out, chunk.start_byte);
        put_u32(&mut out, chunk.end_byte);
        out.push(chunk.kind as u8);
        put_option(&mut out, chunk.symbol.as_deref());
        put_option(&mut out, chunk.scope.as_deref());
        put_option(&mut out, chunk.signature.as_deref());
    }
    put_u32(&mut out, parsed.definitions.len() as u32);
    for definition in &parsed.definitions {
        put_text(&mut out, &definition.name);
        put_option(&mut out, definition.scope.as_deref());
        out.push(definition.kind as u8);
        put_u32(&mut out, definition.start_line);
        put_u32(&mut out, definition.end_line);
    }
    put_u32(&mut out, parsed.imports.len() as u32);
    for import in &parsed.imports {
        put_text(&mut out, import);
    }
    out
}

/// The text of a content.
pub fn decode_text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(decode_bytes(bytes)?).ok()
}

/// The same, not checked to be UTF-8: most readers want a small part.
pub fn decode_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    Input(bytes).unpacked()
}

/// What was parsed from a content.
pub fn decode_parsed(bytes: &[u8]) -> Option<ParsedFile> {
    let mut input = Input(bytes);
    input.packed()?;
    let bytes = input.unpacked()?;
    let mut input = Input(&bytes);
    let mut parsed = ParsedFile { lines: input.u32()?, ..ParsedFile::default() };
    for _ in 0..input.u32()? {
        parsed.chunks.push(Chunk {
            start_line: input.u32()?,
            end_line: input.u32()?,
            start_byte: input.u32()?,
            end_byte: input.u32()?,
            kind: kind_from_number(input.u8()?),
            symbol: input.option()?,
            scope: input.option()?,
            signature: input.option()?,
        });
    }
    for _ in 0..input.u32()? {
        parsed.definitions.push(Definition {
            name: input.text()?.into(),
            scope: input.option()?,
            kind: kind_from_number(input.u8()?),
            start_line: input.u32()?,
            end_line: input.u32()?,
        });
    }
    for _ in 0..input.u32()? {
        parsed.imports.push(input.text()?.to_owned());
    }
    Some(parsed)
}

/// The kind with this number; unknown numbers are blocks.
pub fn kind_from_number(number: u8) -> Kind {
    match number {
        1 => Kind::Function,
        2 => Kind::Method,
        3 => Kind::Type,
        4 => Kind::Interface,
        5 => Kind::Module,
        6 => Kind::Constant,
        7 => Kind::Macro,
        8 => Kind::Field,
        9 => Kind::Section,
        _ => Kind::Block,
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Adds bytes compressed: their length, that of the compressed form, and this.
fn put_packed(out: &mut Vec<u8>, bytes: &[u8]) {
    let packed = lz4_flex::block::compress(bytes);
    put_u32(out, bytes.len() as u32);
    put_u32(out, packed.len() as u32);
    out.extend_from_slice(&packed);
}

fn put_stat(out: &mut Vec<u8>, stat: Stat) {
    out.extend_from_slice(&stat.modified.to_le_bytes());
    out.extend_from_slice(&stat.changed.to_le_bytes());
    out.extend_from_slice(&stat.bytes.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u32(out, text.len() as u32);
    out.extend_from_slice(text.as_bytes());
}

/// Absent is a length that no text has.
fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => put_u32(out, u32::MAX),
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    /// The length and the bytes that [`put_packed`] added.
    fn packed(&mut self) -> Option<(usize, &'a [u8])> {
        let (length, packed) = (self.u32()? as usize, self.u32()? as usize);
        Some((length, self.take(packed)?))
    }

    fn unpacked(&mut self) -> Option<Vec<u8>> {
        let (length, packed) = self.packed()?;
        // LZ4 cannot compress better than 255 times: a greater length is damage, not worth an allocation.
        if length > packed.len().saturating_mul(255) + 64 {
            return None;
        }
        lz4_flex::block::decompress(packed, length).ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn stat(&mut self) -> Option<Stat> {
        Some(Stat { modified: self.u64()? as i64, changed: self.u64()? as i64, bytes: self.u64()? })
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn option(&mut self) -> Option<Option<Box<str>>> {
        let length = self.u32()?;
        if length == u32::MAX {
            return Some(None);
        }
        Some(Some(std::str::from_utf8(self.take(length as usize)?).ok()?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> ParsedFile {
        ParsedFile {
            chunks: vec![Chunk {
                start_line: 1,
                end_line: 9,
                start_byte: 0,
                end_byte: 12,
                kind: Kind::Method,
                symbol: Some("run".into()),
                scope: None,
                signature: Some("fn run()".into()),
            }],
            definitions: vec![Definition {
                name: "run".into(),
                scope: Some("Engine".into()),
                kind: Kind::Method,
                start_line: 2,
                end_line: 9,
            }],
            imports: vec!["std::fmt".into()],
            lines: 9,
        }
    }

    #[test]
    fn a_content_comes_back_as_it_was_written() {
        let bytes = encode_content("fn run() {}\n", &sample());
        assert_eq!(decode_text(&bytes).as_deref(), Some("fn run() {}\n"));
        assert_eq!(decode_parsed(&bytes), Some(sample()));
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_refused() {
        let bytes = encode_content("fn run() {}\n", &sample());
        for length in 0..bytes.len() {
            assert_eq!(decode_parsed(&bytes[..length]), None, "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_was_written(
            id: u32, modified: i64, changed: i64, bytes: u64, content: [u8; 16], language: u8, reason: u8
        ) {
            let stat = Stat { modified, changed, bytes };
            let indexed = Entry::Indexed(FileRecord { id, stat, content, language });
            prop_assert_eq!(decode_entry(&encode_entry(&indexed)), Some(indexed));
            let skipped = Entry::Skipped { stat, reason };
            prop_assert_eq!(decode_entry(&encode_entry(&skipped)), Some(skipped));
        }

        #[test]
        fn bytes_of_any_kind_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decode_entry(&bytes), decode_parsed(&bytes));
        }
    }
}
