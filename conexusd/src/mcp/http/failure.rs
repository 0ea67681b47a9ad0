//! Failure: what is a client told whose request the protocol library turned away?
//!
//! The library answers what HTTP itself makes impossible in plain text. Clients read JSON-RPC: here the status stays as it is,
//! and the body becomes an error that says what was wrong and what is allowed.

use axum::body::to_bytes;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use rmcp::ErrorData;
use rmcp::model::{ProtocolVersion, RequestId, ServerJsonRpcMessage};

use super::super::wire;
use super::json;

/// The most that is read of a refusal, in bytes.
const REFUSAL_BYTES_MAX: usize = 1 << 20;

/// What is remembered of a request that the library takes away.
pub(super) struct Shape {
    method: Method,
    version: Option<HeaderValue>,
    has_session: bool,
}

impl Shape {
    pub(super) fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            version: parts.headers.get("mcp-protocol-version").cloned(),
            has_session: parts.headers.contains_key("mcp-session-id"),
        }
    }

    /// The error in an answer that is none, which is thereby used up.
    pub(super) async fn failure(&self, response: &mut Response, versions: &[ProtocolVersion]) -> Option<ErrorData> {
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        let body = std::mem::take(response.body_mut());
        let body = to_bytes(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
        Some(match serde_json::from_slice(&body) {
            Ok(ServerJsonRpcMessage::Error(error)) => error.error,
            _ => self.problem(status, versions),
        })
    }

    fn problem(&self, status: StatusCode, versions: &[ProtocolVersion]) -> ErrorData {
        let text = match status {
            StatusCode::NOT_ACCEPTABLE if self.method == Method::GET => {
                "the header `Accept` must name text/event-stream".to_owned()
            }
            StatusCode::NOT_ACCEPTABLE => {
                "the header `Accept` must name both application/json and text/event-stream".to_owned()
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "the header `Content-Type` must be application/json".to_owned(),
            StatusCode::NOT_FOUND => {
                "the session named by the header `Mcp-Session-Id` is unknown or has ended; send initialize without that \
                 header to begin another"
                    .to_owned()
            }
            StatusCode::METHOD_NOT_ALLOWED => format!(
                "{} is not possible here: POST sends a message, GET opens the stream of a session, DELETE ends a session",
                self.method
            ),
            StatusCode::BAD_REQUEST => self.bad_request(versions),
            status if status.is_server_error() => {
                return ErrorData::internal_error("the server failed while it took the request up; its log says where", None);
            }
            other => format!("the request was refused with HTTP status {other}"),
        };
        ErrorData::invalid_request(text, None)
    }

    fn bad_request(&self, versions: &[ProtocolVersion]) -> String {
        if let Some(version) = &self.version {
            let version = String::from_utf8_lossy(version.as_bytes());
            if !versions.iter().any(|known| known.as_str() == version) {
                let shown: String = version.chars().take(100).collect();
                let known: Vec<&str> = versions.iter().map(ProtocolVersion::as_str).collect();
                return format!(
                    "the header `MCP-Protocol-Version` names `{shown}`, which is not supported; it may name {}",
                    known.join(", ")
                );
            }
        }
        if !self.has_session {
            return "the header `Mcp-Session-Id` is missing: send initialize first, then the id from its answer with each \
                    message"
                .to_owned();
        }
        "the request's headers do not fit together".to_owned()
    }
}

/// A failed answer with an error as its body; what else its headers say is kept.
pub(super) fn answer(failed: &Response, id: Option<&RequestId>, error: &ErrorData) -> Response {
    let mut response = json(failed.status(), wire::error_json(id, error));
    if let Some(allowed) = failed.headers().get(axum::http::header::ALLOW) {
        response.headers_mut().insert(axum::http::header::ALLOW, allowed.clone());
    }
    response
}
