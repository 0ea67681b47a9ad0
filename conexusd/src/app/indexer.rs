//! Indexer: runs over the index in the background, started, watched and stopped by whoever asks.

use std::collections::{BTreeMap, BinaryHeap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{IndexStatus, IndexedFile, Indexing, Job, RunOutcome, RunRefused};
use conexus_proto::scrub::scrubbed;

use crate::index::run::{Phase, Progress, Run, RunControl};
use crate::index::snapshot::Snapshot;
use crate::index::{Index, IndexError};

/// How often a run looks whether one of the watcher's has ended.
const RETRY: Duration = Duration::from_millis(50);

/// Runs an index. Ends its run when it is dropped.
pub struct Indexer {
    index: Arc<Index>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Runs started so far.
    runs: u64,
    current: Option<Arc<RunControl>>,
    outcome: Option<RunOutcome>,
}

impl Indexer {
    /// Over an open index. Nothing runs yet.
    pub fn new(index: Arc<Index>) -> Self {
        Self { index, state: Arc::default() }
    }

    /// The index.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        if let Some(control) = &lock(&self.state).current {
            control.cancel();
        }
    }
}

impl Indexing for Indexer {
    fn status(&self) -> IndexStatus {
        let (run, current, outcome) = {
            let state = lock(&self.state);
            (state.runs, state.current.clone(), state.outcome)
        };
        let index = self.index.status();
        // A run of the watcher shows too.
        let running = current.map(|control| control.progress()).or(index.running);
        let phase = match &running {
            None => "idle",
            Some(progress) if progress.phase == Phase::Idle => "waiting",
            Some(progress) => progress.phase.as_str(),
        };
        let is_running = running.is_some();
        let outcome = outcome.or_else(|| {
            let report = index.last_run.as_ref()?;
            Some(if report.cancelled { RunOutcome::Stopped } else { RunOutcome::Completed })
        });
        let last_error = running.as_ref().and_then(|progress| progress.last_error.clone()).or(index.last_error);
        let progress = running.or(index.last_run.map(|report| report.progress));
        IndexStatus {
            run,
            running: is_running,
            phase,
            outcome: outcome.unwrap_or(RunOutcome::None),
            last_error: last_error.map(|error| scrubbed(&error).into_owned()),
            indexed_files: index.files,
            indexed_chunks: index.chunks,
            freshness: index.freshness,
            ..counts(progress.as_ref(), index.freshness)
        }
    }

    fn start(&self, job: Job) -> Result<(), RunRefused> {
        let mut state = lock(&self.state);
        if state.current.is_some() {
            return Err(RunRefused::Running);
        }
        let control = Arc::new(RunControl::new());
        let run = match job {
            Job::Changed => Run::All,
            Job::Everything => Run::Rebuild,
            Job::Paths(paths) => Run::Paths(paths.into_iter().map(PathBuf::from).collect()),
        };
        let (index, shared) = (self.index.clone(), self.state.clone());
        let work = {
            let control = control.clone();
            move || {
                // Says that the run is over even if it panics.
                let mut over = Over { state: shared, outcome: RunOutcome::Failed };
                over.outcome = to_the_end(&index, &run, &control);
            }
        };
        let thread = std::thread::Builder::new().name("index-run".to_owned()).spawn(work);
        thread.map_err(|error| RunRefused::Failed(format!("no thread for the run: {error}")))?;
        state.runs += 1;
        state.current = Some(control);
        Ok(())
    }

    fn stop(&self) -> bool {
        let own = lock(&self.state).current.clone();
        let running = own.or_else(|| self.index.running());
        if let Some(control) = &running {
            control.cancel();
        }
        running.is_some()
    }

    fn files(&self, folder: &str, after: Option<&str>, limit: usize) -> Vec<IndexedFile> {
        page(&self.index.snapshot(), folder, after, limit)
    }
}

/// Does a run, once those of the watcher let it.
fn to_the_end(index: &Index, run: &Run, control: &Arc<RunControl>) -> RunOutcome {
    loop {
        match index.run(run, control) {
            Ok(report) if report.cancelled => return RunOutcome::Stopped,
            Ok(_) => return RunOutcome::Completed,
            Err(IndexError::Busy) if control.is_cancelled() => return RunOutcome::Stopped,
            Err(IndexError::Busy) => std::thread::sleep(RETRY),
            Err(error) => {
                tracing::error!(%error, "indexer run failed");
                return RunOutcome::Failed;
            }
        }
    }
}

struct Over {
    state: Arc<Mutex<State>>,
    outcome: RunOutcome,
}

impl Drop for Over {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.current = None;
        state.outcome = Some(self.outcome);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a status that a run's progress gives.
fn counts(progress: Option<&Progress>, freshness: crate::index::snapshot::Freshness) -> IndexStatus {
    let skipped = progress.into_iter().flat_map(|progress| &progress.skipped).filter(|(_, count)| *count > 0);
    let skipped: BTreeMap<_, _> = skipped.map(|(reason, count)| (reason.as_str(), *count)).collect();
    IndexStatus {
        run: 0,
        running: false,
        phase: "idle",
        outcome: RunOutcome::None,
        files_total: progress.map_or(0, |progress| progress.total.unwrap_or(progress.discovered)),
        files_done: progress.map_or(0, |progress| progress.done),
        files_indexed: progress.map_or(0, |progress| progress.indexed),
        files_failed: progress.map_or(0, Progress::failed_total),
        skipped,
        chunks_done: progress.map_or(0, |progress| progress.chunks),
        bytes_done: progress.map_or(0, |progress| progress.bytes),
        elapsed_seconds: progress.map_or(0.0, |progress| progress.elapsed.as_secs_f64()),
        files_per_second: progress.map_or(0.0, |progress| progress.rate),
        eta_seconds: progress.and_then(|progress| progress.remaining).map(|left| left.as_secs_f64()),
        last_error: None,
        indexed_files: 0,
        indexed_chunks: 0,
        freshness,
    }
}

/// The first `limit` files below a folder after a path. Looks at every file once and keeps no more than it returns.
fn page(snapshot: &Snapshot, folder: &str, after: Option<&str>, limit: usize) -> Vec<IndexedFile> {
    let below = |path: &str| {
        folder.is_empty() || path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    let mut first = BinaryHeap::with_capacity(limit + 1);
    for row in snapshot.live_files() {
        let path = snapshot.file(row).path;
        let is_next = after.is_none_or(|after| path > after) && below(path);
        let fits = first.len() < limit || first.peek().is_some_and(|(last, _)| path < *last);
        if is_next && fits {
            first.push((path, row));
            if first.len() > limit {
                first.pop();
            }
        }
    }
    let files = first.into_sorted_vec().into_iter().map(|(path, row)| {
        let file = snapshot.file(row);
        IndexedFile { path: path.to_owned(), language: file.language.name(), bytes: file.bytes, lines: file.lines }
    });
    files.collect()
}

#[cfg(test)]
mod tests;
