//! Remote models: any server that speaks OpenAI's embeddings API (OpenAI, Ollama, TEI, vLLM, llama.cpp).
//!
//! Texts go out in batches. What may pass (429, 408, 5xx, timeouts, broken connections) is tried again after a growing,
//! jittered wait, or the one that the server asks for. Vectors are checked for number and dimensions and scaled to
//! length 1. The key is in no message and no log line.

use std::fmt;
use std::time::{Duration, Instant};

use conexus_proto::facts::{EmbeddingError, Fact, Gauge, Provider};

use super::{Document, Effort, EmbedError, Embedder, Remote, Retry, normalize};
use crate::telemetry::{Telemetry, Tick};

mod address;
mod client;
mod retry;

use address::Address;
use client::Client;
use retry::Patience;

/// Texts are cut here, at a character: about the 8,191 tokens that OpenAI's models read of dense code.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A request has at most about so many bytes of text (but at least one text).
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// The most texts that OpenAI takes in a request.
const BATCH_TEXTS_MAX: usize = 2048;

/// The most dimensions that make sense.
const DIMENSIONS_MAX: usize = 65_536;

/// Indexing waits at most so long before it tries again, whatever the server asks for.
const DOCUMENT_WAIT_MAX: Duration = Duration::from_secs(60);

/// Someone waits for a query's answer: one more try, and soon or not at all.
const QUERY_WAIT_MAX: Duration = Duration::from_secs(1);
const QUERY_RETRIES_MAX: u32 = 1;

/// Settings of a remote model.
#[derive(Clone)]
pub struct OpenAiOptions {
    /// Where the API is (`https://api.openai.com/v1`, `http://localhost:11434`); `/embeddings` is appended if it is
    /// not there, `/v1/embeddings` where there is no path at all.
    pub base_url: String,
    /// The model's name, as the server knows it.
    pub model: String,
    /// Sent as a bearer token.
    pub api_key: Option<String>,
    /// Length of the vectors; asked of the server, and checked. `None`: whatever the server gives, found out at the start.
    pub dimensions: Option<usize>,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    /// How often a request is tried again.
    pub max_retries: u32,
    /// The most texts in a request, 1 to 2048.
    pub batch_size: usize,
}

impl Default for OpenAiOptions {
    fn default() -> Self {
        Self {
            base_url: "https://api.openai.com/v1".into(),
            model: "text-embedding-3-small".into(),
            api_key: None,
            dimensions: None,
            timeout: Duration::from_secs(30),
            max_retries: 3,
            batch_size: 64,
        }
    }
}

impl fmt::Debug for OpenAiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiOptions")
            .field("base_url", &address::without_secrets(&self.base_url))
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .field("dimensions", &self.dimensions)
            .field("timeout", &self.timeout)
            .field("max_retries", &self.max_retries)
            .field("batch_size", &self.batch_size)
            .finish()
    }
}

/// A remote model.
#[derive(Debug)]
pub struct OpenAiEmbedder {
    identity: String,
    dimensions: usize,
    batch_size: usize,
    max_retries: u32,
    client: Client,
    telemetry: Telemetry,
}

impl OpenAiEmbedder {
    /// Checks the settings. Asks the server for one vector if the dimensions are not configured, and fails if it
    /// gives none.
    pub fn connect(options: OpenAiOptions, telemetry: Telemetry) -> Result<Self, EmbedError> {
        let invalid = |message| EmbedError::new(EmbeddingError::Other, message);
        check(&options).map_err(invalid)?;
        let address = Address::parse(&options.base_url).map_err(invalid)?;
        let (batch_size, max_retries) = (options.batch_size, options.max_retries);
        let place = format!("openai {} {}", address.shown(), options.model);
        let configured = options.dimensions;
        let client = Client::new(address, options).map_err(invalid)?;
        let mut embedder = Self { identity: String::new(), dimensions: 0, batch_size, max_retries, client, telemetry };
        embedder.dimensions = match configured {
            Some(dimensions) => dimensions,
            None => embedder.probe()?,
        };
        embedder.identity = format!("{place} {}", embedder.dimensions);
        Ok(embedder)
    }

    /// The length of the vectors that the server gives.
    fn probe(&self) -> Result<usize, EmbedError> {
        let ask = self.request(&["dimensions"], self.query_patience(), &|| false, &mut Effort::default());
        let vectors = ask.map_err(|error| EmbedError {
            message: format!("{} (asked because embedding.dimensions is not set)", error.message),
            ..error
        })?;
        Ok(vectors[0].len())
    }

    fn query_patience(&self) -> Patience {
        Patience { retries: self.max_retries.min(QUERY_RETRIES_MAX), wait_max: QUERY_WAIT_MAX, wait_longer: false }
    }

    fn document_patience(&self) -> Patience {
        Patience { retries: self.max_retries, wait_max: DOCUMENT_WAIT_MAX, wait_longer: true }
    }

