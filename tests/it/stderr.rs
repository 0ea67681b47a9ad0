//! Standard error: with `log_format: json` every line of a serving program is a JSON object, whatever happens.

use std::process::Command;
use std::time::Duration;

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::stack::{Core, Sidecar};
use rustix::process::Signal;
use serde_json::Value;

use crate::tree;

const SOON: Duration = Duration::from_secs(20);

/// Runs a command to its end; its exit code, and its standard error as JSON, all of it.
#[track_caller]
fn lines(mut command: Command) -> (Option<i32>, Vec<Value>) {
    let output = command.output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\nin:\n{text}"));
    let lines: Vec<Value> = text.lines().map(parse).collect();
    for line in &lines {
        for key in ["timestamp", "level", "message", "target"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    (output.status.code(), lines)
}

fn has_error(lines: &[Value], part: &str) -> bool {
    lines
        .iter()
        .any(|line| line["level"] == "error" && line["message"].as_str().is_some_and(|text| text.contains(part)))
}

#[test]
fn mistakes_and_taken_ports_are_json_lines() {
    let home = Home::new();
    home.write_config("observability:\n  log_format: json\nserver:\n  prot: 1\nsearch:\n  top_k: many\n");
    for (program, verb) in [("conexusd", "serve"), ("conexusd", "mcp"), ("conexus-sidecar", "run")] {
        let mut command = home.command(program);
        command.arg(verb);
        let (code, lines) = lines(command);
        assert_eq!(code, Some(64), "{program} {verb}: {lines:?}");
        assert!(has_error(&lines, "server.prot") && has_error(&lines, "search.top_k"), "{program} {verb}: {lines:?}");
    }
    let home = Home::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let port = taken.local_addr().expect("bound").port().to_string();
    let cases = [
        ("conexusd", "serve", "CONEXUS_PORT", "server.port"),
        ("conexusd", "serve", "CONEXUS_DEBUG_PORT", "observability.debug.port"),
        ("conexus-sidecar", "run", "CONEXUS_METRICS_PORT", "observability.metrics.port"),
    ];
    for (program, verb, variable, key) in cases {
        let mut command = home.command(program);
        command.arg(verb).env(variable, &port);
        if variable == "CONEXUS_DEBUG_PORT" {
            command.env("CONEXUS_DEBUG_ENABLED", "true");
        }
        // What Kubernetes sets for a service of that name is ignored with a warning, which is a line too.
        command.env("CONEXUS_SIDECAR_SERVICE_HOST", "10.0.0.1").current_dir(tree::small(&home));
        let (code, lines) = lines(command);
        assert_eq!(code, Some(1), "{program} {variable}: {lines:?}");
        assert!(has_error(&lines, key) && has_error(&lines, &port), "{program} {variable}: {lines:?}");
        assert!(lines.iter().any(|line| line["level"] == "warn"), "{program} {variable}: {lines:?}");
    }
    let mut command = home.command("conexusd");
    let request = home.path().join("request.json");
    std::fs::write(&request, "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"ping\"}\n")
        .expect("a temporary folder takes files");
    command.args(["mcp", "--root", "/no/such/folder"]).stdin(std::fs::File::open(request).expect("the file is there"));
    let (code, lines) = lines(command);
    assert!(code == Some(1) && has_error(&lines, "/no/such/folder"), "{code:?} {lines:?}");
}

#[test]
fn text_is_for_people() {
    let home = Home::new();
    home.write_config("observability:\n  log_format: text\nserver:\n  prot: 1\n");
    let output = home.command("conexusd").arg("serve").output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("ERROR") && text.contains("server.prot") && !text.contains('{'), "{text}");
}

#[test]
fn the_level_changes_while_both_run_and_a_bad_file_changes_nothing() {
    let home = Home::new();
    let config = |level: &str| home.write_config(&format!("observability:\n  log_level: {level}\n"));
    let sidecar_started = |line: &Value| line["message"] == "sidecar ready";
    let root = tree::small(&home);
    config("info");
    let (mut sidecar, mut core) = (Sidecar::start(&home), Core::start(&home, &root));
    core.wait_until_indexed(SOON);
    assert!(sidecar.process.json_lines().iter().any(sidecar_started));

    let said =
        |core: &Core, message: &str| core.process.json_lines().iter().filter(|line| line["message"] == message).count();
    let requests = |core: &Core| said(core, "MCP request completed");
    let ask = |core: &Core| {
        crate::drive::over_legacy_http(&core.address, serde_json::json!([crate::drive::search("session")]));
    };
    ask(&core);
    core.process.wait_for_line("a request is logged", SOON, |line| line["message"] == "MCP request completed");

    config("warn");
    core.process.signal(Signal::HUP);
    sidecar.process.signal(Signal::HUP);
    // The line that says so is itself below the new level: what shows it is that requests are no longer logged.
    let before = eventually("at level warn requests are not logged", SOON, || {
        let before = requests(&core);
        ask(&core);
        std::thread::sleep(Duration::from_millis(100));
        (requests(&core) == before).then_some(before)
    });

    config("loud");
    core.process.signal(Signal::HUP);
    sidecar.process.signal(Signal::HUP);
    let named = |line: &Value| line["level"] == "error" && line.to_string().contains("observability.log_level");
    core.process.wait_for_line("the mistake is named", SOON, named);
    sidecar.process.wait_for_line("the mistake is named", SOON, named);
    ask(&core);
    assert_eq!(requests(&core), before, "the old level stays");

    config("debug");
    core.process.signal(Signal::HUP);
    core.process.wait_for_line("it is said", SOON, |line| line["log_level"] == "debug");
    ask(&core);
    core.process.wait_for_line("debug lines come", SOON, |line| line["level"] == "debug");
    assert!(requests(&core) > before);
    for line in core.process.log().lines().chain(sidecar.process.log().lines()) {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
