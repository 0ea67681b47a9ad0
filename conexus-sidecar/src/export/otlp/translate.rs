//! Translate: how does a span of the channel look in OTLP?
//!
//! One resource for each core, with the attributes that OpenTelemetry's semantic conventions give a service. What a
//! span says of itself was chosen in the core and is passed on as it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conexus_proto::v1::{self, attribute, record};
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::export::outlet::Piece;

/// The version of the semantic conventions that names of attributes follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.40.0";
/// The service that traces are about.
pub const SERVICE: &str = "conexus";
/// What made the spans.
const SCOPE: &str = "conexusd";

/// Makes what the library exports.
pub struct Translator {
    host: Option<String>,
    scope: InstrumentationScope,
}

impl Default for Translator {
    fn default() -> Self {
        Self::new()
    }
}

impl Translator {
    /// Spans of cores on this host.
    pub fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let scope = InstrumentationScope::builder(SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        Self { host: host.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()), scope }
    }

    /// All spans of these pieces.
    pub fn spans(&self, pieces: &[Piece]) -> Vec<SpanData> {
        let mut spans = Vec::with_capacity(pieces.iter().map(Piece::len).sum());
        spans.extend(pieces.iter().flat_map(Piece::records).filter_map(|record| match &record.record {
            Some(record::Record::Span(found)) => Some(span(found, &self.scope)),
            _ => None,
        }));
        spans
    }

    /// The core that the spans are about.
    pub fn resource(&self, epoch: u64) -> Resource {
        let mut attributes = vec![
            KeyValue::new("service.name", SERVICE),
            // Both processes are of one version: the channel takes no other.
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", format!("{epoch:016x}")),
        ];
        attributes.extend(self.host.as_ref().map(|host| KeyValue::new("host.name", host.clone())));
        Resource::builder_empty().with_schema_url(attributes, SCHEMA_URL).build()
    }
}

fn span(span: &v1::Span, scope: &InstrumentationScope) -> SpanData {
    let mut events = SpanEvents::default();
    events.events = span.events.iter().map(event).collect();
    let mut links = SpanLinks::default();
    links.links = span.links.iter().map(link).collect();
    SpanData {
        // The trace is kept.
        span_context: context(&span.trace_id, span.span_id, TraceFlags::SAMPLED),
        parent_span_id: id(span.parent_span_id),
        parent_span_is_remote: span.parent_is_remote,
        span_kind: match span.kind() {
            v1::SpanKind::Internal => SpanKind::Internal,
            v1::SpanKind::Server => SpanKind::Server,
            v1::SpanKind::Client => SpanKind::Client,
        },
        name: span.name.clone().into(),
        start_time: time(nanos(span.start_unix_nanos)),
        end_time: time(nanos(span.start_unix_nanos).saturating_add(span.duration_nanos)),
        attributes: attributes(&span.attributes),
        dropped_attributes_count: 0,
        events,
        links,
        // What went well has no status: `Ok` is for people to set.
        status: if span.error { Status::error(span.error_message.clone()) } else { Status::Unset },
        instrumentation_scope: scope.clone(),
    }
}

fn event(event: &v1::SpanEvent) -> Event {
    Event::new(event.name.clone(), time(nanos(event.unix_nanos)), attributes(&event.attributes), 0)
}

fn link(link: &v1::SpanLink) -> Link {
    Link::new(context(&link.trace_id, link.span_id, TraceFlags::NOT_SAMPLED), Vec::new(), 0)
}

/// A trace id that is none has only zeros, which no collector takes.
fn context(trace_id: &[u8], span_id: u64, flags: TraceFlags) -> SpanContext {
    let trace_id = trace_id.try_into().map_or(TraceId::INVALID, TraceId::from_bytes);
    SpanContext::new(trace_id, id(span_id), flags, false, TraceState::NONE)
}

/// OTLP allows a key once; the last value is the one that counts.
fn attributes(attributes: &[v1::Attribute]) -> Vec<KeyValue> {
    let is_last = |at: usize, key: &str| attributes[at + 1..].iter().all(|later| later.key != key);
    let last = attributes.iter().enumerate().filter(|(at, attribute)| is_last(*at, &attribute.key));
    let known = last.filter_map(|(_, attribute)| {
        let value = match attribute.value.as_ref()? {
            attribute::Value::Text(text) => Value::from(text.clone()),
            attribute::Value::Integer(integer) => Value::I64(*integer),
            attribute::Value::Number(number) => Value::F64(*number),
            attribute::Value::Flag(flag) => Value::Bool(*flag),
        };
        Some(KeyValue::new(attribute.key.clone(), value))
    });
    known.collect()
}

