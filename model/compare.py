#!/usr/bin/env python3
"""Comparison: what is a table worth in the product?

usage: compare.py --binary CONEXUSD --queries QUERIES.jsonl --trees DIR [--work DIR] [--methods A,B] [MODEL ...]

Indexes the trees with each MODEL (a folder; `built-in` for the one in the program) and asks every question through
`conexusd search --batch` with each setting of `search.method`: words alone, vectors alone, both fused, the full pipeline,
and the full pipeline without vectors. Prints NDCG@10 overall, by category and by language as bench/retrieval/score.py
computes it. The ranker's weights are those of the program: for a comparison with weights of each one's own, see
`bench/retrieval/train.py`.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench" / "retrieval"))

import score  # noqa: E402

METHODS = ["words", "vectors", "fused", "full_without_vectors", "full"]
WITHOUT_VECTORS = {"words", "full_without_vectors"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["built-in"])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--queries", type=pathlib.Path, required=True)
    parser.add_argument("--trees", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    args = parser.parse_args()
    queries = [json.loads(line) for line in args.queries.read_text().splitlines()]
    for query in queries:
        query.setdefault("category", "paraphrase")
    with tempfile.TemporaryDirectory() as scratch:
        work = (args.work or pathlib.Path(scratch)).resolve()
        done = set()
        for number, model in enumerate(args.models):
            methods = [method for method in args.methods.split(",") if not (method in WITHOUT_VECTORS and method in done)]
            done.update(methods)
            answers = ask(args.binary.resolve(), model, queries, args.trees.resolve(), work / f"model-{number}", methods)
            for method in methods:
                show(model, method, queries, answers[method])
    return 0


def ask(binary, model, queries, trees, work, methods):
    """By method, the places found for each question."""
    work.mkdir(parents=True, exist_ok=True)
    chosen = [] if model == "built-in" else ["--set", f"embedding.model={pathlib.Path(model).resolve()}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CONEXUS_")} | {"XDG_CONFIG_HOME": str(work / "none")}

    def conexusd(*arguments):
        command = [binary, "--quiet", "--set", f"database.path={work / 'database'}", *chosen, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
        return done.stdout

    groups, answers = collections.defaultdict(list), collections.defaultdict(dict)
    for query in queries:
        groups[query["repo"], query["root"]].append(query)
    for (repo, root), asked in groups.items():
        conexusd("index", "--root", trees / repo / root)
        batch = work / "batch.jsonl"
        batch.write_text("".join(json.dumps({"id": query["id"], "query": query["query"]}) + "\n" for query in asked))
        for method in methods:
            output = conexusd("--set", f"search.method={method}", "search", "--root", trees / repo / root, "--json", "--top-k", "10", "--batch", batch)
            for line in output.splitlines():
                reply = json.loads(line)
                for result in reply["results"]:
                    result["path"] = str(pathlib.PurePosixPath(root) / result["path"])
                answers[method][reply["id"]] = reply["results"]
    return answers


def show(model, method, queries, answers):
    groups = collections.defaultdict(list)
    for query in queries:
        value = score.score(query, answers.get(query["id"], []), 10)["ndcg"]
        for name in ("all", query["category"], query["language"]):
            groups[name].append(value)
    means = {name: sum(values) / len(values) for name, values in groups.items()}
    print(f"{model} {method}: NDCG@10 {means.pop('all'):.4f}   " + "  ".join(f"{name} {value:.3f}" for name, value in means.items()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
