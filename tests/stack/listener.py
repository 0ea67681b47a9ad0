"""Keeps what is posted to the given ports, and shows to whoever asks with GET what JSON there was and how many posts.

usage: listener.py PORT...
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

posted = []


class Listener(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            posted.append(json.loads(body))
        except ValueError:
            posted.append({"path": self.path, "bytes": len(body)})
        self.answer(b"")

    def do_GET(self):
        self.answer(json.dumps(posted).encode())

    def answer(self, body: bytes):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


# Before the threads, so that they have it blocked as well: the first process of a container has no default handler.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
for port in sys.argv[1:]:
    threading.Thread(target=ThreadingHTTPServer(("", int(port)), Listener).serve_forever).start()
signal.sigwait({signal.SIGTERM})
os._exit(0)
