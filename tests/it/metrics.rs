//! Metrics: from a client's call through both processes into a real Prometheus.

use std::time::Duration;

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::prometheus::Prometheus;
use conexus_tests::stack::{Core, Sidecar, sum};
use serde_json::{Value, json};

use crate::{drive, tree};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn prometheus_sees_what_a_client_did() {
    let home = Home::new();
    let sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    let prometheus = Prometheus::start(&home, std::slice::from_ref(&sidecar.address));
    eventually("the target is up", SOON, || {
        (prometheus.targets() == [(sidecar.address.clone(), "up".to_owned())]).then_some(())
    });
    let outcomes = drive::over_http(
        &core.address,
        json!([
            {"call": "context_search", "arguments": {"query": "session"}, "repeat": 7},
            {"call": "context_grep", "arguments": {"pattern": "Session"}, "repeat": 3},
            {"call": "context_grep", "arguments": {"pattern": "("}},
        ]),
    );
    assert_eq!(outcomes[2]["is_error"], true, "{}", outcomes[2]);
    let expect = |expression: &str, value: f64| {
        eventually(&format!("{expression} = {value} (now {:?})", prometheus.value(expression)), SOON, || {
            (prometheus.value(expression) == Some(value)).then_some(())
        });
    };
    expect("conexus_up", 1.0);
    expect("conexus_mcp_requests_total{method=\"context_search\",status=\"ok\"}", 7.0);
    expect("conexus_mcp_requests_total{method=\"context_grep\",status=\"ok\"}", 3.0);
    expect("conexus_mcp_requests_total{method=\"context_grep\",status=\"error\"}", 1.0);
    expect("sum(conexus_mcp_errors_total{method=\"context_grep\"})", 1.0);
    expect("conexus_mcp_request_duration_seconds_count{method=\"context_search\"}", 7.0);
    expect("conexus_mcp_request_duration_seconds_bucket{method=\"context_search\",le=\"+Inf\"}", 7.0);
    expect("sum(conexus_mcp_requests_in_flight)", 0.0);
    expect("conexus_search_cache_hits_total + conexus_search_cache_misses_total", 7.0);
    expect("conexus_indexer_files_indexed_total", 4.0);
    expect("conexus_indexer_queue_depth", 0.0);
    assert!(prometheus.value("conexus_vectorstore_documents_total").is_some_and(|documents| documents >= 4.0));
    assert!(prometheus.value("process_resident_memory_bytes{process=\"conexusd\"}").is_some_and(|bytes| bytes > 1e6));
}

#[test]
fn nothing_is_lost_when_both_end_and_start_again() {
    let home = Home::new();
    let root = tree::small(&home);
    let mut total = 0.0;
    for round in 1..=2 {
        let mut sidecar = Sidecar::start(&home);
        let mut core = Core::start(&home, &root);
        core.wait_until_indexed(SOON);
        drive::over_http(
            &core.address,
            json!([{"call": "context_search", "arguments": {"query": "session"}, "repeat": 5}]),
        );
        total += 5.0;
        // At once, before the next snapshot is due: what was counted last must still arrive.
        let (took, status) = core.process.terminate(Duration::from_secs(10));
        assert!(
            status.success() && took < Duration::from_secs(2),
            "conexusd took {took:?} to end ({status})\n{}",
            core.process.log()
        );
        let seen = sidecar.value("conexus_mcp_requests_total", &["method=\"context_search\"", "status=\"ok\""]);
        assert_eq!(seen, Some(total), "round {round}");
        assert_eq!(sidecar.value("conexus_core_crashes_total", &[]), Some(0.0));
        let (took, status) = sidecar.process.terminate(Duration::from_secs(10));
        assert!(status.success() && took < Duration::from_secs(2), "the sidecar took {took:?} to end ({status})");
    }
}

#[test]
fn without_a_sidecar_it_works_and_says_so_and_connects_when_one_appears() {
    let home = Home::new();
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    assert_eq!(core.health()["telemetry"]["connected"], false);
    let outcomes = drive::over_http(&core.address, json!([drive::search("idle session")]));
    assert_eq!(drive::paths(&outcomes[0])[0], "src/session.rs");
    let mut sidecar = Sidecar::start(&home);
    eventually("the core is connected", SOON, || (core.health()["telemetry"]["connected"] == true).then_some(()));
    eventually("what happened before is counted", SOON, || {
        (sidecar.value("conexus_mcp_requests_total", &["method=\"context_search\"", "status=\"ok\""]) == Some(1.0))
            .then_some(())
    });
    sidecar.process.kill();
    eventually("the loss is noticed", SOON, || (core.health()["telemetry"]["connected"] == false).then_some(()));
    let sidecar = Sidecar::start(&home);
    eventually("it is connected again, and no value went back", SOON, || {
        (sidecar.value("conexus_mcp_requests_total", &["method=\"context_search\"", "status=\"ok\""]) == Some(1.0))
            .then_some(())
    });
}

#[test]
fn every_metric_of_the_catalogue_is_there_from_the_start() {
    let home = Home::new();
    let sidecar = Sidecar::start(&home);
    let alone = sidecar.metrics();
    let catalogue =
        home.command("conexus-sidecar").args(["metrics", "--json"]).output().expect("the catalogue is printed");
    let catalogue: Vec<Value> = serde_json::from_slice(&catalogue.stdout).expect("the catalogue is JSON");
    assert!(catalogue.len() > 40, "{} metrics", catalogue.len());
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    for metric in &catalogue {
        let name = metric["name"].as_str().expect("a metric has a name");
        let series = match metric["type"].as_str() {
            Some("histogram" | "summary") => format!("{name}_count"),
            _ => name.to_owned(),
        };
        if matches!(metric["type"].as_str(), Some("counter" | "histogram")) {
            assert!(sum(&alone, &series, &[]).is_some(), "{name} is not there before a core has connected");
        }
        eventually(&format!("{name} is there"), SOON, || sidecar.value(&series, &[]));
    }
}
