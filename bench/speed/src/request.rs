//! Request: what does one search report, for those who measure what reporting costs?

use std::hint::black_box;

use conexus_proto::facts::{Fact, Method, Provider, SearchType, Status};
use conexusd::telemetry::{AttributeValue, RootInfo, SpanRef, Telemetry, Tick, Trace};

/// Reports a search: 8 spans, 11 attributes, 12 facts, one decision. `work` is what the request does in the meantime,
/// `ended` is called with the root and its nanoseconds when all but the decision is done.
pub fn request(
    telemetry: &Telemetry,
    query: &str,
    work: impl FnOnce(),
    ended: impl FnOnce(&mut Trace, SpanRef, u64),
) {
    let method = Method::ContextSearch;
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
    ended(&mut trace, root, nanos);
    black_box(trace.finish());
}
