//! `conexusd doctor`: is everything as it should be, and what to do where it is not?

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;
use conexus_config::settings::{LogLevel, Provider};
use conexus_config::{Config, is_loopback};

use super::{CliError, CliResult, Globals, Root, health, render, session};

/// An index of a large repository needs about this much.
const FREE_BYTES_WANTED: u64 = 2_000_000_000;

/// Flags of `conexusd doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    root: Root,
    /// Also check what production needs, and list what has to be checked by hand
    #[arg(long)]
    production: bool,
}

/// What a check found.
enum Finding {
    Good(String),
    /// Works, but not as it should in the long run.
    Doubtful(String),
    Bad(String),
    /// Cannot be seen from here.
    ByHand(String),
}

use Finding::{Bad, ByHand, Doubtful, Good};

/// Checks everything and prints what it found; exit code 1 if something is bad.
pub async fn run(args: DoctorArgs, globals: &Globals) -> CliResult {
    let loaded = globals.load(&[args.root.flag()])?;
    let config = loaded.config;
    let production = args.production;
    let findings = tokio::task::spawn_blocking(move || {
        let mut findings = vec![Good("configuration: valid".to_owned())];
        findings.extend(loaded.warnings.iter().map(|warning| Doubtful(format!("configuration: {warning}"))));
        findings.extend([root(&config), database(&config), model(&config), sidecar(&config)]);
        findings.extend(ports(&config));
        if production {
            findings.extend(production_settings(&config));
            findings.extend(by_hand());
        }
        findings
    })
    .await
    .map_err(CliError::failure)?;
    let _ = anstream::stdout().write_all(report(&findings).as_bytes());
    match findings.iter().any(|finding| matches!(finding, Bad(_))) {
        true => Ok(ExitCode::from(super::FAILURE)),
        false => Ok(ExitCode::SUCCESS),
    }
}

fn report(findings: &[Finding]) -> String {
    const GREEN: Style = AnsiColor::Green.on_default();
    const YELLOW: Style = AnsiColor::Yellow.on_default();
    const RED: Style = AnsiColor::Red.on_default().bold();
    let mut text = String::new();
    for finding in findings {
        let _ = match finding {
            Good(what) => writeln!(text, "{GREEN}ok{GREEN:#}      {what}"),
            Doubtful(what) => writeln!(text, "{YELLOW}warning{YELLOW:#} {what}"),
            Bad(what) => writeln!(text, "{RED}bad{RED:#}     {what}"),
            ByHand(what) => writeln!(text, "by hand {what}"),
        };
    }
    text
}

fn root(config: &Config) -> Finding {
    let path = &config.indexer.root_path;
    match std::fs::read_dir(path) {
        Ok(_) => Good(format!("root: {} can be read", path.display())),
        Err(error) => Bad(format!("root: {}: {error}. Set indexer.root_path or --root to a folder", path.display())),
    }
}

fn database(config: &Config) -> Finding {
    let path = &config.database.path;
    let probe = path.join(".doctor");
    let written = std::fs::create_dir_all(path)
        .and_then(|()| std::fs::write(&probe, b"x"))
        .and_then(|()| std::fs::remove_file(&probe));
    if let Err(error) = written {
        return Bad(format!(
            "index: {} cannot be written: {error}. Set database.path to a folder of yours",
            path.display()
        ));
    }
    match free_bytes(path) {
        Some(free) if free < FREE_BYTES_WANTED => {
            Doubtful(format!("index: only {} free below {}", render::bytes(free), path.display()))
        }
        _ => Good(format!("index: {} can be written", path.display())),
    }
}

fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail * found.f_frsize)
}

fn model(config: &Config) -> Finding {
    let built = session::embedder(config, &crate::telemetry::Telemetry::detached());
    let provider = config.embedding.provider.as_str();
    match built
        .and_then(|embedder| embedder.embed_query("where are sessions expired").map_err(|error| error.to_string()))
    {
        Ok(vector) => Good(format!("embedding: {provider} makes vectors of {} numbers", vector.len())),
        Err(error) if config.embedding.provider == Provider::Openai => {
            Bad(format!("embedding: {error}. Check embedding.base_url, embedding.model and embedding.api_key"))
        }
        Err(error) => Bad(format!("embedding: {error}. Check embedding.model")),
    }
}

