//! Prepare: files that were read in, everything that the writer needs of them out: vectors, rows, documents.
//!
//! A chunk's vector comes from, in this order: the store (unless the configuration says no), under the same content; the version of
//! the file that is being replaced, for a chunk of equal text; the recent past of this run; the embedder.

use std::sync::Mutex;

use conexus_proto::facts::{EmbeddingError, Fact};
use rustc_hash::FxHashMap;

use crate::index::chunk::Chunk;
use crate::index::derive::{Derived, Source, derive, display_path};
use crate::index::embed::{Document, Effort, EmbedError, Embedder};
use crate::index::lexical::Fields;
use crate::index::quantize::quantize;
use crate::index::run::{RunControl, lock};
use crate::index::segment::{signed, unsigned};
use crate::index::store::record::{ContentKey, FileRecord, Stat, encode_content};
use crate::index::store::{ContentRow, Store};
use crate::telemetry::Telemetry;

use super::read::ReadFile;

/// A file, ready to be written.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Relative to the root.
    pub(crate) path: Vec<u8>,
    /// Without a number: that is the writer's to give.
    pub(crate) record: FileRecord,
    /// The content's rows.
    pub(crate) row: ContentRow,
    /// For the derived indexes.
    pub(crate) derived: Derived,
    /// Chunks that had to be embedded.
    pub(crate) embedded: u64,
}

/// Makes vectors, and remembers some.
pub(crate) struct Vectorizer<'a> {
    pub(super) store: &'a Store,
    pub(super) embedder: &'a dyn Embedder,
    pub(super) recent: &'a Recent,
    /// Look in the store too.
    pub(super) reuse: bool,
    pub(super) telemetry: &'a Telemetry,
    pub(super) control: &'a RunControl,
}

/// The key of a chunk's text.
type TextKey = [u8; 16];

/// Vectors of texts seen lately in this run: licence heads, copied functions. Two generations, each of half the size.
#[derive(Debug)]
pub(crate) struct Recent {
    half: usize,
    maps: Mutex<[FxHashMap<TextKey, Box<[i8]>>; 2]>,
}

impl Recent {
    /// Room for so many vectors.
    pub(crate) fn new(vectors: usize) -> Self {
        Self { half: vectors / 2, maps: Mutex::default() }
    }

    fn get(&self, key: &TextKey) -> Option<Box<[i8]>> {
        let maps = lock(&self.maps);
        maps.iter().find_map(|map| map.get(key).cloned())
    }

    fn insert(&self, key: TextKey, vector: Box<[i8]>) {
        let mut maps = lock(&self.maps);
        if maps[0].len() >= self.half {
            maps.swap(0, 1);
            maps[0].clear();
        }
        if self.half > 0 {
            maps[0].insert(key, vector);
        }
    }
}

/// Files whose missing vectors are made in one go.
#[derive(Default)]
pub(crate) struct Group {
    files: Vec<Pending>,
    missing: usize,
}

struct Pending {
    file: ReadFile,
    vectors: Vec<i8>,
    /// Chunks without a vector yet, and the keys of their texts.
    missing: Vec<(usize, TextKey)>,
}

/// How a file of a group ended.
pub(crate) type Vectored = (ReadFile, Result<(Vec<i8>, u64), EmbedError>);

impl Group {
    /// Chunks that are to be embedded.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Adds a file and takes what vectors are known.
    pub(crate) fn add(&mut self, file: ReadFile, vectorizer: &Vectorizer<'_>) {
        let pending = vectorizer.known(file);
        self.missing += pending.missing.len();
        self.files.push(pending);
    }

    /// Embeds what is missing. A failure costs the files of the batch that failed, no others. `effort` learns what it took.
    pub(crate) fn finish(self, vectorizer: &Vectorizer<'_>, effort: &mut Effort) -> Vec<Vectored> {
        let mut files = self.files;
        let errors = vectorizer.embed(&mut files, effort);
        let ended = files.into_iter().zip(errors).map(|(pending, error)| {
            let embedded = pending.missing.len() as u64;
            (pending.file, error.map_or(Ok((pending.vectors, embedded)), Err))
        });
        ended.collect()
    }
}

