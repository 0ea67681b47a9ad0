"""Runs Sentry's own normaliser over events and transactions: a JSON array on standard input, on standard output an array with
each one's errors (`_meta`) and what became of it."""

import json
import sys

from sentry_relay.processing import StoreNormalizer


def errors(meta, path=""):
    """Every error that the normaliser left in `_meta`, with the place that it is about."""
    found = []
    for key, value in meta.items():
        if key == "" and isinstance(value, dict):
            found += [f"{path}: {error}" for error in value.get("err", [])]
        elif isinstance(value, dict):
            found += errors(value, f"{path}.{key}" if path else key)
    return found


def main():
    normaliser = StoreNormalizer(
        project_id=1, client_ip="127.0.0.1", client="conexus-sidecar", is_renormalize=False, remove_other=True, protocol_version="7"
    )
    out = []
    for event in json.load(sys.stdin):
        normal = normaliser.normalize_event(event)
        out.append({"errors": errors(normal.get("_meta") or {}) + [str(e) for e in normal.get("errors") or []], "event": normal})
    json.dump(out, sys.stdout)


main()
