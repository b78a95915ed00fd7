"""Events with the official CloudEvents SDK, in each mode of HTTP: proxy_cloudevents.py URL ADMIN_PASSWORD

An event that comes again in another mode is a duplicate only if the proxy read the same source, type, id, key and data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
from cloudevents.core.bindings.http import HTTPMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from steps import check, run

# Examples of the specification (spec.md, formats/json-format.md, bindings/http-protocol-binding.md).
SOURCES = (
    "https://github.com/cloudevents",
    "mailto:cncf-wg-serverless@lists.cncf.io",
    "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
    "cloudevents/spec/pull/123",
    "/sensors/tn-1234567/alerts",
    "1-555-123-4567",
)


def events(source: str) -> Iterator[CloudEvent]:
    """Yields an event for each kind of data, with attributes of each type."""
    kinds: tuple[tuple[str, Any], ...] = (
        ("application/json", {"message": "Euro € 😀", "numbers": [1, 2.5, None]}),
        ("text/xml", '<much wow="xml"/>'),
        ("text/plain; charset=utf-8", "머그컵"),
        ("application/octet-stream", bytes(range(256))),
    )
    for number, (media, data) in enumerate(kinds):
        attributes = {
            "id": f"{uuid4()}-{number}", "source": source, "type": "com.example.someevent", "specversion": "1.0",
            "subject": f'Euro € 😀 100% "{number}"', "datacontenttype": media, "comexampleextension1": "value",
            "comexampleothervalue": 5, "dataschema": "https://example.com/schema",
        }
        yield CloudEvent(attributes, data)


def tour(url: str, admin_password: str) -> None:
    form = JSONFormat()
    with httpx.Client(base_url=url, timeout=60) as client:

        def send(message: HTTPMessage) -> httpx.Response:
            return client.post("/v1/events", headers=message.headers, content=message.body)

        for source in SOURCES:
            for event in events(source):
                step = f"{source} {event.get_datacontenttype()}"
                first = send(to_structured(event, form))
                check(f"structured {step}", first.status_code == 202 and "duplicate" not in first.json(), first.text)
                again = send(to_binary(event, form))
                check(f"binary {step}", again.json() == first.json() | {"duplicate": True}, again.text)
        batch = b"[" + b",".join(to_structured(event, form).body for event in events("/batch")) + b"]"
        answer = send(HTTPMessage({"content-type": "application/cloudevents-batch+json"}, batch))
        check("batch", answer.status_code == 202 and len(answer.json()["items"]) == 4, answer.text)


run(tour)
