"""Failovers and restores of shops under load: a database that loses commits."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox.audit import bus, shop
from blackbox.audit.findings import Findings
from blackbox.faults.suite import RECOVERY, Options, Suite, wait
from blackbox.faults.table import Cell, seconds
from blackbox.load.purchases import SteadyLoad, reconcile
from blackbox.servers import postgres
from blackbox.servers.command import environment, run_script
from blackbox.servers.postgres import Postgres
from blackbox.servers.site import PostgresSite, Site, SqliteSite

THREADS, STEPS_PER_SECOND = 6, 25
Trade = Callable[[], None]  # lets the load go on for a while


# ---- the faults: each has trade between the copy and the loss of everything since


def fail_over(site: PostgresSite, trade: Trade) -> None:
    """Promotes a standby that lacks the last commits."""
    standby = Postgres(site.server.programs, primary=site.server)
    standby.database = site.server.database
    trade()
    standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
    standby.execute("SELECT pg_reload_conf()")
    trade()
    site.server.order("stop")
    standby.order("promote")
    site.go_to(standby)


def dump(site: PostgresSite) -> str:
    """Returns the file of a dump."""
    file = str(site.server.folder / "dump")
    site.server.tool("pg_dump", "-Fc", "-f", file, "-d", site.server.url())
    return file


def restore(server: Postgres, file: str, *options: str) -> None:
    """Restores a dump."""
    server.tool("pg_restore", "--exit-on-error", *options, "-d", server.url(), file)


def restore_same(site: PostgresSite, trade: Trade) -> None:
    """Restores a dump into the database that was dumped."""
    file = dump(site)
    trade()
    with site.stopped():
        restore(site.server, file, "--clean", "--if-exists", "--single-transaction")


def restore_new(site: PostgresSite, trade: Trade) -> None:
    """Restores a dump into a new database."""
    file = dump(site)
    trade()
    with site.stopped():
        name = f"shop_{time.monotonic_ns()}"
        site.administer(f"CREATE DATABASE {name} TEMPLATE template0")
        site.server.database = name
        restore(site.server, file)


def restore_elsewhere(site: PostgresSite, trade: Trade) -> None:
    """Restores a dump on another server."""
    file = dump(site)
    trade()
    with site.stopped():
        server = Postgres(site.server.programs)
        restore(server, file)
        site.go_to(server)


def restore_files(site: PostgresSite, trade: Trade) -> None:
    """Puts back a copy of the server's files that was made while the server ran."""
    server = site.server
    copy, data = server.folder / "copy", server.folder / "data"
    server.tool("pg_basebackup", "-D", str(copy), "-X", "stream", "-c", "fast", "--no-sync", "-d", server.url())
    trade()
    server.order("stop")
    shutil.rmtree(data)
    copy.rename(data)
    server.order("start")


def take_template(site: PostgresSite, trade: Trade) -> None:
    """Goes on with a database that was made from a template."""
    name = f"shop_{time.monotonic_ns()}"
    with site.stopped():
        site.administer(f"CREATE DATABASE {name} TEMPLATE {site.server.database}")
    trade()
    with site.stopped():
        site.server.database = name


def rename_back(site: PostgresSite, trade: Trade) -> None:
    """Gives a database its name back, which a copy had for a while."""
    name, kept, copy = site.server.database, f"kept_{time.monotonic_ns()}", f"copy_{time.monotonic_ns()}"
    with site.stopped():
        site.administer(
            f"CREATE DATABASE {copy} TEMPLATE {name}",
            f"ALTER DATABASE {name} RENAME TO {kept}",
            f"ALTER DATABASE {copy} RENAME TO {name}",
        )
    trade()
    with site.stopped():
        site.administer(f"ALTER DATABASE {name} RENAME TO {copy}", f"ALTER DATABASE {kept} RENAME TO {name}")


def copy_back(site: SqliteSite, trade: Trade) -> None:
    """Copies the file back."""
    copy = site.folder / "copy.db"
    with site.stopped():
        shutil.copy(site.file, copy)
    trade()
    with site.stopped():
        site.put_back(copy)


@dataclass(frozen=True)
class Loss:
    """Loss of commits at a site."""

    title: str
    site: str
    lose: Callable[[Any, Trade], None]
    needs: str = "initdb"  # a program of PostgreSQL


