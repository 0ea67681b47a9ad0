//! Catalogue: which metrics are there, and what does each mean?
//!
//! The one place that names a metric. Exposition, documentation, dashboards, alerts and tests are made from this table
//! or checked against it. It says where values come from and computes none: that is [`samples`].

pub mod samples;
pub mod markdown;

use conexus_proto::facts::{
    DropReason, EmbeddingError, ErrorType, Family, FileError, Gauge, Label, LabelSet, Method, Provider, RecordKind,
    SearchType, SkipReason, Status, TraceDecision,
};

use self::Kind::{Counter, Gauge as GaugeKind, Histogram, Summary};
use self::Source::*;
use crate::aggregate::tally::{self, EXPORTERS, Reason};

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of durations by bucket, in seconds.
    Histogram,
    /// Quantiles of durations, in seconds.
    Summary,
}

impl Kind {
    /// The type as both formats write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Counter => "counter",
            GaugeKind => "gauge",
            Histogram => "histogram",
            Summary => "summary",
        }
    }
}

/// How a gauge of several cores becomes one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Added up.
    Sum,
    /// The largest.
    Max,
}

/// Where a metric's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Facts of a family; labels that the metric does not have are summed over. A counter of a family of durations
    /// counts them.
    Facts(Family),
    /// Requests started and not finished, of the cores that live.
    InFlight,
    /// A gauge of the cores.
    Core(Gauge, Fold),
    /// Consecutive slots of the tally, one a series.
    Slots(usize),
    /// A slot of the tally in microseconds, shown in seconds.
    Micros(usize),
    /// The cells of one histogram, from a slot on.
    Cells(usize),
    /// Records sent by cores less those refused, by kind.
    Received,
    /// Records dropped by cores, at the ingest and by exporters, by kind and reason.
    Dropped,
    /// What the sidecar knows about itself.
    Own(Own),
    /// A summary that is always 0.
    Nothing,
}

/// What the sidecar knows about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Own {
    Up,
    BuildInfo,
    ExportQueueDepth,
    ExporterUp,
    SpoolBytes,
    Lag,
    ResidentBytes,
    OpenFds,
    StartTime,
    Tasks,
    BusyRatio,
    AllocatedBytes,
    ActiveBytes,
    AllocatorResidentBytes,
}

/// A value of the `process` label, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// `conexusd` or `conexus-sidecar`; empty for a metric without that label.
    pub process: &'static str,
    /// Where the values come from.
    pub source: Source,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name as users see it.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it counts or measures, one sentence without a full stop.
    pub help: &'static str,
    /// Its labels. A set without values is open: its values are found at run time.
    pub labels: &'static [LabelSet],
    /// Its sources; series of all of them together make the metric.
    pub parts: &'static [Part],
}

impl Metric {
    /// Whether its buckets may carry exemplars.
    pub fn has_exemplars(&self) -> bool {
        self.kind == Histogram
            && self.parts.iter().any(|part| matches!(part.source, Facts(Family::RequestFinished | Family::Searched)))
    }

    /// Whether it is a name kept for dashboards written for the Go server.
    pub fn is_go_compat(&self) -> bool {
        self.name.starts_with("go_")
    }

    /// The unit that its name ends with, if it is one that OpenMetrics knows.
    pub fn unit(&self) -> Option<&'static str> {
        let stem = self.family_name();
        ["seconds", "bytes"].into_iter().find(|unit| stem.ends_with(&format!("_{unit}")))
    }

    /// The name of the metric family in OpenMetrics: a counter's without `_total`.
    pub fn family_name(&self) -> &'static str {
        match self.kind {
            Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            _ => self.name,
        }
    }
}

const fn label<L: Label>() -> LabelSet {
    LabelSet { name: L::NAME, values: L::VALUES }
}

/// The core's value of the `process` label.
pub const CONEXUSD: &str = "conexusd";
/// The sidecar's value of the `process` label.
pub const SIDECAR: &str = "conexus-sidecar";

const METHOD: LabelSet = label::<Method>();
const RECORD: LabelSet = label::<RecordKind>();
const PROCESS: LabelSet = LabelSet { name: "process", values: &[CONEXUSD, SIDECAR] };
const EXPORTER: LabelSet = LabelSet { name: "exporter", values: &EXPORTERS };
const REJECTION: LabelSet = LabelSet { name: "reason", values: Reason::VALUES };
const VERSION: LabelSet = LabelSet { name: "version", values: &[] };

/// The metric `name` of the table, from one source.
const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [LabelSet],
    parts: &'static [Part],
    help: &'static str,
) -> Metric {
    Metric { name, kind, help, labels, parts }
}

macro_rules! from {
    ($source:expr) => {
        &[Part { process: "", source: $source }]
    };
    (core $core:expr) => {
        &[Part { process: CONEXUSD, source: $core }]
    };
    (core $core:expr, sidecar $sidecar:expr) => {
        &[Part { process: CONEXUSD, source: $core }, Part { process: SIDECAR, source: $sidecar }]
    };
}

