//! Life: telemetry of this process from its start to its end, as configured.

use std::io::Write as _;
use std::time::Duration;

use conexus_config::{Config, LogFormat, LogLevel};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::telemetry::{self, BuildInfo, Level, Telemetry, TelemetryError, TelemetryGuard, TelemetryOptions};

/// What a serving process reports, and to whom.
pub struct Reporting {
    telemetry: Telemetry,
    guard: TelemetryGuard,
}

impl Reporting {
    /// Starts reporting to the sidecar and mirroring log lines to standard error, and takes over `tracing` and panics.
    /// Needs a tokio runtime, which is observed too.
    pub fn start(config: &Config, serving: bool) -> Result<Self, TelemetryError> {
        let (telemetry, guard) = Telemetry::start(options(config, serving))?;
        telemetry.install()?;
        telemetry.observe_runtime(&tokio::runtime::Handle::current());
        Ok(Self { telemetry, guard })
    }

    /// Where everything is reported.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Sends what is left and says goodbye, within `deadline`.
    pub async fn shutdown(self, deadline: Duration) {
        let guard = self.guard;
        // What could not be sent is counted by the sidecar as far as it was told; there is nobody left to tell more.
        let _ = tokio::task::spawn_blocking(move || guard.shutdown(deadline)).await;
    }
}

/// The signals that a serving process heeds: from the moment this is made, none of them kills it.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts to listen. Needs a tokio runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns on SIGINT or SIGTERM; calls `hung_up` on each SIGHUP.
    pub async fn end(mut self, mut hung_up: impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => hung_up(),
            }
        }
    }
}

/// SIGHUP: takes the log level from the configuration as it is now. A configuration with mistakes changes nothing.
pub fn reread_log_level(reload: impl FnOnce() -> Result<Config, String>, telemetry: &Telemetry) {
    match reload() {
        Ok(config) => {
            telemetry.set_log_level(level(config.observability.log_level));
            tracing::info!(log_level = config.observability.log_level.as_str(), "the log level was read again");
        }
        Err(error) => tracing::error!(error, "the configuration has mistakes: the log level stays as it was"),
    }
}

/// Writes a log line for each line of `message` to standard error, before telemetry has started or without it.
pub fn write_lines(log_format: LogFormat, level: Level, message: &str) {
    let line = |message: &str| telemetry::log_line(format(log_format), level, "conexusd", message);
    let lines: String = message.lines().map(|message| line(message) + "\n").collect();
    // A standard error that is closed takes no lines, and there is nobody else to tell.
    let _ = std::io::stderr().write_all(lines.as_bytes());
}

/// Panics become log lines on standard error, until reporting starts and takes them over.
pub fn log_panics(log_format: LogFormat) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        write_lines(log_format, Level::Error, &format!("panicked{place}: {}", message.replace('\n', " ")));
    }));
}

fn options(config: &Config, serving: bool) -> TelemetryOptions {
    let observability = &config.observability;
    let sentry = &observability.sentry;
    TelemetryOptions {
        socket: Some(observability.telemetry.socket.clone()),
        ring_records: observability.telemetry.ring_records,
        unsent_max_bytes: usize::try_from(observability.telemetry.unsent_max_bytes).unwrap_or(usize::MAX),
        // Spans are made for whoever takes them: the exporter of traces, and that of tool calls.
        tracing_enabled: observability.tracing.enabled || (sentry.enabled && sentry.traces_sample_rate > 0.0),
        sample_rate: observability.tracing.sample_rate,
        slow_threshold: observability.tracing.slow_threshold,
        log_level: level(observability.log_level),
        mirror: Some(format(observability.log_format)),
        serving,
        build: BuildInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("CONEXUS_BUILD_COMMIT").unwrap_or_default().to_owned(),
            rustc: option_env!("CONEXUS_BUILD_RUSTC").unwrap_or_default().to_owned(),
        },
    }
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}

fn format(format: LogFormat) -> telemetry::LogFormat {
    match format {
        LogFormat::Json => telemetry::LogFormat::Json,
        LogFormat::Text => telemetry::LogFormat::Text,
    }
}
