#!/usr/bin/python3
"""examples/thingspanel-service on frames and captures, and its --try: what it prints, and how it ends."""
import pathlib
import struct
import subprocess
import sys
import tempfile

program = pathlib.Path(sys.argv[1]).resolve()
tool = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None
faults, passed = [], 0


def expect(what, good, more=""):
    global passed
    passed += bool(good)
    if not good:
        faults.append(f"{what}: {more}")


def run(*options, at=program):
    done = subprocess.run([str(at), *map(str, options)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def frame(kind, body=b""):
    head = bytes([0x68, kind]) + struct.pack(">H", len(body)) + body
    return head + bytes([sum(head) & 255])


def readings(sequence):
    return frame(3, struct.pack(">IB", sequence, 2) + struct.pack(">BIHH", 0, 1000, 5, 2300) + struct.pack(">BIHH", 7, 2000, 6, 2310))


# ---- captures ----

def tcp(seq, data, flags=0x18, ports=(50000, 7000)):
    return struct.pack(">HHIIBBHHH", *ports, seq & 0xffffffff, 0, 0x50, flags, 1000, 0, 0) + data


def ip4(payload, proto=6, fragment=0):
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, fragment, 64, proto, 0, bytes([10, 0, 0, 7]), bytes([10, 0, 0, 1])) + payload


def ip6(payload, extension=False):
    rest = (bytes([6, 0]) + bytes(6) if extension else b"") + payload
    return struct.pack(">IHBB16s16s", 6 << 28, len(rest), 0 if extension else 6, 64, bytes(15) + b"\1", bytes(15) + b"\2") + rest


def ether(packet, kind=0x0800, tag=False):
    return bytes(12) + (struct.pack(">HH", 0x8100, 5) if tag else b"") + struct.pack(">H", kind) + packet + bytes(3)


def classic(packets, link, order="<", magic=0xa1b2c3d4):
    out = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    return out + b"".join(struct.pack(order + "IIII", 1, 0, len(p), len(p)) + p for p in packets)


def block(kind, body, order):
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def ng(packets, link, order="<"):
    out = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    out += block(1, struct.pack(order + "HHI", link, 0, 0), order) + block(5, bytes(12), order)
    for n, p in enumerate(packets):
        out += block(6, struct.pack(order + "IIIII", 0, 0, 0, len(p), len(p)) + p, order) if n % 2 else block(3, struct.pack(order + "I", len(p)) + p, order)
    return out


STREAM = frame(1, b"M-1") + readings(1) + readings(2)
CUTS = [STREAM[:3], STREAM[3:20], STREAM[20:]]


def segments(base=1000):
    """A connection with a half frame, something sent again, something sent again with more, and an answer."""
    at = base + 1
    out = [tcp(base, b"", 2)]
    for part in CUTS:
        out += [tcp(at, part)]
        at += len(part)
    out.insert(2, tcp(base + 1, CUTS[0]))
    out.insert(3, tcp(base + 1, CUTS[0] + CUTS[1][:5]))
    out[4] = tcp(base + 4, CUTS[1])
    out.append(tcp(77, frame(0x81, b"\0"), ports=(7000, 50000)))
    return out


def captures(folder):
    inside = segments(0xfffffff0)  # the sequence goes round
    made = {
        "ether": classic([ether(ip4(s)) for s in inside], 1),
        "ether big-endian": classic([ether(ip4(s)) for s in inside], 1, ">"),
        "nanoseconds": classic([ether(ip4(s)) for s in inside], 1, magic=0xa1b23c4d),
        "vlan": classic([ether(ip4(s), tag=True) for s in inside], 1),
        "ip6": classic([ether(ip6(s, n % 2 == 1), 0x86dd) for n, s in enumerate(inside)], 1),
        "raw": classic([ip4(s) for s in inside], 101),
        "loopback": classic([struct.pack("<I", 2) + ip4(s) for s in inside], 0),
        "cooked": classic([bytes(14) + b"\x08\x00" + ip4(s) for s in inside], 113),
        "cooked 2": classic([b"\x08\x00" + bytes(18) + ip4(s) for s in inside], 276),
        "ng": ng([ether(ip4(s)) for s in inside], 1),
        "ng big-endian": ng([ether(ip4(s)) for s in inside], 1, ">"),
    }
    for name, content in made.items():
        path = pathlib.Path(folder) / "x.pcap"
        path.write_bytes(content)
        code, out = run("--pcap", path, "--port", 7000)
        expect(name, code == 0 and 'voucher {"serial":"M-1"}' in out and "seq=1 " in out and "seq=2 " in out and "telemetry of 7: energy_kwh=2.0" in out
               and out.count("telemetry:") == 2 and " 3 frames" in out and ("7000" in out), out)
    path.write_bytes(classic([ip4(tcp(0, readings(1)[:9])), ip4(tcp(20, readings(2))), ip4(b"", 17), ip4(tcp(99, b"x"), fragment=0x2000)], 101))
    code, out = run("--pcap", path, "--port", 7000)
    expect("a gap", code == 0 and "bytes are missing: 9 are given up" in out and "seq=2 " in out and "2 passed over" in out, out)
    path.write_bytes(classic([ip4(tcp(0, readings(1)))], 101)[:-5])
    code, out = run("--pcap", path)
    expect("cut off", code == 2 and "cut off" in out, out)
    path.write_bytes(ng([ip4(tcp(0, readings(1)))], 101)[:-8] + b"\xff\xff\xff\xff")
    expect("a block", run("--pcap", path)[0] == 2)
    path.write_bytes(b"no capture")
    code, out = run("--pcap", path)
    expect("no capture", code == 2 and "no capture" in out, out)
    expect("no file", run("--pcap", "/nonexistent")[0] == 2)


# ---- digits ----

def digits(folder):
    text = (frame(1, b"M-1") + frame(2) + readings(7) + frame(0x84, b"\0\5\0") + frame(5, b"\1\2\x13\x88") + frame(5, b"\0\1")).hex(":")
    path = pathlib.Path(folder) / "frames.txt"
    path.write_text(text.replace(":", "\n"))
    for given in (text, path):
        code, out = run("--hex", given)
        expect("digits", code == 0 and all(part in out for part in (
            'voucher {"serial":"M-1"}', "answer 68810001 00ea", "answer 68820000 ea", "telemetry: seq=7 energy_kwh=1.0 power=5 voltage=230.0",
            "telemetry of 7:", "answer 68830004 00000007 f6", "reply to number 5, code 0", 'event of 1 overload {"power":5000}', "event cover_opened")), out)
    bad = (b"\1\2" + frame(9) + frame(3, b"\0\0\0\1\5") + frame(5, b"\0\7") + frame(5) + readings(1)[:-1] + b"\0").hex()
    code, out = run("--hex", bad)
    expect("bad frames", code == 1 and out.count("refused: TPC_EDECODE") == 4 and "no frame" in out, out)
    code, out = run("--hex", "6802")
    expect("half a frame", code == 1 and "2 bytes more" in out, out)
    for wrong in ("681", "6g", ""):
        expect(f"digits {wrong!r}", run("--hex", wrong)[0] in (0, 2) and run("--hex", wrong)[0] == (2 if wrong else 0))
    for options in ([], ["--hex"], ["--nothing"], ["a.yaml", "b.yaml"]):
        expect(f"usage {options}", run(*options)[0] == 2)


# ---- tp-tool codec ----

def codec(folder):
    config, hexes, capture = (pathlib.Path(folder) / name for name in ("x.yaml", "x.hex", "x.pcap"))
    config.write_text("entities: [{kind: product, key: p, codec: json, model: {properties: [{id: a, type: int, max: 9}]}}]\n")

    def ask(*options):
        return run("codec", "p", "--config", config, *options, at=tool)
    lines = b'{"a":1}\n{"a":2}\r\n'
    length = b"".join(b"\0" + bytes([len(t)]) + t for t in (b'{"a":3}', b'{"a":4}'))
    code, out = ask("--framing", "{}", "--hex", (lines + b'{"a":').hex())
    expect("lines", code == 1 and "a = 1" in out and "a = 2" in out and "5 bytes more" in out, out)
    hexes.write_text(length.hex("\n"))
    code, out = ask("--framing", '{"type":"length","size":2,"strip":2}', "--hex", hexes)
    expect("length", code == 0 and "a = 3" in out and "a = 4" in out, out)
    padded = b'{"a":5' + b" " * 400000 + b"}"
    hexes.write_text((4 * (len(padded).to_bytes(4, "big") + padded)).hex())
    code, out = ask("--framing", '{"type":"length","size":4,"strip":4}', "--hex", hexes)
    expect("more than is kept of a frame", code == 0 and out.count("a = 5") == 4, (code, out[:500]))
    hexes.write_text(((2 << 20) * b" " + b"}").hex())
    code, out = ask("--framing", "{}", "--hex", hexes)
    expect("a frame that does not end", code == 1 and "a = " not in out and out != "", (code, out[:500]))
    code, out = ask("--framing", '{"type":"length","size":1}', "--hex", "00")
    expect("a length of nothing", code == 1 and "would be closed" in out, out)
    capture.write_bytes(classic([ip4(tcp(0, lines[:9])), ip4(tcp(9, lines[9:])), ip4(tcp(0, b"{}", ports=(7000, 50000)))], 101))
    code, out = ask("--framing", "{}", "--pcap", capture, "--port", "7000")
    expect("capture", code == 0 and out.count("frame of") == 2 and "a = 2" in out and "10.0.0.7:50000 > 10.0.0.1:7000" in out, out)
    code, out = ask("--pcap", capture)
    expect("each piece", code == 1 and out.count("frame of") == 3, out)
    code, out = ask("--hex", "7b2261223a31307d")
    expect("what the model says", code == 1 and "refused" in out and "frame of" not in out, out)
    for wrong in ("{", '{"type":"none"}', '{"type":"fixed"}', '{"type":"service"}', '{"more":1}'):
        code, out = ask("--framing", wrong, "--hex", "00")
        expect(f"framing {wrong}", code == 1 and "--framing" in out, out)
    expect("two inputs", ask("--pcap", capture, "--hex", "00")[0] == 2)
    expect("no capture", ask("--pcap", config)[0] == 1)


with tempfile.TemporaryDirectory() as where:
    if tool:
        codec(where)
    captures(where)
    digits(where)
    code, out = run("--try", "--command", "interval", "--params", '{"seconds": 5}')
    expect("try", code == 0 and "device M-0001: online" in out and "device M-0001-1: online" in out and out.rstrip().endswith("try: ok"), out)
    code, out = run("--try", "--command", "dance")
    expect("try what the meters do not know", code == 1 and "refused" in out, out)
for fault in faults:
    print(fault)
print(f"tk: service-try passed={passed} failed={len(faults)} skipped=0 seconds=0")
sys.exit(1 if faults else 0)