ON_POSTGRES = {
    "failover": Loss("failover to a lagging standby", "postgres", fail_over, "pg_basebackup"),
    "files": Loss("a copy of the server's files", "postgres", restore_files, "pg_basebackup"),
    "dump-same": Loss("dump into the same database", "postgres", restore_same, "pg_dump"),
    "dump-new": Loss("dump into a new database", "postgres", restore_new, "pg_dump"),
    "template": Loss("database made from a template", "postgres", take_template),
    "renamed": Loss("database renamed back", "postgres", rename_back),
    "dump-elsewhere": Loss("dump on another server", "postgres", restore_elsewhere, "pg_dump"),
}
LOSSES = {**ON_POSTGRES, "sqlite": Loss("SQLite's file copied back", "sqlite", copy_back)}


def faults() -> Iterator[tuple[str, tuple[Loss, bool]]]:
    """Yields losses, with topics on Kafka and in-process, by name; those of one site follow each other."""
    for site in ("postgres", "sqlite"):
        for on_kafka in (True, False):
            for name, loss in LOSSES.items():
                if loss.site == site:
                    yield (name if on_kafka else f"{name}-in-process"), (loss, on_kafka)


FAULTS = dict(faults())
SHORT = ("failover", "dump-same", "failover-in-process", "sqlite")
COLUMNS = {
    "fault": -41,
    "2xx": 5,
    "5xx": 4,
    "no answer": 9,
    "orders lost": 11,
    "orphans": 7,
    "counted": 7,
    "ready after": 11,
    "caught up": 9,
    "lost": 4,
    "gaps": 4,
    "disordered": 10,
    "sums wrong": 10,
    "effects wrong": 13,
    "held": 4,
}
SUITE = Suite("failover", FAULTS, COLUMNS)


class Stand:
    """The site of the fault that is tried, and a broker."""

    def __init__(self, binaries: Path, short: bool) -> None:
        self.binaries, self.short = binaries, short
        self.folder = Path(tempfile.mkdtemp(prefix="jangteo-failover-"))
        self.kafka = self.folder / "kafka"
        self.env = environment(KAFKA_JIT="c1")
        self.programs = postgres.programs()
        self.sites: dict[str, Site] = {}
        self.told: list[str] = []  # errors in the logs of sites that have ended

    def up(self) -> None:
        """Starts a broker."""
        self.kafka.mkdir()
        self.broker("start", "1", "0")

    def broker(self, command: str, *words: str) -> str:
        """Returns the output of a command of scripts/kafka. Raises Failed."""
        return run_script("kafka", command, *words, str(self.kafka), env=self.env, patience=600)

    def site(self, kind: str, on_kafka: bool) -> Site:
        """Returns a site, which is started at the first call; the site before ends."""
        name = f"{kind}-kafka" if on_kafka else kind
        if name not in self.sites:
            self.end_sites()
            kafka, folder = self.kafka if on_kafka else None, self.folder / name

            def servers() -> str:
                return self.broker("bootstrap").strip()

            if kind == "sqlite":
                self.sites[name] = SqliteSite(self.binaries, folder, kafka, servers)
            else:
                assert self.programs
                self.sites[name] = PostgresSite(self.binaries, folder, kafka, servers, self.programs)
            self.sites[name].up()
        return self.sites[name]

    def end_sites(self) -> None:
        """Ends the sites."""
        for site in self.sites.values():
            self.told += site.errors()
            site.end()
        self.sites.clear()

    def errors(self) -> Iterator[str]:
        """Yields the lines of level ERROR in the logs."""
        yield from self.told
        for site in self.sites.values():
            yield from site.errors()

    def destroy(self, keep: bool) -> None:
        """Ends every process, and removes the folder unless `keep`."""
        self.end_sites()
        if self.kafka.is_dir():
            self.broker("stop" if keep else "destroy")
        if keep:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


