"""Sends what no client library would send: python mcp_wire.py COMMAND... (stdio). Needs the standard library alone.

Prints one line a check; the exit code is the number of checks that failed.
"""

import json
import subprocess
import sys
import time

CASES = [
    (b"{nonsense", -32700, None),
    (b"\xff\xfe\x00", -32700, None),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600, None),
    (b"[]", -32600, None),
    (b"7", -32600, None),
    (b'{"jsonrpc":"1.0","id":2,"method":"ping"}', -32600, 2),
    (b'{"jsonrpc":"2.0","id":3}', -32600, 3),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, None),
    (b'{"jsonrpc":"2.0","id":"a","method":"no/such"}', -32601, "a"),
    (b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":[]}', -32602, 4),
    (b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":7}}', -32602, 5),
    (b'{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"nope"}}', -32602, 6),
    (b'{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"engine://file/no-such"}}', -32002, 7),
    (b'{"jsonrpc":"2.0","id":8,"method":"resources/read","params":{"uri":"engine://file/../../etc/passwd"}}', -32602, 8),
    (b'{"jsonrpc":"2.0","id":9,"method":"' + b"x" * (5 << 20) + b'"}', -32600, None),
]


def main():
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    lines = iter(server.stdout.readline, b"")
    failed = 0

    def send(line):
        server.stdin.write(line + b"\n")

    def check(name, good, detail=""):
        nonlocal failed
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}{'' if good else f': {detail}'}", flush=True)

    send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    send(b'{"jsonrpc":"2.0","id":0,"method":"tools/list"}')
    early = json.loads(next(lines))
    check("a request before the handshake is refused", early["error"]["code"] == -32600, early)
    client = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}}
    send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}).encode())
    answer = json.loads(next(lines))
    check("2025-03-26 is agreed on", answer["result"]["protocolVersion"] == "2025-03-26", answer)
    for line, code, ident in CASES:
        send(line)
        answer = json.loads(next(lines))
        good = answer.get("error", {}).get("code") == code and "id" in answer and answer["id"] == ident
        check(f"{line[:70]!r} gets {code}", good, answer)
    send(b'{"jsonrpc":"2.0","method":"no/such/notification"}')
    send(b'{"jsonrpc":"2.0","id":10,"method":"ping"}')
    answer = json.loads(next(lines))
    check("the stream goes on", answer == {"jsonrpc": "2.0", "id": 10, "result": {}}, answer)
    started = time.monotonic()
    server.stdin.close()
    code = server.wait(10)
    check("the end of input ends the server", code == 0 and time.monotonic() - started < 2, (code, time.monotonic() - started))
    sys.exit(failed)


if __name__ == "__main__":
    main()
