//! gRPC: OTLP as a call over a kept connection, compressed.

use std::time::Duration;

use axum::http::HeaderValue;
use conexus_config::HttpUrl;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::{CONNECT_WITHIN, OtlpError, SendError, without_credentials};
use crate::aggregate::chain;

/// How often an idle connection is looked at, so that one that a firewall forgot is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A collector that speaks OTLP/gRPC.
pub struct Grpc {
    client: TraceServiceClient<Channel>,
    endpoint: String,
    authorization: Option<HeaderValue>,
}

impl Grpc {
    /// The collector at this address.
    pub fn new(url: &HttpUrl) -> Result<Self, OtlpError> {
        let (uri, authorization) = without_credentials(url)?;
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_WITHIN)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .user_agent(concat!("conexus-sidecar/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| OtlpError::new(url, chain(&error)))?;
        if url.is_https() {
            let tls = ClientTlsConfig::new().with_enabled_roots();
            endpoint = endpoint.tls_config(tls).map_err(|error| OtlpError::new(url, chain(&error)))?;
        }
        let client = TraceServiceClient::new(endpoint.connect_lazy())
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
        Ok(Self { client, endpoint: url.to_string(), authorization })
    }

    /// Sends a request.
    pub async fn export(
        &mut self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, SendError> {
        let mut request = Request::new(request);
        if let Some(value) = self.authorization.as_ref().and_then(|value| value.to_str().ok()?.parse().ok()) {
            request.metadata_mut().insert("authorization", value);
        }
        let response = self.client.export(request).await;
        response.map(tonic::Response::into_inner).map_err(|status| refusal(&self.endpoint, &status))
    }
}

/// What an answer means. The specification names the codes that may be repeated.
fn refusal(endpoint: &str, status: &Status) -> SendError {
    let reason = format!("{endpoint}: {:?}: {}", status.code(), chain_of(status));
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => SendError::Later(reason, None),
        // Only when the collector says that it is a matter of time.
        Code::ResourceExhausted if says_when(status.details()) => SendError::Later(reason, None),
        _ => SendError::Never(reason),
    }
}

fn says_when(details: &[u8]) -> bool {
    const RETRY_INFO: &[u8] = b"google.rpc.RetryInfo";
    details.windows(RETRY_INFO.len()).any(|window| window == RETRY_INFO)
}

/// A status's message with the causes that it keeps, such as a refused connection.
fn chain_of(status: &Status) -> String {
    let causes = std::error::Error::source(status).map(chain).unwrap_or_default();
    match (status.message(), causes.as_str()) {
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
        let later = |status: Status| matches!(refusal("http://a:4317", &status), SendError::Later(..));
        assert!(later(Status::unavailable("away")) && later(Status::deadline_exceeded("late")));
        for status in [Status::invalid_argument("bad"), Status::unauthenticated("who"), Status::unimplemented("what")] {
            assert!(!later(status));
        }
        let mut details = vec![10, 40];
        details.extend_from_slice(b"type.googleapis.com/google.rpc.RetryInfo");
        assert!(later(Status::with_details(Code::ResourceExhausted, "slow down", details.into())));
        assert!(!later(Status::resource_exhausted("too large")));
    }
}
