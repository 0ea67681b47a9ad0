//! Slots: how often did each fact happen, counted without a lock or an atomic read-modify-write?
//!
//! A [`Table`] has one cell for each cell of `facts` and is written by one thread at a time: the thread that leased it.
//! A thread that ends hands its table to the next; no table is ever zeroed or freed, so sums over all tables never step back.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use conexus_proto::facts::{Addition, BUCKETS, CELLS, DropReason, Fact, Gauge, RecordKind};
use conexus_proto::slots::TABLE_BYTES;
use memmap2::MmapRaw;

use super::count::{Count, add_up};
use super::shared::{Shared, SharedError};

/// How many kinds of records there are.
pub(crate) const KINDS: usize = RecordKind::ALL.len();
/// How many reasons to drop a record there are.
pub(crate) const REASONS: usize = DropReason::ALL.len();

/// The cells of one thread. Aligned so that two threads' tables share no cache line. Laid out as the sidecar reads it after
/// this process has died.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Table {
    cells: [Count; CELLS],
    emitted: [Count; KINDS],
    dropped: [Count; KINDS * REASONS],
}

const _: () = assert!(size_of::<Table>() == TABLE_BYTES);

impl Table {
    fn new() -> Self {
        Self {
            cells: std::array::from_fn(|_| Count::zero()),
            emitted: std::array::from_fn(|_| Count::zero()),
            dropped: std::array::from_fn(|_| Count::zero()),
        }
    }

    /// Counts a fact. Only the thread that leases the table may call this.
    #[inline(always)]
    pub(crate) fn add(&self, addition: Addition) {
        match addition {
            Addition::Count { cell, amount } => self.cells[cell].add(amount),
            Addition::Duration { cell, bucket, nanos } => {
                self.cells[cell].add(nanos);
                self.cells[bucket].add(1);
            }
        }
    }

    /// Counts records that are about to be pushed. Only for the thread that leases the table.
    #[inline]
    pub(crate) fn emitted(&self, kind: RecordKind, count: u64) {
        self.emitted[kind as usize].add(count);
    }

    /// Counts records that were dropped instead of pushed. Only for the thread that leases the table.
    #[inline]
    pub(crate) fn dropped(&self, kind: RecordKind, reason: DropReason, count: u64) {
        self.dropped[kind as usize * REASONS + reason as usize].add(count);
    }
}

/// A table, and its memory for as long as anybody refers to it.
#[derive(Clone, Debug)]
pub(crate) struct TableRef {
    table: NonNull<Table>,
    _memory: Memory,
}

#[derive(Clone, Debug)]
#[allow(dead_code, reason = "held, not read")]
enum Memory {
    Private(Arc<Table>),
    Mapped(Arc<MmapRaw>),
}

// SAFETY: a table is atomics only, so it may be referred to and dropped from any thread, and so may its memory.
unsafe impl Send for TableRef {}
// SAFETY: as above.
unsafe impl Sync for TableRef {}

impl Deref for TableRef {
    type Target = Table;

    #[inline(always)]
    fn deref(&self) -> &Table {
        // SAFETY: `_memory` keeps the table where it is. Memory of a file begins as zeros, which are a valid table, is
        // aligned because a segment begins at a page and tables are a multiple of their alignment apart, and this process
        // accesses it through `Table` only.
        unsafe { self.table.as_ref() }
    }
}

impl TableRef {
    fn private() -> Self {
        let memory = Arc::new(Table::new());
        Self { table: NonNull::from(&*memory), _memory: Memory::Private(memory) }
    }
}

/// Every table that was ever leased.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    opened: Mutex<Opened>,
    private: Option<String>,
}

#[derive(Debug, Default)]
struct Opened {
    tables: Vec<TableRef>,
    shared: Option<Shared>,
}

impl Tables {
    /// Tables in memory that outlives the process, or, where there is none, in its own.
    pub(crate) fn shared(shared: Result<Shared, SharedError>) -> Self {
        let (shared, private) = match shared {
            Ok(shared) => (Some(shared), None),
            Err(error) => {
                let source = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
                (None, Some(format!("{error}{source}")))
            }
        };
        Self { opened: Mutex::new(Opened { tables: Vec::new(), shared }), private }
    }

    /// Why the tables do not outlive the process, if they were to.
    pub(crate) fn private(&self) -> Option<&str> {
        self.private.as_deref()
    }

    /// A new table, counted in every sum from now on.
    pub(crate) fn open(&self) -> TableRef {
        let mut opened = self.lock();
        let table = opened.open();
        opened.tables.push(table.clone());
        table
    }

    /// Tells in the shared memory, if there is one, that the process lives. For the drain, now and then.
    pub(crate) fn touch(&self) {
        if let Some(shared) = &self.lock().shared {
            shared.touch();
        }
    }

