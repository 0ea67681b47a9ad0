//! Outages: a collector that is away, hangs or was never there.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::jaeger::Jaeger;
use conexus_tests::stack::{Core, Sidecar};

use super::{SOON, Traced, configure, exporter, trace_id, wait_for};
use crate::{drive, tree};

const OTLP: &str = "exporter=\"otlp\"";

#[test]
fn what_a_collector_misses_is_sent_when_it_is_back() {
    let mut jaeger = Jaeger::start();
    let mut traced = Traced::start(&jaeger.http, "http", "");
    eventually("it is up", SOON, || (traced.exporter()["up"] == true).then_some(()));
    assert_eq!(traced.sidecar.value("conexus_telemetry_exporter_up", &[OTLP]), Some(1.0));
    jaeger.kill();
    traced.search(&["session", "configuration"]);
    let report = eventually("the failure shows", SOON, || Some(traced.exporter()).filter(|otlp| otlp["up"] == false));
    let error = report["last_error"].as_str().expect("a reason");
    assert!(error.contains(&jaeger.http) && error.to_lowercase().contains("refused"), "{error}");
    eventually("it waits on disk", SOON, || {
        (traced.sidecar.value("conexus_telemetry_spool_bytes", &[])? > 0.0).then_some(())
    });
    assert_eq!(traced.sidecar.value("conexus_telemetry_exporter_up", &[OTLP]), Some(0.0));
    eventually("the failure is counted", SOON, || {
        (traced.sidecar.value("conexus_telemetry_export_failures_total", &[OTLP])? > 0.0).then_some(())
    });
    traced.sidecar.process.wait_for_text("trace export failed", SOON);
    // What waits survives the sidecar.
    let (took, status) = traced.sidecar.process.terminate(SOON);
    assert!(status.success() && took < Duration::from_secs(2), "{took:?} {status}");
    traced.sidecar = Sidecar::start(&traced.home);
    traced.search(&["limit"]);
    let jaeger = Jaeger::start_again(&jaeger);
    let requests = traced.requests("context_search");
    assert_eq!(requests.len(), 3);
    for request in requests {
        wait_for(&jaeger, &trace_id(&request));
    }
    eventually("nothing waits", SOON, || {
        (traced.sidecar.value("conexus_telemetry_spool_bytes", &[]) == Some(0.0)).then_some(())
    });
    assert_eq!(traced.exporter()["up"], true);
    assert_eq!(traced.sidecar.value("conexus_telemetry_records_dropped_total", &["kind=\"span\""]), Some(0.0));
}

#[test]
fn a_grpc_collector_that_is_away_is_named_with_the_cause() {
    let mut jaeger = Jaeger::start();
    let traced = Traced::start(&jaeger.grpc, "grpc", "");
    eventually("it is up", SOON, || (traced.exporter()["up"] == true).then_some(()));
    jaeger.kill();
    traced.search(&["session"]);
    let report = eventually("the failure shows", SOON, || Some(traced.exporter()).filter(|otlp| otlp["up"] == false));
    let error = report["last_error"].as_str().expect("a reason");
    assert!(error.starts_with(&format!("http://{}: Unavailable: ", jaeger.grpc)), "{error}");
    let jaeger = Jaeger::start_again(&jaeger);
    for request in traced.requests("context_search") {
        wait_for(&jaeger, &trace_id(&request));
    }
    let said = traced.sidecar.process.json_lines();
    let others: Vec<_> = said.iter().filter(|line| line.to_string().contains("opentelemetry")).collect();
    assert!(others.is_empty(), "the library says that spans are lost: {others:?}");
}

#[test]
fn a_collector_that_hangs_delays_nobody_and_is_left_in_time() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Reads, and never answers.
            std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
    for protocol in ["http", "grpc"] {
        let mut traced = Traced::start(&address, protocol, "");
        traced.search(&["session"; 20]);
        for request in traced.requests("context_search") {
            assert!(request["duration_ms"].as_f64().is_some_and(|took| took < 5_000.0), "{request}");
        }
        let (took, status) = traced.core.process.terminate(SOON);
        assert!(status.success() && took < Duration::from_secs(2), "conexusd took {took:?} ({status})");
        let (took, status) = traced.sidecar.process.terminate(SOON);
        assert!(status.success() && took < Duration::from_secs(2), "the sidecar took {took:?} ({status})");
        assert!(traced.home.path().join("state/conexus/spool.redb").is_file());
    }
}

#[test]
fn a_bad_endpoint_is_named_at_the_start_of_both_programs() {
    let home = Home::new();
    for (endpoint, protocol, expected) in [
        ("localhost:4318", "http", "observability.tracing.endpoint"),
        ("ftp://localhost", "http", "observability.tracing.endpoint"),
        ("http://localhost:4317/v1/traces", "grpc", "OTLP over gRPC has no path"),
    ] {
        home.write_config(&format!(
            "observability:\n  tracing: {{enabled: true, endpoint: '{endpoint}', protocol: {protocol}}}\n"
        ));
        for (program, command) in [("conexus-sidecar", "run"), ("conexusd", "serve")] {
            let output = home.command(program).arg(command).output().expect("the program runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(64), "{program} {endpoint}: {said}");
            assert!(said.contains(expected), "{program} {endpoint}: {said}");
        }
    }
}

#[test]
fn a_damaged_spool_is_set_aside_and_keeps_nobody_from_starting() {
    let home = Home::new();
    let jaeger = Jaeger::start();
    configure(&home, &jaeger.http, "http", "");
    let state = home.folder("state/conexus");
    std::fs::write(state.join("spool.redb"), "this is no spool").expect("the folder takes files");
    let sidecar = Sidecar::start(&home);
    sidecar.process.wait_for_text("the spool was damaged and is set aside", SOON);
    eventually("it is counted", SOON, || {
        (sidecar.value("conexus_telemetry_export_failures_total", &[OTLP])? > 0.0).then_some(())
    });
    eventually("it works", SOON, || (exporter(&sidecar)["up"] == true).then_some(()));
}

#[test]
fn without_tracing_no_span_is_sent_or_made_an_exemplar() {
    let home = Home::new();
    let sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    drive::over_http(&core.address, serde_json::json!([drive::search("session")]));
    eventually("the search is counted and its line is there", SOON, || {
        let counted = sidecar.value("conexus_mcp_requests_total", &["method=\"context_search\"", "status=\"ok\""]);
        let lines = sidecar.value("conexus_telemetry_records_received_total", &["kind=\"log\""])?;
        (counted == Some(1.0) && lines > 0.0).then_some(())
    });
    assert_eq!(sidecar.value("conexus_telemetry_records_received_total", &["kind=\"span\""]), Some(0.0));
    assert_eq!(sidecar.value("conexus_telemetry_traces_sampled_total", &[]), Some(0.0));
    assert_eq!(exporter(&sidecar)["enabled"], false);
    // A log line has its trace all the same: requests can be told apart.
    let lines = core.process.json_lines();
    let line = lines.iter().find(|line| line["message"] == "MCP request completed").expect("a line a request");
    assert_eq!(trace_id(line).len(), 32);
}
