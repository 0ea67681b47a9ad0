//! Core: the store and everything derived from it, committed together and published as snapshots.
//!
//! A commit writes the store, then the lexical index, then the columns, each durably and each naming the generation.
//! Whatever moment it is cut off at, [`Core::recover`] brings the derived data to the store's generation: it compares
//! which file versions each of them has, takes out what the store does not know and adds what they lack, from the
//! store's own texts and vectors.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use conexus_proto::facts::{Fact, Gauge};
use rustc_hash::{FxHashMap, FxHashSet};

use super::columns::Columns;
use super::derive::{Derived, Source, derive};
use super::embed::Embedder;
use super::language::Language;
use super::lexical::Lexical;
use super::run::{RunControl, lock};
use super::segment::build::SegmentBuilder;
use super::segment::signed;
use super::snapshot::{self, Current, Snapshot};
use super::store::record::{Entry, FileRecord};
use super::store::{Batch, Meta, Store};
use super::{IndexError, tokenize};
use crate::telemetry::Telemetry;

/// Memory of redb's page cache.
const STORE_CACHE_BYTES: usize = 64 << 20;

/// Columns that recovery holds in memory before it writes a segment.
const RECOVERY_BYTES: usize = 96 << 20;

/// Files that recovery derives at once.
const RECOVERY_WINDOW: usize = 256;

/// The store, what is derived from it, and the snapshot of the moment.
pub(crate) struct Core {
    pub(crate) store: Arc<Store>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) telemetry: Telemetry,
    pub(crate) current: Current,
    pub(crate) pending: Arc<AtomicU64>,
    pub(crate) lexical: Mutex<Lexical>,
    pub(crate) columns: Mutex<Columns>,
    state: Mutex<State>,
    threads: usize,
}

/// What the next snapshot is made of, beside the columns.
struct State {
    searcher: tantivy::Searcher,
    touched: Arc<FxHashMap<u32, i64>>,
    meta: Meta,
    /// The derived data may lag behind the store: a commit failed half-way.
    stale: bool,
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
        let pending = Arc::new(AtomicU64::new(0));
        let state = State { searcher, touched, meta, stale };
        let source = source(&state, &columns, &lexical, &pending, &store, threads, dimensions);
        let current = Arc::new(ArcSwap::from_pointee(Snapshot::new(source)?));
        let core = Self {
            store,
            embedder,
            telemetry,
            current,
            pending,
            lexical: Mutex::new(lexical),
            columns: Mutex::new(columns),
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
        lock(&self.state).stale
    }

    /// The derived data is to be compared with the store before the next run: a run broke off.
    pub(crate) fn set_stale(&self) {
        lock(&self.state).stale = true;
    }

    /// Recovers at once if it is little work.
    pub(crate) fn recover_a_little(&self) -> Result<(), IndexError> {
        const FILES_MAX: usize = 2000;
        if !self.is_stale() {
            return Ok(());
        }
        let mut lexical = lock(&self.lexical);
        let mut files = 0usize;
        self.store.for_each(|_, _| files += 1)?;
        let there = lexical.files()?.len().min(lock(&self.columns).ids().len());
        if files.saturating_sub(there) <= FILES_MAX {
            self.recover(&mut lexical, &RunControl::new())?;
        }
        Ok(())
    }

    /// Shows what the lexical index has merged in the meantime.
    pub(crate) fn refresh_searcher(&self) -> Result<(), IndexError> {
        let searcher = lock(&self.lexical).searcher().map_err(IndexError::from_tantivy)?;
        lock(&self.state).searcher = searcher;
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
        // Until all is done, what is derived is behind: also if this fails anywhere.
        lock(&self.state).stale = true;
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
            state.stale = false;
        }
        self.publish()?;
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
            complete: state.meta.complete,
            pending: Arc::clone(&self.pending),
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

