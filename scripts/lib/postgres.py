"""Questions to PostgreSQL without a driver: the simple query protocol, with SCRAM-SHA-256."""
import base64
import hashlib
import hmac
import os
import socket
import struct


class Refused(Exception):
    """The server is not there, or said no."""


def rows(port, user, password, database, sql, patience=10):
    """What `sql` brings: a list of tuples of text or None. Raises Refused."""
    try:
        with socket.create_connection(("127.0.0.1", port), patience) as connection:
            session = Session(connection)
            session.sign_in(user, password, database)
            return session.query(sql)
    except OSError as error:
        raise Refused(str(error)) from error


class Session:
    def __init__(self, connection):
        self.connection, self.stream = connection, connection.makefile("rb")

    def send(self, kind, body):
        self.connection.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def receive(self):
        """(kind, body) of the next message."""
        head = self.stream.read(5)
        if len(head) < 5:
            raise Refused("the connection was closed")
        body = self.stream.read(struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] == b"E":
            said = {field[:1]: field[1:].decode("utf-8", "replace") for field in body.split(b"\0") if field}
            raise Refused(said.get(b"M", "an error"))
        return head[:1], body

    def sign_in(self, user, password, database):
        self.send(b"", struct.pack("!i", 3 << 16) + f"user\0{user}\0database\0{database}\0\0".encode())
        nonce, told = base64.b64encode(os.urandom(18)).decode(), ""
        bare = f"n=,r={nonce}"
        while True:
            kind, body = self.receive()
            if kind == b"Z":
                return
            if kind != b"R":
                continue
            (step,) = struct.unpack("!i", body[:4])
            if step == 10:  # SASL
                first = f"n,,{bare}".encode()
                self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
            elif step == 11:
                told = body[4:].decode()
                self.send(b"p", proof(password, bare, told).encode())
            elif step not in (0, 12):
                raise Refused(f"it wants to know us in another way ({step})")

    def query(self, sql):
        self.send(b"Q", sql.encode() + b"\0")
        found = []
        while True:
            kind, body = self.receive()
            if kind == b"D":
                found.append(fields(body))
            elif kind == b"Z":
                self.send(b"X", b"")
                return found


def proof(password, bare, told):
    """The last word of the client (RFC 5802)."""
    server = dict(part.split("=", 1) for part in told.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(server["s"]), int(server["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    last = f"c=biws,r={server['r']}"
    signature = hmac.digest(hashlib.sha256(key).digest(), f"{bare},{told},{last}".encode(), "sha256")
    return f"{last},p={base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()}"


def fields(body):
    (count,), at, row = struct.unpack("!h", body[:2]), 2, []
    for _ in range(count):
        (length,) = struct.unpack("!i", body[at:at + 4])
        at += 4
        row.append(None if length < 0 else body[at:at + length].decode())
        at += max(length, 0)
    return tuple(row)
