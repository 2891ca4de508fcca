#!/usr/bin/python3
"""usage: gateway.py BUILD_DIR MOSQUITTO

Gateways at a stock mosquitto with the plugin: contract thingspanel.md 1.7 (nested up and down, the path
from the top gateway) and contract iot-module.md section 5 (packs, topology, sub-device registration), with
devices two levels deep.
"""
import hashlib
import hmac
import json

import kit

MODEL = {"properties": [{"id": "temperature", "type": "double"}, {"id": "on", "type": "bool", "access": "rw"}],
         "events": [{"id": "alarm"}], "services": [{"id": "restart"}]}
SECRET = "0123456789abcdef0123456789abcdef"


def password_of(product, device, secret):
    text = f"clientId{product}.{device}deviceName{device}deviceSecret{secret}productKey{product}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def dumps(value):
    return json.dumps(value, separators=(",", ":"))


def panel_up(c, platform, r):
    c.publish("gateway/telemetry", dumps({
        "gateway_data": {"temperature": 1.5},
        "sub_device_data": {"a1": {"temperature": 2.5}, "nobody": {"temperature": 9}},
        "sub_gateway_data": {"g": {"gateway_data": {"temperature": 3.5}, "sub_device_data": {"a1": {"temperature": 4.5}}}}}))
    for key, value in [("gw", "1.5"), ("sub", "2.5"), ("gw2", "3.5"), ("deep", "4.5")]:
        r.expect(f"up {key}", platform.becomes(f"latest {key} temperature", value), platform.ask(f"latest {key} temperature"))
    r.expect("subs are online", platform.becomes("online sub", "1") and platform.becomes("online deep", "1"))
    c.publish("gateway/attributes/1", dumps({"sub_device_data": {"a1": {"on": True}}}))
    r.expect("attributes", platform.becomes("latest sub on", "true"))
    ack = json.loads(c.hears("gateway/attributes/response/gw/1") or b"{}")
    r.expect("one ack, to the gateway", ack.get("result") == 0 and ack.get("message") == "success", ack)
    c.publish("gateway/event/2", dumps({"sub_device_data": {"a1": {"method": "alarm", "params": {"level": 1}}}}))
    ack = json.loads(c.hears("gateway/event/response/gw/2") or b"{}")
    r.expect("event's ack", ack.get("result") == 0, ack)


def panel_down(c, platform, r):
    """1.7 [R]: the full path from the top gateway down; an answer closes the command."""
    for key, leaf in [("sub", {"sub_device_data": {"a1": "X"}}), ("gw2", {"sub_gateway_data": {"g": {"gateway_data": "X"}}}),
                      ("deep", {"sub_gateway_data": {"g": {"sub_device_data": {"a1": "X"}}}}), ("gw", {"gateway_data": "X"})]:
        c.heard.clear()
        platform.must(f"command {key} restart " + dumps({"n": 1}))
        kit.wait_until(lambda: any(m[0].startswith("gateway/command/gw/") for m in c.heard))
        found = [m for m in c.heard if m[0].startswith("gateway/command/gw/")]
        wanted = dumps(leaf).replace('"X"', '{"method":"restart","params":{"n":1}}').encode()
        r.expect(f"down {key}", len(found) == 1 and found[0][1] == wanted, c.heard)
        if found:
            mid = found[0][0].rsplit("/", 1)[1]
            c.publish(f"gateway/command/response/{mid}", dumps({"result": 0, "message": "success", "method": "restart"}))
            ended = platform.ended.get(timeout=kit.WAIT)
            r.expect(f"ended {key}", ended.startswith("ended 3"), ended)


def others(port, platform, c, r, keep):
    """A gateway reports for nobody else's devices, and takes its own along when it goes."""
    other = keep(kit.Client(port, "gw9", "token-gw9", ""))
    other.publish("gateway/telemetry", dumps({"sub_device_data": {"a1": {"temperature": 99}}, "gateway_data": {"temperature": 8.5}}))
    r.expect("its own part", platform.becomes("latest gw9 temperature", "8.5"))
    r.expect("not another's", platform.ask("latest sub temperature") == "2.5", platform.ask("latest sub temperature"))
    r.expect("topics of another gateway", other.subscribe("gateway/command/gw/+", "gateway/command/gw9/+") == [128, 1])
    c.close()
    r.expect("offline with the gateway", platform.becomes("online sub", "0") and platform.becomes("online deep", "0"))