fn sidecar(config: &Config) -> Finding {
    let socket = &config.observability.telemetry.socket;
    match UnixStream::connect(socket) {
        Ok(_) => Good(format!("sidecar: listens at {}", socket.display())),
        Err(error) => Doubtful(format!(
            "sidecar: nothing listens at {} ({error}): no metrics. Start `conexus-sidecar run` as the same user",
            socket.display()
        )),
    }
}

fn ports(config: &Config) -> Vec<Finding> {
    let own = [
        ("server.port", health::address(config), config.server.listen_address(), "conexusd"),
        (
            "observability.metrics.port",
            config.observability.metrics.listen_address(),
            config.observability.metrics.listen_address(),
            "conexus-sidecar",
        ),
    ];
    own.into_iter().map(|(key, reach, bind, whose)| port(key, &reach, &bind, whose)).collect()
}

fn port(key: &str, reach: &str, bind: &str, whose: &str) -> Finding {
    if bind.ends_with(":0") {
        return Good(format!("{key}: 0, any free port"));
    }
    let address: Option<SocketAddr> = bind.to_socket_addrs().ok().and_then(|mut found| found.next());
    let Some(address) = address else {
        return Bad(format!("{key}: {bind} is not an address of this machine"));
    };
    match TcpListener::bind(address) {
        Ok(_) => Good(format!("{key}: {bind} is free")),
        Err(_) => match health::get(&format!("http://{reach}/health")) {
            Ok((_, body)) if body.contains("\"version\"") => Good(format!("{key}: {bind} is served by {whose}")),
            _ => Bad(format!("{key}: {bind} is taken by something else. Set {key} to another port")),
        },
    }
}

/// What a production set-up should have, as far as the configuration tells.
fn production_settings(config: &Config) -> Vec<Finding> {
    let observability = &config.observability;
    let check = |good: bool, yes: &str, no: &str| if good { Good(yes.to_owned()) } else { Doubtful(no.to_owned()) };
    let sampled = |rate: f64| rate <= 0.1;
    vec![
        check(observability.metrics.enabled, "metrics: on", "metrics: off. Set observability.metrics.enabled"),
        check(
            is_loopback(&observability.metrics.host),
            "metrics: reachable from this machine only",
            "metrics: reachable from other machines: keep them off public networks",
        ),
        check(
            is_loopback(&config.server.host) || config.auth.enabled,
            "clients: authenticated, or from this machine only",
            "clients: unauthenticated from other machines. Set auth.enabled and auth.tokens",
        ),
        check(
            observability.tracing.enabled && sampled(observability.tracing.sample_rate),
            "tracing: on, at most one trace in ten",
            "tracing: off, or more than one trace in ten. Set observability.tracing.enabled, and sample_rate to 0.1",
        ),
        check(
            observability.sentry.enabled,
            "errors: reported",
            "errors: not reported. Set observability.sentry.enabled and .dsn",
        ),
        check(
            !observability.sentry.enabled || sampled(observability.sentry.sample_rate),
            "errors: at most one in ten, as far as they are reported",
            "errors: more than one in ten. Set observability.sentry.sample_rate to 0.1 where there are many",
        ),
        check(
            matches!(observability.log_level, LogLevel::Info | LogLevel::Warn),
            "logs: level info or warn",
            "logs: level is neither info nor warn. Set observability.log_level",
        ),
    ]
}

fn by_hand() -> Vec<Finding> {
    [
        "alert rules are loaded, and a test alert has arrived",
        "dashboards are imported and show data",
        "Prometheus keeps what you need (its default is 15 days)",
        "Grafana's data is backed up, and its first password changed",
        "probes ask /healthz and /readyz of both processes",
        "memory and CPU limits are set for both processes",
    ]
    .map(|what| ByHand(what.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_something_else_has_is_bad_and_names_its_key() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        // It accepts and never answers; the probe gives up by itself.
        let Bad(text) = port("server.port", &address, &address, "conexusd") else { panic!("taken is bad") };
        assert!(text.contains("server.port") && text.contains(&address), "{text}");
        drop(taken);
        assert!(matches!(port("server.port", &address, &address, "conexusd"), Good(_)));
    }
}
