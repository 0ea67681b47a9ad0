//! OTLP: how do kept traces reach a collector?
//!
//! Spans are translated from the channel's form to that of OpenTelemetry's SDK ([`translate`]), and `opentelemetry-otlp`
//! sends them over HTTP ([`http`]) or gRPC ([`grpc`]), compressed. It is called directly: ids, times and the decision to
//! keep were made in the core, and when to try again is the worker's matter. Address and headers are the
//! configuration's alone: the library's environment variables have no effect.

pub mod translate;
pub mod http;
pub mod grpc;
pub mod heard;

use std::time::Duration;

use axum::http::{HeaderValue, Uri};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use conexus_config::settings::Tracing;
use conexus_config::{HttpUrl, TracingProtocol};
use conexus_proto::facts::RecordKind;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

use self::grpc::Grpc;
use self::http::Http;
use self::translate::Translator;
use super::OTLP;
use super::outlet::{Limits, Piece};
use super::worker::{Destination, Plan, SendError, Sent};

/// What the exporter of traces is like.
pub const PLAN: Plan = Plan {
    number: OTLP,
    wanted: &[RecordKind::Span],
    queue: Limits { records: 32_768, bytes: 16 << 20 },
    // Collectors take 4 MiB over gRPC unless told otherwise.
    chunk: Limits { records: 512, bytes: 1 << 20 },
    linger: Duration::from_millis(200),
    timeout: Duration::from_secs(10),
    failure: "trace export failed",
    spool: true,
};

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why traces cannot be exported at all.
#[derive(Debug, thiserror::Error)]
#[error("observability.tracing.endpoint is {endpoint}: {problem}")]
pub struct OtlpError {
    endpoint: String,
    problem: String,
}

impl OtlpError {
    fn new(endpoint: &HttpUrl, problem: impl ToString) -> Self {
        Self { endpoint: endpoint.to_string(), problem: problem.to_string() }
    }
}

/// A collector.
pub struct Otlp {
    translator: Translator,
    transport: Transport,
    /// The core whose resource the library sends.
    epoch: Option<u64>,
}

enum Transport {
    Http(Box<Http>),
    Grpc(Box<Grpc>),
}

impl Otlp {
    /// The collector that is configured. Connects when there is something to send.
    pub fn new(tracing: &Tracing) -> Result<Self, OtlpError> {
        let transport = match tracing.protocol {
            TracingProtocol::Http => Transport::Http(Box::new(Http::new(&tracing.endpoint)?)),
            TracingProtocol::Grpc => Transport::Grpc(Box::new(Grpc::new(&tracing.endpoint)?)),
        };
        Ok(Self { translator: Translator::new(), transport, epoch: None })
    }

    async fn export(&mut self, spans: Vec<SpanData>) -> Result<Sent, SendError> {
        match &mut self.transport {
            Transport::Http(http) => http.export(spans).await,
            Transport::Grpc(grpc) => grpc.export(spans).await,
        }
    }

    /// The spans to come are this core's: the library has one resource at a time.
    fn set_core(&mut self, epoch: u64) {
        if self.epoch == Some(epoch) {
            return;
        }
        let exporter = match &mut self.transport {
            Transport::Http(http) => &mut http.exporter,
            Transport::Grpc(grpc) => &mut grpc.exporter,
        };
        exporter.set_resource(&self.translator.resource(epoch));
        self.epoch = Some(epoch);
    }
}

impl Destination for Otlp {
    async fn send(&mut self, pieces: &[Piece]) -> Result<Sent, SendError> {
        if let Some(piece) = pieces.first() {
            self.set_core(piece.epoch());
        }
        self.export(self.translator.spans(pieces)).await
    }

    /// A request without spans: a collector answers it, and nothing is stored.
    async fn probe(&mut self) -> Result<Sent, SendError> {
        self.export(Vec::new()).await
    }
}

/// A URL without user and password, and the header that carries those instead.
fn without_credentials(url: &HttpUrl) -> Result<(Uri, Option<HeaderValue>), OtlpError> {
    let fail = |problem: &str| OtlpError::new(url, problem);
    let text = url.as_str();
    let (scheme, rest) = text.split_once("://").ok_or_else(|| fail("it has no scheme"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    let uri = format!("{}://{address}{path}", scheme.to_ascii_lowercase());
    let uri = uri.parse().map_err(|_| fail("it is no URL"))?;
    let header = user.map(|user| {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(percent_decoded(user)));
        let mut value = HeaderValue::from_str(&basic).expect("base64 is plain text");
        value.set_sensitive(true);
        value
    });
    Ok((uri, header))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
