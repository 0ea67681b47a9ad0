//! Facts: what the core can report, as numbered cells that both processes know.
//!
//! A fact belongs to a family (its kind). A family has closed label sets, and each combination of label values is a
//! series of one cell (a count) or sixteen (a histogram: the sum in nanoseconds, then one cell a bucket). Cells are
//! numbered from 0 without gaps, so a table of them is a flat array and reporting a fact is an addition at an index.
//!
//! Nothing here names a metric: that is the sidecar's catalogue.

use std::fmt;

/// Upper bounds of the histogram buckets in nanoseconds, inclusive (Prometheus' `le`); a last bucket without bound follows.
pub const BUCKET_BOUNDS_NANOS: [u64; 14] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Buckets of a histogram, the unbounded last one included.
pub const BUCKETS: usize = BUCKET_BOUNDS_NANOS.len() + 1;

/// Cells of one histogram series: the sum in nanoseconds, then the buckets (each its own count, not cumulative).
pub const HISTOGRAM_CELLS: usize = 1 + BUCKETS;

/// The bucket that a duration falls into: the number of bounds below it.
#[inline]
pub const fn bucket_of(nanos: u64) -> usize {
    let mut index = 0;
    let mut i = 0;
    while i < BUCKET_BOUNDS_NANOS.len() {
        index += (nanos > BUCKET_BOUNDS_NANOS[i]) as usize;
        i += 1;
    }
    index
}

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// The label's name as users see it.
    const NAME: &'static str;
    /// Every value in the order of its number.
    const VALUES: &'static [&'static str];
    /// The number of this value, below `VALUES.len()`.
    fn number(self) -> usize;
}

macro_rules! labels {
    ($(#[$doc:meta])* $type:ident = $name:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $type { $(#[doc = concat!("`", $text, "`")] $(#[$vdoc])* $variant),+ }

        impl $type {
            /// Every value, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value's text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value with this text, if there is one.
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl Label for $type {
            const NAME: &'static str = $name;
            const VALUES: &'static [&'static str] = &[$($text),+];
            #[inline]
            fn number(self) -> usize { self as usize }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

labels! {
    /// What a client asked for: an MCP method, or the tool of a `tools/call`. Anything unknown is `other`.
    Method = "method" {
        Initialize = "initialize",
        Discover = "server/discover",
        Ping = "ping",
        ToolsList = "tools/list",
        ContextSearch = "context_search",
        ContextGetRelatedInfo = "context_get_related_info",
        ContextExplain = "context_explain",
        ContextGrep = "context_grep",
        ContextIndexControl = "context_index_control",
        ContextConnectorManagement = "context_connector_management",
        ResourcesList = "resources/list",
        ResourcesTemplatesList = "resources/templates/list",
        ResourcesRead = "resources/read",
        ResourcesSubscribe = "resources/subscribe",
        ResourcesUnsubscribe = "resources/unsubscribe",
        PromptsList = "prompts/list",
        PromptsGet = "prompts/get",
        CompletionComplete = "completion/complete",
        LoggingSetLevel = "logging/setLevel",
        Other = "other",
    }
}

labels! {
    /// How a request ended.
    Status = "status" { Ok = "ok", Error = "error" }
}

labels! {
    /// Why a request failed.
    ErrorType = "error_type" {
        Parse = "parse",
        InvalidRequest = "invalid_request",
        MethodNotFound = "method_not_found",
        InvalidParams = "invalid_params",
        Handler = "handler",
        Tool = "tool",
        Timeout = "timeout",
        Cancelled = "cancelled",
        Auth = "auth",
        RateLimited = "rate_limited",
        Internal = "internal",
    }
}

labels! {
    /// Why a file could not be indexed.
    FileError = "error_type" {
        Io = "io",
        Permission = "permission",
        Parse = "parse",
        Embed = "embed",
        Store = "store",
        Other = "other",
    }
}

labels! {
    /// Why a file was left out of the index on purpose.
    SkipReason = "reason" {
        Ignored = "ignored",
        Binary = "binary",
        Generated = "generated",
        TooLarge = "too_large",
        Symlink = "symlink",
        Unchanged = "unchanged",
        Empty = "empty",
    }
}

labels! {
    /// Who makes the vectors.
    Provider = "provider" { Static = "static", OpenAi = "openai" }
}

labels! {
    /// Why an embedding could not be made.
    EmbeddingError = "error_type" {
        Timeout = "timeout",
        RateLimited = "rate_limited",
        Http = "http",
        Dimension = "dimension",
        Other = "other",
    }
}

labels! {
    /// Which lane of a search was timed.
    SearchType = "search_type" { Vector = "vector", Bm25 = "bm25", Hybrid = "hybrid", Grep = "grep" }
}

labels! {
    /// Whether a finished trace is exported.
    TraceDecision = "decision" { Kept = "kept", Unsampled = "unsampled" }
}

labels! {
    /// What a telemetry record is.
    RecordKind = "kind" { Span = "span", Log = "log", Error = "error" }
}

labels! {
    /// Why a telemetry record was dropped. The last three but one happen in the sidecar.
    DropReason = "reason" {
        RingFull = "ring_full",
        UnsentFull = "unsent_full",
        IngestLimit = "ingest_limit",
        ExporterFull = "exporter_full",
        SpoolFull = "spool_full",
        Shutdown = "shutdown",
    }
}

/// How many cells a series of a family has and what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One cell: a count.
    Count,
    /// [`HISTOGRAM_CELLS`] cells: the sum in nanoseconds, then the buckets.
    Histogram,
}

impl Shape {
    /// Cells of one series.
    pub const fn cells(self) -> usize {
        match self {
            Shape::Count => 1,
            Shape::Histogram => HISTOGRAM_CELLS,
        }
    }
}

/// A label of a family: its name and its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelSet {
    /// The label's name.
    pub name: &'static str,
    /// Its values, in the order of their numbers.
    pub values: &'static [&'static str],
}

const fn set<L: Label>() -> LabelSet {
    LabelSet { name: L::NAME, values: L::VALUES }
}

/// Where a family's cells stand and what they mean.
#[derive(Clone, Copy, Debug)]
pub struct FamilyInfo {
    /// Which family.
    pub family: Family,
    /// A snake_case name, for debugging tools.
    pub name: &'static str,
    /// What a series is.
    pub shape: Shape,
    /// The labels; the last one's number varies fastest.
    pub labels: &'static [LabelSet],
    /// The number of its first cell.
    pub first_cell: usize,
}

impl FamilyInfo {
    /// The number of series: the product of the label sets' sizes.
    pub const fn series(&self) -> usize {
        series_of(self.labels)
    }

    /// The number of the first cell of a series.
    pub const fn cell(&self, series: usize) -> usize {
        self.first_cell + series * self.shape.cells()
    }

    /// The label values of a series, in the order of `labels`.
    pub fn label_values(&self, mut series: usize) -> Vec<&'static str> {
        let mut values = vec![""; self.labels.len()];
        for (i, set) in self.labels.iter().enumerate().rev() {
            values[i] = set.values[series % set.values.len()];
            series /= set.values.len();
        }
        values
    }
}

