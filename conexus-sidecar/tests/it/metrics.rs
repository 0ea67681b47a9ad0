//! The metrics port: formats, compression, exemplars, health.

use std::io::Read;

use conexus_proto::facts::{Family, Label, SearchType};
use conexus_proto::v1::{self, record};
use conexus_sidecar::catalog::{Kind, METRICS};
use conexus_sidecar::config::Options;
use conexus_sidecar::pipeline;

use super::core::{Core, running};
use super::http::get;

const OPENMETRICS: &str = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_format_follows_accept_and_the_encoding_accept_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = pipeline::start(&Options::below(folder.path()).unwrap()).await.unwrap();
    let address = sidecar.metrics_address;

    let text = get(address, "/metrics", "").await;
    assert!(text.headers.contains("content-type: text/plain; version=0.0.4"), "{}", text.headers);
    let open = get(address, "/metrics", OPENMETRICS).await;
    assert!(open.headers.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.headers);
    assert!(open.text().ends_with("# EOF\n"));
    let zipped = get(address, "/metrics", &format!("{OPENMETRICS}Accept-Encoding: gzip\r\n")).await;
    assert!(zipped.headers.contains("content-encoding: gzip"));
    let mut plain = String::new();
    flate2::read::GzDecoder::new(zipped.body.as_slice()).read_to_string(&mut plain).unwrap();
    assert!(plain.ends_with("# EOF\n") && plain.len() > zipped.body.len() * 5);

    // Every metric that needs no core is described from the start.
    for metric in METRICS.iter().filter(|metric| metric.kind != Kind::Gauge) {
        assert!(text.text().contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.as_str())), "{}", metric.name);
        assert!(open.text().contains(&format!("# TYPE {} {}\n", metric.family_name(), metric.kind.as_str())));
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_span_is_the_exemplar_of_its_bucket() {
    let span = v1::Span {
        trace_id: (1..=16).collect(),
        span_id: 0xfeed,
        name: "vectorstore.search".into(),
        start_unix_nanos: 1_700_000_000_000_000_000,
        duration_nanos: 30_000_000,
        exemplar_series: Family::Searched.info().cell(SearchType::Hybrid.number()) as u32 + 1,
        ..v1::Span::default()
    };
    let expected = "conexus_vectorstore_search_duration_seconds_bucket{le=\"0.05\",search_type=\"hybrid\"} 0 \
                    # {trace_id=\"0102030405060708090a0b0c0d0e0f10\",span_id=\"000000000000feed\"} 0.03 1700000000.030";
    // Where traces are exported to nowhere, there is nothing that an exemplar could lead to.
    for exported in ["true", "false"] {
        let folder = tempfile::tempdir().unwrap();
        let settings =
            [("observability.tracing.enabled", exported), ("observability.tracing.endpoint", "http://127.0.0.1:9")];
        let options = Options::below_with(folder.path(), &settings).unwrap();
        let sidecar = pipeline::start(&options).await.unwrap();
        let mut core = Core::new(1);
        let (mut stream, _) = core.connect(&options.socket).await;
        core.report(&mut stream, vec![record::Record::Span(span.clone())]).await;
        let text = get(sidecar.metrics_address, "/metrics", OPENMETRICS).await.text();
        assert_eq!(text.lines().any(|line| line == expected), exported == "true", "{text}");
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_json_and_does_not_depend_on_a_core() {
    let (_folder, options, sidecar) = running().await;
    for path in ["/health", "/healthz", "/readyz"] {
        let answer = get(sidecar.metrics_address, path, "").await;
        assert_eq!(answer.status, 200);
        let report: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&report["status"], &report["core"]["connected"]), (&"ok".into(), &false.into()));
        assert_eq!(report["exporters"].as_array().unwrap().len(), 3);
    }
    let mut core = Core::new(0xabc);
    let (mut stream, _) = core.connect(&options.socket).await;
    core.report(&mut stream, vec![]).await;
    let body = get(sidecar.metrics_address, "/health", "").await.body;
    let report: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let seen = &report["cores"][0];
    assert_eq!(seen["boot_epoch"], "0000000000000abc");
    assert_eq!((&seen["state"], &seen["version"], &seen["pid"]), (&"connected".into(), &"7.7.7".into(), &42.into()));
    assert_eq!(get(sidecar.metrics_address, "/nothing", "").await.status, 404);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_can_be_switched_off_and_moved_and_health_stays() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { metrics_enabled: false, ..Options::below(folder.path()).unwrap() };
    let sidecar = pipeline::start(&options).await.unwrap();
    assert_eq!(get(sidecar.metrics_address, "/metrics", "").await.status, 404);
    assert_eq!(get(sidecar.metrics_address, "/health", "").await.status, 200);
    sidecar.stop().await;
    let options = Options { metrics_path: "/m".into(), go_compat: false, ..Options::below(folder.path()).unwrap() };
    let sidecar = pipeline::start(&options).await.unwrap();
    let answer = get(sidecar.metrics_address, "/m", "").await;
    assert!(answer.status == 200 && !answer.text().contains("go_goroutines") && !answer.text().contains("go_gc"));
    sidecar.stop().await;
}
