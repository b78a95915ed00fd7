"""Storage faults of shops and an event proxy under load."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blackbox.audit.findings import Findings
from blackbox.audit.shop import audit
from blackbox.clients.http import Answer
from blackbox.clients.shop import PASSWORD
from blackbox.faults.suite import Options, Suite, wait
from blackbox.faults.table import Cell, seconds
from blackbox.load import events, purchases
from blackbox.load.market import MANY_UNPAID, Market
from blackbox.servers import postgres
from blackbox.servers.command import error_lines
from blackbox.servers.disk import Disk
from blackbox.servers.proxy import Proxy, variables
from blackbox.servers.shop import Shop

MEMBERS, COUPONS, EVENTS_PER_SECOND = 24, 25, 200
KINDS = ("disk", "disk", "memory")  # acknowledgements without Kafka
PATIENCE = 20  # seconds; maximum time until a fault is told, or has ended
ALARM = "the database cannot be written"
REASONS = {
    "no-room": "no room for writes",
    "read-only": "read-only",
    "replaced": "deleted or replaced",
    "away": "away",
    "failing": "writes fail",
}
JSON = {"Content-Type": "application/json"}


class Target(ABC):
    """Program to break, its database, and the load on it."""

    server: Shop | Proxy
    database: Path
    disk: Disk | None = None
    cluster: postgres.Postgres | None = None

    def is_told(self, reason: str) -> bool:
        """Returns true if readiness, metric and the answer to a write have the fault."""
        status, _, body = self.server.ask("GET", "/readyz")
        if status != 503 or REASONS[reason] not in json.dumps(body):
            return False
        series = f'storage_unwritable{{database="{self.database.name}",reason="{reason}"}} 1'
        answer = self.write()
        return (
            series in str(self.server.ask("GET", "/metrics").body)
            and (answer.status, answer.body["code"]) == (503, "unavailable")
            and answer.headers["Retry-After"] is not None
        )

    def alarms(self) -> int:
        """Returns the number of alarms in the log."""
        return sum(ALARM in line for line in error_lines(self.server.log, " ERROR "))

    @abstractmethod
    def begin(self, name: str) -> None:
        """Starts the load."""

    @abstractmethod
    def pause(self) -> None:
        """Ends the load; requests without an answer stay open."""

    @abstractmethod
    def write(self) -> Answer:
        """Sends a request that writes."""

    @abstractmethod
    def read(self) -> int:
        """Returns the status of a request that reads."""

    @abstractmethod
    def settle(self, wrong: Findings) -> Counter[str]:
        """Repeats open requests and checks every answer; returns the answers by class or code."""


class ShopTarget(Target):
    """Shop with a load of purchases."""

    def __init__(self, server: Shop, database: Path) -> None:
        self.server, self.shop, self.database = server, server, database

    def begin(self, name: str) -> None:
        """Starts the load."""
        if not hasattr(self, "market"):
            self.market = Market(self.shop, MEMBERS, COUPONS)
        self.market.add_campaign(name)
        self.market.ledger.begin_round()
        self.load = purchases.Load(self.market, workers=8)

    def pause(self) -> None:
        """Ends the load."""
        self.load.stop()

    def write(self) -> Answer:
        """Registers a member."""
        body = {"email": f"{time.monotonic_ns()}@example.com", "password": PASSWORD, "name": "Kim"}
        return self.shop.ask("POST", "/api/v1/members", json.dumps(body), JSON)

    def read(self) -> int:
        """Reads the list of members, which no cache has."""
        status, _ = self.shop.call("GET", "/admin/members", token=self.market.admin)
        return status

    def settle(self, wrong: Findings) -> Counter[str]:
        """Adds everything up."""
        ledger = self.market.ledger
        wrong.extend(ledger.failures())
        answers = ledger.classes() + ledger.codes
        _, more = purchases.reconcile(self.market, PATIENCE)
        wrong.extend(more)
        _, violations = audit(self.market)
        wrong.extend(violations)
        return answers


class ProxyTarget(Target):
    """Event proxy with a load of events, which stay in its log."""

    def __init__(self, server: Proxy, database: Path) -> None:
        self.server, self.database = server, database
        self.receipts = events.Receipts()

    def begin(self, name: str) -> None:
        """Starts the load."""
        self.service = name
        self.load = events.Load([self.proxy], name, self.receipts, EVENTS_PER_SECOND, KINDS)

    @property
    def proxy(self) -> Proxy:
        """Returns the server."""
        assert isinstance(self.server, Proxy)
        return self.server

    def pause(self) -> None:
        """Ends the load."""
        self.load.stopping.set()

    def write(self) -> Answer:
        """Posts an event."""
        event = {"service": "probe", "type": "write", "data": {}}
        return self.server.ask("POST", "/v1/events", json.dumps(event), JSON)

    def read(self) -> int:
        """Reads the ledger."""
        return self.server.ask("GET", "/v1/ledger").status

    def settle(self, wrong: Findings) -> Counter[str]:
        """Compares the ledger with the receipts."""
        wrong.same("events without a receipt at the end", self.load.stop(), 0)
        statuses = self.load.statuses
        wrong.same("unexpected answers", [it for it in statuses if it not in (200, 202, 207, 503)], [])

        def accepted() -> dict[str, int]:
            ledger = self.proxy.ledger()
            return {topic: ledger.get(topic, {}).get("accepted", 0) for topic in topics}

        topics = {f"{self.service}.{kind}" for kind in KINDS}
        expected = {topic: len(self.receipts.of(topic)) for topic in topics}
        wait(lambda: accepted() == expected, PATIENCE)  # what was acknowledged from memory is written a moment later
        wrong.same("accepted events", accepted(), expected)
        return Counter({"2xx": statuses[200] + statuses[202], "unavailable": statuses[503]})


# ---- the faults: each has a beginning and an end


def fill(target: Target) -> None:
    assert target.disk
    target.disk.fill(target.server)


def refill(target: Target, reason: str) -> bool:
    """Takes the room that SQLite made by reuse of its write-ahead log; returns false."""
    if reason == "no-room":
        fill(target)
    return False


def relieve(target: Target) -> None:
    assert target.disk
    target.disk.relieve(target.server)


def freeze(target: Target) -> None:
    protect(target.database, True)


def thaw(target: Target) -> None:
    protect(target.database, False)


def protect(file: Path, on: bool) -> None:
    """Makes a file read-only, for root too, or writable again."""
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i" if on else "-i", str(file)], check=True)
    else:
        file.chmod(0o400 if on else 0o600)


def aside(target: Target) -> Path:
    return target.database.with_suffix(".aside")


def take_away(target: Target) -> None:
    target.database.rename(aside(target))


def bring_back(target: Target) -> None:
    aside(target).rename(target.database)


def stop_postgres(target: Target) -> None:
    assert target.cluster
    target.cluster.order("stop")


def start_postgres(target: Target) -> None:
    assert target.cluster
    target.cluster.order("start")


def set_read_only(target: Target, value: str) -> None:
    assert target.cluster
    target.cluster.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    target.cluster.execute("SELECT pg_reload_conf()")


@dataclass(frozen=True)
class Fault:
    """Fault of the storage of a target."""

    title: str
    target: str
    reason: str
    begin: Callable[[Target], None]
    end: Callable[[Target], None]
    reads: bool = True  # requests that read are answered meanwhile
    is_unknown: bool = False  # the fault may begin during a COMMIT


def faults() -> Iterator[tuple[str, Fault]]:
    """Yields the faults by name."""
    for target, title in (("shop", "shop"), ("proxy", "event proxy")):
        yield f"{target}-disk", Fault(f"{title}: a full disk", target, "no-room", fill, relieve)
        yield f"{target}-read-only", Fault(f"{title}: a read-only file", target, "read-only", freeze, thaw)
        yield (
            f"{target}-deleted",
            Fault(f"{title}: a file taken away", target, "replaced", take_away, bring_back, is_unknown=True),
        )
    yield (
        "postgres-stopped",
        Fault("PostgreSQL stopped", "postgres", "away", stop_postgres, start_postgres, reads=False, is_unknown=True),
    )
    yield (
        "postgres-read-only",
        Fault(
            "PostgreSQL read-only",
            "postgres",
            "read-only",
            lambda target: set_read_only(target, "on"),
            lambda target: set_read_only(target, "off"),
        ),
    )


FAULTS = dict(faults())
COLUMNS = {
    "fault": -31,
    "2xx": 6,
    "unavailable": 11,
    "outcome unknown": 15,
    "told after": 10,
    "ready after": 11,
    "alarms": 6,
    "held": 4,
}
SUITE = Suite("storage", FAULTS, COLUMNS)


class Stand:
    """Shop and event proxy on small disks, and a shop on PostgreSQL."""

    def __init__(self, binaries: Path) -> None:
        self.binaries, self.folder = binaries, Path(tempfile.mkdtemp(prefix="jangteo-storage-"))
        self.targets: dict[str, Target] = {}
        self.programs = postgres.programs()
        settings = {**MANY_UNPAID, "AUTH__ACCESS_TTL": "1d"}
        self.makers: dict[str, Callable[[Path], Target]] = {
            "shop": lambda folder: ShopTarget(self.shop(folder, settings), folder / "data/shop.db"),
            "proxy": lambda folder: ProxyTarget(self.proxy(folder), folder / "data/log.db"),
            "postgres": lambda folder: self.on_postgres(folder, settings),
        }

    def shop(self, folder: Path, settings: dict[str, str]) -> Shop:
        """Returns a shop."""
        return Shop(self.binaries / "shop", folder, **settings)

    def proxy(self, folder: Path) -> Proxy:
        """Returns an event proxy without Kafka."""
        proxy = Proxy(1, self.binaries / "event-proxy", folder, "")
        proxy.env |= variables({"BUS__BACKEND": "in-process"})
        return proxy

    def on_postgres(self, folder: Path, settings: dict[str, str]) -> Target:
        """Returns a shop on a server of its own."""
        assert self.programs
        server = postgres.Postgres(self.programs)
        target = ShopTarget(self.shop(folder, settings | {"DATABASE__URL": server.url()}), Path("postgres"))
        target.cluster = server
        return target

    def up(self) -> None:
        """Does nothing: a target starts with its first fault."""

    def target(self, name: str) -> Target:
        """Returns a target, which is started at the first call."""
        if name not in self.targets:
            folder = self.folder / name
            folder.mkdir()
            disk = Disk(folder) if name != "postgres" else None
            target = self.targets[name] = self.makers[name](folder)
            target.disk = disk
            target.server.log = self.folder / f"{name}.log"  # where there is room
            target.server.start()
        return self.targets[name]

    def errors(self) -> Iterator[str]:
        """Yields the lines of level ERROR in the logs but the alarms."""
        for name, target in self.targets.items():
            lines = error_lines(target.server.log, " ERROR ")
            yield from (f"{name}: {line}" for line in lines if ALARM not in line)

    def destroy(self, keep: bool) -> None:
        """Ends every process, and removes the folder unless `keep`."""
        for target in self.targets.values():
            target.server.stop()
            if target.cluster:
                target.cluster.end()
            if target.disk and not keep:
                target.disk.remove()
        if keep:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


class Rounds:
    """Rounds of the suite."""

    def __init__(self, stand: Stand, short: bool) -> None:
        self.stand, self.lasts = stand, 0.5 if short else 3.0  # seconds

    def prepare(self) -> None:
        """Does nothing: each load starts with its round."""

    def round(self, name: str) -> tuple[list[Cell], list[str]]:
        """Injects a fault under load; returns the cells of the table but the last, and each violation."""
        fault, wrong = FAULTS[name], Findings()
        target = self.stand.target(fault.target)
        reason, is_unknown = fault.reason, fault.is_unknown
        if reason == "no-room" and target.disk and not target.disk.mounted:
            reason, is_unknown = "failing", True  # a limit on file sizes is an I/O error
        alarms = target.alarms()
        target.begin(name)
        try:
            time.sleep(1.0)
            fault.begin(target)
            told = wait(lambda: target.is_told(reason) or refill(target, reason), PATIENCE)
            time.sleep(self.lasts)
            if fault.reads:
                wrong.same("reading", target.read(), 200)
        finally:
            target.pause()
            fault.end(target)
        # nobody writes now but the program itself
        back = wait(target.server.is_ready, PATIENCE)
        alarms = target.alarms() - alarms
        if told is None or not alarms:
            wrong.append(f"the fault is not told: readiness, metric or answer after {told}, {alarms} alarms")
        if back is None:
            wrong.append(f"not ready {PATIENCE} s after the repair")
        answers = target.settle(wrong)
        if not is_unknown:
            wrong.same("answers outcome-unknown", answers["outcome-unknown"], 0)
        cells: list[Cell] = [fault.title, answers["2xx"], answers["unavailable"], answers["outcome-unknown"]]
        return [*cells, seconds(told), seconds(back), alarms], wrong


def run(options: Options, binaries: Path) -> list[str]:
    """Runs the suite; returns each violation."""
    SUITE.check(options)
    stand = Stand(binaries)
    names = list(FAULTS)
    if not stand.programs:
        print("not run: PostgreSQL: none. Set PG_BINDIR, or install PostgreSQL's server")
        names = [name for name in names if FAULTS[name].target != "postgres"]
    return SUITE.run(stand, Rounds(stand, options.short), options, names)
