"""The stand-in's HTTP side: what the platform offers services and devices (contract 3.2), and the few calls of
users that send something down (3.4). HTTP status 200 even for errors; faults are asked for by name."""
import http.server
import json
import re
import socket
import threading
import time
import urllib.parse
import uuid

from directory import Fault

MESSAGES = {200: "Success", 100000: "internal error", 100002: "parameter error", 101001: "database error",
            201003: "too many requests", 40100: "not logged in", 40103: "API key not valid", 200080: "template secret",
            200081: "auto registration is off", 200082: "device exists", 200084: "sub address or parent missing",
            200085: "parent unknown", 200086: "sub address is taken"}
BIG = 3 * 1024 * 1024


class Server(http.server.ThreadingHTTPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 512

    def __init__(self, address, handler, panel):
        self.panel, self.live, self.live_lock = panel, set(), threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request, client_address):
        with self.live_lock:
            self.live.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self.live_lock:
            self.live.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # a client that went away

    def cut(self):
        """Ends every connection, as a restart does."""
        with self.live_lock:
            for request in list(self.live):
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, timeout, server_version = "HTTP/1.1", 60, "panel"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.answer("GET")

    def do_POST(self):
        self.answer("POST")

    def raw(self, status, body, kind="application/json; charset=utf-8", length=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, method):
        panel, url = self.server.panel, urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        name = url.path.removeprefix("/api/v1/").removeprefix("plugin/").strip("/")
        panel.count_call(name, {"method": method, "path": self.path, "body": body.decode(errors="replace")})
        fault = panel.fault_for(name)
        if fault and fault["mode"] == "slow":
            time.sleep(fault.get("seconds", 5))
        elif fault and self.misbehave(fault):
            return
        found = route(method, url.path)
        if found is None:
            self.raw(404, b"404 page not found", "text/plain")
            return
        self.run(found, url, body, fault if fault and fault["mode"] == "big" else None)

    def run(self, found, url, body, fault):
        panel, (call, arguments) = self.server.panel, found
        status, out = 200, {"code": 200, "message": MESSAGES[200]}
        try:
            value = parse(body)
            value.update({k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()})
            key = self.headers.get("X-API-Key") or self.headers.get("x-token")
            data = call(panel, value, *arguments) if call not in USER_CALLS else call(panel, value, key)
            if isinstance(data, bytes):
                self.raw(200, data, "text/plain")
                return
            if data is not None:
                out["data"] = data
        except Fault as reason:
            status = 401 if reason.code // 100 == 401 or 40100 <= reason.code < 40200 else 200
            out = {"code": reason.code, "message": reason.message or MESSAGES.get(reason.code, "error")}
            if reason.data is not None:
                out["data"] = reason.data
        if fault:
            out["padding"] = "x" * fault.get("bytes", BIG)
        self.raw(status, json.dumps(out).encode())

    def misbehave(self, fault):
        mode = fault["mode"]
        if mode == "status":
            self.raw(fault.get("status", 500), b'{"code":500,"message":"Internal Server Error"}')
        elif mode == "code":
            code = fault.get("code", 100000)
            out = {"code": code, "message": fault.get("message", MESSAGES.get(code, "error"))}
            out.update({"data": fault["data"]} if "data" in fault else {})
            self.raw(200, json.dumps(out).encode())
        elif mode == "data":
            self.raw(200, json.dumps({"code": 200, "message": "Success", "data": fault.get("data")}).encode())
        elif mode == "raw":
            self.raw(200, fault.get("text", "").encode())
        elif mode == "invalid":
            self.raw(200, b'{"code":200,"message":"Success","data":{"id":')
        elif mode == "html":
            self.raw(200, b"<html><body>Bad Gateway</body></html>", "text/html")
        elif mode == "short":
            self.raw(200, b'{"code":200,', length=4000)
            self.close_connection = True
        elif mode == "drop":
            self.close_connection = True
        else:
            return False
        return True


def parse(body):
    if not body:
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Fault(100002, "parameter error: not JSON") from None
    if not isinstance(value, dict):
        raise Fault(100002, "parameter error: no object")
    return value


