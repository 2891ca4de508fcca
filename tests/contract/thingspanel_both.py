#!/usr/bin/python3
"""usage: thingspanel_both.py BUILD_DIR MOSQUITTO

Both sides of the contract at once: examples/thingspanel-service with simulated meters behind it, at a platform of ours
instead of a ThingsPanel.
"""
import pathlib
import sys

import kit
import service_kit
import thingspanel_platform

ENTITIES = """
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
  - {{kind: service, key: meter, http_address: "127.0.0.1:{service}", sub_topic_prefix: plugin/meter/, device_type: 2}}
  - kind: product
    key: concentrator
    type: gateway
    protocol: meter
    codec: thingspanel
    protocol_config: {{interval: 10}}
    model: {model}
  - {{kind: product, key: meter, type: sub, protocol: meter, codec: thingspanel, model: {model}}}
  - {{kind: device, key: con-1, product: concentrator, credentials: {{voucher: '{{"serial":"M-0001"}}'}}}}
  - {{kind: device, key: con-1-1, product: meter, gateway: con-1, address: "1"}}
  - {{kind: device, key: con-1-2, product: meter, gateway: con-1, address: "2"}}
"""


MODEL = """{{properties: [{{id: energy_kwh, type: double}}, {{id: power, type: int}}, {{id: voltage, type: double}}, {{id: seq, type: int}}],
             services: [{{id: relay, input: [{{id: "on", type: bool}}]}}, {{id: interval, input: [{{id: seconds, type: int}}]}}],
             events: [{{id: cover_opened}}, {{id: overload, output: [{{id: power, type: int}}]}}]}}"""


def main(place, r, keep):
    thingspanel_platform.CONFIG = ENTITIES.replace("{model}", MODEL)
    broker = keep(kit.Broker(place))
    tcp, callbacks = kit.free_port(), kit.free_port()
    p = keep(thingspanel_platform.Platform(place, broker=broker.port, http=kit.free_port(), service=callbacks))
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "plugin", "plugin") == 0)
    r.expect("the platform is in", kit.wait_until(lambda: "connected to" in (place.dir / "platform.log").read_text()))
    (place.dir / "service").mkdir()
    config = place.dir / "service/service.yaml"
    config.write_text(service_kit.CONFIG.format(dir=place.dir / "service", http=callbacks, tcp=tcp, api=p.http, mqtt=broker.port))
    program = pathlib.Path(sys.argv[1]).resolve() / "examples/thingspanel-service/thingspanel-service"
    (place.dir / "service/store").mkdir()
    with open(place.dir / "service.log", "w") as log:
        keep(kit.Process(program, config, stdin=kit.subprocess.PIPE, stdout=log, stderr=log))
    r.expect("the service is there", kit.wait_until(lambda: kit.listens(tcp) and kit.listens(callbacks)))
    said = []
    fleet = service_kit.meter.Fleet(tcp, 1, 2, 5.0, 0.3, say=said.append, retry=0.3)
    r.expect("online", p.becomes("online con-1", "1"), said)
    for key in ["con-1", "con-1-1", "con-1-2"]:
        r.expect(f"values of {key}", kit.wait_until(lambda: p.ask(f"latest {key} energy_kwh")[:1].isdigit()), p.ask(f"latest {key} energy_kwh"))
    for key in ["con-1", "con-1-1"]:
        p.must(f'command {key} relay {{"on":true}}')
        ended = p.ended.get(timeout=kit.WAIT)
        r.expect(f"command of {key}", ended.startswith("ended 3"), ended)
    form = p.ask("form meter 2 VCR")
    r.expect("form", form.startswith("200 [") and "serial" in form, form)
    logins = fleet.counts()["logins"]
    p.must('put device {"key":"con-1","product":"concentrator","credentials":{"voucher":"{\\"serial\\":\\"M-0001\\"}"},"name":"renamed"}')
    r.expect("logs in again after a disconnect", kit.wait_until(lambda: fleet.counts()["logins"] > logins), fleet.counts())
    r.expect("online again", p.becomes("online con-1", "1"))
    made = fleet.counts()["made"]
    r.expect("its readings go on", kit.wait_until(lambda: float(p.ask("latest con-1 seq")) > made), p.ask("latest con-1 seq"))
    fleet.stop()
    r.expect("nothing is lost", kit.wait_until(lambda: fleet.kept() == 0) and kit.wait_until(
        lambda: float(p.ask("latest con-1 seq")) == fleet.counts()["made"]), fleet.counts())


if __name__ == "__main__":
    kit.run("contract-thingspanel-both", main)
