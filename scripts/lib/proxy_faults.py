"""Breaks event proxies and their brokers under load."""
import base64
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count

from audit import Findings
from bus import records
from clock import Clock
from events import Load, Posted, Receipts
from proxies import BROKERS, MAX_RESENDS, Failed, Stand
from shop import Gone
from table import Table

PER_SECOND, AWAY_PER_SECOND = 400, 2000
KINDS = ("disk", "kafka", "memory")
LIMIT = 256 << 10  # bytes of a log that is soon full
LARGEST, POISON = 200_000, 400_000  # bytes that a topic takes, and of an event that it does not
RECOVERY = 120  # seconds that it may take, and far more than it should
KNOWN_FOR = 31  # seconds after which a topic that is not there was deleted
SAMPLE = 40  # receipts that are asked about, of each proxy


@dataclass
class Round:
    """What a fault has to do with."""
    stand: Stand
    load: Load
    receipts: Receipts
    service: str
    is_short: bool
    wrong: Findings
    gone: float = 0.0  # what was posted before may have gone with its topic
    dead: int = 0

    @property
    def first(self):
        return self.stand.proxies[0]

    def long(self, short, long):
        return short if self.is_short else long

    def only(self, *allowed):
        """What the callers have seen since `load.mark()`."""
        seen = {status: times for status, times in self.load.since_mark().items() if status not in allowed}
        self.wrong.same("other answers than those that may be", seen, {})


# ---- the faults: each does its harm, and undoes it

def kill_proxy(it):
    for _ in range(it.long(1, 3)):
        it.first.kill()
        time.sleep(2)
        it.first.start(it.first.prepare)
        time.sleep(it.long(0, 2))


def kill_broker(it):
    broker = str(random.choice(BROKERS))
    it.stand.broker("kill-node", broker)
    time.sleep(it.long(5, 10))
    it.stand.broker("start-node", broker)
    it.stand.broker("wait")


def away(it):
    """No broker is there; the proxies are ready, and take what comes."""
    it.load.mark()
    it.stand.kill_brokers()
    for _ in range(it.long(6, 60)):
        time.sleep(1)
        it.wrong.same("ready while Kafka is away", [proxy.is_ready() for proxy in it.stand.proxies], [True, True])
    it.only(200, 202)
    it.stand.start_brokers()


def full_disk(it):
    it.load.mark()
    it.stand.disk.fill(it.first)
    if not it.stand.wait("a refusal", lambda: any(status not in (200, 202) for status in it.load.since_mark())):
        it.wrong.append("the disk never got full")
    time.sleep(it.long(2, 5))
    it.stand.disk.relieve(it.first)
    freed = time.monotonic()
    if not it.stand.wait("an answer", lambda: it.load.answered[it.first.name] > freed):
        it.wrong.append("the proxy takes nothing, though there is room again")


def full_log(it):
    """Both logs may hold little, and Kafka is away."""
    for proxy in it.stand.proxies:
        proxy.restart(LOG_LIMIT__MAX_BYTES=str(LIMIT))
    it.load.mark()
    it.stand.kill_brokers()
    if not it.stand.wait("a 429", lambda: it.load.since_mark()[429]):
        it.wrong.append("the log never got full")
    time.sleep(it.long(3, 15))
    it.only(200, 202, 207, 429)
    it.wrong.same("429 without Retry-After", it.load.silent, 0)
    it.stand.start_brokers()
    it.stand.wait("room", lambda: all(sum(topic["queued"] for topic in proxy.ledger().values()) < 500
                                      for proxy in it.stand.proxies))
    for proxy in it.stand.proxies:
        proxy.restart()


