//! Pipeline: one indexing run, from the walk to the last commit.
//!
//! ```text
//! walk (threads) ─jobs▶ workers: read, parse, embed, derive ─outcomes▶ writer: batch, commit, publish
//! ```
//!
//! Both queues are bounded, and a budget bounds the bytes between reading and writing, so that memory depends on the
//! settings and not on the tree. All threads run at low priority: searches go first.

mod budget;
mod known;
pub(crate) mod prepare;
pub(crate) mod read;
mod worker;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conexus_proto::facts::{Fact, Gauge, SkipReason};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::IndexError;
use super::core::Core;
use super::folder::Place;
use super::lexical::Fields;
use super::run::{Phase, Run, RunControl, RunReport, lock};
use super::walk::filter::Filter;
use super::walk::{Found, Scope, walk};
use crate::telemetry::{self, Trace};
use budget::{Budget, Loan};
use known::{Known, Verdict};
use prepare::{Prepared, Recent};
use read::Job;

/// Files found and not yet read; small records.
const JOBS_MAX: usize = 2048;

/// Files read and not yet written; their bytes are bounded by the budget.
const OUTCOMES_MAX: usize = 256;

/// Bytes in flight: a file counts a multiple of its size, for its text, terms, vectors and rows.
const BUDGET_BYTES: usize = 128 << 20;

/// How long a cancelled run waits for threads that are in the middle of something.
const STOP_WAIT: Duration = Duration::from_millis(150);

/// What a run needs beside the core.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) recent_vectors: usize,
    /// Vectors that the store holds are used again.
    pub(crate) reuse_vectors: bool,
    /// How much the priority of the run's threads is lowered (`nice`).
    pub(crate) nice: i32,
}

/// What the threads of a run share.
pub(crate) struct Context {
    core: Arc<Core>,
    filter: Filter,
    /// Where the root was when the run began.
    place: Place,
    scope: Scope,
    settings: Settings,
    control: Arc<RunControl>,
    /// The run's own span: files' traces are linked to it.
    span: telemetry::Context,
    /// Read and parse everything anew.
    anew: bool,
    fields: Fields,
    known: Known,
    recent: Recent,
    budget: Arc<Budget>,
    /// Folders that could not be listed, for a reason that may pass: what the index has below them stays.
    unlisted: Mutex<Vec<Vec<u8>>>,
    /// The walk has seen everything in its scope.
    walked: AtomicBool,
}

/// How a file ended, on its way to the writer.
enum Outcome {
    /// The loan goes back when the file is written.
    Indexed { prepared: Box<Prepared>, trace: Trace, loan: Loan },
    /// The entry is to be replaced, the derived data stays.
    Entry(Vec<u8>, super::store::record::Entry, SkipReason),
    /// Left out or gone: the path is not to be in the index.
    Remove(Vec<u8>),
}

/// Does a run, on threads of its own, and returns when it is over.
pub(crate) fn run(
    core: &Arc<Core>,
    filter: &Filter,
    place: Place,
    settings: &Settings,
    run: &Run,
    control: &Arc<RunControl>,
) -> Result<RunReport, IndexError> {
    control.begin();
    let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as i64);
    let thread = {
        let (core, filter, settings) = (Arc::clone(core), filter.clone(), settings.clone());
        let (run, control) = (run.clone(), Arc::clone(control));
        let body = move || {
            lower_priority(settings.nice);
            run_here(core, filter, place, settings, &run, control, began)
        };
        std::thread::Builder::new().name("index-writer".to_owned()).spawn(body)
    };
    let thread = thread.map_err(|source| IndexError::io(filter.root(), source))?;
    let outcome = thread.join().unwrap_or_else(|_| Err(IndexError::Derived("the index writer panicked".to_owned())));
    control.set_phase(Phase::Done);
    core.telemetry.set(Gauge::QueueDepth, 0.0);
    if outcome.is_err() {
        core.set_stale();
    }
    outcome
}

