//! Request: one that is reported in all the ways of the request path: facts, spans, attributes, a log line in its scope.

use conexus_proto::facts::{Fact, Method, SearchType, Status};
use conexusd::telemetry::{RootInfo, Telemetry};

/// Reports a search.
pub(crate) fn request(telemetry: &Telemetry) {
    let method = Method::ContextSearch;
    telemetry.emit(Fact::RequestStarted { method });
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let root = trace.root();
    trace.set(root, "query", "a query that is longer than what an attribute holds by itself");
    let scope = trace.scope(root);
    let entered = scope.enter();
    let mut stage = trace.start(root, "vectorstore.search");
    for name in ["vector.search", "bm25.search", "store.read", "result.rank", "result.format"] {
        trace.set(stage, "candidates", 200_usize);
        let (nanos, next) = trace.next(stage, root, name);
        trace.measure(stage, Fact::Searched { lane: SearchType::Hybrid, nanos });
        stage = next;
    }
    let nanos = trace.end(root);
    trace.measure(root, Fact::RequestFinished { method, status: Status::Ok, nanos });
    tracing::info!(method = "context_search", duration_ms = 0.5, results = 20, "MCP request completed");
    drop((entered, scope));
    trace.finish();
}
