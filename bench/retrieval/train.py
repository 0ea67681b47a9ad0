#!/usr/bin/env python3
"""Train the ranker's weights on what the `retrieval` example writes, and say how they do on repositories never seen.

usage: train.py FEATURES.jsonl [--write conexusd/src/search/rank/weights.rs] [--ablate] [--json OUT]

The model is linear, one set of weights for names and one for prose (`symbol` of the input). The loss is LambdaRank's:
over all pairs of a target and another file of one query, log(1 + exp(-margin)) times what swapping the two would change
in NDCG@10, with L2 regularisation. Everything is deterministic. Cross-validation leaves out a repository (or a
language) at a time and scores it with weights trained on the others. Scores are of files; score.py scores chunks.

Python 3.11 and numpy.
"""
import argparse
import functools
import json
import pathlib
import re
from collections import defaultdict

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
K = 10
L2 = {False: 0.2, True: 0.6}
ITERATIONS = 150
RATE = 0.06
SCALE = 6.0
# What is believed before any data: evidence speaks for a file, all alike; what is known of such files in general speaks
# against it. Training starts there and is drawn back there, so that what few repositories show is not learnt from noise.
PRIOR = 0.2
PRIORS = {"docs": -0.3, "platform": -0.3, "paired_header": -0.2, "depth": -0.2, "aside": -0.45}

