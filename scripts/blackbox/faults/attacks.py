"""Attacks of hostile clients on the HTTP side of the shop and of the event proxy."""

import asyncio
import gzip
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ADDRESS = "127.0.0.2"  # of the hostile clients; the polite one has another
OF_SHOP, OF_PROXY = "/api/v1/sessions", "/v1/events"
LEVELS = 20_000
PATIENCE = 20  # seconds; after the end of an attack, for answers that are due


@dataclass(frozen=True)
class Attack:
    """Bytes that each client sends, and statuses that are right as answers."""

    sent: Callable[[str], bytes]  # by the path of a POST
    shop: frozenset[int] = frozenset()  # empty: not for the shop
    proxy: frozenset[int] = frozenset()
    is_answered: bool = True
    reads: bool = True  # false: the client reads nothing

    def statuses_of(self, program: str) -> frozenset[int]:
        """Returns the statuses that are right for a program."""
        return self.shop if program == "shop" else self.proxy


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Returns a POST with an announced length, which may be more than comes."""
    fields = ["Host: 127.0.0.1", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""]).encode() + body


def chunked(path: str, body: bytes) -> bytes:
    """Returns a POST in chunks, without the last one."""
    fields = ["Host: 127.0.0.1", "Transfer-Encoding: chunked", NDJSON]
    return "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""]).encode() + body


JSON, NDJSON, GZIP = "Content-Type: application/json", "Content-Type: application/x-ndjson", "Content-Encoding: gzip"
BOMB = gzip.compress(b" " * (62 << 20), 9)
BAD_LINES = gzip.compress(b"1\n" * (16 << 20), 9)
EVENT = b'{"service":"hostile","type":"deep","data":'
DEEP = EVENT + b"[" * LEVELS + b"]" * LEVELS + b"}"
LINE = EVENT + b'"' + b"x" * (1 << 20)


def read(path: str) -> str:
    """Returns the path of a large answer."""
    return path.rsplit("/", 1)[0] + "/openapi.json"


ATTACKS: Mapping[str, Attack] = {
    "bombs": Attack(lambda path: post(path, BOMB, JSON, GZIP), frozenset({415}), frozenset({413, 503})),
    "bomb of lines": Attack(lambda path: post(path, BAD_LINES, NDJSON, GZIP), proxy=frozenset({422, 503})),
    "unread bombs": Attack(lambda path: post(f"{path}/nothing", BOMB, JSON, GZIP), frozenset({404}), frozenset({404})),
    "deep JSON": Attack(lambda path: post(path, DEEP, JSON), frozenset({422, 503}), frozenset({422, 503})),
    "silence": Attack(
        lambda path: post(path, b"{", JSON, length=9), frozenset({408}), frozenset({408}), is_answered=False
    ),
    "half bodies": Attack(
        lambda path: post(path, b'"' + b"x" * (8 << 20), JSON, length=(8 << 20) if path == OF_PROXY else 65_536),
        frozenset({400, 408, 503}),
        frozenset({400, 408, 503}),  # 400: memory sufficed for all of it
        is_answered=False,
    ),
    "half heads": Attack(
        lambda path: f"POST {path} HTTP/1.1\r\nX-A: ".encode() + b"x" * 120_000,
        frozenset({408, 431}),
        frozenset({408, 431}),
        is_answered=False,
    ),
    "endless head": Attack(
        lambda path: f"GET {path} HTTP/1.1\r\n".encode() + b"X-A: x\r\n" * 40_000,
        frozenset({400, 431}),
        frozenset({400, 431}),
        is_answered=False,
    ),
    "endless line": Attack(
        lambda path: chunked(path, b"%x\r\n%s\r\n" % (len(LINE), LINE) * 8),
        proxy=frozenset({408, 413, 503}),
        is_answered=False,
    ),
    "small chunks": Attack(
        lambda path: chunked(path, b"1\r\nx\r\n" * 2_000 + b"0\r\n\r\n"), proxy=frozenset({400, 422, 503})
    ),
    "odd methods": Attack(
        lambda path: b"X" * 60_000 + f" {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
        frozenset({400, 404, 405, 431}),
        frozenset({400, 403, 404, 405, 431}),
    ),
    "pipelined": Attack(
        lambda path: f"GET {read(path)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 500,
        frozenset({200}),
        frozenset({200}),
        is_answered=False,
        reads=False,
    ),
}


def attack(name: str, program: str, port: int, clients: int, seconds: float) -> Counter[int]:
    """Runs an attack for some time; returns the statuses of the answers, 0 for none."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.setpriority(os.PRIO_PROCESS, 0, 19)  # on cores of their own, clients would not slow the server down
    kind, answers = ATTACKS[name], Counter[int]()
    sent, end = kind.sent(OF_SHOP if program == "shop" else OF_PROXY), time.monotonic() + seconds

    async def client() -> None:
        while (left := end - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left + (PATIENCE if kind.is_answered else 0)):
                    answers[await ask(port, sent, kind.reads)] += 1
            except (OSError, TimeoutError):
                answers[0] += 1
                await asyncio.sleep(0.05)

    async def all_clients() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    asyncio.run(all_clients())
    return answers


async def ask(port: int, sent: bytes, reads: bool) -> int:
    """Sends bytes on a connection of its own and returns the status of the first answer; 0 without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 14, local_addr=(ADDRESS, 0))
    try:
        writer.write(sent)
        if not reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(3600)
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    finally:
        writer.transport.abort()
