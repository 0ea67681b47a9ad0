//! The harness: starts both real processes and real backends on temporary folders and free loopback ports, and stops them.
//!
//! ```text
//! home       a user of its own: home, configuration, data, state and run-time folders in one temporary folder
//! process    a child process whose log lines can be waited for
//! stack      conexusd and conexus-sidecar together
//! prometheus a real Prometheus that scrapes them
//! alertmanager a real Alertmanager, and a webhook that it calls
//! bugsink    a real server that speaks Sentry's protocol
//! envelopes  an endpoint that keeps what is sent to Sentry
//! jaeger     traces, and how they are read back; rotel writes down what another collector was sent
//! embeddings an embeddings API on loopback, well behaved or not
//! wire       MCP over HTTP by hand
//! storm      cores under load, killed and restarted, against what the load generator knows
//! cable      a socket between core and sidecar that is cut and late
//! python     scripts run with the test environment's Python (the official MCP SDK is in it)
//! ```
//!
//! Nothing here skips: a missing program is a failure that says how to install it.

pub mod home;
pub mod process;
pub mod stack;
pub mod prometheus;
pub mod alertmanager;
pub mod webhook;
pub mod jaeger;
pub mod rotel;
pub mod embeddings;
pub mod wire;
pub mod python;
pub mod bugsink;
pub mod envelopes;
pub mod storm;
pub mod cable;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace").to_path_buf()
}

/// The folder that this test's binary was built into: `target/release` or `target/debug`.
pub fn build_folder() -> PathBuf {
    let this = std::env::current_exe().expect("a process knows its program");
    // target/<profile>/deps/<test>
    this.ancestors().nth(2).expect("test binaries stand two folders below the profile's").to_path_buf()
}

/// One of the workspace's own programs, built by the same `cargo` run or before it.
pub fn program(name: &str) -> PathBuf {
    let path = build_folder().join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `make test`, or `cargo build --bins` with the same profile",
        path.display()
    );
    path
}

/// A backend from the machine's packages.
pub fn backend(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run `make backends`"))
}

/// Polls until `check` gives a value; panics with `what` after `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A loopback port that was free a moment ago, for programs that cannot be asked which one they took.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// GET over HTTP: status and body, whatever the status.
pub fn get(url: &str) -> anyhow::Result<(u16, String)> {
    get_with(url, &[])
}

/// GET with headers.
pub fn get_with(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<(u16, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into();
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.call()?;
    let status = response.status().as_u16();
    Ok((status, response.body_mut().read_to_string()?))
}
