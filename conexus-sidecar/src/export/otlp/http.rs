//! HTTP: OTLP as protobuf in a compressed POST, one at a time over a kept connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use conexus_config::HttpUrl;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prost::Message;
use tracing::Dispatch;
use tracing::dispatcher::with_default;
use tracing::instrument::WithSubscriber;

use super::{CONNECT_WITHIN, OtlpError, PLAN, SendError, Sent, without_credentials};
use crate::aggregate::chain;
use crate::export::prometheus::gzip;

type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Where OTLP has traces, below a collector's address.
const PATH: &str = "/v1/traces";
/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of a refusal that are passed on.
const REASON_CHARS_MAX: usize = 200;

/// A collector that speaks OTLP/HTTP.
pub struct Http {
    pub(super) exporter: SpanExporter,
    answer: Answer,
}

impl Http {
    /// The collector at this address.
    pub fn new(endpoint: &HttpUrl) -> Result<Self, OtlpError> {
        let (base, authorization) = without_credentials(endpoint)?;
        let uri = traces_uri(&base).map_err(|problem| OtlpError::new(endpoint, problem))?;
        let answer = Answer::default();
        let connection =
            Connection { client: client(endpoint), headers: headers(authorization), answer: answer.clone() };
        let builder = SpanExporter::builder()
            .with_http()
            .with_http_client(connection)
            .with_endpoint(uri.to_string())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PLAN.timeout)
            .with_retry_policy(RetryPolicy::disabled());
        // It says which of its variables it ignores.
        let exporter = with_default(&Dispatch::none(), || builder.build());
        Ok(Self { exporter: exporter.map_err(|error| OtlpError::new(endpoint, error))?, answer })
    }

    /// Sends spans.
    pub async fn export(&mut self, spans: Vec<SpanData>) -> Result<Sent, SendError> {
        // An attempt that was cancelled may have left one.
        drop(self.answer.take());
        // The library's own log lines say that spans are lost when they are not, and are not wanted.
        let result = self.exporter.export(spans).with_subscriber(Dispatch::none()).await;
        let unsent = || result.map(|()| Sent::default()).map_err(|error| SendError::Never(error.to_string()));
        self.answer.take().unwrap_or_else(unsent)
    }
}

/// What became of the last request: the library passes on neither a refusal's reason nor what was refused of a success.
#[derive(Clone, Debug, Default)]
struct Answer(Arc<Mutex<Option<Result<Sent, SendError>>>>);

impl Answer {
    fn set(&self, outcome: Result<Sent, SendError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn take(&self) -> Option<Result<Sent, SendError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How the library's requests get to the collector.
#[derive(Debug)]
struct Connection {
    client: HttpsClient,
    headers: HeaderMap,
    answer: Answer,
}

#[async_trait]
impl HttpClient for Connection {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri().clone();
        let (mut head, body) = request.into_parts();
        // The library adds headers from the environment; only the configuration may.
        head.headers = self.headers.clone();
        // Not by the library, whose only level takes four times as long, and which would ask the environment whether to.
        let body = Full::new(Bytes::from(gzip(&body)));
        let response = match self.client.request(Request::from_parts(head, body)).await {
            Ok(response) => response,
            Err(error) => {
                let reason = format!("{uri}: {}", chain(&error));
                self.answer.set(Err(SendError::Later(reason.clone(), None)));
                return Err(reason.into());
            }
        };
        let (head, body) = response.into_parts();
        // An answer that cannot be read has its status all the same: spans that were taken are not sent again.
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        self.answer.set(match head.status.is_success() {
            true => Ok(sent(ExportTraceServiceResponse::decode(body.clone()).unwrap_or_default())),
            false => Err(refusal(&uri, head.status, &head.headers, &body)),
        });
        Ok(Response::from_parts(head, body))
    }
}

fn client(endpoint: &HttpUrl) -> HttpsClient {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    let builder = HttpsConnectorBuilder::new;
    // Machines without certificates of their own, such as an empty image, trust those that came with the program.
    let tls = match endpoint.is_https().then(|| builder().with_native_roots()) {
        Some(Ok(native)) => native,
        _ => builder().with_webpki_roots(),
    };
    let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .build(connector)
}

fn headers(authorization: Option<HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let agent = concat!("conexus-sidecar/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    headers
}

/// What was not taken of a success.
fn sent(response: ExportTraceServiceResponse) -> Sent {
    let partial = response.partial_success.filter(|partial| partial.rejected_spans > 0);
    Sent { refused: partial.map(|partial| (partial.rejected_spans.unsigned_abs(), partial.error_message)) }
}

/// The address of traces. What ends like it already is taken as it is.
fn traces_uri(base: &Uri) -> Result<Uri, String> {
    let text = base.to_string();
    let text = text.trim_end_matches('/');
    let whole = if text.ends_with(PATH) { text.to_owned() } else { format!("{text}{PATH}") };
    whole.parse().map_err(|_| format!("{whole} is no URL"))
}

/// What an answer means. The specification names the statuses that may be repeated.
fn refusal(uri: &Uri, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> SendError {
    let said: String = String::from_utf8_lossy(body)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_CHARS_MAX)
        .collect();
    let said = said.trim();
    let reason =
        if said.is_empty() { format!("{uri} answered {status}") } else { format!("{uri} answered {status}: {said}") };
    match status.as_u16() {
        429 | 502 | 503 | 504 => SendError::Later(reason, retry_after(headers)),
        _ => SendError::Never(reason),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_added_unless_it_is_there() {
        for (base, expected) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("https://gateway.example.com/otlp", "https://gateway.example.com/otlp/v1/traces"),
            ("http://[::1]:9/v1/traces", "http://[::1]:9/v1/traces"),
        ] {
            assert_eq!(traces_uri(&base.parse().unwrap()).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        let uri: Uri = "http://a/v1/traces".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        let check = |status: u16| refusal(&uri, StatusCode::from_u16(status).unwrap(), &headers, b"no\nroom");
        for status in [429, 502, 503, 504] {
            let SendError::Later(reason, wait) = check(status) else { panic!("{status}") };
            assert_eq!(wait, Some(Duration::from_secs(7)));
            assert!(reason.starts_with("http://a/v1/traces answered") && reason.ends_with("no room"), "{reason}");
        }
        for status in [301, 400, 401, 403, 404, 413, 415, 500] {
            assert!(matches!(check(status), SendError::Never(_)), "{status}");
        }
    }

    #[test]
    fn a_date_to_wait_for_is_understood() {
        let mut headers = HeaderMap::new();
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        headers.insert(header::RETRY_AFTER, date.parse().unwrap());
        let wait = retry_after(&headers).unwrap().as_secs();
        assert!((95..=100).contains(&wait), "{wait}");
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("soon"));
        assert_eq!(retry_after(&headers), None);
    }
}