class Rounds:
    """Rounds of the suite."""

    def __init__(self, stand: Stand) -> None:
        self.stand, self.lasts = stand, 1.0 if stand.short else 2.5  # seconds of trade

    def prepare(self) -> None:
        """Does nothing: a site starts with its first fault."""

    def trade(self) -> None:
        """Lets the load go on."""
        time.sleep(self.lasts)

    def round(self, name: str) -> tuple[list[Cell], list[str]]:
        """Loses commits under load; returns the cells of the table but the last, and each violation."""
        loss, on_kafka = FAULTS[name]
        site = self.stand.site(loss.site, on_kafka)
        wrong, market, ledger = Findings("recovery"), site.market, site.market.ledger
        _, known = bus.audit(site, wrong) if on_kafka else (None, {})
        market.add_campaign(name)
        ledger.begin_round()
        load = SteadyLoad(market, THREADS, STEPS_PER_SECOND)
        try:
            self.trade()
            loss.lose(site, self.trade)
            mended = time.monotonic()
            ready = wait(site.is_ready, RECOVERY)
            self.trade()
        finally:
            load.stop()
        classes, gone = ledger.classes(), load.lost
        wrong.extend(ledger.failures())
        caught_up = self.caught_up(site, mended)
        # requests without an answer are asked again; answers from before the loss count no more
        ledger.answers.clear()
        _, found = reconcile(market, patience=60)
        wrong.extend(found)
        lost = market.forget_lost()
        load = SteadyLoad(market, THREADS, STEPS_PER_SECOND)
        self.trade()
        load.stop()
        _, found = reconcile(market, patience=60)
        wrong.about = "lost"
        wrong.extend(found)
        _, violations = shop.audit(market)
        wrong.extend(violations)
        wrong.about = "bus"
        counts, orphans = self.audit_bus(site, known, wrong)
        wrong.about = "recovery"
        if ready is None or caught_up is None:
            wrong.append(f"not recovered: ready after {ready} s, caught up after {caught_up} s")
        if not lost:
            wrong.append("no order was lost, so that nothing was tried")
        about = [sum(wrong.subjects[text] == about for text in wrong) for about in ("lost", "sums", "effects")]
        cells: list[Cell] = [f"{loss.title}, {'Kafka' if on_kafka else 'in-process'}"]
        cells += [classes["2xx"], classes["5xx"], gone, lost, orphans, site.orphans_counted()]
        cells += [seconds(ready), seconds(caught_up), about[0], counts["gaps"], counts["disordered"]]
        return [*cells, about[1], about[2]], wrong

    def caught_up(self, site: Site, mended: float) -> float | None:
        """Returns the seconds until no group lags, the relay included."""

        def lags() -> bool:
            status, body = site.shops[0].call("GET", "/admin/consumers", token=site.market.admin)
            return status == 200 and not any(item["lag"] for item in body["items"])

        return None if wait(lags, RECOVERY) is None else time.monotonic() - mended

    def audit_bus(self, site: Site, known: bus.Orphans, wrong: Findings) -> tuple[dict[str, int], int]:
        """Compares Kafka with the log, and orphans with metric and logs; returns counts and new orphans."""
        if not site.on_kafka:
            wrong.same("counted orphans", site.orphans_counted(), 0)
            return {"gaps": 0, "disordered": 0}, 0
        counts, orphans = bus.audit(site, wrong)
        read = {topic for (topic,) in site.rows("SELECT DISTINCT topic FROM group_position WHERE grp <> 'relay'")}
        fresh = {id_: topic for id_, topic in orphans.items() if topic in read and id_ not in known}
        if not fresh:
            wrong.append("Kafka has no orphans, so that nothing was tried")
        if wait(lambda: not fresh.keys() - site.orphans_named(), 20) is None:
            unnamed = [id_ for id_ in fresh if id_ not in site.orphans_named()]
            topics = sorted({fresh[id_] for id_ in unnamed})
            wrong.append(f"{len(unnamed)} of {len(fresh)} orphans are in no log, of {', '.join(topics)}: {unnamed[0]}")
        if site.orphans_counted() < len(fresh):
            wrong.append(f"{site.orphans_counted()} orphans are counted, and Kafka has {len(fresh)}")
        return counts, len(fresh)


def run(options: Options, binaries: Path) -> list[str]:
    """Runs the suite; returns each violation."""
    SUITE.check(options)
    stand = Stand(binaries, options.short)
    names = [name for name in (SHORT if options.short else FAULTS) if can_be_tried(name, stand.programs)]
    return SUITE.run(stand, Rounds(stand), options, names)


def can_be_tried(name: str, programs: Path | None) -> bool:
    """Returns true if PostgreSQL has the programs that a fault needs; otherwise prints their names."""
    loss, _ = FAULTS[name]
    can = loss.site != "postgres" or bool(programs and (programs / loss.needs).exists())
    if not can:
        print(f"not run: {name}: no {loss.needs} of PostgreSQL. Set PG_BINDIR, or install PostgreSQL's server")
    return can
