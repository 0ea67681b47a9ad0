//! Export: who gets what the sidecar has taken in?
//!
//! Measures are read from the aggregate when somebody asks: [`prometheus`]. Records are offered to every exporter as
//! they come; an exporter has a bounded queue of its own, never makes the others or the ingest wait, and counts what
//! it refuses.

pub mod prometheus;

use std::sync::Arc;

use conexus_proto::v1;

use crate::aggregate::tally::EXPORTERS;

/// Records of one batch and the core they came from.
#[derive(Debug)]
pub struct RecordBatch {
    /// The core.
    pub epoch: u64,
    /// What it sent.
    pub records: Vec<v1::Record>,
}

/// Something that takes records: an exporter, or the live view.
pub trait RecordSink: std::fmt::Debug + Send + Sync {
    /// Takes a batch or drops it; never waits.
    fn offer(&self, batch: &Arc<RecordBatch>);
}

/// The way of the records to all that take them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Records(Arc<[Arc<dyn RecordSink>]>);

impl Records {
    /// Passes records on to `sinks`.
    pub fn new(sinks: Vec<Arc<dyn RecordSink>>) -> Self {
        Self(sinks.into())
    }

    /// Offers a batch's records to everyone.
    pub fn pass_on(&self, epoch: u64, records: Vec<v1::Record>) {
        if records.is_empty() || self.0.is_empty() {
            return;
        }
        let batch = Arc::new(RecordBatch { epoch, records });
        for sink in self.0.iter() {
            sink.offer(&batch);
        }
    }
}

/// The state of an exporter of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExporterState {
    /// It is switched on.
    pub enabled: bool,
    /// Its last attempt succeeded.
    pub up: bool,
    /// Records in its queue.
    pub queued: u64,
    /// Why its last attempt failed.
    pub last_error: Option<String>,
}

/// The exporters' states, in the order of [`EXPORTERS`].
pub type ExporterStates = [ExporterState; EXPORTERS.len()];
