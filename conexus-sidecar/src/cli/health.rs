//! `health`: is the sidecar well? For people and for probes in images without a shell.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use super::Failure;
use crate::config::Options;

/// How long the sidecar may take to answer.
const WITHIN: Duration = Duration::from_secs(2);
/// Bytes of an answer at most.
const ANSWER_MAX: u64 = 1 << 20;

/// Options of `health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask here instead of at the configured port
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Ask whether it is ready rather than how it is
    #[arg(long)]
    ready: bool,
    /// Say nothing, only the exit code
    #[arg(short, long)]
    quiet: bool,
}

/// Asks and prints the answer; exit code 0 for HTTP 200.
pub fn execute(args: &Args, options: &Options) -> Result<ExitCode, Failure> {
    let path = if args.ready { "/readyz" } else { "/health" };
    let address = match &args.address {
        Some(address) => address.clone(),
        None if options.metrics_port == 0 => {
            return Err(Failure::Usage(
                "observability.metrics.port is 0, so the port is known only to the running sidecar: use --address"
                    .into(),
            ));
        }
        None => format!("{}:{}", reachable(&options.metrics_host), options.metrics_port),
    };
    let (status, body) = get(&address, path)
        .map_err(|error| Failure::Sidecar(format!("no sidecar answers at http://{address}{path}: {error}")))?;
    if !args.quiet {
        writeln!(io::stdout(), "{}", body.trim_end())?;
    }
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where to reach what listens on `host`.
fn reachable(host: &str) -> String {
    match host {
        "0.0.0.0" => "127.0.0.1".into(),
        "::" | "[::]" => "[::1]".into(),
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host => host.into(),
    }
}

fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for candidate in addresses {
        match TcpStream::connect_timeout(&candidate, WITHIN) {
            Ok(stream) => return ask(stream, address, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream, host: &str, path: &str) -> io::Result<(u16, String)> {
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "that is no HTTP answer"))?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0"), "127.0.0.1");
        assert_eq!(reachable("::"), "[::1]");
        assert_eq!(reachable("fe80::1"), "[fe80::1]");
        assert_eq!(reachable("localhost"), "localhost");
    }
}
