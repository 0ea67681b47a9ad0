#!/usr/bin/env bash
# Indexes the benchmark's repositories with the release binary, asks every question, scores the answers.
#
# usage: run.sh [CORPORA]      (default: $XDG_CACHE_HOME/conexus/retrieval; fetched from package registries if not there)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
corpora=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/conexus/retrieval}
bin=${CARGO_TARGET_DIR:-$here/../../target}/release/conexusd
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 "$here/fetch.py" "$corpora" >&2
python3 - "$here/queries.jsonl" "$corpora" "$bin" "$work" <<'END'
import json, pathlib, subprocess, sys
queries, corpora, binary, work = (pathlib.Path(argument) for argument in sys.argv[1:])
roots = {}
for line in queries.read_text().splitlines():
    query = json.loads(line)
    roots.setdefault((query["repo"], query["root"]), []).append(query)
with open(work / "results.jsonl", "w") as out:
    for number, ((repo, root), asked) in enumerate(roots.items(), 1):
        print(f"\r{number}/{len(roots)} {repo:20s}", end="", file=sys.stderr, flush=True)
        batch = work / "batch.jsonl"
        batch.write_text("".join(json.dumps({"id": q["id"], "query": q["query"]}) + "\n" for q in asked))
        done = subprocess.run(
            [binary, "--quiet", "--set", f"database.path={work}/db", "search", "--root", corpora / repo / root, "--json", "--top-k", "10",
             "--batch", batch], check=True, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            answer = json.loads(line)
            for result in answer["results"]:
                result["path"] = str(pathlib.PurePosixPath(root) / result["path"])
            out.write(json.dumps(answer) + "\n")
print(file=sys.stderr)
END
python3 "$here/score.py" "$work/results.jsonl"
