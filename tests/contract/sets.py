#!/usr/bin/python3
"""usage: sets.py BUILD_DIR MOSQUITTO

Expected data and the logs of sets of ThingsPanel: contract thingspanel.md 1.5, 1.6, 6.3 to 6.5. What is
for a device that is offline reaches it when it comes, and every status code is brought about by a real
client; tp-tool reads them beside the running platform.
"""
import json
import subprocess
import time

import kit

MODEL = json.dumps({"properties": [{"id": "switch", "type": "bool", "access": "rw"}, {"id": "level", "type": "int", "access": "rw"}],
                    "services": [{"id": "restart"}, {"id": "wipe"}]})
TOPICS = ["devices/telemetry/control/{}", "devices/attributes/set/{}/+", "devices/attributes/get/{}", "devices/command/{}/+"]


class Log:
    def __init__(self, place):
        self.place = place

    def read(self, device, *more):
        out = subprocess.run([self.place.tool, "commands", self.place.dir / "platform.yaml", device, "--json", *more],
                             capture_output=True, text=True, timeout=30)
        return [json.loads(line) for line in out.stdout.splitlines()]

    def codes(self, device):
        """label -> (status, expected, operation type)"""
        return {c["label"]: (c["panel_status"], c["expected"], c["operation_type"]) for c in self.read(device)}

    def becomes(self, device, label, *wanted):
        return kit.wait_until(lambda: self.codes(device).get(label) == wanted)


def device(platform, key):
    platform.must("put device " + json.dumps({"key": key, "product": "panel", "credentials": {"token": "token-" + key}}))


def connect(port, key, keep):
    kit.wait_until(lambda: kit.code_of(port, "x" + key, "token-" + key, "") == 0)
    return keep(kit.Client(port, key, "token-" + key, ""))


def expect(platform, key, service, label, params, expire=60000, rule=0):
    got = platform.ask(f"expect {key} {service} {label} {expire} {rule} {json.dumps(params, separators=(',', ':'))}")
    if got != "ok":
        raise SystemExit(f"expect {label}: {got}")


def answer(c, message, text):
    """The response to a set or a command that was heard; its message id is the last level of the topic."""
    kind = "attributes/set" if "/set/" in message[0] else "command"
    c.publish(f"devices/{kind}/response/" + message[0].rsplit("/", 1)[1], text)


def take(c, part):
    """The next message whose topic has that part."""
    kit.wait_until(lambda: any(part in m[0] for m in c.heard))
    for i, m in enumerate(c.heard):
        if part in m[0]:
            del c.heard[i]
            return m
    return None


def offline(port, platform, log, r, keep):
    """6.4: attribute, telemetry and command wait, in their order; 6.3: for three seconds more."""
    expect(platform, "e1", "set", "first", {"switch": True})
    expect(platform, "e1", "control", "second", {"level": 5})
    expect(platform, "e1", "restart", "third", {"delay": 3}, rule=1)
    expect(platform, "e1", "restart", "late", {}, expire=1500)
    r.expect("pending", log.becomes("e1", "first", 0, "pending", 1) and log.becomes("e1", "third", 0, "pending", 2), log.codes("e1"))
    r.expect("expired", log.becomes("e1", "late", 2, "expired", 1), log.codes("e1"))
    c = connect(port, "e1", keep)
    begin = time.monotonic()
    r.expect("subscribed", c.subscribe(*[t.format("e1") for t in TOPICS]) == [1] * 4)
    first = take(c, "devices/attributes/set/e1/")
    r.expect("not at once", time.monotonic() - begin > 2, time.monotonic() - begin)
    r.expect("attributes", first and first[1] == b'{"switch":true}', first)
    r.expect("one after the other", c.heard == [], c.heard)
    r.expect("sent", log.becomes("e1", "first", 1, "sent", 1), log.codes("e1"))
    answer(c, first, b'{"result":0,"message":"success"}')
    second = take(c, "devices/telemetry/control/e1")
    r.expect("control", second and second[1:] == (b'{"level":5}', 1, False), second)
    third = take(c, "devices/command/e1/")
    r.expect("command", third and third[1] == b'{"method":"restart","params":{"delay":3}}', third)
    answer(c, third, b'{"result":0,"message":"success","method":"restart"}')
    r.expect("3", log.becomes("e1", "first", 3, "sent", 1), log.codes("e1"))
    r.expect("a control ends at 1", log.becomes("e1", "second", 1, "sent", 1), log.codes("e1"))
    r.expect("automatic", log.becomes("e1", "third", 3, "sent", 2), log.codes("e1"))
    return c


