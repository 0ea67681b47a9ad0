//! Profiles: fetched from a busy process and opened with the stock tool, they name our functions.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use conexus_tests::home::Home;
use conexus_tests::process::Process;
use conexus_tests::stack::{Core, Sidecar};
use conexus_tests::{backend, get_with};
use serde_json::{Value, json};

use crate::{drive, tree};

const SOON: Duration = Duration::from_secs(30);

/// Where a process offers its profiles.
fn address(process: &mut Process) -> String {
    let line = process.wait_for_line("profiles are offered", SOON, |line| line["message"] == "profiles can be fetched");
    line["address"].as_str().expect("an address").to_owned()
}

/// What `go tool pprof -top` says of a profile.
fn top(file: &Path) -> String {
    let mut command = Command::new(backend("go"));
    command
        .args(["tool", "pprof", "-top", "-nodecount=4000"])
        .arg(file)
        .env("HOME", file.parent().expect("in a folder"));
    let output = command.output().expect("go runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

fn fetch(home: &Home, url: &str, name: &str) -> String {
    let mut response = ureq::get(url).call().unwrap_or_else(|error| panic!("{url}: {error}"));
    let bytes = response.body_mut().with_config().limit(64 << 20).read_to_vec().expect("a profile");
    assert!(bytes.starts_with(&[0x1f, 0x8b]), "{url}: gzip");
    let file = home.path().join(name);
    fs::write(&file, bytes).expect("a temporary folder takes files");
    top(&file)
}

#[test]
fn cpu_and_heap_profiles_name_our_functions_in_the_stock_tool() {
    let home = Home::new();
    home.write_config("observability:\n  debug:\n    enabled: true\n    port: 0\n");
    let mut sidecar = Sidecar::start(&home);
    let root = home.folder("many");
    for number in 0..400 {
        let body = format!("def handle_{number}(event):\n    return queue.push(event, {number})\n").repeat(40);
        tree::write(&root, &format!("src/part_{number}.py"), &body);
    }
    let mut core = Core::start(&home, &root);
    let (of_core, of_sidecar) = (address(&mut core.process), address(&mut sidecar.process));
    let busy = std::thread::spawn({
        let address = core.address.clone();
        move || {
            let again = json!({"call": "context_index_control", "arguments": {"action": "force_reindex"}});
            drive::over_http(
                &address,
                json!([again, {"call": "context_grep", "arguments": {"pattern": "e.*e.*e.*x$"}, "repeat": 40}]),
            )
        }
    });
    let cpu = fetch(&home, &format!("http://{of_core}/debug/pprof/profile?seconds=5"), "cpu.pb.gz");
    assert!(cpu.contains("Type: cpu") && cpu.contains("conexusd::"), "{cpu}");
    busy.join().expect("the driver ends");
    core.wait_until_indexed(SOON);
    let heap = fetch(&home, &format!("http://{of_core}/debug/pprof/heap"), "heap.pb.gz");
    assert!(heap.contains("Type: inuse_space") && heap.contains("conexusd::"), "{heap}");
    let heap = fetch(&home, &format!("http://{of_sidecar}/debug/pprof/heap"), "sidecar.pb.gz");
    assert!(heap.contains("inuse_space"), "{heap}");

    let answer = |path: &str, headers: &[(&str, &str)]| {
        get_with(&format!("http://{of_core}{path}"), headers).expect("it answers")
    };
    let (status, text) = answer("/debug/pprof/profile?seconds=0", &[]);
    assert!(status == 400 && text.contains("1 to 300"), "{status} {text}");
    assert_eq!(answer("/debug/pprof/heap", &[("host", "evil.example")]).0, 403);
    assert_eq!(answer("/debug/pprof/", &[]).0, 200);
    let lines: Vec<Value> = core.process.json_lines();
    assert!(lines.iter().all(|line| line["level"] != "error"), "{lines:?}");
}
