#!/usr/bin/python3
"""usage: direct.py BUILD_DIR MOSQUITTO

A direct device of ThingsPanel at a stock mosquitto with the plugin: contract thingspanel.md sections
1.1 to 1.6, with the payloads as they stand there.
"""
import base64
import json
import subprocess

import kit

MODEL = json.dumps({
    "properties": [{"id": "temperature", "type": "double"}, {"id": "switch", "type": "bool", "access": "rw"},
                   {"id": "version", "type": "text", "length": 40}],
    "events": [{"id": "alarm"}], "services": [{"id": "restart"}]})


def device(key, credentials):
    return "put device " + json.dumps({"key": key, "product": "panel", "credentials": credentials})


def wrapped(payload, key):
    return ('{"device_id":"%s","values":"%s"}' % (key, base64.b64encode(payload).decode())).encode()


def credentials(port, r, keep):
    """1.1: BASIC and ACCESSTOKEN, exact and nothing else."""
    def code(*pair):
        return kit.code_of(port, "x", *pair)
    r.expect("BASIC", code("user-1", "pass-1") == 0)
    r.expect("ACCESSTOKEN", code("token-2", "") == 0 and code("token-2", None) == 0)
    for pair in [("user-1", "pass-2"), ("user-1", ""), ("nobody", "pass-1"), ("token-2", "x"), (None, None),
                 ('user-1","password":"pass-1', ""), ("u" * 65535, "p"), ("user-1", "p" * 65535), ("\\", '"'), ("&", "&")]:
        r.expect(f"refused {str(pair)[:40]}", code(*pair) in (4, 5), code(*pair))
    r.expect("quotes are text", code('u"\\&', 'p"') == 0)


def topics(port, r, keep):
    """1.3, 1.4: own topics; every filter of a SUBSCRIBE is looked at."""
    c = kit.Client(port, "acl", "user-1", "pass-1")
    own = ["devices/telemetry/control/d1", "devices/attributes/set/d1/+", "devices/attributes/get/d1", "devices/command/d1/+",
           "devices/attributes/response/d1/+", "devices/event/response/d1/+", "ota/devices/inform/d1", "d1/down"]
    r.expect("all documented filters", c.subscribe(*own) == [1] * len(own))
    r.expect("#", c.subscribe("#") == [128])
    r.expect("another's", c.subscribe("devices/command/d2/+") == [128])
    r.expect("a second filter behind an allowed one", c.subscribe("devices/command/d1/+", "devices/command/d2/+") == [1, 128])
    r.expect("wildcard number", c.subscribe("devices/command/+/+", "devices/#", "$share/g/devices/telemetry") == [128] * 3)
    c.publish("devices/status/d2", b"0")
    c.publish("devices/command/d2/1", b'{"method":"restart"}')
    c.close()


def wrong_ones(port, r, keep):
    """Who is refused at the broker: `tp-tool why` of the platform tells it, see why() below."""
    for _ in range(3):
        kit.code_of(port, "mqtt_99", "user-1", "not-the-password")
    kit.code_of(port, "stranger-7", "secret-name", "secret-password")
    c = kit.Client(port, "forger", "user-1", "pass-1")
    r.expect("reports are not for devices", c.subscribe("tpcore/why", "tpcore/+", "tpcore/#", "+/why") == [128] * 4)
    c.publish("tpcore/why", b'{"device":"d2","stage":"auth","reason":"forged"}')
    c.publish("devices/telemetry/control/d2", b"{}")
    c.close()


def metrics(port, r, keep):
    """As the broker's own, every ten seconds; not for devices."""
    c = keep(kit.Client(port, "curious", "user-1", "pass-1"))
    r.expect("not for devices", c.subscribe("$SYS/broker/tpcore/#", "$SYS/#", "$SYS/broker/tpcore/connected") == [128] * 3)
    ops = keep(kit.Client(port, "ops", "plugin", "plugin"))
    ops.subscribe("$SYS/broker/tpcore/#")
    names = ["connected", "online", "refused/auth", "refused/acl", "wrapped", "mapped", "registrations", "reports/published",
             "reports/dropped", "table/age_ms", "table/products", "table/devices"]

    def values():
        return {m[0][len("$SYS/broker/tpcore/"):]: int(m[1]) for m in list(ops.heard)}
    least = {"connected": 3, "online": 1, "refused/auth": 10, "refused/acl": 10, "wrapped": 5, "mapped": 3, "reports/published": 3,
             "table/products": 2, "table/devices": 4}
    good = kit.wait_until(lambda: all(values().get(n, -1) >= low for n, low in least.items()), 25)
    r.expect("counted", good and sorted(values()) == sorted(names), values())
    r.expect("a table that is current", 0 <= values().get("table/age_ms", -1) < 5000, values())


