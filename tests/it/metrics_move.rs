//! Every metric moves: the product is driven until each series of the catalogue that can change has changed.
//!
//! What did not move and is not in [`EXCEPTIONS`] fails the test, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conexus_tests::embeddings::{Embeddings, Mood};
use conexus_tests::home::Home;
use conexus_tests::stack::{Core, Sidecar};
use conexus_tests::wire::Wire;
use conexus_tests::{eventually, get};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{drive, tree};

const SOON: Duration = Duration::from_secs(60);

/// Metrics, or single label values of them, that this test does not move, each with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("conexus_build_info", "a constant"),
    ("go_gc_duration_seconds", "stays 0: there is no garbage collector"),
    ("process_start_time_seconds process=conexus-sidecar", "a constant"),
    // Requests
    ("method=context_get_related_info", "the tool is not there yet"),
    ("method=context_explain", "the tool is not there yet"),
    ("method=context_connector_management", "the tool is not there yet"),
    (
        "conexus_mcp_errors_total error_type=internal",
        "a panic, and nothing a client sends causes one: mcp/stream/tests.rs",
    ),
    (
        "conexus_mcp_errors_total error_type=handler",
        "a file that cannot be read, but root can read all: mcp/resources.rs",
    ),
    ("conexus_mcp_errors_total error_type=timeout", "a search through files of ten seconds: grep/tests.rs"),
    ("conexus_mcp_errors_total method", "each error type is moved, not each for each method"),
    ("conexus_mcp_requests_in_flight method", "most requests are over before anybody looks"),
    // Indexing
    ("conexus_indexer_files_failed_total error_type=io", "a failing disk: index/walk.rs"),
    ("conexus_indexer_files_failed_total error_type=permission", "root may read everything: index/tests/trees.rs"),
    ("conexus_indexer_files_failed_total error_type=parse", "a panic of a parser: none is known"),
    ("conexus_indexer_files_failed_total error_type=store", "a damaged database: index/tests/recovery.rs"),
    ("conexus_indexer_files_failed_total error_type=other", "a panic in the indexer: none is known"),
    ("conexus_embedding_errors_total provider=static", "the static model cannot fail once it is loaded"),
    // The channel: a core that breaks the rules or a sidecar that is overrun.
    ("conexus_telemetry_records_dropped_total kind=error", "a flood of errors: telemetry/channel/tests.rs"),
    ("conexus_telemetry_records_dropped_total reason=ring_full", "a burst within 5 ms: telemetry/trace/tests.rs"),
    ("conexus_telemetry_records_dropped_total reason=ingest_limit", "conexus-sidecar/tests/it/channel.rs"),
    ("conexus_telemetry_records_dropped_total reason=exporter_full", "an exporter that hangs: tests of the exporters"),
    (
        "conexus_telemetry_records_dropped_total reason=spool_full",
        "an exporter that is away for long: tests of the exporters",
    ),
    (
        "conexus_telemetry_records_dropped_total reason=shutdown",
        "a sidecar that is gone at the end: telemetry/channel/tests.rs",
    ),
    ("conexus_telemetry_batches_rejected_total", "a core that breaks the rules: conexus-sidecar/tests/it/channel.rs"),
    ("conexus_telemetry_export_failures_total", "a backend that fails: tests of the exporters"),
    ("conexus_telemetry_export_queue_depth", "a backend that is slow: tests of the exporters"),
    ("conexus_telemetry_exporter_up", "no exporter is switched on here: tests of the exporters"),
    ("conexus_telemetry_spool_bytes", "a backend that is away: tests of the exporters"),
];

/// Samples `/metrics` all the time and remembers which series changed.
struct Watch {
    seen: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn start(address: &str) -> Self {
        let (seen, stop) =
            (Arc::new(Mutex::new(BTreeMap::<String, BTreeSet<String>>::new())), Arc::new(AtomicBool::new(false)));
        let url = format!("http://{address}/metrics");
        std::thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::SeqCst) {
                    let text = get(&url).map(|(_, text)| text).unwrap_or_default();
                    let mut seen = seen.lock().expect("no reader panics");
                    for line in text.lines().filter(|line| !line.starts_with('#')) {
                        if let Some((series, value)) = line.rsplit_once(' ') {
                            seen.entry(series.to_owned()).or_default().insert(value.to_owned());
                        }
                    }
                    drop(seen);
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { seen, stop }
    }

    /// Whether a series of the metric with this label value has had two values.
    fn moved(&self, metric: &str, label: Option<(&str, &str)>) -> bool {
        let seen = self.seen.lock().expect("no writer panics");
        seen.iter().any(|(series, values)| {
            let name = series.split('{').next().unwrap_or_default();
            let of_metric =
                name == metric || name.strip_prefix(metric).is_some_and(|rest| ["_count", "_sum"].contains(&rest));
            let labelled = label.is_none_or(|(name, value)| series.contains(&format!("{name}=\"{value}\"")));
            of_metric && labelled && values.len() > 1
        })
    }

