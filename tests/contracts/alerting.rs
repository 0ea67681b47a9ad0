//! Alerting: a fault, the shipped rules in a real Prometheus, the shipped routes in a real Alertmanager, a webhook.

use conexus_tests::alertmanager::Alertmanager;
use conexus_tests::home::Home;
use conexus_tests::prometheus::Prometheus;
use conexus_tests::stack::{Core, Sidecar};
use conexus_tests::webhook::Webhook;
use conexus_tests::{eventually, workspace};
use serde_json::Value;

use crate::loaded::{SOON, replace, shipped_alertmanager, shipped_prometheus};

#[test]
fn a_killed_core_and_then_a_killed_sidecar_reach_the_webhook() {
    let home = Home::new();
    let root = home.folder("project");
    std::fs::write(root.join("a.py"), "def a():\n    return 1\n").expect("a temporary folder takes files");
    let webhook = Webhook::start();
    let mut routes = shipped_alertmanager();
    for (shipped, here) in [
        ("http://conexus-webhook:9095/alerts", format!("http://{}/alerts", webhook.address()).as_str()),
        ("group_wait: 30s", "group_wait: 500ms"),
        ("group_interval: 5m", "group_interval: 1s"),
    ] {
        routes = replace(&routes, shipped, here);
    }
    let alertmanager = Alertmanager::start(&home, &routes);
    let mut sidecar = Sidecar::start(&home);
    let mut core = Core::start(&home, &root);
    core.wait_until_indexed(SOON);
    // The rules as they are, but impatient.
    let config = shipped_prometheus(&home, &sidecar.address, &alertmanager.address(), |rules| {
        rules.replace("for: 2m", "for: 1s")
    });
    let prometheus = Prometheus::start_with(&home, &config);
    eventually("the core is seen", SOON, || {
        (prometheus.value("conexus_up{job=\"conexus\"}") == Some(1.0)).then_some(())
    });
    // Before its first scrape, Prometheus rightly finds nobody there.
    eventually("nothing fires", SOON, || prometheus.firing().is_empty().then_some(()));

    core.process.kill();
    for name in ["ConexusDown", "CoreCrashed"] {
        arrives(&webhook, name, "firing", &sidecar.address);
    }
    let mut core = Core::start(&home, &root);
    arrives(&webhook, "ConexusDown", "resolved", &sidecar.address);

    core.process.terminate(SOON);
    sidecar.process.kill();
    arrives(&webhook, "SidecarDown", "firing", &sidecar.address);
}

/// Waits for an alert about a sidecar at the webhook, and checks what everyone needs of it.
fn arrives(webhook: &Webhook, name: &str, status: &str, instance: &str) {
    let alert = eventually(&format!("{name} is {status}"), SOON, || {
        let alerts =
            webhook.posted().into_iter().flat_map(|post| post["alerts"].as_array().cloned().unwrap_or_default());
        alerts.into_iter().find(|alert: &Value| {
            let labels = &alert["labels"];
            labels["alertname"] == name && labels["instance"] == instance && alert["status"] == status
        })
    });
    assert_eq!(alert["labels"]["severity"], "critical", "{alert}");
    assert_eq!(alert["labels"]["job"], "conexus", "{alert}");
    let runbook = alert["annotations"]["runbook_url"].as_str().expect("an alert has a runbook");
    let path = runbook.split_once("/blob/main/").expect("a link into the repository").1;
    assert!(workspace().join(path).is_file(), "{runbook}");
    for annotation in ["summary", "description"] {
        let text = alert["annotations"][annotation].as_str().expect("an alert says what it is");
        assert!(!text.is_empty() && !text.contains("{{") && !text.contains("<no value>"), "{text}");
    }
}
