//! A real Alertmanager, from the Debian package, that routes what a Prometheus sends it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::home::Home;
use crate::process::Process;
use crate::{backend, eventually, free_port, get};

/// A running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    port: u16,
    _process: Process,
}

impl Alertmanager {
    /// Starts one with a configuration.
    pub fn start(home: &Home, config: &str) -> Self {
        let folder = home.folder("alertmanager");
        fs::write(folder.join("alertmanager.yml"), config).expect("a temporary folder takes files");
        let port = free_port();
        let mut command = Command::new(backend("prometheus-alertmanager"));
        command
            .arg(format!("--config.file={}", folder.join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .current_dir(&folder);
        let process = Process::start("alertmanager", command);
        eventually("Alertmanager is ready", Duration::from_secs(30), || {
            matches!(get(&format!("http://127.0.0.1:{port}/-/ready")), Ok((200, _))).then_some(())
        });
        Self { port, _process: process }
    }

    /// `host:port` of its API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
