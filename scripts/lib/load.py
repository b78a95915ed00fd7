"""A load of purchases, cancellations, charges and coupon requests, and a ledger of what was answered."""
import random
import threading
import time
import uuid
from collections import Counter, defaultdict

from shop import Gone

WORKERS = 16


class Unanswered(Exception):
    """The shop could not say: the request is asked again later, and nothing may rest on it until then."""


class Ledger:
    """What the shop answered with a 2xx, so what must be there; and what it has still to say."""

    def __init__(self):
        self.orders, self.charges, self.requests = {}, defaultdict(list), {}
        self.answers = []  # of the round: how it was asked, and what came
        self.open = []  # to be asked again, with the same key
        self.statuses = Counter()
        self.purchases = []  # when each payment was asked for that was accepted, and when it was answered

    def note(self, member, method, path, body, answer):
        if path == "/orders":
            self.orders[answer["id"]] = {"member": member["id"], "status": "pending", "payable": answer["payable"]}
        elif path.endswith("/payment"):
            self.orders[answer["order_id"]].update(status="paid", paid=answer["payment_id"])
        elif path.endswith("/cancellation"):
            self.orders[answer["id"]]["status"] = answer["status"]
        elif path == "/wallet/charges":
            self.charges[member["id"]].append(body["amount"])
        elif path.endswith("/issue-requests"):
            self.requests[answer["request_id"]] = member


class Load:
    """Workers that buy, pay, cancel, charge and ask for coupons, until they are told to stop or the shop is gone."""

    def __init__(self, shop, ledger, members, products, campaign, workers=WORKERS):
        self.shop, self.ledger, self.products, self.campaign = shop, ledger, products, campaign
        self.stopping, self.refused = threading.Event(), threading.Event()
        shares = [members[worker::workers] for worker in range(workers)]
        self.threads = [threading.Thread(target=self.work, args=(share,)) for share in shares]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def work(self, members):
        while not self.stopping.is_set():
            try:
                self.step(random.choice(members))
            except Unanswered:
                time.sleep(0.02)
            except Gone:
                return  # what was asked last is noted as open

    def step(self, member):
        what = random.random()
        if what < 0.2:
            return self.ask(member, "POST", f"/coupons/{self.campaign}/issue-requests", {}, keyed=False)
        if what < 0.25:
            return self.ask(member, "POST", "/wallet/charges", {"amount": "777"})
        items = random.sample(self.products, random.choice((1, 1, 2, 3)))
        body = {"items": [{"product_id": product, "quantity": random.randint(1, 3)} for product in items]}
        if what < 0.35:
            held = self.shop.call("GET", "/me/coupons", token=member["token"])
            held = [coupon["id"] for coupon in held[1]["items"] if coupon["status"] == "available"] if held[0] == 200 else []
            body.update({"coupon_id": held[0]} if held else {})
        order = self.ask(member, "POST", "/orders", body)
        if order and what < 0.95:
            self.ask(member, "POST", f"/orders/{order['id']}/payment", {})
        if order and random.random() < 0.1:
            self.ask(member, "POST", f"/orders/{order['id']}/cancellation", {})

    def ask(self, member, method, path, body, keyed=True):
        key = str(uuid.uuid4()) if keyed else None
        try:
            return settle(self.shop, self.ledger, (member, method, path, body, key))
        except Unanswered:
            self.refused.set()
            raise
        except Gone:
            if key:
                self.ledger.open.append((member, method, path, body, key))
            raise


class SteadyLoad(Load):
    """So many steps a second at the most, whatever happens to the shop meanwhile."""

    def __init__(self, *arguments, workers, steps_per_second):
        self.pause, self.lost = workers / steps_per_second, 0
        super().__init__(*arguments, workers=workers)

    def work(self, members):
        while not self.stopping.wait(random.uniform(0, 2 * self.pause)):
            try:
                self.step(random.choice(members))
            except Unanswered:
                pass
            except Gone:
                self.lost += 1


def settle(shop, ledger, request):
    """Asks, and writes down what came; what the shop could not do now is to be asked again."""
    member, method, path, body, key = request
    began = time.monotonic()
    status, answer = shop.call(method, path, body, token=member["token"], key=key)
    ledger.statuses[status] += 1
    if 200 <= status < 300:
        ledger.note(member, method, path, body, answer)
        if path.endswith("/payment"):
            ledger.purchases.append((began, time.monotonic()))
        if key:
            ledger.answers.append((request, status, answer))
        return answer
    if status >= 500 or code_of(answer) == "idempotency-key-in-use":
        if key:
            ledger.open.append(request)
        raise Unanswered
    return None


def code_of(answer):
    return answer.get("code") if isinstance(answer, dict) else None


def reconcile(shop, ledger, patience=0):
    """Asks again what is open, and some of what was answered: the same key must bring the same answer."""
    wrong, repeated, deadline = [], len(ledger.open), time.monotonic() + patience
    while True:
        again, ledger.open = ledger.open, []
        for request in again:
            try:
                settle(shop, ledger, request)
            except Unanswered:
                time.sleep(0.02)
        if not ledger.open or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    if ledger.open:
        wrong.append(f"{len(ledger.open)} requests still fail, though nothing is in the way")
    answers, ledger.answers = ledger.answers, []
    # the last of each worker are the ones in danger; the rest is a sample
    sample = answers[-200:] + random.sample(answers, min(100, len(answers)))
    for (member, method, path, body, key), status, answer in sample:
        replayed = shop.call(method, path, body, token=member["token"], key=key)
        if replayed != (status, answer):
            wrong.append(f"{path} was answered {status}, and its replay {replayed[0]} {str(replayed[1])[:100]}")
    return repeated, wrong
