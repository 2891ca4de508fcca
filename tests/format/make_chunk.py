#!/usr/bin/env python3
"""Writes the golden chunks of docs/format/history.md by that page alone, not by the library's code.

chunk-1.bin is of version 1; chunk-2.bin has every coding and every mode of integers of version 2, and more
than 64 columns. Kept for ever: run it only to add.
"""
import struct
import sys

from make_log import crc32c, varint, zigzag

MASK = (1 << 64) - 1
ROWS = 20
TIMES = [1763640000000 + 1000 * i + (37 * i) % 11 for i in range(ROWS)]


def wrap(x):
    x &= MASK
    return x - (1 << 64) if x >> 63 else x


def unsigned_zigzag(x):
    x = wrap(x)
    return (x << 1 ^ x >> 63) & MASK


def pack(numbers, width):
    word = 0
    for i, n in enumerate(numbers):
        assert n < 1 << width
        word |= n << i * width
    return word.to_bytes((len(numbers) * width + 7) // 8, 'little')


def block(mode, values, before):
    deltas = [wrap(v - b) for v, b in zip(values, [before] + values)]
    if mode == 'raw':
        return b'\xc0' + struct.pack('<%dq' % len(values), *values)
    if mode == 'delta':
        number, base, numbers = 0, b'', [unsigned_zigzag(d) for d in deltas]
    elif mode == 'rise':
        number, base, numbers = 1, zigzag(min(deltas)), [d - min(deltas) for d in deltas]
    else:
        number, base, numbers = 2, zigzag(wrap(min(values) - before)), [v - min(values) for v in values]
    width = max(numbers).bit_length()
    return bytes([number << 6 | width]) + base + pack(numbers, width)


def integers(values, before, modes=('delta', 'frame')):
    out = b''
    for i in range(0, len(values), 16):
        part = values[i:i + 16]
        if all(v == before for v in part):
            out += b'\xc1'
        else:
            out += block(modes[i // 16 % len(modes)], part, before)
        before = part[-1]
    return out


def ends(values):
    return (zigzag(values[0]) + zigzag(wrap(values[-1] - values[0])) + varint(values[0] - min(values)) +
            varint(max(values) - values[0]))


def ints(values, modes=('delta', 'frame'), wide=False):
    distance = sum(v - values[0] for v in values)
    total = struct.pack('<d', sum(float(v) for v in values)) if wide else zigzag(distance)
    return bytes([wide]) + ends(values) + total + integers(values[1:], values[0], modes)


def decimals(scale, values, patches=()):
    places = [p for p, _ in patches]
    head = bytes([scale | (32 if patches else 0)])
    if patches:
        head += varint(len(patches))
        for (place, x), before in zip(patches, [0] + places):
            head += varint(place - before) + struct.pack('<d', x)
        values = [values[next(i for i in range(ROWS) if i not in places)] if i in places else v
                  for i, v in enumerate(values)]
    return head + ends(values) + zigzag(sum(v - values[0] for v in values)) + integers(values[1:], values[0])


def bits(x):
    return struct.unpack('<q', struct.pack('<d', x))[0]


def order(x, shift):
    n = bits(x) >> shift
    return n ^ ((1 << 63) - 1 >> shift) if n < 0 else n


def reals(values, shift):
    numbers = [x for x in values if x == x]
    n = [order(x, shift) for x in values]
    out = bytes([64 + (len(numbers) < len(values)), shift]) + struct.pack('<d', values[0])
    for x in (values[-1], min(numbers), max(numbers)):
        out += zigzag(wrap(order(x, shift) - n[0]))
    return out + struct.pack('<d', sum(numbers)) + integers(n[1:], n[0], ('delta', 'raw'))


def texts(values):
    return b'\0' + b''.join(varint(len(v)) + v for v in values)


def dictionary(values):
    words = sorted(set(values))
    return (b'\1' + varint(len(words)) + b''.join(varint(len(w)) + w for w in words) +
            integers([words.index(v) for v in values], 0, ('frame', 'delta')))


def bitmap(rows, total):
    return pack([int(r in rows) for r in range(total)], 1)


def columns_2():
    every = [
        (0, b''),
        (1, b'\0' + pack([i % 3 == 0 for i in range(ROWS)], 1)),
        (1, b'\1\x05\x0f'),
        (1, b'\2\x01\x13'),
        (2, ints([i * i - 7 for i in range(ROWS)], ('rise', 'delta'))),
        (2, ints([-(1 << 63), (1 << 63) - 1] * 10, ('raw', 'delta'), True)),
        (2, ints([42] * ROWS)),
        (3, decimals(2, [2150 + (i * 7) % 23 for i in range(ROWS)])),
        (3, decimals(1, [205 + i % 5 for i in range(ROWS)], [(0, -0.0), (7, float('inf')), (19, 1 / 3)])),
        (3, reals([1.1 * 1.1 ** i for i in range(ROWS)], 0)),
        (3, reals([float('nan') if i == 4 else (-1) ** i * (i + 0.5) for i in range(ROWS)], 47)),
        (4, texts([b'text %d' % i for i in range(ROWS)])),
        (4, dictionary([[b'on', b'off', b''][i % 7 % 3] for i in range(ROWS)])),
        (5, texts([bytes([i, 0]) for i in range(ROWS)])),
        (6, dictionary([b'\x82\x01\xf6'] * ROWS)),
        (7, texts([b'\xa1\x61a' + bytes([i % 24]) for i in range(ROWS)])),
    ]
    out = [(i + 1 << 3 | t, ROWS << 1 | 1, body) for i, (t, body) in enumerate(every)]
    out.append((17 << 3 | 2, 3 << 1, bitmap((2, 3, 11), ROWS) + ints([5, 6, 4])))
    out.append((17 << 3 | 3, 1 << 1, bitmap((12,), ROWS) + b'\1' + zigzag(-15)))
    for i in range(60):
        out.append(((100 + i) << 3 | 2, 1 << 1, bitmap((i % ROWS,), ROWS) + b'\0' + zigzag(i)))
    return out


def write_columns(columns, before):
    out = b''
    for key, count, body in columns:
        out += varint(key - before) + varint(count) + varint(len(body)) + body
        before = key
    return out


def version_2():
    columns = columns_2()
    length, step = TIMES[-1] - TIMES[0], 1000
    line = [t - TIMES[0] - i * step for i, t in enumerate(TIMES)]
    times = integers(line[1:], 0, ('frame', 'rise'))
    rest = varint(ROWS) + varint(len(columns)) + varint(5000) + varint(77) + zigzag(TIMES[0])
    rest += varint(length) + varint(step) + varint(len(times)) + times
    before = 0
    for i in range(0, len(columns), 64):
        part = columns[i:i + 64]
        body = write_columns(part, before)
        rest += varint(part[-1][0] - before) + varint(len(body)) + body
        before = part[-1][0]
    return b'\xc8\x02' + struct.pack('<I', crc32c(b'\xc8\x02' + rest)) + rest


def version_1():
    numbers = [3, -8, 1 << 40]
    body_int = zigzag(min(numbers)) + varint(max(numbers) - min(numbers)) + struct.pack('<d', sum(numbers))
    body_int += b''.join(zigzag(v - b) for v, b in zip(numbers, [0] + numbers))
    body_double = bitmap((0, 2), 3) + struct.pack('<5d', -1.5, 0.1, -1.4, 0.1, -1.5)
    columns = [(1 << 3 | 2, 3 << 1 | 1, body_int), (2 << 3 | 3, 2 << 1, body_double),
               (3 << 3 | 1, 3 << 1 | 1, b'\5'), (4 << 3 | 4, 1 << 1, bitmap((1,), 3) + b'\2on'),
               (5 << 3 | 0, 3 << 1 | 1, b'')]
    rest = varint(3) + varint(len(columns)) + varint(9) + varint(2) + zigzag(-5) + varint(1) + varint(1000)
    return b'\xc7\x01' + rest + write_columns(columns, 0)


if __name__ == '__main__':
    for number, content in ((1, version_1()), (2, version_2())):
        with open('%s/chunk-%d.bin' % (sys.argv[1], number), 'wb') as f:
            f.write(content)
