#!/usr/bin/env python3
"""Training: pairs in, a table out.

usage: train.py DATA OUT [--seed N] [--tokens N] [--width N] [--epochs N] [--rate R] [--mined SHARE]
       train.py --average OUT RUN [RUN ...]

Reads DATA/pairs.jsonl (see pairs.py) and writes OUT/model.safetensors, OUT/vocab.txt, OUT/float.npz, and OUT/start/, the
same vocabulary with its starting vectors. InfoNCE in blocks, each half from one package, half from another; at 512, 256
and 128 dimensions; query and document token weights apart. `--average` takes the mean of runs that differ by seed.
"""

import argparse
import collections
import ctypes
import json
import pathlib
import random
import sys
import time

import numpy as np

import start
import words
from evaluate import held_out_ndcg
from table import LIBRARY, Table, Tokenizer

WIDTH = 512
HALF = 128
BATCH = 512
# A language's pairs in one pass, at most; smaller ones are taken twice.
LANGUAGE_MAX = 60_000
LANGUAGE_TWICE = 9_000
KIND_SHARES = {"name": 0.35, "inline": 0.8}
TEMPLATES = [
    "", "how does", "how is", "how are", "where is", "where are", "where does", "which code", "what handles", "how do we", "code that", "function that",
    "function to", "find the", "the class for", "implementation of", "logic for", "where do we", "how can I", "what happens when", "module for", "support for",
]


class Training(ctypes.Structure):
    _fields_ = [("vocabulary", ctypes.c_uint32), ("width", ctypes.c_int32)] + [
        (name, ctypes.c_void_p) for name in (
            "rows", "log_document", "log_query", "row_mean", "row_square", "document_mean", "document_square", "query_mean", "query_square",
            "steps", "query", "content", "path", "query_ends", "content_ends", "path_ends", "templates", "template_ends")
    ] + [("template_count", ctypes.c_uint32), ("variants", ctypes.c_void_p), ("variant_ends", ctypes.c_void_p)] + [
        (name, ctypes.c_float) for name in (
            "rate", "weight_rate", "scale", "drop_query", "drop_content", "template_share", "variant_share", "window_share", "no_path_share", "path_weight")
    ] + [("seed", ctypes.c_uint64)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path, nargs="?")
    parser.add_argument("out", type=pathlib.Path, nargs="?")
    parser.add_argument("--tokens", type=int, default=30_000)
    parser.add_argument("--width", type=int, default=WIDTH, help="dimensions, a multiple of 64 up to 512")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--scale", type=float, default=24)
    parser.add_argument("--variants", type=float, default=0.12)
    parser.add_argument("--mined", type=float, default=0, help="share of the rows that hold look-alikes, from the second epoch on")
    parser.add_argument("--language-max", type=int, default=LANGUAGE_MAX)
    parser.add_argument("--half", type=int, default=HALF, help="pairs of one package in a row; two such rows are a block")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--average", type=pathlib.Path, nargs="+", metavar=("OUT", "RUN"))
    args = parser.parse_args()
    if args.average:
        return average(args.average[0], args.average[1:])
    pairs = [json.loads(line) for line in (args.data / "pairs.jsonl").open()]
    held = [pair for pair in pairs if pair["held"]]
    pairs = [pair for pair in pairs if not pair["held"]]
    rng = random.Random(args.seed)
    say(f"{len(pairs)} pairs, {len(held)} held out")
    tokens, rows, weights = begin(pairs, args.tokens, args.width, args.data)
    say(f"{len(tokens)} tokens")
    table = Table(tokens, rows, weights, weights)
    table.write(args.out / "start")
    say(f"start: held out {held_out_ndcg(table, held)}")
    run(table, pairs, held, args, rng)
    save(table, args.out)
    return 0


def begin(pairs, size, width, data):
    """Vocabulary, starting rows and weights; the same for every seed, so that runs can be averaged."""
    cached = data / f"start-{size}-{width}.npz"
    if cached.exists():
        found = np.load(cached)
        return [str(token) for token in found["tokens"]], found["rows"], found["weights"]
    known, vectors = start.pretrained()
    tokens, shares = start.vocabulary(pairs, known, size)
    rows, weights = start.rows_of(tokens, known, vectors, width), start.weights_of(shares)
    np.savez(cached, tokens=np.array(tokens), rows=rows, weights=weights)
    return tokens, rows.astype(np.float32), weights


