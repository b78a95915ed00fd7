"""Audit of a shop: the answers of a load against the API and the export files afterwards."""

import json
import time
from collections import Counter, defaultdict
from typing import NamedTuple

from blackbox.audit.findings import Findings
from blackbox.clients.http import Json
from blackbox.load.market import STOCK, Market

Orders = list[Json]


class Totals(NamedTuple):
    """Totals of a shop."""

    orders: int
    paid: int
    issued: int


def audit(market: Market) -> tuple[Totals, Findings]:
    """Returns the totals of a shop, and each violation."""
    wrong = Findings("lost")
    coupon_requests(market, wrong)
    caught_up(market, wrong)
    orders = list(market.shop.pages("/admin/orders", market.admin))
    answered(market, orders, wrong)
    wrong.about = "sums"
    stocks(market, orders, wrong)
    wallets(market, orders, wrong)
    issued = {campaign: issued_of(market, campaign, wrong) for campaign in market.campaigns}
    coupons(market, orders, sum(issued.values()), wrong)
    wrong.about = "effects"
    settlement_and_sales(market, orders, wrong)
    deliveries(market, orders, wrong)
    notifications(market, orders, wrong)
    rankings(market, orders, issued, wrong)
    exports(market, orders, wrong)
    paid = sum(order["status"] == "paid" for order in orders)
    return Totals(len(orders), paid, sum(issued.values())), wrong


def coupon_requests(market: Market, wrong: Findings) -> None:
    """Checks that every accepted request for a coupon has a result."""
    for request, member in market.ledger.requests.items():
        answer = market.shop.ok("GET", f"/issue-requests/{request}?wait=30", token=member.token)
        if answer["status"] not in ("issued", "sold_out", "duplicate"):
            wrong.append(f"coupon request {request} is {answer['status']}")
    market.ledger.requests.clear()


def caught_up(market: Market, wrong: Findings) -> None:
    """Checks that every group handles all events within a minute, without dead letters."""
    deadline = time.monotonic() + 60
    while True:
        rows = market.shop.ok("GET", "/admin/consumers", token=market.admin)["items"]
        behind = [row for row in rows if row["lag"]]
        if not behind:
            break
        if time.monotonic() > deadline:
            wrong.append(f"after a minute {behind[0]['group']} still lags {behind[0]['lag']} in {behind[0]['topic']}")
            break
        time.sleep(0.1)
    wrong.same("dead letters", sum(1 for _ in market.shop.pages("/admin/dead-letters", market.admin)), 0)


def answered(market: Market, orders: Orders, wrong: Findings) -> None:
    """Checks that the shop has exactly the orders, payments and cancellations that it answered."""
    there, ledger = {order["id"]: order for order in orders}, market.ledger
    wrong.same("orders that nobody asked for", len(there.keys() - ledger.orders.keys()), 0)
    for id_, order in ledger.orders.items():
        if id_ not in there:
            wrong.append(f"order {id_} was answered and is not there")
        elif (there[id_]["status"], there[id_]["payable"]) != (order.status, order.payable):
            wrong.append(f"order {id_} was answered as {order.status} and is {there[id_]['status']}")


def quantities(orders: Orders, *statuses: str) -> Counter[str]:
    """Returns the quantity of each product in orders of these statuses."""
    found: Counter[str] = Counter()
    for order in orders:
        if order["status"] in statuses:
            found.update({item["product_id"]: item["quantity"] for item in order["items"]})
    return found


def stocks(market: Market, orders: Orders, wrong: Findings) -> None:
    """Checks initial stock = available + reserved + sold, for each product."""
    taken = quantities(orders, "pending", "paid")
    for product in market.products:
        available = market.shop.ok("GET", f"/products/{product}")["available"]
        wrong.same(f"stock of {product}", available + taken[product], STOCK)


def wallets(market: Market, orders: Orders, wrong: Findings) -> None:
    """Checks each wallet against its transactions, and payments and refunds against the statuses of the orders."""
    paid, refunded = defaultdict(list), defaultdict(list)
    for order in orders:
        if order["status"] in ("paid", "refunded"):
            paid[order["member_id"]].append((order["id"], order["payable"]))
        if order["status"] == "refunded":
            refunded[order["member_id"]].append((order["id"], order["payable"]))
    for member in market.members:
        name, balance = f"wallet of {member.id}", 0
        rows = list(market.shop.pages("/wallet/transactions", member.token))[::-1]
        for row in rows:
            balance += int(row["amount"]) * (-1 if row["kind"] == "payment" else 1)
            wrong.same(f"{name}, balance after a {row['kind']}", int(row["balance_after"]), balance)
        wrong.same(name, int(market.shop.ok("GET", "/wallet", token=member.token)["balance"]), balance)
        of = {
            kind: [(row.get("order_id"), row["amount"]) for row in rows if row["kind"] == kind]
            for kind in ("charge", "payment", "refund")
        }
        charges = sorted(amount for _, amount in of["charge"])
        wrong.same(f"{name}, charges", charges, sorted(market.ledger.charges[member.id]))
        wrong.same(f"{name}, payments", sorted(of["payment"]), sorted(paid[member.id]))
        wrong.same(f"{name}, refunds", sorted(of["refund"]), sorted(refunded[member.id]))


def issued_of(market: Market, campaign: str, wrong: Findings) -> int:
    """Checks the reconciliation of a campaign; returns the number of issued coupons."""
    found = market.shop.ok("GET", f"/admin/coupons/{campaign}/reconciliation", token=market.admin)
    if not found["consistent"] or found["limit"] != market.coupons or found["issued"] > market.coupons:
        wrong.append(f"coupon {campaign}: {found}")
    issued: int = found["issued"]
    return issued