def delete_topic(it):
    """Somebody deletes a topic on Kafka. Nobody makes it again but by hand."""
    topic = f"{it.service}.disk"
    it.stand.cli("topics", "--delete", "--topic", topic)
    # a broker that has not heard of it takes, and confirms, what then goes with the topic
    if not it.stand.wait("the topic to be gone", lambda: topic not in it.stand.cli("topics", "--list").split()):
        it.wrong.append("Kafka does not delete the topic")
    it.gone = time.monotonic()

    def is_missing():
        answers = [proxy.admin("GET", f"/topics/{topic}") for proxy in it.stand.proxies]
        return all(status == 200 and body["state"] == "missing" for status, body in answers)

    if not it.stand.wait("the topic to be told missing", is_missing):
        it.wrong.append("the topic is not told missing")
    time.sleep(it.long(3, 15))
    it.wrong.same("topics that came back by themselves", topic in it.stand.cli("topics", "--list").split(), False)
    status, body = it.first.admin("POST", "/topics", {"name": topic})
    if status != 201:
        raise Failed(f"POST /v1/admin/topics answers {status}: {body}")


def poison(it):
    """Events that Kafka refuses, among good ones of their keys: one is discarded, the other is sent once it may be."""
    topic = f"{it.service}.disk"

    def largest(size):
        it.stand.cli("configs", "--alter", "--topic", topic, "--add-config", f"max.message.bytes={size}")

    largest(LARGEST)
    bad = [post_poison(it, proxy, topic) for proxy in it.stand.proxies]
    for proxy, event in zip(it.stand.proxies, bad):
        path = f"/v1/receipts/{event.receipt}"
        if not it.stand.wait("a dead letter", lambda: proxy.ask("GET", path, None, {})[2].get("status") == "dead"):
            it.wrong.append(f"a poison event is {proxy.ask('GET', path, None, {})[2]}")
            continue
        it.wrong.same("deliveries that were refused", proxy.ask("GET", path, None, {})[2]["attempts"], MAX_RESENDS + 1)
        status, page = proxy.admin("GET", f"/dead-letters?topic={topic}")
        it.wrong.same("dead letters", (status, [item["key"] for item in page["items"]]), (200, [event.key]))
        if proxy is it.first:
            letter = page["items"][0]["id"]
            it.wrong.same("a discard", proxy.admin("POST", f"/dead-letters/{letter}/discard", {"reason": "too large"})[0], 204)
            event.is_discarded = True
            continue
        largest(1_048_588)
        for dry_run, expected in ((True, (1, 0)), (False, (1, 1))):
            _, told = proxy.admin("POST", "/redrives", {"filter": {"topic": topic}, "dry_run": dry_run})
            it.wrong.same("a redrive", (told["matched"], told["redriven"]), expected)
        event.is_out_of_order = True


