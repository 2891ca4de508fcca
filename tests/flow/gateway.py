#!/usr/bin/python3
"""usage: gateway.py BUILD_DIR [MOSQUITTO]: tp-gateway as a process: checks, reloads, what it tells a service manager."""
import faulthandler
import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

build = os.path.abspath(sys.argv[1])
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
gateway = build + "/examples/gateway/tp-gateway"
failures = []
passed = 0
faulthandler.dump_traceback_later(100, exit=True) # says where it hangs, before whoever runs it ends it


def expect(what, good, text=""):
    global passed
    if good:
        passed += 1
    else:
        failures.append(f"{what}: {text}")


def run(*arguments):
    return subprocess.run([gateway, *arguments], capture_output=True, text=True, timeout=60)


CONFIG = """
log: {{type: file, dir: {folder}/log}}
history: {{type: memory, max_bytes: 1MiB}}
gateway: {{status: 200ms, prometheus: {folder}/gateway.prom, prometheus_period: 200ms, drain: 2s}}
adapters:
  lines: {{type: log}}
  one:
    type: modbus
    url: "tcp://127.0.0.1:{port}"
    format: cbor
    slaves: [{{device: d1, unit: 1, poll: 100ms, tags: [{{name: a, address: 4}}]}}]
  two:
    type: modbus
    url: "tcp://127.0.0.1:{port}"
    format: cbor
    slaves: [{{device: {second}, unit: 2, poll: {poll}, tags: [{{name: a, address: 4}}]}}]
entities:
  - {{kind: product, key: meter, codec: cbor, unknown: keep, model: {{properties: [{{id: a, type: int}}]}}}}
  - {{kind: device, key: d1, product: meter}}
  - {{kind: device, key: {second}, product: meter}}
  - {{kind: handler, key: ops, sink: lines}}
"""


class Gateway:
    """A running tp-gateway with its lines and a socket that plays the service manager."""

    def __init__(self, folder, *arguments):
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(folder + "/notify")
        self.notices.settimeout(0.01)
        self.said = []
        self.log = folder + "/err"
        with open(self.log, "w", encoding="utf-8") as err, open(folder + "/out", "w", encoding="utf-8") as out:
            self.process = subprocess.Popen([gateway, *arguments], stderr=err, stdout=out, cwd=folder,
                                            env={**os.environ, "NOTIFY_SOCKET": folder + "/notify",
                                                 "WATCHDOG_USEC": "400000"})
        self.seen = 0

    def notice(self, text):
        """Waits for a datagram that has the text."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                self.said.append(self.notices.recv(4096).decode())
            except socket.timeout:
                pass
            for i, said in enumerate(self.said):
                if text in said:
                    del self.said[:i + 1]
                    return said
        return ""

    def lines(self):
        with open(self.log, encoding="utf-8") as f:
            return f.read()

    def until(self, text):
        """Lines since the last call, once one has the text."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            new = self.lines()[self.seen:]
            if text in new:
                self.seen += len(new)
                return new
            time.sleep(0.02)
        return ""

    def stop(self):
        try:
            while True: # the queue holds few
                self.notices.recv(4096)
        except socket.timeout:
            pass
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def metric(folder, name):
    try:
        with open(folder + "/gateway.prom", encoding="utf-8") as f:
            return sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", f.read(), re.M))
    except OSError:
        return 0


def wait_metric(folder, name, least):
    end = time.monotonic() + 10
    while time.monotonic() < end and metric(folder, name) < least:
        time.sleep(0.05)
    return metric(folder, name) >= least


