//! What telemetry costs the thread that reports: a fact, a span, a log line, and all of one search request.
//!
//! A sidecar that is not there is the normal case here: the drain runs and empties the rings as it does in service.

use std::hint::black_box;

use conexus_proto::facts::{Fact, Method, Provider, SearchType, Status};
use conexusd::telemetry::{Level, RootInfo, Telemetry, TelemetryGuard, TelemetryOptions, Tick};
use criterion::{Criterion, criterion_group, criterion_main};
use tracing_subscriber::layer::SubscriberExt;

fn start(sample_rate: f64) -> (Telemetry, TelemetryGuard, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = TelemetryOptions {
        socket: Some(folder.path().join("absent.sock")),
        sample_rate,
        log_level: Level::Info,
        ..TelemetryOptions::default()
    };
    let (telemetry, guard) = Telemetry::start(options).expect("threads");
    (telemetry, guard, folder)
}

/// What a search reports: 8 spans, 11 attributes, 12 facts, one decision.
fn request(telemetry: &Telemetry, query: &str) {
    let method = Method::ContextSearch;
    telemetry.emit(Fact::RequestStarted { method });
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let root = trace.root();
    trace.set(root, "mcp.method.name", "tools/call");
    trace.set(root, "gen_ai.tool.name", "context_search");
    trace.set(root, "jsonrpc.request.id", 17_i64);
    trace.set(root, "query", query);
    trace.set(root, "top_k", 20_usize);
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
    black_box(trace.finish());
}

fn benches(c: &mut Criterion) {
    c.bench_function("clock/tick", |b| b.iter(Tick::now));
    let (telemetry, _guard, _folder) = start(1.0);
    c.bench_function("fact/count", |b| {
        b.iter(|| telemetry.emit(black_box(Fact::RequestStarted { method: Method::ContextSearch })))
    });
    c.bench_function("fact/duration", |b| {
        let mut nanos = 1_u64;
        b.iter(|| {
            nanos = nanos.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let nanos = nanos >> 34;
            telemetry.emit(Fact::RequestFinished { method: Method::ContextSearch, status: Status::Ok, nanos })
        })
    });
    // A hundred spans in a trace that is pushed to the ring at its end: the cost of one, clock reads apart.
    c.bench_function("record/100 spans, kept, no clock reads", |b| {
        b.iter(|| {
            let mut trace = telemetry.trace("work");
            let (root, tick) = (trace.root(), trace.root().start());
            for _ in 0..99 {
                trace.add(root, "stage", tick, tick);
            }
            trace.end(root);
            trace.finish()
        })
    });
    let query = "where is the session token refreshed when the clock was wrong";
    c.bench_function("request/kept", |b| b.iter(|| request(&telemetry, query)));
    let (unsampled, _guard, _folder) = start(0.01);
    c.bench_function("request/1 % sampled", |b| b.iter(|| request(&unsampled, query)));
    let detached = Telemetry::detached();
    c.bench_function("request/detached", |b| b.iter(|| request(&detached, query)));
    c.bench_function("log/one line with three fields", |b| {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), || {
            b.iter(|| {
                tracing::info!(method = "context_search", duration_ms = 1.5, results = 20, "MCP request completed")
            })
        })
    });
    let accounts = telemetry.accounts();
    println!("records emitted {:?}, dropped {}", accounts.emitted, accounts.dropped_total());
}

criterion_group!(telemetry, benches);
criterion_main!(telemetry);
