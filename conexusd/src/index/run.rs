//! Run: what an indexing run is asked to do, how it is watched and stopped, what came of it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conexus_proto::facts::{FileError, SkipReason};

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything below the root; only what changed is read.
    All,
    /// Everything below the root, read and parsed anew. Embeddings of unchanged texts are kept.
    Rebuild,
    /// Files and folders, relative to the root or absolute within it; what is gone from them is removed.
    Paths(Vec<PathBuf>),
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not begun.
    Idle,
    /// Making derived data anew from the store.
    Recovering,
    /// Walking, reading, embedding, writing, all at once.
    Indexing,
    /// The last commit.
    Finishing,
    /// Asked to stop, writing what is there.
    Stopping,
    /// Over.
    Done,
}

impl Phase {
    const ALL: [Phase; 6] =
        [Phase::Idle, Phase::Recovering, Phase::Indexing, Phase::Finishing, Phase::Stopping, Phase::Done];

    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Idle => "idle",
            Phase::Recovering => "recovering",
            Phase::Indexing => "indexing",
            Phase::Finishing => "finishing",
            Phase::Stopping => "stopping",
            Phase::Done => "done",
        }
    }
}

/// The handle of a run: stops it and shows how far it is, from any thread.
#[derive(Debug, Default)]
pub struct RunControl {
    cancelled: AtomicBool,
    phase: AtomicU8,
    started: Mutex<Option<Instant>>,
    walked: AtomicBool,
    discovered: AtomicU64,
    indexed: AtomicU64,
    unchanged: AtomicU64,
    removed: AtomicU64,
    chunks: AtomicU64,
    embedded: AtomicU64,
    bytes: AtomicU64,
    skipped: [AtomicU64; SkipReason::ALL.len()],
    failed: [AtomicU64; FileError::ALL.len()],
    last_error: Mutex<Option<String>>,
}

/// How far a run is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Where it is.
    pub phase: Phase,
    /// Files found so far.
    pub discovered: u64,
    /// Of these, how many are done with: indexed, unchanged, skipped or failed.
    pub done: u64,
    /// All files, once the walk is over.
    pub total: Option<u64>,
    /// Files read and indexed.
    pub indexed: u64,
    /// Files that were in the index as they are.
    pub unchanged: u64,
    /// Files that were in the index and are gone.
    pub removed: u64,
    /// Chunks of indexed files.
    pub chunks: u64,
    /// Chunks that had to be embedded.
    pub embedded: u64,
    /// Bytes of indexed files.
    pub bytes: u64,
    /// Files left out on purpose, by reason; `ignored` counts a folder once.
    pub skipped: Vec<(SkipReason, u64)>,
    /// Files that could not be indexed, by cause.
    pub failed: Vec<(FileError, u64)>,
    /// Since the run began.
    pub elapsed: Duration,
    /// Files a second.
    pub rate: f64,
    /// How long the rest will take at this rate; `None` before the walk is over.
    pub remaining: Option<Duration>,
    /// The latest failure of a file.
    pub last_error: Option<String>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The counts at its end.
    pub progress: Progress,
    /// It was stopped before it was through: the index is consistent, and not complete.
    pub cancelled: bool,
    /// The generation it ended with.
    pub generation: u64,
}

impl Progress {
    /// Failed files.
    pub fn failed_total(&self) -> u64 {
        self.failed.iter().map(|(_, count)| count).sum()
    }

    /// Skipped files for one reason.
    pub fn skipped_for(&self, reason: SkipReason) -> u64 {
        self.skipped.iter().find(|(r, _)| *r == reason).map_or(0, |(_, count)| *count)
    }