const fn series_of(labels: &[LabelSet]) -> usize {
    let mut product = 1;
    let mut i = 0;
    while i < labels.len() {
        product *= labels[i].values.len();
        i += 1;
    }
    product
}

macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $shape:ident [$($label:ty),*]),+ $(,)?) => {
        /// The kinds of facts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Family { $($(#[$doc])* $variant),+ }

        const SHAPES: &[(Family, &str, Shape, &[LabelSet])] =
            &[$((Family::$variant, $name, Shape::$shape, &[$(set::<$label>()),*])),+];
    };
}

families! {
    /// A request was taken up.
    RequestStarted = "request_started" Count [Method],
    /// A request was answered; its duration.
    RequestFinished = "request_finished" Histogram [Method, Status],
    /// A request failed, by cause.
    RequestFailed = "request_failed" Count [Method, ErrorType],
    /// A file was indexed; its duration.
    FileIndexed = "file_indexed" Histogram [],
    /// A file could not be indexed.
    FileFailed = "file_failed" Count [FileError],
    /// A file was left out on purpose.
    FileSkipped = "file_skipped" Count [SkipReason],
    /// Chunks were made.
    ChunksCreated = "chunks_created" Count [],
    /// Embeddings were found in the cache.
    EmbeddingCacheHit = "embedding_cache_hit" Count [],
    /// Embeddings had to be made.
    EmbeddingCacheMiss = "embedding_cache_miss" Count [],
    /// A batch of embeddings was made; its duration.
    EmbeddingGenerated = "embedding_generated" Histogram [Provider],
    /// A batch of embeddings failed.
    EmbeddingFailed = "embedding_failed" Count [Provider, EmbeddingError],
    /// A lane of a search finished; its duration.
    Searched = "searched" Histogram [SearchType],
    /// A batch of documents was written; its duration.
    Inserted = "inserted" Histogram [],
    /// A search was answered from the result cache.
    SearchCacheHit = "search_cache_hit" Count [],
    /// A search was not in the result cache.
    SearchCacheMiss = "search_cache_miss" Count [],
    /// A trace ended and was kept or not.
    TraceDecided = "trace_decided" Count [TraceDecision],
    /// How late a probe task woke up.
    SchedulingDelay = "scheduling_delay" Histogram [],
}

