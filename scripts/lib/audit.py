"""Adds a shop up: what it answered, against what its API and its export files say afterwards."""
import json
import time
from collections import Counter, defaultdict


class Findings(list):
    """What does not hold, and what each of it is about."""

    def __init__(self):
        super().__init__()
        self.about, self.kinds = None, {}

    def append(self, what):
        super().append(what)
        self.kinds[what] = self.about

    def take(self, others):
        self.extend(others)
        self.kinds.update(others.kinds)

    def same(self, what, got, expected):
        if got != expected:
            self.append(f"{what}: {got} instead of {expected}")


def audit(shop, admin, ledger, members, products, campaigns, stock, coupons):
    """(figures, what does not hold)."""
    wrong = Findings()
    wrong.about = "lost"
    requests(shop, ledger, wrong)
    caught_up(shop, admin, wrong)
    orders = list(shop.pages("/admin/orders", admin))
    answered(ledger, orders, wrong)
    wrong.about = "sums"
    stocks(shop, orders, products, stock, wrong)
    wallets(shop, ledger, orders, members, wrong)
    issued = {campaign: draw(shop, admin, campaign, coupons, wrong) for campaign in campaigns}
    held(shop, orders, members, sum(issued.values()), wrong)
    wrong.about = "effects"
    effects(shop, admin, orders, members, wrong)
    figures(shop, admin, orders, issued, wrong)
    exports(shop, orders, wrong)
    paid = sum(order["status"] == "paid" for order in orders)
    return {"orders": len(orders), "paid": paid, "issued": sum(issued.values())}, wrong


def requests(shop, ledger, wrong):
    """Every request for a coupon that was taken comes to an end."""
    for request, member in ledger.requests.items():
        answer = shop.ok("GET", f"/issue-requests/{request}?wait=30", token=member["token"])
        if answer["status"] not in ("issued", "sold_out", "duplicate"):
            wrong.append(f"coupon request {request} is {answer['status']}")
    ledger.requests.clear()


def caught_up(shop, admin, wrong):
    """Every group has handled everything, and put nothing aside."""
    deadline = time.monotonic() + 60
    while True:
        behind = [row for row in shop.ok("GET", "/admin/consumers", token=admin)["items"] if row["lag"]]
        if not behind:
            break
        if time.monotonic() > deadline:
            wrong.append(f"after a minute {behind[0]['group']} still lags {behind[0]['lag']} in {behind[0]['topic']}")
            break
        time.sleep(0.1)
    wrong.same("dead letters", sum(1 for _ in shop.pages("/admin/dead-letters", admin)), 0)


def answered(ledger, orders, wrong):
    """Every order, payment and cancellation that was answered is there, and nothing that nobody asked for."""
    there = {order["id"]: order for order in orders}
    wrong.same("orders that nobody asked for", len(there.keys() - ledger.orders.keys()), 0)
    for order, said in ledger.orders.items():
        if order not in there:
            wrong.append(f"order {order} was answered and is not there")
        elif (there[order]["status"], there[order]["payable"]) != (said["status"], said["payable"]):
            wrong.append(f"order {order} was answered as {said['status']} and is {there[order]['status']}")


def stocks(shop, orders, products, stock, wrong):
    """Initial stock = available + reserved + sold, for each product."""
    taken = Counter()
    for order in orders:
        if order["status"] in ("pending", "paid"):
            taken.update({item["product_id"]: item["quantity"] for item in order["items"]})
    for product in products:
        available = shop.ok("GET", f"/products/{product}")["available"]
        wrong.same(f"stock of {product}", available + taken[product], stock)


def wallets(shop, ledger, orders, members, wrong):
    """Each wallet is the sum of its transactions; each order was paid and refunded once, as its status says."""
    paid, refunded = defaultdict(list), defaultdict(list)
    for order in orders:
        if order["status"] in ("paid", "refunded"):
            paid[order["member_id"]].append((order["id"], order["payable"]))
        if order["status"] == "refunded":
            refunded[order["member_id"]].append((order["id"], order["payable"]))
    for member in members:
        name, balance = f"wallet of {member['id']}", 0
        rows = list(shop.pages("/wallet/transactions", member["token"]))[::-1]
        for row in rows:
            balance += int(row["amount"]) * (-1 if row["kind"] == "payment" else 1)
            wrong.same(f"{name}, balance after a {row['kind']}", int(row["balance_after"]), balance)
        wrong.same(name, int(shop.ok("GET", "/wallet", token=member["token"])["balance"]), balance)
        of = {kind: [(row.get("order_id"), row["amount"]) for row in rows if row["kind"] == kind]
              for kind in ("charge", "payment", "refund")}
        wrong.same(f"{name}, charges", sorted(amount for _, amount in of["charge"]), sorted(ledger.charges[member["id"]]))
        wrong.same(f"{name}, payments", sorted(of["payment"]), sorted(paid[member["id"]]))
        wrong.same(f"{name}, refunds", sorted(of["refund"]), sorted(refunded[member["id"]]))


def draw(shop, admin, campaign, quantity, wrong):
    """The coupons of a campaign went to the first who asked, and not more than there are."""
    found = shop.ok("GET", f"/admin/coupons/{campaign}/reconciliation", token=admin)
    if not found["consistent"] or found["limit"] != quantity or found["issued"] > quantity:
        wrong.append(f"coupon {campaign}: {found}")
    return found["issued"]


