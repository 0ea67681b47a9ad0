//! Segment: the columns of some thousand files in one immutable, memory-mapped file.
//!
//! ```text
//! header      magic, dimensions, counts, where each section stands, checksum of the header
//! ids         u32 a file, ascending: which file version the row is
//! files       FILE_BYTES a file          chunks   CHUNK_BYTES a chunk, those of one file consecutive
//! path index  u64 hashes, ascending, and the u32 row of each
//! definitions DEFINITION_BYTES each, ascending by the hash of the lower-cased name
//! forward     for each file its terms' hashes (u32, ascending) and frequencies (u16)
//! vectors     i8 x dimensions a chunk    norms    f32 a chunk: 1 / length
//! means       i8 x dimensions a file     norms    f32 a file
//! strings     for each file its path, symbols, scopes, names: one block
//! ```
//!
//! A segment knows nothing of deletions: which rows are alive is a matter of the snapshot.

pub mod build;
mod bytes;
pub mod live;
pub mod merge;
pub mod write;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::IndexError;
use super::chunk::Kind;
use super::store::record::{ContentKey, kind_from_number};
use bytes::{partition, u16_at};

pub use bytes::{hash32, hash64, name_hash};
pub(crate) use bytes::{signed, u32_at, u64_at, unsigned};

pub(crate) const MAGIC: &[u8; 8] = b"CNXSEG02";
pub(crate) const HEADER_BYTES: usize = 512;
pub(crate) const FILE_BYTES: usize = 80;
pub(crate) const CHUNK_BYTES: usize = 36;
pub(crate) const DEFINITION_BYTES: usize = 32;

/// The sections in the order in which they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Section {
    Ids,
    Files,
    PathHashes,
    PathRows,
    Chunks,
    Definitions,
    ForwardHashes,
    ForwardCounts,
    Vectors,
    VectorNorms,
    Means,
    MeanNorms,
    Strings,
}

pub(crate) const SECTIONS: usize = 13;

/// Rows of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files, dead ones included.
    pub files: u32,
    /// Chunks of all these files.
    pub chunks: u32,
    /// Definitions of all these files.
    pub definitions: u32,
    /// Length of a vector.
    pub dimensions: u32,
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    map: Mmap,
    path: PathBuf,
    counts: Counts,
    sections: [Range<usize>; SECTIONS],
    checksum: u64,
}

/// A row of the files section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FileColumns<'a> {
    pub path: &'a str,
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    pub lines: u32,
    /// Row of its first chunk in this segment.
    pub first_chunk: u32,
    pub chunks: u32,
    pub terms: u32,
    pub language: u8,
    /// Number of the [`super::classify::SourceType`].
    pub source_type: u8,
    /// [`super::classify::Class::flags`].
    pub class: u8,
    /// The path is an escaped form of bytes that are not UTF-8.
    pub escaped: bool,
    /// Where the store has its text.
    pub content: ContentKey,
}

/// A row of the chunks section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ChunkColumns<'a> {
    /// Row of its file in this segment.
    pub file: u32,
    pub start_line: u32,
    pub end_line: u32,
    pub start_byte: u32,
    pub end_byte: u32,
    pub symbol: &'a str,
    pub scope: &'a str,
    pub kind: Kind,
}

/// A row of the definitions section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DefinitionColumns<'a> {
    pub name: &'a str,
    pub file: u32,
    pub chunk: u32,
    pub kind: Kind,
    pub start_line: u32,
    pub end_line: u32,
}

