#!/usr/bin/env python3
"""Fetch the source trees that queries.jsonl asks about, from package registries only.

usage: fetch.py [--to DEST] [REPO ...] [--force]

DEST is $XDG_CACHE_HOME/conexus/retrieval (~/.cache without XDG_CACHE_HOME) unless given.
Each repository is laid out under DEST/<repo>/ so that the annotated paths exist there.  Registries are reached through
their ordinary clients (pip, cargo, npm, apt-get) with the machine's own settings: mirrors, proxies and certificates
are whatever those clients use.  A client is needed only for the repositories that come from its registry.

Versions are the nearest to the commits the benchmark was annotated on.  PyPI, npm and crates.io releases are immutable.
Debian's are not: when the wanted version is gone or cannot be downloaded, the next newer, then the next older one is
taken, and said.  At the end every annotated path is checked; the exit status is 1 when a fetch failed or a path is missing.

Python 3.11, standard library only.  RETRIEVAL_DEBIAN_MIRROR=URI overrides the mirror read from /etc/apt.
"""
import argparse
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
SUITES = ("trixie", "forky")  # Debian releases whose source packages are considered


@dataclass(frozen=True)
class Pypi:
    """A source distribution; its one top folder becomes the repository root."""

    name: str
    version: str


@dataclass(frozen=True)
class Npm:
    """A package tarball, laid out at `at` inside the repository."""

    name: str
    version: str
    at: str = "."


@dataclass(frozen=True)
class Debian:
    """The upstream (.orig) tarball of a source package; `version` is the upstream version without repack suffix."""

    name: str
    version: str


@dataclass(frozen=True)
class Crates:
    """Crates of one workspace: (crate, version, path inside the repository[, folder inside the crate])."""

    parts: tuple[tuple[str, ...], ...]


SOURCES = {
    # python
    "flask": Pypi("flask", "3.1.3"),
    "pydantic": Pypi("pydantic", "2.13.0b3"),
    "requests": Pypi("requests", "2.33.1"),
    "starlette": Pypi("starlette", "1.0.0"),
    # rust
    "axum": Crates((
        ("axum", "0.8.9", "axum"),
        ("axum-core", "0.5.6", "axum-core"),
        ("axum-extra", "0.12.6", "axum-extra"),
        ("axum-macros", "0.5.1", "axum-macros"),
    )),
    "tokio": Crates((
        ("tokio", "1.51.1", "tokio"),
        ("tokio-macros", "2.7.0", "tokio-macros"),
        ("tokio-stream", "0.1.18", "tokio-stream"),
        ("tokio-util", "0.7.18", "tokio-util"),
    )),
    # javascript, typescript, bash
    "express": Npm("express", "5.2.1"),
    "redux": Npm("redux", "5.0.1"),
    "trpc": Npm("@trpc/server", "11.16.0", "packages/server"),
    "bats-core": Npm("bats", "1.13.0"),
    # c: the -sys crates carry the whole C library
    "curl": Crates((("curl-sys", "0.4.88", ".", "curl"),)),
    "libuv": Crates((("libuv-sys2", "1.52.2", ".", "libuv"),)),
    # c++, go, haskell, java, php, ruby
    "fmtlib": Debian("fmtlib", "11.1.1"),
    "nlohmann-json": Debian("nlohmann-json3", "3.11.3"),
    "chi": Debian("golang-github-go-chi-chi", "5.3.0"),
    "cobra": Debian("golang-github-spf13-cobra", "1.10.2"),
    "aeson": Debian("haskell-aeson", "2.2.3.0"),
    "commons-lang": Debian("libcommons-lang3-java", "3.20.0"),
    "monolog": Debian("php-monolog", "3.9.0"),
    "rack": Debian("ruby-rack", "3.2.7"),
}


