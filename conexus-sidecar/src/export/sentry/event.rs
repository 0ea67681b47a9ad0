//! Event: what does Sentry get of an error?

use std::collections::BTreeMap;
use std::time::SystemTime;

use conexus_proto::v1::{self, attribute};
use sentry::Level;
use sentry::protocol::{
    AppContext, ClientSdkInfo, Context, DeviceContext, Event, Exception, Frame, Map, Mechanism, OsContext,
    RuntimeContext, SpanId, SpanStatus, Stacktrace, TraceContext, TraceId, User, Values,
};
use sentry::types::Uuid;

use super::Origin;
use super::trail::{Trail, values};
use crate::export::CoreStart;
use crate::export::logs::time_of;

/// The tag by which everything of Conexus is found.
const SERVICE: &str = "conexus-mcp";
/// How attributes begin that are a tool's arguments; conexusd has taken the secrets out of them.
const PARAMETER: &str = "parameter.";
/// The attribute with the name of who asked.
const USER: &str = "user";

/// The event of an error. `repeats`: how often it happened since it was last sent; `memory`: the core's resident bytes.
pub(super) fn event(
    origin: &Origin,
    trail: &Trail,
    error: &v1::Error,
    epoch: u64,
    repeats: u64,
    memory: Option<u64>,
) -> Event<'static> {
    let timestamp = time_of(error.unix_nanos);
    let text = |key: &str| attribute_text(error, key);
    let mut extra = Map::new();
    if repeats > 0 {
        extra.insert("repeats".into(), repeats.into());
    }
    Event {
        event_id: id(epoch, error),
        level: level(error),
        fingerprint: fingerprint(error).into(),
        transaction: Some(what(error).to_owned()).filter(|what| !what.is_empty()),
        logger: Some("conexusd".into()),
        platform: "native".into(),
        timestamp,
        server_name: Some(origin.server_name.clone().into()),
        release: Some(origin.release.clone().into()),
        environment: Some(origin.environment.clone().into()),
        user: text(USER).map(|name| User { username: Some(name.to_owned()), ..User::default() }),
        contexts: contexts(origin, trail, error, epoch, memory),
        breadcrumbs: Values { values: trail.until(timestamp) },
        exception: Values { values: vec![exception(error)] },
        tags: tags(error),
        extra,
        sdk: Some(std::borrow::Cow::Owned(sdk())),
        ..Event::default()
    }
}

/// The same error has the same id, however often it is sent.
pub(super) fn id(epoch: u64, error: &v1::Error) -> Uuid {
    let mut state = Fnv::default();
    state.add(&epoch.to_le_bytes());
    state.add(&error.unix_nanos.to_le_bytes());
    for text in [&error.error_type, &error.message, &error.method, &error.request_id, &error.tool] {
        state.add(text.as_bytes());
        state.add(&[0xff]);
    }
    state.add(&error.trace_id);
    state.uuid()
}

/// Two FNV-1a hashes with different beginnings: ids that do not depend on the process that makes them.
pub(super) struct Fnv(u64, u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325, 0x6c62_272e_07bb_0142)
    }
}

impl Fnv {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            self.1 = (self.1 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        }
    }

    pub(super) fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.1.to_be_bytes());
        // The bits that make it a version 4 UUID, which is what Sentry expects.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid::from_bytes(bytes)
    }
}

fn level(error: &v1::Error) -> Level {
    match error.error_type.as_str() {
        "panic" | "crash" => Level::Fatal,
        // The asker's mistakes.
        "parse" | "invalid_request" | "method_not_found" | "invalid_params" | "auth" | "rate_limited" => Level::Warning,
        _ => Level::Error,
    }
}

/// The tool, or the method.
fn what(error: &v1::Error) -> &str {
    if error.tool.is_empty() { &error.method } else { &error.tool }
}

/// What makes two errors one issue. Those with a meaningful stack are left to Sentry; the others are grouped by what failed and
/// by the message without what differs from call to call: quoted text and numbers.
fn fingerprint(error: &v1::Error) -> Vec<std::borrow::Cow<'static, str>> {
    match error.error_type.as_str() {
        "panic" => vec!["{{ default }}".into()],
        "crash" => vec!["crash".into(), "{{ default }}".into()],
        kind => vec![kind.to_owned().into(), what(error).to_owned().into(), shape(&error.message).into()],
    }
}

