#!/usr/bin/python3
"""usage: thingspanel_platform.py BUILD_DIR MOSQUITTO

ThingsPanel services at a platform of ours: contract thingspanel.md sections 2 and 3.1 to 3.3 from the service's side,
with Python's standard library and paho alone.
"""
import base64
import http.client
import http.server
import json
import pathlib
import queue
import socket
import subprocess
import threading
import time
import urllib.parse

import kit

CONFIG = """
core:
  secret_key: {{secret_file: {dir}/secret.key}}
  token_key: {{secret_file: {dir}/token.key}}
entity_store: {{type: sqlite, dir: {dir}/store}}
adapters:
  mqtt: {{type: mqtt, url: "mqtt://127.0.0.1:{broker}", user: platform, password: platform-password, client_id: platform,
          dialects: [thingspanel], presence: false, retry_min: 20ms, retry_max: 200ms}}
  http: {{type: http, listen: ["http://127.0.0.1:{http}"]}}
  client: {{type: http_client}}
  panel: {{type: thingspanel_platform, call_timeout: 2s}}
entities:
  - {{kind: service_user, key: platform, password: platform-password}}
  - {{kind: service_user, key: plugin, password: plugin}}
  - {{kind: service, key: METER, http_address: "127.0.0.1:{service}", sub_topic_prefix: plugin/meter/}}
  - {{kind: service, key: CLOUD, type: 2, http_address: "127.0.0.1:{service}"}}
  - {{kind: access_point, key: ap-1, service: CLOUD, name: account, voucher: '{{"token":"a b&c"}}'}}
  - kind: product
    key: meter
    protocol: METER
    codec: thingspanel
    protocol_config: {{interval: 60}}
    secret: template-secret
    auto_register: true
    model: {{properties: [{{id: energy, type: double}}, {{id: mode, type: text, length: 20, access: rw}}],
            services: [{{id: relay, input: [{{id: "on", type: bool}}]}}], events: [{{id: alarm}}]}}
  - {{kind: product, key: hub, type: gateway, protocol: METER, codec: thingspanel, model: {{services: [{{id: relay}}]}}}}
  - {{kind: product, key: cloud, protocol: CLOUD, codec: thingspanel, model: {{}}}}
  - {{kind: device, key: m-1, product: meter, credentials: {{voucher: '{{"reg_pkg":"M-1"}}'}}, protocol_config: {{unit: 3}}}}
  - {{kind: device, key: hub-1, product: hub}}
  - {{kind: device, key: s-1, product: meter, gateway: hub-1, address: "1"}}
  - {{kind: device, key: c-1, product: cloud, access_point: ap-1}}
"""


class Platform(kit.Console):
    def __init__(self, place, **ports):
        config = place.dir / "panel.yaml"
        config.write_text(CONFIG.format(dir=place.dir, **ports))
        self.http, self.ended, self.lines = ports["http"], queue.Queue(), queue.Queue()
        self.log = open(place.dir / "platform.log", "a")
        kit.Process.__init__(self, place.console, config, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                             text=True, bufsize=1)
        threading.Thread(target=self.read, daemon=True).start()
        ready = self.lines.get(timeout=30)
        if ready != "ready":
            raise SystemExit("the platform does not start: " + ready + (place.dir / "platform.log").read_text()[-1000:])

    def post(self, path, body, raw=False):
        c = http.client.HTTPConnection("127.0.0.1", self.http, timeout=kit.WAIT)
        c.request("POST", path, body if raw else json.dumps(body), {"Content-Type": "application/json"})
        got = c.getresponse()
        text = got.read()
        c.close()
        return got.status, json.loads(text) if text else None

    def code(self, path, body, raw=False):
        status, got = self.post(path, body, raw)
        return (status, got["code"])


