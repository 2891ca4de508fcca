#!/usr/bin/python3
"""The real ThingsBoard gateway (Python) beside ours: it reads Modbus slaves and takes our adapter for its
platform, on a stock mosquitto; ours delivers to a stand-in of ThingsBoard on a second one. In the middle ours
is killed and started again. Every read of a slave has a number; none may be missing in our history or at
the stand-in, and none be twice in our history.

usage: old_gateway.py --python VENV/bin/python --build DIR [--seconds N] [--slaves N] [--keep]

VENV has the packages thingsboard-gateway, pymodbus==3.9.2, pyserial and pyserial-asyncio. Ends with 0, 1
(something is wrong) or 77 (one of the programs is missing).
"""
import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TAGS = 5


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text if isinstance(text, str) else json.dumps(text, indent=1))


def slave(unit, port):
    return {
        "host": "127.0.0.1", "port": port, "type": "tcp", "method": "socket", "unitId": unit,
        "deviceName": f"dev {unit}", "deviceType": "slave", "timeout": 5, "byteOrder": "BIG",
        "wordOrder": "BIG", "retries": True, "retryOnEmpty": True, "retryOnInvalid": True,
        "pollPeriod": 500, "connectAttemptTimeMs": 5000, "connectAttemptCount": 5,
        "waitAfterFailedAttemptsMs": 30000, "attributes": [], "attributeUpdates": [],
        "timeseries": [{"tag": "seq", "type": "32uint", "functionCode": 3, "objectsCount": 2,
                        "address": 0}]
                      + [{"tag": f"r_{i}", "type": "16uint", "functionCode": 3, "objectsCount": 1,
                          "address": i} for i in range(2, TAGS)],
        "rpc": [{"tag": "setValue", "type": "16uint", "functionCode": 6, "objectsCount": 1,
                 "address": 4}],
    }


def old_gateway(folder, broker, modbus, slaves):
    """Its configuration (contract: what its own sample says, all limits off)."""
    none = "0:0,"
    write(f"{folder}/tb_gateway.json", {
        "thingsboard": {
            "host": "127.0.0.1", "port": broker, "remoteShell": False,
            "remoteConfiguration": False, "statistics": {"enable": False, "enableCustom": False,
                                                         "statsSendPeriodInSeconds": 60},
            "deviceFiltering": {"enable": False}, "maxPayloadSizeBytes": 8196,
            "minPackSendDelayMS": 50, "checkConnectorsConfigurationInSeconds": 60,
            "handleDeviceRenaming": False,
            "security": {"type": "accessToken", "accessToken": "old"}, "qos": 1,
            "reportStrategy": {"type": "ON_RECEIVED"},
            "checkingDeviceActivity": {"checkDeviceInactivity": False},
            "rateLimits": none, "dpRateLimits": none, "messagesRateLimits": none,
            "deviceMessagesRateLimits": none, "deviceRateLimits": none,
            "deviceDpRateLimits": none},
        "storage": {"type": "memory", "read_records_count": 100, "max_records_count": 100000},
        "grpc": {"enabled": False},
        "connectors": [{"type": "modbus", "name": "Modbus", "configuration": "modbus.json"}]})
    write(f"{folder}/modbus.json", {
        "name": "Modbus", "logLevel": "INFO",
        "master": {"slaves": [slave(u, modbus) for u in range(1, slaves + 1)]}})
    write(f"{folder}/logs.json", {
        "version": 1, "disable_existing_loggers": False,
        "formatters": {"f": {"class": "logging.Formatter", "format": "%(asctime)s %(message)s"}},
        "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f", "level": 0}},
        "loggers": {}, "root": {"level": "WARNING", "handlers": ["h"]}})


def our_gateway(folder, broker, server):
    properties = "{id: seq, type: int}"  # the other tags are kept by key
    write(f"{folder}/ours.yaml", f"""
log: {{type: file, dir: "{folder}/log"}}
store: {{type: sqlite, dir: "{folder}/store"}}
adapters:
  old:
    type: mqtt
    url: "mqtt://127.0.0.1:{broker}"
    client_id: ours
    clean_start: false
    dialects: [thingsboard]
    thingsboard: {{gateway: old-gateway}}
  thingsboard:
    type: thingsboard
    url: "mqtt://127.0.0.1:{server}"
    token: ours
    state: "{folder}/state.json"
entities:
  - {{kind: forward, key: thingsboard, sink: thingsboard, start: oldest, options: {{qos: 1}}}}
  - {{kind: product, key: slave, unknown: keep, model: {{properties: [{properties}]}}}}
""")


class Programs:
    def __init__(self, folder):
        self.folder = folder
        self.all = []

    def start(self, name, words, **more):
        log = open(f"{self.folder}/{name}.log", "wb")
        p = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             **more)
        self.all.append((name, p))
        return p

    def stop(self, p, seconds=10):
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
            try:
                p.wait(seconds)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def stop_all(self):
        for _, p in reversed(self.all):
            self.stop(p, 3)


