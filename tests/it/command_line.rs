//! The command line: what people and scripts see.

use std::process::{Command, Output};
use std::time::Duration;

use conexus_tests::home::Home;
use conexus_tests::stack::{Core, Sidecar};
use serde_json::Value;

use crate::tree;

fn run(home: &Home, program: &str, arguments: &[&str]) -> Output {
    home.command(program).args(arguments).output().expect("the program runs")
}

fn text(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_search_without_an_index_makes_one_first() {
    let home = Home::new();
    let root = tree::small(&home);
    let output =
        run(&home, "conexusd", &["search", "--root", root.to_str().expect("UTF-8"), "where are idle sessions expired"]);
    let (out, err) = text(&output);
    assert!(output.status.success(), "{err}");
    assert!(out.contains("src/session.rs:"), "{out}{err}");
    assert!(!out.contains('\u{1b}'), "colours belong on a terminal: {out:?}");
}

#[test]
fn batch_answers_a_line_each_in_the_scorer_s_format() {
    let home = Home::new();
    let root = tree::small(&home);
    let questions = home.path().join("questions.jsonl");
    std::fs::write(
        &questions,
        "{\"id\":\"a#0\",\"query\":\"idle session\"}\n{\"id\":\"a#1\",\"query\":\"parse_config\"}\n",
    )
    .expect("written");
    let output = home
        .command("conexusd")
        .args(["search", "--json", "--top-k", "10", "--root"])
        .arg(&root)
        .arg("--batch")
        .arg(&questions)
        .output()
        .expect("conexusd runs");
    let (out, err) = text(&output);
    assert!(output.status.success(), "{err}");
    let replies: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(replies.len(), 2, "{out}");
    assert_eq!(replies[1]["id"], "a#1");
    assert_eq!(replies[1]["results"][0]["path"], "src/config.py");
    assert!(replies[1]["ms"].is_number() && replies[1]["results"][0]["start_line"].is_u64(), "{out}");
}

#[test]
fn index_says_what_it_did() {
    let home = Home::new();
    let root = tree::small(&home);
    let root = root.to_str().expect("UTF-8");
    let output = run(&home, "conexusd", &["index", "--json", "--root", root]);
    let (out, err) = text(&output);
    assert!(output.status.success(), "{err}");
    let summary: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(summary["files"]["indexed"], 4, "{summary}");
    let output = run(&home, "conexusd", &["index", "--json", "--root", root]);
    let summary: Value = serde_json::from_str(&text(&output).0).expect("JSON");
    assert_eq!(
        (&summary["files"]["indexed"], &summary["files"]["skipped_by_reason"]["unchanged"]),
        (&0.into(), &4.into()),
        "{summary}"
    );
    let output = run(&home, "conexusd", &["index", "--rebuild", "--root", root]);
    let (out, err) = text(&output);
    assert!(output.status.success() && out.contains("4 files"), "{out}{err}");
}

#[test]
fn mistakes_are_named_all_at_once_with_exit_code_64() {
    let home = Home::new();
    home.write_config("server:\n  port: 99999\n  prot: 1\nobservability:\n  log_level: loud\n");
    for program in ["conexusd", "conexus-sidecar"] {
        // The harness' own CONEXUS_PORT would hide the file's: environment goes over file.
        let verb = if program == "conexusd" { "serve" } else { "run" };
        let output = home.command(program).arg(verb).env_remove("CONEXUS_PORT").output().expect("the program runs");
        let (_, err) = text(&output);
        assert_eq!(output.status.code(), Some(64), "{program}: {err}");
        for word in ["server.port", "99999", "server.prot", "observability.log_level", "loud"] {
            assert!(err.contains(word), "{program} does not name {word}: {err}");
        }
    }
    let output = run(&Home::new(), "conexusd", &["serve", "--no-such-flag"]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn a_taken_port_is_named_with_its_key() {
    let home = Home::new();
    let root = tree::small(&home);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let port = taken.local_addr().expect("bound").port().to_string();
    let cases = [
        ("conexusd", "serve", "CONEXUS_PORT", "server.port"),
        ("conexus-sidecar", "run", "CONEXUS_METRICS_PORT", "observability.metrics.port"),
    ];
    for (program, verb, variable, key) in cases {
        let mut command: Command = home.command(program);
        command.arg(verb).env(variable, &port).current_dir(&root);
        let output = command.output().expect("the program runs");
        let (_, err) = text(&output);
        assert!(!output.status.success(), "{program} started on a taken port");
        assert!(err.contains(&port) && err.contains(key), "{program}: {err}");
    }
}

#[test]
fn probes_and_the_doctor_tell_a_running_stack_from_a_stopped_one() {
    let home = Home::new();
    let root = tree::small(&home);
    assert_eq!(run(&home, "conexusd", &["health"]).status.code(), Some(1));
    assert_eq!(run(&home, "conexus-sidecar", &["health"]).status.code(), Some(1));
    let sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &root);
    core.wait_until_indexed(Duration::from_secs(30));
    let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
    for (program, variable, address) in
        [("conexusd", "CONEXUS_PORT", &core.address), ("conexus-sidecar", "CONEXUS_METRICS_PORT", &sidecar.address)]
    {
        let output =
            home.command(program).arg("health").env(variable, port(address)).output().expect("the program runs");
        assert!(output.status.success(), "{program}: {}", text(&output).1);
    }
    let output = home
        .command("conexusd")
        .arg("doctor")
        .arg("--set")
        .arg(format!("indexer.root_path={}", root.display()))
        .output()
        .expect("the doctor runs");
    let (out, err) = text(&output);
    assert!(output.status.success(), "{out}{err}");
    let output = run(&home, "conexus-sidecar", &["snapshot", "--json"]);
    let snapshot: Value = serde_json::from_str(&text(&output).0).expect("JSON");
    assert_eq!(snapshot["cores"].as_array().map(Vec::len), Some(1), "{snapshot}");
}