/// Every family in the order of its number, with its place among the cells.
pub const FAMILIES: [FamilyInfo; SHAPES.len()] = {
    let mut all =
        [FamilyInfo { family: Family::RequestStarted, name: "", shape: Shape::Count, labels: &[], first_cell: 0 };
            SHAPES.len()];
    let mut next = 0;
    let mut i = 0;
    while i < SHAPES.len() {
        let (family, name, shape, labels) = SHAPES[i];
        all[i] = FamilyInfo { family, name, shape, labels, first_cell: next };
        next += series_of(labels) * shape.cells();
        i += 1;
    }
    all
};

/// The number of cells of all families together.
pub const CELLS: usize = {
    let last = &FAMILIES[FAMILIES.len() - 1];
    last.first_cell + last.series() * last.shape.cells()
};

impl Family {
    /// The family's place, shape and labels.
    #[inline]
    pub const fn info(self) -> &'static FamilyInfo {
        const TABLE: &[FamilyInfo; SHAPES.len()] = &FAMILIES;
        &TABLE[self as usize]
    }
}

/// One thing that happened. Durations are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Fact {
    /// A request was taken up. Balanced by exactly one `RequestFinished`.
    RequestStarted { method: Method },
    /// A request was answered, or ended without an answer.
    RequestFinished { method: Method, status: Status, nanos: u64 },
    /// Why a request ended with an error, beside its `RequestFinished`.
    RequestFailed { method: Method, error: ErrorType },
    /// A file was read, chunked, embedded and stored.
    FileIndexed { nanos: u64 },
    /// A file could not be indexed.
    FileFailed { error: FileError },
    /// A file was left out on purpose.
    FileSkipped { reason: SkipReason },
    /// So many chunks were made.
    ChunksCreated { count: u64 },
    /// So many embeddings came from the cache.
    EmbeddingCacheHit { count: u64 },
    /// So many embeddings were not in the cache.
    EmbeddingCacheMiss { count: u64 },
    /// A batch of embeddings was made.
    EmbeddingGenerated { provider: Provider, nanos: u64 },
    /// A batch of embeddings failed.
    EmbeddingFailed { provider: Provider, error: EmbeddingError },
    /// A lane of a search finished.
    Searched { lane: SearchType, nanos: u64 },
    /// A batch of documents was written to the store.
    Inserted { nanos: u64 },
    /// A search was answered from the result cache.
    SearchCacheHit,
    /// A search was not in the result cache.
    SearchCacheMiss,
    /// A trace ended and was kept or not.
    TraceDecided { decision: TraceDecision },
    /// A probe task woke up so late.
    SchedulingDelay { nanos: u64 },
}

/// What a fact adds to the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addition {
    /// Add `amount` at `cell`.
    Count {
        /// The cell's number.
        cell: usize,
        /// How much to add.
        amount: u64,
    },
    /// Add `nanos` at `cell`, the series' first, and 1 at `bucket`.
    Duration {
        /// The number of the cell of the sum.
        cell: usize,
        /// The number of the cell of the bucket.
        bucket: usize,
        /// How much to add to the sum.
        nanos: u64,
    },
}

impl Addition {
    /// Adds to all cells of one life of a core.
    pub fn add_to(self, cells: &mut [u64]) {
        match self {
            Self::Count { cell, amount } => cells[cell] += amount,
            Self::Duration { cell, bucket, nanos } => {
                cells[cell] += nanos;
                cells[bucket] += 1;
            }
        }
    }
}

impl Fact {
    /// Which cells the fact adds to, and how much.
    #[inline(always)]
    pub fn addition(self) -> Addition {
        use Fact::*;
        match self {
            RequestStarted { method } => count(Family::RequestStarted, method.number(), 1),
            RequestFinished { method, status, nanos } => {
                duration(Family::RequestFinished, method.number() * Status::VALUES.len() + status.number(), nanos)
            }
            RequestFailed { method, error } => {
                count(Family::RequestFailed, method.number() * ErrorType::VALUES.len() + error.number(), 1)
            }
            FileIndexed { nanos } => duration(Family::FileIndexed, 0, nanos),
            FileFailed { error } => count(Family::FileFailed, error.number(), 1),
            FileSkipped { reason } => count(Family::FileSkipped, reason.number(), 1),
            ChunksCreated { count: n } => count(Family::ChunksCreated, 0, n),
            EmbeddingCacheHit { count: n } => count(Family::EmbeddingCacheHit, 0, n),
            EmbeddingCacheMiss { count: n } => count(Family::EmbeddingCacheMiss, 0, n),
            EmbeddingGenerated { provider, nanos } => duration(Family::EmbeddingGenerated, provider.number(), nanos),
            EmbeddingFailed { provider, error } => {
                count(Family::EmbeddingFailed, provider.number() * EmbeddingError::VALUES.len() + error.number(), 1)
            }
            Searched { lane, nanos } => duration(Family::Searched, lane.number(), nanos),
            Inserted { nanos } => duration(Family::Inserted, 0, nanos),
            SearchCacheHit => count(Family::SearchCacheHit, 0, 1),
            SearchCacheMiss => count(Family::SearchCacheMiss, 0, 1),
            TraceDecided { decision } => count(Family::TraceDecided, decision.number(), 1),
            SchedulingDelay { nanos } => duration(Family::SchedulingDelay, 0, nanos),
        }
    }
}

