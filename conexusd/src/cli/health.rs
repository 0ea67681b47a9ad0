//! `conexusd health`: asks a serving conexusd how it is; for probes in images without a shell.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use conexus_config::Config;

use super::{CliError, CliResult, Globals};

/// Flags of `conexusd health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Ask whether it is ready for requests, not only whether it lives
    #[arg(long)]
    ready: bool,
}

/// Prints the health reply; exit code 1 when there is none or it is bad.
pub async fn run(args: HealthArgs, globals: &Globals) -> CliResult {
    let loaded = globals.load(&[])?;
    let url = format!("http://{}{}", address(&loaded.config), if args.ready { "/readyz" } else { "/health" });
    let asked = url.clone();
    let reply = tokio::task::spawn_blocking(move || get(&asked)).await.map_err(CliError::failure)?;
    let (status, body) = reply.map_err(|error| CliError::failure(format!("{url}: {error}")))?;
    let _ = writeln!(anstream::stdout(), "{}", body.trim_end());
    if status != 200 {
        return Err(CliError::failure(format!("{url}: status {status}")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a server with this configuration can be reached from its own machine.
pub fn address(config: &Config) -> String {
    let host = match config.server.host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => "[::1]".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => config.server.host.clone(),
    };
    format!("{host}:{}", config.server.port)
}

/// GET with a short time limit: status and body.
pub fn get(url: &str) -> Result<(u16, String), ureq::Error> {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(3))).build();
    let mut reply = ureq::Agent::from(config).get(url).call()?;
    Ok((reply.status().as_u16(), reply.body_mut().read_to_string()?))
}
