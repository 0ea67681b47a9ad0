//! The snapshot: an immutable view of the index that searches read while commits go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use tantivy::columnar::Column;

use super::IndexError;
use super::chunk::{Kind, ParsedFile};
use super::classify::{Class, SourceType};
use super::columns::Part;
use super::language::Language;
use super::lexical::Fields;
use super::segment::{FileColumns, hash32, name_hash};
use super::store::Store;
use super::store::record::ContentKey;
use super::vectors::{self, Query};

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
    /// What it is for, and what else its path and head say.
    pub class: Class,
    pub bytes: u64,
    pub lines: u32,
    pub modified: SystemTime,
    /// Rows of its chunks: `first_chunk .. first_chunk + chunks`.
    pub first_chunk: ChunkRow,
    pub chunks: u32,
    /// Terms in the file, repeated ones counted each time.
    pub terms: u32,
    /// `path` is an escaped form: [`super::derive::raw_path`] gives the bytes.
    pub escaped: bool,
}

/// What is known of a chunk without reading it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ChunkView<'a> {
    pub file: FileRow,
    /// From 1, inclusive.
    pub start_line: u32,
    pub end_line: u32,
    /// The same span in bytes of the file's text.
    pub start_byte: u32,
    pub end_byte: u32,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Freshness {
    /// When what the snapshot shows was last checked against the disk.
    pub checked: Option<SystemTime>,
    /// Files known to be changed or new and not in the snapshot.
    pub pending: u64,
    /// Whether a whole run has finished since the index was made, and none was broken off since.
    pub complete: bool,
}

/// What is known of the disk beside what any snapshot shows.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// Files that a run found to be new or changed and that are not committed.
    pub(crate) found: AtomicU64,
    /// Changes that the watcher noticed and no run has taken up.
    pub(crate) noticed: AtomicU64,
    /// The system tells of every change.
    pub(crate) watched: AtomicBool,
}

/// A part of a snapshot: a segment, and where its rows begin.
struct Piece {
    part: Part,
    first_file: u32,
    first_chunk: u32,
}

/// An immutable view of the index.
pub struct Snapshot {
    generation: u64,
    checked: Option<SystemTime>,
    complete: bool,
    liveness: Arc<Liveness>,
    pieces: Vec<Piece>,
    dimensions: usize,
    files: u64,
    chunks: u64,
    mean_terms: f32,
    searcher: tantivy::Searcher,
    fields: Fields,
    /// For each segment of the searcher, the numbers of its documents' chunks.
    numbers: Vec<Column<u64>>,
    touched: Arc<FxHashMap<u32, i64>>,
    store: Arc<Store>,
    threads: usize,
}

/// How the rest of the program reaches the snapshot of the moment.
pub type Current = Arc<arc_swap::ArcSwap<Snapshot>>;

/// What a snapshot is made of.
#[allow(missing_docs)]
pub(crate) struct Source<'a> {
    pub generation: u64,
    /// Nanoseconds since 1970, 0 for never.
    pub checked: i64,
    pub complete: bool,
    pub liveness: Arc<Liveness>,
    pub parts: &'a [Part],
    pub dimensions: usize,
    pub searcher: tantivy::Searcher,
    pub fields: Fields,
    pub touched: Arc<FxHashMap<u32, i64>>,
    pub store: Arc<Store>,
    pub threads: usize,
}

