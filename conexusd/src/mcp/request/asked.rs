//! Asked: what is known of a request before anything is done for it, so that its trace can say so however it ends?

use std::borrow::Cow;

use axum::http::HeaderMap;
use conexus_proto::facts::Method;
use rmcp::model::RequestId;

use crate::telemetry::TraceParent;

/// What is known of a request before anything is done for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// What it is counted as.
    pub(crate) method: Method,
    /// The MCP method as it was sent; empty where none could be read.
    pub(crate) name: Cow<'static, str>,
    /// Its JSON-RPC id, where one could be read.
    pub(crate) id: Option<RequestId>,
    /// The caller's span.
    pub(crate) parent: Option<TraceParent>,
    /// How it came: `pipe` or `tcp`.
    pub(crate) transport: &'static str,
}

impl Asked {
    /// A request that came through a pipe, from nobody's span.
    pub(crate) fn new(method: Method, name: impl Into<Cow<'static, str>>, id: Option<RequestId>) -> Self {
        Self { method, name: name.into(), id, parent: None, transport: "pipe" }
    }

    /// What could not be read as a request.
    pub(crate) fn unreadable() -> Self {
        Self::new(Method::Other, "", None)
    }

    /// It came over HTTP. The caller's span in the message is nearer to the caller than the one in the headers.
    pub(crate) fn over_http(mut self, headers: &HeaderMap) -> Self {
        let header = || headers.get("traceparent")?.to_str().ok()?.parse().ok();
        self.parent = self.parent.or_else(header);
        self.transport = "tcp";
        self
    }
}
