#!/usr/bin/python3
"""The examples of docs/guide/start.md do what it says: its files pass --check, its commands end with 0 or tell a verdict."""
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

root, platform, tool = pathlib.Path(sys.argv[1]).resolve(), os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
text = (root / "docs/guide/start.md").read_text()
files = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.S))
commands = re.findall(r"^    tp-tool (.*?)(?:  +#.*)?$", text, re.M)
faults = 0


def run(*command):
    global faults
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    refused = "refused: " in done.stdout
    print("$", shlex.join(command[1:]), "->", done.returncode, done.stdout[:200], done.stderr[:300])
    faults += done.returncode != 0 and not refused


def ask(*options):
    done = subprocess.run([tool, "history", "platform.yaml", "t1", "temperature", *options],
                          capture_output=True, text=True, timeout=60)
    return [line.split() for line in done.stdout.splitlines()]


def aggregates_fit_samples():
    """What tp-tool says of all samples is what they say."""
    samples = [(int(t), float(v)) for t, v in ask()]
    values = [v for _, v in samples]
    end, begin = samples[-1][0], samples[0][0]
    said = ask("--agg", "count,min,max,first,last,p100,last_time")
    wanted = [len(values), min(values), max(values), values[0], values[-1], max(values), end]
    good = len(said) == 1 and said[0][0] == "all" and [float(x) for x in said[0][1:]] == wanted
    good &= ask("--newest", "--limit", "1") == [[str(end), ask()[-1][1]]]
    counts = ask("--agg", "count", "--every", "1s", "--from", str(begin))
    good &= sum(int(n) for _, n in counts) == len(values) and all(int(t) % 1000 == 0 for t, _ in counts)
    points = ask("--lttb", "3")
    good &= len(points) == min(3, len(values)) and int(points[0][0]) == begin and int(points[-1][0]) == end
    good &= len(ask("--average", "2")) == min(2, len(values))
    print("aggregates of", len(values), "samples:", good)
    return good


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for name, content in files.items():
        pathlib.Path(name).write_text(content)
    run(platform, "--check", "platform.yaml")
    run(platform, "--check", "mqtt.yaml")
    with subprocess.Popen([platform, "--quiet", "platform.yaml"], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "running" in line:
                break
        history = pathlib.Path("data/log")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and sum(f.stat().st_size for f in history.glob("*.tpl")) < 4096:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        faults += process.wait(30) != 0
    for command in commands:
        run(tool, *shlex.split(command))
    faults += not aggregates_fit_samples()
    print(len(files), "files,", len(commands), "commands")
    faults += len(files) != 4 or len(commands) < 7
sys.exit(1 if faults else 0)
