#!/usr/bin/python3
"""The other side of the quickstart's webhook: counts what is posted to it.

usage: receiver.py PORT_FILE COUNT_FILE. Writes its port once it listens, and the count after each request.
"""
import http.server
import json
import pathlib
import sys

port_file, count_file = (pathlib.Path(a) for a in sys.argv[1:3])
seen = set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen.add(self.headers["Idempotency-Key"])  # the same message may come twice
        count_file.write_text(f"{len(seen)}\n")
        self.send_response(204 if body["kind"] == "notify" else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *what):
        pass


count_file.write_text("0\n")
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
port_file.with_suffix(".new").write_text(str(server.server_port))
port_file.with_suffix(".new").rename(port_file)
server.serve_forever()
