//! `conexusd mcp`: MCP over standard input and output, whoever owns the index.

use std::cell::{Cell, OnceCell};
use std::time::Duration;

use clap::Args;
use conexus_config::Config;
use tokio::sync::Mutex;

use super::session::reach;
use super::{CliError, CliResult, Globals, Root};
use crate::life::{self, Reporting, Signals};
use crate::owner::bridge;
use crate::telemetry::Telemetry;

/// Within this, all that is under way must end after the client left.
const DRAIN: Duration = Duration::from_millis(1800);

/// Flags of `conexusd mcp`.
#[derive(Debug, Args)]
pub struct McpArgs {
    #[command(flatten)]
    root: Root,
}

/// What this process has while it owns the index.
#[derive(Default)]
struct Owned {
    app: Option<crate::wiring::App>,
    reporting: Option<Reporting>,
}

/// The log level that SIGHUP changes, in a process that reports from when it owns the index.
struct LogLevel<R> {
    reload: R,
    telemetry: OnceCell<Telemetry>,
    /// Whether the configuration may have changed before there was a level to set.
    is_stale: Cell<bool>,
}

impl<R: Fn() -> Result<Config, String>> LogLevel<R> {
    fn new(reload: R) -> Self {
        Self { reload, telemetry: OnceCell::new(), is_stale: Cell::new(false) }
    }

    /// From now on SIGHUP has an effect at once.
    fn starts_with(&self, telemetry: &Telemetry) {
        if self.telemetry.set(telemetry.clone()).is_ok() && self.is_stale.take() {
            self.reread();
        }
    }

    /// SIGHUP. What only passes messages on logs nothing: it rereads the level once it reports.
    fn reread(&self) {
        match self.telemetry.get() {
            Some(telemetry) => life::reread_log_level(&self.reload, telemetry),
            None => self.is_stale.set(true),
        }
    }
}

/// Serves until the client closes standard input, or SIGINT or SIGTERM comes; SIGHUP rereads the log level.
pub async fn run(args: McpArgs, globals: &Globals) -> CliResult {
    let config = globals.load_to_serve(&[args.root.flag()])?.config;
    let level = LogLevel::new(|| globals.reload(&[args.root.flag()]));
    serve(&config, &level).await.map_err(|error| error.logged(config.observability.log_format))
}

async fn serve(config: &Config, level: &LogLevel<impl Fn() -> Result<Config, String>>) -> CliResult {
    let signals = Signals::listen().map_err(CliError::failure)?;
    let owned = Mutex::new(Owned::default());
    let connect = async || {
        let mut owned = owned.lock().await;
        // Of its own index only the connection broke: another one is to be had.
        if let Some(app) = &owned.app {
            return Ok(app.connect());
        }
        // A process reports once: what was started when another one was quicker to the index serves the next time.
        let reporting = &mut owned.reporting;
        let report = || {
            let started = match reporting.take() {
                Some(started) => started,
                None => Reporting::start(config, true).map_err(|error| error.to_string())?,
            };
            let telemetry = reporting.insert(started).telemetry();
            level.starts_with(telemetry);
            Ok(telemetry.clone())
        };
        let (stream, app) = reach(config, report).await?;
        if let Some(mut app) = app {
            app.keep_fresh(config.indexer.watch);
            owned.app = Some(app);
        }
        Ok(stream)
    };
    let ended = tokio::select! {
        ended = bridge::run(tokio::io::stdin(), tokio::io::stdout(), connect) => ended.map_err(CliError::failure),
        () = signals.end(|| level.reread()) => Ok(()),
    };
    let Owned { app, reporting } = owned.into_inner();
    if let Some(app) = app {
        app.close().await;
    }
    if let Some(reporting) = reporting {
        reporting.shutdown(DRAIN).await;
    }
    // Reading standard input cannot be cancelled: the runtime would wait for the client's next line.
    match ended {
        Ok(()) => std::process::exit(0),
        Err(error) => Err(error),
    }
}
