#!/usr/bin/python3
"""A stand-in for the ThingsPanel platform: python3 tests/kit/tp_stub --service IDENT --service-address HOST:PORT.
README.md says what it does; --help which options there are."""
import argparse
import json
import signal
import socket
import sys
import threading

from control import Control, carry_out
from directory import generate
from panel import Panel

said = threading.Lock()


def say(event):
    with said:
        print(json.dumps(event), flush=True)


def ask(port, text):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s, s.makefile("rw") as lines:
        lines.write(text + "\n")
        lines.flush()
        answer = lines.readline()
    print(answer, end="")
    return 0 if answer and json.loads(answer).get("ok") else 1


def options():
    p = argparse.ArgumentParser(prog="tp_stub", description=__doc__)
    p.add_argument("--http-port", type=int, default=0, help="of the platform's API; 0 = a free one (the real one has 9999)")
    p.add_argument("--mqtt-port", type=int, default=0, help="of the mosquitto that is started; 0 = a free one")
    p.add_argument("--broker", metavar="HOST:PORT", help="a broker that runs: none is started; user root, password root")
    p.add_argument("--service", default="meter", help="service identifier")
    p.add_argument("--service-address", default="127.0.0.1:8080", help="where the service serves its callbacks")
    p.add_argument("--prefix", help="sub_topic_prefix; plugin/<identifier>/ unless given")
    p.add_argument("--devices", metavar="FILE", help="templates, devices, access points as JSON")
    p.add_argument("--meters", type=int, default=0, help="so many concentrators M-0001 .. besides")
    p.add_argument("--sub-meters", type=int, default=0, help="behind each of them")
    p.add_argument("--state", metavar="DIR", help="the broker's files; a temporary folder unless given")
    p.add_argument("--control", type=int, metavar="PORT", help="lines of JSON over TCP, too; 0 = a free port")
    p.add_argument("--stdin", action="store_true", help="lines of JSON from the standard input; its end ends the stand-in")
    p.add_argument("--ask", nargs=2, metavar=("PORT", "JSON"), help="asks a stand-in that runs, and ends")
    p.add_argument("--quiet", action="store_true", help="no line for each event")
    return p.parse_args()


def main():
    o = options()
    if o.ask:
        return ask(int(o.ask[0]), o.ask[1])
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *a: end.set())
    rows = json.load(open(o.devices)) if o.devices else {}
    service = {"http_address": o.service_address, "sub_topic_prefix": o.prefix or f"plugin/{o.service}/"}
    panel = Panel({o.service: service}, rows, o.http_port, o.mqtt_port, o.broker, o.state, None if o.quiet else say)
    try:
        panel.directory.load(generate(o.service, o.meters, o.sub_meters) if o.meters else {})
        control = Control(panel, o.control) if o.control is not None else None
        say({"event": "ready", "http": f"http://127.0.0.1:{panel.api.port}", "mqtt": f"mqtt://{panel.mqtt_host}:{panel.mqtt_port}",
             "user": "plugin", "password": "plugin", "control": control.server_address[1] if control else None,
             "prefix": service["sub_topic_prefix"], "devices": len(panel.directory.devices)})

        def read():
            for line in sys.stdin:
                if line.strip():
                    answer = carry_out(panel, line)
                    with said:
                        print(answer, flush=True)
            end.set()

        if o.stdin:
            threading.Thread(target=read, daemon=True).start()
        end.wait()
        say({"event": "end", **panel.counts()})
    finally:
        panel.close()
    return 0


sys.exit(main())
