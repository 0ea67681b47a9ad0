"""Runs docker-compose.observability.yml as it is, and looks at it as its user would.

usage: compose.py FOLDER      (scratch; DOCKER_HOST and DOCKER_CONFIG say which engine)

The configuration of Prometheus and Alertmanager is the shipped one with shorter waits.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

from check import HARDENED, ROOT, ask, blocks, check, documented, end, eventually, get, health, indexed, process, prometheus, project, run, search, total

FILE = "docker-compose.observability.yml"
# Set: the images are built by compose, in the checkout that source.py made.
FROM_SOURCE = os.environ.get("FROM_SOURCE")
SERVICES = ["conexus", "conexus-sidecar", "conexus-prometheus", "conexus-alertmanager", "conexus-grafana", "conexus-jaeger"]
PORTS = {"conexus": {8080}, "conexus-sidecar": {9091}, "conexus-prometheus": {9090}, "conexus-alertmanager": {9093}, "conexus-grafana": {3000}, "conexus-jaeger": {16686, 4318}}
SHORTER = {
    "prometheus/prometheus.yml": [("scrape_interval: 15s", "scrape_interval: 1s"), ("scrape_timeout: 10s", "scrape_timeout: 1s"), ("evaluation_interval: 15s", "evaluation_interval: 1s")],
    "prometheus/rules/conexus.yml": [("for: 2m", "for: 2s")],
    "alertmanager/alertmanager.yml": [("group_wait: 30s", "group_wait: 1s"), ("group_interval: 5m", "group_interval: 1s")],
}


# Blocks that may find nothing on a healthy stack.
QUIET = ["startswith(", "docker kill"]


def compose(*arguments, **more):
    return run("docker", "compose", "-f", FILE, *arguments, **more)


def laid_out(folder: Path) -> Path:
    """The files that a user has, with an .env made as .env.example says."""
    home = folder / "stack"
    if FROM_SOURCE:
        shutil.copytree(folder / "checkout", home)
    else:
        shutil.copytree(ROOT / "observability", home / "observability")
        shutil.copy(ROOT / FILE, home / FILE)
    for name, replacements in SHORTER.items():
        text = (home / "observability" / name).read_text()
        for old, new in replacements:
            assert old in text, (name, old)
            text = text.replace(old, new)
        (home / "observability" / name).write_text(text)
    (home / "code").mkdir()
    project(home / "code")
    example = (ROOT / ".env.example").read_text()
    assert "GRAFANA_ADMIN_PASSWORD=\n" in example and "CONEXUS_SOURCE=.\n" in example
    made = example.replace("GRAFANA_ADMIN_PASSWORD=\n", "GRAFANA_ADMIN_PASSWORD=for-this-test\n").replace("CONEXUS_SOURCE=.\n", "CONEXUS_SOURCE=./code\n")
    (home / ".env").write_text(made)
    return home


def the_file() -> None:
    """What the file says once it is filled in."""
    os.rename(".env", ".env.away")
    refused = compose("config", "--quiet", may_fail=True)
    check("without a password for Grafana it says what to do", refused.returncode and "GRAFANA_ADMIN_PASSWORD" in refused.stderr and ".env.example" in refused.stderr, refused.stderr)
    os.rename(".env.away", ".env")
    services = json.loads(compose("config", "--format", "json").stdout)["services"]
    check("the services are the promised ones, and so are the containers' names", sorted(services) == sorted(SERVICES) and all(services[name]["container_name"] == name for name in SERVICES), list(services))
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        check(f"{name} is pinned to a version ({service['image']})", tag.strip("v").count(".") == 2)
        ports = service["ports"]
        check(f"{name} is published on loopback, on its ports", all(port["host_ip"] == "127.0.0.1" and int(port["published"]) == port["target"] for port in ports) and {port["target"] for port in ports} == PORTS[name], ports)
        check(f"{name} has a memory limit", service["deploy"]["resources"]["limits"]["memory"])
    check("conexus waits for the sidecar's start, not for its health", services["conexus"]["depends_on"]["conexus-sidecar"]["condition"] == "service_started")
    tracing = {name: services[name]["environment"]["CONEXUS_TRACING_ENDPOINT"] for name in SERVICES[:2]}
    check("both are told where traces go", set(tracing.values()) == {"http://conexus-jaeger:4318"}, tracing)


def built() -> None:
    """The command that builds. It finds all of it in the builder's cache: nothing is compiled a second time."""
    layers = ["docker", "image", "inspect", "--format", "{{.RootFS.Layers}}", *(f"{name}:0.1.0" for name in SERVICES[:2])]
    before = run(*layers).stdout
    [(place, text)] = blocks("sh compose")
    began = time.monotonic()
    done = run("bash", "-euo", "pipefail", "-c", text, may_fail=True)
    check(f"{place} builds the images ({time.monotonic() - began:.0f} s)", done.returncode == 0, done.stderr[-3000:])
    check("they are those that docker built", run(*layers).stdout == before, before)
    labels = run("docker", "image", "inspect", "--format", '{{index .Config.Labels "org.opencontainers.image.revision"}}', *(f"{name}:0.1.0" for name in SERVICES[:2])).stdout
    check("they are labelled with the commit", set(labels.split()) == {run("git", "rev-parse", "HEAD").stdout.strip()}, labels)


