#!/usr/bin/env python3
"""Golden vectors: what the built-in model says of some texts, computed apart from the program.

Follows the description in README.md beside it with `re` and numpy, and writes golden.json, which the program's tests
compare with their own vectors. Needs Python 3.9 and numpy:

    python3 golden.py
"""

import collections
import json
import pathlib
import re
import struct

import numpy as np

HERE = pathlib.Path(__file__).parent

TEXTS = [
    "",
    "???",
    "parse the configuration file",
    "how does the HTTP server retry failed requests",
    "pub fn parse_config(path: &Path) -> Result<Config, ConfigError> {\n    let text = fs::read_to_string(path)?;\n    toml::from_str(&text)\n}",
    "class HTTPServerError(Exception):\n    \"\"\"Raised when the XMLHttpRequest2 fails.\"\"\"\n    def __init__(self, URLs): self.URLs = URLs",
    "SCREAMING_SNAKE_CASE camelCaseIdentifier PascalCaseName kebab-case-name utf8 sha256sum i18n 0x1F 10_000",
    "größe ändern 検索 naïve café 🚀",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis zzzzqqqqxxxxjjjjvvvvwwww",
    "return return return return return value",
    "for (int i = 0; i < n; i++) { sum += values[i] * weights[i]; }",
    "AAAA aAaA ABCdefGHI x1y2z3",
]

PATHS = ["src/main.rs", "packages/server/src/adapters/node-http/incomingMessageToRequest.ts", "README.md", "a/b/c/d/e"]

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def load():
    raw = (HERE / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    data = raw[8 + length :]

    def tensor(name, dtype):
        start, end = header[name]["data_offsets"]
        return np.frombuffer(data[start:end], dtype).reshape(header[name]["shape"])

    vocabulary = (HERE / "vocab.txt").read_text().splitlines()
    numbers = {token: number for number, token in enumerate(vocabulary)}
    return numbers, tensor("embeddings", np.int8), tensor("doc_weight", "<f4"), tensor("query_weight", "<f4")


def pieces(text, numbers):
    for word in WORDS.findall(text):
        word = word.lower()
        if word in numbers:
            yield numbers[word]
            continue
        at = 0
        while at < len(word):
            for end in range(min(len(word), at + 20), at, -1):
                if word[at:end] in numbers:
                    yield numbers[word[at:end]]
                    at = end
                    break
            else:
                at += 1


def vector(text, numbers, rows, weights, dimensions=None):
    dimensions = dimensions or rows.shape[1]
    total = np.zeros(dimensions, np.float64)
    for token, count in collections.Counter(pieces(text, numbers)).items():
        total += np.sqrt(count) * np.float64(weights[token]) * rows[token, :dimensions].astype(np.float64)
    length = np.linalg.norm(total)
    return total / length if length > 0 else total


def main():
    numbers, rows, document, query = load()

    def rounded(values):
        return [round(float(value), 7) for value in values]

    golden = {
        "texts": [
            {
                "text": text,
                "document": rounded(vector(text, numbers, rows, document)),
                "query": rounded(vector(text, numbers, rows, query)),
                "query_64": rounded(vector(text, numbers, rows, query, 64)),
            }
            for text in TEXTS
        ],
        "paths": [
            {"path": path, "vector": rounded(vector("/".join(path.split("/")[-3:]), numbers, rows, document))}
            for path in PATHS
        ],
    }
    text, path = vector(TEXTS[4], numbers, rows, document), vector("/".join(PATHS[1].split("/")[-3:]), numbers, rows, document)
    both = text + 0.5 * path
    golden["chunk"] = {"text": TEXTS[4], "path": PATHS[1], "vector": rounded(both / np.linalg.norm(both))}
    lines = json.dumps(golden, ensure_ascii=False, separators=(",", ":")).replace("},{", "},\n{")
    (HERE / "golden.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
