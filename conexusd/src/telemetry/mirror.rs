//! Mirror: how do log lines reach stderr when nobody may wait for stderr?
//!
//! Lines go through a bounded queue to a thread that does nothing but write. A full pipe stops that thread alone; lines that
//! then find the queue full are dropped and counted, and when there is room again a line says how many.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::cell::{Level, ValueRef};
use super::line::{LineWriter, LogFormat};

/// Lines that may wait for stderr.
const LINES_MAX: usize = 1_024;

/// The way to stderr. Cheap to clone; never waits unless asked to.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    format: LogFormat,
    lines: Sender<Item>,
    dropped: Arc<AtomicU64>,
    writer: Arc<OnceLock<ThreadId>>,
}

enum Item {
    Line(String),
    /// Everything before this was written: say so.
    Flush(Sender<()>),
}

impl Mirror {
    /// Starts the thread that writes to `out`.
    pub(crate) fn start(format: LogFormat, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (lines, queue) = bounded(LINES_MAX);
        let (dropped, writer) = (Arc::new(AtomicU64::new(0)), Arc::new(OnceLock::new()));
        let mirror = Self { format, lines, dropped: Arc::clone(&dropped), writer: Arc::clone(&writer) };
        let body = move || {
            // Only this thread sets it, once.
            let _ = writer.set(std::thread::current().id());
            write_lines(format, &queue, &dropped, out);
        };
        std::thread::Builder::new().name("telemetry-stderr".into()).spawn(body)?;
        Ok(mirror)
    }

    pub(crate) fn format(&self) -> LogFormat {
        self.format
    }

    /// Hands over one line, without its end.
    pub(crate) fn line(&self, line: String) {
        if self.lines.try_send(Item::Line(line)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Hands over a last line and waits until it is written or the time is up. Returns whether it is.
    pub(crate) fn line_and_flush(&self, line: String, timeout: Duration) -> bool {
        if self.writer.get() == Some(&std::thread::current().id()) {
            return false;
        }
        self.lines.send_timeout(Item::Line(line), timeout).is_ok() && self.flush(timeout)
    }

    /// Waits until all lines handed over before are written, or the time is up. Returns whether they are.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        if self.writer.get() == Some(&std::thread::current().id()) {
            return false;
        }
        let deadline = std::time::Instant::now() + timeout;
        let (done, written) = bounded(1);
        self.lines.send_deadline(Item::Flush(done), deadline).is_ok() && written.recv_deadline(deadline).is_ok()
    }
}

fn write_lines(format: LogFormat, queue: &Receiver<Item>, dropped: &AtomicU64, mut out: impl Write) {
    while let Ok(item) = queue.recv() {
        // A stderr that is closed or broken takes no lines; there is nobody left to tell.
        let _ = match item {
            Item::Line(mut line) => {
                line.push('\n');
                out.write_all(line.as_bytes())
            }
            Item::Flush(done) => {
                let flushed = out.flush();
                let _ = done.try_send(());
                flushed
            }
        };
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            let message = "stderr was full and log lines were dropped";
            let mut line = String::new();
            let mut writer = LineWriter::begin(
                &mut line,
                format,
                unix_nanos_now(),
                Level::Warn.as_str(),
                "conexusd::telemetry",
                message,
            );
            writer.field("dropped", ValueRef::Integer(lost as i64));
            writer.end(None);
            line.push('\n');
            let _ = out.write_all(line.as_bytes());
        }
    }
}

pub(crate) fn unix_nanos_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use super::*;

    #[test]
    fn a_full_pipe_stalls_nothing_and_what_was_dropped_is_said() {
        let (mut read, write) = pipe().unwrap();
        let mirror = Mirror::start(LogFormat::Json, write).unwrap();
        let started = std::time::Instant::now();
        let filler = "x".repeat(1_000);
        // A pipe holds 64 KiB, the queue 1,024 lines: 3,000 lines of 1 kB fit into neither.
        (0..3_000).for_each(|_| mirror.line(format!("{{\"message\":\"{filler}\"}}")));
        assert!(!mirror.flush(Duration::from_millis(10)));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).map(|_| text)
        });
        assert!(mirror.flush(Duration::from_secs(10)));
        mirror.line("{\"message\":\"last\"}".into());
        drop(mirror);
        let text = reader.join().unwrap().unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said: u64 = lines.iter().filter_map(|line| line["dropped"].as_u64()).sum();
        let written = lines.iter().filter(|line| line["dropped"].is_null()).count() as u64;
        assert_eq!(said + written, 3_001, "each line is written or counted");
        assert!((1_000..2_000).contains(&said), "{said}");
    }
}
