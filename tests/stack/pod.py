"""Runs the pod that the Helm chart makes, with podman: the closest thing to a kubelet that installs from packages.

usage: pod.py FOLDER      (scratch; the images come from the engine that DOCKER_HOST names)

podman knows no native sidecars, so the sidecar becomes a container that is started first; nor does it apply a pod's fsGroup, so volumes
are made here as the kubelet makes them, owned by root and open to the group. The rest is the rendered manifest.
"""

import http.client
import json
import os
import sys
import threading
from pathlib import Path

import yaml
from check import HARDENED, ROOT, ask, blocks, check, documented, end, eventually, get, health, indexed, process, project, run, search, total

TOOLS = Path(sys.executable).parents[2]
VALUES = {
    "source": {"volume": {"hostPath": {"path": "FOLDER", "type": "Directory"}}},
    "auth": {"allowUnauthenticated": True},
    "config": {"observability": {"log_level": "debug"}, "indexer": {"ignore": ["docs/**"]}},
}
POD = "conexus-0"


class Podman:
    """podman with folders of its own."""

    def __init__(self, folder: Path):
        (folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n')
        os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
        self.command = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/runroot", "--tmpdir", f"{folder}/tmp"]

    def __call__(self, *arguments, **more):
        # It would look for credentials in the folder of docker's plugins.
        environment = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
        return run(*self.command, *arguments, env=environment, **more)

    def state(self, container: str) -> dict:
        return json.loads(self("inspect", container).stdout)[0]["State"]


def rendered(values: dict, folder: Path) -> list[dict]:
    path = folder / "values.json"
    path.write_text(json.dumps(values))
    made = run(TOOLS / "helm/helm-4", "template", "conexus", ROOT / "helm/conexus", "--namespace", "code", "--values", path, env={**os.environ, "HOME": str(folder)})
    return [document for document in yaml.safe_load_all(made.stdout) if document]


def of_kind(documents: list[dict], kind: str) -> dict:
    return next(document for document in documents if document["kind"] == kind)


def as_pod(documents: list[dict], podman: Podman) -> str:
    """The StatefulSet's pod as podman takes it, with its ConfigMap."""
    spec = of_kind(documents, "StatefulSet")["spec"]["template"]["spec"]
    sidecars = [container for container in spec.pop("initContainers") if container.pop("restartPolicy", None) == "Always"]
    spec["containers"] = sidecars + spec["containers"]
    for container in spec["containers"]:
        container["image"] = f"localhost/{container['image']}"
        # Ports are not mapped where the network is the test's own.
        for key in ["startupProbe", "readinessProbe", "livenessProbe", "ports"]:
            container.pop(key, None)
    for volume in spec["volumes"]:
        if "emptyDir" in volume or "persistentVolumeClaim" in volume:
            claim = f"conexus-0-{volume['name']}"
            podman("volume", "create", claim)
            place = podman("volume", "inspect", "--format", "{{.Mountpoint}}", claim).stdout.strip()
            os.chown(place, 0, spec["securityContext"]["fsGroup"])
            os.chmod(place, 0o2777 if "emptyDir" in volume else 0o2775)
            volume.pop("emptyDir", None)
            volume["persistentVolumeClaim"] = {"claimName": claim}
    # What podman 4.3 applies to each container only.
    for container in spec["containers"]:
        container["securityContext"] |= {key: spec["securityContext"][key] for key in ["runAsUser", "runAsGroup", "runAsNonRoot"]}
    spec["restartPolicy"] = "Never"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}
    return yaml.safe_dump_all([of_kind(documents, "ConfigMap"), pod])


def started(podman: Podman) -> None:
    # As the kubelet: the next container when the one before runs, whether or not that answers yet.
    podman("start", f"{POD}-conexus-sidecar")
    podman("start", f"{POD}-conexus")
    eventually("the pod answers", lambda: get("http://localhost:8080/readyz")[0] == 200)
    states = {name: podman.state(f"{POD}-{name}") for name in ["conexus-sidecar", "conexus"]}
    for name, state in states.items():
        seen = process(state["Pid"])
        check(f"{name} runs as nobody in particular, without rights, on a read-only root", seen == HARDENED, seen)
    eventually("the core is connected", lambda: health()["telemetry"]["connected"])
    check("both share the socket", json.loads(get("http://localhost:9091/health")[1])["core"]["connected"])
    check("the socket is for its user alone", socket_mode(podman) == 0o600, oct(socket_mode(podman)))
    indexed()
    settings = podman("exec", f"{POD}-conexus", "conexusd", "config", "show").stdout
    check("the configuration file of the chart is read", "docs/**" in settings and "debug" in settings, settings)
    found = search(1, "retry policy")
    check("what the chart ignores is not indexed", not found["is_error"] and "docs/" not in found["text"], found["text"])


