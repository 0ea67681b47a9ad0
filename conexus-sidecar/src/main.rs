//! The life cycle of `conexus-sidecar`: configuration, start, what was bound, run, drain.

use std::process::ExitCode;

use clap::Parser;
use conexus_config::LogLevel;
use conexus_profiles::{Endpoint, ProfileError};
use conexus_sidecar::cli::{self, Cli, Command};
use conexus_sidecar::config::{self, ConfigError, Options, Settings};
use conexus_sidecar::log::{Levels, Log};
use conexus_sidecar::pipeline::{self, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Lets heap profiles be switched on while the program runs; jemalloc looks for this name.
// SAFETY: nothing else in the program has this name, and jemalloc reads it as a pointer to a C string, which it is.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; conexus_profiles::MALLOC_CONF.len()] = conexus_profiles::MALLOC_CONF;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::usage_error(&error),
    };
    match cli.command {
        Command::Run => run(&cli.settings),
        command => cli::execute(command, &cli.settings),
    }
}

fn run(settings: &Settings) -> ExitCode {
    let options = match config::load(settings) {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    let log = Log::start(options.log_format, options.log_level);
    log_panics();
    for warning in &options.warnings {
        tracing::warn!("{warning}");
    }
    // Two workers: one may compress an answer while the other takes batches in.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(serve(&options, settings, &log));
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            tracing::error!(%error, "cannot start the async runtime");
            ExitCode::FAILURE
        }
    };
    drop(log);
    code
}

async fn serve(options: &Options, settings: &Settings, log: &Log) -> ExitCode {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(hangup)) = signals else {
        tracing::error!("cannot listen for signals");
        return ExitCode::FAILURE;
    };
    // First of all: what fails here has nothing to stop.
    let _profiles = match profiles(options).await {
        Ok(open) => open,
        Err(error) => {
            tracing::error!("cannot start: {error}; the sidecar's port is the configured one plus 1");
            return ExitCode::FAILURE;
        }
    };
    let sidecar = match pipeline::start(options).await {
        Ok(sidecar) => sidecar,
        Err(error) => return cannot_start(&error),
    };
    tracing::info!(
        metrics_address = %sidecar.metrics_address,
        metrics_path = options.metrics_path,
        metrics_enabled = options.metrics_enabled,
        socket = %sidecar.socket.display(),
        state_dir = %options.state_dir.display(),
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "sidecar ready"
    );
    let reload = tokio::spawn(reload(hangup, settings.clone(), [log.levels(), sidecar.levels.clone()]));
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping");
    reload.abort();
    tokio::select! {
        () = sidecar.stop() => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        _ = interrupt.recv() => ExitCode::from(cli::INTERRUPTED),
        _ = terminate.recv() => ExitCode::from(cli::INTERRUPTED),
    }
}

/// Opens the endpoint for profiles, if it is asked for.
async fn profiles(options: &Options) -> Result<Option<Endpoint>, ProfileError> {
    let Some(port) = options.debug_port else { return Ok(None) };
    let endpoint = Endpoint::open(port).await?;
    tracing::info!(address = %endpoint.address(), path = "/debug/pprof/", "profiles can be fetched");
    if let Some(reason) = endpoint.without_heap() {
        tracing::warn!(reason, "there are no heap profiles");
    }
    Ok(Some(endpoint))
}

/// SIGHUP rereads the log level; everything else needs a restart.
async fn reload(mut hangup: Signal, settings: Settings, levels: [Levels; 2]) {
    while hangup.recv().await.is_some() {
        match config::load(&settings) {
            Ok(options) => {
                levels.iter().for_each(|levels| levels.set(options.log_level));
                tracing::info!(log_level = options.log_level.as_str(), "SIGHUP: the log level was read again");
            }
            Err(error) => tracing::error!(%error, "SIGHUP: the configuration is not valid, nothing changed"),
        }
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    let log = Log::start(error.log_format(), LogLevel::Error);
    for line in error.to_string().lines() {
        tracing::error!("{line}");
    }
    drop(log);
    ExitCode::from(cli::USAGE)
}

fn cannot_start(error: &StartError) -> ExitCode {
    tracing::error!("cannot start: {}", conexus_sidecar::aggregate::chain(error));
    ExitCode::FAILURE
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("panic without a message");
        tracing::error!(place, "panic: {message}");
    }));
}
