#!/usr/bin/python3
"""usage: thingspanel_service_callbacks.py BUILD_DIR MOSQUITTO

What the platform calls at a service (contract 3.3) with each form of section 4, in every shape that platforms and
SDKs send, and what it must not be harmed by.
"""
import threading

import service_kit as kit

ROWS = kit.generate("meter", 3, 1)
TYPES = {"input", "select", "table", "switch"}


def check_form(elements, path):
    """What is wrong with a form's elements, as text; empty = nothing."""
    if not isinstance(elements, list):
        return f"{path}: no array"
    for n, e in enumerate(elements):
        at = f"{path}[{n}]"
        if not isinstance(e, dict) or not isinstance(e.get("dataKey"), str) or not e["dataKey"]:
            return f"{at}: dataKey"
        if e.get("type") not in TYPES or not isinstance(e.get("label"), str):
            return f"{at}: type or label"
        if e["type"] == "select" and not all({"label", "value"} <= set(o) for o in e.get("options") or [{}]):
            return f"{at}: options"
        if e["type"] == "table":
            wrong = check_form(e.get("array"), at + ".array")
            if wrong:
                return wrong
        validate = e.get("validate", {})
        if not isinstance(validate.get("required", False), bool) or validate.get("type", "string") not in ("string", "number", "boolean"):
            return f"{at}: validate"
    return ""


def forms(rig, r):
    panel = rig.panel
    for kind in ("CFG", "VCR", "VCRT", "SVCR"):
        for device_type in ("1", "2", "3", ""):
            status, got = panel.form(kind, device_type)
            r.expect(f"form {kind}/{device_type}", status == 200 and got["code"] == 200 and "message" in got, (status, got))
            data = got.get("data")
            if data is not None and kind == "VCRT":
                r.expect("VCRT", isinstance(data, dict) and data and all(isinstance(v, str) for v in data.values()), data)
            elif data is not None:
                wrong = check_form(data, kind)
                r.expect(f"elements of {kind}/{device_type}", wrong == "", wrong)
    found = panel.forms()
    voucher = found.get("VCR/2") or found.get("VCR/1") or []
    r.expect("the voucher's form", [e["dataKey"] for e in voucher] == ["serial"], found)
    for query in ("", "?form_type=VCR", "?protocol_type=meter&form_type=NONE&device_type=1", "?protocol_type=none&device_type=1&form_type=VCR",
                  "?form_type=" + "x" * 1000, "?form_type=%00&device_type=%zz", "?form_type=VCR&form_type=CFG"):
        status, got = panel.ask_service("GET", "/api/v1/form/config" + query)
        good = status == 200 and isinstance(got, dict) and isinstance(got["code"], int) or status in (400, 413, 414)
        r.expect(f"query {query[:40]}", good, (status, got))


def calls(rig):
    return rig.panel.counts()["calls"].get("device/config", 0)


