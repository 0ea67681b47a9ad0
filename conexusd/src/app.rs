//! App: what the parts that answer clients are given, and how the index is run for them.

mod indexer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::grep::GrepLimits;
use crate::index::snapshot::Freshness;
use crate::index::walk::filter::Filter;
use crate::root::Root;
use crate::search::{SearchEngine, SearchError, SearchRequest, SearchResponse};
use crate::telemetry::{Telemetry, Trace};

pub use indexer::Indexer;

/// What answering a client takes, for one root.
pub struct Services {
    /// The indexed folder.
    pub root: Root,
    /// Which of its files may be searched and shown: the index's own filter.
    pub filter: Filter,
    /// Answers questions.
    pub search: Arc<dyn Search>,
    /// Runs the index and says how it is.
    pub index: Arc<dyn Indexing>,
    /// Where everything is reported.
    pub telemetry: Telemetry,
    /// Results of a search that does not say how many (`search.top_k`).
    pub top_k: usize,
    /// Tokens of all snippets of one answer together (`search.max_tokens`).
    pub max_tokens: Option<usize>,
    /// What one `context_grep` may cost.
    pub grep: GrepLimits,
    /// When the process started.
    pub started: Instant,
}

/// Answers questions about the indexed folder.
pub trait Search: Send + Sync {
    /// One answer. Errors are for the asker: which argument cannot be used and why, or what failed.
    fn search(&self, request: &SearchRequest, trace: &mut Trace) -> Result<SearchResponse, SearchFailure>;
}

impl Search for SearchEngine {
    fn search(&self, request: &SearchRequest, trace: &mut Trace) -> Result<SearchResponse, SearchFailure> {
        SearchEngine::search(self, request, trace).map_err(|error: SearchError| match error.is_request() {
            true => SearchFailure::Invalid(error.to_string()),
            false => SearchFailure::Failed(error.to_string()),
        })
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchFailure {
    /// The question cannot be used as it is; says what is wrong and what is allowed.
    #[error("{0}")]
    Invalid(String),
    /// The search failed.
    #[error("{0}")]
    Failed(String),
}

/// Runs the index of one root. One run at a time; every call returns at once.
pub trait Indexing: Send + Sync {
    /// How the index is.
    fn status(&self) -> IndexStatus;
    /// Starts a run, unless one that was started here is going on. From then on [`IndexStatus::run`] is its number.
    fn start(&self, job: Job) -> Result<(), RunRefused>;
    /// Asks the run to stop; what it has committed stays. Whether there was one.
    fn stop(&self) -> bool;
    /// Indexed files at or below a folder (`""` is everything) whose paths come after `after`, in the order of their
    /// paths, at most `limit`.
    fn files(&self, folder: &str, after: Option<&str>, limit: usize) -> Vec<IndexedFile>;
}

/// What a run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// What changed since the last run.
    Changed,
    /// Everything afresh.
    Everything,
    /// Files and folders, relative to the root, whether they changed or not.
    Paths(Vec<String>),
}

/// Why a run was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunRefused {
    /// One is going on.
    #[error("an index run is already in progress")]
    Running,
    /// The index cannot be written.
    #[error("{0}")]
    Failed(String),
}

/// How the index is.
#[derive(Clone, Debug)]
pub struct IndexStatus {
    /// Number of the latest run, from 1; 0 before the first. It is over once `running` is false.
    pub run: u64,
    /// Whether it is going on.
    pub running: bool,
    /// What it is doing: `idle`, or the name of a stage (`waiting`, `recovering`, `indexing`, `finishing`, `stopping`).
    pub phase: &'static str,
    /// How the latest run ended.
    pub outcome: RunOutcome,
    /// Files seen by the run so far, or in all once it has seen everything.
    pub files_total: u64,
    /// Files that the run is done with, in whatever way.
    pub files_done: u64,
    /// Files that it read and indexed.
    pub files_indexed: u64,
    /// Files that could not be indexed.
    pub files_failed: u64,
    /// Files left out by the run, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Chunks made by the run.
    pub chunks_done: u64,
    /// Bytes of the files indexed by the run.
    pub bytes_done: u64,
    /// Seconds since the run started, or that it took.
    pub elapsed_seconds: f64,
    /// Files a second.
    pub files_per_second: f64,
    /// Seconds to go, if that can be said.
    pub eta_seconds: Option<f64>,
    /// The latest thing that went wrong.
    pub last_error: Option<String>,
    /// Files in the index.
    pub indexed_files: u64,
    /// Chunks in the index.
    pub indexed_chunks: u64,
    /// How fresh the index is.
    pub freshness: Freshness,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// None has ended yet.
    None,
    /// It saw everything.
    Completed,
    /// It was stopped.
    Stopped,
    /// It failed; `last_error` says why.
    Failed,
}

impl RunOutcome {
    /// As answers spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            RunOutcome::None => "none",
            RunOutcome::Completed => "completed",
            RunOutcome::Stopped => "stopped",
            RunOutcome::Failed => "failed",
        }
    }
}

/// A file of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedFile {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its language's name.
    pub language: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Its lines.
    pub lines: u32,
}

/// Seconds since the index was last checked against the disk.
pub fn age_seconds(freshness: &Freshness) -> Option<f64> {
    let age = SystemTime::now().duration_since(freshness.checked?).unwrap_or_default();
    Some(age.as_secs_f64())
}