/// A message without quoted text and numbers.
fn shape(message: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    for c in message.chars().take(256) {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => {
                quote = Some(c);
                out.push('_');
            }
            None if c.is_ascii_digit() && out.ends_with('0') => {}
            None if c.is_ascii_digit() => out.push('0'),
            None => out.push(c),
        }
    }
    out
}

fn tags(error: &v1::Error) -> Map<String, String> {
    let tags = [
        ("service", SERVICE),
        ("error_type", &error.error_type),
        ("mcp.method", &error.method),
        ("mcp.request_id", &error.request_id),
        ("tool.name", &error.tool),
    ];
    // Sentry takes tag values of up to 200 characters on one line.
    let fit = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    tags.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.into(), fit(value))).collect()
}

fn exception(error: &v1::Error) -> Exception {
    let handled = !matches!(error.error_type.as_str(), "panic" | "crash");
    let kind = match error.error_type.as_str() {
        "panic" => "panic",
        "crash" => "signalhandler",
        _ => "generic",
    };
    Exception {
        ty: attribute_text(error, "signal").map_or_else(|| camel_case(&error.error_type), str::to_owned),
        value: Some(error.message.clone()),
        stacktrace: (!error.stack.is_empty()).then(|| stacktrace(&error.stack)),
        mechanism: Some(Mechanism { ty: kind.into(), handled: Some(handled), ..Mechanism::default() }),
        ..Exception::default()
    }
}

/// `invalid_params` as `InvalidParams`.
fn camel_case(name: &str) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.split('_').filter(|word| !word.is_empty() && word.is_ascii()).map(capital).collect()
}

/// Sentry wants the outermost frame first.
fn stacktrace(stack: &[v1::Frame]) -> Stacktrace {
    Stacktrace { frames: stack.iter().rev().map(frame).collect(), ..Stacktrace::default() }
}

fn frame(frame: &v1::Frame) -> Frame {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Frame {
        function: some(&frame.function),
        module: frame.function.rsplit_once("::").and_then(|(module, _)| some(module)),
        filename: some(short(&frame.file)),
        abs_path: some(&frame.file),
        lineno: Some(u64::from(frame.line)).filter(|line| *line > 0),
        in_app: Some(is_ours(frame)),
        ..Frame::default()
    }
}

/// Functions of Conexus, whatever folder it was built in. The names of inlined ones come without their crate.
fn is_ours(frame: &v1::Frame) -> bool {
    frame.function.trim_start_matches('<').starts_with("conexus") || OURS.iter().any(|part| frame.file.contains(part))
}

/// Where our files are in the repository.
const OURS: [&str; 3] = ["/conexusd/src/", "/proto/src/", "/proto/config/src/"];

/// The path from the crate on, as it stands in the repository.
fn short(file: &str) -> &str {
    OURS.iter().find_map(|part| file.rfind(part)).map_or(file, |at| &file[at + 1..])
}

fn contexts(
    origin: &Origin,
    trail: &Trail,
    error: &v1::Error,
    epoch: u64,
    memory: Option<u64>,
) -> Map<String, Context> {
    let mut contexts: BTreeMap<String, Context> = BTreeMap::new();
    if let Some(trace) = trace(error) {
        contexts.insert("trace".into(), trace.into());
    }
    contexts.extend(machine(origin));
    let start = trail.start.clone().unwrap_or_default();
    contexts.insert("runtime".into(), runtime(&start).into());
    contexts.insert("app".into(), app(&start, epoch, memory).into());
    let (parameters, rest): (Vec<_>, Vec<_>) = error
        .context
        .iter()
        .filter(|field| field.key != USER)
        .cloned()
        .partition(|field| field.key.starts_with(PARAMETER));
    let parameters =
        parameters.into_iter().map(|field| v1::Attribute { key: field.key[PARAMETER.len()..].into(), ..field });
    for (name, fields) in [("parameters", parameters.collect()), ("details", rest)] {
        if !fields.is_empty() {
            contexts.insert(name.into(), Context::Other(values(&fields)));
        }
    }
    contexts
}

/// The system that both processes run on.
pub(super) fn machine(origin: &Origin) -> [(String, Context); 2] {
    let os = OsContext {
        name: Some("Linux".into()),
        version: Some(origin.system.clone()).filter(|name| !name.is_empty()),
        kernel_version: Some(origin.kernel.clone()),
        ..OsContext::default()
    };
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    let device = DeviceContext {
        arch: Some(std::env::consts::ARCH.into()),
        memory_size: bytes("MemTotal:"),
        free_memory: bytes("MemAvailable:"),
        ..DeviceContext::default()
    };
    [("os".into(), os.into()), ("device".into(), device.into())]
}

