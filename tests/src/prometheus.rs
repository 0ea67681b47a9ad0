//! A real Prometheus, from the Debian package, that scrapes what a test started.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::home::Home;
use crate::process::Process;
use crate::{backend, eventually, free_port, get};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    _process: Process,
}

impl Prometheus {
    /// Starts one that scrapes `targets` (`host:port`) as job `conexus` every half second.
    pub fn start(home: &Home, targets: &[String]) -> Self {
        let mut config = String::from(
            "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\nscrape_configs:\n- job_name: conexus\n  static_configs:\n",
        );
        for target in targets {
            writeln!(config, "  - targets: ['{target}']").expect("a string takes text");
        }
        Self::start_with(home, &config)
    }

    /// Starts one with a configuration of the caller's; paths in it are relative to `prometheus` in the home.
    pub fn start_with(home: &Home, config: &str) -> Self {
        let folder = home.folder("prometheus");
        fs::write(folder.join("prometheus.yml"), config).expect("a temporary folder takes files");
        let port = free_port();
        let mut command = Command::new(backend("prometheus"));
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=exemplar-storage")
            .current_dir(&folder);
        let process = Process::start("prometheus", command);
        eventually("Prometheus is ready", Duration::from_secs(30), || {
            matches!(get(&format!("http://127.0.0.1:{port}/-/ready")), Ok((200, _))).then_some(())
        });
        Self { port, _process: process }
    }

    /// `host:port` of its API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The names of the alerts that fire now.
    pub fn firing(&self) -> Vec<String> {
        let firing = self.query("ALERTS{alertstate=\"firing\"}");
        firing.iter().filter_map(|series| series["metric"]["alertname"].as_str().map(str::to_owned)).collect()
    }

    /// The result vector of an instant query; empty if it has none.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/query?query={}", self.port, percent_encode(expression));
        let (status, body) = get(&url).expect("Prometheus answers");
        assert_eq!(status, 200, "{expression}: {body}");
        let reply: Value = serde_json::from_str(&body).expect("Prometheus answers in JSON");
        reply["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// The value of a query that has one series; `None` if it has none.
    pub fn value(&self, expression: &str) -> Option<f64> {
        let result = self.query(expression);
        result.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Health of the scrape targets: `(address, "up" | "down" | "unknown")`.
    pub fn targets(&self) -> Vec<(String, String)> {
        let (_, body) = get(&format!("http://127.0.0.1:{}/api/v1/targets", self.port)).expect("Prometheus answers");
        let reply: Value = serde_json::from_str(&body).expect("Prometheus answers in JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let active = reply["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        active.iter().map(|target| (text(&target["labels"]["instance"]), text(&target["health"]))).collect()
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986).
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes text");
        }
    }
    encoded
}
