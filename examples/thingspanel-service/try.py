#!/usr/bin/python3
"""PROGRAM --try [OPTIONS]: runs a connectivity service with a stand-in for the ThingsPanel platform and a simulated
device, and shows the device online, the forms, values and one command. Python 3 and mosquitto are all that it needs."""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

STUB = pathlib.Path(os.environ.get("TPCORE_STUB", pathlib.Path(__file__).resolve().parents[2] / "tests/kit/tp_stub"))
CONFIG = """\
log: {{type: file, dir: {dir}/log}}
store: {{type: sqlite, dir: {dir}/store}}
adapters:
  client: {{type: http_client}}
  callbacks: {{type: http, listen: ["http://127.0.0.1:{callbacks}"]}}
  platform: {{type: thingspanel, api: "{http}", mqtt: "{mqtt}", user: "{user}", password: "{password}", state: {dir}/devices.json}}
  devices: {{type: tcp, listen: ["tcp://127.0.0.1:{port}"], framing: {{type: service}}}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def options():
    p = argparse.ArgumentParser(prog="PROGRAM --try", description=__doc__)
    p.add_argument("program")
    p.add_argument("service", help="its identifier")
    p.add_argument("--port", type=int, help="for devices; a free one unless given")
    p.add_argument("--devices", metavar="FILE", help="devices of the stand-in: tests/kit/tp_stub/README.md; one meter unless given")
    p.add_argument("--device", metavar="COMMAND", help="simulated device, {port} in it is the port; meters of the example unless given; '' = none, yours")
    p.add_argument("--command", metavar="NAME", default="relay", help="sent to the first device")
    p.add_argument("--params", metavar="JSON", default='{"on": true}', help="of the command")
    p.add_argument("--stay", action="store_true", help="go on until Ctrl-C")
    return p.parse_args()


class Children:
    """What was started, ended in the end."""

    def __init__(self):
        self.list = []

    def start(self, *command, **more):
        self.list.append(subprocess.Popen([str(c) for c in command], text=True, **more))
        return self.list[-1]

    def end(self):
        for child in reversed(self.list):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


class Platform:
    def __init__(self, children, o, callbacks):
        rows = ["--devices", o.devices] if o.devices else ["--meters", 1, "--sub-meters", 1]
        self.child = children.start(sys.executable, STUB, "--service", o.service, "--service-address", f"127.0.0.1:{callbacks}",
                                    *rows, "--stdin", "--quiet", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit("the stand-in for the platform does not start")
        self.ready = json.loads(line)

    def ask(self, **question):
        self.child.stdin.write(json.dumps(question) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())


def until(what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    return what()


def show(platform, service, o):
    """What there is to see, as lines. False: something did not happen."""
    def devices():
        rows = platform.ask(do="devices")["devices"]
        return [{**row, "values": platform.ask(do="device", device=row["device_number"])["latest"]} for row in rows]

    def first():
        found = [d for d in devices() if d["online"] and d["values"]]
        return found[0] if found else None

    if not until(lambda: service.poll() is not None or platform.ask(do="alive")["service_heartbeat"] == 1) or service.poll() is not None:
        print("try: the service does not run")
        return False
    print("heartbeat: the platform sees the service")
    shown = set()
    for name, form in sorted(platform.ask(do="forms")["forms"].items()):
        text = f"form {name.split('/')[0]}: {json.dumps(form)}"
        if text not in shown:  # the same for several kinds of devices
            print(text)
        shown.add(text)
    if o.device == "":
        print(f"try: connect your device to 127.0.0.1:{o.port}")
        return True
    device = until(lambda: service.poll() is not None or first())
    if device is None or device is True:
        print("try: no device came online with values:", json.dumps(devices()))
        return False
    time.sleep(0.5)
    for d in devices():
        print(f"device {d['device_number']}: {'online' if d['online'] else 'offline'} {json.dumps(d['values'])}")
    sent = platform.ask(do="command", device=device["device_number"], method=o.command, params=json.loads(o.params))
    done = until(lambda: platform.ask(do="counts")["acknowledged"] + platform.ask(do="counts")["refused"] > 0)
    counts = platform.ask(do="counts")
    print(f"command {o.command} {o.params} to {device['device_number']}:",
          "acknowledged" if counts["acknowledged"] else "refused" if counts["refused"] else f"no answer: {sent}")
    return bool(done and counts["acknowledged"])


def main():
    o = options()
    if shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") is None:
        raise SystemExit("try: mosquitto is needed (apt install mosquitto)")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="try-"))
    children = Children()
    o.port = o.port or free_port()
    callbacks = free_port()
    good = False
    try:
        platform = Platform(children, o, callbacks)
        config = folder / "service.yaml"
        (folder / "store").mkdir()
        config.write_text(CONFIG.format(dir=folder, callbacks=callbacks, port=o.port, **platform.ready))
        print(f"platform: {platform.ready['http']} {platform.ready['mqtt']}, devices connect to 127.0.0.1:{o.port}", flush=True)
        with open(folder / "service.log", "w") as log:
            service = children.start(o.program, config, stdout=log, stderr=log)
            device = o.device
            if device is None:
                device = f"{shlex.quote(sys.executable)} {shlex.quote(str(STUB / 'meter.py'))} --port {{port}} --sub-meters 1 --rate 5 --quiet"
            until(lambda: service.poll() is not None or listens(o.port))
            if device:
                children.start(*shlex.split(device.replace("{port}", str(o.port))), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            good = show(platform, service, o)
        if not good:
            print((folder / "service.log").read_text()[-4000:])
        while good and o.stay:
            time.sleep(1)
    except KeyboardInterrupt:
        pass
    finally:
        children.end()
        shutil.rmtree(folder, ignore_errors=True)
    print("try: ok" if good else "try: failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
