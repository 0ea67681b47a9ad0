//! Export: who gets what the sidecar has taken in?
//!
//! ```text
//! records ─▶ outlet (a bounded queue each) ─▶ worker (chunks, retries, circuit) ─▶ destination
//!                                               │ ▲ what failed, until it works again
//!                                               ▼ │
//!                                              spool (one bounded file)
//! ```
//!
//! Measures are read from the aggregate when somebody asks: [`prometheus`]. Records are offered to every exporter as
//! they come; an exporter never makes the others or the ingest wait, and counts what it refuses.

pub mod prometheus;
pub mod outlet;
pub mod backoff;
pub mod spool;
pub mod worker;
pub mod exporters;
pub mod logs;
pub mod sentry;
pub mod otlp;

use std::sync::Arc;

use conexus_proto::v1::{self, record};
use prost::Message;

use crate::aggregate::tally::{EXPORTERS, KINDS};

/// The number of the exporter of traces in [`EXPORTERS`].
pub const OTLP: usize = 0;
/// The number of the exporter of log files in [`EXPORTERS`].
pub const LOG: usize = 1;
/// The number of the exporter of error reports in [`EXPORTERS`].
pub const SENTRY: usize = 2;

/// Records of one batch and the core they came from.
#[derive(Debug)]
pub struct RecordBatch {
    /// The core.
    pub epoch: u64,
    /// What it sent.
    pub records: Vec<v1::Record>,
    // The encoded size of each record, for the bounds of queues.
    sizes: Vec<u32>,
}

impl RecordBatch {
    /// Records that a core sent.
    pub fn new(epoch: u64, records: Vec<v1::Record>) -> Self {
        let sizes = records.iter().map(|record| u32::try_from(record.encoded_len()).unwrap_or(u32::MAX)).collect();
        Self { epoch, records, sizes }
    }

    /// The encoded size of a record, in bytes.
    pub fn size(&self, at: usize) -> usize {
        self.sizes[at] as usize
    }
}

/// The kind of a record as `facts::RecordKind` numbers it; `None` if it has no content.
pub fn kind_of(record: &v1::Record) -> Option<usize> {
    Some(match record.record.as_ref()? {
        record::Record::Span(_) => 0,
        record::Record::Log(_) => 1,
        record::Record::Error(_) => 2,
    })
}

/// Something that takes records: an exporter, or the live view.
pub trait RecordSink: std::fmt::Debug + Send + Sync {
    /// Takes a batch or drops it; never waits.
    fn offer(&self, batch: &Arc<RecordBatch>);

    /// Hears what happened to a core.
    fn life(&self, _epoch: u64, _life: &Life) {}
}

/// What happens to a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It connected, for the first time or again.
    Connected(CoreStart),
    /// It said goodbye.
    Ended,
    /// It vanished and did not come back. The record of its crash came before.
    Crashed {
        /// Batches of it were taken before, perhaps by an earlier life of the sidecar.
        known: bool,
    },
}

/// What a core said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreStart {
    /// Its version.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The compiler that built it.
    pub rustc: String,
    /// Its process id, in its own PID namespace.
    pub pid: u32,
    /// Its loss is a crash.
    pub serving: bool,
    /// When it started.
    pub started_unix_nanos: i64,
    /// Batches of it were taken before, perhaps by an earlier life of the sidecar.
    pub known: bool,
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
        let batch = Arc::new(RecordBatch::new(epoch, records));
        for sink in self.0.iter() {
            sink.offer(&batch);
        }
    }

    /// Tells everyone what happened to a core.
    pub fn tell(&self, epoch: u64, life: &Life) {
        self.0.iter().for_each(|sink| sink.life(epoch, life));
    }
}

/// The state of an exporter of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExporterState {
    /// It is switched on.
    pub enabled: bool,
    /// Its last attempt succeeded.
    pub up: bool,
    /// Records in its queue, and those that are just being sent.
    pub queued: u64,
    /// Bytes of what waits in the spool.
    pub spooled_bytes: u64,
    /// Why its last attempt failed.
    pub last_error: Option<String>,
}

/// The exporters' states, in the order of [`EXPORTERS`].
pub type ExporterStates = [ExporterState; EXPORTERS.len()];

/// Numbers of records by kind.
pub type Counts = [u64; KINDS];

// The numbers above are places in the table.
const _: () = assert!(EXPORTERS.len() == 3 && OTLP == 0 && LOG == 1 && SENTRY == 2);