def reloads(folder, port):
    path = folder + "/g.yaml"
    first = CONFIG.format(folder=folder, port=port, second="d2", poll="100ms")
    write(path, first)
    result = run("--check", path)
    expect("a good configuration", result.returncode == 0 and "configuration: ok" in result.stdout, result.stderr)
    write(path, first.replace("address: 4", "adress: 4"))
    result = run("--check", path)
    expect("a wrong option has a line", result.returncode == 1 and re.search(r"g\.yaml:\d+: adapters\.one", result.stderr),
           result.stderr)
    write(path, first.replace("status: 200ms", "status: soon"))
    result = run("--check", path)
    expect("a wrong setting", result.returncode == 1 and "gateway.status: a duration" in result.stderr, result.stderr)
    write(path, first)
    g = Gateway(folder, path)
    try:
        expect("it is ready", g.notice("READY=1"), g.lines())
        expect("it tells its state", "devices" in g.notice("STATUS="), g.lines())
        expect("it is alive", g.notice("WATCHDOG=1"))
        expect("values come", wait_metric(folder, "tpc_modbus_values_total", 4), g.lines())
        g.until("running")

        write(path, CONFIG.format(folder=folder, port=port, second="d3", poll="150ms"))
        g.process.send_signal(signal.SIGHUP)
        expect("it says that it reloads", "MONOTONIC_USEC=" in g.notice("RELOADING=1"))
        said = g.until("failed")
        expect("only what changed restarts", "two closed" in said and "two opened" in said and "one closed" not in said
               and "lines closed" not in said, said)
        expect("entities follow", "1 entities put, 1 deleted, 0 failed" in said, said)
        expect("it is ready again", g.notice("READY=1"))

        for bad, text in ((":", "g.yaml"), (CONFIG.format(folder=folder, port=port, second="d3", poll="never"), "poll"),
                          (CONFIG.format(folder=folder, port=port, second="d3", poll="1s").replace(
                              "key: d3, product: meter", "key: d3, product: nothing"), "nothing")):
            write(path, bad)
            g.process.send_signal(signal.SIGHUP)
            said = g.until("nothing changes")
            expect("a bad file changes nothing", text in said and "closed" not in said, said)
        before = metric(folder, "tpc_modbus_values_total")
        expect("values go on", wait_metric(folder, "tpc_modbus_values_total", before + 4), g.lines())

        write(path, CONFIG.format(folder=folder, port=port, second="d3", poll="150ms").replace("lines", "notes"))
        g.process.send_signal(signal.SIGHUP)
        said = g.until("failed")
        expect("a sink changes with its handler", "1 closed, 1 opened, 1 entities put, 0 deleted, 0 failed" in said, said)

        write(path, CONFIG.format(folder=folder, port=port, second="d4", poll="150ms").replace("lines", "notes"))
        g.process.send_signal(signal.SIGHUP)
        said = g.until("failed")
        expect("what two reloads have kept another one deletes", "1 entities put, 1 deleted, 0 failed" in said, said)
    finally:
        code = g.stop()
    expect("it ends well", code == 0 and "stopped" in g.lines(), g.lines())
    expect("it says that it stops", g.notice("STOPPING=1"))


TB = {"thingsboard": {"host": "127.0.0.1", "port": 1, "security": {"accessToken": "t"}, "remoteShell": True},
      "storage": {"type": "memory"},
      "connectors": [{"type": "modbus", "name": "Bus", "configuration": "bus.json"},
                     {"type": "opcua", "name": "OPC", "configuration": "opc.json"}]}


def thingsboard(folder, port):
    write(folder + "/tb_gateway.json", json.dumps(TB))
    write(folder + "/bus.json", json.dumps({"master": {"slaves": [
        {"host": "127.0.0.1", "port": port, "unitId": 3, "deviceName": "${HOME} 1", "deviceType": "meter", "pollPeriod": 100,
         "byteOrder": "BIG", "wordOrder": "BIG",
         "timeseries": [{"tag": "v_${address}", "type": "16uint", "functionCode": 3, "objectsCount": 1, "address": "4-9"}]}]}}))
    result = run("--thingsboard", folder, "--check")
    if "no module thingsboard" in result.stderr:
        return False
    expect("a verdict for each connector", result.returncode == 1 and "connector Bus (modbus, bus.json): ok" in result.stdout
           and "connector OPC (opcua, opc.json): left out" in result.stdout, result.stdout + result.stderr)
    expect("no shell", "thingsboard.remoteShell: there is none" in result.stderr, result.stderr)
    write(folder + "/tb_gateway.json", json.dumps({**TB, "connectors": TB["connectors"][:1]}))
    result = run("--thingsboard", folder, "--check")
    expect("nothing left out", result.returncode == 0, result.stdout + result.stderr)
    converted = run("--thingsboard", folder, "--convert")
    write(folder + "/ours.yaml", converted.stdout)
    result = run("--check", folder + "/ours.yaml")
    expect("what is converted loads", converted.returncode == 0 and result.returncode == 0,
           converted.stdout + result.stderr)
    g = Gateway(folder, "--thingsboard", folder, "--metrics", folder + "/gateway.prom")
    try:
        expect("it runs from their folder", g.notice("READY=1"), g.lines())
        time.sleep(0.5)
        write(folder + "/bus.json", "{")
        g.process.send_signal(signal.SIGHUP)
        said = g.until("nothing changes")
        expect("a file that breaks changes nothing", "bus.json: line 1" in said and "closed" not in said, said)
        write(folder + "/tb_gateway.json", json.dumps({**TB, "connectors": []}))
        g.process.send_signal(signal.SIGHUP)
        said = g.until("failed")
        expect("a connector that goes is closed", "Bus closed" in said and "thingsboard closed" not in said, said)
    finally:
        code = g.stop()
    expect("it ends well", code == 0, g.lines())
    expect("it read", metric(folder, "tpc_modbus_values_total") == 0 or metric(folder, "tpc_uplink_points_total") >= 6,
           g.lines())
    return True


