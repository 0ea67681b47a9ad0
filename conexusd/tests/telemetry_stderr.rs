//! Is every line on stderr a JSON object, panics included? A child process says something in each way there is.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use conexusd::telemetry::{Level, LogFormat, RootInfo, Telemetry, TelemetryOptions, log_line};
use serde_json::Value;

const CHILD: &str = "TELEMETRY_STDERR_CHILD";

/// The child's part: does nothing when run as a test.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    eprintln!("{}", log_line(LogFormat::Json, Level::Error, "conexusd", "before the start"));
    let options = TelemetryOptions {
        socket: Some("/nonexistent/telemetry.sock".into()),
        mirror: Some(LogFormat::Json),
        ..TelemetryOptions::default()
    };
    let (telemetry, guard) = Telemetry::start(options).unwrap();
    telemetry.install().unwrap();
    assert!(telemetry.install().is_err());
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let entered = trace.scope(trace.root()).enter();
    tracing::warn!(path = "a \"b\"\n", "inside");
    let id = trace.context(trace.root()).trace_id.to_string();
    println!("trace {id}");
    drop(entered);
    let panicked = std::thread::Builder::new().name("worker".into()).spawn(|| panic!("it is \"over\"\nnow"));
    panicked.unwrap().join().unwrap_err();
    telemetry.say(Level::Info, "conexusd", "the end");
    // Without a sidecar the accounts are those of the drain, which takes what is emitted a little later.
    let began = Instant::now();
    while telemetry.accounts().emitted[2] != 1 {
        assert!(began.elapsed() < Duration::from_secs(10), "the panic is an error record: {:?}", telemetry.accounts());
        std::thread::sleep(Duration::from_millis(5));
    }
    guard.shutdown(Duration::from_secs(5));
}

#[test]
fn every_line_on_stderr_is_json() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, "1")
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8(child.stdout).unwrap(), String::from_utf8(child.stderr).unwrap());
    assert!(child.status.success(), "{stdout}{stderr}");
    let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let find = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("{message} in {stderr}"))
    };
    find("before the start");
    find("the end");
    let inside = find("inside");
    assert_eq!((&inside["path"], &inside["level"]), (&"a \"b\"\n".into(), &"warn".into()));
    assert!(stdout.contains(&format!("trace {}", inside["trace_id"].as_str().unwrap())));
    let panicked = find("panicked: it is \"over\"\nnow");
    assert_eq!((&panicked["level"], &panicked["thread"]), (&"error".into(), &"worker".into()));
    assert!(panicked["location"].as_str().unwrap().contains("telemetry_stderr.rs"));
}
