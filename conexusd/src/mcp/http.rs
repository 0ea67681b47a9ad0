//! HTTP: MCP over Streamable HTTP at `/mcp`, and health beside it.
//!
//! A request to `/mcp` passes the guard (host, origin, token), is read within a bound of bytes and time, is checked to be a
//! message, is taken up, and only then reaches the protocol library.

mod failure;
mod guard;
mod health;
mod listen;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get};
use conexus_proto::facts;
use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::model::{ClientJsonRpcMessage, ErrorCode, ProtocolVersion};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::request::Asked;
use super::server::Server;
use super::{error, wire};
use failure::Shape;
use guard::{Guard, Refusal};
pub use listen::{BindError, Bound, bind};
use sessions::Sessions;

/// The largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 4 << 20;

/// How long a client may take to send a body.
const BODY_TIME_MAX: Duration = Duration::from_secs(20);

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// Hosts that a request may name, each with any port or with the one given (`server.allowed_hosts`). `localhost` stands
    /// for every loopback name. An address that the server is bound to is always allowed.
    pub allowed_hosts: Vec<String>,
    /// Web origins that may ask (`server.allowed_origins`), beside the server's own: `https://app.example.com`,
    /// `http://localhost:*` for any port.
    pub allowed_origins: Vec<String>,
    /// Bearer tokens, if `auth.enabled`. An empty list then lets nobody in.
    pub tokens: Option<Vec<AccessToken>>,
}

/// A token that lets its holder in.
#[derive(Clone)]
pub struct AccessToken {
    /// Who holds it.
    pub name: String,
    /// What is sent as `Authorization: Bearer`.
    pub secret: String,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Endpoint {
    server: Server,
    guard: Arc<Guard>,
    mcp: StreamableHttpService<Server, Sessions>,
    /// Cancelled when the server begins to stop.
    stopping: CancellationToken,
}

/// Every route of the server at `address`. Streams and sessions end when `closed` is cancelled; `/readyz` says no once
/// `stopping` is.
pub fn router(
    server: Server,
    options: &HttpOptions,
    address: SocketAddr,
    stopping: CancellationToken,
    closed: CancellationToken,
) -> Router {
    let guard = Arc::new(Guard::new(options, address));
    // The guard has checked host and origin, and says better what is wrong.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(BODY_BYTES_MAX)
        .with_cancellation_token(closed);
    let factory = {
        let server = server.clone();
        move || Ok(server.clone())
    };
    let mcp = StreamableHttpService::new(factory, Arc::new(Sessions::default()), config);
    Router::new()
        .route("/mcp", any(mcp_request))
        .route("/health", get(health::health))
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .with_state(Endpoint { server, guard, mcp, stopping })
}

/// The name of the token with which a request came.
#[derive(Clone)]
struct User(Arc<str>);

async fn mcp_request(State(endpoint): State<Endpoint>, mut request: Request<Body>) -> Response {
    let allowed_origin = match endpoint.guard.check_source(request.uri(), request.headers()) {
        Ok(origin) => origin,
        Err(refusal) => return refused(&endpoint.server, refusal, request.headers()),
    };
    let mut response = if request.method() == Method::OPTIONS && allowed_origin.is_some() {
        preflight()
    } else {
        match endpoint.guard.check_token(request.headers()) {
            Err(refusal) => refused(&endpoint.server, refusal, request.headers()),
            Ok(user) if request.method() == Method::POST => {
                if let Some(name) = user {
                    request.extensions_mut().insert(User(name));
                }
                post(&endpoint, request).await
            }
            Ok(_) if request.method() == Method::DELETE => end_session(&endpoint, request).await,
            Ok(_) => forward_message(&endpoint, request).await,
        }
    };
    if let Some(origin) = allowed_origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("mcp-session-id"));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

async fn post(endpoint: &Endpoint, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let text = format!("the body is longer than {BODY_BYTES_MAX} bytes, or ended early");
            return reject(endpoint, StatusCode::PAYLOAD_TOO_LARGE, &parts.headers, text);
        }
        Err(_) => {
            let text = format!("the body did not arrive within {} seconds", BODY_TIME_MAX.as_secs());
            return reject(endpoint, StatusCode::REQUEST_TIMEOUT, &parts.headers, text);
        }
    };
    let text = body.strip_prefix(b"\xef\xbb\xbf").map_or(body.clone(), |text| body.slice_ref(text));
    let message = match wire::read(&text) {
        wire::Incoming::Message(message) => message,
        wire::Incoming::Ignored => return status(StatusCode::ACCEPTED),
        wire::Incoming::Rejected(rejection) => return rejected(endpoint, rejection, &parts.headers),
    };
    let ClientJsonRpcMessage::Request(message) = *message else {
        return forward_message(endpoint, Request::from_parts(parts, Body::from(text))).await;
    };
    let asked = wire::asked(&message).over_http(&parts.headers);
    let taken = match endpoint.server.desk().take(asked) {
        Ok(taken) => taken,
        Err(error) => {
            let mut response = json(StatusCode::TOO_MANY_REQUESTS, wire::error_json(Some(&message.id), &error));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        }
    };
    if let Some(User(name)) = parts.extensions.get() {
        taken.asked_by(name.clone());
    }
    parts.extensions.insert(taken.clone());
    let shape = Shape::of(&parts);
    let mut response = forward(endpoint, Request::from_parts(parts, Body::from(text))).await;
    match shape.failure(&mut response, &endpoint.server.supported_protocol_versions()).await {
        None => response,
        Some(error) => {
            // Refused before it reached the dispatcher: a bad header, an unknown session. Else it has ended already.
            taken.fail(&error);
            failure::answer(&response, Some(&message.id), &error)
        }
    }
}

