//! Chart: helm accepts the chart, Kubernetes' schemas accept what it makes, and mistakes are refused before anything is installed.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};

use conexus_tests::{backend, program, python, workspace};

use crate::shipped;

/// Both current lines: they check values with different libraries.
const HELMS: [&str; 2] = ["helm-3", "helm-4"];
const CHART: &str = "helm/conexus";
/// Custom resources, of whose schemas `kubernetes-validate` has none.
const WITHOUT_SCHEMA: [&str; 2] = ["PodMonitor", "PrometheusRule"];

fn test_tools() -> PathBuf {
    let interpreter = python::interpreter();
    interpreter.ancestors().nth(3).expect("the interpreter is in venv/bin of the test tools").to_path_buf()
}

fn helm(version: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let path = test_tools().join("helm").join(version);
    assert!(path.is_file(), "{} is not there: run `make backends`", path.display());
    // A home of its own: helm writes there.
    let home = tempfile::tempdir().expect("there is a temporary folder");
    let mut command = Command::new(path);
    command.args(arguments).current_dir(workspace()).env("HOME", home.path());
    command.output().unwrap_or_else(|error| panic!("{version}: {error}"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What the chart makes of a values file and further `--set` values.
fn rendered(version: &str, values: &str, set: &[&str]) -> Output {
    let mut arguments = vec!["template", "conexus", CHART, "--namespace", "code", "--values", values];
    arguments.extend(set.iter().flat_map(|set| ["--set", set]));
    helm(version, arguments)
}

fn values_files() -> Vec<String> {
    shipped::files("helm/conexus/ci", "yaml").iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn helm_accepts_the_chart_and_kubernetes_every_manifest_of_it() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    for version in HELMS {
        for values in values_files() {
            let linted = helm(version, ["lint", "--strict", CHART, "--values", &values]);
            assert!(linted.status.success(), "{version} {values}: {}", said(&linted));
            let made = rendered(version, &values, &[]);
            assert!(made.status.success(), "{version} {values}: {}", said(&made));
            let manifests = folder.path().join("manifests.yaml");
            std::fs::write(&manifests, &made.stdout).expect("a temporary folder takes files");
            let mut validate = Command::new(test_tools().join("venv/bin/kubernetes-validate"));
            let checked =
                validate.args(["--strict", "-k", "1.36"]).arg(&manifests).output().expect("the validator runs");
            let text = said(&checked);
            assert!(checked.status.success(), "{version} {values}: {text}");
            let kinds = String::from_utf8_lossy(&made.stdout).matches("\nkind: ").count();
            let unknown = WITHOUT_SCHEMA.iter().filter(|kind| text.contains(&format!("for kind {kind} "))).count();
            assert_eq!(text.matches(" passed for resource ").count() + unknown, kinds, "{version} {values}: {text}");
        }
    }
}

#[test]
fn a_mistake_in_the_values_is_refused_and_named() {
    let good = workspace().join("helm/conexus/ci/claim-values.yaml").display().to_string();
    for (set, named) in [
        ("sorce.existingClaim=code", "sorce"),
        ("resources.limit.memory=1Gi", "limit"),
        ("sidecar.image.tga=1", "tga"),
        ("service.type=Clusterip", "type"),
        ("metrics.podMonitor.interval=often", "interval"),
        ("config.observability.log_levle=debug", "log_levle"),
        ("config.observability.log_level=loud", "log_level"),
        ("config.search.top_k=1000", "top_k"),
        ("prometheusRule.highMemoryBytes=lots", "highMemoryBytes"),
        ("source.git.url=https://git.example.com/a.git", "exactly one"),
        ("source.existingClaim=", "exactly one"),
        ("auth.allowUnauthenticated=false", "auth.existingSecret"),
    ] {
        for version in HELMS {
            let made = rendered(version, &good, &[set]);
            let text = said(&made);
            assert!(!made.status.success() && text.contains(named), "{version} --set {set}: {text}");
        }
    }
}

#[test]
fn the_pod_keeps_what_it_promises() {
    for values in values_files() {
        let made = rendered("helm-4", &values, &[]);
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        let set = text.split("\n---").find(|part| part.contains("kind: StatefulSet")).expect("there is a StatefulSet");
        let (_, sidecar) = set.split_once("- name: conexus-sidecar").expect("the sidecar is there");
        let (sidecar, core) = sidecar.split_once("\n      containers:").expect("the core follows the init containers");
        assert!(sidecar.contains("restartPolicy: Always"), "{values}: the sidecar is no native one");
        assert!(
            !sidecar.contains("startupProbe:") && !sidecar.contains("readinessProbe:"),
            "{values}: the core must wait for the sidecar's start, never for its health"
        );
        for probe in ["startupProbe:", "readinessProbe:", "livenessProbe:"] {
            assert!(core.contains(probe), "{values}: the core has no {probe}");
        }
        let containers = set.matches("\n          image: ").count();
        for promise in
            ["readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "- ALL", "limits:", "requests:"]
        {
            assert_eq!(set.matches(promise).count(), containers, "{values}: {promise}");
        }
        for promise in ["runAsNonRoot: true", "runAsUser: 65532", "enableServiceLinks: false", "type: RuntimeDefault"] {
            assert!(set.contains(promise), "{values}: {promise}");
        }
        assert!(!text.contains("kind: Secret\n"), "{values}: secrets are made by their owners");
    }
}

#[test]
fn the_rules_of_the_chart_are_rules_and_take_the_threshold() {
    let values = workspace().join("helm/conexus/ci/git-values.yaml").display().to_string();
    let made = rendered("helm-4", &values, &[]);
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    let rule = text.split("\n---").find(|part| part.contains("kind: PrometheusRule")).expect("there are rules");
    let (_, groups) = rule.split_once("\nspec:\n").expect("a manifest has a spec");
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let path = folder.path().join("rules.yml");
    std::fs::write(&path, groups).expect("a temporary folder takes files");
    let checked =
        Command::new(backend("promtool")).args(["check", "rules"]).arg(&path).output().expect("promtool runs");
    let count = format!("{} rules found", shipped::rules().len());
    assert!(checked.status.success() && said(&checked).contains(&count), "{count}: {}", said(&checked));
    let words = groups.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("process=\"conexusd\"} > 3e+09"), "{groups}");
}

#[test]
fn the_copies_in_the_chart_are_up_to_date() {
    let made = tempfile::tempdir().expect("there is a temporary folder");
    let chart = workspace().join(CHART);
    std::fs::copy(chart.join("values.schema.json"), made.path().join("values.schema.json"))
        .expect("the schema is there");
    let script = workspace().join("helm/sync.py");
    let synced = Command::new(backend("python3")).arg(script).arg(program("conexusd")).arg(made.path()).output();
    let synced = synced.expect("Python runs");
    assert!(synced.status.success(), "{}", said(&synced));
    let compared = Command::new("diff")
        .args(["--recursive", "--brief"])
        .args([made.path().join("files"), chart.join("files")])
        .output()
        .expect("diff runs");
    let again = "run: python3 helm/sync.py target/release/conexusd";
    assert!(compared.status.success(), "{}{again}", said(&compared));
    let read = |folder: &std::path::Path| shipped::read(&folder.join("values.schema.json"));
    assert_eq!(read(made.path()), read(&chart), "{again}");
}

#[test]
fn a_package_of_the_chart_has_all_its_files_and_none_of_the_tests() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let destination = folder.path().display().to_string();
    let packed = helm("helm-4", ["package", CHART, "--destination", &destination]);
    assert!(packed.status.success(), "{}", said(&packed));
    let package = shipped_package(folder.path());
    let listed = Command::new("tar").arg("-tzf").arg(package).output().expect("tar runs");
    let names = said(&listed);
    for name in ["values.schema.json", "files/rules/slo.yml", "files/dashboards/conexus-overview.json"] {
        assert!(names.contains(&format!("conexus/{name}\n")), "{name} is missing:\n{names}");
    }
    assert!(!names.contains("conexus/ci/"), "{names}");
}

fn shipped_package(folder: &std::path::Path) -> PathBuf {
    let mut listed = std::fs::read_dir(folder).expect("a folder can be listed");
    listed.next().expect("helm made a package").expect("a folder can be listed").path()
}
