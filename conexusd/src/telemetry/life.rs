//! Life: how is telemetry started, installed and shut down?

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conexus_proto::{PROTOCOL_VERSION, facts, v1};
use tokio::sync::watch;
use tracing_subscriber::layer::SubscriberExt;

use super::cell::Level;
use super::channel::{BACKOFF, Channel, Way};
use super::drain::Drain;
use super::ids::Random;
use super::line::LogFormat;
use super::mirror::{Mirror, unix_nanos_now};
use super::shared::Shared;
use super::slots::Tables;
use super::{DROP_DEADLINE, Hub, Telemetry, crash, panics};

/// How telemetry works in this process.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// Where the sidecar listens. None for a process that reports to nobody.
    pub socket: Option<PathBuf>,
    /// Cells of 64 bytes in each thread's ring; a span takes one, and one for each attribute.
    pub ring_records: usize,
    /// Bytes of records that may wait for the sidecar.
    pub unsent_max_bytes: usize,
    /// Whether traces are kept at all.
    pub tracing_enabled: bool,
    /// The share of traces to keep, 0 to 1.
    pub sample_rate: f64,
    /// Requests longer than this are kept whatever the sample rate.
    pub slow_threshold: Duration,
    /// Log lines below this level are not recorded.
    pub log_level: Level,
    /// How log lines are mirrored to stderr; None for not at all.
    pub mirror: Option<LogFormat>,
    /// Whether this core serves, so that its unexplained end is a crash.
    pub serving: bool,
    /// What was built.
    pub build: BuildInfo,
}

/// What was built, from what, by what.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct BuildInfo {
    pub version: String,
    pub commit: String,
    pub rustc: String,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            socket: None,
            ring_records: 16_384,
            unsent_max_bytes: 16 << 20,
            tracing_enabled: true,
            sample_rate: 1.0,
            slow_threshold: Duration::from_secs(1),
            log_level: Level::Info,
            mirror: None,
            serving: false,
            build: BuildInfo::default(),
        }
    }
}

/// Why telemetry could not be started or installed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The system gave no thread.
    #[error("cannot start the {thread} thread")]
    Thread {
        /// Which one.
        thread: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Log lines already go elsewhere.
    #[error("another tracing subscriber is already installed")]
    AlreadyInstalled,
}

/// Ends telemetry in order. Dropping it does so too, with half a second for what is unsent.
#[derive(Debug)]
pub struct TelemetryGuard {
    hub: Arc<Hub>,
    stop: Arc<AtomicBool>,
    drain: Option<JoinHandle<()>>,
    channel: Option<ChannelThread>,
}

#[derive(Debug)]
struct ChannelThread {
    deadline: watch::Sender<Option<tokio::time::Instant>>,
    /// Closes when the thread ends.
    done: crossbeam_channel::Receiver<()>,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Every batch was acknowledged, or there is no sidecar to do so by configuration.
    pub acknowledged: bool,
    /// Records that no sidecar has acknowledged and that are lost now.
    pub unsent_records: u64,
}

impl Telemetry {
    /// Starts the drain, the channel (if there is a socket to talk to) and the mirror of the logs.
    pub fn start(options: TelemetryOptions) -> Result<(Self, TelemetryGuard), TelemetryError> {
        Self::start_with_mirror_to(options, std::io::stderr())
    }

