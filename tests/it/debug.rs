//! Debug: do stock gRPC clients see what goes on, and do the sidecar's own commands?

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conexus_tests::home::Home;
use conexus_tests::process::interruptible;
use conexus_tests::stack::{Core, Sidecar};
use conexus_tests::{eventually, python};
use serde_json::{Value, json};

use crate::{drive, tree};

const SERVICES: [&str; 3] = ["conexus.telemetry.v1.Ingest", "conexus.telemetry.v1.Debug", "grpc.health.v1.Health"];

fn said(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn socket(home: &Home) -> String {
    home.path().join("run/conexus/telemetry.sock").display().to_string()
}

/// grpcurl speaks the older reflection. It would send the socket's path as the name of the host, which HTTP/2 does not allow.
fn grpcurl(home: &Home, body: &str, arguments: &[&str]) -> Command {
    let mut command = interruptible(python::tool("grpcurl"));
    command.args(["-plaintext", "-unix", "-authority", "localhost", "-d", body, &socket(home)]);
    command.args(arguments).env("HOME", home.path());
    command
}

/// buf speaks the newer one.
fn buf(home: &Home, arguments: &[&str]) -> Command {
    let mut command = interruptible(python::tool("buf"));
    command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "--unix-socket", &socket(home)]);
    command.args(arguments).env("HOME", home.path());
    command
}

/// Streams until all of `wanted` has come.
fn streamed(mut command: Command, wanted: &[&str], meanwhile: impl Fn()) {
    // A group of its own: what comes from PyPI is a script that runs the program.
    command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("the client starts");
    let said = Arc::new(Mutex::new(String::new()));
    let stdout = child.stdout.take().expect("it is piped");
    let reader = std::thread::spawn({
        let said = Arc::clone(&said);
        move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                said.lock().expect("nobody panicked").push_str(&line);
            }
        }
    });
    // Again and again: it may not have been connected yet.
    eventually(&format!("{wanted:?} is streamed"), Duration::from_secs(60), || {
        meanwhile();
        let said = said.lock().expect("nobody panicked");
        wanted.iter().all(|text| said.contains(text)).then_some(())
    });
    let _ = Command::new("kill").args(["-INT", "--", &format!("-{}", child.id())]).status();
    let _ = child.wait();
    reader.join().expect("it reads to the end");
}

#[test]
fn stock_grpc_clients_and_our_own_show_what_goes_on() {
    let home = Home::new();
    // Spans are made for whoever takes them.
    home.write_config("observability:\n  tracing:\n    enabled: true\n");
    let _sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(Duration::from_secs(60));
    eventually("the core is connected", Duration::from_secs(20), || {
        (core.health()["telemetry"]["connected"] == true).then_some(())
    });
    let listed = said(grpcurl(&home, "{}", &["list"]));
    let listed_by_buf = said(buf(&home, &["--list-services", "http://localhost"]));
    for service in SERVICES {
        assert!(listed.contains(service) && listed_by_buf.contains(service), "{service}: {listed}{listed_by_buf}");
    }
    assert!(said(grpcurl(&home, "{}", &["describe", "conexus.telemetry.v1.Debug"])).contains("rpc Tail"));
    assert!(said(grpcurl(&home, "{}", &["grpc.health.v1.Health/Check"])).contains("SERVING"));
    let snapshot =
        |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")) };
    for text in [
        said(grpcurl(&home, "{}", &["conexus.telemetry.v1.Debug/Snapshot"])),
        said(buf(&home, &["-d", "{}", "http://localhost/conexus.telemetry.v1.Debug/Snapshot"])),
    ] {
        let reply = snapshot(&text);
        assert_eq!(reply["cores"][0]["serving"], true, "{}", reply["cores"]);
        assert!(reply["series"].as_array().is_some_and(|series| series.len() > 500));
    }
    let search = || {
        drive::over_http(&core.address, json!([drive::search("idle session")]));
    };
    let only = r#"{"kinds": ["measure"], "contains": "conexus_mcp_requests_total"}"#;
    for command in [
        grpcurl(&home, only, &["conexus.telemetry.v1.Debug/Tail"]),
        buf(&home, &["-d", only, "http://localhost/conexus.telemetry.v1.Debug/Tail"]),
    ] {
        streamed(command, &["conexus_mcp_requests_total", "context_search"], search);
    }
    let ours = |arguments: &[&str]| {
        let mut command = home.command("conexus-sidecar");
        command.args(arguments);
        command
    };
    streamed(ours(&["tail"]), &["mcp.search"], search);
    let top = said(ours(&["top", "-n", "1", "-i", "0.1"]));
    assert!(top.contains("TELEMETRY") && top.contains("context_search"), "{top}");
    let state = snapshot(&said(ours(&["snapshot", "--json"])));
    assert_eq!(state["cores"][0]["connected"], true, "{}", state["cores"]);
}
