//! Logs: how do the cores' log lines get into files?
//!
//! Lines are made where records come in and handed to `tracing-appender`'s worker thread, which writes them through
//! [`files`]. While the disk refuses, that thread waits and tries again, nothing that it holds is lost, and what finds
//! its queue full is dropped and counted as `exporter_full`. Panics and crashes are lines at level `error` too.

mod files;
mod line;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use conexus_config::LogFormat;
use conexus_proto::facts::{DropReason, Label, RecordKind};
use conexus_proto::v1::{self, attribute, record};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::{ExporterState, RecordBatch, RecordSink};
use crate::aggregate::Aggregate;
use crate::aggregate::tally::{EXPORT_FAILURES, EXPORTERS, SIDECAR_DROPPED};
use crate::log::Levels;

pub use files::Limits;
pub(crate) use line::{cut, hex, time_of};

use files::{FileError, Files, Pending};

/// Lines that may wait for the disk.
const QUEUE_LINES_MAX: usize = 16 << 10;
/// Their bytes.
const QUEUE_BYTES_MAX: u64 = 32 << 20;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 32 << 10;
/// The waits after failed attempts: the first, doubled up to the last.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The number of this exporter in [`EXPORTERS`].
const NUMBER: usize = 1;

/// Writes log lines. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    format: LogFormat,
    levels: Levels,
    aggregate: Aggregate,
    queue: Mutex<Queue>,
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct Queue {
    writer: NonBlocking,
    dropped: ErrorCounter,
    dropped_before: usize,
    /// Ends the worker when dropped.
    guard: Option<WorkerGuard>,
}

/// What the worker thread says.
#[derive(Debug, Default)]
struct Progress {
    lines: AtomicU64,
    bytes: AtomicU64,
    stopping: AtomicBool,
    error: Mutex<Option<String>>,
    wake: Condvar,
}

impl Progress {
    fn error(&self) -> MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs {
    /// Opens the files and starts writing. A folder that cannot be written is said, and tried again while there are lines.
    pub fn start(limits: Limits, format: LogFormat, levels: Levels, aggregate: Aggregate) -> Self {
        let progress = Arc::new(Progress::default());
        let mut writer = Writer {
            files: Files::new(limits, SystemTime::now),
            pending: Pending::default(),
            lines: 0,
            progress: progress.clone(),
            aggregate: aggregate.clone(),
        };
        if let Err(error) = writer.files.open() {
            writer.failed(&error);
        }
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUE_LINES_MAX)
            .lossy(true)
            .thread_name("log-files")
            .finish(writer);
        let queue = Queue { dropped: writer.error_counter(), writer, dropped_before: 0, guard: Some(guard) };
        Self(Arc::new(Inner { format, levels, aggregate, queue: Mutex::new(queue), progress }))
    }

    /// Its state, for health and metrics.
    pub fn state(&self) -> ExporterState {
        let error = self.0.progress.error().clone();
        ExporterState {
            enabled: true,
            up: error.is_none(),
            queued: self.0.progress.lines.load(Relaxed),
            last_error: error,
            ..ExporterState::default()
        }
    }

