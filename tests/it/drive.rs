//! Driving: operations for the official Python client, and their outcomes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use conexus_tests::home::Home;
use conexus_tests::{program, python};
use serde_json::{Value, json};

/// Runs operations over Streamable HTTP, in one session.
pub(crate) fn over_http(address: &str, operations: Value) -> Vec<Value> {
    let mut command = python::script("drive.py");
    command.args(["http", &format!("http://{address}/mcp")]);
    run(command, operations)
}

/// The same with the handshake of the older revisions.
pub(crate) fn over_legacy_http(address: &str, operations: Value) -> Vec<Value> {
    let mut command = python::script("drive.py");
    command.args(["legacy-http", &format!("http://{address}/mcp")]);
    run(command, operations)
}

/// Runs operations over standard input and output of `conexusd mcp`.
pub(crate) fn over_stdio(home: &Home, root: &std::path::Path, operations: Value) -> Vec<Value> {
    run(stdio(home, root), operations)
}

/// The command that [`over_stdio`] runs.
pub(crate) fn stdio(home: &Home, root: &std::path::Path) -> Command {
    let mut command = python::script("drive.py");
    command
        .env_clear()
        .envs(home.environment())
        .arg("stdio")
        .arg(program("conexusd"))
        .arg("mcp")
        .arg("--root")
        .arg(root);
    command
}

/// Gives a driver its operations and returns what it says.
pub(crate) fn run(mut command: Command, operations: Value) -> Vec<Value> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the driver starts");
    child.stdin.take().expect("it is piped").write_all(operations.to_string().as_bytes()).expect("the driver reads");
    let output = child.wait_with_output().expect("the driver ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the driver failed: {}\n{said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{said}"))
}

/// A `context_search` operation.
pub(crate) fn search(query: &str) -> Value {
    json!({"call": "context_search", "arguments": {"query": query}})
}

/// The paths of a search's results, best first.
pub(crate) fn paths(outcome: &Value) -> Vec<String> {
    let results = outcome["structured"]["results"].as_array().unwrap_or_else(|| panic!("no results: {outcome}"));
    results.iter().map(|result| result["path"].as_str().expect("a result has a path").to_owned()).collect()
}