fn run_here(
    core: Arc<Core>,
    filter: Filter,
    place: Place,
    settings: Settings,
    run: &Run,
    control: Arc<RunControl>,
    began: i64,
) -> Result<RunReport, IndexError> {
    let mut lexical = lock(&core.lexical);
    if core.is_stale() {
        control.set_phase(Phase::Recovering);
        core.recover(&mut lexical, &control)?;
    }
    control.set_phase(Phase::Indexing);
    core.liveness.found.store(0, Ordering::Relaxed);
    if *run == Run::Rebuild {
        core.set_checked(false, core.meta().checked)?;
    }
    let scope = scope(&filter, run)?;
    let mut trace = core.telemetry.trace("indexer.run");
    let root = trace.root();
    let context = Arc::new(Context {
        span: trace.context(root),
        known: Known::load(&core.store, &scope)?,
        scope,
        anew: *run == Run::Rebuild,
        fields: lexical.fields(),
        recent: Recent::new(settings.recent_vectors),
        budget: Budget::new(BUDGET_BYTES),
        unlisted: Mutex::default(),
        walked: AtomicBool::new(false),
        core: Arc::clone(&core),
        control: Arc::clone(&control),
        filter,
        place,
        settings,
    });
    let (jobs, to_read) = bounded(JOBS_MAX);
    let (outcomes, to_write) = bounded(OUTCOMES_MAX);
    let threads = spawn(&context, jobs, to_read, outcomes)?;
    let written = writer::Writer::new(&context, &mut lexical).write(&to_write);
    if written.is_err() {
        control.cancel();
    }
    // Threads that wait to hand something over see that nobody takes it.
    drop(to_write);
    join(threads, &control);
    if written.is_ok() && !control.is_cancelled() && !context.walked.load(Ordering::Relaxed) {
        // The walk or all workers panicked: what was not seen is neither gone nor done.
        return Err(IndexError::Derived("the walk broke off".to_owned()));
    }
    let cancelled = control.is_cancelled();
    if matches!(run, Run::All | Run::Rebuild) {
        let complete = !cancelled && written.is_ok();
        core.set_checked(complete, if complete { began } else { core.meta().checked })?;
    }
    if let Err(error) = &written {
        trace.fail(root, &error.to_string());
    }
    let progress = control.progress();
    trace.set(root, "files", progress.indexed as i64);
    trace.set(root, "chunks", progress.chunks as i64);
    trace.set(root, "cancelled", cancelled);
    trace.finish();
    written?;
    control.set_phase(Phase::Done);
    Ok(RunReport { progress: control.progress(), cancelled, generation: core.meta().generation })
}

fn spawn(
    context: &Arc<Context>,
    jobs: Sender<Job>,
    to_read: Receiver<Job>,
    outcomes: Sender<Outcome>,
) -> Result<Vec<std::thread::JoinHandle<()>>, IndexError> {
    let mut threads = Vec::with_capacity(context.settings.workers + 1);
    let mut start = |name: &str, body: Box<dyn FnOnce() + Send>| -> Result<(), IndexError> {
        // Priorities are inherited: this thread's is low already.
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        threads.push(thread.map_err(|source| IndexError::io(context.filter.root(), source))?);
        Ok(())
    };
    let walker = Arc::clone(context);
    start("index-walk", Box::new(move || walker.walk(&jobs)))?;
    for i in 0..context.settings.workers {
        let (context, to_read, outcomes) = (Arc::clone(context), to_read.clone(), outcomes.clone());
        start(&format!("index-{i}"), Box::new(move || worker::work(&context, &to_read, &outcomes)))?;
    }
    Ok(threads)
}