    /// What has not moved, as `metric` or `metric label=value`.
    fn unmoved(&self, catalogue: &[Value]) -> Vec<String> {
        let mut unmoved = Vec::new();
        for metric in catalogue {
            let name = metric["name"].as_str().expect("a metric has a name");
            if !self.moved(name, None) {
                unmoved.push(name.to_owned());
                continue;
            }
            for label in metric["labels"].as_array().expect("labels") {
                let (key, values) =
                    (label["name"].as_str().expect("a name"), label["values"].as_array().expect("values"));
                let values = values.iter().filter_map(Value::as_str);
                let still = values.filter(|value| !self.moved(name, Some((key, value))));
                unmoved.extend(still.map(|value| format!("{name} {key}={value}")));
            }
        }
        unmoved
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn is_excepted(unmoved: &str) -> bool {
    EXCEPTIONS.iter().any(|(what, _)| {
        unmoved == *what
            || unmoved.strip_prefix(what).is_some_and(|rest| rest.starts_with([' ', '=']))
            || unmoved.ends_with(&format!(" {what}"))
    })
}

/// A tree with something of every reason to skip a file.
fn odd_tree(home: &Home) -> PathBuf {
    let root = tree::small(home);
    tree::write(&root, "empty.py", "");
    tree::write(&root, "binary.dat", "a\0b\0c\0\0\0");
    tree::write(&root, "large.txt", &"many words on a line\n".repeat(60_000));
    tree::write(&root, "generated.js", "// Code generated by a tool. DO NOT EDIT.\nexport const one = 1;\n");
    tree::write(&root, ".conexusignore", "left_out/\n");
    tree::write(&root, "left_out/file.py", "x = 1\n");
    std::os::unix::fs::symlink("/etc/hostname", root.join("link.txt")).expect("a temporary folder takes links");
    for number in 0..600 {
        let text = format!("def part_{number}(event):\n    return queue.push(event, {number})\n").repeat(30);
        tree::write(&root, &format!("parts/part_{number}.py"), &text);
    }
    root
}

fn serve(home: &Home, root: &Path, settings: &[(&str, &str)]) -> Core {
    let mut command = home.command("conexusd");
    command.arg("serve").arg("--root").arg(root);
    for (name, value) in settings {
        command.env(name, value);
    }
    Core::start_command(command)
}

/// Everything that a client can ask, and what goes wrong when it asks badly.
fn ask_all(address: &str, root: &Path) {
    let again = json!({"call": "context_search", "arguments": {"query": "queue"}, "repeat": 3});
    drive::over_http(
        address,
        json!([{"server": true}, {"tools": true}, {"resources": true}, {"templates": true}, {"read": "engine://file/src/session.rs"}, again,
            {"call": "context_grep", "arguments": {"pattern": "Session"}}, {"call": "context_index_control", "arguments": {"action": "status"}},
            {"call": "context_index_control", "arguments": {"action": "start"}, "progress": true}]),
    );
    drive::over_legacy_http(address, json!([{"ping": true}]));
    let wire = Wire::to(address, &[]).open();
    let check = |answer: anyhow::Result<(u16, String)>, part: &str| {
        let (_, text) = answer.expect("the server answers");
        assert!(text.contains(part), "{part} in {text}");
    };
    check(wire.ask(1, "ping", &json!({})), "result");
    check(wire.post(b"{"), "-32700");
    check(wire.post(b"{\"jsonrpc\": \"1.0\", \"id\": 1, \"method\": \"ping\"}"), "-32600");
    let unknown = [
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "no/such",
    ];
    for method in unknown {
        check(wire.ask(2, method, &json!({})), "-32601");
    }
    check(wire.call(3, "context_search", &json!({"query": "x", "top_k": 0})), "top_k");
    check(wire.call(4, "no_such_tool", &json!({})), "-32602");
    let stranger = Wire::to(address, &[("origin", "http://elsewhere.example")]);
    check(stranger.ask(5, "ping", &json!({})), "origin");
    // Two runs at a time are refused.
    let first = wire.call(6, "context_index_control", &json!({"action": "force_reindex"}));
    check(first, "");
    let second = wire.call(7, "context_index_control", &json!({"action": "force_reindex"}));
    check(second, "");
    overload(address, root);
}

/// More requests at a time than the server takes, and clients that go away.
fn overload(address: &str, root: &Path) {
    // A text on which this pattern takes long, so that the two searches at a time last.
    tree::write(root, "slow.txt", &format!("{}\n", "ab ".repeat(300)).repeat(300));
    let arguments = json!({"pattern": "(?:\\w+\\s+){20,60}\\d", "include": "slow.txt"});
    let (refused, all) = (Arc::new(AtomicBool::new(false)), Wire::to(address, &[]).open());
    let clients: Vec<_> = (0..320)
        .map(|id| {
            let (wire, arguments, refused) = (all.clone(), arguments.clone(), Arc::clone(&refused));
            std::thread::spawn(move || {
                if let Ok((status, _)) = wire.call(id, "context_grep", &arguments) {
                    refused.fetch_or(status == 429, Ordering::SeqCst);
                }
            })
        })
        .collect();
    eventually("one of 320 requests at a time is refused", SOON, || refused.load(Ordering::SeqCst).then_some(()));
    for id in 0..320 {
        let body = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        all.post(body.to_string().as_bytes()).expect("the server answers");
    }
    clients.into_iter().for_each(|client| client.join().expect("a client ends"));
}

/// A remote provider in each of its moods.
fn embed_badly(core: &Core, root: &Path, embeddings: &Embeddings) {
    let wire = Wire::to(&core.address, &[]).open();
    for (number, mood) in [Mood::OneError, Mood::Refuses, Mood::Busy, Mood::WrongLength, Mood::Nonsense, Mood::Slow]
        .into_iter()
        .enumerate()
    {
        embeddings.set(mood);
        let query = json!({"query": format!("question number {number}")});
        wire.call(number as u64, "context_search", &query).expect("it answers without vectors too");
    }
    embeddings.set(Mood::Refuses);
    tree::write(root, "src/late.py", "def late():\n    return 1\n");
    eventually("a file cannot be embedded", SOON, || core.health()["index"]["last_error"].is_string().then_some(()));
    embeddings.set(Mood::Good);
}

#[test]
fn every_metric_moves() {
    let home = Home::new();
    let embeddings = Embeddings::start();
    let sidecar = Sidecar::start(&home);
    let watch = Watch::start(&sidecar.address);
    let root = odd_tree(&home);
    // No trace is kept but errors, and the ring and what may wait for the sidecar are small.
    let small = [
        ("CONEXUS_TRACING_ENABLED", "true"),
        ("CONEXUS_TRACING_SAMPLE_RATE", "0"),
        ("CONEXUS_TELEMETRY_RING_RECORDS", "256"),
        ("CONEXUS_TELEMETRY_UNSENT_MAX_BYTES", "65536"),
    ];
    let mut core = serve(&home, &root, &small);
    core.wait_until_indexed(SOON);
    ask_all(&core.address, &root);
    // A sidecar that does not read: what waits for it is dropped.
    sidecar.process.signal(Signal::STOP);
    let bad = json!({"call": "context_grep", "arguments": {"pattern": "("}, "repeat": 400});
    drive::over_http(&core.address, json!([bad]));
    sidecar.process.signal(Signal::CONT);
    std::thread::sleep(Duration::from_secs(1));
    core.process.terminate(SOON);

    let url = embeddings.base_url();
    let remote = [
        ("CONEXUS_EMBEDDING_PROVIDER", "openai"),
        ("CONEXUS_EMBEDDING_MODEL", "m"),
        ("CONEXUS_EMBEDDING_BASE_URL", url.as_str()),
        ("CONEXUS_EMBEDDING_TIMEOUT", "1s"),
        ("CONEXUS_EMBEDDING_MAX_RETRIES", "1"),
    ];
    let other = home.folder("other");
    fs::write(other.join("one.py"), "def one():\n    return 1\n").expect("a temporary folder takes files");
    let mut core = serve(&home, &other, &remote);
    core.wait_until_indexed(SOON);
    embed_badly(&core, &other, &embeddings);
    std::thread::sleep(Duration::from_secs(1));
    core.process.kill();

    let catalogue =
        home.command("conexus-sidecar").args(["metrics", "--json"]).output().expect("the catalogue is printed");
    let catalogue: Vec<Value> = serde_json::from_slice(&catalogue.stdout).expect("the catalogue is JSON");
    eventually("the crash is counted", SOON, || watch.moved("conexus_core_crashes_total", None).then_some(()));
    let unmoved: Vec<String> = watch.unmoved(&catalogue).into_iter().filter(|what| !is_excepted(what)).collect();
    assert!(unmoved.is_empty(), "these did not move:\n{}", unmoved.join("\n"));
}

#[test]
fn promtool_finds_nothing_wrong_but_names_that_are_kept() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let home = Home::new();
    let sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    eventually("a snapshot has come", SOON, || sidecar.value("conexus_vectorstore_documents_total", &[]));
    let mut promtool = Command::new(conexus_tests::backend("promtool"));
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool starts");
    promtool.stdin.take().expect("it is piped").write_all(sidecar.metrics().as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // The guide's own name: a gauge that ends like a counter.
    let expected = ["conexus_vectorstore_documents_total"];
    let unexpected: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty() && !expected.iter().any(|name| line.starts_with(name)))
        .collect();
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}
