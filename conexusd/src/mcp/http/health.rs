//! Health: is the server alive, is it ready, and how is the index?

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Endpoint;

/// Alive. Open to everybody: probes have no token and any host name.
pub(super) async fn health(State(endpoint): State<Endpoint>) -> Response {
    answer(&endpoint, StatusCode::OK)
}

/// Ready: the listener is bound and the store is open, else there would be no endpoint; and it is not stopping.
pub(super) async fn ready(State(endpoint): State<Endpoint>) -> Response {
    let stopping = endpoint.stopping.is_cancelled();
    answer(&endpoint, if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK })
}

fn answer(endpoint: &Endpoint, status: StatusCode) -> Response {
    let services = endpoint.server.services();
    let index = services.index.status();
    let link = services.telemetry.health();
    let body = json!({
        "status": if endpoint.stopping.is_cancelled() { "stopping" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": services.started.elapsed().as_secs_f64(),
        "index": {
            "documents": index.indexed_chunks,
            "files": index.indexed_files,
            "phase": index.phase,
            "last_error": index.last_error,
        },
        "telemetry": {"connected": link.connected, "dropped": link.dropped},
    });
    super::json(status, body.to_string().into_bytes())
}