def disconnects(rig, fleet, r):
    panel = rig.panel
    logins, asked = fleet.counts()["logins"], calls(rig)
    status, got = panel.disconnect("M-0001")
    r.expect("disconnect", status == 200 and got["code"] == 200, (status, got))
    r.expect("dropped, in again", kit.until(lambda: fleet.counts()["logins"] == logins + 1), fleet.counts())
    r.expect("read anew", kit.until(lambda: calls(rig) > asked), rig.text()[-600:])
    logins = fleet.counts()["logins"]
    panel.fault("slow", "device/config", 2, seconds=0.3)
    both = [threading.Thread(target=panel.disconnect, args=("M-0002",)) for n in range(2)]
    for t in both:
        t.start()
    for t in both:
        t.join()
    r.expect("two in flight", kit.until(lambda: fleet.counts()["logins"] > logins and fleet.counts()["inside"] == 3), fleet.counts())
    r.expect("online after it", kit.until(lambda: rig.online("M-0002")), panel.status_log[-5:])
    panel.rules["config_seconds"] = 0.6  # more than the service waits: it hears 201003, and comes again
    for n in range(3):
        panel.disconnect("M-0002")
    r.expect("in for all the limits", kit.until(lambda: fleet.counts()["inside"] == 3 and rig.online("M-0002")), fleet.counts())
    panel.rules["config_seconds"] = 0.0
    status, got = panel.change({"id": panel.device_id("M-0001-1"), "config": {"interval": "4"}})
    r.expect("one behind changed", status == 200 and got["code"] == 200, got)
    panel.directory.put({"id": panel.device_id("M-0001-7"), "device_number": "M-0001-7", "template": "meter",
                         "parent": panel.device_id("M-0001"), "sub_device_addr": "7"})
    panel.disconnect("M-0001")
    r.expect("one more behind", kit.until(lambda: fleet.counts()["inside"] == 3), fleet.counts())
    for body in ({}, {"device_id": ""}, {"device_id": 7}, {"device_id": "none"}, {"device_id": "x" * 5000}, b"{", b"[]", b"", b"\xff",
                 b'{"device_id":"a\\u0000b"}', b"[" * 5000):
        status, got = panel.ask_service("POST", "/api/v1/device/disconnect", body)
        good = status == 200 and isinstance(got, dict) and isinstance(got["code"], int) or status in (400, 413)
        r.expect(f"disconnect {str(body)[:30]}", good, (status, got))


def replaced(rig, fleet, r):
    """A meter behind a concentrator is replaced: the new one has its address. Two more swap theirs."""
    panel = rig.panel
    parent = panel.device_id("M-0002")
    first = panel.device_id("M-0002-1")
    panel.directory.put({"id": "spare", "device_number": "spare", "template": "meter", "parent": parent, "sub_device_addr": "9"})
    panel.disconnect("M-0002")
    r.expect("with a spare", kit.until(lambda: fleet.counts()["inside"] == 3 and rig.online("M-0002")), fleet.counts())
    panel.directory.put({"id": first, "sub_device_addr": "8"})
    panel.directory.put({"id": "spare", "sub_device_addr": "1"})
    panel.directory.put({"id": first, "sub_device_addr": "9"})
    panel.disconnect("M-0002")
    r.expect("the other one speaks", kit.until(lambda: "spare" in panel.latest), rig.text()[-800:])
    panel.remove("spare")
    panel.directory.put({"id": "fresh", "device_number": "fresh", "template": "meter", "parent": parent, "sub_device_addr": "1"})
    panel.disconnect("M-0002")
    r.expect("the new one speaks", kit.until(lambda: "fresh" in panel.latest), rig.text()[-800:])


def gone(rig, fleet, r):
    """A device that is deleted is out, and what is sent to it is answered or passed over."""
    panel = rig.panel
    device = panel.device_id("M-0003")
    panel.remove("M-0003")
    r.expect("out", kit.until(lambda: fleet.find("M-0003").state != "in"), fleet.counts())
    refused = fleet.counts()["refused"]
    r.expect("refused", kit.until(lambda: fleet.counts()["refused"] > refused), (fleet.counts(), rig.text()[-800:]))
    panel.down("command", device, {"method": "relay", "params": {"on": True}}, service="meter")
    panel.down("command", "M-0003-1", {"method": "relay", "params": {"on": True}})
    mid = panel.down("command", "M-0001", {"method": "relay", "params": {"on": True}})
    r.expect("others are served", kit.until(lambda: panel.logs[mid]["state"] == "3"), panel.logs[mid])
    panel.directory.put({"id": device, "device_number": "M-0003", "template": "concentrator", "voucher": {"serial": "M-0003"}})
    r.expect("there again", kit.until(lambda: fleet.find("M-0003").state == "in"), (fleet.counts(), rig.text()[-800:]))
    panel.change({"id": device, "voucher": {"serial": "changed"}})
    other = rig.meters(0)
    other.add("changed")
    r.expect("its new voucher", kit.until(lambda: other.counts()["inside"] == 1), rig.text()[-800:])
    r.expect("not its old one", kit.until(lambda: fleet.find("M-0003").state != "in"), fleet.counts())


