//! Errors: what failed, for whom, and where in the code?
//!
//! An error report is rare and may allocate. Reports have a queue of their own, so that no flood of spans pushes one out;
//! a full queue drops the newest and counts it.

use conexus_proto::facts::ErrorType;
use conexus_proto::scrub::{REDACTED, is_secret_name, scrubbed};
use conexus_proto::v1;

use super::cell::{AttributeValue, cut};
use super::clock::{Anchor, Tick};
use super::context::Context;

/// A report's message is cut at this many bytes.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// Each attribute and name of a report is cut at this many bytes.
const FIELD_BYTES_MAX: usize = 1_024;
/// A report's attributes are cut at this many.
const CONTEXT_MAX: usize = 32;
/// A stack is cut at this many frames.
const STACK_MAX: usize = 64;

/// A failure that somebody should look at. What has no meaning for it stays empty. Secrets are left out when it is sent.
#[derive(Clone, Debug)]
pub struct ErrorReport {
    error_type: &'static str,
    message: String,
    method: String,
    request_id: String,
    tool: String,
    trace: Option<Context>,
    context: Vec<(String, AttributeValue<'static>)>,
    stack: Vec<Frame>,
    at: Tick,
}

/// A place in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Frame {
    pub function: String,
    pub file: String,
    pub line: u32,
}

impl ErrorReport {
    /// A report of this moment.
    pub fn new(error: ErrorType, message: impl Into<String>) -> Self {
        Self::of_type(error.as_str(), message.into())
    }

    pub(crate) fn of_type(error_type: &'static str, message: String) -> Self {
        Self {
            error_type,
            message,
            method: String::new(),
            request_id: String::new(),
            tool: String::new(),
            trace: None,
            context: vec![],
            stack: vec![],
            at: Tick::now(),
        }
    }

    /// The MCP request that failed: its method and JSON-RPC id.
    pub fn request(mut self, method: impl Into<String>, id: impl Into<String>) -> Self {
        (self.method, self.request_id) = (method.into(), id.into());
        self
    }

    /// The tool that failed.
    pub fn tool(mut self, name: impl Into<String>) -> Self {
        self.tool = name.into();
        self
    }

    /// The span in which it failed.
    pub fn in_trace(mut self, context: Context) -> Self {
        self.trace = Some(context);
        self
    }

    /// Anything else worth knowing.
    pub fn with<'a>(mut self, key: impl Into<String>, value: impl Into<AttributeValue<'a>>) -> Self {
        let value = match value.into() {
            AttributeValue::Str(text) => AttributeValue::Text(text.to_owned()),
            AttributeValue::Static(text) => AttributeValue::Static(text),
            AttributeValue::Text(text) => AttributeValue::Text(text),
            AttributeValue::Integer(value) => AttributeValue::Integer(value),
            AttributeValue::Number(value) => AttributeValue::Number(value),
            AttributeValue::Flag(value) => AttributeValue::Flag(value),
        };
        if self.context.len() < CONTEXT_MAX {
            self.context.push((key.into(), value));
        }
        self
    }

    /// The frames of the stack, innermost first.
    pub fn stack(mut self, frames: Vec<Frame>) -> Self {
        self.stack = frames;
        self
    }

    pub(crate) fn has_stack(&self) -> bool {
        !self.stack.is_empty()
    }

    pub(crate) fn to_proto(&self, anchor: &Anchor) -> v1::Error {
        let field = |text: &str| shown(text, FIELD_BYTES_MAX);
        let frame =
            |frame: &Frame| v1::Frame { function: field(&frame.function), file: field(&frame.file), line: frame.line };
        v1::Error {
            unix_nanos: anchor.unix_nanos(self.at),
            error_type: self.error_type.to_owned(),
            message: shown(&self.message, MESSAGE_BYTES_MAX),
            method: field(&self.method),
            request_id: field(&self.request_id),
            tool: field(&self.tool),
            trace_id: self.trace.map_or_else(Vec::new, |context| context.trace_id.to_bytes().into()),
            span_id: self.trace.map_or(0, |context| context.span_id),
            context: self.context.iter().map(|(key, value)| attribute(key, value)).collect(),
            stack: self.stack.iter().take(STACK_MAX).map(frame).collect(),
        }
    }
}

