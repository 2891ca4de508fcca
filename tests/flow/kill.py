#!/usr/bin/python3
"""usage: kill.py BUILD_DIR MOSQUITTO [--kills N] [--seed N] [--keep]

Kills tp-platform N times (default 20) while tp-sim publishes at QoS 1 over a real broker, then
compares: every payload that the broker acknowledged to a device must be in the history once. The
first kills are inside an append, a commit, a checkpoint and a trim (kill_at.c), the others at
random times. The platform has a persistent session, so the broker keeps what it misses.
"""
import argparse
import collections
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CONFIG = """
core: {workers: 2, history_checkpoint_ms: 400}
log: {type: file, dir: "%(dir)s/data/log", segment_size: 65536, max_bytes: 1MiB}
store: {type: sqlite, dir: "%(dir)s/data/store", wal_limit: 256KiB}
adapters:
  mqtt:
    type: mqtt
    url: "mqtt://127.0.0.1:%(port)d"
    client_id: platform
    clean_start: false
    session_expiry: 1h
    retry_min: 20ms
    retry_max: 200ms
    dialects: [alink, custom]
    custom: [{up: "meters/{device}/up", product: meter}]
entities: ["%(entities)s/products.yaml", "%(entities)s/devices.yaml", "%(entities)s/scenes.yaml"]
"""
BROKER = """
listener %(port)d 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 200
log_dest file %(dir)s/mosquitto.log
user %(user)s
"""
POINTS = ["append", "commit", "checkpoint", "trim"]


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


class Run:
    def __init__(self, arguments):
        self.a = arguments
        self.dir = tempfile.mkdtemp(prefix="tp-kill-")
        self.random = random.Random(arguments.seed)
        self.children = []
        self.log = open(self.dir + "/platform.log", "wb")
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        import pwd

        fill = {"dir": self.dir, "port": self.port, "entities": root + "/examples/quickstart.d",
                "user": pwd.getpwuid(os.getuid()).pw_name}
        self.config = self.dir + "/platform.yaml"
        for name, text in ((self.config, CONFIG), (self.dir + "/mosquitto.conf", BROKER)):
            with open(name, "w", encoding="utf-8") as f:
                f.write(text % fill)
        os.mkdir(self.dir + "/data")

    def start(self, *command, **more):
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **more)
        self.children.append(child)
        return child

    def start_broker(self):
        self.start(self.a.mosquitto, "-c", self.dir + "/mosquitto.conf", stdout=self.log, stderr=self.log)
        if not wait_until(lambda: listens(self.port), 10):
            raise SystemExit("kill: mosquitto does not start")

    def start_platform(self, kill_at=None):
        environment = dict(os.environ)
        self.tell = self.dir + "/told"
        if os.path.exists(self.tell):
            os.unlink(self.tell)
        if kill_at:
            environment.update(LD_PRELOAD=self.a.build + "/tests/flow/kill_at.so", KILL_AT=kill_at,
                               KILL_TELL=self.tell)
        return self.start(self.a.build + "/examples/platform/tp-platform", "--quiet", self.config,
                          stdout=self.log, stderr=self.log, env=environment)

    def kills(self):
        """Returns how often the platform died inside of each point. Each one is tried twice, and once more,
        at its first passing, if it was not reached then."""
        inside = collections.Counter()
        for i in range(self.a.kills):
            first = i < 2 * len(POINTS)
            point = POINTS[i % len(POINTS)] if first else next((p for p in POINTS if not inside[p]), None)
            n = 1 if not first else self.random.randrange(1, 4 if point == "trim" else 30)
            platform = self.start_platform(f"{point}:{n}" if point else None)
            died = point and wait_until(lambda: platform.poll() is not None, 15)
            if not died:
                time.sleep(self.random.uniform(0.2, 1.5))
                if platform.poll() is None:
                    platform.kill()
            platform.wait()
            where = point if os.path.exists(self.tell) else "random"
            if platform.returncode != -signal.SIGKILL:
                raise SystemExit(f"kill: the platform ended with {platform.returncode} by itself")
            inside[where] += 1
        return inside

    def stored(self):
        """{(device, seq): how often}"""
        out = subprocess.run([self.a.build + "/examples/tool/tp-tool", "history", self.config, "--all", "seq"],
                             check=True, stdout=subprocess.PIPE, text=True).stdout
        return collections.Counter(tuple(line.split()) for line in out.splitlines())

    def acked(self):
        with open(self.dir + "/acked", encoding="utf-8") as f:
            return {tuple(line.split()) for line in f}

    def caught_up(self, simulator):
        """What the broker still has comes within seconds; then the platform stops cleanly."""
        platform = self.start_platform()
        time.sleep(1)
        simulator.send_signal(signal.SIGTERM)
        simulator.wait(timeout=60)
        time.sleep(3)
        platform.send_signal(signal.SIGTERM)
        return platform.wait(timeout=60)

    def run(self):
        self.start_broker()
        # The session must exist before the first message: who is not known misses what comes.
        first = self.start_platform()
        time.sleep(1.5)
        first.kill()
        first.wait()
        simulator = self.start(self.a.build + "/examples/simulator/tp-sim", "--url", f"127.0.0.1:{self.port}",
                               "--rate", "20", "--seq-file", self.dir + "/acked", stdout=self.log)
        inside = self.kills()
        code = self.caught_up(simulator)
        acked, stored = self.acked(), self.stored()
        missing = sorted(acked - set(stored))
        twice = sorted(key for key, n in stored.items() if n > 1)
        print("kill: inside " + " ".join(f"{k}={v}" for k, v in sorted(inside.items())))
        print(f"kill: kills={self.a.kills} acked={len(acked)} stored={len(stored)} missing={len(missing)} "
              f"twice={len(twice)} seed={self.a.seed}")
        if missing or twice:
            print("kill: missing", missing[:10], "twice", twice[:10])
        good = not missing and not twice and code == 0 and acked and all(inside[p] for p in POINTS)
        return 0 if good else 1

    def end(self, keep):
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        self.log.close()
        if keep:
            print("kill: see " + self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("mosquitto")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    print(f"kill: seed={arguments.seed}", flush=True)
    run = Run(arguments)
    code = 1
    try:
        code = run.run()
    finally:
        if code != 0:
            run.log.flush()
            with open(run.dir + "/platform.log", encoding="utf-8", errors="replace") as f:
                sys.stdout.writelines("    | " + line for line in f.readlines()[-30:])
        run.end(arguments.keep)
    return code


if __name__ == "__main__":
    sys.exit(main())
