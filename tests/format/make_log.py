#!/usr/bin/env python3
"""Writes the golden segments of docs/format/log.md by that page alone, not by the library's code.

log-1.tpl is what format 1 writes; log-2.tpl is what a later, compatible version may write: longer header,
run entries and record heads, ignorable frame flags, unknown kinds; log-3.tpl is format 1 of a writer whose
clock was not set: records with flag bit 0 carry a boot and a monotonic time. Kept for ever: run it only to add.
"""
import struct
import sys


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(x):
    out = bytearray()
    while x >= 0x80:
        out.append(x & 0x7F | 0x80)
        x >>= 7
    out.append(x)
    return bytes(out)


def zigzag(x):
    return varint((x << 1) ^ (x >> 63))


BASE = 1763640000000


def header(version, offsets, extra):
    table_at = 80 + extra
    length = table_at + 8 * len(offsets)
    body = struct.pack('<IHHI16sqQqQII', length, version, 1, len(offsets), bytes(range(16)), BASE, 7,
                       BASE + 1000, 501, table_at, 0)
    body += b'\xee' * extra + b''.join(struct.pack('<Q', o) for o in offsets)
    return b'\x89TPCLOG\n' + struct.pack('<I', crc32c(body)) + body


def record(version, kind, flags, device, revision, received, time, trace, boot, body):
    bits = (1 << 16 if trace else 0) | (1 << 17 if boot else 0)
    head = varint(kind) + varint(flags | bits) + varint(device)
    head += varint(revision) + zigzag(received - BASE) + zigzag(time - received) + trace + boot
    if version > 1:
        head += b'later'
    rest = bytes([len(head)]) + head + body
    return varint(len(rest)) + rest


def frame(version, sequence, runs):
    extra = 8 if version > 1 else 0
    header_bytes, run_bytes = 48 + extra, 24 + extra
    table, records = b'', b''
    count = 0
    for partition, offset, items in runs:
        data = b''.join(items)
        at = header_bytes + run_bytes * len(runs) + len(records)
        table += struct.pack('<IIQII', partition, len(items), offset, at, len(data)) + b'\xdd' * extra
        records += data
        count += len(items)
    length = header_bytes + len(table) + len(records)
    fields = struct.pack('<IHHIIQqI', length, header_bytes, run_bytes, 0x8000 if version > 1 else 0,
                         count, sequence, BASE, len(runs))
    rest = fields + struct.pack('<I', crc32c(fields)) + b'\xcc' * extra + table + records
    return b'\xb5TPF' + struct.pack('<I', crc32c(rest)) + rest


def segment(number):
    version = 1 if number == 3 else number

    def one(i, kind=1, trace=b''):
        boot = bytes(range(0xb0, 0xc0)) + varint(1000000 + i) if number == 3 and i & 1 else b''
        return record(version, kind, i % 16, 1 << 40 | i, i, BASE + 10 * i, BASE + 10 * i - 3, trace,
                      boot, b'body %d' % i)

    out = header(version, [100, 200, 0], 24 if version > 1 else 0)
    out += frame(version, 501, [(1, 200, [one(0), one(1, 2, bytes(range(1, 17)))]), (0, 100, [one(2, 6)])])
    out += frame(version, 504, [(0, 150, [one(3, 999 if version > 1 else 13)])])
    out += frame(version, 505, [(2, 0, [one(4, 12, b'\xff' * 16)]), (1, 202, [one(5)])])
    return out


if __name__ == '__main__':
    for number in (1, 2, 3):
        with open('%s/log-%d.tpl' % (sys.argv[1], number), 'wb') as file:
            file.write(segment(number))
