//! Search: a question in, the right pieces of the codebase out.
//!
//! ```text
//! query → bm25 ∥ vector → fuse → rank → format
//! ```
//!
//! Search never sees MCP or JSON.

pub mod bm25;
pub mod cache;
pub mod filter;
pub mod format;
pub mod fuse;
pub mod query;
pub mod rank;
pub mod vector;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use conexus_proto::facts::{Fact, SearchType};

use crate::index::IndexError;
use crate::index::classify::SourceType;
use crate::index::embed::{self, Effort, Embedder};
use crate::index::snapshot::{ChunkRow, Current, FileRow, Freshness, Snapshot};
use crate::telemetry::{AttributeValue, SpanRef, Telemetry, Trace};
use bm25::WeightedTerm;
use cache::{FilterKey, Key, Lru, ResultCache};
use filter::Allowed;
use query::Query;
use rank::{Context, Evidence, Ranked, ScoredFile};
use vector::QueryEmbedder;

/// The most results of one answer.
pub const TOP_K_MAX: usize = 100;

/// Chunks that each lane brings for each part of the query.
pub const LANE_LIMIT: usize = 300;

/// Compiled filters kept: each is a bit a file.
const FILTERS_MAX: usize = 32;

/// What an order is made from. All but the first leave parts out: they show what each part is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Both lanes, fused, then ranked by all evidence.
    #[default]
    Full,
    /// The same without vectors.
    FullWithoutVectors,
    /// Both lanes, fused by their ranks alone.
    Fused,
    /// BM25 alone.
    Words,
    /// Vectors alone.
    Vectors,
}

impl Method {
    fn has_words(self) -> bool {
        self != Self::Vectors
    }

    fn has_vectors(self) -> bool {
        !matches!(self, Self::Words | Self::FullWithoutVectors)
    }

    fn is_ranked(self) -> bool {
        matches!(self, Self::Full | Self::FullWithoutVectors)
    }
}

/// What an engine may be told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rankings kept; 0 keeps none.
    pub cache_entries: usize,
    /// The token budget of requests that name none.
    pub max_tokens: Option<usize>,
    /// What the order is made from.
    pub method: Method,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_entries: 1_000, max_tokens: None, method: Method::Full }
    }
}

/// Answers questions about the index of the moment. One a root, shared by all threads.
pub struct SearchEngine {
    options: Options,
    current: Current,
    embedder: QueryEmbedder,
    telemetry: Telemetry,
    rankings: ResultCache,
    filters: Lru<(u64, FilterKey), Arc<Allowed>>,
}

impl SearchEngine {
    /// An engine over whatever `current` holds when a question comes; `embedder` must be the one that made the index.
    pub fn new(options: Options, current: Current, embedder: Arc<dyn Embedder>, telemetry: Telemetry) -> Self {
        let rankings = ResultCache::new(options.cache_entries);
        let embedder = QueryEmbedder::new(embedder);
        Self { options, current, embedder, telemetry, rankings, filters: Lru::new(FILTERS_MAX) }
    }

