"""What the tests of the contracts share: a stock mosquitto with the plugin, a platform with a console,
and clients that know nothing of this project (paho for Python)."""
import os
import pathlib
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import paho.mqtt.client as mqtt

SECRET_KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
TOKEN_KEY = "a key of at least thirty-two bytes"
WAIT = 15  # seconds at most for anything; nothing waits that long when it works


class Report:
    def __init__(self, name):
        self.name, self.passed, self.faults, self.begin = name, 0, [], time.monotonic()

    def expect(self, what, good, text=""):
        if good:
            self.passed += 1
        else:
            self.faults.append(f"{what}: {text}")

    def end(self):
        for text in self.faults:
            print(text)
        seconds = int(time.monotonic() - self.begin)
        print(f"tk: {self.name} passed={self.passed} failed={len(self.faults)} skipped=0 seconds={seconds}")
        sys.exit(1 if self.faults else 0)


def wait_until(what, seconds=WAIT):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.01)
    return what()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A child that ends with the test."""

    def __init__(self, *command, **more):
        self.child = subprocess.Popen([str(c) for c in command], **more)

    def stop(self, kill=False):
        if self.child.poll() is None:
            (self.child.kill if kill else self.child.terminate)()
        try:
            return self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()


class Broker(Process):
    """mosquitto with the plugin and nothing else that lets anybody in."""

    def __init__(self, place, options=()):
        self.place, self.port, self.log = place, free_port(), place.dir / "broker.log"
        self.options = options
        self.start()

    def start(self):
        config = self.place.dir / "broker.conf"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous false", "persistence false", "user root",
                 f"log_dest file {self.log}", "log_type all", f"plugin {self.place.plugin}",
                 f"plugin_opt_store_dir {self.place.dir}/store",
                 f"plugin_opt_secret_key_file {self.place.dir}/secret.key",
                 f"plugin_opt_token_key_file {self.place.dir}/token.key", "plugin_opt_refresh_ms 50", *self.options]
        config.write_text("\n".join(lines) + "\n")
        super().__init__(self.place.mosquitto, "-c", config, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
        if not wait_until(lambda: listens(self.port) or self.child.poll() is not None) or self.child.poll() is not None:
            raise SystemExit("mosquitto does not start: " + self.log.read_text()[-2000:])

    def said(self, text):
        return wait_until(lambda: text in self.log.read_text(errors="replace"))


class Console(Process):
    """The platform: one command, one line back. Lines that begin with "ended" come by themselves."""

    def __init__(self, place, broker_port, dialects="[thingspanel, alink]"):
        config = place.dir / "platform.yaml"
        adapters = f"""
adapters:
  mqtt:
    type: mqtt
    url: "mqtt://127.0.0.1:{broker_port}"
    user: platform
    password: platform-password
    client_id: platform
    dialects: {dialects}
    presence: false
    retry_min: 20ms
    retry_max: 200ms
""" if broker_port else ""
        config.write_text(f"""
core:
  secret_key: {{secret_file: {place.dir}/secret.key}}
  token_key: {{secret_file: {place.dir}/token.key}}
entity_store: {{type: sqlite, dir: {place.dir}/store}}
{adapters}
entities:
  - {{kind: service_user, key: platform, password: platform-password}}
