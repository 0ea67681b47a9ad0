//! Killed: a real conexusd, killed while clients wait for its answers.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::stack::{Core, Sidecar};
use serde_json::{Value, json};

/// Kills of a run of the tests.
const KILLS: usize = 4;

#[test]
fn what_conexusd_answered_before_it_was_killed_is_counted() {
    let home = Home::new();
    let sidecar = Sidecar::start(&home);
    let root = root(&home);
    let (answered, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    for _ in 0..KILLS {
        let mut core = Core::start(&home, &root);
        core.wait_until_indexed(Duration::from_secs(60));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| ask_until_it_dies(&core.address, &answered, &sent));
            }
            std::thread::sleep(Duration::from_millis(700));
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(core.process.pid() as i32).expect("a child has a process id"),
                rustix::process::Signal::KILL,
            )
            .expect("it runs");
        });
        core.process.kill();
    }
    let (answered, sent) = (answered.into_inner(), sent.into_inner());
    assert!(answered > KILLS as u64 * 3, "{answered} of {sent} requests were answered");
    let counted = || sidecar.value("conexus_mcp_requests_total", &["method=\"context_search\""]).unwrap_or_default();
    eventually(&format!("{answered} <= {} <= {sent}", counted()), Duration::from_secs(20), || {
        (counted() >= answered as f64).then_some(())
    });
    assert!(counted() <= sent as f64, "{answered} <= {} <= {sent}", counted());
    // Nothing comes later than its burial.
    let before = counted();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(counted(), before);
}

fn root(home: &Home) -> PathBuf {
    let root = home.folder("project");
    fs::write(root.join("session.rs"), "/// Ends idle sessions.\npub fn expire_idle_sessions() {}\n")
        .expect("it takes files");
    root
}

fn ask_until_it_dies(address: &str, answered: &AtomicU64, sent: &AtomicU64) {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
    let post = |session: Option<&str>, message: Value| {
        let mut request = agent
            .post(format!("http://{address}/mcp"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-06-18");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        let mut reply = request.send(message.to_string()).ok()?;
        let session = reply.headers().get("mcp-session-id").and_then(|id| id.to_str().ok().map(str::to_owned));
        // An answer counts when its last byte has arrived.
        let body = reply.body_mut().read_to_string().ok()?;
        Some((session, body))
    };
    let params =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let Some((Some(session), _)) = post(None, hello) else { return };
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    if post(Some(&session), ready).is_none() {
        return;
    }
    for id in 2.. {
        let arguments = json!({"query": format!("idle sessions {}", id % 7)});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "context_search", "arguments": arguments}});
        sent.fetch_add(1, Ordering::AcqRel);
        match post(Some(&session), call) {
            Some((_, body)) if body.contains("session.rs") => answered.fetch_add(1, Ordering::AcqRel),
            _ => return,
        };
    }
}
