#!/usr/bin/env python3
"""Would it pay the ranker to know who imports a file? Cross-validates with such a feature, which the product has not.

usage: imports.py FEATURES.jsonl [--corpora DIR]     (needs numpy; the features are those that run.py leaves)

A file counts as imported by another that has its name as a word in an import of any language (`use`, `#include`,
`require`, ...); a file named for its role only (`index`, `mod`, `__init__`) goes by its folder's name.
"""
import argparse
import functools
import json
import math
import pathlib
import re
from collections import Counter

import numpy as np

import run
import train

IMPORT = re.compile(
    r"""^\s*(?:pub(?:\([^)]*\))?\s+|export\s+)?
    (?:(?:import|from|use|mod|using|alias|source|open|load|\#\s*include|\#\s*import|include|include_once)\b
    |require(?:_relative|_once)?\b|@import|export\s*[*{].*\bfrom\b|(?:const|let|var|local)\s.*\b(?:require|import)\s*\()""",
    re.VERBOSE)
WORD = re.compile(r"[A-Za-z0-9_-]+")
ROLES = {"index", "mod", "init", "lib", "main", ""}
BYTES_MAX = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=pathlib.Path)
    parser.add_argument("--corpora", type=pathlib.Path, default=run.default_corpora(), metavar="DIR")
    args = parser.parse_args()
    names = train.feature_names()
    data = train.load(args.features, len(names))
    queries = {query["id"]: query for query in map(json.loads, (run.HERE / "queries.jsonl").read_text().splitlines())}
    imported = []
    for row in map(json.loads, args.features.read_text().splitlines()):
        counts = importers(args.corpora / queries[row["id"]]["repo"] / queries[row["id"]]["root"])
        imported.append(np.array([math.log(1 + counts[name_of(file["path"])]) / 10 for file in row["files"]]))
    mentions = names.index("mentions")
    without = [np.delete(query["X"], mentions, 1) for query in data]
    others = [name for name in names if name != "mentions"]
    beside = lambda columns: [np.column_stack(both) for both in zip(columns, imported)]
    show("as it is", data, [query["X"] for query in data], names)
    show("without mentions", data, without, others)
    show("imports in place of mentions", data, beside(without), [*others, "imports"])
    show("imports beside mentions", data, beside([query["X"] for query in data]), [*names, "imports"])


def show(label: str, data: list[dict], columns: list[np.ndarray], names: list[str]) -> None:
    train.feature_names = lambda: names
    data = [{**query, "X": X} for query, X in zip(data, columns)]
    by_repo, by_language = (train.means(data, train.cross_validate(data, key))["overall"] for key in ("repo", "language"))
    print(f"{label:30s} by repository {by_repo:.4f}  by language {by_language:.4f}", flush=True)


@functools.cache
def importers(root: pathlib.Path) -> Counter:
    """By name, how many files of other names import it."""
    counts = Counter()
    for path in root.rglob("*"):
        if path.is_file() and path.stat().st_size <= BYTES_MAX:
            counts.update(imports(path) - {name_of(path.relative_to(root).as_posix())})
    return counts


def imports(path: pathlib.Path) -> set[str]:
    words, within = set(), False
    for line in path.read_text(errors="replace").splitlines():
        # Go's list of imports, a line each.
        within = path.suffix == ".go" and (line.startswith("import (") or within and not line.startswith(")"))
        if len(line) < 300 and (within or IMPORT.match(line)):
            words.update(map(plain, WORD.findall(line)))
    return words


def name_of(path: str) -> str:
    path = pathlib.PurePosixPath(path)
    name = plain(path.name.split(".")[0])
    return plain(path.parent.name) if name in ROLES else name


def plain(word: str) -> str:
    return re.sub("[_-]", "", word).lower()


if __name__ == "__main__":
    main()
