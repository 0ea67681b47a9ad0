#!/usr/bin/env python3
"""Tokens an agent reads until the file that answers its question is before it: conexusd against ripgrep.

usage: tokens.py [--corpora DIR] [--work DIR]     (uses the source trees and indexes of run.py)

A token is four bytes. Each question is asked in three ways:

conexusd       `context_search` over MCP (`conexusd mcp`, standard input and output), as an agent calls it. Counted is the
               text of the answer up to the end of the first result that is in a relevant file. `5 results` and
               `20 results` (the default) are whole answers of that size.
rg, read       The question's keywords (identifiers of three or more characters, stop words left out) in one
               `rg --count --ignore-case --fixed-strings`; files are then read whole, in the order of how many keywords
               they hold, then of matching lines, until a relevant one has been read. Counted are the listing (its first
               50 lines) and the files, each at most 2,000 lines: what the reading tools of agents return.
rg, context    `rg --ignore-case --fixed-strings --line-number --context 3` with the same keywords, its output read file
               by file in the same order until the relevant file's part has been read. An agent cannot ask for that
               order: this flatters ripgrep.

What does not reach a relevant file within 10 results or 10 files is counted with all that was read, as a miss.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict

import run
import score

BYTES_PER_TOKEN = 4
PLACES = 10
LISTED = 50
READ_LINES = 2000
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
STOP = set("the and for how does are with that this from what where when which into its has have can not between "
           "used uses use using via all any who why was were will would should than then them they their there each "
           "other also but our out get gets it is in of to a an on by as be or do".split())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=pathlib.Path, default=run.default_corpora(), metavar="DIR")
    parser.add_argument("--work", type=pathlib.Path, default=run.TARGET / "retrieval", metavar="DIR")
    args = parser.parse_args()
    if not shutil.which("rg"):
        sys.exit("ripgrep (rg) is not installed: Debian's package is ripgrep")
    by_root = defaultdict(list)
    for query in score.read_lines(run.HERE / "queries.jsonl"):
        by_root[query["repo"], query["root"]].append(query)
    rows = []
    for (repo, root), queries in by_root.items():
        folder = args.corpora.resolve() / repo / root
        run.say(f"{repo}: {len(queries)} questions")
        run.conexusd(args.work.resolve(), "index", "--root", folder)
        with Client(folder, args.work.resolve()) as client:
            for query in queries:
                targets = {target["path"] for target in query["relevant"] + query["secondary"]}
                relevant = {os.path.relpath(path, root) for path in targets}
                rows.append({"category": query["category"], **conexusd(client, query["query"], relevant),
                             **ripgrep(folder, query["query"], relevant)})
    show(rows)
    return 0


def conexusd(client: "Client", query: str, relevant: set[str]) -> dict:
    answer = client.call("context_search", {"query": query, "top_k": PLACES})
    text, results = answer["content"][0]["text"], answer["structuredContent"]["results"]
    heads, at = [], 0
    for result in results:
        at = text.index(f"\n{result['path']}:{result['start_line']}-{result['end_line']}", at)
        heads.append(at)
    ends = [*heads[1:], len(text)]
    place = next((place for place, result in enumerate(results) if result["path"] in relevant), None)
    read = ends[place] if place is not None else len(text)
    row = {"conexusd": (tokens(text[:read]), place is not None)}
    for top_k in (5, 20):
        answer = client.call("context_search", {"query": query, "top_k": top_k})
        found = any(result["path"] in relevant for result in answer["structuredContent"]["results"])
        row[f"{top_k} results"] = (tokens(answer["content"][0]["text"]), found)
    return row


def ripgrep(folder: pathlib.Path, query: str, relevant: set[str]) -> dict:
    words = list(dict.fromkeys(word for word in WORD.findall(query) if word.lower() not in STOP)) or query.split()
    held, lines = defaultdict(int), defaultdict(int)
    for word in words:
        for path, count in counts(folder, [word]):
            held[path] += 1
            lines[path] += count
    order = sorted(held, key=lambda path: (-held[path], -lines[path], path))
    listing = "\n".join(f"{path}:{count}" for path, count in counts(folder, words)[:LISTED])
    read, context, found = tokens(listing), 0, False
    for path in order[:PLACES]:
        text = (folder / path).read_text(errors="replace")
        read += tokens("".join(text.splitlines(keepends=True)[:READ_LINES]))
        part = rg(folder, words, "--line-number", "--context", "3", "--with-filename", only=path)
        context += tokens(part)
        if path in relevant:
            found = True
            break
    return {"rg, read": (read, found), "rg, context": (context, found)}


def counts(folder: pathlib.Path, words: list[str]) -> list[tuple[str, int]]:
    found = (line.rsplit(":", 1) for line in rg(folder, words, "--count", "--sort", "path").splitlines() if ":" in line)
    return [(os.path.normpath(path), int(count)) for path, count in found]


def rg(folder: pathlib.Path, words: list[str], *flags: str, only: str = ".") -> str:
    patterns = [argument for word in words for argument in ("-e", word)]
    command = ["rg", "--no-config", "--ignore-case", "--fixed-strings", *flags, *patterns, only]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace").stdout


def tokens(text: str) -> int:
    return len(text.encode()) // BYTES_PER_TOKEN


def show(rows: list[dict]) -> None:
    ways = ("conexusd", "5 results", "20 results", "rg, read", "rg, context")
    print("tokens: median (mean), share of questions whose relevant file was among what was read")
    print(f"{'':14s}" + "".join(f"{way:>24s}" for way in ways))
    for category in ("architecture", "semantic", "symbol", "all"):
        chosen = [row for row in rows if category in ("all", row["category"])]
        cells = []
        for way in ways:
            read = [row[way][0] for row in chosen]
            found = sum(row[way][1] for row in chosen) / len(chosen)
            cells.append(f"{statistics.median(read):.0f} ({statistics.mean(read):.0f}), {found:.3f}")
        print(f"{category:14s}" + "".join(f"{cell:>24s}" for cell in cells))


class Client:
    """An MCP client on a process' standard input and output."""

    def __init__(self, root: pathlib.Path, work: pathlib.Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CONEXUS_")}
        environment["XDG_CONFIG_HOME"] = str(work / "no-configuration")
        command = [run.TARGET / "release" / "conexusd", "--set", f"database.path={work / 'database'}", "mcp", "--root", root]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env=environment)
        self.number = 0

    def __enter__(self) -> "Client":
        self.request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {},
                                    "clientInfo": {"name": "tokens", "version": "1"}})
        self.send({"method": "notifications/initialized"})
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def call(self, tool: str, arguments: dict) -> dict:
        return self.request("tools/call", {"name": tool, "arguments": arguments})

    def request(self, method: str, params: dict) -> dict:
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params})
        for line in self.process.stdout:
            reply = json.loads(line)
            if reply.get("id") == self.number:
                if "error" in reply:
                    sys.exit(f"{method}: {reply['error']}")
                return reply["result"]
        sys.exit(f"{method}: conexusd ended")

    def send(self, message: dict) -> None:
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()


if __name__ == "__main__":
    sys.exit(main())
