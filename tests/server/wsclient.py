"""A WebSocket client on raw sockets (RFC 6455), so that tests can also do what no library lets them do."""
import base64
import json
import os
import socket
import struct
import time

HEADER = struct.Struct(">HBBBBHIIIBBHQQQ8HHHI")
KEY, FIRST, FLUSH, LATE = 1, 2, 4, 8


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__("HTTP %d" % status)
        self.status, self.text = status, text


def http(port, path, headers=(), method="GET", host=None):
    """Returns (status, headers as a dict in lower case, body)."""
    s = socket.create_connection(("127.0.0.1", port), timeout=10)
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: %s" % (host or "127.0.0.1:%d" % port),
             "Connection: close", *headers]
    s.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    data = b""
    while True:
        piece = s.recv(65536)
        if not piece:
            break
        data += piece
        head, sep, body = data.partition(b"\r\n\r\n")
        if sep and b"content-length:" in head.lower():
            n = int([l for l in head.lower().split(b"\r\n") if l.startswith(b"content-length:")][0].split(b":")[1])
            if len(body) >= n:
                break
    s.close()
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {k.strip().lower(): v.strip() for k, _, v in (l.partition(":") for l in lines[1:])}
    return int(lines[0].split()[1]), fields, body


class Picture:
    def __init__(self, data):
        f = HEADER.unpack(data[:72])
        (self.magic, self.version, self.type, self.stream, self.codec, self.flags, self.seq, self.epoch,
         self.revision, self.steps, self.fade, self.header_bytes, self.frame, self.pts_us,
         self.server_us) = f[:15]
        self.timings, self.width, self.height, self.n = f[15:23], f[23], f[24], f[25]
        self.payload = data[72:]
        self.at = time.monotonic()


class Client:
    def __init__(self, port, path="/v1/live", protocol="kinetype.v1", origin=None, host=None, timeout=10,
                 receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect(("127.0.0.1", port))
        self.buffer = b""
        self.close_code = None
        self.close_reason = ""
        self.last_seq = None
        self.reports = True
        self.last_report = 0.0
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET %s HTTP/1.1" % path, "Host: %s" % (host or "127.0.0.1:%d" % port),
                 "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: " + key,
                 "Sec-WebSocket-Version: 13"]
        if protocol:
            lines.append("Sec-WebSocket-Protocol: " + protocol)
        if origin:
            lines.append("Origin: " + origin)
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.sock.recv(4096)
            if not piece:
                raise Refused(0, "closed")
            head += piece
        head, _, self.buffer = head.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if status != 101:
            self.sock.close()
            raise Refused(status, head.decode("latin-1"))

    # ---- sending ----

    def frame(self, opcode, payload, final=True, claim=None):
        """One masked frame; `claim`: the length to announce instead of the true one."""
        n = len(payload) if claim is None else claim
        head = bytes([opcode | (0x80 if final else 0)])
        if n < 126:
            head += bytes([0x80 | n])
        elif n < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", n)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", n)
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        self.sock.sendall(head + mask + masked)

    def send(self, message):
        text = message if isinstance(message, str) else json.dumps(message)
        self.frame(1, text.encode())

    def send_bytes(self, payload, opcode=1):
        self.frame(opcode, payload)

    # ---- receiving ----

    def _read(self, n):
        while len(self.buffer) < n:
            piece = self.sock.recv(65536)
            if not piece:
                raise EOFError
            self.buffer += piece
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def receive(self):
        """The next message: a dict, a Picture, or None when the connection is closed."""
        while True:
            try:
                b0, b1 = self._read(2)
                n = b1 & 0x7F
                if n == 126:
                    n = struct.unpack(">H", self._read(2))[0]
                elif n == 127:
                    n = struct.unpack(">Q", self._read(8))[0]
                payload = self._read(n)
            except (EOFError, ConnectionResetError):
                return None
            opcode = b0 & 15
            if opcode == 9:
                self.frame(10, payload)
            elif opcode == 8:
                if len(payload) >= 2:
                    self.close_code = struct.unpack(">H", payload[:2])[0]
                    self.close_reason = payload[2:].decode()
                return None
            elif opcode == 1:
                return json.loads(payload.decode())
            elif opcode == 2:
                p = Picture(payload)
                if p.stream == 0:
                    self.last_seq = p.seq
                self._report()
                return p

    def _report(self):
        now = time.monotonic()
        if self.reports and self.last_seq is not None and now - self.last_report > 0.1:
            self.last_report = now
            self.send({"type": "playhead", "seq": self.last_seq, "rtt_us": 1000})

    # ---- conversations ----

    def hello(self, **fields):
        message = {"type": "hello", "protocol": 1, "codecs": ["vp8"]}
        message.update(fields)
        self.send(message)
        return self.expect("welcome")

    def expect(self, kind, limit=400, **fields):
        """Skips messages until one of this type (and with these fields)."""
        for _ in range(limit):
            m = self.receive()
            if m is None:
                raise AssertionError("closed (%s) while waiting for %s" % (self.close_code, kind))
            if isinstance(m, dict) and m["type"] == kind and all(m.get(k) == v for k, v in fields.items()):
                return m
            if isinstance(m, dict) and m["type"] == "error" and kind != "error":
                raise AssertionError("%s while waiting for %s" % (m, kind))
        raise AssertionError("no %s in %d messages" % (kind, limit))

    def picture(self, limit=400, stream=0, **fields):
        for _ in range(limit):
            m = self.receive()
            if m is None:
                raise AssertionError("closed (%s) while waiting for a picture" % self.close_code)
            if isinstance(m, Picture) and m.stream == stream and all(getattr(m, k) == v for k, v in fields.items()):
                return m
        raise AssertionError("no such picture")

    def closed(self, limit=2000):
        """Reads to the end; the texts on the way and the close code."""
        texts = []
        for _ in range(limit):
            m = self.receive()
            if m is None:
                return texts, self.close_code
            if isinstance(m, dict):
                texts.append(m)
        raise AssertionError("still open")

    def type(self, text, rev, commit=True, **fields):
        self.send({"type": "edit", "rev": rev, "text": text})
        if commit:
            self.send({"type": "commit", "rev": rev, **fields})

    def close(self):
        self.sock.close()
