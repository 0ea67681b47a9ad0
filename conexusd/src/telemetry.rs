//! Telemetry: how the rest of conexusd says what happened, without waiting for anyone.
//!
//! ```text
//! emit(Fact) ──▶ slots (a table a thread) ──────────────┐ summed every 250 ms
//! Trace      ──▶ cells ──▶ ring (one a thread) ──┐       ▼
//! tracing    ──▶ layer ──▶ the same ring         ├──▶ drain ──▶ outbox ──▶ channel ──▶ the sidecar
//! error()    ──▶ a queue of its own ─────────────┘       └────▶ mirror ──▶ stderr
//! ```
//!
//! Measures are exact: slots are never reset, snapshots of them are absolute, and their memory outlives a killed process. Records (spans, log lines, errors) are bounded
//! and may be dropped, and every drop is counted. No metric has a name here: that is the sidecar's catalogue.

mod clock;
mod ids;
mod gauges;
mod sync;
mod count;
mod pool;
mod slots;
mod shared;
mod cell;
mod ring;
mod seat;
mod trace;
mod context;
mod layer;
mod error;
mod stack;
mod panics;
mod crash;
mod encode;
mod line;
mod mirror;
mod storm;
mod drain;
mod process;
mod outbox;
mod channel;
mod life;
mod capture;
mod stepped;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conexus_proto::facts::{Fact, Gauge, RecordKind};
use conexus_proto::scrub::scrubbed;
use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::runtime::{Handle, RuntimeMetrics};

pub use capture::Capture;
pub use cell::{AttributeValue, Level, SpanKind};
pub use channel::{Connect, Connecting, Wire};
pub use clock::Tick;
pub use context::{Context, Entered, Scope};
pub use crash::symbolise as symbolise_crash;
pub use error::{ErrorReport, Frame};
pub use ids::{BadTraceParent, TraceId, TraceParent};
pub use layer::TelemetryLayer;
pub use life::{BuildInfo, ShutdownReport, TelemetryError, TelemetryGuard, TelemetryOptions};
pub use line::LogFormat;
pub use slots::{Accounts, Totals};
pub use stepped::Stepped;
pub use trace::{RootInfo, SPANS_MAX, SpanRef, Trace};

use gauges::Gauges;
use mirror::Mirror;
use outbox::Outbox;
use seat::Seats;
use slots::Tables;
use stack::{Stacks, Work};
use trace::Buffers;

/// Error reports that may wait for the drain.
const ERRORS_MAX: usize = 256;

/// The handle through which everything is reported. Cheap to clone; nothing but [`Telemetry::error`] allocates, and no call waits.
#[derive(Clone, Debug)]
pub struct Telemetry {
    hub: Arc<Hub>,
}

/// What all clones of a handle and its threads share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) seats: Arc<Seats>,
    pub(crate) gauges: Gauges,
    pub(crate) buffers: Buffers,
    pub(crate) errors: (Sender<Box<ErrorReport>>, Receiver<Box<ErrorReport>>),
    /// Gives error reports their stacks; None in a process that reports to nobody.
    pub(crate) stacks: Option<Stacks>,
    /// Whether records go anywhere but stderr.
    pub(crate) records: bool,
    pub(crate) tracing_enabled: bool,
    pub(crate) sample_threshold: u64,
    pub(crate) slow_threshold_nanos: u64,
    pub(crate) mirror: Option<Mirror>,
    pub(crate) outbox: Option<Arc<Outbox>>,
    pub(crate) status: Status,
    log_level: AtomicU8,
    runtime: Mutex<Option<ObservedRuntime>>,
}

/// A tokio runtime for the drain to look at.
#[derive(Debug)]
pub(crate) struct ObservedRuntime {
    pub(crate) metrics: RuntimeMetrics,
    /// The probe task reports how long after each tick it ran.
    pub(crate) probe: tokio::sync::mpsc::Sender<Tick>,
}

