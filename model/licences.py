"""Licences: is a package, or one file of a Debian package, under a permissive licence?

From metadata, `license` of Cargo.toml and package.json and the wheel's METADATA; for Debian's sources, from the text of
every licence file and the package description (.cabal, .opam, DESCRIPTION, composer.json, gemspec) at the top of the
tree. The head of every single file is looked at too. What cannot be read by machine is refused.
"""

import re

PERMISSIVE = {
    "mit", "mit-0", "x11", "expat", "apache-2.0", "apache-2", "apache2", "apache2.0", "bsd", "bsd-1-clause", "bsd-2-clause", "bsd-3-clause",
    "bsd-2", "bsd-3", "bsd2", "bsd3", "bsd-2-clauses", "bsd-3-clauses", "bsd3clause", "0bsd", "isc", "zlib", "zlib-acknowledgement", "unlicense", "cc0-1.0", "cc0", "bsl-1.0", "boost-1.0",
    "boost", "psf-2.0", "python-2.0", "psf", "psf-2", "unicode-3.0", "unicode-dfs-2016", "ncsa", "postgresql", "libpng", "blueoak-1.0.0", "hpnd",
    "curl", "wtfpl", "public-domain", "upl-1.0", "zpl-2.1", "zpl", "mit-cmu", "tcl", "artistic-2.0", "bzip2-1.0.6", "apache", "apache-license-2.0", "mit-license",
    "bsd-new", "new-bsd", "modified-bsd", "bsd-style", "bsd-3-clause-modification", "mit/x11", "libtiff", "openldap-2.8", "ijg",
}

CLASSIFIERS = {
    "MIT License": "mit", "Apache Software License": "apache-2.0", "BSD License": "bsd-3-clause", "ISC License (ISCL)": "isc",
    "The Unlicense (Unlicense)": "unlicense", "Python Software Foundation License": "psf-2.0", "Public Domain": "public-domain",
    "Zope Public License": "zpl-2.1", "MIT No Attribution License (MIT-0)": "mit-0", "zlib/libpng License": "zlib",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "cc0-1.0", "Boost Software License 1.0 (BSL-1.0)": "bsl-1.0",
}

FREE_TEXT = [
    (r"^(the )?mit( license| licence)?( \(mit\))?\.?$", "mit"), (r"^apache( software)?( license)?,?( version)?[ -]*v?2(\.0)?$", "apache-2.0"),
    (r"^(the )?apache (license 2\.0|software license)$", "apache-2.0"), (r"^(new |modified |simplified |3-clause |2-clause )?bsd( license|[ -][23][ -]clause( license)?)?$", "bsd-3-clause"),
    (r"^isc( license)?$", "isc"),
]


def one(name: str) -> bool:
    """Is a single licence name permissive?"""
    name = name.strip().lower().replace(" ", "-")
    name = re.sub(r"-with-llvm-exceptions?$", "", name).rstrip("+")
    if name in PERMISSIVE:
        return True
    # Debian names variants by the project, BSD-3-clause-google, Expat-foo; GPL and the like never begin so.
    return bool(re.match(r"^(bsd-?[123](-clauses?)?|expat|mit|isc|zlib|apache-2(\.0)?|public-domain|boost-1\.0)([-~.].*)?$", name)) and "gpl" not in name


def permissive(expression: str) -> bool:
    """Is an SPDX or Debian expression permissive: one side of each `or`, all sides of each `and`?"""
    text = re.sub(r"\s+", " ", expression.strip())
    for pattern, name in FREE_TEXT:
        if re.match(pattern, text, re.I):
            return one(name)
    text = text.replace("/", " OR ").replace(",", " ") if "mit/x11" not in text.lower() else text
    tokens = re.findall(r"\(|\)|\bor\b|\band\b|[^\s()]+", text, re.I)
    merged: list[str] = []
    for token in tokens:
        kind = token.lower() in {"or", "and", "(", ")"}
        if merged and not kind and merged[-1].lower() not in {"or", "and", "(", ")"}:
            merged[-1] += " " + token
        else:
            merged.append(token)
    if not merged:
        return False
    value, rest = _either(merged)
    return value and not rest


