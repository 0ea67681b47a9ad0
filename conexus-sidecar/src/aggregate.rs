//! Aggregate: the shared state of all measures, and the thread that writes it down.
//!
//! Streams put batches in, a thread of its own commits what changed to disk in groups, and only then is it visible
//! and acknowledged. A snapshot is committed at once, records alone may wait a little for company. While the disk
//! refuses, nothing new is visible or acknowledged, and the next attempt comes a second later.

pub mod tally;
pub mod epochs;
pub mod store;
pub mod remains;
pub mod exemplars;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conexus_proto::v1::{self, record};
use tokio::sync::watch;

use self::epochs::{Burial, ConnectError, CoreInfo, CoreView, Crash, Ledger, Link, Taken};
use self::exemplars::{Exemplar, Exemplars};
use self::remains::Dead;
use self::store::{Store, StoreError};
use self::tally::{KINDS, Tally};
use crate::ingest::admit::{self, Rejection};

/// How long records without a snapshot wait for one before they are committed.
const LINGER: Duration = Duration::from_millis(200);
/// Records that are committed without waiting.
const LINGER_RECORDS: u64 = 8192;
/// How long to wait after a failed commit.
const RETRY: Duration = Duration::from_secs(1);

/// The measures of all cores. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Aggregate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    commits: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    exemplars: Exemplars,
    // Records taken since the last commit, and since when.
    waiting_records: u64,
    waiting_since: Option<Instant>,
    stopping: bool,
    error: Option<String>,
}

/// The committing thread. Ends, after a last commit, when it is stopped.
#[derive(Debug)]
pub struct Committer {
    aggregate: Aggregate,
    thread: JoinHandle<()>,
}

/// Everything that is to be seen at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The sum over all epochs and the base, as it is on disk.
    pub total: Tally,
    /// The cores that have not ended.
    pub cores: Vec<CoreView>,
    /// The newest exemplar by bucket cell.
    exemplars: Vec<(usize, Exemplar)>,
    /// Why the disk refuses, if it does.
    pub error: Option<String>,
}

impl View {
    /// The newest exemplar of a bucket, by the number of the bucket's cell.
    pub fn exemplar(&self, bucket_cell: usize) -> Option<Exemplar> {
        let found = self.exemplars.binary_search_by_key(&bucket_cell, |(cell, _)| *cell);
        found.ok().map(|i| self.exemplars[i].1)
    }

    /// Whether a serving core is connected.
    pub fn is_up(&self) -> bool {
        self.cores.iter().any(|core| core.connected && core.serving)
    }
}

