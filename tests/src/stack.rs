//! The stack: conexusd and its sidecar, as one user runs them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::home::Home;
use crate::process::Process;
use crate::{eventually, get};

/// How long a start may take on a busy machine.
pub const START: Duration = Duration::from_secs(30);

/// A serving conexusd.
#[derive(Debug)]
pub struct Core {
    /// The process.
    pub process: Process,
    /// `host:port` of MCP and health.
    pub address: String,
}

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    /// The process.
    pub process: Process,
    /// `host:port` of the metrics.
    pub address: String,
}

impl Core {
    /// Starts `conexusd serve` over `root` and waits until it listens.
    pub fn start(home: &Home, root: &Path) -> Self {
        let mut command = home.command("conexusd");
        command.arg("serve").arg("--root").arg(root);
        Self::start_command(command)
    }

    /// Starts a `conexusd serve` command made by the caller.
    pub fn start_command(command: Command) -> Self {
        let mut process = Process::start("conexusd", command);
        let address = address(&mut process, "listening", "address");
        Self { process, address }
    }

    /// `/health`.
    pub fn health(&self) -> Value {
        let (status, body) = get(&format!("http://{}/health", self.address)).expect("conexusd answers");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("health is JSON")
    }

    /// Waits until the index is complete and idle.
    pub fn wait_until_indexed(&self, limit: Duration) {
        eventually("the index is complete", limit, || (self.health()["index"]["phase"] == "idle").then_some(()));
    }
}

impl Sidecar {
    /// Starts `conexus-sidecar run` and waits until it listens.
    pub fn start(home: &Home) -> Self {
        let mut command = home.command("conexus-sidecar");
        command.arg("run");
        Self::start_command(command)
    }

    /// Starts a `conexus-sidecar run` command made by the caller.
    pub fn start_command(command: Command) -> Self {
        let mut process = Process::start("conexus-sidecar", command);
        let address = address(&mut process, "sidecar ready", "metrics_address");
        Self { process, address }
    }

    /// `/metrics` as text.
    pub fn metrics(&self) -> String {
        let (status, body) = get(&format!("http://{}/metrics", self.address)).expect("the sidecar answers");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The sum of all series of a metric whose labels include every given `name="value"`.
    pub fn value(&self, metric: &str, labels: &[&str]) -> Option<f64> {
        sum(&self.metrics(), metric, labels)
    }
}

/// The sum of a metric's series in a text exposition; `None` if it has none with these labels.
pub fn sum(exposition: &str, metric: &str, labels: &[&str]) -> Option<f64> {
    let mut found = None;
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        if name == metric && labels.iter().all(|label| line.contains(label)) {
            let value: f64 = line
                .rsplit(' ')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("no value: {line}"));
            *found.get_or_insert(0.0) += value;
        }
    }
    found
}

/// The address in the log line that says where a process listens.
fn address(process: &mut Process, message: &str, field: &str) -> String {
    let line = process.wait_for_line("it listens", START, |line| line["message"] == message);
    line[field].as_str().expect("the line has an address").to_owned()
}
