//! `conexusd mcp`: MCP over standard input and output, whoever owns the index.

use std::time::Duration;

use clap::Args;
use conexus_config::Config;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use super::session::reach;
use super::{CliError, CliResult, Globals, Root};
use crate::life::Reporting;
use crate::owner::bridge;

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

/// Serves until the client closes standard input, or a signal comes.
pub async fn run(args: McpArgs, globals: &Globals) -> CliResult {
    let config = globals.load_to_serve(&[args.root.flag()])?.config;
    serve(&config).await.map_err(|error| error.logged(config.observability.log_format))
}

async fn serve(config: &Config) -> CliResult {
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
            Ok(reporting.insert(started).telemetry().clone())
        };
        let (stream, app) = reach(config, report).await?;
        if let Some(mut app) = app {
            app.keep_fresh(config.indexer.watch);
            owned.app = Some(app);
        }
        Ok(stream)
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failure)?;
    let ended = tokio::select! {
        ended = bridge::run(tokio::io::stdin(), tokio::io::stdout(), connect) => ended.map_err(CliError::failure),
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
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
