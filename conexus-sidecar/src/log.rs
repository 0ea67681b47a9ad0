//! Log: how does the sidecar say what it does?
//!
//! One JSON object or one line of text for each event, on stderr. A thread of its own writes behind a bounded queue,
//! so that a full pipe stalls nothing; what does not fit is counted and said later.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use conexus_config::{LogFormat, LogLevel};
use conexus_proto::line::push_time;
use conexus_proto::v1;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

/// Lines that wait for a slow reader.
const QUEUE_LINES: usize = 1024;
/// Keys that every JSON line begins with.
const HEAD: [&str; 4] = ["timestamp", "level", "message", "target"];
/// How long the last lines may take to be written.
const FLUSH_WITHIN: Duration = Duration::from_millis(200);

/// The running log; lines still queued are written when it is dropped.
#[derive(Debug)]
pub struct Log {
    level: Arc<AtomicU8>,
    lines: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
    done: Receiver<()>,
}

impl Log {
    /// Starts logging for the whole process. Only the first call in a process takes effect.
    pub fn start(format: LogFormat, level: LogLevel) -> Self {
        let (lines, queue) = sync_channel::<String>(QUEUE_LINES);
        let (finished, done) = sync_channel(1);
        let writer = std::thread::Builder::new().name("log".into()).spawn(move || {
            let mut stderr = io::stderr();
            for line in queue.iter().take_while(|line| !line.is_empty()) {
                let _ = stderr.write_all(line.as_bytes());
            }
            let _ = finished.send(());
        });
        let level = Arc::new(AtomicU8::new(level as u8));
        let layer = Lines { format, level: level.clone(), lines: lines.clone(), missed: AtomicU64::new(0) };
        let _ = tracing_subscriber::registry().with(layer).try_init();
        Self { level, lines: Some(lines), writer: writer.ok(), done }
    }

    /// The switch for which lines are written.
    pub fn levels(&self) -> Levels {
        Levels(self.level.clone())
    }
}

/// The switch for which lines are written.
#[derive(Clone, Debug)]
pub struct Levels(Arc<AtomicU8>);

impl Levels {
    /// A switch that stands at `level`.
    pub fn new(level: LogLevel) -> Self {
        Self(Arc::new(AtomicU8::new(level as u8)))
    }

    /// Whether a core's line of this level is written.
    pub fn lets(&self, level: v1::Level) -> bool {
        level as u8 >= self.0.load(Ordering::Relaxed)
    }

    /// Writes lines of this level and more important ones from now on.
    pub fn set(&self, level: LogLevel) {
        self.0.store(level as u8, Ordering::Relaxed);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The subscriber lives as long as the process and holds a sender, so an empty line marks the end.
        if let Some(lines) = self.lines.take() {
            let _ = lines.try_send(String::new());
        }
        let _ = self.done.recv_timeout(FLUSH_WITHIN);
        drop(self.writer.take());
    }
}

struct Lines {
    format: LogFormat,
    level: Arc<AtomicU8>,
    lines: SyncSender<String>,
    missed: AtomicU64,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(level) = level_of(metadata.level()) else { return };
        let ours = metadata.target().starts_with("conexus_sidecar");
        let least = if ours { self.level.load(Ordering::Relaxed) } else { LogLevel::Warn as u8 };
        if (level as u8) < least {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = render(self.format, SystemTime::now(), level, metadata.target(), fields);
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let fields = Fields {
                message: format!("{missed} log lines were dropped: stderr is read too slowly"),
                ..Fields::default()
            };
            let _ = self.lines.try_send(render(self.format, SystemTime::now(), LogLevel::Warn, module_path!(), fields));
        }
    }
}

fn level_of(level: &Level) -> Option<LogLevel> {
    match *level {
        Level::ERROR => Some(LogLevel::Error),
        Level::WARN => Some(LogLevel::Warn),
        Level::INFO => Some(LogLevel::Info),
        Level::DEBUG => Some(LogLevel::Debug),
        Level::TRACE => None,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.rest.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

fn render(format: LogFormat, at: SystemTime, level: LogLevel, target: &str, fields: Fields) -> String {
    match format {
        LogFormat::Json => {
            let quoted = |text: &str| Value::from(text).to_string();
            let mut line = format!(
                "{{\"timestamp\":\"{}\",\"level\":\"{}\",\"message\":{},\"target\":{}",
                rfc3339(at),
                level.as_str(),
                quoted(&fields.message),
                quoted(target)
            );
            let others = fields.rest.iter().filter(|(name, _)| !HEAD.contains(&name.as_str()));
            for (name, value) in others {
                let _ = write!(line, ",{}:{value}", quoted(name));
            }
            line.push_str("}\n");
            line
        }
        LogFormat::Text => {
            let mut line = format!("{} {:5} {}", rfc3339(at), level.as_str().to_uppercase(), one_line(&fields.message));
            for (name, value) in fields.rest {
                let text = match &value {
                    Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '\n', '=']) => text.clone(),
                    other => other.to_string(),
                };
                let _ = write!(line, " {name}={text}");
            }
            line.push('\n');
            line
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}

/// A time as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at: SystemTime) -> String {
    let micros = rfc3339_micros(at);
    format!("{}Z", micros.strip_suffix("Z").map_or(&*micros, |text| &text[..text.len() - 3]))
}

/// The same with microseconds. A time before 1970 is 1970.
pub fn rfc3339_micros(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut text = String::new();
    push_time(&mut text, i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7)
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_767_225_599, "2025-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(rfc3339(at(seconds)), text);
        }
    }

    #[test]
    fn a_json_line_is_one_object_whatever_the_fields_hold() {
        let mut rest = Map::new();
        rest.insert("path".into(), "a\n\"b\"".into());
        rest.insert("level".into(), "not this".into());
        let line = render(LogFormat::Json, at(0), LogLevel::Warn, "t", Fields { message: "m\nn".into(), rest });
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((value["level"].as_str(), value["path"].as_str()), (Some("warn"), Some("a\n\"b\"")));
    }

    #[test]
    fn a_text_line_is_one_line() {
        let mut rest = Map::new();
        rest.insert("a".into(), "x y".into());
        rest.insert("b".into(), 3.into());
        let line = render(LogFormat::Text, at(0), LogLevel::Info, "t", Fields { message: "two\nlines".into(), rest });
        assert_eq!(line, "1970-01-01T00:00:00.007Z INFO  two\\nlines a=\"x y\" b=3\n");
    }
}
