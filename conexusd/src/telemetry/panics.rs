//! Panics: what is said when the program's own code fails?
//!
//! The hook reports an error record with the stack, and logs a line like any other, so that with JSON logs a panic is a JSON line
//! too. It waits a moment for that line to be written, for the process may be about to end.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::time::Duration;

use conexus_proto::scrub::scrubbed;

use super::cell::{Level, ValueRef};
use super::error::{ErrorReport, frames_of};
use super::line::{LineWriter, LogFormat};
use super::mirror::unix_nanos_now;
use super::{Telemetry, context, crash};

/// How long a panicking thread waits for its line to be written.
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);

/// Replaces the process's panic hook by one that reports to `telemetry`.
pub(crate) fn install_hook(telemetry: &Telemetry) {
    let telemetry = telemetry.clone();
    std::panic::set_hook(Box::new(move |info| report(&telemetry, info)));
}

fn report(telemetry: &Telemetry, info: &PanicHookInfo<'_>) {
    let message = payload_text(info);
    let place = info.location().map_or_else(String::new, ToString::to_string);
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let current = context::with_current(&telemetry.hub, context::Scope::context);
    let stack = frames_of(&Backtrace::force_capture().to_string());
    let mut error = ErrorReport::of_type("panic", message.to_owned())
        .with("location", place.as_str())
        .with("thread", thread.as_str())
        .stack(stack);
    if let Some(context) = current {
        error = error.in_trace(context);
    }
    telemetry.error(error);
    crash::note_panic(&thread, &place, &scrubbed(message));
    match &telemetry.hub.mirror {
        Some(mirror) => {
            let trace = current.map(|context| (context.trace_id, context.span_id));
            mirror.line_and_flush(panic_line(mirror.format(), message, &place, &thread, trace), WRITE_TIMEOUT);
        }
        None => eprintln!("{}", panic_line(LogFormat::Text, message, &place, &thread, None)),
    }
}

fn payload_text<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = info.payload();
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

fn panic_line(
    format: LogFormat,
    message: &str,
    place: &str,
    thread: &str,
    trace: Option<(super::TraceId, u64)>,
) -> String {
    let mut out = String::new();
    let text = scrubbed(message);
    let text = format!("panicked: {text}");
    let mut line =
        LineWriter::begin(&mut out, format, unix_nanos_now(), Level::Error.as_str(), "conexusd::panic", &text);
    line.field("error", ValueRef::Text("panic"));
    line.field("location", ValueRef::Text(place));
    line.field("thread", ValueRef::Text(thread));
    line.end(trace.as_ref().map(|(trace, span)| (trace as _, *span)));
    out
}
