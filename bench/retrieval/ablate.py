#!/usr/bin/env python3
"""What each signal is worth: the benchmark with one switched off at a time.

usage: ablate.py [--corpora DIR] [--work DIR] [--only SIGNAL,SIGNAL]     (needs numpy; about a minute a signal)

Builds the `retrieval` example with the feature `ablation`, whose switches are in conexusd/src/ablation.rs. For each
signal the features of all candidates are written without it, and the ranker is trained and cross-validated anew: what is
lost is what the rest cannot make up for. Beside it stands the score of the answers with the weights as shipped, which
also shows signals that act after the ranker. The ranker's own features are switched off by `train.py --ablate`.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

import run
import score
import train

TARGET = run.TARGET


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=pathlib.Path, default=run.default_corpora(), metavar="DIR")
    parser.add_argument("--work", type=pathlib.Path, default=run.TARGET / "retrieval" / "ablation", metavar="DIR")
    parser.add_argument("--only", help="these signals")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    build = ["cargo", "build", "--release", "--locked", "-p", "conexusd", "--example", "retrieval", "--features", "ablation"]
    subprocess.run(build, cwd=run.ROOT, check=True)
    signals, of_index = read_signals()
    chosen = args.only.split(",") if args.only else signals
    print(f"{'without':22s} {'by repo':>8s} {'by lang.':>8s} {'shipped':>8s} {'hit@1':>6s} {'symbol hit@1':>12s}")
    for signal in ["", *chosen]:
        database = args.work / ("index-" + signal if signal in of_index else "index")
        row = measure(signal, args.corpora.resolve(), args.work.resolve(), database)
        print(f"{signal or '(nothing)':22s} " + " ".join(f"{value:8.4f}" for value in row), flush=True)
        if signal in of_index:
            shutil.rmtree(database, ignore_errors=True)
    return 0


def read_signals() -> tuple[list[str], set[str]]:
    """The names in conexusd/src/ablation.rs, and those before the first of the search."""
    source = (run.ROOT / "conexusd/src/ablation.rs").read_text()
    names = [line.split('"')[1] for line in source.splitlines() if line.strip().startswith("(Self::")]
    return names, set(names[:names.index("lexical-lane")])


def measure(signal: str, corpora: pathlib.Path, work: pathlib.Path, database: pathlib.Path) -> list[float]:
    command = [TARGET / "release/examples/retrieval", corpora, run.HERE / "queries.jsonl", "--database", database,
               "--results", work / "results.jsonl", "--features", work / "features.jsonl"]
    subprocess.run(command + (["--without", signal] if signal else []), check=True, stdout=subprocess.DEVNULL)
    data = train.load(work / "features.jsonl", len(train.feature_names()))
    validated = [train.means(data, train.cross_validate(data, key))["overall"] for key in ("repo", "language")]
    answers = {answer["id"]: answer["results"] for answer in score.read_lines(work / "results.jsonl")}
    scored = [query | score.score(query, answers.get(query["id"], []), 10) for query in score.read_lines(run.HERE / "queries.jsonl")]
    total = score.aggregate(scored)
    symbols = score.aggregate([query for query in scored if query["category"] == "symbol"])
    return [*validated, total["ndcg"], total["hit@1"], symbols["hit@1"]]


if __name__ == "__main__":
    sys.exit(main())
