//! Outlet: what waits for one exporter, and how is that exporter?
//!
//! A queue bounded by records and by bytes. What finds it full is dropped and counted as `exporter_full`. A batch is
//! shared with the other exporters, not copied; the bound counts only what this one wants of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conexus_proto::facts::{DropReason, Label, RecordKind};
use conexus_proto::v1;
use tokio::sync::Notify;

use super::{Counts, ExporterState, RecordBatch, RecordSink, kind_of};
use crate::aggregate::Aggregate;
use crate::aggregate::tally::SIDECAR_DROPPED;

/// A bound on records and on their encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Encoded bytes.
    pub bytes: usize,
}

/// Consecutive records of a batch, no more than an exporter sends at once.
#[derive(Clone, Debug)]
pub struct Piece {
    batch: Arc<RecordBatch>,
    range: Range<usize>,
    wanted: &'static [RecordKind],
    counts: Counts,
    bytes: usize,
}

impl Piece {
    /// All wanted records of a batch as one piece.
    pub fn whole(batch: RecordBatch, wanted: &'static [RecordKind]) -> Self {
        let unbounded = Limits { records: usize::MAX, bytes: usize::MAX };
        let batch = Arc::new(batch);
        let none = Self { batch: batch.clone(), range: 0..0, wanted, counts: Counts::default(), bytes: 0 };
        cut(&batch, wanted, unbounded).pop().unwrap_or(none)
    }

    /// The core that sent them.
    pub fn epoch(&self) -> u64 {
        self.batch.epoch
    }

    /// The records that the exporter wants.
    pub fn records(&self) -> impl Iterator<Item = &v1::Record> {
        self.batch.records[self.range.clone()].iter().filter(|record| is_wanted(record, self.wanted))
    }

    /// How many those are, by kind.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Their encoded size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.counts.iter().sum::<u64>() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn is_wanted(record: &v1::Record, wanted: &[RecordKind]) -> bool {
    kind_of(record).is_some_and(|kind| wanted.iter().any(|wanted| wanted.number() == kind))
}

/// A batch in pieces within `limits`. A record that alone is over them is a piece of its own.
fn cut(batch: &Arc<RecordBatch>, wanted: &'static [RecordKind], limits: Limits) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, record) in batch.records.iter().enumerate() {
        let Some(kind) = kind_of(record).filter(|_| is_wanted(record, wanted)) else { continue };
        let size = batch.size(at);
        match pieces.last_mut().filter(|last| last.len() < limits.records && last.bytes + size <= limits.bytes) {
            Some(last) => {
                last.range.end = at + 1;
                last.counts[kind] += 1;
                last.bytes += size;
            }
            None => {
                let mut counts = Counts::default();
                counts[kind] = 1;
                pieces.push(Piece { batch: batch.clone(), range: at..at + 1, wanted, counts, bytes: size });
            }
        }
    }
    pieces
}

/// The queue and the state of one exporter.
#[derive(Debug)]
pub struct Outlet {
    number: usize,
    wanted: &'static [RecordKind],
    limits: Limits,
    chunk: Limits,
    aggregate: Aggregate,
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Piece>,
    records: usize,
    bytes: usize,
    // Records taken from the queue and neither sent nor stored yet.
    in_hand: usize,
    up: bool,
    last_error: Option<String>,
}

impl Outlet {
    /// An empty queue for the exporter with this number, which sends records of the `wanted` kinds in chunks of at
    /// most `chunk`. Drops are counted in `aggregate`.
    pub fn new(
        number: usize,
        wanted: &'static [RecordKind],
        limits: Limits,
        chunk: Limits,
        aggregate: Aggregate,
    ) -> Self {
        Self { number, wanted, limits, chunk, aggregate, inner: Mutex::default(), filled: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in it is left half done by a panic, so the lock's poison means nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exporter's number in `EXPORTERS`.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The kinds of records that it takes.
    pub fn wanted(&self) -> &'static [RecordKind] {
        self.wanted
    }

    /// Its state, apart from the spool.
    pub fn state(&self) -> ExporterState {
        let inner = self.inner();
        ExporterState {
            enabled: true,
            up: inner.up,
            queued: (inner.records + inner.in_hand) as u64,
            spooled_bytes: 0,
            last_error: inner.last_error.clone(),
        }
    }

    /// Notes how the last attempt went. Returns what was known before: whether one had succeeded, and the error.
    pub fn note(&self, outcome: Result<(), String>) -> (bool, Option<String>) {
        let mut inner = self.inner();
        let before = (inner.up, inner.last_error.take());
        inner.up = outcome.is_ok();
        inner.last_error = outcome.err();
        before
    }

    /// How much waits.
    pub fn waiting(&self) -> Limits {
        let inner = self.inner();
        Limits { records: inner.records, bytes: inner.bytes }
    }

    /// Whether enough waits for a full chunk.
    pub fn has_chunk(&self) -> bool {
        let inner = self.inner();
        inner.records >= self.chunk.records || inner.bytes >= self.chunk.bytes
    }

    /// Takes the oldest pieces, up to a chunk; all of them are of one core.
    pub fn take_chunk(&self) -> Vec<Piece> {
        let mut inner = self.inner();
        let mut chunk = Vec::new();
        let mut room = self.chunk;
        while let Some(next) = inner.waiting.front() {
            let fits = next.len() <= room.records && next.bytes <= room.bytes;
            if chunk.first().is_some_and(|first: &Piece| !fits || next.epoch() != first.epoch()) {
                break;
            }
            room.records = room.records.saturating_sub(next.len());
            room.bytes = room.bytes.saturating_sub(next.bytes);
            let Some(piece) = inner.waiting.pop_front() else { break };
            inner.records -= piece.len();
            inner.bytes -= piece.bytes;
            inner.in_hand += piece.len();
            chunk.push(piece);
        }
        chunk
    }

    /// Notes that so many of the taken records are sent, stored or dropped.
    pub fn done(&self, records: usize) {
        let mut inner = self.inner();
        inner.in_hand = inner.in_hand.saturating_sub(records);
    }

    /// Waits until something is added. May return early.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Counts dropped records.
    pub fn count_dropped(&self, counts: Counts, reason: DropReason) {
        let reasons = DropReason::VALUES.len();
        let amounts: Vec<(usize, u64)> = counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(kind, &count)| (SIDECAR_DROPPED + kind * reasons + reason.number(), count))
            .collect();
        if !amounts.is_empty() {
            self.aggregate.count(&amounts, true);
        }
    }
}

