#!/usr/bin/python3
"""usage: thingspanel_service_faults.py BUILD_DIR MOSQUITTO

A service while the platform and the devices misbehave: HTTP 200 with every code of contract 3.1, answers that are no
JSON, cut, late, 3 MB; templates and addresses that are missing; the broker and the API away, the service killed, in
any order. At the end every frame that a meter was acknowledged is at the stand-in.
"""
import threading
import time

import service_kit as kit

MODES = [{"mode": "status", "status": 500}, {"mode": "status", "status": 404}, {"mode": "invalid"}, {"mode": "html"}, {"mode": "short"},
         {"mode": "drop"}, {"mode": "big"}, {"mode": "slow", "seconds": 1.6}, {"mode": "data", "data": None}, {"mode": "data", "data": []},
         {"mode": "data", "data": {}}, {"mode": "data", "data": {"id": 7, "voucher": {}}}, {"mode": "raw", "text": ""},
         {"mode": "data", "data": {"id": "x" * 5000, "voucher": "{}", "device_type": "2", "sub_devices": 7}},
         {"mode": "raw", "text": '{"code":"200","data":'}, {"mode": "raw", "text": "[" * 5000}, {"mode": "raw", "text": '{"code":1e99}'}]
FAULTS = [{"mode": "code", "code": c} for c in kit.CODES] + MODES
ROWS = kit.generate("meter", 4, 1)
ROWS["devices"] += [{"id": kit.stable_id(f"F-{n}"), "device_number": f"F-{n}", "template": "single", "voucher": {"serial": f"F-{n}"}}
                    for n in range(1, len(FAULTS) + 1)]
ROWS["devices"] += [{"id": "bare", "device_number": "bare", "template": None, "voucher": {"serial": "bare"}},
                    {"id": "half", "device_number": "half", "template": "concentrator", "voucher": {"serial": "half"}},
                    {"id": "half-1", "device_number": "half-1", "template": "meter", "parent": "half", "sub_device_addr": ""}]
ROWS["templates"]["single"] = {"device_type": "1", "protocol_type": "meter", "protocol_config": {"interval": "abc"}}
for device in ROWS["devices"]:
    if device["device_number"].startswith("F-"):
        device["active"] = False  # not in the list: each must be asked for


