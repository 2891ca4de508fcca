#!/usr/bin/python3
"""A web server for tests: the path says how it behaves. Prints its port, ends when stdin does.

usage: http_server.py [--port N] [--log FILE] [--tls CERT KEY]
Each request is a line of JSON in FILE: path, method, headers, body.
  /status/N[?after=S]   answers N, with Retry-After
  /fail/K/N/...         the first K requests to this path get N, later ones 200
  /every                every other request gets 500, the first one too
  /pick/N               a body with "n":N} gets 422
  /echo                 answers with the request as JSON
  /big /chunks          10 MB with and without a length
  /loop /to /tofile     redirects: without end, to /echo, to a file
  /hang /slow /heads    no answer; a header every 50 ms; 200 kB of headers
  /reset /close /half /garbage /early   broken answers; 103 before the 200
anything else           200 {"ok":true}
"""
import http.server
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse

arguments = sys.argv[1:]
port, log, tls = 0, None, None
while arguments:
    word = arguments.pop(0)
    if word == "--port":
        port = int(arguments.pop(0))
    elif word == "--log":
        log = arguments.pop(0)
    elif word == "--tls":
        tls = arguments.pop(0), arguments.pop(0)
lock = threading.Lock()
counts = {}
connections = 0
MEGABYTES = b"x" * 1000000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        global connections
        with lock:
            connections += 1
            self.number = connections
        super().setup()

    def log_message(self, *_):
        pass

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Connection", str(self.number))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self):
        self.close_connection = True

    def hang(self):
        self.connection.settimeout(60)
        try:
            while self.connection.recv(1):
                pass
        except OSError:
            pass
        self.cut()

    def broken(self, mode):
        if mode == "hang":
            return self.hang()
        if mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif mode == "half":
            self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
        elif mode == "garbage":
            self.raw(b"hello, this is no HTTP\r\n\r\n")
        elif mode == "slow":
            self.raw(b"HTTP/1.1 200 OK\r\n")
            for i in range(1200):
                self.raw(b"X-%d: 1\r\n" % i)
                time.sleep(0.05)
        elif mode == "heads":
            self.raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(200)) +
                     b"Content-Length: 0\r\n\r\n")
        elif mode == "chunks":
            self.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(10):
                self.raw(b"%x\r\n%s\r\n" % (len(MEGABYTES), MEGABYTES))
            self.raw(b"0\r\n\r\n")
        self.cut()

    def every(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = url.path.strip("/").split("/")
        record = {"path": self.path, "method": self.command, "body": body.decode("utf-8", "replace"),
                  "headers": {k.lower(): v for k, v in self.headers.items()}}
        with lock:
            seen = counts[self.path] = counts.get(self.path, 0) + 1
            if log:
                with open(log, "a", encoding="utf-8") as f:
                    f.write(json.dumps(record) + "\n")
        try:
            self.choose(parts, query, record, seen)
        except OSError:
            self.cut()

    def choose(self, parts, query, record, seen):
        mode = parts[0]
        if mode == "status":
            after = [("Retry-After", query["after"])] if "after" in query else []
            self.answer(int(parts[1]), b'{"error":"as asked"}', after)
        elif mode == "fail" and seen <= int(parts[1]):
            self.answer(int(parts[2]), b"{}")
        elif mode == "pick" and '"n":%s}' % parts[1] in record["body"]:
            self.answer(422, b"not this one")
        elif mode == "every" and seen % 2 == 1:
            self.answer(500, b"{}")
        elif mode == "echo":
            self.answer(200, json.dumps(record).encode())
        elif mode == "loop":
            self.answer(302, b"", [("Location", "/loop")])
        elif mode == "to":
            self.answer(302, b"moved", [("Location", "/echo")])
        elif mode == "tofile":
            self.answer(302, b"", [("Location", "file:///etc/passwd")])
        elif mode == "big":
            self.answer(200, MEGABYTES * 10)
        elif mode == "early":
            self.raw(b"HTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n")
            self.answer(200, b"{}")
        elif mode in ("hang", "reset", "half", "garbage", "slow", "heads", "chunks", "close"):
            self.broken(mode)
        else:
            self.answer(200, b'{"ok":true}')

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = every


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", port), Handler)
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("%d\n" % server.server_address[1], end="", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
os._exit(0)
