"""Two event proxies and three brokers of a fault suite, in a temporary folder."""

import base64
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from blackbox.clients.http import Gone, Json
from blackbox.clients.shop import PASSWORD
from blackbox.servers.command import environment, error_lines, run_script
from blackbox.servers.disk import Disk
from blackbox.servers.process import Server

BROKERS = ("1", "2", "3")
SETTINGS = {
    "BUS__BACKEND": "kafka",
    "BUS__KAFKA__REPLICATION": "3",
    "BUS__KAFKA__MIN_INSYNC_REPLICAS": "2",
    "DELIVERY__ACK_TIMEOUT": "2s",
    "DELIVERY__RESEND_AFTER": "200ms",
    "ADMIN__PASSWORD": PASSWORD,
    "HTTP__ADDRESS": "127.0.0.1:0",
    "LOG__FILTER": "warn",
}


def variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Returns settings of an event proxy as variables of its environment."""
    return {f"EVENT_PROXY__{name}": value for name, value in settings.items()}


class Proxy(Server):
    """Event proxy on a free port with its data in a folder."""

    port_pattern = re.compile(rb"event proxy is at http://[\d.]+:(\d+)/")
    patience = 30

    def __init__(self, number: int, binary: Path, folder: Path, servers: str) -> None:
        name = f"proxy-{number}"
        settings = {"NODE__NAME": name, "DATA_DIR": str(folder / "data"), "BUS__KAFKA__BOOTSTRAP_SERVERS": servers}
        super().__init__(binary, folder, variables(SETTINGS | settings))
        self.name, self.first_env = name, dict(self.env)

    def restart(self, env: Mapping[str, str] | None = None, **settings: str) -> float:
        """Restarts the proxy with its first environment, plus `env` and `settings`."""
        self.stop()
        self.env = self.first_env | dict(env or {}) | variables(settings)
        return self.start()

    def get(self, path: str) -> Json:
        """Returns the body of an answer."""
        return self.ask("GET", path).body

    def admin(self, method: str, path: str, body: Json = None) -> tuple[int, Json]:
        """Returns status and body of a call of the admin API."""
        secret = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/json"}
        status, _, answer = self.ask(method, f"/v1/admin{path}", None if body is None else json.dumps(body), headers)
        return status, answer

    def ledger(self) -> Json:
        """Returns the counts of events by topic. Raises Gone at any status but 200."""
        status, _, body = self.ask("GET", "/v1/ledger")
        if status != 200:
            raise Gone(f"/v1/ledger answers {status}")
        return body


class Stand:
    """Brokers, proxies, and the disk of the first proxy."""

    def __init__(self, binary: Path, short: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jangteo-proxies-"))
        self.env = environment(**({"KAFKA_JIT": "c1"} if short else {}))  # brokers start sooner, and serve less
        self.short = short
        self.binary, self.kafka = binary, self.folder / "kafka"
        self.proxies: list[Proxy] = []
        self.disk: Disk | None = None
        self.servers = ""

    def up(self) -> None:
        """Starts the brokers and the proxies."""
        self.kafka.mkdir()
        self.broker("start", "3", "0")
        self.servers = self.broker("bootstrap").strip()
        for number in (1, 2):
            folder = self.folder / f"proxy-{number}"
            folder.mkdir()
            self.proxies.append(Proxy(number, self.binary, folder, self.servers))
        self.disk = Disk(self.proxies[0].folder)
        print(f"disk of the first proxy: {self.disk.kind}", flush=True)
        for proxy in self.proxies:
            proxy.start()

    def pick(self, short: int, long: int) -> int:
        """Returns the duration of a step of a fault."""
        return short if self.short else long

    def broker(self, command: str, *words: str) -> str:
        """Returns the output of a command of scripts/kafka. Raises Failed."""
        return run_script("kafka", command, *words, str(self.kafka), env=self.env, patience=120)

    def cli(self, *words: str) -> str:
        """Returns the output of a tool of Kafka. Raises Failed."""
        return run_script("kafka", "cli", str(self.kafka), *words, env=self.env, patience=120)

    def topics(self) -> list[str]:
        """Returns the names of the topics on Kafka. Raises Failed."""
        return self.cli("topics", "--list").split()

    def kill_brokers(self) -> None:
        """Kills all brokers."""
        for broker in BROKERS:
            self.broker("kill-node", broker)

    def start_brokers(self) -> None:
        """Starts all brokers and waits until they take requests."""
        for broker in BROKERS:
            self.broker("start-node", broker)
        self.broker("wait")

    def wait(self, goal: str, reached: Callable[[], object], patience: float = 60) -> bool:
        """Waits for a condition; returns false and names the goal if `patience` ends first."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                if reached():
                    return True
            except Gone:
                pass
            time.sleep(0.1)
        print(f"  waited {patience} s in vain for {goal}", flush=True)
        return False

    def errors(self) -> Iterator[str]:
        """Yields the lines of level ERROR in the logs."""
        for proxy in self.proxies:
            yield from (f"{proxy.name}: {line}" for line in error_lines(proxy.log, " ERROR "))

    def destroy(self, keep: bool) -> None:
        """Ends every process, and removes the folder unless `keep`."""
        for proxy in self.proxies:
            proxy.stop()
        if self.kafka.is_dir():
            self.broker("stop" if keep else "destroy")
        if keep:
            mounted = ", with a file system in it" if self.disk and self.disk.mounted else ""
            print(f"kept: {self.folder}{mounted}")
            return
        if self.disk:
            self.disk.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
