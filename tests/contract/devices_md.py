#!/usr/bin/python3
"""usage: devices_md.py SOURCE_DIR BUILD_DIR MOSQUITTO

docs/guide/devices.md does what it says: its files and commands, in its order, in one shell."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import kit

source, build, mosquitto = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
text = (source / "docs/guide/devices.md").read_text()
files = dict(re.findall(r"```(?:yaml)?\n# (\S+)\n(.*?)```", text, re.S))
commands = re.findall(r"^    (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
report = kit.Report("contract-devices-guide")
port = str(kit.free_port())


def adapt(line):
    """Another port, the build's plugin and programs."""
    line = line.replace("18830", port)
    line = re.sub(r"/usr/lib/\S+/mosquitto_tpcore.so", str(build / "adapters/mosquitto_tpcore.so"), line)
    return re.sub(r"^mosquitto (?=-c)", f"{mosquitto} ", line)


def ready(folder):
    """Both came up: the broker has all subscriptions of the platform, which asks for them in a row."""
    log = folder / "platform.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    asked, taken = text.count("Received SUBSCRIBE"), text.count("Sending SUBACK")
    time.sleep(0.1)
    return asked > 1 and asked == taken and log.read_text(errors="replace").count("Received SUBSCRIBE") == asked


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for file, content in files.items():
            (folder / file).write_text(adapt(content) + ("log_type all\n" + ("user root\n" if os.getuid() == 0 else "") if file == "broker.conf" else ""))
        path = os.pathsep.join([str(build / "examples/platform"), str(build / "examples/tool"), os.environ["PATH"]])
        shell = subprocess.Popen(["bash"], cwd=folder, env={**os.environ, "PATH": path}, stdin=subprocess.PIPE,
                                 stdout=open(folder / "out", "w"), stderr=open(folder / "platform.log", "w"), text=True, bufsize=1,
                                 start_new_session=True)
        try:
            count = 0
            for line in commands:
                shell.stdin.write(adapt(line) + f"\necho done $? {count} >>steps\n")
                if line.startswith("tp-platform"):
                    kit.wait_until(lambda: (folder / "data/store/entities.db").exists())
                elif line.startswith("mosquitto "):
                    report.expect("both came up", kit.wait_until(lambda: ready(folder)), (folder / "platform.log").read_text())
                count += 1
            steps = folder / "steps"
            done = lambda: steps.exists() and len(steps.read_text().splitlines()) == count
            report.expect("all commands ended", kit.wait_until(done, 60))
            for line in steps.read_text().splitlines():
                _, code, number = line.split()
                report.expect(commands[int(number)], code == "0", f"exit {code}")
            check(folder)
        finally:
            for kill in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(shell.pid, kill)
                    shell.wait(20)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass


def ask(folder, *command):
    tool = build / "examples/tool/tp-tool"
    return subprocess.run([tool, *command], cwd=folder, capture_output=True, text=True, timeout=30).stdout


def check(folder):
    """What the last commands show, once all is there: a person types more slowly than this script."""
    out = (folder / "out").read_text()
    report.expect("files and commands", len(files) == 3 and len(commands) > 15, (len(files), len(commands)))
    report.expect("ack", '"result":0' in out, out)
    report.expect("registered", '"deviceSecret"' in out, out)
    sql = commands[-3].split('"')[1]
    wanted = {"room-1": "2", "room-2": "2", "room-4": "1", "house-1": "1", "plug-1": "1"}
    counts = lambda: dict(re.findall(r"^(\S+)\|(\d+)$", ask(folder, "sql", "data/store/history.db", sql), re.M))
    report.expect("values of each device", kit.wait_until(lambda: counts() == wanted), counts())
    value = lambda: ask(folder, "sql", "data/store/history.db", "select value from telemetry where device = 'room-4'").strip()
    report.expect("behind the gateway", float(value() or 0) == 18, value())
    why = lambda: ask(folder, "why", "platform.yaml", "room-1")
    report.expect("why", kit.wait_until(lambda: "auth TPC_EDENIED" in why()), why())


main()
report.end()
