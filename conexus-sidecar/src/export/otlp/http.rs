//! HTTP: OTLP as protobuf in a compressed POST, one at a time over a kept connection.

use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use conexus_config::HttpUrl;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;

use super::{CONNECT_WITHIN, OtlpError, SendError, without_credentials};
use crate::aggregate::chain;
use crate::export::prometheus::gzip;

/// Where OTLP has traces, below a collector's address.
const PATH: &str = "/v1/traces";
/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of a refusal that are passed on.
const REASON_CHARS_MAX: usize = 200;

/// A collector that speaks OTLP/HTTP.
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl Http {
    /// The collector at this address.
    pub fn new(endpoint: &HttpUrl) -> Result<Self, OtlpError> {
        let (base, authorization) = without_credentials(endpoint)?;
        let uri = traces_uri(&base).map_err(|problem| OtlpError::new(endpoint, problem))?;
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
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        Ok(Self { client, uri, authorization })
    }

    /// Sends a request.
    pub async fn export(
        &mut self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, SendError> {
        let body = gzip(&request.encode_to_vec());
        let mut post = Request::post(&self.uri)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "gzip")
            .header(header::USER_AGENT, concat!("conexus-sidecar/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| SendError::Never(error.to_string()))?;
        if let Some(value) = &self.authorization {
            post.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        let later = |reason: String| SendError::Later(format!("{}: {reason}", self.uri), None);
        let response = self.client.request(post).await.map_err(|error| later(chain(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        if head.status.is_success() {
            // The spans are taken; an answer that cannot be read is no reason to send them again.
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            return Ok(ExportTraceServiceResponse::decode(body).unwrap_or_default());
        }
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Err(refusal(&self.uri, head.status, &head.headers, &body))
    }
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
