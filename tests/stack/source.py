"""Builds both images from source by the documentation's commands, and looks at what comes out.

usage: source.py FOLDER      (scratch; DOCKER_HOST and DOCKER_CONFIG say which engine; makes FOLDER/checkout)
"""

import json
import os
import re
import sys
import time
from pathlib import Path

from check import ROOT, ask, blocks, check, end, eventually, health, indexed, project, run, total

IMAGES = ["conexus", "conexus-sidecar"]
MEGABYTES_MAX = {"conexus": 180, "conexus-sidecar": 80}


def checkout(folder: Path) -> Path:
    """What a user has who cloned the repository, as it is here and now."""
    home = folder / "checkout"
    home.mkdir()
    names = run("git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).stdout
    there = "\0".join(name for name in names.split("\0") if name and (ROOT / name).exists())
    run("cp", "--parents", "--no-dereference", "--preserve=mode", "--target-directory", home, *there.split("\0"), cwd=ROOT)
    git = ["git", "-C", home, "-c", "user.name=test", "-c", "user.email=test@example.com"]
    run("git", "init", "--quiet", home), run(*git, "add", "."), run(*git, "commit", "--quiet", "-m", "as it is")
    return home


def timed(place: str, text: str, home: Path) -> float:
    """Runs a block of the documentation; how long it took. What a build says goes to FOLDER/build.log."""
    began = time.monotonic()
    done = run("bash", "-euo", "pipefail", "-c", text, cwd=home, may_fail=True, env={**os.environ, "BUILDKIT_PROGRESS": "plain"})
    with open(home.parent / "build.log", "a") as log:
        log.write(done.stderr)
    took = time.monotonic() - began
    check(f"{place} builds both images ({took:.0f} s)", done.returncode == 0, done.stderr[-5000:])
    return took


def layers(image: str) -> list:
    return json.loads(run("docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", f"{image}:0.1.0").stdout)


def built(home: Path) -> None:
    """The images, their sizes, and what they say of themselves."""
    [(place, text)] = blocks("sh build")
    print("     (some ten minutes on two cores)")
    timed(place, text, home)
    log = (home.parent / "build.log").read_text()
    compiled = re.findall(r"Compiling (\S+) v", log)
    check(f"the crates were compiled in the image ({len(compiled)})", len(compiled) > 300 and {"conexusd", "conexus-sidecar"} <= set(compiled))
    check("both targets share one build", len(compiled) == len(set(re.findall(r"Compiling (\S+ v\S+)", log))), len(compiled))
    sent = max(float(size) for size in re.findall(r"transferring context: ([\d.]+)MB", log))
    check(f"the context is small ({sent:.0f} MB)", sent < 40)
    commit = run("git", "-C", home, "rev-parse", "HEAD").stdout.strip()
    compiler = run("rustc", "--version").stdout.strip()
    for name in IMAGES:
        about = json.loads(run("docker", "image", "inspect", f"{name}:0.1.0").stdout)[0]
        check(f"{name} is small ({about['Size'] / 1e6:.0f} MB)", about["Size"] < MEGABYTES_MAX[name] * 1e6, about["Size"])
        check(f"{name} is labelled with the commit", about["Config"]["Labels"]["org.opencontainers.image.revision"] == commit, about["Config"]["Labels"])
    said = run("docker", "run", "--rm", "--network", "none", "conexus:0.1.0", "--version").stdout.strip()
    check(f"conexusd names commit and compiler ({said})", said == f"conexusd 0.1.0 ({commit}, {compiler})")


def crashes(folder: Path) -> None:
    """A crash in the containers: the .dwp file beside the program gives its stack names and lines."""
    (folder / "crash").mkdir()
    code = project(folder / "crash")
    run("docker", "volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=16m,uid=65532,gid=65532,mode=0700", "crash")
    common = ["docker", "run", "--detach", "--read-only", "--network", "host", "--volume", "crash:/run/conexus"]
    run(*common, "--name", "crash-sidecar", "conexus-sidecar:0.1.0")
    run(*common, "--name", "crash-core", "--volume", f"{code}:/workspace:ro", "--env", "CONEXUS_SERVER_ALLOW_UNAUTHENTICATED=true", "conexus:0.1.0")
    indexed()
    eventually("the core is connected", lambda: health()["telemetry"]["connected"])
    found = ask([{"call": "context_search", "arguments": {"query": "where is the queue drained", "top_k": 5}}])[0]
    check("an MCP client gets an answer", not found["is_error"] and "src/" in found["text"], found)
    eventually("it is counted", lambda: total("conexus_mcp_requests_total", method="context_search", status="ok") == 1)
    run("docker", "kill", "--signal", "ABRT", "crash-core")
    eventually("the crash is counted", lambda: total("conexus_core_crashes_total") == 1)

    def logged() -> list:
        run("docker", "cp", "crash-sidecar:/var/lib/conexus-sidecar/logs/.", folder / "crash/logs", may_fail=True)
        lines = [json.loads(line) for path in (folder / "crash/logs").glob("conexus-*.log") for line in path.read_text().splitlines()]
        return [line for line in lines if line.get("error") == "crash"]

    [line] = eventually("the crash is logged", logged)
    check(f"a crash names its place in the source ({line.get('at')})", re.fullmatch(r"/src/conexusd/src/\S+\.rs:\d+", line.get("at", "")) and "SIGABRT" in line["message"], line)
    run("docker", "rm", "--force", "--volumes", "crash-core", "crash-sidecar"), run("docker", "volume", "rm", "crash")


def changed(home: Path) -> None:
    """A change of a file that is older than the last build, as in another checkout, is built all the same; and only what is ours."""
    main = home / "conexusd/src/cli.rs"
    text = main.read_text()
    assert text.count("Examples:\n") == 1
    main.write_text(text.replace("Examples:\n", "Examples, changed:\n"))
    os.utime(main, (1e9, 1e9))
    began = time.monotonic()
    commit = run("git", "-C", home, "rev-parse", "HEAD").stdout.strip()
    run("docker", "build", "--quiet", "--target", "conexus", "--build-arg", f"REVISION={commit}", "--tag", "changed", ".", cwd=home)
    took = time.monotonic() - began
    shown = run("docker", "run", "--rm", "--network", "none", "changed", "--help").stdout
    check(f"a change of an older file is built, with the crates of before ({took:.0f} s)", "Examples, changed:" in shown, shown[-500:])
    run("docker", "rmi", "changed")
    main.write_text(text)


def main() -> None:
    folder = Path(sys.argv[1])
    home = checkout(folder)
    built(home)
    crashes(folder)
    changed(home)


if __name__ == "__main__":
    main()
    end()