impl Segment {
    /// Maps a segment that [`write::SegmentWriter`] wrote. A file that is cut or of another version is an error.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let file = File::open(path).map_err(|source| IndexError::io(path, source))?;
        // SAFETY: a segment is written under another name, synced and renamed, and never changed afterwards; only
        // the owner of the index's lock writes in this folder, and unlinking leaves a mapping valid.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| IndexError::io(path, source))?;
        let damaged = || IndexError::Derived(format!("{}: not a whole segment", path.display()));
        let header = map.get(..HEADER_BYTES).ok_or_else(damaged)?;
        let (head, rest) = header.split_at(HEADER_BYTES - 8);
        let checksum = u64::from_le_bytes(rest.try_into().expect("eight bytes"));
        if &head[..8] != MAGIC || checksum != hash64(head) {
            return Err(damaged());
        }
        let counts = Counts {
            files: u32_at(head, 8),
            chunks: u32_at(head, 12),
            definitions: u32_at(head, 16),
            dimensions: u32_at(head, 20),
        };
        let mut sections: [Range<usize>; SECTIONS] = std::array::from_fn(|_| 0..0);
        for (i, section) in sections.iter_mut().enumerate() {
            let start = u64_at(head, 32 + i * 16) as usize;
            let length = u64_at(head, 40 + i * 16) as usize;
            let end = start.checked_add(length).filter(|&end| end <= map.len()).ok_or_else(damaged)?;
            *section = start..end;
        }
        Ok(Self { map, path: path.to_owned(), counts, sections, checksum })
    }

    /// Rows of each kind.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Where the file stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checksum of the header: what derived indexes of this segment are checked against.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    pub(crate) fn section(&self, section: Section) -> &[u8] {
        &self.map[self.sections[section as usize].clone()]
    }

    /// The file version in a row.
    pub fn id(&self, file: u32) -> u32 {
        u32_at(self.section(Section::Ids), file as usize * 4)
    }

    /// The row of a file version.
    pub fn row_of(&self, id: u32) -> Option<u32> {
        let ids = self.section(Section::Ids);
        let row = partition(self.counts.files, |row| u32_at(ids, row as usize * 4) < id);
        (row < self.counts.files && self.id(row) == id).then_some(row)
    }

    /// A file's columns.
    pub fn file(&self, file: u32) -> FileColumns<'_> {
        let row = self.file_row(file);
        FileColumns {
            path: self.text(u32_at(row, 0), u32_at(row, 4)),
            bytes: u64_at(row, 8),
            modified: u64_at(row, 16) as i64,
            lines: u32_at(row, 24),
            first_chunk: u32_at(row, 28),
            chunks: u32_at(row, 32),
            terms: u32_at(row, 36),
            language: row[48],
            escaped: row[49] & 1 != 0,
            source_type: row[50],
            class: row[51],
            content: row[64..80].try_into().expect("sixteen bytes"),
        }
    }

    /// The bytes of a file's row.
    pub(crate) fn file_row(&self, file: u32) -> &[u8] {
        &self.section(Section::Files)[file as usize * FILE_BYTES..][..FILE_BYTES]
    }

    /// The bytes of a chunk's row.
    pub(crate) fn chunk_row(&self, chunk: u32) -> &[u8] {
        &self.section(Section::Chunks)[chunk as usize * CHUNK_BYTES..][..CHUNK_BYTES]
    }

    /// The row of the file that a chunk belongs to.
    #[inline]
    pub fn file_of(&self, chunk: u32) -> u32 {
        u32_at(self.section(Section::Chunks), chunk as usize * CHUNK_BYTES)
    }

    /// A chunk's columns.
    pub fn chunk(&self, chunk: u32) -> ChunkColumns<'_> {
        let row = self.chunk_row(chunk);
        ChunkColumns {
            file: u32_at(row, 0),
            start_line: u32_at(row, 4),
            end_line: u32_at(row, 8),
            start_byte: u32_at(row, 12),
            end_byte: u32_at(row, 16),
            symbol: self.text(u32_at(row, 20), u32::from(u16_at(row, 28))),
            scope: self.text(u32_at(row, 24), u32::from(u16_at(row, 30))),
            kind: kind_from_number(row[32]),
        }
    }

    /// The rows of files whose path has this hash (see [`hash64`]); paths are to be compared.
    pub fn files_with_path(&self, path: &str) -> impl Iterator<Item = u32> + '_ {
        let (hash, hashes) = (hash64(path.as_bytes()), self.section(Section::PathHashes));
        let first = partition(self.counts.files, |row| u64_at(hashes, row as usize * 8) < hash);
        let rows = self.section(Section::PathRows);
        (first..self.counts.files)
            .take_while(move |&row| u64_at(hashes, row as usize * 8) == hash)
            .map(move |row| u32_at(rows, row as usize * 4))
    }

    /// The definitions whose lower-cased name has this hash; names are to be compared.
    pub fn definitions_with(&self, lower_hash: u64) -> impl Iterator<Item = DefinitionColumns<'_>> {
        let all = self.section(Section::Definitions);
        let hash = move |row: u32| u64_at(all, row as usize * DEFINITION_BYTES);
        let first = partition(self.counts.definitions, |row| hash(row) < lower_hash);
        (first..self.counts.definitions).take_while(move |&row| hash(row) == lower_hash).map(|row| self.definition(row))
    }

    /// A definition's columns.
    pub fn definition(&self, definition: u32) -> DefinitionColumns<'_> {
        let row = &self.section(Section::Definitions)[definition as usize * DEFINITION_BYTES..][..DEFINITION_BYTES];
        DefinitionColumns {
            name: self.text(u32_at(row, 8), u32::from(u16_at(row, 12))),
            kind: kind_from_number(row[14]),
            file: u32_at(row, 16),
            chunk: u32_at(row, 20),
            start_line: u32_at(row, 24),
            end_line: u32_at(row, 28),
        }
    }

    /// Where a file's terms stand in the forward sections: first entry and number.
    pub(crate) fn forward(&self, file: u32) -> (usize, usize) {
        let row = self.file_row(file);
        (u32_at(row, 40) as usize, u32_at(row, 44) as usize)
    }

    /// How often a term with this hash stands in a file.
    pub fn term_frequency(&self, file: u32, term: u32) -> u32 {
        let (start, length) = self.forward(file);
        let hashes = &self.section(Section::ForwardHashes)[start * 4..][..length * 4];
        let at = partition(length as u32, |i| u32_at(hashes, i as usize * 4) < term) as usize;
        if at < length && u32_at(hashes, at * 4) == term {
            u32::from(u16_at(self.section(Section::ForwardCounts), (start + at) * 2))
        } else {
            0
        }
    }

    /// Hash and number of each term of a file, ascending.
    pub fn terms(&self, file: u32) -> Vec<(u32, u16)> {
        let (start, length) = self.forward(file);
        let (hashes, counts) = (self.section(Section::ForwardHashes), self.section(Section::ForwardCounts));
        (start..start + length).map(|i| (u32_at(hashes, i * 4), u16_at(counts, i * 2))).collect()
    }

    /// A chunk's vector and 1 / its length.
    #[inline]
    pub fn vector(&self, chunk: u32) -> (&[i8], f32) {
        self.vector_in(Section::Vectors, Section::VectorNorms, chunk)
    }

    /// The vectors of `count` chunks from `first` on, one after the other, and 1 / the length of each.
    pub fn vectors(&self, first: u32, count: u32) -> (&[i8], impl Iterator<Item = f32> + '_) {
        let dimensions = self.counts.dimensions as usize;
        let (first, count) = (first as usize, count as usize);
        let values = &self.section(Section::Vectors)[first * dimensions..(first + count) * dimensions];
        let norms = &self.section(Section::VectorNorms)[first * 4..(first + count) * 4];
        (signed(values), norms.chunks_exact(4).map(|bytes| f32::from_bits(u32_at(bytes, 0))))
    }

    /// The mean of a file's chunk vectors and 1 / its length.
    #[inline]
    pub fn mean(&self, file: u32) -> (&[i8], f32) {
        self.vector_in(Section::Means, Section::MeanNorms, file)
    }

    #[inline]
    fn vector_in(&self, values: Section, norms: Section, row: u32) -> (&[i8], f32) {
        let dimensions = self.counts.dimensions as usize;
        let bytes = &self.section(values)[row as usize * dimensions..][..dimensions];
        (signed(bytes), f32::from_bits(u32_at(self.section(norms), row as usize * 4)))
    }

    fn text(&self, offset: u32, length: u32) -> &str {
        let strings = self.section(Section::Strings);
        let bytes = strings.get(offset as usize..offset as usize + length as usize).unwrap_or_default();
        // A damaged text reads as empty.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests;
