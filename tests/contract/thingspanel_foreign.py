#!/usr/bin/python3
"""usage: thingspanel_foreign.py BUILD_DIR MOSQUITTO

A service that shares no code with us (tests/kit/tp_stub/service.py, from the contract alone) at a platform of ours,
simulated meters behind it.
"""
import pathlib
import subprocess
import sys

import kit
import thingspanel_platform

STUB = pathlib.Path(__file__).resolve().parent.parent / "kit/tp_stub"
sys.path.insert(0, str(STUB))
import meter  # noqa: E402

PLATFORM = """
core:
  secret_key: {{secret_file: {dir}/secret.key}}
  token_key: {{secret_file: {dir}/token.key}}
entity_store: {{type: sqlite, dir: {dir}/store}}
adapters:
  mqtt: {{type: mqtt, url: "mqtt://127.0.0.1:{broker}", user: platform, password: platform-password, client_id: platform,
          dialects: [thingspanel], presence: false, retry_min: 20ms, retry_max: 200ms}}
  http: {{type: http, listen: ["http://127.0.0.1:{http}"]}}
  client: {{type: http_client}}
  panel: {{type: thingspanel_platform, call_timeout: 2s}}
entities:
  - {{kind: service_user, key: platform, password: platform-password}}
  - {{kind: service_user, key: plugin, password: plugin}}
  - {{kind: service, key: meter, http_address: "127.0.0.1:{service}", sub_topic_prefix: plugin/meter/}}
  - {{kind: product, key: hub, type: gateway, protocol: meter, codec: thingspanel,
     model: {{properties: [{{id: seq, type: int}}, {{id: energy_kwh, type: double}}, {{id: power, type: int}}, {{id: voltage, type: double}}],
             services: [{{id: relay, input: [{{id: "on", type: bool}}]}}], events: [{{id: overload}}, {{id: cover_opened}}]}}}}
  - {{kind: product, key: behind, protocol: meter, codec: thingspanel, protocol_config: {{interval: "10"}},
     model: {{properties: [{{id: seq, type: int}}, {{id: energy_kwh, type: double}}, {{id: power, type: int}}, {{id: voltage, type: double}}],
             services: [{{id: relay, input: [{{id: "on", type: bool}}]}}]}}}}
  - {{kind: device, key: c-1, product: hub, credentials: {{voucher: '{{"serial":"M-0001"}}'}}}}
  - {{kind: device, key: c-1-1, product: behind, gateway: c-1, address: "1"}}
  - {{kind: device, key: c-1-2, product: behind, gateway: c-1, address: "2"}}
  - {{kind: device, key: c-2, product: hub, credentials: {{voucher: '{{"serial":"M-0002"}}'}}}}
  - {{kind: device, key: c-2-1, product: behind, gateway: c-2, address: "1"}}
  - {{kind: device, key: c-2-2, product: behind, gateway: c-2, address: "2"}}
"""


def python_service(ports):
    return [sys.executable, STUB / "service.py", "--api", f"127.0.0.1:{ports['api']}", "--mqtt", f"127.0.0.1:{ports['broker']}",
            "--http-port", ports["http"], "--tcp-port", ports["tcp"], "--heartbeat", "0.3"]


def through(name, command, place, platform, ports, r):
    with open(place.dir / f"{name}.log", "w") as log:
        service = kit.Process(*command, stdin=subprocess.PIPE, stdout=log, stderr=log)
    said, fleet = [], None
    try:
        kit.wait_until(lambda: kit.listens(ports["tcp"]) and kit.listens(ports["http"]))
        fleet = meter.Fleet(ports["tcp"], 2, 2, 10, 0.5, say=said.append, retry=0.3)
        log = (place.dir / f"{name}.log").read_text
        r.expect(f"{name}: in", kit.wait_until(lambda: fleet.counts()["inside"] == 2), (fleet.counts(), log()[-800:]))
        for device in ("c-1", "c-1-1", "c-2-2"):
            r.expect(f"{name}: {device} is online", platform.becomes(f"online {device}", "1"), log()[-800:])
        for device, address in (("c-1-1", 1), ("c-2", 0), ("c-2-2", 2)):
            said.clear()
            platform.must(f'command {device} relay {{"on":true}}')
            ended = platform.ended.get(timeout=kit.WAIT)
            r.expect(f"{name}: a command to {device}", ended.startswith("ended 3"), (ended, log()[-800:]))
            took = [(e["meter"], e["address"], e["value"]) for e in said if e["event"] == "command" and e["what"] == 1]
            r.expect(f"{name}: at the meter", took == [("M-000" + device[2], address, 1)], took)
        fleet.stop()
        r.expect(f"{name}: acknowledged", kit.wait_until(lambda: fleet.kept() == 0), fleet.counts())
        for n, device in ((0, "c-1"), (1, "c-2")):
            last = str(fleet.meters[n].sequence)
            r.expect(f"{name}: the last of {device}", platform.becomes(f"latest {device} seq", last), platform.ask(f"latest {device} seq"))
        r.expect(f"{name}: of one behind", platform.becomes("latest c-1-2 energy_kwh", str((fleet.meters[0].sequence * 10 + 2) / 1000)),
                 platform.ask("latest c-1-2 energy_kwh"))
        logins = fleet.counts()["logins"]
        platform.must('put device {"key":"c-1","product":"hub","name":"Hall","credentials":{"voucher":"{\\"serial\\":\\"M-0001\\"}"}}')
        told = kit.wait_until(lambda: fleet.counts()["logins"] > logins)
        r.expect(f"{name}: told to disconnect", told, (fleet.counts(), (place.dir / "platform.log").read_text()[-600:]))
        r.expect(f"{name}: in again", kit.wait_until(lambda: fleet.counts()["inside"] == 2), (fleet.counts(), log()[-800:]))
    finally:
        if fleet:
            fleet.close()
        service.child.stdin.close()
        service.stop()
    r.expect(f"{name}: offline", platform.becomes("online c-2", "0"), platform.ask("online c-2"))


def main(place, r, keep):
    broker = keep(kit.Broker(place))
    ports = {"broker": broker.port, "api": kit.free_port(), "http": kit.free_port(), "tcp": kit.free_port()}
    thingspanel_platform.CONFIG = PLATFORM
    platform = keep(thingspanel_platform.Platform(place, broker=broker.port, http=ports["api"], service=ports["http"]))
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "plugin", "plugin") == 0)
    connected = kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text())
    r.expect("the platform is at the broker", connected)
    through("service", python_service(ports), place, platform, ports, r)


kit.run("contract-thingspanel-foreign", main)
