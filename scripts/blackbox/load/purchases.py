"""Load of purchases, cancellations, charges and coupon requests."""

import random
import threading
import time
import uuid
from collections.abc import Sequence

from blackbox.clients.http import Gone, Json
from blackbox.clients.shop import Member
from blackbox.load.market import Market, Payment, Request


class Unanswered(Exception):
    """The shop answered 5xx or is still at the request. The same request follows later."""


class Load:
    """Threads that buy, pay, cancel, charge and ask for coupons until `stop`, or until the shop is gone."""

    def __init__(self, market: Market, workers: int = 16) -> None:
        self.market, self.campaign = market, market.campaigns[-1]
        self.stopping, self.refused = threading.Event(), threading.Event()
        shares = [market.members[worker::workers] for worker in range(workers)]
        self.threads = [threading.Thread(target=self.work, args=(share,)) for share in shares]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Ends the load."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def work(self, members: Sequence[Member]) -> None:
        """Repeats steps of random members. A request that the shop did not answer is noted as open."""
        while not self.stopping.is_set():
            try:
                self.step(random.choice(members))
            except Unanswered:
                time.sleep(0.02)
            except Gone:
                return

    def step(self, member: Member) -> None:
        """Asks for a coupon, charges the wallet, or places an order, which may be paid and cancelled."""
        chance = random.random()
        if chance < 0.2:
            self.ask(member, f"/coupons/{self.campaign}/issue-requests", {}, keyed=False)
            return
        if chance < 0.25:
            self.ask(member, "/wallet/charges", {"amount": "777"})
            return
        items = random.sample(self.market.products, random.choice((1, 1, 2, 3)))
        body: Json = {"items": [{"product_id": product, "quantity": random.randint(1, 3)} for product in items]}
        if chance < 0.35 and (coupon := self.available_coupon(member)):
            body["coupon_id"] = coupon
        order = self.ask(member, "/orders", body)
        if order and chance < 0.95:
            self.ask(member, f"/orders/{order['id']}/payment", {})
        if order and random.random() < 0.1:
            self.ask(member, f"/orders/{order['id']}/cancellation", {})

    def available_coupon(self, member: Member) -> str | None:
        """Returns a coupon that the member can use."""
        status, body = self.market.shop.call("GET", "/me/coupons", token=member.token)
        items = body["items"] if status == 200 else []
        return next((coupon["id"] for coupon in items if coupon["status"] == "available"), None)

    def ask(self, member: Member, path: str, body: Json, keyed: bool = True) -> Json:
        """Posts a request. Returns the body of a 2xx answer, or None if the shop refused it."""
        request = Request(member, "POST", path, body, str(uuid.uuid4()) if keyed else None)
        try:
            return settle(self.market, request)
        except Unanswered:
            self.refused.set()
            raise
        except Gone:
            if keyed:
                self.market.ledger.open.append(request)
            raise


class SteadyLoad(Load):
    """Load with a maximum of steps per second, which survives a shop that is gone."""

    def __init__(self, market: Market, workers: int, steps_per_second: float) -> None:
        self.pause, self.lost = workers / steps_per_second, 0
        super().__init__(market, workers)

    def work(self, members: Sequence[Member]) -> None:
        """Repeats steps of random members with random pauses."""
        while not self.stopping.wait(random.uniform(0, 2 * self.pause)):
            try:
                self.step(random.choice(members))
            except Unanswered:
                pass
            except Gone:
                self.lost += 1


def ask(market: Market, request: Request) -> tuple[int, Json]:
    """Returns status and body."""
    return market.shop.call(request.method, request.path, request.body, token=request.member.token, key=request.key)


def settle(market: Market, request: Request) -> Json:
    """Sends a request and notes the answer. Raises Unanswered if the request has to be repeated."""
    ledger, began = market.ledger, time.monotonic()
    status, answer = ask(market, request)
    ledger.statuses[status] += 1
    if 200 <= status < 300:
        ledger.note(request, answer)
        if request.path.endswith("/payment"):
            ledger.payments.append(Payment(began, time.monotonic()))
        if request.key:
            ledger.answers.append((request, status, answer))
        return answer
    if status >= 500 and isinstance(answer, dict):
        ledger.codes[answer.get("code", "")] += 1
    if status >= 500 or (isinstance(answer, dict) and answer.get("code") == "idempotency-key-in-use"):
        if request.key:
            ledger.open.append(request)
        raise Unanswered
    return None


def reconcile(market: Market, patience: float = 0) -> tuple[int, list[str]]:
    """Repeats the open requests, and replays some that were answered: the same key brings the same answer.

    Returns the number of open requests, and each violation.
    """
    ledger, wrong = market.ledger, []
    repeated, deadline = len(ledger.open), time.monotonic() + patience
    while True:
        again, ledger.open = ledger.open, []
        for request in again:
            try:
                settle(market, request)
            except Unanswered:
                time.sleep(0.02)
        if not ledger.open or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    if ledger.open:
        wrong.append(f"{len(ledger.open)} requests still fail, though nothing is in the way")
    answers, ledger.answers = ledger.answers, []
    # the last answers of each worker are at risk; of the others, a sample
    for request, status, answer in answers[-200:] + random.sample(answers, min(100, len(answers))):
        replayed = ask(market, request)
        if replayed != (status, answer):
            wrong.append(f"{request.path} was answered {status}, and its replay {replayed[0]} {str(replayed[1])[:100]}")
    return repeated, wrong