def why(place, r):
    """Within ten seconds a report is in the platform's store."""
    def told(*more):
        out = subprocess.run([place.tool, "why", place.dir / "platform.yaml", *more], capture_output=True, text=True, timeout=30)
        return out.stdout + out.stderr
    wanted = [("d1", 'd1 auth TPC_EDENIED: client "mqtt_99": wrong password, '), ("d1", "d1 acl TPC_EDENIED: device \"d1\" may not publish to this topic"),
              ("stranger-7", 'stranger-7 (unknown) auth TPC_EDENIED: client "stranger-7": unknown user name, by 127.0.0.1')]
    for device, line in wanted:
        r.expect(f"why {line[:30]}", kit.wait_until(lambda d=device, t=line: t in told(d), 30), told(device))
    r.expect("3 times", "wrong password, 3 times, by 127.0.0.1" in told("d1"), told("d1"))
    r.expect("the topic", "28 bytes devices/telemetry/control/d2" in told("d1"), told("d1"))
    said = told()
    r.expect("strangers are listed", "stranger-7 (unknown)" in said, said)
    r.expect("nothing forged, no secret", not any(word in said + told("d2") for word in ("forged", "secret-", "not-the-password", "user-1")), said)


def uplink(port, platform, r, keep):
    """1.2, 1.3, 1.6: what the platform hears is wrapped byte for byte, reports are acknowledged."""
    spy = keep(kit.Client(port, "spy", "plugin", "plugin"))
    spy.subscribe("#")
    c = keep(kit.Client(port, "mqtt_d1", "user-1", "pass-1"))
    c.subscribe("devices/attributes/response/d1/+", "devices/event/response/d1/+")
    r.expect("status 1", spy.hears("devices/status/d1") == b"1")
    r.expect("online", platform.becomes("online d1", "1"))

    payload = b'{"temperature":21.5,"switch":true}'
    c.publish("devices/telemetry", payload)
    r.expect("wrapped", spy.hears("devices/telemetry") == wrapped(payload, "d1"))
    r.expect("telemetry", platform.becomes("latest d1 temperature", "21.5"), platform.ask("latest d1 temperature"))

    c.publish("devices/attributes/1234567", b'{"version":"1.0"}')
    r.expect("attributes", platform.becomes("latest d1 version", '"1.0"'), platform.ask("latest d1 version"))
    ack = json.loads(c.hears("devices/attributes/response/d1/1234567") or b"{}")
    r.expect("attribute ack", ack.get("result") == 0 and ack.get("message") == "success" and isinstance(ack.get("ts"), int), ack)

    c.publish("devices/event/7654321", b'{"method":"alarm","params":{"level":2}}')
    ack = json.loads(c.hears("devices/event/response/d1/7654321") or b"{}")
    r.expect("event ack", ack.get("result") == 0 and ack.get("method") == "alarm", ack)

    # 1.2: the service user's publishes pass as they are; a service wraps itself.
    spy.publish("devices/telemetry", wrapped(b'{"temperature":30}', "d2"))
    r.expect("service", platform.becomes("latest d2 temperature", "30.0"), platform.ask("latest d2 temperature"))
    # Not wrapped: rejected, and nothing breaks.
    spy.publish("devices/telemetry", b'{"temperature":99}')
    c.publish("devices/telemetry", b"\xff\x00not json")
    c.publish("devices/telemetry", b"")
    c.publish("devices/telemetry", b'{"temperature":22}')
    r.expect("after bad ones", platform.becomes("latest d1 temperature", "22.0"))
    return c, spy


def downlink(c, platform, r):
    """1.5, 1.6: commands and attributes down, answers up."""
    c.subscribe("devices/command/d1/+", "devices/attributes/set/d1/+", "devices/attributes/get/d1", "devices/telemetry/control/d1")
    platform.must('command d1 restart {"delay":3}')
    kit.wait_until(lambda: any(m[0].startswith("devices/command/d1/") for m in c.heard))
    found = [m for m in c.heard if m[0].startswith("devices/command/d1/")]
    r.expect("command", len(found) == 1, found)
    if found:
        topic, payload = found[0][:2]
        r.expect("command's bytes", payload == b'{"method":"restart","params":{"delay":3}}', payload)
        mid = topic.rsplit("/", 1)[1]
        c.publish(f"devices/command/response/{mid}", b'{"result":0,"message":"success","ts":1700000000,"method":"restart"}')
        ended = platform.ended.get(timeout=kit.WAIT)
        r.expect("command ended", ended.startswith("ended 3"), ended)
    c.heard.clear()
    platform.must('command d1 set {"switch":false}')
    kit.wait_until(lambda: any("/set/d1/" in m[0] or "/control/" in m[0] for m in c.heard))
    found = [m for m in c.heard if "/set/d1/" in m[0]]
    r.expect("attribute set", len(found) == 1 and found[0][1] == b'{"switch":false}', c.heard)
    if found:
        mid = found[0][0].rsplit("/", 1)[1]
        c.publish(f"devices/attributes/set/response/{mid}", b'{"result":1,"errcode":"x","message":"no"}')
        ended = platform.ended.get(timeout=kit.WAIT)
        r.expect("a failure is the device's answer", ended.startswith("ended 4"), ended)


