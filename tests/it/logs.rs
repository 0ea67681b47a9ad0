//! Logs: the files that the sidecar writes of what conexusd says.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::stack::{Core, Sidecar};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{drive, tree};

const SOON: Duration = Duration::from_secs(60);

fn folder(home: &Home) -> PathBuf {
    home.path().join("state/conexus")
}

/// The log files, oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("conexus-") && name.ends_with(".log")
    };
    names.filter(ours).collect::<BTreeSet<_>>().into_iter().collect()
}

fn lines(folder: &Path) -> Vec<Value> {
    let text: String = files(folder).iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn requests(folder: &Path) -> Vec<Value> {
    lines(folder).into_iter().filter(|line| line["message"] == "MCP request completed").collect()
}

#[test]
fn every_request_is_a_line_with_the_fields_of_the_contract_and_its_trace() {
    let home = Home::new();
    let mut sidecar = Sidecar::start(&home);
    let mut core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    drive::over_http(
        &core.address,
        json!([drive::search("idle session"), {"call": "context_grep", "arguments": {"pattern": "("}}]),
    );
    let lines = eventually("both lines are there", SOON, || {
        let lines = requests(&folder(&home));
        lines.iter().any(|line| line["method"] == "context_grep").then_some(lines)
    });
    let search = lines.iter().find(|line| line["method"] == "context_search").expect("the search has a line");
    assert!(search["timestamp"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 27), "{search}");
    assert_eq!((&search["level"], &search["target"]), (&json!("info"), &json!("conexusd::mcp::request")));
    assert!(search["duration_ms"].is_number() && search["results"].is_u64(), "{search}");
    assert_eq!(
        (search["trace_id"].as_str().map(str::len), search["span_id"].as_str().map(str::len)),
        (Some(32), Some(16))
    );
    let failed = lines.iter().find(|line| line["method"] == "context_grep").expect("so has the failed one");
    assert!(failed["error"].is_string(), "{failed}");
    // On standard error the same line stands.
    let mirrored = core.process.json_lines();
    assert!(mirrored.iter().any(|line| line == search), "{search}\n{}", core.process.log());
    core.process.terminate(SOON);
    sidecar.process.terminate(SOON);
    assert!(self::lines(&folder(&home)).iter().any(|line| line["message"] == "stopping"), "the last words are there");
}

#[test]
fn a_storm_fills_no_disk_says_what_was_dropped_and_old_files_go() {
    let home = Home::new();
    home.write_config("observability:\n  log_max_bytes: 1 MiB\n  log_max_files: 4\n");
    let sidecar = Sidecar::start(&home);
    let root = tree::small(&home);
    // A client that sends pings as fast as a pipe takes them, and reads the answers.
    let mut command = home.command("conexusd");
    command.arg("mcp").arg("--root").arg(&root).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = command.spawn().expect("conexusd starts");
    let (mut stdin, stdout) = (client.stdin.take().expect("piped"), client.stdout.take().expect("piped"));
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "storm", "version": "1"}}});
    writeln!(stdin, "{initialize}\n{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .expect("it reads");
    const PINGS: usize = 30_000;
    let writer = std::thread::spawn(move || {
        for id in 1..=PINGS {
            writeln!(stdin, "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}").expect("it reads");
        }
        stdin
    });
    let answers = BufReader::new(stdout).lines().map_while(Result::ok).take(PINGS + 1).count();
    assert_eq!(answers, PINGS + 1, "every ping is answered");
    let stdin = writer.join().expect("nobody panics");
    let count = |name: &str, labels: &[&str]| sidecar.value(name, labels).unwrap_or_default();
    let dropped = || count("conexus_telemetry_records_dropped_total", &["kind=\"log\"", "reason=\"ingest_limit\""]);
    let said = || {
        let lines = lines(&folder(&home));
        let said =
            lines.iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains("lines dropped")));
        said.filter_map(|line| line["dropped"].as_f64()).sum::<f64>()
    };
    eventually("what was dropped is said", SOON, || (dropped() > 0.0 && said() == dropped()).then_some(()));
    assert!(dropped() < PINGS as f64 - 9_000.0, "{} dropped", dropped());
    let bytes: u64 = files(&folder(&home)).iter().map(|path| path.metadata().map_or(0, |file| file.len())).sum();
    assert!(files(&folder(&home)).len() <= 4 && bytes <= 1 << 20, "{bytes} bytes in {:?}", files(&folder(&home)));
    assert!(files(&folder(&home)).len() > 1, "it was enough for more than one file");
    assert_eq!(
        count("conexus_mcp_requests_total", &["method=\"ping\"", "status=\"ok\""]),
        PINGS as f64,
        "all are counted"
    );
    drop(stdin);
    client.wait().expect("it ends with its client");
}

