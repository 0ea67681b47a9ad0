//! What telemetry costs the thread that reports: a fact, a span, a log line, and all of one search request.
//!
//! A sidecar that is not there is the normal case here: the drain runs and empties the rings as it does in service.

use std::hint::black_box;

use conexus_proto::facts::{Fact, Method, Status};
use conexusd::telemetry::{Level, Telemetry, TelemetryGuard, TelemetryOptions, Tick};
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

fn request(telemetry: &Telemetry, query: &str) {
    bench_speed::request::request(telemetry, query, || {}, |_, _, _| {});
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