    /// One batch, checked, in the order of the texts.
    fn batch(
        &self,
        texts: &[&str],
        patience: Patience,
        cancelled: &dyn Fn() -> bool,
        effort: &mut Effort,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut vectors = self.request(texts, patience, cancelled, effort)?;
        if let Some(other) = vectors.iter().map(Vec::len).find(|&length| length != self.dimensions) {
            let message = format!(
                "{} gives vectors of {other} dimensions with the model {:?}, {} are expected (embedding.dimensions)",
                self.client.shown(),
                self.client.model(),
                self.dimensions,
            );
            return Err(self.failed(EmbedError::new(EmbeddingError::Dimension, message)));
        }
        vectors.iter_mut().for_each(|vector| normalize(vector));
        Ok(vectors)
    }

    /// One request, tried again as often as patience allows.
    fn request(
        &self,
        texts: &[&str],
        patience: Patience,
        cancelled: &dyn Fn() -> bool,
        effort: &mut Effort,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.telemetry.set(Gauge::EmbeddingBatchSize, texts.len() as f64);
        let mut tries = 0;
        loop {
            if cancelled() {
                return Err(self.cancelled());
            }
            let start = Instant::now();
            let failure = match self.client.embed(texts) {
                Ok(vectors) => {
                    let nanos = start.elapsed().as_nanos().try_into().unwrap_or(u64::MAX);
                    self.telemetry.emit(Fact::EmbeddingGenerated { provider: Provider::OpenAi, nanos });
                    return Ok(vectors);
                }
                Err(failure) => failure,
            };
            tries += 1;
            match patience.wait(tries, &failure) {
                Some(wait) => {
                    let wait_ms = wait.as_millis() as u64;
                    effort.retries.push(Retry { at: Tick::now(), error: failure.class, wait_ms });
                    if !retry::sleep(wait, cancelled) {
                        return Err(self.cancelled());
                    }
                }
                None => return Err(self.failed(failure.into_error(tries))),
            }
        }
    }

    fn failed(&self, error: EmbedError) -> EmbedError {
        self.telemetry.emit(Fact::EmbeddingFailed { provider: Provider::OpenAi, error: error.class });
        error
    }

    fn cancelled(&self) -> EmbedError {
        EmbedError::new(EmbeddingError::Other, format!("the embedding by {} was cancelled", self.client.shown()))
    }
}

impl Embedder for OpenAiEmbedder {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn provider(&self) -> Provider {
        Provider::OpenAi
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn embed_documents_unless(
        &self,
        documents: &[Document<'_>],
        cancelled: &dyn Fn() -> bool,
        effort: &mut Effort,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let texts: Vec<&str> = documents.iter().map(|document| sendable(document.text)).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = &texts[..];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(rest, self.batch_size));
            vectors.extend(self.batch(batch, self.document_patience(), cancelled, effort)?);
            rest = after;
        }
        Ok(vectors)
    }

    fn path_vector(&self, _path: &str) -> Option<Vec<f32>> {
        None
    }

    fn path_weight(&self) -> f32 {
        0.0
    }

    fn embed_query_noting(&self, query: &str, effort: &mut Effort) -> Result<Vec<f32>, EmbedError> {
        Ok(self.batch(&[sendable(query)], self.query_patience(), &|| false, effort)?.remove(0))
    }

    fn remote(&self) -> Option<Remote<'_>> {
        let (host, port) = self.client.server();
        Some(Remote { host, port, model: self.client.model() })
    }
}

fn check(options: &OpenAiOptions) -> Result<(), String> {
    let problem = if options.model.trim().is_empty() {
        "embedding.model is empty, the name of a model is needed".into()
    } else if !(1..=BATCH_TEXTS_MAX).contains(&options.batch_size) {
        format!("embedding.batch_size is {}, 1 to {BATCH_TEXTS_MAX} are allowed", options.batch_size)
    } else if options.dimensions.is_some_and(|dimensions| !(1..=DIMENSIONS_MAX).contains(&dimensions)) {
        format!("embedding.dimensions is {}, 1 to {DIMENSIONS_MAX} are allowed", options.dimensions.unwrap_or(0))
    } else if options.timeout.is_zero() {
        "embedding.timeout is 0, a longer time is needed".into()
    } else {
        return Ok(());
    };
    Err(problem)
}

/// A text as it is sent: not empty, which servers refuse, and not too long.
fn sendable(text: &str) -> &str {
    if text.is_empty() { " " } else { &text[..text.floor_char_boundary(TEXT_BYTES_MAX)] }
}

/// How many of the texts go into the next request.
fn batch_length(texts: &[&str], most: usize) -> usize {
    let mut bytes = 0;
    let fitting = texts.iter().take(most).take_while(|text| {
        bytes += text.len();
        bytes <= BATCH_BYTES_MAX
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests;
