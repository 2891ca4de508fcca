#!/usr/bin/python3
"""usage: thingsboard.py BUILD_DIR MOSQUITTO

ThingsBoard gateways and devices at a stock mosquitto with the plugin (contract thingsboard.md 1.2 to 1.4), in
the order in which the Python gateway's client speaks: several of each, each hears its own and not itself.
"""
import json

import kit

FILTERS = ["v1/gateway/attributes", "v1/gateway/rpc", "v1/gateway/attributes/response", "v1/devices/me/attributes",
           "v1/devices/me/attributes/response/+", "v1/devices/me/rpc/request/+", "v1/devices/me/rpc/response/+"]
MODEL = {"properties": [{"id": "t", "type": "double"}]}


def dumps(value):
    return json.dumps(value, separators=(",", ":"))


def down(c, other, platform, r):
    c.heard.clear()
    other.heard.clear()
    platform.must('command A setValue {"v":7}')
    kit.wait_until(lambda: any(m[0] == "v1/gateway/rpc" for m in c.heard))
    calls = [json.loads(m[1]) for m in c.heard if m[0] == "v1/gateway/rpc"]
    good = len(calls) == 1 and calls[0]["device"] == "A" and calls[0]["data"]["method"] == "setValue"
    r.expect("one call, to its gateway", good and calls[0]["data"]["params"] == {"v": 7}, c.heard)
    if good:
        c.publish("v1/gateway/rpc", dumps({"device": "A", "id": calls[0]["data"]["id"], "data": {"success": True}}))
        ended = platform.ended.get(timeout=kit.WAIT)
        r.expect("ended", ended.startswith("ended 3"), ended)
    r.expect("nobody hears itself", len([m for m in c.heard if m[0] == "v1/gateway/rpc"]) == 1, c.heard)
    r.expect("nor another", other.heard == [], other.heard)


def main(place, r, keep):
    broker = keep(kit.Broker(place))
    platform = keep(kit.Console(place, broker.port, "[thingsboard, thingspanel]"))
    platform.must("put product " + dumps({"key": "tb", "type": "gateway", "codec": "thingsboard", "model": MODEL}))
    platform.must("put product " + dumps({"key": "single", "codec": "thingsboard", "model": MODEL}))
    platform.must("put product " + dumps({"key": "thermo", "unknown": "keep", "model": MODEL}))
    for key, product in [("g1", "tb"), ("g2", "tb"), ("d1", "single"), ("d2", "single")]:
        platform.must("put device " + dumps({"key": key, "product": product, "credentials": {"token": f"token-{key}"}}))
    r.expect("the platform is in", kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text()))
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "token-d2", "") == 0)
    clients = {key: keep(kit.Client(broker.port, f"client-{key}", f"token-{key}", "")) for key in ["g1", "g2", "d1", "d2"]}
    for key, name in [("g1", "A"), ("g2", "B")]:
        c = clients[key]
        r.expect(f"filters of {key}", c.subscribe(*FILTERS) == [1] * len(FILTERS))
        c.publish("v1/devices/me/rpc/request/1", dumps({"method": "getSessionLimits", "params": {"timeout": 5000}}))
        limits = json.loads(c.hears("v1/devices/me/rpc/response/1") or b"{}")
        r.expect(f"limits of {key}", limits.get("maxPayloadSize") == 65536 and "gatewayRateLimits" in limits, limits)
        c.publish("v1/gateway/connect", dumps({"device": name, "type": "thermo"}))
        c.publish("v1/gateway/attributes", dumps({name: {"connectorType": "modbus"}}))
        c.publish("v1/gateway/telemetry", dumps({name: [{"ts": 1700000000000, "values": {"t": 1.5}}, {"t": 2.5}]}))
        r.expect(f"values of {name}", platform.becomes(f"latest {name} t", "2.5"), platform.ask(f"latest {name} t"))
        r.expect(f"{name} is online", platform.becomes(f"online {name}", "1"))
    for key, value in [("d1", 3.5), ("d2", 4.5)]:
        clients[key].publish("v1/devices/me/telemetry", dumps({"t": value}))
        r.expect(f"values of {key}", platform.becomes(f"latest {key} t", str(value)), platform.ask(f"latest {key} t"))
    r.expect("others' topics", clients["d1"].subscribe("tpcore/thingsboard/up/+/v1/#", "v1/#") == [128, 128])
    clients["g2"].publish("v1/gateway/telemetry", dumps({"A": [{"t": 99}], "B": [{"t": 5.5}]}))
    r.expect("its own part", platform.becomes("latest B t", "5.5"), platform.ask("latest B t"))
    r.expect("not another's", platform.ask("latest A t") == "2.5", platform.ask("latest A t"))
    clients["g1"].publish("v1/gateway/attributes/request", dumps({"id": 9, "device": "A", "client": False, "key": "k"}))
    found = json.loads(clients["g1"].hears("v1/gateway/attributes/response") or b"{}")
    r.expect("attributes", found == {"id": 9, "device": "A"}, found)
    down(clients["g1"], clients["g2"], platform, r)
    clients["g1"].close()
    r.expect("offline with the gateway", platform.becomes("online A", "0") and platform.ask("online B") == "1")


kit.run("contract-thingsboard", main)
