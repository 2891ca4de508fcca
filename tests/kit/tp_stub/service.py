#!/usr/bin/python3
"""A connectivity service in plain Python: the meter protocol of meter.py on one side, the ThingsPanel contract on the
other. It is what a platform is tested with that serves such services, and what the stand-in's own tests run against.
Its publishes live in memory: a restart of it loses those that the broker has not acknowledged."""
import argparse
import base64
import http.client
import http.server
import json
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.parse
import uuid

import meter
from directory import compact
from mqtt_client import Client

FORMS = {
    "VCR": [{"dataKey": "serial", "label": "Serial number", "placeholder": "M-0001", "type": "input",
             "validate": {"required": True, "type": "string", "message": "needed"}}],
    "CFG": [{"dataKey": "interval", "label": "Interval in s", "type": "input", "validate": {"required": False, "type": "number"}}],
    "VCRT": {"Serial number": "SERIAL"}, "SVCR": None}


class Device:
    def __init__(self, row):
        self.id, self.number, self.config = row["id"], row["device_number"], row["config"]
        self.behind = {s["sub_device_addr"]: s for s in row["sub_devices"] or []}
        self.connection, self.lock = None, threading.Lock()


class Service:
    def __init__(self, api, mqtt, identifier, prefix=None, http_port=0, tcp_port=0, heartbeat=30.0):
        self.api, self.identifier, self.prefix = api, identifier, prefix or f"plugin/{identifier}/"
        self.by_id, self.by_voucher, self.open, self.done, self.number = {}, {}, {}, {}, 0
        self.lock, self.ended = threading.RLock(), threading.Event()
        self.http = self.serve(http.server.ThreadingHTTPServer, Callbacks, http_port)
        self.tcp = self.serve(Access, Connection, tcp_port)
        host, port = mqtt.rsplit(":", 1)
        self.client = Client(host, int(port), "service-" + uuid.uuid4().hex[:8], "plugin", "plugin", on_message=self.heard)
        self.client.start(0.5)
        self.client.subscribe([self.prefix + "#"])
        threading.Thread(target=self.beat, args=(heartbeat,), daemon=True).start()

    def serve(self, kind, handler, port):
        server = kind(("127.0.0.1", port), handler)
        server.service, server.daemon_threads = self, True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def call(self, path, body):
        """The data, or None."""
        connection = http.client.HTTPConnection(self.api, timeout=3)
        try:
            connection.request("POST", "/api/v1/plugin/" + path, compact(body), {"Content-Type": "application/json"})
            got = json.loads(connection.getresponse().read(1 << 20))
            return got.get("data") if got["code"] == 200 else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def beat(self, period):
        while True:
            self.call("heartbeat", {"service_identifier": self.identifier})
            if self.ended.wait(period):
                return

    def device(self, voucher):
        with self.lock:
            known = self.by_voucher.get(voucher)
        if known:
            return known
        row = self.call("device/config", {"voucher": voucher})
        if not isinstance(row, dict):
            return None
        device = Device(row)
        with self.lock:
            self.by_voucher[voucher], self.by_id[device.id] = device, device
        return device

    def forget(self, device_id):
        with self.lock:
            device = self.by_id.pop(device_id, None)
            for voucher in [v for v, d in self.by_voucher.items() if d is device]:
                del self.by_voucher[voucher]
        if device and device.connection:
            device.connection.shutdown(socket.SHUT_RDWR)

    def publish(self, topic, device_id, body):
        values = base64.b64encode(compact(body).encode()).decode()
        self.client.publish(topic, compact({"device_id": device_id, "values": values}))

    def status(self, device, online):
        for row_id in [device.id] + [s["device_id"] for s in device.behind.values()]:
            self.client.publish(f"devices/status/{row_id}", str(online))

    def readings(self, device, body):
        sequence, n = struct.unpack(">IB", body[:5])
        for at in range(5, 5 + 9 * n, 9):
            address, energy, power, voltage = struct.unpack(">BIHH", body[at:at + 9])
            values = {"energy_kwh": energy / 1000, "power": power, "voltage": voltage / 10}
            values.update({"seq": sequence} if address == 0 else {})
            row_id = device.id if address == 0 else device.behind.get(str(address), {}).get("device_id")
            if row_id:
                self.publish("devices/telemetry", row_id, values)

    def event(self, device, body):
        row_id = device.id if body[0] == 0 else device.behind.get(str(body[0]), {}).get("device_id")
        said = {1: {"method": "cover_opened", "params": {}}}.get(body[1])
        if body[1] == 2:
            said = {"method": "overload", "params": {"power": struct.unpack(">H", body[2:4])[0]}}
        if row_id and said:
            self.publish(f"devices/event/{uuid.uuid4().hex[:8]}", row_id, said)

    def find(self, name):
        """(device, address, id) by id or number."""
        with self.lock:
            for device in self.by_id.values():
                if name in (device.id, device.number):
                    return device, 0, device.id
                for address, row in device.behind.items():
                    if name in (row["device_id"], row["device_number"]):
                        return device, int(address), row["device_id"]
        return None, 0, name

    def heard(self, topic, payload, *flags):
        levels = topic.removeprefix(self.prefix).split("/")
        if len(levels) < 4 or "" in levels or levels[0] != "devices":
            return
        command, to_set = levels[1] == "command" and len(levels) == 4, levels[1:3] == ["attributes", "set"] and len(levels) == 5
        if not command and not to_set:
            return
        mid, (device, address, row_id) = levels[-1], self.find(levels[-2])
        answer = f"devices/command/response/{mid}" if command else f"devices/attributes/set/response/{mid}"
        if mid in self.done:
            return
        self.done[mid] = True
        try:
            body = json.loads(payload)
            if isinstance(body.get("gateway_data"), dict):
                body = body["gateway_data"]
            elif isinstance(body.get("sub_device_data"), dict):
                name, body = next(iter(body["sub_device_data"].items()))
                address, row_id = int(name), device.behind[name]["device_id"]
            method, params = (body["method"], body.get("params")) if command else ("interval", {"seconds": body["interval"]})
            what, value = {"relay": (1, "on"), "interval": (2, "seconds")}[method]
            value = int(params[value])
            with self.lock:
                self.number = self.number % 65535 + 1
                self.open[self.number] = (answer, row_id, method)
                number = self.number
            device.connection.sendall(meter.frame(meter.SET, struct.pack(">HBBH", number, address, what, value)))
        except (KeyError, ValueError, TypeError, AttributeError, OSError, struct.error, RecursionError) as reason:
            self.answer(answer, row_id, "", type(reason).__name__)

    def answer(self, topic, row_id, method, fault=""):
        self.publish(topic, row_id, {"result": 1 if fault else 0, "errcode": "1" if fault else "", "message": fault or "success",
                                     "ts": int(time.time()), "method": method})

    def close(self):
        self.ended.set()
        self.http.shutdown()
        self.tcp.shutdown()
        self.client.close()


