"""Faults of event proxies and their brokers under load."""

import base64
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from blackbox.audit.findings import Findings
from blackbox.clients.http import Json
from blackbox.clients.kafka import records
from blackbox.faults.suite import RECOVERY, Fault, Options, Suite
from blackbox.faults.table import Cell, seconds
from blackbox.load.events import Load, Posted, Receipts
from blackbox.servers.clock import Clock
from blackbox.servers.command import Failed
from blackbox.servers.proxy import BROKERS, Proxy, Stand

PER_SECOND, AWAY_PER_SECOND = 400, 2000
KINDS = ("disk", "kafka", "memory")
MAX_RESENDS = 5  # the default of the proxy
LIMIT = 256 << 10  # bytes; maximum size of a log that is full soon
LARGEST, POISON = 200_000, 400_000  # bytes; maximum event size of a topic, and the size of a poison event
KNOWN_FOR = 31  # seconds; a topic that was known for as long counts as deleted when Kafka does not have it
SAMPLE = 40  # receipts that are asked about, of each proxy


@dataclass
class Round:
    """Everything that a fault needs."""

    stand: Stand
    load: Load
    receipts: Receipts
    service: str
    wrong: Findings
    gone: float = 0.0  # events posted before this time may be lost with their topic

    @property
    def first(self) -> Proxy:
        """Returns the proxy whose disk and clock can be changed."""
        return self.stand.proxies[0]

    def only(self, *allowed: int) -> None:
        """Checks the answers since `load.mark()`."""
        seen = {status: times for status, times in self.load.since_mark().items() if status not in allowed}
        self.wrong.same("unexpected answers", seen, {})


# ---- the faults: each injects a failure and repairs it


def kill_proxy(it: Round) -> None:
    """Kills the first proxy."""
    for _ in range(it.stand.pick(1, 3)):
        it.first.kill()
        time.sleep(2)
        it.first.start()
        time.sleep(it.stand.pick(0, 2))


def kill_broker(it: Round) -> None:
    """Kills one broker."""
    broker = random.choice(BROKERS)
    it.stand.broker("kill-node", broker)
    time.sleep(it.stand.pick(5, 10))
    it.stand.broker("start-node", broker)
    it.stand.broker("wait")


def away(it: Round) -> None:
    """Kills all brokers; the proxies stay ready and accept events."""
    it.load.mark()
    it.stand.kill_brokers()
    for _ in range(it.stand.pick(6, 60)):
        time.sleep(1)
        ready = [proxy.is_ready() for proxy in it.stand.proxies]
        it.wrong.same("ready while Kafka is away", ready, [True, True])
    it.only(200, 202)
    it.stand.start_brokers()


def full_disk(it: Round) -> None:
    """Fills the disk of the first proxy."""
    disk = it.stand.disk
    assert disk
    it.load.mark()
    disk.fill(it.first)
    if not it.stand.wait("a refusal", lambda: any(status not in (200, 202) for status in it.load.since_mark())):
        it.wrong.append("the disk never got full")
    time.sleep(it.stand.pick(2, 5))
    disk.relieve(it.first)
    freed = time.monotonic()
    if not it.stand.wait("an answer", lambda: it.load.answered[it.first.name] > freed):
        it.wrong.append("the proxy takes nothing, though there is room again")


def full_log(it: Round) -> None:
    """Fills both logs, which are small, while Kafka is away."""
    for proxy in it.stand.proxies:
        proxy.restart(LOG_LIMIT__MAX_BYTES=str(LIMIT))
    it.load.mark()
    it.stand.kill_brokers()
    if not it.stand.wait("a 429", lambda: it.load.since_mark()[429]):
        it.wrong.append("the log never got full")
    time.sleep(it.stand.pick(3, 15))
    it.only(200, 202, 207, 429)
    it.wrong.same("429 without Retry-After", it.load.without_retry_after, 0)
    it.stand.start_brokers()

    def has_room() -> bool:
        queued = [sum(topic["queued"] for topic in proxy.ledger().values()) for proxy in it.stand.proxies]
        return all(events < 500 for events in queued)

    it.stand.wait("room", has_room)
    for proxy in it.stand.proxies:
        proxy.restart()


