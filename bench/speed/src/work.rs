//! Work: real searches, in an index of this repository's own sources.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use conexusd::index::embed::{StaticEmbedder, StaticOptions};
use conexusd::index::run::{Run, RunControl};
use conexusd::index::{Index, IndexOptions};
use conexusd::search::{Filters, Options, SearchEngine, SearchRequest, WorkContext};
use conexusd::telemetry::{Telemetry, Trace};

/// What is asked, in turn.
pub const QUERIES: [&str; 8] = [
    "where is a batch that cannot be read refused",
    "Throttle",
    "how are duplicate records discarded after a reconnect",
    "socket permissions of another user",
    "bucket_of",
    "what happens when the ring is full",
    "sum the slots of all threads into a snapshot",
    "retry with backoff and jitter",
];

/// An index and its engines.
pub struct Work {
    index: Arc<Index>,
    _folder: tempfile::TempDir,
}

impl Work {
    /// Indexes `root` into a temporary folder.
    pub fn index(root: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let embedder =
            StaticEmbedder::load(&StaticOptions::default(), Telemetry::detached()).context("the built-in table")?;
        let options = IndexOptions::new(root, folder.path())?;
        let index = Index::open(options, Arc::new(embedder), Telemetry::detached())?;
        index.run(&Run::All, &Arc::new(RunControl::new()))?;
        Ok(Self { index, _folder: folder })
    }

    /// An engine that reports to `telemetry`.
    pub fn engine(&self, telemetry: Telemetry) -> SearchEngine {
        let embedder = Arc::clone(self.index.embedder());
        SearchEngine::new(Options::default(), self.index.current(), embedder, telemetry)
    }
}

/// A search without the result cache, so that every one does the same work.
pub fn search(engine: &SearchEngine, query: &str, trace: &mut Trace) {
    let request = SearchRequest {
        query: query.to_owned(),
        top_k: 20,
        offset: 0,
        filters: Filters::default(),
        work_context: WorkContext::default(),
        max_tokens: None,
        cache: false,
    };
    let response = engine.search(&request, trace).expect("the index answers");
    std::hint::black_box(response.results.len());
}