def held(shop, orders, members, issued, wrong):
    """Each coupon is where the orders say; the history tells of each issue once."""
    by_coupon = {order["coupon_id"]: order["status"] for order in orders
                 if order["coupon_id"] and order["status"] in ("pending", "paid")}
    expected, owned, told = {"pending": "reserved", "paid": "used", None: "available"}, 0, 0
    for member in members:
        coupons = list(shop.pages("/me/coupons", member["token"]))
        owned += len(coupons)
        wrong.same("coupons of one campaign in one hand", max(Counter(c["coupon_id"] for c in coupons).values(), default=1), 1)
        for coupon in coupons:
            wrong.same(f"coupon {coupon['id']}", coupon["status"], expected[by_coupon.get(coupon["id"])])
        told += sum(entry["what"] == "issued" for entry in shop.pages("/me/coupons/history", member["token"]))
    wrong.same("coupons in the members' hands", owned, issued)
    wrong.same("issues in the coupon history", told, issued)


def effects(shop, admin, orders, members, wrong):
    """What the consumers made of it, they made once: settlement, sales, deliveries, notifications."""
    def total(field, *statuses):
        return sum(int(order[field]) for order in orders if order["status"] in statuses)

    statuses = Counter(order["status"] for order in orders)
    expected = {"gross": total("total", "paid", "refunded"), "discount": total("discount", "paid", "refunded"),
                "refunded": total("payable", "refunded"), "net": total("payable", "paid"),
                "payments": statuses["paid"] + statuses["refunded"]}
    days = shop.ok("GET", "/admin/settlements", token=admin)["items"]
    wrong.same("settlement", {name: sum(int(day[name]) for day in days) for name in expected}, expected)
    expected = {"orders": len(orders), "paid": statuses["paid"] + statuses["refunded"],
                "refunds": statuses["refunded"], "refunded": total("payable", "refunded")}
    days = shop.ok("GET", "/admin/analytics/sales", token=admin)["items"]
    wrong.same("sales", {name: sum(int(day[name]) for day in days) for name in expected}, expected)

    of_status = {"pending": "waiting", "paid": "preparing", "cancelled": "cancelled", "refunded": "cancelled"}
    deliveries = [(row["order_id"], row["status"]) for row in shop.pages("/admin/deliveries", admin)]
    wrong.same("deliveries, one each order", len(deliveries), len(orders))
    differ = set(deliveries) ^ {(order["id"], of_status[order["status"]]) for order in orders}
    wrong.same("deliveries that differ from their order", len(differ), 0)

    of_kind = {"payment-completed": ("paid", "refunded"), "order-cancelled": ("cancelled", "refunded")}
    for member in members:
        rows = list(shop.pages("/me/notifications", member["token"]))
        told = Counter(row["kind"] for row in rows)
        expected = Counter({kind: sum(order["member_id"] == member["id"] and order["status"] in statuses
                                      for order in orders) for kind, statuses in of_kind.items()})
        expected["coupon-issued"] = sum(1 for _ in shop.pages("/me/coupons", member["token"]))
        wrong.same(f"what {member['id']} was told of", {kind: told[kind] for kind in expected}, dict(expected))
        wrong.same("numbers of notifications", [row["number"] for row in rows], list(range(len(rows), 0, -1)))


def figures(shop, admin, orders, issued, wrong):
    """Popular products and coupons by campaign add up to the orders and issues."""
    sold = Counter()
    for order in orders:
        if order["status"] == "paid":
            sold.update({item["product_id"]: item["quantity"] for item in order["items"]})
    best = dict(sorted(sold.items(), key=lambda product: (-product[1], product[0]))[:5])
    deadline = time.monotonic() + 5  # it is told from a cache
    while True:
        told = {row["product_id"]: row["sold"] for row in shop.ok("GET", "/products/popular")["items"]}
        if told == best or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    wrong.same("popular products", told, best)
    told = {row["coupon_id"]: row["issued"] for row in shop.ok("GET", "/admin/analytics/coupons", token=admin)["items"]}
    wrong.same("coupons issued by campaign", told, {campaign: count for campaign, count in issued.items() if count})


def exports(shop, orders, wrong):
    """The export files hold each event once, each partition in order."""
    ids, topics, last = Counter(), Counter(), {}
    for line in shop.exported():
        try:
            event = json.loads(line)
        except ValueError:
            wrong.append(f"exported, and no event: {line[:100]}")
            continue
        ids[event["id"]] += 1
        topics[event["topic"]] += 1
        place = (event["topic"], event["partition"])
        wrong.same(f"export of {place}, the position after", event["position"], last.get(place, -1) + 1)
        last[place] = event["position"]
    wrong.same("events exported more than once", sum(count > 1 for count in ids.values()), 0)
    statuses = Counter(order["status"] for order in orders)
    expected = {"order-created": len(orders), "order-cancelled": statuses["cancelled"] + statuses["refunded"],
                "payment-completed": statuses["paid"] + statuses["refunded"], "payment-refunded": statuses["refunded"]}
    wrong.same("exported", {topic: topics[topic] for topic in expected}, expected)
