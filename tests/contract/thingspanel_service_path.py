#!/usr/bin/python3
"""usage: thingspanel_service_path.py BUILD_DIR MOSQUITTO

A service at the stand-in of the ThingsPanel platform: registration by voucher, what goes up and comes down on every
topic of the contract's section 2 in each of its forms, status, answers. Nothing may be rejected.
"""
import service_kit as kit

ROWS = kit.generate("meter", 4, 2)
ROWS["devices"].append({"id": "0d7c0f0e-5e55-4f0e-9a53-5b2b7f2f5a11", "device_number": "number-17", "template": "concentrator",
                        "voucher": {"serial": "S-17"}})


def up(rig, fleet, r):
    panel = rig.panel
    one, behind = panel.device_id("M-0001"), panel.device_id("M-0001-2")
    r.expect("in", kit.until(lambda: fleet.counts()["inside"] == 4), fleet.counts())
    r.expect("online", kit.until(lambda: all(rig.online(f"M-000{n}") for n in range(1, 5))), panel.status_log)
    r.expect("values", kit.until(lambda: one in panel.latest and behind in panel.latest), panel.counts())
    got = panel.latest.get(one, {})
    r.expect("of its own", sorted(got) == ["energy_kwh", "power", "seq", "voltage"], got)
    r.expect("types", isinstance(got["power"], int) and 229 < got["voltage"] < 236 and 0 < got["energy_kwh"] < 10, got)
    got = panel.latest.get(behind, {})
    r.expect("of the one behind", sorted(got) == ["energy_kwh", "power", "voltage"], got)
    r.expect("on the topic", {x["topic"] for x in panel.reports} <= {"devices/telemetry"}, panel.reports[-1])
    fleet.fault("M-0001", "event")
    r.expect("events", kit.until(lambda: panel.counts()["events"] == 2), panel.counts())
    events = [(x["device"], x["body"]["method"], x["body"].get("params")) for x in panel.reports if x["kind"] == "event"]
    r.expect("overload", (one, "overload", {"power": 4200}) in events, events)
    r.expect("cover_opened", any(e[0] == panel.device_id("M-0001-1") and e[1] == "cover_opened" for e in events), events)
    topics = [x["topic"] for x in panel.reports if x["kind"] == "event"]
    r.expect("their ids differ", len(set(topics)) == 2, topics)


def answered(rig, r, what, mid, good=True):
    panel = rig.panel
    state = "3" if good else "4"
    r.expect(what, kit.until(lambda: panel.logs[mid]["state"] == state), (panel.logs[mid], rig.text()[-600:]))
    body = panel.logs[mid].get("answer", {})
    r.expect(what + ": members", body.get("result") == (0 if good else 1) and isinstance(body.get("message"), str), body)
    return body


def commands(rig, fleet, r):
    panel = rig.panel
    on = {"method": "relay", "params": {"on": True}}
    forms = [("M-0001", "number", False, "own", 0), ("M-0001", "id", False, "own", 0), ("M-0001", "number", True, "own", 0),
             ("M-0002-1", "number", False, "own", 1), ("M-0002-2", "id", False, "own", 2), ("M-0003-1", "number", True, "own", 1),
             ("M-0003-2", "number", True, "top", 2), ("M-0004-1", "id", True, "top", 1)]
    for name, by, nested, via, address in forms:
        what = f"command {name} {by} {nested} {via}"
        rig.said.clear()
        mid = panel.down("command", name, on, by, nested, via)
        body = answered(rig, r, what, mid)
        r.expect(what + ": method", body.get("method", "relay") == "relay" and isinstance(body.get("ts"), int), body)
        r.expect(what + ": topic", panel.logs[mid]["answer_topic"] == f"devices/command/response/{mid}", panel.logs[mid])
        # The service itself tells each meter the interval of its template (what 2) when that comes.
        took = [(e["meter"], e["address"], e["what"], e["value"]) for e in rig.said if e["event"] == "command" and e["what"] == 1]
        r.expect(what + ": at the device", took == [(name[:6], address, 1, 1)], took)
    for name, nested in (("M-0001", False), ("M-0002", True)):
        rig.said.clear()
        mid = panel.down("set", name, {"interval": 7}, nested=nested)
        answered(rig, r, f"set {nested}", mid)
        r.expect("set: topic", panel.logs[mid].get("answer_topic") == f"devices/attributes/set/response/{mid}", panel.logs[mid])
        r.expect("set: at the device", fleet.find(name).interval == 7, rig.said)
    rig.said.clear()
    mid = panel.down("command", "M-0001", on, times=3)
    answered(rig, r, "thrice the same", mid)
    panel.down("get", "M-0001", {"keys": []})
    panel.down("get", "M-0001", {"gateway_data": []})
    panel.down("control", "M-0001", {"interval": 3})
    second = panel.down("command", "M-0002", on)
    answered(rig, r, "after those", second)
    r.expect("carried out once", len([e for e in rig.said if e["meter"] == "M-0001" and e["what"] == 1]) == 1, rig.said)