def delete_topic(it: Round) -> None:
    """Deletes a topic on Kafka. The proxies do not make it again; the administrator does."""
    topic = f"{it.service}.disk"
    it.stand.cli("topics", "--delete", "--topic", topic)
    # a broker that has not heard of the deletion acknowledges events that go with the topic
    if not it.stand.wait("the topic to be gone", lambda: topic not in it.stand.topics()):
        it.wrong.append("Kafka does not delete the topic")
    it.gone = time.monotonic()

    def is_missing() -> bool:
        answers = [proxy.admin("GET", f"/topics/{topic}") for proxy in it.stand.proxies]
        return all(status == 200 and body["state"] == "missing" for status, body in answers)

    if not it.stand.wait("the topic to be told missing", is_missing):
        it.wrong.append("the topic is not told missing")
    time.sleep(it.stand.pick(3, 15))
    it.wrong.same("topics that came back by themselves", topic in it.stand.topics(), False)
    status, body = it.first.admin("POST", "/topics", {"name": topic})
    if status != 201:
        raise Failed(f"POST /v1/admin/topics answers {status}: {body}")


def poison(it: Round) -> None:
    """Posts events that Kafka refuses, among good ones of their keys: one is discarded, one is redriven later."""
    topic = f"{it.service}.disk"
    set_largest(it, topic, LARGEST)
    bad = [post_poison(it, proxy, topic) for proxy in it.stand.proxies]
    discarded, redriven = zip(it.stand.proxies, bad, strict=True)
    if letter := dead_letter(it, topic, *discarded):
        proxy, event = discarded
        status, _ = proxy.admin("POST", f"/dead-letters/{letter}/discard", {"reason": "too large"})
        it.wrong.same("a discard", status, 204)
        event.is_discarded = True
    if dead_letter(it, topic, *redriven):
        proxy, event = redriven
        set_largest(it, topic, 1_048_588)
        for dry_run, expected in ((True, (1, 0)), (False, (1, 1))):
            _, told = proxy.admin("POST", "/redrives", {"filter": {"topic": topic}, "dry_run": dry_run})
            it.wrong.same("a redrive", (told["matched"], told["redriven"]), expected)
        event.is_out_of_order = True


def dead_letter(it: Round, topic: str, proxy: Proxy, event: Posted) -> str | None:
    """Waits until a poison event is the only dead letter of its topic; returns the id of the dead letter."""

    def receipt() -> Json:
        return proxy.get(f"/v1/receipts/{event.receipt}")

    if not it.stand.wait("a dead letter", lambda: receipt().get("status") == "dead"):
        it.wrong.append(f"a poison event is {receipt()}")
        return None
    it.wrong.same("deliveries that were refused", receipt()["attempts"], MAX_RESENDS + 1)
    status, page = proxy.admin("GET", f"/dead-letters?topic={topic}")
    it.wrong.same("dead letters", (status, [item["key"] for item in page["items"]]), (200, [event.key]))
    letter: str = page["items"][0]["id"]
    return letter


def set_largest(it: Round, topic: str, size: int) -> None:
    """Sets the maximum event size of a topic."""
    it.stand.cli("configs", "--alter", "--topic", topic, "--add-config", f"max.message.bytes={size}")


