//! Loaded: both processes with something to show, and a Prometheus and an Alertmanager with the shipped configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conexus_tests::alertmanager::Alertmanager;
use conexus_tests::home::Home;
use conexus_tests::prometheus::Prometheus;
use conexus_tests::stack::{Core, Sidecar};
use conexus_tests::{eventually, workspace};
use serde_json::{Value, json};

use crate::{drive, shipped};

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A stack that has indexed and answered.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) core: Core,
    pub(crate) sidecar: Sidecar,
    pub(crate) prometheus: Prometheus,
    pub(crate) alertmanager: Alertmanager,
    pub(crate) root: PathBuf,
    pub(crate) home: Home,
}

impl Loaded {
    /// Starts everything, indexes a tree with a bit of all, and asks every tool for what works and for what does not.
    pub(crate) fn start() -> Self {
        let home = Home::new();
        let root = tree(&home);
        let sidecar = Sidecar::start(&home);
        let alertmanager = Alertmanager::start(&home, &shipped_alertmanager());
        let config = shipped_prometheus(&home, &sidecar.address, &alertmanager.address(), |rules| rules);
        let prometheus = Prometheus::start_with(&home, &config);
        // A rate needs a value from before: first scrape, then work.
        eventually("the sidecar is scraped", SOON, || prometheus.value("conexus_up{job=\"conexus\"}"));
        let core = Core::start(&home, &root);
        core.wait_until_indexed(SOON);
        let loaded = Self { core, sidecar, prometheus, alertmanager, root, home };
        loaded.ask();
        fs::write(loaded.root.join("late.py"), "def late():\n    return 1\n").expect("the tree takes files");
        loaded.ask();
        eventually("Prometheus has seen it all", SOON, || {
            (loaded.prometheus.value("sum(conexus_mcp_errors_total{method=\"context_grep\"})")? >= 2.0).then_some(())
        });
        loaded
    }

    fn ask(&self) {
        let mut operations = vec![
            json!({"tools": true}),
            json!({"resources": true}),
            json!({"call": "context_grep", "arguments": {"pattern": "def \\w+"}, "repeat": 5}),
            json!({"call": "context_grep", "arguments": {"pattern": "("}}),
            json!({"call": "context_search", "arguments": {"query": "session", "top_k": 0}}),
            json!({"call": "context_index_control", "arguments": {"action": "status"}, "repeat": 3}),
            json!({"call": "context_index_control", "arguments": {"action": "dance"}}),
            json!({"call": "context_index_control", "arguments": {"action": "force_reindex"}}),
            json!({"call": "no_such_tool"}),
        ];
        let words = ["session", "retry", "queue", "handler", "configuration", "limit", "session"];
        operations
            .extend(words.map(|word| json!({"call": "context_search", "arguments": {"query": word}, "repeat": 3})));
        let outcomes = drive::over_http(&self.core.address, Value::Array(operations));
        for outcome in &outcomes[9..] {
            assert_eq!(outcome["is_error"], false, "{outcome}");
        }
    }
}

/// The shipped `prometheus.yml`, faster and pointed at this test's processes; the rules, changed by `edit`, are put beside it.
pub(crate) fn shipped_prometheus(
    home: &Home,
    sidecar: &str,
    alertmanager: &str,
    edit: impl Fn(String) -> String,
) -> String {
    let rules = home.folder("prometheus/rules");
    for path in shipped::files("observability/prometheus/rules", "yml") {
        let name = path.file_name().expect("a listed file has a name");
        fs::write(rules.join(name), edit(shipped::read(&path))).expect("a temporary folder takes files");
    }
    let mut config = shipped::read(&workspace().join("observability/prometheus/prometheus.yml"));
    for (shipped, here) in [
        ("scrape_interval: 15s", "scrape_interval: 500ms"),
        ("scrape_timeout: 10s", "scrape_timeout: 500ms"),
        ("evaluation_interval: 15s", "evaluation_interval: 500ms"),
        ("conexus-sidecar:9091", sidecar),
        ("conexus-alertmanager:9093", alertmanager),
    ] {
        config = replace(&config, shipped, here);
    }
    config
}

/// The shipped `alertmanager.yml`; the file with Slack's address does not have to exist.
pub(crate) fn shipped_alertmanager() -> String {
    shipped::read(&workspace().join("observability/alertmanager/alertmanager.yml"))
}

/// Replaces what must be there.
pub(crate) fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in:\n{text}");
    text.replace(from, to)
}

fn tree(home: &Home) -> PathBuf {
    let root = home.folder("project");
    let write = |path: &str, text: &str| {
        let path: &Path = &root.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a temporary folder takes folders");
        fs::write(path, text).expect("a temporary folder takes files");
    };
    for number in 0..40 {
        write(
            &format!("src/part_{number}.py"),
            &format!(
                "def handle_session_{number}(queue):\n    \"\"\"Retries the handler of part {number}.\"\"\"\n    return queue.push({number})\n"
            ),
        );
    }
    write("docs/limits.md", "# Limits\n\nA client may send ten requests a second. The configuration sets the limit.\n");
    write("empty.txt", "");
    write("picture.bin", "\0\u{1}\u{2}\0\0binary");
    write(".conexusignore", "private/\n");
    write("private/notes.md", "# Notes\n");
    root
}
