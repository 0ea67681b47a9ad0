//! Ours: the product's telemetry, as the request path calls it.

use std::hint::black_box;

use conexus_proto::facts::{DropReason, Fact, Method, Provider, SearchType, Status};
use conexusd::telemetry::{AttributeValue, RootInfo, Telemetry, Tick};

use crate::Reporter;

/// Reports through a [`Telemetry`].
#[derive(Debug)]
pub struct Ours(pub &'static str, pub Telemetry);

impl Reporter for Ours {
    fn name(&self) -> &'static str {
        self.0
    }

    /// 8 spans, 11 attributes, 12 facts, one decision, one log line.
    fn request(&self, query: &str, work: &mut dyn FnMut()) {
        let (telemetry, method) = (&self.1, Method::ContextSearch);
        telemetry.emit(Fact::RequestStarted { method });
        let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
        let root = trace.root();
        trace.set(root, "mcp.method.name", AttributeValue::Static("tools/call"));
        trace.set(root, "gen_ai.tool.name", AttributeValue::Static("context_search"));
        trace.set(root, "jsonrpc.request.id", 17_i64);
        trace.set(root, "query", query);
        trace.set(root, "top_k", 20_usize);
        work();
        let embed = trace.start_at(root, "embedding.generate", root.start());
        telemetry.emit(Fact::SearchCacheMiss);
        telemetry.emit(Fact::EmbeddingCacheMiss { count: 1 });
        let (nanos, search) = trace.next(embed, root, "vectorstore.search");
        trace.measure(embed, Fact::EmbeddingGenerated { provider: Provider::Static, nanos });
        let bm25 = trace.start_at(search, "bm25.search", search.start());
        let middle = Tick::now();
        let nanos = trace.end_at(bm25, middle);
        trace.set(bm25, "candidates", 200_usize);
        trace.measure(bm25, Fact::Searched { lane: SearchType::Bm25, nanos });
        let vector = trace.add(search, "vector.search", search.start(), middle);
        trace.set(vector, "candidates", 200_usize);
        telemetry.emit(Fact::Searched { lane: SearchType::Vector, nanos });
        let read = trace.start_at(search, "store.read", middle);
        let end = Tick::now();
        trace.end_at(read, end);
        let nanos = trace.end_at(search, end);
        trace.measure(search, Fact::Searched { lane: SearchType::Hybrid, nanos });
        let rank = trace.start_at(root, "result.rank", end);
        let (_, format) = trace.next(rank, root, "result.format");
        trace.set(format, "bytes", 12_345_usize);
        let end = Tick::now();
        trace.end_at(format, end);
        trace.set(root, "results", 20_usize);
        telemetry.emit(Fact::EmbeddingCacheHit { count: 3 });
        telemetry.emit(Fact::ChunksCreated { count: 0 });
        telemetry.emit(Fact::Inserted { nanos });
        let nanos = trace.end_at(root, end);
        trace.measure(root, Fact::RequestFinished { method, status: Status::Ok, nanos });
        let entered = trace.scope(root).entered();
        tracing::info!(
            method = "context_search",
            duration_ms = nanos as f64 / 1e6,
            results = 20,
            "MCP request completed"
        );
        drop(entered);
        black_box(trace.finish());
    }

    fn count(&self) {
        self.1.emit(Fact::RequestStarted { method: black_box(Method::ContextSearch) });
    }

    fn duration(&self, nanos: u64) {
        self.1.emit(Fact::RequestFinished { method: black_box(Method::ContextSearch), status: Status::Ok, nanos });
    }

    fn spans(&self, count: u64) {
        let mut trace = self.1.trace("work");
        let root = trace.root();
        // The end of one is the beginning of the next: one look at the clock each.
        let mut stage = trace.start_at(root, "stage", root.start());
        for _ in 1..count {
            (_, stage) = trace.next(stage, root, "stage");
        }
        trace.end(stage);
        trace.end(root);
        black_box(trace.finish());
    }

    fn log(&self) {
        tracing::info!(method = "context_search", duration_ms = 1.5, results = 20, "MCP request completed");
    }

    fn dropped(&self) -> Option<u64> {
        let (reasons, dropped) = (DropReason::ALL.len(), self.1.accounts().dropped);
        // What the drain drops behind the ring, because there is no sidecar, costs this thread nothing.
        Some(dropped.chunks(reasons).map(|kind| kind[DropReason::RingFull as usize]).sum())
    }
}
