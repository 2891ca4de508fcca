#!/usr/bin/python3
"""usage: thingspanel_modbus.py BUILD_DIR MOSQUITTO

examples/modbus-service at the stand-in of the ThingsPanel platform, with modems that dial in and Modbus slaves behind
them (RTU frames, and Modbus TCP with --mbap), written from the standard alone.
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import service_kit as kit

TABLE = [{"FunctionCode": 3, "Interval": "1", "StartingAddress": 0, "Quantity": 4, "DataType": "int16",
          "DataIdentifierListStr": "temp, hum", "EquationListStr": "temp*0.1,hum/2+5", "DecimalPlacesListStr": "1,0", "Endianess": "BIG"},
         {"FunctionCode": 3, "Interval": 1, "StartingAddress": 10, "Quantity": 2, "DataType": "uint32",
          "DataIdentifierListStr": "energy", "EquationListStr": "", "DecimalPlacesListStr": "", "Endianess": "CDAB"},
         {"FunctionCode": 1, "Interval": 1, "StartingAddress": 3, "Quantity": 2, "DataType": "coil",
          "DataIdentifierListStr": "relay,alarm", "EquationListStr": "", "DecimalPlacesListStr": "", "Endianess": "BIG"},
         {"FunctionCode": 9, "Interval": 1, "StartingAddress": 0, "Quantity": 1, "DataType": "int16", "DataIdentifierListStr": "bad"}]
ROWS = {"templates": {"modem": {"device_type": "2", "protocol_type": "MODBUS_RTU"},
                      "slave": {"device_type": "3", "protocol_type": "MODBUS_RTU", "protocol_config": {"CommandRawList": TABLE}},
                      "named": {"device_type": "3", "protocol_type": "MODBUS_RTU",
                                "protocol_config": {"SlaveID": "7", "CommandRawList": TABLE[:1]}}},
        "devices": [{"id": "modem-1", "device_number": "modem-1", "template": "modem", "voucher": {"reg_pkg": "DTU-1"}},
                    {"id": "slave-1", "device_number": "slave-1", "template": "slave", "parent": "modem-1", "sub_device_addr": "1"},
                    {"id": "slave-2", "device_number": "slave-2", "template": "named", "parent": "modem-1", "sub_device_addr": "x"},
                    {"id": "modem-2", "device_number": "modem-2", "template": "modem", "voucher": {"reg_pkg": "01fe"}},
                    {"id": "slave-3", "device_number": "slave-3", "template": "slave", "parent": "modem-2", "sub_device_addr": "1"}]}
CONFIG = """
log:   {{type: file, dir: {dir}/log}}
store: {{type: sqlite, dir: {dir}/store}}
adapters:
  client: {{type: http_client}}
  server: {{type: http, listen: ["http://127.0.0.1:{http}"]}}
  panel:
    type: thingspanel
    api: "http://127.0.0.1:{api}"
    mqtt: "mqtt://127.0.0.1:{mqtt}"
    password: plugin
    sub_topic_prefix: "plugin/modbus/"
    state: {dir}/devices.json
    retry_min: 50ms
    retry_max: 300ms
    config_interval: 100ms
  modems: {{type: tcp, listen: ["tcp://127.0.0.1:{tcp}"], framing: {{type: service}}, handover: true}}