impl Aggregate {
    /// Opens the state in `state_dir` and starts the committing thread. The third value says where a damaged
    /// file was put, if there was one.
    pub fn open(state_dir: &Path) -> Result<(Self, Committer, Option<PathBuf>), StoreError> {
        let opened = Store::open(state_dir)?;
        let aggregate = Self::of(opened.persisted);
        let committing = aggregate.clone();
        let mut store = opened.store;
        let thread = std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || while committing.commit_next(&mut store) {})
            .map_err(|source| StoreError::Directory { path: state_dir.to_path_buf(), source })?;
        Ok((aggregate.clone(), Committer { aggregate, thread }, opened.set_aside))
    }

    /// The same without a thread: whoever has the second value commits, for simulations. It closes the file when it goes.
    pub fn open_stepped(state_dir: &Path) -> Result<(Self, Stepper), StoreError> {
        let opened = Store::open(state_dir)?;
        let aggregate = Self::of(opened.persisted);
        Ok((aggregate.clone(), Stepper { aggregate, store: opened.store }))
    }

    fn of(persisted: store::Persisted) -> Self {
        let state = State {
            ledger: Ledger::restore(persisted, Instant::now()),
            exemplars: Exemplars::default(),
            waiting_records: 0,
            waiting_since: None,
            stopping: false,
            error: None,
        };
        let shared = Shared { state: Mutex::new(state), wake: Condvar::new(), commits: watch::Sender::new(0) };
        Self(Arc::new(shared))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in the state is left half done by a panic, so the lock's poison means nothing.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a core in; see [`Ledger::connect`].
    pub fn connect(&self, epoch: u64, info: CoreInfo) -> Result<Link, ConnectError> {
        self.state().ledger.connect(epoch, info, Instant::now())
    }

    /// Takes a batch; see [`Ledger::take`].
    pub fn take(&self, link: &Link, batch: &v1::Batch) -> Result<Taken, Rejection> {
        let checked = admit::check(batch);
        let mut state = self.state();
        let taken = state.ledger.take(link, batch.sequence, checked);
        if taken == Ok(Taken::New) {
            for record in &batch.records {
                if let Some(record::Record::Span(span)) = &record.record {
                    state.exemplars.observe(span);
                }
            }
        }
        state.waiting_records += batch.records.len() as u64;
        state.waiting_since.get_or_insert_with(Instant::now);
        self.0.wake.notify_one();
        taken
    }

    /// Refuses a batch that could not even be read; it counts as taken in its turn.
    pub fn refuse(&self, link: &Link, sequence: u64, rejection: Rejection) -> Result<Taken, Rejection> {
        let mut state = self.state();
        let taken = state.ledger.take(link, sequence, Err((rejection, [0; KINDS])));
        state.waiting_since.get_or_insert_with(Instant::now);
        self.0.wake.notify_one();
        taken
    }

    /// Ends an epoch that said goodbye.
    pub fn goodbye(&self, link: &Link) {
        self.state().ledger.goodbye(link);
        self.0.wake.notify_one();
    }

    /// Notes that a link is gone; see [`Ledger::lost`].
    pub fn lost(&self, link: &Link, unexplained: bool) {
        self.state().ledger.lost(link, unexplained, Instant::now());
        self.0.wake.notify_one();
    }

    /// Does what is due by now; see [`Ledger::tick`].
    pub fn tick(&self) -> Vec<Crash> {
        let crashes = self.state().ledger.tick(Instant::now());
        self.0.wake.notify_one();
        crashes
    }

    /// Takes what dead cores had counted, and removes the files of those for which that is on disk.
    pub fn bury(&self, dead: Vec<Dead>) {
        for dead in dead {
            let burial = self.state().ledger.bury(&dead.remains, dead.last_seen, Instant::now());
            match burial {
                Burial::Connected => {}
                Burial::Taken => self.0.wake.notify_one(),
                Burial::Done => dead.remove(),
            }
        }
    }

    /// Adds to the sidecar's own counts: pairs of slot and amount. They are written with the next commit; `now`
    /// asks for one.
    pub fn count(&self, amounts: &[(usize, u64)], now: bool) {
        let mut state = self.state();
        for &(slot, amount) in amounts {
            state.ledger.count(slot, amount);
        }
        if now {
            state.waiting_since.get_or_insert_with(Instant::now);
            self.0.wake.notify_one();
        }
    }

    /// What is to be seen now.
    pub fn view(&self) -> View {
        let state = self.state();
        let exemplars = (0..conexus_proto::facts::CELLS)
            .filter_map(|cell| state.exemplars.get(cell).map(|exemplar| (cell, exemplar)))
            .collect();
        View {
            total: state.ledger.visible().clone(),
            cores: state.ledger.cores(Instant::now()),
            exemplars,
            error: state.error.clone(),
        }
    }

    /// Changes with every commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// Waits for something to write and writes it. Returns false when there is nothing more and never will be.
    fn commit_next(&self, store: &mut Store) -> bool {
        let mut state = self.state();
        loop {
            if state.stopping && !state.ledger.is_dirty() {
                return false;
            }
            let wait = match state.due() {
                Some(wait) if wait.is_zero() => break,
                wait => wait.unwrap_or(Duration::from_secs(3600)),
            };
            state = self.0.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.commit(state, store)
    }

    /// Writes what there is to write. Returns false when it cannot and never will.
    fn commit(&self, mut state: MutexGuard<'_, State>, store: &mut Store) -> bool {
        state.waiting_since = None;
        state.waiting_records = 0;
        let Some(changes) = state.ledger.changes() else { return true };
        drop(state);
        let written = store.commit(&changes.writes);
        let mut state = self.state();
        match written {
            Ok(()) => {
                if state.error.take().is_some() {
                    tracing::info!("the state file can be written again");
                }
                state.ledger.committed(changes);
                drop(state);
                self.0.commits.send_modify(|count| *count += 1);
                true
            }
            Err(error) => {
                let text = chain(&error);
                if state.error.as_deref() != Some(&text) {
                    tracing::error!(error = %text, "measures cannot be written, so they are neither shown nor acknowledged");
                }
                state.error = Some(text);
                state.ledger.failed(changes);
                if state.stopping {
                    return false;
                }
                let (state, _) = self
                    .0
                    .wake
                    .wait_timeout_while(state, RETRY, |state| !state.stopping)
                    .unwrap_or_else(PoisonError::into_inner);
                drop(state);
                true
            }
        }
    }
}

/// Commits when it is told to; see [`Aggregate::open_stepped`].
#[derive(Debug)]
pub struct Stepper {
    aggregate: Aggregate,
    store: Store,
}

impl Stepper {
    /// Writes what there is to write, and makes it visible and acknowledged.
    pub fn commit(&mut self) {
        self.aggregate.commit(self.aggregate.state(), &mut self.store);
    }
}

impl State {
    /// How long until the next commit is due; `None` while nothing waits.
    fn due(&self) -> Option<Duration> {
        if !self.ledger.is_dirty() {
            return None;
        }
        if self.stopping || self.ledger.is_urgent() || self.waiting_records >= LINGER_RECORDS {
            return Some(Duration::ZERO);
        }
        self.waiting_since.map(|since| LINGER.saturating_sub(since.elapsed()))
    }
}

impl Committer {
    /// Commits what is left and ends the thread.
    pub fn stop(self) {
        self.aggregate.state().stopping = true;
        self.aggregate.0.wake.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the committing thread panicked");
        }
    }
}

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        // Some libraries repeat their cause.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}

// The number of kinds is fixed by the protocol's record types.
const _: () = assert!(KINDS == 3);
