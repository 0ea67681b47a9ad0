"""Keeps what Alertmanager posts to :9095, and shows it to whoever asks with GET."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

posted = []


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self):
        posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
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


ThreadingHTTPServer(("", 9095), Webhook).serve_forever()