def socket_mode(podman: Podman) -> int:
    place = podman("volume", "inspect", "--format", "{{.Mountpoint}}", "conexus-0-run").stdout.strip()
    return os.stat(f"{place}/telemetry.sock").st_mode & 0o777


def drained(podman: Podman) -> None:
    """As the kubelet ends a pod: the core first, under load, then its sidecar. What was answered is counted."""
    answered = []
    before = total("conexus_mcp_requests_total", method="context_search", status="ok")
    end_of_load = threading.Event()

    def client():
        server = http.client.HTTPConnection("localhost", 8080, timeout=5)
        session = {}

        def post(method: str, **parameters) -> bytes:
            message = {"jsonrpc": "2.0", "method": method, "params": parameters} | ({} if method.startswith("notifications/") else {"id": 1})
            server.request("POST", "/mcp", json.dumps(message), {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18", **session})
            reply = server.getresponse()
            session.update({"Mcp-Session-Id": reply.headers["Mcp-Session-Id"]} if reply.headers["Mcp-Session-Id"] else {})
            return reply.read()

        try:
            post("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "load", "version": "1"})
            post("notifications/initialized")
            while not end_of_load.is_set():
                if b'"result"' in post("tools/call", name="context_search", arguments={"query": f"queue {len(answered)}", "top_k": 1}):
                    answered.append(1)
        except (OSError, http.client.HTTPException):
            pass

    clients = [threading.Thread(target=client, daemon=True) for _ in range(3)]
    for thread in clients:
        thread.start()
    eventually("there is load", lambda: len(answered) > 50)
    podman("stop", "--time", "30", f"{POD}-conexus")
    end_of_load.set()
    for thread in clients:
        thread.join()
    core = podman.state(f"{POD}-conexus")
    check("the core ends by itself, with 0", core["ExitCode"] == 0 and core["Status"] == "exited", core)
    # One request of each client may have been counted and its answer lost with the connection.
    counted = total("conexus_mcp_requests_total", method="context_search", status="ok") - before
    check(f"what was answered is counted after the core's end ({len(answered)} answered, {counted:.0f} counted)", len(answered) <= counted <= len(answered) + len(clients))
    check("it was no crash", total("conexus_core_crashes_total") == 0 and not json.loads(get("http://localhost:9091/health")[1])["core"]["connected"])
    everything = total("conexus_mcp_requests_total")
    podman("stop", "--time", "30", f"{POD}-conexus-sidecar")
    sidecar = podman.state(f"{POD}-conexus-sidecar")
    check("the sidecar ends by itself, with 0", sidecar["ExitCode"] == 0, sidecar)
    # The other way round: it has to work too.
    podman("start", f"{POD}-conexus")
    eventually("the core answers by itself", lambda: get("http://localhost:8080/readyz")[0] == 200)
    podman("start", f"{POD}-conexus-sidecar")
    eventually("the core is connected again", lambda: health()["telemetry"]["connected"])
    check("counters go on where they were", total("conexus_mcp_requests_total") >= everything)


def core_without_sidecar(podman: Podman) -> None:
    podman("kill", f"{POD}-conexus-sidecar")
    check("a killed sidecar leaves the core ready, and answering", get("http://localhost:8080/readyz")[0] == 200 and not search(2)["is_error"])
    podman("start", f"{POD}-conexus-sidecar")
    eventually("the core finds the new one, over the socket the old one left", lambda: health()["telemetry"]["connected"])
    check("the new sidecar takes over", True)


def cloned(folder: Path) -> None:
    """The git containers of the chart, with a repository in a folder."""
    origin, workspace = folder / "origin", folder / "workspace"
    git = ["git", "-C", origin, "-c", "safe.directory=*", "-c", "user.name=test", "-c", "user.email=test@example.com"]
    run("git", "init", "--quiet", "--initial-branch=main", origin)
    (origin / "a.py").write_text("def first():\n    return 1\n")
    run(*git, "add", "."), run(*git, "commit", "--quiet", "-m", "first")
    # A repository on a server is read by somebody whose it is.
    run("chown", "-R", "65532", origin)
    workspace.mkdir()
    os.chmod(workspace, 0o2777)
    documents = rendered({"auth": {"allowUnauthenticated": True}, "source": {"git": {"url": "file:///origin", "intervalSeconds": 1}}}, folder)
    clone, fetch = of_kind(documents, "StatefulSet")["spec"]["template"]["spec"]["initContainers"][:2]

    def command(container: dict, *options: str) -> list:
        environment = [word for variable in container["env"] for word in ("--env", f"{variable['name']}={variable['value']}")]
        return ["docker", "run", *options, "--user", "65532", "--read-only", "--tmpfs", "/tmp", "--network", "none", *environment, "--volume", f"{origin}:/origin:ro", "--volume", f"{workspace}:/workspace",
                "--entrypoint", container["command"][0], container["image"], *container["command"][1:], *container["args"]]

    run(*command(clone, "--rm"))
    check("git-clone clones", (workspace / "a.py").read_text() == (origin / "a.py").read_text())
    run(*command(fetch, "--detach", "--name", "git-fetch"))
    (origin / "a.py").write_text("def second():\n    return 2\n")
    run(*git, "commit", "--quiet", "--all", "-m", "second")
    # A repository on a server is read by somebody whose it is.
    run("chown", "-R", "65532", origin)
    eventually("git-fetch follows", lambda: "second" in (workspace / "a.py").read_text())
    run("docker", "stop", "git-fetch")
    state = json.loads(run("docker", "inspect", "--format", "{{json .State}}", "git-fetch").stdout)
    check("git-fetch follows, and ends at once with 0", state["ExitCode"] == 0, state)


def helm_commands(folder: Path) -> None:
    """The documentation's helm commands, as far as they go without a cluster: what they would install is made."""
    install = f'helm() {{ [ "$1 $2" = "upgrade --install" ] && "{TOOLS}/helm/helm-4" template "${{@:3}}"; }}\n'
    for place, text in blocks("sh helm"):
        done = run("bash", "-euo", "pipefail", "-c", install + text, cwd=ROOT, may_fail=True, env={**os.environ, "HOME": str(folder)})
        check(f"{place} makes manifests", done.returncode == 0 and "kind: StatefulSet" in done.stdout, done.stderr)


def main() -> None:
    folder = Path(sys.argv[1]) / "pod"
    folder.mkdir()
    # The ports are the compose stack's.
    running = run("docker", "ps", "-q").stdout.split()
    if running:
        run("docker", "rm", "--force", *running)
    podman = Podman(folder)
    for image in ["conexus:0.1.0", "conexus-sidecar:0.1.0"]:
        run("docker", "save", "--output", folder / "image.tar", image)
        podman("load", "--input", folder / "image.tar")
    (folder / "code").mkdir()
    VALUES["source"]["volume"]["hostPath"]["path"] = str(project(folder / "code"))
    (folder / "pod.yaml").write_text(as_pod(rendered(VALUES, folder), podman))
    try:
        podman("play", "kube", "--start=false", "--network", "host", folder / "pod.yaml")
        started(podman)
        shims = folder / "bin"
        shims.mkdir()
        (shims / "kubectl").symlink_to(ROOT / "tests/stack/kubectl")
        ask([{"call": "context_grep", "arguments": {"pattern": "("}}])
        documented("sh kubectl", [], {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}", "PODMAN": " ".join(podman.command)}, ROOT)
        drained(podman)
        core_without_sidecar(podman)
    finally:
        if sys.exc_info()[0]:
            for name in ["conexus-sidecar", "conexus"]:
                print(f"--- {name}\n{podman('logs', '--tail', '20', f'{POD}-{name}', may_fail=True).stderr[-3000:]}")
        podman("pod", "rm", "--force", POD, may_fail=True)
    cloned(folder)
    helm_commands(folder)


if __name__ == "__main__":
    main()
    end()