    pub(crate) fn start_with_mirror_to(
        options: TelemetryOptions,
        out: impl std::io::Write + Send + 'static,
    ) -> Result<(Self, TelemetryGuard), TelemetryError> {
        let mirror = options.mirror.map(|format| Mirror::start(format, out)).transpose();
        let mirror = mirror.map_err(|source| TelemetryError::Thread { thread: "stderr", source })?;
        let epoch = Random::seeded().nonzero();
        let shared = options.socket.as_ref().map(|socket| Shared::create(socket, epoch, options.serving));
        let hub = Hub::new(&options, mirror.clone(), shared.map(Tables::shared).unwrap_or_default());
        let (hub, naming) = hub.with_stacks();
        let hub = Arc::new(hub);
        if let Some(naming) = naming {
            let hub = Arc::downgrade(&hub);
            spawn("telemetry-stacks", move || naming.run(hub))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let channel = start_channel(&hub, options, epoch)?;
        let drain = Drain { hub: Arc::clone(&hub), outbox: hub.outbox.clone(), mirror, stop: Arc::clone(&stop) };
        let drain = spawn("telemetry-drain", move || drain.run())?;
        let telemetry = Self { hub: Arc::clone(&hub) };
        Ok((telemetry, TelemetryGuard { hub, stop, drain: Some(drain), channel }))
    }

    /// Makes this the place where the whole process's log lines, spans and panics go. Once a process.
    pub fn install(&self) -> Result<(), TelemetryError> {
        let subscriber = tracing_subscriber::registry().with(self.layer());
        tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadyInstalled)?;
        panics::install_hook(self);
        crash::install();
        Ok(())
    }
}

fn start_channel(
    hub: &Arc<Hub>,
    options: TelemetryOptions,
    boot_epoch: u64,
) -> Result<Option<ChannelThread>, TelemetryError> {
    let (Some(socket), Some(outbox)) = (options.socket, hub.outbox.clone()) else { return Ok(None) };
    let hello = hello(&options.build, options.serving, boot_epoch);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| TelemetryError::Thread { thread: "telemetry-channel", source })?;
    let (deadline, deadline_seen) = watch::channel(None);
    let (running, done) = crossbeam_channel::bounded(0);
    let way = Way::Socket(socket);
    let channel = Channel { hub: Arc::clone(hub), outbox, way, hello, backoff: BACKOFF, deadline: deadline_seen };
    spawn("telemetry-channel", move || {
        runtime.block_on(channel.run());
        drop(running);
    })?;
    Ok(Some(ChannelThread { deadline, done }))
}

/// How a core begins.
pub(crate) fn hello(build: &BuildInfo, serving: bool, boot_epoch: u64) -> v1::Hello {
    let BuildInfo { version, commit, rustc } = build.clone();
    v1::Hello {
        boot_epoch,
        protocol_version: PROTOCOL_VERSION,
        facts_fingerprint: facts::FINGERPRINT,
        build: Some(v1::Build { version, commit, rustc }),
        serving,
        pid: std::process::id(),
        started_unix_nanos: unix_nanos_now(),
    }
}

fn spawn(thread: &'static str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, TelemetryError> {
    let spawned = std::thread::Builder::new().name(thread.into()).spawn(body);
    spawned.map_err(|source| TelemetryError::Thread { thread, source })
}

impl TelemetryGuard {
    /// Takes a last snapshot, sends everything, says goodbye and waits for the acknowledgement, all within `deadline`.
    /// What happens after this call is counted and goes nowhere. Blocks; call it outside the async runtime.
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        self.end(deadline)
    }

    fn end(&mut self, deadline: Duration) -> ShutdownReport {
        let until = Instant::now() + deadline;
        if let Some(stacks) = &self.hub.stacks {
            stacks.flush(deadline / 4);
        }
        self.stop.store(true, Ordering::Release);
        if let Some(drain) = self.drain.take() {
            drain.thread().unpark();
            // A drain that panicked has said so through the panic hook.
            let _ = drain.join();
        }
        if let Some(channel) = self.channel.take() {
            // An error means that the channel's thread has ended already.
            let _ = channel.deadline.send(Some(until.into()));
            let _ = channel.done.recv_deadline(until + Duration::from_millis(50));
        }
        if let Some(mirror) = &self.hub.mirror {
            mirror.flush(until.saturating_duration_since(Instant::now()).max(Duration::from_millis(50)));
        }
        crash::dismiss();
        let progress = self.hub.outbox.as_ref().map(|outbox| outbox.progress());
        let acknowledged = progress.is_none_or(|p| p.all_handed && p.unacked_batches == 0);
        // A sidecar that was there and is away may come back for it.
        self.hub.seats.tables.end(!acknowledged && self.hub.status.was_connected());
        ShutdownReport { acknowledged, unsent_records: progress.map_or(0, |p| p.unsent_records as u64) }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if self.drain.is_some() {
            self.end(DROP_DEADLINE);
        }
    }
}
