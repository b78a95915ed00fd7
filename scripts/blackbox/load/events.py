"""Load of events for proxies, and the receipts of the events."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.message import Message

from blackbox.clients.http import Gone
from blackbox.servers.proxy import Proxy

KEYS = 60  # of each source
TEXT = "what happened, where, and to whom; "
TAKEN = (200, 202)
KINDS = ("disk", "disk", "kafka", "memory")  # acknowledgements of the sources of a proxy
LONGEST_PAUSE = 2  # seconds; maximum pause of a refused source, whatever Retry-After says


@dataclass
class Posted:
    """Event of a source. Events of one key are numbered from 0; each waits for the receipt of the one before."""

    proxy: str
    topic: str
    key: str
    number: int
    begun: float = 0.0
    receipt: str = ""
    is_out_of_order: bool = False  # sent again by a redrive
    is_discarded: bool = False

    def json(self) -> str:
        """Returns the event as JSON, the same each time: an id is of one content."""
        service, kind = self.topic.split(".")
        event = {
            "service": service,
            "type": kind,
            "key": self.key,
            "id": f"{self.key}:{self.number}",
            "data": {"number": self.number, "text": TEXT * (1 + self.number % 8)},
        }
        return json.dumps(event)


class Receipts:
    """Events that have a receipt, by their ids."""

    def __init__(self) -> None:
        self.events: dict[str, Posted] = {}
        self.lock = threading.Lock()

    def note(self, event: Posted, answer: dict[str, str]) -> None:
        """Notes the receipt of an event."""
        event.receipt = answer["receipt"]
        with self.lock:
            self.events[answer["id"]] = event

    def of(self, topic: str) -> dict[str, Posted]:
        """Returns the events of a topic."""
        with self.lock:
            return {id_: event for id_, event in self.events.items() if event.topic == topic}


class Load:
    """Sources that post `per_second` events to the proxies until `stop`."""

    def __init__(
        self,
        proxies: Sequence[Proxy],
        service: str,
        receipts: Receipts,
        per_second: float,
        kinds: Sequence[str] = KINDS,
    ) -> None:
        self.receipts, self.stopping, self.lock = receipts, threading.Event(), threading.Lock()
        self.statuses: Counter[int | str] = Counter()
        self.before: Counter[int | str] = Counter()
        self.answered: dict[str, float] = {proxy.name: 0.0 for proxy in proxies}  # time of the last receipt
        self.without_retry_after = 0
        pace = per_second / len(proxies) / len(kinds)
        self.sources = [
            Source(self, proxy, f"{service}.{kind}", f"{proxy.name}-{number}", pace)
            for proxy in proxies
            for number, kind in enumerate(kinds)
        ]
        for source in self.sources:
            source.start()

    def seen(self, proxy: str, status: int | str, headers: Message | None = None) -> None:
        """Counts an answer."""
        with self.lock:
            self.statuses[status] += 1
            if status in TAKEN:
                self.answered[proxy] = time.monotonic()
            elif status == 429 and headers is not None and not headers.get("Retry-After", "").isdigit():
                self.without_retry_after += 1

    def mark(self) -> None:
        """Sets the start of `since_mark`."""
        with self.lock:
            self.before, self.without_retry_after = Counter(self.statuses), 0

    def since_mark(self) -> Counter[int | str]:
        """Returns the statuses since `mark`."""
        with self.lock:
            return self.statuses - self.before

    def stop(self, patience: float = 60) -> int:
        """Waits until every event has its receipt; returns the number of events without one."""
        self.stopping.set()
        for source in self.sources:
            source.join()
        deadline = time.monotonic() + patience
        for source in self.sources:
            while source.open and time.monotonic() < deadline:
                source.post(list(source.open.values()))
                time.sleep(0.05)
        return sum(len(source.open) for source in self.sources)


class Source(threading.Thread):
    """Thread that posts events of its own keys to one proxy, one body after the other, in each form."""

    def __init__(self, load: Load, proxy: Proxy, topic: str, name: str, per_second: float) -> None:
        super().__init__()
        service, self.ack = topic.split(".")
        self.load, self.proxy, self.topic = load, proxy, topic
        self.keys = {f"{service}-{name}-{key}": 0 for key in range(KEYS)}
        self.open: dict[str, Posted] = {}  # events without a receipt, by key
        self.size = max(1, min(KEYS // 2, round(per_second / 10)))
        self.pause = self.size / per_second

    def run(self) -> None:
        """Posts bodies of events at a steady pace. After a delay it catches up for at most a second."""
        due = time.monotonic()
        while not self.load.stopping.wait(max(0.0, due - time.monotonic())):
            self.post([self.next(key) for key in random.sample(sorted(self.keys), self.size)])
            due = max(due + self.pause, time.monotonic() - 1)

    def next(self, key: str) -> Posted:
        """Returns the event of a key that has no receipt yet, or a new one."""
        if key not in self.open:
            self.open[key] = Posted(self.proxy.name, self.topic, key, self.keys[key], time.monotonic())
            self.keys[key] += 1
        return self.open[key]

    def post(self, events: list[Posted]) -> None:
        """Posts events as an array, as lines, or one by one."""
        form = random.choice(("array", "lines", "single"))
        lines = [event.json() for event in events]
        if form == "single":
            for event, line in zip(events, lines, strict=True):
                self.send([event], line, "application/json")
        elif form == "lines":
            self.send(events, "\n".join(lines), "application/x-ndjson")
        else:
            self.send(events, f"[{','.join(lines)}]", "application/json")

    def send(self, events: Iterable[Posted], body: str, media: str) -> None:
        """Sends a body and notes the receipts. A refused source pauses."""
        path = f"/v1/events?ack={self.ack}"
        try:
            status, headers, answer = self.proxy.ask("POST", path, body, {"Content-Type": media})
        except Gone:
            self.load.seen(self.proxy.name, "none")
            time.sleep(0.1)
            return
        if not isinstance(answer, dict) or status not in (*TAKEN, 207):
            self.load.seen(self.proxy.name, status, headers)
            wait = headers.get("Retry-After", "")
            self.load.stopping.wait(min(int(wait), LONGEST_PAUSE) if wait.isdigit() else 0.1)
            return
        items = answer.get("items", [{"status": status, **answer}])
        for event, item in zip(events, items, strict=True):
            self.load.seen(self.proxy.name, item["status"])
            if item["status"] in TAKEN:
                self.load.receipts.note(event, item)
                del self.open[event.key]
        if status == 207:
            self.load.stopping.wait(0.5)