#[test]
fn a_file_that_is_taken_away_comes_back_and_the_level_changes_at_run_time() {
    let home = Home::new();
    let mut sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    let ask = || drive::over_http(&core.address, json!([drive::search("idle session")]));
    let searches = || requests(&folder(&home)).iter().filter(|line| line["method"] == "context_search").count();
    ask();
    eventually("a line", SOON, || (searches() == 1).then_some(()));
    for path in files(&folder(&home)) {
        fs::rename(&path, path.with_extension("taken")).expect("the file is ours");
    }
    ask();
    eventually("a new file", SOON, || (searches() == 1).then_some(()));
    home.write_config("observability:\n  log_level: error\n");
    sidecar.process.signal(Signal::HUP);
    let received = |sidecar: &Sidecar| sidecar.value("conexus_telemetry_records_received_total", &["kind=\"log\""]);
    // At that level it does not say so.
    let written = eventually("nothing is written at that level", SOON, || {
        let (before, written) = (received(&sidecar).expect("it is there from the start"), searches());
        ask();
        // Two requests and the search come with each: they must be judged by the level that holds now.
        eventually("its lines have come", SOON, || (received(&sidecar) >= Some(before + 3.0)).then_some(()));
        std::thread::sleep(Duration::from_millis(300));
        (searches() == written).then_some(written)
    });
    home.write_config("observability:\n  log_level: info\n");
    sidecar.process.signal(Signal::HUP);
    sidecar.process.wait_for_line("the level is read again", SOON, |line| line["log_level"] == "info");
    ask();
    eventually("only the last one is written", SOON, || (searches() == written + 1).then_some(()));
}

#[test]
fn text_is_for_people() {
    let home = Home::new();
    home.write_config("observability:\n  log_format: text\n");
    let mut command = home.command("conexus-sidecar");
    command.arg("run");
    let mut sidecar = conexus_tests::process::Process::start("conexus-sidecar", command);
    sidecar.wait_for_text("sidecar ready", SOON);
    let mut command = home.command("conexusd");
    command.arg("serve").arg("--root").arg(tree::small(&home));
    let mut core = conexus_tests::process::Process::start("conexusd", command);
    core.wait_for_text("listening", SOON);
    let read =
        || files(&folder(&home)).iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect::<String>();
    eventually("the line is in the file", SOON, || {
        read()
            .lines()
            .any(|line| line.contains("  INFO conexusd") && line.contains("listening endpoint=mcp"))
            .then_some(())
    });
    core.terminate(SOON);
    sidecar.terminate(SOON);
}

#[test]
fn a_full_disk_is_visible_and_passes_without_the_loss_of_a_line() {
    let home = Home::new();
    let logs = home.folder("logs");
    home.write_config(&format!("observability:\n  log_dir: {}\n", logs.display()));
    // Every write fails as on a full disk.
    let today = |home: &Home| {
        let sidecar = Sidecar::start(home);
        drop(sidecar);
        files(&logs).pop().expect("the sidecar made its file")
    };
    let path = today(&home);
    fs::remove_file(&path).expect("the file is ours");
    std::os::unix::fs::symlink("/dev/full", &path).expect("the folder is ours");
    let sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    drive::over_http(&core.address, json!([drive::search("idle session")]));
    let state = || {
        let (_, body) = conexus_tests::get(&format!("http://{}/health", sidecar.address)).expect("the sidecar answers");
        let health: Value = serde_json::from_str(&body).expect("health is JSON");
        let exporters = health["exporters"].as_array().cloned().expect("exporters");
        (health["status"].clone(), exporters.into_iter().find(|exporter| exporter["name"] == "log").expect("the log"))
    };
    eventually("it is visible", SOON, || {
        let (status, log) = state();
        let said = log["last_error"].as_str().unwrap_or_default().contains("No space left");
        (status == "degraded" && log["up"] == false && said && log["queued"].as_u64() > Some(0)).then_some(())
    });
    assert_eq!(sidecar.value("conexus_telemetry_exporter_up", &["exporter=\"log\""]), Some(0.0));
    assert!(sidecar.value("conexus_telemetry_export_failures_total", &["exporter=\"log\""]) >= Some(1.0));
    fs::remove_file(&path).expect("the link is ours");
    eventually("it passes and nothing is lost", SOON, || {
        let written = requests(&logs).iter().any(|line| line["method"] == "context_search");
        (written && state().1["up"] == true).then_some(())
    });
    assert!(lines(&logs).iter().any(|line| line["message"] == "listening"), "the first lines too");
}