def up() -> None:
    """The commands of the quick start, and what then runs."""
    [(place, text)] = blocks("sh up")
    done = run("bash", "-euo", "pipefail", "-c", text, may_fail=True)
    if done.returncode:
        for name in SERVICES:
            print(f"--- {name}\n", run("docker", "logs", "--tail", "15", name, may_fail=True).stderr)
    check(f"{place} brings it up", done.returncode == 0, done.stderr[-3000:])
    run("docker", "run", "--detach", "--name", "conexus-webhook", "--network", "conexus", "webhook")
    for name in SERVICES[:2]:
        seen = process(int(run("docker", "inspect", "--format", "{{.State.Pid}}", name).stdout))
        check(f"{name} runs as nobody in particular, without rights, on a read-only root", seen == HARDENED, seen)
        labels = json.loads(run("docker", "inspect", "--format", "{{json .Config.Labels}}", name).stdout)
        check(f"{name} is labelled", labels["org.opencontainers.image.title"] == name and labels["org.opencontainers.image.licenses"] == "Apache-2.0", labels)
        check(f"{name} is healthy by its own check", run("docker", "inspect", "--format", "{{.State.Health.Status}}", name).stdout.strip() == "healthy")


def used() -> None:
    """An agent asks, Prometheus sees it."""
    indexed()
    check("the mounted folder is indexed", health()["index"]["files"] > 50, health())
    found = search(7)
    check("an MCP client gets an answer from it", not found["is_error"] and "src/" in found["text"], found)
    check("a request for another host is refused", get("http://localhost:8080/mcp", {"Host": "evil.example.com"})[0] == 403)
    eventually("the sidecar has been told of all", lambda: searches() == 7)
    eventually("Prometheus has it", lambda: (prometheus('conexus_mcp_requests_total{job="conexus",method="context_search",status="ok"}') or [{}])[0].get("value", [0, 0])[1] == "7")
    targets = json.loads(get("http://localhost:9090/api/v1/targets")[1])["data"]["activeTargets"]
    seen = [(target["labels"]["job"], target["labels"]["instance"], target["health"]) for target in targets]
    check("Prometheus scrapes the sidecar", seen == [("conexus", "conexus-sidecar:9091", "up")], seen)
    groups = json.loads(get("http://localhost:9090/api/v1/rules")[1])["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    check("all rules are loaded and well", len(rules) >= 30 and all(rule["health"] != "err" for rule in rules), [rule for rule in rules if rule["health"] == "err"])
    managers = json.loads(get("http://localhost:9090/api/v1/alertmanagers")[1])["data"]["activeAlertmanagers"]
    check("Prometheus knows the Alertmanager", [manager["url"] for manager in managers] == ["http://conexus-alertmanager:9093/api/v2/alerts"], managers)
    flags = json.loads(get("http://localhost:9090/api/v1/status/flags")[1])["data"]
    check("15 days are kept, and exemplars", "15d" in flags["storage.tsdb.retention.time"] and "exemplar-storage" in flags["enable-feature"], flags)


def traced() -> None:
    """Traces go to the container named for Jaeger, and exemplars to Prometheus."""
    eventually("a trace is sent", lambda: [post for post in json.loads(get("http://localhost:16686/")[1]) if post["path"] == "/v1/traces" and post["bytes"] > 100])
    # It may have been there before Jaeger was: then it tries again.
    eventually("the exporter is well", lambda: total("conexus_telemetry_exporter_up", exporter="otlp") == 1)
    check("the sidecar sends traces to conexus-jaeger:4318", True)
    query = "http://localhost:9090/api/v1/query_exemplars?query=conexus_mcp_request_duration_seconds_bucket&start=0&end=99999999999"
    exemplars = eventually("Prometheus has exemplars", lambda: [one for series in json.loads(get(query)[1])["data"] for one in series["exemplars"]])
    sources = Path("observability/grafana/provisioning/datasources/conexus.yml").read_text()
    check("exemplars have the label that Grafana's data source follows", all("trace_id" in one["labels"] for one in exemplars) and "name: trace_id" in sources, exemplars)
    check("Grafana's data sources are this Prometheus and this Jaeger", "http://conexus-prometheus:9090" in sources and "http://conexus-jaeger:16686" in sources)


def alerts() -> list:
    posts = json.loads(run("docker", "exec", "conexus-webhook", "/bin/wget", "-q", "-O", "-", "http://127.0.0.1:9095/").stdout)
    return [alert for post in posts for alert in post["alerts"]]


def searches() -> float:
    return total("conexus_mcp_requests_total", method="context_search", status="ok")


def broken() -> None:
    """Sidecar and core are taken away, one at a time."""
    # The documentation's commands asked too.
    time.sleep(2)
    before = searches()
    run("docker", "stop", "conexus-sidecar")
    check("without the sidecar searches go on", not search(3)["is_error"])
    check("and the core stays ready", get("http://localhost:8080/readyz")[0] == 200)
    run("docker", "start", "conexus-sidecar")
    eventually("what was counted meanwhile is handed over", lambda: searches() == before + 3)
    run("docker", "kill", "conexus")
    for name in ["ConexusDown", "CoreCrashed"]:
        alert = eventually(f"{name} reaches the webhook", lambda: [a for a in alerts() if a["labels"]["alertname"] == name and a["status"] == "firing"])
        check(f"a kill makes {name} reach the webhook through Alertmanager", alert[0]["labels"]["instance"] == "conexus-sidecar:9091", alert)
    run("docker", "start", "conexus")
    eventually("ConexusDown is resolved", lambda: [a for a in alerts() if a["labels"]["alertname"] == "ConexusDown" and a["status"] == "resolved"])
    check("counters survive both", searches() == before + 3, searches())


def stopped() -> None:
    """It ends in time and in order, and goes on where it was."""
    indexed()
    before = searches()
    check("it answers to the end", not search(5)["is_error"])
    began = time.monotonic()
    compose("stop")
    took = time.monotonic() - began
    check(f"it stops within its grace ({took:.1f} s)", took < 15)
    for name in SERVICES[:2]:
        state = json.loads(run("docker", "inspect", "--format", "{{json .State}}", name).stdout)
        check(f"{name} ends by itself, with 0", state["ExitCode"] == 0 and not state["OOMKilled"], state)
    finished = [json.loads(run("docker", "inspect", "--format", "{{json .State.FinishedAt}}", name).stdout) for name in SERVICES[:2]]
    check("the sidecar outlives the core", finished[0] < finished[1], finished)
    last = [json.loads(line) for line in run("docker", "logs", "--tail", "3", "conexus-sidecar").stderr.splitlines()]
    check("the last the sidecar says is that it stopped", last[-1]["message"] == "stopped", last)
    compose("up", "--detach", "--no-build", "--wait", "conexus", "conexus-sidecar", "conexus-prometheus")
    check("every answered request is counted after the restart", searches() == before + 5, (before, searches()))
    check("the index is still there", health()["index"]["files"] > 50, health())


def main() -> None:
    home = laid_out(Path(sys.argv[1]))
    os.chdir(home)
    the_file()
    if FROM_SOURCE:
        built()
    up()
    used()
    # Something for every filter to find.
    ask([{"call": "context_grep", "arguments": {"pattern": "("}}])
    traced()
    documented("sh docker", QUIET, dict(os.environ), home)
    broken()
    stopped()


if __name__ == "__main__":
    main()
    end()
