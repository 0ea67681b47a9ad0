//! Grep: which lines of the files on disk match a regular expression, right now?
//!
//! Searches the files themselves, not the index, with ripgrep's libraries. The answer does not depend on the number of
//! threads: files are taken in blocks in the order of their paths, and counting stops between blocks only.

pub mod files;
mod lines;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use globset::{GlobBuilder, GlobMatcher};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};

use crate::index::walk::filter::Filter;
use crate::root::{PathRefusal, Root};
use files::Candidate;
pub use lines::{FileMatches, Line};

/// One search through the files below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrepRequest {
    /// A regular expression in Rust's syntax.
    pub pattern: String,
    /// A file or folder to search, relative to the root; the whole root if `None`.
    pub path: Option<String>,
    /// A glob that a file must match: a bare name pattern at any depth, one with `/` from the root.
    pub include: Option<String>,
    /// Whether upper and lower case are the same.
    pub case_insensitive: bool,
    /// Lines before and after each match.
    pub context: usize,
    /// The most matching lines to return.
    pub max_results: usize,
}

/// What one search may cost.
#[derive(Clone, Copy, Debug)]
pub struct GrepLimits {
    /// Threads that search.
    pub threads: usize,
    /// How long it may take.
    pub time: Duration,
    /// Matching lines after which counting stops at the end of a block of files.
    pub count: u64,
}

impl Default for GrepLimits {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        Self { threads, time: Duration::from_secs(10), count: 100_000 }
    }
}

/// The matching lines, in the order of path and line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrepAnswer {
    /// Files with at least one returned line.
    pub files: Vec<FileMatches>,
    /// Matching lines in all files searched, returned or not.
    pub total_count: u64,
    /// Whether there are more matching lines than were returned, or may be.
    pub truncated: bool,
    /// Whether the search stopped because it took too long.
    pub timed_out: bool,
    /// Files that were searched, of so many.
    pub files_searched: u64,
    /// Files to be searched.
    pub files_found: u64,
    /// Files that could not be read.
    pub files_unreadable: u64,
}

/// Why a search could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GrepError {
    /// The regular expression is not one.
    #[error("not a valid Rust regular expression: {0}")]
    Pattern(String),
    /// The glob is not one.
    #[error("not a valid glob: {0}")]
    Include(String),
    /// The path is outside the root, or there is nothing.
    #[error(transparent)]
    Path(#[from] PathRefusal),
    /// The path is there and left out of the index.
    #[error(
        "`{0}` is left out by an ignore rule, a setting (indexer.ignore, indexer.include) or as hidden, so it is not searched"
    )]
    Ignored(String),
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

/// Files searched between two looks at the count.
const BLOCK: usize = 512;

/// Searches. Returns early, with an error, once `cancel` is set.
pub fn grep(
    root: &Root,
    filter: &Filter,
    request: &GrepRequest,
    limits: &GrepLimits,
    cancel: &AtomicBool,
) -> Result<GrepAnswer, GrepError> {
    let deadline = Instant::now() + limits.time;
    let matcher = matcher(request)?;
    let include = request.include.as_deref().map(include).transpose()?;
    let stop = Stop { cancel, deadline };
    let candidates = files::below(root, filter, request.path.as_deref(), limits.threads, &stop)?;
    let candidates: Vec<Candidate> =
        candidates.into_iter().filter(|file| include.as_ref().is_none_or(|glob| glob.is_match(&file.text))).collect();

    let mut answer = GrepAnswer { files_found: candidates.len() as u64, ..GrepAnswer::default() };
    let mut returned = 0;
    for block in candidates.chunks(BLOCK) {
        if stop.now() || answer.total_count >= limits.count {
            break;
        }
        for outcome in search_block(block, &matcher, request, limits, &stop) {
            match outcome {
                Outcome::NotSearched => continue,
                Outcome::Unreadable => answer.files_unreadable += 1,
                Outcome::Searched(mut found) => {
                    answer.total_count += found.count;
                    found.keep_first(request.max_results - returned, request.context);
                    returned += found.matches();
                    if found.matches() > 0 {
                        answer.files.push(found);
                    }
                }
            }
            answer.files_searched += 1;
        }
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(GrepError::Cancelled);
    }
    answer.timed_out = answer.files_searched < answer.files_found && Instant::now() >= deadline;
    answer.truncated = answer.total_count > returned as u64 || answer.files_searched < answer.files_found;
    Ok(answer)
}

/// When to give up.
pub struct Stop<'a> {
    cancel: &'a AtomicBool,
    deadline: Instant,
}

impl<'a> Stop<'a> {
    /// Gives up once `cancel` is set or `deadline` has passed.
    pub fn new(cancel: &'a AtomicBool, deadline: Instant) -> Self {
        Self { cancel, deadline }
    }

    /// Whether it is time.
    pub fn now(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

fn matcher(request: &GrepRequest) -> Result<RegexMatcher, GrepError> {
    RegexMatcherBuilder::new()
        .case_insensitive(request.case_insensitive)
        .line_terminator(Some(b'\n'))
        .build(&request.pattern)
        .map_err(|error| match error.kind() {
            grep_regex::ErrorKind::NotAllowed(literal) => GrepError::Pattern(format!(
                "the literal {literal:?} is not allowed: the search is line by line, so a pattern cannot match a line break"
            )),
            _ => GrepError::Pattern(error.to_string()),
        })
}

fn include(glob: &str) -> Result<GlobMatcher, GrepError> {
    if glob.starts_with('!') {
        return Err(GrepError::Include(format!(
            "`{glob}`: a glob that excludes (`!`) is not allowed, name what to include"
        )));
    }
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    let anchored = match (glob.strip_suffix('/'), glob.strip_prefix('/')) {
        (Some(folder), _) => format!("{}/**", folder.trim_start_matches('/')),
        (None, Some(from_root)) => from_root.to_owned(),
        (None, None) if glob.contains('/') => glob.to_owned(),
        (None, None) => format!("**/{glob}"),
    };
    let built = GlobBuilder::new(&anchored).literal_separator(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| GrepError::Include(format!("`{glob}`: {}", error.kind())))
}

enum Outcome {
    NotSearched,
    Unreadable,
    Searched(FileMatches),
}

fn search_block(
    block: &[Candidate],
    matcher: &RegexMatcher,
    request: &GrepRequest,
    limits: &GrepLimits,
    stop: &Stop<'_>,
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let threads = limits.threads.clamp(1, block.len().max(1));
    let work = || {
        let mut searcher = lines::searcher(request.context);
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = block.get(i) else { return done };
            if stop.now() {
                return done;
            }
            let outcome = match lines::search(&mut searcher, matcher, file, request, limits.count, stop) {
                Ok(Some(found)) => Outcome::Searched(found),
                Ok(None) => Outcome::NotSearched,
                Err(_) => Outcome::Unreadable,
            };
            done.push((i, outcome));
        }
    };
    let mut outcomes: Vec<Outcome> = block.iter().map(|_| Outcome::NotSearched).collect();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others.into_iter().map(|thread| thread.join().expect("a searching thread does not panic"));
        for (i, outcome) in others.chain([own]).flatten() {
            outcomes[i] = outcome;
        }
    });
    outcomes
}

#[cfg(test)]
mod tests;