def wait_port(port):
    for _ in range(100):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


def numbers(build, folder, unit):
    out = subprocess.run([f"{build}/examples/tool/tp-tool", "history", f"{folder}/ours.yaml",
                          f"dev {unit}", "seq", "--limit", "10000"],
                         capture_output=True, text=True, timeout=20, check=False)
    return [int(float(line.split()[1])) for line in out.stdout.splitlines()]


def run(a, folder):
    programs = Programs(folder)
    broker, server, modbus = free_port(), free_port(), free_port()
    mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    delivered = {}
    try:
        for name, port, user in [("local", broker, "old"), ("server", server, "ours")]:
            write(f"{folder}/{name}.conf", f"listener {port} 127.0.0.1\nallow_anonymous true\n"
                  f"persistence false\nmax_queued_messages 0\nacl_file {folder}/{name}.acl\n"
                  + ("user root\n" if os.getuid() == 0 else ""))
            # It must not hear itself: see docs/guide/mixed.md.
            write(f"{folder}/{name}.acl", f"topic readwrite #\nuser {user}\n"
                  "topic write v1/gateway/#\ntopic write v1/devices/me/#\n"
                  "topic read v1/devices/me/rpc/response/+\n"
                  "topic read v1/devices/me/attributes/response/+\n"
                  "topic read v1/gateway/attributes/response\n"
                  "user sink\ntopic readwrite #\n")
            programs.start(f"mosquitto-{name}", [mosquitto, "-c", f"{folder}/{name}.conf"])
            wait_port(port)
        stand_in = programs.start("stand-in", [f"{a.build}/examples/simulator/tp-sim",
                                               "thingsboard", "--url", f"127.0.0.1:{server}",
                                               "--user", "sink", "--seconds", "600"])
        programs.start("modbus", [f"{a.build}/examples/simulator/tp-sim", "modbus", "--port",
                                  str(modbus), "--slaves", str(a.slaves), "--registers", "20",
                                  "--change", "100", "--seconds", "600"])
        our_gateway(folder, broker, server)
        ours_words = [f"{a.build}/examples/gateway/tp-gateway", "--quiet", f"{folder}/ours.yaml"]
        ours = programs.start("ours", ours_words)
        config = f"{folder}/old"
        os.makedirs(f"{config}/logs")
        old_gateway(config, broker, modbus, a.slaves)
        theirs = programs.start(
            "theirs", [a.python, "-c",
                       "from thingsboard_gateway.tb_gateway import daemon; daemon()"],
            cwd=config, env=dict(os.environ, TB_GW_CONFIG_DIR=config + "/", # it asks its maker for a new version
                             https_proxy="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9"))
        time.sleep(a.seconds / 2)
        ours.kill()
        ours.wait()
        time.sleep(2)
        ours = programs.start("ours-again", ours_words)
        time.sleep(a.seconds / 2)
        alive = theirs.poll() is None and ours.poll() is None
        programs.stop(theirs)
        time.sleep(2)
        programs.stop(ours)
        programs.stop(stand_in)
        with open(f"{folder}/stand-in.log", encoding="utf-8") as f:
            delivered = json.loads(f.read().splitlines()[-1])
        read = {u: numbers(a.build, folder, u) for u in range(1, a.slaves + 1)}
    finally:
        programs.stop_all()
    lost = sum(len(set(range(min(n), max(n) + 1)) - set(n)) for n in read.values() if n)
    doubled = sum(len(n) - len(set(n)) for n in read.values())
    least = (a.seconds - 10) * 2 * 8 // 10  # it takes up to 10 s to start, 2 polls a second
    counts = [len(n) for n in read.values()]
    ok = (alive and lost == 0 and doubled == 0 and min(counts) >= least
          and delivered.get("lost") == 0 and delivered.get("devices", 0) >= a.slaves)
    print(f"old-gateway: {'ok' if ok else 'FAIL'} samples={counts} lost={lost} doubled={doubled}")
    print(f"delivered: {json.dumps(delivered)}")
    return 0 if ok else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=os.environ.get("TB_GATEWAY_PYTHON", ""))
    parser.add_argument("--build", default="build")
    parser.add_argument("--seconds", type=int, default=25)
    parser.add_argument("--slaves", type=int, default=3)
    parser.add_argument("--keep", action="store_true")
    a = parser.parse_args()
    a.build = os.path.abspath(a.build)
    there = a.python and subprocess.run([a.python, "-c", "import thingsboard_gateway, pymodbus"],
                                        capture_output=True, check=False).returncode == 0
    if not there:
        print("SKIP old-gateway: --python names none with thingsboard-gateway")
        return 77
    folder = tempfile.mkdtemp(prefix="old-gateway-")
    try:
        return run(a, folder)
    finally:
        if a.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
