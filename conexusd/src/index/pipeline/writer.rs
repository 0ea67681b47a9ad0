//! Writer: the one thread that changes the index. Gathers outcomes, commits, publishes.
//!
//! A commit costs a fixed amount, so a long run commits rarely and a short one at once: the first after half a
//! second, then ever later up to a quarter minute, or when the batch is large.

use std::time::{Duration, Instant};

use conexus_proto::facts::{Fact, Gauge};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Context, Outcome};
use crate::index::IndexError;
use crate::index::lexical::Lexical;
use crate::index::run::Phase;
use crate::index::segment::build::SegmentBuilder;
use crate::index::store::Batch;
use crate::index::store::record::Entry;
use crate::telemetry::{AttributeValue, Tick};

/// A batch of so many bytes is committed at once.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Columns of so many bytes are written at once.
const COLUMNS_BYTES_MAX: usize = 96 << 20;

const FIRST_COMMIT: Duration = Duration::from_millis(500);
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(15);

pub(super) struct Writer<'a> {
    context: &'a Context,
    lexical: &'a mut Lexical,
    batch: Batch,
    builder: SegmentBuilder,
    next_file: u32,
    began: Instant,
    committed: Instant,
    /// Files that the batch settles.
    applied: u64,
    /// There is something to commit.
    dirty: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(context: &'a Context, lexical: &'a mut Lexical) -> Self {
        let now = Instant::now();
        Self {
            batch: Batch { replace: context.anew, ..Batch::default() },
            builder: SegmentBuilder::new(context.core.embedder.dimensions()),
            next_file: context.core.meta().next_file,
            context,
            lexical,
            began: now,
            committed: now,
            applied: 0,
            dirty: false,
        }
    }

    /// Writes until the workers are through or the run is cancelled, then commits what is there.
    pub(super) fn write(mut self, outcomes: &Receiver<Outcome>) -> Result<(), IndexError> {
        let written = self.gather(outcomes);
        if written.is_err() {
            // What tantivy holds belongs to a batch that was not committed.
            self.lexical.discard();
        }
        written
    }

    fn gather(&mut self, outcomes: &Receiver<Outcome>) -> Result<(), IndexError> {
        loop {
            match outcomes.recv_timeout(Duration::from_millis(20)) {
                Ok(outcome) => self.apply(outcome)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.context.is_cancelled() {
                break;
            }
            if self.is_due() {
                self.commit()?;
            }
        }
        if !self.context.is_cancelled() {
            self.context.control.set_phase(Phase::Finishing);
            self.remove_vanished()?;
        }
        self.commit()
    }

    fn apply(&mut self, outcome: Outcome) -> Result<(), IndexError> {
        let context = self.context;
        match outcome {
            Outcome::Indexed { prepared, mut trace, loan } => {
                let mut prepared = *prepared;
                let inserting = Tick::now();
                let id = self.next_file;
                self.next_file = id.checked_add(1).ok_or_else(|| {
                    IndexError::Store("no file numbers are left: remove the index's folder and index again".to_owned())
                })?;
                let documents = std::mem::take(&mut prepared.derived.documents);
                self.lexical.add(id, documents)?;
                self.builder.push(id, &prepared.derived);
                let mut record = prepared.record;
                record.id = id;
                self.batch.add_content(record.content, prepared.row);
                self.batch.files.insert(prepared.path, Some(Entry::Indexed(record)));
                let chunks = prepared.derived.chunks.len() as u64;
                context.control.add_indexed(record.stat.bytes, chunks, prepared.embedded);
                context.core.telemetry.emit(Fact::ChunksCreated { count: chunks });
                let (root, now) = (trace.root(), Tick::now());
                let span = trace.add(root, "vectorstore.insert", inserting, now);
                trace.set(span, "op", AttributeValue::Static("db"));
                trace.measure(root, Fact::FileIndexed { nanos: now.nanos_since(root.start()) });
                trace.finish();
                drop(loan);
            }
            Outcome::Entry(path, entry, reason) => {
                self.batch.files.insert(path, Some(entry));
                context.skip(reason, 1);
            }
            Outcome::Remove(path) => {
                self.batch.files.insert(path, None);
            }
        }
        self.applied += 1;
        self.dirty = true;
        context.core.telemetry.set(Gauge::QueueDepth, context.control.queue_depth() as f64);
        Ok(())
    }

    fn remove_vanished(&mut self) -> Result<(), IndexError> {
        let vanished = self.context.vanished()?;
        self.context.control.add_removed(vanished.len() as u64);
        self.dirty |= !vanished.is_empty();
        for path in vanished {
            self.batch.files.insert(path, None);
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        let interval = (self.began.elapsed() / 4).clamp(FIRST_COMMIT, COMMIT_INTERVAL_MAX);
        self.dirty
            && (self.committed.elapsed() >= interval
                || self.batch.bytes > BATCH_BYTES_MAX
                || self.builder.bytes() > COLUMNS_BYTES_MAX
                || self.builder.is_full())
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        let fresh = Batch { replace: self.context.anew, ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, fresh);
        self.context.core.commit(self.lexical, &batch, &mut self.builder, self.next_file)?;
        self.context.settle(std::mem::take(&mut self.applied));
        self.committed = Instant::now();
        Ok(())
    }
}
