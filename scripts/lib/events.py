"""A load of events for proxies, and what they gave receipts for."""
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

from shop import Gone

KEYS = 60  # of each source
TEXT = "what happened, where, and to whom; "
TAKEN = (200, 202)
LONGEST_PAUSE = 2  # seconds for which a source that is refused waits, whatever it is told


@dataclass
class Posted:
    """An event: those of a key are numbered from 0, and the next is posted when the one before has its receipt."""
    proxy: str
    topic: str
    key: str
    number: int
    begun: float = 0.0
    receipt: str = ""
    is_out_of_order: bool = False  # it was sent again by hand
    is_discarded: bool = False

    def json(self):
        service, kind = self.topic.split(".")
        return json.dumps({"service": service, "type": kind, "key": self.key, "id": f"{self.key}:{self.number}",
                           "data": {"number": self.number, "text": TEXT * random.randint(1, 8)}})


class Receipts:
    """What must be on Kafka, by the ids of the events."""

    def __init__(self):
        self.events, self.lock = {}, threading.Lock()

    def note(self, event, answer):
        event.receipt = answer["receipt"]
        with self.lock:
            self.events[answer["id"]] = event

    def of(self, topic):
        with self.lock:
            return {id: event for id, event in self.events.items() if event.topic == topic}


class Load:
    """Sources that post to the proxies, so many events a second in all, until they are told to stop."""

    def __init__(self, proxies, service, receipts, per_second, kinds=("disk", "disk", "kafka", "memory")):
        self.receipts, self.stopping, self.lock = receipts, threading.Event(), threading.Lock()
        self.statuses, self.before, self.answered, self.silent = Counter(), Counter(), Counter(), 0
        pace = per_second / len(proxies) / len(kinds)
        self.sources = [Source(self, proxy, f"{service}.{kind}", f"{proxy.name}-{number}", pace)
                        for proxy in proxies for number, kind in enumerate(kinds)]
        for source in self.sources:
            source.start()

    def seen(self, proxy, status, headers=None):
        with self.lock:
            self.statuses[status] += 1
            if status in TAKEN:
                self.answered[proxy] = time.monotonic()
            elif status == 429 and headers is not None and not headers.get("Retry-After", "").isdigit():
                self.silent += 1

    def mark(self):
        """From now on `since_mark` counts."""
        with self.lock:
            self.before, self.silent = Counter(self.statuses), 0

    def since_mark(self):
        with self.lock:
            return self.statuses - self.before

    def stop(self, patience=60):
        """Ends when every event that was posted has its receipt; how many have none."""
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
    """Posts events of its own keys to one proxy, one body after the other, in each form."""

    def __init__(self, load, proxy, topic, name, per_second):
        super().__init__()
        self.load, self.proxy, self.topic, self.ack = load, proxy, topic, topic.split(".")[1]
        self.keys = {f"{topic.split('.')[0]}-{name}-{key}": 0 for key in range(KEYS)}
        self.open = {}  # by key: posted, and no receipt yet
        self.size = max(1, min(KEYS // 2, round(per_second / 10)))
        self.pause = self.size / per_second

    def run(self):
        due = time.monotonic()
        while not self.load.stopping.wait(max(0.0, due - time.monotonic())):
            self.post([self.next(key) for key in random.sample(sorted(self.keys), self.size)])
            due = max(due + self.pause, time.monotonic() - 1)  # of what was missed, a second's worth is made up for

    def next(self, key):
        if key not in self.open:
            self.open[key] = Posted(self.proxy.name, self.topic, key, self.keys[key], time.monotonic())
            self.keys[key] += 1
        return self.open[key]

    def post(self, events):
        form = random.choice(("array", "lines", "single"))
        lines = [event.json() for event in events]
        if form == "single":
            for event, line in zip(events, lines):
                self.send([event], line, "application/json")
        elif form == "lines":
            self.send(events, "\n".join(lines), "application/x-ndjson")
        else:
            self.send(events, f"[{','.join(lines)}]", "application/json")

    def send(self, events, body, media):
        try:
            status, headers, answer = self.proxy.ask("POST", f"/v1/events?ack={self.ack}", body, {"Content-Type": media})
        except Gone:
            self.load.seen(self.proxy.name, "none")
            time.sleep(0.1)
            return
        if not isinstance(answer, dict) or not (status in TAKEN or status == 207):
            self.load.seen(self.proxy.name, status, headers)
            wait = headers.get("Retry-After", "")
            self.load.stopping.wait(min(int(wait), LONGEST_PAUSE) if wait.isdigit() else 0.1)
            return
        for event, item in zip(events, answer.get("items", [{"status": status, **answer}])):
            self.load.seen(self.proxy.name, item["status"])
            if item["status"] in TAKEN:
                self.load.receipts.note(event, item)
                del self.open[event.key]
        if status == 207:
            self.load.stopping.wait(0.5)
