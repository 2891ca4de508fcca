#!/usr/bin/python3
"""A mail server for tests. Prints its port, ends when stdin does.

usage: smtp_server.py [--port N] [--log FILE] [--auth USER:PASSWORD] [--tls CERT KEY] [--smtps]
Each mail is a line of JSON in FILE: from, to, data, tls, user. With --tls it offers STARTTLS, with --smtps
it speaks TLS from the begin. A recipient says how it behaves: r450@.. r550@.. (RCPT), d451@.. d554@.. (after the
data), hang@.. (no answer to RCPT), drop@.. (closes at RCPT), once@.. (450 the first time); bye@.. (no answer to QUIT).
"""
import base64
import json
import os
import socket
import ssl
import sys
import threading

arguments = sys.argv[1:]
port, log, auth, tls, implicit = 0, None, None, None, False
while arguments:
    word = arguments.pop(0)
    if word == "--port":
        port = int(arguments.pop(0))
    elif word == "--log":
        log = arguments.pop(0)
    elif word == "--auth":
        auth = arguments.pop(0)
    elif word == "--tls":
        tls = arguments.pop(0), arguments.pop(0)
    elif word == "--smtps":
        implicit = True
context = None
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
lock = threading.Lock()
seen = set()


class Session:
    def __init__(self, connection):
        self.connection, self.secure, self.user, self.bye = connection, False, None, False
        if implicit:
            self.wrap()
        self.file = self.connection.makefile("rb")
        self.reset()

    def wrap(self):
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.file, self.secure = self.connection.makefile("rb"), True

    def reset(self):
        self.sender, self.to, self.after = None, [], None

    def say(self, line):
        self.connection.sendall(line.encode() + b"\r\n")

    def hello(self):
        words = ["stand-in"]
        if context and not self.secure:
            words.append("STARTTLS")
        if auth:
            words.append("AUTH PLAIN")
        for word in words[:-1]:
            self.say("250-" + word)
        self.say("250 " + words[-1])

    def login(self, words):
        if len(words) < 3:
            self.say("334 ")
            words.append(self.file.readline().strip().decode())
        _, user, password = base64.b64decode(words[2]).split(b"\0")
        if (user + b":" + password).decode() == auth:
            self.user = user.decode()
            self.say("235 welcome")
        else:
            self.say("535 who are you")

    def recipient(self, line):
        address = line[line.index("<") + 1:line.index(">")]
        name = address.split("@")[0]
        if name == "hang":
            return self.file.read()
        if name == "drop":
            return self.connection.shutdown(socket.SHUT_RDWR)
        if name == "once" and address not in seen:
            seen.add(address)
            return self.say("450 not yet")
        if name[0] == "r" and name[1:].isdigit():
            return self.say(name[1:] + " no such box for you")
        if name[0] == "d" and name[1:].isdigit():
            self.after = name[1:] + " not with that content"
        self.bye = self.bye or name == "bye"
        self.to.append(address)
        return self.say("250 fine")

    def data(self):
        self.say("354 go on")
        lines = []
        while True:
            line = self.file.readline()
            if line in (b".\r\n", b""):
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        if self.after:
            return self.say(self.after)
        record = {"from": self.sender, "to": self.to, "data": b"".join(lines).decode("latin-1"),
                  "tls": self.secure, "user": self.user}
        with lock, open(log, "a", encoding="utf-8") as f:
            f.write(json.dumps(record) + "\n")
        return self.say("250 taken")

    def run(self):
        self.say("220 stand-in")
        while True:
            line = self.file.readline().decode("latin-1").strip()
            words = line.split(" ")
            verb = words[0].upper()
            if not line:
                return
            if verb == "EHLO":
                self.hello()
            elif verb == "STARTTLS":
                self.say("220 go on")
                self.wrap()
            elif verb == "AUTH":
                self.login(words)
            elif verb == "MAIL":
                self.reset()
                if auth and not self.user:
                    self.say("530 log in first")
                else:
                    self.sender = line[line.index("<") + 1:line.index(">")]
                    self.say("250 fine")
            elif verb == "RCPT":
                self.recipient(line)
            elif verb == "DATA":
                self.data()
            elif verb == "QUIT":
                if self.bye:
                    self.file.read()
                self.say("221 bye")
                return
            else:
                self.say("502 what")


def serve(connection):
    try:
        Session(connection).run()
    except (OSError, ValueError):
        pass
    connection.close()


server = socket.create_server(("127.0.0.1", port))
print("%d\n" % server.getsockname()[1], end="", flush=True)


def accept():
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()
os._exit(0)
