"""Debezium as a relay: becomes a standalone worker of Kafka Connect that follows `event_log` until SIGTERM.

The first argument is the folder of the libraries, the second a folder for offsets, which the next start continues from.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from blackbox.paths import SCRIPTS

JVM = ("-Xms256m", "-Xmx2g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")  # Kafka Connect's own options
TEXT = "org.apache.kafka.connect.storage.StringConverter"


def worker(servers: str, offsets: Path) -> dict[str, str]:
    """Returns the properties of the worker."""
    return {
        "bootstrap.servers": servers,
        "key.converter": TEXT,
        "value.converter": TEXT,
        "offset.storage.file.filename": str(offsets),
        "listeners": "http://127.0.0.1:0",
        "producer.compression.type": "lz4",
        "producer.linger.ms": "0",
    }


def connector(url: str, topic: str, slot: str) -> dict[str, str]:
    """Returns the properties of the connector: each row becomes the record that an outbox stands for."""
    database = urlsplit(url)
    return {
        "name": "bench",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "database.hostname": database.hostname or "",
        "database.port": str(database.port),
        "database.user": database.username or "",
        "database.password": database.password or "",
        "database.dbname": database.path.lstrip("/"),
        "topic.prefix": "bench",
        "table.include.list": "public.event_log",
        "publication.autocreate.mode": "filtered",
        "slot.name": slot,
        "snapshot.mode": "no_data",
        "message.prefix.exclude.list": ".*",  # the shop flushes commits by a message, which would want a topic
        "tombstones.on.delete": "false",
        "poll.interval.ms": "10",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "transforms": "outbox",
        "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
        "transforms.outbox.route.by.field": "topic",
        "transforms.outbox.route.topic.replacement": topic,
        "transforms.outbox.table.field.event.id": "id",
        "transforms.outbox.table.field.event.key": "key",
        "transforms.outbox.table.field.event.payload": "payload",
        "transforms.outbox.table.fields.additional.placement": "kind:header:ce_type,position:header:ce_sequence",
    }


def main(libraries: Path, folder: Path) -> None:
    """Replaces this process by the worker."""
    prefix = os.environ["RELAY_PREFIX"].rstrip("-")
    files = {
        folder / f"{prefix}-worker.properties": worker(os.environ["RELAY_KAFKA"], folder / f"{prefix}-offsets"),
        folder / f"{prefix}-connector.properties": connector(
            os.environ["RELAY_DATABASE_URL"], os.environ["RELAY_TOPIC"], prefix.replace("-", "_")
        ),
    }
    for file, properties in files.items():
        file.write_text(properties_text(properties))
    log = [
        "-Dkafka.log.file=" + str(folder / "log"),
        f"-Dlog4j2.configurationFile={SCRIPTS}/lib/kafka/log4j2.properties",
    ]
    words = ["-cp", f"{libraries}/*", "org.apache.kafka.connect.cli.ConnectStandalone", *map(str, files)]
    os.execvp("java", ["java", *JVM, *log, *words])


def properties_text(properties: Mapping[str, str]) -> str:
    """Returns the text of a file of properties."""
    return "".join(f"{name}={value}\n" for name, value in properties.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
