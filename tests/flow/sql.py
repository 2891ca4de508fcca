#!/usr/bin/python3
"""usage: sql.py BUILD_DIR MOSQUITTO

The quickstart's platform over a real broker, asked by SQL while it writes: by the stock sqlite3
program, by Python's sqlite3 and by tp-tool sql. What the broker acknowledged to a device more than a
second ago must be in the table, open samples included, and nothing twice.
"""
import json
import os
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

build, mosquitto = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
root = pathlib.Path(__file__).resolve().parents[2]
extension = str(build / "tpcore_sql")
QUESTION = "SELECT device, value FROM telemetry WHERE property = 'seq'"
GROUPS = "select property, avg(value) from telemetry where device='{}' group by property"
faults, skipped, passed = [], [], 0


def expect(what, good, text=""):
    global passed
    passed += bool(good)
    if not good:
        faults.append(f"{what}: {text}")


def wait_until(what, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def by_program(path, sql):
    done = subprocess.run(["sqlite3", "-cmd", f".load {extension}", path, sql], text=True, capture_output=True, timeout=60)
    expect("sqlite3", done.returncode == 0 and not done.stderr, done.stderr)
    return [tuple(line.split("|")) for line in done.stdout.splitlines()]


def by_python(path, sql):
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        db.enable_load_extension(True)
        db.load_extension(extension)
        rows = [tuple(str(x) for x in row) for row in db.execute(sql)]
    db.close()
    return rows


def by_tool(path, sql):
    done = subprocess.run([build / "examples/tool/tp-tool", "sql", path, "--json", sql], text=True, capture_output=True,
                          timeout=60)
    expect("tp-tool sql", done.returncode == 0 and not done.stderr, done.stderr)
    return [tuple(str(x) for x in row.values()) for row in json.loads(done.stdout)]


def readers():
    ways = {"tp-tool": by_tool}
    if shutil.which("sqlite3"):
        ways["sqlite3"] = by_program
    else:
        skipped.append("sqlite3: the program is not installed")
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        ways["python"] = by_python
    else:
        skipped.append("python: its sqlite3 loads no extensions")
    return ways


def acknowledged(folder):
    with open(folder + "/acked", encoding="utf-8") as f:
        text = f.read()
    return {tuple(line.split()) for line in text[:text.rfind("\n") + 1].splitlines()}


def compare(way, ask, path, folder):
    before = acknowledged(folder)
    time.sleep(1)
    rows = ask(path, QUESTION)
    seen = set(rows)
    missing = sorted(before - seen)
    expect(f"{way}: nothing twice", len(rows) == len(seen), f"{len(rows)} rows, {len(seen)} of them different")
    expect(f"{way}: nothing missing", before and not missing, f"{len(missing)} of {len(before)}: {missing[:5]}")
    return len(before)


def platform_and_devices(folder, start):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with open(folder + "/mosquitto.conf", "w", encoding="utf-8") as f:
        f.write(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n")
        f.write(f"log_dest none\nuser {os.environ.get('USER', 'root')}\n")
    start(mosquitto, "-c", folder + "/mosquitto.conf")
    if not wait_until(lambda: listens(port), 10):
        raise SystemExit("sql: mosquitto does not start")
    os.environ.update(MQTT_PORT=str(port), HOOK_PORT="1", DATA=folder + "/data")
    os.mkdir(folder + "/data")
    # The quickstart's own configuration; open chunks are stored within the seconds of this test.
    config = shutil.copytree(root / "examples/quickstart.d", folder + "/config") + "/platform.yaml"
    text = pathlib.Path(config).read_text()
    pathlib.Path(config).write_text(text.replace("core:\n", "core:\n  history_checkpoint_ms: 2000\n"))
    with open(folder + "/platform.log", "wb") as log:
        start(build / "examples/platform/tp-platform", config, stdout=log, stderr=log)
    connected = lambda: "connected to" in pathlib.Path(folder + "/platform.log").read_text()
    if not wait_until(connected, 20):
        raise SystemExit("sql: the platform does not start: " + pathlib.Path(folder + "/platform.log").read_text())
    start(build / "examples/simulator/tp-sim", "--url", f"127.0.0.1:{port}", "--rate", "25", "--seq-file", folder + "/acked",
          stdout=subprocess.DEVNULL)
    if not wait_until(lambda: os.path.exists(folder + "/acked") and len(acknowledged(folder)) > 100, 20):
        raise SystemExit("sql: nothing is acknowledged")


def run(folder, start):
    platform_and_devices(folder, start)
    path = folder + "/data/store/history.db"
    ways = readers()
    total = 0
    for _ in range(3):
        for way, ask in ways.items():
            total = compare(way, ask, path, folder)
    device = sorted(acknowledged(folder))[-1][0]
    for way, ask in ways.items():
        rows = dict(ask(path, GROUPS.format(device)))
        expect(f"{way}: averages", "seq" in rows and len(rows) >= 3 and all(float(x) >= 0 for x in rows.values()), rows)
        stored = int(ask(path, "select coalesce(sum(n), 0) from chunk")[0][0])
        rows = int(ask(path, "select count(*) from telemetry where property = 'seq'")[0][0])
        expect(f"{way}: chunks and open samples", 0 < stored < rows, f"{stored} rows in chunks, {rows} in the table")
    print(f"sql: {total} samples seen by {', '.join(sorted(ways))}")


children = []
with tempfile.TemporaryDirectory() as folder:
    def start(*command, **more):
        children.append(subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, **more))

    try:
        run(folder, start)
    finally:
        for child in reversed(children):
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
for text in skipped:
    print("SKIP", text)
for text in faults:
    print(text)
print(f"tk: sql passed={passed} failed={len(faults)} skipped={len(skipped)} seconds=0")
sys.exit(1 if faults else 0)
