#!/usr/bin/python3
"""Simulated concentrators of the meter protocol of examples/thingspanel-service, over TCP.

A concentrator keeps each readings frame until it is acknowledged and sends it again after a reconnect, as meters
with a buffer do: what is lost then was lost behind the acknowledgement. README.md has the protocol."""
import argparse
import asyncio
import collections
import json
import random
import struct
import sys
import threading

LOGIN, BEAT, READINGS, SET, EVENT = 1, 2, 3, 4, 5
WINDOW = 32  # readings on their way without an acknowledgement


def frame(kind, body=b""):
    head = bytes([0x68, kind]) + struct.pack(">H", len(body)) + body
    return head + bytes([sum(head) & 255])


def take(held):
    """(type, body, bytes) of the first frame, None = more is needed; ValueError = no frame."""
    if held and held[0] != 0x68:
        raise ValueError("no frame")
    if len(held) < 4:
        return None
    length = struct.unpack(">H", held[2:4])[0]
    if len(held) < length + 5:
        return None
    if sum(held[:length + 4]) & 255 != held[length + 4]:
        raise ValueError("check")
    return held[1], bytes(held[4:length + 4]), length + 5


class Meter:
    def __init__(self, fleet, serial, behind):
        self.fleet, self.serial, self.behind = fleet, serial, behind
        self.kept, self.sequence = collections.OrderedDict(), 0
        self.reader = self.writer = None
        self.numbers, self.relays, self.interval, self.state = set(), {}, 0, "new"
        self.waiting = None  # a list: what must not come between the bytes of a slow frame
        self.sent, self.silent, self.stopped, self.refuse = set(), False, False, False

    def count(self, name, n=1):
        self.fleet.numbers[name] += n

    def measure(self):
        self.sequence += 1
        body = struct.pack(">IB", self.sequence, self.behind + 1)
        for address in range(self.behind + 1):
            energy = self.sequence * 10 + address
            body += struct.pack(">BIHH", address, energy & 0xffffffff, random.randrange(3000), 2300 + random.randrange(50))
        self.kept[self.sequence] = frame(READINGS, body)
        self.count("made")

    def send(self, raw):
        if self.waiting is not None:
            self.waiting.append(raw)
        elif self.writer and not self.writer.is_closing():
            self.writer.write(raw)

    def pump(self):
        """Sends what is kept and was not sent on this connection, in order."""
        if self.state != "in":
            return
        for number, raw in self.kept.items():
            if len(self.sent) >= WINDOW:
                break
            if number not in self.sent:
                self.sent.add(number)
                self.send(raw)
                self.count("sent")

    def take_frame(self, kind, body):
        if kind == LOGIN | 128:
            self.state = "in" if body == b"\0" else "refused"
            self.count("logins" if self.state == "in" else "refused")
            self.pump()
        elif kind == BEAT | 128:
            self.count("beats_answered")
        elif kind == READINGS | 128 and len(body) == 4:
            number = struct.unpack(">I", body)[0]
            if self.kept.pop(number, None) is not None:
                self.count("acknowledged")
            self.sent.discard(number)
            self.pump()
        elif kind == SET and len(body) == 6:
            self.carry_out(*struct.unpack(">HBBH", body))
        else:
            self.count("strange")

    def carry_out(self, number, address, what, value):
        self.count("commands")
        self.count("commands_doubled", number in self.numbers)
        self.numbers.add(number)
        good = address <= self.behind and what in (1, 2) and not self.refuse
        if good and what == 1:
            self.relays[address] = value
        elif good:
            self.interval = value
        self.fleet.say({"event": "command", "meter": self.serial, "number": number, "address": address, "what": what,
                        "value": value, "good": good})
        if not self.fleet.mute:
            self.send(frame(SET | 128, struct.pack(">HB", number, 0 if good else 1)))

    async def listen(self):
        held = bytearray()
        while True:
            more = await self.reader.read(65536)
            if not more:
                return
            held += more
            while True:
                got = take(held)
                if got is None:
                    break
                del held[:got[2]]
                self.take_frame(got[0], got[1])
            if self.state == "refused":
                return

    async def beat(self):
        while self.fleet.heartbeat:
            await asyncio.sleep(self.fleet.heartbeat)
            if self.state == "in" and not self.silent:
                self.send(frame(BEAT))
                self.count("beats")

    async def measuring(self):
        await asyncio.sleep(random.random() / self.fleet.rate)
        while not self.stopped and not self.fleet.stopped:
            self.measure()
            self.pump()
            await asyncio.sleep(1 / self.fleet.rate)

    async def run(self):
        tasks = [asyncio.create_task(self.beat())]
        if self.fleet.rate > 0:
            tasks.append(asyncio.create_task(self.measuring()))
        pause = 0.1
        while not self.stopped:
            try:
                self.state = "connecting"
                self.reader, self.writer = await asyncio.open_connection(self.fleet.host, self.fleet.port)
                self.sent.clear()
                self.state = "login"
                self.send(frame(LOGIN, self.serial.encode()))
                await self.listen()
            except (OSError, ValueError) as reason:
                self.count("frames_bad", isinstance(reason, ValueError))
            if self.writer:
                self.writer.close()
            self.count("closed", self.state == "in")
            pause = 0.1 if self.state == "in" else min(pause * 2, self.fleet.retry)
            self.state = "closed"
            self.writer = None
            if not self.stopped:
                await asyncio.sleep(pause * (0.5 + random.random()))
        for task in tasks:
            task.cancel()

    async def fault(self, kind):
        """Misbehaves on a connection of its own that logs in as nobody, or on its session where that matters."""
        good = frame(READINGS, struct.pack(">IB", 1, 1) + struct.pack(">BIHH", 0, 1, 1, 1))
        own = {"half": good[:7], "zero": frame(READINGS), "check": good[:-1] + bytes([good[-1] ^ 255]),
               "unknown": frame(0x55, b"abc"), "count": frame(READINGS, struct.pack(">IB", 1, 200)),
               "address": frame(READINGS, struct.pack(">IB", 1, 1) + struct.pack(">BIHH", 251, 1, 1, 1))}
        for turn in range(500):
            if self.state == "in":
                break
            await asyncio.sleep(0.01)
        if kind == "cut":
            self.writer and self.writer.transport.abort()
        elif kind == "event":
            self.send(frame(EVENT, struct.pack(">BBH", 0, 2, 4200)))
            self.send(frame(EVENT, struct.pack(">BB", min(1, self.behind), 1)))
        elif kind == "slow":
            writer, self.waiting = self.writer, []
            for byte in frame(BEAT) + frame(BEAT):
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
            waiting, self.waiting = self.waiting, None
            for raw in waiting if writer is self.writer else []:
                self.send(raw)
        elif kind == "silent":
            self.silent = True
        elif kind == "deny":
            self.refuse = True
        elif kind in own:
            self.send(own[kind])
        elif kind in ("garbage", "long", "garbage_first", "same", "nobody", "early"):
            await self.elsewhere(kind, good)
        else:
            raise ValueError(f"no fault {kind}")

    async def elsewhere(self, kind, good):
        reader, writer = await asyncio.open_connection(self.fleet.host, self.fleet.port)
        login = frame(LOGIN, self.serial.encode())
        first = {"garbage": random.randbytes(200), "garbage_first": b"\x00\xff\x12" + login, "same": login,
                 "long": bytes([0x68, LOGIN, 0xff, 0xff]) + b"x" * 65535 + b"?", "early": good,
                 "nobody": frame(LOGIN, b"nobody-" + str(random.random()).encode()[:20])}[kind]
        writer.write(first)
        try:
            answer = await asyncio.wait_for(reader.read(100), 1)
            self.fleet.say({"event": "fault", "fault": kind, "meter": self.serial, "answer": answer.hex()})
        except (asyncio.TimeoutError, OSError) as reason:
            self.fleet.say({"event": "fault", "fault": kind, "meter": self.serial, "answer": type(reason).__name__})
        writer.close()