/// A text without its secrets, cut.
fn shown(text: &str, max: usize) -> String {
    cut(&scrubbed(text), max).to_owned()
}

fn attribute(key: &str, value: &AttributeValue<'_>) -> v1::Attribute {
    use v1::attribute::Value;
    let (secret, key) = (is_secret_name(key), shown(key, FIELD_BYTES_MAX));
    let value = match value {
        _ if secret => Value::Text(REDACTED.to_owned()),
        AttributeValue::Static(text) => Value::Text(shown(text, FIELD_BYTES_MAX)),
        AttributeValue::Text(text) => Value::Text(shown(text, FIELD_BYTES_MAX)),
        AttributeValue::Str(text) => Value::Text(shown(text, FIELD_BYTES_MAX)),
        AttributeValue::Integer(value) => Value::Integer(*value),
        AttributeValue::Number(value) => Value::Number(*value),
        AttributeValue::Flag(value) => Value::Flag(*value),
    };
    v1::Attribute { key, value: Some(value) }
}

/// The frames in the text of a [`std::backtrace::Backtrace`], which offers no other way to them: `N: function` lines, each
/// perhaps followed by `at file:line:column`.
pub(crate) fn frames_of(backtrace: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = vec![];
    for line in backtrace.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            let mut parts = place.rsplitn(3, ':');
            let (_column, line, file) = (parts.next(), parts.next(), parts.next());
            if let (Some(frame), Some(line), Some(file)) = (frames.last_mut(), line, file) {
                (frame.file, frame.line) = (file.to_owned(), line.parse().unwrap_or(0));
            }
        } else if let Some((number, function)) = line.split_once(": ")
            && number.parse::<u32>().is_ok()
        {
            frames.push(Frame { function: function.to_owned(), ..Frame::default() });
        }
    }
    // What stands above the panic machinery's last frame is how the panic was reported, not what panicked.
    let machinery = |frame: &Frame| {
        ["begin_panic_handler", "rust_begin_unwind", "core::panicking::", "std::panicking::"]
            .iter()
            .any(|name| frame.function.contains(name))
    };
    let inner = frames.iter().take(STACK_MAX).rposition(machinery).filter(|at| *at < 24);
    inner.map_or_else(|| frames.clone(), |at| frames[at + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_read_into_frames_of_the_program() {
        let text = "   0: conexusd::telemetry::panics::report\n             at ./src/panics.rs:10:5\n   1: std::panicking::panic_with_hook\n   2: core::panicking::panic_fmt\n             at /rustc/x/library/core/src/panicking.rs:80:14\n   3: conexusd::search::run\n             at ./src/search.rs:42:9\n   4: main\n";
        let frames = frames_of(text);
        let expected = Frame { function: "conexusd::search::run".into(), file: "./src/search.rs".into(), line: 42 };
        assert_eq!(frames, [expected, Frame { function: "main".into(), ..Frame::default() }]);
        assert_eq!(frames_of("disabled backtrace"), []);
    }

    #[test]
    fn a_report_is_cut_where_it_is_too_long() {
        let mut report = ErrorReport::new(ErrorType::Tool, "x".repeat(9_000)).request("tools/call", "7").tool("t");
        for _ in 0..50 {
            report = report.with("key", &*"v".repeat(3_000));
        }
        let proto = report.to_proto(&Anchor::now());
        assert_eq!((proto.message.len(), proto.context.len()), (MESSAGE_BYTES_MAX, CONTEXT_MAX));
        assert_eq!(
            (proto.error_type.as_str(), proto.method.as_str(), proto.request_id.as_str()),
            ("tool", "tools/call", "7")
        );
        let Some(v1::attribute::Value::Text(value)) = &proto.context[0].value else { panic!("text") };
        assert_eq!(value.len(), FIELD_BYTES_MAX);
    }
}