def text(value, name, longest=255, needed=False):
    got = value.get(name)
    if got is None or got == "":
        if needed:
            raise Fault(100002, f"parameter error: {name} is required")
        return ""
    if not isinstance(got, str) or len(got) > longest:
        raise Fault(100002, f"parameter error: {name}")
    return got


def heartbeat(panel, value):
    identifier = text(value, "service_identifier", needed=True)
    if identifier not in panel.services:
        raise Fault(101001, "record not found", {"sql_error": "record not found"})
    panel.beat(identifier)
    return {}


def device_config(panel, value):
    by = [("id", text(value, "device_id", 36)), ("voucher", text(value, "voucher")), ("number", text(value, "device_number"))]
    given = [pair for pair in by if pair[1]]
    if not given:
        raise Fault(100002, "one of device_id, voucher, device_number is required")
    kind, name = given[0]
    if kind != "id" and not panel.may_ask(kind + " " + name):
        raise Fault(201003, "too many requests")
    with panel.lock:
        d = panel.directory
        row = {"id": d.devices, "voucher": d.by_voucher, "number": d.by_number}[kind].get(name)
        if row is None:
            raise Fault(101001, "record not found", {"sql_error": "record not found"})
        return d.config(row)


def devices(panel, value):
    identifier, kind = text(value, "service_identifier", needed=True), str(value.get("device_type", ""))
    page, size = value.get("page"), value.get("page_size")
    if not isinstance(page, int) or not isinstance(size, int) or page < 1 or not 1 <= size <= 1000:
        raise Fault(100002, "page and page_size are required")
    if kind != "1":
        return {"total": 0, "list": None}
    with panel.lock:
        d = panel.directory
        rows = [r for r in d.devices.values() if r["active"] and d.type_of(r) == "1" and
                (d.templates.get(r["template"]) or {}).get("protocol_type") == identifier]
        return {"total": len(rows), "list": [d.config(r) for r in rows[(page - 1) * size:page * size]] or None}


def access_list(panel, value):
    identifier = text(value, "service_identifier", needed=True)
    if identifier not in panel.services:
        raise Fault(101001, "record not found", {"sql_error": "record not found"})
    with panel.lock:
        points = panel.directory.access_points.values()
        return [panel.directory.access(p) for p in points if p.get("service_identifier", identifier) == identifier]


def access_one(panel, value):
    name = text(value, "service_access_id", needed=True)
    with panel.lock:
        if name not in panel.directory.access_points:
            raise Fault(101001, "record not found", {"sql_error": "record not found"})
        return panel.directory.access(panel.directory.access_points[name])


def device_auth(panel, value):
    secret, number = text(value, "template_secret", needed=True), text(value, "device_number", needed=True)
    with panel.lock:
        d = panel.directory
        name = next((n for n, t in d.templates.items() if t.get("secret") == secret), None)
        if name is None:
            raise Fault(200080, "")
        if not d.templates[name].get("auto_register"):
            raise Fault(200081, "")
        if number in d.by_number:
            raise Fault(200082, "")
        row = {"id": str(uuid.uuid4()), "device_number": number, "name": value.get("device_name") or f"Device_{number}",
               "template": name, "voucher": {"voucher": str(uuid.uuid4())}}
        if str(d.templates[name].get("device_type")) == "3":
            address, parent = text(value, "sub_device_addr"), text(value, "parent_device_number")
            if not address or not parent:
                raise Fault(200084, "")
            if parent not in d.by_number:
                raise Fault(200085, "")
            row.update(parent=d.by_number[parent]["id"], sub_device_addr=address)
            if any(c["sub_device_addr"] == address for c in d.children(d.by_number[parent])):
                raise Fault(200086, "")
        row = d.put(row)
        return {"device_id": row["id"], "voucher": row["voucher"]}