def _either(tokens):
    value, tokens = _both(tokens)
    while tokens and tokens[0].lower() == "or":
        other, tokens = _both(tokens[1:])
        value = value or other
    return value, tokens


def _both(tokens):
    value, tokens = _atom(tokens)
    while tokens and tokens[0].lower() == "and":
        other, tokens = _atom(tokens[1:])
        value = value and other
    return value, tokens


def _atom(tokens):
    if not tokens:
        return False, []
    if tokens[0] == "(":
        value, rest = _either(tokens[1:])
        return value, rest[1:]
    return one(tokens[0]), tokens[1:]


def of_wheel(metadata: str) -> str:
    """The licence that a wheel's METADATA states: expression, then classifiers, then the free field."""
    head = metadata.split("\n\n")[0]
    if found := re.search(r"^License-Expression: (.+)$", head, re.M):
        return found.group(1)
    stated = re.findall(r"^Classifier: License :: (?:OSI Approved :: )?(.+)$", head, re.M)
    stated = [name for name in stated if name != "OSI Approved"]
    if stated:
        return " AND ".join(CLASSIFIERS.get(name, name.replace(" ", "-")) for name in stated)
    found = re.search(r"^License: (.+)$", head, re.M)
    return found.group(1) if found else ""


TEXTS = [
    ("mit", r"permission is hereby granted, free of charge, to any person"), ("mit", r"permission is hereby granted, without written agreement and without license"),
    ("isc", r"permission to use, copy, modify,? and(/or)? distribute this software"), ("bsd-3-clause", r"redistribution and use in source and binary forms"),
    ("apache-2.0", r"apache license,? version 2\.0"), ("unlicense", r"this is free and unencumbered software"), ("bsl-1.0", r"boost software license"),
    ("zlib", r"this software is provided .as-is., without any express"), ("cc0-1.0", r"cc0 1\.0 universal"), ("postgresql", r"permission to use, copy, modify, and distribute this software and its documentation for any purpose, without fee"),
]
COPYLEFT = re.compile(
    r"gnu (lesser |library |affero )?general public licen[sc]e|gnu lesser|mozilla public licen|eclipse public licen|\b[al]?gpl(v?[23])?\b|\bmpl[- v]?[12]|\bepl[- v]?[12]|"
    r"common development and distribution|common public licen|artistic licen|sharealike|share-alike|european union public licen|server side public|business source licen|commons clause")


def of_text(text: str) -> str:
    """The licence of a licence file's or a file head's text; `copyleft` when anything in it is, '' when unknown."""
    text = re.sub(r"[\s*#/;%-]+", " ", text.lower())
    # The Apache licence's full text names itself over two lines; nothing in it names another licence.
    if COPYLEFT.search(text):
        return "copyleft"
    found = [name for name, pattern in TEXTS if re.search(pattern, text)]
    return " AND ".join(dict.fromkeys(found))


FIELDS = {
    "DESCRIPTION": r"^License:\s*(.+?)(?:\s*\+\s*file LICEN[SC]E)?\s*$", ".cabal": r"(?im)^licen[sc]e:\s*(\S+)", ".opam": r'^license:\s*"([^"]+)"',
    "composer.json": r'"license"\s*:\s*"([^"]+)"', "package.json": r'"license"\s*:\s*"([^"]+)"', ".gemspec": r"licen[sc]es?\s*=\s*\[?[\"']([^\"']+)[\"']",
}


def of_tree(root) -> str:
    """The licence of an unpacked source tree, from all licence files and package descriptions at its top; '' when there is none."""
    found = []
    for path in sorted(root.iterdir()):
        if re.match(r"(mit-|bsd-|apache-)?(licen[sc]e|copying|copyright)", path.name, re.I) and path.is_file():
            licence = of_text(path.read_text(errors="replace"))
            if licence:
                found.append(licence)
            elif path.stat().st_size > 600:
                found.append("unknown-text")
        for suffix, pattern in FIELDS.items():
            if path.name.endswith(suffix) and path.is_file() and (field := re.search(pattern, path.read_text(errors="replace"), re.M)):
                found.append("(" + field.group(1) + ")")
    return " AND ".join(dict.fromkeys(found))
