"""The stand-in for the platform: what services publish is taken apart and counted, commands go down under the
service's prefix, a service's callbacks are called, and faults happen when they are asked for."""
import base64
import binascii
import collections
import http.client
import json
import pathlib
import shutil
import tempfile
import threading
import time
import uuid

from api import Api
from broker import Broker
from directory import Directory, Fault, compact, stable_id
from mqtt_client import Client

KEEP = 2000  # of each list: the newest


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


class Sequence:
    """Numbers of one device: how many differ, how many came again, how many miss between first and last."""

    def __init__(self):
        self.seen, self.doubled, self.behind, self.last = set(), 0, 0, None

    def add(self, number):
        if number in self.seen:
            self.doubled += 1
            return
        self.behind += self.last is not None and number < self.last
        self.seen.add(number)
        self.last = number

    def missing(self):
        return max(self.seen) - min(self.seen) + 1 - len(self.seen) if self.seen else 0


class Panel:
    """services: identifier -> {"http_address", "sub_topic_prefix", "device_type"}; devices: rows of directory.py;
    emit(dict) hears of every event. The contract's numbers are the members of `rules`."""

    def __init__(self, services=None, devices=None, http_port=0, mqtt_port=0, broker=None, folder=None, emit=None,
                 mosquitto=None, api_key="stub-key"):
        self.services, self.directory, self.api_key = services or {}, Directory(devices), api_key
        self.own_folder = None if folder else tempfile.mkdtemp(prefix="tp-stub-")
        self.folder = pathlib.Path(folder or self.own_folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.emit = emit or (lambda event: None)
        self.lock = threading.RLock()
        self.rules = {"config_seconds": 3.0, "alive_seconds": 60.0}
        self.calls, self.asked, self.faults, self.beats = {}, {}, [], {}
        self.requests, self.reports, self.logs, self.status_log = [], [], {}, []
        self.latest, self.attributes, self.sequences = {}, {}, {}
        self.rejected, self.numbers, self.recent = {}, {}, collections.deque(maxlen=KEEP)
        self.passwords = {"root": "root", "plugin": "plugin"}
        self.broker = None
        if broker:
            host, port = broker.rsplit(":", 1)
            self.mqtt_host, self.mqtt_port = host, int(port)
        else:
            self.broker = Broker(self.folder, mqtt_port, self.passwords, mosquitto)
            self.mqtt_host, self.mqtt_port = "127.0.0.1", self.broker.port
        self.client = Client(self.mqtt_host, self.mqtt_port, "panel-" + uuid.uuid4().hex[:8], "root", self.passwords["root"],
                             clean=False, on_message=self.heard)
        if not self.client.start():
            raise SystemExit(f"tp_stub: the broker at {self.mqtt_host}:{self.mqtt_port} does not let root in")
        self.client.subscribe(["#"])
        self.api = Api(self, http_port)

    # HTTP: what the handlers ask.
    def count_call(self, name, request):
        with self.lock:
            self.calls[name] = self.calls.get(name, 0) + 1
            self.requests.append(request)
            del self.requests[:-KEEP]

    def beat(self, identifier):
        with self.lock:
            first = identifier not in self.beats
            self.beats[identifier] = time.monotonic()
        self.emit({"event": "heartbeat", "service": identifier, "first": first})

    def alive(self, identifier):
        """The list's member service_heartbeat: 1 or 2."""
        then = self.beats.get(identifier)
        return 1 if then is not None and time.monotonic() - then <= self.rules["alive_seconds"] else 2

    def may_ask(self, key):
        """One call in so many seconds for each voucher or number, burst 1."""
        with self.lock:
            now, then = time.monotonic(), self.asked.get(key)
            if then is not None and now - then < self.rules["config_seconds"]:
                self.count("limited")
                return False
            self.asked[key] = now
            return True

    def fault(self, mode, call="*", times=None, **more):
        """Faults of the next `times` calls, None = of all until clear()."""
        with self.lock:
            self.faults.append({"mode": mode, "call": call, "times": times, **more})

    def fault_for(self, name):
        with self.lock:
            for fault in self.faults:
                if fault["call"] not in ("*", name):
                    continue
                if fault["times"] is not None:
                    fault["times"] -= 1
                    if fault["times"] <= 0:
                        self.faults.remove(fault)
                self.count("faults")
                return dict(fault)
        return None

    def clear(self):
        with self.lock:
            self.faults.clear()

    def restart(self, seconds):
        """The platform's HTTP side is away; MQTT of it stays, as two processes do."""
        self.api.down()
        time.sleep(seconds)
        self.api.up()

    def broker_stop(self, seconds, mode="freeze"):
        """freeze: it says nothing and holds connections. restart: connections end, the port is closed."""
        if mode == "freeze":
            self.broker.freeze()
            time.sleep(seconds)
            self.broker.thaw()
            return
        self.broker.end()
        time.sleep(seconds)
        for attempt in range(50):
            if self.broker.start():
                return
            time.sleep(0.1)
        raise Fault(100000, "the broker does not come back")

    # MQTT: what services publish.
    def count(self, name, n=1):
        self.numbers[name] = self.numbers.get(name, 0) + n

    def reject(self, why, topic, payload):
        self.rejected[why] = self.rejected.get(why, 0) + 1
        self.emit({"event": "rejected", "why": why, "topic": topic, "payload": payload[:200].decode(errors="replace")})

    def ours(self, topic):
        if topic.startswith(("devices/attributes/response/", "devices/event/response/")):
            return True
        return any(s.get("sub_topic_prefix") and topic.startswith(s["sub_topic_prefix"]) for s in self.services.values())

    def heard(self, topic, payload, qos, retain, dup):
        if self.ours(topic) or topic.startswith("$"):
            return
        with self.lock:
            self.count("retained", 1 if retain else 0)
            if dup and (topic, payload) in self.recent:
                self.count("redelivered")  # by the broker to the stand-in: no doing of the service
                return
            self.recent.append((topic, payload))
            self.count("messages")
            self.take(topic, payload)

    def take(self, topic, payload):
        levels = topic.split("/")
        if levels[:2] == ["devices", "status"] and len(levels) == 3:
            self.take_status(levels[2], topic, payload)
            return
        kinds = {"telemetry": 2, "attributes": 3, "event": 3}
        answers = (["command", "response"], ["attributes", "set", "response"])
        kind = levels[1] if len(levels) > 1 else ""
        answer = any(levels[1:-1] == a for a in answers) and levels[-1]
        if levels[0] not in ("devices", "gateway") or not (answer or kinds.get(kind) == len(levels) and levels[-1]):
            self.reject("topic", topic, payload)
            return
        got = self.unwrap(topic, payload)
        if got is None:
            return
        row, body = got
        if answer:
            self.take_answer(levels, row, body, topic, payload)
        elif levels[0] == "gateway":
            self.take_tree(kind, levels, row, body, topic, payload, 0)
        else:
            self.take_report(kind, levels, row, body, topic, payload)

    def unwrap(self, topic, payload):
        """(device, what it said), or None: the broker's wrapping of contract 1.2, taken strictly."""
        try:
            wrapped = json.loads(payload)
        except (ValueError, RecursionError):
            return self.reject("not_json", topic, payload)
        if not isinstance(wrapped, dict) or not isinstance(wrapped.get("device_id"), str) or not wrapped["device_id"]:
            return self.reject("no_device_id", topic, payload)
        if not isinstance(wrapped.get("values"), str) or not wrapped["values"]:
            return self.reject("values", topic, payload)
        try:
            raw = base64.b64decode(wrapped["values"], validate=True)
        except (binascii.Error, ValueError):
            return self.reject("base64", topic, payload)
        row = self.directory.devices.get(wrapped["device_id"])
        if row is None:
            return self.reject("unknown_device", topic, payload)
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return self.reject("values_json", topic, payload)
        if not isinstance(body, dict):
            return self.reject("values_object", topic, payload)
        return row, body

    def take_status(self, device_id, topic, payload):
        row = self.directory.devices.get(device_id)
        if payload not in (b"0", b"1"):
            self.reject("status", topic, payload)
        elif row is None:
            self.reject("unknown_device", topic, payload)
        else:
            self.count("status")
            self.status_log.append((device_id, int(payload)))
            del self.status_log[:-KEEP]
            changed, row["online"] = row["online"] != int(payload), int(payload)
            if changed:
                self.emit({"event": "status", "device": row["device_number"], "online": row["online"]})

    def take_report(self, kind, levels, row, body, topic, payload):
        if kind == "event" and (not isinstance(body.get("method"), str) or not isinstance(body.get("params", {}), dict)):
            self.reject("event", topic, payload)
            return
        self.count(kind)
        self.reports.append({"kind": kind, "device": row["id"], "topic": topic, "body": body})
        del self.reports[:-KEEP]
        if kind == "telemetry":
            self.latest.setdefault(row["id"], {}).update(body)
            if is_int(body.get("seq")):
                self.sequences.setdefault(row["id"], Sequence()).add(body["seq"])
        elif kind == "attributes":
            self.attributes.setdefault(row["id"], {}).update(body)
        if kind != "telemetry" or "seq" not in body:
            self.emit({"event": kind, "device": row["device_number"], "body": body})
        if kind != "telemetry":
            ack = {"result": 0, "message": "success", "ts": int(time.time())}
            ack.update({"method": body["method"]} if kind == "event" else {})
            self.client.publish(f"devices/{kind}/response/{row['device_number']}/{levels[2]}", compact(ack))

    def take_tree(self, kind, levels, row, body, topic, payload, depth):
        """A gateway's message (contract 1.7): each part is the report of a device behind it."""
        if depth > 5:
            return
        own = body.get("gateway_data")
        if isinstance(own, dict):
            self.take_report(kind, levels, row, own, topic, payload)
        behind = {c["sub_device_addr"]: c for c in self.directory.children(row)}
        for member in ("sub_device_data", "sub_gateway_data"):
            for address, part in (body.get(member) or {}).items():
                if address not in behind or not isinstance(part, dict):
                    self.count("unknown_addresses")
                elif member == "sub_device_data":
                    self.take_report(kind, levels, behind[address], part, topic, payload)
                else:
                    self.take_tree(kind, levels, behind[address], part, topic, payload, depth + 1)

    def take_answer(self, levels, row, body, topic, payload):
        self.count("answers")
        log = self.logs.get(levels[-1])
        if log is None:
            self.count("answers_unknown")
            self.reject("answer", topic, payload)
            return
        log["answers"] += 1
        if log["answers"] > 1:
            self.count("answers_doubled")
            return
        good = body.get("result", 0) == 0
        log.update(state="3" if good else "4", answer=body, answered_by=row["id"], answer_topic=topic,
                   seconds=time.monotonic() - log["sent"])
        if "message" not in body or "result" not in body:
            self.count("answers_incomplete")
        self.count("acknowledged" if good else "refused")
        self.emit({"event": "answer", "mid": levels[-1], "device": row["device_number"], "kind": log["kind"], "body": body})

    # Down: what users send.
    def down(self, kind, name, body, by="number", nested=False, via="own", times=1, service=None, mid=None, raw=None):
        """kind command, set, get or control. name: id or number of a device, known or not. by: what the topic names
        it by. nested: the tree of contract 1.7. Returns the message id ("" where there is none)."""
        with self.lock:
            row = self.directory.find(name) or {"id": name, "device_number": name, "template": None, "parent": None}
            level = (self.directory.top(row) if via == "top" else row)["id" if by == "id" else "device_number"]
            template = self.directory.templates.get(row["template"]) or {}
            service = service or template.get("protocol_type") or next(iter(self.services), "")
            prefix = (self.services.get(service) or {}).get("sub_topic_prefix", "")
            mid = mid or (uuid.uuid4().hex[:8] if kind in ("command", "set") else "")
            words = {"command": "command", "set": "attributes/set", "get": "attributes/get", "control": "telemetry/control"}
            topic = f"{prefix}devices/{words[kind]}/{level}" + (f"/{mid}" if mid else "")
            payload = compact(self.nest(row, body) if nested else body) if raw is None else raw
            if mid and mid not in self.logs:
                self.logs[mid] = {"kind": kind, "device": row["id"], "state": "1", "answers": 0, "sent": time.monotonic(),
                                  "topic": topic}
            self.count({"command": "commands", "set": "sets", "get": "gets", "control": "controls"}[kind])
        for time_ in range(times):
            self.client.publish(topic, payload)
        return mid

    def nest(self, row, body):
        """The full path from the top gateway down."""
        kind = self.directory.type_of(row) if row["template"] else "1"
        if kind == "1":
            return body
        tree = {"gateway_data": body}
        if kind == "3":
            tree = {"sub_device_data": {row["sub_device_addr"]: body}}
            row = self.directory.devices[row["parent"]]
        while row["parent"]:
            tree = {"sub_gateway_data": {row["sub_device_addr"]: tree}}
            row = self.directory.devices[row["parent"]]
        return tree

    # Callbacks of a service (contract 3.3).
    def ask_service(self, method, path, body=None, service=None, seconds=10):
        """(HTTP status, JSON or text). The path goes out as it is, as the platform sends it."""
        address = self.services[service or next(iter(self.services))]["http_address"]
        connection = http.client.HTTPConnection(address, timeout=seconds)
        try:
            payload = None if body is None else body if isinstance(body, bytes) else compact(body).encode()
            connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except (ValueError, RecursionError):
            return answer.status, text.decode(errors="replace")

    def form(self, form_type, device_type="1", service=None):
        name = service or next(iter(self.services))
        return self.ask_service("GET", f"/api/v1/form/config?protocol_type={name}&device_type={device_type}"
                                f"&form_type={form_type}", service=service)

    def forms(self, service=None):
        """Every form there is: "CFG/1" -> data."""
        out = {}
        for kind in ("CFG", "VCR", "VCRT", "SVCR"):
            for device_type in ("1", "2", "3", "") if kind != "SVCR" else ("",):
                status, got = self.form(kind, device_type, service)
                data = got.get("data") if isinstance(got, dict) else None
                if data is not None:
                    out[f"{kind}/{device_type}"] = data
        return out

    def disconnect(self, device, service=None):
        row = self.directory.find(device)
        return self.ask_service("POST", "/api/v1/device/disconnect", {"device_id": row["id"] if row else device}, service)

    def notify(self, body=None, access="", path="/api/v1/plugin/notification", service=None):
        body = body or {"message_type": "1", "message": compact({"service_access_id": access})}
        return self.ask_service("POST", path, body, service)

    def discover(self, voucher, page=1, page_size=10, service=None):
        """The voucher is not URL-encoded: the platform does not, either."""
        return self.ask_service("GET", f"/api/v1/plugin/device/list?voucher={voucher}&page_size={page_size}&page={page}",
                                service=service)

    # Changes that the platform tells a service of.
    def change(self, row):
        """A device changes as by a user: the service is told to disconnect it, its gateway for one behind it."""
        with self.lock:
            row = self.directory.put(row)
            told = row["parent"] or row["id"]
        return self.disconnect(told)

    def remove(self, device):
        with self.lock:
            row = self.directory.find(device)
            told = row["parent"] or row["id"]
            self.directory.remove(row["id"])
        return self.disconnect(told)

    # What is known.
    def counts(self):
        with self.lock:
            names = ("messages", "telemetry", "attributes", "event", "status", "answers", "commands", "sets", "gets", "controls",
                     "acknowledged", "refused", "answers_doubled", "answers_unknown", "answers_incomplete", "limited", "faults",
                     "retained", "redelivered")
            out = {name: self.numbers.get(name, 0) for name in names}
            out["events"] = out.pop("event")
            rows, sequences = self.directory.devices.values(), self.sequences.values()
            out.update(known=len(rows), online=sum(r["online"] for r in rows), devices=len(self.latest),
                       frames=sum(len(s.seen) for s in sequences), doubled=sum(s.doubled for s in sequences),
                       missing=sum(s.missing() for s in sequences), out_of_order=sum(s.behind for s in sequences),
                       rejected=sum(self.rejected.values()), reasons=dict(self.rejected), calls=dict(self.calls),
                       open=sum(1 for log in self.logs.values() if log["state"] == "1"))
            return out

    def diagnostics(self, name):
        with self.lock:
            total = self.numbers.get("messages", 0)
            failed = sum(self.rejected.values())
        rate = 100.0 * (total - failed) / total if total else 0.0
        return {"device_id": name, "recent_failures": [], "stats": {
            "uplink": {"success_rate": rate, "total": total, "success": total - failed}}}

    def retained(self, seconds=0.3):
        """Topics of retained messages at the broker: nothing of a service is."""
        topics, client = [], None
        client = Client(self.mqtt_host, self.mqtt_port, "look-" + uuid.uuid4().hex[:8], "root", self.passwords["root"],
                        on_message=lambda topic, payload, qos, retain, dup: retain and topics.append(topic))
        client.start()
        client.subscribe(["#"])
        time.sleep(seconds)
        client.close()
        return topics

    def device_id(self, number):
        row = self.directory.find(number)
        return row["id"] if row else stable_id(number)

    def close(self):
        self.api.down()
        self.client.close()
        if self.broker:
            self.broker.end()
        if self.own_folder:
            shutil.rmtree(self.own_folder, ignore_errors=True)