def gateway_register(panel, value):
    number, model = text(value, "gateway_id", needed=True), text(value, "model", needed=True)
    with panel.lock:
        d = panel.directory
        if model not in d.templates:
            raise Fault(101001, "record not found", {"sql_error": "record not found"})
        row = d.by_number.get(number) or d.put({
            "id": str(uuid.uuid4()), "device_number": number, "template": model,
            "voucher": {"username": str(uuid.uuid4())[:22], "password": str(uuid.uuid4())[:7]}})
        voucher = json.loads(row["voucher"])
        return {"mqtt_username": voucher.get("username", ""), "mqtt_password": voucher.get("password", ""),
                "mqtt_client_id": "mqtt_" + row["id"][:12]}


def gateway_sub_register(panel, value):
    results = {}
    with panel.lock:
        d = panel.directory
        parent = d.find(text(value, "device_id", needed=True))
        if parent is None:
            raise Fault(101001, "record not found", {"sql_error": "record not found"})
        for part in value.get("registers") or []:
            address, known = str(part.get("sub_addr", "")), [c["sub_device_addr"] for c in d.children(parent)]
            bad = "exists" if address in known else "model" if part.get("model") not in d.templates else ""
            results[address] = {"result": 1 if bad else 0, "errorcode": bad, "message": bad or "success", "sub_addr": address}
            if not bad:
                d.put({"id": str(uuid.uuid4()), "template": part["model"], "parent": parent["id"], "sub_device_addr": address})
    good = all(r["result"] == 0 for r in results.values())
    return {"type": "sub-register-response", "status": "success" if good else "fail", "message": "", "registersRes": results}


def diagnostics(panel, value, name):
    return panel.diagnostics(name)


def metrics(panel, value):
    counts = panel.counts()
    return "".join(f"ThingsPanel_stub_{k} {v}\n" for k, v in counts.items() if isinstance(v, int)).encode()


def publish(kind):
    def call(panel, value, key):
        if not key:
            raise Fault(40100, "")
        if key != panel.api_key:
            raise Fault(40103, "")
        name = text(value, "device_id", needed=True)
        try:
            given = json.loads(value.get("value") or "null")
        except (ValueError, RecursionError):
            raise Fault(100002, "value is no JSON") from None
        body = given
        if kind == "command":
            body = {"method": text(value, "identify", needed=True)}
            body.update({"params": given} if given is not None else {})
        elif kind == "get":
            body = {"keys": [k for k in str(value.get("keys") or "").split(",") if k]}
        panel.down(kind, name, body)
    return call


USER_CALLS = {"telemetry": publish("control"), "attribute": publish("set"), "command": publish("command"), "get": publish("get")}
ROUTES = [
    ("POST", r"/api/v1/plugin/heartbeat", heartbeat), ("POST", r"/api/v1/plugin/device/config", device_config),
    ("POST", r"/api/v1/plugin/devices", devices), ("POST", r"/api/v1/plugin/service/access/list", access_list),
    ("POST", r"/api/v1/plugin/service/access", access_one), ("POST", r"/api/v1/device/auth", device_auth),
    ("POST", r"/api/v1/device/gateway-register", gateway_register),
    ("POST", r"/api/v1/device/gateway-sub-register", gateway_sub_register),
    ("GET", r"/health", lambda panel, value: b"ok"),
    ("GET", r"/api/v1/systime", lambda panel, value: {"systime": int(time.time())}), ("GET", r"/metrics", metrics),
    ("GET", r"/api/v1/devices/([^/]+)/diagnostics", diagnostics),
    ("POST", r"/api/v1/telemetry/datas/pub", USER_CALLS["telemetry"]), ("POST", r"/api/v1/attribute/datas/pub", USER_CALLS["attribute"]),
    ("POST", r"/api/v1/command/datas/pub", USER_CALLS["command"]), ("GET", r"/api/v1/attribute/datas/get", USER_CALLS["get"]),
]
USER_CALLS = set(USER_CALLS.values())


def route(method, path):
    for of_method, pattern, call in ROUTES:
        m = re.fullmatch(pattern, path)
        if m and method == of_method:
            return call, m.groups()
    return None


class Api:
    """The server; restart() is one of its faults."""

    def __init__(self, panel, port):
        self.panel, self.port, self.server = panel, port, None
        self.up()

    def up(self):
        self.server = Server(("127.0.0.1", self.port), Handler, self.panel)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def down(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server.cut()
            self.server = None
