//! A rotel: an OTLP collector by others (PyPI), which writes down everything it gets.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::home::Home;
use crate::process::Process;
use crate::{eventually, free_port, python};

/// A running one.
#[derive(Debug)]
pub struct Rotel {
    _process: Process,
    log: PathBuf,
    /// `host:port` of OTLP over HTTP.
    pub http: String,
    /// `host:port` of OTLP over gRPC.
    pub grpc: String,
}

impl Rotel {
    /// Starts one and waits until it listens.
    pub fn start(home: &Home) -> Self {
        let folder = home.folder("rotel");
        let log = folder.join("rotel.log");
        let (http, grpc) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        // It writes to standard output.
        let mut command = Command::new("sh");
        command
            .args(["-c", "log=$1; shift; exec \"$@\" >\"$log\" 2>&1", "sh"])
            .arg(&log)
            .arg(python::package_file("rotel", "rotel-agent"))
            .args(["start", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-http-endpoint", &http, "--otlp-grpc-endpoint", &grpc])
            .arg("--pid-file")
            .arg(folder.join("rotel.pid"))
            .current_dir(&folder);
        let process = Process::start("rotel", command);
        eventually("rotel listens", Duration::from_secs(20), || {
            let open = |address: &String| std::net::TcpStream::connect(address).is_ok();
            (open(&http) && open(&grpc)).then_some(())
        });
        Self { _process: process, log, http, grpc }
    }

    /// What it has written down so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