def presence(port, platform, c, spy, r, keep):
    """1.2: a client id that is taken over says nothing, the last connection's end says 0."""
    spy.heard.clear()
    second = keep(kit.Client(port, "mqtt_d1", "user-1", "pass-1"))
    kit.wait_until(lambda: c.gone)
    c.client.loop_stop()
    third = keep(kit.Client(port, "mqtt_d1b", "user-1", "pass-1"))
    third.close()
    second.publish("devices/telemetry", b'{"temperature":23}')
    r.expect("still served", platform.becomes("latest d1 temperature", "23.0"))
    said = [m for m in spy.heard if m[0] == "devices/status/d1"]
    r.expect("no status on take-over", said == [], said)
    second.client._sock_close()  # a connection that breaks
    r.expect("status 0", spy.hears("devices/status/d1") == b"0")
    second.gone = True
    r.expect("offline", platform.becomes("online d1", "0"))


def wills(port, spy, r, keep):
    """1.2: a will is not wrapped, so it could name any device: it is not published, however the connection ends."""
    forged = wrapped(b'{"temperature":66}', "d2")
    spy.heard.clear()
    for version, keeps in ((kit.mqtt.MQTTv311, False), (kit.mqtt.MQTTv5, False), (kit.mqtt.MQTTv5, True)):
        first = kit.Client(port, "willing", 'u"\\&', 'p"', version=version, will=("devices/telemetry", forged, 1, keeps))
        second = keep(kit.Client(port, "willing", 'u"\\&', 'p"', version=version, will=("devices/telemetry", forged, 1, keeps)))
        kit.wait_until(lambda: first.gone)
        first.client.loop_stop()
        second.publish("devices/telemetry", b'{"temperature":24}')
        r.expect(f"a right one passes {version}", spy.hears("devices/telemetry") == wrapped(b'{"temperature":24}', "dq"), spy.heard)
        second.client._sock_close()
        second.gone = True
        r.expect(f"the connection broke {version}", kit.wait_until(lambda: ("devices/status/dq", b"0", 1, 0) in spy.heard), spy.heard)
        second.client.loop_stop()
        r.expect(f"no will {version}", not any(m[0] == "devices/telemetry" for m in spy.heard), spy.heard)
        spy.heard.clear()
    late = keep(kit.Client(port, "late", "plugin", "plugin"))
    late.subscribe("devices/telemetry")
    r.expect("no retained will", late.hears("devices/telemetry", 0.2) is None, late.heard)


def taken(port, spy, r, keep):
    """A device cannot send a service user away by its client id; a service user can take it over."""
    r.expect("a service user's client id", kit.code_of(port, "spy", "user-1", "pass-1") == 5 and not spy.gone)
    first = kit.Client(port, "twice", "plugin", "plugin")
    second = keep(kit.Client(port, "twice", "plugin", "plugin"))
    r.expect("taken over", kit.wait_until(lambda: first.gone) and second.code == 0)
    first.client.loop_stop()
    r.expect("still its own", kit.code_of(port, "twice", "user-1", "pass-1") == 5)
    second.close()
    r.expect("free again", kit.wait_until(lambda: kit.code_of(port, "twice", "user-1", "pass-1") == 0, 2))


def absent(port, spy, r, keep):
    """A persistent session keeps what comes for it while its connection is gone: of a device and of a service."""
    def session(client_id, *pair):
        return kit.Client(port, client_id, *pair, clean=False)
    c = session("keeps", "user-1", "pass-1")
    c.subscribe("devices/command/d1/+")
    c.close()
    s = session("service", "plugin", "plugin")
    s.subscribe("devices/telemetry")
    s.close()
    spy.publish("devices/command/d1/9", b'{"method":"restart"}')
    c = keep(session("keeps", "user-1", "pass-1"))
    r.expect("a device's command waited", c.hears("devices/command/d1/9") == b'{"method":"restart"}')
    c.publish("devices/telemetry", b'{"temperature":25}')
    s = keep(session("service", "plugin", "plugin"))
    r.expect("a service's message waited", s.hears("devices/telemetry") == wrapped(b'{"temperature":25}', "d1"))