    /// The process ends by itself. `read`: a sidecar has still to read what was counted.
    pub(crate) fn end(&self, read: bool) {
        if let Some(shared) = &self.lock().shared {
            shared.end(read);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sums of all cells over all tables, never of more ends of requests than starts.
    pub(crate) fn cells(&self) -> Vec<u64> {
        let mut sums = vec![0_u64; CELLS];
        add_up(&mut sums, self.lock().tables.iter().map(|table| &table.cells[..]));
        sums
    }

    /// Records emitted and dropped on all threads. Drops are read first: every drop seen is also seen as emitted.
    pub(crate) fn accounts(&self) -> Accounts {
        let tables = &self.lock().tables;
        let mut accounts = Accounts::default();
        for table in tables {
            for (sum, cell) in accounts.dropped.iter_mut().zip(&table.dropped) {
                *sum = sum.wrapping_add(cell.get());
            }
        }
        for table in tables {
            for (sum, cell) in accounts.emitted.iter_mut().zip(&table.emitted) {
                *sum = sum.wrapping_add(cell.get());
            }
        }
        accounts
    }
}

impl Opened {
    fn open(&mut self) -> TableRef {
        let Some(shared) = &mut self.shared else { return TableRef::private() };
        match shared.open_table() {
            Ok((table, memory)) => TableRef { table, _memory: Memory::Mapped(memory) },
            Err(error) => {
                shared.set_incomplete();
                tracing::warn!(%error, "no shared memory for one more thread's counts: a killed core loses its last ones");
                TableRef::private()
            }
        }
    }
}

/// How many records were emitted, and how many of those dropped, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// By [`RecordKind`].
    pub emitted: [u64; KINDS],
    /// By [`RecordKind`] times the number of [`DropReason`]s plus the reason.
    pub dropped: [u64; KINDS * REASONS],
}

impl Accounts {
    /// Records of a kind dropped for any reason.
    pub fn dropped_of(&self, kind: RecordKind) -> u64 {
        self.dropped[kind as usize * REASONS..][..REASONS].iter().sum()
    }

    /// Records of all kinds dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

/// Everything counted so far, and the gauges.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    pub(crate) cells: Vec<u64>,
    pub(crate) gauges: Vec<Option<f64>>,
}

impl Totals {
    /// The value of a numbered cell.
    pub fn cell(&self, cell: usize) -> u64 {
        self.cells[cell]
    }

    /// How much was counted for the labels of `fact`; its amount or duration plays no part. A histogram's is its number
    /// of observations.
    pub fn count(&self, fact: Fact) -> u64 {
        match fact.addition() {
            Addition::Count { cell, .. } => self.cells[cell],
            Addition::Duration { cell, .. } => self.cells[cell + 1..][..BUCKETS].iter().sum(),
        }
    }

    /// The nanoseconds counted for the labels of a timed fact; 0 for a fact without a duration.
    pub fn nanos(&self, fact: Fact) -> u64 {
        match fact.addition() {
            Addition::Count { .. } => 0,
            Addition::Duration { cell, .. } => self.cells[cell],
        }
    }

    /// A gauge, if it was ever set.
    pub fn gauge(&self, gauge: Gauge) -> Option<f64> {
        self.gauges[gauge as usize]
    }
}

#[cfg(test)]
mod tests {
    use conexus_proto::facts::{BUCKET_BOUNDS_NANOS, Method, Status};
    use proptest::prelude::*;

    use super::*;

    fn facts() -> impl Strategy<Value = Fact> {
        let method = (0..Method::ALL.len()).prop_map(|i| Method::ALL[i]);
        let edge = (0..BUCKET_BOUNDS_NANOS.len(), 0..3_u64).prop_map(|(i, d)| BUCKET_BOUNDS_NANOS[i] - 1 + d);
        let nanos = prop_oneof![edge, 0..20_000_000_000_u64];
        prop_oneof![
            method.clone().prop_map(|method| Fact::RequestStarted { method }),
            (method, prop::bool::ANY, nanos).prop_map(|(method, ok, nanos)| Fact::RequestFinished {
                method,
                status: if ok { Status::Ok } else { Status::Error },
                nanos
            }),
            (0..1_000_u64).prop_map(|count| Fact::ChunksCreated { count }),
            Just(Fact::SearchCacheHit),
        ]
    }

    proptest! {
        /// The model: a plain array, one addition after the other, whatever the table.
        #[test]
        fn sums_over_tables_equal_one_array(facts in prop::collection::vec((facts(), 0..3_usize), 0..200)) {
            let tables = Tables::default();
            let opened = [tables.open(), tables.open(), tables.open()];
            let mut model = vec![0_u64; CELLS];
            for (fact, which) in facts {
                opened[which].add(fact.addition());
                match fact.addition() {
                    Addition::Count { cell, amount } => model[cell] += amount,
                    Addition::Duration { cell, nanos, .. } => {
                        model[cell] += nanos;
                        let bucket = BUCKET_BOUNDS_NANOS.iter().position(|&bound| nanos <= bound);
                        model[cell + 1 + bucket.unwrap_or(BUCKET_BOUNDS_NANOS.len())] += 1;
                    }
                }
            }
            prop_assert_eq!(tables.cells(), model);
        }
    }

    #[test]
    fn a_reader_never_sees_more_ends_than_starts() {
        let tables = Tables::default();
        let (method, table) = (Method::Ping, tables.open());
        let (start, end) =
            (Fact::RequestStarted { method }, Fact::RequestFinished { method, status: Status::Ok, nanos: 1 });
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..200_000 {
                    table.add(start.addition());
                    table.add(end.addition());
                }
            });
            while !writer.is_finished() {
                let totals = Totals { cells: tables.cells(), gauges: vec![] };
                assert!(totals.count(end) <= totals.count(start));
            }
        });
        let totals = Totals { cells: tables.cells(), gauges: vec![] };
        assert_eq!((totals.count(start), totals.count(end), totals.nanos(end)), (200_000, 200_000, 200_000));
    }

    #[test]
    fn accounts_add_up_by_kind_and_reason() {
        let tables = Tables::default();
        let (one, two) = (tables.open(), tables.open());
        one.emitted(RecordKind::Span, 5);
        one.dropped(RecordKind::Span, DropReason::RingFull, 2);
        two.emitted(RecordKind::Span, 1);
        two.dropped(RecordKind::Log, DropReason::RingFull, 4);
        let accounts = tables.accounts();
        assert_eq!(accounts.emitted, [6, 0, 0]);
        assert_eq!((accounts.dropped_of(RecordKind::Span), accounts.dropped_of(RecordKind::Log)), (2, 4));
        assert_eq!(accounts.dropped_total(), 6);
    }
}