pub(super) fn runtime(start: &CoreStart) -> RuntimeContext {
    let version = start.rustc.strip_prefix("rustc ").unwrap_or(&start.rustc);
    RuntimeContext {
        name: Some("rustc".into()),
        version: Some(version.to_owned()).filter(|version| !version.is_empty()),
        ..RuntimeContext::default()
    }
}

fn app(start: &CoreStart, epoch: u64, memory: Option<u64>) -> AppContext {
    let mut other = Map::new();
    other.insert("boot_epoch".into(), format!("{epoch:016x}").into());
    if start.pid > 0 {
        other.insert("pid".into(), start.pid.into());
    }
    if let Some(bytes) = memory {
        other.insert("app_memory".into(), bytes.into());
    }
    AppContext {
        app_name: Some("conexusd".into()),
        app_version: Some(start.version.clone()).filter(|version| !version.is_empty()),
        app_build: Some(start.commit.clone()).filter(|commit| !commit.is_empty()),
        app_start_time: (start.started_unix_nanos > 0).then(|| time_of(start.started_unix_nanos)),
        other,
        ..AppContext::default()
    }
}

fn trace(error: &v1::Error) -> Option<TraceContext> {
    Some(TraceContext {
        trace_id: TraceId::from(<[u8; 16]>::try_from(error.trace_id.as_slice()).ok()?),
        span_id: SpanId::from(error.span_id.to_be_bytes()),
        op: Some("mcp.server".into()),
        status: Some(SpanStatus::InternalError),
        ..TraceContext::default()
    })
}

fn attribute_text<'a>(error: &'a v1::Error, key: &str) -> Option<&'a str> {
    let found = error.context.iter().find(|field| field.key == key)?;
    match &found.value {
        Some(attribute::Value::Text(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn sdk() -> ClientSdkInfo {
    ClientSdkInfo {
        name: "conexus-sidecar".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        integrations: Vec::new(),
        packages: Vec::new(),
    }
}

/// The tags of a tool call.
pub(super) fn call_tags(tool: &str, request_id: Option<&str>) -> Map<String, String> {
    let tags = [
        ("service", Some(SERVICE)),
        ("mcp.method", Some("tools/call")),
        ("tool.name", Some(tool)),
        ("mcp.request_id", request_id),
    ];
    tags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
}

/// A time of a core plus a duration.
pub(super) fn after(start: SystemTime, nanos: u64) -> SystemTime {
    start + std::time::Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_in_what_was_asked_are_of_one_shape() {
        assert_eq!(shape("unknown tool \"abc\" at line 12"), "unknown tool _ at line 0");
        assert_eq!(shape("unknown tool \"x y\" at line 9"), shape("unknown tool \"abc\" at line 120"));
        assert_ne!(shape("no such file"), shape("no such folder"));
    }

    #[test]
    fn a_type_is_named_as_sentry_names_types() {
        assert_eq!(camel_case("invalid_params"), "InvalidParams");
        assert_eq!(camel_case("tool"), "Tool");
    }

    #[test]
    fn our_frames_are_known_by_their_function_and_shown_from_the_crate_on() {
        let ours = v1::Frame {
            function: "<conexusd::index::Run as core::ops::FnOnce>::call_once".into(),
            file: "/build/conexus/conexusd/src/index/run.rs".into(),
            line: 7,
        };
        let other =
            v1::Frame { function: "tokio::runtime::park".into(), file: "/cargo/tokio/src/park.rs".into(), line: 1 };
        let frames = stacktrace(&[ours, other]).frames;
        assert_eq!(frames[1].filename.as_deref(), Some("conexusd/src/index/run.rs"));
        assert_eq!((frames[0].in_app, frames[1].in_app, frames[1].lineno), (Some(false), Some(true), Some(7)));
    }

    #[test]
    fn an_id_is_the_same_for_the_same_error_and_differs_otherwise() {
        let error = v1::Error { unix_nanos: 5, message: "m".into(), ..v1::Error::default() };
        assert_eq!(id(1, &error), id(1, &error));
        assert_ne!(id(1, &error), id(2, &error));
        assert_ne!(id(1, &error), id(1, &v1::Error { unix_nanos: 6, ..error.clone() }));
        assert_eq!(id(1, &error).get_version_num(), 4);
    }
}
