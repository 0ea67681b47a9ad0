//! Embedding: texts in, unit vectors out. Which model is behind it is a matter of configuration.

use std::sync::Arc;

use conexus_proto::facts::{EmbeddingError, Gauge, Provider};

use crate::telemetry::{AttributeValue, SpanRef, Telemetry, Tick, Trace};

mod openai;
mod static_model;

pub use openai::{OpenAiEmbedder, OpenAiOptions};
pub use static_model::{StaticEmbedder, StaticOptions};

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
    /// One unit vector a document, from its text alone (the path is added by [`Embedder::path_vector`]); all zeros if
    /// nothing in it is known to the model.
    fn embed_documents(&self, documents: &[Document<'_>]) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.embed_documents_unless(documents, &|| false, &mut Effort::default())
    }
    /// The same, but gives up with an error soon after `cancelled` turns true: before the next request to a remote
    /// model, and while it waits to try again. `effort` learns what it took, also when it fails.
    fn embed_documents_unless(
        &self,
        documents: &[Document<'_>],
        cancelled: &dyn Fn() -> bool,
        effort: &mut Effort,
    ) -> Result<Vec<Vec<f32>>, EmbedError>;
    /// The vector of a path, to be added to that of the text with [`Embedder::path_weight`]; `None` where the model has none.
    fn path_vector(&self, path: &str) -> Option<Vec<f32>>;
    /// The share of the path vector.
    fn path_weight(&self) -> f32;
    /// A query's unit vector; all zeros if nothing in it is known to the model.
    fn embed_query(&self, query: &str) -> Result<Vec<f32>, EmbedError> {
        self.embed_query_noting(query, &mut Effort::default())
    }
    /// The same; `effort` learns what it took, also when it fails.
    fn embed_query_noting(&self, query: &str, effort: &mut Effort) -> Result<Vec<f32>, EmbedError>;
    /// The server that is asked, where there is one.
    fn remote(&self) -> Option<Remote<'_>> {
        None
    }
}

/// A server that makes vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Remote<'a> {
    pub host: &'a str,
    pub port: u16,
    pub model: &'a str,
}

/// What it took to get vectors, beside the time. Allocates nothing where all went well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Requests that failed and were tried again.
    pub retries: Vec<Retry>,
}

/// A request that failed and was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// When it had failed.
    pub at: Tick,
    /// Why.
    pub error: EmbeddingError,
    /// The wait before the next try, in milliseconds.
    pub wait_ms: u64,
}

/// Says on an `embedding.generate` span who made the vectors and what it took. `cached`: none had to be made.
pub fn describe(trace: &mut Trace, span: SpanRef, embedder: &dyn Embedder, effort: &Effort, cached: bool) {
    let provider = embedder.provider().as_str();
    trace.set(span, "provider", AttributeValue::Static(provider));
    trace.set(span, "cache_hit", cached);
    if cached {
        return;
    }
    if let Some(remote) = embedder.remote() {
        trace.client(span);
        trace.set(span, "op", AttributeValue::Static("http.client"));
        trace.set(span, "gen_ai.operation.name", AttributeValue::Static("embeddings"));
        trace.set(span, "gen_ai.provider.name", AttributeValue::Static(provider));
        trace.set(span, "gen_ai.request.model", remote.model);
        trace.set(span, "server.address", remote.host);
        trace.set(span, "server.port", i64::from(remote.port));
    }
    for (before, retry) in (1_i64..).zip(&effort.retries) {
        let attributes = [
            ("error.type", AttributeValue::Static(retry.error.as_str())),
            ("attempt", AttributeValue::Integer(before)),
            ("wait_ms", retry.wait_ms.into()),
        ];
        trace.event_at(span, "retry", retry.at, &attributes);
    }
}

/// Why an embedding could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct EmbedError {
    /// The class, for facts.
    pub class: EmbeddingError,
    /// What went wrong, naming the provider's address or the file.
    pub message: String,
}

impl EmbedError {
    fn new(class: EmbeddingError, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

/// Which embedder, and its settings.
#[derive(Clone, Debug)]
pub enum EmbedderOptions {
    /// A token table on this machine.
    Static(StaticOptions),
    /// A server that speaks OpenAI's embeddings API.
    OpenAi(OpenAiOptions),
}

/// Makes the embedder. Loads and checks the model; a remote one is asked only if its dimensions are not configured.
pub fn build(options: EmbedderOptions, telemetry: Telemetry) -> Result<Arc<dyn Embedder>, EmbedError> {
    // None yet: the gauge is there from the start.
    telemetry.set(Gauge::EmbeddingBatchSize, 0.0);
    Ok(match options {
        EmbedderOptions::Static(options) => Arc::new(StaticEmbedder::load(&options, telemetry)?),
        EmbedderOptions::OpenAi(options) => Arc::new(OpenAiEmbedder::connect(options, telemetry)?),
    })
}

/// Adds a path's vector to a text's vector, both unit vectors of one length, and makes the sum a unit vector.
pub fn add_path(text: &mut [f32], path: &[f32], weight: f32) {
    for (text, path) in text.iter_mut().zip(path) {
        *text += weight * path;
    }
    normalize(text);
}

/// Scales a vector to length 1; zeros stay zeros. The result is the same on every processor: eight sums, added in order.
pub fn normalize(vector: &mut [f32]) {
    let mut sums = [0.0_f32; 8];
    let (eights, rest) = vector.as_chunks::<8>();
    for eight in eights {
        for place in 0..8 {
            sums[place] += eight[place] * eight[place];
        }
    }
    for (place, value) in rest.iter().enumerate() {
        sums[place] += value * value;
    }
    let square: f32 = sums.iter().sum();
    if square > 0.0 {
        let factor = square.sqrt().recip();
        vector.iter_mut().for_each(|value| *value *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_scaled_to_length_one_and_zeros_stay() {
        let mut vector = vec![3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0];
        normalize(&mut vector);
        assert_eq!((vector[0], vector[8]), (0.6, 0.8));
        let mut zeros = vec![0.0; 9];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 9]);
    }

    #[test]
    fn a_path_pulls_the_text_its_way_by_its_weight() {
        let mut text = vec![1.0, 0.0];
        add_path(&mut text, &[0.0, 1.0], 0.5);
        assert!((text[1] / text[0] - 0.5).abs() < 1e-6);
        assert!((text[0].hypot(text[1]) - 1.0).abs() < 1e-6);
    }
}
