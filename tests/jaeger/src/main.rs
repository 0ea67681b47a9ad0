//! Jaeger's interface and query API over traces in memory (crate `otlp-embedded`), fed over OTLP/HTTP and OTLP/gRPC.
//!
//! usage: conexus-test-jaeger [UI_PORT [HTTP_PORT [GRPC_PORT]]]
//!
//! Ports are on loopback; without one any free port is taken. The first line of standard output names them:
//! `{"ui":"127.0.0.1:16686","http":"127.0.0.1:4318","grpc":"127.0.0.1:4317"}`. Nothing outlives the process.
//!
//! The crate shows spans without their kind, status and the names of their events. They are added here as the tags
//! that Jaeger itself makes of them.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as From;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use otlp_embedded::proto::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use otlp_embedded::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use otlp_embedded::proto::trace::v1::span::SpanKind;
use otlp_embedded::proto::trace::v1::{Span, status::StatusCode as SpanStatus};
use otlp_embedded::{Config, State, TraceService, TraceServiceImpl, TraceServiceServer, ui_app};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

/// Traces and bytes that are kept; the oldest go first.
const KEPT: Config = Config { max_length: 100_000, max_memory_usage: 1 << 29 };
/// Bytes of an uncompressed request at most.
const REQUEST_BYTES_MAX: u64 = 64 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut ports = std::env::args().skip(1);
    let mut listen = || {
        let port: Result<u16, _> = ports.next().unwrap_or("0".into()).parse();
        async move { Ok::<_, Box<dyn Error>>(TcpListener::bind(("127.0.0.1", port?)).await?) }
    };
    let (ui, http, grpc) = (listen().await?, listen().await?, listen().await?);
    println!(
        r#"{{"ui":"{}","http":"{}","grpc":"{}"}}"#,
        ui.local_addr()?,
        http.local_addr()?,
        grpc.local_addr()?
    );
    let state = State::new(KEPT);
    let collector = Collector(Arc::new(TraceServiceImpl::new(state.clone())));
    let over_grpc = TraceServiceServer::new(collector.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let over_http = Router::new().route("/v1/traces", post(take)).with_state(collector);
    let grpc = tonic::transport::Server::builder()
        .add_service(over_grpc)
        .serve_with_incoming(TcpListenerStream::new(grpc));
    let (ui, http, grpc) = tokio::join!(axum::serve(ui, ui_app(state, "/")), axum::serve(http, over_http), grpc);
    ui?;
    http?;
    Ok(grpc?)
}

#[derive(Clone)]
struct Collector(Arc<TraceServiceImpl>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut request = request.into_inner();
        let scopes = request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
        scopes.flat_map(|scope| &mut scope.spans).for_each(show);
        self.0.export(Request::new(request)).await
    }
}

/// OTLP/HTTP: protobuf, perhaps compressed.
async fn take(From(collector): From<Collector>, headers: HeaderMap, body: Bytes) -> Result<Vec<u8>, (StatusCode, String)> {
    let is = |name, value: &str| headers.get(&name).is_some_and(|found: &header::HeaderValue| found == value);
    let refuse = |status, error: &dyn std::fmt::Display| (status, error.to_string());
    if !is(header::CONTENT_TYPE, "application/x-protobuf") {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &"only application/x-protobuf is taken"));
    }
    let mut bytes = Vec::new();
    if is(header::CONTENT_ENCODING, "gzip") {
        let mut reader = flate2::read::GzDecoder::new(&body[..]).take(REQUEST_BYTES_MAX);
        reader.read_to_end(&mut bytes).map_err(|error| refuse(StatusCode::BAD_REQUEST, &error))?;
    } else {
        bytes.extend_from_slice(&body);
    }
    let request =
        ExportTraceServiceRequest::decode(&bytes[..]).map_err(|error| refuse(StatusCode::BAD_REQUEST, &error))?;
    let answer = collector.export(Request::new(request)).await;
    let answer = answer.map_err(|status| refuse(StatusCode::INTERNAL_SERVER_ERROR, &status))?;
    Ok(answer.into_inner().encode_to_vec())
}

/// Adds the tags that Jaeger makes of a span's kind and status, and of its events' names.
fn show(span: &mut Span) {
    let kind = match span.kind() {
        SpanKind::Unspecified => None,
        SpanKind::Internal => Some("internal"),
        SpanKind::Server => Some("server"),
        SpanKind::Client => Some("client"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
    };
    span.attributes.extend(kind.map(|kind| tag("span.kind", Value::StringValue(kind.into()))));
    if let Some(status) = &span.status {
        let (code, message) = (status.code(), status.message.clone());
        if code == SpanStatus::Error {
            span.attributes.push(tag("error", Value::BoolValue(true)));
            span.attributes.push(tag("otel.status_code", Value::StringValue("ERROR".into())));
            span.attributes.push(tag("otel.status_description", Value::StringValue(message)));
        }
    }
    for event in &mut span.events {
        event.attributes.push(tag("event", Value::StringValue(event.name.clone())));
    }
}

fn tag(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}
