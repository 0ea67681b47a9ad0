//! Core: the store and everything derived from it, committed together and published as snapshots.
//!
//! A commit writes the store, then the lexical index, then the columns, each durably and each naming the generation.
//! Whatever moment it is cut off at, [`Core::recover`] brings the derived data to the store's generation: it compares
//! which file versions each of them has, takes out what the store does not know and adds what they lack, from the
//! store's own texts and vectors.

mod recover;

use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use conexus_proto::facts::{Fact, Gauge};
use rustc_hash::FxHashMap;

use super::columns::Columns;
use super::embed::Embedder;
use super::lexical::Lexical;
use super::maintenance::Signal;
use super::run::lock;
use super::segment::build::SegmentBuilder;
use super::snapshot::{self, Current, Liveness, Snapshot};
use super::store::{Batch, Meta, Store};
use super::{IndexError, tokenize};
use crate::telemetry::Telemetry;

/// Memory of redb's page cache.
const STORE_CACHE_BYTES: usize = 64 << 20;

/// The store, what is derived from it, and the snapshot of the moment.
pub(crate) struct Core {
    pub(crate) store: Arc<Store>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) telemetry: Telemetry,
    pub(crate) current: Current,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) lexical: Mutex<Lexical>,
    pub(crate) columns: Mutex<Columns>,
    /// Wakes the thread that merges.
    pub(crate) signal: Signal,
    state: Mutex<State>,
    threads: usize,
}

/// What the next snapshot is made of, beside the columns.
struct State {
    searcher: tantivy::Searcher,
    touched: Arc<FxHashMap<u32, i64>>,
    meta: Meta,
    /// The derived data may lag behind the store: a commit was broken off half-way, now or in an earlier life.
    stale: bool,
    /// A commit is at it.
    committing: bool,
}

impl Core {
    /// Opens the index in `folder`. The second value says why it was emptied, if it was.
    pub(crate) fn open(
        folder: &Path,
        embedder: Arc<dyn Embedder>,
        threads: usize,
        telemetry: Telemetry,
    ) -> Result<(Self, Option<String>), IndexError> {
        let dimensions = embedder.dimensions();
        let made_by = format!("{} {dimensions}", embedder.identity());
        let (store, reset) = Store::open(&folder.join("store.redb"), &made_by, STORE_CACHE_BYTES)?;
        let derived_by = format!("{made_by} {} {}", tokenize::IDENTITY, embedder.path_weight());
        let columns = Columns::open(&folder.join("columns"), &derived_by, dimensions)?;
        let writers = threads.div_ceil(2).clamp(1, 4);
        let lexical = Lexical::open(&folder.join("lexical"), &derived_by, writers)?;
        let store = Arc::new(store);
        let meta = store.meta()?;
        let stale = columns.generation() != meta.generation || lexical.generation() != meta.generation;
        let searcher = lexical.searcher().map_err(IndexError::from_tantivy)?;
        let touched = Arc::new(store.touched()?.into_iter().collect());
        let liveness = Arc::new(Liveness::default());
        let state = State { searcher, touched, meta, stale, committing: false };
        let source = source(&state, &columns, &lexical, &liveness, &store, threads, dimensions);
        let current = Arc::new(ArcSwap::from_pointee(Snapshot::new(source)?));
        let core = Self {
            store,
            embedder,
            telemetry,
            current,
            liveness,
            lexical: Mutex::new(lexical),
            columns: Mutex::new(columns),
            signal: Signal::default(),
            state: Mutex::new(state),
            threads,
        };
        core.set_documents();
        Ok((core, reset))
    }

    /// The store's state.
    pub(crate) fn meta(&self) -> Meta {
        lock(&self.state).meta
    }

    /// Whether the derived data is to be brought to the store's generation before anything else.
    pub(crate) fn is_stale(&self) -> bool {
        let state = lock(&self.state);
        state.stale || state.committing
    }

    /// The derived data is to be compared with the store before the next run: a run broke off.
    pub(crate) fn set_stale(&self) {
        lock(&self.state).stale = true;
    }