class Access(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 256


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        self.service, self.device, held = self.server.service, None, bytearray()
        self.request.settimeout(60)
        try:
            while True:
                more = self.request.recv(65536)
                held += more
                while more:
                    got = meter.take(held)
                    if got is None:
                        break
                    del held[:got[2]]
                    if not self.take(got[0], got[1]):
                        return
                if not more or len(held) > 4096:
                    return
        except (OSError, ValueError, struct.error):
            pass
        finally:
            if self.device and self.device.connection is self.request:
                self.device.connection = None
                self.service.status(self.device, 0)

    def take(self, kind, body):
        if self.device is None:
            device = self.service.device(compact({"serial": body.decode("ascii", "replace")})) if kind == meter.LOGIN else None
            self.request.sendall(meter.frame(0x81, b"\0" if device else b"\1"))
            if not device:
                return False
            self.device, older, device.connection = device, device.connection, self.request
            if older:
                older.shutdown(socket.SHUT_RDWR)
            self.service.status(device, 1)
        elif kind == meter.BEAT:
            self.request.sendall(meter.frame(0x82))
        elif kind == meter.READINGS:
            self.service.readings(self.device, body)
            self.request.sendall(meter.frame(0x83, body[:4]))
        elif kind == meter.EVENT:
            self.service.event(self.device, body)
        elif kind == meter.SET | 128:
            number, result = struct.unpack(">HB", body)
            told = self.service.open.pop(number, None)
            if told:
                self.service.answer(*told, "refused by the device" if result else "")
        return True


class Callbacks(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        query, path, data, code = urllib.parse.parse_qs(url.query), url.path.removeprefix("/api/v1/"), None, 200
        if path == "form/config":
            data = FORMS.get(query.get("form_type", [""])[0])
            data = data if query.get("device_type", [""])[0] != "3" else None
        elif path == "plugin/device/list":
            data = {"total": 0, "list": []}
        elif path == "device/disconnect":
            try:
                self.server.service.forget(json.loads(body)["device_id"])
            except (ValueError, KeyError, TypeError, RecursionError):
                code = 400
        elif path not in ("plugin/notification", "notify/event", "/health"):
            code = 404
        text = compact({"code": code, "message": "success" if code == 200 else "error", "data": data}).encode()
        self.send_response(404 if code == 404 else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer


def main():
    p = argparse.ArgumentParser(prog="service.py", description=__doc__)
    p.add_argument("--api", required=True, metavar="HOST:PORT")
    p.add_argument("--mqtt", required=True, metavar="HOST:PORT")
    p.add_argument("--identifier", default="meter")
    p.add_argument("--prefix")
    p.add_argument("--http-port", type=int, default=0)
    p.add_argument("--tcp-port", type=int, default=0)
    p.add_argument("--heartbeat", type=float, default=30.0)
    o = p.parse_args()
    service = Service(o.api, o.mqtt, o.identifier, o.prefix, o.http_port, o.tcp_port, o.heartbeat)
    print(json.dumps({"event": "ready", "http": service.http.server_address[1], "tcp": service.tcp.server_address[1]}), flush=True)
    try:
        for line in sys.stdin:  # its end ends the service
            pass
    except KeyboardInterrupt:
        pass
    service.close()


if __name__ == "__main__":
    main()
