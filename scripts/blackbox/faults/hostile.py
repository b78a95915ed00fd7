"""Hostile clients: each attack comes from many connections at once, and must cost only the clients themselves."""

import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blackbox.clients.http import Gone
from blackbox.clients.shop import PASSWORD
from blackbox.faults.attacks import ATTACKS, Attack, attack
from blackbox.faults.table import Cell, Table
from blackbox.servers.process import Server
from blackbox.servers.proxy import Proxy, variables
from blackbox.servers.shop import Shop

CLIENTS = 1000
SECONDS, SHORT = 10.0, 1.5  # of one attack
BUDGET = 256 << 20  # bytes; maximum resident memory of a program
STOP = 30  # seconds; the default of http.shutdown_timeout
COLUMNS = {"program": -7, "attack": -15, "answers": -34, "memory": 8, "polite": 8, "p99": 9, "p99 alone": 10, "held": 5}


class HostileProxy(Proxy):
    """Event proxy without Kafka."""

    def __init__(self, binary: Path, folder: Path) -> None:
        super().__init__(1, binary, folder, "")
        own = {"BUS__BACKEND": "in-process", "DATA_DIR": str(folder / "data"), "ADMIN__PASSWORD": PASSWORD}
        self.env = {name: value for name, value in self.env.items() if not name.startswith("EVENT_PROXY__")}
        self.env |= variables({"HTTP__ADDRESS": "127.0.0.1:0", "LOG__FILTER": "error", **own})


@dataclass
class Polite:
    """Client that behaves, beside the hostile ones."""

    server: Server
    statuses: Counter[int]
    seconds: list[float]

    def ask(self) -> None:
        """Sends one request: the shop is read, the proxy takes an event."""
        began = time.monotonic()
        try:
            if self.server.name == "shop":
                status = self.server.ask("GET", "/api/v1/products").status
            else:
                event = json.dumps({"service": "polite", "type": "asked", "data": 1})
                status = self.server.ask("POST", "/v1/events", event, {"Content-Type": "application/json"}).status
        except Gone:
            status = 0
        self.statuses[status] += 1
        self.seconds.append(time.monotonic() - began)

    def p99(self) -> float:
        """Returns the 99th percentile of the times, in seconds."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


def polite(server: Server, seconds: float, others: Future[Counter[int]] | None = None) -> Polite:
    """Runs a polite client for some time, and as long as `others` run."""
    client, began = Polite(server, Counter(), []), time.monotonic()
    while time.monotonic() - began < seconds or (others and not others.done()):
        client.ask()
        time.sleep(0.005)
    return client


def forget_peak(server: Server) -> None:
    """Starts the peak of the resident memory of a process again."""
    Path(f"/proc/{server.child.pid}/clear_refs").write_text("5")


def peak(server: Server) -> int:
    """Returns the peak of the resident memory of a process, in bytes."""
    status = Path(f"/proc/{server.child.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))


def run(binaries: Iterable[Path], short: bool) -> list[str]:
    """Attacks each program; returns each violation."""
    table, wrong = Table("hostile", COLUMNS), list[str]()
    table.row(COLUMNS)
    for binary in binaries:
        folder = Path(tempfile.mkdtemp(prefix="jangteo-hostile-"))
        server: Server = Shop(binary, folder) if binary.name == "shop" else HostileProxy(binary, folder)
        try:
            server.start()
            wrong += [f"{server.name}: {text}" for text in attack_all(server, table, short)]
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)
    if not short and not wrong:
        table.write(None)  # of a release build
    return wrong


def attack_all(server: Server, table: Table, short: bool) -> list[str]:
    """Runs every attack on a program, and stops the program during the last one."""
    seconds, wrong = (SHORT if short else SECONDS), list[str]()
    polite(server, 0.5)  # caches and connections
    alone = polite(server, seconds).p99()
    with ProcessPoolExecutor(1) as pool:
        for name, kind in ATTACKS.items():
            if not kind.statuses_of(server.name):
                continue
            forget_peak(server)
            hostile = pool.submit(attack, name, server.name, server.port or 0, CLIENTS, seconds)
            client = polite(server, seconds, hostile)
            found = violations(server, kind, hostile.result(), client)
            wrong += [f"{name}: {text}" for text in found]
            answers = " ".join(f"{status}:{times}" for status, times in sorted(hostile.result().items()))
            times = (f"{client.p99() * 1000:.1f} ms", f"{alone * 1000:.1f} ms")
            memory = f"{peak(server) >> 20} MiB"
            cells: list[Cell] = [server.name, name, answers, memory, client.statuses.total(), *times]
            table.row([*cells, "NO" if found else "yes"])
        return wrong + stop(server, pool, table)


def violations(server: Server, kind: Attack, answers: Counter[int], client: Polite) -> list[str]:
    """Returns what an attack did to others."""
    found = []
    if (bytes_ := peak(server)) > BUDGET:
        found.append(f"{bytes_ >> 20} MiB of memory, and {BUDGET >> 20} MiB may be")
    if unexpected := set(answers) - kind.statuses_of(server.name) - {0}:
        found.append(f"answers {sorted(unexpected)}")
    if kind.is_answered and not set(answers) - {0}:
        found.append("no answer")
    if set(client.statuses) - {200, 202}:
        found.append(f"a polite client was answered {dict(client.statuses)}")
    if not server.alive():
        found.append("the program ended")
    return found


def stop(server: Server, pool: ProcessPoolExecutor, table: Table) -> list[str]:
    """Stops a program while half bodies and slow readers are open."""
    hostile = pool.submit(attack, "silence", server.name, server.port or 0, CLIENTS // 2, 5)
    polite(server, 1)
    began = time.monotonic()
    server.child.terminate()
    try:
        server.child.wait(STOP + 30)
    except subprocess.TimeoutExpired:
        return [f"stop: still there after {STOP + 30} s"]
    took = time.monotonic() - began
    hostile.result()
    table.row([server.name, "stop", f"after {took:.1f} s", "", "", "", "", "yes" if took < STOP else "NO"])
    return [] if took < STOP else [f"stop: after {took:.1f} s"]