# What is switched off together, for --ablate: evidence of one kind.
GROUPS = {
    "whole-file evidence": ["cosine_file", "bm25_named"],
    "path and file name": ["stem_share"],
    "what a file defines": ["definition", "symbol_words"],
    "what a file is": ["docs", "platform", "paired_header", "lines", "depth", "aside"],
    "the lanes": ["fused", "fused_rank", "fused_sum"],
    "vectors' own scores": ["cosine_best", "cosine_file"],
    "BM25's own scores": ["bm25_named", "bm25_best"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=pathlib.Path)
    parser.add_argument("--write", type=pathlib.Path, help="put the weights into this source file")
    parser.add_argument("--ablate", action="store_true", help="cross-validate without each feature and group in turn")
    parser.add_argument("--json", type=pathlib.Path, help="write the cross-validated scores here")
    args = parser.parse_args()
    names = feature_names()
    data = load(args.features, len(names))
    print(f"{len(data)} queries, {np.mean([len(d['y']) for d in data]):.1f} candidate files each, "
          f"{np.mean([d['y'].sum() / d['targets'] for d in data]):.3f} of the targets among them")
    print(f"fused lanes alone               {report(data, [ndcg(d['X'][:, 0], d) for d in data])}")
    validated = {}
    for key in ("repo", "language"):
        scores = cross_validate(data, key)
        validated[key] = means(data, scores)
        print(f"cross-validated by {key:12s} {report(data, scores)}")
    languages = sorted({query["language"] for query in data}, key=validated["repo"].get)
    print("by repository, worst first:     " + "  ".join(f"{name} {validated['repo'][name]:.3f}" for name in languages))
    weights = {symbol: train([d for d in data if d["symbol"] == symbol], L2[symbol]) for symbol in (False, True)}
    print(f"trained on everything           {report(data, [ndcg(d['X'] @ weights[d['symbol']], d) for d in data])}")
    if args.ablate:
        for label, without in [*GROUPS.items(), *((name, [name]) for name in names)]:
            mask = np.array([float(name not in without) for name in names])
            print(f"without {label:22s}  {report(data, cross_validate(data, 'repo', mask))}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(validated, indent=1) + "\n")
    if args.write:
        write(args.write, weights)


@functools.cache
def feature_names() -> list[str]:
    source = (ROOT / "conexusd/src/search/rank/features.rs").read_text()
    block = re.search(r"FEATURE_NAMES: \[&str; FEATURES\] = \[(.*?)\];", source, re.S).group(1)
    return re.findall(r'"(\w+)"', block)


def load(path: pathlib.Path, features: int) -> list[dict]:
    queries = {q["id"]: q for q in map(json.loads, (HERE / "queries.jsonl").read_text().splitlines())}
    data = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        query = queries[row["id"]]
        targets = {target["path"] for target in query["relevant"] + query["secondary"]}
        data.append({
            "repo": query["repo"], "language": query["language"], "category": query["category"],
            "symbol": row["symbol"], "targets": len(targets),
            "X": np.array([f["features"] for f in row["files"]], float).reshape(len(row["files"]), features),
            "y": np.array([f["path"] in targets for f in row["files"]], float),
            "tier": np.array([f["tier"] for f in row["files"]], float),
        })
    return data


def ndcg(scores: np.ndarray, query: dict) -> float:
    order = np.argsort(-(scores + query["tier"] * 1000), kind="stable")[:K]
    gain = (query["y"][order] / np.log2(np.arange(len(order)) + 2)).sum()
    return gain / ideal(query)


def ideal(query: dict) -> float:
    return (1 / np.log2(np.arange(min(K, query["targets"])) + 2)).sum()


def train(data: list[dict], l2: float, mask: np.ndarray | None = None) -> np.ndarray:
    prior = np.array([PRIORS.get(name, PRIOR) for name in feature_names()])
    data = [query for query in data if query["y"].any()]
    files, features = max(len(query["y"]) for query in data), data[0]["X"].shape[1]
    X, y, there, tier = (np.zeros((len(data), files, *tail)) for tail in ((features,), (), (), ()))
    for i, query in enumerate(data):
        n = len(query["y"])
        X[i, :n], y[i, :n], there[i, :n], tier[i, :n] = query["X"], query["y"], 1, query["tier"]
    best = np.array([ideal(query) for query in data])
    q, target = np.nonzero(y)
    # A file of another tier cannot be overtaken: it teaches nothing.
    others = there[q] * (1 - y[q]) * (tier[q] == tier[q, target][:, None])
    difference = X[q, target][:, None, :] - X[q]
    mask = np.ones(features) if mask is None else mask
    weights, mean, square = prior * mask, np.zeros(features), np.zeros(features)
    for step in range(1, ITERATIONS + 1):
        scores = X @ weights - 1e9 * (1 - there)
        ranks = np.empty(scores.shape, int)
        np.put_along_axis(ranks, np.argsort(-(scores + 100 * tier), 1), np.arange(files)[None].repeat(len(data), 0), 1)
        discount = np.where(ranks < K + 2, 1, 0.3) / np.log2(ranks + 2)
        change = np.abs(discount[q, target][:, None] - discount[q]) / best[q][:, None]
        margin = np.clip(SCALE * (difference @ weights), -30, 30)
        pull = others * change / (1 + np.exp(margin))
        gradient = (-SCALE * np.einsum("pf,pfk->k", pull, difference) / len(data) + l2 * (weights - prior)) * mask
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weights = weights - RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return weights


def cross_validate(data: list[dict], key: str, mask: np.ndarray | None = None) -> list[float]:
    scores = [0.0] * len(data)
    for left_out in sorted({query[key] for query in data}):
        for symbol in (False, True):
            weights = train([q for q in data if q[key] != left_out and q["symbol"] == symbol], L2[symbol], mask)
            for i, query in enumerate(data):
                if query[key] == left_out and query["symbol"] == symbol:
                    scores[i] = ndcg(query["X"] @ weights, query)
    return scores


def means(data: list[dict], scores: list[float]) -> dict[str, float]:
    """The mean over repositories, overall, by category and by language, as score.py aggregates."""
    groups = defaultdict(lambda: defaultdict(list))
    for query, score in zip(data, scores):
        for group in ("overall", query["category"], query["language"]):
            groups[group][query["repo"]].append(score)
    return {group: float(np.mean([np.mean(own) for own in repos.values()])) for group, repos in groups.items()}


def report(data: list[dict], scores: list[float]) -> str:
    found = means(data, scores)
    return "  ".join([f"{found['overall']:.4f}"] + [f"{name} {found[name]:.3f}" for name in ("architecture", "semantic", "symbol")])


def write(path: pathlib.Path, weights: dict[bool, np.ndarray]) -> None:
    source = path.read_text()
    for symbol, name in ((False, "PROSE"), (True, "SYMBOL")):
        numbers = ", ".join(f"{weight:.2f}".replace("-0.00", "0.00") for weight in weights[symbol])
        source, count = re.subn(rf"(const {name}: \[f32; FEATURES\] =\s*)\[[^\]]*\]", rf"\g<1>[{numbers}]", source)
        assert count == 1, f"{path} has no table {name}"
    path.write_text(source)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
