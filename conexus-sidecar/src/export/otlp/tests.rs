use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use conexus_config::{LogFormat, LogLevel};
use conexus_proto::facts::RecordKind;
use conexus_proto::v1::{self, record};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::export::RecordBatch;
use crate::log::Log;

/// What a collector got: headers, and the request if it was one.
type Got = Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>;
type Answers = Arc<dyn Fn() -> Result<ExportTraceServiceResponse, Status> + Send + Sync>;

fn all_taken() -> Result<ExportTraceServiceResponse, Status> {
    Ok(ExportTraceServiceResponse::default())
}

fn a_part_taken(rejected_spans: i64, error_message: &str) -> ExportTraceServiceResponse {
    let partial = ExportTracePartialSuccess { rejected_spans, error_message: error_message.into() };
    ExportTraceServiceResponse { partial_success: Some(partial) }
}

struct GrpcCollector {
    got: Got,
    answers: Answers,
}

#[tonic::async_trait]
impl TraceService for GrpcCollector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.got.lock().unwrap().push((metadata.into_headers(), message));
        (self.answers)().map(tonic::Response::new)
    }
}

async fn grpc_collector(answers: Answers) -> (SocketAddr, Got) {
    let (listener, got) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Got::default());
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(GrpcCollector { got: got.clone(), answers })
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let server = tonic::transport::Server::builder();
    tokio::spawn(server.serve_with_incoming(service, TcpListenerStream::new(listener)));
    (address, got)
}

