"""The tour of README with a client that openapi-python-client generated: shop_tour.py URL ADMIN_PASSWORD"""

from __future__ import annotations

import threading
from uuid import uuid4

from httpx import Timeout
from shop_client import AuthenticatedClient, Client
from shop_client.api.admin import get_event, list_consumers, list_events, list_settlements, reconcile_coupon
from shop_client.api.coupons import create_coupon, get_issue_request, request_coupon
from shop_client.api.members import register_member
from shop_client.api.orders import get_delivery, list_order_events, pay_order, place_order
from shop_client.api.products import create_product, list_popular_products
from shop_client.api.sessions import sign_in, sign_out
from shop_client.api.wallet import charge_wallet
from shop_client.models import (
    Balance,
    Coupon,
    CouponEntry,
    Delivery,
    DeliveryStatus,
    DiscountEntry,
    EventStatus,
    IssueRequest,
    IssueRequestAccepted,
    IssueRequestStatus,
    Order,
    OrderItem,
    OrderRequest,
    OrderStatus,
    PageConsumer,
    PageLoggedEvent,
    PageOrderEvent,
    PageSettlementDay,
    Payment,
    PopularProducts,
    Product,
    ProductEntry,
    Profile,
    Reconciliation,
    Registration,
    Role,
    SignIn,
    TokenPair,
    TrackedEvent,
    WalletCharge,
)
from steps import check, eventually, expect, refused, run

ADMIN = "admin@shop.local"
TIMEOUT = Timeout(60)


class Stream(threading.Thread):
    """Reads the notification stream, which no generated function does, until it tells of a payment."""

    def __init__(self, client: AuthenticatedClient) -> None:
        super().__init__(daemon=True)
        self.client, self.opened, self.text = client, threading.Event(), ""

    def run(self) -> None:
        with self.client.get_httpx_client().stream("GET", "/api/v1/me/notifications/stream", timeout=TIMEOUT) as answer:
            answer.raise_for_status()
            self.opened.set()
            for piece in answer.iter_text():
                self.text += piece
                if "payment-completed" in self.text:
                    return


def key() -> str:
    return str(uuid4())


def tour(url: str, admin_password: str) -> None:
    guest = Client(url, timeout=TIMEOUT)

    def signed_in(email: str, password: str) -> AuthenticatedClient:
        answer = sign_in.sync_detailed(client=guest, body=SignIn(email, password))
        return AuthenticatedClient(url, expect("sign in", 201, TokenPair, answer).access_token, timeout=TIMEOUT)

    wrong = SignIn(ADMIN, "not the password")
    refused("a wrong password", 401, "invalid-credentials", sign_in.sync_detailed(client=guest, body=wrong))
    admin = signed_in(ADMIN, admin_password)
    mug = ProductEntry(name="Moon jar mug", price="19900", stock=10)
    product = expect("product", 201, Product,
                     create_product.sync_detailed(client=admin, body=mug, idempotency_key=key()))
    check("stock", product.available == 10 and product.on_sale, product)
    entry = CouponEntry(name="The first three", discount=DiscountEntry(percent=10), quantity=3)
    coupon = expect("coupon", 201, Coupon,
                    create_coupon.sync_detailed(client=admin, body=entry, idempotency_key=key()))
    check("remaining coupons", coupon.remaining == 3, coupon)

    registration = Registration(f"kim-{uuid4()}@example.com", name="Kim", password="correct horse")
    member = expect("register", 201, Profile, register_member.sync_detailed(client=guest, body=registration))
    check("role", member.role == Role.MEMBER, member)
    refused("register again", 409, "email-taken", register_member.sync_detailed(client=guest, body=registration))
    kim = signed_in(registration.email, registration.password)
    refused("a product by a member", 403, "forbidden", create_product.sync_detailed(client=kim, body=mug))

    requested = expect("coupon request", 202, IssueRequestAccepted, request_coupon.sync_detailed(coupon.id, client=kim))
    result = expect("result of the request", 200, IssueRequest,
                    get_issue_request.sync_detailed(requested.request_id, client=kim, wait=30))
    check("issued coupon", result.status == IssueRequestStatus.ISSUED, result)

    stream = Stream(signed_in(registration.email, registration.password))
    stream.start()
    check("notification stream", stream.opened.wait(30), "not opened")
    items = [OrderItem(product_id=product.id, quantity=2)]
    order = expect("order", 201, Order, place_order.sync_detailed(
        client=kim, body=OrderRequest(items, coupon_id=result.owned_coupon_id), idempotency_key=key()))
    check("order status", order.status == OrderStatus.PENDING, order)
    check("amounts", (order.total, order.discount, order.payable) == ("39800", "3980", "35820"), order)
    refused("payment from an empty wallet", 402, "insufficient-balance",
            pay_order.sync_detailed(order.id, client=kim, idempotency_key=key()))
    wallet = expect("charge", 201, Balance, charge_wallet.sync_detailed(
        client=kim, body=WalletCharge("100000"), idempotency_key=key()))
    check("balance", wallet.balance == "100000", wallet)
    payment = expect("payment", 201, Payment, pay_order.sync_detailed(order.id, client=kim, idempotency_key=key()))
    check("paid amount", payment.amount == "35820" and payment.order_id == order.id, payment)
    refused("a second payment", 409, "order-state",
            pay_order.sync_detailed(order.id, client=kim, idempotency_key=key()))
    stream.join(30)
    check("notification of the payment", "payment-completed" in stream.text, stream.text)

    eventually("events of the order", PageOrderEvent, lambda: list_order_events.sync_detailed(order.id, client=kim),
               lambda page: any(event.topic == "payment-completed" for event in page.items) and all(
                   group.status == EventStatus.HANDLED for event in page.items for group in event.groups))
    logged = expect("payment in the event log", 200, PageLoggedEvent, list_events.sync_detailed(
        client=admin, topic="payment-completed", key=str(order.id)))
    check("one payment", len(logged.items) == 1, logged)
    tracked = expect("event", 200, TrackedEvent, get_event.sync_detailed(logged.items[0].event.id, client=admin))
    check("groups of the event", tracked.topic == "payment-completed" and len(tracked.groups) > 1, tracked)
    consumers = expect("consumers", 200, PageConsumer, list_consumers.sync_detailed(client=admin))
    check("settlement group", any(it.group == "settlement" and it.position <= it.end for it in consumers.items), consumers)

    eventually("popular products", PopularProducts, lambda: list_popular_products.sync_detailed(client=guest),
               lambda popular: any(it.product_id == product.id and it.sold == 2 for it in popular.items)
               or (len(popular.items) == 5 and all(it.sold >= 2 for it in popular.items)))
    eventually("delivery", Delivery, lambda: get_delivery.sync_detailed(order.id, client=kim),
               lambda delivery: delivery.status == DeliveryStatus.PREPARING)
    eventually("settlement", PageSettlementDay, lambda: list_settlements.sync_detailed(client=admin),
               lambda page: any(day.payments >= 1 and int(day.gross) - int(day.discount) >= 35820 for day in page.items))
    fair = expect("reconciliation", 200, Reconciliation, reconcile_coupon.sync_detailed(coupon.id, client=admin))
    check("fair draw", (fair.limit, fair.issued, fair.consistent, fair.in_log_order) == (3, 1, True, True), fair)
    answer = sign_out.sync_detailed(client=kim)
    check("sign out", answer.status_code == 204, answer)


run(tour)
