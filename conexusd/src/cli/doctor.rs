//! `conexusd doctor`: is everything as it should be, and what to do where it is not?

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;
use conexus_config::settings::{LogLevel, Provider};
use conexus_config::{Config, Loaded, Origin, is_loopback};

use super::{CliError, CliResult, Globals, Root, health, render, session};

/// An index of a large repository needs about this much.
const FREE_BYTES_WANTED: u64 = 2_000_000_000;

/// The most that is sampled in production, of traces and of errors.
const SAMPLED_MAX: f64 = 0.1;

/// Keys that hold secrets.
const SECRET_KEYS: [&str; 3] = ["observability.sentry.dsn", "auth.tokens", "embedding.api_key"];

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
    let production = args.production;
    let findings = tokio::task::spawn_blocking(move || {
        let config = &loaded.config;
        let mut findings = vec![Good("configuration: valid".to_owned())];
        findings.extend(loaded.warnings.iter().map(|warning| Doubtful(format!("configuration: {warning}"))));
        findings.extend([root(config), database(config), model(config), sidecar(config)]);
        findings.extend(ports(config));
        if production {
            findings.extend(production_settings(&loaded));
            findings.extend(by_hand());
        }
        findings
    })
    .await
    .map_err(CliError::failure)?;
    let mut text = report(&findings);
    if production {
        text.push_str(&summary(&findings));
    }
    let _ = anstream::stdout().write_all(text.as_bytes());
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

fn summary(findings: &[Finding]) -> String {
    let count = |wanted: fn(&Finding) -> bool| findings.iter().filter(|finding| wanted(finding)).count();
    let (good, doubtful) = (count(|f| matches!(f, Good(_))), count(|f| matches!(f, Doubtful(_))));
    let (bad, by_hand) = (count(|f| matches!(f, Bad(_))), count(|f| matches!(f, ByHand(_))));
    let verdict = if bad == 0 { "passed, but for what is to be checked by hand" } else { "failed" };
    format!("production: {verdict} ({good} ok, {doubtful} warnings, {bad} bad, {by_hand} by hand)\n")
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

/// What a production set-up must have, as far as the configuration tells.
fn production_settings(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let observability = &config.observability;
    let check = |good: bool, yes: &str, no: &str| if good { Good(yes.to_owned()) } else { Bad(no.to_owned()) };
    let sentry = &observability.sentry;
    let mut findings = vec![
        check(observability.metrics.enabled, "metrics: on", "metrics: off. Set observability.metrics.enabled"),
        if is_loopback(&observability.metrics.host) {
            Good("metrics: reachable from this machine only".to_owned())
        } else {
            ByHand("metrics: reachable from other machines; no public network may lead to them".to_owned())
        },
        check(
            is_loopback(&config.server.host) || config.auth.enabled,
            "clients: authenticated, or from this machine only",
            "clients: unauthenticated from other machines. Set auth.enabled and auth.tokens",
        ),
        if observability.tracing.enabled {
            check(
                observability.tracing.sample_rate <= SAMPLED_MAX,
                "tracing: at most one trace in ten, and all errors and slow requests",
                "tracing: more than one trace in ten. Set observability.tracing.sample_rate to 0.1",
            )
        } else {
            Doubtful("tracing: off. Set observability.tracing.enabled, and sample_rate to 0.1".to_owned())
        },
        check(sentry.enabled, "errors: reported", "errors: not reported. Set observability.sentry.enabled and .dsn"),
        check(
            matches!(observability.log_level, LogLevel::Info | LogLevel::Warn),
            "logs: level info or warn",
            "logs: level is neither info nor warn. Set observability.log_level",
        ),
    ];
    if sentry.enabled {
        findings.push(check(
            sentry.sample_rate <= SAMPLED_MAX,
            "errors: at most one in ten; crashes always",
            "errors: more than one in ten. Set observability.sentry.sample_rate to 0.1",
        ));
    }
    findings.extend(SECRET_KEYS.iter().filter_map(|key| secret(key, loaded.origins.get(key)?)));
    findings
}

/// Whether a secret is where others cannot read it; nothing if it is not set.
fn secret(key: &str, origin: &Origin) -> Option<Finding> {
    match origin {
        Origin::Default => None,
        Origin::Env(_) => Some(Good(format!("{key}: from the environment"))),
        Origin::Flag(flag) => {
            Some(Bad(format!("{key}: from {flag}, which the list of processes shows. Set it in the environment")))
        }
        Origin::File { path, .. } => {
            Some(match std::fs::metadata(path).map(|file| file.permissions().mode() & 0o077) {
                Ok(0) => Good(format!("{key}: from {}, which only its owner reads", path.display())),
                Ok(_) => Bad(format!("{key}: from {}, which others may read. chmod 600 it", path.display())),
                Err(error) => Bad(format!("{key}: {}: {error}", path.display())),
            })
        }
    }
}

fn by_hand() -> Vec<Finding> {
    [
        "alert rules are loaded (observability/prometheus/rules)",
        "a test alert has arrived where somebody reads it",
        "dashboards are imported and show data",
        "Prometheus keeps what you need (its default is 15 days)",
        "Grafana's data is backed up",
        "Grafana's first password is changed",
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

    #[test]
    fn a_secret_belongs_where_others_cannot_read_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let origin = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            Origin::File { path: file.path().to_owned(), line: 3 }
        };
        assert!(matches!(secret("auth.tokens", &origin(0o600)), Some(Good(_))));
        let Some(Bad(text)) = secret("auth.tokens", &origin(0o644)) else { panic!("others read it") };
        assert!(text.contains("auth.tokens") && text.contains("chmod 600"), "{text}");
        assert!(matches!(secret("auth.tokens", &Origin::Env("CONEXUS_AUTH_TOKENS".into())), Some(Good(_))));
        assert!(matches!(secret("auth.tokens", &Origin::Flag("--set".into())), Some(Bad(_))));
        assert!(secret("auth.tokens", &Origin::Default).is_none());
    }
}
