//! Health: how is the sidecar, and what does it see?
//!
//! Reports the cores and does not depend on them: a sidecar without a core is healthy.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::aggregate::tally::{CRASHES, EXPORTERS, RESTARTS};
use crate::aggregate::{Aggregate, View};
use crate::export::ExporterStates;

/// What the health endpoints answer.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `ok`, `degraded` (something of its own fails) or `stopping`.
    pub status: &'static str,
    /// The sidecar's version.
    pub version: &'static str,
    /// How long it has been running.
    pub uptime_seconds: f64,
    /// Whether measures can be written down.
    pub storage: Storage,
    /// All cores in one word.
    pub core: Core,
    /// Each core that has not ended.
    pub cores: Vec<CoreReport>,
    /// Each exporter.
    pub exporters: Vec<ExporterReport>,
}

/// Whether measures can be written down.
#[derive(Clone, Debug, Serialize)]
pub struct Storage {
    /// They can.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All cores in one word.
#[derive(Clone, Debug, Serialize)]
pub struct Core {
    /// A serving core is connected.
    pub connected: bool,
    /// How often one took another's place.
    pub restarts: u64,
    /// How often one vanished.
    pub crashes: u64,
}

/// One core.
#[derive(Clone, Debug, Serialize)]
pub struct CoreReport {
    /// Its boot epoch, in hexadecimal.
    pub boot_epoch: String,
    /// Its version, once it has said it to this sidecar.
    pub version: Option<String>,
    /// Its process id.
    pub pid: Option<u32>,
    /// Its loss is a crash.
    pub serving: bool,
    /// `connected`, `away` or `crashed`.
    pub state: &'static str,
    /// The last batch taken.
    pub last_sequence: u64,
    /// How old its last snapshot is.
    pub snapshot_age_seconds: Option<f64>,
}

/// One exporter.
#[derive(Clone, Debug, Serialize)]
pub struct ExporterReport {
    /// Its name.
    pub name: &'static str,
    /// It is switched on.
    pub enabled: bool,
    /// Its last attempt succeeded.
    pub up: bool,
    /// Records in its queue.
    pub queued: u64,
    /// Bytes of what waits on disk.
    pub spooled_bytes: u64,
    /// Why its last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Makes reports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    aggregate: Aggregate,
    started: Instant,
}

impl Health {
    /// Reports about `aggregate`, from now on.
    pub fn new(aggregate: Aggregate) -> Self {
        Self { aggregate, started: Instant::now() }
    }

    /// How long the sidecar has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The report now.
    pub fn report(&self, exporters: &ExporterStates, stopping: bool) -> Report {
        let view = self.aggregate.view();
        let failing =
            view.error.is_some() || exporters.iter().any(|exporter| exporter.enabled && exporter.last_error.is_some());
        let status = match (stopping, failing) {
            (true, _) => "stopping",
            (_, true) => "degraded",
            _ => "ok",
        };
        Report {
            status,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.uptime().as_secs_f64(),
            storage: Storage { ok: view.error.is_none(), error: view.error.clone() },
            core: Core { connected: view.is_up(), restarts: view.total[RESTARTS], crashes: view.total[CRASHES] },
            cores: cores(&view),
            exporters: exporter_reports(exporters),
        }
    }
}

fn cores(view: &View) -> Vec<CoreReport> {
    view.cores
        .iter()
        .map(|core| CoreReport {
            boot_epoch: format!("{:016x}", core.epoch),
            version: core.info.as_ref().map(|info| info.version.clone()),
            pid: core.info.as_ref().map(|info| info.pid),
            serving: core.serving,
            state: match (core.connected, core.crashed) {
                (true, _) => "connected",
                (false, true) => "crashed",
                (false, false) => "away",
            },
            last_sequence: core.last_sequence,
            snapshot_age_seconds: core.snapshot_unix_nanos.map(age_seconds),
        })
        .collect()
}

/// How long ago a time of another clock was, never less than 0.
pub fn age_seconds(unix_nanos: i64) -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
    now.saturating_sub(unix_nanos).max(0) as f64 / 1e9
}

fn exporter_reports(exporters: &ExporterStates) -> Vec<ExporterReport> {
    EXPORTERS
        .iter()
        .zip(exporters)
        .map(|(name, state)| ExporterReport {
            name,
            enabled: state.enabled,
            up: state.up,
            queued: state.queued,
            spooled_bytes: state.spooled_bytes,
            last_error: state.last_error.clone(),
        })
        .collect()
}
