//! A process: a child whose standard error is kept line by line and can be waited for.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
                lock(&kept).push(String::from_utf8_lossy(&line).into_owned());
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
        lock(&self.lines).join("\n")
    }

    /// The lines that are JSON objects.
    pub fn json_lines(&self) -> Vec<Value> {
        lock(&self.lines).iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
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
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < limit, "{} did not end within {limit:?}\n{}", self.name, self.log());
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

/// The lines, also after a reader panicked: a destructor that panics because another panic came first ends the whole run.
fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that Ctrl-C ends also where this test's own does not heed it, as that of a background job: what is ignored is
/// inherited, and a shell could not even trap it.
pub fn interruptible(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn sleeper() -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "echo its last words >&2; exec sleep 60"]);
        let process = Process::start("sh", command);
        process.wait_for_text("its last words", SOON);
        process
    }

    #[test]
    fn a_process_that_does_not_end_fails_its_own_test_only_and_shows_its_log() {
        let failed = std::thread::spawn(|| sleeper().wait(Duration::from_millis(20))).join().unwrap_err();
        let text = failed.downcast_ref::<String>().expect("a message");
        assert!(text.contains("sh did not end") && text.contains("its last words"), "{text}");
    }

    #[test]
    fn a_panic_with_the_log_in_hand_fails_its_own_test_only() {
        let failed = std::thread::spawn(|| {
            let process = sleeper();
            let _lines = lock(&process.lines);
            panic!("over");
        });
        assert!(failed.join().is_err());
    }
}
