"""A cluster of its own for a check: everything that scripts/cluster starts, in a temporary folder."""
import os
import shutil
import signal
import subprocess
import tempfile
import time

import postgres
from shop import Api

SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORKERS = ("data-platform", "notification", "coupon-issuer", "coupon-history", "settlement", "delivery",
           "replenishment", "analytics")
OURS = [f"{kind}-{number}" for number in (1, 2) for kind in ("shop", "outbox-relay", *WORKERS)]
BROKERS = [f"kafka-{number}" for number in (1, 2, 3)]
SETTINGS = {"SHOP__RATE_LIMIT__ENABLED": "false", "SHOP__ORDER__EXPIRES_AFTER": "1d", "SHOP__AUTH__ACCESS_TTL": "1d"}
IDLE = 20  # seconds after which the load balancer may close a connection


class Failed(Exception):
    """The cluster did not do what it was told."""


class Cluster(Api):
    patience = 30

    def __init__(self, bin_dir=None):
        self.folder = tempfile.mkdtemp(prefix="jangteo-faults-")
        self.binaries = ["--bin-dir", os.path.abspath(bin_dir)] if bin_dir else []
        self.mark = f"JANGTEO_FAULTS={self.folder}"  # in the environment of all that we start
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP__")}
        self.env.update(SETTINGS, JANGTEO_FAULTS=self.folder)
        super().__init__(None)

    def run(self, *words, patience=150, **settings):
        """What scripts/cluster says. With a session of its own: Ctrl-C is ours, and we end it in good order."""
        command = [os.path.join(SCRIPTS, "cluster"), *words, self.folder]
        try:
            done = subprocess.run(command, env={**self.env, **settings}, stdin=subprocess.DEVNULL, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                  timeout=patience, start_new_session=True)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"scripts/cluster {' '.join(words)} took more than {patience} s") from error
        if done.returncode:
            raise Failed(f"scripts/cluster {' '.join(words)}: {done.stdout.strip()[-600:]}")
        return done.stdout

    def up(self):
        # the first time it may fetch Kafka and build the binaries
        self.run("up", "--port", "0", *self.binaries, patience=3600)
        self.port = int(self.noted("ports", " ")["nginx"])
        self.admin_password = self.noted("secrets", "=")["admin_password"]

    def noted(self, file, separator):
        with open(os.path.join(self.folder, file), encoding="utf-8") as lines:
            return dict(line.rstrip().split(separator, 1) for line in lines)

    def destroy(self, keep):
        """Ends everything, and whatever is still there after that; then the folder goes."""
        try:
            self.run("down" if keep else "destroy", patience=180)
        except Failed as error:
            print(f"not ended in good order: {error}")
        for pid in self.stragglers():
            print(f"process {pid} had to be killed")
            os.kill(pid, signal.SIGKILL)
        if keep:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stragglers(self):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as environ:
                    if self.mark.encode() in environ.read().split(b"\0"):
                        yield int(pid)
            except OSError:
                pass

    # ---- asked over HTTP

    def call(self, method, path, *arguments, **more):
        if time.monotonic() - getattr(self.local, "asked", 0) > IDLE and hasattr(self.local, "connection"):
            if self.local.connection:
                self.local.connection.close()
            self.local.connection = None
        try:
            return super().call(method, path, *arguments, **more)
        finally:
            self.local.asked = time.monotonic()

    # ---- looked at from inside

    def rows(self, sql):
        """Raises postgres.Refused."""
        return postgres.rows(int(self.noted("ports", " ")["postgres"]), "shop",
                             self.noted("secrets", "=")["database_password"], "shop", sql)

    def servers(self):
        return subprocess.check_output([os.path.join(SCRIPTS, "kafka"), "bootstrap", f"{self.folder}/kafka"],
                                       text=True).strip()

    def exported(self):
        """The lines of the export files that count, each partition's in their order."""
        for topic, name, length in self.rows("SELECT topic, name, length FROM export_file "
                                             "ORDER BY topic, partition, lease, sequence"):
            try:
                with open(os.path.join(self.folder, "data", "exports", topic, name), "rb") as file:
                    yield from file.read(int(length)).splitlines(keepends=True)
            except FileNotFoundError:
                if int(length):
                    yield b""  # which is no event

    def direct(self, token):
        """What the shop says of the topics that do not pass the log, which knows nothing of their ends."""
        topics = {topic for topic, in self.rows("SELECT DISTINCT topic FROM topic_epoch")}
        status, body = self.call("GET", "/admin/consumers", token=token)
        if status != 200:
            raise postgres.Refused(f"/admin/consumers answers {status}")
        return [item for item in body["items"] if item["topic"] in topics]

    def ends(self, token):
        """The last position of each partition, with what still waits to be numbered."""
        found = self.rows("SELECT topic, partition, next - 1 + (SELECT count(*) FROM outbox o WHERE o.topic = t.topic "
                          "AND o.key_hash % (SELECT count(*) FROM topic_partition c WHERE c.topic = t.topic) = t.partition) "
                          "FROM topic_partition t "
                          "WHERE topic NOT IN (SELECT topic FROM topic_epoch)")
        ends = {(topic, partition): int(end) for topic, partition, end in found}
        return ends | {(item["topic"], str(item["partition"])): item["end"] for item in self.direct(token)}

    def behind(self, ends, token):
        """Who has not yet passed these ends, the relay among them."""
        found = [(group, topic, partition, int(position)) for group, topic, partition, position in
                 self.rows("SELECT grp, topic, partition, position FROM group_position "
                           "WHERE topic NOT IN (SELECT topic FROM topic_epoch)")]
        # from one epoch to the next positions leap, over nothing
        found += [(item["group"], item["topic"], str(item["partition"]), item["position"])
                  for item in self.direct(token) if item["lag"]]
        return [f"{group} is at {position} of {topic}/{partition}, which ends at {ends[topic, partition]}"
                for group, topic, partition, position in found if position < ends.get((topic, partition), -1)]

    def errors(self):
        """Lines of level ERROR in the logs so far."""
        found, folder = [], os.path.join(self.folder, "logs")
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), errors="replace", encoding="utf-8") as lines:
                found += [f"{name}: {line.strip()}" for line in lines if '"level":"ERROR"' in line or "panicked at" in line]
        return found
