//! Baseline: the same request through the usual libraries, in process, with their defaults.
//!
//! Spans through `tracing-opentelemetry` to an OTLP/HTTP batch exporter, measures in `prometheus-client` families, the
//! log line as JSON through `tracing-appender`'s non-blocking writer, all of it also through `sentry`'s layers. The servers that they
//! export to answer at once.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use anyhow::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::{Dispatch, Span, field, info, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use crate::Reporter;
use crate::sink::{self, Manner};

const BOUNDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfMethod {
    method: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Lane {
    search_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Provider {
    provider: &'static str,
}

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

struct Metrics {
    requests: Family<Ended, Counter>,
    durations: Family<OfMethod, Histogram, fn() -> Histogram>,
    in_flight: Family<OfMethod, Gauge>,
    searched: Family<Lane, Histogram, fn() -> Histogram>,
    embedded: Family<Provider, Histogram, fn() -> Histogram>,
    inserted: Histogram,
    cache_hits: Counter,
    cache_misses: Counter,
    embedding_hits: Counter,
    embedding_misses: Counter,
    chunks: Counter,
    traces: Counter<u64, AtomicU64>,
    _registry: Registry,
}

impl Metrics {
    fn new() -> Self {
        let mut metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            in_flight: Family::default(),
            searched: Family::new_with_constructor(histogram),
            embedded: Family::new_with_constructor(histogram),
            inserted: histogram(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            embedding_hits: Counter::default(),
            embedding_misses: Counter::default(),
            chunks: Counter::default(),
            traces: Counter::default(),
            _registry: Registry::default(),
        };
        let mut registry = Registry::default();
        registry.register("mcp_requests", "Requests", metrics.requests.clone());
        registry.register("mcp_request_duration_seconds", "Durations", metrics.durations.clone());
        registry.register("mcp_requests_in_flight", "In flight", metrics.in_flight.clone());
        registry.register("vectorstore_search_duration_seconds", "Durations", metrics.searched.clone());
        registry.register("embedding_generation_duration_seconds", "Durations", metrics.embedded.clone());
        metrics._registry = registry;
        metrics
    }
}

/// Everything in one process.
pub struct Baseline {
    dispatch: Dispatch,
    metrics: Metrics,
    provider: SdkTracerProvider,
    lines: tracing_appender::non_blocking::ErrorCounter,
    _log: tracing_appender::non_blocking::WorkerGuard,
    _sentry: sentry::ClientInitGuard,
    _folder: tempfile::TempDir,
}

impl Baseline {
    /// Starts the exporters, their servers and the writer.
    pub fn start() -> anyhow::Result<Self> {
        let endpoint = format!("http://{}/v1/traces", sink::start(Manner::Good)?.address);
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
        let dsn = format!("http://key@{}/1", sink::start(Manner::Good)?.address);
        let options = sentry::ClientOptions::new().dsn(&dsn).traces_sample_rate(1.0);
        let sentry = sentry::init(options);
        let folder = tempfile::tempdir().context("a folder for the log")?;
        let (writer, log) = tracing_appender::non_blocking(tracing_appender::rolling::daily(folder.path(), "log"));
        let lines = writer.error_counter();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("bench")))
            .with(tracing_subscriber::fmt::layer().json().with_writer(writer))
            .with(sentry::integrations::tracing::SpanLayer::new().with_filter(LevelFilter::INFO))
            .with(sentry::integrations::tracing::BreadcrumbLayer::new().with_filter(LevelFilter::INFO));
        Ok(Self {
            dispatch: Dispatch::new(subscriber),
            metrics: Metrics::new(),
            provider,
            lines,
            _log: log,
            _sentry: sentry,
            _folder: folder,
        })
    }
}

impl Baseline {
    /// Where its spans and log lines go, for as long as it is at work.
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // What is not exported yet is of no interest.
        let _ = self.provider.shutdown();
    }
}

impl Reporter for Baseline {
    fn name(&self) -> &'static str {
        "in process"
    }

    fn request(&self, query: &str, work: &mut dyn FnMut()) {
        self.report(query, work);
    }

    fn count(&self) {
        self.metrics.in_flight.get_or_create(&OfMethod { method: black_box("context_search") }).inc();
    }

    fn duration(&self, nanos: u64) {
        let method = black_box("context_search");
        self.metrics.durations.get_or_create(&OfMethod { method }).observe(nanos as f64 / 1e9);
        self.metrics.requests.get_or_create(&Ended { method, status: "ok" }).inc();
    }

    fn spans(&self, count: u64) {
        let root = info_span!("work");
        let _in_root = root.enter();
        (0..count).for_each(|_| stage(info_span!("stage"), |_| {}));
    }

    fn log(&self) {
        info!(method = "context_search", duration_ms = 1.5, results = 20, "MCP request completed");
    }

    fn dropped(&self) -> Option<u64> {
        // The batch exporter says so in its own log only.
        Some(self.lines.dropped_lines() as u64)
    }
}

impl Baseline {
    fn report(&self, query: &str, work: &mut dyn FnMut()) {
        let (metrics, method) = (&self.metrics, "context_search");
        let of_method = OfMethod { method };
        metrics.in_flight.get_or_create(&of_method).inc();
        let started = Instant::now();
        let root = info_span!(
            "mcp.search",
            mcp.method.name = "tools/call",
            gen_ai.tool.name = method,
            jsonrpc.request.id = 17,
            query,
            top_k = 20,
            results = field::Empty
        );
        let in_root = root.enter();
        work();
        stage(info_span!("embedding.generate"), |_| {
            metrics.cache_misses.inc();
            metrics.embedding_misses.inc();
        });
        let seconds = started.elapsed().as_secs_f64();
        metrics.embedded.get_or_create(&Provider { provider: "static" }).observe(seconds);
        stage(info_span!("vectorstore.search"), |_| {
            for (span, lane) in [
                (info_span!("bm25.search", candidates = field::Empty), "bm25"),
                (info_span!("vector.search", candidates = field::Empty), "vector"),
            ] {
                stage(span, |span| {
                    span.record("candidates", 200);
                });
                let seconds = started.elapsed().as_secs_f64();
                metrics.searched.get_or_create(&Lane { search_type: lane }).observe(seconds);
            }
            stage(info_span!("store.read"), |_| {});
        });
        let seconds = started.elapsed().as_secs_f64();
        metrics.searched.get_or_create(&Lane { search_type: "hybrid" }).observe(seconds);
        stage(info_span!("result.rank"), |_| {});
        stage(info_span!("result.format", bytes = field::Empty), |span| {
            span.record("bytes", 12_345);
        });
        root.record("results", 20);
        metrics.embedding_hits.inc_by(3);
        metrics.chunks.inc_by(0);
        metrics.inserted.observe(seconds);
        metrics.cache_hits.inc_by(0);
        metrics.traces.inc();
        let seconds = started.elapsed().as_secs_f64();
        metrics.durations.get_or_create(&of_method).observe(seconds);
        metrics.requests.get_or_create(&Ended { method, status: "ok" }).inc();
        info!(method, duration_ms = seconds * 1e3, results = 20, "MCP request completed");
        metrics.in_flight.get_or_create(&of_method).dec();
        drop(in_root);
    }
}

fn stage(span: Span, act: impl FnOnce(&Span)) {
    let entered = span.enter();
    act(&span);
    drop(entered);
}
