#!/usr/bin/python3
"""usage: thingspanel_go.py BUILD_DIR MOSQUITTO

ThingsPanel's own SDK for Go (v1.1.8, what its Modbus service uses) as a service at a platform of ours. The Go client
fetches it outside of this repository; without Go, or where its module proxy does not give the SDK, this is skipped.
Covered: heartbeat, device/config with its limit, service/access[/list]; MQTT connect, publish, subscribe, status; its
handler called back for form/config, disconnect, notify/event and device/list. Not in that version: devices, device/auth.
"""
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import threading

import kit
from thingspanel_platform import Platform

VERSIONS = {"github.com/ThingsPanel/tp-protocol-sdk-go": "v1.1.8", "github.com/eclipse/paho.mqtt.golang": "v1.4.3"}
FETCH, BUILD = 60, 120  # seconds; the first build on a machine compiles Go's library, too


def skip(why):
    print(f"SKIP contract-thingspanel-go: {why}")
    sys.exit(77)


def build(place):
    """The program of go_sdk, in a folder and with a cache of its own."""
    go = shutil.which("go") or ("/usr/local/go/bin/go" if pathlib.Path("/usr/local/go/bin/go").exists() else None)
    if go is None:
        skip("there is no Go")
    folder = place.dir / "go"
    folder.mkdir()
    shutil.copy(pathlib.Path(__file__).parent / "go_sdk/main.go", folder / "main.go")
    require = "\n".join(f"require {name} {version}" for name, version in VERSIONS.items())
    (folder / "go.mod").write_text(f"module service\n\ngo 1.18\n\n{require}\n")
    env = dict(os.environ, GOPATH=str(place.dir / "gopath"), GOFLAGS="-mod=mod -modcacherw", GOTOOLCHAIN="local", CGO_ENABLED="0")
    for words, seconds in ([go, "get", "."], FETCH), ([go, "build", "-o", "service", "."], BUILD):
        try:
            got = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            place.remove()
            skip(f"go {words[1]} is not done within {seconds} s")
        if got.returncode != 0:
            said = got.stderr.strip().splitlines()
            place.remove()
            skip("the SDK cannot be had: " + (said[-1] if said else ""))
    return folder / "service"


class Sdk(kit.Process):
    def __init__(self, program, *words):
        self.lines, self.all = queue.Queue(), []
        super().__init__(program, *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            self.all.append(line.rstrip("\n"))

    def says(self, start):
        """The rest of the next line that begins so."""
        kit.wait_until(lambda: any(line.startswith(start) for line in self.all))
        for i, line in enumerate(self.all):
            if line.startswith(start):
                return self.all.pop(i)[len(start):]
        return ""


def result(sdk, what):
    text = sdk.says(f"did {what}: ")
    try:
        return json.loads(text)
    except ValueError:
        return {"text": text}


def asks(sdk, r):
    r.expect("heartbeat", result(sdk, "heartbeat").get("code") == 200)
    config = result(sdk, "config")
    data = config.get("data", {})
    r.expect("config", config.get("code") == 200 and data["id"] == "m-1" and data["Protocol_type"] == "METER" and
             data["config"] == {"unit": 3} and data["protocol_config_template"] == {"interval": 60}, config)
    r.expect("limited", result(sdk, "limited").get("code") == 201003)
    hub = result(sdk, "hub").get("data", {})
    r.expect("sub-devices", [s["sub_device_addr"] for s in hub.get("sub_devices") or []] == ["1"] and hub["device_type"] == "2", hub)
    points = result(sdk, "access-list")
    r.expect("access/list", [(a["service_access_id"], a["voucher"]) for a in points.get("data") or []] ==
             [("ap-1", '{"token":"a b&c"}')] and points["data"][0]["devices"][0]["id"] == "c-1", points)
    r.expect("access", result(sdk, "access").get("data", {}).get("service_identifier") == "CLOUD")


def hears(sdk, p, r):
    p.must('put device {"key":"m-1","product":"meter","name":"x"}')
    r.expect("disconnect", sdk.says("called disconnect ") == '{"device_id":"m-1"}')
    p.must('put access_point {"key":"ap-1","service":"CLOUD","name":"x"}')
    note = sdk.says("called notify ")
    r.expect("notification", note and json.loads(json.loads(note)["message"]) == {"service_access_id": "ap-1"}, note)
    r.expect("form", p.ask("form METER 1 VCR") == '200 [{"dataKey":"reg_pkg","type":"input"}]')
    r.expect("its query", sdk.says("called form ") == "METER/1/VCR")
    p.ask("form CLOUD - SVCR")
    r.expect("empty device type", sdk.says("called form ") == "CLOUD//SVCR")
    r.expect("device/list", p.ask("found ap-1 1 10") == '200 {"list":[{"device_number":"n-1"}],"total":1}')
    r.expect("its voucher", sdk.says("called list ") == '{"token":"a b&c"} 1 10')


def speaks(sdk, p, r):
    for what in ["connect", "subscribe", "status", "telemetry", "sub-device"]:
        r.expect(f"MQTT {what}", result(sdk, what) == "ok")
    r.expect("online", p.becomes("online m-1", "1"))
    r.expect("telemetry", p.becomes("latest m-1 energy", "42.5"), p.ask("latest m-1 energy"))
    r.expect("of a sub-device", p.becomes("latest s-1 energy", "1.5"))
    p.must('command m-1 relay {"on":true}')
    down = sdk.says("called mqtt ")
    r.expect("command", down.startswith("plugin/meter/devices/command/m-1/") and down.endswith('{"method":"relay","params":{"on":true}}'), down)
    r.expect("its answer", p.ended.get(timeout=kit.WAIT).startswith("ended 3"))


def main(place, r, keep):
    program = build(place)
    broker = keep(kit.Broker(place))
    listen = kit.free_port()
    p = keep(Platform(place, broker=broker.port, http=kit.free_port(), service=listen))
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "plugin", "plugin") == 0)
    r.expect("the platform is in", kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text()))
    sdk = keep(Sdk(program, f"http://127.0.0.1:{p.http}", f"tcp://127.0.0.1:{broker.port}", f"127.0.0.1:{listen}"))
    r.expect("ready", kit.wait_until(lambda: "ready" in sdk.all, 30), sdk.all)
    asks(sdk, r)
    speaks(sdk, p, r)
    hears(sdk, p, r)
    print("covered: " + " ".join(__doc__.split("Covered: ")[1].split()))


kit.run("contract-thingspanel-go", main)
