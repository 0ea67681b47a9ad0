//! A process: a child whose standard error is kept line by line and can be waited for.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::eventually;

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a command with nothing on standard input; standard output is discarded, standard error kept.
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("standard error is piped");
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                kept.lock().expect("no reader panics").push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { name: name.to_owned(), child, lines }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything written to standard error so far.
    pub fn log(&self) -> String {
        self.lines.lock().expect("no reader panics").join("\n")
    }

    /// The lines that are JSON objects.
    pub fn json_lines(&self) -> Vec<Value> {
        self.lines.lock().expect("no reader panics").iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a JSON log line that `wanted` accepts; panics with the log when the process ends or time runs out.
    pub fn wait_for_line(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            if let Some(line) = self.json_lines().into_iter().find(&wanted) {
                return line;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended ({status}) before: {what}\n{}", self.name, self.log());
            }
            assert!(start.elapsed() < limit, "{}: not within {limit:?}: {what}\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child has a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{} cannot be signalled: {error}", self.name));
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end; panics with the log after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        let log = Arc::clone(&self.lines);
        let child = &mut self.child;
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(
                start.elapsed() < limit,
                "{name} did not end within {limit:?}\n{}",
                log.lock().expect("no reader panics").join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, then waits: the time it took and how it ended.
    pub fn terminate(&mut self, limit: Duration) -> (Duration, ExitStatus) {
        let start = Instant::now();
        self.signal(Signal::TERM);
        let status = self.wait(limit);
        (start.elapsed(), status)
    }

    /// SIGKILL, then waits.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the log has a line with this text.
    pub fn wait_for_text(&self, text: &str, limit: Duration) {
        eventually(&format!("{} logs {text:?}", self.name), limit, || self.log().contains(text).then_some(()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log());
        }
    }
}
