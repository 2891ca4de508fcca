#!/usr/bin/python3
"""usage: alink.py BUILD_DIR MOSQUITTO

An Alink device at a stock mosquitto with the plugin: contract iot-module.md sections 3 to 6, with the
vectors that stand there. It registers itself, logs in by HMAC, reports, is answered and obeys.
"""
import hashlib
import hmac
import json

import kit

SECRET, PASSWORD = "0123456789abcdef0123456789abcdef", "5d4e1f404486b778af7b85414fdd14c9566566f6cd23fb2758bce85e82477460"
PRODUCT_SECRET, SIGN = "fedcba9876543210fedcba9876543210", "156a0c5c69fd5b95c8eb2f968e8c1fe3570c3170900d6f2ec955fb60e1ab9e26"
MODEL = json.dumps({"properties": [{"id": "temperature", "type": "double"}, {"id": "on", "type": "bool", "access": "rw"}],
                    "events": [{"id": "alarm"}], "services": [{"id": "restart"}]})


def mac(key, text):
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def password_of(product, device, secret):
    return mac(secret, f"clientId{product}.{device}deviceName{device}deviceSecret{secret}productKey{product}")


def login(port, r):
    """3: the contract's vector; the client id that is sent does not matter."""
    for client_id, username, password, good in [
            ("pk01.dev01", "dev01&pk01", PASSWORD, True), ("anything", "dev01&pk01", PASSWORD, True),
            ("pk01.dev01", "dev01&pk01", PASSWORD.upper(), False), ("pk01.dev01", "dev01&pk01", PASSWORD[:-1] + "1", False),
            ("pk01.dev02", "dev02&pk01", PASSWORD, False), ("pk01.dev01", "dev01", PASSWORD, False),
            ("pk01.dev01", "dev01&pk01&x", PASSWORD, False)]:
        c = kit.Client(port, client_id, username, password)
        r.expect(f"{client_id} {username} {password[-3:]}", (c.code == 0) == good, c.code)
        if c.code == 0:
            c.close()


def messages(port, platform, r, keep):
    """5, 6: reports with replies, a set with its answer, nobody else's topics."""
    c = keep(kit.Client(port, "pk01.dev01", "dev01&pk01", PASSWORD))
    root = "/sys/pk01/dev01/thing/"
    r.expect("own filters", c.subscribe("/sys/pk01/dev01/#", root + "property/set") == [1, 1])
    r.expect("others'", c.subscribe("/sys/pk01/+/#", "/sys/pk01/dev02/#", "/sys/#", "#") == [128] * 4)
    r.expect("online", platform.becomes("online dev01", "1"))
    c.publish(root + "property/post", b'{"requestId":"1","method":"thing.property.post","params":{"temperature":19.5}}')
    r.expect("latest", platform.becomes("latest dev01 temperature", "19.5"), platform.ask("latest dev01 temperature"))
    reply = json.loads(c.hears(root + "property/post_reply") or b"{}")
    r.expect("reply", reply.get("requestId") == "1" and reply.get("code") == 0, reply)
    c.publish(root + "event/post", b'{"requestId":"2","method":"thing.event.post","params":{"identifier":"alarm","value":{"a":1}}}')
    reply = json.loads(c.hears(root + "event/post_reply") or b"{}")
    r.expect("event's reply", reply.get("requestId") == "2" and reply.get("code") == 0, reply)
    # A device cannot speak for another.
    c.publish("/sys/pk01/dev02/thing/property/post", b'{"requestId":"3","method":"thing.property.post","params":{"temperature":99}}')
    platform.must('command dev01 set {"on":true}')
    down = json.loads(c.hears(root + "property/set") or b"{}")
    r.expect("set", down.get("method") == "thing.property.set" and down.get("params") == {"on": True}, down)
    c.publish(root + "property/set_reply", json.dumps({"requestId": down.get("requestId"), "method": "thing.property.set_reply", "code": 0}))
    ended = platform.ended.get(timeout=kit.WAIT)
    r.expect("set ended", ended.startswith("ended 3"), ended)
    r.expect("not for another", platform.ask("latest dev02 temperature").startswith("TPC_ENOENT"))
    c.close()
    r.expect("offline", platform.becomes("online dev01", "0"))


def register(port, platform, r):
    """4, 8: a device that is not there registers over MQTT, once, and logs in with what it got."""
    def ask(device, sign, subscribe=None):
        c = kit.Client(port, f"pk02.{device}|authType=register|", f"{device}&pk02", sign)
        topic = f"/sys/pk02/{device}/thing/auth/register_reply"
        if c.code == 0 and subscribe:
            c.subscribe(topic)
        heard = c.hears(topic) if c.code == 0 else None
        if c.code == 0:
            r.expect("other topics", c.gone or c.subscribe(f"/sys/pk02/{device}/#") in ([128], None))
            r.expect("sent away", kit.wait_until(lambda: c.gone))
            c.client.loop_stop()
        return c.code, json.loads(heard) if heard else None

    sign = mac(PRODUCT_SECRET, "deviceNamenew1productKeypk02")
    r.expect("the vector's shape", mac(PRODUCT_SECRET, "deviceNamedev01productKeypk01") == SIGN)
    r.expect("wrong sign", ask("new1", SIGN)[0] == 5)
    r.expect("product without registration", kit.code_of(port, "pk01.new1|authType=register|", "new1&pk01",
                                                          mac(PRODUCT_SECRET, "deviceNamenew1productKeypk01")) == 5)
    code, answer = ask("new1", sign)
    data = (answer or {}).get("data", {})
    r.expect("registered", code == 0 and answer and answer.get("code") == 0 and data.get("productKey") == "pk02"
             and data.get("deviceName") == "new1" and len(data.get("deviceSecret", "")) == 32, (code, answer))
    secret = data.get("deviceSecret", "")
    good = kit.wait_until(lambda: kit.code_of(port, "pk02.new1", "new1&pk02", password_of("pk02", "new1", secret)) == 0, 3)
    r.expect("logs in", good)
    r.expect("replayed", kit.wait_until(lambda: ask("new1", sign)[0] == 5, 3))


def main(place, r, keep):
    broker = keep(kit.Broker(place))
    platform = keep(kit.Console(place, broker.port))
    platform.must(f'put product {{"key":"pk01","codec":"alink","model":{MODEL}}}')
    platform.must(f'put product {{"key":"pk02","codec":"alink","auto_register":true,"secret":"{PRODUCT_SECRET}","model":{MODEL}}}')
    platform.must(f'put device {{"key":"dev01","product":"pk01","secret":"{SECRET}"}}')
    platform.must('put device {"key":"dev02","product":"pk01"}')
    r.expect("the platform is in", kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text()))
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "dev01&pk01", PASSWORD) == 0)
    login(broker.port, r)
    messages(broker.port, platform, r, keep)
    register(broker.port, platform, r)


kit.run("contract-alink", main)
