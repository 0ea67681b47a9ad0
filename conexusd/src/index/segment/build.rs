//! Build: derived files in, the sections of a new segment out.

use std::path::Path;

use super::write::SegmentWriter;
use super::{Counts, Section, hash64, name_hash, unsigned};
use crate::index::IndexError;
use crate::index::derive::Derived;
use crate::index::quantize::inverse_length;

/// Strings of a segment are addressed with 32 bits; well before that it is full.
const STRINGS_MAX: usize = 1 << 31;

/// A segment in memory: what was added since the last commit.
#[derive(Debug)]
pub struct SegmentBuilder {
    dimensions: usize,
    counts: Counts,
    ids: Vec<u8>,
    files: Vec<u8>,
    path_hashes: Vec<(u64, u32)>,
    chunks: Vec<u8>,
    definitions: Vec<(u64, [u8; 24])>,
    forward_hashes: Vec<u8>,
    forward_counts: Vec<u8>,
    vectors: Vec<u8>,
    vector_norms: Vec<u8>,
    means: Vec<u8>,
    mean_norms: Vec<u8>,
    strings: Vec<u8>,
}

impl SegmentBuilder {
    /// An empty segment for vectors of this length.
    pub fn new(dimensions: usize) -> Self {
        Self {
            dimensions,
            counts: Counts { dimensions: dimensions as u32, ..Counts::default() },
            ids: Vec::new(),
            files: Vec::new(),
            path_hashes: Vec::new(),
            chunks: Vec::new(),
            definitions: Vec::new(),
            forward_hashes: Vec::new(),
            forward_counts: Vec::new(),
            vectors: Vec::new(),
            vector_norms: Vec::new(),
            means: Vec::new(),
            mean_norms: Vec::new(),
            strings: Vec::new(),
        }
    }

    /// Whether no file was added.
    pub fn is_empty(&self) -> bool {
        self.counts.files == 0
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        self.files.len()
            + self.chunks.len()
            + self.definitions.len() * 32
            + self.forward_hashes.len() * 3 / 2
            + self.vectors.len()
            + self.means.len()
            + self.strings.len()
    }

    /// Whether the segment should be written before more is added.
    pub fn is_full(&self) -> bool {
        self.strings.len() > STRINGS_MAX || self.counts.chunks > 1 << 30
    }

    /// Adds a file version. Versions come in ascending order.
    pub fn push(&mut self, id: u32, file: &Derived) {
        let row = self.counts.files;
        let first_chunk = self.counts.chunks;
        let strings_start = self.strings.len();
        let path = self.add_string(&file.path, usize::MAX);
        self.ids.extend_from_slice(&id.to_le_bytes());
        self.path_hashes.push((hash64(file.path.as_bytes()), row));
        self.push_chunks(row, file);
        self.push_definitions(row, first_chunk, file);
        let forward_start = self.forward_hashes.len() / 4;
        for (term, count) in &file.forward {
            self.forward_hashes.extend_from_slice(&term.to_le_bytes());
            self.forward_counts.extend_from_slice(&count.to_le_bytes());
        }
        self.means.extend_from_slice(unsigned(&file.mean));
        self.mean_norms.extend_from_slice(&inverse_length(&file.mean).to_le_bytes());

        put32(&mut self.files, &[path.0, path.1]);
        self.files.extend_from_slice(&file.bytes.to_le_bytes());
        self.files.extend_from_slice(&file.modified.to_le_bytes());
        let chunks = file.chunks.len() as u32;
        put32(&mut self.files, &[file.lines, first_chunk, chunks, file.terms]);
        put32(&mut self.files, &[forward_start as u32, file.forward.len() as u32]);
        self.files.extend_from_slice(&[
            file.language.number(),
            u8::from(file.escaped),
            file.class.source_type as u8,
            file.class.flags(),
        ]);
        put32(&mut self.files, &[strings_start as u32, (self.strings.len() - strings_start) as u32, 0]);
        self.files.extend_from_slice(&file.content);
        self.counts.files += 1;
    }

