//! gRPC: OTLP as a call over a kept connection, compressed.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use conexus_config::HttpUrl;
use opentelemetry_otlp::{Compression, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::heard::Heard;
use super::{CONNECT_WITHIN, OtlpError, PLAN, SendError, Sent, without_credentials};
use crate::aggregate::chain;

/// How often an idle connection is looked at, so that one that a firewall forgot is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A collector that speaks OTLP/gRPC.
pub struct Grpc {
    pub(super) exporter: SpanExporter,
    heard: Heard,
    endpoint: String,
}

impl Grpc {
    /// The collector at this address.
    pub fn new(url: &HttpUrl) -> Result<Self, OtlpError> {
        let (uri, authorization) = without_credentials(url)?;
        let headers: HeaderMap = authorization.map(|value| (header::AUTHORIZATION, value)).into_iter().collect();
        let ours = MetadataMap::from_headers(headers);
        // The last to touch a request. The library adds headers from the environment; only the configuration may.
        let only_ours = move |mut request: Request<()>| {
            *request.metadata_mut() = ours.clone();
            Ok(request)
        };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(channel(url, Endpoint::from(uri))?)
            .with_interceptor(only_ours)
            .with_protocol(Protocol::Grpc)
            .with_compression(Compression::Gzip)
            .with_timeout(PLAN.timeout)
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| OtlpError::new(url, error))?;
        Ok(Self { exporter, heard: Heard::default(), endpoint: url.to_string() })
    }

    /// Sends spans.
    pub async fn export(&mut self, spans: Vec<SpanData>) -> Result<Sent, SendError> {
        let (result, notes) = self.heard.during(self.exporter.export(spans)).await;
        match (result, notes.status) {
            (Ok(()), _) => Ok(Sent { refused: notes.refused }),
            (Err(error), Some(status)) => Err(refusal(&self.endpoint, &status, &error.to_string())),
            // What cannot be told apart is not lost.
            (Err(error), None) => Err(SendError::Later(format!("{}: {error}", self.endpoint), None)),
        }
    }
}

/// A connection that is made when there is something to send.
fn channel(url: &HttpUrl, endpoint: Endpoint) -> Result<Channel, OtlpError> {
    let mut endpoint = endpoint
        .connect_timeout(CONNECT_WITHIN)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .user_agent(concat!("conexus-sidecar/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| OtlpError::new(url, chain(&error)))?;
    if url.is_https() {
        let tls = ClientTlsConfig::new().with_enabled_roots();
        endpoint = endpoint.tls_config(tls).map_err(|error| OtlpError::new(url, chain(&error)))?;
    }
    Ok(endpoint.connect_lazy())
}

/// What an answer means. The specification names the codes that may be repeated. `error` is the library's text.
fn refusal(endpoint: &str, status: &Status, error: &str) -> SendError {
    let reason = format!("{endpoint}: {:?}: {}", status.code(), said(status, error));
    let asked = status.get_details_retry_info();
    let wait = asked.as_ref().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => SendError::Later(reason, wait),
        // Only when the collector says that it is a matter of time.
        Code::ResourceExhausted if asked.is_some() => SendError::Later(reason, wait),
        _ => SendError::Never(reason),
    }
}

/// A status's message with its causes, such as a refused connection. The library's text ends in them, behind the code.
fn said(status: &Status, error: &str) -> String {
    let causes = error.split_once(&format!("gRPC code: {:?}: ", status.code())).map_or("", |(_, causes)| causes);
    match (status.message(), causes) {
        (message, "") => message.to_owned(),
        ("", causes) => causes.to_owned(),
        (message, causes) if causes.starts_with(message) => causes.to_owned(),
        (message, causes) => format!("{message}: {causes}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_repeated() {
        let later = |code| matches!(refusal("http://a:4317", &Status::new(code, ""), ""), SendError::Later(..));
        let passing = [1, 4, 10, 11, 14, 15].map(Code::from_i32);
        for code in (1..=16).map(Code::from_i32) {
            assert_eq!(later(code), passing.contains(&code), "{code:?}");
        }
    }

    #[test]
    fn causes_stand_once_behind_the_message() {
        let error = "Operation failed: TonicTracesClient export failed with gRPC code: Unavailable: away: os error 111";
        assert_eq!(said(&Status::unavailable("away"), error), "away: os error 111");
        assert_eq!(said(&Status::unavailable("transport"), error), "transport: away: os error 111");
        assert_eq!(said(&Status::unavailable(""), error), "away: os error 111");
        let bare = "Operation failed: TonicTracesClient export failed with gRPC code: Unavailable";
        assert_eq!(said(&Status::unavailable("no room: try later"), bare), "no room: try later");
    }
}
