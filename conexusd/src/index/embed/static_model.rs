//! The static model: a table with a vector for each of some thousand words and pieces of words; a text's vector is their
//! weighted sum. Needs no network and no more than a table in memory.
//!
//! A text is cut into words, `[A-Z]+(?![a-z]) | [A-Z]?[a-z]+ | [0-9]+`, lower-cased. A word that the table does not have
//! is cut into the longest pieces that it has, from the left, at most 20 bytes each; characters that begin no piece
//! are skipped. The sum over distinct pieces is `sqrt(count) * weight * row`, with one weight for documents (and
//! paths) and another for queries; then it is scaled to length 1. Fewer dimensions are the first ones of that,
//! scaled again.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use conexus_proto::facts::{EmbeddingError, Fact, Gauge, Provider};

use super::{Document, Effort, EmbedError, Embedder, normalize};
use crate::telemetry::Telemetry;

mod file;
mod pieces;
mod sum;

use file::{Model, ModelFiles};
use pieces::{Bag, Pieces};

/// How much a path's vector counts beside a text's.
const PATH_WEIGHT: f32 = 0.5;

/// How many of a path's last components are embedded.
const PATH_COMPONENTS: usize = 3;

/// Version of the way from text to vector.
const ENCODING: u32 = 1;

/// Settings of the static model.
#[derive(Clone, Debug)]
pub struct StaticOptions {
    /// A folder with `model.safetensors` and `vocab.txt`, or the former's path; `None` for the one that is compiled in.
    pub model: Option<PathBuf>,
    /// Length of the vectors: that of the model (`None`), or fewer.
    pub dimensions: Option<usize>,
    /// The most documents in one batch, at least 1.
    pub batch_size: usize,
}

impl Default for StaticOptions {
    fn default() -> Self {
        Self { model: None, dimensions: None, batch_size: 64 }
    }
}

/// The static model, loaded.
pub struct StaticEmbedder {
    identity: String,
    dimensions: usize,
    batch_size: usize,
    model: Model,
    pieces: Pieces,
    /// Working memory of past calls, as many as there were calls at a time.
    bags: Mutex<Vec<Bag>>,
    telemetry: Telemetry,
}

impl StaticEmbedder {
    /// Reads and checks the model.
    pub fn load(options: &StaticOptions, telemetry: Telemetry) -> Result<Self, EmbedError> {
        let invalid = |message| EmbedError::new(EmbeddingError::Other, message);
        let files = match &options.model {
            None => ModelFiles::compiled_in(),
            Some(path) => ModelFiles::read(path).map_err(|error| invalid(error.to_string()))?,
        };
        Self::from_files(files, options, telemetry).map_err(invalid)
    }

    fn from_files(files: ModelFiles, options: &StaticOptions, telemetry: Telemetry) -> Result<Self, String> {
        let (hash, origin) = (files.hash(), files.origin.clone());
        let model = Model::parse(files).map_err(|error| error.to_string())?;
        let pieces = Pieces::build(&model.vocabulary).map_err(|error| format!("{origin}: {error}"))?;
        let dimensions = checked_dimensions(options.dimensions, model.width, &origin)?;
        if options.batch_size == 0 {
            return Err("embedding.batch_size is 0, at least 1 is needed".into());
        }
        Ok(Self {
            identity: format!("static-{ENCODING} {hash} {dimensions}"),
            dimensions,
            batch_size: options.batch_size,
            model,
            pieces,
            bags: Mutex::new(Vec::new()),
            telemetry,
        })
    }

    fn with_bag<T>(&self, work: impl FnOnce(&mut Bag) -> T) -> T {
        let bag = self.bags.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bag = bag.unwrap_or_else(|| Bag::new(self.pieces.len()));
        let result = work(&mut bag);
        self.bags.lock().unwrap_or_else(PoisonError::into_inner).push(bag);
        result
    }

    /// The vector of a text under one set of weights.
    fn vector(&self, text: &str, weights: &[f32], bag: &mut Bag) -> Vec<f32> {
        self.pieces.count(text, bag);
        let mut vector = vec![0.0; self.dimensions];
        bag.drain(|pieces| sum::weighted(&mut vector, pieces, weights, self.model.rows(), self.model.width));
        normalize(&mut vector);
        vector
    }
}

impl Embedder for StaticEmbedder {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn provider(&self) -> Provider {
        Provider::Static
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn embed_documents_unless(
        &self,
        documents: &[Document<'_>],
        _cancelled: &dyn Fn() -> bool,
        _effort: &mut Effort,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let start = Instant::now();
        let weights = &self.model.document_weights;
        let vectors =
            self.with_bag(|bag| documents.iter().map(|document| self.vector(document.text, weights, bag)).collect());
        self.telemetry.set(Gauge::EmbeddingBatchSize, documents.len() as f64);
        self.telemetry.emit(Fact::EmbeddingGenerated { provider: Provider::Static, nanos: nanos_since(start) });
        Ok(vectors)
    }

    fn path_vector(&self, path: &str) -> Option<Vec<f32>> {
        let vector = self.with_bag(|bag| self.vector(path_end(path), &self.model.document_weights, bag));
        vector.iter().any(|&value| value != 0.0).then_some(vector)
    }

    fn path_weight(&self) -> f32 {
        PATH_WEIGHT
    }

    fn embed_query_noting(&self, query: &str, _effort: &mut Effort) -> Result<Vec<f32>, EmbedError> {
        let start = Instant::now();
        let vector = self.with_bag(|bag| self.vector(query, &self.model.query_weights, bag));
        self.telemetry.emit(Fact::EmbeddingGenerated { provider: Provider::Static, nanos: nanos_since(start) });
        Ok(vector)
    }
}

/// The dimensions asked for, if the model can give them.
fn checked_dimensions(asked: Option<usize>, width: usize, origin: &str) -> Result<usize, String> {
    let mut allowed = vec![width];
    allowed.extend([256, 128, 64].into_iter().filter(|&fewer| fewer < width));
    match asked {
        None => Ok(width),
        Some(asked) if allowed.contains(&asked) => Ok(asked),
        Some(asked) => {
            let allowed: Vec<String> = allowed.iter().map(usize::to_string).collect();
            Err(format!("embedding.dimensions is {asked}, {origin} gives {}", allowed.join(" or ")))
        }
    }
}

/// The last components of a path.
fn path_end(path: &str) -> &str {
    match path.rmatch_indices('/').nth(PATH_COMPONENTS - 1) {
        Some((slash, _)) => &path[slash + 1..],
        None => path,
    }
}

fn nanos_since(start: Instant) -> u64 {
    start.elapsed().as_nanos().try_into().unwrap_or(u64::MAX)
}

impl std::fmt::Debug for StaticEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticEmbedder").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Where the two files of a model lie, given the folder or the first of them.
fn paths_of(model: &Path) -> (PathBuf, PathBuf) {
    let folder = if model.is_dir() { model } else { model.parent().unwrap_or(Path::new("")) };
    let tensors = if model.is_dir() { model.join("model.safetensors") } else { model.to_path_buf() };
    (tensors, folder.join("vocab.txt"))
}

#[cfg(test)]
mod tests;
