"""Cluster of a fault suite: everything that scripts/cluster starts, in a temporary folder."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from blackbox.clients import postgres
from blackbox.clients.http import Gone, HttpClient, Json
from blackbox.clients.shop import ShopClient
from blackbox.load.market import MANY_UNPAID
from blackbox.programs import programs
from blackbox.servers import exports
from blackbox.servers.command import Failed, environment, error_lines, run_script

WORKERS = [worker.name for worker in programs().workers if not worker.relay]
OURS = [f"{kind}-{number}" for number in (1, 2) for kind in ("shop", "outbox-relay", *WORKERS)]
PROXIES = ["event-proxy-1", "event-proxy-2"]
SILENT, HEARS = "kafka_silent_seconds{", 15  # seconds without an answer that are not worth a word
BROKERS = [f"kafka-{number}" for number in (1, 2, 3)]
SETTINGS = {
    "SHOP__RATE_LIMIT__ENABLED": "false",
    "SHOP__AUTH__ACCESS_TTL": "1d",
    **{f"SHOP__{name}": value for name, value in MANY_UNPAID.items()},
}

Partition = tuple[str, int]  # topic and partition


class Cluster(ShopClient):
    """Cluster whose shops are called through the load balancer."""

    patience = 30
    prefix = ""  # of the names of topics
    keep_alive = 20  # the load balancer may close a connection that was idle for longer

    def __init__(self, bin_dir: str | None, short: bool) -> None:
        super().__init__()
        self.short = short
        self.folder = Path(tempfile.mkdtemp(prefix="jangteo-faults-"))
        self.kafka = self.folder / "kafka"
        self.binaries = ["--bin-dir", os.path.abspath(bin_dir)] if bin_dir else []
        self.mark = f"JANGTEO_FAULTS={self.folder}"  # in the environment of every process of the cluster
        self.env = environment(without="SHOP__", JANGTEO_FAULTS=str(self.folder), **SETTINGS)
        if short:
            self.env["KAFKA_JIT"] = "c1"  # brokers start sooner, and serve less

    def pick(self, short: int, long: int) -> int:
        """Returns the duration of a step of a fault."""
        return short if self.short else long

    def run(self, *words: str, settings: Mapping[str, str] | None = None, patience: float = 150) -> str:
        """Returns the output of a command of scripts/cluster. Raises Failed."""
        return run_script("cluster", *words, str(self.folder), env=self.env | dict(settings or {}), patience=patience)

    def up(self) -> None:
        """Starts the cluster. The first time scripts/cluster may fetch Kafka and build the binaries."""
        self.run("up", "--port", "0", *self.binaries, patience=3600)
        self.port = int(self.noted("ports", " ")["nginx"])
        self.admin_password = self.noted("secrets", "=")["admin_password"]

    def noted(self, file: str, separator: str) -> dict[str, str]:
        """Returns the names and values of a file of scripts/cluster."""
        lines = (self.folder / file).read_text(encoding="utf-8").splitlines()
        return dict(line.split(separator, 1) for line in lines)

    def destroy(self, keep: bool) -> None:
        """Ends every process, also those that scripts/cluster missed, and removes the folder unless `keep`."""
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

    def stragglers(self) -> Iterator[int]:
        """Yields the processes that have the mark of this cluster in their environment."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                environ = Path("/proc", pid, "environ").read_bytes()
            except OSError:
                continue
            if self.mark.encode() in environ.split(b"\0"):
                yield int(pid)

    # ---- read from inside

    def rows(self, sql: str) -> list[postgres.Row]:
        """Returns the rows of a query. Raises postgres.Refused."""
        password = self.noted("secrets", "=")["database_password"]
        return postgres.rows(int(self.noted("ports", " ")["postgres"]), "shop", password, "shop", sql)

    def servers(self) -> str:
        """Returns the bootstrap servers of Kafka."""
        return run_script("kafka", "bootstrap", str(self.kafka), env=self.env, patience=30).strip()

    def exported(self) -> Iterator[bytes]:
        """Yields the lines of the export files that count; lines of one partition are in order."""
        yield from exports.committed_lines(self.rows(exports.FILES), self.folder / "data")

    def consumers(self, token: str) -> list[Json]:
        """Returns the positions of all groups, the relay included. Raises Gone or Failed."""
        status, body = self.call("GET", "/admin/consumers", token=token)
        if status != 200:
            raise Failed(f"/admin/consumers answers {status}")
        items: list[Json] = body["items"]
        return items

    def ends(self, token: str) -> dict[Partition, int]:
        """Returns the last position of each partition."""
        return {(item["topic"], item["partition"]): item["end"] for item in self.consumers(token)}

    def behind(self, ends: dict[Partition, int], token: str) -> list[str]:
        """Describes each group, the relay included, that has not passed these ends."""
        # without lag a group has passed the end: positions have gaps between two epochs
        return [
            f"{item['group']} is at {item['position']} of {item['topic']}/{item['partition']}, which ends at {end}"
            for item in self.consumers(token)
            if item["lag"] and item["position"] < (end := ends.get((item["topic"], item["partition"]), -1))
        ]

    def errors(self) -> Iterator[str]:
        """Yields the lines of level ERROR in the logs."""
        for log in sorted((self.folder / "logs").iterdir()):
            yield from (f"{log.name}: {line}" for line in error_lines(log, '"level":"ERROR"'))

    def said(self, *words: str) -> int:
        """Counts the lines of the logs that contain all words."""
        logs = (log.read_text(encoding="utf-8", errors="replace") for log in (self.folder / "logs").iterdir())
        return sum(all(word in line for word in words) for log in logs for line in log.splitlines())

    def deaf(self) -> list[str]:
        """Describes each client of a process that hears nothing from Kafka, and each process that does not answer."""
        ports, found = self.noted("ports", " "), []
        for name in (*OURS, *PROXIES):
            process = HttpClient()
            process.port = int(ports[name])
            try:
                metrics = process.ask("GET", "/metrics").body
            except Gone as error:
                found.append(f"{name}: {error}")
                continue
            finally:
                process.close()
            silent = (line for line in metrics.splitlines() if line.startswith(SILENT))
            found += [f"{name}: {line}" for line in silent if float(line.split()[-1]) > HEARS]
        return found
