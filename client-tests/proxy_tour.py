"""Events and the admin's routes with a client that openapi-python-client generated: proxy_tour.py URL ADMIN_PASSWORD"""

from __future__ import annotations

import base64
from uuid import uuid4

from httpx import Timeout
from proxy_client import AuthenticatedClient
from proxy_client.api.admin import (
    create_api_key,
    create_topics,
    get_topic,
    list_api_keys,
    list_audit_entries,
    list_dead_letters,
    list_topics,
    redrive_dead_letters,
    revoke_api_key,
    rotate_api_key,
)
from proxy_client.api.events import get_ledger, get_receipt, post_events
from proxy_client.models import (
    ApiKeys,
    GetLedgerResponse200,
    Items,
    Level,
    NewKey,
    PageAuditEntry,
    PageDeadLetterView,
    PageTopicView,
    Posted,
    PostEventsAck,
    ReceiptView,
    RedriveFilter,
    RedriveRequest,
    Redriven,
    ShownKey,
    Status,
    TakenView,
    TopicRequest,
    TopicView,
)
from steps import check, eventually, expect, refused, run

TIMEOUT = Timeout(60)


def tour(url: str, admin_password: str) -> None:
    credentials = base64.b64encode(f"admin:{admin_password}".encode()).decode()
    admin = AuthenticatedClient(url, credentials, prefix="Basic", timeout=TIMEOUT)
    name = f"tour-{uuid4().hex[:8]}"
    topic = f"{name}.payment-failed"
    event = Posted(service=name, type_="payment-failed", data={"reason": "card"})

    stranger = AuthenticatedClient(url, "none", prefix="Basic", timeout=TIMEOUT)
    refused("topics with a wrong password", 401, "unauthorized", list_topics.sync_detailed(client=stranger))
    new = NewKey(name=name, services=[name])
    key = expect("API key", 201, ShownKey, create_api_key.sync_detailed(client=admin, body=new))
    service = AuthenticatedClient(url, key.key, timeout=TIMEOUT)
    request = TopicRequest(services=[name], types=["payment-failed"], partitions=2)
    made = expect("topic", 201, PageTopicView, create_topics.sync_detailed(client=admin, body=request))
    check("made topic", [it.name for it in made.items] == [topic], made)

    first = Posted(service=name, type_="payment-failed", data={"reason": "card"}, key="order-17", level=Level.ERROR)
    taken = expect("event", 202, TakenView, post_events.sync_detailed(client=service, body=first))
    several = expect("array of events", 202, Items, post_events.sync_detailed(
        client=service, body=[event, Posted(service=name, type_="payment-failed", data=1, id="18")],
        ack=PostEventsAck.MEMORY))
    check("an item each", [item.status for item in several.items] == [202, 202], several)
    refused("an event without a type", 422, "invalid-request",
            post_events.sync_detailed(client=service, body=Posted(service=name, type_="", data=1)))
    receipt = expect("receipt", 200, ReceiptView, get_receipt.sync_detailed(taken.receipt, client=service))
    check("fate of the event", receipt.status in (Status.DELIVERED, Status.QUEUED) and receipt.topic == topic, receipt)
    refused("an unknown receipt", 404, "not-found", get_receipt.sync_detailed("none", client=service))
    eventually("ledger", GetLedgerResponse200, lambda: get_ledger.sync_detailed(client=service),
               lambda ledger: topic in ledger and ledger[topic].accepted == 3)

    listed = expect("topics", 200, PageTopicView, list_topics.sync_detailed(client=admin))
    check("listed topic", any(it.name == topic and it.partitions == 2 for it in listed.items), listed)
    one = expect("one topic", 200, TopicView, get_topic.sync_detailed(topic, client=admin))
    check("its events", one.events.accepted == 3, one)
    letters = expect("dead letters", 200, PageDeadLetterView, list_dead_letters.sync_detailed(client=admin, topic=topic))
    check("no dead letters", letters.items == [], letters)
    dry_run = RedriveRequest(filter_=RedriveFilter(topic=topic), dry_run=True)
    redriven = expect("redrive", 200, Redriven, redrive_dead_letters.sync_detailed(client=admin, body=dry_run))
    check("nothing to redrive", redriven.matched == 0, redriven)

    other = Posted(service="another", type_="payment-failed", data=1)
    refused("event of another service", 403, "service-not-allowed", post_events.sync_detailed(client=service, body=other))
    rotated = expect("new key", 200, ShownKey, rotate_api_key.sync_detailed(key.id, client=admin))
    check("another key", rotated.id == key.id and rotated.key != key.key, rotated.id)
    keys = expect("API keys", 200, ApiKeys, list_api_keys.sync_detailed(client=admin))
    check("listed key", any(it.id == key.id for it in keys.items), keys)
    answer = revoke_api_key.sync_detailed(key.id, client=admin)
    check("revocation", answer.status_code == 204, answer)
    audit = expect("audit log", 200, PageAuditEntry, list_audit_entries.sync_detailed(client=admin, limit=100))
    check("audited topic", any((it.action, it.subject) == ("topic.create", topic) for it in audit.items), audit)


run(tour)
