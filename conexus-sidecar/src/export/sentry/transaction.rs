//! Transaction: what does Sentry get of a tool call?

use conexus_proto::v1::{self, attribute};
use sentry::protocol::{Map, Span, SpanId, SpanStatus, TraceContext, TraceId, Transaction, Value};

use super::Origin;
use super::calls::Call;
use super::event::{Fnv, after, call_tags, machine, sdk};
use crate::export::logs::time_of;

/// The transaction of a tool call, with a span for each of its stages.
pub(super) fn transaction(origin: &Origin, call: Call) -> Transaction<'static> {
    let Call { epoch, tool, root, spans } = call;
    let start = time_of(root.start_unix_nanos);
    let mut id = Fnv::default();
    id.add(&epoch.to_le_bytes());
    id.add(&root.trace_id);
    id.add(&root.span_id.to_le_bytes());
    let trace = TraceContext {
        trace_id: trace_id(&root),
        span_id: SpanId::from(root.span_id.to_be_bytes()),
        parent_span_id: parent(&root),
        op: Some("mcp.server".into()),
        status: Some(status(&root)),
        data: data(&root),
        ..TraceContext::default()
    };
    let request_id = text(&root, "jsonrpc.request.id");
    let mut contexts: Map<_, _> = machine(origin).into_iter().collect();
    contexts.insert("trace".into(), trace.into());
    Transaction {
        event_id: id.uuid(),
        name: Some(root.name.clone()),
        release: Some(origin.release.clone().into()),
        environment: Some(origin.environment.clone().into()),
        tags: call_tags(&tool, request_id),
        sdk: Some(std::borrow::Cow::Owned(sdk())),
        platform: "native".into(),
        timestamp: Some(after(start, root.duration_nanos)),
        start_timestamp: start,
        spans: spans.iter().map(span).collect(),
        contexts,
        server_name: Some(origin.server_name.clone().into()),
        ..Transaction::default()
    }
}

fn span(span: &v1::Span) -> Span {
    let start = time_of(span.start_unix_nanos);
    Span {
        span_id: SpanId::from(span.span_id.to_be_bytes()),
        trace_id: trace_id(span),
        parent_span_id: parent(span),
        same_process_as_parent: Some(true),
        op: Some(text(span, "op").unwrap_or(&span.name).to_owned()),
        description: Some(span.name.clone()),
        timestamp: Some(after(start, span.duration_nanos)),
        start_timestamp: start,
        status: Some(status(span)),
        tags: Map::new(),
        data: data(span),
    }
}

fn trace_id(span: &v1::Span) -> TraceId {
    // Its length is checked where it comes in.
    TraceId::from(<[u8; 16]>::try_from(span.trace_id.as_slice()).unwrap_or_default())
}

fn parent(span: &v1::Span) -> Option<SpanId> {
    (span.parent_span_id != 0).then(|| SpanId::from(span.parent_span_id.to_be_bytes()))
}

fn status(span: &v1::Span) -> SpanStatus {
    match (span.error, text(span, "error")) {
        (false, _) => SpanStatus::Ok,
        (true, Some("invalid_params" | "invalid_request" | "parse")) => SpanStatus::InvalidArgument,
        (true, Some("timeout")) => SpanStatus::DeadlineExceeded,
        (true, Some("cancelled")) => SpanStatus::Cancelled,
        (true, Some("auth")) => SpanStatus::Unauthenticated,
        (true, Some("rate_limited")) => SpanStatus::ResourceExhausted,
        (true, _) => SpanStatus::InternalError,
    }
}

fn data(span: &v1::Span) -> Map<String, Value> {
    let mut data = super::trail::values(&span.attributes);
    if !span.error_message.is_empty() {
        data.insert("error.message".into(), span.error_message.clone().into());
    }
    data
}

fn text<'a>(span: &'a v1::Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match &found.value {
        Some(attribute::Value::Text(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_its_tree_its_times_and_what_failed() {
        let attribute = |key: &str, value: &str| v1::Attribute {
            key: key.into(),
            value: Some(attribute::Value::Text(value.into())),
        };
        let root = v1::Span {
            trace_id: vec![7; 16],
            span_id: 1,
            name: "mcp.search".into(),
            start_unix_nanos: 1_000_000_000,
            duration_nanos: 500_000_000,
            error: true,
            attributes: vec![attribute("error", "timeout"), attribute("jsonrpc.request.id", "9")],
            ..v1::Span::default()
        };
        let stage = v1::Span { span_id: 2, parent_span_id: 1, name: "store.read".into(), ..root.clone() };
        let stage = v1::Span { attributes: vec![attribute("op", "db")], error: false, ..stage };
        let origin = Origin {
            environment: "e".into(),
            release: "r".into(),
            server_name: "s".into(),
            kernel: "k".into(),
            system: "y".into(),
        };
        let call = Call { epoch: 3, tool: "context_search".into(), root, spans: vec![stage] };
        let json = serde_json::to_value(transaction(&origin, call.clone())).unwrap();
        assert_eq!(json["transaction"], "mcp.search");
        assert_eq!(json["contexts"]["trace"]["status"], "deadline_exceeded");
        assert_eq!(
            (&json["tags"]["tool.name"], &json["tags"]["mcp.request_id"]),
            (&"context_search".into(), &"9".into())
        );
        let span = &json["spans"][0];
        assert_eq!((&span["op"], &span["status"]), (&"db".into(), &"ok".into()));
        assert_eq!(span["parent_span_id"], json["contexts"]["trace"]["span_id"]);
        assert_eq!(json["event_id"], serde_json::to_value(transaction(&origin, call)).unwrap()["event_id"]);
    }
}