def run(table, pairs, held, args, rng):
    tokenizer = table.tokenizer
    arrays = {}
    for name, texts in (("query", [pair["q"] for pair in pairs]), ("content", [pair["d"] for pair in pairs]),
                        ("path", ["/".join(pair["path"].split("/")[-3:]) for pair in pairs]), ("template", TEMPLATES)):
        arrays[name], arrays[name + "_ends"] = tokenizer.many(texts)
    forms = words.variants(tokenizer.tokens)
    arrays["variant"] = np.array([other for group in forms for other in group], np.uint16)
    arrays["variant_ends"] = np.cumsum([len(group) for group in forms], dtype=np.uint64)
    V, width = table.rows.shape
    state = {name: np.zeros((V, width) if "row" in name else V, np.float32) for name in
             ("row_mean", "row_square", "document_mean", "document_square", "query_mean", "query_square")}
    steps = np.zeros(V, np.uint32)
    log_document, log_query = np.log(table.document_weights), np.log(table.query_weights)
    at = lambda array: array.ctypes.data
    training = Training(
        V, width, at(table.rows), at(log_document), at(log_query), *(at(state[name]) for name in state), at(steps),
        at(arrays["query"]), at(arrays["content"]), at(arrays["path"]), at(arrays["query_ends"]), at(arrays["content_ends"]), at(arrays["path_ends"]),
        at(arrays["template"]), at(arrays["template_ends"]), len(TEMPLATES), at(arrays["variant"]), at(arrays["variant_ends"]),
        args.rate, args.rate, args.scale, 0.15, 0.05, 0.4, args.variants, 0.5, 0.15, 0.5, 0)
    say("tokenized")
    orders = [epoch_order(pairs, rng, args.half, args.language_max) for _ in range(args.epochs)]
    total = sum(len(order) // args.batch + 1 for order in orders)
    done = 0
    for epoch, order in enumerate(orders):
        if epoch and args.mined:
            order = mined(order, pairs, table, arrays, args.half, args.mined, rng)
        updates = len(order) // args.batch + 2
        place = (done + np.arange(updates)) / total
        rates = np.minimum(1, (done + np.arange(updates) + 1) / (0.05 * total)) * np.maximum(0.02, 1 - place)
        rates = rates.astype(np.float32)
        training.seed = args.seed * 1000 + epoch
        began = time.process_time()
        loss = LIBRARY.train(ctypes.byref(training), ctypes.c_void_p(at(order)), ctypes.c_uint64(len(order)), ctypes.c_int(2 * args.half),
                             ctypes.c_int(args.batch), ctypes.c_void_p(at(rates)))
        done += len(order) // args.batch
        table.document_weights[:], table.query_weights[:] = np.exp(log_document), np.exp(log_query)
        say(f"epoch {epoch + 1}: {len(order)} pairs, loss {loss:.4f}, {time.process_time() - began:.0f} CPU seconds, held out {held_out_ndcg(table, held)}")


def epoch_order(pairs, rng, half, most) -> np.ndarray:
    """Pair numbers in blocks: `half` of one package, then `half` of another; languages and kinds balanced."""
    languages = collections.defaultdict(list)
    for number, pair in enumerate(pairs):
        if rng.random() < KIND_SHARES.get(pair["kind"], 1):
            languages[pair["lang"]].append(number)
    packages = collections.defaultdict(list)
    for numbers in languages.values():
        rng.shuffle(numbers)
        chosen = numbers[:most] if len(numbers) > LANGUAGE_TWICE else numbers + numbers
        for number in chosen:
            packages[pairs[number]["pkg"]].append(number)
    runs, rest = [], []
    for numbers in packages.values():
        rng.shuffle(numbers)
        cut = len(numbers) // half * half
        runs += [numbers[at : at + half] for at in range(0, cut, half)]
        rest += numbers[cut:]
    # What is left of each package stays with its language.
    rest.sort(key=lambda number: (pairs[number]["lang"], rng.random()))
    runs += [rest[at : at + half] for at in range(0, len(rest) // half * half, half)]
    rng.shuffle(runs)
    return np.array([number for part in runs for number in part], np.uint32)


def mined(order, pairs, table, arrays, half, share, rng) -> np.ndarray:
    """The same pairs, `share` of the rows of `half` made anew: each of one language and of code that the table finds alike,
    so that the other documents of a block are hard negatives."""
    rows = order[: len(order) // half * half].reshape(-1, half).copy()
    rng.shuffle(rows)
    kept, pooled = rows[int(len(rows) * share) :], rows[: int(len(rows) * share)].ravel()
    vectors = table.vectors(arrays["content"], arrays["content_ends"], table.document_weights, 64)
    languages = collections.defaultdict(list)
    for number in np.unique(pooled):
        languages[pairs[number]["lang"]].append(number)
    made = []
    for numbers in languages.values():
        for leaf in halved(np.array(numbers), vectors, half, np.random.default_rng(rng.randrange(1 << 30))):
            made.append(leaf)
    rest = np.concatenate([leaf for leaf in made if len(leaf) != half] or [np.zeros(0, np.int64)])
    rest = rest[: len(rest) // half * half].reshape(-1, half)
    both = np.concatenate([kept, [leaf for leaf in made if len(leaf) == half] or np.zeros((0, half), np.int64), rest])
    both = both[np.random.default_rng(rng.randrange(1 << 30)).permutation(len(both))]
    return np.ascontiguousarray(both.ravel(), np.uint32)


def halved(numbers, vectors, size, random_state):
    """Leaves of at most `size` alike documents: cut in two at a multiple of `size` along a direction between two of them."""
    if len(numbers) <= size:
        return [numbers]
    one, other = vectors[random_state.choice(numbers, 2, replace=False)]
    order = numbers[np.argsort(vectors[numbers] @ (one - other), kind="stable")]
    cut = max(size, len(order) // 2 // size * size)
    return halved(order[:cut], vectors, size, random_state) + halved(order[cut:], vectors, size, random_state)


def average(out, runs):
    """The mean of the rows, scaled by their weights, of runs that began alike; weights are averaged in logarithm."""
    loaded = [np.load(run / "float.npz") for run in runs]
    tokens = [str(token) for token in loaded[0]["tokens"]]
    if any([str(token) for token in one["tokens"]] != tokens for one in loaded):
        raise SystemExit("the runs have different vocabularies")
    mean = lambda name: np.mean([one[name] for one in loaded], axis=0)
    weights = [np.exp(np.mean([np.log(one[name]) for one in loaded], axis=0)) for name in ("document", "query")]
    save(Table(tokens, mean("rows"), *weights), out)
    return 0


def save(table, out):
    hashes = table.write(out)
    np.savez(out / "float.npz", tokens=np.array(table.tokenizer.tokens), rows=table.rows, document=table.document_weights, query=table.query_weights)
    (out / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    say(f"wrote {out}: {hashes}")


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