    /// Megabytes (10^6) of indexed files a second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl RunControl {
    /// A run that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to stop. It does within a fraction of a second, and what it has done stays.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the run was asked to stop.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let skipped: Vec<_> = SkipReason::ALL.iter().zip(&self.skipped).map(|(&r, n)| (r, get(n))).collect();
        let failed: Vec<_> = FileError::ALL.iter().zip(&self.failed).map(|(&e, n)| (e, get(n))).collect();
        let elapsed = lock(&self.started).map_or(Duration::ZERO, |started| started.elapsed());
        let (discovered, done) = (get(&self.discovered), self.done());
        let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
        let walked = self.walked.load(Ordering::Relaxed);
        let left = discovered.saturating_sub(done) as f64 / rate.max(1e-9);
        let cancelled = self.is_cancelled();
        let phase = Phase::ALL[usize::from(self.phase.load(Ordering::Relaxed)).min(Phase::ALL.len() - 1)];
        Progress {
            phase: if cancelled && phase != Phase::Done { Phase::Stopping } else { phase },
            discovered,
            done,
            total: walked.then_some(discovered),
            indexed: get(&self.indexed),
            unchanged: get(&self.unchanged),
            removed: get(&self.removed),
            chunks: get(&self.chunks),
            embedded: get(&self.embedded),
            bytes: get(&self.bytes),
            skipped,
            failed,
            elapsed,
            rate,
            remaining: (walked && rate > 0.0).then(|| Duration::from_secs_f64(left.min(1e9))),
            last_error: lock(&self.last_error).clone(),
        }
    }

    /// Files found and not done with.
    pub fn queue_depth(&self) -> u64 {
        self.discovered.load(Ordering::Relaxed).saturating_sub(self.done())
    }

    fn done(&self) -> u64 {
        let sum = |counters: &[AtomicU64]| counters.iter().map(|n| n.load(Ordering::Relaxed)).sum::<u64>();
        let ignored = self.skipped[SkipReason::Ignored as usize].load(Ordering::Relaxed);
        // Unchanged files are among the skipped ones; what is ignored was never discovered.
        self.indexed.load(Ordering::Relaxed) + sum(&self.failed) + sum(&self.skipped) - ignored
    }

    pub(crate) fn begin(&self) {
        *lock(&self.started) = Some(Instant::now());
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn set_walked(&self) {
        self.walked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn add_discovered(&self) {
        self.discovered.fetch_add(1, Ordering::Relaxed);
    }

    /// A file that was found is no longer there: it was never discovered.
    pub(crate) fn forget(&self) {
        self.discovered.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn add_skipped(&self, reason: SkipReason, count: u64) {
        if reason == SkipReason::Unchanged {
            self.unchanged.fetch_add(count, Ordering::Relaxed);
        }
        self.skipped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn add_failed(&self, error: FileError, message: String) {
        self.failed[error as usize].fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_error) = Some(message);
    }

    pub(crate) fn add_indexed(&self, bytes: u64, chunks: u64, embedded: u64) {
        self.indexed.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.chunks.fetch_add(chunks, Ordering::Relaxed);
        self.embedded.fetch_add(embedded, Ordering::Relaxed);
    }

    pub(crate) fn add_removed(&self, count: u64) {
        self.removed.fetch_add(count, Ordering::Relaxed);
    }
}

/// Locks, also after a panic elsewhere: what is guarded here is valid at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_done_however_it_ended_and_what_is_ignored_never_counted_as_found() {
        let control = RunControl::new();
        control.begin();
        for _ in 0..5 {
            control.add_discovered();
        }
        control.add_indexed(10, 2, 2);
        control.add_skipped(SkipReason::Unchanged, 1);
        control.add_skipped(SkipReason::Binary, 1);
        control.add_skipped(SkipReason::Ignored, 7);
        control.add_failed(FileError::Io, "a: no".to_owned());
        let progress = control.progress();
        assert_eq!((progress.done, progress.unchanged, control.queue_depth()), (4, 1, 1));
        assert_eq!(progress.last_error.as_deref(), Some("a: no"));
        assert_eq!(progress.total, None);
    }
}