impl Snapshot {
    /// Joins the parts.
    pub(crate) fn new(source: Source<'_>) -> Result<Self, IndexError> {
        let mut pieces = Vec::with_capacity(source.parts.len());
        let (mut first_file, mut first_chunk) = (0u32, 0u32);
        let (mut files, mut chunks, mut terms) = (0u64, 0u64, 0u64);
        for part in source.parts {
            let counts = part.segment.counts();
            pieces.push(Piece { part: part.clone(), first_file, first_chunk });
            first_file += counts.files;
            first_chunk += counts.chunks;
            files += u64::from(part.live.alive());
            chunks += part.totals.0;
            terms += part.totals.1;
        }
        let column =
            |segment: &tantivy::SegmentReader| -> tantivy::Result<Column<u64>> { segment.fast_fields().u64("chunk") };
        let numbers = source.searcher.segment_readers().iter().map(column).collect::<tantivy::Result<_>>();
        Ok(Self {
            generation: source.generation,
            checked: system_time(source.checked),
            complete: source.complete,
            liveness: source.liveness,
            pieces,
            dimensions: source.dimensions,
            files,
            chunks,
            mean_terms: if files > 0 { terms as f32 / files as f32 } else { 0.0 },
            numbers: numbers.map_err(IndexError::from_tantivy)?,
            searcher: source.searcher,
            fields: source.fields,
            touched: source.touched,
            store: source.store,
            threads: source.threads,
        })
    }

    /// Changes with every commit.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How fresh it is.
    pub fn freshness(&self) -> Freshness {
        let Liveness { found, noticed, watched } = &*self.liveness;
        let pending = found.load(Ordering::Relaxed) + noticed.load(Ordering::Relaxed);
        // Where every change is told and none waits, what was complete once is as the disk is now.
        let is_current = self.complete && pending == 0 && watched.load(Ordering::Relaxed);
        let checked = if is_current { Some(SystemTime::now()) } else { self.checked };
        Freshness { checked, pending, complete: self.complete }
    }

    /// Rows up to which files are numbered; some may be dead (deleted or replaced since).
    pub fn file_rows(&self) -> u32 {
        self.pieces.last().map_or(0, |piece| piece.first_file + piece.part.segment.counts().files)
    }

    /// Whether a file row is alive. Everything the lookups below return is.
    pub fn is_live(&self, file: FileRow) -> bool {
        file.0 < self.file_rows() && {
            let (piece, row) = self.piece_of_file(file);
            piece.part.live.contains(row)
        }
    }

