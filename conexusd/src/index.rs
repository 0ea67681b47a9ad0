//! The index: from files on disk to a snapshot that can be searched.
//!
//! ```text
//! walk → pipeline (read → chunk → tokenize, embed → derive) → core: store ▸ lexical, columns → snapshot
//! ```
//!
//! The store is the truth; the lexical index, the columns and the graphs over vectors are derived from it.

pub mod run;
pub mod watch;

pub mod walk;
mod pipeline;

pub mod chunk;
pub mod classify;
pub mod language;

pub mod embed;
pub mod quantize;
pub mod tokenize;

mod core;
mod error;
mod maintenance;
pub mod columns;
pub mod derive;
pub mod folder;
pub mod lexical;
pub mod segment;
pub mod snapshot;
pub mod store;
pub mod vectors;

pub use error::IndexError;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::core::Core;
use crate::telemetry::Telemetry;
use embed::Embedder;
use folder::Ownership;
use maintenance::Maintenance;
use run::{Progress, Run, RunControl, RunReport, lock};
use snapshot::{Current, Freshness, Snapshot};
use walk::filter::Filter;

/// What to index and where to keep it.
#[derive(Clone, Debug)]
pub struct IndexOptions {
    /// The folder to index. Nothing is written into it.
    pub root: PathBuf,
    /// The index's own folder: `database.path` joined with [`folder::folder_name`] of the resolved root.
    pub folder: PathBuf,
    /// Threads that read, parse and embed; 0 for one a processor.
    pub workers: usize,
    /// Globs; if there are any, only files that match one are indexed.
    pub include: Vec<String>,
    /// Globs of files and folders to leave out, beside ignore files.
    pub ignore: Vec<String>,
    /// Larger files are left out; bytes.
    pub max_file_size: u64,
    /// Vectors that a run remembers in memory, for texts that come again.
    pub embedding_cache: usize,
    /// Whether vectors that the index holds are used again for the same texts.
    pub reuse_vectors: bool,
    /// By how much the priority of indexing threads is lowered (`nice`, 0 to 19).
    pub nice: i32,
}

impl IndexOptions {
    /// The defaults for a root whose index stands below `database`.
    pub fn new(root: &Path, database: &Path) -> Result<Self, IndexError> {
        let root = folder::resolve_root(root)?;
        let folder = database.join(folder::folder_name(&root));
        Ok(Self {
            root,
            folder,
            workers: 0,
            include: Vec::new(),
            ignore: Vec::new(),
            max_file_size: 1 << 20,
            embedding_cache: 100_000,
            reuse_vectors: true,
            nice: 10,
        })
    }
}

/// The index of one root. It has one owner at a time, over all processes.
pub struct Index {
    options: IndexOptions,
    filter: Filter,
    settings: pipeline::Settings,
    core: Arc<Core>,
    maintenance: Maintenance,
    running: Mutex<Option<Arc<RunControl>>>,
    last: Mutex<Last>,
    watch: Mutex<watch::WatchState>,
    reset: Option<String>,
    // Last: given back when everything else is closed.
    _ownership: Ownership,
}

#[derive(Default)]
struct Last {
    report: Option<RunReport>,
    error: Option<String>,
}

/// What there is to say of an index.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct IndexStatus {
    pub root: PathBuf,
    pub folder: PathBuf,
    pub generation: u64,
    pub files: u64,
    pub chunks: u64,
    pub freshness: Freshness,
    /// The run that goes on.
    pub running: Option<Progress>,
    /// The last run that ended.
    pub last_run: Option<RunReport>,
    /// What went wrong last, in a run or in the background.
    pub last_error: Option<String>,
    pub watch: watch::WatchState,
    /// Why the index was emptied when it was opened, if it was.
    pub reset: Option<String>,
    /// Bytes on disk: the store, the lexical index, columns and graphs.
    pub store_bytes: u64,
    pub lexical_bytes: u64,
    pub columns_bytes: u64,
}