async fn http_collector(answers: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (SocketAddr, Got) {
    let (listener, got) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Got::default());
    let (address, taken) = (listener.local_addr().unwrap(), got.clone());
    let handler = async move |headers: HeaderMap, body: Bytes| {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
        let message = ExportTraceServiceRequest::decode(&plain[..]).unwrap();
        taken.lock().unwrap().push((headers, message));
        answers()
    };
    let app = Router::new().route("/v1/traces", post(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, got)
}

/// A collector of each kind that takes everything.
async fn collectors() -> [(TracingProtocol, SocketAddr, Got); 2] {
    let (http, http_got) = http_collector(|| all_taken().unwrap().encode_to_vec().into_response()).await;
    let (grpc, grpc_got) = grpc_collector(Arc::new(all_taken)).await;
    [(TracingProtocol::Http, http, http_got), (TracingProtocol::Grpc, grpc, grpc_got)]
}

fn otlp(protocol: TracingProtocol, address: SocketAddr) -> Otlp {
    let endpoint = HttpUrl::parse(&format!("http://user:word@{address}")).unwrap();
    let (sample_rate, slow_threshold) = (1.0, Duration::from_secs(1));
    let tracing = Tracing { enabled: true, endpoint, protocol, sample_rate, slow_threshold };
    Otlp::new(&tracing).unwrap()
}

fn piece(epoch: u64, names: &[&str]) -> Piece {
    let span = |(at, name): (usize, &&str)| v1::Span {
        trace_id: vec![7; 16],
        span_id: at as u64 + 1,
        name: (*name).into(),
        ..v1::Span::default()
    };
    let spans = names.iter().enumerate().map(span);
    let records = spans.map(|span| v1::Record { record: Some(record::Record::Span(span)) }).collect();
    Piece::whole(RecordBatch::new(epoch, records), &[RecordKind::Span])
}

fn text(resource: &Resource, key: &str) -> String {
    let pair = resource.attributes.iter().find(|pair| pair.key == key).unwrap_or_else(|| panic!("no {key}"));
    match pair.value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

#[tokio::test]
async fn each_core_is_an_instance_of_the_service() {
    for (protocol, address, got) in collectors().await {
        let mut otlp = otlp(protocol, address);
        assert_eq!(otlp.send(&[piece(1, &["a", "b"]), piece(1, &["c"])]).await, Ok(Sent::default()));
        assert_eq!(otlp.send(&[piece(2, &["d"])]).await, Ok(Sent::default()));
        let got = got.lock().unwrap();
        for ((_, request), (epoch, names)) in got.iter().zip([(1, vec!["a", "b", "c"]), (2, vec!["d"])]) {
            let [core] = &request.resource_spans[..] else { panic!("{protocol:?}: {request:#?}") };
            let resource = core.resource.as_ref().unwrap();
            assert_eq!(text(resource, "service.name"), "conexus");
            assert_eq!(text(resource, "service.instance.id"), format!("{epoch:016x}"));
            assert_eq!(text(resource, "service.version"), env!("CARGO_PKG_VERSION"));
            let [scope] = &core.scope_spans[..] else { panic!("{protocol:?}: {request:#?}") };
            assert_eq!(
                (core.schema_url.as_str(), scope.schema_url.as_str()),
                (translate::SCHEMA_URL, translate::SCHEMA_URL)
            );
            let made_by = scope.scope.as_ref().unwrap();
            assert_eq!((made_by.name.as_str(), made_by.version.as_str()), ("conexusd", env!("CARGO_PKG_VERSION")));
            assert_eq!(scope.spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), names);
        }
        assert_eq!(got.len(), 2);
    }
}

#[tokio::test]
async fn a_probe_asks_and_sends_no_span() {
    for (protocol, address, got) in collectors().await {
        assert_eq!(otlp(protocol, address).probe().await, Ok(Sent::default()));
        let got = got.lock().unwrap();
        let [(_, request)] = &got[..] else { panic!("{protocol:?}: {got:?}") };
        let spans = request.resource_spans.iter().flat_map(|core| &core.scope_spans).flat_map(|scope| &scope.spans);
        assert_eq!(spans.count(), 0);
    }
}

#[tokio::test]
async fn spans_that_a_collector_did_not_take_are_told() {
    for (rejected, message, refused) in [(3, "too old", Some((3, "too old".into()))), (0, "a warning", None)] {
        let answer = a_part_taken(rejected, message);
        let (http, _) = http_collector({
            let answer = answer.clone();
            move || answer.encode_to_vec().into_response()
        })
        .await;
        let (grpc, _) = grpc_collector(Arc::new(move || Ok(answer.clone()))).await;
        for (protocol, address) in [(TracingProtocol::Http, http), (TracingProtocol::Grpc, grpc)] {
            let sent = otlp(protocol, address).send(&[piece(1, &["a"])]).await;
            assert_eq!(sent, Ok(Sent { refused: refused.clone() }), "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_one() {
    let (address, got) = http_collector(|| "this is no protobuf".into_response()).await;
    assert_eq!(otlp(TracingProtocol::Http, address).send(&[piece(1, &["a"])]).await, Ok(Sent::default()));
    assert_eq!(got.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refusal_over_http_is_told_with_its_reason_and_asked_once() {
    let answer = || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], "no room").into_response();
    let (address, got) = http_collector(answer).await;
    let refused = otlp(TracingProtocol::Http, address).send(&[piece(1, &["a"])]).await;
    let reason = format!("http://{address}/v1/traces answered 503 Service Unavailable: no room");
    assert_eq!(refused, Err(SendError::Later(reason, Some(Duration::from_secs(7)))));
    assert_eq!(got.lock().unwrap().len(), 1, "when to try again is the worker's matter");
    let (address, _) = http_collector(|| (StatusCode::BAD_REQUEST, "what").into_response()).await;
    let refused = otlp(TracingProtocol::Http, address).send(&[piece(1, &["a"])]).await;
    let reason = format!("http://{address}/v1/traces answered 400 Bad Request: what");
    assert_eq!(refused, Err(SendError::Never(reason)));
}

#[tokio::test]
async fn a_refusal_over_grpc_is_told_with_its_code_reason_and_wait() {
    const WAIT: Duration = Duration::from_millis(2500);
    for (code, asked, later) in [
        (Code::Unavailable, None, true),
        (Code::Unavailable, Some(WAIT), true),
        (Code::ResourceExhausted, Some(WAIT), true),
        (Code::ResourceExhausted, None, false),
        (Code::InvalidArgument, None, false),
        (Code::Unauthenticated, Some(WAIT), false),
    ] {
        let details = asked.map_or_else(ErrorDetails::new, |wait| ErrorDetails::with_retry_info(Some(wait)));
        let status = Status::with_error_details(code, "not \"now\"", details);
        let (address, got) = grpc_collector(Arc::new(move || Err(status.clone()))).await;
        let mut otlp = otlp(TracingProtocol::Grpc, address);
        let reason = format!("http://***@{address}: {code:?}: not \"now\"");
        let expected = if later { SendError::Later(reason, asked) } else { SendError::Never(reason) };
        assert_eq!(otlp.send(&[piece(1, &["a"])]).await, Err(expected));
        assert_eq!(got.lock().unwrap().len(), 1, "when to try again is the worker's matter");
    }
}

#[tokio::test]
async fn a_collector_that_is_away_is_tried_later() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for protocol in [TracingProtocol::Http, TracingProtocol::Grpc] {
        let refused = otlp(protocol, address).send(&[piece(1, &["a"])]).await;
        let Err(SendError::Later(reason, None)) = refused else { panic!("{protocol:?}: {refused:?}") };
        assert!(reason.contains(&address.to_string()) && reason.to_lowercase().contains("refused"), "{reason}");
    }
}

/// Set in a process that a test starts: the environment and the log belong to a whole process.
const CHILD: &str = "CONEXUS_TEST_IN_A_PROCESS_OF_ITS_OWN";

/// Runs a test of this file in a process of its own with these variables, and returns what that says on stderr; `None`
/// in that process.
fn again_alone(test: &str, variables: &[(String, &str)]) -> Option<String> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("export::otlp::tests::{test}")]).env(CHILD, "1");
    let output = child.envs(variables.iter().cloned()).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
    Some(err)
}

