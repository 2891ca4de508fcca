"""What the tests of the ThingsPanel service share: the stand-in for the platform, examples/thingspanel-service with
its configuration, and simulated meters. None of it knows the service's code. With "python" for BUILD_DIR the service
of tests/kit/tp_stub is tested instead: what fails then is the test."""
import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

STUB = pathlib.Path(__file__).resolve().parent.parent / "kit/tp_stub"
sys.path.insert(0, str(STUB))
import meter  # noqa: E402
from broker import find, free_port, listens  # noqa: E402
from directory import compact, generate, stable_id  # noqa: E402, F401
from panel import Panel  # noqa: E402

WAIT = 15  # seconds at most for anything; nothing waits that long when it works
CODES = [100000, 100002, 100404, 101001, 102001, 105001, 201001, 201002, 201003, 200064, 200065, 200066, 200067, 200068,
         200069, 200070, 200080, 200081, 200082, 200083, 200084, 200085, 200086, 200052, 204001, 204005, 40100, 40101,
         40102, 40103, 40104]

CONFIG = """
log:   {{type: file, dir: {dir}/log}}
store: {{type: sqlite, dir: {dir}/store}}
adapters:
  client: {{type: http_client}}
  server: {{type: http, listen: ["http://127.0.0.1:{http}"]}}
  panel:
    type: thingspanel
    api: "http://127.0.0.1:{api}"
    mqtt: "mqtt://127.0.0.1:{mqtt}"
    user: plugin
    password: plugin
    sub_topic_prefix: "plugin/meter/"
    state: {dir}/devices.json
    retry_min: 50ms
    retry_max: 300ms
    heartbeat: 300ms
    request_timeout: 1s
    config_interval: 100ms
    unknown_pause: 1s
  meters: {{type: tcp, listen: ["tcp://127.0.0.1:{tcp}"], framing: {{type: service}}}}
entities:
  - {{kind: forward, key: platform, sink: panel, filter: [main/up/#], start: oldest, retry: {{min: 100ms, max: 500ms}}}}
"""


class Report:
    def __init__(self, name):
        self.name, self.passed, self.faults, self.begin = name, 0, [], time.monotonic()

    def expect(self, what, good, text=""):
        if os.environ.get("TP_TIMES"):
            print(f"{time.monotonic() - self.begin:.1f} {what}", flush=True)
        if good:
            self.passed += 1
        else:
            self.faults.append(f"{what}: {str(text)[:3000]}")
            if os.environ.get("TP_KEEP"):
                print("FAULT", f"{time.monotonic() - self.begin:.1f}", self.faults[-1], flush=True)

    def end(self):
        for text in self.faults:
            print(text)
        seconds = int(time.monotonic() - self.begin)
        print(f"tk: {self.name} passed={self.passed} failed={len(self.faults)} skipped=0 seconds={seconds}")
        sys.exit(1 if self.faults else 0)


def until(what, seconds=WAIT):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.01)
    return what()


class Rig:
    """One stand-in, one service, the meters that a test adds."""

    def __init__(self, rows, config_seconds=0.0):
        self.build = sys.argv[1]
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tp-service-", dir=os.environ.get("TMPDIR")))
        (self.dir / "panel").mkdir()
        self.http, self.tcp = free_port(), free_port()
        service = {"http_address": f"127.0.0.1:{self.http}", "sub_topic_prefix": "plugin/meter/"}
        self.panel = Panel({"meter": service}, rows, folder=self.dir / "panel",
                           mosquitto=sys.argv[2] if len(sys.argv) > 2 else None)
        self.panel.rules["config_seconds"] = config_seconds
        self.child, self.fleets, self.said = None, [], []
        self.log = self.dir / "service.log"

    def start(self, wait=True):
        if self.build == "python":
            command = [sys.executable, STUB / "service.py", "--api", f"127.0.0.1:{self.panel.api.port}", "--mqtt",
                       f"127.0.0.1:{self.panel.mqtt_port}", "--http-port", self.http, "--tcp-port", self.tcp, "--heartbeat", "0.3"]
        else:
            path = self.dir / "service.yaml"
            (self.dir / "store").mkdir(exist_ok=True)
            path.write_text(CONFIG.format(dir=self.dir, http=self.http, tcp=self.tcp, api=self.panel.api.port, mqtt=self.panel.mqtt_port))
            command = [pathlib.Path(self.build).resolve() / "examples/thingspanel-service/thingspanel-service", path]
        with open(self.log, "a") as log:
            self.child = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=log, stderr=log)
        if wait and not until(lambda: self.child.poll() is not None or listens(self.http) and listens(self.tcp)):
            raise SystemExit("the service does not listen: " + self.text()[-2000:])
        if self.child.poll() is not None:
            raise SystemExit("the service does not start: " + self.text()[-2000:])

    def text(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        return self.child.poll() is None

    def stop(self, kill=False):
        """Its exit code."""
        if self.child is None:
            return 0
        child, self.child = self.child, None
        child.stdin.close()
        (child.kill if kill else child.terminate)()
        try:
            return child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def meters(self, n=1, behind=0, rate=5.0, **more):
        fleet = meter.Fleet(self.tcp, n, behind, rate, more.pop("heartbeat", 0.3), say=self.said.append, retry=0.3, **more)
        self.fleets.append(fleet)
        return fleet

    def drained(self, fleet, seconds=WAIT):
        """Every frame that was made is acknowledged and at the stand-in."""
        fleet.stop()
        if not until(lambda: fleet.kept() == 0, seconds):
            return False
        return until(lambda: all(self.has_all(m) for m in fleet.meters), seconds)

    def has_all(self, m):
        sequence = self.panel.sequences.get(self.panel.device_id(m.serial))
        return m.sequence == 0 or sequence is not None and sequence.seen >= set(range(1, m.sequence + 1))

    def online(self, number):
        return self.panel.directory.find(number)["online"]

    def raw(self, request):
        """Bytes to the service's HTTP port; what comes back until it closes."""
        with socket.create_connection(("127.0.0.1", self.http), timeout=1) as s:
            out = b""
            try:
                s.sendall(request)
                s.shutdown(socket.SHUT_WR)
                while True:
                    more = s.recv(65536)
                    if not more:
                        return out
                    out += more
            except OSError:
                return out

    def end(self):
        for fleet in self.fleets:
            fleet.close()
        self.stop()
        self.panel.close()
        if os.environ.get("TP_KEEP"):
            print(self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


def go(fn, rig, report):
    try:
        fn(rig, report)
    except (OSError, http.client.HTTPException, KeyError, TypeError, IndexError, AttributeError):
        report.expect("goes to its end", False, traceback.format_exc() + rig.text()[-1000:])


def run(name, fn, rows, **more):
    """fn(rig, report)"""
    report = Report(name)
    if sys.argv[1] != "python" and not (pathlib.Path(sys.argv[1]) / "examples/thingspanel-service/thingspanel-service").exists():
        raise SystemExit("examples/thingspanel-service is not built")
    rig = Rig(rows, **more)
    try:
        go(fn, rig, report)
        report.expect("the service lives", rig.alive(), rig.text()[-2000:])
        code = rig.stop()
        report.expect("the service ends well", code == 0 or sys.argv[1] == "python", code)
    finally:
        rig.end()
    report.end()


def run_bare(name, fn, rows):
    """The same for a test that begins its own service."""
    report, rig = Report(name), Rig(rows)
    try:
        go(fn, rig, report)
    finally:
        rig.end()
    report.end()
