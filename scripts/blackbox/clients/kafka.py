"""Reads topics with kcat, or with Kafka's console consumer where kcat is missing."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blackbox.paths import SCRIPTS

PATIENCE = 120  # seconds for a topic


class Record(NamedTuple):
    """Record of a topic, without its value."""

    partition: int
    key: str
    headers: dict[str, str]


def records(servers: str, folder: Path, topic: str) -> Iterator[Record]:
    """Yields all records of a topic; records of one partition are in order. `folder` belongs to scripts/kafka."""
    kcat = shutil.which("kcat") or shutil.which("kafkacat")
    if kcat:
        command = [kcat, "-C", "-b", servers, "-t", topic, "-o", "beginning", "-e", "-q"]
        command += ["-X", "fetch.wait.max.ms=10"]  # how long a broker holds back the answer "end of partition"
        command += ["-f", "%p\t%k\t%h\n"]
        separator = "="
    else:
        command = [str(SCRIPTS / "kafka"), "cli", str(folder), "console-consumer", "--topic", topic]
        command += ["--from-beginning", "--timeout-ms", "5000"]
        for show in ("partition=true", "headers=true", "key=true", "value=false"):
            command += ["--property", f"print.{show}"]
        separator = ":"
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=kcat is not None,  # the console consumer fails at its timeout, the end of the topic
        text=True,
        start_new_session=True,
    )
    for line in done.stdout.splitlines():
        fields = line.split("\t")
        if len(fields) != 3:
            continue
        partition, key, headers = fields if kcat else (fields[0].removeprefix("Partition:"), fields[2], fields[1])
        pairs = [header.split(separator, 1) for header in headers.split(",") if separator in header]
        yield Record(int(partition), key, dict(pairs))