#[tokio::test]
async fn what_the_library_logs_is_heard_and_not_repeated() {
    if let Some(said) = again_alone("what_the_library_logs_is_heard_and_not_repeated", &[]) {
        assert!(said.contains("this line is written"), "{said}");
        assert!(!said.contains("opentelemetry") && !said.contains("lost"), "{said}");
        return;
    }
    let _log = Log::start(LogFormat::Json, LogLevel::Debug);
    tracing::info!("this line is written");
    let (http, _) = http_collector(|| StatusCode::SERVICE_UNAVAILABLE.into_response()).await;
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
    let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
    let (grpc, _) = grpc_collector(Arc::new(move || Err(status.clone()))).await;
    let refused = otlp(TracingProtocol::Http, http).send(&[piece(1, &["a"])]).await;
    assert!(matches!(refused, Err(SendError::Later(_, None))), "{refused:?}");
    let refused = otlp(TracingProtocol::Grpc, grpc).send(&[piece(1, &["a"])]).await;
    let Err(SendError::Later(reason, Some(wait))) = refused else { panic!("{refused:?}") };
    assert!(reason.ends_with("ResourceExhausted: slow down") && wait == Duration::from_secs(3), "{reason} {wait:?}");
}

#[tokio::test]
async fn variables_of_the_library_change_nothing() {
    const HEADERS: &str =
        "authorization=Bearer%20other,content-type=text/plain,content-encoding=none,x-from=environment";
    for compression in ["none", "gzip"] {
        let variables = [
            ("ENDPOINT", "http://127.0.0.1:9"),
            ("HEADERS", HEADERS),
            ("COMPRESSION", compression),
            ("PROTOCOL", "http/json"),
            ("TIMEOUT", "1"),
            ("CERTIFICATE", "/nowhere"),
            ("INSECURE", "false"),
        ];
        let of = |prefix: &'static str| variables.map(|(name, value)| (format!("{prefix}_{name}"), value));
        let mut all = [of("OTEL_EXPORTER_OTLP"), of("OTEL_EXPORTER_OTLP_TRACES")].concat();
        all.push(("OTEL_SERVICE_NAME".into(), "other"));
        all.push(("OTEL_RESOURCE_ATTRIBUTES".into(), "service.name=other,x-from=environment"));
        let Some(said) = again_alone("variables_of_the_library_change_nothing", &all) else { break };
        assert!(!said.contains("opentelemetry"), "{said}");
    }
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let _log = Log::start(LogFormat::Json, LogLevel::Debug);
    for (protocol, address, got) in collectors().await {
        assert_eq!(otlp(protocol, address).send(&[piece(1, &["a"])]).await, Ok(Sent::default()));
        let got = got.lock().unwrap();
        let (headers, request) = &got[0];
        let basic = format!("Basic {}", BASE64_STANDARD.encode("user:word"));
        let all = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("authorization"), [basic], "{protocol:?}");
        assert_eq!(all("x-from"), [""; 0]);
        assert!(all("user-agent")[0].starts_with(concat!("conexus-sidecar/", env!("CARGO_PKG_VERSION"))));
        let (kind, compression) = match protocol {
            TracingProtocol::Http => ("application/x-protobuf", all("content-encoding")),
            TracingProtocol::Grpc => ("application/grpc", all("grpc-encoding")),
        };
        assert_eq!((all("content-type"), compression), (vec![kind], vec!["gzip"]), "{protocol:?}");
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        assert_eq!(text(resource, "service.name"), "conexus");
        assert!(resource.attributes.iter().all(|pair| pair.key != "x-from"), "{resource:?}");
    }
}

#[test]
fn credentials_leave_the_url_and_become_a_header() {
    let url = HttpUrl::parse("https://user:p%40ss@example.com:4318/otlp").unwrap();
    let (uri, header) = without_credentials(&url).unwrap();
    assert_eq!(uri.to_string(), "https://example.com:4318/otlp");
    let header = header.unwrap();
    assert_eq!(header.to_str().unwrap(), format!("Basic {}", BASE64_STANDARD.encode("user:p@ss")));
    assert!(!format!("{header:?}").contains("Basic"));
    let url = HttpUrl::parse("http://[::1]:4318").unwrap();
    let (uri, header) = without_credentials(&url).unwrap();
    assert_eq!((uri.authority().unwrap().as_str(), header), ("[::1]:4318", None));
}
