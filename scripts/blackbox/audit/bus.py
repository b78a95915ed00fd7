"""Audit of Kafka: the records of each topic against the event log."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Protocol

from blackbox.audit.findings import Findings
from blackbox.clients.kafka import Record, records
from blackbox.clients.postgres import Row

FIRST_EPOCH = "00000000-0000-0000-0000-000000000000"  # of records without the header ce_logepoch

Orphans = dict[str, str]  # ids and topics of events on Kafka that the log has lost


class Site(Protocol):
    """Database with an event log, and brokers."""

    kafka: Path  # folder of scripts/kafka
    prefix: str  # of the names of topics

    def rows(self, sql: str) -> list[Row]:
        """Returns the rows of a query."""

    def servers(self) -> str:
        """Returns the bootstrap servers of Kafka."""


def audit(site: Site, wrong: Findings) -> tuple[Counter[str], Orphans]:
    """Checks all topics that the relay has copied; returns counts of records and violations, and orphans."""
    counts: Counter[str] = Counter()
    log = EventLog(site)
    counts["events"] = len(log.ids)
    servers = site.servers()
    for topic in sorted({topic for topic, _ in log.marks}):
        found = list(records(servers, site.kafka, site.prefix + topic))
        counts["records"] += len(found)
        audit_copy(topic, found, log, counts, wrong)
    return counts, log.orphans


class EventLog:
    """Contents of the event log, the progress of the relay, and orphans."""

    def __init__(self, site: Site) -> None:
        self.source = f"urn:uuid:{site.rows('SELECT id FROM log_source')[0][0]}"
        # positions that the relay has copied, by topic and partition
        self.marks: defaultdict[tuple[str, int], int] = defaultdict(lambda: -1)
        for topic, partition, relayed in site.rows(
            "SELECT topic, partition, relayed FROM topic_partition UNION ALL "
            "SELECT topic, partition, position FROM group_position WHERE grp = 'relay'"
        ):
            place = (str(topic), int(str(partition)))
            self.marks[place] = max(self.marks[place], int(str(relayed)))
        # first positions and epochs by topic and partition, the newest epoch last
        self.starts: defaultdict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
        for topic, partition, first, epoch in site.rows(
            "SELECT topic, partition, first, id FROM log_epoch_start JOIN log_epoch USING (ordinal) ORDER BY ordinal"
        ):
            self.starts[str(topic), int(str(partition))].append((int(str(first)), str(epoch)))
        self.orphans: Orphans = {}
        log = site.rows("SELECT topic, partition, position, id FROM event_log")
        self.ids = {
            (str(topic), int(str(partition)), int(str(position))): id_ for topic, partition, position, id_ in log
        }

    def owner(self, topic: str, partition: int, position: int) -> str | None:
        """Returns the epoch that owns a position."""
        starts = reversed(self.starts[topic, partition])
        return next((epoch for first, epoch in starts if first <= position), None)


def audit_copy(topic: str, found: list[Record], log: EventLog, counts: Counter[str], wrong: Findings) -> None:
    """Checks that a topic holds each event of the log that was relayed, each key in order. Notes orphans."""
    seen: defaultdict[int, dict[int, str]] = defaultdict(dict)  # ids by partition and position
    newest: dict[str, int] = {}  # by key
    for partition, key, headers in found:
        if headers.get("ce_source") != log.source or "ce_sequence" not in headers:
            counts["foreign"] += 1
            continue
        id_, position = headers["ce_id"], int(headers["ce_sequence"])
        if headers.get("ce_logepoch", FIRST_EPOCH) != log.owner(topic, partition, position):
            log.orphans[id_] = topic
            continue
        if position in seen[partition]:
            counts["twice"] += 1
            wrong.same(f"{topic}/{partition}, the repeated position {position}", id_, seen[partition][position])
            continue
        seen[partition][position] = id_
        if position < newest.get(key, -1):
            counts["disordered"] += 1
            wrong.append(f"{topic}/{partition}: the first {position} comes behind {newest[key]} of its key {key}")
        newest[key] = position
        logged = log.ids.get((topic, partition, position))
        wrong.same(f"the event at {topic}/{partition}/{position} on the bus", id_, logged)
    for (name, partition), relayed in log.marks.items():
        if name != topic:
            continue
        last = max([relayed, *seen[partition]])
        missing = [position for position in range(last + 1) if position not in seen[partition]]
        counts["gaps"] += len(missing)
        if missing:
            wrong.append(
                f"{topic}/{partition}: {len(missing)} of {last + 1} are not on the bus, from position {missing[0]}"
            )
