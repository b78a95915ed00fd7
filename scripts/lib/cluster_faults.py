"""Breaks a whole cluster under load: every process of it, the brokers, PostgreSQL, and the setting of the bus."""
import random
import re
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import postgres
from audit import Findings, audit
from bus import read_back
from cluster import BROKERS, OURS, WORKERS, Cluster, Failed
from load import Ledger, SteadyLoad, reconcile
from shop import Gone
from table import Table

MEMBERS, PRODUCTS, STOCK, POINTS, PRICE, COUPONS = 24, 8, 1_000_000, 1_000_000_000, 1000, 15
THREADS, STEPS_PER_SECOND = 6, 15
ALARM = "ALARM: the bus left events out"
LEASE = 10  # seconds; also what a transaction may be idle
RECOVERY = 120  # seconds that it may take, and far more than it should


# ---- the faults: each does its harm, and undoes it

def kill(name):
    def fault(cluster, _short):
        cluster.run("kill", name)
        time.sleep(3)
        cluster.run("start", name)
    return fault


def kill_broker(cluster, short):
    broker = random.choice(BROKERS)
    cluster.run("kill", broker)
    time.sleep(5 if short else 10)
    cluster.run("start", broker)


def kill_brokers(cluster, short):
    for broker in BROKERS:
        cluster.run("kill", broker)
    time.sleep(10 if short else 30)
    for broker in BROKERS:
        cluster.run("start", broker)


def kill_postgres(cluster, short):
    cluster.run("kill", "postgres")
    time.sleep(2 if short else 5)
    cluster.run("start", "postgres")