    /// Answers a question. `trace`'s root is the parent of the spans.
    pub fn search(&self, request: &SearchRequest, trace: &mut Trace) -> Result<SearchResponse, SearchError> {
        let started = Instant::now();
        check(request)?;
        let snapshot = self.current.load_full();
        let (ranking, searched) = self.ranking(&snapshot, request, trace)?;
        let total_count = ranking.len();
        let first = request.offset.min(total_count);
        let slice = &ranking[first..(first + request.top_k).min(total_count)];
        // Only now it is known what is to be read. It is a part of the search in the store, though that ended before.
        let reading = trace.start(searched, "store.read");
        let texts = format::Texts::read(&snapshot, slice)?;
        let (files, read) = texts.size();
        trace.set(reading, "op", AttributeValue::Static("db"));
        trace.set(reading, "files", files);
        trace.set(reading, "bytes", read);
        let (_, formatting) = trace.next(reading, trace.root(), "result.format");
        let max_tokens = request.max_tokens.or(self.options.max_tokens);
        let (results, bytes) = format::results(&snapshot, slice, &texts, max_tokens);
        trace.set(formatting, "bytes", bytes);
        let truncated = results.iter().filter(|result| result.truncated).count();
        if truncated > 0 {
            let what = ("what", AttributeValue::Static("results"));
            trace.event(formatting, "truncated", &[what, ("count", truncated.into())]);
        }
        trace.end(formatting);
        trace.set(trace.root(), "results", results.len());
        Ok(SearchResponse {
            has_more: first + results.len() < total_count,
            results,
            total_count,
            query_time_ms: started.elapsed().as_secs_f64() * 1e3,
            offset: request.offset,
            limit: request.top_k,
            freshness: snapshot.freshness(),
        })
    }

    /// The candidate files of a question with their features, best first: what the ranker's weights are trained on.
    pub fn explain(&self, request: &SearchRequest) -> Result<Vec<(String, ScoredFile)>, SearchError> {
        check(request)?;
        let snapshot = self.current.load_full();
        let mut trace = self.telemetry.trace("mcp.search");
        let (files, _) = self.gather(&snapshot, request, &mut trace, rank::explain)?;
        Ok(files.into_iter().map(|file| (snapshot.file(file.file).path.to_owned(), file)).collect())
    }

    /// The ranking, and the span of the search in the store, or the root where the ranking was remembered.
    fn ranking(
        &self,
        snapshot: &Snapshot,
        request: &SearchRequest,
        trace: &mut Trace,
    ) -> Result<(Arc<Vec<Ranked>>, SpanRef), SearchError> {
        let fresh = |trace: &mut Trace| {
            let (ranking, searched) = self.gather(snapshot, request, trace, self.order())?;
            Ok((Arc::new(ranking), searched))
        };
        if !request.cache {
            return fresh(trace);
        }
        let (key, generation) = (Key::of(request), snapshot.generation());
        if let Some(ranking) = self.rankings.get(&key, generation) {
            self.telemetry.emit(Fact::SearchCacheHit);
            let root = trace.root();
            trace.set(root, "cache_hit", true);
            trace.event(root, "cache_hit", &[("what", AttributeValue::Static("ranking"))]);
            return Ok((ranking, root));
        }
        self.telemetry.emit(Fact::SearchCacheMiss);
        let (ranking, searched) = fresh(trace)?;
        self.rankings.insert(key, generation, Arc::clone(&ranking));
        Ok((ranking, searched))
    }

    fn order(&self) -> fn(&Evidence<'_>) -> Vec<Ranked> {
        if self.options.method.is_ranked() { rank::rank } else { rank::fused }
    }