"""


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for bit in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


class Modem(threading.Thread):
    """Dials in, says its packet, and is the slaves behind it."""

    def __init__(self, port, packet, units, mbap=False):
        super().__init__(daemon=True)
        self.port, self.packet, self.units, self.mbap = port, packet, units, mbap
        self.registers, self.coils = {0: 215, 1: 0xFFF6, 10: 0x5678, 11: 0x1234}, {3: True, 4: False}
        self.written, self.connections, self.strange, self.asked, self.ending, self.sock = [], 0, 0, set(), False, None
        self.start()

    def run(self):
        while not self.ending:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 2) as self.sock:
                    self.connections += 1
                    self.sock.settimeout(None)
                    self.sock.sendall(self.packet)
                    self.serve()
            except OSError:
                pass
            time.sleep(0.1)

    def serve(self):
        data = b""
        while not self.ending:
            more = self.sock.recv(300)
            if not more:
                return
            data += more
            while self.mbap and len(data) >= 6 and len(data) >= 6 + int.from_bytes(data[4:6], "big"):
                size = 6 + int.from_bytes(data[4:6], "big")
                frame, head, data = data[6:size], data[:4], data[size:]
                answer = frame[:1] + self.answer(frame)
                self.sock.sendall(head + len(answer).to_bytes(2, "big") + answer)
            while not self.mbap and len(data) >= 8:
                size = 9 + data[6] if data[1] in (15, 16) else 8
                if len(data) < size:
                    break
                frame, data = data[:size], data[size:]
                self.strange += crc(frame[:-2]) != frame[-2:]
                if frame[0] in self.units:
                    answer = frame[:1] + self.answer(frame)
                    self.sock.sendall(answer + crc(answer))

    def answer(self, f):
        code, address, count = f[1], int.from_bytes(f[2:4], "big"), int.from_bytes(f[4:6], "big")
        self.asked.add((f[0], code))
        if code in (3, 4):
            values = b"".join(self.registers.get(address + n, 0).to_bytes(2, "big") for n in range(count))
            return bytes([code, len(values)]) + values
        if code in (1, 2):
            bits = sum(1 << n for n in range(count) if self.coils.get(address + n))
            values = bits.to_bytes((count + 7) // 8, "little")
            return bytes([code, len(values)]) + values
        if code == 6:
            self.registers[address] = count
        elif code == 5:
            self.coils[address] = count == 0xFF00
        elif code == 16:
            for n in range(count):
                self.registers[address + n] = int.from_bytes(f[7 + 2 * n:9 + 2 * n], "big")
        else:
            return bytes([code | 0x80, 1])
        self.written.append((f[0], code, address, count))
        return f[1:6]

    def end(self):
        self.ending = True
        if self.sock:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Rig:
    def __init__(self, mbap=False):
        identifier = "MODBUS_TCP" if mbap else "MODBUS_RTU"
        rows = json.loads(json.dumps(ROWS).replace("MODBUS_RTU", identifier))
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tp-modbus-", dir=os.environ.get("TMPDIR")))
        (self.dir / "panel").mkdir()
        (self.dir / "store").mkdir()
        self.http, self.tcp = kit.free_port(), kit.free_port()
        self.panel = kit.Panel({identifier: {"http_address": f"127.0.0.1:{self.http}", "sub_topic_prefix": "plugin/modbus/"}}, rows,
                               folder=self.dir / "panel", mosquitto=sys.argv[2])
        self.panel.rules["config_seconds"] = 0
        self.log = self.dir / "service.log"
        config = self.dir / "service.yaml"
        config.write_text(CONFIG.format(dir=self.dir, http=self.http, tcp=self.tcp, api=self.panel.api.port, mqtt=self.panel.mqtt_port))
        program = pathlib.Path(sys.argv[1]).resolve() / "examples/modbus-service/modbus-service"
        with open(self.log, "w") as log:
            self.child = subprocess.Popen([program, *(["--mbap"] if mbap else []), config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        kit.until(lambda: self.child.poll() is not None or kit.listens(self.tcp) and kit.listens(self.http))

    def text(self):
        return self.log.read_text(errors="replace")

    def online(self, number):
        return self.panel.directory.find(number)["online"] == 1

    def latest(self, number):
        return self.panel.latest.get(number, {})

    def end(self):
        code = None
        self.child.terminate()
        try:
            code = self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.panel.close()
        if os.environ.get("TP_KEEP"):
            print(self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        return code


def values(rig, r, modem, other):
    panel = rig.panel
    r.expect("modems online", kit.until(lambda: rig.online("modem-1") and rig.online("modem-2")), (panel.status_log, rig.text()[-2000:]))
    r.expect("slaves online", kit.until(lambda: all(rig.online(f"slave-{n}") for n in (1, 2, 3))), (panel.status_log, rig.text()[-2000:]))
    r.expect("all values", kit.until(lambda: len(rig.latest("slave-1")) == 5 and len(rig.latest("slave-3")) == 5), panel.latest)
    got = rig.latest("slave-1")
    r.expect("scaled", got == {"temp": 21.5, "hum": 0, "energy": 0x12345678, "relay": True, "alarm": False}, got)
    got = rig.latest("slave-2")
    r.expect("SlaveID before the address", sorted(got) == ["hum", "temp"] and (7, 3) in modem.asked, (got, modem.asked))
    r.expect("wrapped", {x["topic"] for x in panel.reports} <= {"devices/telemetry"}, panel.reports[-1:])
    r.expect("a bad line is told", "slave-1: CommandRawList[3]: FunctionCode" in rig.text(), rig.text()[-2000:])
    r.expect("one connection each", (modem.connections, other.connections) == (1, 1), (modem.connections, other.connections))
    r.expect("nothing strange", modem.strange + other.strange == 0)


def sets(rig, r, modem, other):
    panel = rig.panel
    mid = panel.down("set", "slave-1", {"temp": 30.5})
    r.expect("set is answered", kit.until(lambda: panel.logs[mid]["state"] == "3"), (panel.logs[mid], rig.text()[-1500:]))
    r.expect("set is written", modem.written == [(1, 6, 0, 305)] and other.written == [], modem.written)
    r.expect("and read", kit.until(lambda: rig.latest("slave-1").get("temp") == 30.5), rig.latest("slave-1"))
    mid = panel.down("command", "slave-3", {"method": "relay", "params": {"value": False}})
    r.expect("command is answered", kit.until(lambda: panel.logs[mid]["state"] == "3"), (panel.logs[mid], rig.text()[-1500:]))
    r.expect("command is written", other.written == [(1, 5, 3, 0)], other.written)
    mid = panel.down("set", "slave-1", {"nothing": 1})
    r.expect("no such tag is refused", kit.until(lambda: panel.logs[mid]["state"] == "4"), panel.logs[mid])


def changes(rig, r, modem, other):
    panel = rig.panel
    row = {"id": "slave-1", "config": {"CommandRawList": [dict(TABLE[0], DataIdentifierListStr="heat", EquationListStr="", DecimalPlacesListStr="")]}}
    panel.directory.put(row)
    panel.disconnect("modem-1")
    r.expect("read anew", kit.until(lambda: rig.latest("slave-1").get("heat") == 305), (rig.latest("slave-1"), rig.text()[-2000:]))
    r.expect("the modem came again", modem.connections >= 2 and other.connections == 1, (modem.connections, other.connections))
    r.expect("online", kit.until(lambda: rig.online("modem-1") and rig.online("slave-1")), panel.status_log[-6:])
    nobody = Modem(rig.tcp, b"nobody", {1})
    r.expect("an unknown packet is refused", kit.until(lambda: nobody.connections > 1), rig.text()[-1000:])
    nobody.end()
    other.end()
    r.expect("offline", kit.until(lambda: not rig.online("modem-2") and not rig.online("slave-3")), panel.status_log[-6:])
    r.expect("not the others", rig.online("slave-1") and rig.online("slave-2"), panel.status_log[-6:])
    again = Modem(rig.tcp, b"\x01\xfe", {1})
    r.expect("back", kit.until(lambda: rig.online("slave-3")), panel.status_log[-6:])
    again.end()
    counts = panel.counts()
    r.expect("nothing rejected", counts["rejected"] == 0, counts)


def mbap(r):
    rig = Rig(mbap=True)
    modem, other = Modem(rig.tcp, b"DTU-1", {1, 7}, True), Modem(rig.tcp, b"\x01\xfe", {1}, True)
    try:
        for step in (values, sets):
            kit.go(lambda rig, r: step(rig, r, modem, other), rig, r)
    finally:
        modem.end()
        other.end()
        code = rig.end()
    r.expect("with --mbap it ends well", code == 0, code)


def main():
    r = kit.Report("contract-thingspanel-modbus")
    rig = Rig()
    modem = Modem(rig.tcp, b"DTU-1\r\n", {1, 7})
    other = Modem(rig.tcp, b"\x01\xfe", {1})
    try:
        for step in (values, sets, changes):
            kit.go(lambda rig, r: step(rig, r, modem, other), rig, r)
        r.expect("the service lives", rig.child.poll() is None, rig.text()[-2000:])
    finally:
        modem.end()
        other.end()
        code = rig.end()
    r.expect("the service ends well", code == 0, code)
    mbap(r)
    r.end()


main()