impl Index {
    /// Opens the index, or makes an empty one. What a crash left half done is brought in order, at once where it is
    /// little, else by the next run.
    pub fn open(
        options: IndexOptions,
        embedder: Arc<dyn Embedder>,
        telemetry: Telemetry,
    ) -> Result<Arc<Self>, IndexError> {
        let mut options = options;
        options.root = folder::resolve_root(&options.root)?;
        if options.workers == 0 {
            options.workers = std::thread::available_parallelism().map_or(1, usize::from);
        }
        folder::make_private(&options.folder)?;
        let own = options.folder.canonicalize().map_err(|source| IndexError::io(&options.folder, source))?;
        let filter = Filter::new(&options.root, &own, &options.include, &options.ignore, options.max_file_size)?;
        let ownership = Ownership::take(&options.folder)?;
        let (core, reset) = Core::open(&options.folder, embedder, options.workers, telemetry)?;
        let core = Arc::new(core);
        core.recover_a_little()?;
        let settings = pipeline::Settings {
            workers: options.workers,
            recent_vectors: options.embedding_cache,
            reuse_vectors: options.reuse_vectors,
            nice: options.nice.clamp(0, 19),
        };
        let maintenance = Maintenance::start(Arc::clone(&core), options.workers, (settings.nice + 5).min(19));
        core.signal.wake();
        Ok(Arc::new(Self {
            options,
            filter,
            settings,
            core,
            maintenance,
            running: Mutex::default(),
            last: Mutex::default(),
            watch: Mutex::default(),
            reset,
            _ownership: ownership,
        }))
    }

    /// The snapshot of the moment. Never waits.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.core.current.load_full()
    }

    /// The cell that always holds the snapshot of the moment.
    pub fn current(&self) -> Current {
        Arc::clone(&self.core.current)
    }

    /// The root, resolved.
    pub fn root(&self) -> &Path {
        &self.options.root
    }

    /// What the index was opened with.
    pub fn options(&self) -> &IndexOptions {
        &self.options
    }

    /// The embedder.
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.core.embedder
    }

    /// Which entries of the root are for the index.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Does a run and returns when it is over. One at a time: while one goes on, another is refused.
    pub fn run(&self, run: &Run, control: &Arc<RunControl>) -> Result<RunReport, IndexError> {
        {
            let mut running = lock(&self.running);
            if running.is_some() {
                return Err(IndexError::Busy);
            }
            *running = Some(Arc::clone(control));
        }
        // Without its root everything would seem to be gone.
        let outcome = folder::Place::of(&self.options.root).and_then(|place| {
            self.core.signal.set_running(true);
            let outcome = pipeline::run(&self.core, &self.filter, place, &self.settings, run, control);
            self.core.signal.set_running(false);
            outcome
        });
        *lock(&self.running) = None;
        let mut last = lock(&self.last);
        match &outcome {
            Ok(report) => {
                last.error.clone_from(&report.progress.last_error);
                last.report = Some(report.clone());
            }
            Err(error) => last.error = Some(error.to_string()),
        }
        outcome
    }

    /// The run that goes on, to watch or to stop it.
    pub fn running(&self) -> Option<Arc<RunControl>> {
        lock(&self.running).clone()
    }

    /// Waits until the background has nothing left to merge or build, at most so long. Returns whether it has not.
    pub fn settle(&self, at_most: Duration) -> Result<bool, IndexError> {
        let began = std::time::Instant::now();
        lock(&self.core.lexical).settle()?;
        self.core.refresh_searcher()?;
        Ok(self.maintenance.settle(at_most.saturating_sub(began.elapsed())))
    }

    /// How the index is.
    pub fn status(&self) -> IndexStatus {
        let snapshot = self.snapshot();
        let (files, chunks) = snapshot.counts();
        let (last_run, error) = {
            let last = lock(&self.last);
            (last.report.clone(), last.error.clone())
        };
        IndexStatus {
            root: self.options.root.clone(),
            folder: self.options.folder.clone(),
            generation: snapshot.generation(),
            files,
            chunks,
            freshness: snapshot.freshness(),
            running: lock(&self.running).as_ref().map(|control| control.progress()),
            last_run,
            last_error: error.or_else(|| self.maintenance.last_error()),
            watch: lock(&self.watch).clone(),
            reset: self.reset.clone(),
            store_bytes: self.core.store.bytes(),
            lexical_bytes: folder_bytes(&self.options.folder.join("lexical")),
            columns_bytes: folder_bytes(&self.options.folder.join("columns")),
        }
    }

    pub(crate) fn set_watch(&self, state: watch::WatchState) {
        let live = matches!(state, watch::WatchState::Live { .. });
        self.core.liveness.watched.store(live, std::sync::atomic::Ordering::Relaxed);
        *lock(&self.watch) = state;
    }

    /// Notes why the index does not follow its root.
    pub(crate) fn set_error(&self, error: &IndexError) {
        lock(&self.last).error = Some(error.to_string());
    }

    /// So many changes were noticed and wait for a run.
    pub(crate) fn set_noticed(&self, files: u64) {
        self.core.liveness.noticed.store(files, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Bytes on disk of the files of a folder.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

#[cfg(test)]
mod tests;