/// The library answers 202 when a session has ended, which the official client takes for a failure.
async fn end_session(endpoint: &Endpoint, request: Request<Body>) -> Response {
    let mut response = forward_message(endpoint, request).await;
    if response.status() == StatusCode::ACCEPTED {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}

/// Passes on what asks for no answer of its own.
async fn forward_message(endpoint: &Endpoint, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let shape = Shape::of(&parts);
    let mut response = forward(endpoint, Request::from_parts(parts, body)).await;
    match shape.failure(&mut response, &endpoint.server.supported_protocol_versions()).await {
        None => response,
        Some(error) => failure::answer(&response, None, &error),
    }
}

async fn forward(endpoint: &Endpoint, request: Request<Body>) -> Response {
    match endpoint.mcp.clone().oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(impossible) => match impossible {},
    }
}

/// 400 where nothing can be answered. What has an id is an answer and, before 2026-07-28, comes as one.
fn rejected(endpoint: &Endpoint, mut rejection: wire::Rejection, headers: &HeaderMap) -> Response {
    let version = headers.get("mcp-protocol-version").and_then(|version| version.to_str().ok()).unwrap_or_default();
    let is_modern = version >= ProtocolVersion::V_2026_07_28.as_str();
    if is_modern && rejection.asked.method == facts::Method::Initialize {
        // Removed in that version; earlier ones never send its header with a handshake that is none.
        let text = format!("there is no initialize in version {version}: each request carries its version");
        rejection.error = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, text, None);
    }
    let status = match (&rejection.asked.id, rejection.error.code) {
        (None, _) => StatusCode::BAD_REQUEST,
        (Some(_), ErrorCode::METHOD_NOT_FOUND) if is_modern => StatusCode::NOT_FOUND,
        (Some(_), _) if is_modern => StatusCode::BAD_REQUEST,
        (Some(_), _) => StatusCode::OK,
    };
    let body = wire::error_json(rejection.asked.id.as_ref(), &rejection.error);
    endpoint.server.desk().refuse(rejection.asked.over_http(headers), &rejection.error);
    json(status, body)
}

fn reject(endpoint: &Endpoint, status: StatusCode, headers: &HeaderMap, text: String) -> Response {
    let error = ErrorData::invalid_request(text, None);
    endpoint.server.desk().refuse(Asked::unreadable().over_http(headers), &error);
    json(status, wire::error_json(None, &error))
}

fn refused(server: &Server, refusal: Refusal, headers: &HeaderMap) -> Response {
    tracing::warn!(reason = refusal.message, "refused an HTTP request");
    let error = ErrorData::new(error::REFUSED, refusal.message, None);
    server.desk().refuse(Asked::unreadable().over_http(headers), &error);
    let mut response = json(refusal.status, wire::error_json(None, &error));
    if refusal.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"conexus\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn preflight() -> Response {
    let mut response = status(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    let allowed = "authorization, content-type, accept, last-event-id, mcp-protocol-version, mcp-session-id, mcp-method, \
                   mcp-name, traceparent, tracestate";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
