"""A small MQTT 3.1.1 client in the standard library: QoS 0 and 1, subscriptions that are made again after
each connect, publishes that come again until they are acknowledged. One thread reads, any thread publishes."""
import socket
import struct
import threading
import time

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
PINGREQ, DISCONNECT = 12, 14


def _text(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">H", len(raw)) + raw


def _packet(first, body):
    length, out = len(body), bytearray([first])
    while True:
        length, low = length >> 7, length & 127
        out.append(low | (128 if length else 0))
        if not length:
            return bytes(out) + body


class Client:
    """on_message(topic, payload, qos, retain, dup) is called on the client's thread; a QoS 1 message is
    acknowledged when it returns. code is that of the last CONNACK, None before the first."""

    def __init__(self, host, port, client_id, user=None, password=None, clean=True, keep_alive=30, on_message=None,
                 retry=0.1):
        self.host, self.port, self.client_id, self.user, self.password = host, port, client_id, user, password
        self.clean, self.keep_alive, self.on_message, self.retry = clean, keep_alive, on_message, retry
        self.code, self.connects, self.filters, self.granted = None, 0, [], {}
        self.waiting = {}  # packet id -> [topic, payload, retain, event], in the order of the publishes
        self.next_id, self.sock, self.ended = 0, None, False
        self.lock, self.ready = threading.RLock(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self, seconds=10):
        self.thread.start()
        return self.ready.wait(seconds)

    def connected(self):
        return self.ready.is_set()

    def _id(self):
        while True:
            self.next_id = self.next_id % 65535 + 1
            if self.next_id not in self.waiting:
                return self.next_id

    def _send(self, raw):
        try:
            if self.sock:
                self.sock.sendall(raw)
        except OSError:
            pass  # the reader notices, too

    def publish(self, topic, payload, qos=1, retain=False, wait=0):
        """True, or whether a QoS 1 publish was acknowledged within `wait` seconds."""
        payload = payload if isinstance(payload, bytes) else payload.encode()
        with self.lock:
            if qos == 0:
                if self.ready.is_set():
                    self._send(_packet(PUBLISH << 4 | retain, _text(topic) + payload))
                return self.ready.is_set()
            entry, number = [topic, payload, retain, threading.Event()], self._id()
            self.waiting[number] = entry
            if self.ready.is_set():
                self._send_publish(number, entry, False)
        return entry[3].wait(wait) if wait else True

    def _send_publish(self, number, entry, again):
        head = _text(entry[0]) + struct.pack(">H", number)
        self._send(_packet(PUBLISH << 4 | (8 if again else 0) | 2 | entry[2], head + entry[1]))

    def subscribe(self, filters, wait=5):
        """The granted QoS of each filter; 128 = refused."""
        with self.lock:
            self.filters += [f for f in filters if f not in self.filters]
            number = self._subscribe(filters)
        end = time.monotonic() + wait
        while number not in self.granted and time.monotonic() < end:
            time.sleep(0.01)
        return self.granted.get(number)

    def _subscribe(self, filters):
        number = self._id()
        body = b"".join(_text(f) + b"\x01" for f in filters)
        self._send(_packet(SUBSCRIBE << 4 | 2, struct.pack(">H", number) + body))
        return number

    def _connect(self):
        flags = (2 if self.clean else 0) | (128 if self.user is not None else 0)
        flags |= 64 if self.password is not None else 0
        body = _text("MQTT") + bytes([4, flags]) + struct.pack(">H", self.keep_alive) + _text(self.client_id)
        for more in (self.user, self.password):
            body += _text(more) if more is not None else b""
        sock = socket.create_connection((self.host, self.port), timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(_packet(CONNECT << 4, body))
        return sock

    def _run(self):
        while not self.ended:
            try:
                self.sock = self._connect()
                self._read()
            except (OSError, ValueError, struct.error):
                pass
            self.ready.clear()
            with self.lock:
                if self.sock:
                    self.sock.close()
                self.sock = None
            if not self.ended:
                time.sleep(self.retry)

    def _read(self):
        self.sock.settimeout(max(self.keep_alive / 2, 0.5))
        held, pinged = bytearray(), False
        while not self.ended:
            try:
                more = self.sock.recv(65536)
            except socket.timeout:
                if pinged:
                    raise
                pinged = True
                with self.lock:
                    self._send(_packet(PINGREQ << 4, b""))
                continue
            if not more:
                return
            pinged = False
            held += more
            while True:
                taken = self._take(held)
                if not taken:
                    break
                del held[:taken]

    def _take(self, held):
        length, shift, at = 0, 0, 1
        while True:
            if at >= len(held):
                return 0
            length |= (held[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not held[at - 1] & 128:
                break
            if shift > 21:
                raise ValueError("length")
        if len(held) < at + length:
            return 0
        self._packet(held[0], bytes(held[at:at + length]))
        return at + length

    def _packet(self, first, body):
        kind = first >> 4
        if kind == CONNACK:
            self._connack(body)
        elif kind == PUBACK:
            with self.lock:
                entry = self.waiting.pop(struct.unpack(">H", body[:2])[0], None)
            if entry:
                entry[3].set()
        elif kind == SUBACK:
            self.granted[struct.unpack(">H", body[:2])[0]] = list(body[2:])
        elif kind == PUBLISH:
            size, qos = struct.unpack(">H", body[:2])[0], first >> 1 & 3
            topic, at = body[2:2 + size].decode(), 2 + size
            number = body[at:at + 2] if qos else b""
            if self.on_message:
                self.on_message(topic, body[at + len(number):], qos, first & 1, first >> 3 & 1)
            if qos:
                with self.lock:
                    self._send(_packet(PUBACK << 4, number))

    def _connack(self, body):
        self.code = body[1]
        if self.code:
            raise ValueError("refused")
        with self.lock:
            self.connects += 1
            if self.filters:
                self._subscribe(self.filters)
            again = self.connects > 1
            for number, entry in self.waiting.items():
                self._send_publish(number, entry, again)
            self.ready.set()

    def drop(self):
        """Ends the connection without a DISCONNECT; it is made again."""
        with self.lock:
            if self.sock:
                self.sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.ended = True
        with self.lock:
            self._send(_packet(DISCONNECT << 4, b""))
            try:
                if self.sock:
                    self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(5)
