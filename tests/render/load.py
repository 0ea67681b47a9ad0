"""Runs a command against a Prometheus that watches Conexus under load.

usage: load.py FOLDER_OF_PROGRAMS JAEGER SECONDS ROOT COMMAND...    (PROMETHEUS in COMMAND becomes its address)

Starts both processes on free loopback ports with a home of their own, a Prometheus with the shipped rules, the program
JAEGER that takes the traces, and clients that search, grep and make mistakes for so many seconds; then runs the command
and ends with its exit code.
"""

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from mcp import Client

QUERIES = ["where is the queue drained", "bucket bounds", "how are chunks made", "socket permissions", "retry after a failure",
           "configuration error message", "histogram encoding", "session limits", "walk ignored files", "parse arguments"]
MISTAKES = [("context_grep", {"pattern": "("}), ("context_search", {"query": "x", "top_k": 0}), ("context_index_control", {"action": "dance"})]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_for(url: str, accept=lambda body: True) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if accept(urllib.request.urlopen(url, timeout=5).read()):
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{url}: no good answer")


def copy_of(root: Path, folder: Path) -> Path:
    """The files that git knows: the load changes some of them."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (root / name).is_file() and (root / name).stat().st_size < 1_000_000:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    return folder


def configuration(folder: Path, shipped: Path, sidecar: int) -> Path:
    shutil.copytree(shipped / "rules", folder / "rules")
    text = (shipped / "prometheus.yml").read_text()
    for old, new in [("scrape_interval: 15s", "scrape_interval: 1s"), ("scrape_timeout: 10s", "scrape_timeout: 1s"), ("evaluation_interval: 15s", "evaluation_interval: 1s"),
                     ("conexus-sidecar:9091", f"127.0.0.1:{sidecar}"), ("conexus-alertmanager:9093", "127.0.0.1:9")]:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "prometheus.yml").write_text(text)
    return folder / "prometheus.yml"


async def load(url: str, seconds: float, root: Path) -> None:
    end = time.monotonic() + seconds
    chance = random.Random(1)

    async def client(number: int) -> None:
        async with Client(url) as mcp:
            while time.monotonic() < end:
                if number == 0 and chance.random() < 0.2:
                    (root / f"late_{int(time.monotonic())}.py").write_text(f"def late():\n    return {time.monotonic()}\n")
                if number == 0 and chance.random() < 0.05:
                    await mcp.call_tool("context_index_control", {"action": "force_reindex"})
                query = chance.choice(QUERIES) + chance.choice(["", f" {chance.randrange(1000)}"])
                await mcp.call_tool("context_search", {"query": query, "top_k": 10})
                await mcp.call_tool("context_grep", {"pattern": chance.choice(["fn \\w+_of", "TODO", "struct"]), "max_results": 20})
                await mcp.call_tool("context_index_control", {"action": "status"})
                if chance.random() < 0.1:
                    await mcp.call_tool(*chance.choice(MISTAKES))
                # Load that comes and goes, so that graphs have something to show.
                await asyncio.sleep(0.2 + (0.8 if int(time.monotonic() / 20) % 2 else 0.1) * chance.random())

    await asyncio.gather(*(client(number) for number in range(4)))


def main() -> int:
    programs, jaeger, seconds, root, command = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:]
    ports = {name: free_port() for name in ("core", "sidecar", "prometheus")}
    running = []
    with tempfile.TemporaryDirectory(prefix="cx") as name:
        home = Path(name)
        for part in ("config", "data", "state", "run", "tmp", "project", "prometheus"):
            (home / part).mkdir(mode=0o700)
        environment = {"PATH": os.environ["PATH"], "HOME": name, "TMPDIR": str(home / "tmp"), "CONEXUS_PORT": str(ports["core"]), "CONEXUS_METRICS_PORT": str(ports["sidecar"]),
                       **{f"XDG_{kind}": str(home / part) for kind, part in [("CONFIG_HOME", "config"), ("DATA_HOME", "data"), ("STATE_HOME", "state"), ("RUNTIME_DIR", "run")]}}
        project = copy_of(root, home / "project")
        config = configuration(home / "prometheus", root / "observability/prometheus", ports["sidecar"])

        def start(*arguments):
            log = open(home / f"{Path(arguments[0]).name}.log", "wb")
            running.append(subprocess.Popen([str(argument) for argument in arguments], env=environment, stdout=log, stderr=log))

        try:
            running.append(subprocess.Popen([jaeger], stdout=subprocess.PIPE))
            collector = json.loads(running[0].stdout.readline())["http"]
            environment |= {"CONEXUS_TRACING_ENABLED": "true", "CONEXUS_TRACING_ENDPOINT": f"http://{collector}"}
            start(programs / "conexus-sidecar", "run")
            wait_for(f"http://127.0.0.1:{ports['sidecar']}/healthz")
            start("prometheus", f"--config.file={config}", f"--storage.tsdb.path={home}/prometheus/data", f"--web.listen-address=127.0.0.1:{ports['prometheus']}", "--enable-feature=exemplar-storage")
            prometheus = f"http://127.0.0.1:{ports['prometheus']}"
            wait_for(f"{prometheus}/api/v1/query?query=conexus_up", lambda body: json.loads(body)["data"]["result"])
            start(programs / "conexusd", "serve", "--root", project)
            wait_for(f"http://127.0.0.1:{ports['core']}/health", lambda body: json.loads(body)["index"]["files"] > 0)
            asyncio.run(load(f"http://127.0.0.1:{ports['core']}/mcp", seconds, project))
            return subprocess.run([prometheus if word == "PROMETHEUS" else word for word in command]).returncode
        finally:
            for process in reversed(running):
                process.terminate()
            for process in running:
                process.wait(timeout=20)
            if sys.exc_info()[0]:
                for log in home.glob("*.log"):
                    print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
