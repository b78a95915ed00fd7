"""Reads Kafka back, and holds it against the event log."""
import os
import shutil
import subprocess
from collections import Counter, defaultdict

SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATIENCE = 120  # seconds for a topic


def records(servers, folder, topic):
    """(partition, key, headers) of each record, in the order of each partition."""
    kcat = shutil.which("kcat") or shutil.which("kafkacat")
    if kcat:
        command = [kcat, "-C", "-b", servers, "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p\t%k\t%h\n"]
        separator = "="
    else:
        command = [os.path.join(SCRIPTS, "kafka"), "cli", folder, "console-consumer", "--topic", topic,
                   "--from-beginning", "--timeout-ms", "5000"]
        for show in ("partition=true", "headers=true", "key=true", "value=false"):
            command += ["--property", f"print.{show}"]
        separator = ":"
    said = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE, check=kcat is not None, text=True, start_new_session=True)
    for line in said.stdout.splitlines():
        fields = line.split("\t")
        if len(fields) != 3:
            continue
        partition, key, headers = fields if kcat else (fields[0].removeprefix("Partition:"), fields[2], fields[1])
        yield int(partition), key, dict(header.split(separator, 1) for header in headers.split(",") if separator in header)


def read_back(cluster, wrong):
    """(counts, what does not hold) of all topics that the relay has copied."""
    source = f"urn:uuid:{cluster.rows('SELECT id FROM log_source')[0][0]}"
    marks = {(topic, int(partition)): int(relayed) for topic, partition, relayed in
             cluster.rows("SELECT topic, partition, greatest(relayed, position) FROM topic_partition LEFT JOIN "
                          "(SELECT * FROM group_position WHERE grp = 'relay') relay USING (topic, partition)")}
    logged = {(topic, int(partition), int(position)): event for topic, partition, position, event in
              cluster.rows("SELECT topic, partition, position, id FROM event_log")}
    counts = Counter({"events": len(logged), "records": 0, "twice": 0, "gaps": 0, "disordered": 0, "foreign": 0})
    servers = cluster.servers()
    direct = defaultdict(set)  # what went there without the log, and has no position in it
    for topic, epoch in cluster.rows("SELECT topic, source FROM topic_epoch"):
        direct[topic].add(f"urn:uuid:{epoch}")
    for topic in sorted({topic for topic, _ in marks}):
        if topic in direct:
            ids = Counter()
            for _, _, headers in records(servers, f"{cluster.folder}/kafka", topic):
                counts["records"] += 1
                if headers.get("ce_source") not in direct[topic]:
                    counts["foreign"] += 1
                elif headers.get("ce_type") != "bus.epoch.closed":
                    ids[headers["ce_id"]] += 1
            counts["events"] += len(ids)
            counts["twice"] += sum(ids.values()) - len(ids)
            continue
        seen, newest = defaultdict(dict), {}
        for partition, key, headers in records(servers, f"{cluster.folder}/kafka", topic):
            counts["records"] += 1
            if headers.get("ce_source") != source or "ce_sequence" not in headers:
                counts["foreign"] += 1
                continue
            position = int(headers["ce_sequence"])
            if position in seen[partition]:
                counts["twice"] += 1
                wrong.same(f"{topic}/{partition}, the repeated position {position}", headers["ce_id"],
                           seen[partition][position])
                continue
            seen[partition][position] = headers["ce_id"]
            if position < newest.get(key, -1):
                counts["disordered"] += 1
                wrong.append(f"{topic}/{partition}: the first {position} comes behind {newest[key]} of its key {key}")
            newest[key] = position
            wrong.same(f"the event at {topic}/{partition}/{position} on the bus", headers["ce_id"],
                       logged.get((topic, partition, position)))
        for (name, partition), relayed in marks.items():
            if name == topic:
                last = max([relayed, *seen[partition]])
                missing = [position for position in range(last + 1) if position not in seen[partition]]
                counts["gaps"] += len(missing)
                if missing:
                    wrong.append(f"{topic}/{partition}: {len(missing)} of {last + 1} are not on the bus, "
                                 f"from position {missing[0]}")
    return counts