def post_poison(it: Round, proxy: Proxy, topic: str) -> Posted:
    """Posts a poison event between good events of its key; returns the poison event."""
    numbers, key = count(), f"{it.service}-{proxy.name}-poison"

    def post(text: str) -> Posted:
        event = Posted(proxy.name, topic, key, next(numbers), time.monotonic())
        body = event.json().replace('"text": "', f'"text": "{text}', 1)
        status, _, answer = proxy.ask("POST", "/v1/events", body, {"Content-Type": "application/json"})
        if status != 202:
            raise Failed(f"an event of {len(body)} bytes is answered {status}: {answer}")
        it.receipts.note(event, answer)
        return event

    for _ in range(3):
        post("")
    bad = post(base64.b64encode(random.randbytes(POISON * 3 // 4)).decode())  # stays too large in every codec
    for _ in range(3):
        post("")
    return bad


def set_clock(it: Round) -> None:
    """Sets the clock of the first proxy an hour ahead, an hour behind, and right again."""
    clock = Clock(it.stand.folder)
    it.first.restart(clock.variables)
    for hours in (1, -1, 0):
        clock.set(hours * 3600)
        time.sleep(it.stand.pick(4, 10))
    it.first.restart()


FAULTS = {
    "kill-proxy": Fault("kill -9 of a proxy", kill_proxy),
    "kill-broker": Fault("one broker killed", kill_broker),
    "away": Fault("all brokers away", away),
    "disk": Fault("a full disk", full_disk),
    "limit": Fault("a full log, Kafka away", full_log),
    "topic": Fault("a topic deleted on Kafka", delete_topic),
    "poison": Fault("poison events", poison),
    "clock": Fault("the clock set twice", set_clock),
}
FORGETFUL = ("kill-proxy", "disk")  # faults that may lose events acknowledged from memory
COLUMNS = {
    "fault": -25,
    "lasted": 7,
    "receipts": 8,
    "429": 6,
    "503": 6,
    "no answer": 9,
    "on Kafka": 8,
    "lost": 4,
    "twice": 5,
    "disordered": 10,
    "lost from memory": 16,
    "gone with topic": 15,
    "recovered": 9,
    "held": 4,
}
SUITE = Suite("proxy", FAULTS, COLUMNS)


class ProxyRounds:
    """Rounds of the suite, one after the other on the same proxies."""

    def __init__(self, stand: Stand) -> None:
        self.stand, self.receipts = stand, Receipts()
        self.sources: dict[str, str] = {}  # CloudEvents source of each proxy

    def prepare(self) -> None:
        """Fills the topics of the fault `topic`, which must have been known for a while."""
        Load(self.stand.proxies, "early", self.receipts, PER_SECOND).stop()
        self.posted_early = time.monotonic()

    def round(self, name: str) -> tuple[list[Cell], list[str]]:
        """Injects a fault under load; returns the cells of the table but the last, and each violation."""
        service, wrong = "early" if name == "topic" else name, Findings()
        if name == "topic":
            time.sleep(max(0.0, self.posted_early + KNOWN_FOR - time.monotonic()))
        load = Load(self.stand.proxies, service, self.receipts, AWAY_PER_SECOND if name == "away" else PER_SECOND)
        it = Round(self.stand, load, self.receipts, service, wrong)
        try:
            time.sleep(2)
            broken = time.monotonic()
            FAULTS[name].inject(it)
            mended = time.monotonic()
            recovered = self.recovery(mended, wrong)
            time.sleep(max(0.0, mended + 2 - time.monotonic()))
        finally:
            unanswered = load.stop()
        wrong.same("events without a receipt at the end", unanswered, 0)
        unexpected = [status for status in load.statuses if status not in (200, 202, 207, 429, 503, "none")]
        wrong.same("unexpected answers", unexpected, [])
        self.settle(wrong)
        facts, answers = self.audit(it, name in FORGETFUL), load.statuses
        cells: list[Cell] = [FAULTS[name].title, f"{mended - broken:.0f} s", facts["posted"]]
        cells += [answers[429], answers[503], answers["none"], facts["records"], facts["lost"], facts["twice"]]
        cells += [facts["disordered"], facts["forgotten"], facts["gone"], seconds(recovered)]
        return cells, wrong

    def recovery(self, mended: float, wrong: Findings) -> float | None:
        """Returns the seconds until the events accepted before the repair are on Kafka, or dead."""
        goals: dict[str, dict[str, int]] = {}

        def reached() -> bool:
            for proxy in self.stand.proxies:
                ledger = proxy.ledger()
                goal = goals.setdefault(proxy.name, {topic: counts["accepted"] for topic, counts in ledger.items()})
                for topic, accepted in goal.items():
                    counts = ledger[topic]
                    if counts["delivered"] + counts["dead"] + counts["discarded"] < accepted:
                        return False
            return True

        if self.stand.wait("accepted events to be on Kafka", reached, RECOVERY):
            return time.monotonic() - mended
        wrong.append(f"not recovered after {RECOVERY} s")
        return None

    def settle(self, wrong: Findings) -> None:
        """Waits until no event is in delivery."""

        def is_still() -> bool:
            ledgers = [proxy.ledger().values() for proxy in self.stand.proxies]
            return not any(counts["queued"] or counts["retrying"] for ledger in ledgers for counts in ledger)

        if not self.stand.wait("no event in delivery", is_still, RECOVERY):
            wrong.append(f"events in delivery: {[proxy.ledger() for proxy in self.stand.proxies]}")

    def audit(self, it: Round, forgetful: bool) -> Counter[str]:
        """Checks Kafka, the receipts and the ledgers of the proxies against each other."""
        facts: Counter[str] = Counter()
        for kind in KINDS:
            topic = f"{it.service}.{kind}"
            posted = self.receipts.of(topic)
            found = self.read(topic, posted, facts, it.wrong)
            may_be_gone = it.gone if kind == "disk" else 0.0
            missing = [event for id_, event in posted.items() if id_ not in found and not event.is_discarded]
            gone = sum(event.begun < may_be_gone for event in missing)
            lost = len(missing) - gone
            facts["gone"] += gone
            facts["posted"] += len(posted)
            facts["forgotten" if kind == "memory" else "lost"] += lost
            if lost and not (kind == "memory" and forgetful):
                it.wrong.append(f"{topic}: {lost} of {len(posted)} events with a receipt are not on Kafka")
            kept = {id_: event for id_, event in posted.items() if kind != "memory" or id_ in found}
            for proxy in self.stand.proxies:
                mine = {id_: event for id_, event in kept.items() if event.proxy == proxy.name}
                check_ledger(proxy, topic, mine, it.wrong)
                check_receipts(proxy, mine, it.wrong)
        return facts

    def read(self, topic: str, posted: Mapping[str, Posted], facts: Counter[str], wrong: Findings) -> Counter[str]:
        """Checks the records of a topic; returns the ids of their events."""
        seen: Counter[str] = Counter()
        newest: dict[str, int] = {}  # by key
        for _, key, headers in records(self.stand.servers, self.stand.kafka, topic):
            facts["records"] += 1
            id_ = headers.get("ce_id", "")
            event = posted.get(id_)
            if event is None or event.key != key or event.is_discarded:
                wrong.append(f"{topic}: no receipt for {id_} of {key}")
                continue
            source = self.sources.setdefault(event.proxy, headers["ce_source"])
            wrong.same(f"the source of {event.proxy}", headers["ce_source"], source)
            seen[id_] += 1
            if seen[id_] > 1:
                facts["twice"] += 1
            elif not event.is_out_of_order:
                if event.number < newest.get(key, -1):
                    facts["disordered"] += 1
                    wrong.append(f"{topic}: the first {event.number} of {key} comes behind {newest[key]}")
                newest[key] = event.number
        return seen


def check_ledger(proxy: Proxy, topic: str, posted: Mapping[str, Posted], wrong: Findings) -> None:
    """Checks the ledger of a proxy against its receipts."""
    discarded = sum(event.is_discarded for event in posted.values())
    counts = {
        "accepted": len(posted),
        "delivered": len(posted) - discarded,
        "queued": 0,
        "retrying": 0,
        "dead": 0,
        "discarded": discarded,
    }
    wrong.same(f"the ledger of {proxy.name} for {topic}", proxy.ledger()[topic], counts)


def check_receipts(proxy: Proxy, posted: Mapping[str, Posted], wrong: Findings) -> None:
    """Checks a sample of the receipts of a proxy."""
    for id_ in random.sample(list(posted), min(SAMPLE, len(posted))):
        status, _, told = proxy.ask("GET", f"/v1/receipts/{posted[id_].receipt}")
        expected = "discarded" if posted[id_].is_discarded else "delivered"
        wrong.same(f"the receipt of {id_}", (status, told.get("status")), (200, expected))


def run(options: Options, binary: Path) -> list[str]:
    """Runs the suite; returns each violation."""
    SUITE.check(options)
    stand = Stand(binary, options.short)
    return SUITE.run(stand, ProxyRounds(stand), options, FAULTS)
