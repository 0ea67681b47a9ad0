"""What the checks of the stack share: counting, waiting, HTTP, metrics, MCP, and the commands of the documentation."""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MCP = "http://localhost:8080/mcp"
counts = {True: 0, False: 0}


def check(name: str, good, detail="") -> None:
    """Prints and counts one check."""
    counts[bool(good)] += 1
    print(f"{'ok  ' if good else 'FAIL'} {name}{'' if good else f': {detail}'}")


def end() -> None:
    """The closing line; the exit code says whether all held."""
    print(f"\n{counts[True]} passed, {counts[False]} failed")
    sys.exit(1 if counts[False] or not counts[True] else 0)


def run(*command, may_fail=False, **more) -> subprocess.CompletedProcess:
    """Runs a command to its end; what it wrote is kept."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    if done.returncode and not may_fail:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def get(url: str, headers: dict = {}) -> tuple[int, str]:
    """GET: status (0 when nobody answers) and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def eventually(what: str, attempt, seconds: float = 60):
    """The first thing that `attempt` returns that is not nothing."""
    end_at = time.monotonic() + seconds
    while True:
        try:
            found = attempt()
        except (OSError, ValueError, KeyError, IndexError):
            found = None
        if found:
            return found
        if time.monotonic() > end_at:
            raise SystemExit(f"not within {seconds} seconds: {what}")
        time.sleep(0.2)


def health() -> dict:
    status, body = get("http://localhost:8080/health")
    return json.loads(body) if status == 200 else {}


def indexed() -> None:
    eventually("the index is complete", lambda: health().get("index", {}).get("phase") == "idle" and health()["index"]["files"])


def total(metric: str, **labels) -> float:
    """The sum of a metric's series in the sidecar's exposition."""
    status, body = get("http://localhost:9091/metrics")
    if status != 200:
        # A sidecar that has just been started: whoever waits asks again.
        raise OSError(f"no metrics: {status} {body}")
    found = 0.0
    for line in body.splitlines():
        name = re.match(r"[^{ ]*", line).group()
        if name == metric and all(f'{key}="{value}"' in line for key, value in labels.items()):
            found += float(line.rsplit(" ", 1)[1])
    return found


def prometheus(query: str) -> list:
    status, body = get("http://localhost:9090/api/v1/query?query=" + urllib.parse.quote(query))
    return json.loads(body)["data"]["result"] if status == 200 else []


def ask(operations: list, url: str = MCP) -> list:
    """Runs operations with the official MCP client; see tests/python/drive.py."""
    done = run(sys.executable, ROOT / "tests/python/drive.py", "http", url, input=json.dumps(operations), may_fail=True)
    if done.returncode:
        raise SystemExit(f"the MCP client failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def search(times: int, query: str = "where is the queue drained") -> dict:
    return ask([{"call": "context_search", "arguments": {"query": query, "top_k": 5}, "repeat": times}])[0]


def project(folder: Path) -> Path:
    """A folder to index that everybody can read: a part of this repository."""
    for name in ["proto", "docs", "conexus-sidecar/src"]:
        run("cp", "--recursive", "--parents", name, folder, cwd=ROOT)
    run("chmod", "-R", "a+rX", folder)
    return folder


def blocks(language: str) -> list[tuple[str, str]]:
    """Fenced blocks of the documentation in a language, with where each stands."""
    found = []
    for path in sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("observability/runbooks/*.md"), ROOT / "README.md"]):
        text = path.read_text()
        for block in re.finditer(rf"^( *)```{re.escape(language)}\n(.*?)^ *```$", text, re.M | re.S):
            line = text[: block.start()].count("\n") + 2
            found.append((f"{path.relative_to(ROOT)}:{line}", block.group(2)))
    return found


def documented(language: str, quiet: list[str], environment: dict, folder: Path) -> None:
    """Runs every block of a language; each must succeed, and say something unless one of `quiet` is in it."""
    found = blocks(language)
    check(f"the documentation has `{language}` blocks", found)
    for place, text in found:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, env=environment, cwd=folder, timeout=120)
        said = done.stdout.strip() or any(part in text for part in quiet)
        check(f"{place} works", done.returncode == 0 and said, f"exit code {done.returncode}\n{text}{done.stdout[-1500:]}{done.stderr[-1500:]}")


def process(pid: int) -> dict:
    """What the kernel says about a process: user, capabilities, whether its root can be written."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    root = next(line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if line.split()[4] == "/")
    return {"uid": status["Uid"].split()[0], "capabilities": int(status["CapEff"], 16), "no_new_privileges": status["NoNewPrivs"].strip(), "root": root[5].split(",")[0]}


HARDENED = {"uid": "65532", "capabilities": 0, "no_new_privileges": "1", "root": "ro"}
