//! The real program in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The program with settings that keep everything below `folder`.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conexus-sidecar"));
    command.env_clear().env("HOME", folder);
    for setting in [
        format!("observability.telemetry.socket={}", socket(folder).display()),
        format!("observability.telemetry.state_dir={}", folder.join("state").display()),
        "observability.metrics.port=0".into(),
    ] {
        command.args(["--set", &setting]);
    }
    command
}

pub(crate) fn socket(folder: &Path) -> PathBuf {
    folder.join("run/telemetry.sock")
}

/// A running sidecar; killed when dropped.
pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
    pub(crate) lines: BufReader<ChildStderr>,
}

impl Program {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::spawn(command(folder))
    }

    /// Starts it so that a write over the limit of a file's size fails rather than kills.
    pub(crate) fn start_with_file_limits(folder: &Path) -> Self {
        let program = command(folder);
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
        shell.env_clear().env("HOME", folder);
        Self::spawn(shell)
    }

    /// Lets files grow no further than `bytes`; `None` lifts the limit.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process has an id");
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(pid), Resource::Fsize, limit).expect("the limit can be set");
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.arg("run").stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let address = loop {
            let mut line = String::new();
            assert!(
                lines.read_line(&mut line).expect("stderr is readable") > 0,
                "the sidecar ended before it was ready"
            );
            let line: serde_json::Value = serde_json::from_str(&line).expect("every line is a JSON object");
            if line["message"] == "sidecar ready" {
                break line["metrics_address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
            }
        };
        Self { address, child, lines }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill is there");
        assert!(status.success());
    }

    /// Waits for the end and says how long it took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        (self.child.wait().expect("it can be waited for"), started.elapsed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a running process has a handler for SIGINT: the caught signals of proc_pid_status(5), the first in the last bit.
pub(crate) fn handles_interrupts(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("it lists the caught signals");
    u64::from_str_radix(caught.trim(), 16).expect("a mask") & 0b10 != 0
}

/// Runs the program to its end.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Output {
    command(folder).args(args).output().expect("the program starts")
}