def samples():
    """What the seeds of the fuzzer have, each option that is known, is what the parts take."""
    for name in ("modbus", "mqtt"):
        with open(f"{root}/fuzz/corpus/tb_gateway/{name}", "rb") as f:
            main, other = f.read().decode().split("\0")
        with tempfile.TemporaryDirectory() as folder:
            write(folder + "/tb_gateway.json", main)
            write(folder + "/" + json.loads(main)["connectors"][0]["configuration"], other)
            result = run("--thingsboard", folder, "--check")
            expect(f"{name}: known options are taken", "configuration: ok" in result.stdout, result.stdout + result.stderr)
            write(folder + "/ours.yaml", run("--thingsboard", folder, "--convert").stdout)
            result = run("--check", folder + "/ours.yaml")
            expect(f"{name}: what is converted loads", result.returncode == 0, result.stderr)


ACL = """user bench
topic write v1/gateway/#
topic write v1/devices/me/#
topic read v1/devices/me/rpc/response/+
topic read v1/devices/me/attributes/response/+
user sink
topic read v1/#
topic readwrite v1/devices/me/rpc/response/+
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def child(*command, **options):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)


def traffic(folder, mosquitto):
    """Sink and line are closed and opened while samples flow; a stand-in of the platform counts them."""
    broker = free_port()
    write(folder + "/acl", ACL)
    write(folder + "/m.conf", f"listener {broker} 127.0.0.1\nallow_anonymous true\nacl_file {folder}/acl\n"
          f"persistence false\nmax_queued_messages 0\nmax_inflight_messages 0\nuser {getpass.getuser()}\n")
    slaves = child(build + "/examples/simulator/tp-sim", "modbus", "--port", "0", "--slaves", "10")
    port = int(re.search(r"\d+", slaves.stdout.readline()).group())
    children = [slaves, child(mosquitto, "-c", folder + "/m.conf")]

    def files(poll, qos):
        write(folder + "/tb_gateway.json", json.dumps(
            {"thingsboard": {"host": "127.0.0.1", "port": broker, "security": {"accessToken": "bench"}, "keepAlive": qos},
             "storage": {"type": "file", "data_folder_path": "./data"},
             "connectors": [{"type": "modbus", "name": "M", "configuration": "m.json"}]}))
        write(folder + "/m.json", json.dumps({"master": {"slaves": [
            {"host": "127.0.0.1", "port": port, "unitId": i, "deviceName": f"dev_{i}", "byteOrder": "BIG", "wordOrder": "BIG",
             "pollPeriod": poll, "timeseries": [
                 {"tag": "seq", "type": "32uint", "functionCode": 3, "objectsCount": 2, "address": 0},
                 {"tag": "r_${address}", "type": "16uint", "functionCode": 3, "objectsCount": 1, "address": "4-9"}]}
            for i in range(1, 11)]}}))

    try:
        time.sleep(0.3)
        platform = child(build + "/examples/simulator/tp-sim", "thingsboard", "--url", f"127.0.0.1:{broker}", "--user",
                         "sink", "--quiet", "500")
        children.append(platform)
        expect("the stand-in is ready", "ready" in platform.stdout.readline())
        files(50, 30)
        g = Gateway(folder, "--thingsboard", folder)
        g.until("running")
        for poll, alive in ((50, 31), (60, 31), (60, 32), (50, 33)):
            time.sleep(0.5)
            files(poll, alive)
            g.process.send_signal(signal.SIGHUP)
            said = g.until("failed")
            expect("a part comes back under traffic", " 0 failed" in said and " closed" in said, said)
        time.sleep(0.5)
        slaves.terminate()
        read = json.loads(slaves.communicate(timeout=20)[0].strip().splitlines()[-1])
        time.sleep(1)
        expect("it ends well", g.stop() == 0, g.lines())
        platform.send_signal(signal.SIGINT)
        counted = json.loads(platform.communicate(timeout=20)[0].strip().splitlines()[-1])
        expect("nothing is lost", counted["lost"] == 0 and counted["devices"] == 10 and
               counted["delivered"] > 100 and counted["delivered"] >= read["samples"] - 20, f"{counted} {read}")
    finally:
        for process in children:
            process.kill()
            process.wait()


skipped = 0
simulator = subprocess.Popen([build + "/examples/simulator/tp-sim", "modbus", "--port", "0", "--slaves", "5", "--seconds",
                              "60"], stdout=subprocess.PIPE, text=True)
try:
    number = int(re.search(r"\d+", simulator.stdout.readline()).group())
    with tempfile.TemporaryDirectory() as directory:
        reloads(directory, number)
    with tempfile.TemporaryDirectory() as directory:
        skipped += not thingsboard(directory, number)
finally:
    simulator.kill()
    simulator.wait()
if not skipped:
    samples()
if len(sys.argv) > 2 and not skipped:
    with tempfile.TemporaryDirectory() as directory:
        traffic(directory, sys.argv[2])
for failure in failures:
    print(failure)
print(f"tk: gateway passed={passed} failed={len(failures)} skipped={skipped} seconds=0")
sys.exit(1 if failures else 0)
