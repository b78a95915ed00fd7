"""The list of programs, deploy/programs.toml, and the places that are generated from the list.

A generated block stands between two comments, `generated from deploy/programs.toml: NAME` and `end of NAME`.
"""

import difflib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from blackbox.paths import ROOT, read

LIST = "deploy/programs.toml"
RESETS = {"once": "refused", "resendable": "sends again, with the same ids", "rebuildable": "rebuilds"}


@dataclass(frozen=True)
class Group:
    name: str
    topics: list[str]
    kind: str
    reset: str
    start: str
    setting: str | None = None

    def row(self, worker: str) -> str:
        topics = ", ".join(self.topics) or "the topic of that setting"
        condition = f", with `{self.setting}`" if self.setting else ""
        return f"| `{worker}` | `{self.name}`{condition} | {topics} | {RESETS[self.reset]} | {self.start} |"


@dataclass(frozen=True)
class Worker:
    name: str
    about: str
    relay: bool = False
    group: list[Group] = field(default_factory=list)


@dataclass(frozen=True)
class Server:
    name: str
    instances: int

    def members(self) -> list[str]:
        return [f"{self.name}-{number}" for number in range(1, self.instances + 1)]


@dataclass(frozen=True)
class Programs:
    ports: dict[str, int]
    host_ports: dict[str, dict[str, int]]
    servers: list[Server]
    workers: list[Worker]

    @property
    def names(self) -> list[str]:
        return [*(server.name for server in self.servers), *(worker.name for worker in self.workers)]


def programs() -> Programs:
    """Returns the list."""
    data = tomllib.loads(read(LIST))
    workers = [
        Worker(**{**worker, "group": [Group(**group) for group in worker.get("group", [])]})
        for worker in data["worker"]
    ]
    return Programs(data["ports"], data["host_ports"], [Server(**server) for server in data["server"]], workers)


# ---- generated blocks


def compose_services(listed: Programs) -> Iterator[str]:
    for worker in listed.workers:
        yield f"  {worker.name}: {{ <<: *worker, command: [{worker.name}] }}"


def scrape_jobs(listed: Programs) -> Iterator[str]:
    for server in listed.servers:
        targets = ", ".join(f'"{member}:{listed.ports[server.name]}"' for member in server.members())
        yield f"  - job_name: {server.name}"
        yield f"    static_configs: [{{ targets: [{targets}] }}]"
    for worker in listed.workers:
        port = listed.ports["worker"]
        yield f"  - job_name: {worker.name}"
        yield f"    dns_sd_configs: [{{ names: [{worker.name}], type: A, port: {port}, refresh_interval: 5s }}]"


def absent_jobs(listed: Programs) -> Iterator[str]:
    names = [worker.name for worker in listed.workers]
    yield from (f'          absent(up{{job="{name}"}}) or' for name in names[:-1])
    yield f'          absent(up{{job="{names[-1]}"}})'


def table_of_groups(listed: Programs) -> Iterator[str]:
    yield ""
    yield "| binary | group | topics | a reset | begins with |"
    yield "| --- | --- | --- | --- | --- |"
    for worker in listed.workers:
        if worker.relay:
            yield f"| `{worker.name}` | `relay` | all topics on Kafka | refused | earliest |"
        yield from (group.row(worker.name) for group in worker.group)
    yield ""


def worker_names(listed: Programs) -> Iterator[str]:
    yield ""
    yield "| worker | |"
    yield "| --- | --- |"
    yield from (f"| `{worker.name}` | {worker.about} |" for worker in listed.workers)
    yield ""


BLOCKS: list[tuple[str, str, Callable[[Programs], Iterator[str]]]] = [
    ("docker-compose.yml", "workers", compose_services),
    ("deploy/prometheus/prometheus.yml", "jobs", scrape_jobs),
    ("deploy/prometheus/alerts.yml", "jobs", absent_jobs),
    ("docs/operating.md", "groups", table_of_groups),
    ("README.md", "workers", worker_names),
]


def generate(*, check: bool) -> int:
    """Writes the generated blocks, or with `check` prints the differences; returns 1 if there are any."""
    listed, differences = programs(), 0
    for file, name, block in BLOCKS:
        now = read(file)
        begin, end = f"generated from {LIST}: {name}", f"end of {name}"
        pattern = re.compile(rf"(.*{re.escape(begin)}.*\n)(?:.*\n)*?(.*{re.escape(end)}\b.*\n)")
        if not pattern.search(now):
            sys.exit(f"{file} has no lines `{begin}` and `{end}`")
        text = "".join(f"{line}\n" for line in block(listed))
        new = pattern.sub(lambda found, text=text: f"{found[1]}{text}{found[2]}", now)  # type: ignore[misc]
        if new != now and check:
            differences = 1
            print("\n".join(difflib.unified_diff(now.splitlines(), new.splitlines(), file, "generated", "", "", 1, "")))
        elif new != now:
            (ROOT / file).write_text(new, encoding="utf-8")
            print(f"wrote {file}")
    wrong = [*compare_ports(listed)]
    print("\n".join(wrong), end="\n" if wrong else "")
    return int(bool(differences or wrong))


# ---- compared by hand


def compare_ports(listed: Programs) -> Iterator[str]:
    """Differences between the ports of the list and those of docker-compose.yml and the image."""
    compose = read("docker-compose.yml")
    mapped = {(int(host), int(inside)) for host, inside in re.findall(r'"127\.0\.0\.1:(\d+):(\d+)"', compose)}
    ports = {(int(host), inside) for service in listed.host_ports.values() for host, inside in service.items()}
    for host, inside in sorted(mapped ^ ports):
        yield f"docker-compose.yml and {LIST} differ in the port {host}:{inside}"
    exposed = re.search(r"^EXPOSE (.*)$", read("Dockerfile"), re.M)
    if not exposed or {int(port) for port in exposed[1].split()} != set(listed.ports.values()):
        yield f"Dockerfile exposes other ports than {LIST} has"
