//! Capture: what was reported? For tests of the parts that report.

use std::fmt;
use std::sync::Mutex;

use conexus_proto::v1;
use prost::Message;

use super::Telemetry;
use super::drain::Collector;
use super::encode::Frames;

/// Reads back the records of a handle made by [`Telemetry::captured`].
pub struct Capture {
    telemetry: Telemetry,
    collector: Mutex<Collector>,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("telemetry", &self.telemetry).finish_non_exhaustive()
    }
}

impl Capture {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, collector: Mutex::default() }
    }

    /// The records since the last call.
    pub fn records(&self) -> Vec<v1::record::Record> {
        let mut frames = Frames::default();
        let mut collector = self.collector.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        collector.collect(&self.telemetry.hub, &mut frames, None, |_, _| {});
        let batch = v1::Batch::decode(&*frames.bytes).expect("frames are the records of a batch");
        batch.records.into_iter().filter_map(|record| record.record).collect()
    }

    /// The spans among the records since the last call; the others are lost.
    pub fn spans(&self) -> Vec<v1::Span> {
        let span = |record| if let v1::record::Record::Span(span) = record { Some(span) } else { None };
        self.records().into_iter().filter_map(span).collect()
    }
}
