//! Traces: from a client's call through both processes into a collector that is asked what it got.

mod wire;
mod decisions;
mod outages;

use std::time::Duration;

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::jaeger::{self, Jaeger, Span};
use conexus_tests::rotel::Rotel;
use conexus_tests::stack::{Core, Sidecar};
use conexus_tests::wire::Wire;
use serde_json::{Value, json};

use crate::{drive, tree};
use wire::Session;

const SOON: Duration = Duration::from_secs(30);

/// Both processes, exporting to a collector.
struct Traced {
    core: Core,
    sidecar: Sidecar,
    home: Home,
}

impl Traced {
    /// Starts both with traces going to `endpoint`, and waits for the index. `more` are further keys of `tracing`.
    fn start(endpoint: &str, protocol: &str, more: &str) -> Self {
        let home = Home::new();
        configure(&home, endpoint, protocol, more);
        let sidecar = Sidecar::start(&home);
        let core = Core::start(&home, &tree::small(&home));
        core.wait_until_indexed(SOON);
        Self { core, sidecar, home }
    }

    fn search(&self, queries: &[&str]) {
        let operations = queries.iter().map(|query| drive::search(query)).collect();
        for outcome in drive::over_http(&self.core.address, operations) {
            assert_eq!(outcome["is_error"], false, "{outcome}");
        }
    }

    /// The sidecar's report about the exporter of traces.
    fn exporter(&self) -> Value {
        exporter(&self.sidecar)
    }

    /// The log lines of finished requests with a method.
    fn requests(&self, method: &str) -> Vec<Value> {
        let mut lines = self.core.process.json_lines();
        lines.retain(|line| line["message"] == "MCP request completed" && line["method"] == method);
        lines
    }
}

fn configure(home: &Home, endpoint: &str, protocol: &str, more: &str) {
    home.write_config(&format!(
        "observability:\n  tracing: {{enabled: true, endpoint: 'http://{endpoint}', protocol: {protocol}{more}}}\n"
    ));
}

fn exporter(sidecar: &Sidecar) -> Value {
    let (_, body) = conexus_tests::get(&format!("http://{}/health", sidecar.address)).expect("the sidecar answers");
    let health: Value = serde_json::from_str(&body).expect("health is JSON");
    let exporters = health["exporters"].as_array().expect("a list of exporters");
    exporters.iter().find(|exporter| exporter["name"] == "otlp").expect("the exporter of traces is listed").clone()
}

fn trace_id(line: &Value) -> String {
    line["trace_id"].as_str().unwrap_or_else(|| panic!("no trace id: {line}")).to_owned()
}

/// Waits until a trace is there.
fn wait_for(jaeger: &Jaeger, id: &str) -> Vec<Span> {
    eventually(&format!("trace {id} is in Jaeger"), SOON, || Some(jaeger.trace(id)).filter(|spans| !spans.is_empty()))
}

#[test]
fn a_search_is_one_trace_of_all_its_stages() {
    let jaeger = Jaeger::start();
    for (endpoint, protocol) in [(&jaeger.http, "http"), (&jaeger.grpc, "grpc")] {
        let traced = Traced::start(endpoint, protocol, "");
        traced.search(&["where are idle sessions expired"]);
        let request = traced.requests("context_search").pop().expect("a line a request");
        let spans = wait_for(&jaeger, &trace_id(&request));
        assert_eq!(jaeger::outline(&spans), SEARCH, "{protocol}");
        let root = jaeger::root(&spans);
        assert_eq!(root.parent, None);
        for (key, value) in [
            ("method", json!("context_search")),
            ("mcp.method.name", json!("tools/call")),
            ("gen_ai.tool.name", json!("context_search")),
            ("query", json!("where are idle sessions expired")),
            ("top_k", json!(20)),
            ("span.kind", json!("server")),
        ] {
            assert_eq!(root.tags.get(key), Some(&value), "{root:#?}");
        }
        assert!(root.tags["results"].as_i64().is_some_and(|results| results > 0), "{root:#?}");
        assert!(root.tags.contains_key("jsonrpc.request.id") && !root.tags.contains_key("error"), "{root:#?}");
        for span in &spans {
            assert!(span.name == root.name || span.tags["span.kind"] == "internal", "{span:#?}");
            let (end, last) = (span.start + span.duration, root.start + root.duration);
            // Jaeger's times are whole microseconds.
            assert!(span.start >= root.start && end <= last + 1, "{span:#?} is not within {root:#?}");
            assert_eq!(span.process["service.name"], "conexus");
            assert_eq!(span.process["service.version"], env!("CARGO_PKG_VERSION"));
            assert!(span.process["service.instance.id"].as_str().is_some_and(|id| id.len() == 16));
        }
        let named = |name: &str| spans.iter().find(|span| span.name == name).expect("it is in the outline");
        assert_eq!(named("embedding.generate").tags["provider"], "static");
        assert!(named("embedding.generate").tags["cache_hit"].is_boolean());
        assert!(named("vector.search").tags["candidates"].as_i64().is_some_and(|count| count > 0));
        assert!(named("bm25.search").tags["terms"].as_i64().is_some_and(|count| count > 0));
        assert_eq!(named("store.read").tags["op"], "db");
        assert!(named("result.format").tags["bytes"].as_i64().is_some_and(|count| count > 0));
    }
}

