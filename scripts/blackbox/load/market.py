"""Members, products and coupon campaigns of a load, and the ledger of the answers."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from blackbox.clients.http import Json
from blackbox.clients.shop import Member, ShopClient

PRODUCTS, STOCK, PRICE = 8, 1_000_000, 1000
# settings of a shop under this load: orders that are left unpaid stay unpaid
MANY_UNPAID = {"ORDER__EXPIRES_AFTER": "1d", "ORDER__MAX_UNPAID": "1000000", "ORDER__MAX_UNPAID_UNITS": "1000000000"}
POINTS = 1_000_000_000  # in each wallet


@dataclass(frozen=True)
class Request:
    """Request of a member; `key` is the Idempotency-Key."""

    member: Member
    method: str
    path: str
    body: Json
    key: str | None


@dataclass
class Order:
    """Order as the shop answered it last."""

    member: Member
    payable: str
    status: str = "pending"


@dataclass(frozen=True)
class Payment:
    """Accepted payment, with the times (monotonic clock) of its request and its answer."""

    asked: float
    answered: float


@dataclass
class Ledger:
    """Requests that were answered with a 2xx, and requests whose answer is missing."""

    orders: dict[str, Order] = field(default_factory=dict)
    charges: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # by member
    requests: dict[str, Member] = field(default_factory=dict)  # for coupons, by id
    answers: list[tuple[Request, int, Json]] = field(default_factory=list)  # of the round, replayed at its end
    open: list[Request] = field(default_factory=list)  # to be repeated with the same key
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)  # of answers of status 5xx
    payments: list[Payment] = field(default_factory=list)

    def note(self, request: Request, answer: Json) -> None:
        """Notes a 2xx answer."""
        member, path = request.member, request.path
        if path == "/orders":
            self.orders[answer["id"]] = Order(member, answer["payable"])
        elif path.endswith("/payment"):
            self.orders[answer["order_id"]].status = "paid"
        elif path.endswith("/cancellation"):
            self.orders[answer["id"]].status = answer["status"]
        elif path == "/wallet/charges":
            self.charges[member.id].append(request.body["amount"])
        elif path.endswith("/issue-requests"):
            self.requests[answer["request_id"]] = member

    def begin_round(self) -> None:
        """Forgets the statuses and payments of the round before."""
        self.statuses.clear()
        self.codes.clear()
        self.payments.clear()

    def failures(self) -> list[str]:
        """Describes the answers of status 5xx other than 503 in this round."""
        count = sum(count for status, count in self.statuses.items() if status >= 500 and status != 503)
        return [f"{count} requests were answered with a 5xx other than 503"] if count else []

    def classes(self) -> Counter[str]:
        """Returns the answers of this round by class: 2xx, 4xx, 5xx."""
        return Counter(f"{status // 100}xx" for status in self.statuses.elements())


class Market:
    """Everything that a load buys, and everyone who buys."""

    def __init__(self, shop: ShopClient, members: int, coupons: int) -> None:
        """Registers members and adds products; each campaign will have `coupons` coupons."""
        self.shop, self.coupons, self.ledger = shop, coupons, Ledger()
        self.admin = shop.admin()
        self.members = [shop.member(POINTS) for _ in range(members)]
        self.products = [self.add_product(number) for number in range(PRODUCTS)]
        self.campaigns: list[str] = []
        for member in self.members:
            self.ledger.charges[member.id].append(str(POINTS))

    def add_product(self, number: int) -> str:
        """Adds a product and returns its id."""
        body = {"name": f"Product {number}", "price": str(PRICE), "stock": STOCK}
        product: str = self.shop.ok("POST", "/products", body, token=self.admin)["id"]
        return product

    def forget_lost(self) -> int:
        """Forgets the answers that the shop has lost in a failover or a restore; returns the number of lost orders.

        All groups have caught up: a request for a coupon that is still pending is lost.
        """
        shop, ledger, members = self.shop, self.ledger, {member.id: member for member in self.members}
        orders = {
            order["id"]: Order(members[order["member_id"]], order["payable"], order["status"])
            for order in shop.pages("/admin/orders", self.admin)
        }
        lost = len(ledger.orders.keys() - orders.keys())
        ledger.orders = orders
        for member in self.members:
            rows = shop.pages("/wallet/transactions", member.token)
            ledger.charges[member.id] = [row["amount"] for row in rows if row["kind"] == "charge"]
        ledger.requests = {
            request: member
            for request, member in ledger.requests.items()
            if shop.ok("GET", f"/issue-requests/{request}", token=member.token)["status"] != "pending"
        }
        ledger.answers.clear()
        return lost

    def add_campaign(self, name: str) -> None:
        """Adds a coupon campaign; the load asks for coupons of the last one."""
        body = {"name": f"Campaign {name}", "quantity": self.coupons, "discount": {"percent": 10}}
        self.campaigns.append(self.shop.ok("POST", "/coupons", body, token=self.admin)["id"])
