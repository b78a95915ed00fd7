"""Starts PostgreSQL and one broker of its own for the program `bench`, and what it is compared with.

scripts/bench distributed ...   measures the shop with them; the options of `bench`
scripts/bench compare ...       measures our relay, mq-bridge and Debezium, one after the other; --only NAME, and the
                                options of `bench compare`: --seconds 30, --runs 3
"""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from blackbox.bench import debezium_relay
from blackbox.paths import SCRIPTS
from blackbox.servers import postgres
from blackbox.servers.command import environment, run_script

REQUIREMENTS = SCRIPTS / "requirements-compare.txt"
POM = SCRIPTS / "lib/debezium/pom.xml"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
# the defaults of a server, for the script of the tests turns durability off
OPTIONS = (
    "fsync=on",
    "full_page_writes=on",
    "max_connections=100",
    "autovacuum_naptime=1min",
    "wal_level=logical",
    "shared_preload_libraries=pg_stat_statements",
)


@contextmanager
def servers() -> Iterator[tuple[str, Path]]:
    """Yields the URL of a database and the folder of a broker."""
    programs = postgres.programs()
    if not programs:
        raise SystemExit("no PostgreSQL: set PG_BINDIR, or install its server")
    folder = Path(tempfile.mkdtemp(prefix="jangteo-bench-"))
    env = environment(KAFKA_HEAP=os.environ.get("KAFKA_HEAP", "512m"))
    server = postgres.Postgres(programs, " ".join(f"-c {option}" for option in OPTIONS))
    try:
        (folder / "kafka").mkdir()
        run_script("kafka", "start", "1", "0", str(folder / "kafka"), env=env, patience=600)
        print(f"PostgreSQL {server.version()} with {', '.join(OPTIONS)}; one broker, heap {env['KAFKA_HEAP']}")
        yield server.url(), folder / "kafka"
    finally:
        run_script("kafka", "destroy", str(folder / "kafka"), env=env, patience=60)
        shutil.rmtree(folder, ignore_errors=True)
        server.end()


def mq_bridge(target: Path, _: Path) -> list[str]:
    """Installs mq-bridge; returns its command."""
    home = target / "compare"
    python = home / "bin/python"
    if not python.exists():
        venv.create(home, with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    subprocess.run([python, *install], check=True)
    print(f"{REQUIREMENTS.read_text().splitlines()[-1]}; settings: blackbox/bench/mq_bridge_relay.py")
    return [str(python), "-m", "blackbox.bench.mq_bridge_relay"]


def debezium(target: Path, folder: Path) -> list[str]:
    """Fetches Debezium and Kafka Connect; returns their command."""
    libraries = target / "debezium"
    if not libraries.exists():
        fetch = ["mvn", "-q", "-B", "-ntp", f"-Dmaven.repo.local={target}/maven", "-f", str(POM), COPY]
        subprocess.run([*fetch, f"-DoutputDirectory={libraries}"], check=True, stdin=subprocess.DEVNULL)
    found = [
        jar.stem for name in ("debezium-connector-postgres", "connect-runtime") for jar in libraries.glob(f"{name}-*")
    ]
    print(f"{', '.join(found)}; settings: blackbox/bench/debezium_relay.py, {' '.join(debezium_relay.JVM)}")
    return [sys.executable, "-m", "blackbox.bench.debezium_relay", str(libraries), str(folder)]


RELAYS: dict[str, Callable[[Path, Path], list[str]]] = {
    "ours": lambda _target, _folder: [],
    "mq-bridge": mq_bridge,
    "debezium": debezium,
}


def measure(words: Sequence[str | Path], env: Mapping[str, str]) -> int:
    """Runs `bench` and returns its exit code; ends what it started, however this ends."""
    process = subprocess.Popen(words, env=env, start_new_session=True)
    try:
        return process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(words: Sequence[str] | None = None) -> int:
    """Runs the measurement of the command line; returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bench", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("target", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("what", choices=("distributed", "compare"))
    parser.add_argument("--only", default="")
    arguments, options = parser.parse_known_args(words)
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with servers() as (url, broker):
        there = ["--database-url", url, "--broker", str(broker)]
        env = environment(PYTHONPATH=str(SCRIPTS))
        if arguments.what == "distributed":
            return measure([arguments.bench, *there, "--only", arguments.only, *options], env)
        code = 0
        for name in (name for name in RELAYS if arguments.only in name):
            command = RELAYS[name](arguments.target, broker.parent)
            program = ["--program", *command] if command else []
            code |= measure([arguments.bench, "compare", *there, "--name", name, *options, *program], env)
    return code