/// The stages of a search, siblings by name.
const SEARCH: &str = "\
mcp.search
  embedding.generate
  result.format
  result.rank
  vectorstore.search
    bm25.search
    store.read
    vector.search
";

#[test]
fn an_indexed_file_is_a_trace_that_points_to_its_run() {
    let jaeger = Jaeger::start();
    let _traced = Traced::start(&jaeger.http, "http", "");
    let files = eventually("the four files are there", SOON, || {
        Some(jaeger.rooted_in("indexer.process_file")).filter(|traces| traces.len() == 4)
    });
    let runs =
        eventually("the run is there", SOON, || Some(jaeger.rooted_in("indexer.run")).filter(|runs| !runs.is_empty()));
    let runs: Vec<(String, String)> =
        runs.iter().map(|run| jaeger::root(run)).map(|run| (run.trace_id.clone(), run.id.clone())).collect();
    let mut paths = Vec::new();
    for spans in &files {
        assert_eq!(
            jaeger::outline(spans),
            "indexer.process_file\n  embedding.generate\n  indexer.chunk\n  vectorstore.insert\n"
        );
        let root = jaeger::root(spans);
        assert!(root.links.len() == 1 && runs.contains(&root.links[0]), "{root:#?} {runs:?}");
        assert!(root.tags["chunks"].as_i64().is_some_and(|chunks| chunks > 0) && root.tags["language"].is_string());
        paths.push(root.tags["path"].as_str().expect("a path").to_owned());
    }
    paths.sort();
    assert_eq!(paths, ["docs/guide.md", "src/config.py", "src/session.rs", "web/client.ts"]);
}

#[test]
fn an_incoming_trace_is_continued_and_its_flag_wins() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e47";
    const PARENT: &str = "00f067aa0ba902b7";
    let jaeger = Jaeger::start();
    // By chance nothing is kept here, and everything there.
    for (rate, number) in [("0.0", 1), ("1.0", 5)] {
        let traced = Traced::start(&jaeger.http, "http", &format!(", sample_rate: {rate}"));
        let session = Session::open(&traced.core.address);
        let id = |offset: u32| format!("{TRACE}{:02x}", number + offset);
        let parent = |offset: u32, flags: &str| format!("00-{}-{PARENT}-{flags}", id(offset));
        session.search("idle session", Some(&parent(0, "01")), None);
        session.search("configuration file", None, Some(&parent(1, "01")));
        session.search("rate limits", Some(&parent(2, "00")), None);
        // The message is nearer to the caller than the connection.
        session.search("client retries", Some(&parent(2, "00")), Some(&parent(3, "01")));
        for kept in [0, 1, 3] {
            let spans = wait_for(&jaeger, &id(kept));
            let root = jaeger::root(&spans);
            assert_eq!((root.name.as_str(), root.parent.as_deref()), ("mcp.search", Some(PARENT)));
            assert!(spans.len() > 4 && spans.iter().all(|span| span.trace_id == id(kept)), "{spans:#?}");
        }
        // It was decided before the one that is there now.
        assert!(jaeger.trace(&id(2)).is_empty(), "the caller does not keep it");
    }
}

#[test]
fn a_request_that_is_refused_continues_its_callers_trace_and_names_it_in_the_log() {
    const PARENT: &str = "00f067aa0ba902b7";
    let jaeger = Jaeger::start();
    let traced = Traced::start(&jaeger.http, "http", "");
    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
    let unknown = r#"{"jsonrpc":"2.0","id":8,"method":"no/such"}"#;
    for (at, (header, body, status, span, method)) in [
        (("accept", "application/json, text/event-stream"), ping, 400, "mcp.ping", Some("ping")),
        (("mcp-session-id", "gone"), ping, 404, "mcp.ping", Some("ping")),
        (("mcp-protocol-version", "1999-01-01"), ping, 400, "mcp.ping", Some("ping")),
        (("mcp-session-id", "gone"), unknown, 200, "mcp.other", Some("no/such")),
        (("mcp-session-id", "gone"), "{", 400, "mcp.other", None),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("5bf92f3577b34da6a3ce929d0e0e47{at:02x}");
        let parent = format!("00-{id}-{PARENT}-01");
        let wire = Wire::to(&traced.core.address, &[header, ("traceparent", &parent)]);
        let (found, answer) = wire.post(body.as_bytes()).expect("conexusd answers");
        let error: Value = serde_json::from_str(&answer).expect("the answer is JSON");
        assert_eq!((found, error["error"]["message"].is_string()), (status, true), "{answer}");
        let root = jaeger::root(&wait_for(&jaeger, &id)).clone();
        assert_eq!((root.name.as_str(), root.parent.as_deref()), (span, Some(PARENT)));
        assert_eq!(root.tags.get("mcp.method.name").and_then(Value::as_str), method, "{root:#?}");
        assert_eq!(root.tags["network.transport"], "tcp", "{root:#?}");
        assert_eq!(root.tags["otel.status_description"], error["error"]["message"], "{root:#?}");
        let lines = traced.requests(if method == Some("ping") { "ping" } else { "other" });
        let line = lines.iter().find(|line| line["trace_id"] == id).unwrap_or_else(|| panic!("no {id}: {lines:#?}"));
        assert_eq!(line["span_id"].as_str().map(str::len), Some(16), "{line}");
    }
}