def post_poison(it, proxy, topic):
    """The event, with good ones before and behind it."""
    numbers, key = count(), f"{it.service}-{proxy.name}-poison"

    def post(text):
        event = Posted(proxy.name, topic, key, next(numbers), time.monotonic())
        body = event.json().replace('"text": "', f'"text": "{text}', 1)
        status, _, answer = proxy.ask("POST", "/v1/events", body, {"Content-Type": "application/json"})
        if status != 202:
            raise Failed(f"an event of {len(body)} bytes is answered {status}: {answer}")
        it.receipts.note(event, answer)
        return event

    for _ in range(3):
        post("")
    bad = post(base64.b64encode(random.randbytes(POISON * 3 // 4)).decode())  # which no codec makes smaller than it may be
    for _ in range(3):
        post("")
    return bad


def set_clock(it):
    """An hour ahead, then an hour behind, then right again."""
    clock = Clock(it.stand.folder)
    it.first.restart(clock.variables)
    for hours in (1, -1, 0):
        clock.set(hours * 3600)
        time.sleep(it.long(4, 10))
    it.first.restart()


FAULTS = {
    "kill-proxy": ("kill -9 of a proxy", kill_proxy),
    "kill-broker": ("one broker killed", kill_broker),
    "away": ("all brokers away", away),
    "disk": ("a full disk", full_disk),
    "limit": ("a full log, Kafka away", full_log),
    "topic": ("a topic deleted on Kafka", delete_topic),
    "poison": ("poison events", poison),
    "clock": ("the clock set twice", set_clock),
}
# which may take what was acknowledged from memory with them
FORGETFUL = ("kill-proxy", "disk")


# ---- a round: a load, a fault in the middle of it, and what is there afterwards

class Rounds:
    def __init__(self, stand, short):
        self.stand, self.short, self.receipts, self.sources = stand, short, Receipts(), {}
        self.posted_early = time.monotonic()

    def prepare(self):
        """Topics that are known for long when one of them is deleted."""
        Load(self.stand.proxies, "early", self.receipts, PER_SECOND).stop()
        self.posted_early = time.monotonic()

    def round(self, name):
        """The row of the table, and what did not hold."""
        service, wrong = "early" if name == "topic" else name, Findings()
        if name == "topic":
            time.sleep(max(0.0, self.posted_early + KNOWN_FOR - time.monotonic()))
        load = Load(self.stand.proxies, service, self.receipts, AWAY_PER_SECOND if name == "away" else PER_SECOND)
        it = Round(self.stand, load, self.receipts, service, self.short, wrong)
        try:
            time.sleep(2)
            broken = time.monotonic()
            FAULTS[name][1](it)
            mended = time.monotonic()
            recovered = self.recovery(mended, wrong)
            time.sleep(max(0.0, mended + 2 - time.monotonic()))
        finally:
            unanswered = load.stop()
        wrong.same("events without a receipt at the end", unanswered, 0)
        wrong.same("answers that there should not be",
                   [status for status in load.statuses if status not in (200, 202, 207, 429, 503, "none")], [])
        self.settled(wrong)
        facts = self.audit(it, name in FORGETFUL)
        row = {"answers": load.statuses, "facts": facts, "recovered": recovered, "lasted": mended - broken}
        return row, wrong

    def recovery(self, mended, wrong):
        """Seconds until Kafka has what was accepted by the time the fault was over, or it is dead."""
        goal = {}

        def is_there():
            for proxy in self.stand.proxies:
                ledger = proxy.ledger()
                goals = goal.setdefault(proxy.name, {topic: counts["accepted"] for topic, counts in ledger.items()})
                for topic, accepted in goals.items():
                    counts = ledger[topic]
                    if counts["delivered"] + counts["dead"] + counts["discarded"] < accepted:
                        return False
            return True

        if self.stand.wait("what was accepted to be on Kafka", is_there, RECOVERY):
            return time.monotonic() - mended
        wrong.append(f"not recovered after {RECOVERY} s")
        return None

    def settled(self, wrong):
        """Nothing is on its way any more."""
        def is_still():
            return not any(counts["queued"] or counts["retrying"] for proxy in self.stand.proxies
                           for counts in proxy.ledger().values())
        if not self.stand.wait("nothing to be on its way", is_still, RECOVERY):
            wrong.append(f"still on its way: {[proxy.ledger() for proxy in self.stand.proxies]}")

    def audit(self, it, forgetful):
        """Kafka, the receipts and the ledgers, against each other."""
        facts = Counter()
        for kind in KINDS:
            topic = f"{it.service}.{kind}"
            posted = self.receipts.of(topic)
            found = self.read(topic, posted, facts, it.wrong)
            may_be_gone = it.gone if kind == "disk" else 0.0
            missing = {id: event for id, event in posted.items() if id not in found and not event.is_discarded}
            gone = [event for event in missing.values() if event.begun < may_be_gone]
            facts["gone"] += len(gone)
            lost = len(missing) - len(gone)
            facts["posted"] += len(posted)
            facts["forgotten" if kind == "memory" else "lost"] += lost
            if lost and not (kind == "memory" and forgetful):
                it.wrong.append(f"{topic}: {lost} of {len(posted)} events with a receipt are not on Kafka")
            for proxy in self.stand.proxies:
                self.balance(proxy, topic, [event for id, event in posted.items() if event.proxy == proxy.name and
                                            (kind != "memory" or id in found)], it.wrong)
                self.ask_about(proxy, posted, found, kind, it.wrong)
        return facts

    def read(self, topic, posted, facts, wrong):
        """The ids of the events that Kafka has."""
        seen, newest = Counter(), {}
        for _, key, headers in records(self.stand.servers, self.stand.kafka, topic):
            facts["records"] += 1
            event = posted.get(headers.get("ce_id"))
            if event is None or event.key != key or event.is_discarded:
                wrong.append(f"{topic}: nobody has a receipt for {headers.get('ce_id')} of {key}")
                continue
            source = self.sources.setdefault(event.proxy, headers["ce_source"])
            wrong.same(f"the source of {event.proxy}", headers["ce_source"], source)
            seen[headers["ce_id"]] += 1
            if seen[headers["ce_id"]] > 1:
                facts["twice"] += 1
            elif not event.is_out_of_order:
                if event.number < newest.get(key, -1):
                    facts["disordered"] += 1
                    wrong.append(f"{topic}: the first {event.number} of {key} comes behind {newest[key]}")
                newest[key] = event.number
        return seen

    def balance(self, proxy, topic, posted, wrong):
        """The ledger of a proxy, against its receipts."""
        discarded = sum(event.is_discarded for event in posted)
        wrong.same(f"the ledger of {proxy.name} for {topic}", proxy.ledger()[topic],
                   {"accepted": len(posted), "delivered": len(posted) - discarded, "queued": 0, "retrying": 0, "dead": 0,
                    "discarded": discarded})

    def ask_about(self, proxy, posted, found, kind, wrong):
        """Some receipts of a proxy."""
        mine = [id for id, event in posted.items() if event.proxy == proxy.name and (kind != "memory" or id in found)]
        for id in random.sample(mine, min(SAMPLE, len(mine))):
            status, _, told = proxy.ask("GET", f"/v1/receipts/{posted[id].receipt}", None, {})
            expected = "discarded" if posted[id].is_discarded else "delivered"
            wrong.same(f"the receipt of {id}", (status, told.get("status")), (200, expected))


# ---- the table

COLUMNS = {  # as it is printed, and its width
    "fault": -25, "lasted": 7, "receipts": 8, "429": 6, "503": 6, "no answer": 9, "on Kafka": 8, "lost": 4, "twice": 5,
    "disordered": 10, "lost from memory": 16, "gone with topic": 15, "recovered": 9, "held": 4,
}


def cells(name, row, held):
    facts, answers = row["facts"], row["answers"]
    recovered = "never" if row["recovered"] is None else f"{row['recovered']:.1f} s"
    return [FAULTS[name][0], f"{row['lasted']:.0f} s", facts["posted"], answers[429], answers[503], answers["none"],
            facts["records"], facts["lost"], facts["twice"], facts["disordered"], facts["forgotten"], facts["gone"],
            recovered, "yes" if held else "NO"]


# ---- all of it

def run(arguments, binary):
    """What did not hold."""
    chosen = arguments.only or list(FAULTS)
    unknown = [name for name in chosen if name not in FAULTS]
    if unknown:
        raise SystemExit(f"there is no fault {unknown[0]}; --list shows them")
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    began, wrong, table, done = time.monotonic(), [], Table("proxy", COLUMNS), False
    stand = Stand(binary, arguments.short)
    print(f"proxies in {stand.folder}", flush=True)
    try:
        stand.up()
        print(f"are up after {time.monotonic() - began:.0f} s; the disk: {stand.disk.kind}\n", flush=True)
        rounds = Rounds(stand, arguments.short)
        rounds.prepare()
        table.row(COLUMNS)
        for name in chosen:
            row, found = rounds.round(name)
            table.row(cells(name, row, not found))
            for what in found[:10]:
                print(f"  {what}", flush=True)
            wrong += [f"{name}: {what}" for what in found]
        done = True
    except (Failed, Gone) as error:
        wrong.append(f"the suite itself was stopped: {error}")
    finally:
        for end in (signal.SIGINT, signal.SIGTERM):
            signal.signal(end, signal.SIG_IGN)  # what was started is ended in any case
        for what, times in Counter(error.split(" ERROR ")[-1][:200] for error in stand.errors()).most_common(20):
            print(f"said {times} times: {what}")
        stand.destroy(keep=arguments.keep and (wrong or not done))
    print(f"in {time.monotonic() - began:.0f} s")
    if done and not arguments.short and not arguments.only:
        table.write(arguments.bin_dir)
    return wrong
