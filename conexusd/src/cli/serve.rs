//! `conexusd serve`: MCP over HTTP, health, and an index that stays fresh.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use conexus_config::Config;
use conexus_profiles::Endpoint;
use tokio_util::sync::CancellationToken;

use super::{CliError, CliResult, Globals, Root};
use crate::life::{self, Reporting, Signals};
use crate::mcp::http::{self, AccessToken, HttpOptions};
use crate::telemetry::Telemetry;
use crate::wiring::App;

/// Within this, all that is under way must end after a signal.
const DRAIN: Duration = Duration::from_millis(1800);

/// Flags of `conexusd serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    root: Root,
}

/// Serves until SIGINT or SIGTERM; SIGHUP rereads the log level.
pub async fn run(args: ServeArgs, globals: &Globals) -> CliResult {
    let config = globals.load_to_serve(&[args.root.flag()])?.config;
    let said = |error: CliError| error.logged(config.observability.log_format);
    let signals = Signals::listen().map_err(|error| said(CliError::failure(error)))?;
    let bound = http::bind(&config.server.host, config.server.port).await;
    let bound = bound.map_err(|error| said(CliError::failure(error)))?;
    let reporting = Reporting::start(&config, true).map_err(|error| said(CliError::failure(error)))?;
    let hung_up = || life::reread_log_level(|| globals.reload(&[args.root.flag()]), reporting.telemetry());
    let ended = match profiles(&config).await {
        Ok(_open) => serve(&config, bound, reporting.telemetry(), signals.end(hung_up)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &ended {
        reporting.telemetry().say(crate::telemetry::Level::Error, "conexusd", &error.message);
    }
    reporting.shutdown(DRAIN).await;
    // It has been said, in the format of the logs.
    ended.map_err(|error| CliError { message: String::new(), ..error })
}

/// Opens the endpoint for profiles, if it is asked for.
async fn profiles(config: &Config) -> Result<Option<Endpoint>, CliError> {
    let debug = &config.observability.debug;
    if !debug.enabled {
        return Ok(None);
    }
    let endpoint = Endpoint::open(debug.port).await.map_err(CliError::failure)?;
    tracing::info!(address = %endpoint.address(), path = "/debug/pprof/", "profiles can be fetched");
    if let Some(reason) = endpoint.without_heap() {
        tracing::warn!(reason, "there are no heap profiles");
    }
    Ok(Some(endpoint))
}

async fn serve(config: &Config, bound: http::Bound, telemetry: &Telemetry, end: impl Future<Output = ()>) -> CliResult {
    let mut app = App::open(config, telemetry).map_err(CliError::failure)?;
    app.listen().map_err(|error| CliError::failure(format!("the control socket cannot be made: {error}")))?;
    app.keep_fresh(config.indexer.watch);
    let options = HttpOptions {
        allowed_hosts: config.server.allowed_hosts_expanded(),
        allowed_origins: config.server.allowed_origins.clone(),
        tokens: config.auth.enabled.then(|| config.auth.tokens.iter().map(access).collect()),
    };
    tracing::info!(endpoint = "mcp", address = %bound.address(), "listening");
    let stop = CancellationToken::new();
    let server = app.server();
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { bound.serve(server, &options, stop).await }
    });
    end.await;
    tracing::info!("stopping");
    stop.cancel();
    let (_, _) = tokio::join!(serving, app.close());
    Ok(ExitCode::SUCCESS)
}

fn access(token: &conexus_config::Token) -> AccessToken {
    AccessToken { name: token.name.clone(), secret: token.token.expose().to_owned() }
}
