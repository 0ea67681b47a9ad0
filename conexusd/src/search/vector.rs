//! The semantic lane: a query's vector in, the chunks nearest to it out.

use std::sync::Arc;

use super::cache::Lru;
use crate::ablation::{Signal, off};
use crate::index::embed::{Effort, EmbedError, Embedder};
use crate::index::snapshot::{ChunkRow, FileRow, Snapshot};

/// Query vectors kept, so that paging and repeated questions do not ask a remote provider again.
const QUERY_VECTORS_MAX: usize = 256;

/// Longest text that is embedded; a model of whole words gains nothing from more.
pub const EMBEDDED_BYTES_MAX: usize = 8 * 1024;

/// Embeds queries, remembering the last ones.
pub struct QueryEmbedder {
    embedder: Arc<dyn Embedder>,
    recent: Lru<String, Arc<Vec<f32>>>,
}

impl QueryEmbedder {
    /// Embeds with `embedder`.
    pub fn new(embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder, recent: Lru::new(QUERY_VECTORS_MAX) }
    }

    /// What embeds.
    pub fn embedder(&self) -> &dyn Embedder {
        &*self.embedder
    }

    /// The unit vector of a text, all zeros if the model knows nothing in it, and whether it was remembered. `effort` learns
    /// what it took otherwise.
    pub fn embed(&self, text: &str, cache: bool, effort: &mut Effort) -> Result<(Arc<Vec<f32>>, bool), EmbedError> {
        let text = &text[..text.floor_char_boundary(EMBEDDED_BYTES_MAX)];
        if cache && let Some(vector) = self.recent.get(text) {
            return Ok((vector, true));
        }
        let vector = Arc::new(self.embedder.embed_query_noting(text, effort)?);
        if cache {
            self.recent.insert(text.to_owned(), Arc::clone(&vector));
        }
        Ok((vector, false))
    }
}

/// The best `limit` chunks by cosine of the files that `keep` accepts; none for a vector of zeros.
pub fn search(
    snapshot: &Snapshot,
    vector: &[f32],
    limit: usize,
    keep: &dyn Fn(FileRow) -> bool,
) -> Vec<(ChunkRow, f32)> {
    if vector.iter().all(|&x| x == 0.0) || off(Signal::SemanticLane) {
        return Vec::new();
    }
    let mut hits = snapshot.nearest(vector, limit, keep);
    hits.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| super::rank::by_place(snapshot, a.0, b.0)));
    hits
}