    fn push_chunks(&mut self, row: u32, file: &Derived) {
        let mut last: (&str, (u32, u32)) = ("", (0, 0));
        for (i, chunk) in file.chunks.iter().enumerate() {
            let symbol = self.add_string(chunk.symbol.as_deref().unwrap_or_default(), usize::from(u16::MAX));
            let scope = chunk.scope.as_deref().unwrap_or_default();
            if scope != last.0 {
                last = (scope, self.add_string(scope, usize::from(u16::MAX)));
            }
            let scope = last.1;
            put32(&mut self.chunks, &[row, chunk.start_line, chunk.end_line, chunk.start_byte, chunk.end_byte]);
            put32(&mut self.chunks, &[symbol.0, scope.0]);
            self.chunks.extend_from_slice(&(symbol.1 as u16).to_le_bytes());
            self.chunks.extend_from_slice(&(scope.1 as u16).to_le_bytes());
            self.chunks.extend_from_slice(&[chunk.kind as u8, 0, 0, 0]);
            let vector = &file.vectors[i * self.dimensions..][..self.dimensions];
            self.vectors.extend_from_slice(unsigned(vector));
            self.vector_norms.extend_from_slice(&inverse_length(vector).to_le_bytes());
        }
        self.counts.chunks += file.chunks.len() as u32;
    }

    fn push_definitions(&mut self, row: u32, first_chunk: u32, file: &Derived) {
        for definition in &file.definitions {
            let name = self.add_string(&definition.name, usize::from(u16::MAX));
            let chunk = first_chunk + file.chunk_at(definition.start_line);
            let mut bytes = Vec::with_capacity(24);
            put32(&mut bytes, &[name.0]);
            bytes.extend_from_slice(&(name.1 as u16).to_le_bytes());
            bytes.extend_from_slice(&[definition.kind as u8, 0]);
            put32(&mut bytes, &[row, chunk, definition.start_line, definition.end_line]);
            let bytes: [u8; 24] = bytes.try_into().expect("six words");
            self.definitions.push((name_hash(&definition.name), bytes));
        }
        self.counts.definitions += file.definitions.len() as u32;
    }

    /// Adds a text, cut at `max` bytes, and returns where it stands and its length.
    fn add_string(&mut self, text: &str, max: usize) -> (u32, u32) {
        let text = &text[..text.floor_char_boundary(max.min(text.len()))];
        let start = self.strings.len();
        self.strings.extend_from_slice(text.as_bytes());
        (start as u32, text.len() as u32)
    }

    /// Writes the segment to `path` and empties the builder.
    pub fn write(&mut self, path: &Path) -> Result<(), IndexError> {
        let mut built = std::mem::replace(self, Self::new(self.dimensions));
        built.path_hashes.sort_unstable();
        built.definitions.sort_unstable();
        let mut out = SegmentWriter::create(path, &|| false)?;
        out.section(Section::Ids, &built.ids)?;
        out.section(Section::Files, &built.files)?;
        write_path_index(&mut out, &built.path_hashes)?;
        out.section(Section::Chunks, &built.chunks)?;
        write_definitions(&mut out, &built.definitions)?;
        out.section(Section::ForwardHashes, &built.forward_hashes)?;
        out.section(Section::ForwardCounts, &built.forward_counts)?;
        out.section(Section::Vectors, &built.vectors)?;
        out.section(Section::VectorNorms, &built.vector_norms)?;
        out.section(Section::Means, &built.means)?;
        out.section(Section::MeanNorms, &built.mean_norms)?;
        out.section(Section::Strings, &built.strings)?;
        out.finish(built.counts)
    }
}

/// Writes the two sections of the path index; `pairs` are sorted.
pub(super) fn write_path_index(out: &mut SegmentWriter<'_>, pairs: &[(u64, u32)]) -> Result<(), IndexError> {
    out.begin(Section::PathHashes)?;
    for (hash, _) in pairs {
        out.put(&hash.to_le_bytes())?;
    }
    out.begin(Section::PathRows)?;
    for (_, row) in pairs {
        out.put(&row.to_le_bytes())?;
    }
    Ok(())
}

/// Writes the definitions; they are sorted.
pub(super) fn write_definitions(out: &mut SegmentWriter<'_>, sorted: &[(u64, [u8; 24])]) -> Result<(), IndexError> {
    out.begin(Section::Definitions)?;
    for (hash, rest) in sorted {
        out.put(&hash.to_le_bytes())?;
        out.put(rest)?;
    }
    Ok(())
}

fn put32(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}
