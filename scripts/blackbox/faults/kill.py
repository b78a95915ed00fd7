"""kill -9 of one shop with SQLite under load."""

import random
import shutil
import tempfile
import time
from pathlib import Path

from blackbox.audit.shop import audit
from blackbox.faults.table import Cell, Table
from blackbox.load.market import MANY_UNPAID, Market
from blackbox.load.purchases import Load, reconcile
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


def kill(shop: Shop, load: Load) -> float:
    """Kills the shop and starts it again; returns the seconds until the shop is ready."""
    time.sleep(random.uniform(1.0, 3.0))
    shop.kill()
    load.stop()
    return shop.start()


def run(binary: Path, rounds: int) -> list[str]:
    """Runs rounds; returns each violation."""
    folder = Path(tempfile.mkdtemp(prefix="jangteo-kill-"))
    shop = Shop(binary, folder, **MANY_UNPAID, AUTH__ACCESS_TTL="1d")
    wrong: list[str] = []
    print(f"\nkill: {rounds} rounds")
    try:
        shop.start()
        market, table = Market(shop, MEMBERS, COUPONS), Table("kill", COLUMNS)
        table.row(COLUMNS)
        for number in range(1, rounds + 1):
            market.add_campaign(str(number))
            cells, found = run_round(market, shop)
            table.row([number, *cells, "NO" if found else "yes"])
            wrong += [f"kill, round {number}: {text}" for text in found]
    finally:
        shop.stop()
        if wrong:
            print(f"end of the shop's log: {shop.log_end()}")
        shutil.rmtree(folder, ignore_errors=True)
    return wrong


def run_round(market: Market, shop: Shop) -> tuple[list[Cell], list[str]]:
    """Kills the shop under load; returns the cells of the table but the first and the last, and each violation."""
    ledger = market.ledger
    ledger.begin_round()
    load = Load(market)
    try:
        back = kill(shop, load)
    finally:
        load.stop()
    classes, found = ledger.classes(), ledger.failures()
    repeated, more = reconcile(market)
    totals, violations = audit(market)
    cells: list[Cell] = [classes["2xx"], classes["4xx"], classes["5xx"], repeated, f"{back:.2f} s"]
    return [*cells, totals.orders, totals.paid, totals.issued], [*found, *more, *violations]
