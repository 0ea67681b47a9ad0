//! `make run`: what a new user does first.

use std::process::Command;
use std::time::{Duration, Instant};

use conexus_tests::home::Home;
use conexus_tests::process::{Process, interruptible};
use conexus_tests::{build_folder, eventually, free_port, get, workspace};
use rustix::process::Signal;

use crate::tree;

fn script(home: &Home, root: &std::path::Path, mcp: u16, metrics: u16) -> Command {
    let mut command = interruptible(workspace().join("scripts/run.sh"));
    // A user's shell, not this test's: cargo sets variables here on which build scripts depend, and would build again.
    command.env_clear().envs(home.environment());
    // Cargo and the toolchain are the caller's; everything that Conexus reads is the temporary user's.
    for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "SSL_CERT_FILE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.env("ROOT", root).env("QUERY", "where are idle sessions expired");
    command.env("CONEXUS_PORT", mcp.to_string()).env("CONEXUS_METRICS_PORT", metrics.to_string());
    command.env("CARGO_TARGET_DIR", build_folder().parent().expect("a profile is in the target folder"));
    command
}

#[test]
fn it_serves_until_it_is_stopped_and_ends_both_within_two_seconds() {
    let home = Home::new();
    let root = tree::small(&home);
    let (mcp, metrics) = (free_port(), free_port());
    let mut run = Process::start("make run", script(&home, &root, mcp, metrics));
    // The build is there already, but cargo has to see that it is.
    run.wait_for_text("Press Ctrl-C to stop", Duration::from_secs(600));
    let (status, _) = get(&format!("http://127.0.0.1:{mcp}/health")).expect("MCP is up");
    assert_eq!(status, 200);
    eventually("the index is in the metrics", Duration::from_secs(10), || {
        let (_, body) = get(&format!("http://127.0.0.1:{metrics}/metrics")).ok()?;
        body.contains("conexus_indexer_files_indexed_total 4").then_some(())
    });
    let start = Instant::now();
    run.signal(Signal::INT);
    let status = run.wait(Duration::from_secs(10));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(status.success(), "{status}\n{}", run.log());
    assert!(
        get(&format!("http://127.0.0.1:{mcp}/health")).is_err()
            && get(&format!("http://127.0.0.1:{metrics}/health")).is_err()
    );
}

#[test]
fn a_taken_port_is_named_before_anything_is_built() {
    let home = Home::new();
    let root = tree::small(&home);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let port = taken.local_addr().expect("bound").port();
    let output = script(&home, &root, port, free_port()).output().expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains(&format!("port {port} is taken"))
            && said.contains("server.port")
            && said.contains("CONEXUS_PORT"),
        "{said}"
    );
    assert!(!said.contains("Building"), "{said}");
}
