"""Faults of a whole cluster under load: its processes, the brokers, PostgreSQL, and the setting of the bus."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from blackbox.audit import bus, shop
from blackbox.audit.findings import Findings
from blackbox.clients.http import Gone
from blackbox.faults.suite import RECOVERY, Fault, Options, Suite
from blackbox.faults.table import Cell, seconds
from blackbox.load.market import Market
from blackbox.load.purchases import SteadyLoad, reconcile
from blackbox.servers.cluster import BROKERS, OURS, WORKERS, Cluster, Partition
from blackbox.servers.command import Failed

MEMBERS, COUPONS = 24, 15
THREADS, STEPS_PER_SECOND = 6, 15
ALARM = "ALARM: the bus left events out"
SILENT, REPLACED = '"bus is silent: ', '"deaf Kafka client is replaced"'
LEASE = 10  # seconds; also the maximum idle time of a transaction

Inject = Callable[[Cluster], None]


# ---- the faults: each injects a failure and repairs it


def kill(name: str) -> Inject:
    """Returns a fault that kills one process."""

    def fault(cluster: Cluster) -> None:
        cluster.run("kill", name)
        time.sleep(3)
        cluster.run("start", name)

    return fault


def kill_broker(cluster: Cluster) -> None:
    """Kills one broker."""
    broker = random.choice(BROKERS)
    cluster.run("kill", broker)
    time.sleep(cluster.pick(5, 10))
    cluster.run("start", broker)


def kill_brokers(cluster: Cluster) -> None:
    """Kills all brokers."""
    for broker in BROKERS:
        cluster.run("kill", broker)
    time.sleep(cluster.pick(10, 30))
    for broker in BROKERS:
        cluster.run("start", broker)


def fence_brokers(cluster: Cluster) -> None:
    """Kills and starts all brokers several times: a broker that has just started knows of no other, nor of itself."""
    for _ in range(cluster.pick(3, 4)):
        for broker in BROKERS:
            cluster.run("kill", broker)
        time.sleep(cluster.pick(2, 5))
        for broker in BROKERS:
            cluster.run("start", broker)
        cluster.run("wait")


def kill_postgres(cluster: Cluster) -> None:
    """Kills PostgreSQL."""
    cluster.run("kill", "postgres")
    time.sleep(cluster.pick(2, 5))
    cluster.run("start", "postgres")


def storm(cluster: Cluster) -> None:
    """Stops or kills another worker every second, and starts it a second later."""

    def restart(way: str, name: str) -> None:
        cluster.run(way, name)
        time.sleep(1)
        cluster.run("start", name)

    names = [name for name in OURS if name.rsplit("-", 1)[0] in WORKERS]
    random.shuffle(names)
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for second in range(cluster.pick(8, len(names) * 2)):
            asked.append(pool.submit(restart, ("stop", "kill")[second // 2 % 2], names[second % len(names)]))
            time.sleep(1)
        for done in asked:
            done.result()


def freeze(*names: str) -> Inject:
    """Returns a fault that freezes processes for longer than a lease."""

    def fault(cluster: Cluster) -> None:
        for name in names:
            cluster.run("freeze", name)
        time.sleep(LEASE + cluster.pick(3, 10))
        for name in names:
            cluster.run("thaw", name)

    return fault


def flip(cluster: Cluster) -> None:
    """Sets the bus to in-process and back to Kafka by a rolling restart, so that both are in use for a while."""
    for backend in ("in-process", "kafka"):
        setting = {"SHOP__BUS__BACKEND": backend}
        if cluster.short:  # the first process of each kind, then the second
            for number in "12":
                half = [name for name in OURS if name.endswith(number)]
                run_all(cluster, "stop", half)
                run_all(cluster, "start", half, setting)
                cluster.run("wait")
        else:
            for name in random.sample(OURS, len(OURS)):
                cluster.run("stop", name)
                cluster.run("start", name, settings=setting)
                if name.startswith("shop"):
                    cluster.run("wait")
        relayed = cluster.rows("SELECT count(*) FROM group_position WHERE grp = 'relay'") != [("0",)]
        if relayed != (backend == "kafka"):
            raise Failed(f"with {backend} everywhere the relay {'still has' if relayed else 'has no'} topics")
        time.sleep(3)


def run_all(cluster: Cluster, command: str, names: Iterable[str], settings: Mapping[str, str] | None = None) -> None:
    """Runs a command of scripts/cluster for several processes at once."""
    with ThreadPoolExecutor(len(OURS)) as pool:
        list(pool.map(lambda name: cluster.run(command, name, settings=settings), names))


FAULTS = {
    **{f"kill-{kind}": Fault(f"kill -9 of {kind}-1", kill(f"{kind}-1")) for kind in ("shop", "outbox-relay", *WORKERS)},
    "kill-broker": Fault("one broker killed", kill_broker),
    "kill-brokers": Fault("all brokers killed", kill_brokers),
    "fence-brokers": Fault("fenced brokers", fence_brokers),
    "kill-postgres": Fault("PostgreSQL killed", kill_postgres),
    "storm": Fault("rebalance storm", storm),
    "freeze-worker": Fault("a frozen worker of each kind", freeze(*(f"{kind}-1" for kind in WORKERS))),
    "freeze-relay": Fault("a frozen relay", freeze("outbox-relay-1")),
    "flip": Fault("the bus flipped and back", flip),
}
SHORT = ("kill-shop", "kill-outbox-relay", "kill-settlement", "kill-broker", "kill-postgres", "freeze-relay", "flip")
COLUMNS = {
    "fault": -30,
    "2xx": 5,
    "5xx": 4,
    "no answer": 9,
    "asked again": 11,
    "lost": 4,
    "events": 6,
    "gaps": 4,
    "disordered": 10,
    "twice on bus": 12,
    "alarms": 6,
    "late": 4,
    "deaf": 4,
    "replaced": 8,
    "sums wrong": 10,
    "effects wrong": 13,
    "next sale": 9,
    "recovered": 9,
    "all hear": 8,
    "held": 4,
}
SUITE = Suite("cluster", FAULTS, COLUMNS)


def names(short: bool) -> Iterable[str]:
    """Returns the names of the faults."""
    return SHORT if short else FAULTS


class ClusterRounds:
    """Rounds of the suite, one after the other on the same cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.told: set[str] = set()  # violations of earlier rounds
        self.before: Counter[str] = Counter()  # sums of earlier rounds

    def prepare(self) -> None:
        """Fills the shop."""
        self.market = Market(self.cluster, MEMBERS, COUPONS)

    def round(self, name: str) -> tuple[list[Cell], list[str]]:
        """Injects a fault under load; returns the cells of the table but the last, and each new violation."""
        cluster, market, ledger = self.cluster, self.market, self.market.ledger
        wrong = Findings("recovery")
        market.add_campaign(name)
        ledger.begin_round()
        load = SteadyLoad(market, THREADS, STEPS_PER_SECOND)
        try:
            time.sleep(2)
            broken = time.monotonic()
            FAULTS[name].inject(cluster)
            mended = time.monotonic()
            recovered = self.until_none("not recovered", mended, self.behind(), wrong)
            hear = self.until_none("clients are deaf", mended, cluster.deaf, wrong)
            time.sleep(max(0.0, mended + 2 - time.monotonic()))
            cluster.run("wait")
        finally:
            load.stop()
        classes = ledger.classes()
        sale = min((payment.answered - broken for payment in ledger.payments if payment.asked >= broken), default=None)
        if sale is None:
            wrong.append("nothing was sold after the fault")
        wrong.extend(ledger.failures())
        repeated, found = reconcile(market, patience=60)
        wrong.about = "lost"
        wrong.extend(found)
        _, violations = shop.audit(market)
        wrong.extend(violations)
        wrong.about = "bus"
        copied, orphans = bus.audit(cluster, wrong)
        wrong.same("events on the bus that the log has lost", orphans, {})
        wrong.about = "effects"
        parked = cluster.rows("SELECT (SELECT count(*) FROM parked_event), (SELECT count(*) FROM blocked_key)")
        wrong.same("parked events and blocked keys", parked, [("0", "0")])
        sums = Counter(twice=copied["twice"], alarms=sum(ALARM in error for error in cluster.errors()))
        sums.update({reason: cluster.said(SILENT, f'"reason":"{reason}"') for reason in ("late", "deaf")})
        sums["replaced"] = cluster.said(REPLACED)
        more, self.before = sums - self.before, sums
        fresh = [text for text in wrong if text not in self.told]  # others stand in an earlier row
        self.told.update(fresh)
        about = Counter(wrong.subjects[text] for text in fresh)
        cells: list[Cell] = [FAULTS[name].title, classes["2xx"], classes["5xx"], load.lost, repeated, about["lost"]]
        cells += [copied["events"], copied["gaps"], copied["disordered"], more["twice"], more["alarms"]]
        cells += [more["late"], more["deaf"], more["replaced"]]
        cells += [about["sums"], about["effects"], seconds(sale), seconds(recovered), seconds(hear)]
        return cells, fresh

    def behind(self) -> Callable[[], list[str]]:
        """Returns a function that describes each group, the relay included, that has not passed the ends of now."""
        ends: dict[Partition, int] = {}

        def describe() -> list[str]:
            if not ends:
                ends.update(self.cluster.ends(self.market.admin))
            return self.cluster.behind(ends, self.market.admin)

        return describe

    def until_none(self, what: str, mended: float, describe: Callable[[], list[str]], wrong: Findings) -> float | None:
        """Returns the seconds from the repair until nothing is left to describe; adds a violation if that is never."""
        left, told = ["the shop does not answer"], mended
        while time.monotonic() < mended + RECOVERY:
            try:
                left = describe()
            except (Gone, Failed) as error:
                left = [str(error)]
            now = time.monotonic()
            if not left:
                return now - mended
            if now - told > 15:
                told = now
                print(f"  after {now - mended:.0f} s {left[0]}, and {len(left) - 1} more", flush=True)
            time.sleep(0.1)
        wrong.append(f"{what} after {RECOVERY} s: {left[0]}, and {len(left) - 1} more")
        return None


def run(options: Options) -> list[str]:
    """Runs the suite; returns each violation."""
    SUITE.check(options)
    cluster = Cluster(options.bin_dir, options.short)
    return SUITE.run(cluster, ClusterRounds(cluster), options, names(options.short))