def refused(rig, fleet, r):
    """What cannot be done is said, and nothing waits behind it."""
    panel = rig.panel
    mid = panel.down("command", "M-0001", {"method": "none", "params": {}})
    answered(rig, r, "unknown command", mid, False)
    fleet.fault("M-0004", "deny")
    mid = panel.down("command", "M-0004", {"method": "relay", "params": {"on": False}})
    answered(rig, r, "the device will not", mid, False)
    bad = [("command", None, b"x"), ("command", None, b"[]"), ("command", None, b'{"params":{}}'), ("command", {"method": 7}, None),
           ("command", None, b'{"method":"relay","params":{"on":'), ("set", None, b"7"), ("control", None, b"\xff\xfe"),
           ("get", None, b"{"), ("command", {"sub_device_data": {"77": {"method": "relay", "params": {"on": True}}}}, None),
           ("command", {"sub_gateway_data": {"1": {"sub_gateway_data": {}}}}, None), ("command", None, b"[" * 10000)]
    for kind, body, raw in bad:
        panel.down(kind, "M-0001", body, raw=raw)
    for topic in ("", "devices", "devices/command", "devices/command/M-0001", "devices/command/M-0001/a/b", "x/command/M-0001/1",
                  "devices/command//1", "devices/command/nobody/123", "devices/attributes/set/nobody/124",
                  "gateway/command/M-0001/125"):
        panel.client.publish("plugin/meter/" + topic, '{"method":"relay","params":{"on":true}}')
    mid = panel.down("command", "M-0002", {"method": "relay", "params": {"on": True}})
    answered(rig, r, "a good one behind bad ones", mid)
    number = rig.meters(0)
    number.add("S-17")
    r.expect("number is not the id", kit.until(lambda: rig.online("number-17")), rig.text()[-600:])
    for by in ("id", "number"):
        mid = panel.down("command", "number-17", {"method": "relay", "params": {"on": True}}, by)
        answered(rig, r, f"by {by} where they differ", mid)


def leave(rig, fleet, r):
    panel = rig.panel
    fleet.find("M-0003").stopped = True
    fleet.fault("M-0003", "cut")
    r.expect("offline", kit.until(lambda: not rig.online("M-0003")), panel.status_log[-5:])
    r.expect("not another", rig.online("M-0001") == 1)
    nobody = rig.meters(0)
    meter = nobody.add("nobody")
    r.expect("refused", kit.until(lambda: nobody.counts()["refused"] > 0), (nobody.counts(), rig.text()[-500:]))
    r.expect("never in", meter.state != "in" and nobody.counts()["logins"] == 0, nobody.counts())
    rest = [m for m in fleet.meters if m.serial != "M-0003"]
    fleet.stop()
    r.expect("all acknowledged", kit.until(lambda: sum(len(m.kept) for m in rest) == 0), fleet.counts())
    r.expect("all there", kit.until(lambda: all(rig.has_all(m) for m in rest)), panel.counts())
    c = panel.counts()
    values = sum(m.sequence * (m.behind + 1) for m in rest)
    r.expect("values of all behind them", c["telemetry"] >= values, (c["telemetry"], values))
    unknown = {k: v for k, v in c["reasons"].items() if k not in ("unknown_device", "answer")}
    r.expect("nothing rejected", unknown == {}, c)
    r.expect("counts", (c["missing"], c["out_of_order"], c["answers_incomplete"]) == (0, 0, 0), c)
    r.expect("each once", c["doubled"] == 0, c)
    r.expect("nothing retained", panel.retained() == [], panel.retained())
    strange = fleet.counts()
    r.expect("frames were well", (strange["strange"], strange["frames_bad"]) == (0, 0), strange)
    r.expect("heartbeats of devices", strange["beats_answered"] > 0, strange)


def main(rig, r):
    rig.start()
    r.expect("heartbeat at once", kit.until(lambda: rig.panel.alive("meter") == 1, 5), rig.text()[-600:])
    fleet = rig.meters(4, 2, 10)
    up(rig, fleet, r)
    commands(rig, fleet, r)
    refused(rig, fleet, r)
    beats = rig.panel.counts()["calls"]["heartbeat"]
    r.expect("heartbeats go on", kit.until(lambda: rig.panel.counts()["calls"]["heartbeat"] >= beats + 2, 3), beats)
    leave(rig, fleet, r)


kit.run("contract-thingspanel-service-path", main, ROWS)