class Fleet:
    """meters concentrators; rate: readings a second of each. Its loop runs on a thread of its own."""

    def __init__(self, port, meters=1, behind=0, rate=1.0, heartbeat=10.0, serial="M-{:04d}", host="127.0.0.1", say=None,
                 retry=2.0):
        self.host, self.port, self.rate, self.heartbeat, self.retry = host, port, rate, heartbeat, retry
        self.numbers, self.stopped, self.mute = collections.Counter(), False, False
        self.say = say or (lambda event: None)
        self.meters = [Meter(self, serial.format(n), behind) for n in range(1, meters + 1)]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.tasks = [self.loop.create_task(m.run()) for m in self.meters]
        self.loop.run_forever()

    def find(self, serial):
        return next(m for m in self.meters if m.serial == serial)

    def fault(self, serial, kind, seconds=10):
        return asyncio.run_coroutine_threadsafe(self.find(serial).fault(kind), self.loop).result(seconds)

    def add(self, serial, behind=0):
        meter = Meter(self, serial, behind)
        self.meters.append(meter)
        asyncio.run_coroutine_threadsafe(meter.run(), self.loop)
        return meter

    def stop(self):
        """No more measurements; what is kept is still sent."""
        self.stopped = True

    def kept(self):
        return sum(len(m.kept) for m in self.meters)

    def counts(self):
        out = {name: self.numbers[name] for name in ("made", "sent", "acknowledged", "logins", "refused", "closed", "commands",
                                                     "commands_doubled", "beats", "beats_answered", "strange", "frames_bad")}
        out.update(kept=self.kept(), inside=sum(m.state == "in" for m in self.meters), meters=len(self.meters))
        return out

    def close(self):
        async def end():
            for m in self.meters:
                m.stopped = True
                if m.writer:
                    m.writer.transport.abort()
            for task in asyncio.all_tasks(self.loop):
                if task is not asyncio.current_task():
                    task.cancel()
            await asyncio.sleep(0.05)
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


def main():
    p = argparse.ArgumentParser(prog="meter.py", description=__doc__)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--meters", type=int, default=1)
    p.add_argument("--sub-meters", type=int, default=0)
    p.add_argument("--rate", type=float, default=1.0, help="readings a second of each concentrator")
    p.add_argument("--heartbeat", type=float, default=10.0, help="seconds; 0 = none")
    p.add_argument("--serial", default="M-{:04d}", help="a format of Python")
    p.add_argument("--quiet", action="store_true")
    o = p.parse_args()
    lock = threading.Lock()

    def say(event):
        with lock:
            print(json.dumps(event), flush=True)

    fleet = Fleet(o.port, o.meters, o.sub_meters, o.rate, o.heartbeat, o.serial, o.host, None if o.quiet else say)
    say({"event": "ready", "meters": o.meters})
    try:
        for line in sys.stdin:  # its end ends the meters
            try:
                ask = json.loads(line)
                if ask["do"] == "stop":
                    fleet.stop()
                elif ask["do"] == "fault":
                    fleet.fault(ask["meter"], ask["fault"])
                elif ask["do"] == "end":
                    break
                say({"did": ask["do"], **fleet.counts()})
            except (ValueError, KeyError, TypeError, StopIteration, OSError) as reason:
                say({"did": None, "error": f"{type(reason).__name__}: {reason}"})
    except KeyboardInterrupt:
        pass
    say({"event": "end", **fleet.counts()})
    fleet.close()


if __name__ == "__main__":
    main()
