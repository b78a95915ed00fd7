"""Programs under test: each in a fresh folder, on a port that the system chooses."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .runner import Runner

ADMIN_EMAIL = "admin@shop.local"
ADMIN_PASSWORD = "correct horse battery staple"
SECONDS_TO_START = 60
SECONDS_TO_STOP = 30


@dataclass(frozen=True)
class Server:
    url: str
    folder: Path

    def is_ready(self) -> None:
        """Raises an error unless the server answers 200."""
        urllib.request.urlopen(f"{self.url}/readyz", timeout=30).close()


@contextmanager
def server(runner: Runner, name: str, program: str, **settings: str) -> Iterator[Server]:
    """A running program. Raises RuntimeError if it does not print its address in time."""
    folder, log = runner.temp / name, runner.log_of(name)
    folder.mkdir()
    printed = folder / "printed"
    process = runner.start([runner.target / "debug" / program], log=log, cwd=folder, env=settings, stdout=printed)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not (address := re.search(r"http://[0-9.]+:[0-9]+", printed.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                runner.show(log)
                raise RuntimeError(f"{name} did not start")
            time.sleep(0.1)
        yield Server(address[0], folder)
    finally:
        process.terminate()
        runner.wait(process, SECONDS_TO_STOP)


def shop(runner: Runner, name: str = "shop") -> AbstractContextManager[Server]:
    return server(
        runner,
        name,
        "shop",
        SHOP__HTTP__ADDRESS="127.0.0.1:0",
        SHOP__RATE_LIMIT__ENABLED="false",
        SHOP__ADMIN__EMAIL=ADMIN_EMAIL,
        SHOP__ADMIN__PASSWORD=ADMIN_PASSWORD,
        SHOP__LOG__FILTER="warn",
    )


def proxy(runner: Runner, name: str, **settings: str) -> AbstractContextManager[Server]:
    return server(
        runner,
        name,
        "event-proxy",
        EVENT_PROXY__HTTP__ADDRESS="127.0.0.1:0",
        EVENT_PROXY__ADMIN__PASSWORD=ADMIN_PASSWORD,
        EVENT_PROXY__LOG__FILTER="warn",
        **settings,
    )
