#!/usr/bin/python3
"""usage: thingspanel_stub.py BUILD_DIR MOSQUITTO

The stand-in for the ThingsPanel platform (tests/kit/tp_stub) against a service written here in a few lines: what
the tests of the real service rest on is right by itself.
"""
import base64
import http.client
import http.server
import json
import os
import pathlib
import signal
import socketserver
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

STUB = pathlib.Path(__file__).resolve().parent.parent / "kit/tp_stub"
sys.path.insert(0, str(STUB))
import meter as meters  # noqa: E402
from broker import find  # noqa: E402
from directory import compact, generate, stable_id  # noqa: E402
from mqtt_client import Client  # noqa: E402
from panel import Panel  # noqa: E402

WAIT = 10
faults, passed = [], [0]


def expect(what, good, text=""):
    if good:
        passed[0] += 1
    else:
        faults.append(f"{what}: {text}")


def until(what, seconds=WAIT):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.01)
    return what()


def wrap(device_id, value):
    raw = value if isinstance(value, bytes) else compact(value).encode()
    return compact({"device_id": device_id, "values": base64.b64encode(raw).decode()})


class Callbacks(http.server.BaseHTTPRequestHandler):
    heard, protocol_version = [], "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.heard.append((self.command, self.path, body))
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        data = None
        if query.get("form_type") == ["VCR"]:
            data = [{"dataKey": "serial", "label": "Serial number", "type": "input", "validate": {"required": True, "type": "string"}}]
        elif "voucher" in query:
            data = {"total": 1, "list": [{"device_name": "A", "device_number": "A1", "description": query["voucher"][0]}]}
        text = json.dumps({"code": 200, "message": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer


class Access(socketserver.BaseRequestHandler):
    """The device's side of a service: lets M- in and acknowledges; every tenth acknowledgement is forgotten."""
    seen, answers, forgot = [], [], set()

    def handle(self):
        held = bytearray()
        self.request.settimeout(20)
        while True:
            try:
                more = self.request.recv(4096)
            except OSError:
                more = b""
            if not more:
                return
            held += more
            while True:
                try:
                    got = meters.take(held)
                except ValueError:
                    return
                if got is None:
                    break
                del held[:got[2]]
                if self.take(got[0], got[1]):
                    return

    def take(self, kind, body):
        if kind == meters.LOGIN:
            self.serial = body.decode()
            good = self.serial.startswith("M-")
            self.request.sendall(meters.frame(0x81, b"\0" if good else b"\1"))
            if good:
                self.request.sendall(meters.frame(meters.SET, struct.pack(">HBBH", 7, 0, 1, 1)))
            return not good
        if kind == meters.READINGS:
            number = struct.unpack(">I", body[:4])[0] if body else 10  # an empty one ends the connection
            if number % 10 == 0 and (self.serial, number) not in self.forgot:
                self.forgot.add((self.serial, number))
                return True
            self.seen.append((self.serial, number))
            self.request.sendall(meters.frame(0x83, body[:4]))
        elif kind == meters.BEAT:
            self.request.sendall(meters.frame(0x82))
        else:
            self.answers.append((kind, body))
        return False


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True


def serve(kind, handler):
    server = kind(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server, server.server_address[1]


def post(panel, path, body, method="POST", headers=None, seconds=10):
    connection = http.client.HTTPConnection("127.0.0.1", panel.api.port, timeout=seconds)
    try:
        raw = body if isinstance(body, bytes) else compact(body).encode() if body is not None else None
        connection.request(method, "/api/v1/" + path if not path.startswith("/") else path, raw, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ask(panel, path, body, **more):
    status, text = post(panel, path, body, **more)
    value = json.loads(text)
    return value["code"], value.get("data")


def endpoints(panel):
    config = "plugin/device/config"
    expect("heartbeat", ask(panel, "plugin/heartbeat", {"service_identifier": "meter"}) == (200, {}))
    expect("alive", panel.alive("meter") == 1 and panel.alive("none") == 2)
    expect("unknown service", ask(panel, "plugin/heartbeat", {"service_identifier": "none"})[0] == 101001)
    code, data = ask(panel, config, {"voucher": '{"serial":"M-0001"}'})
    expect("config by voucher", code == 200 and data["device_type"] == "2" and len(data["sub_devices"]) == 2, (code, data))
    expect("members", sorted(data) == ["config", "device_number", "device_type", "id", "protocol_config_template", "protocol_type",
                                       "sub_devices", "voucher"], data)
    expect("members behind", sorted(data["sub_devices"][0]) == ["config", "device_id", "device_number", "protocol_config_template",
                                                                "sub_device_addr", "voucher"], data)
    expect("rate limit", ask(panel, config, {"voucher": '{"serial":"M-0001"}'})[0] == 201003)
    expect("another voucher", ask(panel, config, {"voucher": '{"serial":"M-0002"}'})[0] == 200)
    same = [ask(panel, config, {"device_id": data["id"], "voucher": "x"}) for n in range(3)]
    expect("by id, unlimited, first", [s[0] for s in same] == [200] * 3 and same[0][1] == data)
    expect("by number", ask(panel, config, {"device_number": "M-0003"})[0] == 200)
    expect("bytes of the voucher", ask(panel, config, {"voucher": '{"serial": "M-0001"}'})[0] == 101001)
    for bad in ({}, {"device_id": "x" * 37}, {"voucher": "x" * 256}, {"voucher": 1}, b"{", b"[]"):
        expect(f"parameter {bad}", ask(panel, config, bad)[0] == 100002)
    panel.directory.put({"id": "bare", "template": None})
    expect("without template", ask(panel, config, {"device_id": "bare"})[0] == 100000)
    panel.directory.put({"id": "orphan", "template": "meter", "parent": panel.device_id("M-0002")})
    expect("child without address", ask(panel, config, {"device_id": panel.device_id("M-0002")})[0] == 100000)
    panel.directory.remove("orphan")
    page = {"service_identifier": "meter", "device_type": "1", "page": 1, "page_size": 2}
    code, data = ask(panel, "plugin/devices", page)
    expect("devices", code == 200 and data["total"] == 3 and len(data["list"]) == 2, data)
    expect("last page", len(ask(panel, "plugin/devices", {**page, "page": 2})[1]["list"]) == 1)
    expect("of gateways none", ask(panel, "plugin/devices", {**page, "device_type": "2"})[1] == {"total": 0, "list": None})
    expect("page is needed", ask(panel, "plugin/devices", {"service_identifier": "meter", "device_type": "1"})[0] == 100002)
    code, data = ask(panel, "plugin/service/access/list", {"service_identifier": "meter"})
    expect("access points", code == 200 and data[0]["id"] == "ap1" and data[0]["devices"][0]["device_number"] == "S-1", data)
    code, data = ask(panel, "plugin/service/access", {"service_access_id": "ap1"})
    expect("access point", code == 200 and data["service_identifier"] == "meter" and data["voucher"] == '{"token":"t"}', data)
    expect("no access point", ask(panel, "plugin/service/access", {"service_access_id": "x"})[0] == 101001)


def registration(panel):
    auth = {"template_secret": "s1", "device_number": "N1"}
    code, data = ask(panel, "device/auth", auth)
    expect("device/auth", code == 200 and list(json.loads(data["voucher"])) == ["voucher"], data)
    for change, code in (({}, 200082), ({"template_secret": "x"}, 200080), ({"template_secret": "s2"}, 200081),
                         ({"template_secret": "s3", "device_number": "N2"}, 200084)):
        expect(f"device/auth {change}", ask(panel, "device/auth", {**auth, **change})[0] == code)
    behind = {"template_secret": "s3", "device_number": "N2", "sub_device_addr": "9", "parent_device_number": "x"}
    expect("parent", ask(panel, "device/auth", behind)[0] == 200085)
    behind["parent_device_number"] = "M-0003"
    expect("behind", ask(panel, "device/auth", behind)[0] == 200)
    expect("address taken", ask(panel, "device/auth", {**behind, "device_number": "N3"})[0] == 200086)
    code, data = ask(panel, "device/gateway-register", {"gateway_id": "G1", "tenant_id": "t", "model": "concentrator"})
    expect("gateway-register", code == 200 and len(data["mqtt_username"]) == 22 and len(data["mqtt_password"]) == 7, data)
    body = {"type": "sub-register", "device_id": "G1", "registers": [{"sub_addr": "1", "model": "meter", "protocol": "x"}] * 2}
    code, data = ask(panel, "device/gateway-sub-register", body)
    expect("gateway-sub-register", data["status"] == "fail" and data["registersRes"]["1"]["errorcode"] == "exists", data)
    expect("health", post(panel, "/health", None, "GET") == (200, b"ok"))
    expect("systime", abs(ask(panel, "systime", None, method="GET")[1]["systime"] - time.time()) < 5)
    expect("metrics", b"ThingsPanel_" in post(panel, "/metrics", None, "GET")[1])
    expect("diagnostics", "stats" in ask(panel, "devices/x/diagnostics", None, method="GET")[1])
    expect("no such path", post(panel, "plugin/none", {})[0] == 404)
    call = {"device_id": panel.device_id("M-0001"), "identify": "relay", "value": '{"on":true}'}
    expect("users log in", post(panel, "command/datas/pub", call)[0] == 401)
    expect("with a key", ask(panel, "command/datas/pub", call, headers={"X-API-Key": "stub-key"})[0] == 200)


def http_faults(panel):
    beat = {"service_identifier": "meter"}
    for code in (100000, 100002, 101001, 102001, 105001, 201001, 201003, 200064, 200070, 40100):
        panel.fault("code", "heartbeat", 1, code=code)
        status, text = post(panel, "plugin/heartbeat", beat)
        expect(f"code {code}", status == 200 and json.loads(text)["code"] == code, text)
    expect("once", ask(panel, "plugin/heartbeat", beat)[0] == 200)
    panel.fault("status", times=1)
    expect("500", post(panel, "plugin/heartbeat", beat)[0] == 500)
    panel.fault("invalid", times=1)
    expect("invalid", not post(panel, "plugin/heartbeat", beat)[1].endswith(b"}"))
    panel.fault("big", times=1)
    expect("3 MB", len(post(panel, "plugin/heartbeat", beat)[1]) > 3 << 20)
    panel.fault("data", times=1, data=[1])
    expect("data", ask(panel, "plugin/heartbeat", beat) == (200, [1]))
    for mode in ("drop", "short"):
        panel.fault(mode, times=1)
        try:
            post(panel, "plugin/heartbeat", beat)
            expect(mode, False, "answered")
        except (OSError, http.client.HTTPException):
            expect(mode, True)
    panel.fault("slow", times=1, seconds=0.4)
    begin = time.monotonic()
    expect("slow", ask(panel, "plugin/heartbeat", beat)[0] == 200 and time.monotonic() - begin >= 0.4)
    threading.Thread(target=panel.restart, args=(0.4,)).start()
    expect("away", until(lambda: refused(panel)))
    expect("back", until(lambda: not refused(panel)) and ask(panel, "plugin/heartbeat", beat)[0] == 200)


def refused(panel):
    try:
        post(panel, "/health", None, "GET", seconds=1)
        return False
    except OSError:
        return True


def uplink(panel, plugin):
    a, b = panel.device_id("M-0001"), panel.device_id("M-0001-1")
    for number in (1, 2, 2, 5, 4):
        plugin.publish("devices/telemetry", wrap(a, {"seq": number, "power": 10}))
    plugin.publish("devices/telemetry", wrap(b, {"power": 11}))
    plugin.publish("devices/attributes/m1", wrap(a, {"interval": 10}))
    plugin.publish("devices/event/m2", wrap(b, {"method": "overload", "params": {"power": 1}}))
    plugin.publish("gateway/telemetry", wrap(a, {"gateway_data": {"g": 1}, "sub_device_data": {"2": {"g": 2}, "77": {"g": 3}},
                                                 "sub_gateway_data": None}))
    plugin.publish(f"devices/status/{a}", "1")
    bad = {"not_json": "x", "no_device_id": '{"values":"e30="}', "values": compact({"device_id": a, "values": {"a": 1}}),
           "base64": compact({"device_id": a, "values": "e30"}), "unknown_device": wrap("none", {"a": 1}),
           "values_json": wrap(a, b"x"), "values_object": wrap(a, [1])}
    for payload in bad.values():
        plugin.publish("devices/telemetry", payload)
    for topic in ("device/telemetry", "devices/telemetry/x", "devices/attributes", "devices/event/", "x"):
        plugin.publish(topic, wrap(a, {}))
    plugin.publish(f"devices/status/{a}", "online")
    plugin.publish("devices/event/m3", wrap(a, {"params": {}}))
    plugin.publish("devices/command/response/unknown", wrap(a, {"result": 0, "message": ""}), wait=5)
    until(lambda: panel.counts()["answers_unknown"] == 1)
    c = panel.counts()
    expect("frames", (c["frames"], c["doubled"], c["missing"], c["out_of_order"]) == (4, 1, 1, 1), c)
    expect("kinds", (c["telemetry"], c["attributes"], c["events"], c["status"], c["online"]) == (8, 1, 1, 1, 1), c)
    wanted = {**{k: 1 for k in bad}, "topic": 5, "status": 1, "event": 1, "answer": 1}
    expect("rejected", c["reasons"] == wanted, c["reasons"])
    expect("latest", panel.latest[b]["power"] == 11 and panel.latest[panel.device_id("M-0001-2")] == {"g": 2}, panel.latest)
    plugin.publish("devices/telemetry", wrap(a, {"seq": 9}), retain=True, wait=5)
    expect("retained is seen", panel.retained() == ["devices/telemetry"])
    plugin.publish("devices/telemetry", b"", retain=True, wait=5)


def downlink(panel, plugin, heard):
    a, b = panel.device_id("M-0001"), panel.device_id("M-0001-1")
    for name, row, by, nested, via, level, tree in (
            ("flat", "M-0001", "number", False, "own", "M-0001", lambda x: x),
            ("id", "M-0001", "id", False, "own", a, lambda x: x),
            ("gateway", "M-0001", "number", True, "own", "M-0001", lambda x: {"gateway_data": x}),
            ("behind", "M-0001-1", "number", True, "own", "M-0001-1", lambda x: {"sub_device_data": {"1": x}}),
            ("top", "M-0001-1", "id", True, "top", a, lambda x: {"sub_device_data": {"1": x}})):
        heard.clear()
        mid = panel.down("command", row, {"method": "relay", "params": {"on": True}}, by, nested, via)
        until(lambda: heard)
        wanted = [(f"plugin/meter/devices/command/{level}/{mid}", tree({"method": "relay", "params": {"on": True}}))]
        expect(f"command {name}", heard == wanted, heard)
        plugin.publish(f"devices/command/response/{mid}", wrap(b, {"result": name == "id", "message": "m", "ts": 1}))
        state = "4" if name == "id" else "3"
        expect(f"answer {name}", until(lambda: panel.logs[mid]["state"] == state), panel.logs[mid])
    heard.clear()
    mid = panel.down("set", "M-0001", {"interval": 5}, times=2)
    panel.down("get", "M-0001", {"keys": []})
    panel.down("control", "M-0001", {"switch": True})
    until(lambda: len(heard) == 4)
    base = "plugin/meter/devices/"
    wanted = [(base + f"attributes/set/M-0001/{mid}", {"interval": 5})] * 2 + [
        (base + "attributes/get/M-0001", {"keys": []}), (base + "telemetry/control/M-0001", {"switch": True})]
    expect("the others, doubled", heard == wanted, heard)
    for n in range(2):
        plugin.publish(f"devices/attributes/set/response/{mid}", wrap(a, {"result": 0, "message": "ok"}))
    until(lambda: panel.counts()["answers_doubled"] == 1)
    c = panel.counts()
    expect("counted", (c["acknowledged"], c["refused"], c["answers_doubled"]) == (5, 1, 1), c)


def broker_faults(panel, plugin):
    b = panel.device_id("M-0003")
    time.sleep(0.2)
    for number, mode in ((1, "restart"), (2, "freeze")):
        stop = threading.Thread(target=panel.broker_stop, args=(0.5, mode))
        stop.start()
        time.sleep(0.1)
        plugin.publish("devices/telemetry", wrap(b, {"seq": number}))
        stop.join()
    arrived = until(lambda: b in panel.sequences and len(panel.sequences[b].seen) == 2)
    expect("through both stops", arrived and panel.sequences[b].missing() == 0, panel.counts())
    expect("root has a password", Client("127.0.0.1", panel.mqtt_port, "y", "root", "x").start(0.5) is False)


def callbacks(panel):
    panel.services["meter"]["http_address"] = f"127.0.0.1:{serve(http.server.ThreadingHTTPServer, Callbacks)[1]}"
    expect("form", panel.form("VCR", "2")[1]["data"][0]["dataKey"] == "serial")
    expect("its path", Callbacks.heard[-1][1] == "/api/v1/form/config?protocol_type=meter&device_type=2&form_type=VCR")
    expect("forms", sorted(panel.forms()) == ["VCR/", "VCR/1", "VCR/2", "VCR/3"])
    panel.disconnect("M-0001")
    expect("disconnect", Callbacks.heard[-1] == ("POST", "/api/v1/device/disconnect", compact({"device_id": panel.device_id("M-0001")})))
    panel.change({"id": panel.device_id("M-0001-1"), "config": {"x": 1}})
    expect("its gateway is told", panel.device_id("M-0001") in Callbacks.heard[-1][2])
    panel.notify(access="ap1")
    message = json.loads(json.loads(Callbacks.heard[-1][2])["message"])
    expect("notification", message == {"service_access_id": "ap1"} and Callbacks.heard[-1][1] == "/api/v1/plugin/notification")
    panel.notify({"event_type": "x"}, path="/api/v1/notify/event")
    expect("the other path", Callbacks.heard[-1][1] == "/api/v1/notify/event")
    got = panel.discover('{"token":"t"}', 2, 5)
    expect("raw voucher", '?voucher={"token":"t"}&page_size=5&page=2' in Callbacks.heard[-1][1], Callbacks.heard[-1])
    expect("found", got[1]["data"]["list"][0]["description"] == '{"token":"t"}', got)


def simulated():
    server, port = serve(TcpServer, Access)
    said = []
    fleet = meters.Fleet(port, 5, 2, 50, 0.2, say=said.append)
    nobody = fleet.add("X-1")
    expect("all are in", until(lambda: fleet.counts()["inside"] >= 5))
    time.sleep(0.8)
    fleet.stop()
    expect("all is acknowledged", until(lambda: sum(len(m.kept) for m in fleet.meters[:5]) == 0), fleet.counts())
    counts, distinct = fleet.counts(), set(Access.seen)
    made = {m.serial: m.sequence for m in fleet.meters[:5]}
    expect("every frame arrives", all((s, n) in distinct for s, top in made.items() for n in range(1, top + 1)), counts)
    expect("sent again after a reconnect", counts["sent"] > counts["acknowledged"] and counts["closed"] > 0, counts)
    expect("commands", counts["commands"] > 5 and counts["commands_doubled"] > 0 and (0x84, b"\0\7\0") in Access.answers, counts)
    expect("heartbeats", counts["beats_answered"] > 0, counts)
    expect("refused", nobody.state != "in" and counts["refused"] > 0, counts)
    for kind in ("slow", "event"):
        fleet.fault("M-0001", kind)
    expect("events", until(lambda: sum(a[0] == 5 for a in Access.answers) == 2), [a for a in Access.answers if a[0] != 0x84])
    for kind in ("half", "cut", "zero", "garbage", "nobody", "same", "unknown"):
        fleet.fault("M-0001", kind)
    expect("in again", until(lambda: fleet.counts()["inside"] >= 5), fleet.counts())
    fleet.close()
    server.shutdown()


def as_program(mosquitto):
    """The command line: ready, a question over each way, the end."""
    command = [sys.executable, str(STUB), "--service", "m", "--meters", "2", "--sub-meters", "1", "--stdin", "--control", "0"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        ready = json.loads(child.stdout.readline())
        expect("ready", ready["event"] == "ready" and ready["devices"] == 4 and ready["prefix"] == "plugin/m/", ready)
        child.stdin.write('{"do":"counts","id":7}\n{"do":"none"}\n')
        answers = [json.loads(child.stdout.readline()) for n in range(2)]
        expect("answers", answers[0]["ok"] and answers[0]["id"] == 7 and answers[0]["known"] == 4 and not answers[1]["ok"], answers)
        done = subprocess.run([sys.executable, str(STUB), "--ask", str(ready["control"]), '{"do":"device","device":"M-0002-1"}'],
                              capture_output=True, text=True, timeout=20)
        expect("over TCP", done.returncode == 0 and json.loads(done.stdout)["device"]["sub_device_addr"] == "1", done)
        child.send_signal(signal.SIGTERM)
        end = json.loads(child.stdout.readline())
        expect("the end", end["event"] == "end" and child.wait(10) == 0, end)
    finally:
        child.kill()


def main():
    begin = time.monotonic()
    os.environ["PATH"] = f"{pathlib.Path(sys.argv[2]).parent}:{os.environ.get('PATH', '')}" if len(sys.argv) > 2 else os.environ["PATH"]
    rows = generate("meter", 3, 2)
    rows["templates"].update(one={"device_type": 1, "protocol_type": "meter", "secret": "s1", "auto_register": 1},
                             two={"device_type": 1, "secret": "s2", "auto_register": 0},
                             three={"device_type": 3, "secret": "s3", "auto_register": 1})
    rows["devices"] += [{"id": stable_id(f"S-{n}"), "device_number": f"S-{n}", "template": "one",
                         "access": "ap1" if n == 1 else None, "active": n < 4} for n in range(1, 5)]
    rows["access_points"] = [{"id": "ap1", "service_identifier": "meter", "voucher": {"token": "t"}}]
    service = {"http_address": "127.0.0.1:1", "sub_topic_prefix": "plugin/meter/"}
    panel = Panel({"meter": service}, rows, mosquitto=find("mosquitto"))
    heard = []
    plugin = Client("127.0.0.1", panel.mqtt_port, "service", "plugin", "plugin",
                    on_message=lambda topic, payload, *flags: heard.append((topic, json.loads(payload))))
    try:
        expect("plugin may connect", plugin.start())
        expect("subscribe", plugin.subscribe(["plugin/meter/#"]) == [1])
        endpoints(panel)
        registration(panel)
        http_faults(panel)
        uplink(panel, plugin)
        downlink(panel, plugin, heard)
        broker_faults(panel, plugin)
        callbacks(panel)
    finally:
        plugin.close()
        panel.close()
    simulated()
    as_program(sys.argv[2] if len(sys.argv) > 2 else None)
    print("\n".join(faults))
    print(f"tk: contract-thingspanel-stub passed={passed[0]} failed={len(faults)} skipped=0 seconds={int(time.monotonic() - begin)}")
    sys.exit(1 if faults else 0)


main()
