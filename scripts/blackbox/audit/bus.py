"""Audit of Kafka: the records of each topic against the event log."""

from collections import Counter, defaultdict

from blackbox.audit.findings import Findings
from blackbox.clients.kafka import Record, records
from blackbox.servers.cluster import Cluster


def audit(cluster: Cluster, wrong: Findings) -> Counter[str]:
    """Checks all topics that the relay has copied; returns counts of records and violations."""
    counts: Counter[str] = Counter()
    log = EventLog(cluster)
    counts["events"] = len(log.ids)
    servers, kafka = cluster.servers(), cluster.folder / "kafka"
    for topic in sorted({topic for topic, _ in log.marks}):
        found = list(records(servers, kafka, topic))
        counts["records"] += len(found)
        audit_copy(topic, found, log, counts, wrong)
    return counts


class EventLog:
    """Contents of the event log and the progress of the relay."""

    def __init__(self, cluster: Cluster) -> None:
        self.source = f"urn:uuid:{cluster.rows('SELECT id FROM log_source')[0][0]}"
        marks = cluster.rows(
            "SELECT topic, partition, greatest(relayed, position) FROM topic_partition LEFT JOIN "
            "(SELECT * FROM group_position WHERE grp = 'relay') relay USING (topic, partition)"
        )
        # positions that the relay has copied, by topic and partition
        self.marks = {(str(topic), int(str(partition))): int(str(relayed)) for topic, partition, relayed in marks}
        log = cluster.rows("SELECT topic, partition, position, id FROM event_log")
        self.ids = {
            (str(topic), int(str(partition)), int(str(position))): id_ for topic, partition, position, id_ in log
        }


def audit_copy(topic: str, found: list[Record], log: EventLog, counts: Counter[str], wrong: Findings) -> None:
    """Checks that a topic holds each event of the log that was relayed, each key in order."""
    seen: defaultdict[int, dict[int, str]] = defaultdict(dict)  # ids by partition and position
    newest: dict[str, int] = {}  # by key
    for partition, key, headers in found:
        if headers.get("ce_source") != log.source or "ce_sequence" not in headers:
            counts["foreign"] += 1
            continue
        id_, position = headers["ce_id"], int(headers["ce_sequence"])
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
