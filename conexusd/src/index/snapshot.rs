//! The snapshot: an immutable view of the index that searches read while commits go on.

use std::sync::Arc;
use std::time::SystemTime;

use super::chunk::Kind;
use super::language::Language;

/// A file of one snapshot. Numbers are dense from 0 and mean nothing in another snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileRow(pub u32);

/// A chunk of one snapshot, numbered like files. The chunks of one file are consecutive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkRow(pub u32);

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct FileView<'a> {
    /// Relative to the root, with `/`; bytes that are not UTF-8 are written as `\xNN`.
    pub path: &'a str,
    pub language: Language,
    pub bytes: u64,
    pub lines: u32,
    pub modified: SystemTime,
    /// Rows of its chunks: `first_chunk .. first_chunk + chunks`.
    pub first_chunk: ChunkRow,
    pub chunks: u32,
    /// Terms in the file, repeated ones counted each time.
    pub terms: u32,
}

/// What is known of a chunk without reading it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ChunkView<'a> {
    pub file: FileRow,
    /// From 1, inclusive.
    pub start_line: u32,
    pub end_line: u32,
    pub kind: Kind,
    /// Empty if none.
    pub symbol: &'a str,
    /// Empty if none.
    pub scope: &'a str,
}

/// A definition found by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DefinitionHit {
    pub file: FileRow,
    /// The chunk that holds its first line.
    pub chunk: ChunkRow,
    pub kind: Kind,
    pub start_line: u32,
    pub end_line: u32,
    /// Whether the case is that of the name asked for.
    pub same_case: bool,
}

/// How fresh a snapshot is.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Freshness {
    /// When what the snapshot shows was last checked against the disk.
    pub checked: Option<SystemTime>,
    /// Files known to be changed or new and not in the snapshot.
    pub pending: u64,
    /// Whether a whole run has finished since the index was made.
    pub complete: bool,
}

/// An immutable view of the index.
pub struct Snapshot {}

/// How the rest of the program reaches the snapshot of the moment.
pub type Current = Arc<arc_swap::ArcSwap<Snapshot>>;

#[allow(unused_variables, clippy::diverging_sub_expression)]
impl Snapshot {
    /// Changes with every commit.
    pub fn generation(&self) -> u64 {
        0
    }
    /// How fresh it is.
    pub fn freshness(&self) -> Freshness {
        Freshness { checked: None, pending: 0, complete: false }
    }
    /// Rows up to which files are numbered; some may be dead (deleted or replaced since).
    pub fn file_rows(&self) -> u32 {
        0
    }
    /// Whether a file row is alive. Everything the lookups below return is.
    pub fn is_live(&self, file: FileRow) -> bool {
        false
    }
    /// Live files and chunks.
    pub fn counts(&self) -> (u64, u64) {
        (0, 0)
    }
    /// A file's columns.
    pub fn file(&self, file: FileRow) -> FileView<'_> {
        panic!()
    }
    /// A chunk's columns.
    pub fn chunk(&self, chunk: ChunkRow) -> ChunkView<'_> {
        panic!()
    }
    /// The live file with this path.
    pub fn find_file(&self, path: &str) -> Option<FileRow> {
        None
    }
    /// Where a bare name is defined, any case, at most `limit`.
    pub fn definitions(&self, name: &str, limit: usize) -> Vec<DefinitionHit> {
        Vec::new()
    }
    /// The lexical index: one document a chunk.
    pub fn searcher(&self) -> &tantivy::Searcher {
        panic!()
    }
    /// The chunk of a document of [`Snapshot::searcher`]; `None` if its file is dead.
    pub fn chunk_of(&self, document: tantivy::DocAddress) -> Option<ChunkRow> {
        None
    }
    /// How often a term stands in a whole file (from a forward index: no posting list is read).
    pub fn term_frequency(&self, file: FileRow, term: &str) -> u32 {
        0
    }
    /// The mean of [`FileView::terms`] over live files.
    pub fn mean_file_terms(&self) -> f32 {
        0.0
    }
    /// The chunks nearest to a unit vector by cosine, best first, of the files that `keep` accepts.
    pub fn nearest(&self, query: &[f32], limit: usize, keep: &dyn Fn(FileRow) -> bool) -> Vec<(ChunkRow, f32)> {
        Vec::new()
    }
    /// The cosine of a chunk's vector and a unit vector.
    pub fn similarity(&self, chunk: ChunkRow, query: &[f32]) -> f32 {
        0.0
    }
    /// The cosine of the mean of a file's chunk vectors and a unit vector.
    pub fn file_similarity(&self, file: FileRow, query: &[f32]) -> f32 {
        0.0
    }
    /// The text of a file as it was indexed.
    pub fn file_text(&self, file: FileRow) -> Result<String, super::IndexError> {
        panic!()
    }
}