impl Telemetry {
    /// A handle whose facts are counted and go nowhere: for one-shot commands and tests. Traces only measure.
    pub fn detached() -> Self {
        Self { hub: Arc::new(Hub::new(&TelemetryOptions::default(), None, Tables::default())) }
    }

    /// A handle whose records can be read back: for tests of what is reported.
    pub fn captured(options: &TelemetryOptions) -> (Self, Capture) {
        let mut hub = Hub::new(options, None, Tables::default());
        (hub.records, hub.tracing_enabled) = (true, options.tracing_enabled);
        let telemetry = Self { hub: Arc::new(hub) };
        (telemetry.clone(), Capture::new(telemetry))
    }

    /// Reports that something happened.
    // Into the caller, who knows which fact it is: the cell's number is then a constant.
    #[inline(always)]
    pub fn emit(&self, fact: Fact) {
        seat::count(&self.hub.seats, fact.addition());
    }

    /// Sets a gauge. What is no finite number is left out.
    pub fn set(&self, gauge: Gauge, value: f64) {
        self.hub.gauges.set(gauge, value);
    }

    /// Adds to a gauge that counts what is there, such as a queue's depth.
    pub fn add(&self, gauge: Gauge, delta: f64) {
        self.hub.gauges.add(gauge, delta);
    }

    /// Starts the trace of one request or one piece of work. A name alone is work of our own.
    pub fn trace(&self, root: impl Into<RootInfo>) -> Trace {
        Trace::start_root(self, root.into())
    }

    /// Reports a failure that somebody should look at. A flood of them is cut, and counted.
    pub fn error(&self, report: ErrorReport) {
        if !self.hub.records {
            return;
        }
        seat::with(&self.hub.seats, |seat| seat.table.emitted(RecordKind::Error, 1));
        let report = Box::new(report);
        let left = match &self.hub.stacks {
            Some(stacks) => stacks.take(report),
            None => Some(report),
        };
        if let Some(report) = left {
            stack::pass_on(&self.hub, report);
        }
    }

    /// Everything counted so far, and the gauges.
    pub fn snapshot(&self) -> Totals {
        self.hub.totals()
    }

    /// Records emitted and dropped so far.
    pub fn accounts(&self) -> Accounts {
        match &self.hub.outbox {
            Some(outbox) => outbox.accounts(),
            None => self.hub.seats.tables.accounts(),
        }
    }

    /// The state of the way to the sidecar, for health endpoints.
    pub fn health(&self) -> TelemetryHealth {
        TelemetryHealth {
            connected: self.hub.status.connected.load(Ordering::Acquire),
            dropped: self.accounts().dropped_total() + self.hub.outbox.as_ref().map_or(0, |o| o.rejected_records()),
            last_error: self.hub.status.last_error().clone(),
        }
    }

    /// The layer that turns `tracing`'s spans and log lines into records.
    pub fn layer(&self) -> TelemetryLayer {
        TelemetryLayer::new(self)
    }

    /// Changes the log level of a running process.
    pub fn set_log_level(&self, level: Level) {
        self.hub.log_level.store(level as u8, Ordering::Release);
        tracing::callsite::rebuild_interest_cache();
    }

    /// The log level.
    pub fn log_level(&self) -> Level {
        self.hub.log_level()
    }

    /// Reports a tokio runtime's tasks, load and scheduling delay from now on. Spawns a probe task on it.
    pub fn observe_runtime(&self, runtime: &Handle) {
        let (probe, mut ticks) = tokio::sync::mpsc::channel::<Tick>(1);
        let telemetry = self.clone();
        runtime.spawn(async move {
            while let Some(sent) = ticks.recv().await {
                telemetry.emit(Fact::SchedulingDelay { nanos: sent.elapsed_nanos() });
            }
        });
        *self.hub.runtime() = Some(ObservedRuntime { metrics: runtime.metrics(), probe });
    }

