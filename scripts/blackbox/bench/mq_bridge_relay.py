"""mq-bridge as a relay: follows `event_log` by logical replication until SIGTERM. Runs in an environment of its own."""

import os
import signal

from mq_bridge import Route

SLOT = "bench_" + os.environ["RELAY_PREFIX"].replace("-", "_")
ROUTE = {
    "input": {
        "postgres_cdc": {
            "url": os.environ["RELAY_DATABASE_URL"],
            "publication": "bench",
            "create_publication": True,
            "publication_tables": ["event_log"],
            "slot_name": SLOT.strip("_"),
        }
    },
    "output": {
        "kafka": {
            "url": os.environ["RELAY_KAFKA"],
            "topic": os.environ["RELAY_TOPIC"],
            "create_topic": False,
            "producer_options": [["compression.type", "lz4"], ["linger.ms", "0"]],
        }
    },
    "batch_size": 2000,
    "empty_batch_delay_ms": 1,
}

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with Route.from_config(ROUTE, "bench"):
        signal.sigwait({signal.SIGTERM})
