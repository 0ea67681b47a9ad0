//! Secrets: planted wherever a user or a client can put one, and then looked for in everything that leaves the processes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use conexus_tests::embeddings::{Embeddings, Mood};
use conexus_tests::home::Home;
use conexus_tests::stack::{Core, Sidecar};
use conexus_tests::wire::Wire;
use conexus_tests::{eventually, get, get_with};
use serde_json::{Value, json};

use crate::tree;

const SOON: Duration = Duration::from_secs(30);

/// What is planted: a name for the place, and the text that must be seen nowhere.
struct Plants {
    all: Vec<(&'static str, String)>,
}

impl Plants {
    fn new() -> Self {
        // Different for each place, so that a leak says where it came from.
        let random = |seed: usize| -> String {
            let letters = b"aB3dE6gH1jK0mN2pQ5sT8vW4xY7zC9fR";
            (0..36).map(|i| char::from(letters[(i * 7 + i / 32 + seed * 5) % 32])).collect()
        };
        let all = vec![
            ("auth.tokens", format!("{}-{}", random(1), random(2))),
            ("embedding.api_key", format!("sk-{}", random(3))),
            ("sentry.dsn", random(4).to_lowercase()),
            ("query", format!("ghp_{}", random(5))),
            ("password in a query", "correct-horse-7".to_owned()),
            ("url in a query", "ana:pa55".to_owned()),
            ("parameter", format!("glpat-{}", random(6))),
            ("wrong bearer", random(7)),
            ("cookie", random(8)),
            ("session id", format!("xoxb-{}", random(9))),
            ("tool name", format!("ghs_{}", random(10))),
            ("method name", format!("gho_{}", random(11))),
            ("uri", format!("npm_{}", random(12))),
            ("file path", format!("ghu_{}", random(13))),
            ("request id", format!("ghr_{}", random(14))),
            ("e-mail", "ana.lopez@mail.example.com".to_owned()),
        ];
        Self { all }
    }

    fn of(&self, place: &str) -> &str {
        &self.all.iter().find(|(name, _)| *name == place).unwrap_or_else(|| panic!("nothing is planted as {place}")).1
    }

    /// Fails if a text that left the processes holds one of them.
    fn check(&self, captures: &[(&str, String)]) {
        let mut leaks = Vec::new();
        for (capture, text) in captures {
            assert!(!text.is_empty(), "{capture} captured nothing");
            for (place, secret) in &self.all {
                if let Some(at) = text.find(secret.as_str()) {
                    let (from, to) = (
                        text.floor_char_boundary(at.saturating_sub(200)),
                        text.ceil_char_boundary((at + 100).min(text.len())),
                    );
                    leaks.push(format!("{place} in {capture}: ...{}...", &text[from..to]));
                }
            }
        }
        assert!(leaks.is_empty(), "\n{}", leaks.join("\n\n"));
    }
}

/// Everything below a folder, as text.
fn files_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        text.push_str(&format!("{}\n", path.display()));
        if path.is_dir() {
            text.push_str(&files_below(&path));
        } else {
            text.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()));
        }
    }
    text
}

/// A live view of all records, into a file.
struct Tail {
    child: Child,
    file: std::path::PathBuf,
}