""")
        self.ended, self.lines = queue.Queue(), queue.Queue()
        self.log = open(place.dir / "platform.log", "a")
        super().__init__(place.console, config, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                         bufsize=1)
        threading.Thread(target=self.read, daemon=True).start()
        ready = self.lines.get(timeout=30)
        if ready != "ready":
            log = (place.dir / "platform.log").read_text()
            raise SystemExit(f"the platform does not start: {ready}: {log[-1000:]}")

    def read(self):
        for line in self.child.stdout:
            (self.ended if line.startswith("ended ") else self.lines).put(line.rstrip("\n"))
        self.lines.put("gone")

    def ask(self, text):
        self.child.stdin.write(text + "\n")
        self.child.stdin.flush()
        return self.lines.get(timeout=30)

    def must(self, text):
        got = self.ask(text)
        if got != "ok":
            raise SystemExit(f"{text}: {got}")

    def becomes(self, question, wanted):
        return wait_until(lambda: self.ask(question) == wanted)


class Client:
    """An MQTT client of paho; what it hears stands in `heard`."""

    def __init__(self, port, client_id, username=None, password=None, clean=True, version=mqtt.MQTTv311, will=None, tls=None):
        self.heard, self.code, self.subscribed, self.gone, self.published = [], None, {}, False, 0
        if version == mqtt.MQTTv5:
            self.client = mqtt.Client(client_id, protocol=version)
        else:
            self.client = mqtt.Client(client_id, clean_session=clean, protocol=version)
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = self.on_disconnect
        self.client.on_message = lambda c, u, m: self.heard.append((m.topic, m.payload, m.qos, m.retain))
        self.client.on_subscribe = self.on_subscribe
        self.client.on_publish = self.on_publish
        if username is not None:
            self.client.username_pw_set(username, password)
        if will:
            self.client.will_set(*will)
        if tls:
            self.client.tls_set(**tls)
        self.client.connect("localhost" if tls else "127.0.0.1", port, keepalive=60)
        self.client.loop_start()
        wait_until(lambda: self.code is not None or self.gone)

    def on_connect(self, client, user, flags, code, properties=None):
        self.code = int(getattr(code, "value", code))
        if self.code != 0:
            client.loop_stop()

    def on_disconnect(self, client, user, code, properties=None):
        self.gone = True

    def on_publish(self, client, user, mid, *more):
        self.published += 1

    def on_subscribe(self, client, user, mid, granted, properties=None):
        self.subscribed[mid] = [int(getattr(g, "value", g)) for g in granted]

    def subscribe(self, *filters):
        """The granted QoS of each filter; 128 = refused."""
        _, mid = self.client.subscribe([(f, 1) for f in filters])
        wait_until(lambda: mid in self.subscribed or self.gone)
        return self.subscribed.get(mid)

    def publish(self, topic, payload, qos=1):
        info = self.client.publish(topic, payload, qos)
        try:
            info.wait_for_publish(WAIT)
        except (ValueError, RuntimeError):
            pass

    def hears(self, topic, seconds=WAIT):
        """The payload of the next message on a topic, or None."""
        wait_until(lambda: any(m[0] == topic for m in self.heard), seconds)
        for i, m in enumerate(self.heard):
            if m[0] == topic:
                del self.heard[i]
                return m[1]
        return None

    def close(self):
        if not self.gone:
            self.client.disconnect()
            wait_until(lambda: self.gone)
        self.client.loop_stop()


def code_of(port, client_id, *pair):
    """CONNACK's code for a user name and password; the connection ends again."""
    c = Client(port, client_id, *pair)
    if c.code == 0:
        c.close()
    return c.code


class Place:
    def __init__(self, build, mosquitto):
        build = pathlib.Path(build).resolve()
        self.plugin, self.mosquitto = build / "adapters/mosquitto_tpcore.so", mosquitto
        self.console = build / "tests/contract/contract-console"
        self.tool = build / "examples/tool/tp-tool"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tp-contract-", dir=os.environ.get("TMPDIR")))
        (self.dir / "secret.key").write_text(SECRET_KEY + "\n")
        (self.dir / "token.key").write_text(TOKEN_KEY + "\n")

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def run(name, fn):
    """fn(place, report, keep): keep(child) ends it with the test."""
    place, report, children = Place(sys.argv[1], sys.argv[2]), Report(name), []

    def keep(child):
        children.append(child)
        return child

    try:
        fn(place, report, keep)
    finally:
        for child in reversed(children):
            child.stop() if isinstance(child, Process) else child.close()
        if os.environ.get("TP_KEEP"):
            print(place.dir)
        else:
            place.remove()
    report.end()