    /// Writes one log line to stderr in the format of the logs, for what is said before or after `tracing` works.
    /// Without logs on stderr it is text for people.
    pub fn say(&self, level: Level, target: &'static str, message: &str) {
        let format = self.hub.mirror.as_ref().map_or(LogFormat::Text, Mirror::format);
        let text = log_line(format, level, target, message);
        match &self.hub.mirror {
            Some(mirror) => mirror.line(text),
            None => eprintln!("{text}"),
        }
    }
}

/// One log line, without its end, as this process writes them to stderr: for what fails before telemetry has started.
pub fn log_line(format: LogFormat, level: Level, target: &str, message: &str) -> String {
    let mut text = String::new();
    let message = scrubbed(message);
    line::LineWriter::begin(&mut text, format, mirror::unix_nanos_now(), level.as_str(), target, &message).end(None);
    text
}

impl Hub {
    fn new(options: &TelemetryOptions, mirror: Option<Mirror>, tables: Tables) -> Self {
        let records = options.socket.is_some();
        Self {
            seats: Arc::new(Seats::with_tables(options.ring_records.max(64), tables)),
            gauges: Gauges::new(),
            buffers: Buffers::new(),
            errors: bounded(ERRORS_MAX),
            stacks: None,
            records,
            tracing_enabled: records && options.tracing_enabled,
            sample_threshold: ids::sample_threshold(options.sample_rate),
            slow_threshold_nanos: u64::try_from(options.slow_threshold.as_nanos()).unwrap_or(u64::MAX),
            mirror,
            outbox: records.then(|| Arc::new(Outbox::new(options.unsent_max_bytes))),
            status: Status::default(),
            log_level: AtomicU8::new(options.log_level as u8),
            runtime: Mutex::default(),
        }
    }

    /// Before the hub is shared: lets error reports have stacks. What names their frames is to be run on a thread.
    pub(crate) fn with_stacks(mut self) -> (Self, Option<Work>) {
        let (stacks, work) = Stacks::new();
        match self.records {
            true => {
                self.stacks = Some(stacks);
                (self, Some(work))
            }
            false => (self, None),
        }
    }

    pub(crate) fn log_level(&self) -> Level {
        Level::from_number(self.log_level.load(Ordering::Acquire))
    }

    /// Whether log lines go anywhere.
    pub(crate) fn takes_logs(&self) -> bool {
        self.records || self.mirror.is_some()
    }

    pub(crate) fn totals(&self) -> Totals {
        let gauges = Gauge::ALL.iter().map(|gauge| self.gauges.get(*gauge)).collect();
        Totals { cells: self.seats.tables.cells(), gauges }
    }

    fn runtime(&self) -> MutexGuard<'_, Option<ObservedRuntime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A runtime to be observed, if one was named since the last call.
    pub(crate) fn take_runtime(&self) -> Option<ObservedRuntime> {
        self.runtime().take()
    }
}

/// The state of the way to the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryHealth {
    /// A sidecar takes what is sent.
    pub connected: bool,
    /// Records dropped so far, for any reason.
    pub dropped: u64,
    /// Why there is, or was, no connection.
    pub last_error: Option<String>,
}

/// What the channel says about itself.
#[derive(Debug, Default)]
pub(crate) struct Status {
    connected: AtomicBool,
    ever_connected: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl Status {
    /// Returns what it was before.
    pub(crate) fn set_connected(&self, connected: bool) -> bool {
        self.ever_connected.fetch_or(connected, Ordering::AcqRel);
        self.connected.swap(connected, Ordering::AcqRel)
    }

    /// Whether there ever was a connection.
    pub(crate) fn was_connected(&self) -> bool {
        self.ever_connected.load(Ordering::Acquire)
    }

    pub(crate) fn set_error(&self, reason: String) {
        *self.last_error() = Some(reason);
    }

    fn last_error(&self) -> MutexGuard<'_, Option<String>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a guard that is dropped without a shutdown waits for what is unsent.
const DROP_DEADLINE: Duration = Duration::from_millis(500);