impl Tail {
    fn start(home: &Home) -> Self {
        let file = home.path().join("tail.jsonl");
        let out = fs::File::create(&file).expect("a temporary folder takes files");
        let mut command = home.command("conexus-sidecar");
        let child = command.args(["tail", "--json"]).stdout(out).stderr(Stdio::null()).spawn().expect("tail starts");
        Self { child, file }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).expect("the file is there")
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plant_config(home: &Home, plants: &Plants, embeddings: &Embeddings) {
    home.write_config(&format!(
        "observability:\n  log_level: debug\n  sentry:\n    enabled: true\n    dsn: http://{}@127.0.0.1:9/7\nembedding:\n  provider: openai\n  model: m\n  max_retries: 0\n  base_url: {}\n  api_key: {}\nauth:\n  enabled: true\n  tokens: [\"ana:{}\"]\n",
        plants.of("sentry.dsn"),
        embeddings.base_url(),
        plants.of("embedding.api_key"),
        plants.of("auth.tokens"),
    ));
}

/// Sends secrets wherever a client can; returns the errors that it got.
fn drive(address: &str, plants: &Plants) -> String {
    let bearer = |token: &str| format!("Bearer {token}");
    let (right, wrong) = (bearer(plants.of("auth.tokens")), bearer(plants.of("wrong bearer")));
    let cookie = format!("sid={}", plants.of("cookie"));
    let wire =
        Wire::to(address, &[("authorization", &right), ("cookie", &cookie), ("traceparent", plants.of("cookie"))])
            .open();
    let query = |place: &str, text: &str| json!({"query": text.replace("{}", plants.of(place))});
    let mut answers = Vec::new();
    for (place, text) in [
        ("query", "where is {} used"),
        ("password in a query", "login with password={} fails"),
        ("url in a query", "postgres://{}@db:5432/app"),
        ("e-mail", "commits of {}"),
        ("auth.tokens", "{}"),
        ("embedding.api_key", "who reads {}"),
    ] {
        // A search repeats nothing of its query but in its answer, which is the client's own.
        wire.call(1, "context_search", &query(place, text)).expect("it answers");
    }
    answers.push(wire.call(
        2,
        "context_search",
        &json!({"query": "x", "filters": {"paths": [format!("[{}", plants.of("parameter"))]}}),
    ));
    answers.push(wire.call(3, "context_grep", &json!({"pattern": format!("({}", plants.of("parameter"))})));
    answers.push(wire.call(
        4,
        "context_grep",
        &json!({"pattern": "x", "path": plants.of("parameter"), "password": plants.of("password in a query")}),
    ));
    answers.push(wire.call(5, plants.of("tool name"), &json!({})));
    answers.push(wire.ask(6, plants.of("method name"), &json!({})));
    answers.push(wire.ask(7, "resources/read", &json!({"uri": format!("engine://file/{}", plants.of("uri"))})));
    answers.push(wire.post(format!("{{\"token\": \"{}\"", plants.of("wrong bearer")).as_bytes()));
    let odd = json!({"jsonrpc": "2.0", "id": plants.of("request id"), "method": "ping"});
    wire.post(odd.to_string().as_bytes()).expect("it answers");
    let stranger = |headers: &[(&str, &str)]| Wire::to(address, headers).ask(8, "ping", &json!({}));
    answers.push(stranger(&[("authorization", &wrong)]));
    answers.push(stranger(&[("authorization", &right), ("origin", &format!("http://{}", plants.of("wrong bearer")))]));
    answers.push(stranger(&[("authorization", &right), ("host", &format!("{}.example", plants.of("wrong bearer")))]));
    answers.push(stranger(&[("authorization", &right), ("mcp-session-id", plants.of("session id"))]));
    answers.into_iter().map(|answer| format!("{:?}\n", answer.expect("the server answers"))).collect()
}

/// What conexusd's own commands print when nothing is wrong and when something is.
fn printed(home: &Home, root: &Path) -> String {
    let run = |mut command: Command| {
        let output = command.arg("--root").arg(root).current_dir(home.path()).output().expect("the program runs");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let command = |arguments: &[&str]| {
        let mut command = home.command("conexusd");
        command.args(arguments);
        command
    };
    let mut bad = command(&["serve"]);
    bad.env("CONEXUS_SENTRY_SAMPLE_RATE", "7");
    [run(command(&["doctor", "--production"])), run(command(&["status"])), run(command(&["config", "show"])), run(bad)]
        .concat()
}

#[test]
fn planted_secrets_leave_by_no_way() {
    let (home, plants, embeddings) = (Home::new(), Plants::new(), Embeddings::start());
    plant_config(&home, &plants, &embeddings);
    let root = tree::small(&home);
    tree::write(&root, &format!("keys/{}.py", plants.of("file path")), "def key():\n    return 1\n");
    let sidecar = Sidecar::start(&home);
    let tail = Tail::start(&home);
    let core = Core::start(&home, &root);
    core.wait_until_indexed(SOON);
    let answers = drive(&core.address, &plants);
    // The provider refuses and repeats the key; a file with a secret in its path cannot be embedded.
    embeddings.set(Mood::RepeatsTheKey);
    tree::write(&root, &format!("keys/{}.py", plants.of("file path")), "def other_key():\n    return 2\n");
    eventually("the failure is known", SOON, || core.health()["index"]["last_error"].is_string().then_some(()));
    drive(&core.address, &plants);
    eventually("the records have passed", SOON, || {
        tail.text().contains("correct").then_some(()).or_else(|| tail.text().contains("\"error\"").then_some(()))
    });
    std::thread::sleep(Duration::from_secs(1));

    let openmetrics = get_with(
        &format!("http://{}/metrics", sidecar.address),
        &[("accept", "application/openmetrics-text; version=1.0.0")],
    );
    let snapshot = home.command("conexus-sidecar").args(["snapshot", "--json"]).output().expect("the program runs");
    let health = |address: &str| get(&format!("http://{address}/health")).expect("it answers").1;
    // One line for each way out.
    let captures = [
        ("conexusd's standard error", core.process.log()),
        ("the sidecar's standard error", sidecar.process.log()),
        ("/metrics", sidecar.metrics()),
        ("/metrics as OpenMetrics", openmetrics.expect("it answers").1),
        ("the live view", tail.text()),
        ("the snapshot", String::from_utf8_lossy(&snapshot.stdout).into_owned()),
        ("MCP errors", answers),
        ("conexusd's health", health(&core.address)),
        ("the sidecar's health", health(&sidecar.address)),
        ("the state and log folders", files_below(&home.path().join("state"))),
        ("conexusd's commands", printed(&home, &root)),
    ];
    plants.check(&captures);
    let lines: Vec<Value> = tail.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.iter().any(|line| line.to_string().contains("[redacted]")), "the live view shows what was hidden");
}