def gone(port, platform, log, c, r, keep):
    """A device that was there and is not: what is for it waits; its first message ends the delay."""
    c.close()
    r.expect("offline", platform.becomes("online e1", "0"))
    expect(platform, "e1", "control", "again", {"level": 6})
    r.expect("waits", log.becomes("e1", "again", 0, "pending", 1), log.codes("e1"))
    c = connect(port, "e1", keep)
    c.subscribe(*[t.format("e1") for t in TOPICS])
    begin = time.monotonic()
    c.publish("devices/telemetry", b'{"level":1}')
    r.expect("it spoke", take(c, "devices/telemetry/control/e1") is not None and time.monotonic() - begin < 2)
    r.expect("1", log.becomes("e1", "again", 1, "sent", 1), log.codes("e1"))
    return c


def codes(port, platform, log, c, other, r):
    """1.6, 6.5: what a response is read as."""
    cases = [(b'{"result":0,"message":"ok"}', 3, ""), (b'{"message":"no result"}', 3, ""), (b"{}", 3, ""),
             (b'{"result":1,"errcode":"E7","message":"too hot"}', 4, "E7"), (b'{"result":1,"message":"too hot"}', 4, "too hot"),
             (b'{"result":1}', 4, '{"result":1}'), (b"what?", 4, "what?"), (b"[0]", 4, "[0]")]
    for i, (text, status, reason) in enumerate(cases):
        service, params = (("set", {"level": i}), ("restart", {}))[i % 2]
        expect(platform, "e1", service, f"case{i}", params)
        message = take(c, "/set/e1/" if service == "set" else "/command/e1/")
        answer(c, message, text)
        r.expect(f"{text} is {status}", log.becomes("e1", f"case{i}", status, "sent", 1), log.codes("e1"))
        found = log.read("e1", "--limit", "1")[0]
        r.expect(f"{text} is told", found["reason"] == reason, found)
        if text.startswith(b"{"):
            r.expect(f"{text} is kept", found["reply"] == json.loads(text), found)
    expect(platform, "e1", "wipe", "other", {})
    message = take(c, "/command/e1/")
    answer(other, message, b'{"result":0,"message":"ok"}')  # another device's word: it does not count
    c.publish("devices/command/response/0123456789abcdef0123456789abcdef", b'{"result":0,"message":"ok"}')
    r.expect("5: nobody answered", log.becomes("e1", "other", 5, "sent", 1), log.codes("e1"))
    expect(platform, "e1", "get", "asked", {"keys": ["level"]})
    message = take(c, "/attributes/get/e1")
    r.expect("get", message and message[1] == b'{"keys":["level"]}', message)
    c.publish("devices/attributes/7654321", b'{"level":8}')
    r.expect("a report answers it", log.becomes("e1", "asked", 3, "sent", 1), log.codes("e1"))


def lists(platform, log, r):
    all_of_it = log.read("e1")
    labels = [c["label"] for c in all_of_it]
    r.expect("newest first", labels[0] == "asked" and labels[-1] == "first" and len(labels) == 15, labels)
    paged, before = [], []
    while True:
        page = log.read("e1", "--limit", "4", *before)
        if not page:
            break
        paged += [c["label"] for c in page]
        before = ["--before", page[-1]["id"]]
    r.expect("pages", paged == labels, paged)
    r.expect("by state", {c["label"] for c in log.read("e1", "--state", "expired")} == {"late"})
    r.expect("by service", {c["service"] for c in log.read("e1", "--service", "set")} == {"set"})
    r.expect("another device's", log.read("e2") == [])


def main(place, r, keep):
    log = Log(place)
    broker = keep(kit.Broker(place))
    platform = keep(kit.Console(place, broker.port))
    platform.must(f'put product {{"key":"panel","codec":"thingspanel","model":{MODEL}}}')
    device(platform, "e1")
    device(platform, "e2")
    r.expect("the platform is in", kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text()))
    c = offline(broker.port, platform, log, r, keep)
    c = gone(broker.port, platform, log, c, r, keep)
    other = connect(broker.port, "e2", keep)
    codes(broker.port, platform, log, c, other, r)
    lists(platform, log, r)
    names = [c["label"] for c in log.read("e1")]
    platform.stop()
    platform = keep(kit.Console(place, broker.port))  # a restart keeps all of it
    r.expect("after a restart", [c["label"] for c in log.read("e1")] == names)


kit.run("contract-sets", main)
