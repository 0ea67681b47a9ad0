//! The program's life: start, signals, kills, exit codes.

use std::io::{BufRead, Read};
use std::time::Duration;

use conexus_proto::facts::{Fact, SkipReason};
use conexus_proto::v1::to_sidecar;

use super::core::Core;
use super::http::{get, never_fell, scrape};
use super::program::{self, Program};

const SKIPPED: &str = "conexus_indexer_files_skipped_total{reason=\"empty\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_sidecar_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = Core::new(9);
    let mut before = None;
    for round in 1..=5u64 {
        // The socket that the killed one left is cleaned away.
        let sidecar = Program::start(folder.path());
        let samples = scrape(sidecar.address).await;
        if let Some(before) = &before {
            never_fell(before, &samples);
        }
        let (mut stream, last) = core.connect(&program::socket(folder.path())).await;
        assert_eq!(last, (round - 1) * 20);
        for _ in 0..20 {
            core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
            core.report(&mut stream, vec![]).await;
        }
        let samples = scrape(sidecar.address).await;
        assert_eq!(samples[SKIPPED], (round * 20) as f64);
        before = Some(samples);
        sidecar.signal("-KILL");
    }
    let sidecar = Program::start(folder.path());
    never_fell(&before.unwrap(), &scrape(sidecar.address).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_program_within_two_seconds_even_with_an_idle_core() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut sidecar = Program::start(folder.path());
        let mut core = Core::new(9);
        let (mut stream, _) = core.connect(&program::socket(folder.path())).await;
        core.report(&mut stream, vec![]).await;
        sidecar.signal(signal);
        let (status, took) = tokio::task::block_in_place(|| sidecar.wait());
        assert!(status.success() && took < Duration::from_secs(2), "{status} after {took:?}");
        assert!(!program::socket(folder.path()).exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_refuses_delays_what_is_shown_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Program::start_with_file_limits(folder.path());
    let mut core = Core::new(9);
    let (mut stream, _) = core.connect(&program::socket(folder.path())).await;
    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    core.report(&mut stream, vec![]).await;

    sidecar.limit_files(Some(1000));
    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    let batch = core.batch(vec![]);
    stream.send(to_sidecar::Message::Batch(batch)).await;
    let report = loop {
        let health = get(sidecar.address, "/health", "").await;
        let report: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
        if report["storage"]["ok"] == false {
            break report;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(scrape(sidecar.address).await[SKIPPED], 1.0, "what is not on disk is not shown");
    assert_eq!((&report["status"], &report["storage"]["ok"]), (&"degraded".into(), &false.into()));
    assert!(report["storage"]["error"].as_str().unwrap().contains("measures.redb"), "{report}");

    sidecar.limit_files(None);
    stream.acknowledged(2).await;
    assert_eq!(scrape(sidecar.address).await[SKIPPED], 2.0);
    let health = get(sidecar.address, "/health", "").await;
    assert!(String::from_utf8_lossy(&health.body).contains("\"status\":\"ok\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reads_the_log_level_again_and_nothing_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut sidecar = Program::start(folder.path());
    sidecar.signal("-HUP");
    let mut line = String::new();
    tokio::task::block_in_place(|| sidecar.lines.read_line(&mut line)).unwrap();
    assert!(line.contains("the log level was read again"), "{line}");
    assert_eq!(get(sidecar.address, "/healthz", "").await.status, 200);
}

#[test]
fn what_is_taken_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Program::start(folder.path());
    let other = tempfile::tempdir().unwrap();
    let port = format!("observability.metrics.port={}", sidecar.address.port());
    let output = program::run(other.path(), &["--set", &port, "run"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains(&sidecar.address.port().to_string()) && text.contains("observability.metrics.port"),
        "{text}"
    );

    let output = program::run(folder.path(), &["run"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("another sidecar listens there"), "{text}");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("start-up errors are JSON lines too");
    }
}

#[test]
fn a_taken_profile_port_is_named_with_its_key_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = other.local_addr().unwrap();
    let port = format!("observability.debug.port={}", taken.port() - 1);
    let output = program::run(folder.path(), &["--set", "observability.debug.enabled=true", "--set", &port, "run"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).expect("one line says it");
    let message = line["message"].as_str().unwrap();
    assert!(message.contains("observability.debug.port") && message.contains(&taken.to_string()), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no socket, no state");
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    for (args, code) in [
        (&["metrics"][..], 0),
        (&["metrics", "--markdown"], 0),
        (&["completions", "bash"], 0),
        (&["--help"], 0),
        (&["nonsense"], 64),
        (&["run", "--set", "observability.metrics.port=x"], 64),
        (&["run", "--set", "nothing"], 64),
        (&["health"], 64),
        (&["health", "--address", "127.0.0.1:1"], 1),
        (&["snapshot"], 1),
        (&["tail", "--filter", "a", "--filter", "b"], 64),
    ] {
        let output = program::run(folder.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_live_commands_show_a_running_sidecar() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Program::start(folder.path());
    let address = sidecar.address.to_string();
    let show = |args: &[&str]| {
        let output = program::run(folder.path(), args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(show(&["health", "--address", &address]).contains("\"status\":\"ok\""));
    assert!(show(&["health", "--ready", "--quiet", "--address", &address]).is_empty());
    assert!(show(&["snapshot"]).contains("no core is connected"));
    let json: serde_json::Value = serde_json::from_str(&show(&["snapshot", "--json"])).unwrap();
    assert!(json["series"].as_array().unwrap().len() > 500);
    assert!(show(&["top", "-n", "1", "-i", "0.1"]).contains("TELEMETRY"));
    assert!(!show(&["metrics"]).contains('\x1b'), "no colours into a pipe");

    let mut tail = program::command(folder.path());
    let mut tail = tail.arg("tail").stdout(std::process::Stdio::piped()).spawn().unwrap();
    while !program::handles_interrupts(tail.id()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &tail.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(tail.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    tail.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
}
