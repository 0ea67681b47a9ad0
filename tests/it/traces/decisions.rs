//! Decisions: which traces are kept, and that what is kept is whole.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::jaeger::{self, Jaeger};
use conexus_tests::stack::Sidecar;
use serde_json::{Value, json};

use super::{SOON, Traced, configure, trace_id, wait_for};
use crate::{drive, tree};

#[test]
fn failed_and_slow_requests_are_kept_whole_when_nothing_else_is() {
    let jaeger = Jaeger::start();
    let traced = Traced::start(&jaeger.grpc, "grpc", ", sample_rate: 0.0, slow_threshold: 5ms");
    drive::over_http(
        &traced.core.address,
        json!([
            drive::search("idle sessions"),
            {"call": "context_grep", "arguments": {"pattern": "("}},
            {"call": "context_search", "arguments": {"query": "session", "top_k": 0}},
            {"call": "no_such_tool"},
            // With somebody to tell its progress to, it waits for the run.
            {"call": "context_index_control", "arguments": {"action": "force_reindex"}, "progress": true},
            drive::search("limit"),
        ]),
    );
    let lines = traced.core.process.json_lines();
    let requests: Vec<&Value> = lines.iter().filter(|line| line["message"] == "MCP request completed").collect();
    let (mut failed, mut slow, mut dropped) = (0, 0, Vec::new());
    for line in requests {
        let (id, took) = (trace_id(line), line["duration_ms"].as_f64().expect("a duration"));
        if line["error"].is_string() {
            failed += 1;
            let root = jaeger::root(&wait_for(&jaeger, &id)).clone();
            assert_eq!(root.tags["error"], true, "{root:#?}");
            assert_eq!(root.tags["otel.status_description"], line["error"], "{root:#?}");
        } else if took > 6.0 {
            slow += 1;
            let spans = wait_for(&jaeger, &id);
            assert!(jaeger::root(&spans).duration > 5_000 && !jaeger::root(&spans).tags.contains_key("error"));
        } else if took < 4.0 {
            dropped.push(id);
        }
    }
    assert_eq!(failed, 3);
    assert!(slow > 0 && !dropped.is_empty(), "{slow} slow, {} dropped\n{lines:#?}", dropped.len());
    for id in dropped {
        assert!(jaeger.trace(&id).is_empty(), "{id} was neither slow nor failed");
    }
    // Work that nobody waits for is not kept for taking long.
    assert!(jaeger.rooted_in("indexer.run").is_empty());
}

/// How many requests, and which share of them is kept.
const REQUESTS: usize = 10_000;
const RATE: f64 = 0.25;

#[test]
fn which_of_ten_thousand_requests_are_kept_follows_from_their_ids() {
    let jaeger = Jaeger::start();
    let home = Home::new();
    configure(&home, &jaeger.http, "http", &format!(", sample_rate: {RATE}, slow_threshold: 1h"));
    let sidecar = Sidecar::start(&home);
    let ids = requests(&home);
    assert_eq!(ids.len(), REQUESTS);
    let sampled: HashSet<&String> = ids.iter().filter(|id| is_sampled(id)).collect();
    let share = sampled.len() as f64 / REQUESTS as f64;
    assert!((share - RATE).abs() < 0.02, "{share}");
    let kept = eventually("all of them are in Jaeger", SOON, || {
        let traces = jaeger.rooted_in("mcp.tools/list");
        (traces.len() >= sampled.len()).then_some(traces)
    });
    let kept: HashSet<String> = kept.iter().map(|spans| jaeger::root(spans).trace_id.clone()).collect();
    assert_eq!(kept.iter().collect::<HashSet<_>>(), sampled);
    let decided = |decision| sidecar.value("conexus_telemetry_traces_sampled_total", &[decision]).unwrap_or(0.0);
    let all = decided("decision=\"kept\"") + decided("decision=\"unsampled\"");
    assert!(all >= REQUESTS as f64, "{all}");
    assert_eq!(sidecar.value("conexus_telemetry_records_dropped_total", &[]), Some(0.0));
}

/// W3C: the low 56 bits are random, and decide.
fn is_sampled(id: &str) -> bool {
    let low = u64::from_str_radix(&id[id.len() - 14..], 16).expect("an id is hexadecimal");
    (low as f64) < RATE * (1u64 << 56) as f64
}

/// Asks for the tools, and returns the trace of each request as the log has it.
fn requests(home: &Home) -> Vec<String> {
    let mut command = home.command("conexusd");
    command.arg("mcp").arg("--root").arg(tree::small(home));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("conexusd starts");
    let (mut stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let stderr = child.stderr.take().expect("piped");
    let log = std::thread::spawn(move || {
        let lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let lines = lines.filter(|line| line["message"] == "MCP request completed" && line["method"] == "tools/list");
        lines.map(|line| trace_id(&line)).collect::<Vec<_>>()
    });
    let mut answers = BufReader::new(stdout).lines();
    let mut say = |message: Value| writeln!(stdin, "{message}").expect("conexusd reads");
    let client =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    say(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client}));
    answers.next().expect("an answer").expect("it is text");
    say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    for id in 1..=REQUESTS {
        say(json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}));
        answers.next().expect("an answer").expect("it is text");
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    log.join().expect("the log is read")
}
