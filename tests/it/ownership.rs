//! Ownership: one process has an index, and everything else works beside it.

use std::time::Duration;

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::stack::Core;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{drive, tree};

fn search_command(home: &Home, root: &std::path::Path, query: &str) -> Value {
    let output = home
        .command("conexusd")
        .args(["search", "--json", "--root"])
        .arg(root)
        .arg(query)
        .output()
        .expect("conexusd runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the answer is JSON")
}

#[test]
fn search_and_status_work_while_the_daemon_runs() {
    let home = Home::new();
    let root = tree::small(&home);
    let core = Core::start(&home, &root);
    core.wait_until_indexed(Duration::from_secs(30));
    assert_eq!(search_command(&home, &root, "parse_config")["results"][0]["path"], "src/config.py");
    let status =
        home.command("conexusd").args(["status", "--json", "--root"]).arg(&root).output().expect("conexusd runs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let again =
        home.command("conexusd").args(["index", "--json", "--root"]).arg(&root).output().expect("conexusd runs");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn two_stdio_clients_on_one_root_both_work() {
    let home = Home::new();
    let root = tree::small(&home);
    let operations = json!([
        {"call": "context_index_control", "arguments": {"action": "start"}, "progress": true},
        {"call": "context_search", "arguments": {"query": "idle session"}, "repeat": 50},
    ]);
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..2).map(|_| scope.spawn(|| drive::over_stdio(&home, &root, operations.clone()))).collect();
        for client in clients {
            let outcomes = client.join().expect("the driver does not fail");
            assert_eq!(drive::paths(&outcomes[1])[0], "src/session.rs");
        }
    });
}

#[test]
fn a_bridge_takes_over_when_the_owner_is_killed() {
    let home = Home::new();
    let root = tree::small(&home);
    let core = Core::start(&home, &root);
    core.wait_until_indexed(Duration::from_secs(30));
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            drive::over_stdio(
                &home,
                &root,
                json!([{"call": "context_search", "arguments": {"query": "idle session"}, "repeat": 2000}]),
            )
        });
        // The client is at work when its owner dies.
        std::thread::sleep(Duration::from_millis(1500));
        core.process.signal(Signal::KILL);
        let outcomes = client.join().expect("the client sees no failure");
        assert_eq!(drive::paths(&outcomes[0])[0], "src/session.rs");
    });
}

#[test]
fn an_edit_is_found_without_being_asked_to_look() {
    let home = Home::new();
    let root = tree::small(&home);
    let core = Core::start(&home, &root);
    core.wait_until_indexed(Duration::from_secs(30));
    tree::write(
        &root,
        "src/retry.go",
        "package retry\n\n// BackoffWithJitter waits longer after each failure.\nfunc BackoffWithJitter(attempt int) {}\n",
    );
    std::fs::remove_file(root.join("src/config.py")).expect("the file is there");
    eventually("the new file is found", Duration::from_secs(20), || {
        let answer = search_command(&home, &root, "BackoffWithJitter");
        (answer["results"][0]["path"] == "src/retry.go").then_some(())
    });
    eventually("the deleted file is gone", Duration::from_secs(20), || {
        let answer = search_command(&home, &root, "parse_config");
        let results = answer["results"].as_array().expect("a list");
        results.iter().all(|result| result["path"] != "src/config.py").then_some(())
    });
}

#[test]
fn a_repository_configures_nothing() {
    let home = Home::new();
    let root = tree::small(&home);
    for name in ["config.yml", "conexus.yml", ".conexus/config.yml", "conexus/config.yml"] {
        tree::write(&root, name, "server:\n  host: 0.0.0.0\n  port: 1\nobservability: [not, a, mapping]\n");
    }
    let mut command = home.command("conexusd");
    command.arg("serve").current_dir(&root);
    let core = Core::start_command(command);
    core.wait_until_indexed(Duration::from_secs(30));
    assert!(core.address.starts_with("127.0.0.1:"), "{}", core.address);
    let outcomes = drive::over_http(&core.address, json!([drive::search("idle session")]));
    assert_eq!(drive::paths(&outcomes[0])[0], "src/session.rs");
    let listed = std::fs::read_dir(&root).expect("the root is there").count();
    assert_eq!(listed, 7, "something was written into the indexed tree");
}
