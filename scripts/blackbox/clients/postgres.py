"""PostgreSQL client without a driver: simple query protocol, passwords."""

import base64
import hashlib
import hmac
import os
import socket
import struct

Row = tuple[str | None, ...]


class Refused(Exception):
    """Server is not reachable or answered with an error."""


def rows(port: int, user: str, password: str, database: str, sql: str) -> list[Row]:
    """Returns the rows of a query. Raises Refused."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            session = Session(connection)
            session.sign_in(user, password, database)
            return session.query(sql)
    except OSError as error:
        raise Refused(str(error)) from error


class Session:
    """Session of the wire protocol, version 3.0."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.stream = connection, connection.makefile("rb")

    def send(self, kind: bytes, body: bytes) -> None:
        """Sends a message."""
        self.connection.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def receive(self) -> tuple[bytes, bytes]:
        """Returns kind and body of the next message."""
        head = self.stream.read(5)
        if len(head) < 5:
            raise Refused("connection closed by the server")
        body = self.stream.read(struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] == b"E":
            error = {field[:1]: field[1:].decode("utf-8", "replace") for field in body.split(b"\0") if field}
            raise Refused(error.get(b"M", "error without a message"))
        return head[:1], body

    def sign_in(self, user: str, password: str, database: str) -> None:
        """Authenticates with SCRAM-SHA-256, or a password in clear text."""
        self.send(b"", struct.pack("!i", 3 << 16) + f"user\0{user}\0database\0{database}\0\0".encode())
        client_first = f"n=,r={base64.b64encode(os.urandom(18)).decode()}"
        while True:
            kind, body = self.receive()
            if kind == b"Z":  # ReadyForQuery
                return
            if kind != b"R":
                continue
            (step,) = struct.unpack("!i", body[:4])
            if step == 10:  # SASL
                first = f"n,,{client_first}".encode()
                self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
            elif step == 11:  # SASLContinue
                self.send(b"p", client_final(password, client_first, body[4:].decode()).encode())
            elif step == 3:  # CleartextPassword
                self.send(b"p", password.encode() + b"\0")
            elif step not in (0, 12):  # Ok, SASLFinal
                raise Refused(f"authentication method {step} is not supported")

    def query(self, sql: str) -> list[Row]:
        """Returns the rows of a query and ends the session."""
        self.send(b"Q", sql.encode() + b"\0")
        found = []
        while True:
            kind, body = self.receive()
            if kind == b"D":
                found.append(fields(body))
            elif kind == b"Z":
                self.send(b"X", b"")
                return found


def client_final(password: str, client_first: str, server_first: str) -> str:
    """Returns the client's final message of SCRAM (RFC 5802)."""
    server = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(server["s"]), int(server["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    last = f"c=biws,r={server['r']}"
    message = f"{client_first},{server_first},{last}"
    signature = hmac.digest(hashlib.sha256(key).digest(), message.encode(), "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    return f"{last},p={base64.b64encode(proof).decode()}"


def fields(body: bytes) -> Row:
    """Decodes a DataRow message."""
    (count,), at = struct.unpack("!h", body[:2]), 2
    row: list[str | None] = []
    for _ in range(count):
        (length,) = struct.unpack("!i", body[at : at + 4])
        at += 4
        row.append(None if length < 0 else body[at : at + length].decode())
        at += max(length, 0)
    return tuple(row)