def coupons(market: Market, orders: Orders, issued: int, wrong: Findings) -> None:
    """Checks the statuses of coupons against the orders, and one entry of the history for each issued coupon."""
    by_coupon = {
        order["coupon_id"]: order["status"]
        for order in orders
        if order["coupon_id"] and order["status"] in ("pending", "paid")
    }
    expected = {"pending": "reserved", "paid": "used", None: "available"}
    owned = told = 0
    for member in market.members:
        found = list(market.shop.pages("/me/coupons", member.token))
        owned += len(found)
        most = max(Counter(coupon["coupon_id"] for coupon in found).values(), default=1)
        wrong.same("coupons of one campaign in one hand", most, 1)
        for coupon in found:
            wrong.same(f"coupon {coupon['id']}", coupon["status"], expected[by_coupon.get(coupon["id"])])
        history = market.shop.pages("/me/coupons/history", member.token)
        told += sum(entry["what"] == "issued" for entry in history)
    wrong.same("coupons in the members' hands", owned, issued)
    wrong.same("issues in the coupon history", told, issued)


def settlement_and_sales(market: Market, orders: Orders, wrong: Findings) -> None:
    """Checks the sums of settlement and sales over all days."""

    def total(field: str, *statuses: str) -> int:
        return sum(int(order[field]) for order in orders if order["status"] in statuses)

    statuses = Counter(order["status"] for order in orders)
    payments = statuses["paid"] + statuses["refunded"]
    refunded = total("payable", "refunded")
    sums = {
        "settlements": {
            "gross": total("total", "paid", "refunded"),
            "discount": total("discount", "paid", "refunded"),
            "refunded": refunded,
            "net": total("payable", "paid"),
            "payments": payments,
        },
        "analytics/sales": {
            "orders": len(orders),
            "paid": payments,
            "refunds": statuses["refunded"],
            "refunded": refunded,
        },
    }
    for report, expected in sums.items():
        days = market.shop.ok("GET", f"/admin/{report}", token=market.admin)["items"]
        wrong.same(report, {name: sum(int(day[name]) for day in days) for name in expected}, expected)


def deliveries(market: Market, orders: Orders, wrong: Findings) -> None:
    """Checks that each order has one delivery, with the status that fits the order."""
    of_status = {"pending": "waiting", "paid": "preparing", "cancelled": "cancelled", "refunded": "cancelled"}
    found = [(row["order_id"], row["status"]) for row in market.shop.pages("/admin/deliveries", market.admin)]
    wrong.same("deliveries, one each order", len(found), len(orders))
    differ = set(found) ^ {(order["id"], of_status[order["status"]]) for order in orders}
    wrong.same("deliveries that differ from their order", len(differ), 0)


def notifications(market: Market, orders: Orders, wrong: Findings) -> None:
    """Checks that each member has one notification for each event, numbered without gaps."""
    of_kind = {"payment-completed": ("paid", "refunded"), "order-cancelled": ("cancelled", "refunded")}
    by_member = Counter((order["member_id"], order["status"]) for order in orders)
    for member in market.members:
        rows = list(market.shop.pages("/me/notifications", member.token))
        told = Counter(row["kind"] for row in rows)
        expected = {kind: sum(by_member[member.id, status] for status in of) for kind, of in of_kind.items()}
        expected["coupon-issued"] = sum(1 for _ in market.shop.pages("/me/coupons", member.token))
        wrong.same(f"notifications of {member.id}", {kind: told[kind] for kind in expected}, expected)
        wrong.same("numbers of notifications", [row["number"] for row in rows], list(range(len(rows), 0, -1)))


def rankings(market: Market, orders: Orders, issued: dict[str, int], wrong: Findings) -> None:
    """Checks popular products against the orders, and coupons by campaign against the issued coupons."""
    sold = quantities(orders, "paid")
    best = dict(sorted(sold.items(), key=lambda product: (-product[1], product[0]))[:5])
    deadline = time.monotonic() + 5  # the list comes from a cache
    while True:
        items = market.shop.ok("GET", "/products/popular")["items"]
        found = {row["product_id"]: row["sold"] for row in items}
        if found == best or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    wrong.same("popular products", found, best)
    items = market.shop.ok("GET", "/admin/analytics/coupons", token=market.admin)["items"]
    expected = {campaign: count for campaign, count in issued.items() if count}
    wrong.same("coupons issued by campaign", {row["coupon_id"]: row["issued"] for row in items}, expected)


def exports(market: Market, orders: Orders, wrong: Findings) -> None:
    """Checks that the export files hold each event once, each partition in order."""
    ids: Counter[str] = Counter()
    topics: Counter[str] = Counter()
    last: dict[tuple[str, int], int] = {}
    for line in market.shop.exported():
        try:
            event = json.loads(line)
        except ValueError:
            wrong.append(f"exported line is no event: {line[:100]!r}")
            continue
        ids[event["id"]] += 1
        topics[event["topic"]] += 1
        place = (event["topic"], event["partition"])
        wrong.same(f"export of {place}, the next position", event["position"], last.get(place, -1) + 1)
        last[place] = event["position"]
    wrong.same("events exported more than once", sum(count > 1 for count in ids.values()), 0)
    statuses = Counter(order["status"] for order in orders)
    expected = {
        "order-created": len(orders),
        "order-cancelled": statuses["cancelled"] + statuses["refunded"],
        "payment-completed": statuses["paid"] + statuses["refunded"],
        "payment-refunded": statuses["refunded"],
    }
    wrong.same("exported", {topic: topics[topic] for topic in expected}, expected)