#[test]
fn an_independent_collector_understands_kind_status_and_resource() {
    for protocol in ["http", "grpc"] {
        let home = Home::new();
        let rotel = Rotel::start(&home);
        let endpoint = if protocol == "http" { &rotel.http } else { &rotel.grpc };
        let traced = Traced::start(endpoint, protocol, "");
        drive::over_http(
            &traced.core.address,
            json!([drive::search("session"), {"call": "context_grep", "arguments": {"pattern": "("}}]),
        );
        let log = eventually("both traces are there", SOON, || {
            Some(rotel.log()).filter(|log| log.contains("mcp.search") && log.contains("mcp.grep"))
        });
        for expected in [
            "InstrumentationScope conexusd",
            "service.name: Str(conexus)",
            concat!("service.version: Str(", env!("CARGO_PKG_VERSION"), ")"),
            "service.instance.id: Str(",
            "opentelemetry.io/schemas/1.40.0",
        ] {
            assert!(log.contains(expected), "{protocol}: no {expected} in\n{log}");
        }
        let span = |name: &str| {
            let spans = log.split("Span #").map(|span| span.split("ResourceSpans").next().unwrap_or_default());
            let mut found =
                spans.filter(|span| span.lines().any(|line| line.trim() == format!("Name           : {name}")));
            found.next().unwrap_or_else(|| panic!("{protocol}: no {name} in\n{log}")).to_owned()
        };
        let (search, grep) = (span("mcp.search"), span("mcp.grep"));
        assert!(search.contains("SPAN_KIND_SERVER") && !search.contains("STATUS_CODE_ERROR"), "{search}");
        for expected in ["SPAN_KIND_SERVER", "STATUS_CODE_ERROR", "unclosed group", "-> method: Str(context_grep)"] {
            assert!(grep.contains(expected), "{protocol}: no {expected} in\n{grep}");
        }
        assert!(span("vector.search").contains("SPAN_KIND_INTERNAL"));
        assert!(span("indexer.process_file").contains("SpanLink #0"));
    }
}

#[test]
fn only_the_configuration_says_where_traces_go() {
    let jaeger = Jaeger::start();
    for (endpoint, protocol, other) in [(&jaeger.http, "http", "grpc"), (&jaeger.grpc, "grpc", "http/json")] {
        let home = Home::new();
        configure(&home, endpoint, protocol, "");
        let mut command = home.command("conexus-sidecar");
        command.arg("run").env("OTEL_SDK_DISABLED", "true").env("OTEL_SERVICE_NAME", "other");
        for (name, value) in [
            ("ENDPOINT", "http://127.0.0.1:9"),
            ("HEADERS", "content-type=text/plain,content-encoding=none,te=none"),
            ("COMPRESSION", "none"),
            ("PROTOCOL", other),
            ("TIMEOUT", "1"),
            ("CERTIFICATE", "/nowhere"),
        ] {
            command.env(format!("OTEL_EXPORTER_OTLP_{name}"), value);
            command.env(format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), value);
        }
        let sidecar = Sidecar::start_command(command);
        let core = Core::start(&home, &tree::small(&home));
        core.wait_until_indexed(SOON);
        let traced = Traced { core, sidecar, home };
        traced.search(&["where are idle sessions expired"]);
        let request = traced.requests("context_search").pop().expect("a line a request");
        let spans = wait_for(&jaeger, &trace_id(&request));
        assert_eq!(jaeger::root(&spans).process["service.name"], "conexus", "{protocol}");
        assert_eq!(traced.sidecar.value("conexus_telemetry_export_failures_total", &["exporter=\"otlp\""]), Some(0.0));
    }
}

#[test]
fn exemplars_lead_to_traces_that_are_there() {
    let jaeger = Jaeger::start();
    let traced = Traced::start(&jaeger.http, "http", ", sample_rate: 0.5, slow_threshold: 1h");
    let words = ["session", "configuration", "retry", "limit", "path", "guide", "client", "hour", "token", "store"];
    // Of so many, chance keeps some and leaves some.
    traced.search(&words.repeat(5));
    let url = format!("http://{}/metrics", traced.sidecar.address);
    let ids = eventually("there are exemplars", SOON, || {
        let headers = [("accept", "application/openmetrics-text;version=1.0.0")];
        let (_, text) = conexus_tests::get_with(&url, &headers).expect("the sidecar answers");
        let ids: Vec<String> = text.lines().filter_map(exemplar).collect();
        (!ids.is_empty()).then_some(ids)
    });
    for id in ids {
        wait_for(&jaeger, &id);
    }
}

/// The trace that a line of OpenMetrics points to.
fn exemplar(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("# {trace_id=\"")?;
    rest.split('"').next().map(str::to_owned)
}