/// Every metric, in the order in which they are shown.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    metric("conexus_mcp_requests_total", Counter, &[METHOD, label::<Status>()], from!(Facts(Family::RequestFinished)),
        "MCP requests answered, by method or tool"),
    metric("conexus_mcp_request_duration_seconds", Histogram, &[METHOD], from!(Facts(Family::RequestFinished)),
        "Time from reading an MCP request to writing its answer"),
    metric("conexus_mcp_errors_total", Counter, &[METHOD, label::<ErrorType>()], from!(Facts(Family::RequestFailed)),
        "MCP requests that failed, by cause"),
    metric("conexus_mcp_requests_in_flight", GaugeKind, &[METHOD], from!(InFlight),
        "MCP requests taken up and not yet answered"),

    metric("conexus_indexer_files_indexed_total", Counter, &[], from!(Facts(Family::FileIndexed)),
        "Files indexed"),
    metric("conexus_indexer_files_failed_total", Counter, &[label::<FileError>()], from!(Facts(Family::FileFailed)),
        "Files that could not be indexed, by cause"),
    metric("conexus_indexer_files_skipped_total", Counter, &[label::<SkipReason>()], from!(Facts(Family::FileSkipped)),
        "Files left out of the index on purpose, by reason"),
    metric("conexus_indexer_chunks_created_total", Counter, &[], from!(Facts(Family::ChunksCreated)),
        "Chunks made from files"),
    metric("conexus_indexer_indexing_duration_seconds", Histogram, &[], from!(Facts(Family::FileIndexed)),
        "Time to read, chunk, embed and store one file"),
    metric("conexus_indexer_queue_depth", GaugeKind, &[], from!(Core(Gauge::QueueDepth, Fold::Sum)),
        "Files discovered and not finished"),

    metric("conexus_embedding_cache_hits_total", Counter, &[], from!(Facts(Family::EmbeddingCacheHit)),
        "Embeddings found in the cache"),
    metric("conexus_embedding_cache_misses_total", Counter, &[], from!(Facts(Family::EmbeddingCacheMiss)),
        "Embeddings that had to be made"),
    metric("conexus_embedding_generation_duration_seconds", Histogram, &[label::<Provider>()],
        from!(Facts(Family::EmbeddingGenerated)), "Time to make a batch of embeddings"),
    metric("conexus_embedding_batch_size", GaugeKind, &[], from!(Core(Gauge::EmbeddingBatchSize, Fold::Max)),
        "Texts in the latest batch of embeddings"),
    metric("conexus_embedding_errors_total", Counter, &[label::<Provider>(), label::<EmbeddingError>()],
        from!(Facts(Family::EmbeddingFailed)), "Batches of embeddings that failed, by cause"),

    metric("conexus_vectorstore_search_duration_seconds", Histogram, &[label::<SearchType>()],
        from!(Facts(Family::Searched)), "Time of one search, by lane"),
    metric("conexus_vectorstore_insert_duration_seconds", Histogram, &[], from!(Facts(Family::Inserted)),
        "Time to write a batch of documents to the store"),
    metric("conexus_vectorstore_documents_total", GaugeKind, &[], from!(Core(Gauge::Documents, Fold::Sum)),
        "Chunks in the index (a gauge; the name is kept from the guide)"),

    metric("conexus_search_cache_hits_total", Counter, &[], from!(Facts(Family::SearchCacheHit)),
        "Searches answered from the result cache"),
    metric("conexus_search_cache_misses_total", Counter, &[], from!(Facts(Family::SearchCacheMiss)),
        "Searches that were not in the result cache"),

    metric("conexus_telemetry_records_received_total", Counter, &[RECORD], from!(Received),
        "Telemetry records that the sidecar took from cores"),
    metric("conexus_telemetry_records_dropped_total", Counter, &[RECORD, label::<DropReason>()], from!(Dropped),
        "Telemetry records dropped, in a core (ring_full, unsent_full, shutdown) or in the sidecar"),
    metric("conexus_telemetry_batches_received_total", Counter, &[], from!(Slots(tally::BATCHES)),
        "Batches taken from cores, repeated ones not counted"),
    metric("conexus_telemetry_batches_rejected_total", Counter, &[REJECTION], from!(Slots(tally::REJECTED)),
        "Batches and messages refused, by reason"),
    metric("conexus_telemetry_export_failures_total", Counter, &[EXPORTER], from!(Slots(tally::EXPORT_FAILURES)),
        "Attempts to export that failed"),
    metric("conexus_telemetry_export_queue_depth", GaugeKind, &[EXPORTER], from!(Own(Own::ExportQueueDepth)),
        "Records that wait to be exported"),
    metric("conexus_telemetry_exporter_up", GaugeKind, &[EXPORTER], from!(Own(Own::ExporterUp)),
        "1 if the exporter is switched on and its last attempt succeeded"),
    metric("conexus_telemetry_spool_bytes", GaugeKind, &[], from!(Own(Own::SpoolBytes)),
        "Size of what waits on disk to be exported"),
    metric("conexus_telemetry_lag_seconds", GaugeKind, &[], from!(Own(Own::Lag)),
        "Age of what is shown here: of the oldest last snapshot among the connected cores"),
    metric("conexus_telemetry_traces_sampled_total", Counter, &[label::<TraceDecision>()],
        from!(Facts(Family::TraceDecided)), "Traces that ended, kept for export or not"),

    metric("conexus_build_info", GaugeKind, &[VERSION, PROCESS], from!(Own(Own::BuildInfo)),
        "Always 1; the versions of the processes are its labels"),
    metric("conexus_up", GaugeKind, &[], from!(Own(Own::Up)),
        "1 if a serving core is connected"),
    metric("conexus_core_restarts_total", Counter, &[], from!(Slots(tally::RESTARTS)),
        "Serving cores that took the place of one that was gone"),
    metric("conexus_core_crashes_total", Counter, &[], from!(Slots(tally::CRASHES)),
        "Serving cores that vanished without a goodbye and were not back within 5 seconds"),

    metric("process_cpu_seconds_total", Counter, &[PROCESS],
        from!(core Micros(tally::CORE_CPU_MICROS), sidecar Micros(tally::SIDECAR_CPU_MICROS)),
        "CPU time used, summed over restarts"),
    metric("process_resident_memory_bytes", GaugeKind, &[PROCESS],
        from!(core Core(Gauge::ProcessResidentBytes, Fold::Sum), sidecar Own(Own::ResidentBytes)),
        "Resident memory"),
    metric("process_open_fds", GaugeKind, &[PROCESS],
        from!(core Core(Gauge::ProcessOpenFds, Fold::Sum), sidecar Own(Own::OpenFds)),
        "Open file descriptors"),
    metric("process_start_time_seconds", GaugeKind, &[PROCESS],
        from!(core Core(Gauge::ProcessStartTimeSeconds, Fold::Max), sidecar Own(Own::StartTime)),
        "Start time since 1970, of the youngest process"),

    metric("conexus_runtime_tasks", GaugeKind, &[PROCESS],
        from!(core Core(Gauge::RuntimeTasks, Fold::Sum), sidecar Own(Own::Tasks)),
        "Alive tasks of the async runtime"),
    metric("conexus_runtime_busy_ratio", GaugeKind, &[PROCESS],
        from!(core Core(Gauge::RuntimeBusyRatio, Fold::Max), sidecar Own(Own::BusyRatio)),
        "Share of the async workers' time spent busy, 0 to 1, of the busiest process"),
    metric("conexus_runtime_scheduling_delay_seconds", Histogram, &[PROCESS],
        from!(core Facts(Family::SchedulingDelay), sidecar Cells(tally::SIDECAR_DELAY)),
        "How late a probe task of the async runtime woke up"),
    metric("conexus_runtime_allocator_allocated_bytes", GaugeKind, &[PROCESS],
        from!(core Core(Gauge::AllocatorAllocatedBytes, Fold::Sum), sidecar Own(Own::AllocatedBytes)),
        "Bytes allocated by the program"),
    metric("conexus_runtime_allocator_active_bytes", GaugeKind, &[PROCESS],
        from!(core Core(Gauge::AllocatorActiveBytes, Fold::Sum), sidecar Own(Own::ActiveBytes)),
        "Bytes in pages that hold allocations"),
    metric("conexus_runtime_allocator_resident_bytes", GaugeKind, &[PROCESS],
        from!(core Core(Gauge::AllocatorResidentBytes, Fold::Sum), sidecar Own(Own::AllocatorResidentBytes)),
        "Bytes of the allocator's resident pages"),

    metric("go_goroutines", GaugeKind, &[], from!(Core(Gauge::RuntimeTasks, Fold::Sum)),
        "Compatibility name, conexusd is not written in Go: alive tasks of its async runtime"),
    metric("go_memstats_alloc_bytes", GaugeKind, &[], from!(Core(Gauge::AllocatorAllocatedBytes, Fold::Sum)),
        "Compatibility name, conexusd is not written in Go: bytes allocated by the program"),
    metric("go_memstats_heap_inuse_bytes", GaugeKind, &[], from!(Core(Gauge::AllocatorActiveBytes, Fold::Sum)),
        "Compatibility name, conexusd is not written in Go: bytes in pages that hold allocations"),
    metric("go_gc_duration_seconds", Summary, &[], from!(Nothing),
        "Compatibility name, conexusd is not written in Go: stays 0 because there is no garbage collector"),
];

/// The metric with a name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests;