impl RecordSink for Outlet {
    fn offer(&self, batch: &Arc<RecordBatch>) {
        let pieces = cut(batch, self.wanted, self.chunk);
        if pieces.is_empty() {
            return;
        }
        let mut refused = Counts::default();
        let mut inner = self.inner();
        for piece in pieces {
            let fits =
                inner.records + piece.len() <= self.limits.records && inner.bytes + piece.bytes <= self.limits.bytes;
            if fits {
                inner.records += piece.len();
                inner.bytes += piece.bytes;
                inner.waiting.push_back(piece);
            } else {
                refused.iter_mut().zip(piece.counts).for_each(|(sum, count)| *sum += count);
            }
        }
        drop(inner);
        self.filled.notify_one();
        self.count_dropped(refused, DropReason::ExporterFull);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conexus_proto::v1::record;
    use proptest::prelude::*;

    fn outlet(limits: Limits, chunk: Limits) -> (Outlet, crate::aggregate::Committer, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (aggregate, committer, _) = Aggregate::open(folder.path()).unwrap();
        (Outlet::new(0, &[RecordKind::Span], limits, chunk, aggregate), committer, folder)
    }

    fn batch(names: &[&str]) -> Arc<RecordBatch> {
        let span = |name: &&str| {
            let record = match *name {
                "log" => record::Record::Log(v1::Log::default()),
                name => record::Record::Span(v1::Span { name: name.into(), ..v1::Span::default() }),
            };
            v1::Record { record: Some(record) }
        };
        Arc::new(RecordBatch::new(1, names.iter().map(span).collect()))
    }

    fn names(pieces: &[Piece]) -> Vec<String> {
        let spans = pieces.iter().flat_map(Piece::records).map(|record| match &record.record {
            Some(record::Record::Span(span)) => span.name.clone(),
            other => panic!("not wanted: {other:?}"),
        });
        spans.collect()
    }

    const MANY: Limits = Limits { records: 1000, bytes: 1 << 20 };

    #[test]
    fn only_wanted_records_come_out_in_order_and_in_chunks() {
        let (outlet, committer, _folder) = outlet(MANY, Limits { records: 2, bytes: 1 << 20 });
        outlet.offer(&batch(&["a", "log", "b", "c", "log"]));
        outlet.offer(&batch(&["log"]));
        outlet.offer(&batch(&["d"]));
        assert_eq!(outlet.waiting().records, 4);
        assert_eq!(names(&outlet.take_chunk()), ["a", "b"]);
        assert_eq!(outlet.state().queued, 4, "what is being sent still waits");
        outlet.done(2);
        assert_eq!(names(&outlet.take_chunk()), ["c", "d"]);
        assert!(outlet.take_chunk().is_empty());
        committer.stop();
    }

    #[test]
    fn a_chunk_is_of_one_core() {
        let (outlet, committer, _folder) = outlet(MANY, MANY);
        for (epoch, name) in [(1, "a"), (1, "b"), (2, "c"), (1, "d")] {
            let span = record::Record::Span(v1::Span { name: name.into(), ..v1::Span::default() });
            outlet.offer(&Arc::new(RecordBatch::new(epoch, vec![v1::Record { record: Some(span) }])));
        }
        let chunks = [(); 3].map(|()| names(&outlet.take_chunk()));
        assert_eq!(chunks, [vec!["a", "b"], vec!["c"], vec!["d"]]);
        committer.stop();
    }

    #[test]
    fn a_full_queue_refuses_the_newest_and_counts_it() {
        let (outlet, committer, _folder) = outlet(Limits { records: 3, bytes: 1 << 20 }, Limits { records: 2, ..MANY });
        outlet.offer(&batch(&["a", "b", "c", "d", "e", "log"]));
        assert_eq!(names(&[outlet.take_chunk(), outlet.take_chunk()].concat()), ["a", "b", "e"]);
        let aggregate = outlet.aggregate.clone();
        committer.stop();
        let slot = SIDECAR_DROPPED + DropReason::ExporterFull.number();
        assert_eq!(aggregate.view().total[slot], 2, "spans c and d");
    }

    proptest! {
        #[test]
        fn pieces_keep_to_their_limits_and_lose_nothing(
            sizes in proptest::collection::vec(0usize..300, 0..60), records in 1usize..9, bytes in 1usize..600,
        ) {
            let text: Vec<String> = sizes.iter().enumerate().map(|(i, size)| format!("{i}-{}", "x".repeat(*size))).collect();
            let batch = batch(&text.iter().map(String::as_str).collect::<Vec<_>>());
            let pieces = cut(&batch, &[RecordKind::Span], Limits { records, bytes });
            prop_assert_eq!(names(&pieces), text);
            for piece in &pieces {
                prop_assert!(piece.len() <= records && (piece.bytes <= bytes || piece.len() == 1));
            }
        }
    }
}
