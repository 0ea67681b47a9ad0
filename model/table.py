"""Table: what vectors does a table of tokens give to texts?

Reads and writes the two files of a model, and computes its vectors through table.c, which is compiled on first use.
"""

import ctypes
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
PATH_WEIGHT = 0.5
PATH_COMPONENTS = 3


def compiled() -> ctypes.CDLL:
    """table.c as a library, kept in the cache folder under the hash of its source."""
    source = HERE / "table.c"
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "conexus-model"
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"table-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    if not target.exists():
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".so", delete=False) as part:
            pass
        command = [os.environ.get("CC", "cc"), "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-o", part.name, str(source), "-lm"]
        subprocess.run(command, check=True)
        os.replace(part.name, target)
    library = ctypes.CDLL(str(target))
    library.vocabulary_new.restype = ctypes.c_void_p
    library.tokenize.restype = ctypes.c_uint64
    library.tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64]
    library.embed.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p]
    library.train.restype = ctypes.c_double
    return library


LIBRARY = compiled()


class Tokenizer:
    """Texts to token numbers."""

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        array = (ctypes.c_char_p * len(tokens))(*[token.encode() for token in tokens])
        self.handle = LIBRARY.vocabulary_new(array, ctypes.c_uint32(len(tokens)))
        self.buffer = np.empty(1 << 16, np.uint16)

    def __call__(self, text: str) -> np.ndarray:
        data = text.encode()
        count = LIBRARY.tokenize(self.handle, data, len(data), self.buffer.ctypes.data, len(self.buffer))
        return self.buffer[:count].copy()

    def many(self, texts) -> tuple[np.ndarray, np.ndarray]:
        """All sequences, one after the other, and where each ends."""
        parts = [self(text) for text in texts]
        ends = np.cumsum([len(part) for part in parts], dtype=np.uint64) if parts else np.zeros(0, np.uint64)
        return (np.concatenate(parts) if parts else np.zeros(0, np.uint16)), ends


class Table:
    """A model in memory: rows f32 [V, width], weights f32 [V]."""

    def __init__(self, tokens, rows, document_weights, query_weights):
        self.tokenizer = Tokenizer(tokens)
        self.rows = np.ascontiguousarray(rows, np.float32)
        self.document_weights = np.ascontiguousarray(document_weights, np.float32)
        self.query_weights = np.ascontiguousarray(query_weights, np.float32)

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Table":
        raw = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]

        def tensor(name, dtype):
            start, end = header[name]["data_offsets"]
            return np.frombuffer(data[start:end], dtype).reshape(header[name]["shape"])

        tokens = (folder / "vocab.txt").read_text().splitlines()
        return cls(tokens, tensor("embeddings", np.int8).astype(np.float32), tensor("doc_weight", "<f4"), tensor("query_weight", "<f4"))

    def vectors(self, sequences, ends, weights, dimensions=None) -> np.ndarray:
        width = self.rows.shape[1]
        out = np.zeros((len(ends), width), np.float32)
        LIBRARY.embed(sequences.ctypes.data, ends.ctypes.data, len(ends), self.rows.ctypes.data, weights.ctypes.data, len(self.rows), width, out.ctypes.data)
        return out if dimensions in (None, width) else unit(out[:, :dimensions])

    def queries(self, texts, dimensions=None):
        return self.vectors(*self.tokenizer.many(texts), self.query_weights, dimensions)

    def documents(self, texts, paths, dimensions=None):
        content = self.vectors(*self.tokenizer.many(texts), self.document_weights, dimensions)
        ends = ["/".join(path.split("/")[-PATH_COMPONENTS:]) for path in paths]
        return unit(content + PATH_WEIGHT * self.vectors(*self.tokenizer.many(ends), self.document_weights, dimensions))

    def write(self, folder: pathlib.Path) -> dict:
        """The int8 form: rows scaled to their largest value, the scale folded into both weights. Returns the files' SHA-256."""
        folder.mkdir(parents=True, exist_ok=True)
        scale = np.abs(self.rows).max(axis=1) / 127
        scale[scale == 0] = 1
        tensors = {"doc_weight": (self.document_weights * scale).astype("<f4"), "query_weight": (self.query_weights * scale).astype("<f4"),
                   "embeddings": np.rint(self.rows / scale[:, None]).astype(np.int8)}
        header, at = {}, 0
        for name, values in tensors.items():
            header[name] = {"dtype": "I8" if values.dtype == np.int8 else "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
            at += values.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(values.tobytes() for values in tensors.values()))
        (folder / "vocab.txt").write_text("".join(token + "\n" for token in self.tokenizer.tokens))
        return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.safetensors", "vocab.txt")}


def unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
