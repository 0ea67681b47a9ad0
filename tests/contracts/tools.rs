//! Tools: promtool, amtool and the dashboards' generator accept the files as they are.

use std::ffi::OsStr;
use std::process::Command;

use conexus_tests::{backend, workspace};

use crate::shipped;

/// Runs a program that must succeed; what it said.
fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = Command::new(backend(program));
    command.args(arguments).current_dir(workspace());
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

#[test]
fn promtool_accepts_configuration_and_rules() {
    let said = run("promtool", ["check", "config", "observability/prometheus/prometheus.yml"]);
    assert!(said.contains("2 rule files found"), "{said}");
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let tests = shipped::files("observability/prometheus/rules/tests", "yml");
    let arguments =
        ["test", "rules"].map(Into::into).into_iter().chain(tests.iter().map(|path| path.clone().into_os_string()));
    let said = run("promtool", arguments);
    assert_eq!(said.matches("SUCCESS").count(), tests.len(), "{said}");
}

#[test]
fn each_alert_has_a_case_that_fires_it_one_that_does_not_and_a_runbook() {
    let cases: String =
        shipped::files("observability/prometheus/rules/tests", "yml").iter().map(|path| shipped::read(path)).collect();
    // Both spellings of a case: on one line, or with the alerts it expects below it.
    let quiet = |name: &str| cases.contains(&format!("alertname: {name}, exp_alerts: []"));
    let fires =
        |name: &str| cases.contains(&format!("alertname: {name}\n        exp_alerts:\n          - exp_labels:"));
    let index = shipped::read(&workspace().join("observability/runbooks/README.md"));
    let mut wrong = Vec::new();
    for rule in shipped::rules().iter().filter(|rule| rule.alert) {
        let name = &rule.name;
        let url =
            format!("runbook_url: https://github.com/conexus/conexus/blob/main/observability/runbooks/{name}.md\n");
        for (holds, what) in [
            (fires(name), "no case fires it"),
            (quiet(name), "no case leaves it quiet"),
            (rule.rest.contains(&url), "its runbook_url is not its runbook's"),
            (rule.rest.contains("severity: "), "it has no severity"),
            (workspace().join(format!("observability/runbooks/{name}.md")).is_file(), "it has no runbook"),
            (index.contains(&format!("[{name}]({name}.md)")), "the runbooks' index does not list it"),
        ] {
            if !holds {
                wrong.push(format!("{}: {what}", rule.place));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_promised_alerts_are_there() {
    let rules = shipped::rules();
    for name in [
        "HighMCPErrorRate",
        "SlowMCPRequests",
        "HighMemoryUsage",
        "IndexerStalled",
        "LowCacheHitRate",
        "ConexusDown",
        "SidecarDown",
        "TelemetryDropping",
        "CoreCrashed",
        "ErrorBudgetBurn",
        "LatencyBudgetBurn",
    ] {
        assert!(rules.iter().any(|rule| rule.alert && rule.name == name), "{name}");
    }
}

#[test]
fn amtool_accepts_the_routes_and_alerts_go_to_the_webhook_by_default() {
    let config = "observability/alertmanager/alertmanager.yml";
    run("amtool", ["check-config", config]);
    for severity in ["critical", "warning", "info"] {
        let route =
            run("amtool", ["config", "routes", "test", "--config.file", config, &format!("severity={severity}")]);
        assert_eq!(route.lines().next(), Some("local-webhook"), "{severity}: {route}");
    }
    let text = shipped::read(&workspace().join(config));
    assert!(
        text.contains("api_url_file:") && !text.contains("hooks.slack.com"),
        "Slack's address belongs in a secret file"
    );
}

#[test]
fn the_dashboards_are_what_their_script_writes() {
    let made = tempfile::tempdir().expect("there is a temporary folder");
    run("python3", [OsStr::new("observability/grafana/generate.py"), made.path().as_os_str()]);
    for path in shipped::files("observability/grafana/dashboards", "json") {
        let name = path.file_name().expect("a listed file has a name");
        assert_eq!(
            shipped::read(&path),
            shipped::read(&made.path().join(name)),
            "{} is not what observability/grafana/generate.py writes: run it",
            path.display()
        );
    }
}

#[test]
fn the_overview_has_the_promised_panels() {
    let panels = shipped::panels();
    for title in [
        "MCP Request Rate",
        "MCP Request Latency (p95)",
        "MCP Error Rate",
        "Files Indexed per Minute",
        "Total Chunks Created",
        "Embedding Cache Hit Rate",
        "Embedding Generation Latency",
        "Vector Search Latency (p95)",
        "Active Tasks",
        "Memory Usage",
        "Scheduling Delay (p99)",
    ] {
        let found = panels.iter().any(|panel| panel.place.contains("conexus-overview") && panel.json["title"] == title);
        assert!(found, "{title}");
    }
}
