"""Finds or installs the programs, packages and servers that the checks need."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .runner import ROOT, Missing, Runner, Word

LIBRARIES = 'set -u; cd "$1"; target=$2 logs=$3 programs=$4; . scripts/lib/common.sh; . scripts/lib/postgres.sh; '


def require(*programs: str) -> None:
    """Raises Missing if a program is not on the path."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        raise Missing(f"needed and not found: {', '.join(missing)}")


def install_debian(runner: Runner, log: Path, *packages: str) -> bool:
    """Installs Debian packages as root; one installation at a time."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    with runner.installing:
        command = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}"
        return (
            runner.wait(runner.start(["bash", "-c", command], log=log, env={"DEBIAN_FRONTEND": "noninteractive"})) == 0
        )


def program(runner: Runner, package: str, *names: str) -> str | None:
    """Returns the first of these programs that exists; installs the Debian package if none does."""
    for attempt in range(2):
        found = next((path for name in names if (path := shutil.which(name))), None)
        if found or attempt or not install_debian(runner, runner.log_of(f"install {package}"), package):
            return found
    return None


def npm_packages(runner: Runner, folder: str) -> Path:
    """Installs the packages of a folder into the folder of the same name in target/."""
    source, tools = ROOT / folder, runner.target / folder
    lock, installed = source / "package-lock.json", tools / "installed.json"
    if not (installed.exists() and filecmp.cmp(lock, installed, shallow=False)):
        tools.mkdir(parents=True, exist_ok=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(source / file, tools / file)
        command: list[Word] = ["npm", "ci", "--prefix", tools, "--ignore-scripts", "--no-audit", "--no-fund"]
        if runner.check(f"install {folder}", *command):
            shutil.copy(lock, installed)
    return tools


def python_packages(runner: Runner, name: str, requirements: Path) -> Path:
    """Installs a requirements file into a virtual environment in target/; returns its folder of programs."""
    tools = runner.target / name
    installed = tools / "installed.txt"
    if not (installed.exists() and filecmp.cmp(requirements, installed, shallow=False)):
        shutil.rmtree(tools, ignore_errors=True)
        make_venv(runner, tools)
        pip: list[Word] = [
            tools / "bin/python",
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "-q",
            "-r",
            requirements,
        ]
        if runner.check(f"install {name}", *pip):
            shutil.copy(requirements, installed)
    return tools / "bin"


def make_venv(runner: Runner, folder: Path) -> None:
    log = runner.log_of(f"venv {folder.name}")
    command: list[Word] = [sys.executable, "-m", "venv", folder]
    if runner.wait(runner.start(command, log=log)) == 0:
        return
    # Debian keeps the module that makes environments in a package of its own
    shutil.rmtree(folder, ignore_errors=True)
    if not install_debian(runner, log, "python3-venv") or runner.wait(runner.start(command, log=log)):
        raise Missing(f"a virtual environment (see {log})")


def find_postgres(runner: Runner) -> None:
    """Sets PG_BINDIR for the tests, which start and stop servers themselves."""
    if os.environ.get("TEST_DATABASE_URL"):
        runner.say("PostgreSQL: the server of TEST_DATABASE_URL")
        return
    script = LIBRARIES + 'find_postgres >&2 && printf "%s" "$PG_BINDIR"'
    words: list[Word] = ["bash", "-c", script, "bash", ROOT, runner.target, runner.logs, runner.temp / "postgres"]
    found = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode or not found.stdout:
        raise Missing("PostgreSQL: none. Set TEST_DATABASE_URL or PG_BINDIR, or install PostgreSQL's server or Maven")
    runner.env["PG_BINDIR"] = found.stdout


def find_kafka(runner: Runner) -> None:
    """Sets KAFKA_BOOTSTRAP_SERVERS; starts a broker of the suite if the environment names none."""
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        runner.say("Kafka: the cluster of KAFKA_BOOTSTRAP_SERVERS")
        return
    folder, log = runner.temp / "kafka", runner.log_of("kafka")
    # thousands of partitions, beside everything else on the machine
    env = {"KAFKA_HEAP": "768m", "KAFKA_PROPERTIES": str(ROOT / "scripts/lib/kafka/alone.properties.in")}
    if runner.wait(runner.start(["scripts/kafka", "start", "1", "0", folder], log=log, env=env)):
        runner.show(log)
        raise Missing("Kafka: none. Set KAFKA_BOOTSTRAP_SERVERS, or install Java and Maven")
    said = subprocess.run([ROOT / "scripts/kafka", "bootstrap", folder], stdout=subprocess.PIPE, text=True, check=True)
    runner.env["KAFKA_BOOTSTRAP_SERVERS"] = said.stdout.strip()
    runner.say(f"Kafka: a broker from the Maven registry, on {said.stdout.strip()}")


def stop_kafka(runner: Runner) -> None:
    folder = runner.temp / "kafka"
    if folder.is_dir():
        subprocess.run([ROOT / "scripts/kafka", "destroy", folder], check=False)