def storm(cluster, short):
    """Every second another worker ends, well or badly, and is there again a second later."""
    def end_and_begin(way, name):
        cluster.run(way, name)
        time.sleep(1)
        cluster.run("start", name)

    names = [name for name in OURS if name.rsplit("-", 1)[0] in WORKERS]
    random.shuffle(names)
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for second in range(8 if short else len(names) * 2):
            asked.append(pool.submit(end_and_begin, ("stop", "kill")[second // 2 % 2], names[second % len(names)]))
            time.sleep(1)
        for done in asked:
            done.result()


def freeze(*names):
    def fault(cluster, short):
        for name in names:
            cluster.run("freeze", name)
        time.sleep(LEASE + (3 if short else 10))
        for name in names:
            cluster.run("thaw", name)
    return fault


def flip(cluster, short):
    """Kafka, in-process, Kafka again: one process after the other, so that for a while both settings are in use."""
    for backend in ("in-process", "kafka"):
        if short:  # the first of everything at once, and then the second
            with ThreadPoolExecutor(len(OURS) // 2) as pool:
                for number in "12":
                    half = [name for name in OURS if name.endswith(number)]
                    list(pool.map(lambda name: cluster.run("stop", name), half))
                    for name in half:
                        cluster.run("start", name, SHOP__BUS__BACKEND=backend)
                    cluster.run("wait")
        else:
            for name in random.sample(OURS, len(OURS)):
                cluster.run("stop", name)
                cluster.run("start", name, SHOP__BUS__BACKEND=backend)
                if name.startswith("shop"):
                    cluster.run("wait")
        relayed = cluster.rows("SELECT count(*) FROM group_position WHERE grp = 'relay'") != [("0",)]
        if relayed != (backend == "kafka"):
            raise Failed(f"with {backend} everywhere the relay {'still has' if relayed else 'has no'} topics")
        time.sleep(3)


FAULTS = {
    **{f"kill-{kind}": (f"kill -9 of {kind}-1", kill(f"{kind}-1")) for kind in ("shop", "outbox-relay", *WORKERS)},
    "kill-broker": ("one broker killed", kill_broker),
    "kill-brokers": ("all brokers killed", kill_brokers),
    "kill-postgres": ("PostgreSQL killed", kill_postgres),
    "storm": ("rebalance storm", storm),
    "freeze-worker": ("a frozen worker of each kind", freeze(*(f"{kind}-1" for kind in WORKERS))),
    "freeze-relay": ("a frozen relay", freeze("outbox-relay-1")),
    "flip": ("the bus flipped and back", flip),
}
SHORT = ("kill-shop", "kill-outbox-relay", "kill-settlement", "kill-broker", "kill-postgres", "freeze-relay", "flip")


def names(short):
    return SHORT if short else FAULTS


# ---- a round: a load, a fault in the middle of it, and what is there afterwards

class Rounds:
    def __init__(self, cluster, short):
        self.cluster, self.short = cluster, short
        self.ledger, self.campaigns, self.told, self.before = Ledger(), [], set(), Counter()

    def prepare(self):
        cluster = self.cluster
        self.admin = cluster.admin()
        self.members = [cluster.member(POINTS) for _ in range(MEMBERS)]
        self.products = [cluster.ok("POST", "/products", {"name": f"Product {number}", "price": str(PRICE),
                                                          "stock": STOCK}, token=self.admin)["id"]
                         for number in range(PRODUCTS)]
        for member in self.members:
            self.ledger.charges[member["id"]].append(str(POINTS))

    def round(self, name):
        """The row of the table, and what did not hold."""
        cluster, ledger, wrong = self.cluster, self.ledger, Findings()
        campaign = cluster.ok("POST", "/coupons", {"name": f"Campaign {name}", "quantity": COUPONS,
                                                   "discount": {"percent": 10}}, token=self.admin)["id"]
        self.campaigns.append(campaign)
        ledger.statuses, ledger.purchases = Counter(), []
        wrong.about = "recovery"
        load = SteadyLoad(cluster, ledger, self.members, self.products, campaign, workers=THREADS,
                          steps_per_second=STEPS_PER_SECOND)
        try:
            time.sleep(2)
            broken = time.monotonic()
            FAULTS[name][1](cluster, self.short)
            mended = time.monotonic()
            recovered = self.recovery(mended, wrong)
            time.sleep(max(0.0, mended + 2 - time.monotonic()))
            cluster.run("wait")
        finally:
            load.stop()
        row = {"answers": Counter(f"{status // 100}xx" for status in ledger.statuses.elements()), "lost": load.lost,
               "recovered": recovered,
               "purchase": min((end for begin, end in ledger.purchases if begin >= broken), default=None)}
        if row["purchase"] is None:
            wrong.append("nothing was sold after the fault")
        else:
            row["purchase"] -= broken
        failures = sum(count for status, count in ledger.statuses.items() if status >= 500 and status != 503)
        if failures:
            wrong.append(f"{failures} requests were answered with a 5xx other than 503")
        row["repeated"], found = reconcile(cluster, ledger, patience=60)
        wrong.about = "lost"
        for what in found:
            wrong.append(what)
        row["facts"], found = audit(cluster, self.admin, ledger, self.members, self.products, self.campaigns, STOCK,
                                    COUPONS)
        found.about = "bus"
        row["bus"] = read_back(cluster, found)
        found.about = "effects"
        parked = cluster.rows("SELECT (SELECT count(*) FROM parked_event), (SELECT count(*) FROM blocked_key)")
        found.same("parked events and blocked keys", parked, [("0", "0")])
        wrong.take(found)
        sums = Counter(twice=row["bus"]["twice"], alarms=sum(ALARM in error for error in cluster.errors()))
        row["more"], self.before = sums - self.before, sums
        fresh = [what for what in wrong if what not in self.told]  # the rest was told of in its own row
        self.told.update(fresh)
        row["wrong"] = Counter(wrong.kinds[what] for what in fresh)
        return row, fresh

    def recovery(self, mended, wrong):
        """Seconds until every group, and the relay, has passed what was written by the time the fault was over."""
        ends, behind, deadline, told = None, ["PostgreSQL does not answer"], mended + RECOVERY, mended
        while time.monotonic() < deadline:
            try:
                ends = ends or self.cluster.ends(self.admin)
                behind = self.cluster.behind(ends, self.admin)
            except postgres.Refused as error:
                behind = [str(error)]
            now = time.monotonic()
            if not behind:
                return now - mended
            if now - told > 15:
                told = now
                print(f"  after {now - mended:.0f} s {behind[0]}, and {len(behind) - 1} more", flush=True)
            time.sleep(0.1)
        wrong.append(f"not recovered after {RECOVERY} s: {behind[0]}, and {len(behind) - 1} more")
        return None


# ---- the table

COLUMNS = {  # as it is printed, and its width
    "fault": -30, "2xx": 5, "5xx": 4, "no answer": 9, "asked again": 11, "lost": 4, "events": 6, "gaps": 4,
    "disordered": 10, "twice on bus": 12, "alarms": 6, "sums wrong": 10, "effects wrong": 13, "next sale": 9, "recovered": 9,
    "held": 4,
}


def cells(name, row, held):
    def seconds(value):
        return "never" if value is None else f"{value:.1f} s"

    bus, about = row["bus"], row["wrong"]
    return [FAULTS[name][0], row["answers"]["2xx"], row["answers"]["5xx"], row["lost"], row["repeated"], about["lost"],
            bus["events"], bus["gaps"], bus["disordered"], row["more"]["twice"], row["more"]["alarms"],
            about["sums"], about["effects"], seconds(row["purchase"]),
            seconds(row["recovered"]), "yes" if held else "NO"]


# ---- all of it

def run(arguments):
    """What did not hold."""
    chosen = arguments.only or list(names(arguments.short))
    unknown = [name for name in chosen if name not in FAULTS]
    if unknown:
        raise SystemExit(f"there is no fault {unknown[0]}; --list shows them")
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    began, wrong, table, done = time.monotonic(), [], Table("cluster", COLUMNS), False
    cluster = Cluster(arguments.bin_dir)
    if arguments.short:
        cluster.env["KAFKA_JIT"] = "c1"  # brokers start sooner, and serve less
    print(f"a cluster in {cluster.folder}", flush=True)
    try:
        cluster.up()
        print(f"is up after {time.monotonic() - began:.0f} s\n", flush=True)
        rounds = Rounds(cluster, arguments.short)
        rounds.prepare()
        table.row(COLUMNS)
        for name in chosen:
            row, found = rounds.round(name)
            table.row(cells(name, row, not found))
            for what in found[:10]:
                print(f"  {what}", flush=True)
            wrong += [f"{name}: {what}" for what in found]
        done = True
    except (Failed, Gone, postgres.Refused) as error:
        wrong.append(f"the suite itself was stopped: {error}")
    finally:
        for end in (signal.SIGINT, signal.SIGTERM):
            signal.signal(end, signal.SIG_IGN)  # what was started is ended in any case
        tell_errors(cluster)
        cluster.destroy(keep=arguments.keep and (wrong or not done))
    print(f"in {time.monotonic() - began:.0f} s")
    if done and not arguments.short and not arguments.only:
        table.write(arguments.bin_dir)
    return wrong


def tell_errors(cluster):
    """What the processes themselves called an error, for whoever has to find out why."""
    said = Counter(), {}
    for error in cluster.errors():
        found = re.search('"message":"([^"]*)"', error)
        what = found.group(1) if found else error[:120]
        said[0][what] += 1
        said[1].setdefault(what, error)
    for what, count in said[0].most_common(20):
        print(f"said {count} times, first by {said[1][what][:400]}")
