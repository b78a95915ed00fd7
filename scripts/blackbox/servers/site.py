"""Shops on one database, which a fault suite restores or fails over, with topics in-process or on Kafka."""

import re
import shutil
import sqlite3
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blackbox.clients.postgres import Refused, Row
from blackbox.load.market import MANY_UNPAID, Market
from blackbox.servers import exports
from blackbox.servers.command import error_lines
from blackbox.servers.postgres import Postgres
from blackbox.servers.shop import Shop
from blackbox.servers.way import Way

MEMBERS, COUPONS = 24, 15
ORPHAN = re.compile(r"orphan dropped.* event=([0-9a-f-]{36})|event=([0-9a-f-]{36}).*orphan dropped")
Brokers = Callable[[], str]  # returns the bootstrap servers


class Site(ABC):
    """Shops that share a database and a folder of data. Clients call the first one."""

    def __init__(self, binaries: Path, folder: Path, shops: int, kafka: Path | None, brokers: Brokers) -> None:
        """Prepares shops whose topics are on Kafka, in-process without `kafka`, the folder of scripts/kafka."""
        folder.mkdir()
        self.folder, self.kafka, self.servers = folder, kafka or folder, brokers
        self.prefix, self.on_kafka = f"{folder.name}.", kafka is not None
        settings = {**MANY_UNPAID, "AUTH__ACCESS_TTL": "1d"}
        if kafka:
            settings |= {"BUS__BACKEND": "kafka", "BUS__KAFKA__BOOTSTRAP_SERVERS": brokers()}
            settings["BUS__KAFKA__PREFIX"] = self.prefix
        self.shops = [SiteShop(self, binaries / "shop", number, settings) for number in range(1, shops + 1)]

    def up(self) -> None:
        """Starts and fills the shops, and waits until one coupon is issued: all groups have begun."""
        self.start()
        self.market = market = Market(self.shops[0], MEMBERS, COUPONS)
        market.add_campaign("first")
        member, path = market.members[0], f"/coupons/{market.campaigns[0]}/issue-requests"
        request = self.shops[0].ok("POST", path, {}, token=member.token)["request_id"]
        self.shops[0].ok("GET", f"/issue-requests/{request}?wait=30", token=member.token)

    def start(self) -> None:
        """Starts all shops."""
        for shop in self.shops:
            shop.env["SHOP__DATABASE__URL"] = self.url()
            shop.start()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stops all shops for a while."""
        for shop in self.shops:
            shop.stop()
            shop.port = None
        yield
        self.start()

    def is_ready(self) -> bool:
        """Returns true if all shops are ready."""
        return all(shop.is_ready() for shop in self.shops)

    @abstractmethod
    def url(self) -> str:
        """Returns the setting `database.url`."""

    @abstractmethod
    def rows(self, sql: str) -> list[Row]:
        """Returns the rows of a query."""

    def orphans_counted(self) -> int:
        """Returns the sum of bus_orphans_total since the last start."""
        pages = (str(shop.ask("GET", "/metrics").body) for shop in self.shops)
        return sum(int(value) for page in pages for value in re.findall(r"^bus_orphans_total\S* (\d+)$", page, re.M))

    def orphans_named(self) -> set[str]:
        """Returns the ids of orphans in the logs."""
        return {found[1] or found[2] for shop in self.shops for found in ORPHAN.finditer(shop.log.read_text())}

    def errors(self) -> Iterator[str]:
        """Yields the lines of level ERROR in the logs."""
        for shop in self.shops:
            yield from (f"{shop.log.stem}: {line}" for line in error_lines(shop.log, " ERROR "))

    def end(self) -> None:
        """Ends every process."""
        for shop in self.shops:
            shop.stop()


class SiteShop(Shop):
    """Shop of a site."""

    keep_alive = 5  # the shop closes a connection that is idle for longer than `http.limits.head_timeout`

    def __init__(self, site: Site, binary: Path, number: int, settings: dict[str, str]) -> None:
        super().__init__(binary, site.folder, **settings)
        self.site, self.log = site, site.folder / f"shop-{number}.log"

    def exported(self) -> Iterator[bytes]:
        """Yields the lines of export files that count."""
        return exports.committed_lines(self.site.rows(exports.FILES), self.data)


class PostgresSite(Site):
    """Two shops on a PostgreSQL server, which they reach by a port that can lead to another server."""

    def __init__(self, binaries: Path, folder: Path, kafka: Path | None, brokers: Brokers, programs: Path) -> None:
        self.server = Postgres(programs)
        self.way = Way(self.server.port)
        super().__init__(binaries, folder, 2, kafka, brokers)

    def url(self) -> str:
        """Returns the setting `database.url`."""
        return self.server.url_by(self.way.port)

    def rows(self, sql: str) -> list[Row]:
        """Returns the rows of a query."""
        return self.server.rows(sql)

    def go_to(self, server: Postgres) -> None:
        """Ends the server, and leads the shops to another one."""
        self.server.end()
        self.server, self.way.leads_to = server, server.port

    def administer(self, *statements: str) -> None:
        """Executes statements in another database, again while the last connections to the database end."""
        for statement in statements:
            deadline = time.monotonic() + 10
            while True:
                try:
                    self.server.rows(statement, "template1")
                    break
                except Refused:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)

    def end(self) -> None:
        """Ends every process."""
        super().end()
        self.way.close()
        self.server.end()


class SqliteSite(Site):
    """Shop on a file of SQLite."""

    def __init__(self, binaries: Path, folder: Path, kafka: Path | None, brokers: Brokers) -> None:
        self.file = folder / "data/shop.db"
        super().__init__(binaries, folder, 1, kafka, brokers)

    def url(self) -> str:
        """Returns the setting `database.url`."""
        return f"sqlite:{self.file}"

    def rows(self, sql: str) -> list[Row]:
        """Returns the rows of a query."""
        database = sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)
        try:
            return [tuple(map(text, row)) for row in database.execute(sql)]
        finally:
            database.close()

    def put_back(self, copy: Path) -> None:
        """Replaces the file by a copy, while no shop runs."""
        for rest in ("-wal", "-shm"):
            Path(f"{self.file}{rest}").unlink(missing_ok=True)
        shutil.copy(copy, self.file)


def text(value: object) -> str | None:
    """Returns a value of SQLite as PostgreSQL prints the value; 16 bytes are a UUID."""
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value))
    return None if value is None else str(value)