def others(rig, r):
    panel = rig.panel
    for path in ("/api/v1/plugin/notification", "/api/v1/notify/event"):
        for body in ({"message_type": "1", "message": '{"service_access_id":"ap1"}'},
                     {"event_type": "device.update", "device_id": panel.device_id("M-0001"), "payload": {"a": 1}}):
            status, got = panel.notify(body, path=path)
            r.expect(f"{path} {sorted(body)[0]}", status == 200 and isinstance(got, dict) and got.get("code") == 200, (status, got))
        for body in ({"message_type": "1", "message": "{"}, {"message_type": 1, "message": 7}, {}, b"x"):
            status, got = panel.notify(body, path=path) if body else panel.ask_service("POST", path, {})
            r.expect(f"{path} {str(body)[:20]}", status in (200, 400) and rig.alive(), (status, got))
    for voucher in ('{"token":"t"}', "%7B%22token%22%3A%22t%22%7D", "", '{"a":"' + "x" * 2000 + '"}'):
        status, got = panel.discover(voucher)
        r.expect(f"device/list {voucher[:10]}", status == 200 and isinstance(got["code"], int), (status, got))
    r.expect("health", panel.ask_service("GET", "/health")[0] == 200)
    r.expect("no such path", panel.ask_service("GET", "/api/v1/none")[0] == 404)
    r.expect("no such method", panel.ask_service("POST", "/api/v1/form/config", {})[0] in (200, 404, 405))


def hostile(rig, r):
    host = b"Host: a\r\n"
    bad = {"both lengths": b"POST /api/v1/device/disconnect HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           "bad chunk": b"POST /api/v1/device/disconnect HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
           "two lengths": b"POST /api/v1/device/disconnect HTTP/1.1\r\n" + host + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
           "negative": b"POST /api/v1/device/disconnect HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\n",
           "overlong path": b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + host + b"\r\n",
           "overlong header": b"GET /health HTTP/1.1\r\n" + host + b"X: " + b"a" * 200000 + b"\r\n\r\n",
           "dots": b"GET /../../etc/passwd HTTP/1.1\r\n" + host + b"\r\n", "nul": b"GET /%00 HTTP/1.1\r\n" + host + b"\r\n",
           "half": b"GET /hea", "nothing": b"", "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00"}
    for what, request in bad.items():
        answer = rig.raw(request)
        line = answer.split(b"\r\n")[0]
        r.expect(what, not answer or line.split(b" ")[1][:1] == b"4" or what == "overlong header", line)
    big = b'{"device_id":"' + b"x" * (3 << 20) + b'"}'
    answer = rig.raw(b"POST /api/v1/device/disconnect HTTP/1.1\r\n" + host + b"Content-Length: %d\r\n\r\n" % len(big) + big)
    r.expect("3 MB", not answer or b"413" in answer.split(b"\r\n")[0] or b'"code":200' not in answer, answer[:200])
    many = rig.raw(b"GET /health HTTP/1.1\r\n" + host + b"\r\n" + b"GET /health HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n")
    r.expect("keep-alive", many.count(b"HTTP/1.1 200") == 2, many)
    r.expect("it answers still", rig.panel.ask_service("GET", "/health")[0] == 200)


def main(rig, r):
    rig.start()
    fleet = rig.meters(3, 1, 10)
    r.expect("in", kit.until(lambda: fleet.counts()["inside"] == 3), (fleet.counts(), rig.text()[-800:]))
    forms(rig, r)
    disconnects(rig, fleet, r)
    replaced(rig, fleet, r)
    others(rig, r)
    if rig.build != "python":
        hostile(rig, r)
    gone(rig, fleet, r)


kit.run("contract-thingspanel-service-callbacks", main, ROWS)
