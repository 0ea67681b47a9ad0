"""Languages: what language is a file in, and how do its comments and definitions look?"""

import pathlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    name: str
    line: tuple[str, ...]  # what begins a line comment
    block: tuple[tuple[str, str], ...] = ()  # what begins and ends a comment of several lines


C_BLOCK = (("/*", "*/"),)
LANGUAGES = {
    "rust": Language("rust", ("///", "//!", "//"), C_BLOCK), "python": Language("python", ("#",)),
    "javascript": Language("javascript", ("//",), C_BLOCK), "typescript": Language("typescript", ("//",), C_BLOCK),
    "go": Language("go", ("//",), C_BLOCK), "c": Language("c", ("//",), C_BLOCK), "cpp": Language("cpp", ("///", "//"), C_BLOCK),
    "java": Language("java", ("//",), C_BLOCK), "csharp": Language("csharp", ("///", "//"), C_BLOCK),
    "kotlin": Language("kotlin", ("//",), C_BLOCK), "swift": Language("swift", ("///", "//"), C_BLOCK),
    "scala": Language("scala", ("//",), C_BLOCK), "groovy": Language("groovy", ("//",), C_BLOCK), "d": Language("d", ("///", "//"), (("/*", "*/"), ("/+", "+/"))),
    "dart": Language("dart", ("///", "//"), C_BLOCK), "solidity": Language("solidity", ("///", "//"), C_BLOCK), "objc": Language("objc", ("//",), C_BLOCK),
    "php": Language("php", ("//", "#"), C_BLOCK), "ruby": Language("ruby", ("#",)), "bash": Language("bash", ("#",)),
    "r": Language("r", ("#'", "#")), "elixir": Language("elixir", ("#",)), "erlang": Language("erlang", ("%%%", "%%", "%")),
    "perl": Language("perl", ("#",)), "lua": Language("lua", ("---", "--"), (("--[[", "]]"), ("--[=[", "]=]"))),
    "haskell": Language("haskell", ("-- |", "-- ^", "--"), (("{-", "-}"),)), "ocaml": Language("ocaml", (), (("(*", "*)"),)),
    "clojure": Language("clojure", (";;", ";")), "tcl": Language("tcl", ("#",)), "nim": Language("nim", ("##", "#")),
    "proto": Language("proto", ("//",), C_BLOCK), "lisp": Language("lisp", (";;;", ";;", ";")), "sql": Language("sql", ("--",), C_BLOCK),
    "vue": Language("vue", ("//",), C_BLOCK),
}

EXTENSIONS = {
    "rs": "rust", "py": "python", "pyi": "python", "js": "javascript", "mjs": "javascript", "cjs": "javascript", "jsx": "javascript",
    "ts": "typescript", "tsx": "typescript", "mts": "typescript", "go": "go", "c": "c", "h": "c", "cc": "cpp", "cpp": "cpp", "cxx": "cpp",
    "hpp": "cpp", "hh": "cpp", "hxx": "cpp", "inl": "cpp", "java": "java", "cs": "csharp", "kt": "kotlin", "kts": "kotlin", "swift": "swift",
    "scala": "scala", "groovy": "groovy", "d": "d", "dart": "dart", "sol": "solidity", "m": "objc", "mm": "objc", "php": "php", "rb": "ruby",
    "rake": "ruby", "sh": "bash", "bash": "bash", "zsh": "bash", "r": "r", "ex": "elixir", "exs": "elixir", "erl": "erlang", "hrl": "erlang",
    "pl": "perl", "pm": "perl", "lua": "lua", "hs": "haskell", "ml": "ocaml", "mli": "ocaml", "clj": "clojure", "cljs": "clojure", "cljc": "clojure",
    "tcl": "tcl", "nim": "nim", "proto": "proto", "lisp": "lisp", "vue": "vue", "md": "readme", "rst": "readme",
}


def language_of(path: str) -> str | None:
    """The language of a file by its name; `readme` for the text files that pairs are taken from."""
    file = pathlib.PurePosixPath(path)
    language = EXTENSIONS.get(file.suffix[1:].lower())
    if language == "readme":
        return language if file.stem.lower() in {"readme", "usage", "guide", "tutorial", "overview", "design", "architecture", "index", "intro"} or "doc" in path.lower() else None
    if file.name in {"Rakefile", "Gemfile"}:
        return "ruby"
    return language
