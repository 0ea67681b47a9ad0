#!/usr/bin/env python3
"""Evaluation: how well do vectors alone find the file that answers a question?

usage: evaluate.py --queries QUERIES.jsonl --trees DIR MODEL [MODEL ...] [--dimensions N]
       evaluate.py --held-out DATA MODEL [MODEL ...]

QUERIES has one question a line: `repo`, `root`, `query`, `language`, `category`, `relevant` and `secondary` (lists of
`{"path"}`, relative to DIR/<repo>). Files are cut into chunks of some 750 characters; a file ranks by its best chunk.
NDCG@10 overall, by language and by category. This is the table alone: the product adds BM25 and ranking.
"""

import argparse
import collections
import json
import math
import pathlib
import sys

import numpy as np

from languages import language_of
from table import Table

CHUNK_CHARS = 750


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--queries", type=pathlib.Path)
    parser.add_argument("--trees", type=pathlib.Path)
    parser.add_argument("--held-out", type=pathlib.Path)
    parser.add_argument("--dimensions", type=int)
    parser.add_argument("--float", action="store_true", help="the table before quantisation (float.npz)")
    args = parser.parse_args()
    held = [pair for pair in map(json.loads, (args.held_out / "pairs.jsonl").open()) if pair["held"]] if args.held_out else None
    chunks = {}
    for folder in args.models:
        if args.float:
            found = np.load(folder / "float.npz")
            table = Table([str(token) for token in found["tokens"]], found["rows"], found["document"], found["query"])
        else:
            table = Table.read(folder)
        if held:
            print(folder, "held out:", held_out_ndcg(table, held, detail=True))
        if args.queries:
            scores = benchmark(table, args.queries, args.trees, chunks, args.dimensions)
            print(f"{folder}: NDCG@10 {scores['all']:.4f}   " + "  ".join(f"{name} {value:.3f}" for name, value in scores.items() if name != "all"))
    return 0


def benchmark(table, queries, trees, cache, dimensions=None, only=None):
    """Mean NDCG@10 of the questions: all, by category, by language; `only` names the repositories."""
    groups = collections.defaultdict(list)
    for line in queries.read_text().splitlines():
        query = json.loads(line)
        if only and query["repo"] not in only:
            continue
        groups[query["repo"], query["root"]].append(query)
    scores = collections.defaultdict(list)
    for (repo, root), group in groups.items():
        if (repo, root) not in cache:
            cache[repo, root] = list(chunks_of(trees / repo, root))
        paths, texts = zip(*cache[repo, root])
        vectors = table.documents(texts, paths, dimensions)
        asked = table.queries([query["query"] for query in group], dimensions)
        for query, row in zip(group, asked @ vectors.T):
            order = list(dict.fromkeys(paths[number] for number in np.argsort(-row, kind="stable")))
            wanted = {target["path"] for target in query["relevant"] + query.get("secondary", [])}
            value = ndcg([path in wanted for path in order[:10]], len(wanted))
            for name in ("all", query.get("category", "paraphrase"), query["language"]):
                scores[name].append(value)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def ndcg(hits, wanted):
    best = sum(1 / math.log2(rank + 2) for rank in range(min(wanted, 10)))
    return sum(hit / math.log2(rank + 2) for rank, hit in enumerate(hits)) / best if best else 0.0


def chunks_of(tree, root):
    for path in sorted((tree / root).rglob("*")):
        inside = path.relative_to(tree).as_posix()
        if not path.is_file() or language_of(inside) in (None, "readme") or path.stat().st_size > 1_000_000:
            continue
        part, size = [], 0
        for line in path.read_text(errors="replace").splitlines(keepends=True):
            if size >= CHUNK_CHARS and (not line.strip() or not line[0].isspace() or size > 1.5 * CHUNK_CHARS):
                yield inside, "".join(part)
                part, size = [], 0
            part.append(line)
            size += len(line)
        if part:
            yield inside, "".join(part)


def held_out_ndcg(table, held, detail=False):
    """Mean over packages of the mean reciprocal rank of each pair's code among (up to 400 of) its package's; by language on demand."""
    packages = collections.defaultdict(list)
    for pair in held:
        if len(packages[pair["pkg"]]) < 400:
            packages[pair["pkg"]].append(pair)
    values, languages = [], collections.defaultdict(list)
    for pairs in packages.values():
        if len(pairs) < 20:
            continue
        code = list(dict.fromkeys((pair["d"], pair["path"]) for pair in pairs))
        place = {key: number for number, key in enumerate(code)}
        similar = table.queries([pair["q"] for pair in pairs]) @ table.documents([text for text, _ in code], [path for _, path in code]).T
        right = np.array([place[pair["d"], pair["path"]] for pair in pairs])
        ranks = (similar > similar[np.arange(len(pairs)), right][:, None]).sum(axis=1) + 1
        values.append(float((1 / ranks).mean()))
        languages[pairs[0]["lang"]].append(values[-1])
    mean = round(float(np.mean(values)), 4) if values else 0.0
    return {"mrr": mean, **{name: round(float(np.mean(group)), 3) for name, group in sorted(languages.items())}} if detail else mean


if __name__ == "__main__":
    sys.exit(main())
