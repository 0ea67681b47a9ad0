//! Live: on a loaded stack every query returns data and every command works.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use conexus_tests::build_folder;
use serde_json::{Value, json};

use crate::loaded::Loaded;
use crate::{drive, shipped};

/// Commands that say nothing on a healthy stack: a part of the command, and why.
const QUIET_ON_PURPOSE: [(&str, &str); 5] = [
    ("trace export failed", "no export fails"),
    ("timeout ", "nothing may happen while it watches"),
    ("alert query", "no alert fires"),
    (".error == \"panic\"", "nothing panics on a healthy stack"),
    ("startswith(\"indexer \")", "the indexer only has something to say when something is wrong"),
];

/// Queries that return nothing on a healthy loaded stack: a part of the query, and why.
const EMPTY_ON_PURPOSE: [(&str, &str); 0] = [];

#[test]
fn every_query_returns_data_and_every_command_of_the_documentation_works() {
    let stack = Loaded::start();
    let mut wrong = Vec::new();
    for query in shipped::queries() {
        if EMPTY_ON_PURPOSE.iter().any(|(part, _)| query.text.contains(part)) {
            continue;
        }
        if !returns_data(&stack, &filled(&query.text)) {
            wrong.push(format!("{}: no data: {}", query.place, query.text));
        }
    }
    let firing = stack.prometheus.firing();
    assert!(firing.is_empty(), "alerts fire on a healthy stack: {firing:?}");
    wrong.extend(commands_that_fail(&stack));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    rows_are_the_tools_that_are_advertised(&stack);
}

/// The expression as Grafana would send it.
fn filled(expression: &str) -> String {
    expression.replace("$__rate_interval", "5m").replace("$__range", "5m").replace("$job", "conexus")
}

/// Whether a query gives at least one number; waits a moment for recording rules.
fn returns_data(stack: &Loaded, expression: &str) -> bool {
    let start = Instant::now();
    loop {
        let numbers = stack.prometheus.query(expression).iter().any(|series| series["value"][1] != "NaN");
        if numbers || start.elapsed() > Duration::from_secs(5) {
            return numbers;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Runs every `sh` block as the user whose processes these are, with this test's ports for the default ones.
fn commands_that_fail(stack: &Loaded) -> Vec<String> {
    let logs = stack.home.folder("state/conexus/run");
    fs::write(logs.join("conexusd.log"), stack.core.process.log()).expect("a temporary folder takes files");
    fs::write(logs.join("conexus-sidecar.log"), stack.sidecar.process.log()).expect("a temporary folder takes files");
    let ports = [
        ("8080", stack.core.address.clone()),
        ("9091", stack.sidecar.address.clone()),
        ("9090", stack.prometheus.address()),
        ("9093", stack.alertmanager.address()),
    ];
    let mut wrong = Vec::new();
    for block in shipped::blocks("sh") {
        let mut text = block.text.clone();
        for (default, here) in &ports {
            text = text.replace(&format!("http://localhost:{default}"), &format!("http://{here}"));
        }
        let mut command = shell(stack, &text);
        for (variable, (_, address)) in ["CONEXUS_PORT", "CONEXUS_METRICS_PORT"].iter().zip(&ports) {
            command.env(variable, address.rsplit(':').next().unwrap_or_default());
        }
        let output = command.output().expect("bash runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() || out.contains("does not answer") {
            wrong.push(format!("{}: {}\n{text}{out}{err}", block.place, output.status));
        } else if out.trim().is_empty() && !QUIET_ON_PURPOSE.iter().any(|(part, _)| text.contains(part)) {
            wrong.push(format!("{}: says nothing\n{text}{err}", block.place));
        }
    }
    wrong
}

fn shell(stack: &Loaded, text: &str) -> Command {
    let mut path = vec![build_folder()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", text])
        .env_clear()
        .envs(stack.home.environment())
        .env("PATH", std::env::join_paths(path).expect("folders of PATH have no colon"))
        .env("CONEXUS_ROOT_PATH", &stack.root)
        .current_dir::<&Path>(conexus_tests::workspace().as_ref());
    command
}

/// A row for each tool, and no row for what is not there.
fn rows_are_the_tools_that_are_advertised(stack: &Loaded) {
    let outcomes = drive::over_http(&stack.core.address, json!([{"tools": true}]));
    let advertised: Vec<&str> =
        outcomes[0]["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    let overview = conexus_tests::workspace().join("observability/grafana/dashboards/conexus-overview.json");
    let overview: Value = serde_json::from_str(&shipped::read(&overview)).expect("the overview is JSON");
    let panels = overview["panels"].as_array().expect("a dashboard has panels");
    let rows: Vec<&str> = panels.iter().filter_map(|panel| panel["title"].as_str()?.strip_prefix("Tool: ")).collect();
    assert_eq!(rows, advertised, "TOOLS in observability/grafana/generate.py");
}