class FetchError(Exception):
    """What went wrong, in one line."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=pathlib.Path, default=default_dest(), metavar="DEST")
    parser.add_argument("repo", nargs="*", help="default: all of them")
    parser.add_argument("--force", action="store_true", help="fetch again what is there already")
    args = parser.parse_args()
    if unknown := [name for name in args.repo if name not in SOURCES]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(SOURCES)}")
    dest = args.to.resolve()
    dest.mkdir(parents=True, exist_ok=True)
    record_path = dest / "fetched.json"
    record = json.loads(record_path.read_text()) if record_path.exists() else {}
    names = args.repo or list(SOURCES)
    failed = 0
    for name in names:
        if not args.force and name in record and (dest / name).is_dir():
            print(f"{name:14s} {record[name]['version']:28s} kept", flush=True)
            continue
        started = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(dir=dest, prefix=".part-") as part:
                tree = pathlib.Path(part) / "tree"
                tree.mkdir()
                version, size = fetch(SOURCES[name], tree, pathlib.Path(part), dest / ".apt")
                shutil.rmtree(dest / name, ignore_errors=True)
                tree.rename(dest / name)
        except (FetchError, OSError, tarfile.TarError, subprocess.SubprocessError, KeyError) as error:
            failed += 1
            print(f"{name:14s} FAILED: {error}", flush=True)
            continue
        record[name] = {"version": version, "archive_bytes": size}
        record_path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        print(f"{name:14s} {version:28s} {size / 1e6:6.2f} MB {time.monotonic() - started:5.1f} s", flush=True)
    missing = missing_paths(dest, [name for name in names if (dest / name).is_dir()])
    for line in missing:
        print("missing:", line)
    print(f"{len(names) - failed} of {len(names)} repositories, {len(missing)} annotated paths missing, in {dest}")
    return 1 if failed or missing else 0


def default_dest() -> pathlib.Path:
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "conexus" / "retrieval"


def missing_paths(dest: pathlib.Path, names: list[str]) -> list[str]:
    """Annotated paths, relevant and secondary, that the fetched trees lack."""
    lacking = set()
    for line in (HERE / "queries.jsonl").read_text().splitlines():
        query = json.loads(line)
        if query["repo"] in names:
            for target in query["relevant"] + query["secondary"]:
                path = pathlib.Path(query["repo"]) / target["path"]
                if not (dest / path).is_file():
                    lacking.add(str(path))
    return sorted(lacking)


def fetch(source, tree: pathlib.Path, work: pathlib.Path, apt_dir: pathlib.Path) -> tuple[str, int]:
    """Fill `tree`; return the version as the registry writes it and the bytes of the archives used."""
    match source:
        case Pypi():
            return fetch_pypi(source, tree, work)
        case Npm():
            return fetch_npm(source, tree, work)
        case Crates():
            return fetch_crates(source, tree, work)
        case Debian():
            return fetch_debian(source, tree, work, apt_dir)
    raise FetchError(f"no way to fetch {source!r}")


# ---- PyPI ------------------------------------------------------------------------------------------------------------


def fetch_pypi(source: Pypi, tree: pathlib.Path, work: pathlib.Path) -> tuple[str, int]:
    """`pip download` first: it also builds the metadata, which can fail; then the sdist straight from pip's index."""
    requirement = f"{source.name}=={source.version}"
    command = [*pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:",
               "--dest", str(work), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    archives = list(work.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        print(f"  pip download {requirement} failed, asking its index", file=sys.stderr)
        archives = [sdist_from_index(source, work)]
    unpack(archives[0], tree)
    return source.version, archives[0].stat().st_size


@functools.cache
def pip() -> tuple[str, ...]:
    for command in ((sys.executable, "-m", "pip"), ("pip3",), ("pip",)):
        if shutil.which(command[0]) and subprocess.run([*command, "--version"], capture_output=True).returncode == 0:
            return command
    raise FetchError("pip is not installed")


def sdist_from_index(source: Pypi, work: pathlib.Path) -> pathlib.Path:
    """The sdist by the JSON form of the simple index that pip is configured with, checked against its SHA-256."""
    index = os.environ.get("PIP_INDEX_URL") or subprocess.run(
        [*pip(), "config", "get", "global.index-url"], capture_output=True, text=True).stdout.strip()
    if not index:
        code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
        index = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    if not index:
        raise FetchError("pip's index is not known")
    page = f"{index.rstrip('/')}/{source.name}/"
    request = urllib.request.Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        files = json.load(reply)["files"]
    wanted = f"{source.name}-{source.version}.tar.gz"
    entry = next((file for file in files if file["filename"] == wanted), None)
    if entry is None:
        raise FetchError(f"the index has no {wanted}")
    with urllib.request.urlopen(urllib.parse.urljoin(page, entry["url"]), timeout=120) as reply:
        data = reply.read()
    if hashlib.sha256(data).hexdigest() != entry["hashes"]["sha256"]:
        raise FetchError(f"{wanted} does not match the index's SHA-256")
    path = work / wanted
    path.write_bytes(data)
    return path


# ---- npm -------------------------------------------------------------------------------------------------------------


def fetch_npm(source: Npm, tree: pathlib.Path, work: pathlib.Path) -> tuple[str, int]:
    run(["npm", "pack", "--silent", "--pack-destination", str(work), f"{source.name}@{source.version}"], cwd=work)
    (archive,) = work.glob("*.tgz")
    unpack(archive, tree / source.at)
    return source.version, archive.stat().st_size


# ---- crates.io -------------------------------------------------------------------------------------------------------


def fetch_crates(source: Crates, tree: pathlib.Path, work: pathlib.Path) -> tuple[str, int]:
    """Let cargo resolve a throwaway crate that depends on the parts, and copy them out of its registry folder."""
    probe = work / "probe"
    (probe / "src").mkdir(parents=True)
    (probe / "src" / "lib.rs").touch()
    lines = [f'{crate} = {{ version = "={version}", default-features = false }}' for crate, version, *_ in source.parts]
    (probe / "Cargo.toml").write_text(
        '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n' + "\n".join(lines) + "\n")
    host = re.search(r"^host: (\S+)", run(["rustc", "-vV"]), re.M).group(1)
    metadata = json.loads(run(["cargo", "metadata", "--quiet", "--format-version", "1", "--filter-platform", host], cwd=probe))
    packages = {(p["name"], p["version"].split("+")[0]): p for p in metadata["packages"]}
    size = 0
    for crate, version, at, *inside in source.parts:
        package = packages[crate, version]
        folder = pathlib.Path(package["manifest_path"]).parent
        shutil.copytree(folder.joinpath(*inside), tree / at, dirs_exist_ok=True)
        archive = pathlib.Path(str(folder).replace("/registry/src/", "/registry/cache/") + ".crate")
        size += archive.stat().st_size if archive.is_file() else 0
    first = packages[source.parts[0][0], source.parts[0][1]]["version"]
    return first, size


# ---- Debian ----------------------------------------------------------------------------------------------------------


def fetch_debian(source: Debian, tree: pathlib.Path, work: pathlib.Path, apt_dir: pathlib.Path) -> tuple[str, int]:
    options = apt_options(apt_dir)
    shown = run(["apt-cache", *options, "showsrc", "--only-source", source.name])
    versions = list(dict.fromkeys(re.findall(r"^Version: (\S+)$", shown, re.M)))
    for version in sorted(versions, key=functools.cmp_to_key(lambda a, b: nearer(source.version, a, b))):
        done = subprocess.run(
            ["apt-get", *options, "source", "--quiet=2", "--tar-only", "--only-source", f"{source.name}={version}"],
            cwd=work, capture_output=True, text=True)
        archives = list(work.glob(f"{source.name}_*.orig.tar.*"))
        archives = [path for path in archives if path.suffix != ".asc"]
        if done.returncode == 0 and len(archives) == 1:
            if upstream(version) != source.version:
                print(f"  {source.name}: {version} taken for {source.version}", file=sys.stderr)
            unpack(archives[0], tree)
            return version, archives[0].stat().st_size
        print(f"  {source.name} {version} cannot be downloaded", file=sys.stderr)
    raise FetchError(f"no version of {source.name} could be downloaded (offered: {', '.join(versions) or 'none'})")


def upstream(version: str) -> str:
    """2:7.2+ds1-3 -> 7.2"""
    return re.sub(r"\+(ds|dfsg)[^-]*$", "", re.sub(r"-[^-]*$", "", version.split(":")[-1]))


def nearer(wanted: str, a: str, b: str) -> int:
    """Order: the wanted version, then newer ones going up, then older ones going down."""
    ua, ub = upstream(a), upstream(b)
    older_a, older_b = before(ua, wanted), before(ub, wanted)
    if older_a != older_b:
        return 1 if older_a else -1
    if ua == ub:
        return 1 if before(a, b) else -1  # the same upstream: the later packaging
    return 1 if before(ua, ub) == older_a else -1


@functools.cache
def before(a: str, b: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", a, "lt", b]).returncode == 0


@functools.cache
def apt_options(apt_dir: pathlib.Path) -> tuple[str, ...]:
    """A private apt state under `apt_dir` that knows only the source packages of SUITES; the machine's is not touched."""
    for tool in ("apt-get", "apt-cache", "dpkg"):
        if not shutil.which(tool):
            raise FetchError(f"{tool} is not installed (this repository comes from Debian)")
    (apt_dir / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (apt_dir / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    mirror, signed_by = debian_mirror()
    option = f" [signed-by={signed_by}]" if signed_by else ""
    sources = apt_dir / "sources.list"
    sources.write_text("".join(f"deb-src{option} {mirror} {suite} main\n" for suite in SUITES))
    options = []
    for key, value in {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null", "Dir::State::Lists": apt_dir / "lists",
                       "Dir::State::status": "/dev/null", "Dir::Cache": apt_dir / "cache"}.items():
        options += ["-o", f"{key}={value}"]
    print("  reading Debian's source indexes", file=sys.stderr)
    run(["apt-get", *options, "--quiet=2", "update"])
    return tuple(options)


def debian_mirror() -> tuple[str, str]:
    """(URI, keyring path or '') of the machine's own Debian release, from /etc/apt, one-line or deb822 form."""
    if mirror := os.environ.get("RETRIEVAL_DEBIAN_MIRROR"):
        return mirror, ""
    release = pathlib.Path("/etc/os-release").read_text()
    codename = re.search(r"^VERSION_CODENAME=\"?(\w+)", release, re.M)
    suites = {"stable", "testing", "unstable", "sid", codename.group(1) if codename else ""}
    files = [pathlib.Path("/etc/apt/sources.list"), *sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*"))]
    for file in (file for file in files if file.is_file()):
        text = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
        for kind, options, uri, suite in re.findall(r"^\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+main\b", text, re.M):
            if suite in suites:
                key = re.search(r"signed-by=(\S+)", options)
                return uri, key.group(1) if key else ""
        for stanza in re.split(r"\n\s*\n", text):
            fields = {k.lower(): v.strip() for k, v in re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.M)}
            if suites & set(fields.get("suites", "").split()) and "main" in fields.get("components", "").split():
                key = fields.get("signed-by", "")
                return fields["uris"].split()[0], key if key.startswith("/") else ""
    raise FetchError("no Debian mirror in /etc/apt; set RETRIEVAL_DEBIAN_MIRROR")


# ---- common ----------------------------------------------------------------------------------------------------------


def run(command: list[str], cwd: pathlib.Path | None = None) -> str:
    if not shutil.which(command[0]):
        raise FetchError(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise FetchError(f"{' '.join(command[:2])} exited {done.returncode}: {said[-1] if said else 'no output'}")
    return done.stdout


def unpack(archive: pathlib.Path, tree: pathlib.Path) -> None:
    """Extract, less the one top folder that source archives have."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch, tarfile.open(archive) as tar:
        tar.extractall(scratch, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        top = list(pathlib.Path(scratch).iterdir())
        root = top[0] if len(top) == 1 and top[0].is_dir() else pathlib.Path(scratch)
        shutil.copytree(root, tree, symlinks=True, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
