//! Search: a question in, the right pieces of the codebase out.
//!
//! ```text
//! query → bm25 ∥ vector → fuse → rank → format
//! ```
//!
//! Search never sees MCP or JSON.

use std::time::SystemTime;

use crate::index::snapshot::Freshness;

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
    pub truncated: bool,
}