    /// Shows what the lexical index has merged in the meantime, unless a run has it.
    pub(crate) fn refresh_searcher(&self) -> Result<(), IndexError> {
        let Ok(lexical) = self.lexical.try_lock() else { return Ok(()) };
        if self.is_stale() {
            return Ok(());
        }
        let searcher = lexical.searcher().map_err(IndexError::from_tantivy)?;
        let segments = |searcher: &tantivy::Searcher| -> Vec<_> {
            searcher.segment_readers().iter().map(|segment| (segment.segment_id(), segment.num_docs())).collect()
        };
        {
            let mut state = lock(&self.state);
            if segments(&state.searcher) == segments(&searcher) {
                return Ok(());
            }
            state.searcher = searcher;
        }
        self.publish()
    }

    /// Makes a batch durable everywhere and publishes it. The files of the batch are in `lexical` and `builder`.
    pub(crate) fn commit(
        &self,
        lexical: &mut Lexical,
        batch: &Batch,
        builder: &mut SegmentBuilder,
        next_file: u32,
    ) -> Result<u64, IndexError> {
        let began = std::time::Instant::now();
        // Stays so if this fails anywhere, or panics.
        lock(&self.state).committing = true;
        let committed = self.store.commit(batch, next_file)?;
        let generation = committed.meta.generation;
        lexical.delete(&committed.dead)?;
        lexical.commit(generation)?;
        lock(&self.columns).commit(builder, &committed.dead, generation)?;
        {
            let mut state = lock(&self.state);
            state.searcher = lexical.searcher().map_err(IndexError::from_tantivy)?;
            if !committed.touched.is_empty() || committed.dead.iter().any(|id| state.touched.contains_key(id)) {
                let touched = Arc::make_mut(&mut state.touched);
                touched.extend(committed.touched.iter().copied());
                committed.dead.iter().for_each(|id| _ = touched.remove(id));
            }
            state.meta = committed.meta;
            state.committing = false;
        }
        self.publish()?;
        self.signal.wake();
        self.telemetry.emit(Fact::Inserted { nanos: began.elapsed().as_nanos() as u64 });
        Ok(generation)
    }

    /// Notes that all was checked at a moment (nanoseconds since 1970), or that it was not.
    pub(crate) fn set_checked(&self, complete: bool, checked: i64) -> Result<(), IndexError> {
        {
            let mut state = lock(&self.state);
            if (state.meta.complete, state.meta.checked) == (complete, checked) {
                return Ok(());
            }
            self.store.set_checked(complete, checked)?;
            (state.meta.complete, state.meta.checked) = (complete, checked);
        }
        self.publish()
    }

    /// Makes what is committed the snapshot of the moment.
    pub(crate) fn publish(&self) -> Result<(), IndexError> {
        let columns = lock(&self.columns);
        let state = lock(&self.state);
        let fields = self.current.load().lexical_fields();
        let source = snapshot::Source {
            generation: state.meta.generation,
            checked: state.meta.checked,
            complete: state.meta.complete && !state.stale,
            liveness: Arc::clone(&self.liveness),
            parts: columns.parts(),
            dimensions: self.embedder.dimensions(),
            searcher: state.searcher.clone(),
            fields,
            touched: Arc::clone(&state.touched),
            store: Arc::clone(&self.store),
            threads: self.threads,
        };
        self.current.store(Arc::new(Snapshot::new(source)?));
        drop((columns, state));
        self.set_documents();
        Ok(())
    }

    fn set_documents(&self) {
        self.telemetry.set(Gauge::Documents, self.current.load().counts().1 as f64);
    }
}

fn source<'a>(
    state: &State,
    columns: &'a Columns,
    lexical: &Lexical,
    liveness: &Arc<Liveness>,
    store: &Arc<Store>,
    threads: usize,
    dimensions: usize,
) -> snapshot::Source<'a> {
    snapshot::Source {
        generation: state.meta.generation,
        checked: state.meta.checked,
        complete: state.meta.complete && !state.stale,
        liveness: Arc::clone(liveness),
        parts: columns.parts(),
        dimensions,
        searcher: state.searcher.clone(),
        fields: lexical.fields(),
        touched: Arc::clone(&state.touched),
        store: Arc::clone(store),
        threads,
    }
}
