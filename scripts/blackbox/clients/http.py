"""HTTP client for servers on the loopback address."""

import http.client
import json
import math
import threading
import time
from collections.abc import Mapping
from email.message import Message
from typing import Any, ClassVar, NamedTuple

Json = Any


class Gone(Exception):
    """Connection broke before the answer. The server may have handled the request."""


class Answer(NamedTuple):
    """Answer of a server. The body is decoded JSON, or else text."""

    status: int
    headers: Message
    body: Json


class HttpClient:
    """Sends requests to `port` of this machine. Each thread has one connection."""

    patience: ClassVar[float] = 60  # seconds until an answer
    keep_alive: ClassVar[float] = math.inf  # seconds; an idle connection is closed after them

    def __init__(self) -> None:
        self.port: int | None = None
        self.local = threading.local()

    def ask(self, method: str, path: str, text: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Sends a request and returns the answer. Raises Gone if no answer arrives."""
        connection = self.connection()
        try:
            connection.request(method, path, text, headers or {})
            answer = connection.getresponse()
            read = answer.read()
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise Gone(str(error)) from error
        finally:
            self.local.used = time.monotonic()
        try:
            return Answer(answer.status, answer.headers, json.loads(read))
        except ValueError:
            return Answer(answer.status, answer.headers, read.decode("utf-8", "replace"))

    def connection(self) -> http.client.HTTPConnection:
        """Returns the connection of this thread. A restarted server has a new port and gets a new connection."""
        if self.port is None:
            raise Gone("the server is not running")
        connection: http.client.HTTPConnection | None = getattr(self.local, "connection", None)
        if connection and time.monotonic() - self.local.used > self.keep_alive:
            self.close()
            connection = None
        if connection is None or connection.port != self.port:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
            self.local.connection = connection
        return connection

    def close(self) -> None:
        """Closes the connection of this thread."""
        if connection := getattr(self.local, "connection", None):
            connection.close()
        self.local.connection = None