class Service(http.server.ThreadingHTTPServer):
    """What is called back: each call is noted, `status` is what it is answered with."""

    def __init__(self):
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path, _, query = self.path.partition("?")
                service.calls.append((self.command, path, json.loads(body) if body else dict(urllib.parse.parse_qsl(query, True))))
                status = service.status.pop(path, 200)
                answer = {"code": 200, "message": "success", "data": service.data.get(path)}
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = answer

            def log_message(self, *more):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.calls, self.status, self.data = [], {}, {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()

    def called(self, path, body, seconds=kit.WAIT):
        def take():
            for i, call in enumerate(self.calls):
                if call[1:] == (path, body):
                    del self.calls[i]
                    return True
            return False
        return kit.wait_until(take, seconds)


def endpoints(p, r):
    ok = (200, 200)
    r.expect("heartbeat", p.post("/api/v1/plugin/heartbeat", {"service_identifier": "METER"}) ==
             (200, {"code": 200, "message": "Success", "data": {}}))
    r.expect("unknown service", p.code("/api/v1/plugin/heartbeat", {"service_identifier": "X"}) == (200, 101001))
    config = "/api/v1/plugin/device/config"
    wanted = {"id": "m-1", "voucher": '{"reg_pkg":"M-1"}', "device_type": "1", "protocol_type": "METER", "device_number": "m-1",
              "config": {"unit": 3}, "protocol_config_template": {"interval": 60}, "sub_devices": None}
    r.expect("config", p.post(config, {"device_id": "m-1"})[1].get("data") == wanted, p.post(config, {"device_id": "m-1"}))
    r.expect("by voucher", p.post(config, {"voucher": '{"reg_pkg":"M-1"}', "device_number": "hub-1"})[1].get("data") == wanted)
    r.expect("limited", p.code(config, {"voucher": '{"reg_pkg":"M-1"}'}) == (200, 201003))
    hub = p.post(config, {"device_number": "hub-1"})[1]["data"]
    r.expect("sub-devices", [(s["device_id"], s["sub_device_addr"], s["protocol_config_template"]) for s in hub["sub_devices"]] ==
             [("s-1", "1", {"interval": 60})] and hub["device_type"] == "2", hub)
    for body in ["", "{", "[]", "null", '{"device_id":""}', json.dumps({"device_id": "x" * 37}), '{"device_id":1}']:
        r.expect(f"parameter {body[:20]}", p.code(config, body, True) == (200, 100002), p.code(config, body, True))
    r.expect("unknown device", p.code(config, {"device_id": "nobody"}) == (200, 101001))
    page = p.post("/api/v1/plugin/devices", {"service_identifier": "METER", "device_type": "1", "page": 1, "page_size": 10})[1]["data"]
    r.expect("devices", page["total"] == 1 and [d["id"] for d in page["list"]] == ["m-1"], page)
    r.expect("no page", p.code("/api/v1/plugin/devices", {"service_identifier": "METER"}) == (200, 100002))
    points = p.post("/api/v1/plugin/service/access/list", {"service_identifier": "CLOUD"})[1]["data"]
    r.expect("access points", [(a["id"], a["voucher"], [d["id"] for d in a["devices"]]) for a in points] ==
             [("ap-1", '{"token":"a b&c"}', ["c-1"])], points)
    point = p.post("/api/v1/plugin/service/access", {"service_access_id": "ap-1"})[1]["data"]
    r.expect("access point", point == points[0] and point["service_identifier"] == "CLOUD", point)
    auth = "/api/v1/device/auth"
    made = p.post(auth, {"template_secret": "template-secret", "device_number": "new-1"})[1]
    r.expect("registration", made["code"] == 200 and made["data"]["device_id"] == "new-1", made)
    r.expect("its voucher", p.post(config, {"voucher": made["data"]["voucher"]})[1]["data"]["id"] == "new-1")
    r.expect("again", p.code(auth, {"template_secret": "template-secret", "device_number": "new-1"}) == (200, 200082))
    r.expect("wrong secret", p.code(auth, {"template_secret": "x", "device_number": "new-2"}) == (200, 200080))
    c = http.client.HTTPConnection("127.0.0.1", p.http, timeout=kit.WAIT)
    c.request("GET", "/api/v1/systime")
    r.expect("systime", abs(json.loads(c.getresponse().read())["data"]["systime"] - time.time()) < 5)
    c.request("GET", "/health")
    got = c.getresponse()
    r.expect("health", got.status == 200 and got.read())
    c.request("GET", "/metrics")
    got = c.getresponse()
    text = got.read().decode()
    r.expect("metrics", got.status == 200 and 'service_alive{instance="panel",service="METER"} 1' in text, text[:200])
    c.request("GET", "/api/v1/devices/m-1/diagnostics")
    r.expect("diagnostics", json.loads(c.getresponse().read())["data"]["device_id"] == "m-1")
    r.expect("gateway-register is off", p.code("/api/v1/device/gateway-register", {"gateway_id": "g", "model": "hub"}) == (200, 201001))
    c.close()
    return ok


def wrapped(key, payload, how="base64"):
    text = json.dumps(payload).encode()
    values = {"base64": base64.b64encode(text).decode(), "object": payload, "numbers": list(text)}[how]
    return json.dumps({"device_id": key, "values": values}).encode()


def mqtt(port, p, r, keep):
    """Section 2: as user plugin, wrapped on devices/.., down under the prefix, flat, by mid."""
    c = keep(kit.Client(port, "service-1", "plugin", "plugin"))
    r.expect("user plugin", c.code == 0)
    c.subscribe("plugin/meter/#", "gateway/#")
    c.publish("devices/status/m-1", b"1")
    r.expect("online", p.becomes("online m-1", "1"))
    for n, how in enumerate(["base64", "object", "numbers"]):
        c.publish("devices/telemetry", wrapped("m-1", {"energy": 20.5 + n}, how))
        r.expect(f"values as {how}", p.becomes("latest m-1 energy", str(20.5 + n)), p.ask("latest m-1 energy"))
    c.publish("devices/telemetry", wrapped("s-1", {"energy": 7.5}))
    r.expect("a sub-device by its own id", p.becomes("latest s-1 energy", "7.5"))
    c.publish("devices/attributes/0000001", wrapped("m-1", {"mode": "eco"}))
    r.expect("attributes", p.becomes("latest m-1 mode", '"eco"'))
    for key in ["m-1", "s-1"]:
        p.must(f'command {key} relay {{"on":true}}')
        found = kit.wait_until(lambda: any(m[0].startswith(f"plugin/meter/devices/command/{key}/") for m in c.heard))
        topic, payload = next(((m[0], m[1]) for m in c.heard if f"/command/{key}/" in m[0]), ("", b"{}"))
        r.expect(f"command of {key}", found and json.loads(payload) == {"method": "relay", "params": {"on": True}}, c.heard)
        c.publish("devices/command/response/" + topic.rsplit("/", 1)[-1], wrapped(key, {"result": 0, "message": "success"}))
        r.expect(f"answer of {key}", p.ended.get(timeout=kit.WAIT).startswith("ended 3"))
    p.must('command m-1 set {"mode":"boost"}')
    found = kit.wait_until(lambda: any(m[0].startswith("plugin/meter/devices/attributes/set/m-1/") for m in c.heard))
    topic, payload = next(((m[0], m[1]) for m in c.heard if "/attributes/set/m-1/" in m[0]), ("", b"{}"))
    r.expect("attribute set", found and json.loads(payload) == {"mode": "boost"}, c.heard)
    c.publish("devices/attributes/set/response/" + topic.rsplit("/", 1)[-1], wrapped("m-1", {"result": 1, "message": "no", "errcode": "7"}))
    r.expect("refused", p.ended.get(timeout=kit.WAIT).startswith("ended 4"))
    r.expect("nothing on gateway/", not any(m[0].startswith("gateway/") for m in c.heard), c.heard)
    c.publish("devices/status/m-1", b"0")
    r.expect("offline", p.becomes("online m-1", "0"))


def told(p, service, r):
    drop, note = "/api/v1/device/disconnect", "/api/v1/plugin/notification"
    r.expect("nothing at the start", service.calls == [], service.calls)
    p.must('put device {"key":"m-1","product":"meter","protocol_config":{"unit":4}}')
    r.expect("disconnect", service.called(drop, {"device_id": "m-1"}), service.calls)
    p.must('put device {"key":"s-2","product":"meter","gateway":"hub-1","address":"2"}')
    r.expect("of the gateway", service.called(drop, {"device_id": "hub-1"}), service.calls)
    p.must("delete device s-2")
    r.expect("deleted", service.called(drop, {"device_id": "s-2"}) and service.called(drop, {"device_id": "hub-1"}), service.calls)
    p.must('put product {"key":"hub","type":"gateway","protocol":"METER","codec":"thingspanel","model":{},"protocol_config":{"a":1}}')
    r.expect("template", service.called(drop, {"device_id": "hub-1"}), service.calls)
    body = {"message_type": "1", "message": '{"service_access_id":"ap-1"}'}
    service.status[note] = 500
    p.must('put access_point {"key":"ap-1","service":"CLOUD","name":"other"}')
    r.expect("notification", service.called(note, body), service.calls)
    r.expect("again after 500", service.called(note, body), service.calls)
    service.status[note] = 404
    p.must('put access_point {"key":"ap-1","service":"CLOUD","name":"third"}')
    r.expect("older services", service.called(note, body) and service.called("/api/v1/notify/event", body), service.calls)
    r.expect("nothing else", service.calls == [], service.calls)


def asked(p, service, r):
    """Forms and found devices: all three members in the query, the voucher as it is."""
    form = [{"dataKey": "reg_pkg", "label": "Packet", "type": "input", "validate": {"required": True, "type": "string"}}]
    service.data = {"/api/v1/form/config": form, "/api/v1/plugin/device/list": {"total": 1, "list": [{"device_number": "n"}]}}
    r.expect("form", p.ask("form METER 1 VCR") == "200 " + json.dumps(form, separators=(",", ":")))
    r.expect("its query", service.called("/api/v1/form/config", {"protocol_type": "METER", "device_type": "1", "form_type": "VCR"}), service.calls)
    p.ask("form CLOUD - SVCR")
    r.expect("without a device type", service.called("/api/v1/form/config", {"protocol_type": "CLOUD", "device_type": "", "form_type": "SVCR"}), service.calls)
    r.expect("found devices", p.ask("found ap-1 1 10") == '200 {"total":1,"list":[{"device_number":"n"}]}')
    r.expect("its voucher", service.called("/api/v1/plugin/device/list", {"voucher": '{"token":"a b&c"}', "page": "1", "page_size": "10"}), service.calls)
    service.status["/api/v1/form/config"] = 500
    r.expect("a failure", p.ask("form METER 1 CFG") == "200069 ")
    r.expect("nobody", p.ask("form NOBODY 1 CFG") == "101001 ")
    service.calls.clear()


def oddities(p, r):
    """What is no HTTP, or not for us, does no harm."""
    for text in [b"POST /api/v1/plugin/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
                 b"GET /api/v1/plugin/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"]:
        with socket.create_connection(("127.0.0.1", p.http), timeout=5) as s:
            s.sendall(text)
            s.shutdown(socket.SHUT_WR)
            got = s.recv(100)
            r.expect(f"refused {text[:30]}", got == b"" or b" 4" in got[:13], got)
    r.expect("too long", p.post("/api/v1/plugin/heartbeat", "x" * 70000, True)[0] == 413)
    r.expect("still served", p.code("/api/v1/plugin/heartbeat", {"service_identifier": "METER"}) == (200, 200))


def main(place, r, keep):
    service = keep(Service())
    sample = pathlib.Path(__file__).resolve().parents[2] / "examples/platform/services.yaml"
    got = subprocess.run([place.tool.parents[1] / "platform/tp-platform", "--check", sample], cwd=place.dir, capture_output=True, text=True)
    r.expect("the sample", got.returncode == 0, got.stderr)
    broker = keep(kit.Broker(place))
    p = keep(Platform(place, broker=broker.port, http=kit.free_port(), service=service.server_port))
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "plugin", "plugin") == 0)
    r.expect("the platform is in", kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text()))
    endpoints(p, r)
    told(p, service, r)
    asked(p, service, r)
    mqtt(broker.port, p, r, keep)
    oddities(p, r)
    p.stop()
    log = (place.dir / "platform.log").read_text(errors="replace")
    r.expect("no secret in the log", not any(word in log for word in ("template-secret", "a b&c", "reg_pkg")))


if __name__ == "__main__":
    kit.run("contract-thingspanel-platform", main)
