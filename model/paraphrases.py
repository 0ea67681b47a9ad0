#!/usr/bin/env python3
"""Paraphrases: do the questions keep to the rule, and are their answers there?

usage: paraphrases.py TREES        (the folder that fetch.py fills, DATA/tree)

Checks paraphrases.jsonl: no question holds a word of its answer's path, of the package's name, or of the `symbol` that it
asks for, not even in another form (compared by stems); every answer is a file; every package is held out of training.
Prints what breaks a rule and how many questions there are by language; fails if anything does.
"""

import collections
import json
import pathlib
import re
import sys

from pairs import held_out, held_out_names
from words import stem

HERE = pathlib.Path(__file__).resolve().parent
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Words that carry no meaning, and would forbid plain English.
STOP = set("a an the of to in on is it and or for with by at as from that this what which how do does when where be are so not no if one two all other than into out up its their they may".split())


def main() -> int:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    trees = pathlib.Path(sys.argv[1])
    named = held_out_names()
    questions = [json.loads(line) for line in (HERE / "paraphrases.jsonl").read_text().splitlines()]
    problems = []
    for question in questions:
        problems += [f"{question['id']}: {problem}" for problem in faults(question, trees, named)]
    repeated = [text for text, count in collections.Counter(question["query"] for question in questions).items() if count > 2]
    problems += [f"asked more than twice: {text}" for text in repeated]
    for problem in problems:
        print(problem)
    languages = collections.Counter(question["language"] for question in questions)
    print(f"{len(questions)} questions about {len({question['repo'] for question in questions})} packages: "
          + ", ".join(f"{name} {count}" for name, count in languages.most_common()))
    return 1 if problems else 0


def faults(question, trees, named):
    if not held_out(question["repo"], named):
        yield f"{question['repo']} is trained on"
    asked = stems(question["query"]) - {stem(word) for word in STOP}
    for target in question["relevant"]:
        if not (trees / question["repo"] / target["path"]).is_file():
            yield f"no file {target['path']}"
        said = " ".join((re.sub(r"\.\w+$", "", target["path"]), question["repo"].split("/")[-1], target.get("symbol", "")))
        if shared := asked & stems(said):
            yield f"{question['query']!r} says {', '.join(sorted(shared))}, as {target['path']} {target.get('symbol', '')} does"


def stems(text: str) -> set[str]:
    return {stem(word.lower()) for word in WORDS.findall(text) if len(word) > 2}


if __name__ == "__main__":
    sys.exit(main())
