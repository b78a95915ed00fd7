"""Faults of one shop with SQLite under load: kill -9, and a full disk."""

import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from blackbox.audit.shop import audit
from blackbox.faults.table import Cell, Table
from blackbox.load.market import MANY_UNPAID, Market
from blackbox.load.purchases import Load, reconcile
from blackbox.servers.disk import Disk
from blackbox.servers.shop import Shop

MEMBERS, COUPONS = 48, 25
COLUMNS = {
    "round": 5,
    "2xx": 7,
    "4xx": 6,
    "5xx": 6,
    "asked again": 11,
    "back after": 10,
    "orders": 7,
    "paid": 7,
    "coupons": 7,
    "held": 5,
}


@dataclass
class Target:
    """Shop to break, the load on it, and its disk."""

    shop: Shop
    load: Load
    disk: Disk | None


def kill(target: Target) -> float:
    """Kills the shop and starts it again; returns the seconds until the shop is ready."""
    time.sleep(random.uniform(1.0, 3.0))
    target.shop.kill()
    target.load.stop()
    return target.shop.start()


def fill_disk(target: Target) -> float:
    """Fills the disk and makes room again; returns the seconds until the shop writes."""
    shop, disk = target.shop, target.disk
    assert disk
    time.sleep(1.0)
    disk.fill(shop)
    full = target.load.refused.wait(60)
    time.sleep(1.0)  # every thread of the load meets the full disk
    reads, _ = shop.call("GET", "/products")
    target.load.stop()
    disk.relieve(shop)
    began = time.monotonic()
    while shop.alive() and shop.register()[0] != 201:
        if time.monotonic() - began > 60:
            raise SystemExit("the shop does not write again, though there is room")
        time.sleep(0.02)
    if not full:
        raise SystemExit("the disk never got full")
    if reads != 200:
        raise SystemExit(f"reading answered {reads} while the disk was full")
    return time.monotonic() - began


FAULTS = {"kill": kill, "disk": fill_disk}


def run(name: str, binary: Path, rounds: int) -> list[str]:
    """Runs rounds of a fault; returns each violation."""
    folder = Path(tempfile.mkdtemp(prefix=f"jangteo-{name}-"))
    disk = Disk(folder) if name == "disk" else None
    shop = Shop(binary, folder, **MANY_UNPAID, AUTH__ACCESS_TTL="1d")
    wrong: list[str] = []
    print(f"\n{name}: {rounds} rounds" + (f", {disk.kind}" if disk else ""))
    try:
        shop.start()
        market, table = Market(shop, MEMBERS, COUPONS), Table(name, COLUMNS)
        table.row(COLUMNS)
        for number in range(1, rounds + 1):
            market.add_campaign(str(number))
            cells, found = run_round(name, market, shop, disk)
            table.row([number, *cells, "NO" if found else "yes"])
            wrong += [f"{name}, round {number}: {text}" for text in found]
    finally:
        shop.stop()
        if wrong:
            print(f"end of the shop's log: {shop.log_end()}")
        if disk:
            disk.remove()
        shutil.rmtree(folder, ignore_errors=True)
    return wrong


def run_round(name: str, market: Market, shop: Shop, disk: Disk | None) -> tuple[list[Cell], list[str]]:
    """Injects a fault under load; returns the cells of the table but the first and the last, and each violation."""
    ledger = market.ledger
    ledger.begin_round()
    load = Load(market)
    try:
        back = FAULTS[name](Target(shop, load, disk))
    finally:
        load.stop()
    classes, found = ledger.classes(), ledger.failures()
    repeated, more = reconcile(market)
    totals, violations = audit(market)
    cells: list[Cell] = [classes["2xx"], classes["4xx"], classes["5xx"], repeated, f"{back:.2f} s"]
    return [*cells, totals.orders, totals.paid, totals.issued], [*found, *more, *violations]