    /// Runs the lanes and hands what they found to `conclude`. Returns the span of the lanes too.
    fn gather<R>(
        &self,
        snapshot: &Snapshot,
        request: &SearchRequest,
        trace: &mut Trace,
        conclude: fn(&Evidence<'_>) -> R,
    ) -> Result<(R, SpanRef), SearchError> {
        let allowed = self.allowed(snapshot, request)?;
        let keep = |file: FileRow| allowed.admits(file);
        let query = query::analyse(&request.query);
        trace.set(trace.root(), "kind", AttributeValue::Static(query.kind.as_str()));
        let method = self.options.method;
        let vectors = if method.has_vectors() { self.embed(&query, request.cache, trace) } else { Vec::new() };
        let searching = trace.start(trace.root(), "vectorstore.search");
        let semantic = self.vector_lane(snapshot, &vectors, &keep, searching, trace);
        let (terms, lexical) = match method.has_words() {
            true => self.lexical_lane(snapshot, &query, &keep, searching, trace)?,
            false => (Vec::new(), vec![Vec::new(); query.parts.len()]),
        };
        let (nanos, ranking) = trace.next(searching, trace.root(), "result.rank");
        trace.measure(searching, Fact::Searched { lane: SearchType::Hybrid, nanos });
        let context = Context::of(&request.work_context);
        let evidence = Evidence {
            snapshot,
            query: &query,
            context: &context,
            terms: &terms,
            lexical: &lexical,
            semantic: &semantic,
            vectors: &vectors,
            keep: &keep,
        };
        let conclusion = conclude(&evidence);
        trace.end(ranking);
        Ok((conclusion, searching))
    }

    fn allowed(&self, snapshot: &Snapshot, request: &SearchRequest) -> Result<Arc<Allowed>, SearchError> {
        let key = (snapshot.generation(), FilterKey::of(&request.filters));
        if let Some(allowed) = self.filters.get(&key) {
            return Ok(allowed);
        }
        let allowed = Arc::new(Allowed::compile(snapshot, &request.filters)?);
        self.filters.insert(key, Arc::clone(&allowed));
        Ok(allowed)
    }

    /// The vector of each part; none if the provider fails: the answer is then made from words alone.
    fn embed(&self, query: &Query, cache: bool, trace: &mut Trace) -> Vec<Arc<Vec<f32>>> {
        let span = trace.start(trace.root(), "embedding.generate");
        let mut vectors = Vec::with_capacity(query.parts.len());
        let (mut hits, mut effort) = (0, Effort::default());
        for part in &query.parts {
            if part.text.len() > vector::EMBEDDED_BYTES_MAX {
                let what = ("what", AttributeValue::Static("query"));
                trace.event(span, "truncated", &[what, ("bytes", part.text.len().into())]);
            }
            match self.embedder.embed(&part.text, cache, &mut effort) {
                Ok((vector, hit)) => {
                    hits += usize::from(hit);
                    vectors.push(vector);
                }
                Err(error) => {
                    // The embedder has counted it.
                    trace.set(span, "error.type", AttributeValue::Static(error.class.as_str()));
                    trace.fail(span, &error.message);
                    vectors.clear();
                    break;
                }
            }
        }
        if hits > 0 {
            trace.event(span, "cache_hit", &[("what", AttributeValue::Static("vector")), ("count", hits.into())]);
        }
        embed::describe(trace, span, self.embedder.embedder(), &effort, hits == query.parts.len());
        trace.end(span);
        vectors
    }

    fn vector_lane(
        &self,
        snapshot: &Snapshot,
        vectors: &[Arc<Vec<f32>>],
        keep: &dyn Fn(FileRow) -> bool,
        parent: SpanRef,
        trace: &mut Trace,
    ) -> Vec<Vec<(ChunkRow, f32)>> {
        let span = trace.start(parent, "vector.search");
        let lists: Vec<_> = vectors.iter().map(|vector| vector::search(snapshot, vector, LANE_LIMIT, keep)).collect();
        trace.set(span, "candidates", lists.iter().map(Vec::len).sum::<usize>());
        trace.set(span, "ef", snapshot.expansion());
        let nanos = trace.end(span);
        trace.measure(span, Fact::Searched { lane: SearchType::Vector, nanos });
        lists
    }

    #[allow(clippy::type_complexity)]
    fn lexical_lane(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        keep: &dyn Fn(FileRow) -> bool,
        parent: SpanRef,
        trace: &mut Trace,
    ) -> Result<(Vec<WeightedTerm>, Vec<Vec<(ChunkRow, f32)>>), SearchError> {
        let span = trace.start(parent, "bm25.search");
        let mut lists = Vec::with_capacity(query.parts.len());
        let mut terms: Vec<WeightedTerm> = Vec::new();
        for part in &query.parts {
            let own = bm25::weigh(snapshot, part)?;
            lists.push(bm25::search(snapshot, &own, LANE_LIMIT, keep)?);
            for term in own {
                if !terms.iter().any(|other| other.text == term.text) {
                    terms.push(WeightedTerm { weight: term.weight * part.weight, ..term });
                }
            }
        }
        trace.set(span, "terms", terms.len());
        trace.set(span, "candidates", lists.iter().map(Vec::len).sum::<usize>());
        let nanos = trace.end(span);
        trace.measure(span, Fact::Searched { lane: SearchType::Bm25, nanos });
        Ok((terms, lists))
    }
}

fn check(request: &SearchRequest) -> Result<(), SearchError> {
    if request.query.is_empty() {
        return Err(SearchError::EmptyQuery);
    }
    if !(1..=TOP_K_MAX).contains(&request.top_k) {
        return Err(SearchError::TopK { value: request.top_k });
    }
    Ok(())
}

/// Why a question could not be answered. All but the last two are the asker's to mend.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SearchError {
    #[error("query is empty: any other text is allowed")]
    EmptyQuery,
    #[error("top_k is {value}: 1 to {TOP_K_MAX} are allowed")]
    TopK { value: usize },
    #[error("unknown source type {name:?}: {} are allowed", SourceType::ALL.map(SourceType::as_str).join(", "))]
    UnknownSourceType { name: String },
    #[error("unknown language {name:?}: did you mean {}?", near.join(", "))]
    UnknownLanguage { name: String, near: Vec<&'static str> },
    #[error("filters.paths has bad glob {glob:?}: {reason}")]
    BadGlob { glob: String, reason: String },
    #[error("filters.date_range ends before it begins")]
    DateRange,
    #[error("index: {0}")]
    Index(#[from] IndexError),
    #[error("lexical index: {0}")]
    Lexical(#[from] tantivy::TantivyError),
}

impl SearchError {
    /// Whether another request would be answered, so that the error tells of the request and not of the index.
    pub fn is_request(&self) -> bool {
        !matches!(self, Self::Index(_) | Self::Lexical(_))
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct SearchRequest {
    pub query: String,
    /// 1 to 100.
    pub top_k: usize,
    pub offset: usize,
    pub filters: Filters,
    pub work_context: WorkContext,
    /// An upper bound for the tokens of all snippets together.
    pub max_tokens: Option<usize>,
    /// Whether the result cache may answer.
    pub cache: bool,
}

/// What may be in the answer. Empty lists allow everything.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Filters {
    /// `code`, `docs`, `config`, `test`.
    pub source_types: Vec<String>,
    /// Language names.
    pub languages: Vec<String>,
    /// Globs over paths.
    pub paths: Vec<String>,
    /// Files modified at or after.
    pub modified_from: Option<SystemTime>,
    /// Files modified at or before.
    pub modified_to: Option<SystemTime>,
}

/// What the asker is working on: boosts, never filters.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct WorkContext {
    pub active_file: Option<String>,
    pub git_branch: Option<String>,
    pub open_ticket_ids: Vec<String>,
}

/// The answer to a question: a slice of one ranking.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct SearchResponse {
    pub results: Vec<SearchResult>,
    /// Length of the whole ranking.
    pub total_count: usize,
    pub query_time_ms: f64,
    pub offset: usize,
    pub limit: usize,
    pub has_more: bool,
    pub freshness: Freshness,
}

/// One piece of the codebase.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct SearchResult {
    /// `path:start-end`, stable while the file does not change.
    pub id: String,
    pub path: String,
    pub start_line: u32,
    pub end_line: u32,
    pub symbol: Option<String>,
    pub scope: Option<String>,
    pub kind: &'static str,
    pub language: &'static str,
    /// `code`, `docs`, `config`, `test`.
    pub source_type: &'static str,
    pub score: f32,
    /// The lines themselves, whole; what did not fit the token budget is left out at the end and said.
    pub content: String,
    /// The first line of the definition around the snippet, where the snippet begins inside of it.
    pub enclosing: Option<String>,
    pub truncated: bool,
}