    /// Writes what is left, for about a second at most. What the disk still refuses is dropped and counted.
    pub fn stop(&self) {
        self.0.progress.stopping.store(true, Relaxed);
        self.0.progress.wake.notify_all();
        drop(self.queue().guard.take());
        let left = self.0.progress.lines.swap(0, Relaxed);
        count_dropped(&self.0.aggregate, DropReason::Shutdown, left);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands lines to the worker and counts what it has no room for.
    fn hand_over(&self, lines: &[String]) {
        let progress = &self.0.progress;
        let mut queue = self.queue();
        let mut refused = 0;
        for line in lines {
            let bytes = line.len() as u64;
            if queue.guard.is_none() || progress.bytes.load(Relaxed) + bytes > QUEUE_BYTES_MAX {
                refused += 1;
                continue;
            }
            progress.lines.fetch_add(1, Relaxed);
            progress.bytes.fetch_add(bytes, Relaxed);
            // It never fails: what does not fit is counted by the writer itself.
            let _ = queue.writer.write(line.as_bytes());
            let dropped = queue.dropped.dropped_lines();
            if dropped > std::mem::replace(&mut queue.dropped_before, dropped) {
                progress.lines.fetch_sub(1, Relaxed);
                progress.bytes.fetch_sub(bytes, Relaxed);
                refused += 1;
            }
        }
        drop(queue);
        count_dropped(&self.0.aggregate, DropReason::ExporterFull, refused);
    }
}

fn count_dropped(aggregate: &Aggregate, reason: DropReason, lines: u64) {
    if lines > 0 {
        let slot = SIDECAR_DROPPED + RecordKind::Log.number() * DropReason::VALUES.len() + reason.number();
        aggregate.count(&[(slot, lines)], true);
    }
}

impl RecordSink for Logs {
    fn offer(&self, batch: &Arc<RecordBatch>) {
        let logs = batch.records.iter().filter_map(|record| match record.record.as_ref()? {
            record::Record::Log(log) => self.0.levels.lets(log.level()).then(|| line::line(self.0.format, log)),
            record::Record::Error(error) => Some(line::line(self.0.format, &end_of(error)?)),
            record::Record::Span(_) => None,
        });
        let lines: Vec<String> = logs.collect();
        if !lines.is_empty() {
            self.hand_over(&lines);
        }
    }
}

/// The log line of a panic or a crash; other errors have one already.
fn end_of(error: &v1::Error) -> Option<v1::Log> {
    let (verb, target) = match error.error_type.as_str() {
        "panic" => ("panicked", "conexusd::panic"),
        "crash" => ("crashed", "conexusd::crash"),
        _ => return None,
    };
    let text = |text: &str| Some(attribute::Value::Text(text.to_owned()));
    let mut fields = vec![v1::Attribute { key: "error".into(), value: text(&error.error_type) }];
    fields.extend(error.context.iter().cloned());
    if let Some(frame) = error.stack.iter().find(|frame| frame.line > 0 && frame.file.contains("/conexusd/src/")) {
        fields.push(v1::Attribute { key: "at".into(), value: text(&format!("{}:{}", frame.file, frame.line)) });
    }
    Some(v1::Log {
        unix_nanos: error.unix_nanos,
        level: v1::Level::Error.into(),
        message: format!("{verb}: {}", error.message),
        target: target.into(),
        fields,
        trace_id: error.trace_id.clone(),
        span_id: error.span_id,
    })
}

/// What the worker thread writes through.
struct Writer {
    files: Files,
    pending: Pending,
    /// Lines in `pending`.
    lines: u64,
    progress: Arc<Progress>,
    aggregate: Aggregate,
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.pending.push(line);
        self.lines += 1;
        if self.pending.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(line.len())
    }

    /// Writes what is pending, however long that takes; only the end of the process stops it.
    fn flush(&mut self) -> io::Result<()> {
        let bytes = self.pending.len() as u64;
        let mut wait = WAITS.0;
        while let Err(error) = self.files.write(&mut self.pending) {
            self.failed(&error);
            if self.progress.stopping.load(Relaxed) {
                // Whoever stops counts what is left.
                self.pending.clear();
                self.lines = 0;
                return Ok(());
            }
            let guard = self.progress.error();
            drop(self.progress.wake.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner));
            wait = (wait * 2).min(WAITS.1);
        }
        self.progress.lines.fetch_sub(std::mem::take(&mut self.lines), Relaxed);
        self.progress.bytes.fetch_sub(bytes, Relaxed);
        if bytes > 0 && self.progress.error().take().is_some() {
            tracing::info!(exporter = EXPORTERS[NUMBER], "log files can be written again");
        }
        Ok(())
    }
}

impl Writer {
    fn failed(&self, error: &FileError) {
        let text = error.to_string();
        self.aggregate.count(&[(EXPORT_FAILURES + NUMBER, 1)], true);
        let before = self.progress.error().replace(text.clone());
        if before.as_deref() != Some(&text) {
            tracing::error!(exporter = EXPORTERS[NUMBER], error = text, "log files cannot be written; lines wait");
        }
    }
}

#[cfg(test)]
mod tests;