#[inline(always)]
fn count(family: Family, series: usize, amount: u64) -> Addition {
    Addition::Count { cell: family.info().cell(series), amount }
}

#[inline(always)]
fn duration(family: Family, series: usize, nanos: u64) -> Addition {
    let cell = family.info().cell(series);
    Addition::Duration { cell, bucket: cell + 1 + bucket_of(nanos), nanos }
}

macro_rules! gauges {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// Values that the core sets rather than adds to, one a process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Gauge { $($(#[$doc])* $variant),+ }

        impl Gauge {
            /// Every gauge, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// A snake_case name, for debugging tools.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

gauges! {
    /// Files discovered and not finished.
    QueueDepth = "queue_depth",
    /// Texts in the latest batch of embeddings.
    EmbeddingBatchSize = "embedding_batch_size",
    /// Chunks in the index.
    Documents = "documents",
    /// CPU time used by the process, in seconds.
    ProcessCpuSeconds = "process_cpu_seconds",
    /// Resident memory in bytes.
    ProcessResidentBytes = "process_resident_bytes",
    /// Open file descriptors.
    ProcessOpenFds = "process_open_fds",
    /// Start time, in seconds since 1970.
    ProcessStartTimeSeconds = "process_start_time_seconds",
    /// Alive tokio tasks.
    RuntimeTasks = "runtime_tasks",
    /// Share of the workers' time spent busy since the last snapshot, 0 to 1.
    RuntimeBusyRatio = "runtime_busy_ratio",
    /// Bytes allocated by the program.
    AllocatorAllocatedBytes = "allocator_allocated_bytes",
    /// Bytes in pages that hold allocations.
    AllocatorActiveBytes = "allocator_active_bytes",
    /// Bytes of the allocator's resident pages.
    AllocatorResidentBytes = "allocator_resident_bytes",
}

/// A number that changes whenever the meaning of a cell or gauge does (FNV-1a over names, shapes, labels and bounds).
pub const FINGERPRINT: u64 = {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < FAMILIES.len() {
        hash = fnv(hash, FAMILIES[i].name.as_bytes());
        hash = fnv(hash, &[FAMILIES[i].shape as u8]);
        let mut j = 0;
        while j < FAMILIES[i].labels.len() {
            let set = &FAMILIES[i].labels[j];
            hash = fnv(hash, set.name.as_bytes());
            let mut k = 0;
            while k < set.values.len() {
                hash = fnv(hash, set.values[k].as_bytes());
                k += 1;
            }
            j += 1;
        }
        i += 1;
    }
    let mut i = 0;
    while i < Gauge::ALL.len() {
        hash = fnv(hash, Gauge::ALL[i].name().as_bytes());
        i += 1;
    }
    let mut i = 0;
    while i < BUCKET_BOUNDS_NANOS.len() {
        hash = fnv(hash, &BUCKET_BOUNDS_NANOS[i].to_le_bytes());
        i += 1;
    }
    hash
};

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    // A separator, so that "ab","c" and "a","bc" differ.
    (hash ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_numbered_without_gaps_or_overlap() {
        let mut next = 0;
        for info in &FAMILIES {
            assert_eq!(info.first_cell, next, "{}", info.name);
            next += info.series() * info.shape.cells();
        }
        assert_eq!(next, CELLS);
    }

    #[test]
    fn a_duration_equal_to_a_bound_falls_into_its_bucket() {
        for (i, bound) in BUCKET_BOUNDS_NANOS.into_iter().enumerate() {
            assert_eq!(bucket_of(bound), i);
            assert_eq!(bucket_of(bound + 1), i + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn every_label_combination_has_a_series_of_its_own() {
        let info = Family::RequestFailed.info();
        let mut seen = std::collections::HashSet::new();
        for &method in Method::ALL {
            for &error in ErrorType::ALL {
                let Addition::Count { cell, amount } = (Fact::RequestFailed { method, error }).addition() else {
                    panic!("a failure is a count");
                };
                assert_eq!(amount, 1);
                assert!(seen.insert(cell));
                assert_eq!(info.label_values(cell - info.first_cell), [method.as_str(), error.as_str()]);
            }
        }
        assert_eq!(seen.len(), info.series());
    }

    #[test]
    fn families_stand_at_their_own_number() {
        for (i, info) in FAMILIES.iter().enumerate() {
            assert_eq!(info.family as usize, i);
        }
    }
}