def alink(port, platform, r, keep):
    """Section 5: pack, topology, registration of what stands behind."""
    c = keep(kit.Client(port, "ak.agw", "agw&ak", password_of("ak", "agw", SECRET)))
    root = "/sys/ak/agw/thing/"
    c.subscribe("/sys/ak/agw/#")

    def ask(path, method, params):
        c.publish(root + path, dumps({"requestId": "7", "method": method, "params": params}))
        return json.loads(c.hears(root + path + "_reply") or b"{}")

    reply = ask("topo/get", "thing.topo.get", {})
    r.expect("nobody yet", reply.get("code") == 0 and reply.get("data", {}).get("subDevices") == [], reply)
    sub = {"clientId": "ak2.asub", "username": "asub&ak2", "password": password_of("ak2", "asub", SECRET)}
    wrong = dict(sub, password="0" * 64)
    reply = ask("topo/add", "thing.topo.add", {"subDevices": [wrong]})
    r.expect("wrong HMAC", reply.get("data") in ([], None) or reply.get("code") != 0, reply)
    reply = ask("topo/add", "thing.topo.add", {"subDevices": [sub]})
    r.expect("added", reply.get("code") == 0 and reply.get("data") == [{"productKey": "ak2", "deviceName": "asub"}], reply)
    reply = ask("topo/get", "thing.topo.get", {})
    r.expect("there", reply.get("data", {}).get("subDevices") == [{"productKey": "ak2", "deviceName": "asub"}], reply)
    r.expect("the sub's topics", c.subscribe("/sys/ak2/asub/#", "/sys/ak2/other/#") == [1, 128])
    c.publish(root + "event/property/pack/post", dumps({"requestId": "8", "method": "thing.event.property.pack.post", "params": {
        "properties": {"temperature": 5.5},
        "subDevices": [{"identity": {"productKey": "ak2", "deviceName": "asub"}, "properties": {"temperature": 6.5}},
                       {"identity": {"productKey": "ak2", "deviceName": "other"}, "properties": {"temperature": 66}}]}}))
    r.expect("pack", platform.becomes("latest asub temperature", "6.5") and platform.becomes("latest agw temperature", "5.5"))
    r.expect("not another's", platform.ask("latest other temperature").startswith("TPC_ENOENT"))
    reply = ask("topo/delete", "thing.topo.delete", {"subDevices": [{"productKey": "ak2", "deviceName": "asub"}]})
    r.expect("deleted", reply.get("code") == 0, reply)
    r.expect("its topics are gone", kit.wait_until(lambda: c.subscribe("/sys/ak2/asub/thing/#") == [128], 2))


def main(place, r, keep):
    broker = keep(kit.Broker(place))
    platform = keep(kit.Console(place, broker.port))
    for key, more in [("gateway", {"type": "gateway", "codec": "thingspanel"}), ("room", {"codec": "thingspanel"}),
                      ("ak", {"type": "gateway", "codec": "alink"}), ("ak2", {"type": "sub", "codec": "alink"})]:
        platform.must("put product " + dumps(dict({"key": key, "model": MODEL}, **more)))
    for doc in [{"key": "gw", "product": "gateway", "credentials": {"token": "token-gw"}},
                {"key": "gw9", "product": "gateway", "credentials": {"token": "token-gw9"}},
                {"key": "gw2", "product": "gateway", "gateway": "gw", "address": "g"},
                {"key": "sub", "product": "room", "gateway": "gw", "address": "a1"},
                {"key": "deep", "product": "room", "gateway": "gw2", "address": "a1"},
                {"key": "agw", "product": "ak", "secret": SECRET}, {"key": "asub", "product": "ak2", "secret": SECRET},
                {"key": "other", "product": "ak2", "secret": SECRET}]:
        platform.must("put device " + dumps(doc))
    cycle = platform.ask('put device {"key":"gw","product":"gateway","gateway":"gw2","credentials":{}}')
    r.expect("a cycle is refused", cycle.startswith("TPC_EINVAL"), cycle)
    r.expect("the platform is in", kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text()))
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "token-gw9", "") == 0)
    c = keep(kit.Client(broker.port, "gw", "token-gw", ""))
    own = ["gateway/telemetry/control/gw", "gateway/attributes/set/gw/+", "gateway/attributes/get/gw", "gateway/command/gw/+",
           "gateway/attributes/response/gw/+", "gateway/event/response/gw/+"]
    r.expect("all documented filters", c.subscribe(*own) == [1] * len(own))
    panel_up(c, platform, r)
    panel_down(c, platform, r)
    others(broker.port, platform, c, r, keep)
    alink(broker.port, platform, r, keep)


kit.run("contract-gateway", main)
