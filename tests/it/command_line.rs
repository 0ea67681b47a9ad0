//! The command line: what people and scripts see.

use std::process::{Command, Output};
use std::time::Duration;

use conexus_tests::home::Home;
use conexus_tests::process::{Process, interruptible};
use conexus_tests::stack::{Core, Sidecar};
use conexus_tests::{eventually, free_port};
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
    let nobody = free_port().to_string();
    for (program, variable) in [("conexusd", "CONEXUS_PORT"), ("conexus-sidecar", "CONEXUS_METRICS_PORT")] {
        let output = home.command(program).arg("health").env(variable, &nobody).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{program}: {}", text(&output).1);
    }
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

#[test]
fn arguments_that_a_search_cannot_take_are_bad_usage_and_named_by_their_flag() {
    let home = Home::new();
    let root = tree::small(&home);
    let root = root.to_str().expect("UTF-8");
    let many = vec!["--path=*.rs"; 101];
    let cases: [(&[&str], &str); 9] = [
        (&["--language", "klingon", "x"], "--language"),
        (&["--language", "rust,klingon", "x"], "--language"),
        (&["--path", "[", "x"], "--path"),
        (&["--path", "", "x"], "--path"),
        (&["--offset", "10001", "x"], "--offset"),
        (&["--top-k", "101", "x"], "--top-k"),
        (&[""], "QUERY"),
        (&[&"x".repeat(65_537)], "QUERY"),
        (&[&many[..], &["x"]].concat(), "--path"),
    ];
    for (arguments, flag) in cases {
        let output = run(&home, "conexusd", &[&["search", "--root", root], arguments].concat());
        let err = text(&output).1;
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {err}");
        assert!(err.contains(flag) && !err.contains("filters"), "{arguments:?}: {err}");
    }
    let output = run(&home, "conexusd", &["search", "--root", root, "--language", "klingon", "x"]);
    assert!(text(&output).1.contains("unknown language \"klingon\": did you mean"), "{}", text(&output).1);
    // The most that the tool takes is the most that the command line takes.
    let limits =
        [&["--offset", "10000", "--top-k", "100", "--language", "rust", "--path", "[a-z]*"], &many[..8]].concat();
    let longest = "x ".repeat(32_768);
    let output = run(&home, "conexusd", &[&["search", "--root", root], &limits[..], &[&longest]].concat());
    assert!(output.status.success(), "{}", text(&output).1);
}

#[test]
fn a_root_that_is_not_there_is_named_with_its_key_by_every_command() {
    let home = Home::new();
    for verb in [&["index"][..], &["search", "x"], &["status"], &["mcp"], &["serve"]] {
        let output = run(&home, "conexusd", &[verb, &["--root", "/no/such/folder"]].concat());
        let err = text(&output).1;
        assert!(!output.status.success(), "{verb:?}: {err}");
        assert!(err.contains("indexer.root_path: /no/such/folder: there is no such folder"), "{verb:?}: {err}");
    }
}

#[test]
fn an_interrupted_index_of_its_own_is_said_to_be_incomplete() {
    let home = Home::new();
    let root = home.folder("project");
    for file in 0..4000 {
        let function =
            |i: u32| format!("/// Adds {file} and {i}.\npub fn add_{file}_{i}(a: u64) -> u64 {{\n    a + {i}\n}}\n\n");
        tree::write(&root, &format!("src/f{file}.rs"), &(0..40).map(function).collect::<String>());
    }
    let status = |json: &[&str]| {
        let output = run(&home, "conexusd", &[&["status", "--root", root.to_str().expect("UTF-8")], json].concat());
        text(&output).0
    };
    let mut command = interruptible(conexus_tests::program("conexusd"));
    command.env_clear().envs(home.environment()).env("CONEXUS_INDEXER_WORKERS", "1");
    command.args(["index", "--root"]).arg(&root);
    let mut index = Process::start("conexusd index", command);
    // Whoever asks earlier would own the index itself.
    let database = home.path().join("data/conexus");
    let owned =
        || std::fs::read_dir(&database).ok()?.flatten().find(|folder| folder.path().join("control.sock").exists());
    eventually("the index has an owner", Duration::from_secs(30), owned);
    eventually("files are being indexed", Duration::from_secs(30), || {
        let status: Value = serde_json::from_str(&status(&["--json"])).expect("JSON");
        assert_ne!(status["index"]["complete"], true, "it was done before it could be interrupted");
        (status["index"]["files"].as_u64() > Some(0)).then_some(())
    });
    index.signal(rustix::process::Signal::INT);
    let ended = index.wait(Duration::from_secs(20));
    assert_eq!(ended.code(), Some(130), "{}", index.log());
    assert!(index.log().contains("interrupted: the index is not complete"), "{}", index.log());
    let text = status(&[]);
    assert!(text.contains("not complete\n") && text.contains("no run has come to its end yet"), "{text}");
}