def changes(port, platform, r, keep):
    """What the platform changes holds within a second, for those who are in, too."""
    c = keep(kit.Client(port, "d3", "user-3", "old"))
    r.expect("before", c.code == 0)
    platform.must(device("d3", {"username": "user-3", "password_next": "new"}))
    kit.wait_until(lambda: kit.code_of(port, "d3b", "user-3", "new") == 0, 2)
    r.expect("both are valid", kit.code_of(port, "d3c", "user-3", "old") == 0 and not c.gone)
    platform.must(device("d3", {"username": "user-3", "password": "new", "password_next": None}))
    r.expect("the old one is sent away", kit.wait_until(lambda: c.gone, 2))
    c.client.loop_stop()
    c = keep(kit.Client(port, "d3", "user-3", "new"))
    r.expect("the new one is in", c.code == 0, c.code)
    platform.must("put device " + json.dumps({"key": "d3", "product": "panel", "enabled": False, "credentials": {"username": "user-3"}}))
    r.expect("a disabled one is sent away", kit.wait_until(lambda: c.gone, 2))
    c.client.loop_stop()
    r.expect("and refused", kit.code_of(port, "d3", "user-3", "new") == 5)
    platform.must("delete device d3")
    platform.must(device("d4", {"token": "token-4"}))
    r.expect("a new one is in", kit.wait_until(lambda: kit.code_of(port, "d4", "token-4", "") == 0, 2))


def mapping(port, platform, spy, r, keep):
    """1.9: a device with topics of its own, in binary."""
    topics = [{"direction": "up", "source": "meters/{device_number}/{kind}", "target": "devices/telemetry"},
              {"direction": "down", "source": "meters/{device_number}/do", "target": "devices/command/{device_number}/+", "name": "restart"},
              {"direction": "down", "source": "meters/{device_number}/down", "target": "devices/command/{device_number}/+"}]
    platform.must("put product " + json.dumps({"key": "mapped", "codec": "thingspanel", "model": json.loads(MODEL), "topics": topics}))
    platform.must('put device {"key":"m1","product":"mapped","credentials":{"token":"token-m1"}}')
    kit.wait_until(lambda: kit.code_of(port, "m1", "token-m1", "") == 0)
    c = keep(kit.Client(port, "m1", "token-m1", ""))
    r.expect("own topics", c.subscribe("meters/m1/do", "meters/m1/down", "meters/m2/do", "meters/+/do") == [1, 1, 128, 128])
    spy.heard.clear()
    c.publish("meters/m2/up", b'{"temperature":1}')
    c.publish("meters/m1/up", b'{"temperature":7.5}')
    r.expect("mapped up", platform.becomes("latest m1 temperature", "7.5"), platform.ask("latest m1 temperature"))
    r.expect("on the standard topic alone", [m[0] for m in spy.heard if m[0] != "tpcore/why" and "status" not in m[0]] == ["devices/telemetry"], spy.heard)
    platform.must('command m1 restart {"delay":3}')
    r.expect("mapped down", c.hears("meters/m1/do") == b'{"delay":3}', c.heard)
    spy.publish("devices/command/m1/77", b"\x01\x02")
    r.expect("mapped down as it is", c.hears("meters/m1/down") == b"\x01\x02", c.heard)


def main(place, r, keep):
    broker = keep(kit.Broker(place))  # before there is a platform: refuses all and says why
    r.expect("why", broker.said("entities.db is not there"))
    r.expect("refused without a table", kit.code_of(broker.port, "x", "user-1", "pass-1") == 5)
    platform = keep(kit.Console(place, broker.port))
    platform.must(f'put product {{"key":"panel","codec":"thingspanel","model":{MODEL}}}')
    for key, words in [("d1", {"username": "user-1", "password": "pass-1"}), ("d2", {"voucher": '{"username":"token-2"}'}),
                       ("d3", {"username": "user-3", "password": "old"}), ("dq", {"username": 'u"\\&', "password": 'p"'})]:
        platform.must(device(key, words))
    platform.must('put service_user {"key":"plugin","password":"plugin"}')
    r.expect("the platform is in", kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text()))
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "plugin", "plugin") == 0)
    credentials(broker.port, r, keep)
    topics(broker.port, r, keep)
    wrong_ones(broker.port, r, keep)
    c, spy = uplink(broker.port, platform, r, keep)
    downlink(c, platform, r)
    presence(broker.port, platform, c, spy, r, keep)
    wills(broker.port, spy, r, keep)
    taken(broker.port, spy, r, keep)
    absent(broker.port, spy, r, keep)
    changes(broker.port, platform, r, keep)
    mapping(broker.port, platform, spy, r, keep)
    metrics(broker.port, r, keep)
    why(place, r)
    # The broker itself writes user names down ("as d2 (.., u'token-2')"), the plugin does not.
    said = [line for line in broker.log.read_text(errors="replace").splitlines() if "tpcore" in line]
    said += (place.dir / "platform.log").read_text(errors="replace").splitlines()
    r.expect("no secret in a log", said and not any(word in line for line in said for word in ("pass-1", "token-", "platform-password")))


kit.run("contract-direct", main)