    /// The living files, in no order that means anything.
    pub fn live_files(&self) -> impl Iterator<Item = FileRow> + '_ {
        self.pieces.iter().flat_map(|piece| piece.part.live.iter().map(|row| FileRow(piece.first_file + row)))
    }

    /// Live files and chunks.
    pub fn counts(&self) -> (u64, u64) {
        (self.files, self.chunks)
    }

    /// A file's columns.
    pub fn file(&self, file: FileRow) -> FileView<'_> {
        let (piece, row) = self.piece_of_file(file);
        let columns = piece.part.segment.file(row);
        let modified = match self.touched.is_empty() {
            true => columns.modified,
            false => self.touched.get(&piece.part.segment.id(row)).copied().unwrap_or(columns.modified),
        };
        FileView {
            path: columns.path,
            language: Language::from_number(columns.language),
            class: class(&columns),
            bytes: columns.bytes,
            lines: columns.lines,
            modified: system_time(modified).unwrap_or(UNIX_EPOCH),
            first_chunk: ChunkRow(piece.first_chunk + columns.first_chunk),
            chunks: columns.chunks,
            terms: columns.terms,
            escaped: columns.escaped,
        }
    }

    /// A chunk's columns.
    pub fn chunk(&self, chunk: ChunkRow) -> ChunkView<'_> {
        let (piece, row) = self.piece_of_chunk(chunk);
        let columns = piece.part.segment.chunk(row);
        ChunkView {
            file: FileRow(piece.first_file + columns.file),
            start_line: columns.start_line,
            end_line: columns.end_line,
            start_byte: columns.start_byte,
            end_byte: columns.end_byte,
            kind: columns.kind,
            symbol: columns.symbol,
            scope: columns.scope,
        }
    }

    /// The live file with this path.
    pub fn find_file(&self, path: &str) -> Option<FileRow> {
        self.pieces.iter().rev().find_map(|piece| {
            let segment = &piece.part.segment;
            let mut rows = segment.files_with_path(path);
            let row = rows.find(|&row| piece.part.live.contains(row) && segment.file(row).path == path)?;
            Some(FileRow(piece.first_file + row))
        })
    }

    /// Where a bare name is defined, any case, at most `limit`; those in the same case first.
    pub fn definitions(&self, name: &str, limit: usize) -> Vec<DefinitionHit> {
        let (hash, lower) = (name_hash(name), name.to_lowercase());
        let mut hits: Vec<DefinitionHit> = Vec::new();
        let mut others = Vec::new();
        for piece in &self.pieces {
            for found in piece.part.segment.definitions_with(hash) {
                let same_case = found.name == name;
                let full = if same_case { hits.len() >= limit } else { others.len() >= limit };
                if full || !piece.part.live.contains(found.file) || !same_case && found.name.to_lowercase() != lower {
                    continue;
                }
                let hit = DefinitionHit {
                    file: FileRow(piece.first_file + found.file),
                    chunk: ChunkRow(piece.first_chunk + found.chunk),
                    kind: found.kind,
                    start_line: found.start_line,
                    end_line: found.end_line,
                    same_case,
                };
                if same_case { hits.push(hit) } else { others.push(hit) }
            }
        }
        hits.extend(others);
        hits.truncate(limit);
        hits
    }

    /// The lexical index: one document a chunk.
    pub fn searcher(&self) -> &tantivy::Searcher {
        &self.searcher
    }

    /// The fields of its documents.
    pub fn lexical_fields(&self) -> Fields {
        self.fields
    }

    /// The chunk of a document of [`Snapshot::searcher`]; `None` if its file is dead.
    pub fn chunk_of(&self, document: tantivy::DocAddress) -> Option<ChunkRow> {
        let number = self.numbers.get(document.segment_ord as usize)?.first(document.doc_id)?;
        let (id, ordinal) = ((number >> 32) as u32, number as u32);
        // File versions ascend over the parts.
        let after = self.pieces.partition_point(|piece| piece.part.segment.id(0) <= id);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        let row = piece.part.segment.row_of(id).filter(|&row| piece.part.live.contains(row))?;
        let columns = piece.part.segment.file(row);
        (ordinal < columns.chunks).then(|| ChunkRow(piece.first_chunk + columns.first_chunk + ordinal))
    }

    /// How often a term stands in a whole file (from a forward index: no posting list is read).
    pub fn term_frequency(&self, file: FileRow, term: &str) -> u32 {
        let (piece, row) = self.piece_of_file(file);
        piece.part.segment.term_frequency(row, hash32(term))
    }

    /// The mean of [`FileView::terms`] over live files.
    pub fn mean_file_terms(&self) -> f32 {
        self.mean_terms
    }

    /// The chunks nearest to a unit vector by cosine, best first, of the files that `keep` accepts.
    pub fn nearest(&self, query: &[f32], limit: usize, keep: &dyn Fn(FileRow) -> bool) -> Vec<(ChunkRow, f32)> {
        let Some(query) = Query::new(query).filter(|query| query.dimensions() == self.dimensions && limit > 0) else {
            return Vec::new();
        };
        let mut all: Vec<(ChunkRow, f32)> = Vec::new();
        for piece in &self.pieces {
            let (segment, live) = (&piece.part.segment, &*piece.part.live);
            let accept = |row: u32| live.contains(row) && keep(FileRow(piece.first_file + row));
            let mut hits = match &piece.part.graph {
                Some(graph) => graph.search(segment, &query, limit, &accept),
                None => Vec::new(),
            };
            // A graph that finds too little was kept from it by the filter: then few vectors are to be looked at.
            if hits.len() < limit.min(segment.counts().chunks as usize) {
                hits = vectors::scan(segment, &query, limit, self.threads, &accept);
            }
            all.extend(hits.iter().map(|hit| (ChunkRow(piece.first_chunk + hit.chunk), hit.score)));
        }
        all.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(limit);
        all
    }

    /// How wide the graphs are searched; 0 while there are none and every vector is looked at.
    pub fn expansion(&self) -> usize {
        let graphs = self.pieces.iter().any(|piece| piece.part.graph.is_some());
        if graphs { vectors::graph::EXPANSION_SEARCH } else { 0 }
    }

    /// The cosine of a chunk's vector and a unit vector.
    pub fn similarity(&self, chunk: ChunkRow, query: &[f32]) -> f32 {
        let (piece, row) = self.piece_of_chunk(chunk);
        vectors::cosine(piece.part.segment.vector(row), query)
    }

    /// The cosine of the mean of a file's chunk vectors and a unit vector.
    pub fn file_similarity(&self, file: FileRow, query: &[f32]) -> f32 {
        let (piece, row) = self.piece_of_file(file);
        vectors::cosine(piece.part.segment.mean(row), query)
    }

    /// A chunk's stored vector (its greatest value is 127; zeros if nothing in it is known to the model).
    pub fn chunk_vector(&self, chunk: ChunkRow) -> &[i8] {
        let (piece, row) = self.piece_of_chunk(chunk);
        piece.part.segment.vector(row).0
    }

    /// The mean of a file's chunk vectors, stored like them.
    pub fn file_vector(&self, file: FileRow) -> &[i8] {
        let (piece, row) = self.piece_of_file(file);
        piece.part.segment.mean(row).0
    }

    /// Hash and number of each term of a file, ascending by [`super::segment::hash32`].
    pub fn file_terms(&self, file: FileRow) -> Vec<(u32, u16)> {
        let (piece, row) = self.piece_of_file(file);
        piece.part.segment.terms(row)
    }

    /// The chunk that holds a line, from 1; none beyond the end. A file's chunks follow each other without a gap.
    pub fn chunk_at(&self, file: FileRow, line: u32) -> Option<ChunkRow> {
        let view = self.file(file);
        let end = view.first_chunk.0 + view.chunks;
        let (mut low, mut high) = (view.first_chunk.0, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.chunk(ChunkRow(middle)).end_line < line {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (line > 0 && low < end).then_some(ChunkRow(low))
    }

    /// The text of a file as it was indexed. An error if it was changed long ago and the snapshot is old.
    pub fn file_text(&self, file: FileRow) -> Result<String, IndexError> {
        self.stored(file, Store::text)
    }

    /// The same, not looked at: for readers of a small part of it.
    pub fn file_bytes(&self, file: FileRow) -> Result<Vec<u8>, IndexError> {
        self.stored(file, Store::text_bytes)
    }

    /// What was parsed from a file: chunks with their signatures, definitions, imports.
    pub fn file_parsed(&self, file: FileRow) -> Result<ParsedFile, IndexError> {
        self.stored(file, Store::parsed)
    }

    fn stored<T>(
        &self,
        file: FileRow,
        read: fn(&Store, &ContentKey) -> Result<Option<T>, IndexError>,
    ) -> Result<T, IndexError> {
        let (piece, row) = self.piece_of_file(file);
        let columns = piece.part.segment.file(row);
        read(&self.store, &columns.content)?.ok_or_else(|| gone(columns.path))
    }

    fn piece_of_file(&self, file: FileRow) -> (&Piece, u32) {
        let after = self.pieces.partition_point(|piece| piece.first_file <= file.0);
        let piece = &self.pieces[after - 1];
        (piece, file.0 - piece.first_file)
    }

    fn piece_of_chunk(&self, chunk: ChunkRow) -> (&Piece, u32) {
        let after = self.pieces.partition_point(|piece| piece.first_chunk <= chunk.0);
        let piece = &self.pieces[after - 1];
        (piece, chunk.0 - piece.first_chunk)
    }
}

fn class(columns: &FileColumns<'_>) -> Class {
    Class::from_flags(SourceType::from_number(columns.source_type), columns.class)
}

fn gone(path: &str) -> IndexError {
    IndexError::Derived(format!("{path}: changed since this search began"))
}

/// The moment of so many nanoseconds since 1970; `None` for 0.
pub(crate) fn system_time(nanos: i64) -> Option<SystemTime> {
    match nanos {
        0 => None,
        1.. => Some(UNIX_EPOCH + Duration::from_nanos(nanos as u64)),
        _ => UNIX_EPOCH.checked_sub(Duration::from_nanos(nanos.unsigned_abs())),
    }
}