/// Waits for the threads; after a cancellation not for long: one may be waiting for a remote embedder. It ends by
/// itself, and can no longer write.
fn join(threads: Vec<std::thread::JoinHandle<()>>, control: &RunControl) {
    let mut deadline = None;
    for thread in threads {
        while !thread.is_finished() {
            if control.is_cancelled() {
                let end = *deadline.get_or_insert_with(|| std::time::Instant::now() + STOP_WAIT);
                if std::time::Instant::now() > end {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if thread.is_finished() {
            // Workers catch the panics of a file; what else panics is the walk, and an unfinished walk removes nothing.
            let _ = thread.join();
        }
    }
}

/// What a run covers; paths are made relative to the root.
fn scope(filter: &Filter, run: &Run) -> Result<Scope, IndexError> {
    let Run::Paths(paths) = run else { return Ok(Scope::All) };
    let relative = |path: &PathBuf| -> Result<PathBuf, IndexError> {
        let outside = || IndexError::Options(format!("{}: not below {}", path.display(), filter.root().display()));
        let mut clean = PathBuf::new();
        let inside = match path.strip_prefix(filter.root()) {
            Ok(inside) => inside,
            Err(_) if path.is_absolute() => return Err(outside()),
            Err(_) => path.as_path(),
        };
        for component in inside.components() {
            match component {
                std::path::Component::Normal(name) => clean.push(name),
                std::path::Component::CurDir => {}
                _ => return Err(outside()),
            }
        }
        Ok(clean)
    };
    let paths: BTreeSet<PathBuf> = paths.iter().map(relative).collect::<Result<_, _>>()?;
    Ok(if paths.contains(Path::new("")) { Scope::All } else { Scope::Paths(Arc::new(paths)) })
}

impl Context {
    fn is_cancelled(&self) -> bool {
        self.control.is_cancelled()
    }

    fn skip(&self, reason: SkipReason, count: u64) {
        self.control.add_skipped(reason, count);
        for _ in 0..count {
            self.core.telemetry.emit(Fact::FileSkipped { reason });
        }
    }

    /// So many files that were found to be new or changed are settled: committed, or given up.
    fn settle(&self, files: u64) {
        self.core.liveness.found.fetch_sub(files, Ordering::Relaxed);
    }

    /// Walks the scope and hands on what is to be read.
    fn walk(&self, jobs: &Sender<Job>) {
        let threads = self.settings.workers.clamp(1, 4);
        let broken_off = AtomicBool::new(false);
        walk(&self.filter, &self.scope, threads, &|found| {
            let go_on = self.take(found, jobs);
            if !go_on {
                broken_off.store(true, Ordering::Relaxed);
            }
            go_on
        });
        if !self.is_cancelled() && !broken_off.into_inner() {
            self.walked.store(true, Ordering::Relaxed);
            self.control.set_walked();
        }
    }

    fn take(&self, found: Found, jobs: &Sender<Job>) -> bool {
        match found {
            Found::File { path, absolute, stat } => {
                self.control.add_discovered();
                match self.known.see(&path, stat) {
                    Verdict::Unchanged if !self.anew => self.skip(SkipReason::Unchanged, 1),
                    Verdict::Skipped(reason) if !self.anew => self.skip(reason, 1),
                    _ => {
                        self.core.liveness.found.fetch_add(1, Ordering::Relaxed);
                        return self.hand(jobs, Job { path, absolute, stat });
                    }
                }
            }
            Found::Skipped(reason, count) => {
                if reason != SkipReason::Ignored {
                    (0..count).for_each(|_| self.control.add_discovered());
                }
                self.skip(reason, count);
            }
            Found::Failed { path, error, message, gone } => {
                self.control.add_discovered();
                self.core.telemetry.emit(Fact::FileFailed { error });
                self.control.add_failed(error, message);
                if !gone {
                    lock(&self.unlisted).push(path);
                }
            }
            Found::Folder(_) => {}
        }
        !self.is_cancelled()
    }

    /// Hands something over, waiting while the queue is full. False if nobody takes it or the run is cancelled.
    fn hand<T>(&self, queue: &Sender<T>, mut value: T) -> bool {
        loop {
            if self.is_cancelled() {
                return false;
            }
            match queue.send_timeout(value, Duration::from_millis(20)) {
                Ok(()) => return true,
                Err(crossbeam_channel::SendTimeoutError::Timeout(back)) => value = back,
                Err(crossbeam_channel::SendTimeoutError::Disconnected(_)) => return false,
            }
        }
    }

    /// The paths of the index that are in the scope and were not found.
    fn vanished(&self) -> Result<BTreeSet<Vec<u8>>, IndexError> {
        if !self.walked.load(Ordering::Relaxed) {
            return Ok(BTreeSet::new());
        }
        let root = self.filter.root();
        if Place::of(root)? != self.place {
            return Err(IndexError::Root(format!("{}: was replaced while it was indexed", root.display())));
        }
        let unlisted = lock(&self.unlisted).clone();
        let kept = |path: &[u8]| unlisted.iter().any(|folder| super::store::is_under(path, folder));
        let pick = |path: &[u8]| self.known.is_missed(path) && !kept(path);
        let mut all = BTreeSet::new();
        for folder in self.scope.folders() {
            self.core.store.for_each_under(&folder, |path, _| {
                if pick(path) {
                    all.insert(path.to_vec());
                }
            })?;
        }
        Ok(all)
    }
}

/// Lowers the priority of the calling thread, and with it that of the threads that it starts.
pub(crate) fn lower_priority(nice: i32) {
    // On Linux the call is about the calling thread alone. Where it is refused, the run is merely less polite.
    if nice > 0 {
        let _ = rustix::process::setpriority_process(None, nice);
    }
}
