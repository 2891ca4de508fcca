#!/usr/bin/python3
"""docs/guide/connectivity-service.md, followed literally in an empty folder: its files, its commands in their order,
and what it says that they print. The library is that of the build, not an installed one."""
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile

root, build = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
compiler = sys.argv[3:] or ["cc"]
text = (root / "docs/guide/connectivity-service.md").read_text()
files = dict(re.findall(r"```\w+ (\S+)\n(.*?)```", text, re.S))
blocks = re.findall(r"((?:^    .*\n)+)", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
faults = 0
env = dict(os.environ, TPCORE=str(root), PKG_CONFIG_PATH=str(build / "meson-uninstalled"), LD_LIBRARY_PATH=str(build / "lib"),
           TPCORE_MODULES=str(build / "adapters"), TPCORE_TRY=str(root / "examples/thingspanel-service/try.py"))
OURS = ("cc ", "./lamp", "mkdir")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def check(what, good, more=""):
    global faults
    faults += not good
    print("ok" if good else "FAULT", what, more if not good else "")


def run(command):
    if command.startswith("cc "):
        command = shlex.join(compiler) + command[2:]
    done = subprocess.run(command, shell=True, env=env, capture_output=True, text=True, timeout=60)
    check(command[:70], done.returncode == 0, (done.stdout + done.stderr)[-3000:])
    return done.stdout


def service(command):
    """Runs until it says that it runs, and is stopped."""
    with subprocess.Popen(shlex.split(command), env=env, stderr=subprocess.PIPE, text=True) as child:
        said = []
        for line in child.stderr:
            said.append(line)
            if line.rstrip().endswith(": running"):
                child.send_signal(signal.SIGTERM)
        check(command, child.wait(20) == 0 and any("running" in line for line in said), "".join(said)[-2000:])


def shape(line):
    return re.sub(r"[0-9.]+", "N", line.strip())


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for name, content in files.items():
        for port in ("8080", "7000"):  # which may be taken here
            content = content.replace(":" + port, f":{free_port()}") if name.endswith(".yaml") else content
        pathlib.Path(name).write_text(content)
    printed, count = "", 0
    for block in blocks:
        lines = [line[4:] for line in block.splitlines()]
        if not lines[0].startswith(OURS) and not lines[0].startswith("export TPCORE_TRY"):
            if printed:
                for line in lines:
                    check("prints " + line.strip()[:60], shape(line) in [shape(p) for p in printed.splitlines()], printed[-2000:])
            printed = ""
            continue
        for line in (line for line in lines if line.startswith(OURS)):
            count += 1
            if line == "./lamp lamp.yaml":
                service(line)
            else:
                printed = run(line)
    print(len(files), "files,", count, "commands")
    faults += len(files) != 4 or count != 6
sys.exit(1 if faults else 0)