fn id(id: u64) -> SpanId {
    SpanId::from_bytes(id.to_be_bytes())
}

fn nanos(unix_nanos: i64) -> u64 {
    u64::try_from(unix_nanos).unwrap_or(0)
}

fn time(unix_nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_nanos)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value;
    use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
    use opentelemetry_proto::tonic::trace::v1::{Span, Status};

    use super::*;

    /// A span as the library sends it.
    fn sent(span: &v1::Span) -> Span {
        super::span(span, &Translator::new().scope).into()
    }

    fn attribute(key: &str, value: attribute::Value) -> v1::Attribute {
        v1::Attribute { key: key.into(), value: Some(value) }
    }

    #[test]
    fn a_span_keeps_everything_it_has() {
        let all = v1::Span {
            trace_id: vec![7; 16],
            span_id: 0x0102,
            parent_span_id: 0x0a,
            name: "mcp.search".into(),
            start_unix_nanos: 1_000,
            duration_nanos: 234,
            kind: v1::SpanKind::Server.into(),
            error: true,
            error_message: "it broke".into(),
            attributes: vec![
                attribute("text", attribute::Value::Text("t".into())),
                attribute("integer", attribute::Value::Integer(-3)),
                attribute("number", attribute::Value::Number(0.5)),
                attribute("flag", attribute::Value::Flag(true)),
            ],
            events: vec![v1::SpanEvent { name: "retry".into(), unix_nanos: 1_100, attributes: vec![] }],
            links: vec![v1::SpanLink { trace_id: vec![9; 16], span_id: 5 }],
            parent_is_remote: true,
            ..v1::Span::default()
        };
        let out = sent(&all);
        assert_eq!((out.trace_id, out.span_id), (vec![7; 16], vec![0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(out.parent_span_id, [0, 0, 0, 0, 0, 0, 0, 10]);
        assert_eq!((out.kind, out.flags), (SpanKind::Server as i32, 0x301));
        assert_eq!((out.start_time_unix_nano, out.end_time_unix_nano), (1_000, 1_234));
        assert_eq!(out.status, Some(Status { message: "it broke".into(), code: StatusCode::Error as i32 }));
        let values: Vec<_> = out.attributes.into_iter().map(|pair| pair.value.unwrap().value.unwrap()).collect();
        use any_value::Value::{BoolValue, DoubleValue, IntValue, StringValue};
        assert_eq!(values, [StringValue("t".into()), IntValue(-3), DoubleValue(0.5), BoolValue(true)]);
        assert_eq!((out.events[0].name.as_str(), out.events[0].time_unix_nano), ("retry", 1_100));
        let link = &out.links[0];
        assert_eq!((link.trace_id.as_slice(), link.span_id[7], link.flags), (&[9; 16][..], 5, 0x100));
    }

    #[test]
    fn a_key_that_was_set_twice_has_its_last_value() {
        let twice = [1, 2].map(|number| attribute("results", attribute::Value::Integer(number)));
        let both = [&twice[..], &[attribute("other", attribute::Value::Flag(true))]].concat();
        let expected = [KeyValue::new("results", 2), KeyValue::new("other", true)];
        assert_eq!(attributes(&both), expected);
    }

    #[test]
    fn a_root_that_went_well_has_no_parent_and_no_status() {
        let out = sent(&v1::Span { span_id: 1, ..v1::Span::default() });
        assert_eq!((out.parent_span_id.len(), out.status, out.flags), (0, Some(Status::default()), 0x101));
    }

    #[test]
    fn times_are_exact_and_bounded() {
        let at = |start_unix_nanos, duration_nanos| {
            let out = sent(&v1::Span { start_unix_nanos, duration_nanos, ..v1::Span::default() });
            (out.start_time_unix_nano, out.end_time_unix_nano)
        };
        assert_eq!(at(1_790_000_000_123_456_789, 987_654_321), (1_790_000_000_123_456_789, 1_790_000_001_111_111_110));
        assert_eq!(at(-5, 7), (0, 7));
        assert_eq!(at(i64::MAX, u64::MAX), (i64::MAX as u64, u64::MAX));
    }
}
