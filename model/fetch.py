#!/usr/bin/env python3
"""Fetching: which source trees may be trained on, and how do they get here?

usage: fetch.py DEST [--packages FILE] [--lock FILE]

Reads packages.tsv (registry, name, version; `-` for the newest), downloads each package with its registry's own client
(pip, npm, cargo, apt-get with a private state), refuses what excluded.py or licences.py refuse, and leaves under
DEST/tree/<registry>/<name>/ only source files and readmes under permissive licences. DEST/manifest.json records version,
licence and files of each package, and why one was refused. `--lock` writes the list with the versions that were served.
"""

import argparse
import concurrent.futures
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from excluded import Exclusion
from languages import language_of
from licences import of_text, of_tree, of_wheel, permissive

HERE = pathlib.Path(__file__).resolve().parent
SUITE = "trixie"
FILE_BYTES_MAX = 200_000
PACKAGE_BYTES_MAX = 6_000_000


class Refused(Exception):
    """Why a package is not used."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dest", type=pathlib.Path)
    parser.add_argument("--packages", type=pathlib.Path, default=HERE / "packages.tsv")
    parser.add_argument("--lock", type=pathlib.Path)
    args = parser.parse_args()
    dest = args.dest.resolve()
    dest.mkdir(parents=True, exist_ok=True)
    wanted = [line.split("\t") for line in args.packages.read_text().splitlines() if line and not line.startswith("#")]
    manifest_path = dest / "manifest.json"
    manifest = json.loads(manifest_path.read_text()) if manifest_path.exists() else {}
    exclusion = Exclusion()
    tasks = []
    for registry, fetch in REGISTRIES.items():
        names = {}
        for _, name, version in (line for line in wanted if line[0] == registry):
            key = f"{registry}/{name}"
            if rule := exclusion.package(name):
                manifest[key] = {"refused": f"excluded by {rule}"}
            elif not manifest.get(key):
                names[name] = version
        tasks.append([(registry, fetch, {name: names[name] for name in group}) for group in groups(list(names), 12)])
    if any(registry == "debian" for group in tasks for registry, _, _ in group):
        apt_options(dest / "apt")
    turns = [task for turn in itertools.zip_longest(*tasks) for task in turn if task]

    def work(task):
        registry, fetch, names = task
        with tempfile.TemporaryDirectory(dir=dest) as folder:
            return {f"{registry}/{name}": keep(registry, name, result, dest, exclusion)
                    for name, result in fetch(names, pathlib.Path(folder), dest)}

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for entries in pool.map(work, turns):
            manifest.update(entries)
            manifest_path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
            print(len(manifest), "packages", flush=True)
    if args.lock:
        lines = ["\t".join((registry, name, manifest[f"{registry}/{name}"]["version"])) for registry, name, _ in wanted
                 if manifest.get(f"{registry}/{name}", {}).get("files")]
        args.lock.write_text("# registry, name, version\n" + "\n".join(lines) + "\n")
    return 0


def groups(names, size):
    return [names[at : at + size] for at in range(0, len(names), size)]


def keep(registry, name, result, dest, exclusion):
    """Copy the allowed files of one unpacked package; a manifest entry."""
    if isinstance(result, Refused):
        return {"refused": str(result)}
    root, version, licence, allowed = result
    target = dest / "tree" / registry / name
    shutil.rmtree(target, ignore_errors=True)
    size, files, languages, dropped = 0, 0, {}, 0
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        inside = path.relative_to(root).as_posix()
        language = language_of(inside)
        if not language or path.stat().st_size > FILE_BYTES_MAX or size > PACKAGE_BYTES_MAX:
            continue
        if exclusion.file(inside) or not allowed(inside):
            dropped += 1
            continue
        data = path.read_bytes()
        if "copyleft" in of_text(data[:3000].decode(errors="replace")):
            dropped += 1
            continue
        if b"\0" in data[:4000] or max(map(len, data.split(b"\n")), default=0) > 3000:
            continue
        (target / inside).parent.mkdir(parents=True, exist_ok=True)
        (target / inside).write_bytes(data)
        size, files = size + len(data), files + 1
        languages[language] = languages.get(language, 0) + 1
    if not files:
        return {"refused": f"no allowed source files ({licence or 'no licence'})"}
    return {"version": version, "licence": licence, "files": files, "bytes": size, "dropped": dropped, "languages": languages}


def checked(licence):
    if not permissive(licence):
        raise Refused(f"licence {licence!r}")
    return licence


def crates(names, work, dest):
    """A throwaway crate that depends on the wanted ones; cargo brings them to its registry folder."""
    found = {}
    for group in [list(names)] + [[name] for name in names]:
        group = [name for name in group if name not in found]
        if not group:
            continue
        probe = work / f"probe-{len(found)}-{group[0]}"
        (probe / "src").mkdir(parents=True)
        (probe / "src" / "lib.rs").touch()
        lines = [f'{name} = {{ version = "{"*" if names[name] == "-" else "=" + names[name]}", default-features = false }}' for name in group]
        (probe / "Cargo.toml").write_text('[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n' + "\n".join(lines))
        done = run(["cargo", "metadata", "--quiet", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"], probe)
        if done.returncode:
            continue
        packages = json.loads(done.stdout)
        direct = {dep["pkg"] for node in packages["resolve"]["nodes"] if node["id"] == packages["resolve"]["root"] for dep in node["deps"]}
        for package in packages["packages"]:
            if package["id"] in direct and package["name"] in group:
                found[package["name"]] = package
    for name in names:
        package = found.get(name)
        if not package:
            yield name, Refused("cargo does not resolve it")
            continue
        try:
            licence = checked(package["license"] or "")
            yield name, (pathlib.Path(package["manifest_path"]).parent, package["version"], licence, lambda path: True)
        except Refused as refused:
            yield name, refused


def pypi(names, work, dest):
    """Pure wheels: they hold the Python source and, as metadata, the readme and the licence."""
    left = dict(names)
    while left:
        requirements = [name if version == "-" else f"{name}=={version}" for name, version in left.items()]
        done = run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
                    "--platform", "any", "--implementation", "py", "--abi", "none", "--python-version", "3.11", "--dest", str(work), *requirements])
        missing = re.search(r"No matching distribution found for ([\w.-]+?)(?:==|$|\s)", done.stderr)
        if not done.returncode or not missing or not left.pop(missing.group(1), None):
            break
    canonical = lambda name: re.sub(r"[-_.]+", "-", name).lower()
    served = {canonical(path.name.split("-")[0]): path for path in work.glob("*.whl")}
    for name in names:
        folder = work / name
        folder.mkdir()
        wheels = [served[canonical(name)]] if canonical(name) in served else []
        if not wheels:
            yield name, Refused("no pure wheel")
            continue
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                archive.extractall(folder / "tree")
            (info,) = (folder / "tree").glob("*.dist-info")
            metadata = (info / "METADATA").read_text(errors="replace")
            licence = checked(of_wheel(metadata))
            (folder / "tree" / "README.md").write_text(metadata.split("\n\n", 1)[-1])
            shutil.rmtree(info)
            yield name, (folder / "tree", wheels[0].name.split("-")[1], licence, lambda path: True)
        except Refused as refused:
            yield name, refused
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            yield name, Refused(f"cannot be unpacked: {error}")


def npm(names, work, dest):
    specs = {name: name if version == "-" else f"{name}@{version}" for name, version in names.items()}
    run(["npm", "pack", "--silent", "--pack-destination", str(work), *specs.values()], work)
    for name, spec in specs.items():
        folder = work / re.sub(r"\W", "_", name)
        folder.mkdir()
        flat = re.escape(name.lstrip("@").replace("/", "-"))
        archives = [path for path in work.glob("*.tgz") if re.fullmatch(flat + r"-\d+\.\d+\.\d+([-+].*)?\.tgz", path.name)]
        if not archives:
            run(["npm", "pack", "--silent", "--pack-destination", str(folder), spec], folder)
            archives = list(folder.glob("*.tgz"))
        if len(archives) != 1:
            yield name, Refused("npm has no such package")
            continue
        try:
            root = unpack(archives[0], folder / "tree")
            about = json.loads((root / "package.json").read_text(errors="replace"))
            licence = about.get("license") or about.get("licenses") or ""
            if isinstance(licence, list):
                licence = " OR ".join(item["type"] if isinstance(item, dict) else item for item in licence)
            if isinstance(licence, dict):
                licence = licence.get("type", "")
            checked(licence)
            # Bundles repeat what the sources say: a tarball with sources is read without its builds.
            sources = any((root / place).is_dir() for place in ("src", "source", "lib", "ios", "android"))
            built = re.compile(r"(^|/)(dist|build|umd|cjs|esm|es|amd|min|bundles?|lib-cov)(/|$)|\.min\.|\.d\.ts$|\.bundle\.")
            yield name, (root, about["version"], licence, (lambda path: not built.search(path)) if sources else (lambda path: ".min." not in path))
        except Refused as refused:
            yield name, refused
        except (OSError, ValueError, KeyError, tarfile.TarError) as error:
            yield name, Refused(f"cannot be unpacked: {error}")


def debian(names, work, dest):
    """The upstream tarballs alone; the licence files in them decide."""
    options = apt_options(dest / "apt")
    specs = {name: name if version == "-" else f"{name}={version}" for name, version in names.items()}
    command = ["apt-get", *options, "source", "--quiet=2", "--download-only", "--tar-only", "--only-source"]
    run([*command, *specs.values()], work)
    shown = run(["apt-cache", *options, "showsrc", "--only-source", *names]).stdout
    versions = dict(re.findall(r"^Package: (\S+)\n(?:.*\n)*?Version: (\S+)$", shown, re.M))
    for name in names:
        folder = work / name
        folder.mkdir()
        if not list(work.glob(f"{name}_*.orig.tar.*")):
            run([*command, specs[name]], work)
        origins = [path for path in work.glob(f"{name}_*.orig.tar.*") if path.suffix != ".asc"]
        if len(origins) != 1:
            yield name, Refused(f"{len(origins)} upstream archives")
            continue
        try:
            root = unpack(origins[0], folder / "tree")
            yield name, (root, versions.get(name, "?"), checked(of_tree(root)), lambda path: True)
        except Refused as refused:
            yield name, refused
        except (OSError, tarfile.TarError) as error:
            yield name, Refused(f"cannot be unpacked: {error}")


APT: list[str] = []


def apt_options(folder):
    """apt-get with a state of its own that knows the source packages of one release; the machine's is not touched."""
    if APT:
        return APT
    for sub in ("lists/partial", "cache/archives/partial"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    sources = "\n".join(path.read_text() for path in sorted(pathlib.Path("/etc/apt").rglob("*.sources")) + sorted(pathlib.Path("/etc/apt").rglob("*.list")))
    mirror = re.search(r"^(?:URIs:|deb(?:-src)?(?: \[[^\]]*\])?) +(\S+)", sources, re.M)
    if not mirror:
        raise SystemExit("no Debian mirror in /etc/apt")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(f"deb-src [signed-by={keyring}] {mirror.group(1)} {SUITE} main\n")
    for key, value in {"Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "/dev/null", "Dir::State::Lists": folder / "lists",
                       "Dir::State::status": "/dev/null", "Dir::Cache": folder / "cache", "APT::Sandbox::User": "root"}.items():
        APT.extend(["-o", f"{key}={value}"])
    done = run(["apt-get", *APT, "--quiet=2", "update"])
    if done.returncode:
        raise SystemExit(f"apt-get update: {done.stderr.strip()}")
    return APT


def unpack(archive, target, strip=True):
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    top = list(target.iterdir())
    return top[0] if strip and len(top) == 1 and top[0].is_dir() else target


def run(command, cwd=None):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


REGISTRIES = {"crates": crates, "pypi": pypi, "npm": npm, "debian": debian}

if __name__ == "__main__":
    sys.exit(main())
