#!/usr/bin/python3
"""usage: certificates.py BUILD_DIR MOSQUITTO

The broker's certificate changes while clients are connected: new connections see the new one, those that
are there stay, a bad file changes nothing and is named. How long it lasts is published.
"""
import datetime
import hashlib
import pathlib
import shutil
import socket
import ssl

import kit

PEM = pathlib.Path(__file__).resolve().parent.parent / "adapters/tls/pem"
PRODUCT = 'put product {"key":"panel","codec":"thingspanel","model":{"properties":[{"id":"t","type":"int"}]}}'
DEVICE = 'put device {"key":"d1","product":"panel","credentials":{"username":"u","password":"p"}}'
BY_CERTIFICATE = 'put device {"key":"d2","product":"panel","credentials":{"fingerprint":"%s"}}'
DAYS = "$SYS/broker/tpcore/certificate/days"


class Files:
    """What the broker and the plugin read: replaced as a program that renews certificates does it."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.put("ca", "ca.pem")
        self.pair("server")

    def put(self, name, fixture):
        fresh = self.folder / (name + ".new")
        shutil.copy(PEM / fixture, fresh)
        fresh.rename(self.folder / name)

    def pair(self, name):
        self.put("key", name + ".key")
        self.put("cert", name + ".pem")


def serial(port):
    """Of the certificate that the broker shows to a new client."""
    context = ssl.create_default_context(cafile=PEM / "ca.pem")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            with context.wrap_socket(s, server_hostname="localhost") as t:
                return t.getpeercert()["serialNumber"]
    except OSError as e:
        return str(e)


def shows(port, wanted):
    return kit.wait_until(lambda: serial(port) == wanted)


def days_left():
    end = datetime.datetime(2120, 1, 1, tzinfo=datetime.timezone.utc)
    return (end - datetime.datetime.now(datetime.timezone.utc)).days


def reloads(broker):
    return broker.log.read_text(errors="replace").count("Reloading config.")


def main(place, r, keep):
    files, tls, mutual = Files(place.dir / "tls"), kit.free_port(), kit.free_port()
    own = [f"{o}file {files.folder}/{n}" for o, n in (("ca", "ca"), ("cert", "cert"), ("key", "key"))]
    broker = keep(kit.Broker(place, [
        *(f"plugin_opt_{line}" for line in own), "plugin_opt_certificates_ms 100",
        f"listener {tls} 127.0.0.1", *own, f"listener {mutual} 127.0.0.1", *own, "require_certificate true"]))
    platform = keep(kit.Console(place, broker.port))
    platform.must(PRODUCT)
    platform.must(DEVICE)
    platform.must(BY_CERTIFICATE % hashlib.sha256(ssl.PEM_cert_to_DER_cert((PEM / "a.pem").read_text())).hexdigest())
    kit.wait_until(lambda: kit.code_of(broker.port, "x", "u", "p") == 0)
    inside = keep(kit.Client(broker.port, "inside", "u", "p"))
    known = keep(kit.Client(mutual, "known", "d2", tls={"ca_certs": PEM / "ca.pem", "certfile": PEM / "a.pem", "keyfile": PEM / "a.key"}))
    r.expect("a device is known by its certificate", known.code == 0, known.code)
    service = keep(kit.Client(broker.port, "watch", "platform", "platform-password"))
    service.subscribe("$SYS/broker/tpcore/#", "devices/status/d1", "devices/telemetry", "tpcore/why")
    got = service.hears(DAYS)
    r.expect("days are published, retained", got is not None and abs(int(got) - days_left()) <= 1, got)
    r.expect("days of the authority", service.hears("$SYS/broker/tpcore/certificate/ca_days") is not None)
    r.expect("the first certificate", shows(tls, "21"), serial(tls))

    while service.hears("devices/status/d1", 0.5) is not None:
        pass
    guesses = [kit.code_of(broker.port, "guess", "u", "wrong") for _ in range(12)]
    r.expect("somebody guesses and is refused", set(guesses) == {5}, guesses)
    files.pair("server2")
    r.expect("the second certificate", shows(tls, "22"), serial(tls))
    r.expect("said", broker.said("new certificate CN=localhost"))
    r.expect("told once", reloads(broker) == 1, reloads(broker))
    r.expect("who is in stays", not inside.gone and inside.subscribe("devices/command/d1/+") == [1])
    inside.publish("devices/telemetry", '{"t":1}')
    r.expect("and is heard", service.hears("devices/telemetry") is not None)
    r.expect("and is not announced anew", service.hears("devices/status/d1", 0.3) is None)
    kit.code_of(broker.port, "nobody", "u", "wrong")
    r.expect("what is refused is still reported", service.hears("tpcore/why") is not None)
    r.expect("so does who came with a certificate and some user name", not known.gone and known.subscribe("devices/command/d2/+") == [1])

    files.put("key", "a.key")
    r.expect("a key of another is named", broker.said(f"plugin_opt_keyfile {files.folder}/key: this key does not belong"))
    (files.folder / "cert").write_text((PEM / "server.pem").read_text()[:200])
    r.expect("a half written file is named", broker.said(f"plugin_opt_certfile {files.folder}/cert: line 1: "))
    r.expect("nothing changed", serial(tls) == "22" and reloads(broker) == 1, f"{serial(tls)} {reloads(broker)}")
    files.pair("server")
    r.expect("well again", shows(tls, "21"), serial(tls))
    files.put("ca", "ca2.pem")
    r.expect("another authority needs a start", broker.said("/ca changed: mosquitto reads it only when it starts"))
    r.expect("and tells nobody", reloads(broker) == 2, reloads(broker))


kit.run("contract-certificates", main)
