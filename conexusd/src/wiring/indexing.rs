//! Indexing: runs of the index on a thread of their own, one at a time, as MCP's tools ask for them.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::app::{IndexStatus, IndexedFile, Indexing, Job, RunOutcome, RunRefused};
use crate::index::run::{Run, RunControl};
use crate::index::snapshot::FileRow;
use crate::index::{Index, IndexError};
use crate::index::watch::Watcher;

/// Starts runs and remembers how the latest one went.
pub(super) struct Runner {
    index: Arc<Index>,
    state: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    number: u64,
    running: bool,
    outcome: RunOutcome,
    control: Arc<RunControl>,
    failure: Option<String>,
}

impl Runner {
    pub(super) fn new(index: Arc<Index>) -> Self {
        let state = State {
            number: 0,
            running: false,
            outcome: RunOutcome::None,
            control: Arc::new(RunControl::new()),
            failure: None,
        };
        Self { index, state: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// Follows changes of the files until the watcher is dropped.
    pub(super) fn watch(&self) -> Result<Watcher, IndexError> {
        Watcher::start(&self.index)
    }

    /// Waits until no run is going on; false if one still is after `limit`.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let (state, changed) = &*self.state;
        let guard = lock(state);
        let (guard, _) = changed.wait_timeout_while(guard, limit, |state| state.running).unwrap_or_else(PoisonError::into_inner);
        !guard.running
    }
}

impl Indexing for Runner {
    fn status(&self) -> IndexStatus {
        let state = lock(&self.state.0);
        let progress = state.control.progress();
        let snapshot = self.index.snapshot();
        let (indexed_files, indexed_chunks) = snapshot.counts();
        IndexStatus {
            run: state.number,
            running: state.running,
            phase: if state.running { progress.phase.as_str() } else { "idle" },
            outcome: state.outcome,
            files_total: progress.discovered,
            files_done: progress.indexed,
            files_failed: progress.failed_total(),
            skipped: progress.skipped.iter().filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.as_str(), *n)).collect(),
            chunks_done: progress.chunks,
            bytes_done: progress.bytes,
            elapsed_seconds: progress.elapsed.as_secs_f64(),
            files_per_second: progress.rate,
            eta_seconds: progress.remaining.map(|left| left.as_secs_f64()).filter(|_| state.running),
            last_error: state.failure.clone().or(progress.last_error),
            indexed_files,
            indexed_chunks,
            freshness: snapshot.freshness(),
        }
    }

    fn start(&self, job: Job) -> Result<(), RunRefused> {
        let mut state = lock(&self.state.0);
        if state.running {
            return Err(RunRefused::Running);
        }
        let control = Arc::new(RunControl::new());
        let worker = Worker { index: Arc::clone(&self.index), state: Arc::clone(&self.state), control: Arc::clone(&control) };
        let run = match job {
            Job::Changed => Run::All,
            Job::Everything => Run::Rebuild,
            Job::Paths(paths) => Run::Paths(paths.into_iter().map(PathBuf::from).collect()),
        };
        let spawned = std::thread::Builder::new().name("index-run".to_owned()).spawn(move || worker.work(&run));
        spawned.map_err(|error| RunRefused::Failed(format!("no thread for the run: {error}")))?;
        *state = State { number: state.number + 1, running: true, outcome: state.outcome, control, failure: None };
        Ok(())
    }

    fn stop(&self) -> bool {
        let state = lock(&self.state.0);
        if state.running {
            state.control.cancel();
        }
        state.running
    }

    fn files(&self, folder: &str, after: Option<&str>, limit: usize) -> Vec<IndexedFile> {
        let snapshot = self.index.snapshot();
        let inside = |path: &str| {
            folder.is_empty() || path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        };
        let mut rows: Vec<(&str, FileRow)> = snapshot
            .live_files()
            .map(|row| (snapshot.file(row).path, row))
            .filter(|(path, _)| inside(path) && after.is_none_or(|after| *path > after))
            .collect();
        rows.sort_unstable();
        let shown = |(path, row): (&str, FileRow)| {
            let file = snapshot.file(row);
            IndexedFile { path: path.to_owned(), language: file.language.name(), bytes: file.bytes, lines: file.lines }
        };
        rows.into_iter().take(limit).map(shown).collect()
    }
}

struct Worker {
    index: Arc<Index>,
    state: Arc<(Mutex<State>, Condvar)>,
    control: Arc<RunControl>,
}

impl Worker {
    fn work(self, run: &Run) {
        // A panic must not leave the index "running" for ever.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.index.run(run, &self.control)));
        let (outcome, failure) = match ended {
            Ok(Ok(report)) if report.cancelled => (RunOutcome::Stopped, None),
            Ok(Ok(_)) => (RunOutcome::Completed, None),
            Ok(Err(error)) => (RunOutcome::Failed, Some(error.to_string())),
            Err(_) => (RunOutcome::Failed, Some("the run panicked; the log has the details".to_owned())),
        };
        match &failure {
            None => tracing::info!(outcome = outcome.as_str(), "indexer run ended"),
            Some(error) => tracing::error!(error = error.as_str(), "indexer run failed"),
        }
        let (state, changed) = &*self.state;
        let mut state = lock(state);
        state.running = false;
        state.outcome = outcome;
        state.failure = failure;
        changed.notify_all();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
