#!/usr/bin/python3
"""usage: thingspanel_service_third.py BUILD_DIR MOSQUITTO

A service of type 2 (third party): access points and their vouchers at the start and after a notification on both paths
in both shapes, devices found at the third party page by page with a voucher that is not URL-encoded, and forms with
every element that the contract's section 4 knows.
"""
import pathlib
import queue
import subprocess
import sys
import threading

import service_kit as kit

TOKEN = '{"token":"t1","region":"eu"}'
ROWS = {"templates": {"one": {"device_type": "1", "protocol_type": "cloud", "protocol_config": {"interval": "30"}}},
        "access_points": [{"id": "ap1", "name": "account", "service_identifier": "cloud", "voucher": TOKEN}],
        "devices": [{"id": f"dev-{n}", "device_number": f"T-{n:02d}", "template": "one", "access": "ap1", "voucher": {"serial": f"T-{n:02d}"},
                     "config": {"interval": "5", "on": "true", "rows": [{"address": "1", "name": "a"}]}} for n in range(1, 4)]}
CONFIG = kit.CONFIG.replace("  meters: {{type: tcp, listen: [\"tcp://127.0.0.1:{tcp}\"], framing: {{type: service}}}}\n", "").replace("plugin/meter/", "plugin/cloud/")


class Program:
    """The service, and the lines in which it says what it was told."""

    def __init__(self, rig):
        path = rig.dir / "cloud.yaml"
        (rig.dir / "store").mkdir(exist_ok=True)
        path.write_text(CONFIG.format(dir=rig.dir, http=rig.http, tcp=0, api=rig.panel.api.port, mqtt=rig.panel.mqtt_port))
        program = pathlib.Path(sys.argv[1]).resolve() / "tests/contract/contract-third-party"
        with open(rig.log, "a") as log:
            self.child = subprocess.Popen([str(program), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.lines, self.all = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            self.all.append(line.rstrip("\n"))

    def says(self, line, seconds=kit.WAIT):
        return kit.until(lambda: line in self.all, seconds)


def forms(rig, r):
    panel = rig.panel
    got = panel.forms()
    r.expect("types", sorted({k.split("/")[0] for k in got}) == ["CFG", "SVCR", "VCR", "VCRT"], sorted(got))
    svcr = got.get("SVCR/") or []
    r.expect("SVCR", [e["dataKey"] for e in svcr] == ["token", "region"] and svcr[1]["options"][1]["value"] == 2, svcr)
    cfg = got.get("CFG/1") or []
    r.expect("CFG", [e["type"] for e in cfg] == ["input", "switch", "table"] and len(cfg[2]["array"]) == 2, cfg)
    r.expect("of its device type alone", "CFG/2" not in got and "VCR/2" in got, sorted(got))
    r.expect("VCRT", got.get("VCRT/1") == {"Serial number": "SERIAL"}, got)
    r.expect("rules", svcr and svcr[0]["validate"]["rules"] == "/^t/", svcr)


def found(rig, r):
    panel = rig.panel
    seen = []
    for page in (1, 2, 3, 4):
        status, got = panel.discover(TOKEN, page, 10)
        good = status == 200 and got["code"] == 200 and got["data"]["total"] == 25
        r.expect(f"page {page}", good and len(got["data"]["list"] or []) == (10, 10, 5, 0)[page - 1], (status, got))
        seen += [d["device_number"] for d in got["data"]["list"] or []] if good else []
    r.expect("each once", seen == [f"T-{n:02d}" for n in range(1, 26)], seen)
    got = panel.discover(TOKEN, 1, 1)[1]
    r.expect("members", got["data"]["list"] == [{"device_name": 'Device "1"', "device_number": "T-01", "description": "found"}], got)
    encoded = "%7B%22token%22%3A%22t1%22%2C%22region%22%3A%22eu%22%7D"
    r.expect("decoded, too", panel.discover(encoded, 1, 5)[1]["code"] == 200)
    for query in ("?voucher=x&page=1&page_size=10", "?voucher={}&page=0&page_size=10", "?voucher={}&page=1&page_size=100000",
                  "?voucher={}&page=a&page_size=b", "?page=1", "?voucher={}&page=99999999999&page_size=10"):
        status, got = panel.ask_service("GET", "/api/v1/plugin/device/list" + query)
        r.expect(f"list {query}", status in (200, 400) and isinstance(got, dict) and isinstance(got["code"], int), (status, got))


def notifications(rig, program, r):
    panel = rig.panel
    for n, (path, body) in enumerate((
            ("/api/v1/plugin/notification", None), ("/api/v1/notify/event", None),
            ("/api/v1/plugin/notification", {"event_type": "service_access.update", "device_id": "", "payload": {"service_access_id": "ap1"}}),
            ("/api/v1/notify/event", {"event_type": "service_access.update", "device_id": "", "payload": {"service_access_id": "ap1"}}))):
        voucher = kit.compact({"token": f"t{n + 2}", "region": "eu"})
        panel.directory.put_access({"id": "ap1", "voucher": voucher})
        status, got = panel.notify(body, access="ap1", path=path)
        r.expect(f"notification {n}", status == 200 and got["code"] == 200, (status, got))
        r.expect(f"read anew {n}", program.says(f"access there ap1 {voucher}", 5), (program.all[-4:], rig.text()[-500:]))
    panel.directory.put_access({"id": "ap2", "service_identifier": "cloud", "voucher": {"token": "t9"}})
    panel.notify(access="ap2")
    r.expect("a new one", program.says('access there ap2 {"token":"t9"}'), program.all[-4:])
    del panel.directory.access_points["ap2"]
    panel.notify(access="ap2")
    r.expect("gone", kit.until(lambda: any(x.startswith("access gone ap2") for x in program.all)), program.all[-4:])


def main(rig, r):
    panel = rig.panel
    panel.services = {"cloud": {"http_address": f"127.0.0.1:{rig.http}", "sub_topic_prefix": "plugin/cloud/"}}
    panel.fault("big", "service/access/list", 1)
    program = Program(rig)
    try:
        r.expect("ready", program.says("ready"), rig.text()[-1000:])
        r.expect("access point at the start", program.says(f"access there ap1 {TOKEN}"), (program.all, rig.text()[-1000:]))
        r.expect("its devices", program.says("device there T-03 ap1"), (program.all, rig.text()[-1000:]))
        r.expect("text becomes a number", program.says("interval 5"), program.all)
        r.expect("heartbeat", kit.until(lambda: panel.alive("cloud") == 1))
        forms(rig, r)
        found(rig, r)
        notifications(rig, program, r)
        r.expect("calls", panel.counts()["calls"].get("service/access/list", 0) >= 2, panel.counts()["calls"])
    finally:
        program.child.stdin.close()
        try:
            code = program.child.wait(20)
        except subprocess.TimeoutExpired:
            program.child.kill()
            code = "killed"
    r.expect("ends well", code == 0, (code, rig.text()[-1000:]))


kit.run_bare("contract-thingspanel-service-third", main, ROWS)
