//! HTTP: what does the metrics port answer?
//!
//! `/metrics` in the format that is asked for, and the health endpoints. Nothing here changes anything.

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::aggregate::Aggregate;
use crate::catalog::samples::{Moment, Sampled, sample};
use crate::closing::Closing;
use crate::export::ExporterStates;
use crate::export::exporters::States;
use crate::export::prometheus::{self, Format};
use crate::health::Health;
use crate::process::Process;

/// Everything that answers are made from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observatory {
    /// Measures and cores.
    pub aggregate: Aggregate,
    /// The sidecar's own process.
    pub process: Process,
    /// The sidecar's health.
    pub health: Health,
    /// The exporters.
    pub exporters: States,
    /// Whether the compatibility names are shown.
    pub go_compat: bool,
    /// Whether the sidecar is stopping.
    pub closing: Closing,
}

impl Observatory {
    /// The exporters' states.
    pub fn exporters(&self) -> ExporterStates {
        self.exporters.now()
    }

    /// Every series now.
    pub fn samples(&self) -> Vec<Sampled> {
        sample(&Moment {
            view: self.aggregate.view(),
            own: self.process.stats(),
            exporters: self.exporters(),
            go_compat: self.go_compat,
            now: SystemTime::now(),
        })
    }
}

/// Why the port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("metrics port {port} on {host} (observability.metrics.port, observability.metrics.host): {problem}")]
pub struct ListenError {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What is wrong.
    pub problem: String,
}

/// Opens the metrics port; 0 takes any free one.
pub async fn listen(host: &str, port: u16) -> Result<(TcpListener, SocketAddr), ListenError> {
    let bind = async {
        let listener = TcpListener::bind((host.trim_matches(['[', ']']), port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind.await.map_err(|error: io::Error| ListenError {
        host: host.into(),
        port,
        problem: match error.kind() {
            io::ErrorKind::AddrInUse => "is taken by another process; choose another, 0 for any free one".into(),
            io::ErrorKind::PermissionDenied => "this user may not open it; choose one above 1023".into(),
            _ => error.to_string(),
        },
    })
}

/// The routes. `metrics_path` is where metrics are; `None` switches them off.
pub fn router(observatory: Observatory, metrics_path: Option<&str>) -> Router {
    let mut router =
        Router::new().route("/health", get(health)).route("/healthz", get(health)).route("/readyz", get(ready));
    if let Some(path) = metrics_path {
        router = router.route(path, get(metrics));
    }
    router.with_state(observatory)
}

async fn metrics(State(observatory): State<Observatory>, headers: HeaderMap) -> Response {
    let accept = joined(&headers, &header::ACCEPT);
    let gzip = prometheus::accepts_gzip(&joined(&headers, &header::ACCEPT_ENCODING));
    let format = Format::negotiate(&accept);
    let body = format.encode(observatory.samples()).into_bytes();
    let mut response = Response::new(Body::from(if gzip { prometheus::gzip(&body) } else { body }));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

async fn health(State(observatory): State<Observatory>) -> Response {
    report(&observatory, StatusCode::OK)
}

async fn ready(State(observatory): State<Observatory>) -> Response {
    // Its listeners are open as long as it answers; a failing disk or exporter is no reason to take it away.
    let stopping = observatory.closing.is_closed();
    report(&observatory, if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK })
}

fn report(observatory: &Observatory, status: StatusCode) -> Response {
    let report = observatory.health.report(&observatory.exporters(), observatory.closing.is_closed());
    (status, axum::Json(report)).into_response()
}