    /// Brings the derived data to the store's generation. Stops half-way, consistent, when `control` is cancelled.
    pub(crate) fn recover(&self, lexical: &mut Lexical, control: &RunControl) -> Result<(), IndexError> {
        lexical.discard();
        let meta = self.store.meta()?;
        let mut wanted: FxHashMap<u32, (Vec<u8>, FileRecord)> = FxHashMap::default();
        self.store.for_each(|path, entry| {
            if let Entry::Indexed(record) = entry {
                wanted.insert(record.id, (path.to_vec(), record));
            }
        })?;
        let in_lexical = lexical.files()?;
        let mut in_columns = lock(&self.columns).ids();
        let newest = in_columns.iter().max().copied().unwrap_or(0);
        let lacks = |has: &FxHashSet<u32>| wanted.keys().filter(|id| !has.contains(id)).copied().collect::<Vec<u32>>();
        if lacks(&in_columns).into_iter().any(|id| id < newest) {
            // Versions ascend over the segments: one missing in between cannot be put back where it was.
            let all: Vec<u32> = in_columns.drain().collect();
            lock(&self.columns).commit(&mut SegmentBuilder::new(self.embedder.dimensions()), &all, 0)?;
        }
        let surplus =
            |has: &FxHashSet<u32>| has.iter().filter(|id| !wanted.contains_key(id)).copied().collect::<Vec<_>>();
        lexical.delete(&surplus(&in_lexical))?;
        let dead = surplus(&in_columns);
        let mut missing: Vec<u32> = lacks(&in_lexical);
        missing.extend(lacks(&in_columns));
        missing.sort_unstable();
        missing.dedup();
        let mut builder = SegmentBuilder::new(self.embedder.dimensions());
        for window in missing.chunks(RECOVERY_WINDOW) {
            for (id, derived) in self.derive_again(window, &wanted, lexical)? {
                let mut derived = derived;
                if !in_lexical.contains(&id) {
                    lexical.add(id, std::mem::take(&mut derived.documents))?;
                }
                if !in_columns.contains(&id) {
                    builder.push(id, &derived);
                }
            }
            if builder.bytes() > RECOVERY_BYTES || builder.is_full() {
                // Not yet the store's generation: should this be cut off, it is recovered again.
                lexical.commit(0)?;
                lock(&self.columns).commit(&mut builder, &[], 0)?;
            }
            if control.is_cancelled() {
                lexical.commit(0)?;
                return lock(&self.columns).commit(&mut builder, &dead, 0);
            }
        }
        lexical.commit(meta.generation)?;
        lock(&self.columns).commit(&mut builder, &dead, meta.generation)?;
        {
            let mut state = lock(&self.state);
            state.searcher = lexical.searcher().map_err(IndexError::from_tantivy)?;
            state.touched = Arc::new(self.store.touched()?.into_iter().collect());
            state.meta = meta;
            state.stale = false;
        }
        self.publish()
    }

    /// Derives files anew from the store, in the order of their numbers.
    fn derive_again(
        &self,
        ids: &[u32],
        wanted: &FxHashMap<u32, (Vec<u8>, FileRecord)>,
        lexical: &Lexical,
    ) -> Result<Vec<(u32, Derived)>, IndexError> {
        let fields = lexical.fields();
        let share = ids.len().div_ceil(self.threads.max(1)).max(1);
        let one = |id: u32| -> Result<(u32, Derived), IndexError> {
            let (path, record) = &wanted[&id];
            let lost = || IndexError::Store(format!("{}: its content is missing", String::from_utf8_lossy(path)));
            let text = self.store.text(&record.content)?.ok_or_else(lost)?;
            let parsed = self.store.parsed(&record.content)?.ok_or_else(lost)?;
            let vectors = self.store.vectors(&record.content)?.ok_or_else(lost)?;
            let source = Source {
                path,
                content: record.content,
                language: Language::from_number(record.language),
                bytes: record.stat.bytes,
                modified: record.stat.modified,
                text: &text,
                parsed: &parsed,
                vectors: signed(&vectors),
            };
            Ok((id, derive(source, &fields, &*self.embedder)))
        };
        std::thread::scope(|scope| {
            let handles: Vec<_> = ids
                .chunks(share)
                .map(|ids| scope.spawn(move || ids.iter().map(|&id| one(id)).collect::<Result<Vec<_>, _>>()))
                .collect();
            let mut all = Vec::with_capacity(ids.len());
            for handle in handles {
                let part = handle.join().map_err(|_| IndexError::Derived("deriving panicked".to_owned()))?;
                all.extend(part?);
            }
            Ok(all)
        })
    }
}

fn source<'a>(
    state: &State,
    columns: &'a Columns,
    lexical: &Lexical,
    pending: &Arc<AtomicU64>,
    store: &Arc<Store>,
    threads: usize,
    dimensions: usize,
) -> snapshot::Source<'a> {
    snapshot::Source {
        generation: state.meta.generation,
        checked: state.meta.checked,
        complete: state.meta.complete && !state.stale,
        pending: Arc::clone(pending),
        parts: columns.parts(),
        dimensions,
        searcher: state.searcher.clone(),
        fields: lexical.fields(),
        touched: Arc::clone(&state.touched),
        store: Arc::clone(store),
        threads,
    }
}
