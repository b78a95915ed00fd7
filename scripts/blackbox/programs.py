"""The list of programs, deploy/programs.toml, and the places that are generated from the list.

A generated block stands between two comments, `generated from deploy/programs.toml: NAME` and `end of NAME`.
"""

import difflib
import os
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from blackbox.paths import ROOT, read

LIST = "deploy/programs.toml"
# kind and reset of a group, and the words of docs/operating.md for a reset of the group
RESETS = {
    ("transactional", "once"): "refused",
    ("effect", "once"): "refused",
    ("effect", "resendable"): "sends again, with the same ids",
    ("transactional", "resendable"): "handles again",
    ("transactional", "rebuildable"): "rebuilds",
}


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
        reset = RESETS[self.kind, self.reset]
        return f"| `{worker}` | `{self.name}`{condition} | {topics} | {reset} | {self.start} |"


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

    @property
    def members(self) -> list[str]:
        """The servers of the cluster, by their number."""
        return [member for server in self.servers for member in server.members()]

    def faults(self) -> Iterator[str]:
        """Contradictions within the list."""
        groups = [group for worker in self.workers for group in worker.group]
        for name, count in Counter(self.names).items():
            if count > 1:
                yield f"the program {name} stands {count} times"
        for name, count in Counter(group.name for group in groups).items():
            if count > 1:
                yield f"{count} workers host the group {name}"
        for worker in self.workers:
            if worker.relay == bool(worker.group):
                yield f"the worker {worker.name} needs consumer groups, or else `relay = true`"
        for group in groups:
            if (group.kind, group.reset) not in RESETS:
                yield f"the group {group.name} is {group.kind} and {group.reset}, which no group can be"


def programs() -> Programs:
    """Returns the list; ends the program with one line if the list cannot be used."""
    try:
        data = tomllib.loads(read(LIST))
        workers = [
            Worker(**{**worker, "group": [Group(**group) for group in worker.get("group", [])]})
            for worker in data["worker"]
        ]
        listed = Programs(data["ports"], data["host_ports"], [Server(**server) for server in data["server"]], workers)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        sys.exit(f"{LIST} cannot be read: {error!r}")
    if faults := [*listed.faults()]:
        sys.exit(f"{LIST}: {'; '.join(faults)}")
    return listed


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
    wrong = [*compare_ports(listed), *compare_servers(listed), *compare_image()]
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


def compare_servers(listed: Programs) -> Iterator[str]:
    """Differences between the servers of the list and the services and upstreams of docker-compose.yml."""
    compose = read("docker-compose.yml").partition("\nvolumes:")[0]
    names = "|".join(server.name for server in listed.servers)
    for what, found in (
        ("services", re.findall(rf"^  ((?:{names})-\d+):", compose, re.M)),
        ("upstreams of nginx", re.findall(rf"^ +[A-Z_]+_\d+: ((?:{names})-\d+):\d+ resolve$", compose, re.M)),
    ):
        if sorted(found) != sorted(listed.members):
            yield f"docker-compose.yml has the {what} {', '.join(found)}, and {LIST} {', '.join(listed.members)}"


def compare_image() -> Iterator[str]:
    """Files that are compiled in and that .dockerignore keeps from the build of the image."""
    allowed = re.findall(r"^!(.+)$", read(".dockerignore"), re.M)
    for source in sorted((ROOT / "crates").glob("**/src/**/*.rs")):
        for file in re.findall(r'\binclude_(?:str|bytes)!\("([^"]+)"\)', read(source)):
            included = os.path.relpath(source.parent / file, ROOT)
            if not any(included == path or included.startswith(f"{path}/") for path in allowed):
                yield f".dockerignore leaves out {included}, which {source.relative_to(ROOT)} includes"
