//! Embedding: texts in, unit vectors out. Which model is behind it is a matter of configuration.

use conexus_proto::facts::{EmbeddingError, Provider};

/// One chunk to embed.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// Relative to the root, with `/`.
    pub path: &'a str,
    /// The chunk's text.
    pub text: &'a str,
}

/// Makes vectors. Documents and queries must go through the same embedder.
pub trait Embedder: Send + Sync {
    /// Changes whenever its vectors do (model, version, dimensions); stored in the index.
    fn identity(&self) -> &str;
    /// Length of every vector.
    fn dimensions(&self) -> usize;
    /// The provider, for facts.
    fn provider(&self) -> Provider;
    /// The most documents that one call of `embed_documents` takes.
    fn batch_size(&self) -> usize;
    /// One unit vector a document, from its text alone (the path is added by [`Embedder::path_vector`]).
    fn embed_documents(&self, documents: &[Document<'_>]) -> Result<Vec<Vec<f32>>, EmbedError>;
    /// The vector of a path, to be added to that of the text with [`Embedder::path_weight`]; `None` where the model has none.
    fn path_vector(&self, path: &str) -> Option<Vec<f32>>;
    /// The share of the path vector.
    fn path_weight(&self) -> f32;
    /// A query's unit vector; all zeros if nothing in it is known to the model.
    fn embed_query(&self, query: &str) -> Result<Vec<f32>, EmbedError>;
}

/// Why an embedding could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EmbedError {
    /// The class, for facts.
    pub class: EmbeddingError,
    /// What went wrong, naming the provider's address or the file.
    pub message: String,
}
