#!/usr/bin/python3
"""pymodbus' server for tests. Prints its port, ends when stdin does.

usage: modbus_server.py [--port N] [--log FILE] [tcp | rtutcp | TTY]
Units 1 and 2. Holding and input registers from 0: 16 bits -1234, 32 bits -123456789, float 3.14159, double
2.718281828459045, 64 bits 12345678901234567, "hello wo" as pymodbus builds them, big endian; from 100 with
the order of words turned, from 200 with that of bytes. Coils and discrete inputs 0..15: every third is on.
Registers 300 to 399 are 0, for writing; there are none from 1000.
"""
import asyncio
import os
import socket
import sys
import threading

from pymodbus.constants import Endian
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.payload import BinaryPayloadBuilder
from pymodbus.server.async_io import ModbusSerialServer, ModbusTcpServer
from pymodbus.transaction import ModbusRtuFramer, ModbusSocketFramer

arguments = sys.argv[1:]
port, kind = 0, "tcp"
while arguments:
    word = arguments.pop(0)
    if word == "--port":
        port = int(arguments.pop(0))
    elif word == "--log":
        arguments.pop(0)
    else:
        kind = word


def registers(byteorder, wordorder):
    b = BinaryPayloadBuilder(byteorder=byteorder, wordorder=wordorder)
    b.add_16bit_int(-1234)
    b.add_32bit_int(-123456789)
    b.add_32bit_float(3.14159)
    b.add_64bit_float(2.718281828459045)
    b.add_64bit_uint(12345678901234567)
    b.add_string("hello wo")
    return b.to_registers()


def block():
    words = [0] * 1000
    for at, orders in ((0, (Endian.Big, Endian.Big)), (100, (Endian.Big, Endian.Little)), (200, (Endian.Little, Endian.Big))):
        made = registers(*orders)
        words[at:at + len(made)] = made
    return ModbusSequentialDataBlock(0, words)


def slave():
    bits = [i % 3 == 0 for i in range(64)]
    return ModbusSlaveContext(hr=block(), ir=block(), co=ModbusSequentialDataBlock(0, list(bits)),
                              di=ModbusSequentialDataBlock(0, list(bits)), zero_mode=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


async def main():
    global port
    context = ModbusServerContext(slaves={1: slave(), 2: slave()}, single=False)
    port = port or free_port()
    if kind in ("tcp", "rtutcp"):
        framer = ModbusSocketFramer if kind == "tcp" else ModbusRtuFramer
        server = ModbusTcpServer(context, framer=framer, address=("127.0.0.1", port), allow_reuse_address=True)
    else:
        server = ModbusSerialServer(context, framer=ModbusRtuFramer, port=kind, baudrate=19200, parity="N", autoreconnect=True)
        await server.start()

    def alive():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=alive, daemon=True).start()
    if kind in ("tcp", "rtutcp"):
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0.1)
        print(port, flush=True)
        await serving
    else:
        print(port, flush=True)
        await server.serve_forever()


asyncio.run(main())