def answers(rig, r):
    """Each fault meets somebody. Many are in soon; those whose code wants a person to look come later."""
    panel = rig.panel
    for fault in FAULTS:
        more = {k: v for k, v in fault.items() if k != "mode"}
        panel.fault(fault["mode"], "device/config", 1, **more)
    for n in range(3):
        for fault in MODES[:8]:
            panel.fault(fault["mode"], "heartbeat", 1, **{k: v for k, v in fault.items() if k != "mode"})
    fleet = rig.meters(len(FAULTS), rate=0.5, serial="F-{}")
    good = kit.until(lambda: fleet.counts()["inside"] > len(FAULTS) // 2)
    r.expect("many are in soon", good, (fleet.counts(), rig.text()[-600:]))
    r.expect("each fault happened", kit.until(lambda: not any(f["call"] == "device/config" for f in panel.faults)), panel.faults)
    r.expect("alive still", kit.until(lambda: panel.alive("meter") == 1), panel.counts())
    return fleet


def bare(rig, r):
    """Configurations that the platform itself cannot give, until somebody repairs them."""
    panel, fleet = rig.panel, rig.meters(0)
    one, two = fleet.add("bare"), fleet.add("half", 1)
    for serial in ("bare", "half"):
        asked = kit.until(lambda: any(f'"{serial}' in x["body"].replace("\\", "") for x in list(panel.requests)))
        r.expect(f"{serial} is asked for", asked, fleet.counts())
    r.expect("not in", one.state != "in" and two.state != "in", fleet.counts())
    panel.directory.put({"id": "bare", "template": "single"})
    panel.directory.put({"id": "half-1", "sub_device_addr": "1"})
    r.expect("in", kit.until(lambda: fleet.counts()["inside"] == 2), (fleet.counts(), rig.text()[-600:]))


def devices(rig, fleet, r):
    """Devices that misbehave do not disturb the others."""
    logins = fleet.find("M-0002").sequence
    several = [threading.Thread(target=fleet.fault, args=("M-0003", kind, 20))
               for kind in ("garbage", "garbage_first", "long", "nobody", "early", "same")]
    for t in several:
        t.start()
    for kind in ("slow", "half", "zero", "check", "count", "address", "unknown", "cut"):
        fleet.fault("M-0001", kind, 20)
    for t in several:
        t.join()
    r.expect("it lives", rig.alive(), rig.text()[-1500:])
    r.expect("in again", kit.until(lambda: fleet.counts()["inside"] == 4), fleet.counts())
    r.expect("others went on", fleet.find("M-0002").sequence > logins and len(fleet.find("M-0002").kept) < 50)
    a, b = rig.meters(0), rig.meters(0)
    a.add("M-0004")
    b.add("M-0004")
    time.sleep(0.5)
    a.close()
    b.close()
    rig.fleets.remove(a)
    rig.fleets.remove(b)
    r.expect("one connection a device", kit.until(lambda: fleet.find("M-0004").state == "in"), fleet.counts())


def outages(rig, fleet, r):
    panel = rig.panel
    steps = [threading.Thread(target=panel.broker_stop, args=(1.2, "freeze")), threading.Thread(target=panel.restart, args=(0.8,))]
    for step in steps:
        step.start()
    mid = panel.down("command", "M-0002", {"method": "relay", "params": {"on": True}})
    for step in steps:
        step.join()
    r.expect("a command meanwhile", kit.until(lambda: panel.logs[mid]["state"] == "3"), (panel.logs[mid], rig.text()[-600:]))
    stop = threading.Thread(target=panel.broker_stop, args=(1, "restart"))
    stop.start()
    panel.restart(0.5)
    stop.join()
    r.expect("meters stayed or came", kit.until(lambda: fleet.counts()["inside"] == 4), fleet.counts())
    mark = fleet.find("M-0002").sequence + 1
    r.expect("values after", kit.until(lambda: (panel.latest.get(panel.device_id("M-0002")) or {}).get("seq", 0) > mark), fleet.counts())
    mid = panel.down("command", "M-0002", {"method": "relay", "params": {"on": True}})  # the session was a clean one
    r.expect("a command after", kit.until(lambda: panel.logs[mid]["state"] == "3"), (panel.logs[mid], rig.text()[-600:]))


def restarts(rig, fleet, r):
    """The service is stopped, and killed, while the broker is away; and begins without a platform."""
    panel = rig.panel
    code = rig.stop()
    r.expect("stops well", code == 0, code)
    panel.api.down()
    stop = threading.Thread(target=panel.broker_stop, args=(1, "restart"))
    stop.start()
    rig.start()
    r.expect("in without the platform", kit.until(lambda: fleet.counts()["inside"] == 4), (fleet.counts(), rig.text()[-800:]))
    stop.join()
    time.sleep(0.3)
    rig.stop(kill=True)
    panel.api.up()
    rig.start()
    r.expect("in after a kill", kit.until(lambda: fleet.counts()["inside"] == 4), (fleet.counts(), rig.text()[-800:]))
    r.expect("online again", kit.until(lambda: all(rig.online(f"M-000{n}") for n in range(1, 5))), panel.status_log[-8:])


def main(rig, r):
    rig.panel.fault("code", "devices", 2, code=100000)
    rig.panel.fault("invalid", "devices", 1)
    rig.start()
    fleet = rig.meters(4, 1, 20)
    r.expect("in", kit.until(lambda: fleet.counts()["inside"] == 4), (fleet.counts(), rig.text()[-800:]))
    crowd = answers(rig, r)
    bare(rig, r)
    devices(rig, fleet, r)
    outages(rig, fleet, r)
    if rig.build != "python":
        restarts(rig, fleet, r)
    everybody = kit.until(lambda: crowd.counts()["inside"] == len(FAULTS), 25)
    r.expect("all are in at last", everybody, ([m.serial for m in crowd.meters if m.state != "in"], rig.text()[-600:]))
    for some in (crowd, fleet):
        good = rig.drained(some)
        r.expect("drained", good, [(m.serial, m.sequence, len(m.kept)) for m in some.meters if not rig.has_all(m)][:5])
    c = rig.panel.counts()
    r.expect("no number is missing", c["missing"] == 0, c)
    unknown = {k: v for k, v in c["reasons"].items() if k not in ("unknown_device", "answer")}
    r.expect("nothing rejected", unknown == {}, c)


kit.run("contract-thingspanel-service-faults", main, ROWS)
