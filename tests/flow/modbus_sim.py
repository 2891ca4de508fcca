"""tp-sim modbus: what it answers, each of its faults, and what mbpoll reads and writes there.

modbus_sim.py TP_SIM [MBPOLL]
"""
import json
import re
import socket
import struct
import subprocess
import sys
import time


class Sim:
    def __init__(self, program, *more):
        self.process = subprocess.Popen([program, "modbus", "--port", "0", *more], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        assert words[0] == "ready", words
        self.ports = [int(w) for w in words[1:]]

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stats(self):
        return json.loads(self.say("stats"))

    def end(self):
        self.process.terminate()
        out = self.process.stdout.read()
        assert self.process.wait(10) == 0, self.process.returncode
        return json.loads(out.splitlines()[-1])


def crc(data):
    c = 0xffff
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = c >> 1 ^ 0xa001 if c & 1 else c >> 1
    return struct.pack("<H", c)


class Line:
    def __init__(self, port, rtu=False):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(5)
        self.rtu = rtu
        self.number = 0

    def send(self, unit, pdu):
        self.number += 1
        head = bytes([unit]) + pdu
        self.socket.sendall(head + crc(head) if self.rtu else
                            struct.pack(">HHH", self.number, 0, len(head)) + head)

    def take(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise EOFError(data)
            data += more
        return data

    def answer(self):
        """(transaction, unit, pdu)"""
        if self.rtu:
            head = self.take(3)
            rest = self.take(2 if head[1] & 0x80 else head[2] + 2 if head[1] <= 4 else 5)
            assert crc((head + rest)[:-2]) == (head + rest)[-2:]
            return self.number, head[0], (head + rest)[1:-2]
        number, zero, n = struct.unpack(">HHH", self.take(6))
        assert zero == 0
        body = self.take(n)
        return number, body[0], body[1:]

    def ask(self, unit, pdu):
        self.send(unit, pdu)
        number, who, answer = self.answer()
        assert (number, who) == (self.number, unit)
        return answer

    def read(self, unit, function, address, count):
        answer = self.ask(unit, struct.pack(">BHH", function, address, count))
        if answer[0] & 0x80:
            return -answer[1]
        if function <= 2:
            assert answer[1] == (count + 7) // 8 == len(answer) - 2
            return [answer[2 + i // 8] >> i % 8 & 1 for i in range(count)]
        assert answer[1] == 2 * count == len(answer) - 2
        return list(struct.unpack(f">{count}H", answer[2:]))


def values_are_what_is_documented(program, rtu):
    sim = Sim(program, "--slaves", "250", "--registers", "300", "--change", "0", *(["--rtutcp"] if rtu else []))
    assert len(sim.ports) == 2
    first, second = Line(sim.ports[0], rtu), Line(sim.ports[1], rtu)
    assert first.read(7, 3, 10, 3) == [7 * 256 + 10, 7 * 256 + 11, 7 * 256 + 12]
    assert first.read(7, 4, 10, 1) == [65535 - 7 * 256 - 10]
    assert second.read(2, 3, 299, 1) == [(249 * 256 + 299) % 65536]
    assert first.read(7, 1, 4, 11) == [1, 0] * 5 + [1] and first.read(7, 2, 4, 3) == [0, 1, 0]
    assert first.read(1, 3, 299, 2) == -2 and first.read(1, 3, 0, 126) == -3 and first.read(1, 3, 0, 0) == -3
    assert first.ask(1, b"\x2b\x0e\x01\x00\x00")[:2] == b"\xab\x01"
    # Each read of register 0 has a number of its own, and reads of 1 alone see the last one.
    assert [first.read(3, 3, 0, 2) for _ in range(3)] == [[0, 1], [0, 2], [0, 3]]
    assert first.read(3, 3, 1, 1) == [3] and first.read(4, 3, 0, 3) == [0, 1, 4 * 256 + 2]
    assert json.loads(sim.say("seq 3")) == {"unit": 3, "seq": 3}
    # Writes are kept, and are of their slave alone.
    assert first.ask(5, struct.pack(">BHH", 6, 20, 4711))[0] == 6
    assert first.ask(5, struct.pack(">BHHBHH", 16, 21, 2, 4, 1, 2))[0] == 16
    assert first.ask(5, struct.pack(">BHH", 5, 20, 0))[0] == 5
    assert first.ask(5, struct.pack(">BHHBB", 15, 21, 3, 1, 0b010))[0] == 15
    assert first.read(5, 3, 20, 4) == [4711, 1, 2, 5 * 256 + 23] and first.read(5, 1, 20, 5) == [0, 0, 1, 0, 1]
    assert first.read(6, 3, 20, 1) == [6 * 256 + 20]
    assert first.ask(5, struct.pack(">BHH", 6, 0, 1)) == b"\x86\x02"
    assert first.ask(5, struct.pack(">BHH", 5, 20, 1)) == b"\x85\x03"
    first.send(0, struct.pack(">BHH", 6, 30, 99))  # broadcast: no answer
    assert first.read(8, 3, 30, 1) == [99] and second.read(1, 3, 30, 1) == [(248 * 256 + 30) % 65536]
    if not rtu:
        assert second.read(9, 3, 0, 1) == -11
        asked = b"".join(struct.pack(">HHHBBHH", n, 0, 6, 1 + n % 200, 3, 2, 100) for n in range(2000))
        first.socket.sendall(asked)
        for n in range(2000):
            number, unit, _ = first.answer()
            assert (number, unit) == (n, 1 + n % 200)
    end = sim.end()
    assert end["slaves"] == 250 and end["writes"] == 7 + 247 and end["samples"] == 4, end


def values_change_while_time_passes(program):
    sim = Sim(program, "--change", "10")
    line = Line(sim.ports[0])
    seen = set()
    while len(seen) < 3:
        a, b = line.read(1, 3, 5, 2)
        assert (a + 1) % 65536 == b
        seen.add(a)
    sim.end()


def ends(line):
    try:
        return line.answer() is None
    except (EOFError, ConnectionError):
        return True


def each_fault_can_be_switched_on_and_off(program):
    sim = Sim(program, "--slaves", "4", "--change", "0", "--fault", "2 exception 4")
    port = sim.ports[0]
    line = Line(port)
    assert line.read(2, 3, 5, 1) == -4 and line.read(1, 3, 5, 1) == [261]
    assert sim.say("fault all hole 10-19") == "ok" and sim.say("fault 2 none") == "ok"
    assert line.read(1, 3, 5, 6) == -2 and line.read(1, 3, 5, 5)[0] == 261 and line.read(1, 4, 20, 1) != -2
    assert line.read(2, 3, 5, 6)[0] == 517
    for bad in ["fault", "fault 9 silent", "fault 1 late", "fault 1 exception 0", "fault 1 dance", "dance",
                "fault 1 hole 9-3", "fault 1 silent 3", "fault x silent", "x" * 300]:
        assert sim.say(bad) == "what is that?", bad
    assert sim.say("fault 3 late 120") == "ok"
    begin = time.monotonic()
    line.send(3, struct.pack(">BHH", 3, 5, 1))
    line.send(1, struct.pack(">BHH", 3, 5, 1))
    assert line.answer()[1] == 1 and line.answer()[1] == 3 and time.monotonic() - begin >= 0.119
    sim.say("fault 3 silent")
    line.send(3, struct.pack(">BHH", 3, 0, 2))
    assert line.read(1, 3, 5, 1) == [261] and json.loads(sim.say("seq 3"))["seq"] == 0
    sim.say("fault 3 transaction")
    line.send(3, struct.pack(">BHH", 3, 5, 1))
    assert line.answer()[0] == line.number + 77
    sim.say("fault 3 unit")
    line.send(3, struct.pack(">BHH", 3, 5, 1))
    assert line.answer()[1] == 4
    sim.say("fault 3 garbage")
    line.send(3, struct.pack(">BHH", 3, 5, 1))
    assert line.take(11) == b"\xa5" * 11
    sim.say("fault 3 half")
    line.send(3, struct.pack(">BHH", 3, 5, 1))
    assert line.take(5) == struct.pack(">HHB", line.number, 0, 0) and ends(line)
    line = Line(port)
    sim.say("fault 3 close")
    line.send(3, struct.pack(">BHH", 3, 5, 1))
    assert ends(line)
    sim.say("fault 3 none")
    line, other = Line(port), Line(port)
    assert line.read(3, 3, 5, 1) == [773] and other.read(3, 3, 5, 1) == [773]
    assert sim.say("drop") == "ok" and ends(line) and ends(other)
    line = Line(port)
    line.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert ends(line)
    stats = sim.stats()
    assert stats["garbage"] == 1 and all(n >= 1 for n in stats["faults"].values()), stats
    assert sim.say("quit") == "ok"
    sim.end()


def poll(mbpoll, port, *words, refused=False):
    done = subprocess.run([mbpoll, "-m", "tcp", "-p", str(port), "-0", "-1", "-q", "-o", "2", *words],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
    if refused:
        assert "failed" in done.stdout, done.stdout
        return done.stdout
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout
    return re.findall(r"^\[\d+\]:\s+(\S+)", done.stdout, re.M)


def mbpoll_reads_and_writes_all_types(program, mbpoll):
    sim = Sim(program, "--slaves", "20", "--change", "0", "--fault", "1 hole 50-59")
    port, host = sim.ports[0], "127.0.0.1"
    assert poll(mbpoll, port, "-a", "1", "-t", "4", "-r", "10", "-c", "3", host) == ["266", "267", "268"]
    assert poll(mbpoll, port, "-a", "20", "-t", "4:hex", "-r", "10", host) == ["0x140A"]
    assert poll(mbpoll, port, "-a", "1", "-t", "3", "-r", "10", host)[0] == "65269"
    assert poll(mbpoll, port, "-a", "1", "-t", "0", "-r", "4", "-c", "3", host) == ["1", "0", "1"]
    assert poll(mbpoll, port, "-a", "1", "-t", "1", "-r", "4", "-c", "3", host) == ["0", "1", "0"]
    assert poll(mbpoll, port, "-a", "1", "-t", "4:int", "-B", "-r", "10", host) == [str(266 * 65536 + 267)]
    writes = [("4", "70", ["1", "2", "65535"]), ("4:int", "80", ["-123456789"]), ("4:float", "84", ["3.25"]),
              ("0", "90", ["1", "1", "0"]), ("0", "96", ["1"]), ("4", "97", ["4711"])]
    for kind, at, values in writes:
        poll(mbpoll, port, "-a", "3", "-t", kind, "-B", "-r", at, host, "--", *values)
        seen = poll(mbpoll, port, "-a", "3", "-t", kind, "-B", "-r", at, "-c", str(len(values)), host)
        assert [float(v) for v in seen] == [float(v) for v in values], (kind, seen)
    assert "Illegal data address" in poll(mbpoll, port, "-a", "1", "-t", "4", "-r", "55", host, refused=True)
    assert "Illegal data address" in poll(mbpoll, port, "-a", "1", "-t", "4", "-r", "1000", host, refused=True)
    assert "Illegal data address" in poll(mbpoll, port, "-a", "1", "-t", "4", "-r", "0", host, "7", refused=True)
    assert "Target device failed" in poll(mbpoll, port, "-a", "30", "-t", "4", "-r", "5", host, refused=True)
    sim.end()


def main():
    program, mbpoll = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    for rtu in (False, True):
        values_are_what_is_documented(program, rtu)
    values_change_while_time_passes(program)
    each_fault_can_be_switched_on_and_off(program)
    if mbpoll is None:
        print("SKIP mbpoll: it is not installed")
    else:
        mbpoll_reads_and_writes_all_types(program, mbpoll)
    print("modbus_sim: ok")


main()