impl Vectorizer<'_> {
    fn known(&self, file: ReadFile) -> Pending {
        let dimensions = self.embedder.dimensions();
        let chunks = &file.parsed.chunks;
        let mut vectors = vec![0i8; chunks.len() * dimensions];
        let mut missing: Vec<(usize, TextKey)> =
            chunks.iter().enumerate().map(|(i, chunk)| (i, text_key(text_of(&file.text, chunk)))).collect();
        let total = missing.len();
        for key in [Some(file.key), file.old.map(|old| old.content)].into_iter().flatten() {
            if self.reuse && !missing.is_empty() {
                let known = self.stored(&key, dimensions).unwrap_or_default();
                take(&mut missing, &mut vectors, dimensions, |text| known.get(text).cloned());
            }
        }
        take(&mut missing, &mut vectors, dimensions, |text| self.recent.get(text));
        self.telemetry.emit(Fact::EmbeddingCacheHit { count: (total - missing.len()) as u64 });
        self.telemetry.emit(Fact::EmbeddingCacheMiss { count: missing.len() as u64 });
        Pending { file, vectors, missing }
    }

    /// The vectors that the store has of a content, by the keys of the chunks' texts.
    fn stored(&self, key: &ContentKey, dimensions: usize) -> Option<FxHashMap<TextKey, Box<[i8]>>> {
        let vectors = self.store.vectors(key).ok()??;
        let text = self.store.text(key).ok()??;
        let parsed = self.store.parsed(key).ok()??;
        if vectors.len() != parsed.chunks.len() * dimensions {
            return None;
        }
        let pairs = parsed.chunks.iter().zip(vectors.chunks_exact(dimensions));
        Some(pairs.map(|(chunk, vector)| (text_key(text_of(&text, chunk)), signed(vector).into())).collect())
    }

    /// Embeds what is missing; for each file, why it failed, if it did.
    fn embed(&self, files: &mut [Pending], effort: &mut Effort) -> Vec<Option<EmbedError>> {
        let dimensions = self.embedder.dimensions();
        let mut errors = vec![None; files.len()];
        let wanted: Vec<(usize, usize)> =
            files.iter().enumerate().flat_map(|(f, file)| (0..file.missing.len()).map(move |m| (f, m))).collect();
        for batch in wanted.chunks(self.embedder.batch_size().max(1)) {
            match self.embed_batch(files, batch, effort) {
                Ok(made) => {
                    for (&(f, m), vector) in batch.iter().zip(made) {
                        let (chunk, key) = files[f].missing[m];
                        files[f].vectors[chunk * dimensions..][..dimensions].copy_from_slice(&vector);
                        self.recent.insert(key, vector);
                    }
                }
                Err(error) => batch.iter().for_each(|&(f, _)| errors[f] = Some(error.clone())),
            }
        }
        errors
    }

    fn embed_batch(
        &self,
        files: &[Pending],
        batch: &[(usize, usize)],
        effort: &mut Effort,
    ) -> Result<Vec<Box<[i8]>>, EmbedError> {
        let paths: FxHashMap<usize, String> =
            batch.iter().map(|&(f, _)| f).map(|f| (f, display_path(&files[f].file.path).0)).collect();
        let documents: Vec<Document<'_>> = batch
            .iter()
            .map(|&(f, m)| {
                let file = &files[f].file;
                Document { path: &paths[&f], text: text_of(&file.text, &file.parsed.chunks[files[f].missing[m].0]) }
            })
            .collect();
        let cancelled = || self.control.is_cancelled();
        let made = self.embedder.embed_documents_unless(&documents, &cancelled, effort)?;
        let dimensions = self.embedder.dimensions();
        if made.len() != documents.len() || made.iter().any(|vector| vector.len() != dimensions) {
            let (provider, error) = (self.embedder.provider(), EmbeddingError::Dimension);
            self.telemetry.emit(Fact::EmbeddingFailed { provider, error });
            let message = format!("the embedder gave vectors that are not {} of {dimensions} values", documents.len());
            return Err(EmbedError { class: error, message });
        }
        Ok(made.iter().map(|vector| quantize(vector)).collect())
    }
}

/// Fills in what `find` knows and keeps the rest.
fn take(
    missing: &mut Vec<(usize, TextKey)>,
    vectors: &mut [i8],
    dimensions: usize,
    find: impl Fn(&TextKey) -> Option<Box<[i8]>>,
) {
    missing.retain(|(chunk, key)| match find(key) {
        Some(vector) => {
            vectors[chunk * dimensions..][..dimensions].copy_from_slice(&vector);
            false
        }
        None => true,
    });
}

/// Everything the writer needs of a file with its vectors.
pub(crate) fn prepare(
    file: ReadFile,
    vectors: &[i8],
    embedded: u64,
    fields: &Fields,
    embedder: &dyn Embedder,
) -> Prepared {
    let derived = derive(source(&file, vectors), fields, embedder);
    let row = ContentRow { content: encode_content(&file.text, &file.parsed), vectors: unsigned(vectors).to_vec() };
    let record = FileRecord { id: 0, stat: file.stat, content: file.key, language: file.language.number() };
    Prepared { path: file.path, record, row, derived, embedded }
}

fn source<'a>(file: &'a ReadFile, vectors: &'a [i8]) -> Source<'a> {
    let Stat { bytes, modified, .. } = file.stat;
    Source {
        path: &file.path,
        content: file.key,
        language: file.language,
        bytes,
        modified,
        text: &file.text,
        parsed: &file.parsed,
        vectors,
    }
}

/// The text of a chunk.
pub(crate) fn text_of<'a>(text: &'a str, chunk: &Chunk) -> &'a str {
    text.get(chunk.start_byte as usize..chunk.end_byte as usize).unwrap_or_default()
}

fn text_key(text: &str) -> TextKey {
    blake3::hash(text.as_bytes()).as_bytes()[..16].try_into().expect("sixteen bytes")
}
